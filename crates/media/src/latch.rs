//! Which source address a leg's media is taken from, and where it is sent to (RFC 7362).
//!
//! ```text
//!               first valid packet            3rd consecutive packet
//!   ┌──────┐  from anywhere  ┌───────────┐     of one SSRC        ┌────────┐
//!   │ Open │ ──────────────▶ │ Candidate │ ─────────────────────▶ │ Locked │   all other sources are refused
//!   └──────┘                 └───────────┘                        └────────┘
//!      │ ▲                      │  one packet from the SDP address   ▲ │
//!      └─┼──────────────────────┴────────────────────────────────────┘ │
//!        └─────────────────────── SDP with another address ────────────┘
//! ```
//!
//! Under [`SourcePolicy::Signalled`] nothing is learnt: the SDP address is admitted and no other. Under
//! [`SourcePolicy::Learn`] the address in the SDP wins as long as nothing is locked, so that a stranger must not only be
//! first but also be alone.

use crate::SourcePolicy;
use std::net::SocketAddr;
use std::time::Duration;

/// How many consecutive packets of one SSRC lock a learnt source.
pub const LOCK_AFTER: u8 = 3;

/// A candidate that has been silent for so long makes way for another.
pub const CANDIDATE_PATIENCE: Duration = Duration::from_millis(500);

/// For so long after a new SDP address the source of the old one cannot become a candidate: its last packets are still in
/// flight and would otherwise be learnt again at once.
pub const OLD_SOURCE_BARRED: Duration = Duration::from_millis(500);

/// The latch of one leg.
#[derive(Clone, Debug)]
pub struct Latch {
    signalled: SocketAddr,
    policy: SourcePolicy,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing has come.
    Open,
    /// Nothing has come since the SDP address changed.
    Reopened { old: SocketAddr, until: Duration },
    /// A source that is not in the SDP sends.
    Candidate { source: SocketAddr, ssrc: u32, next_sequence: u16, packets: u8, last: Duration },
    /// Only this source sends and is sent to.
    Locked { source: SocketAddr },
}

impl Latch {
    /// An open latch for the RTP address in the SDP.
    #[must_use]
    pub const fn new(signalled: SocketAddr, policy: SourcePolicy) -> Latch {
        Latch { signalled, policy, state: State::Open }
    }

    /// Takes a new SDP's address and policy. Another address reopens the latch, also a stricter policy when what was locked is
    /// not the SDP's address; the same address leaves it as it is.
    pub fn resignal(&mut self, now: Duration, signalled: SocketAddr, policy: SourcePolicy) {
        let moved = !same(self.signalled, signalled);
        self.signalled = signalled;
        self.policy = policy;
        let locked = match self.state {
            State::Locked { source } => Some(source),
            State::Open | State::Reopened { .. } | State::Candidate { .. } => None,
        };
        match policy {
            SourcePolicy::Learn if !moved => {}
            SourcePolicy::Signalled if !moved && locked.is_some_and(|source| same(source, signalled)) => {}
            SourcePolicy::Learn | SourcePolicy::Signalled => {
                self.state = match locked {
                    Some(old) if !same(old, signalled) => {
                        State::Reopened { old, until: now.saturating_add(OLD_SOURCE_BARRED) }
                    }
                    Some(_) | None => State::Open,
                };
            }
        }
    }

    /// Whether a valid RTP packet from `source` is admitted; it may lock the latch.
    pub fn admit(&mut self, now: Duration, source: SocketAddr, ssrc: u32, sequence_number: u16) -> bool {
        if let State::Locked { source: locked } = self.state {
            return same(locked, source);
        }
        if same(self.signalled, source) {
            self.state = State::Locked { source };
            return true;
        }
        match self.policy {
            SourcePolicy::Signalled => false,
            SourcePolicy::Learn => self.learn(now, source, ssrc, sequence_number),
        }
    }

    /// The source that is locked.
    #[must_use]
    pub const fn locked(&self) -> Option<SocketAddr> {
        match self.state {
            State::Locked { source } => Some(source),
            State::Open | State::Reopened { .. } | State::Candidate { .. } => None,
        }
    }

    /// The locked source, where it is not the one in the SDP.
    #[must_use]
    pub fn learnt(&self) -> Option<SocketAddr> {
        self.locked().filter(|source| !same(*source, self.signalled))
    }

    /// Where RTP is sent to: the locked source, until then the SDP's address.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        self.locked().unwrap_or(self.signalled)
    }

    fn learn(&mut self, now: Duration, source: SocketAddr, ssrc: u32, sequence_number: u16) -> bool {
        let mut packets_before = 0;
        match self.state {
            State::Open => {}
            State::Reopened { old, until } => {
                if same(old, source) && now < until {
                    return false;
                }
            }
            State::Candidate { source: candidate, ssrc: its_ssrc, next_sequence, packets, last } => {
                if same(candidate, source) {
                    if its_ssrc == ssrc && next_sequence == sequence_number {
                        packets_before = packets;
                    }
                } else if now.saturating_sub(last) < CANDIDATE_PATIENCE {
                    return false;
                }
            }
            State::Locked { source: locked } => return same(locked, source),
        }
        let packets = packets_before + 1;
        self.state = if packets >= LOCK_AFTER {
            State::Locked { source }
        } else {
            State::Candidate { source, ssrc, next_sequence: sequence_number.wrapping_add(1), packets, last: now }
        };
        true
    }
}

/// Same address and port. An IPv4 address that a dual-stack socket shows as IPv6 is the same as itself; scope and flow label
/// are the kernel's business.
pub(crate) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && same_ip(one, other)
}

/// Same address, whatever the port.
pub(crate) fn same_ip(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip().to_canonical() == other.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "192.0.2.1:4000";
    const NAT: &str = "203.0.113.7:61000";
    const STRANGER: &str = "198.51.100.66:5555";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn latch(policy: SourcePolicy) -> Latch {
        Latch::new(address(SDP), policy)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn signalled_admits_the_sdp_address_alone() {
        let mut latch = latch(SourcePolicy::Signalled);
        for sequence in 0..10 {
            assert!(!latch.admit(ms(0), address(NAT), 1, sequence));
            assert!(!latch.admit(ms(0), address("192.0.2.1:4001"), 1, sequence));
        }
        assert_eq!(latch.locked(), None);
        assert!(latch.admit(ms(0), address(SDP), 1, 10));
        assert!(!latch.admit(ms(0), address(NAT), 1, 11));
        assert_eq!(latch.destination(), address(SDP));
        assert_eq!(latch.learnt(), None);
    }

    #[test]
    fn a_source_is_learnt_after_three_consecutive_packets_and_none_of_them_is_lost() {
        let mut latch = latch(SourcePolicy::Learn);
        for (packet, sequence) in [65_534, 65_535, 0].into_iter().enumerate() {
            assert_eq!(latch.destination(), address(SDP), "before packet {packet}");
            assert!(latch.admit(ms(0), address(NAT), 7, sequence));
        }
        assert_eq!(latch.learnt(), Some(address(NAT)));
        assert_eq!(latch.destination(), address(NAT));
        assert!(!latch.admit(ms(1), address(STRANGER), 7, 1));
        assert!(!latch.admit(ms(1), address(SDP), 7, 1), "after the lock the SDP address is a stranger too");
        assert!(latch.admit(ms(1), address(NAT), 8, 1), "a locked source may change its SSRC");
    }

    #[test]
    fn the_sdp_address_wins_until_the_lock() {
        let mut latch = latch(SourcePolicy::Learn);
        assert!(latch.admit(ms(0), address(NAT), 7, 1));
        assert!(latch.admit(ms(0), address(NAT), 7, 2));
        assert!(latch.admit(ms(0), address(SDP), 9, 1));
        assert!(!latch.admit(ms(0), address(NAT), 7, 3));
        assert_eq!(latch.destination(), address(SDP));
    }

    #[test]
    fn a_candidate_that_is_not_consistent_is_not_locked() {
        for packets in
            [[(7, 1), (7, 3), (7, 4)], [(7, 1), (7, 2), (8, 3)], [(7, 2), (7, 2), (7, 3)], [(7, 3), (7, 2), (7, 1)]]
        {
            let mut latch = latch(SourcePolicy::Learn);
            for (ssrc, sequence) in packets {
                assert!(latch.admit(ms(0), address(NAT), ssrc, sequence));
            }
            assert_eq!(latch.locked(), None, "{packets:?}");
        }
    }

    #[test]
    fn a_second_source_waits_until_the_candidate_is_silent() {
        let mut latch = latch(SourcePolicy::Learn);
        assert!(latch.admit(ms(0), address(STRANGER), 6, 1));
        assert!(!latch.admit(ms(499), address(NAT), 7, 1));
        for sequence in 2..5 {
            assert!(latch.admit(ms(500), address(NAT), 7, sequence));
        }
        assert_eq!(latch.locked(), Some(address(NAT)));
    }

    #[test]
    fn a_new_sdp_address_reopens_and_the_same_does_not() {
        let mut latch = latch(SourcePolicy::Learn);
        for sequence in 0..3 {
            latch.admit(ms(0), address(NAT), 7, sequence);
        }
        latch.resignal(ms(1), address(SDP), SourcePolicy::Learn);
        assert_eq!(latch.locked(), Some(address(NAT)));
        latch.resignal(ms(1000), address("192.0.2.1:4002"), SourcePolicy::Learn);
        assert_eq!(latch.locked(), None);
        assert_eq!(latch.destination(), address("192.0.2.1:4002"));
        for sequence in 3..9 {
            assert!(!latch.admit(ms(1499), address(NAT), 7, sequence), "the old source's packets in flight");
        }
        assert!(latch.admit(ms(1499), address(STRANGER), 7, 9), "a new source need not wait");
    }

    #[test]
    fn the_old_source_may_be_learnt_again_when_it_goes_on() {
        let mut latch = latch(SourcePolicy::Learn);
        for sequence in 0..3 {
            latch.admit(ms(0), address(NAT), 7, sequence);
        }
        latch.resignal(ms(1000), address("192.0.2.1:4002"), SourcePolicy::Learn);
        assert!(!latch.admit(ms(1400), address(NAT), 7, 20));
        for sequence in 25..28 {
            assert!(latch.admit(ms(1500), address(NAT), 7, sequence));
        }
        assert_eq!(latch.locked(), Some(address(NAT)));
    }

    #[test]
    fn a_stricter_policy_unlocks_what_was_learnt() {
        let mut learnt = latch(SourcePolicy::Learn);
        for sequence in 0..3 {
            learnt.admit(ms(0), address(NAT), 7, sequence);
        }
        learnt.resignal(ms(1), address(SDP), SourcePolicy::Signalled);
        assert!(!learnt.admit(ms(900), address(NAT), 7, 3));
        assert_eq!(learnt.destination(), address(SDP));
        let mut signalled = latch(SourcePolicy::Learn);
        signalled.admit(ms(0), address(SDP), 7, 0);
        signalled.resignal(ms(1), address(SDP), SourcePolicy::Signalled);
        assert_eq!(signalled.locked(), Some(address(SDP)));
    }

    #[test]
    fn an_ipv4_address_seen_through_a_dual_stack_socket_is_the_same() {
        let mut latch = latch(SourcePolicy::Signalled);
        let mapped = address("[::ffff:192.0.2.1]:4000");
        assert!(latch.admit(ms(0), mapped, 1, 1));
        assert_eq!(latch.destination(), mapped, "sent to as the socket knows it");
        assert_eq!(latch.learnt(), None);
    }
}
