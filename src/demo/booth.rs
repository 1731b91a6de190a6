//! Two scripted phones on real sockets of the loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use phone::{Config, Known, Phone, PhoneEvent, Script, Sound};

use super::ladder::Ladder;
use crate::clock::Clock;

/// The longest wait for a packet: what the daemon tells beside the sockets is looked at this often.
const LOOK: Duration = Duration::from_millis(10);

/// One of the two phones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    A,
    B,
}

impl Which {
    const BOTH: [Which; 2] = [Which::A, Which::B];

    const fn index(self) -> usize {
        match self {
            Which::A => 0,
            Which::B => 1,
        }
    }
}

struct Line {
    phone: Phone,
    signalling: UdpSocket,
    media: UdpSocket,
    breaches: Vec<String>,
    /// Every message that it received: what its party could learn.
    received: Vec<Vec<u8>>,
}

pub(super) struct Booth {
    clock: Clock,
    poll: Poll,
    lines: [Line; 2],
    known: Arc<Known>,
}

impl Booth {
    pub(super) fn new(clock: Clock, known: &Arc<Known>) -> io::Result<Booth> {
        let poll = Poll::new()?;
        let a = line(&poll, Which::A)?;
        let b = line(&poll, Which::B)?;
        Ok(Booth { clock, poll, lines: [a, b], known: Arc::clone(known) })
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(super) fn address(&self, which: Which) -> SocketAddr {
        self.lines[which.index()].phone.config().contact
    }

    /// Gives a phone its number, its voice and its script.
    pub(super) fn install(&mut self, which: Which, number: &str, sound: Sound, script: Script) {
        let old = self.lines[which.index()].phone.config();
        let name = format!("{which:?}");
        let mut config =
            Config::new(&name, number, old.contact, old.rtp, self.clock.unix(self.now()).as_nanos() as u64);
        config.sound = sound;
        config.script = script;
        config.display_name = Some(format!("Secret Name Of {which:?}"));
        let mut phone = Phone::new(config);
        phone.set_known(Arc::clone(&self.known));
        self.lines[which.index()].phone = phone;
    }

    pub(super) fn call(&mut self, target: &str, ladder: &mut Ladder) {
        let now = self.now();
        self.lines[0].phone.call(now, target);
        self.send(now, ladder);
    }

    pub(super) fn phone(&self, which: Which) -> &Phone {
        &self.lines[which.index()].phone
    }

    pub(super) fn breaches(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flat_map(|line| line.breaches.iter().map(String::as_str))
    }

    pub(super) fn received(&self, which: Which) -> &[Vec<u8>] {
        &self.lines[which.index()].received
    }

    /// Both calls are over.
    pub(super) fn are_idle(&self) -> bool {
        self.lines.iter().all(|line| line.phone.state() == phone::State::Ended)
    }

    /// Waits for a packet or a deadline, and does what is due.
    pub(super) fn turn(&mut self, ladder: &mut Ladder) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        let now = self.now();
        let next = self.lines.iter().filter_map(|line| line.phone.poll_timeout()).min();
        let wait = next.map_or(LOOK, |at| at.saturating_sub(now).min(LOOK));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let now = self.now();
        for which in Which::BOTH {
            self.receive(now, which, ladder)?;
            self.lines[which.index()].phone.handle_timeout(now);
        }
        self.send(now, ladder);
        for line in &mut self.lines {
            while let Some(event) = line.phone.poll_event() {
                if let PhoneEvent::Breach(breach) = event {
                    line.breaches.push(breach);
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, now: Duration, which: Which, ladder: &mut Ladder) -> io::Result<()> {
        let line = &mut self.lines[which.index()];
        let mut buffer = [0_u8; 65_535];
        while let Some((length, source)) = or_empty(line.signalling.recv_from(&mut buffer))? {
            let bytes = &buffer[..length];
            ladder.message(now, which, false, bytes);
            line.received.push(bytes.to_vec());
            line.phone.handle_message(now, source, bytes);
        }
        while let Some((length, source)) = or_empty(line.media.recv_from(&mut buffer))? {
            line.phone.handle_rtp(now, source, &buffer[..length]);
        }
        Ok(())
    }

    fn send(&mut self, now: Duration, ladder: &mut Ladder) {
        for which in Which::BOTH {
            let line = &mut self.lines[which.index()];
            while let Some((peer, bytes)) = line.phone.poll_transmit() {
                ladder.message(now, which, true, &bytes);
                // A datagram that the loopback refuses is sent again by the phone's own timers.
                let _ = line.signalling.send_to(&bytes, peer);
            }
            while let Some(packet) = line.phone.poll_rtp(now) {
                let _ = line.media.send_to(&packet.bytes, packet.destination);
            }
        }
    }
}

fn line(poll: &Poll, which: Which) -> io::Result<Line> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (mut signalling, mut media) = (UdpSocket::bind(any)?, UdpSocket::bind(any)?);
    let place = which.index() * 2;
    poll.registry().register(&mut signalling, Token(place), Interest::READABLE)?;
    poll.registry().register(&mut media, Token(place + 1), Interest::READABLE)?;
    let config = Config::new("", "", signalling.local_addr()?, media.local_addr()?, 0);
    Ok(Line { phone: Phone::new(config), signalling, media, breaches: Vec::new(), received: Vec::new() })
}

fn or_empty<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        // A peer that has closed its port: ICMP, not ours to mend.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error),
    }
}
