use super::*;
use crate::random::Random;
use std::net::{Ipv4Addr, Ipv6Addr};

const BOTH: Direction = Direction { send: true, receive: true };

fn local() -> Local {
    Local {
        address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5)),
        port: 30_000,
        session_id: 4711,
        version: 3,
        codecs: vec![Codec::Pcma, Codec::Pcmu],
        telephone_event: Some(TELEPHONE_EVENT),
        ptime_ms: 20,
        direction: BOTH,
        beside: Beside::default(),
    }
}

/// A description of the lines, each ended by CRLF.
fn sdp(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}

/// A description with a usual session level and these media lines.
fn offer(media: &[&str]) -> Description {
    let session = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"];
    parse(&sdp(&[&session[..], media].concat())).unwrap()
}

fn answered(media: &[&str], local: &Local) -> Result<(Negotiated, Vec<String>), SdpError> {
    let mut out = b"kept".to_vec();
    let result = answer(&offer(media), local, &mut out);
    let text = String::from_utf8(out.split_off(4)).unwrap();
    assert_eq!(out, b"kept");
    let Ok(negotiated) = result else {
        assert_eq!(text, "", "nothing is written when there is no answer");
        return Err(result.unwrap_err());
    };
    check_with_another_reader(&text);
    Ok((negotiated, text.split_terminator("\r\n").map(String::from).collect()))
}

/// The media lines of an answer.
fn media_lines(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| line.starts_with("m=")).collect()
}

/// Everything that we write must mean the same to sdp-types.
fn check_with_another_reader(text: &str) {
    let theirs = sdp_types::Session::parse(text.as_bytes()).unwrap();
    let ours = parse(text.as_bytes()).unwrap();
    assert_eq!(theirs.origin.username, None, "it takes - for no name");
    assert_eq!(theirs.session_name, "-");
    assert_eq!(theirs.medias.len(), ours.media.len());
    for (theirs, ours) in theirs.medias.iter().zip(&ours.media) {
        assert_eq!(theirs.media.as_bytes(), &*ours.media_type);
        assert_eq!(theirs.port, ours.port);
        assert_eq!(theirs.proto.as_bytes(), &*ours.protocol);
        assert_eq!(theirs.fmt.as_bytes(), &*ours.format_list);
        if ours.port != 0 {
            assert!(theirs.has_attribute(ours.direction.as_str()));
        }
    }
}

#[test]
fn an_offer_is_written_line_by_line() {
    let mut out = Vec::new();
    write_offer(&local(), &mut out);
    let expected = sdp(&[
        "v=0",
        "o=- 4711 3 IN IP4 203.0.113.5",
        "s=-",
        "c=IN IP4 203.0.113.5",
        "t=0 0",
        "m=audio 30000 RTP/AVP 8 0 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=sendrecv",
    ]);
    assert_eq!(out, expected);
    check_with_another_reader(std::str::from_utf8(&out).unwrap());
}

#[test]
fn an_offer_says_what_local_says() {
    let mut local = local();
    local.address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    local.codecs = vec![Codec::Pcmu];
    local.telephone_event = None;
    local.ptime_ms = 30;
    local.direction = Direction { send: true, receive: false };
    local.session_id = u64::MAX;
    let mut out = Vec::new();
    write_offer(&local, &mut out);
    let text = String::from_utf8(out).unwrap();
    check_with_another_reader(&text);
    for line in [
        "o=- 18446744073709551615 3 IN IP6 ::1\r\n",
        "c=IN IP6 ::1\r\n",
        "m=audio 30000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:30\r\na=sendonly\r\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
}

#[test]
fn the_usual_offer_is_read_whole() {
    let description = parse(&sdp(&[
        "v=0",
        "o=alice 2890844526 2890844526 IN IP4 host.example.com",
        "s=call",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "a=recvonly",
        "m=audio 49170 RTP/AVP 18 8 0 101 96",
        "a=rtpmap:18 G729/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:30",
        "a=rtcp:53020 IN IP4 192.0.2.9",
        "m=video 51372 RTP/AVP 31",
        "c=IN IP6 2001:db8::1",
        "a=sendonly",
    ]))
    .unwrap();
    let formats = [
        (18, Encoding::Unknown),
        (8, Encoding::Audio(Codec::Pcma)),
        (0, Encoding::Audio(Codec::Pcmu)),
        (101, Encoding::TelephoneEvent),
        (96, Encoding::Unmapped),
    ];
    let audio = Media {
        media_type: (*b"audio").into(),
        port: 49_170,
        protocol: (*b"RTP/AVP").into(),
        format_list: (*b"18 8 0 101 96").into(),
        formats: formats.map(|(payload_type, encoding)| Format { payload_type, encoding }).into(),
        address: Address::Ip([192, 0, 2, 1].into()),
        alternative: None,
        rtcp: Some((53_020, Some([192, 0, 2, 9].into()))),
        direction: Attribute::RecvOnly,
        ptime_ms: Some(30),
        max_ptime_ms: None,
    };
    let video = Media {
        media_type: (*b"video").into(),
        port: 51_372,
        format_list: (*b"31").into(),
        formats: vec![Format { payload_type: 31, encoding: Encoding::Unknown }],
        address: Address::Ip("2001:db8::1".parse().unwrap()),
        rtcp: None,
        direction: Attribute::SendOnly,
        ptime_ms: None,
        ..audio.clone()
    };
    assert_eq!(description.media, [audio, video]);
}

/// Ways to write the same description, each seen on a wire or allowed by the grammar.
#[test]
fn the_same_thing_said_oddly_is_understood() {
    let expected = offer(&["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000", "a=ptime:20"]);
    let odd: &[(&str, &[u8])] = &[
        ("LF alone", b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\na=ptime:20\n"),
        ("CR alone", b"v=0\rc=IN IP4 192.0.2.1\rm=audio 4000 RTP/AVP 8 101\ra=rtpmap:101 telephone-event/8000\ra=ptime:20\r"),
        ("no s=, no t=, no o=, no end of line", b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20"),
        ("no v= but an m=", b"m=audio 4000 RTP/AVP 8 101\r\nc=IN IP4 192.0.2.1\r\na=ptime:20\r\na=rtpmap:101 telephone-event/8000\r\n"),
        ("GBK names", b"v=0\r\no=\xd5\xc5\xc8\xfd 1 1 IN IP4 192.0.2.1\r\ns=\xba\xf4\xbd\xd0\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\ni=\xff\xfe\r\na=rtpmap:101 telephone-event/8000\r\na=\xd5\r\na=ptime:20\r\n"),
        ("blanks behind and NULs at the end", b"v=0 \r\nc=IN  IP4 192.0.2.1 \t\r\nm=audio  4000 RTP/AVP\t8 101  \r\na=rtpmap: 101  telephone-event/8000 \r\na=ptime: 20 \r\n\0\0"),
        ("blanks before and empty lines", b"\r\n v=0\r\n\r\n  c=IN IP4 192.0.2.1\r\n m= audio 4000 RTP/AVP 8 101\r\n\r\na= rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"),
        ("unknown lines", b"v=0\r\nx=1\r\nZ=9\r\njunk\r\n=\r\nc=IN IP4 192.0.2.1\r\nb=AS:64\r\nk=clear:x\r\nm=audio 4000 RTP/AVP 8 101\r\na=silenceSupp:off - - - -\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"),
        ("any case", b"v=0\r\nc=in ip4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8 101\r\na=RTPMAP:8 pcma/8000/1\r\na=rtpmap:101 Telephone-Event/8000\r\na=PTIME:20.0\r\na=SENDRECV\r\n"),
        ("a TTL, a port count, c= of the media", b"v=0\r\nc=IN IP4 198.51.100.1\r\nm=audio 4000/1 RTP/AVP 8 101\r\nc=IN IP4 192.0.2.1/127\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"),
        ("several c=: the first", b"v=0\r\nm=audio 4000 RTP/AVP 8 101\r\nc=IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.2\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"),
        ("an IPv4 address in IPv6", b"v=0\r\nc=IN IP6 ::ffff:192.0.2.1\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"),
        ("broken attributes", b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:\r\na=rtpmap:8\r\na=rtpmap:300 PCMU/8000\r\na=rtcp:\r\na=rtcp:x\r\na=ptime:x\r\na=ptime:20\r\na=ptime:99999\r\na=\r\na=:\r\na=rtpmap:101 telephone-event/8000\r\n"),
    ];
    for (what, bytes) in odd {
        assert_eq!(parse(bytes).as_ref(), Ok(&expected), "{what}");
    }
}

#[test]
fn what_a_number_stands_for_is_said_by_rtpmap_before_rfc_3551() {
    let cases = [
        ("m=audio 4000 RTP/AVP 8", "a=x", Encoding::Audio(Codec::Pcma)),
        ("m=audio 4000 RTP/AVP 0", "a=x", Encoding::Audio(Codec::Pcmu)),
        ("m=audio 4000 RTP/AVP 0", "a=rtpmap:0 PCMA/8000", Encoding::Audio(Codec::Pcma)),
        ("m=audio 4000 RTP/AVP 0", "a=rtpmap:0 PCMU/16000", Encoding::Unknown),
        ("m=audio 4000 RTP/AVP 8", "a=rtpmap:8 PCMA/8000/2", Encoding::Unknown),
        ("m=audio 4000 RTP/AVP 8", "a=rtpmap:8 PCMA", Encoding::Unknown),
        ("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 PCMU/8000", Encoding::Audio(Codec::Pcmu)),
        ("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 telephone-event/48000", Encoding::Unknown),
        ("m=audio 4000 RTP/AVP 97", "a=rtpmap:98 telephone-event/8000", Encoding::Unmapped),
        ("m=audio 4000 RTP/AVP 18", "a=x", Encoding::Unknown),
    ];
    for (media, attribute, encoding) in cases {
        let media = &offer(&[media, attribute]).media[0];
        assert_eq!(media.formats[0].encoding, encoding, "{attribute}");
    }
    let names = &offer(&["m=audio 4000 RTP/AVP 8 x 128 999999 -1 0"]).media[0];
    assert_eq!(names.formats.len(), 2);
    assert_eq!(&*names.format_list, b"8 x 128 999999 -1 0");
}

#[test]
fn every_way_of_being_malformed_has_its_name() {
    let lines = |count: usize| [b"v=0\n".to_vec(), b"a=x\n".repeat(count - 1)].concat();
    let line = |len: usize| [b"v=0\na=".to_vec(), vec![b'x'; len - 2]].concat();
    let media = |count: usize| b"m=audio 1 RTP/AVP 8\n".repeat(count);
    let formats = |count: usize| [b"m=audio 1 RTP/AVP".to_vec(), b" 8".repeat(count)].concat();
    let cases: Vec<(Vec<u8>, Option<SdpError>)> = vec![
        (lines(MAX_LINES), None),
        (lines(MAX_LINES + 1), Some(SdpError::TooManyLines)),
        (line(MAX_LINE), None),
        (line(MAX_LINE + 1), Some(SdpError::LineTooLong)),
        (media(MAX_MEDIA), None),
        (media(MAX_MEDIA + 1), Some(SdpError::TooManyMedia)),
        (formats(MAX_FORMATS), None),
        (formats(MAX_FORMATS + 1), Some(SdpError::TooManyFormats)),
        (b"".to_vec(), Some(SdpError::NotSdp)),
        (b"\r\n\r\n".to_vec(), Some(SdpError::NotSdp)),
        (b"INVITE sip:x SIP/2.0\r\nc=IN IP4 1.2.3.4".to_vec(), Some(SdpError::NotSdp)),
        (b"v=0".to_vec(), None),
        (b"m=".to_vec(), Some(SdpError::MalformedMedia)),
        (b"m=audio".to_vec(), Some(SdpError::MalformedMedia)),
        (b"m=audio 1".to_vec(), Some(SdpError::MalformedMedia)),
        (b"m=audio 1 RTP/AVP".to_vec(), None),
        (b"m=\xd5\xc5 1 RTP/AVP 8".to_vec(), Some(SdpError::MalformedMedia)),
        (b"m=audio 1 RTP/AVP 8\0 0".to_vec(), Some(SdpError::MalformedMedia)),
        (b"m=audio 1 RTP/AVP 8\x7f".to_vec(), Some(SdpError::MalformedMedia)),
        (b"m=audio 65536 RTP/AVP 8".to_vec(), Some(SdpError::MalformedPort)),
        (b"m=audio -1 RTP/AVP 8".to_vec(), Some(SdpError::MalformedPort)),
        (b"m=audio +1 RTP/AVP 8".to_vec(), Some(SdpError::MalformedPort)),
        (b"m=audio /2 RTP/AVP 8".to_vec(), Some(SdpError::MalformedPort)),
        (b"m=audio 65535 RTP/AVP 8".to_vec(), None),
    ];
    for (bytes, error) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(parse(&bytes).err(), error, "{shown}");
        assert!(error.is_none_or(SdpError::is_malformed));
    }
}

#[test]
fn every_error_has_a_label_of_its_own() {
    let labels: std::collections::HashSet<_> = SdpError::ALL.map(SdpError::label).into();
    assert_eq!(labels.len(), SdpError::ALL.len());
    assert_eq!(SdpError::ALL.iter().filter(|error| error.is_malformed()).count(), 7);
}

#[test]
fn an_answer_is_written_line_by_line() {
    let (negotiated, lines) = answered(
        &["m=audio 4000 RTP/AVP 18 0 8 96", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-16", "a=ptime:40"],
        &local(),
    )
    .unwrap();
    assert_eq!(
        lines,
        [
            "v=0",
            "o=- 4711 3 IN IP4 203.0.113.5",
            "s=-",
            "c=IN IP4 203.0.113.5",
            "t=0 0",
            "m=audio 30000 RTP/AVP 8 96",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:96 telephone-event/8000",
            "a=fmtp:96 0-15",
            "a=ptime:40",
            "a=sendrecv",
        ]
    );
    assert_eq!(
        negotiated,
        Negotiated {
            rtp: "192.0.2.1:4000".parse().unwrap(),
            rtcp: "192.0.2.1:4001".parse().unwrap(),
            format: LegFormat {
                codec: Codec::Pcma,
                payload_type: 8,
                telephone_event: Some(96),
                telephone_event_offered: None,
                ptime_ms: 40,
            },
            direction: BOTH,
            place: 0,
        }
    );
}

#[test]
fn the_codec_is_the_first_of_ours_that_the_offer_has_under_its_number() {
    use Codec::{Pcma, Pcmu};
    /// Media lines, our codecs, and what is settled under which number.
    type Case<'a> = (&'a [&'a str], &'a [Codec], Option<(Codec, u8)>);
    let cases: &[Case] = &[
        (&["m=audio 4000 RTP/AVP 0 8"], &[Pcma, Pcmu], Some((Pcma, 8))),
        (&["m=audio 4000 RTP/AVP 8 0"], &[Pcmu, Pcma], Some((Pcmu, 0))),
        (&["m=audio 4000 RTP/AVP 0"], &[Pcma, Pcmu], Some((Pcmu, 0))),
        (&["m=audio 4000 RTP/AVP 0"], &[Pcma], None),
        (&["m=audio 4000 RTP/AVP 18 101"], &[Pcma, Pcmu], None),
        (&["m=audio 4000 RTP/AVP 8 0"], &[], None),
        (&["m=audio 4000 RTP/AVP 97 0", "a=rtpmap:97 pcma/8000"], &[Pcma, Pcmu], Some((Pcma, 97))),
        (&["m=audio 4000 RTP/AVP"], &[Pcma], None),
    ];
    for (media, codecs, expected) in cases {
        let local = Local { codecs: codecs.to_vec(), ..local() };
        let settled = answered(media, &local).map(|(settled, lines)| {
            let format = settled.format;
            assert_eq!(media_lines(&lines)[0], format!("m=audio 30000 RTP/AVP {}", format.payload_type));
            (format.codec, format.payload_type)
        });
        assert_eq!(settled, expected.ok_or(SdpError::NoCommonCodec), "{media:?} {codecs:?}");
    }
}

#[test]
fn the_first_usable_audio_line_is_kept_and_the_others_are_refused_in_their_order() {
    let (negotiated, lines) = answered(
        &[
            "m=video 5000 RTP/AVP 96 97",
            "m=audio 0 RTP/AVP 8",
            "m=audio 4000 RTP/SAVP 8 0",
            "m=audio 4002 RTP/AVP 18",
            "m=audio 4004 RTP/AVPF 0 8",
            "m=audio 4006 RTP/AVP 8",
            "m=image 4008 udptl t38",
            "m=message 4010 TCP/MSRP *",
            "m=application 9 UDP/DTLS/SCTP",
        ],
        &local(),
    )
    .unwrap();
    assert_eq!(negotiated.rtp.port(), 4004);
    assert_eq!(
        media_lines(&lines),
        [
            "m=video 0 RTP/AVP 96 97",
            "m=audio 0 RTP/AVP 8",
            "m=audio 0 RTP/SAVP 8 0",
            "m=audio 0 RTP/AVP 18",
            "m=audio 30000 RTP/AVPF 8",
            "m=audio 0 RTP/AVP 8",
            "m=image 0 udptl t38",
            "m=message 0 TCP/MSRP *",
            "m=application 0 UDP/DTLS/SCTP 0",
        ]
    );
}

#[test]
fn an_offer_without_usable_audio_is_refused_with_the_first_reason() {
    let cases: &[(&[&str], SdpError)] = &[
        (&[], SdpError::NoCommonMedia),
        (&["m=audio 4000 RTP/SAVP 8"], SdpError::NoCommonMedia),
        (&["m=audio 4000 RTP/SAVPF 8"], SdpError::NoCommonMedia),
        (&["m=audio 4000 UDP/TLS/RTP/SAVP 8"], SdpError::NoCommonMedia),
        (&["m=audio 4000 UDP/TLS/RTP/SAVPF 8"], SdpError::NoCommonMedia),
        (&["m=audio 4000 TCP/RTP/AVP 8"], SdpError::NoCommonMedia),
        (&["m=audio 4000 RTP/SAVP 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"], SdpError::NoCommonMedia),
        (&["m=image 4000 udptl t38"], SdpError::NoCommonMedia),
        (&["m=image 4000 UDPTL T38", "a=T38FaxVersion:0", "a=T38MaxBitRate:14400"], SdpError::NoCommonMedia),
        (&["m=audio 0 RTP/AVP 8", "m=image 4000 udptl t38"], SdpError::NoCommonMedia),
        (&["m=audio 0 RTP/AVP 8"], SdpError::NoCommonMedia),
        (&["m=video 4000 RTP/AVP 8"], SdpError::NoCommonMedia),
        (&["m=audio 4000 RTP/AVP 9", "m=audio 1 RTP/AVP 8", "c=IN IP4 x"], SdpError::NoCommonCodec),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4 sbc.example.com"], SdpError::AddressNotIp),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4"], SdpError::AddressNotIp),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4 1.2.3"], SdpError::AddressNotIp),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP6 2001:db8::1"], SdpError::AddressFamily),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP6 2001:db8::1", "c=IN IP6 2001:db8::2"], SdpError::AddressFamily),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4 x.example", "c=IN IP4 192.0.2.2"], SdpError::AddressNotIp),
        (&["m=audio 4000 RTP/AVP 72", "a=rtpmap:72 PCMA/8000"], SdpError::NoCommonCodec),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4 224.2.1.1/127/3"], SdpError::AddressNotUnicast),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4 255.255.255.255"], SdpError::AddressNotUnicast),
    ];
    for (media, error) in cases {
        assert_eq!(answered(media, &local()), Err(*error), "{media:?}");
        assert!(!error.is_malformed());
    }
    let missing = parse(b"v=0\r\nm=audio 4000 RTP/AVP 8\r\n").unwrap();
    assert_eq!(answer(&missing, &local(), &mut Vec::new()), Err(SdpError::AddressMissing));
    let rescued = ["m=audio 4000 RTP/AVP 8", "c=IN IP4 x", "m=audio 4002 RTP/AVP 8"];
    assert_eq!(answered(&rescued, &local()).unwrap().0.rtp.port(), 4002);
}

#[test]
fn the_direction_is_mirrored_within_what_we_would_do() {
    let cases = [
        ("sendrecv", "sendrecv", (true, true)),
        ("sendonly", "recvonly", (false, true)),
        ("recvonly", "sendonly", (true, false)),
        ("inactive", "inactive", (false, false)),
    ];
    for (theirs, ours, (send, receive)) in cases {
        let direction = format!("a={theirs}");
        for media in [
            &["m=audio 4000 RTP/AVP 8", &direction][..],
            &["m=audio 4000 RTP/AVP 8", "a=inactive", &direction],
            &[&direction, "m=audio 4000 RTP/AVP 8"],
        ] {
            let (negotiated, lines) = answered(media, &local()).unwrap();
            assert_eq!(lines.last().unwrap(), &format!("a={ours}"));
            assert_eq!(negotiated.direction, Direction { send, receive });
        }
        let held = Local { direction: Direction { send: true, receive: false }, ..local() };
        let (negotiated, lines) = answered(&["m=audio 4000 RTP/AVP 8", &direction], &held).unwrap();
        let expected = if send { "a=sendonly" } else { "a=inactive" };
        assert_eq!(lines.last().unwrap(), expected);
        assert_eq!(negotiated.direction, Direction { send, receive: false });
    }
}

#[test]
fn an_unspecified_address_is_the_old_hold() {
    for (attribute, expected) in [("a=x", "a=recvonly"), ("a=sendonly", "a=recvonly"), ("a=inactive", "a=inactive")] {
        let media = ["m=audio 4000 RTP/AVP 8", "c=IN IP4 0.0.0.0", attribute];
        let (negotiated, lines) = answered(&media, &local()).unwrap();
        assert!(!negotiated.direction.send);
        assert_eq!(lines.last().unwrap(), expected);
    }
}

#[test]
fn rtcp_goes_to_the_next_port_or_where_the_peer_says() {
    let cases = [
        ("m=audio 4000 RTP/AVP 8", "a=x", "192.0.2.1:4001"),
        ("m=audio 65535 RTP/AVP 8", "a=x", "192.0.2.1:65535"),
        ("m=audio 4000 RTP/AVP 8", "a=rtcp:5000", "192.0.2.1:5000"),
        ("m=audio 4000 RTP/AVP 8", "a=rtcp:0", "192.0.2.1:4001"),
        ("m=audio 4000 RTP/AVP 8", "a=rtcp:5000 IN IP4 192.0.2.2", "192.0.2.2:5000"),
        ("m=audio 4000 RTP/AVP 8", "a=rtcp:5000 IN IP4 224.0.0.1", "192.0.2.1:5000"),
        ("m=audio 4000 RTP/AVP 8", "a=rtcp:5000 IN IP4 0.0.0.0", "192.0.2.1:5000"),
        ("m=audio 4000 RTP/AVP 8", "a=rtcp:5000 IN IP6 ::1", "192.0.2.1:5000"),
        ("m=audio 4000 RTP/AVP 8", "a=rtcp:5000 IN IP4 host", "192.0.2.1:5000"),
    ];
    for (media, attribute, rtcp) in cases {
        let (negotiated, _) = answered(&[media, attribute], &local()).unwrap();
        assert_eq!(negotiated.rtcp, rtcp.parse().unwrap(), "{attribute}");
    }
}

#[test]
fn the_packet_time_is_the_peers_wish_within_what_we_can() {
    let cases: &[(&[&str], u8)] = &[
        (&[], 20),
        (&["a=ptime:30"], 30),
        (&["a=ptime:0"], 10),
        (&["a=ptime:5"], 10),
        (&["a=ptime:200"], 60),
        (&["a=ptime:60", "a=maxptime:30"], 30),
        (&["a=maxptime:30", "a=ptime:60"], 30),
        (&["a=ptime:10", "a=maxptime:30"], 10),
        (&["a=maxptime:10"], 10),
        (&["a=maxptime:150"], 20),
        (&["a=maxptime:0"], 10),
        (&["a=ptime:99999", "a=maxptime:-1"], 20),
    ];
    for (attributes, ptime_ms) in cases {
        let (negotiated, lines) = answered(&[&["m=audio 4000 RTP/AVP 8"], *attributes].concat(), &local()).unwrap();
        assert_eq!(negotiated.format.ptime_ms, *ptime_ms, "{attributes:?}");
        assert!(lines.contains(&format!("a=ptime:{ptime_ms}")));
    }
}

#[test]
fn telephone_event_is_answered_only_when_both_have_it() {
    let with = ["m=audio 4000 RTP/AVP 8 96", "a=rtpmap:96 telephone-event/8000"];
    assert_eq!(answered(&with, &local()).unwrap().0.format.telephone_event, Some(96));
    assert_eq!(answered(&with[..1], &local()).unwrap().0.format.telephone_event, None);
    let without = Local { telephone_event: None, ..local() };
    let (negotiated, lines) = answered(&with, &without).unwrap();
    assert_eq!(negotiated.format.telephone_event, None);
    assert_eq!(media_lines(&lines), ["m=audio 30000 RTP/AVP 8"]);
}

#[test]
fn ipv6_is_answered_with_ipv6() {
    let local = Local { address: "2001:db8::5".parse().unwrap(), ..local() };
    let media = ["m=audio 4000 RTP/AVP 8", "c=IN IP6 2001:db8::1", "a=rtcp:4005 IN IP6 2001:db8::2"];
    let (negotiated, lines) = answered(&media, &local).unwrap();
    assert_eq!(negotiated.rtp, "[2001:db8::1]:4000".parse().unwrap());
    assert_eq!(negotiated.rtcp, "[2001:db8::2]:4005".parse().unwrap());
    assert!(lines.contains(&"c=IN IP6 2001:db8::5".to_owned()));
}

#[test]
fn the_address_is_the_nearest_of_our_ip_version() {
    let v6 = Local { address: "2001:db8::5".parse().unwrap(), ..local() };
    /// Media lines below a session level with 192.0.2.1, and where they lead on IPv4 and on IPv6.
    type Case<'a> = (&'a [&'a str], Result<&'a str, SdpError>, Result<&'a str, SdpError>);
    let family = SdpError::AddressFamily;
    let cases: &[Case] = &[
        (&["m=audio 4000 RTP/AVP 8"], Ok("192.0.2.1:4000"), Err(family)),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4 192.0.2.2"], Ok("192.0.2.2:4000"), Err(family)),
        // The media level's hides the session's, also where it is of no use to us.
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP6 2001:db8::1"], Err(family), Ok("[2001:db8::1]:4000")),
        (
            &["m=audio 4000 RTP/AVP 8", "c=IN IP6 2001:db8::1", "c=IN IP4 192.0.2.2", "c=IN IP4 192.0.2.3"],
            Ok("192.0.2.2:4000"),
            Ok("[2001:db8::1]:4000"),
        ),
        (&["c=IN IP6 2001:db8::1", "m=audio 4000 RTP/AVP 8"], Ok("192.0.2.1:4000"), Ok("[2001:db8::1]:4000")),
        // Two lines for one stream, as RFC 4091 has it: the first that we can reach.
        (
            &[
                "a=group:ANAT 1 2",
                "m=audio 4000 RTP/AVP 8",
                "c=IN IP6 2001:db8::1",
                "a=mid:1",
                "m=audio 4002 RTP/AVP 8",
                "a=mid:2",
            ],
            Ok("192.0.2.1:4002"),
            Ok("[2001:db8::1]:4000"),
        ),
    ];
    for (media, on_v4, on_v6) in cases {
        for (local, expected) in [(&local(), on_v4), (&v6, on_v6)] {
            let rtp = answered(media, local).map(|(negotiated, lines)| {
                let own = format!("c=IN {} {}", if local.address.is_ipv4() { "IP4" } else { "IP6" }, local.address);
                assert!(lines.contains(&own));
                negotiated.rtp
            });
            assert_eq!(rtp, expected.map(|address| address.parse().unwrap()), "{media:?} on {}", local.address);
        }
    }
}

/// Each attribute or address of a hold, in an offer and in an answer, on both IP versions, and the way back.
#[test]
fn a_hold_in_any_way_of_writing_it_holds_and_is_undone() {
    let v6 = Local { address: "2001:db8::5".parse().unwrap(), ..local() };
    let hold: &[(&[&str], bool, bool)] = &[
        (&["a=sendonly"], false, true),
        (&["a=inactive"], false, false),
        (&["a=recvonly"], true, false),
        (&["c=IN IP4 0.0.0.0"], false, true),
        (&["c=IN IP6 ::"], false, true),
        (&["c=IN IP4 0.0.0.0", "a=sendonly"], false, true),
        (&["c=IN IP4 0.0.0.0", "a=inactive"], false, false),
        (&[], true, true),
        (&["a=sendrecv"], true, true),
    ];
    for (local, address) in [(&local(), "c=IN IP4 192.0.2.1"), (&v6, "c=IN IP6 2001:db8::1")] {
        for (attributes, send, receive) in hold {
            let has_address = attributes.iter().any(|line| line.starts_with("c="));
            let address: &[&str] = if has_address { &[] } else { &[address] };
            let media = [&["m=audio 4000 RTP/AVP 8"], address, *attributes].concat();
            let expected = Direction { send: *send, receive: *receive };
            let (negotiated, lines) = answered(&media, local).unwrap();
            assert_eq!(negotiated.direction, expected, "{media:?}");
            assert_eq!(negotiated.rtp.is_ipv4(), local.address.is_ipv4());
            assert_eq!(lines.last().unwrap()[2..], *Attribute::from(expected).as_str(), "{media:?}");
            assert_eq!(accept_answer(&offer(&media), local).unwrap().direction, expected);
        }
    }
}

/// What offers hold beside what we use. The answer to each is the one to the plain offer, line by line.
#[test]
fn nothing_that_we_cannot_do_is_answered() {
    let plain = answered(&["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"], &local()).unwrap();
    let before: &[&[&str]] = &[
        &["a=group:BUNDLE audio"],
        &["a=ice-lite", "a=ice-ufrag:F7gI", "a=ice-pwd:x9cml/YzichV2+XlhiMu8g", "a=ice-options:trickle"],
        &["a=fingerprint:sha-256 00:11", "a=setup:actpass", "a=msid-semantic: WMS *", "a=extmap-allow-mixed"],
        &["a=csup:foo-0", "a=creq:bar-1", "a=tcap:1 RTP/SAVP"],
        &["b=AS:84", "b=TIAS:64000", "k=prompt", "z=2882844526 -1h 2898848070 0", "r=604800 3600 0 90000"],
    ];
    let after: &[&[&str]] = &[
        &["a=rtcp-mux"],
        &["a=rtcp-mux-only", "a=mid:audio", "a=bundle-only"],
        &["a=candidate:1 1 UDP 2130706431 192.0.2.1 8998 typ host", "a=remote-candidates:1 192.0.2.1 4000"],
        &["a=end-of-candidates", "a=ice-mismatch"],
        &["a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4"],
        &["a=rtcp-fb:* nack", "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level", "a=ssrc:7 cname:x"],
        &["a=rtcp-xr:voip-metrics", "a=rtcp-rsize", "a=silenceSupp:on - - - -", "a=ecan:fb on -"],
        &["a=pcfg:1 t=1", "a=acfg:1 t=1", "a=altc:1 IP6 2001:db8::1 4000", "a=des:qos mandatory local sendrecv"],
        &["a=fmtp:101 0-16,32-49", "a=fmtp:8 annexb=no", "a=rtpmap:13 CN/8000", "a=gpmd:101 vbd=yes"],
    ];
    for session in before {
        for media in after {
            let audio = ["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"];
            assert_eq!(
                answered(&[*session, &audio, *media].concat(), &local()).unwrap(),
                plain,
                "{session:?} {media:?}"
            );
        }
    }
}

#[test]
fn all_that_is_wrong_around_a_good_audio_line_is_passed_over() {
    let expected = answer(&offer(&["m=audio 4000 RTP/AVP 8"]), &local(), &mut Vec::new()).unwrap();
    let huge = "9".repeat(400);
    let cases: &[(&str, Vec<u8>)] = &[
        ("huge numbers in o=", format!("v=0\r\no=- {huge} {huge} IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt={huge} {huge}\r\nm=audio 4000 RTP/AVP 8\r\n").into()),
        ("negative numbers in o=", b"v=0\r\no=- -1 -1 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n".to_vec()),
        ("an o= of one word", b"v=0\r\no=x\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n".to_vec()),
        ("bytes that are no UTF-8", b"v=0\r\ns=\xff\xfe\xc0\x80\r\ni=\xd5\xc5\x80\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\ni=\xed\xa0\x80\r\na=\xff:\xff\r\n".to_vec()),
        ("LF alone", b"v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 8\n".to_vec()),
        ("CRLF and LF mixed", b"v=0\r\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 8\r\n\n\r".to_vec()),
        ("neither s= nor t=", b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8".to_vec()),
        ("garbage behind", b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n\r\n--boundary--\r\n\x00\x01\x02 SIP/2.0 200 OK\r\n".to_vec()),
        ("garbage before", b"garbage\r\n\r\nv=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n".to_vec()),
        ("v= of another version", b"v=1\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n".to_vec()),
        ("a huge packet time", format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\na=ptime:{huge}\r\na=maxptime:{huge}\r\na=rtcp:{huge}\r\na=rtpmap:{huge} PCMU/8000\r\na=rtpmap:8 PCMA/8000/1\r\n").into()),
    ];
    for (what, bytes) in cases {
        let description = parse(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut out = Vec::new();
        assert_eq!(answer(&description, &local(), &mut out), Ok(expected), "{what}");
        check_with_another_reader(std::str::from_utf8(&out).unwrap());
    }
    for port in [&huge, "65536", "4000.5", "0x10", "４０００"] {
        let offer = format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio {port} RTP/AVP 8\r\n");
        assert!(parse(offer.as_bytes()).is_err_and(SdpError::is_malformed), "{port}");
    }
}

#[test]
fn telephone_events_are_those_at_8000_and_each_leg_has_its_own_number() {
    let cases: &[(&[&str], Option<u8>)] = &[
        (
            &[
                "m=audio 4000 RTP/AVP 8 97 101",
                "a=rtpmap:97 telephone-event/16000",
                "a=rtpmap:101 telephone-event/8000",
            ],
            Some(101),
        ),
        (&["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/16000"], None),
        (&["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/48000"], None),
        (&["m=audio 4000 RTP/AVP 8 100", "a=rtpmap:100 telephone-event/8000"], Some(100)),
        (&["m=audio 4000 RTP/AVP 8 127", "a=rtpmap:127 TELEPHONE-EVENT/8000/1"], Some(127)),
        (
            &["m=audio 4000 RTP/AVP 8 96 101", "a=rtpmap:96 telephone-event/8000", "a=rtpmap:101 telephone-event/8000"],
            Some(96),
        ),
        (&["m=audio 4000 RTP/AVP 8", "a=rtpmap:101 telephone-event/8000"], None),
    ];
    for (media, expected) in cases {
        let (negotiated, lines) = answered(media, &local()).unwrap();
        assert_eq!(negotiated.format.telephone_event, *expected, "{media:?}");
        assert_eq!(negotiated.format.telephone_event_offered, None, "in an answer of ours both numbers are theirs");
        let line = expected.map(|number| format!("a=rtpmap:{number} telephone-event/8000"));
        assert!(line.is_none_or(|line| lines.contains(&line)));
        assert!(!lines.iter().any(|line| line.contains("16000") || line.contains("48000")));
    }
    /// An answer, and the numbers that its sender is sent events with and that they are taken from it with besides.
    type Case<'a> = (&'a [&'a str], Option<u8>, Option<u8>);
    let cases: &[Case] = &[
        (&["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"], Some(101), None),
        (&["m=audio 4000 RTP/AVP 8 97", "a=rtpmap:97 telephone-event/8000"], Some(97), Some(101)),
        (&["m=audio 4000 RTP/AVP 8 97 101", "a=rtpmap:97 telephone-event/8000"], Some(97), Some(101)),
        (
            &["m=audio 4000 RTP/AVP 8 97 101", "a=rtpmap:97 telephone-event/8000", "a=rtpmap:101 PCMU/8000"],
            Some(97),
            None,
        ),
        (&["m=audio 4000 RTP/AVP 8"], None, None),
    ];
    for (media, sent_with, taken_with) in cases {
        let format = accept_answer(&offer(media), &local()).unwrap().format;
        assert_eq!((format.telephone_event, format.telephone_event_offered), (*sent_with, *taken_with), "{media:?}");
        for payload_type in 0..128 {
            let is_event = Some(payload_type) == *sent_with || Some(payload_type) == *taken_with;
            assert_eq!(format.takes_event(payload_type), is_event);
        }
    }
}

#[test]
fn nothing_of_an_offer_is_in_its_answer() {
    let bytes = sdp(&[
        "v=0",
        "o=canary-o 1357924680 2468013579 IN IP4 canary-host.example",
        "s=canary-s",
        "i=canary-i",
        "u=http://canary-u.example/",
        "e=canary-e@example.com",
        "p=+86canary-p13912345678",
        "c=IN IP4 192.0.2.77",
        "b=canary-b:99",
        "t=1357924680 1357924690",
        "k=clear:canary-k",
        "a=canary-a:13912345678",
        "a=tool:canary-tool",
        "m=audio 4077 RTP/AVP 8 101",
        "i=canary-title",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000/1",
        "a=fmtp:101 canary-fmtp",
        "a=rtcp:4999 IN IP4 192.0.2.99",
        "a=ssrc:1 cname:canary-cname",
        "a=label:canary-label",
        "m=video 4078 RTP/AVP 96",
        "a=rtpmap:96 canary-codec/90000",
    ]);
    let mut out = Vec::new();
    answer(&parse(&bytes).unwrap(), &local(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for word in ["canary", "139", "1357924", "2468013", "192.0.2", "4077", "4078", "4999"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

/// The codec, its payload type, and telephone-event's.
type Settled = Result<(Codec, u8, Option<u8>), SdpError>;

#[test]
fn an_answer_to_our_offer_is_taken() {
    let cases: &[(&[&str], Settled)] = &[
        (&["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"], Ok((Codec::Pcma, 8, Some(101)))),
        (&["m=audio 4000 RTP/AVP 0 8"], Ok((Codec::Pcmu, 0, None))),
        (&["m=audio 4000 RTP/AVP 8 101"], Ok((Codec::Pcma, 8, Some(101)))),
        (&["m=audio 4000 RTP/AVP 8 97", "a=rtpmap:97 telephone-event/8000"], Ok((Codec::Pcma, 8, Some(97)))),
        (&["m=audio 4000 RTP/AVP 18 13 0"], Ok((Codec::Pcmu, 0, None))),
        (&["m=audio 4000 RTP/AVP 18"], Err(SdpError::FormatNotOffered)),
        (&["m=audio 4000 RTP/AVP 8", "a=rtpmap:8 G729/8000"], Err(SdpError::FormatNotOffered)),
        (&["m=audio 4000 RTP/AVP"], Err(SdpError::FormatNotOffered)),
        (&["m=audio 0 RTP/AVP 8"], Err(SdpError::MediaRefused)),
        (&["m=audio 0 RTP/AVP"], Err(SdpError::MediaRefused)),
        (&["m=audio 4000 RTP/SAVP 8"], Err(SdpError::NoCommonMedia)),
        (&["m=video 4000 RTP/AVP 8"], Err(SdpError::NoCommonMedia)),
        (&["m=audio 4000 RTP/AVP 8", "c=IN IP4 a.example"], Err(SdpError::AddressNotIp)),
        (&[], Err(SdpError::MediaCount)),
        (&["m=audio 4000 RTP/AVP 8", "m=video 0 RTP/AVP 31"], Err(SdpError::MediaCount)),
    ];
    for (media, expected) in cases {
        let settled = accept_answer(&offer(media), &local()).map(|settled| {
            let LegFormat { codec, payload_type, telephone_event, ptime_ms, telephone_event_offered: _ } =
                settled.format;
            assert_eq!(ptime_ms, 20);
            (codec, payload_type, telephone_event)
        });
        assert_eq!(settled, *expected, "{media:?}");
    }
    let only_alaw = Local { codecs: vec![Codec::Pcma], telephone_event: None, ..local() };
    assert_eq!(accept_answer(&offer(&["m=audio 4000 RTP/AVP 0"]), &only_alaw), Err(SdpError::FormatNotOffered));
    let settled = accept_answer(&offer(&["m=audio 4000 RTP/AVP 0 8 101"]), &only_alaw).unwrap();
    assert_eq!((settled.format.codec, settled.format.telephone_event), (Codec::Pcma, None));
    let held = accept_answer(&offer(&["m=audio 4000 RTP/AVP 8", "a=recvonly"]), &local()).unwrap();
    assert_eq!(held.direction, Direction { send: true, receive: false });
}

#[test]
fn an_offer_of_ours_keeps_the_refused_lines_of_the_dialog_in_their_places() {
    let theirs = offer(&["m=video 4000 RTP/AVP 96", "m=audio 4002 RTP/AVP 8", "m=application 4004 UDP/BFCP *"]);
    let mut ours = local();
    let negotiated = answer(&theirs, &ours, &mut Vec::new()).unwrap();
    ours.beside = Beside::of(&theirs, negotiated.place);
    let mut out = Vec::new();
    write_offer(&ours, &mut out);
    let lines: Vec<_> = parse(&out).unwrap().media.iter().map(|media| (media.media_type.clone(), media.port)).collect();
    let line = |kind: &str, port| (kind.as_bytes().into(), port);
    assert_eq!(lines, [line("video", 0), line("audio", 30_000), line("application", 0)]);
    let answered = offer(&["m=video 0 RTP/AVP 96", "m=audio 4002 RTP/AVP 8", "m=application 0 UDP/BFCP *"]);
    assert_eq!(accept_answer(&answered, &ours).unwrap().rtp.port(), 4002);
    assert_eq!(accept_answer(&offer(&["m=audio 4002 RTP/AVP 8"]), &ours), Err(SdpError::MediaCount));
}

#[test]
fn our_offer_and_our_answer_settle_the_same_for_both() {
    let mut random = Random::new(3264);
    for _ in 0..2000 {
        let mut side = |last: u8, port| Local {
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
            port,
            session_id: random.next_u64(),
            version: random.next_u64(),
            codecs: [&[Codec::Pcma][..], &[Codec::Pcmu], &[Codec::Pcma, Codec::Pcmu], &[Codec::Pcmu, Codec::Pcma]]
                [(random.next_u32() % 4) as usize]
                .to_vec(),
            telephone_event: [None, Some(101), Some(96)][(random.next_u32() % 3) as usize],
            ptime_ms: [10, 20, 30, 40, 60][(random.next_u32() % 5) as usize],
            direction: Direction {
                send: !random.next_u32().is_multiple_of(4),
                receive: !random.next_u32().is_multiple_of(4),
            },
            beside: Beside::default(),
        };
        let (offerer, answerer) = (side(1, 30_000), side(2, 40_000));
        let (mut offered, mut answered) = (Vec::new(), Vec::new());
        write_offer(&offerer, &mut offered);
        let Ok(theirs) = answer(&parse(&offered).unwrap(), &answerer, &mut answered) else {
            assert!(!offerer.codecs.iter().any(|codec| answerer.codecs.contains(codec)));
            continue;
        };
        let ours = accept_answer(&parse(&answered).unwrap(), &offerer).unwrap();
        assert_eq!(ours.format, theirs.format);
        assert_eq!(ours.rtp, "192.0.2.2:40000".parse().unwrap());
        assert_eq!(theirs.rtcp, "192.0.2.1:30001".parse().unwrap());
        assert_eq!((ours.direction.send, ours.direction.receive), (theirs.direction.receive, theirs.direction.send));
    }
}

#[test]
fn no_mutation_and_no_truncation_panics_and_every_answer_has_as_many_lines_as_its_offer() {
    let base = sdp(&[
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 4000 RTP/AVP 8 0 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=maxptime:60",
        "a=rtcp:4005 IN IP4 192.0.2.1",
        "a=sendonly",
        "m=video 0 RTP/AVP 96",
    ]);
    let local = local();
    let mut taken = 0;
    let mut check = |bytes: &[u8]| {
        let Ok(description) = parse(bytes) else {
            return;
        };
        let _ = accept_answer(&description, &local);
        let mut out = Vec::new();
        if answer(&description, &local, &mut out).is_ok() {
            taken += 1;
            let answered = parse(&out).unwrap();
            assert_eq!(answered.media.len(), description.media.len());
            assert_eq!(answered.media.iter().filter(|media| media.port != 0).count(), 1);
            assert!(out.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~')));
        }
    };
    for len in 0..base.len() {
        check(&base[..len]);
        check(&base[len..]);
    }
    let mut random = Random::new(8866);
    for _ in 0..60_000 {
        let mut bytes = base.clone();
        for _ in 0..=random.next_u32() % 6 {
            let at = random.next_u32() as usize % bytes.len();
            let byte = match random.next_u32() % 3 {
                0 => random.next_u32() as u8,
                1 => b"\r\n =:/0918acmv\0\t"[random.next_u32() as usize % 16],
                _ => base[random.next_u32() as usize % base.len()],
            };
            match random.next_u32() % 4 {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => {
                    let to = (at + random.next_u32() as usize % 40).min(bytes.len());
                    let copy = bytes[at..to].to_vec();
                    let into = random.next_u32() as usize % bytes.len();
                    bytes.splice(into..into, copy);
                }
            }
        }
        check(&bytes);
    }
    assert!(taken > 1000, "{taken} of the mutations were still offers");
}
