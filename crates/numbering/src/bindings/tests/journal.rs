//! The journal, read back after a restart and taken back where it could not be written.

use super::*;

/// X 1 and 2 of `APP`, which cools off for 1,000 ms; the time is 500.
fn kept() -> Bindings {
    let (mut bindings, _table) = pool();
    bindings.set_rules(APP, Rules { cool_off: 1_000, ..Rules::default() });
    bindings.handle_time(500);
    bindings.keep_journal();
    bindings
}

fn lie_down(bindings: &mut Bindings, x: Number) {
    bindings.bind(bound(99, m(98), x, m(99))).unwrap();
    bindings.unbind(SubscriptionId(99)).unwrap();
    assert_eq!(bindings.rests_until(x), Some(1_500));
    let _ = bindings.take_journal();
}

/// That what `work` does can be taken back, wholly and step by step.
#[track_caller]
fn taken_back(bindings: &mut Bindings, work: impl Fn(&mut Bindings)) {
    let before = picture(bindings);
    work(bindings);
    assert_ne!(picture(bindings), before, "nothing was done");
    let entries = bindings.take_journal();
    bindings.undo(entries);
    assert_eq!(picture(bindings), before);
    work(bindings);
    for entry in bindings.take_journal().into_iter().rev() {
        bindings.undo(vec![entry]);
    }
    assert_eq!(picture(bindings), before);
    assert_eq!(bindings.take_journal(), []);
}

#[test]
fn nobody_who_did_not_ask_gets_a_journal() {
    let (mut bindings, _table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    assert_eq!(bindings.take_journal(), []);
    bindings.keep_journal();
    assert_eq!(bindings.take_journal(), []);
    bindings.bind(bound(2, m(3), x(1), m(4))).unwrap();
    bindings.keep_journal();
    assert_eq!(bindings.take_journal().len(), 1);
}

#[test]
fn a_bind_that_is_taken_back_does_not_put_its_x_to_rest() {
    let mut bindings = kept();
    taken_back(&mut bindings, |bindings| bindings.bind(bound(1, m(1), x(1), m(2))).unwrap());
    assert_eq!((bindings.rests_until(x(1)), bindings.next_due()), (None, None));
}

#[test]
fn a_bind_of_a_resting_x_that_is_taken_back_leaves_it_its_rest() {
    let mut bindings = kept();
    lie_down(&mut bindings, x(1));
    taken_back(&mut bindings, |bindings| bindings.bind(bound(1, m(1), x(1), m(2))).unwrap());
    assert_eq!((bindings.rests_until(x(1)), bindings.next_due()), (Some(1_500), Some(1_500)));
    // Bound and ended again within what is taken back.
    taken_back(&mut bindings, |bindings| {
        bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
        bindings.unbind(SubscriptionId(1)).unwrap();
        bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    });
    assert_eq!(bindings.rests_until(x(1)), Some(1_500));
    bindings.handle_time(1_500);
    assert_eq!(bindings.allocate(APP, Wish::default(), &[m(1)]), Ok(x(2)));
    assert_eq!(bindings.rests_until(x(1)), None);
}

#[test]
fn a_resting_number_that_was_removed_comes_back_with_its_rest() {
    let mut bindings = kept();
    lie_down(&mut bindings, x(1));
    taken_back(&mut bindings, |bindings| bindings.remove_number(x(1)).unwrap());
    taken_back(&mut bindings, |bindings| bindings.change_number(virtual_number(x(1), OTHER_APP)).unwrap());
    assert_eq!(bindings.rests_until(x(1)), Some(1_500));
}

#[test]
fn each_thing_that_is_done_can_be_taken_back() {
    let mut bindings = kept();
    let one = extension("1");
    bindings.add_number(virtual_number(x(3), APP)).unwrap();
    bindings.add_number(virtual_number(x(4), APP)).unwrap();
    bindings.bind(Binding::Axb(Axb { ends: 9_000, ..axb(1, m(1), x(1), m(2)) })).unwrap();
    bindings.bind(whole(Ax { temporary: temporary(m(5), 8_000), ..ax(2, m(1), x(2)) })).unwrap();
    bindings.bind(extended(Axe { ends: 7_000, ..axe(3, m(1), x(3), one) })).unwrap();
    bindings.bind(whole(ax(4, m(1), x(4)))).unwrap();
    let _ = bindings.take_journal();
    taken_back(&mut bindings, |bindings| bindings.add_number(virtual_number(x(5), APP)).unwrap());
    taken_back(&mut bindings, |bindings| {
        bindings.change_number(VirtualNumber { state: NumberState::Frozen, ..virtual_number(x(1), APP) }).unwrap();
    });
    for id in 1..=4 {
        taken_back(&mut bindings, |bindings| drop(bindings.unbind(SubscriptionId(id)).unwrap()));
    }
    taken_back(&mut bindings, |bindings| {
        for x in [x(1), x(2), x(3)] {
            bindings.unbind_all(x).unwrap();
            bindings.remove_number(x).unwrap();
        }
    });
    let modified = [
        (1, bound(1, m(2), x(1), m(3))),
        (2, whole(Ax { temporary: temporary(m(6), 8_001), ..ax(2, m(2), x(2)) })),
        (2, whole(ax(2, m(1), x(2)))),
        (3, extended(axe(3, m(2), x(3), extension("2")))),
    ];
    for (id, new) in modified {
        taken_back(&mut bindings, |bindings| {
            bindings.modify(SubscriptionId(id), |binding| *binding = new.clone()).unwrap();
        });
    }
    assert_eq!(bindings.of_a(APP, m(1)).map(|ax| ax.id().0).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn an_end_that_could_not_be_written_comes_again() {
    let mut bindings = kept();
    bindings.bind(Binding::Axb(Axb { ends: 9_000, ..axb(1, m(1), x(1), m(2)) })).unwrap();
    bindings.bind(whole(Ax { temporary: temporary(m(5), 8_000), ..ax(2, m(1), x(2)) })).unwrap();
    let _ = bindings.take_journal();
    bindings.handle_time(7_999);
    let before = picture(&bindings);
    for _ in 0..2 {
        assert_eq!(bindings.handle_time(9_000).iter().map(|ended| ended.id().0).collect::<Vec<_>>(), [1]);
        assert_eq!(bindings.rests_until(x(1)), Some(10_000));
        let entries = bindings.take_journal();
        assert_eq!(entries.len(), 3);
        bindings.undo(entries);
        assert_eq!(picture(&bindings), before);
        assert_eq!(bindings.next_due(), Some(8_000));
    }
}

#[test]
fn what_was_bound_before_its_party_became_an_x_is_restored() {
    let of = [
        bound(1, m(1), x(1), m(2)),
        whole(Ax { temporary: temporary(m(1), 9_000), ..ax(2, m(2), x(2)) }),
        whole(ax(3, m(1), x(3))),
        extended(Axe { call_back: CallBack::Number(m(1)), ..axe(4, m(2), x(4), extension("1")) }),
        extended(axe(5, m(1), x(4), extension("2"))),
    ];
    let (mut bindings, _table) = pool();
    bindings.add_number(virtual_number(x(3), APP)).unwrap();
    bindings.add_number(virtual_number(x(4), APP)).unwrap();
    for binding in of.clone() {
        bindings.bind(binding).unwrap();
    }
    bindings.add_number(virtual_number(m(1), APP)).unwrap();
    let before = picture(&bindings);
    let (mut again, _table) = Bindings::new(Limits::default());
    for number in bindings.numbers() {
        again.add_number((*number).clone()).unwrap();
    }
    for binding in of {
        assert_eq!(again.bind(binding.clone()), Err(BindError::PartyIsVirtual(m(1))));
        again.restore(binding).unwrap();
    }
    assert_eq!(picture(&again), before);
    // All other rules hold.
    assert_eq!(again.restore(bound(9, m(3), x(1), x(1))), Err(BindError::PartyIsVirtual(x(1))));
    assert_eq!(again.restore(bound(9, m(3), x(1), m(2))), Err(BindError::NumberTaken(m(2))));
    assert_eq!(again.restore(bound(9, m(3), x(9), m(4))), Err(BindError::ForeignX));
    assert_eq!(again.restore(bound(9, m(3), x(8), m(4))), Err(BindError::UnknownX));
    let service = number("+8695588");
    assert_eq!(again.restore(bound(9, service, x(1), m(4))), Err(BindError::ServiceNumber(service)));
}
