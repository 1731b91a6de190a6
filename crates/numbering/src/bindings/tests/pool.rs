//! Which X, and which extension, a new binding gets.

use super::*;

const ANY: Wish = Wish { area: None, is_loose: false };

fn home(x: Number, app: AppId, area: Option<Area>) -> VirtualNumber {
    VirtualNumber { area, ..virtual_number(x, app) }
}

fn with(numbers: u64) -> Bindings {
    let (mut bindings, _table) = Bindings::new(Limits::default());
    for n in 1..=numbers {
        bindings.add_number(virtual_number(x(n), APP)).unwrap();
    }
    bindings
}

/// Binds a pair on the X that the pool says.
fn give(bindings: &mut Bindings, id: u128, a: Number, b: Number) -> Result<Number, BindError> {
    let x = bindings.allocate(APP, ANY, &[a, b])?;
    bindings.bind(bound(id, a, x, b)).unwrap();
    Ok(x)
}

fn cools_off(bindings: &mut Bindings, cool_off: u64) {
    bindings.set_rules(APP, Rules { cool_off, ..Rules::default() });
}

#[test]
fn random_pairs_spread_evenly() {
    let mut random = Random(1);
    let mut bindings = with(30);
    for id in 0..2_000 {
        let (a, b) = (m(10_000 + 2 * id + random.below(2)), m(20_000 + id));
        give(&mut bindings, id.into(), a, b).unwrap();
        let loads: Vec<usize> = (1..=30).map(|n| bindings.pairs_of(x(n))).collect();
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
    }
    assert_eq!((1..=30).map(|n| bindings.uses_of(x(n))).sum::<u64>(), 2_000);
}

#[test]
fn the_least_loaded_x_comes_first_and_of_those_the_one_left_alone_longest() {
    let mut random = Random(2);
    let mut bindings = with(8);
    // When each was last bound or given back.
    let mut touched = [0_u64; 8];
    let mut held: Vec<(u128, u64)> = Vec::new();
    for step in 1..3_000_u64 {
        if !held.is_empty() && random.below(100) < 48 {
            let (id, n) = held.swap_remove(random.below(held.len() as u64) as usize);
            bindings.unbind(SubscriptionId(id)).unwrap();
            touched[n as usize] = step;
        } else {
            let expected = (0..8).min_by_key(|n| (bindings.pairs_of(x(n + 1)), touched[*n as usize], *n)).unwrap();
            assert_eq!(give(&mut bindings, step.into(), m(2 * step), m(2 * step + 1)), Ok(x(expected + 1)), "{step}");
            touched[expected as usize] = step;
            held.push((step.into(), expected));
        }
    }
}

#[test]
fn what_has_just_been_given_back_is_given_away_last() {
    let mut bindings = with(2);
    assert_eq!(give(&mut bindings, 1, m(1), m(2)), Ok(x(1)));
    assert_eq!(give(&mut bindings, 2, m(3), m(4)), Ok(x(2)));
    bindings.unbind(SubscriptionId(2)).unwrap();
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(2)));
}

#[test]
fn an_allocation_alone_takes_nothing() {
    let bindings = with(2);
    let before = picture(&bindings);
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
    assert_eq!(picture(&bindings), before);
}

#[test]
fn an_x_without_bindings_rests_until_its_millisecond() {
    let mut bindings = with(2);
    bindings.keep_journal();
    cools_off(&mut bindings, 1_000);
    bindings.handle_time(500);
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    bindings.bind(bound(2, m(3), x(1), m(4))).unwrap();
    bindings.bind(bound(3, m(5), x(2), m(6))).unwrap();
    // It still has one: no rest.
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!((bindings.rests_until(x(1)), bindings.next_due()), (None, None));
    let _ = bindings.take_journal();
    bindings.handle_time(700);
    let ended = bindings.unbind(SubscriptionId(2)).unwrap();
    assert_eq!((bindings.rests_until(x(1)), bindings.next_due()), (Some(1_700), Some(1_700)));
    let journal = bindings.take_journal();
    assert_eq!(journal.len(), 2);
    assert_eq!(journal[0], Entry::Binding { was: Some(ended), is: None });
    assert!(matches!(journal[1], Entry::Rest { x: rests, until: 1_700, .. } if rests == x(1)), "{journal:?}");
    // Busy is better than resting.
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(2)));
    assert_eq!(bindings.allocate(APP, ANY, &[m(5)]), Err(BindError::NoneFree));
    bindings.handle_time(1_699);
    assert_eq!(bindings.allocate(APP, ANY, &[m(5)]), Err(BindError::NoneFree));
    assert_eq!(bindings.handle_time(1_700), []);
    assert_eq!((bindings.rests_until(x(1)), bindings.next_due()), (None, None));
    assert_eq!(bindings.allocate(APP, ANY, &[m(5)]), Ok(x(1)));
    assert_eq!(bindings.take_journal(), [], "that a rest is over is no change");
}

#[test]
fn what_ends_by_itself_rests_from_then_on() {
    let mut bindings = with(1);
    cools_off(&mut bindings, 1_000);
    bindings.bind(Binding::Axb(Axb { ends: 5_000, ..axb(1, m(1), x(1), m(2)) })).unwrap();
    assert_eq!(bindings.handle_time(5_000).len(), 1);
    assert_eq!((bindings.rests_until(x(1)), bindings.next_due()), (Some(6_000), Some(6_000)));
    assert_eq!(bindings.allocate(APP, ANY, &[]), Err(BindError::NoneFree));
    bindings.handle_time(6_000);
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(1)));
}

#[test]
fn an_x_that_is_named_is_bound_though_it_rests_and_rests_no_more() {
    let mut bindings = with(1);
    cools_off(&mut bindings, 1_000);
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[]), Err(BindError::NoneFree));
    bindings.bind(bound(2, m(1), x(1), m(2))).unwrap();
    assert_eq!((bindings.rests_until(x(1)), bindings.next_due()), (None, None));
    assert_eq!(bindings.allocate(APP, ANY, &[m(3)]), Ok(x(1)));
    // The next rest begins anew.
    bindings.handle_time(900);
    bindings.unbind(SubscriptionId(2)).unwrap();
    assert_eq!(bindings.rests_until(x(1)), Some(1_900));
    bindings.handle_time(1_000);
    assert_eq!(bindings.allocate(APP, ANY, &[]), Err(BindError::NoneFree));
}

#[test]
fn a_rest_from_before_the_start_goes_on_where_there_is_no_binding() {
    let mut bindings = with(2);
    bindings.handle_time(100);
    bindings.set_rest(x(1), 200);
    bindings.set_rest(x(2), 100);
    assert_eq!((bindings.rests_until(x(1)), bindings.rests_until(x(2))), (Some(200), None));
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(2)));
    bindings.bind(bound(1, m(1), x(2), m(2))).unwrap();
    bindings.set_rest(x(2), 200);
    assert_eq!(bindings.rests_until(x(2)), None, "an X with bindings rests");
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(2)));
    bindings.set_rest(x(8), 200);
    bindings.handle_time(200);
    assert_eq!((bindings.allocate(APP, ANY, &[]), bindings.next_due()), (Ok(x(1)), None));
}

#[test]
fn a_rest_goes_on_while_an_x_changes_its_state_its_area_and_its_app() {
    for changed in [
        VirtualNumber { state: NumberState::Suspended, ..virtual_number(x(1), APP) },
        home(x(1), APP, Some(area("010"))),
        virtual_number(x(1), OTHER_APP),
    ] {
        let mut bindings = with(1);
        bindings.set_rest(x(1), 200);
        bindings.change_number(changed.clone()).unwrap();
        assert_eq!(bindings.rests_until(x(1)), Some(200), "{changed:?}");
        assert_eq!(bindings.allocate(changed.app, ANY, &[]), Err(BindError::NoneFree));
        bindings.handle_time(200);
        let serves = changed.state == NumberState::Normal;
        assert_eq!(bindings.allocate(changed.app, ANY, &[]).is_ok(), serves, "{changed:?}");
        assert_eq!(bindings.next_due(), None);
        bindings.change_number(virtual_number(x(1), APP)).unwrap();
        assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(1)));
        // Removed and added, it is a new one.
        bindings.set_rest(x(1), 300);
        bindings.remove_number(x(1)).unwrap();
        assert_eq!(bindings.next_due(), None);
        bindings.add_number(virtual_number(x(1), APP)).unwrap();
        assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(1)));
    }
}

#[test]
fn strict_stays_in_its_area_and_loose_goes_anywhere_when_it_must() {
    let (mut bindings, _table) = Bindings::new(Limits::default());
    let (shenzhen, beijing, shanghai) = (area("0755"), area("010"), area("021"));
    // 0755 by its number; 010 said of a mobile; a mobile of nowhere.
    bindings.add_number(virtual_number(x(1), APP)).unwrap();
    bindings.add_number(home(m(901), APP, Some(beijing))).unwrap();
    bindings.add_number(virtual_number(m(902), APP)).unwrap();
    let ask = |bindings: &Bindings, area, is_loose| {
        bindings.allocate(APP, Wish { area: Some(area), is_loose }, &[m(1), m(2)]).ok()
    };
    assert_eq!(ask(&bindings, shenzhen, false), Some(x(1)));
    assert_eq!(ask(&bindings, beijing, false), Some(m(901)));
    assert_eq!(ask(&bindings, shanghai, false), None);
    // Loose: the area first, whatever is less loaded elsewhere.
    bindings.bind(bound(1, m(11), m(901), m(12))).unwrap();
    assert_eq!(ask(&bindings, beijing, true), Some(m(901)));
    bindings.bind(bound(2, m(1), m(901), m(13))).unwrap();
    assert_eq!(ask(&bindings, beijing, false), None);
    assert!([Some(x(1)), Some(m(902))].contains(&ask(&bindings, beijing, true)));
    assert!(ask(&bindings, shanghai, true).is_some());
    // Which of the others: the least loaded.
    bindings.bind(bound(3, m(11), m(902), m(12))).unwrap();
    assert_eq!(ask(&bindings, beijing, true), Some(x(1)));
    assert_eq!(ask(&bindings, shanghai, true), Some(x(1)));
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
    // Nothing of another app.
    bindings.add_number(home(m(903), OTHER_APP, Some(shanghai))).unwrap();
    assert_eq!(ask(&bindings, shanghai, false), None);
    // It moves.
    bindings.change_number(home(x(1), APP, Some(shanghai))).unwrap();
    assert_eq!((ask(&bindings, shenzhen, false), ask(&bindings, shanghai, false)), (None, Some(x(1))));
    bindings.change_number(home(x(1), APP, None)).unwrap();
    assert_eq!((ask(&bindings, shenzhen, false), ask(&bindings, shanghai, false)), (None, None));
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
}

#[test]
fn an_x_that_does_not_serve_is_not_given_away_until_it_does() {
    for state in NumberState::ALL {
        let mut bindings = with(1);
        bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
        bindings.change_number(VirtualNumber { state, ..virtual_number(x(1), APP) }).unwrap();
        let expected = if state == NumberState::Normal { Ok(x(1)) } else { Err(BindError::NoneFree) };
        for wish in wishes(area("0755")) {
            assert_eq!(bindings.allocate(APP, wish, &[m(3)]), expected, "{state:?}");
        }
        // Nor when something about it changes meanwhile.
        bindings.unbind(SubscriptionId(1)).unwrap();
        assert_eq!(bindings.allocate(APP, ANY, &[]), expected, "{state:?}");
        bindings.restore(bound(1, m(1), x(1), m(2))).unwrap();
        assert_eq!(bindings.allocate(APP, ANY, &[]), expected, "{state:?}");
        bindings.change_number(virtual_number(x(1), APP)).unwrap();
        assert_eq!(bindings.allocate(APP, ANY, &[m(3)]), Ok(x(1)));
    }
}

#[test]
fn an_x_that_goes_to_another_app_is_given_away_there() {
    let mut bindings = with(1);
    bindings.change_number(virtual_number(x(1), OTHER_APP)).unwrap();
    for wish in wishes(area("0755")) {
        assert_eq!(bindings.allocate(APP, wish, &[]), Err(BindError::NoneFree));
        assert_eq!(bindings.allocate(OTHER_APP, wish, &[]), Ok(x(1)));
    }
    bindings.remove_number(x(1)).unwrap();
    assert_eq!(bindings.allocate(OTHER_APP, ANY, &[]), Err(BindError::NoneFree));
}

#[test]
fn what_the_file_says_is_given_away_too() {
    let (mut bindings, _table) = Bindings::new(Limits::default());
    let numbers = vec![virtual_number(x(1), APP), virtual_number(x(2), APP)];
    bindings.replace_all(numbers.clone(), vec![bound(1, m(1), x(1), m(2))]).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(2)));
    bindings.bind(bound(2, m(3), x(2), m(4))).unwrap();
    bindings.bind(bound(3, m(5), x(2), m(6))).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[m(7)]), Ok(x(1)));
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(2)));
    let frozen = VirtualNumber { state: NumberState::Frozen, ..virtual_number(x(1), APP) };
    bindings.replace_all(vec![frozen, numbers[1].clone()], vec![]).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(2)));
    bindings.replace_all(numbers, vec![]).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[]), Ok(x(1)));
}

#[test]
fn an_x_on_which_a_party_is_bound_is_passed_over() {
    let mut bindings = with(3);
    assert_eq!(give(&mut bindings, 1, m(1), m(11)), Ok(x(1)));
    assert_eq!(give(&mut bindings, 2, m(1), m(12)), Ok(x(2)));
    assert_eq!(give(&mut bindings, 3, m(13), m(1)), Ok(x(3)));
    assert_eq!(bindings.allocate(APP, ANY, &[m(1), m(14)]), Err(BindError::NoneFree));
    assert_eq!(bindings.allocate(APP, ANY, &[m(14), m(1)]), Err(BindError::NoneFree));
    assert_eq!(bindings.allocate(APP, ANY, &[m(11), m(13)]), Ok(x(2)));
    assert_eq!(bindings.allocate(APP, ANY, &[m(14), m(15)]), Ok(x(1)));
    bindings.unbind(SubscriptionId(2)).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[m(1), m(14)]), Ok(x(2)));
}

#[test]
fn an_allocation_looks_at_one_x_more_than_its_parties_have() {
    let mut bindings = with(300);
    for n in 1..=300 {
        let (a, b) = if n <= 100 { (m(1), m(1_000 + n)) } else { (m(2_000 + n), m(3_000 + n)) };
        bindings.bind(bound(n.into(), a, x(n), b)).unwrap();
    }
    // How many X are looked at before the one that is taken.
    let looked_at = |wish, parties: &[Number]| {
        let x = bindings.allocate(APP, wish, parties).unwrap();
        bindings.pool.candidates(APP, wish, 5_000).position(|candidate| candidate == x).unwrap()
    };
    for wish in wishes(area("0755")) {
        assert_eq!(looked_at(wish, &[m(4), m(5)]), 0);
        assert_eq!(looked_at(wish, &[m(1), m(5)]), 100);
        assert_eq!(looked_at(wish, &[m(1), m(2_101)]), 101);
    }
}

#[test]
fn ten_thousand_pairs_fill_two_x_and_one_that_goes_makes_room() {
    let mut bindings = with(2);
    for n in 0..10_000_u64 {
        give(&mut bindings, n.into(), m(2 * n), m(2 * n + 1)).unwrap();
    }
    assert_eq!((bindings.pairs_of(x(1)), bindings.pairs_of(x(2))), (5_000, 5_000));
    for wish in wishes(area("0755")) {
        assert_eq!(bindings.allocate(APP, wish, &[m(90_000)]), Err(BindError::NoneFree));
    }
    let freed = bindings.unbind(SubscriptionId(4_711)).unwrap().x();
    assert_eq!(bindings.allocate(APP, ANY, &[m(90_000)]), Ok(freed));
}

#[test]
fn an_a_x_gets_an_x_of_its_own() {
    let mut bindings = with(2);
    bindings.set_rules(APP, Rules { mode: Mode::Ax, cool_off: 10, ..Rules::default() });
    for n in 1..=2 {
        let free = bindings.allocate(APP, ANY, &[m(1)]).unwrap();
        assert_eq!(free, x(n));
        bindings.bind(whole(ax(n.into(), m(1), free))).unwrap();
    }
    assert_eq!(bindings.allocate(APP, ANY, &[m(2)]), Err(BindError::NoneFree));
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!(bindings.allocate(APP, ANY, &[m(2)]), Err(BindError::NoneFree));
    bindings.handle_time(10);
    assert_eq!(bindings.allocate(APP, ANY, &[m(2)]), Ok(x(1)));
}

fn extends(bindings: &mut Bindings, width: u8) {
    bindings.set_rules(APP, Rules { mode: Mode::Axe, extension_width: width, ..Rules::default() });
}

fn give_extension(bindings: &mut Bindings, id: u128, x: Number) -> Result<String, BindError> {
    let extension = bindings.allocate_extension(x)?;
    bindings.bind(extended(axe(id, m(1), x, extension))).unwrap();
    Ok(extension.to_string())
}

#[test]
fn extensions_go_round_and_of_one_digit_there_are_nine() {
    let mut bindings = with(2);
    extends(&mut bindings, 1);
    for n in 1..=9 {
        assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
        assert_eq!(give_extension(&mut bindings, 100 + n, x(1)), Ok(n.to_string()));
        assert_eq!(give_extension(&mut bindings, 200 + n, x(2)), Ok(n.to_string()));
    }
    let full = Err(BindError::NoneFree);
    assert_eq!(bindings.allocate_extension(x(1)), Err(BindError::NoneFree));
    assert_eq!(bindings.allocate(APP, ANY, &[m(2)]), Err(BindError::NoneFree));
    for free in [3, 8, 5] {
        bindings.unbind(SubscriptionId(100 + free)).unwrap();
    }
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
    for free in [3, 5, 8] {
        assert_eq!(give_extension(&mut bindings, 100 + free, x(1)), Ok(free.to_string()));
    }
    assert_eq!(give_extension(&mut bindings, 99, x(1)), full);
    // The one behind the last comes before one that is free longer, and it begins again at the end.
    for free in [2, 9, 7] {
        bindings.unbind(SubscriptionId(100 + free)).unwrap();
    }
    assert_eq!(give_extension(&mut bindings, 109, x(1)), Ok("9".into()));
    bindings.unbind(SubscriptionId(109)).unwrap();
    for (id, free) in [(102, "2"), (107, "7"), (109, "9")] {
        assert_eq!(give_extension(&mut bindings, id, x(1)), Ok(free.into()));
    }
    assert_eq!(give_extension(&mut bindings, 99, x(1)), full);
}

#[test]
fn an_extension_that_comes_free_rests_while_others_are_given_away() {
    let mut bindings = with(1);
    extends(&mut bindings, 2);
    for n in 1..=99 {
        assert_eq!(give_extension(&mut bindings, n, x(1)), Ok(format!("{n:02}")));
        bindings.unbind(SubscriptionId(n)).unwrap();
    }
    assert_eq!(give_extension(&mut bindings, 1, x(1)), Ok("01".into()));
    // One that was asked for and not bound is free, but not the next.
    assert_eq!(bindings.allocate_extension(x(1)), Ok(extension("02")));
    assert_eq!(bindings.allocate_extension(x(1)), Ok(extension("03")));
    // One that the client chose is not given away.
    bindings.bind(extended(axe(2, m(1), x(1), extension("04")))).unwrap();
    assert_eq!(bindings.allocate_extension(x(1)), Ok(extension("05")));
}

#[test]
fn a_modify_frees_the_old_extension_and_takes_the_new_one() {
    let mut bindings = with(1);
    extends(&mut bindings, 1);
    for n in 1..=8 {
        give_extension(&mut bindings, n, x(1)).unwrap();
    }
    bindings.modify(SubscriptionId(2), |binding| *binding = extended(axe(2, m(1), x(1), extension("9")))).unwrap();
    assert_eq!(bindings.allocate_extension(x(1)), Ok(extension("2")));
    bindings.modify(SubscriptionId(3), |binding| *binding = extended(axe(3, m(9), x(1), extension("3")))).unwrap();
    assert_eq!(give_extension(&mut bindings, 9, x(1)), Ok("2".into()));
    assert_eq!(bindings.allocate_extension(x(1)), Err(BindError::NoneFree));
}

#[test]
fn extensions_of_another_width_do_not_stand_in_the_way() {
    let mut bindings = with(1);
    extends(&mut bindings, 1);
    for n in 1..=9 {
        give_extension(&mut bindings, n, x(1)).unwrap();
    }
    extends(&mut bindings, 2);
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
    let given: Vec<String> = (0..99).map(|n| give_extension(&mut bindings, 100 + n, x(1)).unwrap()).collect();
    let mut sorted = given.clone();
    sorted.sort();
    assert_eq!(sorted, (1..=99).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    assert_eq!(bindings.allocate_extension(x(1)), Err(BindError::NoneFree));
    assert_eq!((bindings.pairs_of(x(1)), bindings.allocate(APP, ANY, &[m(1)])), (108, Err(BindError::NoneFree)));
    // Back: those of one digit are still taken, and come free alone.
    extends(&mut bindings, 1);
    assert_eq!(bindings.allocate_extension(x(1)), Err(BindError::NoneFree));
    bindings.unbind(SubscriptionId(4)).unwrap();
    assert_eq!(bindings.allocate_extension(x(1)), Ok(extension("4")));
}

#[test]
fn one_x_carries_all_9999_extensions() {
    let mut bindings = with(1);
    extends(&mut bindings, 4);
    for n in 1..=9_999 {
        assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Ok(x(1)));
        assert_eq!(give_extension(&mut bindings, n, x(1)), Ok(format!("{n:04}")));
    }
    assert_eq!(bindings.allocate_extension(x(1)), Err(BindError::NoneFree));
    assert_eq!(bindings.allocate(APP, ANY, &[m(1)]), Err(BindError::NoneFree));
    assert_eq!((bindings.pairs_of(x(1)), bindings.table.shared.pairs.len()), (9_999, 9_999));
    assert_eq!(bindings.of_extension(x(1), extension("4711")).unwrap().id().0, 4_711);
    assert_eq!(bindings.unbind_all(x(1)).unwrap().len(), 9_999);
    assert_eq!(bindings.table.shared.pairs.len(), 0);
    assert_eq!(bindings.allocate_extension(x(1)), Ok(extension("0001")));
}
