//! The rules of A–X–B one by one, random programs over them against a model that is too simple to be wrong; in the files below
//! what is more.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::binding::{Area, Axb, Axe, CallBack, CallDirection, Extension, Party, Temporary, TimeUnit, Voice};
use crate::table::{Decision, Refusal};

mod calls;
mod journal;
mod kinds;
mod pool;
mod programs;
mod readers;
mod reload;
mod time;

const APP: AppId = AppId(1);
const OTHER_APP: AppId = AppId(2);
const AX_APP: AppId = AppId(3);
const AXE_APP: AppId = AppId(4);

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

/// A virtual number.
fn x(n: u64) -> Number {
    Number::from_u64(8_675_512_340_000 + n).unwrap()
}

/// A mobile.
fn m(n: u64) -> Number {
    Number::from_u64(8_613_800_000_000 + n).unwrap()
}

fn virtual_number(x: Number, app: AppId) -> VirtualNumber {
    VirtualNumber::new(x, app, Some("carrier".into()))
}

/// What a modify of a pair says; `None` leaves as it was.
#[derive(Clone, Default, Debug)]
struct Change {
    a: Option<Number>,
    b: Option<Number>,
    direction: Option<CallDirection>,
    max_minutes: Option<u16>,
    record: Option<bool>,
    user_text: Option<Option<Box<str>>>,
}

impl Change {
    fn of(&self, axb: &Axb) -> Axb {
        Axb {
            a: self.a.unwrap_or(axb.a),
            b: self.b.unwrap_or(axb.b),
            direction: self.direction.unwrap_or(axb.direction),
            max_minutes: self.max_minutes.unwrap_or(axb.max_minutes),
            record: self.record.unwrap_or(axb.record),
            user_text: self.user_text.clone().unwrap_or_else(|| axb.user_text.clone()),
            ..axb.clone()
        }
    }
}

impl Bindings {
    fn change(&mut self, id: SubscriptionId, change: Change) -> Result<Arc<Binding>, BindError> {
        self.modify(id, |binding| *binding = Binding::Axb(change.of(pair(binding))))
    }
}

fn pair(binding: &Binding) -> &Axb {
    match binding {
        Binding::Axb(axb) => axb,
        other @ (Binding::Ax(_) | Binding::Axe(_)) => panic!("no pair: {other:?}"),
    }
}

fn axb(id: u128, a: Number, x: Number, b: Number) -> Axb {
    Axb::new(SubscriptionId(id), APP, a, x, b)
}

fn bound(id: u128, a: Number, x: Number, b: Number) -> Binding {
    Binding::Axb(axb(id, a, x, b))
}

fn ax(id: u128, a: Number, x: Number) -> Ax {
    Ax {
        id: SubscriptionId(id),
        app: APP,
        a,
        x,
        direction: CallDirection::Both,
        is_on: true,
        shows_caller: false,
        max_minutes: 0,
        record: false,
        sms: true,
        voice: None,
        user_text: None,
        temporary: None,
    }
}

fn whole(ax: Ax) -> Binding {
    Binding::Ax(Box::new(ax))
}

fn temporary(callee: Number, ends: u64) -> Option<Temporary> {
    Some(Temporary { callee, ends, user_text: None })
}

fn extension(text: &str) -> Extension {
    Extension::parse(text).unwrap()
}

fn axe(id: u128, a: Number, x: Number, extension: Extension) -> Axe {
    Axe {
        id: SubscriptionId(id),
        app: APP,
        a,
        x,
        extension,
        shows_caller: false,
        record: false,
        record_hint_tone: None,
        call_back: CallBack::App,
        unit: TimeUnit::Hours,
        bind_for: 0,
        call_back_for: 0,
        ends: 0,
        user_text: None,
        last_caller: None,
    }
}

fn extended(axe: Axe) -> Binding {
    Binding::Axe(Box::new(axe))
}

fn area(text: &str) -> Area {
    Area::parse(text).unwrap()
}

/// Any area; this one; this one, or else any.
fn wishes(area: Area) -> [Wish; 3] {
    [Wish::default(), Wish { area: Some(area), is_loose: false }, Wish { area: Some(area), is_loose: true }]
}

/// What is known of an X: what it says, whether the file says it, how many bindings it has, and until when it rests.
type Known = (VirtualNumber, bool, usize, Option<u64>);

/// All that can be told apart from outside, but how often and how lately an X was used.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Picture {
    bindings: BTreeMap<SubscriptionId, (Arc<Binding>, bool)>,
    numbers: BTreeMap<Number, Known>,
    of_number: BTreeMap<Number, BTreeSet<SubscriptionId>>,
    of_a: BTreeMap<(AppId, Number), Vec<SubscriptionId>>,
    /// The A–X–E that an A has on an X, the newest first.
    own: BTreeMap<(Number, Number), Vec<SubscriptionId>>,
    keys: BTreeMap<(Number, Key), SubscriptionId>,
    due: BTreeSet<(u64, SubscriptionId)>,
    next_due: Option<u64>,
    /// What may be given away, by app and area; and those that are in no area's set, or in no app's.
    free: BTreeMap<(AppId, Option<Area>), BTreeSet<Number>>,
    lengths: (usize, usize, usize),
}

fn picture(bindings: &Bindings) -> Picture {
    let table = &bindings.table;
    let numbers: BTreeMap<Number, Known> = bindings
        .numbers()
        .map(|number| {
            let x = number.number;
            let rests = bindings.rests_until(x);
            (x, ((*number).clone(), bindings.is_configured_number(x), bindings.pairs_of(x), rests))
        })
        .collect();
    let of_a = bindings.by_a.keys().map(|(app, a)| {
        let ids = bindings.of_a(*app, *a).map(|binding| binding.id()).collect();
        ((*app, *a), ids)
    });
    let own = table.shared.of_a.pin();
    let own = own.iter().map(|(key, list)| {
        let is_its = |(id, cell): &crate::table::Own| cell.load().as_ref().is_some_and(|held| held.id() == *id);
        assert!(list.iter().all(is_its), "a list leads to another binding");
        (*key, list.iter().map(|(id, _)| *id).collect())
    });
    let keys = table.shared.pairs.pin();
    let keys = keys.iter().map(|(key, cell)| (*key, cell.load().as_ref().expect("a key leads to nothing").id()));
    let mut free = BTreeMap::new();
    for app in [APP, OTHER_APP, AX_APP, AXE_APP] {
        for area in [None, Some(area("0755")), Some(area("010"))] {
            let wish = Wish { area, is_loose: false };
            free.insert((app, area), bindings.pool.candidates(app, wish, u32::MAX).collect());
        }
    }
    Picture {
        bindings: bindings.iter().map(|held| (held.id(), (held.clone(), bindings.is_configured(held.id())))).collect(),
        of_number: numbers.keys().map(|x| (*x, bindings.of_number(*x).map(|held| held.id()).collect())).collect(),
        numbers,
        of_a: of_a.collect(),
        own: own.collect(),
        keys: keys.collect(),
        due: bindings.due.clone(),
        next_due: bindings.next_due(),
        free,
        lengths: (table.len(), table.numbers(), bindings.len()),
    }
}

/// Two virtual numbers of `APP`, one of `OTHER_APP`.
fn pool() -> (Bindings, Table) {
    let (mut bindings, table) = Bindings::new(Limits::default());
    bindings.add_number(virtual_number(x(1), APP)).unwrap();
    bindings.add_number(virtual_number(x(2), APP)).unwrap();
    bindings.add_number(virtual_number(x(9), OTHER_APP)).unwrap();
    (bindings, table)
}

/// What a decision says, in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Connect(SubscriptionId, Party, Number),
    Ask(AppId, Number, u8),
    Refuse(Refusal, Option<AppId>, Option<SubscriptionId>),
}

fn said(table: &Table, x: Number, caller: Option<Number>) -> Said {
    in_short(table.decide(x, caller))
}

fn in_short(decision: Decision) -> Said {
    match decision {
        Decision::Connect { binding, caller, callee } => Said::Connect(binding.id(), caller, callee),
        Decision::Ask { app, x, width } => Said::Ask(app, x, width),
        Decision::Refuse { refusal, app, binding } => Said::Refuse(refusal, app, binding.map(|binding| binding.id())),
    }
}

fn not_bound(app: AppId) -> Said {
    Said::Refuse(Refusal::NotBound, Some(app), None)
}

const UNKNOWN: Said = Said::Refuse(Refusal::UnknownX, None, None);

#[test]
fn both_parties_reach_each_other_and_nobody_else_anyone() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(7, m(1), x(1), m(2))).unwrap();
    let id = SubscriptionId(7);
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(id, Party::A, m(2)));
    assert_eq!(said(&table, x(1), Some(m(2))), Said::Connect(id, Party::B, m(1)));
    assert_eq!(said(&table, x(1), Some(m(3))), not_bound(APP));
    assert_eq!(said(&table, x(1), None), not_bound(APP));
    assert_eq!(said(&table, x(2), Some(m(1))), not_bound(APP));
    assert_eq!(said(&table, x(9), Some(m(1))), not_bound(OTHER_APP));
    assert_eq!(said(&table, x(3), Some(m(1))), UNKNOWN);
    assert_eq!(said(&table, x(3), None), UNKNOWN);
    assert_eq!(said(&table, m(1), Some(x(1))), UNKNOWN);
    assert_eq!((table.len(), table.numbers(), table.is_empty()), (1, 3, false));
}

#[test]
fn the_decision_carries_the_whole_binding() {
    let (mut bindings, table) = pool();
    let mut full = axb(7, m(1), x(1), m(2));
    full.max_minutes = 1_440;
    full.record = true;
    full.user_text = Some("order 17".into());
    full.voice = Some(Box::new(Voice { last_minute: Some("last.wav".into()), ..Voice::default() }));
    bindings.bind(Binding::Axb(full.clone())).unwrap();
    match table.decide(x(1), Some(m(2))) {
        Decision::Connect { binding, .. } => assert_eq!(*binding, Binding::Axb(full)),
        other @ (Decision::Ask { .. } | Decision::Refuse { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn directions_refuse_the_wrong_way() {
    let rows =
        [(CallDirection::Both, true, true), (CallDirection::AToB, true, false), (CallDirection::BToA, false, true)];
    for (direction, a_may, b_may) in rows {
        let (mut bindings, table) = pool();
        let id = SubscriptionId(7);
        bindings.bind(Binding::Axb(Axb { direction, ..axb(7, m(1), x(1), m(2)) })).unwrap();
        let wrong = Said::Refuse(Refusal::WrongDirection, Some(APP), Some(id));
        let a = if a_may { Said::Connect(id, Party::A, m(2)) } else { wrong };
        let b = if b_may { Said::Connect(id, Party::B, m(1)) } else { wrong };
        assert_eq!(said(&table, x(1), Some(m(1))), a, "{direction:?}");
        assert_eq!(said(&table, x(1), Some(m(2))), b, "{direction:?}");
    }
}

#[test]
fn a_fixed_line_is_called_but_does_not_call_whatever_the_direction() {
    let fixed = number("+8675528000001");
    for direction in [CallDirection::Both, CallDirection::AToB, CallDirection::BToA] {
        let (mut bindings, table) = pool();
        bindings.bind(Binding::Axb(Axb { direction, ..axb(7, m(1), x(1), fixed) })).unwrap();
        let refused = Said::Refuse(Refusal::FixedLineCaller, Some(APP), Some(SubscriptionId(7)));
        assert_eq!(said(&table, x(1), Some(fixed)), refused);
    }
    let (mut bindings, table) = pool();
    bindings.bind(bound(7, m(1), x(1), fixed)).unwrap();
    assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(SubscriptionId(7), Party::A, fixed));
    // A fixed line that is not bound is just not bound.
    assert_eq!(said(&table, x(1), Some(number("+8675528000002"))), not_bound(APP));
}

#[test]
fn mobiles_fixed_lines_700_and_foreign_numbers_may_be_parties_and_service_numbers_may_not() {
    let good = ["+8613800000009", "+861062000001", "+86700123456781234", "+85223456789", "+8625550001111"];
    for text in good {
        let (mut bindings, _table) = pool();
        assert_eq!(bindings.bind(bound(1, number(text), x(1), m(2))), Ok(()), "{text}");
        assert_eq!(bindings.bind(bound(2, m(1), x(2), number(text))), Ok(()), "{text}");
    }
    for text in ["+864001234567", "+868001234567", "+8695588", "+8696110", "+8695013123456"] {
        let (mut bindings, table) = pool();
        let party = number(text);
        assert_eq!(bindings.bind(bound(1, party, x(1), m(2))), Err(BindError::ServiceNumber(party)));
        assert_eq!(bindings.bind(bound(1, m(1), x(1), party)), Err(BindError::ServiceNumber(party)));
        assert!(table.is_empty() && bindings.is_empty());
    }
}

#[test]
fn every_rule_of_binding_refuses_and_changes_nothing() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    let before: Vec<_> = bindings.iter().collect();
    let foreign = Axb { app: OTHER_APP, ..axb(2, m(3), x(1), m(4)) };
    let long = Axb { max_minutes: 1_441, ..axb(2, m(3), x(1), m(4)) };
    let rows = [
        (axb(2, m(3), x(3), m(4)), BindError::UnknownX),
        (foreign, BindError::ForeignX),
        (axb(2, m(3), x(9), m(4)), BindError::ForeignX),
        (axb(2, m(3), x(1), m(3)), BindError::SameParty),
        (axb(2, x(1), x(1), m(3)), BindError::PartyIsVirtual(x(1))),
        (axb(2, m(3), x(1), x(1)), BindError::PartyIsVirtual(x(1))),
        (axb(2, m(3), x(1), x(9)), BindError::PartyIsVirtual(x(9))),
        (long, BindError::MaxMinutes),
        (axb(1, m(3), x(1), m(4)), BindError::Exists),
        (axb(1, m(3), x(2), m(4)), BindError::Exists),
        (axb(2, m(1), x(1), m(3)), BindError::NumberTaken(m(1))),
        (axb(2, m(2), x(1), m(3)), BindError::NumberTaken(m(2))),
        (axb(2, m(3), x(1), m(1)), BindError::NumberTaken(m(1))),
        (axb(2, m(3), x(1), m(2)), BindError::NumberTaken(m(2))),
        (axb(2, m(2), x(1), m(1)), BindError::NumberTaken(m(2))),
    ];
    for (axb, error) in rows {
        assert_eq!(bindings.bind(Binding::Axb(axb)), Err(error));
        assert_eq!(bindings.iter().collect::<Vec<_>>(), before);
        assert_eq!(table.len(), 1);
        assert_eq!(said(&table, x(1), Some(m(3))), not_bound(APP));
    }
    // The same numbers on another X, and other numbers on the same X, are fine.
    bindings.bind(bound(2, m(1), x(2), m(2))).unwrap();
    bindings.bind(bound(3, m(3), x(1), m(4))).unwrap();
    assert_eq!(bindings.pairs_of(x(1)), 2);
}

#[test]
fn an_unbound_number_may_be_bound_again() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    assert_eq!(bindings.unbind(SubscriptionId(2)), Err(BindError::NotFound));
    assert_eq!(bindings.unbind(SubscriptionId(1)).unwrap().id(), SubscriptionId(1));
    assert_eq!(bindings.unbind(SubscriptionId(1)), Err(BindError::NotFound));
    assert_eq!(said(&table, x(1), Some(m(1))), not_bound(APP));
    assert_eq!(said(&table, x(1), Some(m(2))), not_bound(APP));
    bindings.bind(bound(1, m(2), x(1), m(3))).unwrap();
    assert_eq!(said(&table, x(1), Some(m(2))), Said::Connect(SubscriptionId(1), Party::A, m(3)));
    assert_eq!(said(&table, x(1), Some(m(1))), not_bound(APP));
}

#[test]
fn a_call_keeps_its_binding_when_the_binding_ends() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    let call = table.decide(x(1), Some(m(1)));
    bindings.unbind(SubscriptionId(1)).unwrap();
    match call {
        Decision::Connect { binding, .. } => assert_eq!(pair(&binding).b, m(2)),
        other @ (Decision::Ask { .. } | Decision::Refuse { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn transfers_move_either_party_or_both_and_leave_nothing_behind() {
    let id = SubscriptionId(1);
    let rows = [
        (Some(m(3)), None, m(3), m(2)),
        (None, Some(m(3)), m(1), m(3)),
        (Some(m(3)), Some(m(4)), m(3), m(4)),
        (Some(m(2)), Some(m(1)), m(2), m(1)),
        (Some(m(2)), Some(m(3)), m(2), m(3)),
        (Some(m(3)), Some(m(1)), m(3), m(1)),
        (Some(m(1)), None, m(1), m(2)),
        (None, None, m(1), m(2)),
    ];
    for (a, b, is_a, is_b) in rows {
        let (mut bindings, table) = pool();
        bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
        bindings.change(id, Change { a, b, ..Change::default() }).unwrap();
        for n in 1..=5 {
            let expected = match m(n) {
                caller if caller == is_a => Said::Connect(id, Party::A, is_b),
                caller if caller == is_b => Said::Connect(id, Party::B, is_a),
                _ => not_bound(APP),
            };
            assert_eq!(said(&table, x(1), Some(m(n))), expected, "{a:?} {b:?} {n}");
        }
        assert_eq!(table.shared.pairs.len(), 2, "a key was left behind");
        // Those who left are free, those who came are taken.
        for n in 1..=4 {
            let left = m(n) != is_a && m(n) != is_b;
            assert_eq!(bindings.bind(bound(2, m(n), x(1), m(8))).is_ok(), left);
            let _ = bindings.unbind(SubscriptionId(2));
        }
    }
}

#[test]
fn a_modify_changes_what_it_names_and_keeps_the_rest() {
    let (mut bindings, _table) = pool();
    let was = Axb { record: true, user_text: Some("u".into()), max_minutes: 7, ..axb(1, m(1), x(1), m(2)) };
    bindings.bind(Binding::Axb(was.clone())).unwrap();
    let change = Change { direction: Some(CallDirection::BToA), max_minutes: Some(0), ..Change::default() };
    let now = bindings.change(SubscriptionId(1), change).unwrap();
    let expected = Axb { direction: CallDirection::BToA, max_minutes: 0, ..was };
    assert_eq!(*now, Binding::Axb(expected));
    assert_eq!(bindings.get(SubscriptionId(1)), Some(now));
}

#[test]
fn a_refused_modify_changes_nothing() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    bindings.bind(bound(2, m(3), x(1), m(4))).unwrap();
    let service = number("+8695588");
    let a = |a| Change { a: Some(a), record: Some(true), ..Change::default() };
    let rows = [
        (a(m(2)), BindError::SameParty),
        (a(m(3)), BindError::NumberTaken(m(3))),
        (a(m(4)), BindError::NumberTaken(m(4))),
        (a(x(1)), BindError::PartyIsVirtual(x(1))),
        (a(service), BindError::ServiceNumber(service)),
        (Change { b: Some(m(4)), ..a(m(5)) }, BindError::NumberTaken(m(4))),
        (Change { max_minutes: Some(1_441), ..a(m(5)) }, BindError::MaxMinutes),
    ];
    for (change, error) in rows {
        assert_eq!(bindings.change(SubscriptionId(1), change), Err(error));
        assert_eq!(*bindings.get(SubscriptionId(1)).unwrap(), bound(1, m(1), x(1), m(2)));
        assert_eq!(said(&table, x(1), Some(m(1))), Said::Connect(SubscriptionId(1), Party::A, m(2)));
        assert_eq!(said(&table, x(1), Some(m(5))), not_bound(APP));
    }
    assert_eq!(table.shared.pairs.len(), 4);
    assert_eq!(bindings.change(SubscriptionId(3), Change::default()), Err(BindError::NotFound));
}

#[test]
fn numbers_come_once_and_go_only_when_free() {
    let (mut bindings, table) = pool();
    assert_eq!(bindings.add_number(virtual_number(x(1), OTHER_APP)), Err(BindError::Exists));
    assert_eq!(table.virtual_number(x(1)).unwrap().app, APP);
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    assert_eq!(bindings.remove_number(x(1)), Err(BindError::InUse));
    assert_eq!(bindings.remove_number(x(3)), Err(BindError::NotFound));
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!(bindings.remove_number(x(1)), Ok(()));
    assert_eq!(table.virtual_number(x(1)), None);
    assert_eq!(said(&table, x(1), Some(m(1))), UNKNOWN);
    assert_eq!(bindings.bind(bound(1, m(1), x(1), m(2))), Err(BindError::UnknownX));
    assert_eq!(bindings.numbers().count(), 2);
}

#[test]
fn limits_refuse_the_newcomer_only() {
    let (mut bindings, table) = Bindings::new(Limits { pairs_per_number: 2, numbers: 2, bindings: 3 });
    bindings.add_number(virtual_number(x(1), APP)).unwrap();
    bindings.add_number(virtual_number(x(2), APP)).unwrap();
    assert_eq!(bindings.add_number(virtual_number(x(3), APP)), Err(BindError::Full));
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    bindings.bind(bound(2, m(3), x(1), m(4))).unwrap();
    assert_eq!(bindings.bind(bound(3, m(5), x(1), m(6))), Err(BindError::TooManyPairs));
    bindings.bind(bound(3, m(5), x(2), m(6))).unwrap();
    assert_eq!(bindings.bind(bound(4, m(7), x(2), m(8))), Err(BindError::Full));
    assert_eq!((table.len(), bindings.len()), (3, 3));
    bindings.unbind(SubscriptionId(1)).unwrap();
    bindings.bind(bound(4, m(7), x(1), m(8))).unwrap();
}

#[test]
fn five_thousand_pairs_on_one_x_work_and_one_more_does_not() {
    let (mut bindings, table) = pool();
    for n in 0..5_000 {
        bindings.bind(bound(u128::from(n), m(2 * n), x(1), m(2 * n + 1))).unwrap();
    }
    assert_eq!(bindings.bind(bound(9_999, m(99_998), x(1), m(99_999))), Err(BindError::TooManyPairs));
    for n in 0..5_000 {
        let id = SubscriptionId(u128::from(n));
        assert_eq!(said(&table, x(1), Some(m(2 * n))), Said::Connect(id, Party::A, m(2 * n + 1)));
        assert_eq!(said(&table, x(1), Some(m(2 * n + 1))), Said::Connect(id, Party::B, m(2 * n)));
    }
    assert_eq!(bindings.of_number(x(1)).count(), 5_000);
    assert_eq!(bindings.unbind_all(x(1)).unwrap().len(), 5_000);
    assert_eq!(bindings.unbind_all(x(1)).unwrap().len(), 0);
    assert_eq!(bindings.unbind_all(x(3)), Err(BindError::NotFound));
    assert_eq!((bindings.pairs_of(x(1)), table.shared.pairs.len(), table.len()), (0, 0, 0));
}

#[test]
fn an_extension_leads_to_the_x_on_which_it_is_free() {
    use crate::binding::{Axe, CallBack, Extension, TimeUnit};
    let (mut bindings, _) = pool();
    let seven = Extension::new(2, 7).unwrap();
    let axe = |id: u128, x: Number| Axe {
        id: SubscriptionId(id),
        app: APP,
        a: m(1),
        x,
        extension: seven,
        shows_caller: false,
        record: false,
        record_hint_tone: None,
        call_back: CallBack::App,
        unit: TimeUnit::Hours,
        bind_for: 0,
        call_back_for: 0,
        ends: 0,
        user_text: None,
        last_caller: None,
    };
    let beside = |bindings: &Bindings, extension| bindings.allocate_beside(APP, Wish::default(), extension);
    let first = beside(&bindings, seven).unwrap();
    bindings.bind(Binding::Axe(Box::new(axe(1, first)))).unwrap();
    let second = beside(&bindings, seven).unwrap();
    assert_ne!(first, second);
    bindings.bind(Binding::Axe(Box::new(axe(2, second)))).unwrap();
    assert_eq!(beside(&bindings, seven), Err(BindError::NoneFree));
    assert!(beside(&bindings, Extension::new(2, 8).unwrap()).is_ok());
    assert_eq!(bindings.allocate_beside(AppId(77), Wish::default(), seven), Err(BindError::NoneFree));
}

#[test]
fn every_error_has_its_label_and_prints_masked() {
    let errors = [
        BindError::UnknownX,
        BindError::ForeignX,
        BindError::NumberTaken(m(1)),
        BindError::SameParty,
        BindError::PartyIsVirtual(m(1)),
        BindError::ServiceNumber(m(1)),
        BindError::TooManyPairs,
        BindError::Full,
        BindError::MaxMinutes,
        BindError::NotFound,
        BindError::Exists,
        BindError::InUse,
        BindError::Configured,
        BindError::NumberState(NumberState::Frozen),
        BindError::Not700,
        BindError::Managed700,
        BindError::XTaken,
        BindError::TooManyX,
        BindError::ExtensionTaken(Extension::new(1, 1).unwrap()),
        BindError::NoneFree,
    ];
    let labels: std::collections::HashSet<_> = errors.iter().map(|error| error.label()).collect();
    assert_eq!(labels.len(), errors.len());
    let clear = m(1).digits().as_str().to_owned();
    for error in errors {
        assert!(!format!("{error} {error:?}").contains(&clear));
    }
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    let decision = table.decide(x(1), Some(m(1)));
    let last_caller = LastCaller { number: m(3), at: 1 };
    let printed = format!("{bindings:?} {table:?} {decision:?} {last_caller:?} {:?}", bindings.get(SubscriptionId(1)));
    for number in [m(1), m(2), m(3), x(1)] {
        assert!(!printed.contains(&number.digits().as_str()[2..]), "{printed}");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    /// Few parties, so that they meet; two of them fixed lines, one a service number, one virtual.
    fn party(&mut self) -> Number {
        match self.below(12) {
            0 => number("+8675528000001"),
            1 => number("+861062000001"),
            2 => number("+864001234567"),
            3 => x(1),
            n => m(n),
        }
    }

    fn direction(&mut self) -> CallDirection {
        CallDirection::from_code(self.below(3) as u8).unwrap()
    }

    fn axb(&mut self) -> Axb {
        let id = u128::from(self.below(12));
        let (a, x, b) = (self.party(), x(1 + self.below(4)), self.party());
        let app = if self.below(8) == 0 { OTHER_APP } else { APP };
        Axb { app, direction: self.direction(), max_minutes: self.below(1_500) as u16, ..axb(id, a, x, b) }
    }
}

/// All rules, looked up by walking through everything.
#[derive(Clone, Default)]
struct Model {
    numbers: BTreeMap<Number, AppId>,
    bindings: BTreeMap<SubscriptionId, Axb>,
}

impl Model {
    fn refusal(&self, axb: &Axb, own: Option<SubscriptionId>) -> Option<BindError> {
        let Some(app) = self.numbers.get(&axb.x) else { return Some(BindError::UnknownX) };
        if *app != axb.app {
            return Some(BindError::ForeignX);
        }
        if axb.a == axb.b {
            return Some(BindError::SameParty);
        }
        if axb.max_minutes > 1_440 {
            return Some(BindError::MaxMinutes);
        }
        for party in [axb.a, axb.b] {
            if self.numbers.contains_key(&party) {
                return Some(BindError::PartyIsVirtual(party));
            }
            if party == number("+864001234567") {
                return Some(BindError::ServiceNumber(party));
            }
        }
        if own.is_none() && self.bindings.contains_key(&axb.id) {
            return Some(BindError::Exists);
        }
        let others = || self.bindings.values().filter(|other| other.x == axb.x && Some(other.id) != own);
        for party in [axb.a, axb.b] {
            if others().any(|other| other.a == party || other.b == party) {
                return Some(BindError::NumberTaken(party));
            }
        }
        (own.is_none() && others().count() >= 3).then_some(BindError::TooManyPairs)
    }

    fn decide(&self, x: Number, caller: Option<Number>) -> Said {
        let Some(app) = self.numbers.get(&x) else { return UNKNOWN };
        let Some(caller) = caller else { return not_bound(*app) };
        let found = self.bindings.values().find(|axb| axb.x == x && (axb.a == caller || axb.b == caller));
        let Some(axb) = found else { return not_bound(*app) };
        let (party, callee) = if axb.a == caller { (Party::A, axb.b) } else { (Party::B, axb.a) };
        let refused = |refusal| Said::Refuse(refusal, Some(axb.app), Some(axb.id));
        let wrong = match axb.direction {
            CallDirection::Both => None,
            CallDirection::AToB => Some(Party::B),
            CallDirection::BToA => Some(Party::A),
        };
        // A virtual number that has left the pool may be a party; here they are all fixed lines of 0755.
        if [number("+8675528000001"), number("+861062000001"), self::x(1)].contains(&caller) {
            refused(Refusal::FixedLineCaller)
        } else if wrong == Some(party) {
            refused(Refusal::WrongDirection)
        } else {
            Said::Connect(axb.id, party, callee)
        }
    }

    fn assert_like(&self, bindings: &Bindings, table: &Table) {
        let all: Vec<Axb> = bindings.iter().map(|binding| pair(&binding).clone()).collect();
        assert_eq!(all, self.bindings.values().cloned().collect::<Vec<_>>());
        assert_eq!((bindings.len(), table.len()), (all.len(), all.len()));
        assert_eq!(table.shared.pairs.len(), 2 * all.len());
        assert_eq!(table.numbers(), self.numbers.len());
        let mut callers: Vec<Option<Number>> = (4..14).map(|n| Some(m(n))).collect();
        let others = ["+8675528000001", "+861062000001", "+864001234567"];
        callers.extend(others.map(|text| Some(number(text))));
        callers.extend([None, Some(x(1))]);
        for x in (1..=5).map(x) {
            for caller in &callers {
                assert_eq!(said(table, x, *caller), self.decide(x, *caller));
            }
            let mut of: Vec<_> = bindings.of_number(x).map(|binding| binding.id()).collect();
            of.sort();
            let expected = self.bindings.values().filter(|axb| axb.x == x).map(|axb| axb.id);
            assert_eq!(of, expected.collect::<Vec<_>>());
        }
    }
}

/// What the API does, or what the operator's file does: the two do not mix.
fn random_program(seed: u64, steps: usize, is_file: bool) {
    let mut random = Random(seed);
    let (mut bindings, table) = Bindings::new(Limits { pairs_per_number: 3, ..Limits::default() });
    let mut model = Model::default();
    if !is_file {
        for x in [x(1), x(2), x(3)] {
            bindings.add_number(virtual_number(x, APP)).unwrap();
            model.numbers.insert(x, APP);
        }
    }
    for _ in 0..steps {
        match if is_file { 9 } else { random.below(9) } {
            0..=3 => {
                let axb = random.axb();
                let refusal = model.refusal(&axb, None);
                assert_eq!(bindings.bind(Binding::Axb(axb.clone())).err(), refusal);
                if refusal.is_none() {
                    model.bindings.insert(axb.id, axb);
                }
            }
            4..=6 => {
                let id = SubscriptionId(u128::from(random.below(12)));
                let change = Change {
                    a: random.maybe(Random::party),
                    b: random.maybe(Random::party),
                    direction: random.maybe(Random::direction),
                    max_minutes: random.maybe(|random| random.below(1_500) as u16),
                    ..Change::default()
                };
                let result = bindings.change(id, change.clone());
                let Some(old) = model.bindings.get(&id) else {
                    assert_eq!(result, Err(BindError::NotFound));
                    continue;
                };
                let new = change.of(old);
                let refusal = model.refusal(&new, Some(id));
                assert_eq!(result.err(), refusal);
                if refusal.is_none() {
                    model.bindings.insert(id, new);
                }
            }
            7 => {
                let id = SubscriptionId(u128::from(random.below(12)));
                let gone = model.bindings.remove(&id).map(Binding::Axb);
                assert_eq!(bindings.unbind(id).ok().map(|binding| (*binding).clone()), gone);
            }
            8 => {
                let x = x(1 + random.below(4));
                let free = model.bindings.values().all(|axb| axb.x != x);
                let result = bindings.remove_number(x);
                assert_eq!(result.is_ok(), free && model.numbers.contains_key(&x));
                if result.is_ok() {
                    model.numbers.remove(&x);
                }
                if result == Err(BindError::NotFound) {
                    bindings.add_number(virtual_number(x, APP)).unwrap();
                    model.numbers.insert(x, APP);
                }
            }
            _ => reload(&mut random, &mut bindings, &mut model),
        }
        model.assert_like(&bindings, &table);
    }
}

/// Some of what is there, some of it changed, and something new; or something that breaks a rule.
fn reload(random: &mut Random, bindings: &mut Bindings, model: &mut Model) {
    let mut wanted = Model::default();
    let mut numbers = Vec::new();
    for x in (1..=4).map(x) {
        if random.below(4) != 0 {
            let number = VirtualNumber { trunk: random.maybe(|_| "other".into()), ..virtual_number(x, APP) };
            numbers.push(number);
            wanted.numbers.insert(x, APP);
        }
    }
    let mut candidates: Vec<Axb> = Vec::new();
    for axb in model.bindings.values() {
        let mut axb = axb.clone();
        match random.below(6) {
            0 => continue,
            1 => axb.a = random.party(),
            2 => axb.b = random.party(),
            3 => axb.id = SubscriptionId(u128::from(random.below(12))),
            4 => (axb.a, axb.b) = (axb.b, axb.a),
            _ => {}
        }
        candidates.push(axb);
    }
    // Two trade a party.
    let trade = random.below(2) == 0;
    if let [first, second, ..] = candidates.as_mut_slice()
        && trade
    {
        std::mem::swap(&mut first.b, &mut second.b);
    }
    candidates.push(random.axb());
    let careless = random.below(3) == 0;
    let mut list = Vec::new();
    let mut accused = None;
    for axb in candidates {
        match wanted.refusal(&axb, None) {
            None => {
                wanted.bindings.insert(axb.id, axb.clone());
                list.push(Binding::Axb(axb));
            }
            Some(error) if careless => {
                accused = Some((numbers.len() + list.len(), error));
                list.push(Binding::Axb(axb));
                break;
            }
            Some(_) => {}
        }
    }
    let kept = |id: &SubscriptionId| model.bindings.contains_key(id);
    let (stay, added): (Vec<_>, Vec<_>) = wanted.bindings.values().partition(|axb| kept(&axb.id));
    let (same, changed): (Vec<_>, Vec<_>) = stay.into_iter().partition(|axb| model.bindings.get(&axb.id) == Some(axb));
    let removed = model.bindings.keys().filter(|id| !wanted.bindings.contains_key(id)).count();
    let expected = crate::Summary { added: added.len(), removed, changed: changed.len(), kept: same.len() };
    match accused {
        Some(accused) => assert_eq!(bindings.replace_all(numbers, list), Err(accused)),
        None => {
            let trunks: Vec<_> = numbers.clone();
            assert_eq!(bindings.replace_all(numbers, list), Ok(expected));
            for number in trunks {
                assert_eq!(bindings.table().virtual_number(number.number).as_deref(), Some(&number));
            }
            *model = wanted;
        }
    }
}

#[test]
fn random_programs_do_as_the_model_does() {
    for seed in 0..60 {
        random_program(seed, 120, seed % 3 == 0);
    }
}

#[test]
fn a_key_that_a_transfer_has_left_behind_decides_nothing() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    let change = |b| Change { b: Some(b), ..Change::default() };
    let cell = table.shared.pairs.pin().get(&(x(1), m(2).as_u64())).cloned().unwrap();
    bindings.change(SubscriptionId(1), change(m(3))).unwrap();
    // As a reader sees it between the store and the removal of the key, or between the new key and the store.
    table.shared.pairs.pin().insert((x(1), m(2).as_u64()), Arc::clone(&cell));
    table.shared.pairs.pin().insert((x(1), m(4).as_u64()), cell);
    assert_eq!(said(&table, x(1), Some(m(2))), not_bound(APP));
    assert_eq!(said(&table, x(1), Some(m(4))), not_bound(APP));
    assert_eq!(said(&table, x(1), Some(m(3))), Said::Connect(SubscriptionId(1), Party::B, m(1)));
    bindings.change(SubscriptionId(1), change(m(4))).unwrap();
    assert_eq!(said(&table, x(1), Some(m(4))), Said::Connect(SubscriptionId(1), Party::B, m(1)));
}

#[test]
fn who_came_by_a_key_before_the_end_finds_nothing_after_it() {
    let (mut bindings, table) = pool();
    bindings.bind(bound(1, m(1), x(1), m(2))).unwrap();
    let cell = table.shared.pairs.pin().get(&(x(1), m(2).as_u64())).cloned().unwrap();
    assert!(cell.load().is_some());
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert!(cell.load().is_none());
    table.shared.pairs.pin().insert((x(1), m(2).as_u64()), cell);
    assert_eq!(said(&table, x(1), Some(m(2))), not_bound(APP));
}
