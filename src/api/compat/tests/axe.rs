use numbering::{Axe, CallBack};

use super::super::axe;
use super::*;

const GOOD: Code = Code::Success;
const BAD: Code = Code::InvalidRequest;

fn one(a: u64) -> Value {
    json!({"bindNum": text(m(a))})
}

fn on(x: Number, a: u64, e: &str) -> Value {
    json!({"bindNum": text(m(a)), "virtualNum": text(x), "extendNum": e})
}

/// m(1) – X0 – 07, and its name.
fn bound(desk: &mut Desk) -> Value {
    let reply = desk.call(AXE, axe::bind, on(x(AXE, 0), 1, "07")).unwrap();
    json!({"subscriptionId": word(&reply, "subscriptionId")})
}

fn read(desk: &Desk, name: &Value) -> Option<Axe> {
    let id = SubscriptionId::parse(name["subscriptionId"].as_str().unwrap()).unwrap();
    match &*desk.books.bindings.get(id)? {
        Binding::Axe(axe) => Some((**axe).clone()),
        _ => None,
    }
}

fn terms_rows() -> Vec<(Value, Code, &'static str)> {
    let mut rows = user_text_rows();
    rows.extend(flag_rows("recordFlag"));
    rows.extend(tone_rows("recordHintTone"));
    rows.extend(tone_rows("callbackTone"));
    rows.extend(number_rows("callbackNum", "+8613900000009"));
    rows.extend(integer_rows("bindExpiredTime", 0, 720));
    rows.extend(integer_rows("callbackExpiredTime", 0, 720));
    let minutes = |name: &'static str| {
        let other = if name == "bindExpiredTime" { "callbackExpiredTime" } else { "bindExpiredTime" };
        let rows = integer_rows(name, 0, 43_200).into_iter().filter(move |(patch, ..)| !patch[name].is_null());
        rows.map(move |(patch, code, about)| (patched(&patch, &json!({"timeUnit": "1", other: 1})), code, about))
    };
    rows.extend(minutes("bindExpiredTime").chain(minutes("callbackExpiredTime")));
    let both = json!({"bindExpiredTime": 1, "callbackExpiredTime": 2});
    rows.extend([
        (json!({"displayNumMode": "0"}), GOOD, ""),
        (json!({"displayNumMode": 1}), GOOD, ""),
        (json!({"displayNumMode": "2"}), BAD, "displayNumMode"),
        (json!({"displayNumMode": true}), BAD, "displayNumMode"),
        (json!({"callbackNum": ""}), GOOD, ""),
        (json!({"callbackNum": text(m(1))}), BAD, "callbackNum"),
        (json!({"callbackNum": text(x(AXE, 1))}), BAD, "callbackNum"),
        (json!({"callbackNum": "+864001234567"}), BAD, "callbackNum"),
        (json!({"callbackNum": "+86110"}), BAD, "callbackNum"),
        (json!({"callbackNum": "+85223456789"}), BAD, "callbackNum"),
        (json!({"callbackNum": "+86700876543210001"}), BAD, "callbackNum"),
        (json!({"callbackNum": "+8675528000001"}), GOOD, ""),
        (json!({"callbackNum": text(m(5)), "callbackTone": "t.wav"}), BAD, "callbackTone"),
        (json!({"callbackNum": "", "callbackTone": "t.wav"}), GOOD, ""),
        (json!({"callbackNum": text(m(5)), "callbackTone": ""}), GOOD, ""),
        (json!({"callbackNum": "", "callbackTone": ""}), GOOD, ""),
        (patched(&both, &json!({"timeUnit": "0"})), GOOD, ""),
        (patched(&both, &json!({"timeUnit": 1})), GOOD, ""),
        (patched(&both, &json!({"timeUnit": "2"})), BAD, "timeUnit"),
        (patched(&both, &json!({"timeUnit": "hour"})), BAD, "timeUnit"),
        (json!({"maxDuration": "nobody looks", "privateSms": 7}), GOOD, ""),
    ]);
    rows
}

#[test]
fn every_parameter_of_bind() {
    let mut rows = terms_rows();
    rows.extend(number_rows("bindNum", "+8613900000009"));
    rows.extend(number_rows("virtualNum", &text(x(AXE, 1))));
    rows.extend([
        (json!({"bindNum": null}), BAD, "bindNum"),
        (json!({"bindNum": "+864001234567"}), BAD, "bindNum"),
        (json!({"bindNum": text(x(AXE, 1))}), BAD, "bindNum"),
        (json!({"virtualNum": ""}), GOOD, ""),
        (json!({"virtualNum": text(m(77))}), Code::NoX, ""),
        (json!({"virtualNum": text(x(OTHER_AXE, 0))}), Code::NoX, ""),
        (json!({"virtualNum": text(x(OTHER_AXE, 0)), "extendNum": "11"}), Code::NoX, ""),
        (json!({"areaCode": "010"}), GOOD, ""),
        (json!({"areaCode": "10"}), BAD, "areaCode"),
        (json!({"areaCode": "021"}), Code::NoneFree, ""),
        (json!({"areaCode": "021", "extendNum": "11"}), Code::NoneFree, ""),
        (json!({"areaCode": "021", "areaMatchMode": "1", "extendNum": "11"}), GOOD, ""),
        (json!({"areaMatchMode": "3"}), BAD, "areaMatchMode"),
        (json!({"extendNum": ""}), GOOD, ""),
        (json!({"extendNum": "01"}), GOOD, ""),
        (json!({"extendNum": "99"}), GOOD, ""),
        (json!({"extendNum": "00"}), BAD, "extendNum"),
        (json!({"extendNum": "1"}), BAD, "extendNum"),
        (json!({"extendNum": "001"}), BAD, "extendNum"),
        (json!({"extendNum": "12345"}), BAD, "extendNum"),
        (json!({"extendNum": "1a"}), BAD, "extendNum"),
        (json!({"extendNum": 12}), BAD, "extendNum"),
        (json!({"timeUnit": "1"}), GOOD, ""),
    ]);
    check(AXE, axe::bind, |_| one(1), &rows);
}

#[test]
fn a_bind_answers_what_it_made() {
    let mut desk = Desk::new();
    let reply = desk.call(AXE, axe::bind, patched(&on(x(AXE, 0), 1, "07"), &json!({"userData": "u"}))).unwrap();
    let id = word(&reply, "subscriptionId").to_owned();
    let expected = json!({"resultcode": "0", "resultdesc": "Success", "subscriptionId": id, "virtualNum": text(x(AXE, 0)),
        "extendNum": "07", "userData": "u"});
    assert_eq!(Value::from(reply), expected);
    let expected = json!({"resultcode": "0", "resultdesc": "Success", "subscriptionId": id, "virtualNum": text(x(AXE, 0)),
        "extendNum": "07", "bindNum": text(m(1)), "displayNumMode": "0", "recordFlag": "false", "timeUnit": "0",
        "bindExpiredTime": 168, "callbackExpiredTime": 168, "userData": "u"});
    for query in [format!("subscriptionId={id}"), format!("virtualNum={}&extendNum=07", text(x(AXE, 0)))] {
        assert_eq!(Value::from(desk.ask(AXE, axe::query, &query).unwrap()), expected);
    }
    let terms = json!({"displayNumMode": "1", "recordFlag": "true", "recordHintTone": "r.wav", "callbackNum": text(m(9)),
        "timeUnit": "1", "bindExpiredTime": 30, "callbackExpiredTime": 5});
    let reply = desk.call(AXE, axe::bind, patched(&on(x(AXE, 0), 1, "08"), &terms)).unwrap();
    let told: Value =
        desk.ask(AXE, axe::query, &format!("subscriptionId={}", word(&reply, "subscriptionId"))).unwrap().into();
    for (name, value) in terms.as_object().unwrap() {
        assert_eq!(&told[name], value, "{name}");
    }
}

#[test]
fn an_extension_of_an_x_is_given_once() {
    let mut desk = Desk::new();
    bound(&mut desk);
    assert_eq!(desk.code(AXE, axe::bind, on(x(AXE, 0), 2, "07")), Code::Bound);
    assert_eq!(desk.code(AXE, axe::bind, on(x(AXE, 0), 1, "07")), Code::Bound);
    assert_eq!(desk.code(AXE, axe::bind, on(x(AXE, 0), 1, "08")), GOOD, "A may have several");
    assert_eq!(desk.code(AXE, axe::bind, on(x(AXE, 1), 2, "07")), GOOD);
    // Without an X, one where it is free.
    let reply = desk.call(AXE, axe::bind, json!({"bindNum": text(m(3)), "extendNum": "07"})).unwrap();
    assert_eq!(word(&reply, "virtualNum"), text(x(AXE, 2)));
    assert_eq!(desk.code(AXE, axe::bind, json!({"bindNum": text(m(4)), "extendNum": "07"})), Code::NoneFree);
}

#[test]
fn extensions_are_given_away_until_none_is_left() {
    let mut desk = Desk::of(&[0]);
    let mut given = std::collections::HashSet::new();
    for a in 1..=99 {
        let body = if a % 2 == 0 { one(a) } else { patched(&one(a), &json!({"virtualNum": text(x(AXE, 0))})) };
        let reply = desk.call(AXE, axe::bind, body).unwrap();
        let extension = word(&reply, "extendNum").to_owned();
        assert_eq!(extension.len(), 2);
        assert!(given.insert(extension));
    }
    assert_eq!(desk.code(AXE, axe::bind, one(200)), Code::NoneFree);
    assert_eq!(desk.code(AXE, axe::bind, patched(&one(200), &json!({"virtualNum": text(x(AXE, 0))}))), Code::NoneFree);
    desk.call(AXE, axe::unbind, json!({"virtualNum": text(x(AXE, 0)), "extendNum": "42"})).unwrap();
    assert_eq!(word(&desk.call(AXE, axe::bind, one(200)).unwrap(), "extendNum"), "42");
}

#[test]
fn a_binding_ends_when_its_time_has_come() {
    for (terms, seconds) in [
        (json!({}), 168 * 3600),
        (json!({"timeUnit": "1"}), 168 * 3600),
        (json!({"bindExpiredTime": 2}), 7_200),
        (json!({"timeUnit": "1", "bindExpiredTime": 2}), 120),
        (json!({"timeUnit": "1", "bindExpiredTime": "43200"}), 2_592_000),
    ] {
        let mut desk = Desk::new();
        let reply = desk.call(AXE, axe::bind, patched(&one(1), &terms)).unwrap();
        desk.advance(seconds - 1);
        assert!(desk.binding(&reply).is_some(), "{terms}");
        desk.advance(1);
        assert!(desk.binding(&reply).is_none(), "{terms}");
    }
    let mut desk = Desk::new();
    let reply = desk.call(AXE, axe::bind, patched(&one(1), &json!({"bindExpiredTime": 0}))).unwrap();
    desk.advance(100_000_000);
    assert!(desk.binding(&reply).is_some());
}

fn key_rows() -> Vec<(Value, Code, &'static str)> {
    let own = text(x(AXE, 0));
    let by_x = |patch: Value| patched(&json!({"subscriptionId": null, "virtualNum": own, "extendNum": "07"}), &patch);
    let mut rows = vec![
        (json!({}), GOOD, ""),
        (json!({"subscriptionId": null}), BAD, "subscriptionId"),
        (json!({"subscriptionId": true}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "x".repeat(65)}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "nobody"}), Code::NoBinding, ""),
        (json!({"subscriptionId": "nobody", "virtualNum": own, "extendNum": "07"}), Code::NoBinding, ""),
        (json!({"virtualNum": own, "extendNum": "08"}), GOOD, ""),
        (by_x(json!({})), GOOD, ""),
        (by_x(json!({"extendNum": "08"})), Code::NoBinding, ""),
        (by_x(json!({"extendNum": "7"})), Code::NoBinding, ""),
        (by_x(json!({"extendNum": null})), BAD, "extendNum"),
        (by_x(json!({"extendNum": "00"})), BAD, "extendNum"),
        (by_x(json!({"extendNum": 7})), BAD, "extendNum"),
        (by_x(json!({"virtualNum": null})), BAD, "subscriptionId"),
        (by_x(json!({"virtualNum": text(x(AXE, 1))})), Code::NoBinding, ""),
        (by_x(json!({"virtualNum": text(x(OTHER_AXE, 0))})), Code::NoBinding, ""),
        (by_x(json!({"virtualNum": text(m(5))})), Code::NoBinding, ""),
    ];
    rows.extend(number_rows("virtualNum", &own).into_iter().map(|(patch, code, name)| (by_x(patch), code, name)));
    rows
}

#[test]
fn every_parameter_of_modify() {
    let mut rows = terms_rows();
    rows.extend(key_rows());
    rows.extend(number_rows("bindNum", "+8613900000009"));
    rows.extend([
        (json!({"bindNum": "+8695588"}), BAD, "bindNum"),
        (json!({"bindNum": text(x(AXE, 1))}), BAD, "bindNum"),
        (json!({"timeUnit": "1"}), BAD, "bindExpiredTime"),
        (json!({"timeUnit": "1", "callbackExpiredTime": 1}), BAD, "bindExpiredTime"),
        (json!({"timeUnit": "1", "bindExpiredTime": 1}), BAD, "callbackExpiredTime"),
        (json!({"bindExpiredTime": 1}), GOOD, ""),
    ]);
    check(AXE, axe::modify, bound, &rows);
}

#[test]
fn what_modify_does_not_say_stays_and_an_empty_one_clears() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    let mut after = |patch: Value| {
        desk.call(AXE, axe::modify, patched(&name, &patch)).unwrap();
        read(&desk, &name).unwrap()
    };
    let number = CallBack::Number(m(9));
    assert_eq!(after(json!({"callbackTone": "t.wav"})).call_back, CallBack::Tone("t.wav".into()));
    assert_eq!(after(json!({"recordFlag": true})).call_back, CallBack::Tone("t.wav".into()));
    assert_eq!(after(json!({"callbackNum": ""})).call_back, CallBack::Tone("t.wav".into()));
    assert_eq!(after(json!({"callbackNum": text(m(9)), "callbackTone": ""})).call_back, number);
    assert_eq!(after(json!({"callbackTone": ""})).call_back, number);
    assert_eq!(after(json!({"callbackNum": ""})).call_back, CallBack::App);
    assert_eq!(after(json!({"callbackNum": text(m(9))})).call_back, number);
    assert_eq!(after(json!({"callbackNum": "", "callbackTone": ""})).call_back, CallBack::App);
    let changed =
        after(json!({"bindNum": text(m(3)), "displayNumMode": "1", "recordHintTone": "r.wav", "userData": "u"}));
    assert_eq!((changed.a, changed.shows_caller, changed.record, changed.bind_for), (m(3), true, true, 168));
    assert_eq!((changed.record_hint_tone.as_deref(), changed.user_text.as_deref()), (Some("r.wav"), Some("u")));
    assert_eq!(changed.ends, START + 168 * 3_600_000);
    assert_eq!(after(json!({"recordHintTone": ""})).record_hint_tone, None);
}

#[test]
fn times_restart_from_the_modify_in_their_unit() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    desk.advance(1_000);
    let minutes = json!({"timeUnit": "1", "bindExpiredTime": 1_000, "callbackExpiredTime": 5});
    desk.call(AXE, axe::modify, patched(&name, &minutes)).unwrap();
    assert_eq!(read(&desk, &name).unwrap().ends, START + 1_000_000 + 60_000_000);
    // The unit is now the minute, so more than 720 will do; and one time alone leaves the other.
    desk.call(AXE, axe::modify, patched(&name, &json!({"callbackExpiredTime": 800}))).unwrap();
    let axe = read(&desk, &name).unwrap();
    assert_eq!((axe.ends, axe.call_back_for), (START + 1_000_000 + 60_000_000, 800));
    let hours = json!({"timeUnit": "0", "bindExpiredTime": 721, "callbackExpiredTime": 1});
    assert_eq!(desk.code(AXE, axe::modify, patched(&name, &hours)), BAD);
    assert_eq!(read(&desk, &name), Some(axe));
}

#[test]
fn every_parameter_of_unbind_and_query() {
    check(AXE, axe::unbind, bound, &key_rows());
    check(AXE, axe::query, bound, &key_rows());
}

#[test]
fn another_apps_binding_is_not_there() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    let by_x = json!({"virtualNum": text(x(AXE, 0)), "extendNum": "07"});
    let before = desk.all();
    for body in [&name, &by_x] {
        for operation in [axe::modify as Operation, axe::unbind, axe::query] {
            assert_eq!(desk.call(OTHER_AXE, operation, body.clone()), Err(Code::NoBinding.into()));
        }
    }
    for body in [on(x(AXE, 0), 1, "09"), patched(&one(1), &json!({"virtualNum": text(x(AXE, 0))}))] {
        assert_eq!(desk.call(OTHER_AXE, axe::bind, body), Err(Code::NoX.into()));
    }
    assert_eq!(desk.all(), before);
}

#[test]
fn the_managed_700_number_is_named_and_what_is_dialled_is_no_party() {
    let mut desk = Desk::new();
    let managed = Number::parse("+8670012345678").unwrap();
    desk.books.bindings.add_number(VirtualNumber::new(managed, AXE, None)).unwrap();
    let reply = desk.call(AXE, axe::bind, on(managed, 1, "07")).unwrap();
    assert_eq!((word(&reply, "virtualNum"), word(&reply, "extendNum")), ("+8670012345678", "07"));
    assert_eq!(desk.binding(&reply).unwrap().shown(), Number::parse("+86700123456780007").unwrap());
    let by_x = json!({"virtualNum": text(managed), "extendNum": "07"});
    let told = Value::from(desk.call(AXE, axe::query, by_x.clone()).unwrap());
    assert_eq!((&told["virtualNum"], &told["extendNum"]), (&json!("+8670012345678"), &json!("07")));
    let before = desk.all();
    for tail in ["0007", "0008", "9999"] {
        let dialled = format!("+8670012345678{tail}");
        for (name, body) in [("bindNum", json!({"bindNum": dialled})), ("callbackNum", json!({"callbackNum": dialled}))]
        {
            let refused = desk.call(AXE, axe::modify, patched(&by_x, &body)).unwrap_err();
            assert_eq!((refused.code, refused.about.unwrap().0), (BAD, name));
        }
        assert_eq!(desk.code(AXE, axe::bind, on(Number::parse(&dialled).unwrap(), 2, "09")), Code::NoX);
    }
    assert_eq!(desk.all(), before);
    // Where nothing else may serve, nothing else is bound or given away; what there is can be read and ended.
    let name = bound(&mut desk);
    desk.books.bindings.set_only_700(true);
    assert_eq!(desk.code(AXE, axe::bind, on(x(AXE, 1), 2, "09")), Code::NumberState);
    assert_eq!(word(&desk.call(AXE, axe::bind, one(3)).unwrap(), "virtualNum"), text(managed));
    assert_eq!(desk.code(AXE, axe::query, name.clone()), GOOD);
    assert_eq!(desk.code(AXE, axe::unbind, name), GOOD);
}

#[test]
fn who_called_is_told_to_nobody_and_forgotten_with_the_a_that_was_called() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    let axe = read(&desk, &name).unwrap();
    let told = |desk: &mut Desk| Value::from(desk.call(AXE, axe::query, name.clone()).unwrap());
    let before = told(&mut desk);
    let called = numbering::LastCaller { number: m(50), at: START };
    assert!(desk.books.bindings.note_caller(axe.id, m(1), called));
    assert_eq!(told(&mut desk), before);
    desk.call(AXE, axe::modify, patched(&name, &json!({"recordFlag": "true", "bindNum": text(m(1))}))).unwrap();
    assert_eq!(read(&desk, &name).unwrap().last_caller, Some(called));
    desk.call(AXE, axe::modify, patched(&name, &json!({"bindNum": text(m(3))}))).unwrap();
    assert_eq!(read(&desk, &name).unwrap().last_caller, None);
}
