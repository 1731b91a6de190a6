//! A network in simulated time: what is sent arrives later, twice, in another order, or never, by a seed.
//!
//! ```text
//!   send(now, link) ─▶ lost? doubled? latency + jitter ─▶ queue by (time, number) ─▶ pop_due(now)
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Packets in flight; more are lost.
const MAX_FLYING: usize = 100_000;

/// How a path treats what is sent along it. The default treats it perfectly, in no time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Every packet takes at least this long.
    pub latency: Duration,
    /// And up to this much longer, which reorders.
    pub jitter: Duration,
    /// Of 100 packets, so many are lost.
    pub loss: u8,
    /// Of 100 packets, so many arrive twice.
    pub duplication: u8,
}

impl Link {
    /// Nothing is lost, doubled or reordered.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        self.loss == 0 && self.duplication == 0 && self.jitter.is_zero()
    }

    /// Loses and doubles so many of 100, and reorders within 100 ms.
    #[must_use]
    pub fn bad(percent: u8) -> Link {
        Link {
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(100),
            loss: percent,
            duplication: percent,
        }
    }
}

/// How a packet travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// A datagram: the link does with it what it does.
    Udp,
    /// A message of a stream: it arrives once, and in order.
    Tcp,
}

/// Something on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// How.
    pub protocol: Protocol,
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// What happens to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It will arrive.
    Sent,
    /// It will not.
    Lost,
}

/// All packets in flight.
#[derive(Debug)]
pub struct Network {
    random: Random,
    flying: BTreeMap<(Duration, u64), Packet>,
    sent: u64,
}

impl Network {
    /// An empty network.
    #[must_use]
    pub fn new(seed: u64) -> Network {
        Network { random: Random::new(seed), flying: BTreeMap::new(), sent: 0 }
    }

    /// Sends a packet along a link.
    pub fn send(&mut self, now: Duration, link: Link, packet: Packet) -> Fate {
        let (loss, duplication, jitter) = match packet.protocol {
            Protocol::Udp => (link.loss, link.duplication, link.jitter),
            Protocol::Tcp => (0, 0, Duration::ZERO),
        };
        if self.random.percent(loss) || self.flying.len() >= MAX_FLYING {
            return Fate::Lost;
        }
        if self.random.percent(duplication) {
            let arrival = now + link.latency + self.random.below(jitter);
            self.fly(arrival, packet.clone());
        }
        let arrival = now + link.latency + self.random.below(jitter);
        self.fly(arrival, packet);
        Fate::Sent
    }

    fn fly(&mut self, arrival: Duration, packet: Packet) {
        self.sent += 1;
        self.flying.insert((arrival, self.sent), packet);
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.flying.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next packet that has arrived.
    pub fn pop_due(&mut self, now: Duration) -> Option<Packet> {
        let entry = self.flying.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

/// The splitmix64 generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True so many times of 100.
    pub fn percent(&mut self, percent: u8) -> bool {
        self.next_u64() % 100 < u64::from(percent)
    }

    /// A time below this one, in whole milliseconds; zero for zero.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.next_u64() % limit)
    }

    /// One of these; nothing only where there are none.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(among.len()).ok().filter(|count| *count > 0)?;
        among.get(usize::try_from(self.next_u64() % count).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u8) -> Packet {
        let address = "10.0.0.1:1".parse().unwrap();
        Packet { protocol: Protocol::Udp, source: address, destination: address, bytes: vec![number] }
    }

    fn arrivals(link: Link, protocol: Protocol, seed: u64) -> (Vec<u8>, usize) {
        let mut network = Network::new(seed);
        let mut lost = 0;
        for number in 0..100 {
            let packet = Packet { protocol, ..packet(number) };
            lost += usize::from(network.send(Duration::from_millis(number.into()), link, packet) == Fate::Lost);
        }
        let all = std::iter::from_fn(|| network.pop_due(Duration::from_secs(10)));
        (all.map(|packet| packet.bytes[0]).collect(), lost)
    }

    #[test]
    fn a_perfect_link_delivers_all_in_order_after_its_latency() {
        let (all, lost) = arrivals(Link::default(), Protocol::Udp, 1);
        assert_eq!((all, lost), ((0..100).collect(), 0));
        let mut network = Network::new(1);
        let link = Link { latency: Duration::from_millis(30), ..Link::default() };
        network.send(Duration::from_millis(5), link, packet(1));
        assert_eq!(network.poll_timeout(), Some(Duration::from_millis(35)));
        assert_eq!(network.pop_due(Duration::from_millis(34)), None);
        assert!(network.pop_due(Duration::from_millis(35)).is_some());
    }

    #[test]
    fn a_bad_link_loses_doubles_and_reorders_the_same_way_for_the_same_seed() {
        let (all, lost) = arrivals(Link::bad(20), Protocol::Udp, 7);
        assert!((5..40).contains(&lost), "{lost}");
        assert!(all.len() > 100 - lost, "{}", all.len());
        assert!(!all.is_sorted());
        assert_eq!(arrivals(Link::bad(20), Protocol::Udp, 7), (all.clone(), lost));
        assert_ne!(arrivals(Link::bad(20), Protocol::Udp, 8).0, all);
    }

    #[test]
    fn a_stream_arrives_whole_over_any_link() {
        let (all, lost) = arrivals(Link::bad(50), Protocol::Tcp, 7);
        assert_eq!((all, lost), ((0..100).collect(), 0));
    }

    #[test]
    fn everything_is_picked_from_time_to_time() {
        let mut random = Random::new(1);
        let mut seen = [false; 3];
        for _ in 0..100 {
            seen[*random.pick(&[0, 1, 2]).unwrap()] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
