//! Dialogs against RFC 3261 §12: what is taken from the messages that make one, and where its requests go.

use bytes::Bytes;
use sip::dialog::{Dialog, MAX_ROUTES};
use sip::limits::Limits;
use sip::message::{HeaderName, Message, Method, ParseError, write};

fn parse(text: &[u8]) -> Message {
    Message::parse(Bytes::copy_from_slice(text), &Limits::default())
        .unwrap_or_else(|rejected| panic!("{:?}: {}", rejected.error, text.escape_ascii()))
}

fn invite(more: &str) -> Message {
    parse(
        format!(
            "INVITE sip:x@203.0.113.9 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
             From: \"A\" <sip:a@198.51.100.7;user=phone>;tag=a1\r\nTo: <sip:x@203.0.113.9>\r\nCall-ID: call\r\nCSeq: 31 INVITE\r\n{more}\r\n"
        )
        .as_bytes(),
    )
}

fn ok(more: &str) -> Message {
    parse(
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKa\r\nFrom: <sip:x@203.0.113.9>;tag=x1\r\n\
             To: <sip:b@192.0.2.2>;tag=b1\r\nCall-ID: call\r\nCSeq: 4 INVITE\r\n{more}\r\n"
        )
        .as_bytes(),
    )
}

fn next(dialog: &mut Dialog, method: Method) -> Message {
    let mut out = Vec::new();
    let via = b"SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKours;rport";
    match method {
        Method::Ack => dialog.write_ack(&mut out, via, dialog.local_cseq),
        _ => dialog.write_request(&mut out, method, via),
    }
    write::finish(&mut out, None, b"");
    parse(&out)
}

fn routes(request: &Message) -> Vec<String> {
    request.values(HeaderName::Route).map(|route| String::from_utf8_lossy(route).into_owned()).collect()
}

fn hop(dialog: &Dialog) -> (String, Option<u16>) {
    let hop = dialog.next_hop().unwrap();
    (String::from_utf8_lossy(hop.host).into_owned(), hop.port)
}

#[test]
fn the_answering_side_takes_its_dialog_from_the_request() {
    let invite = invite(
        "Contact: \"A\" <sip:a@198.51.100.8:5080;transport=tcp>;x=y\r\n\
        Record-Route: <sip:p1.example.net;lr>, <sip:p2.example.net;lr>\r\nrecord-route: <sip:192.0.2.30:5099;lr>\r\n",
    );
    let mut dialog = Dialog::of_request(&invite, b"x1").unwrap();
    let bye = next(&mut dialog, Method::Bye);
    assert_eq!(bye.request_uri(), b"sip:a@198.51.100.8:5080;transport=tcp");
    assert_eq!(
        routes(&bye),
        ["<sip:p1.example.net;lr>", "<sip:p2.example.net;lr>", "<sip:192.0.2.30:5099;lr>"],
        "in order"
    );
    assert_eq!((bye.from_tag(), bye.to_tag()), (&b"x1"[..], &b"a1"[..]), "the parties change sides");
    assert_eq!(bye.from().unwrap().uri, b"sip:x@203.0.113.9");
    assert_eq!(bye.to().unwrap().uri, b"sip:a@198.51.100.7;user=phone");
    assert_eq!((bye.call_id(), bye.cseq().number), (&b"call"[..], 1));
    assert_eq!(bye.max_forwards(), Some(Ok(70)));
    assert_eq!(bye.top_via().branch, b"z9hG4bKours");
    assert_eq!(next(&mut dialog, Method::Invite).cseq().number, 2);
    assert_eq!(next(&mut dialog, Method::Ack).cseq().number, 2, "an ACK has its INVITE's number");
    assert_eq!(hop(&dialog), ("p1.example.net".into(), None));
}

#[test]
fn the_calling_side_takes_its_dialog_from_the_response() {
    let response = ok(
        "Contact: <sip:b@192.0.2.2:5070>\r\nRecord-Route: <sip:far.example.net;lr>\r\nRecord-Route: <sip:near.example.net:5061;lr=on>\r\n",
    );
    let mut dialog = Dialog::of_response(&response, b"sip:b@192.0.2.9").unwrap();
    let ack = next(&mut dialog, Method::Ack);
    assert_eq!(ack.cseq().number, 4);
    assert_eq!(routes(&ack), ["<sip:near.example.net:5061;lr=on>", "<sip:far.example.net;lr>"], "reversed");
    assert_eq!((ack.from_tag(), ack.to_tag()), (&b"x1"[..], &b"b1"[..]));
    assert_eq!(hop(&dialog), ("near.example.net".into(), Some(5061)));
    assert_eq!(next(&mut dialog, Method::Bye).cseq().number, 5);
}

#[test]
fn a_strict_router_finds_its_own_uri_in_the_request_line() {
    let response = ok(
        "Contact: <sip:b@192.0.2.2:5070>\r\nRecord-Route: <sip:far.example.net;lr>\r\nRecord-Route: <sip:strict.example.net;p=1>\r\n",
    );
    let mut dialog = Dialog::of_response(&response, b"").unwrap();
    let bye = next(&mut dialog, Method::Bye);
    assert_eq!(bye.request_uri(), b"sip:strict.example.net;p=1");
    assert_eq!(routes(&bye), ["<sip:far.example.net;lr>", "<sip:b@192.0.2.2:5070>"], "the target comes last");
    assert_eq!(hop(&dialog), ("strict.example.net".into(), None));
}

#[test]
fn without_routes_requests_go_to_the_contact() {
    let mut dialog = Dialog::of_response(&ok("Contact: sip:b@[2001:db8::2]:5070;x=y\r\n"), b"").unwrap();
    assert_eq!(hop(&dialog), ("[2001:db8::2]".into(), Some(5070)));
    assert_eq!(next(&mut dialog, Method::Bye).request_uri(), b"sip:b@[2001:db8::2]:5070");
    assert!(routes(&next(&mut dialog, Method::Bye)).is_empty());
    let private = |contact: &str| {
        let dialog = Dialog::of_request(&invite(&format!("Contact: <{contact}>\r\n")), b"x").unwrap();
        let hop = dialog.next_hop().unwrap();
        (hop.transport.map(<[u8]>::to_vec), hop.is_sips)
    };
    assert_eq!(private("sip:a@192.0.2.1;transport=TLS"), (Some(b"TLS".to_vec()), false));
    assert_eq!(private("SIPS:a@192.0.2.1;transport=tcp"), (Some(b"tcp".to_vec()), true));
    let dialog = Dialog::of_request(&invite("Contact: <tel:+8610>\r\n"), b"x").unwrap();
    assert!(dialog.next_hop().is_none(), "a tel: URI names no host");
}

#[test]
fn what_cannot_make_a_dialog_is_refused() {
    let error = |more: &str| Dialog::of_request(&invite(more), b"x").map(drop);
    assert_eq!(error(""), Err(ParseError::MissingContact));
    assert_eq!(error("Contact: <sip:a@b\r\n"), Err(ParseError::Address));
    assert_eq!(error("Contact: *\r\n"), Err(ParseError::Uri));
    assert_eq!(error("Contact: <nonsense>\r\n"), Err(ParseError::Uri));
    assert_eq!(error("Contact: <sip:a@b>\r\nRecord-Route: <sip:p;lr\r\n"), Err(ParseError::Address));
    let many = |count: usize| {
        format!("Contact: <sip:a@b>\r\nRecord-Route: <sip:p;lr>{}\r\n", ", <sip:p;lr>".repeat(count - 1))
    };
    assert_eq!(error(&many(MAX_ROUTES)), Ok(()));
    assert_eq!(error(&many(MAX_ROUTES + 1)), Err(ParseError::TooManyRoutes));
}

#[test]
fn a_2xx_without_a_usable_contact_is_acknowledged_where_the_invite_went() {
    for contact in ["", "Contact: *\r\n", "Contact: <sip:b@\r\n"] {
        let mut dialog = Dialog::of_response(&ok(contact), b"sip:b@192.0.2.9").unwrap();
        assert_eq!(next(&mut dialog, Method::Ack).request_uri(), b"sip:b@192.0.2.9", "{contact}");
    }
}

#[test]
fn a_dialog_owns_the_requests_with_its_tags_and_call_id() {
    let dialog = Dialog::of_request(&invite("Contact: <sip:a@198.51.100.8>\r\n"), b"x1").unwrap();
    let bye = |call_id: &str, from: &str, to: &str| {
        parse(
            format!(
                "BYE sip:x@203.0.113.9 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKb\r\nFrom: <sip:any>{from}\r\nTo: <sip:any>{to}\r\n\
                 Call-ID: {call_id}\r\nCSeq: 32 BYE\r\n\r\n"
            )
            .as_bytes(),
        )
    };
    assert!(dialog.owns(&bye("call", ";tag=a1", ";tag=x1")));
    for (call_id, from, to) in [
        ("Call", ";tag=a1", ";tag=x1"),
        ("call", ";tag=A1", ";tag=x1"),
        ("call", "", ";tag=x1"),
        ("call", ";tag=a1", ""),
        ("call", ";tag=x1", ";tag=a1"),
    ] {
        assert!(!dialog.owns(&bye(call_id, from, to)), "{call_id} {from} {to}");
    }
}

#[test]
fn an_older_cseq_is_out_of_order() {
    let mut dialog = Dialog::of_request(&invite("Contact: <sip:a@198.51.100.8>\r\n"), b"x1").unwrap();
    assert!(!dialog.accept_cseq(30));
    assert!(dialog.accept_cseq(40), "it may jump");
    assert!(!dialog.accept_cseq(39));
    assert!(dialog.accept_cseq(41));
    let mut dialog = Dialog::of_response(&ok(""), b"sip:b@192.0.2.9").unwrap();
    assert!(dialog.accept_cseq(0), "the first of the peer's may be any");
}

#[test]
fn a_target_refresh_moves_the_peer_and_an_unreadable_one_does_not() {
    let mut dialog = Dialog::of_request(&invite("Contact: <sip:a@198.51.100.8>\r\n"), b"x1").unwrap();
    for (contact, target) in [
        ("Contact: <sip:a@198.51.100.9:5090>\r\n", &b"sip:a@198.51.100.9:5090"[..]),
        ("Contact: *\r\n", b"sip:a@198.51.100.9:5090"),
        ("", b"sip:a@198.51.100.9:5090"),
        ("m: <sip:moved@198.51.100.10>\r\n", b"sip:moved@198.51.100.10"),
    ] {
        dialog.refresh_target(&invite(contact));
        assert_eq!(&*dialog.remote_target, target, "{contact}");
    }
}
