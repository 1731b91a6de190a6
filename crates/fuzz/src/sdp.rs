//! Target `sdp`.

use std::net::IpAddr;

use media::sdp::{self, Attribute, Description, Encoding, Local, MAX_FORMATS, MAX_MEDIA, Negotiated};
use media::{Codec, Direction};

use crate::input::Input;

const CODECS: &[&[Codec]] = &[&[Codec::Pcma, Codec::Pcmu], &[Codec::Pcmu, Codec::Pcma], &[Codec::Pcma], &[Codec::Pcmu]];

/// See the [crate's](crate) table. The first two bytes say what we can.
pub fn sdp(data: &[u8]) {
    let mut input = Input::new(data);
    let (codecs, flags) = (input.pick(CODECS), input.byte());
    let address: IpAddr = if flags & 8 == 0 { [203, 0, 113, 9].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    let local = Local {
        address,
        port: 30_000,
        session_id: u64::from(flags),
        version: 1,
        codecs: codecs.to_vec(),
        telephone_event: (flags & 1 == 0).then_some(sdp::TELEPHONE_EVENT),
        ptime_ms: 20,
        direction: Direction { send: flags & 2 == 0, receive: flags & 4 == 0 },
        beside: media::sdp::Beside::default(),
    };
    let bytes = input.rest();
    let Ok(description) = sdp::parse(bytes) else { return };
    assert!(description.media.len() <= MAX_MEDIA);
    for media in &description.media {
        assert!(media.formats.len() <= MAX_FORMATS);
        assert!(media.formats.iter().all(|format| format.payload_type < 128));
        let visible = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        assert!(visible(&media.media_type) && visible(&media.protocol) && visible(&media.format_list));
    }
    as_offer(&description, &local);
    if let Ok(negotiated) = sdp::accept_answer(&description, &local) {
        let [media] = &description.media[..] else { panic!("an answer has as many m= lines as the offer: one") };
        settled(&negotiated, media, &local);
    }
}

fn as_offer(offer: &Description, local: &Local) {
    let mut out = Vec::new();
    let Ok(negotiated) = sdp::answer(offer, local, &mut out) else {
        assert!(out.is_empty(), "nothing is written where nothing is settled");
        return;
    };
    let text = out.escape_ascii().to_string();
    let answer = sdp::parse(&out).unwrap_or_else(|error| panic!("{error:?}: {text}"));
    assert_eq!(answer.media.len(), offer.media.len(), "RFC 3264 §6: an m= line for each: {text}");
    let kept: Vec<usize> = (0..answer.media.len()).filter(|place| answer.media[*place].port != 0).collect();
    let [kept] = kept[..] else { panic!("one stream is kept: {text}") };
    let (theirs, ours) = (&offer.media[kept], &answer.media[kept]);
    settled(&negotiated, theirs, local);
    assert_eq!((ours.port, ours.address), (local.port, sdp::Address::Ip(local.address)), "{text}");
    assert_eq!((&ours.media_type, &ours.protocol), (&b"audio"[..].into(), &upper(&theirs.protocol)), "{text}");
    let formats: Vec<_> = ours.formats.iter().map(|format| (format.payload_type, format.encoding)).collect();
    let format = negotiated.format;
    let mut expected = vec![(format.payload_type, Encoding::Audio(format.codec))];
    expected.extend(format.telephone_event.map(|payload_type| (payload_type, Encoding::TelephoneEvent)));
    assert_eq!(formats, expected, "{text}");
    assert_eq!(ours.direction, Attribute::from(negotiated.direction), "{text}");
    for (place, (ours, theirs)) in answer.media.iter().zip(&offer.media).enumerate() {
        if place != kept {
            assert_eq!((&ours.media_type, &ours.protocol), (&theirs.media_type, &theirs.protocol), "{text}");
        }
    }
    // An independent reader sees as many.
    let second = sdp_types::Session::parse(&out).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(second.medias.len(), offer.media.len(), "{text}");
    assert_eq!(second.medias.iter().filter(|media| media.port != 0).count(), 1, "{text}");
}

fn upper(protocol: &[u8]) -> Box<[u8]> {
    protocol.to_ascii_uppercase().into()
}

/// What is settled stands in their line, and we can do it.
fn settled(negotiated: &Negotiated, theirs: &sdp::Media, local: &Local) {
    let format = negotiated.format;
    assert!(local.codecs.contains(&format.codec));
    let has = |payload_type, encoding| {
        theirs.formats.iter().any(|known| (known.payload_type, known.encoding) == (payload_type, encoding))
    };
    assert!(has(format.payload_type, Encoding::Audio(format.codec)));
    if let Some(event) = format.telephone_event {
        assert!(local.telephone_event.is_some() && event != format.payload_type);
        assert!(has(event, Encoding::TelephoneEvent) || has(event, Encoding::Unmapped));
    }
    assert!((10..=60).contains(&format.ptime_ms));
    assert!(
        (local.direction.send || !negotiated.direction.send)
            && (local.direction.receive || !negotiated.direction.receive)
    );
    assert_eq!(negotiated.rtp.port(), theirs.port);
    assert_eq!(negotiated.rtp.is_ipv4(), local.address.is_ipv4());
    let ip = negotiated.rtp.ip();
    assert!(!ip.is_multicast() && ip != IpAddr::from([255, 255, 255, 255]));
    assert!(!negotiated.direction.send || !ip.is_unspecified());
    assert!(!negotiated.rtcp.ip().is_multicast());
}
