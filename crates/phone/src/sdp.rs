//! Offers and answers of a phone (RFC 3264, RFC 8866): written here, read through `sdp-types`.
//!
//! ```text
//!   m=audio 40000 RTP/AVP 8 0 101          first format of ours that the peer has ─▶ what we send
//! ```

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Media, Session};

use crate::script::Config;

/// A companding law.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// A-law, payload type 8.
    Pcma,
    /// µ-law, payload type 0.
    Pcmu,
}

impl Codec {
    /// Static payload type (RFC 3551 §6).
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcma => 8,
            Codec::Pcmu => 0,
        }
    }

    const fn encoding(self) -> &'static str {
        match self {
            Codec::Pcma => "PCMA/8000",
            Codec::Pcmu => "PCMU/8000",
        }
    }
}

/// Direction of the stream, seen from its writer (RFC 8866 §6.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// The writer sends only (it holds the peer).
    SendOnly,
    /// The writer receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    const ALL: [Direction; 4] = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];

    const fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// The writer sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// The writer receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// What we answer, wanting `ours`, to a peer that said `self`.
    fn answered(self, ours: Direction) -> Direction {
        match (ours.sends() && self.receives(), ours.receives() && self.sends()) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }
}

/// The peer's side of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Description {
    pub(crate) rtp: SocketAddr,
    /// Laws by payload type, in the writer's order.
    pub(crate) codecs: Vec<(u8, Codec)>,
    pub(crate) telephone_event: Option<u8>,
    pub(crate) direction: Direction,
    session_id: String,
    version: u64,
    formats: Vec<u8>,
}

/// Where and how we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    pub(crate) telephone_event: Option<u8>,
    pub(crate) send: bool,
}

/// Offer and answer of one call, from one phone's side.
#[derive(Clone, Debug)]
pub(crate) struct Negotiation {
    session_id: u64,
    version: u64,
    local_rtp: SocketAddr,
    direction: Direction,
    written: String,
    remote: Option<(Vec<u8>, Description)>,
}

/// Why an offer cannot be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// It is sound, but has no codec of ours.
    NoCodec,
    /// It is not what the RFCs ask for.
    Breach(String),
}

/// Reads a description.
pub(crate) fn read(body: &[u8]) -> Result<Description, String> {
    let session = Session::parse(body).map_err(|error| format!("SDP that cannot be read: {error}"))?;
    let [media] = &session.medias[..] else {
        return Err(format!("SDP with {} media descriptions", session.medias.len()));
    };
    if media.media != "audio" || media.proto != "RTP/AVP" {
        return Err(format!("SDP stream {} over {}", media.media, media.proto));
    }
    if session.session_name.is_empty() || session.times.is_empty() {
        return Err("SDP without s= or t=".to_owned());
    }
    let connection = media.connections.first().or(session.connection.as_ref()).ok_or("SDP without c=")?;
    let address: IpAddr =
        connection.connection_address.parse().map_err(|_| format!("SDP address {}", connection.connection_address))?;
    let mut description = Description {
        rtp: SocketAddr::new(address, media.port),
        codecs: Vec::new(),
        telephone_event: None,
        direction: direction_of(&session, media),
        session_id: session.origin.sess_id.clone(),
        version: session.origin.sess_version,
        formats: Vec::new(),
    };
    for format in media.fmt.split_ascii_whitespace() {
        let payload_type: u8 = format.parse().map_err(|_| format!("SDP format {format}"))?;
        description.formats.push(payload_type);
        match encoding_of(media, payload_type).as_deref() {
            Some("pcma/8000" | "pcma/8000/1") => description.codecs.push((payload_type, Codec::Pcma)),
            Some("pcmu/8000" | "pcmu/8000/1") => description.codecs.push((payload_type, Codec::Pcmu)),
            Some("telephone-event/8000") => description.telephone_event = Some(payload_type),
            Some(_) => {}
            None => return Err(format!("SDP format {payload_type} without rtpmap")),
        }
    }
    Ok(description)
}

fn encoding_of(media: &Media, payload_type: u8) -> Option<String> {
    for value in media.get_attribute_values("rtpmap").flatten() {
        if let Some((number, encoding)) = value.split_once(' ')
            && number.parse() == Ok(payload_type)
        {
            return Some(encoding.trim().to_ascii_lowercase());
        }
    }
    match payload_type {
        0 => Some("pcmu/8000".to_owned()),
        8 => Some("pcma/8000".to_owned()),
        13 => Some("cn/8000".to_owned()),
        _ => None,
    }
}

fn direction_of(session: &Session, media: &Media) -> Direction {
    let named = |direction: &Direction| media.has_attribute(direction.as_str());
    let inherited = |direction: &Direction| session.has_attribute(direction.as_str());
    let found = Direction::ALL.into_iter().find(named).or_else(|| Direction::ALL.into_iter().find(inherited));
    found.unwrap_or(Direction::SendRecv)
}

impl Negotiation {
    pub(crate) fn new(session_id: u64, local_rtp: SocketAddr) -> Negotiation {
        Negotiation {
            session_id,
            version: 1,
            local_rtp,
            direction: Direction::SendRecv,
            written: String::new(),
            remote: None,
        }
    }

    /// Writes an offer, wanting this direction, all codecs of ours.
    pub(crate) fn offer(&mut self, config: &Config, direction: Direction) -> Vec<u8> {
        self.direction = direction;
        let codecs = config.codecs.iter().map(|codec| (codec.payload_type(), *codec)).collect::<Vec<_>>();
        self.write(config, &codecs, config.telephone_event, direction)
    }

    /// Reads the peer's offer and writes the answer, or says what is wrong with the offer.
    pub(crate) fn answer(&mut self, config: &Config, offer: &[u8]) -> Result<Vec<u8>, Flaw> {
        let remote = self.take(offer, false).map_err(Flaw::Breach)?;
        let mut codecs: Vec<_> =
            remote.codecs.iter().copied().filter(|(_, codec)| config.codecs.contains(codec)).collect();
        codecs.truncate(1);
        if codecs.is_empty() {
            return Err(Flaw::NoCodec);
        }
        let direction = remote.direction.answered(self.direction);
        let events = remote.telephone_event.filter(|_| config.telephone_event.is_some());
        Ok(self.write(config, &codecs, events, direction))
    }

    /// Takes the peer's answer to our offer.
    pub(crate) fn take_answer(&mut self, body: &[u8]) -> Result<(), String> {
        self.take(body, true).map(drop)
    }

    fn take(&mut self, body: &[u8], is_answer: bool) -> Result<Description, String> {
        let description = read(body)?;
        if let Some((known, before)) = &self.remote
            && known != body
        {
            if description.session_id != before.session_id {
                return Err("SDP session id changed within the call".to_owned());
            }
            if description.version != before.version.wrapping_add(1) {
                return Err(format!("SDP version {} after {}", description.version, before.version));
            }
        }
        if is_answer {
            let offered = read(self.written.as_bytes())?;
            if let Some(format) = description.formats.iter().find(|format| !offered.formats.contains(format)) {
                return Err(format!("SDP answer with format {format}, which was not offered"));
            }
            if description.codecs.is_empty() {
                return Err("SDP answer without a codec".to_owned());
            }
        }
        self.remote = Some((body.to_vec(), description.clone()));
        Ok(description)
    }

    /// The peer's RTP address.
    pub(crate) fn remote_rtp(&self) -> Option<SocketAddr> {
        self.remote.as_ref().map(|(_, description)| description.rtp)
    }

    /// The description that the peer sent last.
    pub(crate) fn remote_body(&self) -> Option<&[u8]> {
        self.remote.as_ref().map(|(body, _)| &body[..])
    }

    /// What was settled; `None` before.
    pub(crate) fn path(&self, config: &Config) -> Option<Path> {
        let (_, remote) = self.remote.as_ref()?;
        let written = read(self.written.as_bytes()).ok()?;
        let (payload_type, codec) = *remote.codecs.iter().find(|(_, codec)| config.codecs.contains(codec))?;
        Some(Path {
            remote: remote.rtp,
            codec,
            payload_type,
            telephone_event: remote.telephone_event.filter(|_| config.telephone_event.is_some()),
            send: written.direction.sends() && remote.direction.receives() && !remote.rtp.ip().is_unspecified(),
        })
    }

    fn write(&mut self, config: &Config, codecs: &[(u8, Codec)], events: Option<u8>, direction: Direction) -> Vec<u8> {
        let text = self.text(config, codecs, events, direction);
        if self.written.is_empty() || text == self.written {
            self.written = text;
        } else {
            // RFC 3264 §8: one more with every change, the same when nothing changes.
            self.version += 1;
            self.written = self.text(config, codecs, events, direction);
        }
        self.written.clone().into_bytes()
    }

    fn text(&self, config: &Config, codecs: &[(u8, Codec)], events: Option<u8>, direction: Direction) -> String {
        let family = if self.local_rtp.is_ipv4() { "IP4" } else { "IP6" };
        let (ip, port) = (self.local_rtp.ip(), self.local_rtp.port());
        let mut formats = codecs.iter().map(|(number, _)| number.to_string()).collect::<Vec<_>>();
        formats.extend(events.map(|number| number.to_string()));
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o={} {} {} IN {family} {ip}", config.name, self.session_id, self.version),
            "s=-".to_owned(),
            format!("c=IN {family} {ip}"),
        ];
        // i=, u=, e= and p= stand between s= and c= (RFC 8866 §5).
        for line in config.sdp_session_lines.iter().rev() {
            let place = if line.starts_with("a=") { lines.len() } else { 3 };
            lines.insert(place, line.clone());
        }
        let attributes = lines.iter().position(|line| line.starts_with("a=")).unwrap_or(lines.len());
        lines.insert(attributes, "t=0 0".to_owned());
        lines.push(format!("m=audio {port} RTP/AVP {}", formats.join(" ")));
        lines.extend(codecs.iter().map(|(number, codec)| format!("a=rtpmap:{number} {}", codec.encoding())));
        if let Some(number) = events {
            lines.push(format!("a=rtpmap:{number} telephone-event/8000"));
            lines.push(format!("a=fmtp:{number} 0-15"));
        }
        lines.push("a=ptime:20".to_owned());
        lines.push(format!("a={}", direction.as_str()));
        lines.extend(config.sdp_media_lines.iter().cloned());
        lines.join("\r\n") + "\r\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(codecs: &[Codec]) -> Config {
        let mut config = Config::new("A", "1", "10.0.0.1:5060".parse().unwrap(), "10.0.0.1:4000".parse().unwrap(), 1);
        config.codecs = codecs.to_vec();
        config
    }

    fn side() -> Negotiation {
        Negotiation::new(7, "10.0.0.1:4000".parse().unwrap())
    }

    #[test]
    fn an_offer_is_answered_with_its_first_codec_that_we_have_and_both_agree_on_the_path() {
        let (a, b) = (config(&[Codec::Pcma, Codec::Pcmu]), config(&[Codec::Pcmu]));
        let (mut at_a, mut at_b) = (side(), side());
        let offer = at_a.offer(&a, Direction::SendRecv);
        let answer = at_b.answer(&b, &offer).unwrap();
        at_a.take_answer(&answer).unwrap();
        assert_eq!(at_a.path(&a), at_b.path(&b));
        assert_eq!(at_a.path(&a).unwrap().codec, Codec::Pcmu);
        assert_eq!(at_a.path(&a).unwrap().telephone_event, Some(101));
    }

    #[test]
    fn a_held_side_sends_nothing_and_resumes_with_a_higher_version() {
        let config = config(&[Codec::Pcma]);
        let (mut at_a, mut at_b) = (side(), side());
        for (direction, sends) in
            [(Direction::SendRecv, true), (Direction::Inactive, false), (Direction::SendRecv, true)]
        {
            let offer = at_a.offer(&config, direction);
            let answer = at_b.answer(&config, &offer).unwrap();
            at_a.take_answer(&answer).unwrap();
            assert_eq!(at_b.path(&config).unwrap().send, sends);
            assert_eq!(at_a.path(&config).unwrap().send, sends);
        }
        assert_eq!(at_a.version, 3);
    }

    #[test]
    fn what_was_not_offered_is_no_answer() {
        let (a, b) = (config(&[Codec::Pcma]), config(&[Codec::Pcmu]));
        let mut at_a = side();
        at_a.offer(&a, Direction::SendRecv);
        let stray = side().offer(&b, Direction::SendRecv);
        assert_eq!(at_a.take_answer(&stray), Err("SDP answer with format 0, which was not offered".to_owned()));
    }

    #[test]
    fn a_change_that_hides_behind_the_same_version_is_told() {
        let config = config(&[Codec::Pcma]);
        let (mut at_a, mut at_b) = (side(), side());
        let offer = String::from_utf8(at_a.offer(&config, Direction::SendRecv)).unwrap();
        at_b.answer(&config, offer.as_bytes()).unwrap();
        let moved = offer.replace("4000", "4002");
        assert_eq!(at_b.answer(&config, moved.as_bytes()), Err(Flaw::Breach("SDP version 1 after 1".to_owned())));
    }

    #[test]
    fn session_lines_stand_where_the_grammar_wants_them() {
        let mut config = config(&[Codec::Pcma]);
        config.sdp_session_lines = vec!["i=title".to_owned(), "e=a@b".to_owned(), "a=tool:x".to_owned()];
        let text = String::from_utf8(side().offer(&config, Direction::SendRecv)).unwrap();
        let kinds: String = text.lines().take_while(|line| !line.starts_with("m=")).map(|line| &line[..1]).collect();
        assert_eq!(kinds, "vosiecta");
        assert!(read(text.as_bytes()).is_ok());
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (body, reason) in [
            ("", "SDP that cannot be read"),
            ("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n", "SDP with 0 media"),
            ("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 8\r\n", "SDP without c="),
            (
                "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 1 RTP/AVP 99\r\n",
                "SDP format 99 without rtpmap",
            ),
        ] {
            let error = read(body.as_bytes()).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
