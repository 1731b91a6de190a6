//! No bytes make the reader panic, and nothing that is written can begin a line of its own.

use bytes::Bytes;
use sip::framing::Framer;
use sip::limits::Limits;
use sip::message::{HeaderName, List, Message, NameAddr, Uri, Via, write};

const SAMPLES: [&[u8]; 4] = [
    b"INVITE sip:0218@[2001:db8::5]:5070;lr?x=y SIP/2.0\r\nVia: SIP/2.0/UDP a:5060;branch=z9hG4bKa;rport, SIP / 2.0 / TCP b\r\n\
        Max-Forwards: 7\r\nFrom: \"a\\\"b\" <sip:a@b>;tag=x\r\nTo:\r\n <tel:+86>\r\nCall-ID: c@d\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:a@b:5060>;q=\"1\", *\r\nRecord-Route: <sip:p;lr>, <sip:q>\r\nReason: Q.850;cause=16\r\nRetry-After: 3\r\n\
        Content-Type: multipart/mixed;boundary=\"b\"\r\nContent-Length: 60\r\n\r\n\
        --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b\r\n\r\n--b--\r\n\r\n\0",
    b"SIP/2.0 486 Busy Here\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;received=192.0.2.3;rport=9\r\nf: sip:a@b;tag=1\r\n\
        t: sip:c@d;tag=2\r\ni: x\r\nCSeq: 5 BYE\r\nReason: SIP ; cause=600;text=\"x\"\r\nl: 0\r\n\r\n",
    b"\r\nOPTIONS  tel:1 SIP/3.0 \nv:SIP/2.0/T h\nf:<x:y>\nt:<x:y>\ni:1\ncseq:1 OPTIONS\nk: a,b\n\n",
    b"ACK sip:x SIP/2.0\r\nVia: SIP/2.0/TLS h;maddr=224.0.0.1;branch=b\r\nFrom: <sip:a>;tag=\r\nTo: \"\xc0\\\" <sip:a>\r\n\
        Call-ID: \0\r\nCSeq: 1 BYE\r\nContent-Length: 9\r\n\r\n",
];

/// Reads everything that can be read on demand, and answers where one can.
fn read_all(bytes: &[u8]) {
    let limits = Limits::default();
    let message = match Message::parse(Bytes::copy_from_slice(bytes), &limits) {
        Ok(message) => message,
        Err(rejected) => {
            let Some(request) = rejected.request else { return };
            assert!(request.is_request());
            request
        }
    };
    for header in message.headers() {
        for element in List::of(header.value) {
            let _ = NameAddr::parse(element).map(|address| {
                (
                    address.name().len(),
                    address.tag().len(),
                    Uri::parse(address.uri).map(|uri| uri.user_unescaped().len()),
                )
            });
            let _ = Via::parse(element).map(|via| via.params.iter().count());
        }
    }
    let _ = (message.vias().count(), message.contact(), message.max_forwards(), message.from(), message.to());
    let _ =
        (message.q850(), message.reasons().count(), message.retry_after(), message.content_type(), message.sdp_body());
    let _ = (message.top_via(), message.cseq(), message.reason(), message.status(), message.method_bytes());
    if message.is_request() {
        let mut out = Vec::new();
        write::response_to(&mut out, &message, 400, "Bad", b"t", "192.0.2.9:5070".parse().ok());
        write::record_routes(&mut out, &message);
        write::finish(&mut out, None, b"");
        let text = out.escape_ascii().to_string();
        let lists = message.values(HeaderName::Via).count() + message.values(HeaderName::RecordRoute).count();
        // An empty Call-ID is none.
        let has = |name| message.header(name).is_some_and(|value| name != HeaderName::CallId || !value.is_empty());
        let single = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq].into_iter();
        // The status line, Content-Length and the blank line.
        let lines = lists + single.filter(|name| has(*name)).count() + 3;
        assert_eq!(out.windows(2).filter(|end| end == b"\r\n").count(), lines, "{text}");
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), lines, "{text}");
    }
}

fn feed(bytes: &[u8]) {
    read_all(bytes);
    let mut framer = Framer::new(&Limits::default());
    framer.push(bytes);
    while let Ok(Some(_)) = framer.poll() {}
}

#[test]
fn every_prefix_and_every_suffix_is_survived() {
    for sample in SAMPLES {
        for at in 0..=sample.len() {
            feed(&sample[..at]);
            feed(&sample[at..]);
        }
    }
}

#[test]
fn every_byte_may_be_any_other() {
    for sample in SAMPLES {
        let mut bytes = sample.to_vec();
        for at in 0..bytes.len() {
            let kept = bytes[at];
            for other in b"\0\t\n\r \"%'()*,-./09:;<=>?@AZ[\\]az{}\x7f\x80\xff" {
                bytes[at] = *other;
                feed(&bytes);
            }
            bytes[at] = kept;
        }
    }
}

#[test]
fn pieces_may_be_missing_doubled_or_in_another_order() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = SAMPLES[draw(SAMPLES.len())].to_vec();
        for _ in 0..=draw(4) {
            let other = SAMPLES[draw(SAMPLES.len())];
            let (from, at) = (draw(other.len()), draw(bytes.len() + 1));
            let to = from + draw((other.len() - from).min(40));
            let cut = (at + draw(30)).min(bytes.len());
            bytes.splice(at..cut, other[from..to].iter().copied());
        }
        feed(&bytes);
    }
}

#[test]
fn a_message_made_to_be_slow_is_not() {
    // Each of these is 60 kB of what a careless reader looks through again for every byte.
    let head = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: 1\r\n\
        CSeq: 1 OPTIONS\r\n";
    for filler in ["--b", "--b\r\n", "\r\n--b\r\nContent-Type: text/plain\r\n\r\n"] {
        let text =
            format!("{head}Content-Type: multipart/mixed;boundary=b\r\n\r\n{}", filler.repeat(59_000 / filler.len()));
        read_all(text.as_bytes());
    }
    for filler in [";", "\"", "<", ",", "a=\"", "\\", " ", "\r\n ", ";tag"] {
        let line = filler.repeat(8_000 / filler.len());
        let text = format!("{head}{}\r\n", format!("Contact: {line}\r\n").repeat(7));
        read_all(text.as_bytes());
    }
}

#[test]
fn nothing_written_can_begin_a_line_or_end_a_part() {
    let evil = b"x\r\nEvil: 1\n\rEvil: 2\0 <>\" \x7f";
    let mut out = Vec::new();
    write::request(&mut out, "INVITE", evil);
    write::header(&mut out, "Subject", evil);
    let mut user = Vec::new();
    write::escape_user(&mut user, evil);
    write::header(&mut out, "To", &[b"<sip:", &user[..], b"@a>"].concat());
    let mut display = Vec::new();
    write::quote_display(&mut display, evil);
    write::header(&mut out, "From", &[&display[..], b" <sip:a@b>;tag=1"].concat());
    write::header(&mut out, "Via", b"SIP/2.0/UDP a;branch=z9hG4bKa");
    write::header(&mut out, "Call-ID", b"1");
    write::header(&mut out, "CSeq", b"1 INVITE");
    write::finish(&mut out, Some(evil), evil);
    let message = Message::parse(out.into(), &Limits::default()).unwrap();
    assert_eq!(message.headers().count(), 8);
    assert_eq!(message.request_uri(), b"x%0D%0AEvil:%201%0A%0DEvil:%202%00%20%3C%3E%22%20%7F");
    assert_eq!(&*Uri::parse(message.to().unwrap().uri).unwrap().user_unescaped(), evil);
    assert_eq!(&*message.from().unwrap().name(), b"x  Evil: 1  Evil: 2  <>\"  ");
    assert_eq!(message.body(), evil);

    let mut out = Vec::new();
    write::response_to(&mut out, &message, 200, "OK\r\nEvil: 3", b"t\r\nEvil: 4", None);
    write::finish(&mut out, None, b"");
    assert!(!out.windows(7).any(|window| window == b"\r\nEvil:"), "{}", out.escape_ascii());
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 8);
}

#[test]
fn what_is_written_is_read_back() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..3_000 {
        let mut bytes = |most: u64| -> Vec<u8> { (0..draw() % (most + 1)).map(|_| (draw() >> 32) as u8).collect() };
        let (user, display, value, body) = (bytes(12), bytes(12), bytes(40), bytes(60));
        let mut uri = b"sip:".to_vec();
        write::escape_user(&mut uri, &user);
        uri.extend_from_slice(b"@192.0.2.1");
        let mut from = Vec::new();
        write::quote_display(&mut from, &display);
        from.extend_from_slice(&[b" <", &uri[..], b">;tag=1"].concat());
        let mut out = Vec::new();
        write::request(&mut out, "INFO", &uri);
        write::header(&mut out, "Via", b"SIP/2.0/TCP a;branch=z9hG4bKa");
        write::header(&mut out, "From", &from);
        write::header(&mut out, "To", b"<sip:b>");
        write::header(&mut out, "Call-ID", b"1");
        write::header(&mut out, "CSeq", b"1 INFO");
        write::header(&mut out, "Subject", &value);
        write::finish(&mut out, Some(b"a/b"), &body);

        let mut framer = Framer::new(&Limits::default());
        framer.push(&out);
        assert_eq!(framer.poll(), Ok(Some(sip::framing::Frame::Message(out.clone().into()))));
        let message = Message::parse(out.into(), &Limits::default()).unwrap();
        assert_eq!(message.headers().count(), 8);
        assert_eq!(&*Uri::parse(message.request_uri()).unwrap().user_unescaped(), user);
        let said: Vec<u8> = display.iter().map(|byte| if *byte < 32 || *byte == 127 { b' ' } else { *byte }).collect();
        assert_eq!(&*message.from().unwrap().name(), said);
        let blank = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\t' | b' ' | 0);
        let words =
            |text: &[u8]| text.split(blank).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(words(message.header(HeaderName::Subject).unwrap()), words(&value), "nothing but blanks is lost");
        assert_eq!(message.body(), body);
    }
}
