//! Reloads of the operator's file, alone and beside what the API made.

use super::*;

#[test]
fn a_long_chain_of_transfers_in_one_reload_arrives() {
    let (mut bindings, table) = Bindings::new(Limits::default());
    let numbers = vec![virtual_number(x(1), APP)];
    let chain = |shift: u64| (0..100).map(|n| bound(u128::from(n), m(1_000 + n), x(1), m(2_000 + n + shift))).collect();
    bindings.replace_all(numbers.clone(), chain(0)).unwrap();
    for shift in [1, 0, 3, 50] {
        let summary = bindings.replace_all(numbers.clone(), chain(shift)).unwrap();
        assert_eq!(summary.changed, 100);
        for n in 0..100 {
            let id = SubscriptionId(u128::from(n));
            assert_eq!(said(&table, x(1), Some(m(2_000 + n + shift))), Said::Connect(id, Party::B, m(1_000 + n)));
        }
        assert_eq!(table.shared.pairs.len(), 200);
    }
}

#[test]
fn a_reload_that_breaks_a_rule_names_its_place_and_changes_nothing() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    let one = virtual_number(x(1), APP);
    let two = virtual_number(x(2), OTHER_APP);
    let good = bound(5, m(5), x(1), m(6));
    let rows = [
        (vec![one.clone(), one.clone()], vec![], (1, BindError::Exists)),
        (vec![one.clone()], vec![good.clone(), good.clone()], (2, BindError::Exists)),
        (vec![one.clone()], vec![good.clone(), bound(6, m(6), x(1), m(7))], (2, BindError::NumberTaken(m(6)))),
        (vec![one.clone()], vec![bound(6, m(6), x(2), m(7))], (1, BindError::UnknownX)),
        (vec![one.clone(), two], vec![good.clone(), bound(6, m(6), x(2), m(7))], (3, BindError::ForeignX)),
        (vec![], vec![good], (0, BindError::UnknownX)),
    ];
    for (numbers, list, accused) in rows {
        assert_eq!(bindings.replace_all(numbers, list), Err(accused));
        assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(SubscriptionId(1), Party::A, m(2)));
        assert_eq!((table.numbers(), table.len()), (3, 1));
    }
}

#[test]
fn a_reload_knows_the_limits() {
    let (mut bindings, _table) = Bindings::new(Limits { pairs_per_number: 1, numbers: 2, bindings: 2 });
    let numbers: Vec<_> = (1..=3).map(|n| virtual_number(x(n), APP)).collect();
    assert_eq!(bindings.replace_all(numbers.clone(), vec![]), Err((2, BindError::Full)));
    let two = numbers[..2].to_vec();
    let crowded = vec![bound(1, m(1), x(1), m(2)), bound(2, m(3), x(1), m(4))];
    assert_eq!(bindings.replace_all(two.clone(), crowded), Err((3, BindError::TooManyPairs)));
    let fits = vec![bound(1, m(1), x(1), m(2)), bound(2, m(3), x(2), m(4))];
    assert_eq!(bindings.replace_all(two.clone(), fits).unwrap().added, 2);
    assert_eq!(bindings.replace_all(vec![], vec![]).unwrap().removed, 2);
    assert_eq!((bindings.len(), bindings.numbers().count()), (0, 0));
}

/// Numbers and pairs of a file, and what is accused of what.
type Refused = (Vec<VirtualNumber>, Vec<Binding>, (usize, BindError));

/// X 1 of the file, X 2 of the API.
fn two_owners() -> (Bindings, Table) {
    let (mut bindings, table) = Bindings::new(Limits { pairs_per_number: 2, numbers: 3, bindings: 3 });
    bindings.keep_journal();
    bindings.replace_all(vec![virtual_number(x(1), APP)], vec![bound(1, m(1), x(1), m(2))]).unwrap();
    bindings.add_number(virtual_number(x(2), APP)).unwrap();
    bindings.bind(bound(2, m(1), x(2), m(2))).unwrap();
    bindings.bind(bound(3, m(3), x(1), m(4))).unwrap();
    assert_eq!(bindings.take_journal().len(), 3);
    (bindings, table)
}

#[test]
fn a_reload_stays_out_of_the_way_of_what_the_api_made() {
    let one = || virtual_number(x(1), APP);
    let first = || bound(1, m(1), x(1), m(2));
    let rows: Vec<Refused> = vec![
        (vec![one(), virtual_number(x(2), APP)], vec![], (1, BindError::Exists)),
        (vec![], vec![], (0, BindError::InUse)),
        (vec![virtual_number(x(1), OTHER_APP)], vec![], (1, BindError::InUse)),
        (vec![one()], vec![bound(3, m(5), x(1), m(6))], (1, BindError::Exists)),
        (vec![one()], vec![bound(2, m(5), x(1), m(6))], (1, BindError::Exists)),
        (vec![one()], vec![bound(1, m(1), x(1), m(4))], (1, BindError::NumberTaken(m(4)))),
        (vec![one()], vec![bound(1, m(3), x(1), m(2))], (1, BindError::NumberTaken(m(3)))),
        // Another X is no party, whoever made it.
        (vec![one()], vec![bound(1, m(1), x(1), x(2))], (1, BindError::PartyIsVirtual(x(2)))),
        (vec![one()], vec![bound(1, x(2), x(1), m(1))], (1, BindError::PartyIsVirtual(x(2)))),
        // The limits hold for both together.
        (vec![one()], vec![first(), bound(4, m(5), x(1), m(6))], (2, BindError::TooManyPairs)),
        (vec![one(), virtual_number(x(3), APP), virtual_number(x(4), APP)], vec![], (2, BindError::Full)),
        (vec![one(), virtual_number(x(3), APP)], vec![first(), bound(4, m(5), x(3), m(6))], (3, BindError::Full)),
    ];
    for (numbers, list, accused) in rows {
        let (mut bindings, _table) = two_owners();
        let before = picture(&bindings);
        assert_eq!(bindings.replace_all(numbers, list), Err(accused));
        assert_eq!(picture(&bindings), before, "{accused:?}");
        assert_eq!(bindings.take_journal(), []);
    }
}

#[test]
fn a_reload_changes_what_is_the_files_and_nothing_else() {
    let (mut bindings, table) = two_owners();
    let api =
        |bindings: &Bindings| (bindings.get(SubscriptionId(2)).unwrap(), bindings.get(SubscriptionId(3)).unwrap());
    let before = api(&bindings);
    let summary = bindings.replace_all(vec![virtual_number(x(1), APP)], vec![bound(4, m(1), x(1), m(5))]).unwrap();
    assert_eq!(summary, crate::Summary { added: 1, removed: 1, changed: 0, kept: 0 });
    let after = api(&bindings);
    assert!(Arc::ptr_eq(&before.0, &after.0) && Arc::ptr_eq(&before.1, &after.1));
    assert_eq!(said(&table, x(1), Some(m(5))), Said::Connect(SubscriptionId(4), Party::B, m(1)));
    assert!(bindings.is_configured(SubscriptionId(4)));
    let summary = bindings.replace_all(vec![virtual_number(x(1), APP)], vec![]).unwrap();
    assert_eq!(summary, crate::Summary { added: 0, removed: 1, changed: 0, kept: 0 });
    assert_eq!(bindings.len(), 2);
    assert_eq!(bindings.take_journal(), [], "what the file says is in the journal");
    // Freed of the API's binding it may go.
    bindings.unbind(SubscriptionId(3)).unwrap();
    bindings.replace_all(vec![], vec![]).unwrap();
    assert_eq!((bindings.len(), bindings.numbers().count()), (1, 1));
}

#[test]
fn a_pair_of_the_file_does_not_come_beside_another_kind_of_the_api() {
    let others = [whole(ax(2, m(3), x(1))), extended(axe(2, m(3), x(1), extension("1")))];
    for other in others {
        let (mut bindings, _table) = Bindings::new(Limits::default());
        bindings.replace_all(vec![virtual_number(x(1), APP)], vec![]).unwrap();
        bindings.bind(other).unwrap();
        let before = picture(&bindings);
        let list = vec![bound(1, m(1), x(1), m(2))];
        assert_eq!(bindings.replace_all(vec![virtual_number(x(1), APP)], list), Err((1, BindError::InUse)));
        assert_eq!(picture(&bindings), before);
    }
}

#[test]
fn a_pair_of_the_file_stands_though_the_api_has_made_its_party_an_x_since() {
    let (mut bindings, table) = two_owners();
    bindings.add_number(virtual_number(m(2), APP)).unwrap();
    let numbers = || vec![virtual_number(x(1), APP)];
    let summary = bindings.replace_all(numbers(), vec![bound(1, m(1), x(1), m(2))]).unwrap();
    assert_eq!(summary, crate::Summary { added: 0, removed: 0, changed: 0, kept: 1 });
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(SubscriptionId(1), Party::A, m(2)));
    for changed in [bound(1, m(2), x(1), m(1)), bound(8, m(1), x(1), m(2))] {
        assert_eq!(bindings.replace_all(numbers(), vec![changed]), Err((1, BindError::PartyIsVirtual(m(2)))));
    }
}
