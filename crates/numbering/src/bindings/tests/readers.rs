//! Readers beside the writer: what threads see of a change while it happens.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

/// The version that a binding carries as its text; versions only grow.
fn version(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Connect { binding, .. } => Some(pair(binding).user_text.as_deref().unwrap().parse().unwrap()),
        Decision::Refuse { refusal: Refusal::NotBound, .. } => None,
        Decision::Refuse { refusal, .. } => panic!("{refusal:?}"),
    }
}

fn versioned(version: u64, a: Number, x: Number, b: Number) -> Axb {
    Axb { user_text: Some(version.to_string().into()), ..axb(1, a, x, b) }
}

/// Writes the versions 1, 2, 3 … while two threads read over and over, until they have read 200,000 times in all; at
/// most 300,000 versions, at least 2,000.
fn beside_readers(table: &Table, read: impl Fn(&Table) + Copy + Send + Sync, mut write: impl FnMut(u64)) {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let start = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                while !done.load(Ordering::Acquire) {
                    for _ in 0..64 {
                        read(table);
                    }
                    reads.fetch_add(64, Ordering::Relaxed);
                }
            });
        }
        // Also when `write` panics: else the readers would never end.
        let _done = Done(&done);
        start.wait();
        for version in 1..300_000 {
            write(version);
            if version >= 2_000 && reads.load(Ordering::Relaxed) >= 200_000 {
                break;
            }
        }
    });
}

#[test]
fn during_transfers_the_old_or_the_new_relation_holds_never_both_and_never_neither() {
    let (mut bindings, table) = pool();
    bindings.bind(Binding::Axb(versioned(0, m(1), x(1), m(2)))).unwrap();
    let read = |table: &Table| {
        let stays = table.decide(x(1), Some(m(1)));
        let before = version(&stays).expect("A is bound at every instant");
        // Even versions have B = m(2), odd ones m(3).
        match stays {
            Decision::Connect { callee, .. } => assert_eq!(callee, m(2 + before % 2)),
            Decision::Refuse { .. } => unreachable!(),
        }
        let mut last = before;
        for b in [m(2), m(3), m(2)] {
            if let Some(version) = version(&table.decide(x(1), Some(b))) {
                assert!(version >= last, "{version} was seen after {last}");
                assert_eq!(m(2 + version % 2), b, "half of a transfer was seen");
                last = version;
            }
        }
    };
    beside_readers(&table, read, |version| {
        let user_text = Some(Some(version.to_string().into()));
        let change = Change { b: Some(m(2 + version % 2)), user_text, ..Change::default() };
        bindings.change(SubscriptionId(1), change).unwrap();
    });
}

#[test]
fn binding_and_unbinding_are_seen_by_both_parties_at_one_instant() {
    let (mut bindings, table) = pool();
    // Every binding has an id of its own, greater than the last one's.
    let read = |table: &Table| {
        let (mut last, mut ended) = (0, 0);
        for party in [m(1), m(2), m(1), m(2), m(1), m(2)] {
            match table.binding(x(1), party) {
                Some((binding, _)) => {
                    let id = binding.id().0;
                    assert!(id >= last, "{id} was seen after {last}");
                    assert!(id > ended, "{id} was seen after its end");
                    last = id;
                }
                None => ended = last,
            }
        }
    };
    beside_readers(&table, read, |id| {
        let id = u128::from(id);
        bindings.bind(bound(id, m(1), x(1), m(2))).unwrap();
        bindings.unbind(SubscriptionId(id)).unwrap();
    });
}

#[test]
fn a_reload_leaves_the_unchanged_bound_and_replaces_a_shared_party_in_one_step() {
    let (mut bindings, table) = Bindings::new(Limits::default());
    let numbers = [virtual_number(x(1), APP), virtual_number(x(9), OTHER_APP)];
    // m(1)–m(2) never changes. m(3) keeps being bound, to m(4) or m(5), under an id that changes with it.
    let wanted = |round: u64| {
        let mut all = vec![bound(1, m(1), x(1), m(2)), bound(10 + u128::from(round % 2), m(3), x(1), m(4 + round % 2))];
        all.extend((0..round % 5).map(|n| bound(u128::from(20 + n), m(20 + 2 * n), x(1), m(21 + 2 * n))));
        all
    };
    bindings.replace_all(numbers.to_vec(), wanted(0)).unwrap();
    let read = |table: &Table| {
        assert_eq!(said(table, x(1), Some(m(1))), Said::Connect(SubscriptionId(1), Party::A, m(2)));
        match said(table, x(1), Some(m(3))) {
            Said::Connect(id, Party::A, callee) => assert_eq!(id.0 - 10, u128::from(callee.as_u64() - m(4).as_u64())),
            said => panic!("{said:?}"),
        }
    };
    beside_readers(&table, read, |round| {
        bindings.replace_all(numbers.to_vec(), wanted(round)).unwrap();
    });
}

#[test]
fn a_of_an_a_x_is_a_at_every_instant_and_never_reaches_itself() {
    let (mut bindings, table) = pool();
    let read = |table: &Table| {
        for caller in [m(1), m(2), m(3)] {
            match said(table, x(1), Some(caller)) {
                Said::Connect(_, Party::A, callee) => {
                    assert_eq!(callee, m(5));
                    assert_ne!(caller, m(3), "m(3) is never A");
                }
                Said::Connect(_, Party::B, callee) => {
                    assert!(callee != caller && callee != m(3) && callee != m(5), "{caller} reaches {callee}");
                }
                Said::Refuse(refusal, ..) => assert_eq!(refusal, Refusal::NotBound),
            }
        }
    };
    // Bound to one, handed to the other, ended.
    beside_readers(&table, read, |version| {
        let of = |a| whole(Ax { temporary: temporary(m(5), 9), ..ax(u128::from(version), a, x(1)) });
        let (first, second) = if version % 2 == 0 { (m(1), m(2)) } else { (m(2), m(1)) };
        bindings.bind(of(first)).unwrap();
        bindings.modify(SubscriptionId(version.into()), |binding| *binding = of(second)).unwrap();
        bindings.unbind(SubscriptionId(version.into())).unwrap();
    });
}

#[test]
fn while_a_temporary_callee_is_replaced_a_reaches_the_old_or_the_new_one() {
    let (mut bindings, table) = pool();
    let of = |version: u64| whole(Ax { temporary: temporary(m(10 + version), 1 + version), ..ax(1, m(1), x(1)) });
    bindings.bind(of(0)).unwrap();
    let read = |table: &Table| {
        let mut last = 0;
        for _ in 0..3 {
            match said(table, x(1), Some(m(1))) {
                Said::Connect(_, Party::A, callee) => {
                    assert!(callee.as_u64() >= last, "{callee} was seen after its successor");
                    last = callee.as_u64();
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(said(table, x(1), None), Said::Connect(SubscriptionId(1), Party::B, m(1)));
        }
    };
    beside_readers(&table, read, |version| {
        bindings.modify(SubscriptionId(1), |binding| *binding = of(version)).unwrap();
    });
}
