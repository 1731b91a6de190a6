//! Every message of RFC 4475 and RFC 5118, and what the reader must make of it.
//!
//! Where the RFCs leave a choice the row says what ours is. `sipx-sip`, an independent reader, is asked for its opinion of
//! each; where it judges otherwise, the row says why. What X answers to each is in `b2bua/tests/torture.rs`.

use std::collections::BTreeSet;

use bytes::Bytes;
use sip::framing::{Frame, Framer};
use sip::limits::Limits;
use sip::message::{HeaderName, List, Message, Method, NameAddr, ParseError, Scheme, Uri, write};

#[path = "torture/messages.rs"]
mod messages;
use messages::{RFC_4475, RFC_5118, Torture};

/// What the reader must do.
#[derive(Clone, Copy)]
enum Expected {
    /// It takes the message, and this holds of it.
    Taken(fn(&Message)),
    /// It turns it away for this reason; the request is given back so that it can be answered.
    Answerable(ParseError),
    /// It turns it away for this reason, and nobody is to be answered.
    Silence(ParseError),
}
use Expected::{Answerable, Silence, Taken};

/// What sipx-sip says: the same, or otherwise for a reason.
enum Oracle {
    Agrees,
    Differs(&'static str),
}
use Oracle::{Agrees, Differs};

fn all() -> impl Iterator<Item = &'static Torture> {
    RFC_4475.iter().chain(RFC_5118)
}

fn parse(wire: Vec<u8>) -> Result<Message, sip::message::Rejected> {
    Message::parse(Bytes::from(wire), &Limits::default())
}

fn sipx_takes(wire: &[u8]) -> bool {
    let parsed = sipx_sip::parser::parse_datagram(Bytes::copy_from_slice(wire), &sipx_sip::parser::Limits::datagram());
    parsed.is_ok_and(|message| sipx_sip::validate::validate(&message).is_empty())
}

/// Of an address of the message: display name, user, host.
fn parts<'a>(address: &NameAddr<'a>) -> (Vec<u8>, Vec<u8>, &'a [u8]) {
    let uri = Uri::parse(address.uri).expect("a URI");
    (address.name().into_owned(), uri.user_unescaped().into_owned(), uri.host)
}

fn other<'a>(message: &'a Message, name: &str) -> Option<&'a [u8]> {
    message.headers().find(|header| header.raw_name == name.as_bytes()).map(|header| header.value)
}

fn uri_of(message: &Message) -> Uri<'_> {
    Uri::parse(message.request_uri()).expect("a URI")
}

#[rustfmt::skip]
fn table() -> Vec<(&'static str, Expected, Oracle)> {
    use ParseError as E;
    vec![
        // RFC 4475 §3.1.1: valid
        ("wsinv", Taken(wsinv), Agrees),
        ("intmeth", Taken(intmeth), Agrees),
        ("esc01", Taken(esc01), Agrees),
        ("escnull", Taken(escnull), Agrees),
        ("esc02", Taken(esc02), Agrees),
        ("lwsdisp", Taken(|m| {
            assert_eq!(parts(&m.from().unwrap()), (b"caller".to_vec(), b"caller".to_vec(), &b"example.com"[..]));
            assert_eq!(m.from_tag(), b"323");
        }), Agrees),
        ("longreq", Taken(longreq), Agrees),
        ("dblreq", Taken(|m| {
            // §18.3: what follows the body of a datagram is noise.
            assert_eq!((m.method(), m.cseq().number, m.body()), (Method::Register, 8, &b""[..]));
            assert_eq!(m.headers().count(), 8);
        }), Agrees),
        ("semiuri", Taken(|m| {
            let uri = uri_of(m);
            assert_eq!((uri.user, uri.host), (&b"user;par=u%40example.net"[..], &b"example.com"[..]));
            assert_eq!(uri.params.iter().count(), 0);
            assert_eq!(m.values(HeaderName::Accept).count(), 6);
        }), Agrees),
        ("transports", Taken(|m| {
            let transports: Vec<_> = m.vias().map(|via| via.unwrap().transport.to_vec()).collect();
            assert_eq!(transports, [&b"UDP"[..], b"SCTP", b"TLS", b"UNKNOWN", b"TCP"]);
            assert_eq!(m.call_id(), b"transports.kijh4akdnaqjkwendsasfdj");
        }), Agrees),
        ("mpart01", Taken(|m| {
            assert_eq!((m.method(), m.body().len()), (Method::Message, 553));
            assert_eq!(m.body().iter().filter(|byte| **byte == 0).count(), 2, "a NUL is an octet like any other");
            assert!(m.body().ends_with(b"\xd0\x05\r\n--7a9cbec02ceef655--\r\n"));
            assert!(m.content_type().is_some_and(|kind| kind.is("multipart", "mixed")));
            assert_eq!((m.top_via().port, m.top_via().rport), (Some(5070), Some(None)));
            assert_eq!(other(m, "Identity").map(<[u8]>::len), Some(172));
            assert_eq!(m.sdp_body(), None);
        }), Agrees),
        ("unreason", Taken(|m| {
            assert_eq!((m.status(), m.method(), m.body().len()), (200, Method::Invite, 154));
            assert_eq!(m.reason(), "= 2**3 * 5**2 но сто девяносто девять - простое".as_bytes());
        }), Agrees),
        ("noreason", Taken(|m| assert_eq!((m.status(), m.reason(), m.to_tag()), (100, &b""[..], &b"902jndnke3"[..]))), Agrees),
        // §3.1.2: invalid
        ("badinv01", Answerable(E::Via), Agrees),
        ("clerr", Answerable(E::BodyTooShort), Agrees),
        ("ncl", Answerable(E::ContentLength), Agrees),
        ("scalar02", Answerable(E::CSeq), Agrees),
        ("scalarlg", Silence(E::CSeq), Agrees),
        ("quotbal", Answerable(E::To), Agrees),
        ("ltgtruri", Answerable(E::RequestUri), Agrees),
        ("lwsruri", Answerable(E::RequestUri), Agrees),
        ("lwsstart", Taken(|m| assert_eq!(m.request_uri(), b"sip:user@example.com")), Differs("it may be liberal here, and is not")),
        ("trws", Taken(|m| assert_eq!(m.request_uri(), b"sip:remote-target@example.com")), Differs("it may be liberal here, and is not")),
        ("escruri", Taken(|m| {
            // Read, and never used: what we send has a Request-URI of our own.
            let uri = uri_of(m);
            assert_eq!((uri.host, uri.headers), (&b"example.com"[..], &b"Route=%3Csip:example.com%3E"[..]));
        }), Differs("it may refuse, and does")),
        ("baddate", Taken(|m| assert!(m.header(HeaderName::Date).unwrap().ends_with(b"EST"))), Agrees),
        ("regbadct", Taken(|m| {
            let uri = m.contact().unwrap().unwrap().uri;
            assert_eq!(Uri::parse(uri).unwrap().headers, b"Route=%3Csip:sip.example.com%3E");
        }), Agrees),
        ("badaspec", Taken(|m| {
            assert_eq!(parts(&m.to().unwrap()), (b"Watson, Thomas".to_vec(), b"t.watson".to_vec(), &b"example.org"[..]));
        }), Differs("it may ignore the blanks, and does not")),
        ("baddn", Taken(|m| {
            // One address stands in From, so its comma misleads nobody.
            assert_eq!(parts(&m.from().unwrap()), (b"Bell, Alexander".to_vec(), b"a.g.bell".to_vec(), &b"example.com"[..]));
            assert_eq!(m.from_tag(), b"43");
        }), Differs("it may infer the quotes, and does not")),
        ("badvers", Answerable(E::Version), Agrees),
        ("mismatch01", Answerable(E::CSeqMethod), Agrees),
        ("mismatch02", Answerable(E::CSeqMethod), Agrees),
        ("bigcode", Silence(E::Status), Agrees),
        // §3.2: transaction layer
        ("badbranch", Taken(|m| assert_eq!(m.top_via().branch, b"z9hG4bK")), Agrees),
        // §3.3: application layer
        ("insuf", Answerable(E::MissingFrom), Agrees),
        ("unkscm", Taken(|m| assert_eq!((uri_of(m).scheme, uri_of(m).user), (Scheme::Other, &b"totallyopaquecontent"[..]))), Agrees),
        ("novelsc", Taken(|m| assert_eq!((uri_of(m).scheme, uri_of(m).host), (Scheme::Other, &b""[..]))), Agrees),
        ("unksm2", Taken(|m| {
            assert_eq!(m.to().unwrap().uri, b"isbn:2983792873");
            assert_eq!((m.from().unwrap().uri, m.from_tag()), (&b"http://www.example.com"[..], &b"3234233"[..]));
            assert_eq!(m.contact().unwrap().unwrap().uri, b"name:John_Smith");
        }), Agrees),
        ("bext01", Taken(|m| {
            assert!(m.has_option_tag(HeaderName::Require, "nothingSupportsThisEither"));
            assert_eq!(m.values(HeaderName::ProxyRequire).count(), 2);
        }), Agrees),
        ("invut", Taken(|m| assert_eq!((m.body().len(), m.sdp_body()), (40, None))), Agrees),
        ("regaut01", Taken(|m| {
            assert_eq!(m.header(HeaderName::Authorization), Some(&b"NoOneKnowsThisScheme opaque-data=here"[..]));
        }), Agrees),
        ("multi01", Answerable(E::Repeated), Agrees),
        ("mcl01", Answerable(E::ContentLengths), Agrees),
        ("bcast", Taken(|m| assert_eq!((m.status(), m.vias().count()), (200, 2))), Agrees),
        ("zeromf", Taken(|m| assert_eq!(m.max_forwards(), Some(Ok(0)))), Agrees),
        ("cparam01", Taken(|m| {
            let contact = m.contact().unwrap().unwrap();
            assert_eq!(contact.uri, b"sip:+19725552222@gw1.example.net");
            assert_eq!(contact.params.get(b"unknownparam"), Some(&b""[..]), "without brackets it is Contact's");
        }), Agrees),
        ("cparam02", Taken(|m| {
            let contact = m.contact().unwrap().unwrap();
            assert_eq!(contact.params.get(b"unknownparam"), None);
            let uri = Uri::parse(contact.uri).unwrap();
            assert_eq!(uri.params.get(b"unknownparam"), Some(&b""[..]), "in brackets it is the URI's");
        }), Agrees),
        ("regescrt", Taken(|m| {
            let uri = m.contact().unwrap().unwrap().uri;
            assert_eq!(Uri::parse(uri).unwrap().headers, b"Route=%3Csip:sip.example.com%3E");
        }), Agrees),
        ("sdp01", Taken(|m| assert_eq!((m.header(HeaderName::Accept), m.sdp_body().map(<[u8]>::len)), (Some(&b"text/nobodyKnowsThis"[..]), Some(150)))), Agrees),
        // §3.4: backward compatibility
        ("inv2543", Taken(|m| {
            assert_eq!((m.top_via().branch, m.from_tag(), m.max_forwards()), (&b""[..], &b""[..], None));
            assert!(m.contact().is_none() && m.header(HeaderName::ContentLength).is_none());
            assert_eq!(m.sdp_body().map(<[u8]>::len), Some(105), "the body goes to the end of the datagram");
            let to = m.to().unwrap();
            assert_eq!((to.uri, to.params.get(b"user")), (&b"sip:+16505552222@ss1.example.net"[..], Some(&b"phone"[..])));
        }), Differs("Max-Forwards is mandatory since RFC 3261")),
        // RFC 5118
        ("ipv6-good", Taken(|m| {
            assert_eq!((uri_of(m).host, uri_of(m).port, m.top_via().host), (&b"[2001:db8::10]"[..], None, &b"[2001:db8::9:1]"[..]));
            let contact = m.contact().unwrap().unwrap();
            assert_eq!(parts(&contact), (b"Caller".to_vec(), b"caller".to_vec(), &b"[2001:db8::1]"[..]));
        }), Agrees),
        // A Request-URI is read when it is used: then this is none.
        ("ipv6-bad", Taken(|m| assert_eq!(Uri::parse(m.request_uri()), Err(E::Uri))), Differs("it reads the Request-URI at once")),
        ("port-ambiguous", Taken(|m| assert_eq!((uri_of(m).host, uri_of(m).port), (&b"[2001:db8::10:5070]"[..], None))), Agrees),
        ("port-unambiguous", Taken(|m| assert_eq!((uri_of(m).host, uri_of(m).port), (&b"[2001:db8::10]"[..], Some(5070)))), Agrees),
        ("via-received-param-with-delim", Taken(|m| {
            assert_eq!((m.top_via().received, m.top_via().branch), (Some(&b"[2001:db8::9:255]"[..]), &b"z9hG4bKas3-111"[..]));
        }), Agrees),
        ("via-received-param-no-delim", Taken(|m| {
            assert_eq!((m.top_via().received, m.top_via().branch), (Some(&b"2001:db8::9:255"[..]), &b"z9hG4bKas3"[..]));
        }), Agrees),
        // The RFC prints lengths that its bodies do not have: see `the_bodies_of_rfc_5118_are_read_once_their_lengths_are_right`.
        ("ipv6-in-sdp", Answerable(E::BodyTooShort), Agrees),
        ("mult-ip-in-header", Taken(|m| {
            let vias: Vec<_> = m.vias().map(Result::unwrap).map(|via| (via.host, via.port)).collect();
            assert_eq!(vias, [(&b"[2001:db8::9:1]"[..], Some(6050)), (b"192.0.2.1", None), (b"[2001:db8::9:255]", None)]);
        }), Agrees),
        ("mult-ip-in-sdp", Taken(|m| assert_eq!(m.sdp_body().map(<[u8]>::len), Some(181))), Agrees),
        ("ipv4-mapped-ipv6", Taken(|m| {
            assert_eq!((m.top_via().host, m.top_via().port), (&b"[::ffff:192.0.2.10]"[..], Some(19_823)));
            assert_eq!(m.sdp_body().map(<[u8]>::len), Some(236));
        }), Agrees),
        // RFC 3261's own grammar can make three colons: the RFC asks to be liberal.
        ("ipv6-bug-abnf-3-colons", Taken(|m| assert_eq!(uri_of(m).host, b"[2001:db8:::192.0.2.1]")), Agrees),
        ("ipv6-correct-abnf-2-colons", Taken(|m| assert_eq!(uri_of(m).host, b"[2001:db8::192.0.2.1]")), Agrees),
    ]
}

fn wsinv(m: &Message) {
    assert_eq!((m.method(), m.cseq().number, m.max_forwards()), (Method::Invite, 9, Some(Ok(68))));
    assert_eq!(uri_of(m).params.get(b"unknownparam"), Some(&b""[..]));
    assert_eq!((m.to().unwrap().uri, m.to_tag()), (&b"sip:vivekg@chair-dnrc.example.com"[..], &b"1918181833n"[..]));
    let from = m.from().unwrap();
    assert_eq!((&*from.name(), from.uri), (&b"J Rosenberg \\\""[..], &b"sip:jdrosen@example.com"[..]));
    assert_eq!((m.from_tag(), m.call_id()), (&b"98asjd8"[..], &b"wsinv.ndaksdj@192.0.2.1"[..]));
    let vias: Vec<_> = m.vias().map(Result::unwrap).map(|via| (via.transport, via.host, via.branch)).collect();
    let expected: [(&[u8], &[u8], &[u8]); 3] = [
        (b"UDP", b"192.0.2.2", b"390skdjuw"),
        (b"TCP", b"spindle.example.com", b"z9hG4bK9ikj8"),
        (b"UDP", b"192.168.255.111", b"z9hG4bK30239"),
    ];
    assert_eq!(vias, expected);
    assert_eq!(m.header(HeaderName::Subject), Some(&b""[..]));
    assert_eq!(other(m, "NewFangledHeader"), Some(&b"newfangled value\r\n continued newfangled value"[..]));
    assert_eq!(other(m, "UnknownHeaderWithUnusualValue"), Some(&b";;,,;;,;"[..]));
    let contact = m.contact().unwrap().unwrap();
    assert_eq!(&*contact.name(), b"Quoted string \"\"");
    let params: Vec<_> = contact.params.iter().collect();
    assert_eq!(params, [(&b"newparam"[..], &b"newvalue"[..]), (b"secondparam", b""), (b"q", b"0.33")]);
    let route = m.values(HeaderName::Route).next().map(|route| NameAddr::parse(route).unwrap()).unwrap();
    let route = Uri::parse(route.uri).unwrap();
    assert_eq!((route.params.get(b"lr"), route.params.get(b"unknownwith")), (Some(&b""[..]), Some(&b"value"[..])));
    assert_eq!(m.sdp_body().map(<[u8]>::len), Some(150));
}

fn intmeth(m: &Message) {
    assert_eq!(m.method(), Method::Other);
    assert_eq!(m.method_bytes(), b"!interesting-Method0123456789_*+`.%indeed'~");
    let uri = uri_of(m);
    assert_eq!(uri.user, b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*");
    assert_eq!(uri.password, b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)");
    assert_eq!((uri.host, m.top_via().branch), (&b"example.com"[..], &b"z9hG4bK-.!%66*_+`'~"[..]));
    let to = m.to().unwrap();
    assert_eq!(&*to.name(), b"BEL:\x07 NUL:\0 DEL:\x7f");
    assert_eq!(to.uri, b"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com");
    let from = m.from().unwrap();
    assert_eq!((&*from.name(), from.uri), (&b"token1~` token2'+_ token3*%!.-"[..], &b"sip:mundane@example.com"[..]));
    assert_eq!(from.params.get(b"fromParam''~+*_!.-%"), Some("\"работающий\"".as_bytes()));
    assert_eq!(m.from_tag(), b"_token~1'+`*%!-.");
    assert_eq!(m.call_id(), b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!((m.cseq().number, m.max_forwards()), (139_122_385, Some(Ok(255))));
    assert_eq!(other(m, "extensionHeader-!.%*+_`'~"), Some("\u{feff}大停電".as_bytes()));
}

fn esc01(m: &Message) {
    assert_eq!(&*uri_of(m).user_unescaped(), b"sips:user@example.com");
    assert_eq!(uri_of(m).host, b"example.net");
    assert_eq!(parts(&m.to().unwrap()), (vec![], b"user".to_vec(), &b"example.com"[..]));
    assert_eq!(parts(&m.from().unwrap()), (vec![], b"I have spaces".to_vec(), &b"example.net"[..]));
    let contact = m.contact().unwrap().unwrap();
    assert_eq!(parts(&contact).1, b"caller");
    let params: Vec<_> = Uri::parse(contact.uri).unwrap().params.iter().collect();
    assert_eq!(params, [(&b"%6C%72"[..], &b""[..]), (b"n%61me", b"v%61lue%25%34%31")]);
    assert_eq!(m.sdp_body().map(<[u8]>::len), Some(150));
}

fn escnull(m: &Message) {
    // A name does not end at its NUL.
    assert_eq!(parts(&m.to().unwrap()).1, b"null-\0-null");
    assert_eq!(parts(&m.from().unwrap()).1, b"null-\0-null");
    let contacts: Vec<_> =
        m.values(HeaderName::Contact).map(|contact| parts(&NameAddr::parse(contact).unwrap()).1).collect();
    assert_eq!(contacts, [&b"\0"[..], b"\0\0"]);
}

fn esc02(m: &Message) {
    assert_eq!((m.method(), m.method_bytes()), (Method::Other, &b"RE%47IST%45R"[..]));
    assert_eq!((&*m.to().unwrap().name(), &*m.from().unwrap().name()), (&b"%Z%45"[..], &b"%Z%45"[..]));
    assert_eq!(m.top_via().branch, b"z9hG4bK209%fzsnel234");
    assert_eq!(m.values(HeaderName::Contact).count(), 2, "a header name has no escapes");
    assert_eq!(other(m, "C%6Fntact"), Some(&b"<sip:alias2@host2.example.com>"[..]));
}

fn longreq(m: &Message) {
    let to = m.to().unwrap();
    assert_eq!(to.name().len(), "I have a user name of  proportion".len() + 70);
    let uri = Uri::parse(to.uri).unwrap();
    assert_eq!((uri.user, uri.port, uri.params.iter().count()), (&b"user"[..], Some(6000), 3));
    assert_eq!(uri.params.get(format!("longparam{}", "name".repeat(25)).as_bytes()), Some(&b"shortvalue"[..]));
    let from = m.from().unwrap();
    assert_eq!(Uri::parse(from.uri).unwrap().user, "amazinglylongcallername".repeat(5).as_bytes());
    assert_eq!(m.from_tag(), format!("12{}424", "982".repeat(50)).as_bytes());
    assert_eq!(from.params.iter().count(), 3);
    assert_eq!(m.call_id(), format!("longreq.one{}longcallid", "really".repeat(20)).as_bytes());
    let hosts: Vec<_> = m.vias().map(|via| via.unwrap().host.to_vec()).collect();
    let expected: Vec<_> = (1..=33).rev().map(|number| format!("sip{number}.example.com").into_bytes()).collect();
    assert_eq!(hosts[..33], expected);
    let last = m.vias().last().unwrap().unwrap();
    assert_eq!((last.host, last.received, last.branch.len()), (&b"host.example.com"[..], Some(&b"192.0.2.5"[..]), 215));
    assert_eq!(m.top_via().branch, b"");
    assert_eq!(m.sdp_body().map(<[u8]>::len), Some(150));
}

#[test]
fn every_message_of_both_rfcs_stands_in_the_table_once() {
    let known: Vec<_> = all().map(|torture| torture.name).collect();
    let tabled: Vec<_> = table().iter().map(|(name, ..)| *name).collect();
    assert_eq!(known, tabled);
    assert_eq!((RFC_4475.len(), RFC_5118.len()), (13 + 19 + 1 + 15 + 1, 12));
    let sections: BTreeSet<_> = all().map(|torture| (torture.section, torture.name)).collect();
    assert_eq!(sections.len(), known.len());
}

#[test]
fn the_bodies_are_as_long_as_they_say() {
    // The RFC's own arithmetic: were an octet of ours missing, it would show here.
    let liars = ["clerr", "ncl", "mcl01", "dblreq", "ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"];
    for torture in all().filter(|torture| !liars.contains(&torture.name)) {
        let wire = torture.wire();
        let end = wire.windows(4).position(|window| window == b"\r\n\r\n").expect("headers end") + 4;
        let head = String::from_utf8_lossy(&wire[..end]).to_ascii_lowercase();
        let said = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            matches!(name.trim(), "content-length" | "l").then(|| value.trim().parse::<usize>().expect("a number"))
        });
        assert!(said.is_none_or(|said| said == wire.len() - end), "{}: {said:?}, {}", torture.name, wire.len() - end);
        let bare = (1..end).find(|at| wire[*at] == b'\n' && wire[at - 1] != b'\r');
        assert_eq!(bare, None, "{}: lines end with CRLF", torture.name);
    }
}

#[test]
fn the_bodies_of_rfc_5118_are_read_once_their_lengths_are_right() {
    // §4.6, §4.8 and §4.9 say 268, 181 and 236 octets; with CRLF at the end of each line they have these.
    for (name, said, is) in [("ipv6-in-sdp", 268, 251), ("mult-ip-in-sdp", 181, 189), ("ipv4-mapped-ipv6", 236, 245)] {
        let torture = RFC_5118.iter().find(|torture| torture.name == name).unwrap();
        let wire = String::from_utf8(torture.wire()).unwrap();
        let length = |length: usize| format!("Content-Length: {length}\r\n");
        let message = parse(wire.replace(&length(said), &length(is)).into_bytes()).unwrap();
        assert_eq!(message.sdp_body().map(<[u8]>::len), Some(is), "{name}");
        assert!(message.body().ends_with(b"H263-1998/90000\r\n"), "{name}");
    }
}

#[test]
fn the_reader_does_as_tabled() {
    let mut failures = Vec::new();
    for (torture, (name, expected, oracle)) in all().zip(table()) {
        let wire = torture.wire();
        let takes = match (parse(wire.clone()), expected) {
            (Ok(message), Taken(check)) => {
                check(&message);
                true
            }
            (Err(rejected), Answerable(error)) if (rejected.error, rejected.request.is_some()) == (error, true) => {
                false
            }
            (Err(rejected), Silence(error)) if (rejected.error, rejected.request.is_some()) == (error, false) => false,
            (Ok(_), _) => {
                failures.push(format!("{} {name}: taken", torture.section));
                continue;
            }
            (Err(rejected), _) => {
                let answerable = rejected.request.is_some();
                failures.push(format!("{} {name}: {:?}, answerable: {answerable}", torture.section, rejected.error));
                continue;
            }
        };
        match (sipx_takes(&wire) == takes, oracle) {
            (true, Agrees) | (false, Differs(_)) => {}
            (false, Agrees) => failures.push(format!("{} {name}: sipx-sip judges otherwise", torture.section)),
            (true, Differs(why)) => failures.push(format!("{} {name}: sipx-sip agrees though {why}", torture.section)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_stream_cuts_them_where_the_reader_does() {
    for (torture, (name, expected, _)) in all().zip(table()) {
        let wire = torture.wire();
        let mut framer = Framer::new(&Limits::default());
        framer.push(&wire);
        let frame = framer.poll();
        match (name, expected) {
            // §3.1.2.2: on a stream there is nothing to do but to wait for the rest.
            ("clerr" | "ipv6-in-sdp", _) => assert_eq!(frame, Ok(None)),
            // §3.1.2.3: nobody can know where the next message begins.
            ("ncl", _) => assert_eq!(frame, Err(ParseError::ContentLength)),
            ("mcl01", _) => assert_eq!(frame, Err(ParseError::ContentLengths)),
            // RFC 2543 ended a message with its connection.
            ("inv2543", _) => assert_eq!(frame, Err(ParseError::NoContentLength)),
            (_, Taken(_)) => {
                let Ok(Some(Frame::Message(bytes))) = frame else { panic!("{name}: {frame:?}") };
                let (cut, whole) = (parse(bytes.to_vec()).unwrap(), parse(wire).unwrap());
                assert_eq!((cut.body(), cut.headers().count()), (whole.body(), whole.headers().count()), "{name}");
            }
            (_, Answerable(_) | Silence(_)) => {
                assert!(matches!(frame, Ok(Some(Frame::Message(_)))), "{name}: {frame:?}")
            }
        }
    }
}

#[test]
fn every_answer_to_them_is_a_sound_message() {
    for (torture, (name, expected, _)) in all().zip(table()) {
        let request = match (parse(torture.wire()), expected) {
            (Ok(message), _) if message.is_request() => message,
            (Err(rejected), Answerable(_)) => rejected.request.expect("it is answerable"),
            (Ok(_) | Err(_), _) => continue,
        };
        let mut out = Vec::new();
        write::response_to(&mut out, &request, 400, "Bad Request", b"ours", "192.0.2.9:5070".parse().ok());
        write::finish(&mut out, None, b"");
        assert!(out.starts_with(b"SIP/2.0 400 Bad Request\r\n"), "{name}: the version is ours, never the request's");
        if matches!(name, "insuf" | "scalar02" | "quotbal") {
            // What was wrong there is given back, or left away, as it came.
            continue;
        }
        match Message::parse(Bytes::from(out.clone()), &Limits::default()) {
            Ok(response) => {
                assert_eq!((response.status(), response.call_id()), (400, request.call_id()), "{name}");
                assert_eq!(response.from_tag(), request.from_tag(), "{name}");
                assert_eq!(response.vias().count(), request.vias().count(), "{name}");
                assert!(!response.to_tag().is_empty(), "{name}");
            }
            // Its Via says SIP/7.0, and goes back like that.
            Err(rejected) => {
                assert_eq!((name, rejected.error), ("badvers", ParseError::Version), "{}", out.escape_ascii())
            }
        }
    }
}

#[test]
fn nothing_of_them_is_lost() {
    // Every header of every message is there, in its order, under its own name.
    for torture in all() {
        let Ok(message) = parse(torture.wire()) else { continue };
        let wire = torture.wire();
        let mut from = 0;
        for header in message.headers() {
            let at = wire[from..].windows(header.raw_name.len()).position(|window| window == header.raw_name);
            from += at.unwrap_or_else(|| panic!("{}: {}", torture.name, header.raw_name.escape_ascii()));
            let _ = List::of(header.value).count();
        }
    }
}
