//! The ways between X and the phones: who takes what, what the ladder says of it, and what the scanner learns.

use std::net::SocketAddr;

use bytes::Bytes;
use media::Side;
use numbering::{Number, ReadRule};
use sip::transaction::{Flow, Transmit, Transport};

use super::{MAX_KEPT, OnWire, Sent, Slot, World};
use crate::ladder::{self, Column, Entry, Way};
use crate::network::{Fate, Packet, Protocol};
use crate::setup::{NUMBERS, SIP_PORT, X};

impl World {
    pub(super) fn send_from_x(&mut self, transmit: Transmit) {
        let Transmit { flow, bytes } = transmit;
        let told = ladder::tell(&bytes, |number| self.name_of(number));
        let place = self.place_at(&flow, told.called.as_deref());
        let protocol = protocol_of(flow.transport);
        self.note_on_wire(true, protocol, flow.peer, &bytes);
        if self.refusing.contains(&flow.peer) {
            self.failures.push(flow);
            return;
        }
        let source = SocketAddr::new(X, SIP_PORT);
        let Some(place) = place else {
            self.unclaimed.push(Packet { protocol, source, destination: flow.peer, bytes: bytes.to_vec() });
            return;
        };
        if told.begins_call {
            self.slots[place].column = Column::Right;
        }
        if self.sent.len() < MAX_KEPT {
            self.sent.insert(Sent { to: place, bytes: bytes.to_vec() });
        }
        let destination = self.slots[place].phone.config().contact;
        let packet = Packet { protocol, source, destination, bytes: bytes.to_vec() };
        let fate = self.network.send(self.now, self.link, packet);
        self.note_message(place, Way::FromX, told, fate);
    }

    /// Which phone takes a message of X: by its address, or behind a carrier's by its number.
    pub(super) fn place_at(&self, flow: &Flow, called: Option<&str>) -> Option<usize> {
        let direct = self.slots.iter().position(|slot| slot.phone.config().contact == flow.peer);
        // Or behind proxies that a phone has recorded: a strict one is named in the Request-URI.
        let peer = flow.peer.to_string();
        let routed = self.slots.iter().position(|slot| {
            let mut hops = slot.phone.config().record_route.iter();
            hops.any(|hop| hop.contains(&format!("@{peer}")) || hop.contains(&format!(":{peer}")))
        });
        direct.or(routed).or_else(|| {
            let number = ReadRule::default().read(called?.as_bytes()).ok()?;
            let place = self.place_of(number)?;
            // Another carrier's gateway reaches nobody of this one's.
            let trunk = |address: SocketAddr| self.settings.trunk_of(address.ip());
            let gateway = self.slots[place].phone.config().gateway;
            let leads_there = gateway.is_some_and(|gateway| trunk(gateway) == trunk(flow.peer));
            (leads_there && self.gateways.contains(&flow.peer)).then_some(place)
        })
    }

    pub(super) fn place_of(&self, number: Number) -> Option<usize> {
        let is = |slot: &Slot| Number::parse(&slot.phone.config().number).ok() == Some(number);
        self.slots.iter().position(is)
    }

    /// `A` for A's number in any spelling; the spelling itself where it is nobody's.
    pub(super) fn name_of(&self, spelling: &str) -> String {
        let Ok(number) = ReadRule::default().read(spelling.as_bytes()) else { return spelling.to_owned() };
        if Number::parse(NUMBERS[2]).ok() == Some(number) {
            return "X".to_owned();
        }
        self.place_of(number).map_or_else(|| spelling.to_owned(), |place| self.slots[place].phone.config().name.clone())
    }

    pub(super) fn note_message(&mut self, place: usize, way: Way, told: ladder::Told, fate: Fate) {
        let slot = &self.slots[place];
        let lost = match fate {
            Fate::Sent => String::new(),
            Fate::Lost => "✗ lost".to_owned(),
        };
        let remark = [told.remark, lost].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
        let phone = slot.phone.config().name.clone();
        self.ladder.push(self.now, Entry::Message { column: slot.column, way, phone, text: told.text, remark });
    }

    pub(super) fn send_from_phone(&mut self, place: usize, destination: SocketAddr, bytes: Vec<u8>) {
        self.learn_secrets(place, &bytes);
        let config = self.slots[place].phone.config();
        if destination != SocketAddr::new(X, SIP_PORT) {
            self.strange.push(format!("{} sends SIP to {destination}, past X", config.name));
            return;
        }
        let protocol = match config.transport {
            phone::Transport::Udp => Protocol::Udp,
            phone::Transport::Tcp | phone::Transport::Tls => Protocol::Tcp,
        };
        let packet = Packet { protocol, source: config.contact, destination, bytes: bytes.clone() };
        if self.network.send(self.now, self.link, packet) == Fate::Lost {
            let told = ladder::tell(&bytes, |number| self.name_of(number));
            self.note_message(place, Way::ToX, told, Fate::Lost);
        }
    }

    pub(super) fn send_media_from_phone(&mut self, place: usize, packet: phone::Packet) {
        if packet.destination.ip() != X {
            let name = &self.slots[place].phone.config().name;
            self.strange.push(format!("{name} sends RTP to {}, past X", packet.destination));
            return;
        }
        if let (Some(0x80), Some(ssrc)) = (packet.bytes.first().map(|byte| byte & 0xc0), packet.bytes.get(8..12))
            && packet.source.port().is_multiple_of(2)
        {
            let csrcs = usize::from(packet.bytes[0] & 0x0f) * 4;
            let csrcs = packet.bytes.get(12..12 + csrcs).unwrap_or_default();
            for source in ssrc.chunks_exact(4).chain(csrcs.chunks_exact(4)) {
                let source = u32::from_be_bytes(source.try_into().expect("four bytes"));
                if self.slots[place].ssrcs.insert(source) {
                    let name = self.slots[place].phone.config().name.clone();
                    self.secrets[place].add_ssrc(&name, source);
                }
            }
        }
        let phone::Packet { source, destination, bytes } = packet;
        let packet = Packet { protocol: Protocol::Udp, source, destination, bytes };
        self.network.send(self.now, self.media_link, packet);
    }

    pub(super) fn send_media_from_x(&mut self, port: u16, destination: SocketAddr, bytes: Vec<u8>) {
        let receives = |slot: &Slot| {
            let addresses = slot.phone.config().rtp_addresses();
            addresses.iter().any(|rtp| destination == *rtp || destination == SocketAddr::new(rtp.ip(), rtp.port() + 1))
        };
        let source = SocketAddr::new(X, port);
        let packet = Packet { protocol: Protocol::Udp, source, destination, bytes };
        let Some(place) = self.slots.iter().position(receives) else {
            self.unclaimed.push(packet);
            return;
        };
        for (owner, secrets) in self.secrets.iter().enumerate() {
            if owner == place {
                continue;
            }
            let is_rtcp = destination.port() % 2 == 1;
            let leaks = if is_rtcp { secrets.scan_rtcp(&packet.bytes) } else { secrets.scan_rtp(&packet.bytes) };
            for leak in leaks {
                let to = &self.slots[place].phone.config().name;
                self.strange.push(format!("leak to {to} at {:?}: {leak}", self.now));
            }
        }
        self.network.send(self.now, self.media_link, packet);
    }

    pub(super) fn deliver(&mut self, packet: Packet) {
        let Packet { protocol, source, destination, bytes } = packet;
        if destination == SocketAddr::new(X, SIP_PORT) {
            self.deliver_to_x(protocol, source, &bytes);
        } else if destination.ip() == X {
            self.deliver_media(source, destination.port(), bytes);
        } else if let Some(slot) = self.slots.iter_mut().find(|slot| slot.phone.config().contact == destination) {
            slot.phone.handle_message(self.now, source, &bytes);
        } else if let Some(slot) = self.slots.iter_mut().find(|slot| slot.takes_rtp(destination)) {
            slot.phone.handle_rtp(self.now, source, &bytes);
        }
        self.settle();
    }

    pub(super) fn deliver_to_x(&mut self, protocol: Protocol, source: SocketAddr, bytes: &[u8]) {
        let Some(place) = self.slots.iter().position(|slot| slot.phone.config().contact == source) else { return };
        let told = ladder::tell(bytes, |number| self.name_of(number));
        self.note_message(place, Way::ToX, told, Fate::Sent);
        self.give_to_x(protocol, source, place, bytes);
    }

    /// `place` is the phone's, or one beyond them all.
    pub(super) fn give_to_x(&mut self, protocol: Protocol, source: SocketAddr, place: usize, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.note_on_wire(false, protocol, source, &bytes);
        self.core.handle_message(self.now, flow(protocol, source, place), bytes);
    }

    fn note_on_wire(&mut self, by_x: bool, protocol: Protocol, peer: SocketAddr, bytes: &Bytes) {
        if self.wire.len() < MAX_KEPT {
            self.wire.push(OnWire { at: self.now, by_x, peer, protocol, bytes: bytes.clone() });
        }
    }

    pub(super) fn deliver_media(&mut self, source: SocketAddr, port: u16, mut bytes: Vec<u8>) {
        let now = self.now;
        let found = self.sessions.iter_mut().find_map(|(id, running)| {
            let rtp = port & !1;
            let side = Side::BOTH.into_iter().find(|side| running.ports[side.index()] == rtp)?;
            Some((*id, side, running))
        });
        // A port that rests hears nothing.
        let Some((id, side, running)) = found else { return };
        if port % 2 == 1 {
            running.session.handle_rtcp(now, side, source, &bytes);
        } else if let Some(forward) = running.session.handle_rtp(now, side, source, &mut bytes) {
            let from = running.ports[forward.side.index()];
            if let Some(packet) = bytes.get(forward.range) {
                let packet = packet.to_vec();
                self.send_media_from_x(from, forward.destination, packet);
            }
        }
        self.run_session(id);
    }
}

/// What X knows of where a message came from.
pub(super) fn flow(protocol: Protocol, peer: SocketAddr, place: usize) -> Flow {
    let (transport, listener, connection) = match protocol {
        Protocol::Udp => (Transport::Udp, 0, 0),
        Protocol::Tcp => (Transport::Tcp, 1, place as u64 + 1),
    };
    Flow { connection, ..Flow::to(transport, listener, peer) }
}

fn protocol_of(transport: Transport) -> Protocol {
    match transport {
        Transport::Udp => Protocol::Udp,
        // X listens by UDP and TCP here, so that no target has another transport.
        Transport::Tcp | Transport::Tls => Protocol::Tcp,
    }
}
