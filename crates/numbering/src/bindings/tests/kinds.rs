//! A–X and A–X–E rule by rule, kinds beside each other on one X, and the numbers themselves.

use std::collections::BTreeSet;

use super::*;

/// X 1 to 7 of `APP`, 9 of `OTHER_APP`; 8 is no X.
fn many() -> (Bindings, Table) {
    let (mut bindings, table) = Bindings::new(Limits::default());
    for n in 1..=7 {
        bindings.add_number(virtual_number(x(n), APP)).unwrap();
    }
    bindings.add_number(virtual_number(x(9), OTHER_APP)).unwrap();
    bindings.keep_journal();
    let _ = bindings.take_journal();
    (bindings, table)
}

/// That what `work` is refused, and that it changes nothing.
#[track_caller]
fn refused<T: std::fmt::Debug>(
    bindings: &mut Bindings,
    error: BindError,
    work: impl FnOnce(&mut Bindings) -> Result<T, BindError>,
) {
    let before = picture(bindings);
    assert_eq!(work(bindings).unwrap_err(), error);
    assert_eq!(picture(bindings), before, "{error:?} has changed something");
    assert_eq!(bindings.take_journal(), [], "{error:?} is in the journal");
}

fn state(n: u64, state: NumberState) -> VirtualNumber {
    VirtualNumber { state, ..virtual_number(x(n), APP) }
}

const FIXED: &str = "+8675528000001";
const SERVICE: &str = "+8695588";

#[test]
fn an_a_x_decides_each_row_of_the_table() {
    let id = SubscriptionId(7);
    let fixed = number(FIXED);
    let a_calls = |callee| Said::Connect(id, Party::A, callee);
    let a_is_called = Said::Connect(id, Party::B, m(1));
    let no = |refusal| Said::Refuse(refusal, Some(APP), Some(id));
    let plain = ax(7, m(1), x(1));
    let with = Ax { temporary: temporary(m(5), 60_000), ..plain.clone() };
    let towards = |direction| Ax { direction, ..with.clone() };
    let alone = |direction| Ax { direction, ..plain.clone() };
    let off = |ax: Ax| Ax { is_on: false, ..ax };
    let of_fixed = Ax { a: fixed, ..with.clone() };
    // Who calls: A, another mobile, the temporary callee, a fixed line, a withheld one, X itself.
    let rows = [
        (plain.clone(), m(1), no(Refusal::NoTemporaryCallee), a_is_called),
        (with.clone(), m(1), a_calls(m(5)), a_is_called),
        (Ax { temporary: temporary(number(SERVICE), 9), ..plain.clone() }, m(1), a_calls(number(SERVICE)), a_is_called),
        (towards(CallDirection::AToB), m(1), a_calls(m(5)), no(Refusal::WrongDirection)),
        (towards(CallDirection::BToA), m(1), no(Refusal::WrongDirection), a_is_called),
        (alone(CallDirection::AToB), m(1), no(Refusal::NoTemporaryCallee), no(Refusal::WrongDirection)),
        (alone(CallDirection::BToA), m(1), no(Refusal::WrongDirection), a_is_called),
        (off(plain.clone()), m(1), no(Refusal::SwitchedOff), no(Refusal::SwitchedOff)),
        (off(towards(CallDirection::AToB)), m(1), no(Refusal::SwitchedOff), no(Refusal::SwitchedOff)),
        (off(of_fixed.clone()), fixed, no(Refusal::SwitchedOff), no(Refusal::SwitchedOff)),
        (of_fixed.clone(), fixed, no(Refusal::FixedLineCaller), Said::Connect(id, Party::B, fixed)),
        (
            Ax { direction: CallDirection::BToA, temporary: None, ..of_fixed },
            fixed,
            no(Refusal::FixedLineCaller),
            Said::Connect(id, Party::B, fixed),
        ),
    ];
    for (ax, a, of_a, of_others) in rows {
        let (mut bindings, table) = many();
        bindings.bind(whole(ax.clone())).unwrap();
        assert_eq!(said(&table, x(1), Some(a)), of_a, "{ax:?}");
        for caller in [Some(m(2)), Some(m(5)), Some(number("+861062000001")), Some(number(SERVICE)), Some(x(1)), None] {
            assert_eq!(said(&table, x(1), caller), of_others, "{caller:?} {ax:?}");
        }
        // Its X alone.
        assert_eq!(said(&table, x(2), Some(a)), not_bound(APP));
        assert_eq!(said(&table, x(8), Some(a)), UNKNOWN);
        // What X is comes before what is bound on it.
        for (number_state, carries) in
            NumberState::ALL.into_iter().map(|state| (state, state.carries_calls())).collect::<Vec<_>>()
        {
            bindings.change_number(state(1, number_state)).unwrap();
            for caller in [Some(a), Some(m(2)), None] {
                let unusable = Said::Refuse(Refusal::NumberUnusable, Some(APP), None);
                let expected = match caller {
                    _ if !carries => unusable,
                    caller if caller == Some(a) => of_a,
                    _ => of_others,
                };
                assert_eq!(said(&table, x(1), caller), expected, "{number_state:?}");
            }
        }
        bindings.change_number(state(1, NumberState::Suspended)).unwrap();
        bindings.unbind(id).unwrap();
        assert_eq!(said(&table, x(1), Some(a)), Said::Refuse(Refusal::NumberUnusable, Some(APP), None));
        bindings.change_number(state(1, NumberState::Normal)).unwrap();
        assert_eq!(said(&table, x(1), Some(a)), not_bound(APP));
        assert_eq!(said(&table, x(1), None), not_bound(APP));
        assert_eq!(table.shared.pairs.len(), 0);
    }
}

#[test]
fn pairs_of_a_suspended_x_do_not_call_and_those_of_a_frozen_one_do() {
    let (mut bindings, table) = many();
    bindings.bind(bound(7, m(1), x(1), m(2))).unwrap();
    let connects = Said::Connect(SubscriptionId(7), Party::A, m(2));
    let unusable = Said::Refuse(Refusal::NumberUnusable, Some(APP), None);
    let rows = [
        (NumberState::Suspended, unusable),
        (NumberState::Frozen, connects),
        (NumberState::Unavailable, unusable),
        (NumberState::Normal, connects),
    ];
    for (number_state, expected) in rows {
        bindings.change_number(state(1, number_state)).unwrap();
        assert_eq!(said(&table, x(1), Some(m(1))), expected, "{number_state:?}");
    }
}

#[test]
fn who_dials_the_x_of_an_extension_is_not_bound() {
    let (mut bindings, table) = many();
    bindings.bind(extended(axe(7, m(1), x(1), extension("7")))).unwrap();
    bindings.bind(extended(axe(8, m(1), x(1), extension("07")))).unwrap();
    for caller in [Some(m(1)), Some(m(2)), Some(number(FIXED)), Some(x(1)), None] {
        assert_eq!(said(&table, x(1), caller), not_bound(APP), "{caller:?}");
    }
    assert_eq!(bindings.of_party(x(1), m(1)), None);
    let id = |binding: Option<Arc<Binding>>| binding.map(|binding| binding.id().0);
    assert_eq!(id(bindings.of_extension(x(1), extension("7"))), Some(7));
    assert_eq!(id(bindings.of_extension(x(1), extension("07"))), Some(8));
    assert_eq!(id(bindings.of_extension(x(1), extension("007"))), None);
    assert_eq!(id(bindings.of_extension(x(2), extension("7"))), None);
    bindings.unbind(SubscriptionId(7)).unwrap();
    assert_eq!(id(bindings.of_extension(x(1), extension("7"))), None);
    assert_eq!(id(bindings.of_extension(x(1), extension("07"))), Some(8));
}

#[test]
fn every_rule_of_binding_an_a_x_refuses_and_changes_nothing() {
    let (mut bindings, _table) = many();
    bindings.bind(whole(ax(1, m(1), x(1)))).unwrap();
    let _ = bindings.take_journal();
    let other = ax(2, m(2), x(2));
    let service = number(SERVICE);
    let rows = [
        (Ax { x: x(8), ..other.clone() }, BindError::UnknownX),
        (Ax { x: x(9), ..other.clone() }, BindError::ForeignX),
        (Ax { app: OTHER_APP, ..other.clone() }, BindError::ForeignX),
        (Ax { temporary: temporary(m(2), 9), ..other.clone() }, BindError::SameParty),
        (Ax { max_minutes: 1_441, ..other.clone() }, BindError::MaxMinutes),
        (Ax { a: x(2), ..other.clone() }, BindError::PartyIsVirtual(x(2))),
        (Ax { a: x(9), ..other.clone() }, BindError::PartyIsVirtual(x(9))),
        (Ax { temporary: temporary(x(2), 9), ..other.clone() }, BindError::PartyIsVirtual(x(2))),
        (Ax { temporary: temporary(x(9), 9), ..other.clone() }, BindError::PartyIsVirtual(x(9))),
        (Ax { a: service, ..other.clone() }, BindError::ServiceNumber(service)),
        (Ax { id: SubscriptionId(1), ..other.clone() }, BindError::Exists),
        (Ax { x: x(1), ..other.clone() }, BindError::XTaken),
        (Ax { x: x(1), a: m(1), ..other.clone() }, BindError::NumberTaken(m(1))),
    ];
    for (ax, error) in rows {
        refused(&mut bindings, error, |bindings| bindings.bind(whole(ax)));
    }
    let most = Ax { max_minutes: 1_440, temporary: temporary(service, 9), ..other };
    assert_eq!(bindings.bind(whole(most)), Ok(()));
}

#[test]
fn an_a_has_at_most_five_x_in_an_app() {
    let (mut bindings, _table) = many();
    for n in 1..=5 {
        bindings.bind(whole(ax(u128::from(n), m(1), x(n)))).unwrap();
    }
    let _ = bindings.take_journal();
    refused(&mut bindings, BindError::TooManyX, |bindings| bindings.bind(whole(ax(6, m(1), x(6)))));
    assert_eq!(bindings.of_a(APP, m(1)).count(), MAX_X_OF_A);
    // Another A, and the same A in another app, may.
    bindings.bind(whole(ax(6, m(2), x(6)))).unwrap();
    bindings.bind(whole(Ax { app: OTHER_APP, ..ax(9, m(1), x(9)) })).unwrap();
    let ids = |bindings: &Bindings, app| bindings.of_a(app, m(1)).map(|ax| ax.id().0).collect::<Vec<_>>();
    assert_eq!((ids(&bindings, APP), ids(&bindings, OTHER_APP)), (vec![1, 2, 3, 4, 5], vec![9]));
    let _ = bindings.take_journal();
    // Nor does a modify get there; but one of the five may change.
    let give = |ax: &mut Binding, a| match ax {
        Binding::Ax(ax) => ax.a = a,
        other @ (Binding::Axb(_) | Binding::Axe(_)) => panic!("{other:?}"),
    };
    refused(&mut bindings, BindError::TooManyX, |bindings| bindings.modify(SubscriptionId(6), |ax| give(ax, m(1))));
    bindings.modify(SubscriptionId(3), |ax| give(ax, m(1))).unwrap();
    assert_eq!(ids(&bindings, APP), [1, 2, 3, 4, 5], "what stays an A's stays in its place");
    bindings.modify(SubscriptionId(3), |ax| give(ax, m(3))).unwrap();
    assert_eq!(ids(&bindings, APP), [1, 2, 4, 5]);
    bindings.modify(SubscriptionId(6), |ax| give(ax, m(1))).unwrap();
    assert_eq!(ids(&bindings, APP), [1, 2, 4, 5, 6]);
    bindings.unbind(SubscriptionId(1)).unwrap();
    bindings.bind(whole(ax(7, m(1), x(7)))).unwrap();
    assert_eq!(ids(&bindings, APP), [2, 4, 5, 6, 7]);
    assert_eq!((bindings.of_a(APP, m(2)).count(), bindings.of_a(APP, m(3)).count()), (0, 1));
}

#[test]
fn every_rule_of_binding_an_a_x_e_refuses_and_changes_nothing() {
    let (mut bindings, _table) = many();
    let seven = extension("7");
    bindings.bind(extended(axe(1, m(1), x(1), seven))).unwrap();
    let _ = bindings.take_journal();
    let other = axe(2, m(2), x(1), extension("8"));
    let service = number(SERVICE);
    let back = |number| Axe { call_back: CallBack::Number(number), ..other.clone() };
    let rows = [
        (Axe { x: x(8), ..other.clone() }, BindError::UnknownX),
        (Axe { x: x(9), ..other.clone() }, BindError::ForeignX),
        (Axe { app: OTHER_APP, ..other.clone() }, BindError::ForeignX),
        (back(m(2)), BindError::SameParty),
        (Axe { a: x(2), ..other.clone() }, BindError::PartyIsVirtual(x(2))),
        (back(x(9)), BindError::PartyIsVirtual(x(9))),
        (Axe { a: service, ..other.clone() }, BindError::ServiceNumber(service)),
        (Axe { id: SubscriptionId(1), ..other.clone() }, BindError::Exists),
        (Axe { extension: seven, ..other.clone() }, BindError::ExtensionTaken(seven)),
        (Axe { extension: seven, a: m(1), ..other.clone() }, BindError::ExtensionTaken(seven)),
    ];
    for (axe, error) in rows {
        refused(&mut bindings, error, |bindings| bindings.bind(extended(axe)));
    }
    // The same extension on another X, and the same A with another extension, are fine.
    bindings.bind(extended(axe(2, m(1), x(2), seven))).unwrap();
    bindings.bind(extended(axe(3, m(1), x(1), extension("8")))).unwrap();
    bindings.bind(extended(axe(4, m(1), x(1), extension("07")))).unwrap();
}

#[test]
fn an_x_carries_bindings_of_one_kind() {
    let seven = extension("7");
    let of = |id: u128, kind: Mode| match kind {
        Mode::Axb => bound(id, m(11), x(1), m(12)),
        Mode::Ax => whole(ax(id, m(13), x(1))),
        Mode::Axe => extended(axe(id, m(14), x(1), seven)),
    };
    for first in Mode::ALL {
        for second in Mode::ALL.into_iter().filter(|second| *second != first) {
            let (mut bindings, _table) = many();
            bindings.bind(of(1, first)).unwrap();
            let _ = bindings.take_journal();
            let error = if second == Mode::Ax { BindError::XTaken } else { BindError::InUse };
            refused(&mut bindings, error, |bindings| bindings.bind(of(2, second)));
            bindings.unbind(SubscriptionId(1)).unwrap();
            bindings.bind(of(2, second)).unwrap();
        }
    }
}

#[test]
fn a_modify_keeps_id_app_x_and_kind_and_obeys_the_rules_of_its_kind() {
    let (mut bindings, table) = many();
    let service = number(SERVICE);
    let (seven, eight) = (extension("7"), extension("8"));
    bindings.bind(whole(Ax { temporary: temporary(m(5), 60_000), ..ax(1, m(1), x(1)) })).unwrap();
    bindings.bind(extended(axe(2, m(2), x(2), seven))).unwrap();
    bindings.bind(extended(axe(3, m(3), x(2), eight))).unwrap();
    bindings.bind(bound(4, m(1), x(3), m(2))).unwrap();
    let _ = bindings.take_journal();
    let rows: Vec<(u128, Binding, BindError)> = vec![
        (1, whole(ax(9, m(1), x(1))), BindError::NotFound),
        (1, whole(ax(1, m(1), x(4))), BindError::NotFound),
        (1, whole(Ax { app: OTHER_APP, ..ax(1, m(1), x(1)) }), BindError::NotFound),
        (1, bound(1, m(1), x(1), m(2)), BindError::NotFound),
        (1, whole(ax(1, x(1), x(1))), BindError::PartyIsVirtual(x(1))),
        (1, whole(ax(1, service, x(1))), BindError::ServiceNumber(service)),
        (1, whole(Ax { max_minutes: 1_441, ..ax(1, m(1), x(1)) }), BindError::MaxMinutes),
        (1, whole(Ax { temporary: temporary(m(1), 9), ..ax(1, m(1), x(1)) }), BindError::SameParty),
        (1, whole(Ax { temporary: temporary(x(2), 9), ..ax(1, m(1), x(1)) }), BindError::PartyIsVirtual(x(2))),
        (2, extended(axe(9, m(2), x(2), seven)), BindError::NotFound),
        (2, extended(axe(2, m(2), x(1), seven)), BindError::NotFound),
        (2, whole(ax(2, m(2), x(2))), BindError::NotFound),
        (2, extended(axe(2, m(2), x(2), eight)), BindError::ExtensionTaken(eight)),
        (2, extended(axe(2, x(2), x(2), seven)), BindError::PartyIsVirtual(x(2))),
        (2, extended(axe(2, service, x(2), seven)), BindError::ServiceNumber(service)),
        (2, extended(Axe { call_back: CallBack::Number(m(2)), ..axe(2, m(2), x(2), seven) }), BindError::SameParty),
        (4, extended(axe(4, m(1), x(3), seven)), BindError::NotFound),
        (8, whole(ax(8, m(1), x(1))), BindError::NotFound),
    ];
    for (id, new, error) in rows {
        refused(&mut bindings, error, |bindings| bindings.modify(SubscriptionId(id), |binding| *binding = new));
    }
    // A frozen or suspended X takes nothing new, but what it carries may change and end.
    bindings.change_number(state(1, NumberState::Suspended)).unwrap();
    bindings.change_number(state(2, NumberState::Frozen)).unwrap();
    let moved = bindings.modify(SubscriptionId(1), |binding| *binding = whole(ax(1, m(9), x(1)))).unwrap();
    assert_eq!(moved.a(), m(9));
    bindings.change_number(state(1, NumberState::Normal)).unwrap();
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(SubscriptionId(1), Party::B, m(9)));
    assert!(matches!(said(&table, x(1), Some(m(9))), Said::Refuse(Refusal::NoTemporaryCallee, ..)));
    bindings.modify(SubscriptionId(2), |binding| *binding = extended(axe(2, m(2), x(2), extension("9")))).unwrap();
    assert_eq!(bindings.of_extension(x(2), seven), None);
    bindings.modify(SubscriptionId(3), |binding| *binding = extended(axe(3, m(3), x(2), seven))).unwrap();
    assert_eq!(bindings.of_extension(x(2), seven).map(|axe| axe.id().0), Some(3));
    bindings.unbind(SubscriptionId(2)).unwrap();
    assert_eq!(table.shared.pairs.len(), 2 + 1 + 2);
}

#[test]
fn a_new_binding_needs_an_x_that_serves_and_one_from_before_the_start_does_not() {
    for number_state in NumberState::ALL {
        let (mut bindings, _table) = many();
        let all =
            || [bound(1, m(1), x(1), m(2)), whole(ax(2, m(1), x(2))), extended(axe(3, m(1), x(3), extension("1")))];
        for n in 1..=3 {
            bindings.change_number(state(n, number_state)).unwrap();
        }
        let _ = bindings.take_journal();
        for binding in all() {
            if number_state == NumberState::Normal {
                bindings.bind(binding.clone()).unwrap();
                bindings.unbind(binding.id()).unwrap();
            } else {
                let error = BindError::NumberState(number_state);
                refused(&mut bindings, error, |bindings| bindings.bind(binding.clone()));
            }
            bindings.restore(binding).unwrap();
            let _ = bindings.take_journal();
        }
        for binding in all() {
            refused(&mut bindings, BindError::Exists, |bindings| bindings.restore(binding));
        }
        // That there is one of this name, and that the X does not serve, come before what is taken on it.
        refused(&mut bindings, BindError::Exists, |bindings| bindings.bind(bound(1, m(1), x(1), m(2))));
        let taken = match number_state {
            NumberState::Normal => BindError::NumberTaken(m(1)),
            state => BindError::NumberState(state),
        };
        refused(&mut bindings, taken, |bindings| bindings.bind(bound(4, m(1), x(1), m(3))));
    }
}

#[test]
fn a_number_changes_what_it_says_at_any_time_and_its_app_while_it_is_free() {
    let (mut bindings, table) = many();
    refused(&mut bindings, BindError::NotFound, |bindings| bindings.change_number(virtual_number(x(8), APP)));
    refused(&mut bindings, BindError::NotFound, |bindings| bindings.remove_number(x(8)));
    refused(&mut bindings, BindError::Exists, |bindings| bindings.add_number(virtual_number(x(9), APP)));
    let bindings_of =
        [bound(1, m(1), x(1), m(2)), whole(ax(2, m(1), x(2))), extended(axe(3, m(1), x(3), extension("1")))];
    for binding in bindings_of {
        let (id, x) = (binding.id(), binding.x());
        bindings.bind(binding).unwrap();
        let _ = bindings.take_journal();
        refused(&mut bindings, BindError::InUse, |bindings| bindings.change_number(virtual_number(x, OTHER_APP)));
        refused(&mut bindings, BindError::InUse, |bindings| bindings.remove_number(x));
        let other = VirtualNumber {
            trunk: None,
            area: Some(area("010")),
            state: NumberState::Frozen,
            ..virtual_number(x, APP)
        };
        bindings.change_number(other.clone()).unwrap();
        assert_eq!(table.virtual_number(x).as_deref(), Some(&other));
        bindings.unbind(id).unwrap();
        bindings.change_number(virtual_number(x, OTHER_APP)).unwrap();
        assert_eq!(said(&table, x, Some(m(1))), not_bound(OTHER_APP));
        bindings.remove_number(x).unwrap();
        assert_eq!(said(&table, x, Some(m(1))), UNKNOWN);
    }
}

#[test]
fn what_stands_in_the_file_is_changed_there_only() {
    let (mut bindings, _table) = Bindings::new(Limits::default());
    let numbers = vec![virtual_number(x(1), APP), virtual_number(x(2), APP)];
    bindings.keep_journal();
    bindings.replace_all(numbers.clone(), vec![bound(1, m(1), x(1), m(2))]).unwrap();
    let error = BindError::Configured;
    refused(&mut bindings, error, |bindings| bindings.unbind(SubscriptionId(1)));
    refused(&mut bindings, error, |bindings| bindings.modify(SubscriptionId(1), |_| {}));
    refused(&mut bindings, error, |bindings| bindings.change_number(state(2, NumberState::Frozen)));
    refused(&mut bindings, error, |bindings| bindings.remove_number(x(1)));
    refused(&mut bindings, error, |bindings| bindings.remove_number(x(2)));
    refused(&mut bindings, BindError::Exists, |bindings| bindings.add_number(virtual_number(x(1), APP)));
    refused(&mut bindings, BindError::Exists, |bindings| bindings.bind(bound(1, m(3), x(1), m(4))));
    refused(&mut bindings, BindError::NumberTaken(m(1)), |bindings| bindings.bind(bound(2, m(1), x(1), m(4))));
    // Beside it the API makes and ends what is its own.
    bindings.bind(bound(2, m(3), x(1), m(4))).unwrap();
    assert_eq!((bindings.is_configured(SubscriptionId(1)), bindings.is_configured(SubscriptionId(2))), (true, false));
    let ended = bindings.unbind_all(x(1)).unwrap();
    assert_eq!(ended.iter().map(|binding| binding.id().0).collect::<Vec<_>>(), [2]);
    assert_eq!((bindings.len(), bindings.take_journal().len()), (1, 2));
}

#[test]
fn every_error_can_be_met() {
    let (mut bindings, _table) = many();
    let service = number(SERVICE);
    let seven = extension("7");
    bindings.set_rules(APP, Rules { mode: Mode::Axe, extension_width: 1, ..Rules::default() });
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    bindings.bind(whole(ax(2, m(1), x(2)))).unwrap();
    for n in 1..=9 {
        bindings.bind(extended(axe(100 + u128::from(n), m(1), x(3), Extension::new(1, n).unwrap()))).unwrap();
    }
    bindings.change_number(state(7, NumberState::Frozen)).unwrap();
    bindings.replace_all(vec![virtual_number(x(20), APP)], vec![]).unwrap();
    let mut only_700 = many().0;
    only_700.set_only_700(true);
    let (mut small, _) = Bindings::new(Limits { pairs_per_number: 1, numbers: 1, bindings: 1 });
    small.add_number(virtual_number(x(1), APP)).unwrap();
    small.bind(bound(1, m(1), x(1), m(2))).unwrap();
    let mut five = many().0;
    for n in 1..=5 {
        five.bind(whole(ax(u128::from(n), m(1), x(n)))).unwrap();
    }
    let met = [
        bindings.bind(bound(9, m(1), x(8), m(2))).unwrap_err(),
        bindings.bind(bound(9, m(1), x(9), m(2))).unwrap_err(),
        bindings.bind(bound(9, m(1), x(7), m(2))).unwrap_err(),
        only_700.bind(bound(9, m(1), x(1), m(2))).unwrap_err(),
        only_700.add_number(virtual_number(number("+8670012345678"), OTHER_APP)).unwrap_err(),
        bindings.bind(bound(9, m(1), x(1), m(4))).unwrap_err(),
        bindings.bind(whole(ax(9, m(3), x(2)))).unwrap_err(),
        five.bind(whole(ax(9, m(1), x(6)))).unwrap_err(),
        bindings.bind(extended(axe(9, m(9), x(3), seven))).unwrap_err(),
        bindings.allocate_extension(x(3)).unwrap_err(),
        bindings.bind(bound(9, m(1), x(4), m(1))).unwrap_err(),
        bindings.bind(bound(9, m(1), x(4), x(5))).unwrap_err(),
        bindings.bind(bound(9, m(1), x(4), service)).unwrap_err(),
        small.bind(bound(2, m(3), x(1), m(4))).unwrap_err(),
        small.add_number(virtual_number(x(2), APP)).unwrap_err(),
        bindings.bind(Binding::Axb(Axb { max_minutes: 1_441, ..axb(9, m(1), x(4), m(2)) })).unwrap_err(),
        bindings.unbind(SubscriptionId(99)).unwrap_err(),
        bindings.add_number(virtual_number(x(1), APP)).unwrap_err(),
        bindings.remove_number(x(1)).unwrap_err(),
        bindings.remove_number(x(20)).unwrap_err(),
    ];
    let labels: Vec<&str> = met.iter().map(|error| error.label()).collect();
    let expected = [
        "unknown_x",
        "foreign_x",
        "number_state",
        "not_700",
        "managed_700",
        "number_taken",
        "x_taken",
        "too_many_x",
        "extension_taken",
        "none_free",
        "same_party",
        "party_is_virtual",
        "service_number",
        "too_many_pairs",
        "full",
        "max_minutes",
        "not_found",
        "exists",
        "in_use",
        "configured",
    ];
    assert_eq!(labels, expected);
    assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len());
    assert_eq!(bindings.allocate_extension(x(8)), Err(BindError::UnknownX));
}

#[test]
fn a_withheld_caller_or_one_in_passing_never_takes_a_for_somebody_else() {
    let (mut bindings, table) = many();
    bindings.bind(whole(Ax { temporary: temporary(m(5), 9), ..ax(1, m(1), x(1)) })).unwrap();
    // As A sees it that looked for the own key before a bind or a modify, and for the key of everybody after it.
    table.shared.pairs.pin().remove(&(x(1), m(1).as_u64()));
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(SubscriptionId(1), Party::A, m(5)));
    assert_eq!(said(&table, x(1), Some(m(2))), Said::Connect(SubscriptionId(1), Party::B, m(1)));
    assert_eq!(said(&table, x(1), None), Said::Connect(SubscriptionId(1), Party::B, m(1)));
}
