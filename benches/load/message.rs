//! The phones' SIP, in as few words as a call needs (RFC 3261). Nothing of it is the platform's: a bench whose phones read
//! with the parser that they measure would measure it twice.
//!
//! ```text
//!   A                       X                       B
//!   │ INVITE ──────────────▶│ INVITE ──────────────▶│
//!   │◀───────────────── 100 │◀───────────────── 180 │
//!   │◀───────────────── 180 │◀───────────────── 200 │
//!   │◀───────────────── 200 │ ACK ─────────────────▶│
//!   │ ACK ─────────────────▶│                       │
//!   │ BYE ─────────────────▶│ BYE ─────────────────▶│
//!   │◀───────────────── 200 │◀───────────────── 200 │      13 messages: 6 into X, 7 out of it
//! ```

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

/// Messages of one call, all told.
pub(crate) const MESSAGES_A_CALL: u64 = 13;

/// Who calls, in the configuration that the benches run on.
const CALLER: &str = "15552223333";

/// What stays the same in every message of a caller.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Where X serves SIP.
    pub(crate) x: SocketAddr,
    /// Where the caller does.
    pub(crate) caller: SocketAddr,
    /// The number dialled.
    pub(crate) number: &'static str,
    /// What tells this run's calls from those of an earlier one.
    pub(crate) run: u32,
}

impl Line {
    /// The INVITE of call number `call`, with an offer.
    pub(crate) fn invite(&self, out: &mut Vec<u8>, call: u32, rtp: SocketAddr) {
        let Line { x, caller, number, .. } = self;
        begin(out, format_args!("INVITE sip:{number}@{x} SIP/2.0"));
        self.head(out, call, "INVITE", 1, format_args!("<sip:{number}@{x}>"));
        field(out, format_args!("Contact: <sip:{CALLER}@{caller}>"));
        field(out, format_args!("Allow: INVITE, ACK, CANCEL, BYE, OPTIONS"));
        body(out, Some(rtp));
    }

    /// The ACK to a 2xx, to where the answer's Contact says.
    pub(crate) fn ack(&self, out: &mut Vec<u8>, call: u32, answer: &Answer) {
        begin(out, format_args!("ACK {} SIP/2.0", answer.target));
        self.head(out, call, "ACK", 1, format_args!("{}", answer.to));
        body(out, None);
    }

    /// The ACK to a refusal: of the INVITE's own transaction (RFC 3261 §17.1.1.3).
    pub(crate) fn ack_refusal(&self, out: &mut Vec<u8>, call: u32, to: &str) {
        let Line { x, number, .. } = self;
        begin(out, format_args!("ACK sip:{number}@{x} SIP/2.0"));
        self.via(out, call, "INVITE");
        self.ends(out, call, "ACK", 1, format_args!("{to}"));
        body(out, None);
    }

    /// The BYE.
    pub(crate) fn bye(&self, out: &mut Vec<u8>, call: u32, answer: &Answer) {
        begin(out, format_args!("BYE {} SIP/2.0", answer.target));
        self.head(out, call, "BYE", 2, format_args!("{}", answer.to));
        body(out, None);
    }

    /// An OPTIONS outside any call: is anybody there?
    pub(crate) fn options(&self, out: &mut Vec<u8>, number: u32) {
        begin(out, format_args!("OPTIONS sip:{} SIP/2.0", self.x));
        self.head(out, number, "OPTIONS", 1, format_args!("<sip:{}>", self.x));
        body(out, None);
    }

    /// Which call of this run a Call-ID names.
    pub(crate) fn call_of(&self, call_id: &[u8]) -> Option<u32> {
        let (call, rest) = std::str::from_utf8(call_id).ok()?.split_once('-')?;
        let (run, _) = rest.split_once('@')?;
        if run.parse() == Ok(self.run) { call.parse().ok() } else { None }
    }

    fn head(&self, out: &mut Vec<u8>, call: u32, method: &str, cseq: u32, to: std::fmt::Arguments<'_>) {
        self.via(out, call, method);
        self.ends(out, call, method, cseq, to);
    }

    fn via(&self, out: &mut Vec<u8>, call: u32, method: &str) {
        field(out, format_args!("Via: SIP/2.0/UDP {};branch=z9hG4bK-{method}-{call}-{}", self.caller, self.run));
        field(out, format_args!("Max-Forwards: 70"));
    }

    fn ends(&self, out: &mut Vec<u8>, call: u32, method: &str, cseq: u32, to: std::fmt::Arguments<'_>) {
        let Line { caller, run, .. } = self;
        field(out, format_args!("From: <sip:{CALLER}@{caller}>;tag=a{call}"));
        field(out, format_args!("To: {to}"));
        field(out, format_args!("Call-ID: {call}-{run}@bench.invalid"));
        field(out, format_args!("CSeq: {cseq} {method}"));
    }
}

/// What a caller keeps of a 2xx.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The To header, with its tag.
    to: String,
    /// The Contact's URI.
    target: String,
}

impl Answer {
    pub(crate) fn of(message: &Received<'_>) -> Option<Answer> {
        let to = text(message.header("To")?);
        let contact = text(message.header("Contact")?);
        let target = match contact.split_once('<') {
            Some((_, rest)) => rest.split('>').next()?,
            None => contact.split(';').next()?,
        };
        Some(Answer { target: target.to_owned(), to: to.to_owned() })
    }
}

/// A response to a request, which B's phone or A's gives. With `rtp` it carries an answer.
pub(crate) fn respond(
    out: &mut Vec<u8>,
    request: &Received<'_>,
    status: &str,
    tag: &str,
    contact: SocketAddr,
    rtp: Option<SocketAddr>,
) {
    begin(out, format_args!("SIP/2.0 {status}"));
    for (name, value) in request.headers() {
        if ["Via", "From", "Call-ID", "CSeq"].iter().any(|copied| name.eq_ignore_ascii_case(copied.as_bytes())) {
            field(out, format_args!("{}: {}", text(name), text(value)));
        } else if name.eq_ignore_ascii_case(b"To") {
            let (value, tagged) = (text(value), text(value).contains(";tag="));
            let (separator, tag) = if tagged { ("", "") } else { (";tag=", tag) };
            field(out, format_args!("To: {value}{separator}{tag}"));
        }
    }
    field(out, format_args!("Contact: <sip:bench@{contact}>"));
    body(out, rtp);
}

fn begin(out: &mut Vec<u8>, line: std::fmt::Arguments<'_>) {
    out.clear();
    field(out, line);
}

fn field(out: &mut Vec<u8>, line: std::fmt::Arguments<'_>) {
    write!(out, "{line}\r\n").expect("memory takes whatever is written to it");
}

fn body(out: &mut Vec<u8>, rtp: Option<SocketAddr>) {
    let Some(rtp) = rtp else {
        field(out, format_args!("Content-Length: 0\r\n"));
        return;
    };
    let (ip, port) = (rtp.ip(), rtp.port());
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n\
         a=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    field(out, format_args!("Content-Type: application/sdp"));
    field(out, format_args!("Content-Length: {}\r\n", sdp.len()));
    out.extend_from_slice(sdp.as_bytes());
}

/// What the platform says is ASCII; anything else would show as an empty string and fail the call.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    start: &'a [u8],
    head: &'a [u8],
    body: &'a [u8],
}

impl<'a> Received<'a> {
    /// `None` for what has no start line and no end of headers.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Received<'a>> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, body) = (&bytes[..end], &bytes[end + 4..]);
        let start = head.split(|byte| *byte == b'\n').next()?.trim_ascii();
        Some(Received { start, head, body })
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> Option<u16> {
        text(self.start.strip_prefix(b"SIP/2.0 ")?).get(..3)?.parse().ok()
    }

    /// The method of a request; of a response that of its CSeq.
    pub(crate) fn method(&self) -> &'a str {
        let (words, place) = match self.status() {
            Some(_) => (self.header("CSeq").unwrap_or_default(), 1),
            None => (self.start, 0),
        };
        text(words).split(' ').nth(place).unwrap_or_default()
    }

    /// The first header of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()))
        })
    }

    /// Whether the request belongs to a dialog already.
    pub(crate) fn is_in_dialog(&self) -> bool {
        self.header("To").is_some_and(|to| text(to).contains(";tag="))
    }

    /// Where the session description wants its RTP.
    pub(crate) fn rtp(&self) -> Option<SocketAddr> {
        let after = |prefix| text(self.body).lines().find_map(|line| line.strip_prefix(prefix));
        let ip: Ipv4Addr = after("c=IN IP4 ")?.trim().parse().ok()?;
        let port = after("m=audio ")?.split(' ').next()?.parse().ok()?;
        Some(SocketAddr::from((ip, port)))
    }
}
