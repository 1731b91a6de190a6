//! Every message that we write means the same to two readers that others wrote: `rsip` and `sipx-sip`.

use std::time::Duration;

use bytes::Bytes;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;
use rsip::{Headers, SipMessage};
use sip::dialog::Dialog;
use sip::limits::Limits;
use sip::message::{HeaderName, Message, Method, write};
use sip::transaction::{Flow, Layer, Timers, Transport};

/// What a message means, whoever reads it.
#[derive(PartialEq, Eq, Debug)]
struct Meaning {
    /// Method and Request-URI, or status.
    start: String,
    vias: usize,
    branch: String,
    sent_by: String,
    from: (String, String),
    to: (String, String),
    call_id: String,
    cseq: (u32, String),
    /// In lower case: rsip has its own opinion of `transport=tcp`.
    contact: String,
    record_routes: usize,
    body: Vec<u8>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ours(bytes: &[u8]) -> Meaning {
    let message = Message::parse(Bytes::copy_from_slice(bytes), &Limits::default())
        .unwrap_or_else(|rejected| panic!("{:?}: {}", rejected.error, bytes.escape_ascii()));
    let via = message.top_via();
    let address = |address: sip::message::NameAddr<'_>| (text(address.uri), text(address.tag()));
    Meaning {
        start: match message.status() {
            0 => format!("{} {}", text(message.method_bytes()), text(message.request_uri())),
            status => status.to_string(),
        },
        vias: message.vias().count(),
        branch: text(via.branch),
        sent_by: text(via.host) + &via.port.map(|port| format!(":{port}")).unwrap_or_default(),
        from: address(message.from().unwrap()),
        to: address(message.to().unwrap()),
        call_id: text(message.call_id()),
        cseq: (message.cseq().number, message.cseq().method.as_str().to_owned()),
        contact: message.contact().map(|contact| text(contact.unwrap().uri).to_lowercase()).unwrap_or_default(),
        record_routes: message.values(HeaderName::RecordRoute).count(),
        body: message.body().to_vec(),
    }
}

fn rsips(bytes: &[u8]) -> Meaning {
    let message = SipMessage::try_from(bytes).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    let (start, headers, body): (String, Headers, Vec<u8>) = match message {
        SipMessage::Request(request) => (format!("{} {}", request.method, request.uri), request.headers, request.body),
        SipMessage::Response(response) => (response.status_code.code().to_string(), response.headers, response.body),
    };
    let lines = |name: &str| {
        let wanted = format!("{}:", name.to_ascii_lowercase());
        headers.iter().filter(|header| header.to_string().to_ascii_lowercase().starts_with(&wanted)).count()
    };
    let response = rsip::Response { headers: headers.clone(), ..rsip::Response::default() };
    let via = response.via_header().unwrap().typed().unwrap();
    let from = response.from_header().unwrap().typed().unwrap();
    let to = response.to_header().unwrap().typed().unwrap();
    let cseq = response.cseq_header().unwrap().typed().unwrap();
    Meaning {
        start,
        vias: lines("Via"),
        branch: via.branch().map(ToString::to_string).unwrap_or_default(),
        sent_by: via.uri.host_with_port.to_string(),
        from: (from.uri.to_string(), from.tag().map(ToString::to_string).unwrap_or_default()),
        to: (to.uri.to_string(), to.tag().map(ToString::to_string).unwrap_or_default()),
        call_id: response.call_id_header().unwrap().value().to_owned(),
        cseq: (cseq.seq, cseq.method.to_string()),
        contact: response
            .contact_header()
            .map(|contact| contact.typed().unwrap().uri.to_string().to_lowercase())
            .unwrap_or_default(),
        record_routes: lines("Record-Route"),
        body,
    }
}

/// All readers agree, and sipx-sip finds nothing to complain of.
fn agreed(bytes: &[u8]) -> Meaning {
    let meaning = ours(bytes);
    assert_eq!(rsips(bytes), meaning, "{}", bytes.escape_ascii());
    let sipx = sipx_sip::parser::parse_datagram(Bytes::copy_from_slice(bytes), &sipx_sip::parser::Limits::datagram());
    let sipx = sipx.unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    let findings = sipx_sip::validate::validate(&sipx);
    assert!(findings.is_empty(), "{findings:?}: {}", bytes.escape_ascii());
    meaning
}

const SDP: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n";

fn flow(transport: Transport) -> Flow {
    Flow::to(transport, 0, "198.51.100.7:5060".parse().unwrap())
}

fn layer() -> Layer<()> {
    Layer::new(Timers::default(), vec!["203.0.113.9:5060".into()], 10, 1)
}

#[test]
fn an_invite_its_cancel_and_its_ack_mean_the_same_to_everybody() {
    for (user, escaped) in
        [(&b"13800000001"[..], "13800000001"), (b"+8613800000001", "+8613800000001"), (b"*69#", "*69%23")]
    {
        let mut layer = layer();
        let id = layer.send_request(Duration::ZERO, flow(Transport::Udp), Method::Invite, (), |out, via| {
            let mut uri = b"sip:".to_vec();
            write::escape_user(&mut uri, user);
            uri.extend_from_slice(b"@198.51.100.7:5060");
            let mut from = Vec::new();
            write::quote_display(&mut from, b"The \"X\" \\");
            from.extend_from_slice(b" <sip:02100000002@203.0.113.9:5060>;tag=00f1");
            write::request(out, "INVITE", &uri);
            write::header(out, "Via", via);
            write::header(out, "Max-Forwards", b"69");
            write::header(out, "From", &from);
            write::header(out, "To", &[b"<", &uri[..], b">"].concat());
            write::header(out, "Call-ID", b"00c1");
            write::header(out, "CSeq", b"1 INVITE");
            write::header(out, "Contact", b"<sip:203.0.113.9:5060>");
            write::finish(out, Some(b"application/sdp"), SDP);
            1
        });
        let invite = layer.poll_transmit().unwrap().bytes;
        let meaning = agreed(&invite);
        assert_eq!(meaning.start, format!("INVITE sip:{escaped}@198.51.100.7:5060"));
        assert_eq!(meaning.body, SDP);

        let request = Message::parse(invite, &Limits::default()).unwrap();
        let answer = |status: u16| {
            let mut out = Vec::new();
            write::response_to(&mut out, &request, status, write::reason_phrase(status), b"b1", None);
            write::finish(&mut out, None, b"");
            agreed(&out);
            Message::parse(out.into(), &Limits::default()).unwrap()
        };
        layer.handle_message(Duration::ZERO, flow(Transport::Udp), answer(180));
        layer.cancel(Duration::ZERO, id, b"Q.850;cause=16;text=\"Terminated\"");
        let cancel = agreed(&layer.poll_transmit().unwrap().bytes);
        assert_eq!((cancel.branch, cancel.cseq), (meaning.branch.clone(), (1, "CANCEL".into())));
        layer.handle_message(Duration::ZERO, flow(Transport::Udp), answer(487));
        let ack = agreed(&layer.poll_transmit().unwrap().bytes);
        assert_eq!((ack.branch, ack.to.1, ack.cseq), (meaning.branch, "b1".into(), (1, "ACK".into())));
    }
}

#[test]
fn responses_mean_the_same_to_everybody_however_odd_the_request() {
    // What From and To say is given back as it came, folds apart; rsip takes no blank before their parameters.
    let odd = "INVITE sip:x@203.0.113.9 SIP/2.0\r\nv: SIP / 2.0 / UDP\r\n 198.51.100.7 : 5062 ; branch=z9hG4bKa ;rport,SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\n\
        f :\"A\"\r\n \t<sip:13800000001@198.51.100.7>;tag=a1\r\nt:<sip:x@203.0.113.9>\r\ni:odd@198.51.100.7\r\ncseq:  0031\r\n  INVITE\r\n\
        Record-Route: <sip:192.0.2.1;lr>,\r\n <sip:192.0.2.2;lr>\r\nm: sip:13800000001@198.51.100.7\r\nMax-Forwards: 3\r\n\r\n";
    let request = Message::parse(Bytes::from_static(odd.as_bytes()), &Limits::default()).unwrap();
    for status in [100, 180, 183, 200, 302, 400, 404, 480, 486, 487, 488, 500, 503, 505, 603] {
        let mut out = Vec::new();
        write::response_to(
            &mut out,
            &request,
            status,
            write::reason_phrase(status),
            b"x1",
            "198.51.100.7:5099".parse().ok(),
        );
        write::record_routes(&mut out, &request);
        write::header(&mut out, "Contact", b"<sip:203.0.113.9:5060>");
        write::finish(&mut out, Some(b"application/sdp"), SDP);
        let meaning = agreed(&out);
        assert_eq!((meaning.start, meaning.vias, meaning.record_routes), (status.to_string(), 2, 2));
        assert_eq!((meaning.branch, meaning.sent_by), ("z9hG4bKa".to_owned(), "198.51.100.7:5062".to_owned()));
        assert_eq!((meaning.from.1, meaning.to.1, meaning.cseq.0), ("a1".to_owned(), "x1".to_owned(), 31));
        let via = String::from_utf8(out).unwrap();
        assert!(via.contains(";received=198.51.100.7;rport=5099\r\n"), "{via}");
    }
}

#[test]
fn requests_in_a_dialog_mean_the_same_to_everybody() {
    let invite =
        b"INVITE sip:x@203.0.113.9 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
        From: \"A\" <sip:a@198.51.100.7>;tag=a1\r\nTo: <sip:x@203.0.113.9>\r\nCall-ID: call\r\nCSeq: 31 INVITE\r\n\
        Contact: <sip:a@198.51.100.8:5080>\r\nRecord-Route: <sip:192.0.2.30;lr>\r\n\r\n";
    let invite = Message::parse(Bytes::from_static(invite), &Limits::default()).unwrap();
    let mut dialog = Dialog::of_request(&invite, b"x1").unwrap();
    let mut layer = layer();
    for (number, method) in [Method::Bye, Method::Invite, Method::Options].into_iter().enumerate() {
        layer.send_request(Duration::ZERO, flow(Transport::Tcp), method, (), |out, via| {
            dialog.write_request(out, method, via);
            write::header(out, "Contact", b"<sip:203.0.113.9:5060;transport=tcp>");
            write::finish(out, None, b"");
            dialog.local_cseq
        });
        let meaning = agreed(&layer.poll_transmit().unwrap().bytes);
        assert_eq!(meaning.start, format!("{} sip:a@198.51.100.8:5080", method.as_str()));
        assert_eq!((meaning.from.1, meaning.to.1), ("x1".to_owned(), "a1".to_owned()));
        assert_eq!(meaning.cseq, (number as u32 + 1, method.as_str().to_owned()));
    }
}
