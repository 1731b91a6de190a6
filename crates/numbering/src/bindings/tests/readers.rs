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
        other @ (Decision::Ask { .. } | Decision::Refuse { .. }) => panic!("{other:?}"),
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
            Decision::Ask { .. } | Decision::Refuse { .. } => unreachable!(),
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
                said @ (Said::Ask(..) | Said::Refuse(..)) => assert_eq!(said, not_bound(APP)),
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

/// Of the binding 1 of `APP`, whose extensions have two digits, on X 1.
fn extended_app() -> (Bindings, Table) {
    let (mut bindings, table) = pool();
    bindings.set_rules(APP, Rules { mode: Mode::Axe, extension_width: 2, ..Rules::default() });
    (bindings, table)
}

#[test]
fn while_an_extension_is_handed_to_and_fro_who_is_not_its_a_is_never_called_back() {
    let (mut bindings, table) = extended_app();
    bindings.bind(extended(axe(1, m(1), x(1), extension("07")))).unwrap();
    // m(1) is called by m(11), m(2) by m(12); m(2) has another extension too.
    bindings.bind(extended(Axe { call_back: CallBack::Number(m(22)), ..axe(2, m(2), x(1), extension("08")) })).unwrap();
    let ask = Said::Ask(APP, x(1), 2);
    let read = |table: &Table| {
        match said(table, x(1), Some(m(1))) {
            said @ Said::Ask(..) => assert_eq!(said, ask),
            Said::Refuse(refusal, _, id) => {
                assert_eq!((refusal, id), (Refusal::NoCallBack, Some(SubscriptionId(1))));
            }
            Said::Connect(id, party, callee) => {
                assert_eq!((id, party, callee), (SubscriptionId(1), Party::A, m(11)));
            }
        }
        match said(table, x(1), Some(m(2))) {
            Said::Connect(SubscriptionId(2), Party::A, callee) => assert_eq!(callee, m(22)),
            said => assert_eq!(said, Said::Connect(SubscriptionId(1), Party::A, m(12))),
        }
        assert_eq!(said(table, x(1), Some(m(3))), ask);
        // Where the binding was the same before and after, A was A all the while, and nobody else was.
        let held = || match table.decide_extension(x(1), extension("07"), Some(m(3)), 0) {
            Decision::Connect { binding, caller: Party::B, callee } if callee == binding.a() => binding,
            other => panic!("{other:?}"),
        };
        let before = held();
        let between = [m(1), m(2)].map(|caller| said(table, x(1), Some(caller)));
        if Arc::ptr_eq(&before, &held()) {
            let is_first = before.a() == m(1);
            assert_eq!(is_first, between[0] != ask, "{:?} is A, {between:?}", before.a());
            if is_first {
                assert_eq!(between[1], Said::Connect(SubscriptionId(2), Party::A, m(22)));
            }
        }
    };
    beside_readers(&table, read, |version| {
        let (from, to) = if version % 2 == 1 { (1, 2) } else { (2, 1) };
        let called = LastCaller { number: m(10 + from), at: version };
        assert!(bindings.note_caller(SubscriptionId(1), m(from), called));
        let moved = bindings.modify(SubscriptionId(1), |binding| match binding {
            Binding::Axe(axe) => axe.a = m(to),
            other @ (Binding::Axb(_) | Binding::Ax(_)) => panic!("{other:?}"),
        });
        assert_eq!(moved.unwrap().a(), m(to));
        // Who called the A of before comes too late.
        assert!(!bindings.note_caller(SubscriptionId(1), m(from), called));
    });
}

#[test]
fn extensions_of_an_a_that_come_and_go_are_called_back_by_or_asked_for() {
    let (mut bindings, table) = extended_app();
    bindings
        .bind(extended(Axe { call_back: CallBack::Number(m(100)), ..axe(0, m(1), x(1), extension("99")) }))
        .unwrap();
    let read = |table: &Table| {
        // One stays, so that A is never asked; and the newer of two is the greater.
        let mut last = 0;
        for _ in 0..3 {
            match said(table, x(1), Some(m(1))) {
                Said::Connect(id, Party::A, callee) if callee == m(100) => assert_eq!(id, SubscriptionId(0)),
                Said::Connect(id, Party::A, callee) => {
                    assert_eq!(callee.as_u64() - m(1_000).as_u64(), id.0 as u64);
                    assert!(id.0 >= last, "{id} was seen after {last}");
                    last = id.0;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    beside_readers(&table, read, |version| {
        let of = |id: u64| {
            let call_back = CallBack::Number(m(1_000 + id));
            extended(Axe { call_back, ..axe(id.into(), m(1), x(1), Extension::new(2, 1 + (id % 98) as u16).unwrap()) })
        };
        bindings.bind(of(version)).unwrap();
        if version > 2 {
            bindings.unbind(SubscriptionId((version - 2).into())).unwrap();
        }
    });
}
