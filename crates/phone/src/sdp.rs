//! Offers and answers of a phone (RFC 3264, RFC 8866): written here, read through `sdp-types`.
//!
//! ```text
//!   m=audio 40000 RTP/AVP 8 0 101          first format of ours that the peer has ─▶ what we send
//! ```

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Media, Session};

use crate::canary::Canary;
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

/// What a new offer within a call changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Offer {
    /// No SDP at all: in a re-INVITE the offer is left to the peer, in an UPDATE nothing changes.
    None,
    /// What was said before, word for word.
    Same,
    /// Another direction, e.g. to hold ([`Direction::SendOnly`], [`Direction::Inactive`]) and to resume.
    Direction(Direction),
    /// The other one of the phone's two RTP addresses ([`Config::second_rtp`]).
    Moved,
    /// Other codecs, in order of preference.
    Codecs(Vec<Codec>),
    /// Fax over T.38 and nothing else, as a gateway that hears a fax tone offers it.
    Fax,
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
    /// Every m= line.
    streams: Vec<Stream>,
    /// Which of them is ours to talk.
    audio: usize,
}

/// An m= line.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stream {
    media: String,
    proto: String,
    port: u16,
    formats: String,
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

/// Our side as it was last written.
#[derive(Clone, Debug)]
struct Local {
    rtp: SocketAddr,
    direction: Direction,
    codecs: Vec<Codec>,
    version: u64,
    written: String,
    /// The m= lines in order: `None` is the audio, others stand as they are.
    streams: Vec<Option<Vec<String>>>,
}

/// Whose turn it is (RFC 3264 §4): a second offer must wait for the answer to the first.
#[derive(Clone, Debug)]
enum Turn {
    /// Anybody's.
    Free,
    /// Our offer waits for its answer; what stood before, should it be refused.
    Ours(Box<Local>),
    /// The peer's offer waits for our answer.
    Theirs,
}

/// Offer and answer of one call, from one phone's side.
#[derive(Clone, Debug)]
pub(crate) struct Negotiation {
    session_id: u64,
    /// The highest version that was ever written.
    version: u64,
    local: Local,
    turn: Turn,
    remote: Option<(Vec<u8>, Description)>,
    /// The highest version in an offer of the peer's that was refused.
    refused_version: u64,
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
    let streams: Vec<Stream> = session.medias.iter().map(stream_of).collect();
    let Some(audio) = session.medias.iter().position(is_audio) else {
        let told: Vec<String> = streams.iter().map(|s| format!("{} {} over {}", s.media, s.port, s.proto)).collect();
        return Err(format!("SDP without audio: [{}]", told.join(", ")));
    };
    let media = &session.medias[audio];
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
        streams,
        audio,
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

fn is_audio(media: &Media) -> bool {
    media.media == "audio" && media.proto == "RTP/AVP" && media.port != 0
}

/// The place of the audio in a description that can be read.
fn audio_of(body: &[u8]) -> Option<Option<usize>> {
    Session::parse(body).ok().map(|session| session.medias.iter().position(is_audio))
}

fn stream_of(media: &Media) -> Stream {
    Stream { media: media.media.clone(), proto: media.proto.clone(), port: media.port, formats: media.fmt.clone() }
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

/// Lines of whole streams, each from its m= line on.
fn blocks(lines: &[String]) -> Vec<Option<Vec<String>>> {
    let mut blocks: Vec<Option<Vec<String>>> = Vec::new();
    for line in lines {
        match blocks.last_mut() {
            Some(Some(block)) if !line.starts_with("m=") => block.push(line.clone()),
            Some(_) | None => blocks.push(Some(vec![line.clone()])),
        }
    }
    blocks
}

impl Negotiation {
    pub(crate) fn new(session_id: u64, config: &Config) -> Negotiation {
        let streams = [blocks(&config.streams_before), vec![None], blocks(&config.streams_after)].concat();
        Negotiation {
            session_id,
            version: 1,
            local: Local {
                rtp: config.rtp,
                direction: Direction::SendRecv,
                codecs: config.codecs.clone(),
                version: 1,
                written: String::new(),
                streams,
            },
            turn: Turn::Free,
            remote: None,
            refused_version: 0,
        }
    }

    /// Where we want to be sent to.
    pub(crate) fn local_rtp(&self) -> SocketAddr {
        self.local.rtp
    }

    /// Another address than that of the configuration, as each branch of a fork has.
    pub(crate) fn set_local_rtp(&mut self, rtp: SocketAddr) {
        self.local.rtp = rtp;
    }

    /// Neither side waits for an answer.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.turn, Turn::Free)
    }

    /// Our offer waits for its answer.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.turn, Turn::Ours(_))
    }

    /// Writes an offer. [`Offer::None`] writes nothing and changes nothing.
    pub(crate) fn offer(&mut self, config: &Config, offer: &Offer) -> Option<Vec<u8>> {
        let before = self.local.clone();
        match offer {
            Offer::None => return None,
            Offer::Same => {}
            Offer::Direction(direction) => self.local.direction = *direction,
            Offer::Moved => {
                let second = config.second_rtp.unwrap_or(config.rtp);
                self.local.rtp = if self.local.rtp == config.rtp { second } else { config.rtp };
            }
            Offer::Codecs(codecs) => self.local.codecs.clone_from(codecs),
            Offer::Fax => {}
        }
        self.turn = Turn::Ours(Box::new(before));
        if *offer == Offer::Fax {
            return Some(self.write_fax(config));
        }
        if *offer == Offer::Same && !self.local.written.is_empty() {
            return Some(self.local.written.clone().into_bytes());
        }
        let codecs = self.local.codecs.iter().map(|codec| (codec.payload_type(), *codec)).collect::<Vec<_>>();
        Some(self.write(config, &codecs, config.telephone_event, self.local.direction))
    }

    /// Reads the peer's offer and writes the answer, or says what is wrong with the offer, which then changes nothing.
    pub(crate) fn answer(&mut self, config: &Config, offer: &[u8]) -> Result<Vec<u8>, Flaw> {
        if audio_of(offer) == Some(None) {
            self.refuse(offer);
            return Err(Flaw::NoCodec);
        }
        let description = self.read_next(offer).map_err(Flaw::Breach)?;
        let many = config.streams_before.len() + config.streams_after.len();
        if self.remote.is_none() && description.streams.len() > 1 && many == 0 {
            return Err(Flaw::Breach(format!("SDP with {} media descriptions", description.streams.len())));
        }
        if self.local.written.is_empty() || description.streams.len() >= self.local.streams.len() {
            let streams = description.streams.iter().enumerate();
            let mirrored = streams.map(|(place, stream)| {
                let refused = format!("m={} 0 {} {}", stream.media, stream.proto, stream.formats);
                (place != description.audio).then(|| vec![refused])
            });
            let mirrored = mirrored.collect();
            let mut codecs: Vec<_> =
                description.codecs.iter().copied().filter(|(_, codec)| config.codecs.contains(codec)).collect();
            codecs.truncate(1);
            if codecs.is_empty() {
                self.refuse(offer);
                return Err(Flaw::NoCodec);
            }
            self.local.streams = mirrored;
            let direction = description.direction.answered(self.local.direction);
            let events = description.telephone_event.filter(|_| config.telephone_event.is_some());
            self.remote = Some((offer.to_vec(), description));
            self.turn = Turn::Free;
            return Ok(self.write(config, &codecs, events, direction));
        }
        // RFC 3264 §8: streams are never taken away.
        let (now, before) = (description.streams.len(), self.local.streams.len());
        Err(Flaw::Breach(format!("SDP offer with {now} m= lines after {before}")))
    }

    /// The peer's offer was refused unread: 488 or 491.
    pub(crate) fn refuse(&mut self, offer: &[u8]) {
        let version = Session::parse(offer).map_or(0, |session| session.origin.sess_version);
        self.refused_version = self.refused_version.max(version);
    }

    /// The offer in an INVITE waits for our answer.
    pub(crate) fn await_our_answer(&mut self) {
        self.turn = Turn::Theirs;
    }

    /// Our answer was sent once more, or at last, in a message that cannot be lost.
    pub(crate) fn settle(&mut self) {
        if matches!(self.turn, Turn::Theirs) {
            self.turn = Turn::Free;
        }
    }

    /// Takes the peer's answer to our offer. It settles nothing yet where it may be lost: in an unreliable response.
    pub(crate) fn take_answer(&mut self, body: &[u8], reliably: bool) -> Result<(), String> {
        if reliably {
            self.turn = Turn::Free;
        }
        let description = self.read_next(body)?;
        let offered = read(self.local.written.as_bytes())?;
        if let Some(format) = description.formats.iter().find(|format| !offered.formats.contains(format)) {
            return Err(format!("SDP answer with format {format}, which was not offered"));
        }
        if description.codecs.is_empty() {
            return Err("SDP answer without a codec".to_owned());
        }
        if description.direction.sends() && !offered.direction.receives()
            || description.direction.receives() && !offered.direction.sends()
        {
            let (said, asked) = (description.direction.as_str(), offered.direction.as_str());
            return Err(format!("SDP answer {said} to {asked}"));
        }
        // RFC 3264 §6: as many m= lines, of the same kinds, in the same order.
        let kinds = |streams: &[Stream]| streams.iter().map(|stream| stream.media.clone()).collect::<Vec<_>>();
        if kinds(&description.streams) != kinds(&offered.streams) || description.audio != offered.audio {
            return Err("SDP answer with other m= lines than the offer".to_owned());
        }
        let taken = description.streams.iter().enumerate().find(|(at, s)| *at != description.audio && s.port != 0);
        if let Some((_, stream)) = taken {
            return Err(format!("SDP answer that accepts {}", stream.media));
        }
        self.remote = Some((body.to_vec(), description));
        Ok(())
    }

    /// Our offer was refused: all is as it was before (RFC 3261 §14.1).
    pub(crate) fn take_back(&mut self) {
        match std::mem::replace(&mut self.turn, Turn::Free) {
            Turn::Ours(before) => self.local = *before,
            other @ (Turn::Free | Turn::Theirs) => self.turn = other,
        }
    }

    fn read_next(&self, body: &[u8]) -> Result<Description, String> {
        let description = read(body)?;
        if let Some((known, before)) = &self.remote
            && known != body
        {
            if description.session_id != before.session_id {
                return Err("SDP session id changed within the call".to_owned());
            }
            // What was refused counts too, and its successor may have come first.
            let last = before.version.max(self.refused_version);
            if description.version <= before.version || description.version > last.saturating_add(1) {
                return Err(format!("SDP version {} after {}", description.version, before.version));
            }
        }
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

    /// Our own last words.
    pub(crate) fn written(&self) -> Option<Vec<u8>> {
        (!self.local.written.is_empty()).then(|| self.local.written.clone().into_bytes())
    }

    /// What was settled; `None` before.
    pub(crate) fn path(&self, config: &Config) -> Option<Path> {
        let (_, remote) = self.remote.as_ref()?;
        let written = read(self.local.written.as_bytes()).ok()?;
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
        if !self.local.written.is_empty() && text != self.local.written {
            // RFC 3264 §8: one more with every change, the same when nothing changes.
            self.version += 1;
            self.local.version = self.version;
            self.local.written = self.text(config, codecs, events, direction);
        } else {
            self.local.written = text;
        }
        self.local.written.clone().into_bytes()
    }

    fn write_fax(&mut self, config: &Config) -> Vec<u8> {
        self.version += 1;
        self.local.version = self.version;
        let mut lines = self.session_lines(config);
        lines.push(format!("m=image {} udptl t38", self.local.rtp.port()));
        lines.extend(
            ["a=T38FaxVersion:0", "a=T38MaxBitRate:14400", "a=T38FaxUdpEC:t38UDPRedundancy"].map(str::to_owned),
        );
        self.local.written = lines.join("\r\n") + "\r\n";
        self.local.written.clone().into_bytes()
    }

    fn session_lines(&self, config: &Config) -> Vec<String> {
        let family = if self.local.rtp.is_ipv4() { "IP4" } else { "IP6" };
        let ip = self.local.rtp.ip();
        let canary = Canary::of(config);
        let user = canary.as_ref().map_or_else(|| config.name.clone(), Canary::token);
        let name = canary.as_ref().map_or_else(|| "-".to_owned(), Canary::text);
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o={user} {} {} IN {family} {ip}", self.session_id, self.local.version),
            format!("s={name}"),
            format!("c=IN {family} {ip}"),
        ];
        lines.extend(canary.as_ref().map(Canary::bandwidth));
        let mut of_canary = canary.as_ref().map(Canary::session_lines).unwrap_or_default();
        // i=, u=, e= and p= may stand once.
        let stands = |line: &String| config.sdp_session_lines.iter().any(|said| said.get(..1) == line.get(..1));
        of_canary.retain(|line| line.starts_with("a=") || !stands(line));
        // i=, u=, e= and p= stand between s= and c= (RFC 8866 §5).
        for line in config.sdp_session_lines.iter().chain(&of_canary).rev() {
            let place = if line.starts_with("a=") { lines.len() } else { 3 };
            lines.insert(place, line.clone());
        }
        let attributes = lines.iter().position(|line| line.starts_with("a=")).unwrap_or(lines.len());
        lines.insert(attributes, "t=0 0".to_owned());
        lines
    }

    fn text(&self, config: &Config, codecs: &[(u8, Codec)], events: Option<u8>, direction: Direction) -> String {
        let mut lines = self.session_lines(config);
        for stream in &self.local.streams {
            match stream {
                Some(block) => lines.extend(block.iter().cloned()),
                None => self.audio_lines(config, codecs, events, direction, &mut lines),
            }
        }
        lines.join("\r\n") + "\r\n"
    }

    fn audio_lines(
        &self,
        config: &Config,
        codecs: &[(u8, Codec)],
        events: Option<u8>,
        direction: Direction,
        lines: &mut Vec<String>,
    ) {
        let mut formats = codecs.iter().map(|(number, _)| number.to_string()).collect::<Vec<_>>();
        formats.extend(events.map(|number| number.to_string()));
        let canary = Canary::of(config);
        // A codec that nobody offered is none for an answer.
        let offers = matches!(self.turn, Turn::Ours(_));
        let codec = canary.as_ref().filter(|_| offers).map(Canary::codec);
        formats.extend(codec.as_ref().map(|_| "97".to_owned()));
        lines.push(format!("m=audio {} RTP/AVP {}", self.local.rtp.port(), formats.join(" ")));
        if let Some(canary) = &canary {
            lines.extend([format!("i={}", canary.text()), canary.bandwidth()]);
        }
        lines.extend(codecs.iter().map(|(number, codec)| format!("a=rtpmap:{number} {}", codec.encoding())));
        lines.extend(codec);
        if let Some(number) = events {
            lines.push(format!("a=rtpmap:{number} telephone-event/8000"));
            lines.push(format!("a=fmtp:{number} 0-15"));
        }
        lines.push("a=ptime:20".to_owned());
        lines.push(format!("a={}", direction.as_str()));
        lines.extend(config.sdp_media_lines.iter().cloned());
        lines.extend(canary.into_iter().flat_map(|canary| canary.media_lines(self.local.rtp.port())));
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
        Negotiation::new(7, &config(&[Codec::Pcma, Codec::Pcmu]))
    }

    fn begin(codecs: &[Codec]) -> (Config, Negotiation) {
        (config(codecs), Negotiation::new(7, &config(codecs)))
    }

    #[test]
    fn an_offer_is_answered_with_its_first_codec_that_we_have_and_both_agree_on_the_path() {
        let ((a, mut at_a), (b, mut at_b)) = (begin(&[Codec::Pcma, Codec::Pcmu]), begin(&[Codec::Pcmu]));
        let offer = at_a.offer(&a, &Offer::Same).unwrap();
        let answer = at_b.answer(&b, &offer).unwrap();
        at_a.take_answer(&answer, true).unwrap();
        assert_eq!(at_a.path(&a), at_b.path(&b));
        assert_eq!(at_a.path(&a).unwrap().codec, Codec::Pcmu);
        assert_eq!(at_a.path(&a).unwrap().telephone_event, Some(101));
    }

    #[test]
    fn a_held_side_sends_nothing_and_resumes_with_a_higher_version() {
        let (config, mut at_a) = begin(&[Codec::Pcma]);
        let mut at_b = side();
        for (direction, sends) in
            [(Direction::SendRecv, true), (Direction::Inactive, false), (Direction::SendRecv, true)]
        {
            let offer = at_a.offer(&config, &Offer::Direction(direction)).unwrap();
            let answer = at_b.answer(&config, &offer).unwrap();
            at_a.take_answer(&answer, true).unwrap();
            assert_eq!(at_b.path(&config).unwrap().send, sends);
            assert_eq!(at_a.path(&config).unwrap().send, sends);
        }
        assert_eq!(at_a.version, 3);
    }

    #[test]
    fn what_was_not_offered_is_no_answer() {
        let ((a, mut at_a), (b, mut at_b)) = (begin(&[Codec::Pcma]), begin(&[Codec::Pcmu]));
        at_a.offer(&a, &Offer::Same);
        let stray = at_b.offer(&b, &Offer::Same).unwrap();
        assert_eq!(at_a.take_answer(&stray, true), Err("SDP answer with format 0, which was not offered".to_owned()));
    }

    #[test]
    fn a_change_that_hides_behind_the_same_version_is_told() {
        let (config, mut at_a) = begin(&[Codec::Pcma]);
        let mut at_b = side();
        let offer = String::from_utf8(at_a.offer(&config, &Offer::Same).unwrap()).unwrap();
        at_b.answer(&config, offer.as_bytes()).unwrap();
        let moved = offer.replace("4000", "4002");
        assert_eq!(at_b.answer(&config, moved.as_bytes()), Err(Flaw::Breach("SDP version 1 after 1".to_owned())));
    }

    #[test]
    fn session_lines_stand_where_the_grammar_wants_them() {
        let mut config = config(&[Codec::Pcma]);
        config.sdp_session_lines = vec!["i=title".to_owned(), "e=a@b".to_owned(), "a=tool:x".to_owned()];
        let text = String::from_utf8(side().offer(&config, &Offer::Same).unwrap()).unwrap();
        let kinds: String = text.lines().take_while(|line| !line.starts_with("m=")).map(|line| &line[..1]).collect();
        assert_eq!(kinds, "vosiecta");
        assert!(read(text.as_bytes()).is_ok());
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (body, reason) in [
            ("", "SDP that cannot be read"),
            ("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n", "SDP without audio"),
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
