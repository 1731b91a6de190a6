//! SIP bytes through `rsip`: an independent opinion of what the other side wrote, and the phone's own messages.
//!
//! What RFC 3261 demands of every message and `rsip` does not ask is asked here (§8.1.1, §8.2.6, §12.1, §20): a breach is
//! a sentence, and a test fails on it.

use std::net::SocketAddr;

use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::{Header, Headers, Method, SipMessage, Uri};

use crate::script::Transport;

/// Largest body that a phone looks at.
const MAX_BODY: usize = 65_535;

/// A request line or a status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    Request(Uri),
    Status(u16),
}

/// A message, read: what every message has.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) start: Start,
    /// Of the request; of the CSeq in a response.
    pub(crate) method: Method,
    pub(crate) cseq: u32,
    pub(crate) call_id: String,
    /// Raw values, top first.
    pub(crate) vias: Vec<String>,
    pub(crate) branch: String,
    pub(crate) sent_by: String,
    /// Raw values.
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) from_tag: String,
    /// Empty where there is none.
    pub(crate) to_tag: String,
    /// User part of From.
    pub(crate) caller: String,
    pub(crate) contact: Option<Uri>,
    pub(crate) reason: Option<String>,
    /// Body of type application/sdp.
    pub(crate) sdp: Option<Vec<u8>>,
}

/// Reads a message; the second part is what is wrong with it although it can be read.
///
/// # Errors
///
/// A sentence, when no use can be made of the message at all.
pub(crate) fn read(bytes: &[u8]) -> Result<(Received, Vec<String>), String> {
    let message = SipMessage::try_from(bytes).map_err(|error| format!("rsip cannot read it: {error}"))?;
    let (start, method, headers, body) = match message {
        SipMessage::Request(r) => (Start::Request(r.uri), Some(r.method), r.headers, r.body),
        SipMessage::Response(r) => (Start::Status(r.status_code.code()), None, r.headers, r.body),
    };
    let mut received = read_headers(start, &headers)?;
    let mut breaches = Vec::new();
    if method.is_some_and(|method| method != received.method) {
        breaches.push(format!("CSeq says {}, the request line does not", received.method));
    }
    check_counts(&received, &headers, &mut breaches);
    check_identity(&received, &mut breaches);
    check_body(&mut received, &headers, body, &mut breaches);
    Ok((received, breaches))
}

fn read_headers(start: Start, headers: &Headers) -> Result<Received, String> {
    let missing = |name: &str| format!("no {name}");
    let vias: Vec<String> = headers
        .iter()
        .filter_map(|header| match header {
            Header::Via(via) => Some(via.value().to_owned()),
            _ => None,
        })
        .collect();
    let find = |wanted: &str| all(headers, wanted).into_iter().next();
    let via = vias.first().ok_or_else(|| missing("Via"))?;
    let via = rsip::headers::Via::new(via).typed().map_err(|error| format!("Via {via}: {error}"))?;
    let from = find("From").ok_or_else(|| missing("From"))?;
    let to = find("To").ok_or_else(|| missing("To"))?;
    let call_id = find("Call-ID").ok_or_else(|| missing("Call-ID"))?;
    let cseq = find("CSeq").ok_or_else(|| missing("CSeq"))?;
    let typed_from = rsip::headers::From::new(from.clone()).typed().map_err(|error| format!("From {from}: {error}"))?;
    let typed_to = rsip::headers::To::new(to.clone()).typed().map_err(|error| format!("To {to}: {error}"))?;
    let typed_cseq = rsip::headers::CSeq::new(cseq.clone()).typed().map_err(|error| format!("CSeq {cseq}: {error}"))?;
    let contact = match find("Contact") {
        None => None,
        Some(raw) => {
            let contact =
                rsip::headers::Contact::new(raw.clone()).typed().map_err(|error| format!("Contact {raw}: {error}"))?;
            Some(contact.uri)
        }
    };
    Ok(Received {
        start,
        method: typed_cseq.method,
        cseq: typed_cseq.seq,
        call_id,
        branch: via.branch().map(ToString::to_string).unwrap_or_default(),
        sent_by: via.uri.host_with_port.to_string(),
        from_tag: typed_from.tag().map(ToString::to_string).unwrap_or_default(),
        to_tag: typed_to.tag().map(ToString::to_string).unwrap_or_default(),
        caller: typed_from.uri.user().unwrap_or_default().to_owned(),
        from,
        to,
        contact,
        reason: find("Reason"),
        sdp: None,
        vias,
    })
}

/// Every value of a header, by its name.
fn all(headers: &Headers, wanted: &str) -> Vec<String> {
    headers
        .iter()
        .filter_map(|header| {
            let line = header.to_string();
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
        .collect()
}

fn check_counts(received: &Received, headers: &Headers, breaches: &mut Vec<String>) {
    let is_request = matches!(received.start, Start::Request(_));
    let mut count = |name: &str, allowed: std::ops::RangeInclusive<usize>| {
        let found = all(headers, name).len();
        if !allowed.contains(&found) {
            breaches.push(format!("{found} {name} headers"));
        }
    };
    for name in ["From", "To", "Call-ID", "CSeq", "Content-Length"] {
        count(name, 1..=1);
    }
    count("Content-Type", 0..=1);
    // A user agent next to us puts in no route, and its responses carry our one Via only.
    count("Record-Route", 0..=0);
    count("Via", 1..=1);
    count("Max-Forwards", if is_request { 1..=1 } else { 0..=0 });
    let establishes = match received.start {
        Start::Request(_) => true,
        Start::Status(status) => (200..300).contains(&status),
    };
    if received.method == Method::Invite && establishes {
        count("Contact", 1..=1);
    }
    for header in headers.iter() {
        let line = header.to_string();
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        if value.contains(['\r', '\n']) {
            breaches.push(format!("{name} is folded"));
        }
        let may_be_empty = ["Allow", "Supported", "Accept"].iter().any(|empty| empty.eq_ignore_ascii_case(name));
        if value.trim().is_empty() && !may_be_empty {
            breaches.push(format!("{name} is empty"));
        }
    }
    for value in all(headers, "Max-Forwards") {
        if value.parse::<u8>().is_err() {
            breaches.push(format!("Max-Forwards {value}"));
        }
    }
}

fn check_identity(received: &Received, breaches: &mut Vec<String>) {
    if !received.branch.starts_with("z9hG4bK") || received.branch.len() < "z9hG4bK".len() + 8 {
        breaches.push(format!("branch {}", received.branch));
    }
    if received.from_tag.is_empty() {
        breaches.push("From without tag".to_owned());
    }
    match received.start {
        Start::Status(status) if status > 100 && received.to_tag.is_empty() => {
            breaches.push(format!("{status} without To tag"));
        }
        Start::Request(_) if received.to_tag.is_empty() && matches!(received.method, Method::Bye | Method::Ack) => {
            breaches.push(format!("{} without To tag", received.method));
        }
        Start::Status(_) | Start::Request(_) => {}
    }
}

fn check_body(received: &mut Received, headers: &Headers, body: Vec<u8>, breaches: &mut Vec<String>) {
    for length in all(headers, "Content-Length") {
        if length.parse() != Ok(body.len()) {
            breaches.push(format!("Content-Length {length} for {} bytes", body.len()));
        }
    }
    if body.is_empty() || body.len() > MAX_BODY {
        return;
    }
    match all(headers, "Content-Type").first() {
        Some(kind) if kind.eq_ignore_ascii_case("application/sdp") => received.sdp = Some(body),
        Some(_) => {}
        None => breaches.push("body without Content-Type".to_owned()),
    }
}

/// A message in the making.
pub(crate) struct Draft {
    headers: Headers,
}

impl Draft {
    pub(crate) fn new() -> Draft {
        Draft { headers: Headers::default() }
    }

    pub(crate) fn via(mut self, transport: Transport, contact: SocketAddr, branch: &str) -> Draft {
        let protocol = match transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        };
        let value = format!("SIP/2.0/{protocol} {contact};branch={branch};rport");
        self.headers.push(rsip::headers::Via::new(value).into());
        self
    }

    pub(crate) fn vias(mut self, vias: &[String]) -> Draft {
        for via in vias {
            self.headers.push(rsip::headers::Via::new(via.clone()).into());
        }
        self
    }

    pub(crate) fn dialog(mut self, from: &str, to: &str, call_id: &str, cseq: u32, method: Method) -> Draft {
        self.headers.push(rsip::headers::From::new(from).into());
        self.headers.push(rsip::headers::To::new(to).into());
        self.headers.push(rsip::headers::CallId::new(call_id).into());
        self.headers.push(rsip::headers::CSeq::new(format!("{cseq} {method}")).into());
        self
    }

    pub(crate) fn max_forwards(mut self) -> Draft {
        self.headers.push(rsip::headers::MaxForwards::new("70").into());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Draft {
        self.headers.push(Header::Other(name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn headers(mut self, headers: &[(String, String)]) -> Draft {
        for (name, value) in headers {
            self.headers.push(Header::Other(name.clone(), value.clone()));
        }
        self
    }

    fn finish(mut self, body: Option<&[u8]>) -> (Headers, Vec<u8>) {
        let body = body.unwrap_or_default().to_vec();
        if !body.is_empty() {
            self.headers.push(rsip::headers::ContentType::new("application/sdp").into());
        }
        self.headers.push(rsip::headers::ContentLength::new(body.len().to_string()).into());
        (self.headers, body)
    }

    pub(crate) fn request(self, method: Method, uri: &Uri, body: Option<&[u8]>) -> Vec<u8> {
        let (headers, body) = self.finish(body);
        rsip::Request { method, uri: uri.clone(), version: rsip::Version::V2, headers, body }.into()
    }

    pub(crate) fn response(self, status: u16, body: Option<&[u8]>) -> Vec<u8> {
        let (headers, body) = self.finish(body);
        rsip::Response { status_code: status.into(), version: rsip::Version::V2, headers, body }.into()
    }
}

/// The ACK of a refusal: the INVITE's Request-URI, Via, From, Call-ID and CSeq number, the response's To (§17.1.1.3).
pub(crate) fn ack_of(invite: &[u8], to: &str) -> Option<Vec<u8>> {
    derived(invite, Method::Ack, Some(to))
}

/// The CANCEL of an INVITE (§9.1).
pub(crate) fn cancel_of(invite: &[u8]) -> Option<Vec<u8>> {
    derived(invite, Method::Cancel, None)
}

fn derived(invite: &[u8], method: Method, to: Option<&str>) -> Option<Vec<u8>> {
    let mut request = rsip::Request::try_from(invite).ok()?;
    let cseq = all(&request.headers, "CSeq").into_iter().next()?;
    let number = cseq.split_ascii_whitespace().next()?;
    request.headers.retain(|header| {
        matches!(header, Header::Via(_) | Header::MaxForwards(_) | Header::From(_) | Header::To(_) | Header::CallId(_))
    });
    if let Some(to) = to {
        request.headers.unique_push(rsip::headers::To::new(to).into());
    }
    request.headers.push(rsip::headers::CSeq::new(format!("{number} {method}")).into());
    request.headers.push(rsip::headers::ContentLength::new("0").into());
    request.method = method;
    request.body = Vec::new();
    Some(request.into())
}

/// Where a URI's host and port lie, when it names an address.
pub(crate) fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let port = uri.port().map_or(5060, |port| *port.value());
    match uri.host() {
        rsip::Host::IpAddr(ip) => Some(SocketAddr::new(*ip, port)),
        rsip::Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "INVITE sip:+8613800000002@10.2.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK0123456789;rport\r\nMax-Forwards: 70\r\nFrom: <sip:+8617000000000@10.0.0.1:5060>;tag=abc\r\nTo: <sip:+8613800000002@10.2.0.1:5060>\r\nCall-ID: xyz\r\nCSeq: 1 INVITE\r\nContact: <sip:10.0.0.1:5060>\r\nContent-Length: 0\r\n\r\n";

    fn breaches(message: &str) -> Vec<String> {
        match read(message.as_bytes()) {
            Ok((_, breaches)) => breaches,
            Err(error) => vec![error],
        }
    }

    #[test]
    fn a_good_invite_is_read_whole() {
        let (received, breaches) = read(GOOD.as_bytes()).unwrap();
        assert_eq!(breaches, Vec::<String>::new());
        assert_eq!(received.branch, "z9hG4bK0123456789");
        assert_eq!((received.from_tag.as_str(), received.to_tag.as_str()), ("abc", ""));
        assert_eq!(received.caller, "+8617000000000");
        assert_eq!((received.cseq, received.method), (1, Method::Invite));
        assert_eq!(address_of(&received.contact.unwrap()), Some("10.0.0.1:5060".parse().unwrap()));
    }

    #[test]
    fn every_header_that_must_be_there_is_missed() {
        for name in ["Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Length"] {
            let without: String =
                GOOD.split_inclusive("\r\n").filter(|line| !line.starts_with(&format!("{name}:"))).collect();
            let found = breaches(&without).join("; ");
            assert!(found.contains(name), "{name}: {found}");
        }
    }

    #[test]
    fn each_slip_has_its_sentence() {
        for (from, to, sentence) in [
            ("z9hG4bK0123456789", "abc", "branch abc"),
            (";tag=abc", "", "From without tag"),
            ("CSeq: 1 INVITE", "CSeq: 1 BYE", "CSeq says BYE"),
            ("Content-Length: 0", "Content-Length: 9", "Content-Length 9 for 0 bytes"),
            ("Call-ID: xyz\r\n", "Call-ID: xyz\r\nCall-ID: xyz\r\n", "2 Call-ID headers"),
            ("Max-Forwards: 70", "Max-Forwards: 700", "Max-Forwards 700"),
            ("Call-ID: xyz", "Subject: \r\nCall-ID: xyz", "Subject is empty"),
            ("INVITE sip", "INVITEsip", "rsip cannot read it"),
            ("Call-ID: xyz", "Record-Route: <sip:1.2.3.4;lr>\r\nCall-ID: xyz", "1 Record-Route headers"),
        ] {
            let found = breaches(&GOOD.replacen(from, to, 1)).join("; ");
            assert!(found.contains(sentence), "{sentence}: {found}");
        }
    }

    #[test]
    fn no_bytes_panic() {
        for end in 0..GOOD.len() {
            let _ = read(&GOOD.as_bytes()[..end]);
            let mut broken = GOOD.as_bytes().to_vec();
            broken[end] = 0xff;
            let _ = read(&broken);
        }
    }
}
