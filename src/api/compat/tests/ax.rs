use numbering::Ax;

use super::super::ax;
use super::*;

const GOOD: Code = Code::Success;
const BAD: Code = Code::InvalidRequest;

fn single(a: u64) -> Value {
    json!({"origNum": text(m(a))})
}

fn on(x: Number, a: u64) -> Value {
    json!({"origNum": text(m(a)), "privateNum": text(x)})
}

/// m(1) – X0, and its name.
fn bound(desk: &mut Desk) -> Value {
    let reply = desk.call(AX, ax::bind, on(x(AX, 0), 1)).unwrap();
    json!({"subscriptionId": word(&reply, "subscriptionId")})
}

fn read(desk: &Desk, name: &Value) -> Option<Ax> {
    let id = SubscriptionId::parse(name["subscriptionId"].as_str().unwrap()).unwrap();
    match &*desk.books.bindings.get(id)? {
        Binding::Ax(ax) => Some((**ax).clone()),
        _ => None,
    }
}

fn terms_rows() -> Vec<(Value, Code, &'static str)> {
    let mut rows = user_text_rows();
    rows.extend(integer_rows("callDirection", 0, 2));
    rows.extend(integer_rows("maxDuration", 0, 1_440));
    rows.extend(flag_rows("recordFlag"));
    rows.extend(flag_rows("privateSms"));
    rows.extend(tone_rows("recordHintTone"));
    rows.extend(tone_rows("lastMinVoice"));
    rows.extend([
        (json!({"preVoice": {"calleeHintTone": "b.wav"}}), GOOD, ""),
        (json!({"preVoice": {"calleeHintTone": "/b"}}), BAD, "preVoice.calleeHintTone"),
        (json!({"preVoice": 1}), BAD, "preVoice"),
        (json!({"calleeNumDisplay": "1"}), GOOD, ""),
        (json!({"calleeNumDisplay": 0}), GOOD, ""),
        (json!({"calleeNumDisplay": "2"}), BAD, "calleeNumDisplay"),
        (json!({"turnFlag": "on"}), GOOD, ""),
        (json!({"turnFlag": "OFF"}), GOOD, ""),
        (json!({"turnFlag": "1"}), BAD, "turnFlag"),
        (json!({"turnFlag": true}), BAD, "turnFlag"),
        (json!({"duration": -1}), GOOD, ""),
    ]);
    rows
}

#[test]
fn every_parameter_of_bind() {
    let mut rows = terms_rows();
    rows.extend(number_rows("origNum", "+8613900000009"));
    // What is no number has no account; what is no string is a wrong parameter.
    let numbers = number_rows("privateNum", &text(x(AX, 1))).into_iter();
    rows.extend(numbers.map(|(patch, code, name)| match &patch["privateNum"] {
        Value::String(text) if code == BAD && text.len() < 32 => (patch, Code::NoAccount, ""),
        _ => (patch, code, name),
    }));
    rows.extend([
        (json!({"origNum": null}), BAD, "origNum"),
        (json!({"origNum": "+864001234567"}), BAD, "origNum"),
        (json!({"origNum": "+8695588"}), BAD, "origNum"),
        (json!({"origNum": text(x(AX, 1))}), BAD, "origNum"),
        (json!({"privateNum": ""}), GOOD, ""),
        (json!({"privateNum": "1".repeat(33)}), BAD, "privateNum"),
        (json!({"privateNum": text(m(77))}), Code::NoAccount, ""),
        (json!({"privateNum": text(x(OTHER_AX, 0))}), Code::NoAccount, ""),
        (json!({"areaCode": "0755"}), BAD, "privateNumType"),
        (json!({"areaCode": ""}), GOOD, ""),
        (json!({"areaCode": "0755", "privateNumType": "mobile-virtual"}), GOOD, ""),
        (json!({"areaCode": "0755", "privateNumType": "fixed-virtual"}), BAD, "privateNumType"),
        (json!({"areaCode": "0755", "privateNumType": 1}), BAD, "privateNumType"),
        (json!({"areaCode": "755", "privateNumType": "mobile-virtual"}), BAD, "areaCode"),
        (json!({"areaCode": "021", "privateNumType": "mobile-virtual"}), Code::NoneFreeAx, ""),
        (json!({"areaCode": "021", "privateNumType": "mobile-virtual", "areaMatchMode": "1"}), GOOD, ""),
        (json!({"areaCode": "021", "privateNum": text(x(AX, 2))}), GOOD, ""),
        (json!({"areaMatchMode": "x"}), BAD, "areaMatchMode"),
        (json!({"origNum": "+8613700000001"}), Code::NoneFreeAx, ""),
    ]);
    check(AX, ax::bind, |_| single(1), &rows);
}

#[test]
fn a_bind_answers_what_it_made() {
    let mut desk = Desk::new();
    let terms = json!({"callDirection": "2", "turnFlag": "off", "calleeNumDisplay": "1", "maxDuration": 3,
        "privateSms": "false", "recordFlag": true, "userData": "u", "preVoice": {"calleeHintTone": "b.wav"}});
    let reply = desk.call(AX, ax::bind, patched(&on(x(AX, 0), 1), &terms)).unwrap();
    let id = word(&reply, "subscriptionId").to_owned();
    let expected = json!({"resultcode": "0", "resultdesc": "Success", "origNum": text(m(1)), "privateNum": text(x(AX, 0)),
        "subscriptionId": id});
    assert_eq!(Value::from(reply.clone()), expected);
    let made = read(&desk, &json!({"subscriptionId": id})).unwrap();
    assert_eq!((made.direction.code(), made.is_on, made.shows_caller, made.sms), (2, false, true, false));
    let told = desk.ask(AX, ax::query, &format!("privateNum={}", text(x(AX, 0)))).unwrap();
    let expected = json!([{"subscriptionId": id, "origNum": text(m(1)), "privateNum": text(x(AX, 0)), "callDirection": 2,
        "maxDuration": 3, "recordFlag": "true", "privateSms": "false", "calleeNumDisplay": "1", "turnFlag": "off",
        "preVoice": {"calleeHintTone": "b.wav"}, "userData": "u"}]);
    assert_eq!(told.get("privateNumList"), Some(&expected));
}

#[test]
fn x_belongs_to_one_a_and_a_has_at_most_five() {
    let mut desk = Desk::new();
    bound(&mut desk);
    assert_eq!(desk.code(AX, ax::bind, on(x(AX, 0), 1)), Code::Exists);
    assert_eq!(desk.code(AX, ax::bind, on(x(AX, 0), 2)), Code::XTaken);
    for n in 3..8 {
        desk.books.bindings.add_number(VirtualNumber::new(x(AX, n), AX, None)).unwrap();
    }
    for n in 3..7 {
        assert_eq!(desk.code(AX, ax::bind, on(x(AX, n), 1)), GOOD);
    }
    assert_eq!(desk.code(AX, ax::bind, on(x(AX, 7), 1)), Code::TooManyX);
    assert_eq!(desk.code(AX, ax::bind, single(1)), Code::TooManyX);
    let reply = desk.call(AX, ax::query, single(1)).unwrap();
    assert_eq!(reply.get("privateNumList").unwrap().as_array().unwrap().len(), 5);
    // Neither by way of another A's.
    let reply = desk.call(AX, ax::bind, on(x(AX, 7), 2)).unwrap();
    let moved = json!({"subscriptionId": word(&reply, "subscriptionId"), "origNum": text(m(1)), "maxDuration": 9});
    let before = desk.all();
    assert_eq!(desk.code(AX, ax::modify, moved), Code::TooManyX);
    assert_eq!(desk.all(), before);
}

#[test]
fn x_is_given_away_until_none_is_left() {
    let mut desk = Desk::new();
    let from = |a: &str| json!({"origNum": a});
    let first = desk.call(AX, ax::bind, from("+861062000001")).unwrap();
    assert_eq!(word(&first, "privateNum"), text(x(AX, 2)));
    assert_eq!(desk.code(AX, ax::bind, from("+861062000001")), Code::NoneFreeAx, "strict: only at home");
    let loose = json!({"origNum": "+861062000001", "areaMatchMode": "1"});
    assert_eq!(desk.code(AX, ax::bind, loose), GOOD);
    assert_eq!(desk.code(AX, ax::bind, single(1)), GOOD);
    assert_eq!(desk.code(AX, ax::bind, single(2)), Code::NoneFreeAx);
    desk.call(AX, ax::unbind, json!({"subscriptionId": word(&first, "subscriptionId")})).unwrap();
    assert_eq!(word(&desk.call(AX, ax::bind, single(2)).unwrap(), "privateNum"), text(x(AX, 2)));
}

fn key_rows(not_found: Code) -> Vec<(Value, Code, &'static str)> {
    let own = text(x(AX, 0));
    let mut rows = vec![
        (json!({"subscriptionId": null}), BAD, "subscriptionId"),
        (json!({"subscriptionId": ""}), BAD, "subscriptionId"),
        (json!({"subscriptionId": 1}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "x".repeat(65)}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "nobody", "privateNum": own}), not_found, ""),
        (json!({"privateNum": text(x(AX, 1))}), GOOD, ""),
        (json!({"subscriptionId": "", "privateNum": own}), GOOD, ""),
        (json!({"subscriptionId": null, "privateNum": text(x(AX, 1))}), not_found, ""),
        (json!({"subscriptionId": null, "privateNum": text(x(OTHER_AX, 0))}), not_found, ""),
        (json!({"subscriptionId": null, "privateNum": text(m(3))}), not_found, ""),
    ];
    let numbers = number_rows("privateNum", &own).into_iter();
    rows.extend(numbers.map(|(patch, code, name)| (patched(&patch, &json!({"subscriptionId": null})), code, name)));
    rows
}

#[test]
fn every_parameter_of_modify() {
    let mut rows = terms_rows();
    rows.extend(key_rows(Code::NoBinding));
    rows.extend(number_rows("origNum", "+8613900000009"));
    rows.extend([
        (json!({"origNum": "+8695588"}), BAD, "origNum"),
        (json!({"origNum": text(x(OTHER_AX, 1))}), BAD, "origNum"),
        (json!({"origNum": text(m(1)), "privateNum": text(x(AX, 0)), "privateSms": "false"}), GOOD, ""),
    ]);
    check(AX, ax::modify, bound, &rows);
}

#[test]
fn what_modify_does_not_say_stays() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    let by_x =
        json!({"privateNum": text(x(AX, 0)), "callDirection": 1, "maxDuration": 4, "userData": "u", "turnFlag": "off"});
    desk.call(AX, ax::modify, by_x).unwrap();
    desk.call(AX, ax::modify, patched(&name, &json!({"origNum": text(m(2))}))).unwrap();
    let ax = read(&desk, &name).unwrap();
    assert_eq!(
        (ax.a, ax.direction.code(), ax.max_minutes, ax.is_on, ax.user_text.as_deref()),
        (m(2), 1, 4, false, Some("u"))
    );
    assert_eq!(desk.code(AX, ax::query, single(1)), Code::NoBinding);
    assert_eq!(desk.code(AX, ax::query, single(2)), GOOD);
}

#[test]
fn every_parameter_of_unbind() {
    let mut rows = key_rows(Code::NoAxToUnbind);
    let by_x = |a: u64| json!({"subscriptionId": null, "privateNum": text(x(AX, 0)), "origNum": text(m(a))});
    rows.extend([
        (json!({}), GOOD, ""),
        (by_x(1), GOOD, ""),
        (by_x(2), Code::NoAxToUnbind, ""),
        (json!({"origNum": text(m(2))}), GOOD, ""),
        (json!({"origNum": "A"}), BAD, "origNum"),
        (json!({"subscriptionId": null, "origNum": text(m(1))}), BAD, "subscriptionId"),
    ]);
    check(AX, ax::unbind, bound, &rows);
}

#[test]
fn every_parameter_of_query() {
    let mut rows = key_rows(Code::NoBinding);
    rows.extend([
        (json!({}), GOOD, ""),
        (json!({"origNum": text(m(2))}), GOOD, ""),
        (json!({"subscriptionId": null, "origNum": text(m(1))}), GOOD, ""),
        // The A goes before the X.
        (json!({"subscriptionId": null, "origNum": text(m(1)), "privateNum": text(x(AX, 1))}), GOOD, ""),
        (json!({"subscriptionId": null, "origNum": text(m(2)), "privateNum": text(x(AX, 0))}), Code::NoBinding, ""),
        (json!({"subscriptionId": null, "origNum": "A"}), BAD, "origNum"),
    ]);
    check(AX, ax::query, bound, &rows);
}

#[test]
fn every_parameter_of_the_temporary_callee() {
    let mut rows = key_rows(Code::NoBinding);
    rows.extend(number_rows("calleeNum", "+8613900000009"));
    rows.extend(user_text_rows());
    rows.extend(integer_rows("duration", 0, 7_776_000));
    rows.extend([
        (json!({"calleeNum": null}), BAD, "calleeNum"),
        (json!({"calleeNum": "+864001234567"}), GOOD, ""),
        (json!({"calleeNum": "+8695588"}), GOOD, ""),
        (json!({"calleeNum": text(m(1))}), BAD, "calleeNum"),
        (json!({"calleeNum": text(x(AX, 0))}), BAD, "calleeNum"),
        (json!({"calleeNum": text(x(OTHER_AX, 0))}), BAD, "calleeNum"),
        // The system does not look at it.
        (json!({"origNum": 7}), GOOD, ""),
        (json!({"origNum": text(m(5))}), GOOD, ""),
    ]);
    let prepare = |desk: &mut Desk| patched(&bound(desk), &json!({"calleeNum": text(m(2))}));
    check(AX, ax::set_temporary, prepare, &rows);
}

#[test]
fn a_temporary_callee_lasts_a_minute_and_is_replaced_by_the_next() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    let reached = |desk: &Desk| read(desk, &name).unwrap().temporary.map(|temporary| temporary.callee);
    desk.call(AX, ax::set_temporary, patched(&name, &json!({"calleeNum": text(m(2))}))).unwrap();
    desk.advance(59);
    assert_eq!(reached(&desk), Some(m(2)));
    desk.call(AX, ax::set_temporary, patched(&name, &json!({"calleeNum": text(m(3)), "duration": 10}))).unwrap();
    desk.advance(9);
    assert_eq!(reached(&desk), Some(m(3)));
    desk.advance(1);
    assert_eq!(reached(&desk), None);
    desk.call(AX, ax::set_temporary, patched(&name, &json!({"calleeNum": "+8695588", "duration": 0, "userData": "t"})))
        .unwrap();
    assert_eq!(read(&desk, &name).unwrap().temporary.unwrap().user_text.as_deref(), Some("t"));
    desk.advance(60);
    assert_eq!(reached(&desk), None);
    assert!(read(&desk, &name).is_some(), "the binding itself has no end");
    // A new A that is the callee is refused.
    desk.call(AX, ax::set_temporary, patched(&name, &json!({"calleeNum": text(m(2))}))).unwrap();
    let refused = desk.call(AX, ax::modify, patched(&name, &json!({"origNum": text(m(2))}))).unwrap_err();
    assert_eq!(refused.about.unwrap().0, "origNum");
}

#[test]
fn another_apps_binding_is_not_there() {
    let mut desk = Desk::new();
    let name = patched(&bound(&mut desk), &json!({"calleeNum": text(m(9))}));
    let by_x = json!({"privateNum": text(x(AX, 0)), "calleeNum": text(m(9))});
    let before = desk.all();
    for body in [&name, &by_x] {
        for (operation, code) in [
            (ax::modify as Operation, Code::NoBinding),
            (ax::unbind, Code::NoAxToUnbind),
            (ax::query, Code::NoBinding),
            (ax::set_temporary, Code::NoBinding),
        ] {
            assert_eq!(desk.call(OTHER_AX, operation, body.clone()), Err(code.into()));
        }
    }
    assert_eq!(desk.call(OTHER_AX, ax::query, single(1)), Err(Code::NoBinding.into()));
    let answers = [x(AX, 0), x(AX, 1), m(5)].map(|x| desk.call(OTHER_AX, ax::bind, on(x, 1)));
    assert!(answers.iter().all(|answer| *answer == Err(Code::NoAccount.into())));
    assert_eq!(desk.all(), before);
    assert_eq!(desk.code(OTHER_AX, ax::bind, single(1)), GOOD);
}
