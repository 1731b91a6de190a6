//! Whose an address is: the table that every datagram meets first, before anything of it is read.
//!
//! ```text
//!   192.0.2.7 ─▶ /32? ─▶ /28? ─▶ /24: 192.0.2.0/24 ─▶ its trunk        one look-up for each length that there is
//! ```

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use sip::locate::Host;

use crate::settings::{Trunk, TrunkId};

/// The trunks' networks by address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peers {
    /// Lengths of prefixes that there are, the longest first: of IPv4, of IPv6.
    lengths: [Vec<u8>; 2],
    by_network: HashMap<IpNet, TrunkId>,
}

impl Peers {
    /// The table of some trunks: the most specific source wins, then the first in order; a target's address is its trunk's
    /// where it is in no source. Where names lead is not in it ([`crate::routes`]).
    ///
    /// # Panics
    /// With more than 65,536 trunks; the configuration allows 1,000.
    #[must_use]
    pub fn of(trunks: &[Trunk]) -> Peers {
        let ids = || (0..).map(TrunkId).zip(trunks);
        let sources = ids().flat_map(|(id, trunk)| trunk.sources.iter().map(move |source| (*source, id)));
        let targets = ids().flat_map(|(id, trunk)| {
            trunk.targets.iter().filter_map(move |target| match target.host {
                Host::Address(ip) => Some((ip, id)),
                Host::Name(_) => None,
            })
        });
        Peers::made_of(sources, targets)
    }

    /// The same of sources and targets, as they are said in order.
    pub fn made_of(
        sources: impl IntoIterator<Item = (IpNet, TrunkId)>,
        targets: impl IntoIterator<Item = (IpAddr, TrunkId)>,
    ) -> Peers {
        let mut by_source = Peers::default();
        for (network, id) in sources {
            by_source.enter(network, id);
        }
        let mut peers = by_source.clone();
        for (ip, id) in targets {
            if by_source.find(ip).is_none() {
                peers.enter(IpNet::from(ip), id);
            }
        }
        peers
    }

    fn enter(&mut self, network: IpNet, id: TrunkId) {
        let network = network.trunc();
        self.by_network.entry(network).or_insert(id);
        let lengths = &mut self.lengths[family(network.addr())];
        if let Err(place) = lengths.binary_search_by(|length| network.prefix_len().cmp(length)) {
            lengths.insert(place, network.prefix_len());
        }
    }

    /// The trunk that an address belongs to.
    #[must_use]
    pub fn find(&self, ip: IpAddr) -> Option<TrunkId> {
        self.lengths[family(ip)].iter().find_map(|length| {
            let network = IpNet::new(ip, *length).ok()?.trunc();
            self.by_network.get(&network).copied()
        })
    }
}

fn family(ip: IpAddr) -> usize {
    usize::from(ip.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule, as it is said.
    fn by_the_book(sources: &[(IpNet, TrunkId)], targets: &[(IpAddr, TrunkId)], ip: IpAddr) -> Option<TrunkId> {
        let longest = sources.iter().filter(|(network, _)| network.contains(&ip)).map(|(n, _)| n.prefix_len()).max();
        let is_best = |network: &IpNet| network.contains(&ip) && Some(network.prefix_len()) == longest;
        let source = sources.iter().find(|(network, _)| is_best(network)).map(|(_, id)| *id);
        source.or_else(|| targets.iter().find(|(target, _)| *target == ip).map(|(_, id)| *id))
    }

    fn ids<T>(of: impl IntoIterator<Item = T>) -> Vec<(T, TrunkId)> {
        of.into_iter().zip((0..).map(TrunkId)).collect()
    }

    #[test]
    fn the_most_specific_source_wins_then_the_first_then_a_target() {
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "10.1.0.0/16", "2001:db8::/32", "2001:db8:1::/48"];
        let sources = ids(networks.map(|text| text.parse::<IpNet>().unwrap()));
        let addresses = ["10.1.2.3", "192.0.2.1", "192.0.2.1", "2001:db9::1"];
        let targets = ids(addresses.map(|text| text.parse::<IpAddr>().unwrap()));
        let peers = Peers::made_of(sources.clone(), targets.clone());
        for (ip, trunk) in [
            ("10.200.0.1", Some(0)),
            ("10.1.2.4", Some(1)),
            ("10.1.2.3", Some(2)),
            ("2001:db8:2::1", Some(4)),
            ("2001:db8:1::1", Some(5)),
            ("192.0.2.1", Some(1)),
            ("2001:db9::1", Some(3)),
            ("192.0.2.2", None),
            ("11.0.0.1", None),
            ("::ffff:10.1.2.3", None),
            ("::", None),
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!(peers.find(ip), trunk.map(TrunkId), "{ip}");
            assert_eq!(by_the_book(&sources, &targets, ip), trunk.map(TrunkId), "{ip}");
        }
    }

    #[test]
    fn it_says_what_looking_at_every_network_would_say() {
        // Marsaglia's xorshift: the same networks each time, few enough addresses that many of them meet.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut found = 0;
        for _ in 0..50 {
            let mut address = || IpAddr::from([10, random(2) as u8, random(4) as u8, random(16) as u8]);
            let addresses: Vec<IpAddr> = (0..60).map(|_| address()).collect();
            let sources = ids(addresses[..40].iter().map(|ip| IpNet::new(*ip, 8 + (random(25) as u8)).unwrap()));
            let targets = ids(addresses[40..].iter().copied());
            let peers = Peers::made_of(sources.clone(), targets.clone());
            for last in 0..=u8::MAX {
                let ip = IpAddr::from([10, last >> 7, last >> 4 & 7, last & 15]);
                assert_eq!(peers.find(ip), by_the_book(&sources, &targets, ip), "{ip} in {sources:?}");
                found += usize::from(peers.find(ip).is_some());
            }
        }
        assert!(found > 1_000, "the networks hold some of the addresses");
    }

    #[test]
    fn the_whole_internet_may_be_a_source() {
        let peers = Peers::made_of(ids(["0.0.0.0/0", "::/0"].map(|text| text.parse::<IpNet>().unwrap())), []);
        assert_eq!(peers.find("192.0.2.1".parse().unwrap()), Some(TrunkId(0)));
        assert_eq!(peers.find("2001:db8::1".parse().unwrap()), Some(TrunkId(1)));
        assert_eq!(Peers::default().find("192.0.2.1".parse().unwrap()), None);
    }
}
