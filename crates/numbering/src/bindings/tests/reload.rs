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
