//! What ends by itself: bindings, temporary callees, rests.

use super::*;

fn ending(id: u128, n: u64, ends: u64) -> Binding {
    Binding::Axb(Axb { ends, ..axb(id, m(10 * n), x(1), m(10 * n + 1)) })
}

fn ids(ended: &[Arc<Binding>]) -> Vec<u128> {
    ended.iter().map(|binding| binding.id().0).collect()
}

fn set_ends(binding: &mut Binding, at: u64) {
    match binding {
        Binding::Axb(axb) => axb.ends = at,
        Binding::Axe(axe) => axe.ends = at,
        Binding::Ax(ax) => ax.temporary.as_mut().unwrap().ends = at,
    }
}

fn callee(binding: &Binding) -> Option<(Number, u64)> {
    match binding {
        Binding::Ax(ax) => ax.temporary.as_ref().map(|temporary| (temporary.callee, temporary.ends)),
        other @ (Binding::Axb(_) | Binding::Axe(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_binding_ends_at_its_millisecond_and_not_before() {
    let (mut bindings, table) = pool();
    bindings.keep_journal();
    bindings.bind(ending(1, 1, 5_000)).unwrap();
    bindings.bind(extended(Axe { ends: 5_001, ..axe(2, m(1), x(2), extension("1")) })).unwrap();
    bindings.bind(ending(3, 3, 0)).unwrap();
    let _ = bindings.take_journal();
    assert_eq!(bindings.next_due(), Some(5_000));
    assert_eq!(bindings.handle_time(4_999), []);
    assert_eq!((bindings.now(), bindings.len(), bindings.next_due()), (4_999, 3, Some(5_000)));
    assert_eq!(bindings.take_journal(), []);
    assert!(matches!(said(&table, x(1), Some(m(10))), Said::Connect(..)));
    let one = bindings.get(SubscriptionId(1)).unwrap();
    assert_eq!(bindings.handle_time(5_000), [Arc::clone(&one)]);
    assert_eq!(bindings.take_journal(), [Entry::Binding { was: Some(one), is: None }]);
    assert_eq!(said(&table, x(1), Some(m(10))), not_bound(APP));
    assert_eq!(bindings.next_due(), Some(5_001));
    assert!(bindings.of_extension(x(2), extension("1")).is_some());
    assert_eq!(ids(&bindings.handle_time(5_001)), [2]);
    assert_eq!(bindings.of_extension(x(2), extension("1")), None);
    assert_eq!(bindings.next_due(), None);
    // For ever is for ever.
    assert_eq!(bindings.handle_time(u64::MAX), []);
    assert_eq!((bindings.len(), table.len(), table.shared.pairs.len()), (1, 1, 2));
}

#[test]
fn a_modify_moves_the_end_and_an_unbind_forgets_it() {
    let (mut bindings, _table) = pool();
    bindings.bind(ending(1, 1, 1_000)).unwrap();
    bindings.bind(ending(2, 2, 2_000)).unwrap();
    bindings.bind(extended(Axe { ends: 1_500, ..axe(3, m(1), x(2), extension("1")) })).unwrap();
    bindings.modify(SubscriptionId(1), |axb| set_ends(axb, 3_000)).unwrap();
    assert_eq!(bindings.next_due(), Some(1_500));
    bindings.modify(SubscriptionId(3), |axe| set_ends(axe, 0)).unwrap();
    assert_eq!(bindings.next_due(), Some(2_000));
    // One that is refused moves nothing.
    let taken = bindings.modify(SubscriptionId(2), |binding| {
        set_ends(binding, 9_000);
        if let Binding::Axb(axb) = binding {
            axb.a = m(10);
        }
    });
    assert_eq!((taken, bindings.next_due()), (Err(BindError::NumberTaken(m(10))), Some(2_000)));
    bindings.unbind(SubscriptionId(2)).unwrap();
    assert_eq!(bindings.next_due(), Some(3_000));
    assert_eq!(bindings.handle_time(2_999), []);
    // Into the past: it ends as soon as the time is told.
    bindings.modify(SubscriptionId(1), |axb| set_ends(axb, 1)).unwrap();
    assert_eq!((bindings.next_due(), bindings.len()), (Some(1), 2));
    assert_eq!(ids(&bindings.handle_time(2_999)), [1]);
    assert_eq!((bindings.next_due(), bindings.due.len()), (None, 0));
}

#[test]
fn thousands_end_at_once_and_the_earliest_is_told_first() {
    let (mut bindings, table) = pool();
    for n in 0..4_000 {
        bindings.bind(ending(u128::from(n), n, 10_000 + n % 4 * 1_000)).unwrap();
    }
    let mut left = 4_000;
    for round in 0..4 {
        assert_eq!(bindings.next_due(), Some(10_000 + round * 1_000));
        assert_eq!(bindings.handle_time(9_999 + round * 1_000), []);
        let ended = ids(&bindings.handle_time(10_000 + round * 1_000));
        let expected: Vec<u128> = (0..4_000).filter(|id| id % 4 == u128::from(round)).collect();
        assert_eq!(ended, expected);
        left -= 1_000;
        assert_eq!((bindings.len(), table.shared.pairs.len(), bindings.pairs_of(x(1))), (left, 2 * left, left));
    }
    // Later than all: in the order of their ends, then of their ids.
    for n in 0..100 {
        bindings.bind(ending(u128::from(n), n, 20_000 + (n * 7) % 10)).unwrap();
    }
    let mut expected: Vec<u128> = (0..100).collect();
    expected.sort_by_key(|id| (id * 7) % 10);
    assert_eq!(ids(&bindings.handle_time(30_000)), expected);
    assert_eq!(bindings.next_due(), None);
}

#[test]
fn a_temporary_callee_ends_at_its_millisecond_and_a_new_one_replaces_the_old() {
    let (mut bindings, table) = pool();
    bindings.keep_journal();
    let id = SubscriptionId(1);
    bindings.bind(whole(ax(1, m(1), x(1)))).unwrap();
    let set = |bindings: &mut Bindings, to: Number, ends| {
        let change = |binding: &mut Binding| match binding {
            Binding::Ax(ax) => ax.temporary = temporary(to, ends),
            other @ (Binding::Axb(_) | Binding::Axe(_)) => panic!("{other:?}"),
        };
        bindings.modify(id, change).unwrap()
    };
    let none = Said::Refuse(Refusal::NoTemporaryCallee, Some(APP), Some(id));
    assert_eq!((said(&table, x(1), Some(m(1))), bindings.next_due()), (none, None));
    set(&mut bindings, m(5), 60_000);
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(id, Party::A, m(5)));
    assert_eq!(bindings.next_due(), Some(60_000));
    bindings.handle_time(30_000);
    set(&mut bindings, number("+864001234567"), 90_000);
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(id, Party::A, number("+864001234567")));
    assert_eq!(bindings.next_due(), Some(90_000));
    // The end of the old one is not the new one's.
    assert_eq!(bindings.handle_time(89_999), []);
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(id, Party::A, number("+864001234567")));
    let _ = bindings.take_journal();
    let call = table.decide(x(1), Some(m(1)));
    let was = bindings.get(id).unwrap();
    assert_eq!(bindings.handle_time(90_000), [], "an A-X does not end");
    assert_eq!(said(&table, x(1), Some(m(1))), none);
    assert_eq!(said(&table, x(1), Some(m(2))), Said::Connect(id, Party::B, m(1)));
    let is = bindings.get(id).unwrap();
    assert_eq!(callee(&is), None);
    assert_eq!(bindings.take_journal(), [Entry::Binding { was: Some(was), is: Some(is) }]);
    assert_eq!((bindings.next_due(), bindings.len()), (None, 1));
    // A call that began before goes on as it was.
    match call {
        Decision::Connect { binding, .. } => assert_eq!(callee(&binding), Some((number("+864001234567"), 90_000))),
        other @ (Decision::Ask { .. } | Decision::Refuse { .. }) => panic!("{other:?}"),
    }
    // A shorter one, and none.
    set(&mut bindings, m(6), 200_000);
    set(&mut bindings, m(7), 100_000);
    assert_eq!(bindings.next_due(), Some(100_000));
    bindings.unbind(id).unwrap();
    assert_eq!((bindings.next_due(), bindings.due.len()), (None, 0));
}

#[test]
fn a_binding_says_the_words_of_its_temporary_callee_for_calls_of_a_alone() {
    let with = |text: Option<&str>| {
        let callee = Temporary { callee: m(5), ends: 9, user_text: text.map(Into::into) };
        whole(Ax { user_text: Some("all".into()), temporary: Some(callee), ..ax(1, m(1), x(1)) })
    };
    assert_eq!(with(Some("now")).user_text(Some(Party::A)), Some("now"));
    assert_eq!(with(None).user_text(Some(Party::A)), Some("all"));
    assert_eq!(with(Some("now")).user_text(Some(Party::B)), Some("all"));
    assert_eq!(with(Some("now")).user_text(None), Some("all"));
}

#[test]
fn what_is_due_next_is_what_a_walk_over_everything_finds() {
    let mut random = Random(7);
    let (mut bindings, _table) = pool();
    bindings.set_rules(APP, Rules { cool_off: 50, ..Rules::default() });
    let mut now = 0;
    let mut ends = 0;
    for _ in 0..3_000 {
        let id = SubscriptionId(u128::from(random.below(20)));
        let n = id.0 as u64;
        let at = random.maybe(|random| now + random.below(100)).unwrap_or(0);
        match random.below(4) {
            0 => {
                let _ = bindings.bind(ending(id.0, n, at));
            }
            1 => {
                let extension = Extension::new(2, 1 + n as u16).unwrap();
                let _ = bindings.bind(extended(Axe { ends: at, ..axe(id.0, m(1), x(2), extension) }));
            }
            2 => {
                let _ = bindings.modify(id, |binding| set_ends(binding, at));
            }
            _ => {
                let _ = bindings.unbind(id);
            }
        }
        let bound = bindings.iter().filter_map(|binding| binding.ends()).min();
        let rests = [x(1), x(2)].into_iter().filter_map(|x| bindings.rests_until(x)).min();
        assert_eq!(bindings.next_due(), bound.into_iter().chain(rests).min());
        now += random.below(10);
        let mut expected: Vec<_> =
            bindings.iter().filter(|binding| binding.ends().is_some_and(|ends| ends <= now)).collect();
        expected.sort_by_key(|binding| (binding.ends(), binding.id()));
        ends += expected.len();
        assert_eq!(bindings.handle_time(now), expected);
        assert!(bindings.next_due().is_none_or(|due| due > now));
    }
    assert!(ends > 200, "{ends}");
}
