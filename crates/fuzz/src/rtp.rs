//! Target `rtp`: the bytes are a program for one media session.
//!
//! ```text
//!   operation │ its bytes
//!   time      │ so many milliseconds pass, and the session wakes at its deadlines
//!   packet    │ side, source, header, payload (or raw bytes)    → Session::handle_rtp
//!   report    │ side, source, raw bytes                         → Session::handle_rtcp
//!   remote    │ side, address, format, direction, policy        → Command::SetRemote
//!   hear      │ side, what                                      → Command::Hear
//!   collect   │ side, on or off                                 → Command::Collect
//!   record, close
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use media::rtp::Header;
use media::session::{Config, Kind, RecordingOutput, Session};
use media::telephone_event::TelephoneEvent;
use media::{Codec, Command, Direction, Event, Hear, LegFormat, Prompt, Remote, Repeat, Side, SourcePolicy, Then};

use crate::input::Input;

/// Who may send: both parties' addresses and ports, and two strangers.
const SOURCES: [([u8; 4], u16); 6] = [
    ([192, 0, 2, 1], 4000),
    ([198, 51, 100, 2], 5000),
    ([192, 0, 2, 1], 4002),
    ([198, 51, 100, 2], 5002),
    ([203, 0, 113, 66], 6666),
    ([203, 0, 113, 67], 6666),
];
const PAYLOAD_TYPES: [u8; 7] = [8, 0, 101, 96, 13, 18, 127];
/// The most time that one operation lets pass, in milliseconds: 255 × 40.
const LONG: u32 = 40;
/// The most audio that a recording may be ahead of the clock: what waits in its window, in samples.
const AHEAD: u64 = 8 * 400;

/// See the [crate's](crate) table.
pub fn rtp(data: &[u8]) {
    let mut input = Input::new(data);
    let dead_after = Duration::from_secs(u64::from(input.byte() % 8) * 5);
    let mut play = Play::new(Config { dead_after, unix_at_epoch: Duration::from_secs(1_700_000_000) }, input.u32());
    let mut operations = 0;
    while !input.is_empty() && operations < 2_000 {
        operations += 1;
        play.step(&mut input);
    }
    play.finish();
}

struct Play {
    session: Session,
    now: Duration,
    remotes: [Option<Remote>; 2],
    /// What each side was last told to hear: nothing of the peer.
    deaf: [bool; 2],
    ssrcs: [Option<u32>; 2],
    given: [u64; 2],
    sent: [u64; 2],
    recording: Option<Duration>,
    alaw: Vec<u8>,
    recorded: u64,
    started: bool,
    finished: Option<u64>,
    closed: bool,
    said_closed: u32,
    prompts: [Arc<Prompt>; 3],
    collecting: [bool; 2],
    /// By side, and by the way in which it came: a digit is pressed and not released yet.
    held: [[bool; 2]; 2],
}

fn side_of(byte: u8) -> Side {
    if byte & 1 == 0 { Side::A } else { Side::B }
}

fn source(input: &mut Input<'_>) -> SocketAddr {
    SocketAddr::from(input.pick(&SOURCES))
}

impl Play {
    fn new(config: Config, seed: u32) -> Play {
        let prompt =
            |name: &str, samples: usize| Arc::new(Prompt { name: name.into(), alaw: vec![0x55; samples].into() });
        Play {
            session: Session::new(config, u64::from(seed), Duration::ZERO),
            now: Duration::ZERO,
            remotes: [None; 2],
            deaf: [true; 2],
            ssrcs: [None; 2],
            given: [0; 2],
            sent: [0; 2],
            recording: None,
            alaw: Vec::new(),
            recorded: 0,
            started: false,
            finished: None,
            closed: false,
            said_closed: 0,
            prompts: [prompt("empty", 0), prompt("odd", 161), prompt("long", 16_000)],
            collecting: [false; 2],
            held: [[false; 2]; 2],
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=3 => self.pass(u32::from(input.byte()) * if input.byte() == 0 { LONG } else { 1 }),
            4..=8 => self.packet(input),
            9 => {
                let side = side_of(input.byte());
                let (source, length) = (source(input), usize::from(input.byte()));
                let bytes = input.take(length);
                self.session.handle_rtcp(self.now, side, source, bytes);
            }
            10 | 11 => self.remote(input),
            12 | 13 => self.hear(input),
            14 => {
                self.recording.get_or_insert(self.now);
                self.command(Command::Record { name: "20261123-x.wav".into() });
            }
            _ => match input.byte() % 8 {
                // Seldom: nothing happens after it.
                0 => {
                    self.command(Command::Close);
                    self.closed = true;
                }
                flags => self.collect(side_of(flags), flags & 2 == 0),
            },
        }
    }

    fn command(&mut self, command: Command) {
        self.session.handle_command(self.now, command);
        self.wake();
    }

    fn collect(&mut self, side: Side, on: bool) {
        // What was to be told before is.
        self.wake();
        if self.collecting[side.index()] != on && !self.closed {
            self.collecting[side.index()] = on;
            self.held[side.index()] = [false; 2];
        }
        self.command(Command::Collect { side, on });
    }

    fn remote(&mut self, input: &mut Input<'_>) {
        let side = side_of(input.byte());
        let rtp = source(input);
        let flags = input.byte();
        let (codec, payload_type) = if flags & 1 == 0 { (Codec::Pcma, 8) } else { (Codec::Pcmu, 0) };
        let format = LegFormat {
            codec,
            payload_type,
            telephone_event: (flags & 2 == 0).then_some(if flags & 4 == 0 { 101 } else { 96 }),
            telephone_event_offered: (flags & 64 != 0).then_some(97),
            ptime_ms: input.pick(&[20, 10, 30, 40, 60]),
        };
        let remote = Remote {
            rtp,
            rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1),
            format,
            direction: Direction { send: flags & 8 == 0, receive: flags & 16 == 0 },
            source: if flags & 32 == 0 { SourcePolicy::Learn } else { SourcePolicy::Signalled },
        };
        if !self.closed {
            self.remotes[side.index()] = Some(remote);
        }
        self.command(Command::SetRemote { side, remote });
    }

    fn hear(&mut self, input: &mut Input<'_>) {
        let side = side_of(input.byte());
        let flags = input.byte();
        let prompt = Arc::clone(&self.prompts[usize::from(input.byte()) % 3]);
        let then = match flags >> 4 & 3 {
            0 => Then::Nothing,
            1 => Then::Peer,
            _ => Then::Loop(Arc::clone(&self.prompts[usize::from(flags >> 6) % 3])),
        };
        let hear = match flags & 3 {
            0 => Hear::Nothing,
            1 => Hear::Peer,
            2 => Hear::Prompt { prompt, repeat: Repeat::Loop, then },
            _ => Hear::Prompt { prompt, repeat: Repeat::Once, then },
        };
        // An empty prompt that loops is a prompt that is over.
        let deaf = match &hear {
            Hear::Nothing => true,
            Hear::Peer => false,
            Hear::Prompt { then, .. } => *then != Then::Peer,
        };
        if !self.closed {
            self.deaf[side.index()] = deaf;
        }
        self.command(Command::Hear { side, hear });
    }

    fn packet(&mut self, input: &mut Input<'_>) {
        let side = side_of(input.byte());
        let source = source(input);
        let shape = input.byte();
        let mut packet = if shape & 1 == 0 {
            let header = Header {
                payload_type: input.pick(&PAYLOAD_TYPES),
                marker: shape & 2 != 0,
                sequence_number: input.u16(),
                timestamp: input.u32(),
                ssrc: u32::from(input.byte() % 3),
            };
            let mut packet = header.to_bytes().to_vec();
            match shape >> 2 & 3 {
                0 => packet.extend_from_slice(&[0xd5; 160]),
                1 => packet.resize(packet.len() + usize::from(input.u16() % 1_600), 0x55),
                2 => packet.extend_from_slice(&[input.byte(), input.byte(), input.byte(), input.byte()]),
                _ => {
                    let length = usize::from(input.byte());
                    packet.extend_from_slice(input.take(length));
                }
            }
            packet
        } else {
            let length = usize::from(input.byte());
            input.take(length).to_vec()
        };
        let length = packet.len();
        let event = media::rtp::parse(&packet).ok().and_then(|(_, payload)| TelephoneEvent::parse(&packet[payload]));
        let _ = event.and_then(TelephoneEvent::digit);
        self.given[side.index()] += 1;
        let forward = self.session.handle_rtp(self.now, side, source, &mut packet);
        let Some(forward) = forward else { return };
        assert_eq!(forward.side, side.other());
        assert!(!self.closed, "a closed session forwards nothing");
        assert!(forward.range.end <= length && forward.range.start < forward.range.end);
        let to = forward.side;
        assert!(!self.deaf[to.index()], "this side hears something else, or nothing");
        let remote = self.remotes[to.index()].expect("only to somebody who is known");
        assert!(remote.direction.send, "this side shall not be sent to");
        assert!(self.remotes[side.index()].expect("only from somebody who is known").direction.receive);
        self.outgoing(to, Kind::Rtp, forward.destination, &packet[forward.range]);
    }

    /// What any packet of ours must be.
    fn outgoing(&mut self, to: Side, kind: Kind, destination: SocketAddr, bytes: &[u8]) {
        let remote = self.remotes[to.index()].expect("only to somebody who is known");
        let sources = SOURCES.map(SocketAddr::from);
        let (rtp, rtcp) = (destination, SocketAddr::new(destination.ip(), destination.port().wrapping_sub(1)));
        match kind {
            Kind::Rtp => {
                assert!(sources.contains(&rtp));
                let learnt = self.session.locked_source(to);
                let party =
                    destination == remote.rtp || remote.source == SourcePolicy::Learn || learnt == Some(destination);
                assert!(party, "to a stranger");
                let (header, payload) = media::rtp::parse(bytes).expect("RTP");
                let format = remote.format;
                let is_event = format.telephone_event == Some(header.payload_type);
                assert!(header.payload_type == format.payload_type || is_event, "{header:?} under {format:?}");
                assert!(!payload.is_empty());
                let ssrc = *self.ssrcs[to.index()].get_or_insert(header.ssrc);
                assert_eq!(ssrc, header.ssrc, "one SSRC for life");
                self.sent[to.index()] += 1;
            }
            Kind::Rtcp => {
                assert!(sources.contains(&rtcp) || sources.contains(&rtp));
                let read = media::rtcp::parse(bytes, 0).expect("RTCP");
                assert_eq!(read.byes, 0);
            }
        }
    }

    fn pass(&mut self, milliseconds: u32) {
        let end = self.now + Duration::from_millis(u64::from(milliseconds));
        let mut wakes = 0;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wake();
            wakes += 1;
            // Two prompts at 10 ms, two reports, the recorder, the silence.
            assert!(wakes < 1_000 + milliseconds, "the session does not come to rest");
        }
        self.now = end;
        self.wake();
    }

    fn wake(&mut self) {
        let mut out = Vec::new();
        self.session.handle_timeout(self.now, &mut |side, kind, destination, bytes| {
            out.push((side, kind, destination, bytes.to_vec()));
        });
        for (side, kind, destination, bytes) in out {
            assert!(!self.closed, "a closed session sends nothing");
            self.outgoing(side, kind, destination, &bytes);
        }
        while let Some(output) = self.session.poll_recording(&mut self.alaw) {
            assert!(self.finished.is_none(), "nothing comes after the end of a recording");
            match output {
                RecordingOutput::Started { .. } => assert!(!std::mem::replace(&mut self.started, true)),
                RecordingOutput::Audio => assert!(self.started && !self.alaw.is_empty()),
                RecordingOutput::Finished { ms } => self.finished = Some(ms),
            }
            self.recorded += self.alaw.len() as u64;
            self.alaw.clear();
        }
        if let Some(since) = self.recording {
            let elapsed = (self.now - since).as_millis() as u64 * 8;
            assert!(self.recorded <= elapsed + AHEAD, "{} samples in {elapsed}", self.recorded);
        }
        for _ in 0..100 {
            match self.session.poll_event() {
                Some(Event::Closed(totals)) => {
                    self.said_closed += 1;
                    for side in Side::BOTH {
                        let leg = &totals.legs[side.index()];
                        assert_eq!(
                            leg.received + leg.refused,
                            self.given[side.index()],
                            "every packet is accounted for"
                        );
                        assert_eq!(leg.sent, self.sent[side.index()], "every packet that was sent is");
                    }
                }
                Some(Event::Digit { side, .. }) => assert!(!self.collecting[side.index()], "told twice"),
                Some(Event::Pressed { side, by, .. }) => {
                    let held = &mut self.held[side.index()][by as usize];
                    assert!(self.collecting[side.index()] && !std::mem::replace(held, true), "one after the other");
                }
                Some(Event::Released { side, by }) => {
                    let held = &mut self.held[side.index()][by as usize];
                    assert!(std::mem::replace(held, false), "only what was pressed");
                }
                Some(Event::PromptEnded { .. } | Event::Dead) => {}
                None => return,
            }
        }
        panic!("events without end");
    }

    fn finish(mut self) {
        self.command(Command::Close);
        self.closed = true;
        self.wake();
        assert_eq!((self.said_closed, self.session.poll_timeout()), (1, None));
        assert_eq!(self.finished.is_some(), self.started, "a recording that has begun is finished");
        if let Some(ms) = self.finished {
            assert_eq!(self.recorded / 8, ms, "the recording is as long as it says");
        }
    }
}
