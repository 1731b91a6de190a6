//! Whose an address is: the trunk's that it is a route of, or was.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// An address that is no route any more still belongs to its trunk so long: calls that went there last up to a day.
pub(super) const FORMER: Duration = Duration::from_secs(24 * 3_600);
/// Former addresses of one trunk that are remembered; the oldest are forgotten first.
pub(super) const MAX_FORMER: usize = 256;

/// The addresses of every trunk.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    owners: HashMap<IpAddr, Vec<Owner>>,
    trunks: HashMap<Arc<str>, Trunk>,
}

#[derive(Debug)]
struct Owner {
    trunk: Arc<str>,
    /// `None` while it is a route's.
    until: Option<Duration>,
}

#[derive(Debug, Default)]
struct Trunk {
    current: Vec<IpAddr>,
    /// Oldest first.
    former: VecDeque<IpAddr>,
}

impl Addresses {
    /// These are the addresses of a trunk's routes from now on.
    pub(super) fn set(&mut self, now: Duration, trunk: &Arc<str>, current: &[IpAddr]) {
        let mut state = self.trunks.remove(trunk).unwrap_or_default();
        for ip in std::mem::replace(&mut state.current, current.to_vec()) {
            if !current.contains(&ip) && !state.former.contains(&ip) {
                self.own(ip, trunk, Some(now + FORMER));
                state.former.push_back(ip);
            }
        }
        for ip in current {
            self.own(*ip, trunk, None);
            state.former.retain(|former| former != ip);
        }
        while let Some(oldest) = state.former.front() {
            let is_over = |owner: &Owner| owner.trunk == *trunk && owner.until.is_some_and(|until| until <= now);
            let has_expired = self.owners.get(oldest).is_none_or(|owners| owners.iter().any(is_over));
            if !has_expired && state.former.len() <= MAX_FORMER {
                break;
            }
            self.disown(*oldest, trunk);
            state.former.pop_front();
        }
        self.trunks.insert(Arc::clone(trunk), state);
    }

    /// The trunk is gone, and with it all that it had.
    pub(super) fn forget(&mut self, trunk: &str) {
        let Some(state) = self.trunks.remove(trunk) else { return };
        for ip in state.current.into_iter().chain(state.former) {
            self.disown(ip, trunk);
        }
    }

    /// Whose it is; where two trunks share it, the one that had it first.
    pub(super) fn owner(&self, now: Duration, ip: IpAddr) -> Option<&Arc<str>> {
        let mut owners = self.owners.get(&ip)?.iter();
        owners.find(|owner| owner.until.is_none_or(|until| now < until)).map(|owner| &owner.trunk)
    }

    fn own(&mut self, ip: IpAddr, trunk: &Arc<str>, until: Option<Duration>) {
        let owners = self.owners.entry(ip).or_default();
        match owners.iter_mut().find(|owner| owner.trunk == *trunk) {
            Some(owner) => owner.until = until,
            None => owners.push(Owner { trunk: Arc::clone(trunk), until }),
        }
    }

    fn disown(&mut self, ip: IpAddr, trunk: &str) {
        if let Some(owners) = self.owners.get_mut(&ip) {
            owners.retain(|owner| &*owner.trunk != trunk);
            if owners.is_empty() {
                self.owners.remove(&ip);
            }
        }
    }

    /// Addresses in all, and former ones of a trunk.
    #[cfg(test)]
    pub(super) fn len(&self, trunk: &str) -> (usize, usize) {
        (self.owners.len(), self.trunks.get(trunk).map_or(0, |state| state.former.len()))
    }
}
