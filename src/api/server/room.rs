//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places for connections.
pub(super) struct Room {
    all: usize,
    per_source: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// No more entries than connections: one that falls to zero is taken out.
    by_source: HashMap<IpAddr, usize>,
}

/// A place in the room, given back when it is dropped.
pub(super) struct Place {
    room: Arc<Room>,
    source: IpAddr,
}

impl Room {
    pub(super) fn new(all: usize, per_source: usize) -> Arc<Room> {
        Arc::new(Room { all, per_source, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for a connection from there; `None`: there is none.
pub(super) fn enter(room: &Arc<Room>, from: IpAddr) -> Option<Place> {
    let source = source(from);
    let mut taken = room.taken();
    if taken.all >= room.all || taken.by_source.get(&source).is_some_and(|count| *count >= room.per_source) {
        return None;
    }
    taken.all += 1;
    *taken.by_source.entry(source).or_default() += 1;
    drop(taken);
    Some(Place { room: Arc::clone(room), source })
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

/// Who stands behind an address: whoever has one address of IPv6 has its whole /64.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_source_and_come_back() {
        let room = Room::new(3, 2);
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let same: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let first = enter(&room, one).unwrap();
        let _second = enter(&room, same).unwrap();
        assert!(enter(&room, one).is_none(), "three from one address");
        let _third = enter(&room, "10.0.0.2".parse().unwrap()).unwrap();
        assert!(enter(&room, "10.0.0.3".parse().unwrap()).is_none(), "four in all");
        drop(first);
        assert!(enter(&room, one).is_some());
        assert_eq!(room.taken().by_source.len(), 2);
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_64_bits() {
        let source_of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(source_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(source_of("192.0.2.1"), "192.0.2.1");
    }
}
