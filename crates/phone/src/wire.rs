//! SIP bytes through `rsip`: an independent opinion of what the other side wrote, and the phone's own messages.
//!
//! What RFC 3261 demands of every message and `rsip` does not ask is asked here (§8.1.1, §8.2.6, §12.1, §20): a breach is
//! a sentence, and a test fails on it.

use std::borrow::Cow;
use std::net::SocketAddr;

use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::{Header, Headers, Method, SipMessage, Uri};

use crate::canary::Canary;
use crate::script::Transport;

/// Largest body that a phone looks at.
const MAX_BODY: usize = 65_535;

/// The type of a session description.
const SDP: &str = "application/sdp";

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
    /// The method's name where it is none that `rsip` knows; `method` is PUBLISH then.
    pub(crate) unknown_method: Option<String>,
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
    /// A body of another type: type, bytes.
    pub(crate) body: Option<(String, Vec<u8>)>,
    /// Every header, by name and value.
    pub(crate) headers: Vec<(String, String)>,
}

impl Received {
    /// The method's name.
    pub(crate) fn name(&self) -> String {
        self.unknown_method.clone().unwrap_or_else(|| self.method.to_string())
    }

    /// Every value of a header.
    pub(crate) fn values<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        let is = move |(name, _): &&(String, String)| name.eq_ignore_ascii_case(wanted);
        self.headers.iter().filter(is).map(|(_, value)| value.as_str())
    }

    /// The first value of a header.
    pub(crate) fn value(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
    }

    /// A header that is a list of tokens has this one: `lists("Supported", "100rel")`.
    pub(crate) fn lists(&self, header: &str, token: &str) -> bool {
        self.tokens(header).any(|found| found.eq_ignore_ascii_case(token))
    }

    /// The elements of a header that is a list.
    pub(crate) fn tokens<'a>(&'a self, header: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(header).flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
    }
}

/// Reads a message; the second part is what is wrong with it although it can be read.
///
/// # Errors
///
/// A sentence, when no use can be made of the message at all.
pub(crate) fn read(bytes: &[u8]) -> Result<(Received, Vec<String>), String> {
    let (bytes, unknown) = with_known_method(bytes);
    let message = SipMessage::try_from(&bytes[..]).map_err(|error| format!("rsip cannot read it: {error}"))?;
    let (start, method, headers, body) = match message {
        SipMessage::Request(r) => (Start::Request(r.uri), Some(r.method), r.headers, r.body),
        SipMessage::Response(r) => (Start::Status(r.status_code.code()), None, r.headers, r.body),
    };
    let mut received = read_headers(start, &headers)?;
    received.unknown_method = unknown;
    let mut breaches = Vec::new();
    if method.is_some_and(|method| method != received.method) {
        breaches.push(format!("CSeq says {}, the request line does not", received.method));
    }
    check_counts(&received, &headers, &mut breaches);
    check_identity(&received, &mut breaches);
    check_body(&mut received, &headers, body, &mut breaches);
    Ok((received, breaches))
}

/// `rsip` reads no method that it has no name for: another stands in for it, and the name is kept.
fn with_known_method(bytes: &[u8]) -> (Cow<'_, [u8]>, Option<String>) {
    let text = String::from_utf8_lossy(bytes);
    let cseq = text.split("\r\n").find_map(|line| line.strip_prefix("CSeq:"));
    let Some(name) = cseq.and_then(|cseq| cseq.split_ascii_whitespace().nth(1)) else {
        return (Cow::Borrowed(bytes), None);
    };
    if name.parse::<Method>().is_ok() {
        return (Cow::Borrowed(bytes), None);
    }
    let known = |line: &str| match line.strip_prefix(name) {
        Some(rest) if rest.starts_with(' ') => format!("PUBLISH{rest}"),
        _ if line.starts_with("CSeq:") => line.replace(name, "PUBLISH"),
        _ => line.to_owned(),
    };
    let whole = text.split("\r\n").map(known).collect::<Vec<_>>().join("\r\n");
    (Cow::Owned(whole.into_bytes()), Some(name.to_owned()))
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
        unknown_method: None,
        sdp: None,
        body: None,
        headers: headers.iter().filter_map(named).collect(),
        vias,
    })
}

/// Name and value of a header.
fn named(header: &Header) -> Option<(String, String)> {
    let line = header.to_string();
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

/// Every value of a header, by its name.
fn all(headers: &Headers, wanted: &str) -> Vec<String> {
    let value = |(name, value): (String, String)| name.eq_ignore_ascii_case(wanted).then_some(value);
    headers.iter().filter_map(named).filter_map(value).collect()
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
    if is_request {
        count("Record-Route", 0..=0);
    }
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
        Some(kind) if kind.starts_with("multipart/mixed") => received.sdp = sdp_part(kind, &body),
        Some(kind) => received.body = Some((kind.clone(), body)),
        None => breaches.push("body without Content-Type".to_owned()),
    }
}

/// A message in the making.
pub(crate) struct Draft {
    headers: Headers,
    content_type: String,
    isup: Option<Vec<u8>>,
    canary: Option<Canary>,
}

impl Draft {
    pub(crate) fn new() -> Draft {
        Draft { headers: Headers::default(), content_type: SDP.to_owned(), isup: None, canary: None }
    }

    pub(crate) fn via(mut self, transport: Transport, contact: SocketAddr, branch: &str) -> Draft {
        let protocol = match transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        };
        let canary = self.canary.as_ref().map(|canary| format!(";x-canary={}", canary.token())).unwrap_or_default();
        let value = format!("SIP/2.0/{protocol} {contact};branch={branch};rport{canary}");
        self.headers.push(rsip::headers::Via::new(value).into());
        self
    }

    pub(crate) fn vias(mut self, vias: &[String]) -> Draft {
        for via in vias {
            self.headers.push(rsip::headers::Via::new(via.clone()).into());
        }
        self
    }

    pub(crate) fn dialog(mut self, from: &str, to: &str, call_id: &str, cseq: u32, method: &str) -> Draft {
        self.headers.push(rsip::headers::From::new(from).into());
        self.headers.push(rsip::headers::To::new(to).into());
        self.headers.push(rsip::headers::CallId::new(call_id).into());
        self.headers.push(rsip::headers::CSeq::new(format!("{cseq} {method}")).into());
        self
    }

    pub(crate) fn max_forwards(mut self, hops: u8) -> Draft {
        self.headers.push(rsip::headers::MaxForwards::new(hops.to_string()).into());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Draft {
        self.headers.push(Header::Other(name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn headers(mut self, headers: &[(String, String)]) -> Draft {
        for (name, value) in headers {
            if name == "Content-Type" {
                self.content_type.clone_from(value);
                continue;
            }
            self.headers.push(Header::Other(name.clone(), value.clone()));
        }
        self
    }

    /// ISUP beside the SDP, if there is SDP.
    pub(crate) fn isup(self, isup: Option<&Vec<u8>>) -> Draft {
        Draft { isup: isup.cloned(), ..self }
    }

    /// Says who writes it wherever that can be said.
    pub(crate) fn canary(self, canary: Option<Canary>) -> Draft {
        Draft { canary, ..self }
    }

    /// Written by hand where `rsip` would not do: it makes text of a body, and knows no method that it has no name for.
    fn finish(mut self, start: &str, body: Option<&[u8]>) -> Vec<u8> {
        if let Some(canary) = &self.canary {
            for (name, value) in canary.headers(!start.starts_with("SIP/2.0")) {
                self.headers.push(Header::Other(name, value));
            }
        }
        let mut body = body.unwrap_or_default().to_vec();
        if let Some(isup) = self.isup.filter(|_| !body.is_empty() && self.content_type == SDP) {
            body = multipart(&body, &isup);
            self.content_type = format!("multipart/mixed;boundary=\"{BOUNDARY}\"");
        }
        if !body.is_empty() {
            self.headers.push(rsip::headers::ContentType::new(self.content_type).into());
        }
        self.headers.push(rsip::headers::ContentLength::new(body.len().to_string()).into());
        let mut bytes = format!("{start}\r\n{}\r\n", self.headers).into_bytes();
        bytes.extend(body);
        bytes
    }

    pub(crate) fn request(self, method: &str, uri: &Uri, body: Option<&[u8]>) -> Vec<u8> {
        self.finish(&format!("{method} {uri} SIP/2.0"), body)
    }

    pub(crate) fn response(self, status: u16, body: Option<&[u8]>) -> Vec<u8> {
        let phrase = self.canary.as_ref().map(|canary| format!(" {}", canary.text())).unwrap_or_default();
        self.finish(&format!("SIP/2.0 {}{phrase}", rsip::StatusCode::from(status)), body)
    }
}

const BOUNDARY: &str = "unique-boundary-1";

/// SDP first, ISUP second (RFC 3372 §3).
fn multipart(sdp: &[u8], isup: &[u8]) -> Vec<u8> {
    let mut bytes = format!("--{BOUNDARY}\r\nContent-Type: {SDP}\r\n\r\n").into_bytes();
    bytes.extend(sdp);
    let isup_type = "application/ISUP;version=itu-t92+;base=itu-t92+";
    let head = "Content-Disposition: signal;handling=optional";
    bytes.extend(format!("\r\n--{BOUNDARY}\r\nContent-Type: {isup_type}\r\n{head}\r\n\r\n").bytes());
    bytes.extend(isup);
    bytes.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    bytes
}

/// The part of a multipart body that is SDP.
fn sdp_part(kind: &str, body: &[u8]) -> Option<Vec<u8>> {
    let boundary = kind.split_once("boundary=")?.1.split(';').next()?.trim_matches('"');
    let delimiter = format!("--{boundary}").into_bytes();
    let find = |from: usize, what: &[u8]| {
        body.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let mut at = find(0, &delimiter)? + delimiter.len();
    while let Some(end) = find(at, &delimiter) {
        let part = body.get(at..end)?.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
        let head = part.windows(4).position(|window| window == b"\r\n\r\n")?;
        if String::from_utf8_lossy(&part[..head]).to_ascii_lowercase().contains(SDP) {
            return Some(part[head + 4..].to_vec());
        }
        at = end + delimiter.len();
    }
    None
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
    // A canary sings here too.
    let canary: Vec<Header> = all(&request.headers, "X-Canary")
        .into_iter()
        .flat_map(|text| {
            let reason = format!("SIP;cause=200;text=\"{text}\"");
            [("Reason", reason), ("Subject", text.clone()), ("X-Canary", text)]
        })
        .map(|(name, value)| Header::Other(name.to_owned(), value))
        .collect();
    request.headers.retain(|header| {
        matches!(header, Header::Via(_) | Header::MaxForwards(_) | Header::From(_) | Header::To(_) | Header::CallId(_))
    });
    request.headers.extend(canary);
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
