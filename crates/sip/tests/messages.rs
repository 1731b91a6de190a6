//! Odd messages that mean something, and wrong ones that must be turned away for the right reason.
//!
//! The ideas are those of RFC 4475 (torture), RFC 5118 (IPv6) and of traces of carriers; the messages are our own. Every
//! row is also put before `sipx-sip`, an independent reader; where it judges otherwise, the row says why.

use bytes::Bytes;
use sip::limits::Limits;
use sip::message::{HeaderName, Message, Method, NameAddr, ParseError, Rejected, Scheme, Uri};

fn parse(text: &[u8]) -> Result<Message, Rejected> {
    Message::parse(Bytes::copy_from_slice(text), &Limits::default())
}

fn sound(text: &[u8]) -> Message {
    parse(text).unwrap_or_else(|rejected| panic!("{:?}:\n{}", rejected.error, text.escape_ascii()))
}

/// The structure and every header that a request or response must have, in the eyes of sipx-sip.
fn sipx_takes(text: &[u8]) -> bool {
    let parsed = sipx_sip::parser::parse_datagram(Bytes::copy_from_slice(text), &sipx_sip::parser::Limits::datagram());
    parsed.is_ok_and(|message| sipx_sip::validate::validate(&message).is_empty())
}

/// A sound request with one of its headers replaced (or left away, where `with` is empty).
fn request_with(name: &str, with: &str) -> Vec<u8> {
    let headers = [
        ("Via", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKone"),
        ("Max-Forwards", "Max-Forwards: 70"),
        ("From", "From: <sip:13800000001@192.0.2.1>;tag=f1"),
        ("To", "To: <sip:02100000002@192.0.2.2>"),
        ("Call-ID", "Call-ID: one@192.0.2.1"),
        ("CSeq", "CSeq: 7 OPTIONS"),
        ("Contact", "Contact: <sip:192.0.2.1>"),
        ("Content-Length", "Content-Length: 0"),
    ];
    let mut text = String::from("OPTIONS sip:02100000002@192.0.2.2 SIP/2.0\r\n");
    for (known, line) in headers {
        let line = if known == name { with } else { line };
        if !line.is_empty() {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    if !headers.iter().any(|(known, _)| *known == name) && !with.is_empty() {
        text.push_str(with);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn with_start(start: &str) -> Vec<u8> {
    let text = String::from_utf8(request_with("", "")).unwrap();
    text.replacen("OPTIONS sip:02100000002@192.0.2.2 SIP/2.0", start, 1).into_bytes()
}

// ---- what is odd and sound ------------------------------------------------------------------------------------------

const TORTUOUS: &[u8] = b"\r\n\r\nINVITE sip:ring%20%61ll:secret@[2001:db8::5]:5070;lr;p=%3b?subject=x SIP/2.0\r\n\
    TO :\r\n sip:bell@Example.COM ;   tag\t= 98a7~\r\n\
    fRoM  : \"Quoted \\\"name\\\", \\\\ <not a uri>\" <sip:bob@example.net;p=1>;x=\"a;tag=no\"\r\n\
    \t ; tag = 12Ab.!%*_+`'~\r\n\
    mAx-fOrWaRdS: 0068\r\n\
    i: odd(id)<x>:\\\"/[]?{}@y\r\n\
    cseq: 0009\r\n  INVITE\r\n\
    v  : SIP / 2.0\r\n /TCP   192.0.2.7:\r\n 5061; BRANCH = z9hG4bK30239 , SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255]\r\n\
    Via:SIP/2.0/TLS a_b.example.org;branch=z9hG4bKd;rport=15060;maddr=192.0.2.9\r\n\
    X-Unknown:\r\n  folded\r\n  twice\r\n\
    k: timer , 100rel,,\r\n\
    m: \"A, B\" <sip:a,b@192.0.2.7;transport=tcp>;q=0.5, <tel:+86-10-1234;ext=5>\r\n\
    R: <sip:refer@example.com>\r\n\
    c: application / SDP ; charset=utf-8\r\n\
    l: 5\r\n\r\nv=0\r\nmore than Content-Length";

#[test]
fn one_message_with_every_oddity_is_read_right() {
    let message = sound(TORTUOUS);
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.request_uri(), b"sip:ring%20%61ll:secret@[2001:db8::5]:5070;lr;p=%3b?subject=x");
    assert_eq!((message.from_tag(), message.to_tag()), (&b"12Ab.!%*_+`'~"[..], &b"98a7~"[..]));
    assert_eq!(message.call_id(), b"odd(id)<x>:\\\"/[]?{}@y");
    assert_eq!((message.cseq().number, message.cseq().method), (9, Method::Invite));
    assert_eq!(message.max_forwards(), Some(Ok(68)));
    assert_eq!(message.body(), b"v=0\r\n");
    assert_eq!(message.sdp_body(), Some(&b"v=0\r\n"[..]));

    let from = message.from().unwrap();
    assert_eq!(&*from.name(), b"Quoted \"name\", \\ <not a uri>");
    assert_eq!((from.uri, from.params.get(b"X")), (&b"sip:bob@example.net;p=1"[..], Some(&b"\"a;tag=no\""[..])));
    assert_eq!(message.to().unwrap().uri, b"sip:bell@Example.COM");

    let via = message.top_via();
    assert_eq!((via.transport, via.host, via.port), (&b"TCP"[..], &b"192.0.2.7"[..], Some(5061)));
    assert_eq!((via.branch, via.rport), (&b"z9hG4bK30239"[..], None));
    let vias: Vec<_> = message.vias().map(Result::unwrap).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!((vias[1].host, vias[1].branch), (&b"[2001:db8::9:1]"[..], &b""[..]));
    assert_eq!(vias[1].received, Some(&b"[2001:db8::9:255]"[..]));
    assert_eq!((vias[2].rport, vias[2].maddr), (Some(Some(15060)), Some(&b"192.0.2.9"[..])));

    let contacts: Vec<_> = message.values(HeaderName::Contact).map(|c| NameAddr::parse(c).unwrap()).collect();
    assert_eq!(
        contacts.iter().map(|c| c.uri).collect::<Vec<_>>(),
        [&b"sip:a,b@192.0.2.7;transport=tcp"[..], b"tel:+86-10-1234;ext=5"]
    );
    assert_eq!(message.values(HeaderName::Supported).collect::<Vec<_>>(), [b"timer".as_slice(), b"100rel"]);
    assert!(message.has_option_tag(HeaderName::Supported, "100REL"));
    assert_eq!(message.header(HeaderName::ReferTo), Some(&b"<sip:refer@example.com>"[..]));
    let unknown = message.headers().find(|header| header.name == HeaderName::Other).unwrap();
    assert_eq!((unknown.raw_name, unknown.value), (&b"X-Unknown"[..], &b"folded\r\n  twice"[..]));

    let uri = Uri::parse(message.request_uri()).unwrap();
    assert_eq!((uri.scheme, uri.host, uri.port), (Scheme::Sip, &b"[2001:db8::5]"[..], Some(5070)));
    assert_eq!((&*uri.user_unescaped(), uri.password), (&b"ring all"[..], &b"secret"[..]));
    assert_eq!(
        (uri.params.get(b"lr"), uri.params.get(b"p"), uri.headers),
        (Some(&b""[..]), Some(&b"%3b"[..]), &b"subject=x"[..])
    );
}

/// What sipx-sip says about a row: the same, or otherwise for a reason.
enum Oracle {
    Agrees,
    Differs(&'static str),
}
use Oracle::{Agrees, Differs};

type Check = fn(&Message) -> bool;

#[test]
fn odd_but_sound_messages_are_taken() {
    let rows: &[(&str, Vec<u8>, Check, Oracle)] = &[
        ("a method nobody knows", request_method("!odd-Method.%*_+`'~"), |m| {
            m.method() == Method::Other && m.method_bytes() == b"!odd-Method.%*_+`'~"
        }, Agrees),
        ("methods are case-sensitive", request_method("options"), |m| m.method() == Method::Other, Agrees),
        ("the version is not", with_start("OPTIONS sip:a@192.0.2.2 sIp/2.0"), |m| m.request_uri() == b"sip:a@192.0.2.2", Agrees),
        ("two blanks in the request line", with_start("OPTIONS  sip:a@192.0.2.2  SIP/2.0"),
            |m| m.request_uri() == b"sip:a@192.0.2.2", Differs("RFC 4475 §3.1.2.8 leaves it open")),
        ("a blank after the version", with_start("OPTIONS sip:a@192.0.2.2 SIP/2.0 "),
            |m| m.request_uri() == b"sip:a@192.0.2.2", Differs("RFC 4475 §3.1.2.9 leaves it open")),
        ("a scheme nobody knows", with_start("OPTIONS soap.beep://192.0.2.2:3002 SIP/2.0"), |m| {
            Uri::parse(m.request_uri()).is_ok_and(|uri| uri.scheme == Scheme::Other)
        }, Agrees),
        ("a tel: URI", with_start("OPTIONS tel:+8610-8888;phone-context=x SIP/2.0"), |m| {
            Uri::parse(m.request_uri()).is_ok_and(|uri| uri.scheme == Scheme::Tel && uri.user == b"+8610-8888")
        }, Agrees),
        ("an IPv6 reference with what looks like a port", with_start("OPTIONS sip:[2001:db8::10:5070] SIP/2.0"), |m| {
            Uri::parse(m.request_uri()).is_ok_and(|uri| uri.host == b"[2001:db8::10:5070]" && uri.port.is_none())
        }, Agrees),
        ("an IPv4 address inside an IPv6 one", with_start("OPTIONS sip:a@[::ffff:192.0.2.10]:19823 SIP/2.0"), |m| {
            Uri::parse(m.request_uri()).is_ok_and(|uri| uri.port == Some(19_823))
        }, Agrees),
        ("received without brackets", request_with("Via", "Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3"),
            |m| m.top_via().received == Some(b"2001:db8::9:255"), Agrees),
        ("a Via without a branch", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1"), |m| m.top_via().branch.is_empty(), Agrees),
        ("an unknown transport", request_with("Via", "Via: SIP/2.0/CARRIER-PIGEON 192.0.2.1;branch=z9hG4bKp"),
            |m| m.top_via().transport == b"CARRIER-PIGEON", Agrees),
        ("an underscore in a host", request_with("Via", "Via: SIP/2.0/UDP my_host:5060;branch=z9hG4bKp"),
            |m| m.top_via().host == b"my_host", Agrees),
        ("an rport asked for", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;RPort;branch=z9hG4bKp"),
            |m| m.top_via().rport == Some(None), Agrees),
        ("addresses without brackets", request_with("From", "From: sip:a@192.0.2.1;tag=x"),
            |m| m.from().unwrap().uri == b"sip:a@192.0.2.1" && m.from_tag() == b"x", Agrees),
        ("no From tag (RFC 2543)", request_with("From", "From: <sip:a@192.0.2.1>"), |m| m.from_tag().is_empty(), Agrees),
        ("a display name of tokens", request_with("From", "From: caller one+two <sip:a@192.0.2.1>;tag=x"),
            |m| m.from().unwrap().display == b"caller one+two", Agrees),
        ("a Call-ID in another case of name", request_with("Call-ID", "CALL-id: Zz"), |m| m.call_id() == b"Zz", Agrees),
        ("70 Vias", request_with("Via", &["Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa", &", SIP/2.0/UDP 192.0.2.2".repeat(69)].concat()), |m| m.vias().count() == 70, Agrees),
        ("a Call-ID of 512 bytes", request_with("Call-ID", &format!("Call-ID: {}", "a".repeat(512))), |m| m.call_id().len() == 512, Agrees),
        ("the largest CSeq", request_with("CSeq", "CSeq: 2147483647 OPTIONS"), |m| m.cseq().number == 2_147_483_647, Agrees),
        ("a Content-Length in front of its colon", request_with("Content-Length", "Content-Length : 0"), |m| m.body().is_empty(), Agrees),
        ("no Content-Length", request_with("Content-Length", ""), |m| m.body().is_empty(), Agrees),
        ("no Max-Forwards (RFC 2543)", request_with("Max-Forwards", ""), |m| m.max_forwards().is_none(),
            Differs("it is mandatory since RFC 3261; we put 70 in its place")),
        ("two equal Content-Lengths", request_with("Content-Length", "Content-Length: 0\r\nl: 00"), |m| m.body().is_empty(),
            Differs("it may stand once")),
        ("an empty unknown header", request_with("X", "X:"), |m| m.headers().any(|h| h.raw_name == b"X" && h.value.is_empty()), Agrees),
        ("a body nobody declared", [&request_with("Content-Length", "")[..], b"\0\xff\r\n\r\n\0"].concat(),
            |m| m.body() == b"\0\xff\r\n\r\n\0", Agrees),
        ("a long reason of bytes", b"SIP/2.0 200 = 2**3 * 5**2 \xe4\xb8\xad\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:a@b>\r\n\r\n".to_vec(),
            |m| m.status() == 200 && m.reason() == b"= 2**3 * 5**2 \xe4\xb8\xad" && m.method() == Method::Invite, Agrees),
        ("no reason at all", b"SIP/2.0 100\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n".to_vec(),
            |m| m.status() == 100 && m.reason().is_empty(), Agrees),
        ("line feeds only", request_with("", "").into_iter().filter(|byte| *byte != b'\r').collect(),
            |m| m.cseq().number == 7, Differs("RFC 3261 §7 wants CRLF; some gateways send LF")),
        ("a display name in GBK", replace(&request_with("From", "From: \"?\" <sip:a@192.0.2.1>;tag=x"), b"?", b"\xc0\xee\xcb\xc4"),
            |m| &*m.from().unwrap().name() == b"\xc0\xee\xcb\xc4", Agrees),
        ("a GBK character that ends in a backslash", replace(&request_with("From", "From: \"?\" <sip:a@192.0.2.1>;tag=x"), b"?", b"\x8b\x5c"),
            |m| m.from().unwrap().uri == b"sip:a@192.0.2.1" && m.from_tag() == b"x", Differs("takes the backslash as an escape")),
    ];
    let mut failures = Vec::new();
    for (what, text, check, oracle) in rows {
        match parse(text) {
            Ok(message) if check(&message) => {}
            Ok(_) => failures.push(format!("{what}: read wrongly")),
            Err(rejected) => failures.push(format!("{what}: {:?}", rejected.error)),
        }
        match (sipx_takes(text), oracle) {
            (true, Agrees) | (false, Differs(_)) => {}
            (false, Agrees) => failures.push(format!("{what}: sipx-sip turns it away")),
            (true, Differs(why)) => failures.push(format!("{what}: sipx-sip takes it though {why}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn request_method(method: &str) -> Vec<u8> {
    let text = String::from_utf8(request_with("", "")).unwrap();
    text.replace("OPTIONS", method).into_bytes()
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = text.windows(from.len()).position(|window| window == from).unwrap();
    [&text[..at], to, &text[at + from.len()..]].concat()
}

// ---- what is wrong --------------------------------------------------------------------------------------------------

#[test]
fn wrong_messages_are_turned_away_for_the_right_reason() {
    use ParseError as E;
    // Whether the request can still be answered stands in the third column.
    let rows: Vec<(&str, Vec<u8>, ParseError, bool, Oracle)> = vec![
        ("nothing", b"".to_vec(), E::Empty, false, Agrees),
        ("line ends only", b"\r\n\r\n\r\n".to_vec(), E::Empty, false, Agrees),
        ("no SIP at all", b"\x80\x67\0\0\0\0\r\n\r\n".to_vec(), E::StartLine, false, Agrees),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), E::StartLine, false, Agrees),
        ("a method that is no token", with_start("OPT{IONS sip:a@b SIP/2.0"), E::StartLine, false, Agrees),
        ("no Request-URI", with_start("OPTIONS SIP/2.0"), E::StartLine, false, Agrees),
        ("a Request-URI in brackets", with_start("OPTIONS <sip:a@192.0.2.2> SIP/2.0"), E::RequestUri, true, Agrees),
        ("a blank in the Request-URI", with_start("OPTIONS sip:a@192.0.2.2; lr SIP/2.0"), E::RequestUri, true, Agrees),
        ("a tab in the Request-URI", with_start("OPTIONS sip:a@\t192.0.2.2 SIP/2.0"), E::RequestUri, true, Agrees),
        ("NUL in the Request-URI", with_start("OPTIONS sip:a\0@192.0.2.2 SIP/2.0"), E::RequestUri, true, Agrees),
        ("another version", with_start("OPTIONS sip:a@192.0.2.2 SIP/7.0"), E::Version, true, Agrees),
        ("another version in Via too", replace(&with_start("OPTIONS sip:a@192.0.2.2 SIP/7.0"), b"Via: SIP/2.0", b"Via: SIP/7.0"), E::Version, true, Agrees),
        ("a header without a colon", request_with("X", "no header"), E::HeaderLine, true, Agrees),
        ("a header without a name", request_with("X", ": x"), E::HeaderLine, true, Agrees),
        ("a header name in pieces", request_with("X", "X Y: x"), E::HeaderLine, true, Agrees),
        ("NUL in a header name", request_with("X", "X\0: x"), E::HeaderLine, true, Agrees),
        ("a fold before the first header", with_start("OPTIONS sip:a@192.0.2.2 SIP/2.0\r\n folded"), E::HeaderLine, true, Agrees),
        ("headers without an end", b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP b\r\n".to_vec(), E::NoEndOfHeaders, false, Agrees),
        ("no Via", request_with("Via", ""), E::MissingVia, false, Agrees),
        ("an empty Via", request_with("Via", "Via: , ,"), E::MissingVia, false, Agrees),
        ("no From", request_with("From", ""), E::MissingFrom, true, Agrees),
        ("no To", request_with("To", ""), E::MissingTo, true, Agrees),
        ("no Call-ID", request_with("Call-ID", ""), E::MissingCallId, true, Agrees),
        ("an empty Call-ID", request_with("Call-ID", "Call-ID:"), E::MissingCallId, true, Agrees),
        ("no CSeq", request_with("CSeq", ""), E::MissingCSeq, true, Agrees),
        ("NUL in Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;\0branch=z9hG4bKa"), E::Via, true, Agrees),
        ("NUL in a Via below", request_with("X", "v: SIP/2.0/UDP 192.0.2.1,\0,SIP/2.0/UDP b"), E::Via, true, Differs("reads the top one only")),
        ("NUL in From", request_with("From", "From: <sip:a@192.0.2.1>;\0tag=x"), E::From, true, Agrees),
        ("NUL in To", request_with("To", "To: a\0b <sip:a@192.0.2.1>"), E::To, true, Agrees),
        ("a quote without an end in Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;x=\"y"), E::Via, true, Agrees),
        ("a quote without an end behind the URI", request_with("To", "To: <sip:a@192.0.2.1>;x=\"y"), E::To, true, Agrees),
        ("an empty parameter in Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;;rport"), E::Via, true, Agrees),
        ("an empty element in Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa, ,SIP/2.0/UDP 192.0.2.2"), E::Via, true, Differs("skips it")),
        ("71 Vias", request_with("Via", &["Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa", &", SIP/2.0/UDP 192.0.2.2".repeat(70)].concat()), E::TooManyVias, true, Differs("has no such limit")),
        ("71 lines of Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n".repeat(71).trim_end()), E::TooManyVias, true, Differs("has no such limit")),
        ("a branch of 513 bytes", request_with("Via", &format!("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{}", "a".repeat(506))), E::IdentifierTooLong, true, Differs("has no such limit")),
        ("a Call-ID of 513 bytes", request_with("Call-ID", &format!("Call-ID: {}", "a".repeat(513))), E::IdentifierTooLong, true, Differs("has no such limit")),
        ("a From tag of 513 bytes", request_with("From", &format!("From: <sip:a@b>;tag={}", "a".repeat(513))), E::IdentifierTooLong, true, Differs("has no such limit")),
        ("a To tag of 513 bytes", request_with("To", &format!("To: <sip:a@b>;tag={}", "a".repeat(513))), E::IdentifierTooLong, true, Differs("has no such limit")),
        ("port 0 in Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1:0;branch=z9hG4bKa"), E::Via, false, Differs("takes port 0")),
        ("a port above 65535 in Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1:65536;branch=z9hG4bKa"), E::Via, false, Agrees),
        ("a port that is none in Via", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1:x;branch=z9hG4bKa"), E::Via, false, Agrees),
        ("IPv6 without brackets in Via", request_with("Via", "Via: SIP/2.0/UDP 2001:db8::1;branch=z9hG4bKa"), E::Via, false, Agrees),
        ("half an IPv6 reference in Via", request_with("Via", "Via: SIP/2.0/UDP [2001:db8::1;branch=z9hG4bKa"), E::Via, false, Agrees),
        ("no transport in Via", request_with("Via", "Via: SIP/2.0 192.0.2.1;branch=z9hG4bKa"), E::Via, false, Agrees),
        ("no host in Via", request_with("Via", "Via: SIP/2.0/UDP ;branch=z9hG4bKa"), E::Via, false, Agrees),
        ("another protocol in Via", request_with("Via", "Via: HTTP/2.0/UDP 192.0.2.1;branch=z9hG4bKa"), E::Via, false, Differs("keeps the protocol name")),
        ("an rport above 65535", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;rport=70000;branch=z9hG4bKa"), E::Via, false, Differs("keeps what it cannot read")),
        ("a blank in the branch", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa b"), E::Via, false, Agrees),
        ("an empty branch", request_with("Via", "Via: SIP/2.0/UDP 192.0.2.1;branch="), E::Via, false, Agrees),
        ("a display name without an end", request_with("From", "From: \"Mr. X <sip:a@192.0.2.1>;tag=x"), E::From, true, Agrees),
        ("a URI without an end", request_with("To", "To: <sip:a@192.0.2.1"), E::To, true, Agrees),
        ("a name and no URI", request_with("To", "To: \"name\""), E::To, true, Agrees),
        ("an empty URI", request_with("To", "To: <>"), E::To, true, Agrees),
        ("a blank in a URI", request_with("To", "To: <sip:a b@192.0.2.1>"), E::To, true, Agrees),
        ("something behind the URI", request_with("To", "To: <sip:a@192.0.2.1> x;tag=1"), E::To, true, Agrees),
        ("an empty tag", request_with("From", "From: <sip:a@192.0.2.1>;tag="), E::From, true, Agrees),
        ("a blank in a tag", request_with("From", "From: <sip:a@192.0.2.1>;tag=a b"), E::From, true, Agrees),
        ("two From", request_with("X", "f: <sip:a@192.0.2.1>;tag=x"), E::Repeated, true, Agrees),
        ("two To", request_with("X", "To: <sip:a@192.0.2.1>"), E::Repeated, true, Agrees),
        ("two Call-IDs", request_with("X", "i: x"), E::Repeated, true, Agrees),
        ("two CSeqs", request_with("X", "CSeq: 7 OPTIONS"), E::Repeated, true, Agrees),
        ("two Max-Forwards", request_with("X", "Max-Forwards: 70"), E::Repeated, true, Agrees),
        ("a blank in the Call-ID", request_with("Call-ID", "Call-ID: a b"), E::CallId, true, Differs("keeps it as it is")),
        ("a CSeq of 2^31", request_with("CSeq", "CSeq: 2147483648 OPTIONS"), E::CSeq, true, Agrees),
        ("a CSeq of 65 bits", request_with("CSeq", "CSeq: 36893488147419103232 OPTIONS"), E::CSeq, true, Agrees),
        ("a negative CSeq", request_with("CSeq", "CSeq: -7 OPTIONS"), E::CSeq, true, Agrees),
        ("a CSeq without a method", request_with("CSeq", "CSeq: 7"), E::CSeq, true, Agrees),
        ("a CSeq without a number", request_with("CSeq", "CSeq: OPTIONS"), E::CSeq, true, Agrees),
        ("a CSeq with more", request_with("CSeq", "CSeq: 7 OPTIONS x"), E::CSeq, true, Agrees),
        ("a CSeq of another method", request_with("CSeq", "CSeq: 7 INVITE"), E::CSeqMethod, true, Agrees),
        ("a CSeq in another case", request_with("CSeq", "CSeq: 7 Options"), E::CSeqMethod, true, Agrees),
        ("a Max-Forwards above 255", request_with("Max-Forwards", "Max-Forwards: 256"), E::MaxForwards, true, Agrees),
        ("a Max-Forwards below 0", request_with("Max-Forwards", "Max-Forwards: -1"), E::MaxForwards, true, Agrees),
        ("a negative Content-Length", request_with("Content-Length", "Content-Length: -999"), E::ContentLength, true, Agrees),
        ("a hexadecimal Content-Length", request_with("Content-Length", "Content-Length: 0x10"), E::ContentLength, true, Agrees),
        ("an empty Content-Length", request_with("Content-Length", "Content-Length:"), E::ContentLength, true, Agrees),
        ("an endless Content-Length", request_with("Content-Length", "Content-Length: 99999999999999999999999"), E::ContentLength, true, Agrees),
        ("a large Content-Length", request_with("Content-Length", "Content-Length: 9999999999"), E::BodyTooShort, true, Agrees),
        ("a Content-Length above the body", request_with("Content-Length", "Content-Length: 1"), E::BodyTooShort, true, Agrees),
        ("Content-Lengths that differ", request_with("Content-Length", "Content-Length: 0\r\nl: 1"), E::ContentLengths, true, Agrees),
        ("a status of two digits", b"SIP/2.0 20 OK\r\n\r\n".to_vec(), E::Status, false, Agrees),
        ("a status of four digits", b"SIP/2.0 2000 OK\r\n\r\n".to_vec(), E::Status, false, Agrees),
        ("a status below 100", b"SIP/2.0 099 Low\r\n\r\n".to_vec(), E::Status, false, Agrees),
        ("a status above 699", b"SIP/2.0 700 High\r\n\r\n".to_vec(), E::Status, false, Agrees),
        ("a response of another version", b"SIP/3.0 200 OK\r\n\r\n".to_vec(), E::Version, false, Agrees),
        ("a response with a bad CSeq", b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP b;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 9292394834772304023312 INVITE\r\n\r\n".to_vec(), E::CSeq, false, Agrees),
    ];
    let mut failures = Vec::new();
    for (what, text, error, answerable, oracle) in rows {
        match parse(&text) {
            Ok(_) => failures.push(format!("{what}: taken")),
            Err(rejected) => {
                if rejected.error != error || rejected.request.is_some() != answerable {
                    failures.push(format!("{what}: {:?}, answerable: {}", rejected.error, rejected.request.is_some()));
                }
            }
        }
        match (sipx_takes(&text), oracle) {
            (false, Agrees) | (true, Differs(_)) => {}
            (true, Agrees) => failures.push(format!("{what}: sipx-sip takes it")),
            (false, Differs(why)) => failures.push(format!("{what}: sipx-sip turns it away though it {why}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_limit_is_kept() {
    let small = Limits {
        max_message: 600,
        max_start_line: 60,
        max_headers: 8,
        max_header_line: 70,
        max_body: 3,
        ..Limits::default()
    };
    let error = |text: Vec<u8>| {
        Message::parse(Bytes::from(text), &small)
            .map(drop)
            .map_err(|rejected| (rejected.error, rejected.request.is_some()))
    };
    assert_eq!(error(request_with("", "")), Ok(()));
    assert_eq!(error(request_with("X", "X: x")), Err((ParseError::TooManyHeaders, true)));
    assert_eq!(
        error(request_with("Contact", &format!("Contact: {}", "x".repeat(70)))),
        Err((ParseError::HeaderTooLong, true))
    );
    assert_eq!(
        error(request_with("Contact", &format!("Contact: {}", "x\r\n ".repeat(20)))),
        Err((ParseError::HeaderTooLong, true))
    );
    assert_eq!(
        error(with_start(&format!("OPTIONS sip:{} SIP/2.0", "x".repeat(60)))),
        Err((ParseError::StartLineTooLong, true))
    );
    assert_eq!(
        error([&request_with("Content-Length", "l: 4")[..], b"1234"].concat()),
        Err((ParseError::BodyTooLong, true))
    );
    assert_eq!(
        error([&request_with("Content-Length", "l: 3")[..], &[b'x'; 600]].concat()),
        Err((ParseError::TooLong, true))
    );
    let huge = [&request_with("Content-Length", "")[..], &[b'x'; 70_000]].concat();
    assert_eq!(parse(&huge).unwrap_err().error, ParseError::TooLong);
    assert!(parse(&huge).unwrap_err().request.is_none());
}

#[test]
fn addresses_that_cannot_be_read_say_so() {
    for wrong in
        ["", "<", "\"", "\"a\" b", "<sip:a@b", "a <sip:a@b> b", "<sip:a@b><sip:c@d>", "<sip: a@b>", "sip:a b@c", "\"a"]
    {
        assert_eq!(NameAddr::parse(wrong.as_bytes()), Err(ParseError::Address), "{wrong}");
    }
    for wrong in [
        "",
        ":",
        "sip",
        "sip:",
        "sip:@",
        "sip:a@",
        "sip:a@b:",
        "sip:a@b:0",
        "sip:a@b:65536",
        "sip:a@b:x",
        "sip:[",
        "sip:[]",
        "sip:[::1",
        "sip:[::g]",
        "sip:[::1]x",
        "sip:2001:db8::1",
        "sip:a@b c",
        "1sip:a@b",
        "s ip:a@b",
        "tel:",
        "tel:;x",
        "sip:a@b,c",
        "<sip:a@b>",
    ] {
        assert_eq!(Uri::parse(wrong.as_bytes()), Err(ParseError::Uri), "{wrong}");
    }
}

#[test]
fn a_user_part_is_read_without_its_parameters_and_escapes() {
    for (uri, user) in [
        ("sip:%2B8613800000001;npdi;rn=1@x", "+8613800000001"),
        ("sip:a%zz%4@x", "a%zz%4"),
        ("sip:%", ""),
        ("tel:+86-10%20", "+86-10 "),
        ("sip:x", ""),
    ] {
        let read = Uri::parse(uri.as_bytes()).map(|uri| uri.user_unescaped().into_owned()).unwrap_or_default();
        assert_eq!(read.escape_ascii().to_string(), user, "{uri}");
    }
}

// ---- bodies ---------------------------------------------------------------------------------------------------------

fn sdp_of(content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut text = request_with("Content-Length", &format!("{content_type}Content-Length: {}", body.len()));
    text.extend_from_slice(body);
    sound(&text).sdp_body().map(<[u8]>::to_vec)
}

#[test]
fn the_session_description_is_found_wherever_it_stands() {
    let mixed = b"preamble v=0\r\n--b 1\r\nContent-Type: application/isup;version=x\r\n\r\n\0\x01--b 1\0\r\n--b 12\r\n\r\n--b 1 \r\n\
        content-disposition: session\r\nc :\r\n Application/SDP ; x=y\r\n\r\nv=0\r\ns=-\r\n\r\n--b 1--\r\nepilogue\r\n--b 1\r\n";
    assert_eq!(sdp_of("Content-Type: application/sdp\r\n", b"v=0\r\n"), Some(b"v=0\r\n".to_vec()));
    assert_eq!(sdp_of("", b"v=0\r\n"), Some(b"v=0\r\n".to_vec()));
    assert_eq!(sdp_of("", b"w=0\r\n"), None);
    assert_eq!(sdp_of("Content-Type: application/sdp\r\n", b""), None);
    assert_eq!(sdp_of("Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n", b"v=0\r\n"), None);
    assert_eq!(sdp_of("Content-Type: application/sdpx\r\n", b"v=0\r\n"), None);
    assert_eq!(sdp_of("Content-Type: multipart/mixed;boundary=\"b 1\"\r\n", mixed), Some(b"v=0\r\ns=-\r\n".to_vec()));
    assert_eq!(sdp_of("Content-Type: multipart/mixed;boundary=b\r\n", mixed), None);
    assert_eq!(sdp_of("Content-Type: multipart/mixed\r\n", mixed), None);
    assert_eq!(sdp_of(&format!("Content-Type: multipart/mixed;boundary={}\r\n", "b".repeat(71)), mixed), None);
    let nested = b"--o\nContent-Type: multipart/alternative;boundary=i\n\n--i\nContent-Type: application/sdp\n\nv=0\n--i--\n--o--\n";
    assert_eq!(sdp_of("Content-Type: multipart/mixed ; boundary = o\r\n", nested), Some(b"v=0".to_vec()));
    let open = b"--o\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n";
    assert_eq!(
        sdp_of("Content-Type: multipart/mixed;boundary=o\r\n", open),
        Some(b"v=0".to_vec()),
        "no last delimiter"
    );
}

#[test]
fn reasons_retry_after_and_content_type_are_read_on_demand() {
    let message = sound(&request_with(
        "X",
        "Reason: SIP ;cause=600;text=\"a, b;cause=1\", q.850 ; cause = 17\r\nRetry-After: 5 (busy);duration=3\r\nc: a/b",
    ));
    let reasons: Vec<_> = message.reasons().map(|reason| (reason.protocol, reason.cause)).collect();
    assert_eq!(reasons, [(&b"SIP"[..], Some(600)), (b"q.850", Some(17))]);
    assert_eq!(message.q850(), Some(17));
    assert_eq!(message.retry_after(), Some(5));
    assert!(message.content_type().is_some_and(|media_type| media_type.is("A", "B")));
    let wrong =
        sound(&request_with("X", "Reason: ;cause=1, Q.850;cause=128, Q.850;cause=-1\r\nRetry-After: 5x\r\nc: a"));
    assert_eq!((wrong.q850(), wrong.retry_after(), wrong.content_type()), (None, None, None));
}
