//! Canaries: a phone that says who it is in every place of every message, so that a scanner can prove that none of it arrives
//! anywhere else.
//!
//! ```text
//!   Canary { word, number, host, display } ─┬─ every header, known and unknown    ─┬─ SDP: every line and attribute
//!                                           ├─ tags, branches, Call-ID, parameters ├─ RTP: CSRC, extension, padding
//!                                           └─ reason phrases, Warning, bodies     └─ RTCP: SDES, APP, BYE
//! ```
//!
//! What steers a call is left alone: no header here changes what the message asks for.

use crate::Config;

/// Who says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Canary {
    word: String,
    number: String,
    host: String,
    display: String,
}

impl Canary {
    pub(crate) fn of(config: &Config) -> Option<Canary> {
        Some(Canary {
            word: config.canary.clone()?,
            number: config.number.clone(),
            host: config.contact.ip().to_string(),
            display: config.display_name.clone().unwrap_or_default(),
        })
    }

    /// All of it as a token (RFC 3261 §25.1).
    pub(crate) fn token(&self) -> String {
        let display: String = self.display.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{}.{}.{}.{display}", self.word, self.number, self.host)
    }

    /// All of it as a quoted string, without its quotes.
    pub(crate) fn text(&self) -> String {
        format!("{} {} {} {}", self.word, self.number, self.host, self.display)
    }

    fn uri(&self) -> String {
        format!("<sip:{}@{};x-canary={}>", self.number, self.host, self.word)
    }

    /// Headers of any message.
    pub(crate) fn headers(&self, is_request: bool) -> Vec<(String, String)> {
        let Canary { word, number, host, .. } = self;
        let (text, token, uri) = (self.text(), self.token(), self.uri());
        let named = format!("\"{text}\" {uri}");
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let web = format!("<http://{host}/{token}>");
        let mut headers = vec![
            ("Subject", text.clone()),
            ("Organization", text.clone()),
            ("Accept-Language", format!("en;x={token}")),
            ("Call-Info", format!("{web};purpose=icon")),
            ("Alert-Info", web.clone()),
            ("Allow-Events", token.clone()),
            ("Content-Language", word.clone()),
            ("Content-ID", format!("<{token}@{host}>")),
            ("Reply-To", named.clone()),
            ("Remote-Party-ID", format!("{named};party=calling;privacy=off")),
            ("P-Preferred-Identity", named.clone()),
            ("P-Called-Party-ID", uri.clone()),
            ("P-Associated-URI", uri.clone()),
            ("P-Charging-Vector", format!("icid-value={token};icid-generated-at={host};orig-ioi={word}")),
            ("P-Charging-Function-Addresses", format!("ccf={host}")),
            ("P-Access-Network-Info", format!("3GPP-E-UTRAN-FDD;utran-cell-id-3gpp={token}")),
            ("P-Visited-Network-ID", format!("\"{text}\"")),
            ("P-User-Database", format!("<aaa://{host}>")),
            ("History-Info", format!("<sip:{number}@{host}?Reason=SIP%3Btext%3D%22{word}%22>;index=1")),
            ("Diversion", format!("{named};reason=unconditional")),
            ("Geolocation", format!("<cid:{token}@{host}>")),
            ("Geolocation-Routing", token.clone()),
            ("User-to-User", format!("{hex};encoding=hex")),
            ("Session-ID", format!("{hex};remote={hex}")),
            ("Feature-Caps", format!("*;+g.{word}")),
            ("Resource-Share", token.clone()),
            ("X-Canary", text.clone()),
            ("X-Number", number.clone()),
            ("X-Host", host.clone()),
            ("x-unknown", format!("{token};{named}")),
        ];
        if is_request {
            headers.extend([
                ("Identity", format!("{hex};info={web};alg=ES256;ppt=shaken")),
                ("In-Reply-To", format!("{token}@{host}")),
                ("Referred-By", named),
                ("Accept-Contact", format!("*;+g.{word}")),
                ("Reject-Contact", format!("*;+h.{word}")),
                ("P-Served-User", uri),
            ]);
        } else {
            headers.extend([
                ("Warning", format!("399 {host} \"{text}\"")),
                ("Error-Info", web),
                ("Authentication-Info", format!("nextnonce=\"{token}\"")),
            ]);
        }
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Lines of a description between s= and c=.
    pub(crate) fn session_lines(&self) -> Vec<String> {
        let Canary { word, number, host, .. } = self;
        let (text, token) = (self.text(), self.token());
        vec![
            format!("i={text}"),
            format!("u=http://{host}/{token}"),
            format!("e={token}@{host} ({text})"),
            format!("p={number} ({word})"),
            format!("a=tool:{token}"),
            format!("a=keywds:{text}"),
            format!("a=x-{word}:{text}"),
        ]
    }

    /// Bandwidth and key of the session and of a stream; they stand after c=.
    pub(crate) fn bandwidth(&self) -> String {
        format!("b=X-{}:64", self.word)
    }

    /// Attributes of the stream.
    pub(crate) fn media_lines(&self, rtp_port: u16) -> Vec<String> {
        let Canary { word, host, .. } = self;
        let (text, token) = (self.text(), self.token());
        vec![
            format!("a=label:{token}"),
            format!("a=mid:{token}"),
            format!("a=msid:{token} {token}"),
            format!("a=ssrc:12345 cname:{token}"),
            format!("a=ssrc:12345 label:{text}"),
            format!("a=ice-ufrag:{word}"),
            format!("a=ice-pwd:{token}"),
            format!("a=candidate:{word} 1 UDP 2130706431 {host} {rtp_port} typ host"),
            format!("a=candidate:2 1 UDP 1694498815 {host} {rtp_port} typ srflx raddr {host} rport {rtp_port}"),
            format!("a=rtcp:{} IN IP4 {host}", rtp_port.saturating_add(1)),
            format!("a=rtcp-fb:* {word}"),
            format!("a=extmap:1 urn:{token}"),
            format!("a=fmtp:97 {word}={token}"),
            format!("a=x-{word}:{text}"),
        ]
    }

    /// A codec that nobody has, for offers.
    pub(crate) fn codec(&self) -> String {
        format!("a=rtpmap:97 {}/8000", self.word)
    }

    /// Items of SDES beyond CNAME (RFC 3550 §6.5): NAME, EMAIL, PHONE, LOC, TOOL, NOTE, PRIV.
    pub(crate) fn sdes(&self) -> Vec<(u8, Vec<u8>)> {
        let Canary { word, number, host, display } = self;
        let mut private = vec![word.len() as u8];
        private.extend(word.bytes());
        private.extend(number.bytes());
        vec![
            (2, format!("{display} {word}").into_bytes()),
            (3, format!("{word}@{host}").into_bytes()),
            (4, number.clone().into_bytes()),
            (5, self.text().into_bytes()),
            (6, self.token().into_bytes()),
            (7, self.text().into_bytes()),
            (8, private),
        ]
    }
}
