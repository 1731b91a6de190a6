//! Calls to X with extensions: who is asked, who is reached, who is called back; and the 700 segment.

use super::*;

const MINUTE: u64 = 60_000;
/// When most of it happens.
const NOW: u64 = 1_800_000_000_000;
const FIXED: &str = "+8675528000001";

/// 11 digits of the 700 segment: X of `AXE_APP`.
fn managed() -> Number {
    number("+8670012345678")
}

/// 15 digits, of which the first 11 are [`managed`].
fn tailed(tail: u16) -> Number {
    managed().with_tail(tail).unwrap()
}

fn two_digits() -> Rules {
    Rules { mode: Mode::Axe, extension_width: 2, ..Rules::default() }
}

/// X 1 to 3 and [`managed`] of `AXE_APP`, whose extensions have two digits; X 5 of `AX_APP`, X 9 of `APP`.
fn extended_app() -> (Bindings, Table) {
    let (mut bindings, table) = Bindings::new(Limits::default());
    bindings.set_all_rules([
        (AXE_APP, two_digits()),
        (AX_APP, Rules { mode: Mode::Ax, ..Rules::default() }),
        (APP, Rules::default()),
    ]);
    bindings.handle_time(NOW);
    for x in [x(1), x(2), x(3), managed()] {
        bindings.add_number(virtual_number(x, AXE_APP)).unwrap();
    }
    bindings.add_number(virtual_number(x(5), AX_APP)).unwrap();
    bindings.add_number(virtual_number(x(9), APP)).unwrap();
    (bindings, table)
}

/// Of `AXE_APP`.
fn own(id: u128, a: Number, x: Number, digits: &str) -> Axe {
    Axe { app: AXE_APP, ..axe(id, a, x, extension(digits)) }
}

fn set(bindings: &mut Bindings, axe: Axe) {
    bindings.bind(extended(axe)).unwrap();
}

/// Called at that time.
fn call(bindings: &mut Bindings, id: u128, caller: Number, at: u64) {
    let a = bindings.get(SubscriptionId(id)).unwrap().a();
    assert!(bindings.note_caller(SubscriptionId(id), a, LastCaller { number: caller, at }));
}

fn at(table: &Table, x: Number, caller: Number, now: u64) -> Said {
    in_short(table.decide_at(x, Some(caller), now))
}

fn typed(table: &Table, x: Number, digits: &str, caller: Number) -> Said {
    in_short(table.decide_extension(x, extension(digits), Some(caller), NOW))
}

fn reaches(id: u128, callee: Number) -> Said {
    Said::Connect(SubscriptionId(id), Party::B, callee)
}

fn calls_back(id: u128, callee: Number) -> Said {
    Said::Connect(SubscriptionId(id), Party::A, callee)
}

fn no(refusal: Refusal, id: u128) -> Said {
    Said::Refuse(refusal, Some(AXE_APP), Some(SubscriptionId(id)))
}

fn unknown_extension() -> Said {
    Said::Refuse(Refusal::UnknownExtension, Some(AXE_APP), None)
}

fn change_a(bindings: &mut Bindings, id: u128, a: Number) {
    let change = |binding: &mut Binding| match binding {
        Binding::Axe(axe) => axe.a = a,
        other @ (Binding::Axb(_) | Binding::Ax(_)) => panic!("{other:?}"),
    };
    bindings.modify(SubscriptionId(id), change).unwrap();
}

fn last_caller(bindings: &Bindings, id: u128) -> Option<LastCaller> {
    match &*bindings.get(SubscriptionId(id)).unwrap() {
        Binding::Axe(axe) => axe.last_caller,
        other @ (Binding::Axb(_) | Binding::Ax(_)) => panic!("{other:?}"),
    }
}

#[test]
fn the_first_row_that_applies_decides() {
    let (mut bindings, table) = extended_app();
    let fixed = number(FIXED);
    set(&mut bindings, own(1, m(1), x(1), "07"));
    set(&mut bindings, own(2, m(1), managed(), "07"));
    set(&mut bindings, Axe { call_back: CallBack::Number(m(30)), ..own(3, m(3), x(1), "08") });
    set(&mut bindings, own(4, m(4), x(1), "09"));
    call(&mut bindings, 4, m(40), NOW);
    bindings.bind(whole(Ax { app: AX_APP, direction: CallDirection::AToB, ..ax(5, m(5), x(5)) })).unwrap();
    bindings.bind(bound(6, m(1), x(9), fixed)).unwrap();
    let ask = |x| Said::Ask(AXE_APP, x, 2);
    let of = |refusal, app, id: u128| Said::Refuse(refusal, Some(app), Some(SubscriptionId(id)));
    let rows = [
        ("1 no X", x(4), Some(m(1)), UNKNOWN),
        ("1 no X", number("+86700876543210001"), Some(m(1)), UNKNOWN),
        ("3 an extension was dialled", tailed(7), Some(m(2)), reaches(2, m(1))),
        ("3 an extension was dialled", tailed(7), None, reaches(2, m(1))),
        ("3 nobody's was dialled", tailed(8), Some(m(2)), unknown_extension()),
        ("4 called back", x(1), Some(m(4)), calls_back(4, m(40))),
        ("4 named by the binding", x(1), Some(m(3)), calls_back(3, m(30))),
        ("4 nobody", x(1), Some(m(1)), no(Refusal::NoCallBack, 1)),
        ("5 asked", x(1), Some(m(2)), ask(x(1))),
        ("5 asked", x(1), None, ask(x(1))),
        ("5 asked: a fixed line may call, as anybody may", x(1), Some(fixed), ask(x(1))),
        ("5 asked: nothing is bound yet", x(2), Some(m(1)), ask(x(2))),
        ("5 asked: 11 digits were dialled", managed(), Some(m(2)), ask(managed())),
        ("6 no party", x(9), Some(m(2)), not_bound(APP)),
        ("6 no party", x(9), None, not_bound(APP)),
        ("8 a fixed line", x(9), Some(fixed), of(Refusal::FixedLineCaller, APP, 6)),
        ("9 the wrong way", x(5), Some(m(2)), of(Refusal::WrongDirection, AX_APP, 5)),
        ("10 nobody is named", x(5), Some(m(5)), of(Refusal::NoTemporaryCallee, AX_APP, 5)),
        ("11", x(9), Some(m(1)), calls_back(6, fixed)),
    ];
    for (row, dialled, caller, expected) in rows {
        assert_eq!(in_short(table.decide_at(dialled, caller, NOW)), expected, "{row}: {caller:?} dials {dialled:?}");
    }
    bindings.modify(SubscriptionId(5), |ax| *ax = whole(Ax { app: AX_APP, is_on: false, ..ax_of(ax) })).unwrap();
    for caller in [Some(m(5)), Some(m(2)), None] {
        let said = in_short(table.decide_at(x(5), caller, NOW));
        assert_eq!(said, of(Refusal::SwitchedOff, AX_APP, 5), "7 switched off");
    }
    // 2: what X is comes before what stands on it, and before what is asked.
    for x in [x(1), managed()] {
        bindings.change_number(VirtualNumber { state: NumberState::Suspended, ..virtual_number(x, AXE_APP) }).unwrap();
    }
    let unusable = Said::Refuse(Refusal::NumberUnusable, Some(AXE_APP), None);
    for (dialled, caller) in [(x(1), m(1)), (x(1), m(2)), (managed(), m(2)), (tailed(7), m(2)), (tailed(8), m(1))] {
        assert_eq!(at(&table, dialled, caller, NOW), unusable, "2: {dialled:?}");
    }
    assert_eq!(typed(&table, x(1), "07", m(2)), unusable);
    assert_eq!(typed(&table, x(4), "07", m(2)), UNKNOWN);
}

fn ax_of(binding: &Binding) -> Ax {
    match binding {
        Binding::Ax(ax) => (**ax).clone(),
        other @ (Binding::Axb(_) | Binding::Axe(_)) => panic!("{other:?}"),
    }
}

#[test]
fn an_extension_reaches_its_a_and_one_s_own_calls_back() {
    let (mut bindings, table) = extended_app();
    let fixed = number(FIXED);
    set(&mut bindings, own(1, m(1), x(1), "07"));
    set(&mut bindings, own(2, m(2), x(1), "08"));
    set(&mut bindings, own(3, fixed, x(1), "09"));
    assert_eq!(typed(&table, x(1), "07", m(9)), reaches(1, m(1)));
    assert_eq!(typed(&table, x(1), "08", m(9)), reaches(2, m(2)));
    assert_eq!(typed(&table, x(1), "09", m(9)), reaches(3, fixed));
    assert_eq!(typed(&table, x(1), "07", fixed), reaches(1, m(1)), "a fixed line that is another's A");
    // As many digits, or it is another one.
    for digits in ["7", "007", "0007", "70", "10"] {
        assert_eq!(typed(&table, x(1), digits, m(9)), unknown_extension(), "{digits}");
    }
    assert_eq!(typed(&table, x(2), "07", m(9)), unknown_extension());
    let withheld = in_short(table.decide_extension(x(1), extension("07"), None, NOW));
    assert_eq!(withheld, reaches(1, m(1)));
    // The own one, and another A's.
    assert_eq!(typed(&table, x(1), "07", m(1)), no(Refusal::NoCallBack, 1));
    assert_eq!(typed(&table, x(1), "08", m(1)), reaches(2, m(2)));
    assert_eq!(typed(&table, x(1), "09", fixed), no(Refusal::FixedLineCaller, 3));
    call(&mut bindings, 1, m(40), NOW);
    assert_eq!(typed(&table, x(1), "07", m(1)), calls_back(1, m(40)));
}

#[test]
fn the_newest_caller_by_any_of_a_s_extensions_is_called_back() {
    let (mut bindings, table) = extended_app();
    for (id, digits) in [(1, "01"), (3, "03"), (2, "02")] {
        set(&mut bindings, own(id, m(1), x(1), digits));
    }
    // On another X, and of another A: neither counts.
    set(&mut bindings, own(7, m(1), x(2), "01"));
    set(&mut bindings, own(8, m(2), x(1), "08"));
    call(&mut bindings, 7, m(47), NOW);
    call(&mut bindings, 8, m(48), NOW);
    assert_eq!(at(&table, x(1), m(1), NOW), no(Refusal::NoCallBack, 3));
    call(&mut bindings, 1, m(41), NOW - 20);
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(1, m(41)));
    call(&mut bindings, 3, m(43), NOW - 30);
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(1, m(41)), "it is the time that counts");
    call(&mut bindings, 2, m(42), NOW - 10);
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(2, m(42)));
    // At the same millisecond the newer binding's.
    call(&mut bindings, 3, m(44), NOW - 10);
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(3, m(44)));
    // One's own extension says which.
    assert_eq!(typed(&table, x(1), "01", m(1)), calls_back(1, m(41)));
    // An unbind takes its callers along.
    bindings.unbind(SubscriptionId(3)).unwrap();
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(2, m(42)));
    bindings.unbind(SubscriptionId(2)).unwrap();
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!(at(&table, x(1), m(1), NOW), Said::Ask(AXE_APP, x(1), 2));
    assert_eq!(at(&table, x(2), m(1), NOW), calls_back(7, m(47)));
}

#[test]
fn where_nobody_has_called_the_newest_binding_says_who_is_reached_then_the_app() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, Axe { call_back: CallBack::Number(m(31)), ..own(1, m(1), x(1), "01") });
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(1, m(31)));
    // The newest decides, whatever older ones say.
    set(&mut bindings, Axe { call_back: CallBack::Tone("tone.wav".into()), ..own(2, m(1), x(1), "02") });
    let of_app = Rules { call_back: Some(m(90)), ..two_digits() };
    bindings.set_rules(AXE_APP, of_app.clone());
    assert_eq!(at(&table, x(1), m(1), NOW), no(Refusal::NoCallBack, 2), "the tone stands in the binding");
    set(&mut bindings, own(3, m(1), x(1), "03"));
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(3, m(90)));
    bindings.set_rules(AXE_APP, two_digits());
    assert_eq!(at(&table, x(1), m(1), NOW), no(Refusal::NoCallBack, 3));
    // The app's number may be A's own: nobody is connected to himself.
    bindings.set_rules(AXE_APP, Rules { call_back: Some(m(1)), ..of_app });
    assert_eq!(at(&table, x(1), m(1), NOW), no(Refusal::NoCallBack, 3));
    set(&mut bindings, Axe { call_back: CallBack::Number(m(34)), ..own(4, m(1), x(1), "04") });
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(4, m(34)));
    // A caller goes before all of them.
    call(&mut bindings, 1, m(41), NOW);
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(1, m(41)));
}

#[test]
fn a_caller_can_be_called_back_to_the_millisecond_and_with_0_for_ever() {
    let (mut bindings, table) = extended_app();
    let of = |id, digits, unit, call_back_for| Axe { unit, call_back_for, ..own(id, m(id as u64), x(1), digits) };
    set(&mut bindings, of(1, "01", TimeUnit::Minutes, 2));
    set(&mut bindings, of(2, "02", TimeUnit::Hours, 1));
    set(&mut bindings, of(3, "03", TimeUnit::Hours, 0));
    set(&mut bindings, of(4, "04", TimeUnit::Minutes, u32::MAX));
    for (id, life) in
        [(1, Some(2 * MINUTE)), (2, Some(60 * MINUTE)), (3, None), (4, Some(u64::from(u32::MAX) * MINUTE))]
    {
        let a = m(id as u64);
        call(&mut bindings, id, m(40), NOW);
        assert_eq!(at(&table, x(1), a, NOW), calls_back(id, m(40)));
        // Told of before, as a clock that was set back tells it.
        assert_eq!(at(&table, x(1), a, NOW - 1), calls_back(id, m(40)));
        match life {
            Some(life) => {
                assert_eq!(at(&table, x(1), a, NOW + life - 1), calls_back(id, m(40)));
                assert_eq!(at(&table, x(1), a, NOW + life), no(Refusal::NoCallBack, id));
                assert_eq!(at(&table, x(1), a, u64::MAX), no(Refusal::NoCallBack, id));
            }
            None => assert_eq!(at(&table, x(1), a, u64::MAX), calls_back(id, m(40))),
        }
    }
    // Times of one A: the latest caller counts as long as its own binding says, then the one before.
    set(&mut bindings, Axe { a: m(1), ..of(5, "05", TimeUnit::Minutes, 1) });
    call(&mut bindings, 5, m(45), NOW + MINUTE / 2);
    assert_eq!(at(&table, x(1), m(1), NOW + MINUTE), calls_back(5, m(45)));
    assert_eq!(at(&table, x(1), m(1), NOW + MINUTE * 3 / 2), calls_back(1, m(40)));
    assert_eq!(at(&table, x(1), m(1), NOW + MINUTE * 2), no(Refusal::NoCallBack, 5));
    // What is set anew counts for the caller of before.
    bindings.modify(SubscriptionId(1), |axe| *axe = extended(Axe { call_back_for: 3, ..axe_of(axe) })).unwrap();
    assert_eq!(at(&table, x(1), m(1), NOW + MINUTE * 2), calls_back(1, m(40)));
}

fn axe_of(binding: &Binding) -> Axe {
    match binding {
        Binding::Axe(axe) => (**axe).clone(),
        other @ (Binding::Axb(_) | Binding::Ax(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_binding_that_has_run_out_reaches_nobody_before_its_end_is_written() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, Axe { ends: NOW + 10, ..own(2, m(1), x(1), "02") });
    set(&mut bindings, Axe { ends: NOW + 20, ..own(1, m(1), x(1), "01") });
    call(&mut bindings, 2, m(42), NOW);
    call(&mut bindings, 1, m(41), NOW - 1);
    let by = |digits, now| in_short(table.decide_extension(x(1), extension(digits), Some(m(9)), now));
    assert_eq!((at(&table, x(1), m(1), NOW + 9), by("02", NOW + 9)), (calls_back(2, m(42)), reaches(2, m(1))));
    assert_eq!((at(&table, x(1), m(1), NOW + 10), by("02", NOW + 10)), (calls_back(1, m(41)), unknown_extension()));
    assert_eq!(by("01", NOW + 19), reaches(1, m(1)));
    assert_eq!(at(&table, x(1), m(1), NOW + 20), Said::Ask(AXE_APP, x(1), 2), "A has none any more, and is asked");
    assert_eq!(bindings.len(), 2);
    bindings.handle_time(NOW + 20);
    assert_eq!((bindings.len(), table.shared.of_a.len(), table.shared.pairs.len()), (0, 0, 0));
}

#[test]
fn a_fixed_line_with_an_extension_is_called_and_does_not_call() {
    let (mut bindings, table) = extended_app();
    let fixed = number(FIXED);
    set(&mut bindings, Axe { call_back: CallBack::Number(m(30)), ..own(1, fixed, x(1), "01") });
    call(&mut bindings, 1, m(40), NOW);
    assert_eq!(at(&table, x(1), fixed, NOW), no(Refusal::FixedLineCaller, 1));
    assert_eq!(typed(&table, x(1), "01", fixed), no(Refusal::FixedLineCaller, 1));
    assert_eq!(typed(&table, x(1), "01", m(2)), reaches(1, fixed));
    // And is itself called back by others.
    set(&mut bindings, own(2, m(2), x(1), "02"));
    call(&mut bindings, 2, fixed, NOW);
    assert_eq!(at(&table, x(1), m(2), NOW), calls_back(2, fixed));
}

#[test]
fn a_new_a_knows_nothing_of_who_called_the_old_one() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, own(1, m(1), x(1), "01"));
    call(&mut bindings, 1, m(40), NOW);
    let caller = LastCaller { number: m(40), at: NOW };
    bindings.modify(SubscriptionId(1), |axe| *axe = extended(Axe { record: true, ..axe_of(axe) })).unwrap();
    assert_eq!(last_caller(&bindings, 1), Some(caller), "another change leaves it");
    change_a(&mut bindings, 1, m(2));
    assert_eq!(last_caller(&bindings, 1), None);
    assert_eq!(at(&table, x(1), m(2), NOW), no(Refusal::NoCallBack, 1));
    assert_eq!(at(&table, x(1), m(1), NOW), Said::Ask(AXE_APP, x(1), 2));
    // Whose call was on its way while A changed.
    assert!(!bindings.note_caller(SubscriptionId(1), m(1), caller));
    assert_eq!(last_caller(&bindings, 1), None);
    change_a(&mut bindings, 1, m(1));
    assert_eq!(last_caller(&bindings, 1), None, "to and fro is twice another one");
}

#[test]
fn only_who_can_be_called_is_called_back() {
    let (mut bindings, _table) = extended_app();
    set(&mut bindings, own(1, m(1), x(1), "01"));
    bindings.bind(bound(2, m(1), x(9), m(2))).unwrap();
    bindings.keep_journal();
    let mut note = |id: u128, a: Number, caller: Number| {
        let before = bindings.get(SubscriptionId(id));
        let is_noted = bindings.note_caller(SubscriptionId(id), a, LastCaller { number: caller, at: NOW });
        let is = bindings.get(SubscriptionId(id));
        let entries = bindings.take_journal();
        match is_noted {
            true => assert_eq!(entries, [Entry::Binding { was: before, is }]),
            false => assert_eq!((entries, before), (vec![], is)),
        }
        is_noted
    };
    let callable = ["+8613900000009", FIXED, "+86700876543210001"];
    for caller in callable {
        assert!(note(1, m(1), number(caller)), "{caller}");
    }
    let others = ["+864001234567", "+8695588", "+8696110", "+86110", "+8612345", "+85223456789", "+14155550100"];
    for caller in others.map(number) {
        assert!(!note(1, m(1), caller), "{caller}");
    }
    for caller in [m(1), x(1), x(9), managed(), tailed(7), tailed(9_999)] {
        assert!(!note(1, m(1), caller), "{caller}");
    }
    assert!(!note(1, m(2), m(3)), "another A's");
    assert!(!note(2, m(1), m(3)), "no extension");
    assert!(!note(3, m(1), m(3)), "no binding");
}

#[test]
fn who_called_can_be_taken_back_as_any_change() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, own(1, m(1), x(1), "01"));
    bindings.keep_journal();
    call(&mut bindings, 1, m(40), NOW);
    let before = picture(&bindings);
    let _ = bindings.take_journal();
    call(&mut bindings, 1, m(41), NOW + 1);
    change_a(&mut bindings, 1, m(2));
    call(&mut bindings, 1, m(42), NOW + 2);
    bindings.unbind(SubscriptionId(1)).unwrap();
    let entries = bindings.take_journal();
    bindings.undo(entries);
    assert_eq!(picture(&bindings), before);
    assert_eq!(at(&table, x(1), m(1), NOW), calls_back(1, m(40)));
    assert_eq!(at(&table, x(1), m(2), NOW), Said::Ask(AXE_APP, x(1), 2));
}

// ---- the 700 segment ------------------------------------------------------------------------------------------

#[test]
fn the_four_digits_behind_a_managed_number_are_the_extension_with_zeros_in_front() {
    // Digits of an app's extensions; what is dialled; what it means.
    let rows = [
        (1, 7, Some("7")),
        (1, 70, None),
        (2, 7, Some("07")),
        (2, 42, Some("42")),
        (2, 142, None),
        (2, 4_200, None),
        (3, 42, Some("042")),
        (3, 1_042, None),
        (4, 42, Some("0042")),
        (4, 9_999, Some("9999")),
        (1, 0, None),
        (4, 0, None),
    ];
    for (width, tail, digits) in rows {
        let (mut bindings, table) = extended_app();
        bindings.set_rules(AXE_APP, Rules { extension_width: width, ..two_digits() });
        let all = ["7", "07", "007", "0007", "42", "042", "0042", "9999", "4200"];
        for (id, digits) in all.iter().enumerate() {
            set(&mut bindings, own(1 + id as u128, m(1 + id as u64), managed(), digits));
        }
        let expected = digits.map_or(unknown_extension(), |digits| {
            let place = all.iter().position(|one| *one == digits).unwrap();
            reaches(1 + place as u128, m(1 + place as u64))
        });
        assert_eq!(at(&table, tailed(tail), m(90), NOW), expected, "{tail:04} with {width}");
        // What the parties see is what reaches.
        if let Said::Connect(id, ..) = expected {
            assert_eq!(bindings.get(id).unwrap().shown(), tailed(tail));
        }
    }
    let (mut bindings, _) = extended_app();
    set(&mut bindings, own(1, m(1), x(1), "07"));
    assert_eq!(bindings.get(SubscriptionId(1)).unwrap().shown(), x(1));
}

#[test]
fn whoever_dials_15_digits_is_connected_unasked_and_a_s_own_call_back() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, own(1, m(1), managed(), "07"));
    set(&mut bindings, own(2, m(2), managed(), "08"));
    set(&mut bindings, own(3, m(1), managed(), "09"));
    assert_eq!(at(&table, tailed(7), m(2), NOW), reaches(1, m(1)), "A of another extension");
    assert_eq!(at(&table, tailed(7), m(1), NOW), no(Refusal::NoCallBack, 1));
    call(&mut bindings, 1, m(41), NOW - 1);
    call(&mut bindings, 3, m(43), NOW);
    assert_eq!(at(&table, tailed(7), m(1), NOW), calls_back(1, m(41)));
    assert_eq!(at(&table, tailed(9), m(1), NOW), calls_back(3, m(43)));
    assert_eq!(at(&table, managed(), m(1), NOW), calls_back(3, m(43)), "the newest of all without an extension");
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!(at(&table, tailed(7), m(2), NOW), unknown_extension());
    // Nothing but the managed 11 digits in front leads there.
    for text in ["+86700123456790007", "+8670012345679", "+86700123456780", "+8670012345678007", "+867001234567800007"]
    {
        if let Ok(dialled) = Number::parse(text) {
            assert_eq!(at(&table, dialled, m(2), NOW), UNKNOWN, "{text}");
        }
    }
}

#[test]
fn of_an_app_without_extensions_all_15_digits_are_x() {
    let (mut bindings, table) = extended_app();
    let (pair_x, single_x) = (number("+86700765432100001"), number("+86700765432100002"));
    bindings.add_number(virtual_number(pair_x, APP)).unwrap();
    bindings.add_number(virtual_number(single_x, AX_APP)).unwrap();
    bindings.bind(bound(1, m(1), pair_x, m(2))).unwrap();
    bindings.bind(whole(Ax { app: AX_APP, ..ax(2, m(3), single_x) })).unwrap();
    assert_eq!(at(&table, pair_x, m(1), NOW), calls_back(1, m(2)));
    assert_eq!(at(&table, pair_x, m(2), NOW), reaches(1, m(1)));
    assert_eq!(at(&table, single_x, m(9), NOW), reaches(2, m(3)));
    assert_eq!(at(&table, number("+86700765432100003"), m(1), NOW), UNKNOWN);
    for id in [1, 2] {
        let binding = bindings.get(SubscriptionId(id)).unwrap();
        assert_eq!(binding.shown(), binding.x());
    }
    // Of the managed 11 digits they have nothing: they are added, bound and given away for extensions only.
    let eleven = number("+8670076543210");
    for app in [APP, AX_APP, OTHER_APP] {
        assert_eq!(bindings.add_number(virtual_number(eleven, app)), Err(BindError::Managed700));
    }
    bindings.add_number(virtual_number(eleven, AXE_APP)).unwrap();
    for app in [APP, AX_APP] {
        assert_eq!(bindings.change_number(virtual_number(eleven, app)), Err(BindError::Managed700));
    }
    bindings.remove_number(eleven).unwrap();
    // One that is there from before is not given away, and takes no new binding; what it carries is read.
    bindings.restore_number(virtual_number(eleven, APP)).unwrap();
    bindings.change_number(VirtualNumber { trunk: None, ..virtual_number(eleven, APP) }).unwrap();
    let refused = bindings.bind(bound(7, m(1), eleven, m(2)));
    assert_eq!(refused, Err(BindError::Managed700));
    bindings.bind(bound(8, m(1), x(9), m(81))).unwrap();
    assert_eq!(bindings.allocate(APP, Wish::default(), &[m(1)]), Err(BindError::NoneFree), "m(1) is on both others");
    bindings.restore(bound(7, m(1), eleven, m(2))).unwrap();
    assert_eq!(at(&table, eleven, m(1), NOW), calls_back(7, m(2)));
    let dialled = eleven.with_tail(3).unwrap();
    assert_eq!((at(&table, dialled, m(1), NOW), table.is_virtual(dialled)), (UNKNOWN, false));
}

#[test]
fn an_x_of_15_digits_takes_no_extension_s_place_and_none_takes_its() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, own(1, m(1), managed(), "07"));
    assert_eq!(bindings.add_number(virtual_number(tailed(7), APP)), Err(BindError::Exists));
    bindings.add_number(virtual_number(tailed(8), APP)).unwrap();
    bindings.bind(bound(2, m(2), tailed(8), m(3))).unwrap();
    let eight = extension("08");
    let taken = bindings.bind(extended(own(3, m(3), managed(), "08")));
    assert_eq!(taken, Err(BindError::ExtensionTaken(eight)));
    assert_eq!(at(&table, tailed(8), m(2), NOW), calls_back(2, m(3)));
    assert_eq!(at(&table, tailed(7), m(2), NOW), reaches(1, m(1)));
    // Nor is it given away.
    for x in [x(1), x(2), x(3)] {
        set(&mut bindings, own(10 + u128::from(x.as_u64() % 10), m(4), x, "08"));
    }
    assert_eq!(bindings.allocate_beside(AXE_APP, Wish::default(), eight), Err(BindError::NoneFree));
    let mut given = BTreeSet::new();
    while let Ok(extension) = bindings.allocate_extension(managed()) {
        assert!(given.insert(extension.value()), "{extension} was given twice");
        let id = 100 + u128::from(extension.value());
        set(&mut bindings, own(id, m(5), managed(), &extension.to_string()));
    }
    let expected: BTreeSet<u16> = (1..=99).filter(|value| ![7, 8].contains(value)).collect();
    assert_eq!(given, expected);
    // Both are free again.
    bindings.unbind(SubscriptionId(2)).unwrap();
    bindings.remove_number(tailed(8)).unwrap();
    assert_eq!(bindings.allocate_extension(managed()), Ok(eight));
    bindings.unbind(SubscriptionId(1)).unwrap();
    bindings.add_number(virtual_number(tailed(7), APP)).unwrap();
    // Of the file neither.
    bindings.remove_number(tailed(7)).unwrap();
    set(&mut bindings, own(1, m(1), managed(), "07"));
    let of_file = |tail| vec![virtual_number(tailed(tail), APP)];
    assert_eq!(bindings.replace_all(of_file(7), vec![]), Err((0, BindError::Exists)));
    bindings.replace_all(of_file(8), vec![]).unwrap();
}

#[test]
fn a_number_that_leads_to_an_x_is_no_party() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, own(1, m(1), managed(), "07"));
    let party = |error| match error {
        Err(BindError::PartyIsVirtual(party)) => party,
        other => panic!("{other:?}"),
    };
    // Bound or not: it is the platform's.
    for virtual_party in [tailed(7), tailed(8), tailed(0), tailed(9_999), managed()] {
        assert!(table.is_virtual(virtual_party));
        let back = CallBack::Number(virtual_party);
        let callee = temporary(virtual_party, NOW + 1);
        let all = [
            bound(2, virtual_party, x(9), m(2)),
            bound(2, m(2), x(9), virtual_party),
            whole(Ax { app: AX_APP, ..ax(2, virtual_party, x(5)) }),
            whole(Ax { app: AX_APP, temporary: callee, ..ax(2, m(2), x(5)) }),
            extended(own(2, virtual_party, x(1), "01")),
            extended(Axe { call_back: back.clone(), ..own(2, m(2), x(1), "01") }),
        ];
        for binding in all {
            assert_eq!(party(bindings.bind(binding)), virtual_party);
        }
        let modified = bindings.modify(SubscriptionId(1), |axe| {
            *axe = extended(Axe { call_back: back, ..axe_of(axe) });
        });
        assert_eq!(party(modified.map(drop)), virtual_party);
        let of_file =
            bindings.replace_all(vec![virtual_number(x(20), APP)], vec![bound(9, m(1), x(20), virtual_party)]);
        assert_eq!(of_file, Err((1, BindError::PartyIsVirtual(virtual_party))));
        // One that was made before the start stands.
        bindings.restore(bound(9, m(7), x(9), virtual_party)).unwrap();
        bindings.unbind(SubscriptionId(9)).unwrap();
    }
    // Nor is one of 15 digits itself an X for that.
    let x15 = extended(own(2, m(2), tailed(7), "01"));
    assert_eq!(bindings.bind(x15), Err(BindError::UnknownX));
    // Of the file's own.
    let (mut bindings, _) = Bindings::new(Limits::default());
    let numbers = || vec![virtual_number(managed(), AXE_APP), virtual_number(x(1), APP)];
    let with = |binding| vec![binding];
    let of_file = bindings.replace_all(numbers(), with(bound(1, m(1), x(1), tailed(7))));
    assert_eq!(of_file, Err((2, BindError::PartyIsVirtual(tailed(7)))));
    let on_managed = Axb { app: AXE_APP, ..axb(1, m(1), managed(), m(2)) };
    assert_eq!(bindings.replace_all(numbers(), with(Binding::Axb(on_managed))), Err((2, BindError::Managed700)));
    // A 700 number of somebody else is a party as any other.
    bindings.replace_all(numbers(), with(bound(1, m(1), x(1), number("+86700876543210001")))).unwrap();
}

#[test]
fn where_only_700_numbers_may_serve_others_keep_what_they_carry_and_connect_nobody() {
    let (mut bindings, table) = extended_app();
    let x15 = number("+86700765432100001");
    bindings.add_number(virtual_number(x15, APP)).unwrap();
    bindings.bind(bound(1, m(1), x(9), m(2))).unwrap();
    bindings.bind(bound(2, m(1), x15, m(2))).unwrap();
    set(&mut bindings, own(3, m(1), x(1), "07"));
    set(&mut bindings, own(4, m(1), managed(), "07"));
    bindings.unbind(SubscriptionId(1)).unwrap();
    bindings.bind(bound(1, m(1), x(9), m(2))).unwrap();
    let free = picture(&bindings).free;
    bindings.keep_journal();

    bindings.set_only_700(true);
    assert_eq!(bindings.take_journal(), [], "nothing is bound or ended by it");
    let unusable = |app| Said::Refuse(Refusal::NumberUnusable, Some(app), None);
    assert_eq!(at(&table, x(9), m(1), NOW), unusable(APP));
    assert_eq!(at(&table, x(9), m(77), NOW), unusable(APP));
    assert_eq!(at(&table, x(1), m(1), NOW), unusable(AXE_APP));
    assert_eq!(typed(&table, x(1), "07", m(2)), unusable(AXE_APP));
    assert_eq!(at(&table, x(4), m(1), NOW), UNKNOWN);
    assert_eq!(at(&table, x15, m(1), NOW), calls_back(2, m(2)));
    assert_eq!(at(&table, tailed(7), m(2), NOW), reaches(4, m(1)));
    assert_eq!(at(&table, managed(), m(2), NOW), Said::Ask(AXE_APP, managed(), 2));
    // No new number, no new binding, none given away.
    assert_eq!(bindings.add_number(virtual_number(x(30), APP)), Err(BindError::Not700));
    assert_eq!(bindings.bind(bound(5, m(5), x(9), m(6))), Err(BindError::Not700));
    assert_eq!(bindings.bind(extended(own(5, m(5), x(1), "08"))), Err(BindError::Not700));
    let ours = |app| bindings.pool.candidates(app, Wish::default(), u32::MAX).collect::<Vec<_>>();
    assert_eq!((ours(APP), ours(AX_APP), ours(AXE_APP)), (vec![x15], vec![], vec![managed()]));
    assert_eq!(bindings.allocate(AX_APP, Wish::default(), &[m(5)]), Err(BindError::NoneFree));
    // What there is can change, end and be read.
    bindings.change_number(VirtualNumber { state: NumberState::Frozen, ..virtual_number(x(9), APP) }).unwrap();
    bindings.change_number(virtual_number(x(9), APP)).unwrap();
    bindings.change(SubscriptionId(1), Change { b: Some(m(8)), ..Change::default() }).unwrap();
    bindings.unbind(SubscriptionId(3)).unwrap();
    bindings.restore(extended(own(3, m(1), x(1), "07"))).unwrap();
    bindings.restore_number(virtual_number(x(30), APP)).unwrap();
    bindings.remove_number(x(30)).unwrap();

    bindings.set_only_700(false);
    assert_eq!(at(&table, x(9), m(1), NOW), calls_back(1, m(8)));
    assert_eq!(picture(&bindings).free, free);
    bindings.bind(bound(5, m(5), x(9), m(6))).unwrap();
}

#[test]
fn an_x_that_rests_while_only_700_numbers_serve_rests_to_its_end() {
    let (mut bindings, _) = extended_app();
    bindings.set_rules(APP, Rules { cool_off: 1_000, ..Rules::default() });
    bindings.bind(bound(1, m(1), x(9), m(2))).unwrap();
    bindings.unbind(SubscriptionId(1)).unwrap();
    assert_eq!(bindings.next_due(), Some(NOW + 1_000));
    bindings.set_only_700(true);
    assert_eq!((bindings.next_due(), bindings.rests_until(x(9))), (None, Some(NOW + 1_000)));
    bindings.handle_time(NOW + 999);
    bindings.set_only_700(false);
    assert_eq!(bindings.allocate(APP, Wish::default(), &[m(1)]), Err(BindError::NoneFree));
    assert_eq!(bindings.next_due(), Some(NOW + 1_000));
    bindings.handle_time(NOW + 1_000);
    assert_eq!(bindings.allocate(APP, Wish::default(), &[m(1)]), Ok(x(9)));
}

#[test]
fn rules_are_an_app_s_own_and_hold_from_the_next_call_on() {
    let (mut bindings, table) = extended_app();
    assert_eq!(bindings.rules(AppId(77)), Rules::default());
    assert_eq!(bindings.rules(AppId(u32::MAX)), Rules::default());
    assert_eq!((bindings.rules(AXE_APP), bindings.rules(AX_APP).mode), (two_digits(), Mode::Ax));
    assert_eq!(at(&table, x(1), m(1), NOW), Said::Ask(AXE_APP, x(1), 2));
    bindings.set_rules(AXE_APP, Rules { extension_width: 4, ..two_digits() });
    assert_eq!(at(&table, x(1), m(1), NOW), Said::Ask(AXE_APP, x(1), 4));
    bindings.set_rules(AXE_APP, Rules::default());
    assert_eq!(at(&table, x(1), m(1), NOW), not_bound(AXE_APP));
    assert_eq!((at(&table, tailed(7), m(1), NOW), table.is_virtual(tailed(7))), (UNKNOWN, false));
}

#[test]
fn a_key_that_another_extension_has_left_behind_reaches_nobody() {
    let (mut bindings, table) = extended_app();
    set(&mut bindings, own(1, m(1), x(1), "07"));
    let key = (x(1), extension_key(extension("07")));
    let cell = table.shared.pairs.pin().get(&key).cloned().unwrap();
    bindings
        .modify(SubscriptionId(1), |axe| *axe = extended(Axe { extension: extension("08"), ..axe_of(axe) }))
        .unwrap();
    table.shared.pairs.pin().insert(key, cell);
    assert_eq!(typed(&table, x(1), "07", m(2)), unknown_extension());
    assert_eq!(typed(&table, x(1), "08", m(2)), reaches(1, m(1)));
}

#[test]
fn thousands_of_extensions_on_one_x_are_listed_by_their_a() {
    let (mut bindings, table) = extended_app();
    bindings.set_rules(AXE_APP, Rules { extension_width: 4, ..two_digits() });
    for value in 1..=9_999_u16 {
        let id = u128::from(value);
        let axe =
            Axe { extension: Extension::new(4, value).unwrap(), ..own(id, m(u64::from(value % 2_000)), x(1), "01") };
        set(&mut bindings, axe);
    }
    let taken = bindings.allocate_extension(x(1));
    assert_eq!(taken, Err(BindError::NoneFree));
    assert_eq!(table.shared.of_a.len(), 2_000);
    call(&mut bindings, 4_007, m(5_000), NOW);
    assert_eq!(at(&table, x(1), m(7), NOW), calls_back(4_007, m(5_000)));
    assert_eq!(at(&table, x(1), m(8), NOW), no(Refusal::NoCallBack, 8_008));
    bindings.unbind_all(x(1)).unwrap();
    assert_eq!((table.shared.of_a.len(), table.shared.pairs.len()), (0, 0));
}
