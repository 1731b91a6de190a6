//! The leak scanner: does anything that one party is sent tell who the other is (product rule P)?
//!
//! Every byte is searched, and not only as it stands:
//!
//! ```text
//!   bytes ─┬─ as they are, without case
//!          ├─ %xx decoded
//!          ├─ digits with the separators between them taken out     +86 138-1111 2222 ─▶ 8613811112222
//!          ├─ every stretch of base64, at each of its four offsets
//!          └─ every stretch of hex, at both of its offsets
//! ```
//!
//! A secret that is found is told with its owner, its kind and its surroundings. The tests plant each secret in each
//! disguise: a scanner that cannot fail proves nothing.

use std::collections::HashMap;

use numbering::Number;

/// Fewest bytes of a text secret: shorter ones are found by chance.
const SHORTEST: usize = 4;

/// Fewest characters of a stretch that is decoded as base64 or hex.
const SHORTEST_CODED: usize = 8;

/// What a secret is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A telephone number, in whatever spelling.
    Number,
    /// A name.
    DisplayName,
    /// A SIP or RTP host.
    Host,
    /// A port, as it stands after a colon or a blank.
    Port,
    /// Call-ID.
    CallId,
    /// From or To tag, or Via branch.
    Tag,
    /// Session id in the SDP.
    SdpSession,
    /// User-Agent or Server.
    UserAgent,
    /// CNAME of RTCP.
    Cname,
    /// A word that was put in on purpose.
    Canary,
    /// SSRC of RTP.
    Ssrc,
}

/// A leak.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leak {
    /// Whose secret.
    pub owner: String,
    /// What.
    pub kind: Kind,
    /// In which disguise: `plain`, `percent`, `digits`, `base64`, `hex`, `binary`.
    pub view: &'static str,
    /// Its surroundings, as found.
    pub around: String,
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} ({}): {}", self.kind, self.owner, self.view, self.around)
    }
}

#[derive(Clone, Debug)]
struct Needle {
    owner: String,
    kind: Kind,
    bytes: Vec<u8>,
}

/// What must not reach somebody.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Text, lower case.
    texts: Needles,
    /// Runs of digits, for the views where only digits are left.
    digits: Needles,
    ssrcs: Vec<(String, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Needles {
    all: Vec<Needle>,
    /// By their first four bytes.
    by_head: HashMap<[u8; SHORTEST], Vec<usize>>,
    /// A bit for each first two bytes: audio is searched packet by packet, and nearly all of it is passed over by one look.
    heads: Vec<u64>,
}

/// The first two bytes, as a number below 65,536.
fn first_two(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(0, |head| usize::from(u16::from_be_bytes(*head)))
}

impl Needles {
    fn add(&mut self, owner: &str, kind: Kind, bytes: &[u8]) {
        let Some(head) = bytes.first_chunk::<SHORTEST>() else { return };
        if self.all.iter().any(|needle| needle.bytes == bytes && needle.owner == owner) {
            return;
        }
        self.heads.resize(1 << 10, 0);
        let two = first_two(head);
        self.heads[two >> 6] |= 1 << (two & 63);
        self.by_head.entry(*head).or_default().push(self.all.len());
        self.all.push(Needle { owner: owner.to_owned(), kind, bytes: bytes.to_vec() });
    }

    fn search(&self, view: &'static str, hay: &[u8], leaks: &mut Vec<Leak>) {
        if self.all.is_empty() {
            return;
        }
        for (at, head) in hay.windows(SHORTEST).enumerate() {
            let two = first_two(head);
            if self.heads[two >> 6] & 1 << (two & 63) == 0 {
                continue;
            }
            let Some(places) = head.first_chunk().and_then(|head| self.by_head.get(head)) else {
                continue;
            };
            for needle in places.iter().map(|place| &self.all[*place]) {
                let end = at + needle.bytes.len();
                // 40112 is not in 401123.
                let goes_on = needle.kind == Kind::Port && hay.get(end).is_some_and(u8::is_ascii_digit);
                if hay[at..].starts_with(&needle.bytes) && !goes_on {
                    let around = &hay[at.saturating_sub(24)..(end + 24).min(hay.len())];
                    let around = String::from_utf8_lossy(around).escape_debug().to_string();
                    leaks.push(Leak { owner: needle.owner.clone(), kind: needle.kind, view, around });
                }
            }
        }
    }
}

impl Secrets {
    /// Nothing is secret.
    #[must_use]
    pub fn new() -> Secrets {
        Secrets::default()
    }

    /// This number of `owner`, in every spelling.
    pub fn add_number(&mut self, owner: &str, number: Number) {
        let spellings = numbering::spellings(number);
        for spelling in &spellings {
            self.texts.add(owner, Kind::Number, spelling.to_ascii_lowercase().as_bytes());
        }
        // What all spellings have in common: the number without country code, and without the leading 0 of a fixed line.
        let shortest = spellings.iter().filter(|spelling| spelling.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(shortest) = shortest.min_by_key(|spelling| spelling.len()) {
            self.digits.add(owner, Kind::Number, shortest.as_bytes());
            // Its last eight digits are as good as the whole to who knows the network.
            let tail = shortest.len().saturating_sub(8);
            self.digits.add(owner, Kind::Number, &shortest.as_bytes()[tail..]);
        }
    }

    /// A text of `owner`. Fewer than four bytes are not searched for: they would be found by chance.
    pub fn add_text(&mut self, owner: &str, kind: Kind, text: &str) {
        self.texts.add(owner, kind, text.to_ascii_lowercase().as_bytes());
    }

    /// A port of `owner`.
    pub fn add_port(&mut self, owner: &str, port: u16) {
        for before in [":", " ", "="] {
            self.texts.add(owner, Kind::Port, format!("{before}{port}").as_bytes());
        }
    }

    /// An SSRC of `owner`.
    pub fn add_ssrc(&mut self, owner: &str, ssrc: u32) {
        if !self.ssrcs.iter().any(|(known, value)| known == owner && *value == ssrc) {
            self.ssrcs.push((owner.to_owned(), ssrc));
        }
    }

    /// Searches text: a SIP message, a log line, a label.
    #[must_use]
    pub fn scan(&self, bytes: &[u8]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        let plain = bytes.to_ascii_lowercase();
        self.texts.search("plain", &plain, &mut leaks);
        let unescaped = percent_decoded(bytes);
        if unescaped != bytes {
            self.texts.search("percent", &unescaped.to_ascii_lowercase(), &mut leaks);
        }
        self.digits.search("digits", &without_separators(&unescaped), &mut leaks);
        for stretch in stretches(bytes, is_base64) {
            for offset in 0..4.min(stretch.len()) {
                self.search_decoded("base64", &base64_decoded(&stretch[offset..]), &mut leaks);
            }
        }
        for stretch in stretches(bytes, u8::is_ascii_hexdigit) {
            for offset in 0..2.min(stretch.len()) {
                self.search_decoded("hex", &hex_decoded(&stretch[offset..]), &mut leaks);
            }
        }
        leaks
    }

    fn search_decoded(&self, view: &'static str, decoded: &[u8], leaks: &mut Vec<Leak>) {
        self.texts.search(view, &decoded.to_ascii_lowercase(), leaks);
        self.digits.search(view, &without_separators(decoded), leaks);
    }

    /// Searches an RTP packet: its SSRC and CSRCs, and text in whatever part of it.
    #[must_use]
    pub fn scan_rtp(&self, bytes: &[u8]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        self.texts.search("plain", &bytes.to_ascii_lowercase(), &mut leaks);
        let sources = usize::from(bytes.first().copied().unwrap_or(0) & 0x0f);
        let header = bytes.get(8..12 + sources * 4).or_else(|| bytes.get(8..)).unwrap_or_default();
        self.scan_ssrcs(header.chunks_exact(4), &mut leaks);
        leaks
    }

    /// Searches an RTCP packet: SSRCs in every word of it, and text.
    #[must_use]
    pub fn scan_rtcp(&self, bytes: &[u8]) -> Vec<Leak> {
        let mut leaks = self.scan(bytes);
        self.scan_ssrcs(bytes.chunks_exact(4), &mut leaks);
        leaks
    }

    fn scan_ssrcs<'a>(&self, words: impl Iterator<Item = &'a [u8]>, leaks: &mut Vec<Leak>) {
        for word in words {
            for (owner, ssrc) in &self.ssrcs {
                if word == ssrc.to_be_bytes() {
                    let around = format!("{ssrc:08x}");
                    leaks.push(Leak { owner: owner.clone(), kind: Kind::Ssrc, view: "binary", around });
                }
            }
        }
    }
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        if let [b'%', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Takes out what may stand between the digits of a number, where a digit stands on both sides of it.
fn without_separators(bytes: &[u8]) -> Vec<u8> {
    let is_separator = |byte: u8| matches!(byte, b'-' | b'.' | b' ' | b'(' | b')' | b'/' | b'_' | b'\t');
    let mut out = Vec::with_capacity(bytes.len());
    let mut held = Vec::new();
    for &byte in bytes {
        if is_separator(byte) && out.last().is_some_and(u8::is_ascii_digit) && held.len() < 4 {
            held.push(byte);
            continue;
        }
        if !byte.is_ascii_digit() {
            out.append(&mut held);
        }
        held.clear();
        out.push(byte);
    }
    out.append(&mut held);
    out
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn stretches<'a>(bytes: &'a [u8], belongs: impl Fn(&u8) -> bool + 'a) -> impl Iterator<Item = &'a [u8]> {
    bytes.split(move |byte| !belongs(byte)).filter(|stretch| stretch.len() >= SHORTEST_CODED)
}

fn base64_decoded(stretch: &[u8]) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        _ => 63,
    };
    let mut out = Vec::with_capacity(stretch.len());
    for group in stretch.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(value(*byte)));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        out.extend(&bytes[1..group.len().max(1)]);
    }
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn hex_decoded(stretch: &[u8]) -> Vec<u8> {
    stretch.chunks_exact(2).filter_map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "+8613811112222";

    fn secrets() -> Secrets {
        let mut secrets = Secrets::new();
        secrets.add_number("A", Number::parse(NUMBER).unwrap());
        secrets.add_number("L", Number::parse("+8675528780001").unwrap());
        secrets.add_text("A", Kind::DisplayName, "Wang Xiaoming");
        secrets.add_text("A", Kind::Host, "10.1.0.10");
        secrets.add_text("A", Kind::CallId, "f81d4fae7dec11d0");
        secrets.add_text("A", Kind::Canary, "kingfisher");
        secrets.add_port("A", 40_112);
        secrets.add_ssrc("A", 0xdead_beef);
        secrets
    }

    /// Where a secret may be put: `{}` is its place.
    const PLACES: [&str; 14] = [
        "INVITE sip:{}@10.2.0.1:5060 SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n",
        "INVITE tel:{} SIP/2.0\r\n\r\n",
        "From: \"{}\" <sip:x@10.0.0.1>;tag=1\r\n",
        "From: <sip:{}@10.0.0.1;user=phone>;tag=1\r\n",
        "P-Asserted-Identity: <tel:{};phone-context=+86>\r\n",
        "Call-ID: 9{}9@10.0.0.1\r\n",
        "From: <sip:x@y>;tag=x{}x\r\n",
        "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{}\r\n",
        "Diversion: <sip:{}@x>;reason=unknown\r\n",
        "History-Info: <sip:x@y?Reason=%22{}%22>;index=1\r\n",
        "Warning: 399 host \"{}\"\r\n",
        "v=0\r\no={} 1 1 IN IP4 10.0.0.1\r\ns=-\r\n",
        "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\np={}\r\n",
        "a=label:{}\r\n",
    ];

    fn base64(text: &str) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        text.as_bytes()
            .chunks(3)
            .flat_map(|group| {
                let mut bytes = [0; 4];
                bytes[1..=group.len()].copy_from_slice(group);
                let bits = u32::from_be_bytes(bytes);
                (0..=group.len()).map(move |n| char::from(ALPHABET[(bits >> (18 - 6 * n) & 63) as usize]))
            })
            .collect()
    }

    fn disguises(text: &str) -> Vec<String> {
        let percent: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        let mut all = vec![text.to_owned(), percent, hex, text.to_uppercase()];
        // Something before it shifts base64 by one and by two characters.
        all.extend(["", "a", "ab"].map(|before| base64(&format!("{before}{text}!"))));
        all
    }

    fn found(text: &str) -> Vec<(String, Kind)> {
        secrets().scan(text.as_bytes()).into_iter().map(|leak| (leak.owner, leak.kind)).collect()
    }

    #[test]
    fn a_number_is_found_in_every_spelling_every_place_and_every_disguise() {
        let mut spellings = numbering::spellings(Number::parse(NUMBER).unwrap());
        spellings.extend(
            [
                "+86 138 1111 2222",
                "0086-138-1111-2222",
                "(138) 1111.2222",
                "138/1111/2222",
                "1-3-8-1-1-1-1-2-2-2-2",
                "11112222",
            ]
            .map(str::to_owned),
        );
        for spelling in spellings {
            for place in PLACES {
                for disguise in disguises(&spelling) {
                    let planted = place.replace("{}", &disguise);
                    assert!(found(&planted).contains(&("A".to_owned(), Kind::Number)), "{planted}");
                }
            }
        }
    }

    #[test]
    fn a_fixed_line_is_found_with_and_without_its_leading_zero() {
        for spelling in ["075528780001", "0755-28780001", "+8675528780001", "(755) 2878 0001", "28780001"] {
            assert!(
                found(&format!("From: <sip:{spelling}@x>")).contains(&("L".to_owned(), Kind::Number)),
                "{spelling}"
            );
        }
    }

    #[test]
    fn every_text_is_found_in_every_place_and_disguise() {
        for (text, kind) in [
            ("Wang Xiaoming", Kind::DisplayName),
            ("10.1.0.10", Kind::Host),
            ("f81d4fae7dec11d0", Kind::CallId),
            ("kingfisher", Kind::Canary),
        ] {
            for place in PLACES {
                for disguise in disguises(text) {
                    let planted = place.replace("{}", &disguise);
                    assert!(found(&planted).contains(&("A".to_owned(), kind)), "{kind:?}: {planted}");
                }
            }
        }
    }

    #[test]
    fn ports_and_ssrcs_are_found_where_they_stand() {
        assert_eq!(found("m=audio 40112 RTP/AVP 8"), [("A".to_owned(), Kind::Port)]);
        assert_eq!(found("Contact: <sip:10.0.0.1:40112>"), [("A".to_owned(), Kind::Port)]);
        let mut rtp = vec![0x80, 8, 0, 1, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4];
        let kinds = |leaks: Vec<Leak>| leaks.into_iter().map(|leak| leak.kind).collect::<Vec<_>>();
        assert_eq!(kinds(secrets().scan_rtp(&rtp)), [Kind::Ssrc]);
        rtp[8] = 0;
        assert_eq!(kinds(secrets().scan_rtp(&rtp)), []);
        rtp.splice(12..12, [0xde, 0xad, 0xbe, 0xef]);
        rtp[0] = 0x81;
        assert_eq!(kinds(secrets().scan_rtp(&rtp)), [Kind::Ssrc]);
        let rtcp =
            [&[0x80, 201, 0, 1, 0xde, 0xad, 0xbe, 0xef][..], b"\x81\xca\0\x05abcd\x01\x0akingfisher\0\0"].concat();
        assert_eq!(kinds(secrets().scan_rtcp(&rtcp)), [Kind::Canary, Kind::Ssrc]);
    }

    #[test]
    fn what_is_no_secret_is_not_found() {
        for innocent in [
            "INVITE sip:+8617055556666@10.2.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK00112233445566778899aabbccddeeff\r\n",
            "v=0\r\no=- 1234567890 1 IN IP4 10.0.0.1\r\nm=audio 40000 RTP/AVP 8 0 101\r\n",
            "call +86138****2222 ended",
            "o=- 4011239489632835741 1 IN IP4 10.0.0.1",
            "",
        ] {
            assert_eq!(found(innocent), [], "{innocent}");
        }
    }

    #[test]
    fn no_bytes_panic() {
        let mut random = crate::network::Random::new(1);
        let secrets = secrets();
        for length in 0..300 {
            let bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
            let _ = (secrets.scan(&bytes), secrets.scan_rtp(&bytes), secrets.scan_rtcp(&bytes));
        }
    }
}
