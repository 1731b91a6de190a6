//! Target `message`.

use std::net::SocketAddr;

use bytes::Bytes;
use sip::dialog::Dialog;
use sip::limits::Limits;
use sip::message::{HeaderName, List, Message, NameAddr, ParseError, Uri, Via, write};

/// See the [crate's](crate) table.
pub fn message(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    match Message::parse(bytes.clone(), &Limits::default()) {
        Ok(message) => {
            read_all(&message);
            look_up(&message);
            rewrite(&message);
            answer(&message);
            compare(&message, &bytes);
        }
        Err(rejected) => {
            assert!(ParseError::ALL.contains(&rejected.error));
            assert!((400..=513).contains(&rejected.error.status()));
            if let Some(request) = rejected.request {
                assert!(request.is_request());
                read_all(&request);
                let out = answered(&request);
                assert_lines(&out);
            }
        }
    }
}

/// Reads all that can be read on demand.
fn read_all(message: &Message) {
    for header in message.headers() {
        let mut behind = header.value.as_ptr() as usize;
        for element in List::of(header.value) {
            // Each byte is in one element at most.
            let at = element.as_ptr() as usize;
            assert!(!element.is_empty() && at >= behind);
            behind = at + element.len();
            if let Ok(address) = NameAddr::parse(element) {
                let _ = (address.name(), address.tag(), address.params.iter().count());
                if let Ok(uri) = Uri::parse(address.uri) {
                    let unescaped = uri.user_unescaped();
                    assert!(unescaped.len() <= uri.user.len() && !uri.host.contains(&b'@'));
                    let _ = (uri.params.iter().count(), uri.params.get(b"transport"));
                }
            }
            if let Ok(via) = Via::parse(element) {
                assert!(!via.host.is_empty() && via.port != Some(0));
                let _ = via.params.iter().count();
            }
        }
    }
    let _ = (message.vias().count(), message.contact(), message.max_forwards(), message.from(), message.to());
    let _ = (message.q850(), message.reasons().count(), message.retry_after(), message.content_type());
    let _ = (message.top_via(), message.cseq(), message.reason(), message.status(), message.method_bytes());
    let body = message.body();
    if let Some(sdp) = message.sdp_body() {
        // A part of the body, not something else.
        assert!(body.as_ptr_range().contains(&sdp.as_ptr()) || sdp.is_empty());
    }
}

/// What the reader keeps is what is there.
fn look_up(message: &Message) {
    assert_eq!(message.from().expect("the reader has read it").tag(), message.from_tag());
    assert_eq!(message.to().expect("the reader has read it").tag(), message.to_tag());
    assert_eq!(message.header(HeaderName::CallId), Some(message.call_id()));
    assert!(message.vias().next().is_some_and(|via| via == Ok(message.top_via())));
    // Each header lies behind the one before it.
    let mut last = message.bytes().as_ptr() as usize;
    for header in message.headers() {
        let (name, value) = (header.raw_name.as_ptr() as usize, header.value.as_ptr() as usize);
        assert!(last <= name && name < value || header.value.is_empty());
        assert!(!header.raw_name.is_empty());
        assert_eq!(header.name, HeaderName::of(header.raw_name));
        last = name + header.raw_name.len();
    }
    if message.is_request() {
        assert_eq!(message.method_bytes(), message.header(HeaderName::CSeq).map(last_word).unwrap_or_default());
    } else {
        assert!((100..=699).contains(&message.status()));
    }
    for dialog in [Dialog::of_request(message, b"ours"), Dialog::of_response(message, b"sip:192.0.2.1")] {
        let Ok(mut dialog) = dialog else { continue };
        assert!(dialog.route_set.len() <= sip::dialog::MAX_ROUTES);
        let _ = dialog.next_hop();
        let mut out = Vec::new();
        dialog.write_request(&mut out, sip::message::Method::Bye, b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKours");
        write::finish(&mut out, None, b"");
        assert_lines(&out);
    }
}

fn last_word(value: &[u8]) -> &[u8] {
    value.rsplit(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).next().unwrap_or_default()
}

/// Writes what was read, from nothing, and reads it again.
fn rewrite(message: &Message) {
    let once = written(message);
    let Ok(again) = Message::parse(Bytes::from(once.clone()), &roomy()) else {
        // What is longer than any message may be is not read again.
        assert!(once.len() > usize::from(u16::MAX), "{}", once.escape_ascii());
        return;
    };
    assert_eq!(again.method_bytes(), message.method_bytes());
    assert_eq!((again.request_uri(), again.status()), (message.request_uri(), message.status()));
    assert_eq!((again.from_tag(), again.to_tag()), (message.from_tag(), message.to_tag()));
    assert_eq!((again.call_id(), again.cseq()), (message.call_id(), message.cseq()));
    assert_eq!((again.top_via().host, again.top_via().branch), (message.top_via().host, message.top_via().branch));
    assert_eq!((again.vias().count(), again.body()), (message.vias().count(), message.body()));
    assert_eq!(again.max_forwards(), message.max_forwards());
    if message.bytes().contains(&0) {
        // In other headers NUL goes out as a blank, which may part what it had joined.
        return;
    }
    assert_eq!(written(&again).escape_ascii().to_string(), once.escape_ascii().to_string());
    assert_eq!(again.q850(), message.q850());
    let contact = |message: &Message| message.contact().map(|contact| contact.map(|contact| contact.uri.to_vec()));
    assert_eq!(contact(&again), contact(message));
}

fn written(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    if message.is_request() {
        let method = std::str::from_utf8(message.method_bytes()).expect("a method is a token, which is ASCII");
        write::request(&mut out, method, message.request_uri());
    } else {
        write::status_line(&mut out, message.status(), &String::from_utf8_lossy(message.reason()));
    }
    for header in message.headers() {
        let name = std::str::from_utf8(header.raw_name).expect("a header name is a token, which is ASCII");
        if header.name != HeaderName::ContentLength {
            write::header(&mut out, name, header.value);
        }
    }
    write::finish(&mut out, None, message.body());
    out
}

fn roomy() -> Limits {
    let most = usize::from(u16::MAX);
    Limits { max_start_line: most, max_header_line: most, max_headers: most, max_body: most, ..Limits::default() }
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 99], 5099))
}

fn answered(request: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    write::response_to(&mut out, request, 488, "Not Acceptable Here", b"ours", Some(source()));
    write::record_routes(&mut out, request);
    write::finish(&mut out, None, b"");
    out
}

/// Each line ends with CRLF, and none begins with a blank.
fn assert_lines(out: &[u8]) {
    let text = out.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("{}", out.escape_ascii()));
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let sound = line.first().is_some_and(|first| first.is_ascii_graphic());
        assert!(sound && !line.contains(&b'\r') && !line.contains(&0), "{}", out.escape_ascii());
    }
}

/// Every response to a sound request is a sound response to this request.
fn answer(message: &Message) {
    if !message.is_request() {
        return;
    }
    let out = answered(message);
    assert_lines(&out);
    let response = match Message::parse(Bytes::from(out.clone()), &roomy()) {
        Ok(response) => response,
        Err(rejected) => {
            // It says who we saw, so it may be longer than the request was.
            assert_eq!(rejected.error, ParseError::TooLong, "{}", out.escape_ascii());
            return;
        }
    };
    assert_eq!((response.status(), response.method()), (488, message.method()));
    assert_eq!(response.vias().count(), message.vias().count());
    let (sent, via) = (message.top_via(), response.top_via());
    assert_eq!((via.branch, via.host, via.port), (sent.branch, sent.host, sent.port));
    assert_eq!(via.rport, sent.rport.map(|_| Some(source().port())));
    assert_eq!((response.call_id(), response.cseq().number), (message.call_id(), message.cseq().number));
    assert_eq!(response.from_tag(), message.from_tag());
    let tag = if message.to_tag().is_empty() { b"ours" } else { message.to_tag() };
    assert_eq!(response.to_tag().escape_ascii().to_string(), tag.escape_ascii().to_string());
}

/// Where sipx-sip takes the message as well, it has read the same. (`rsip` refuses or changes too much of what is sound to be
/// asked here: it reads what we write, in `sip/tests/second_opinion.rs`.)
fn compare(message: &Message, bytes: &Bytes) {
    use sipx_sip::headers::{CSeq, CallId, From, To, Via};
    let limits = sipx_sip::parser::Limits::datagram();
    let Ok(theirs) = sipx_sip::parser::parse_datagram(bytes.clone(), &limits) else { return };
    if !sipx_sip::validate::validate(&theirs).is_empty() {
        return;
    }
    let headers = theirs.headers();
    if let (Some(Ok(call_id)), Some(Ok(cseq))) = (headers.typed::<CallId>(), headers.typed::<CSeq>()) {
        assert_eq!(call_id.0, message.call_id());
        assert_eq!(cseq.sequence, message.cseq().number);
    }
    match &theirs {
        sipx_sip::Message::Request(request) => assert_eq!(request.method.as_bytes(), message.method_bytes()),
        sipx_sip::Message::Response(response) => assert_eq!(response.status.code(), message.status()),
    }
    assert_eq!(theirs.body(), message.body());
    if let (Some(Ok(from)), Some(Ok(to))) = (headers.typed::<From>(), headers.typed::<To>()) {
        assert_eq!(from.0.tag().unwrap_or_default(), message.from_tag());
        assert_eq!(to.0.tag().unwrap_or_default(), message.to_tag());
    }
    if let Some(Ok(via)) = headers.typed::<Via>() {
        let ours = message.top_via();
        assert_eq!(via.branch().unwrap_or_default(), ours.branch);
        assert_eq!((&via.transport[..], via.port), (ours.transport, ours.port));
    }
}
