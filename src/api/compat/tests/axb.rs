use super::super::axb;
use super::*;

const GOOD: Code = Code::Success;
const BAD: Code = Code::InvalidRequest;

fn pair(a: u64, b: u64) -> Value {
    json!({"callerNum": text(m(a)), "calleeNum": text(m(b))})
}

fn on(x: Number, a: u64, b: u64) -> Value {
    patched(&pair(a, b), &json!({"relationNum": text(x)}))
}

/// m(1) – X0 – m(2), and a modify of it.
fn bound(desk: &mut Desk) -> Value {
    let reply = desk.call(AXB, axb::bind, on(x(AXB, 0), 1, 2)).unwrap();
    json!({"subscriptionId": word(&reply, "subscriptionId")})
}

fn terms_rows() -> Vec<(Value, Code, &'static str)> {
    let mut rows = user_text_rows();
    rows.extend(integer_rows("callDirection", 0, 2));
    rows.extend(integer_rows("duration", 0, 7_776_000));
    rows.extend(integer_rows("maxDuration", 0, 1_440));
    rows.extend(flag_rows("recordFlag"));
    rows.extend(flag_rows("privateSms"));
    rows.extend(tone_rows("recordHintTone"));
    rows.extend(tone_rows("lastMinVoice"));
    rows.extend([
        (json!({"preVoice": {}}), GOOD, ""),
        (json!({"preVoice": null}), GOOD, ""),
        (json!({"preVoice": {"callerHintTone": "a.wav", "calleeHintTone": "", "more": 1}}), GOOD, ""),
        (json!({"preVoice": "a.wav"}), BAD, "preVoice"),
        (json!({"preVoice": []}), GOOD, ""),
        (json!({"preVoice": ["a.wav"]}), BAD, "preVoice"),
        (json!({"preVoice": {"callerHintTone": 1}}), BAD, "preVoice.callerHintTone"),
        (json!({"preVoice": {"callerHintTone": "../a"}}), BAD, "preVoice.callerHintTone"),
        (json!({"preVoice": {"calleeHintTone": "a".repeat(129)}}), BAD, "preVoice.calleeHintTone"),
    ]);
    rows
}

#[test]
fn every_parameter_of_bind() {
    let mut rows = terms_rows();
    rows.extend(number_rows("callerNum", "+8613900000009"));
    rows.extend(number_rows("calleeNum", "+8613900000009"));
    rows.extend(number_rows("relationNum", &text(x(AXB, 1))));
    for name in ["callerNum", "calleeNum"] {
        rows.extend([
            (json!({name: null}), BAD, name),
            (json!({name: ""}), BAD, name),
            (json!({name: "+864001234567"}), BAD, name),
            (json!({name: "+8695588"}), BAD, name),
            (json!({name: text(x(AXB, 1))}), BAD, name),
            (json!({name: text(x(OTHER_AXB, 1))}), BAD, name),
            (json!({name: "+8675528780001"}), GOOD, ""),
        ]);
    }
    rows.extend([
        (json!({"calleeNum": text(m(1))}), BAD, "calleeNum"),
        (json!({"relationNum": ""}), GOOD, ""),
        (json!({"relationNum": text(m(77))}), Code::NoX, ""),
        (json!({"relationNum": text(x(OTHER_AXB, 0))}), Code::NoX, ""),
        (json!({"areaCode": "0755"}), GOOD, ""),
        (json!({"areaCode": ""}), GOOD, ""),
        (json!({"areaCode": "755"}), BAD, "areaCode"),
        (json!({"areaCode": "深圳"}), BAD, "areaCode"),
        (json!({"areaCode": 755}), BAD, "areaCode"),
        (json!({"areaCode": "0".repeat(33)}), BAD, "areaCode"),
        (json!({"areaMatchMode": "0"}), GOOD, ""),
        (json!({"areaMatchMode": 1}), GOOD, ""),
        (json!({"areaMatchMode": "2"}), BAD, "areaMatchMode"),
        (json!({"areaMatchMode": true}), BAD, "areaMatchMode"),
        (json!({"areaCode": "021"}), Code::NoneFree, ""),
        (json!({"areaCode": "021", "areaMatchMode": "1"}), GOOD, ""),
        (json!({"areaCode": "021", "relationNum": text(x(AXB, 2))}), GOOD, ""),
    ]);
    check(AXB, axb::bind, |_| pair(1, 2), &rows);
}

#[test]
fn a_bind_answers_what_it_made() {
    let mut desk = Desk::new();
    let terms = json!({"callDirection": 1, "duration": 60, "maxDuration": "5", "recordFlag": true, "privateSms": "false",
        "recordHintTone": "r.wav", "lastMinVoice": "l.wav", "preVoice": {"callerHintTone": "a.wav", "calleeHintTone": "b.wav"},
        "userData": "order-7"});
    let reply = desk.call(AXB, axb::bind, patched(&on(x(AXB, 1), 1, 2), &terms)).unwrap();
    let written: Value = reply.clone().into();
    let expected = json!({"resultcode": "0", "resultdesc": "Success", "subscriptionId": word(&reply, "subscriptionId"),
        "relationNum": text(x(AXB, 1)), "callDirection": 1, "duration": 60, "maxDuration": 5});
    assert_eq!(written, expected);
    let Binding::Axb(made) = (*desk.binding(&reply).unwrap()).clone() else { panic!() };
    assert_eq!((made.a, made.b, made.ends, made.sms, made.record), (m(1), m(2), START + 60_000, false, true));
    let told = desk.ask(AXB, axb::query, &format!("subscriptionId={}", word(&reply, "subscriptionId"))).unwrap();
    let item = &told.get("relationNumList").unwrap()[0];
    let expected = json!({"subscriptionId": word(&reply, "subscriptionId"), "relationNum": text(x(AXB, 1)),
        "callerNum": text(m(1)), "calleeNum": text(m(2)), "callDirection": 1, "duration": 60, "maxDuration": 5,
        "recordFlag": "true", "privateSms": "false", "recordHintTone": "r.wav", "lastMinVoice": "l.wav",
        "preVoice": {"callerHintTone": "a.wav", "calleeHintTone": "b.wav"}, "userData": "order-7"});
    assert_eq!(*item, expected);
    assert_eq!(told.get("totalCount"), Some(&json!(1)));
}

#[test]
fn within_one_x_a_number_occurs_once() {
    let mut desk = Desk::new();
    bound(&mut desk);
    let x0 = x(AXB, 0);
    for (a, b, code) in
        [(1, 3, Code::Bound), (3, 2, Code::Bound), (2, 1, Code::Bound), (3, 4, GOOD), (1, 2, Code::Bound)]
    {
        assert_eq!(desk.code(AXB, axb::bind, on(x0, a, b)), code, "{a} {b}");
    }
    // The same A with another B gets another X, as long as there is one.
    let others: Vec<_> = (5..8).map(|b| desk.call(AXB, axb::bind, pair(1, b))).collect();
    let xs: Vec<_> = others.iter().flatten().map(|reply| word(reply, "relationNum").to_owned()).collect();
    assert_eq!(xs.len(), 2);
    assert!(xs.contains(&text(x(AXB, 1))) && xs.contains(&text(x(AXB, 2))));
    assert_eq!(code(&others[2]), Code::NoneFree);
}

#[test]
fn x_is_given_away_by_area_and_by_load() {
    let mut desk = Desk::new();
    let mut given = |body: Value| desk.call(AXB, axb::bind, body).map(|reply| word(&reply, "relationNum").to_owned());
    let from = |a: &str, b: u64| json!({"callerNum": a, "calleeNum": text(m(b))});
    // A's own area: a fixed line by its code, a mobile by the longest prefix of the app; where there is none, any.
    assert_eq!(given(from("+861062000001", 1)), Ok(text(x(AXB, 2))));
    assert_eq!(given(from("+8613800100001", 2)), Ok(text(x(AXB, 2))));
    let first = given(from("+8613800000001", 3)).unwrap();
    let second = given(from("+8675528000001", 4)).unwrap();
    assert_ne!(first, second, "load spreads");
    assert!(first.starts_with("+86755") && second.starts_with("+86755"));
    assert_eq!(given(from("+8613700000001", 5)).map_err(|refused| refused.code), Err(Code::NoneFree));
    let loose = patched(&from("+8613700000001", 5), &json!({"areaMatchMode": "1"}));
    assert!(given(loose).is_ok());
    // A named area goes before A's own.
    assert_eq!(given(patched(&from("+8613800000009", 6), &json!({"areaCode": "010"}))), Ok(text(x(AXB, 2))));
    assert!(given(from(&text(m(1000)), 7)).is_ok(), "at home nowhere: anywhere");
}

#[test]
fn load_spreads_over_every_x() {
    let mut desk = Desk::new();
    for n in 0..9 {
        desk.call(AXB, axb::bind, pair(2 * n + 100, 2 * n + 101)).unwrap();
    }
    for place in 0..3 {
        assert_eq!(desk.books.bindings.pairs_of(x(AXB, place)), 3);
        assert_eq!(desk.books.bindings.pairs_of(x(OTHER_AXB, place)), 0);
    }
}

#[test]
fn an_x_is_full_with_so_many_pairs() {
    let mut desk = Desk::of(&[0]);
    for n in 0..50 {
        desk.call(AXB, axb::bind, on(x(AXB, 0), 2 * n + 100, 2 * n + 101)).unwrap();
    }
    assert_eq!(desk.code(AXB, axb::bind, on(x(AXB, 0), 1, 2)), Code::NoneFree);
    assert_eq!(desk.code(AXB, axb::bind, pair(1, 2)), Code::NoneFree);
}

#[test]
fn an_x_that_does_not_serve_is_not_bound() {
    use numbering::NumberState;
    let mut desk = Desk::of(&[0]);
    bound(&mut desk);
    let frozen = VirtualNumber { state: NumberState::Frozen, ..VirtualNumber::new(x(AXB, 0), AXB, None) };
    desk.books.bindings.change_number(frozen).unwrap();
    assert_eq!(desk.code(AXB, axb::bind, on(x(AXB, 0), 3, 4)), Code::NumberState);
    assert_eq!(desk.code(AXB, axb::bind, pair(3, 4)), Code::NoneFree);
}

#[test]
fn every_parameter_of_modify() {
    let mut rows = terms_rows();
    rows.extend(number_rows("callerNum", "+8613900000009"));
    rows.extend(number_rows("calleeNum", "+8613900000009"));
    for (name, other) in [("callerNum", 2), ("calleeNum", 1)] {
        rows.extend([
            (json!({name: null}), GOOD, ""),
            (json!({name: ""}), GOOD, ""),
            (json!({name: "+864001234567"}), BAD, name),
            (json!({name: text(x(AXB, 1))}), BAD, name),
            (json!({name: text(m(other))}), BAD, name),
        ]);
    }
    rows.extend([
        (json!({}), GOOD, ""),
        (json!({"callerNum": text(m(2)), "calleeNum": text(m(1))}), GOOD, ""),
        (json!({"callerNum": text(m(5)), "calleeNum": text(m(5))}), BAD, "calleeNum"),
        (json!({"subscriptionId": null}), BAD, "subscriptionId"),
        (json!({"subscriptionId": ""}), BAD, "subscriptionId"),
        (json!({"subscriptionId": 7}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "x".repeat(65)}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "x".repeat(64)}), Code::NoRecord, ""),
        (json!({"subscriptionId": "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e"}), Code::NoRecord, ""),
    ]);
    check(AXB, axb::modify, bound, &rows);
}

#[test]
fn what_modify_does_not_say_stays() {
    let mut desk = Desk::new();
    let terms = json!({"callDirection": 2, "duration": 600, "maxDuration": 9, "recordFlag": "true", "privateSms": false,
        "lastMinVoice": "l.wav", "preVoice": {"callerHintTone": "a.wav", "calleeHintTone": "b.wav"}, "userData": "u"});
    let reply = desk.call(AXB, axb::bind, patched(&pair(1, 2), &terms)).unwrap();
    let name = json!({"subscriptionId": word(&reply, "subscriptionId")});
    let before = desk.binding(&reply);
    desk.advance(100);
    desk.call(AXB, axb::modify, name.clone()).unwrap();
    assert_eq!(desk.binding(&reply), before, "not even how long it holds");
    let patch =
        json!({"calleeNum": text(m(3)), "duration": 600, "preVoice": {"callerHintTone": ""}, "lastMinVoice": ""});
    desk.call(AXB, axb::modify, patched(&name, &patch)).unwrap();
    let Binding::Axb(axb) = (*desk.binding(&reply).unwrap()).clone() else { panic!() };
    assert_eq!((axb.a, axb.b, axb.direction.code(), axb.max_minutes), (m(1), m(3), 2, 9));
    assert_eq!((axb.record, axb.sms, axb.user_text.as_deref()), (true, false, Some("u")));
    assert_eq!(axb.ends, START + 100_000 + 600_000, "the duration restarts from the modify");
    let voice = axb.voice.unwrap();
    assert_eq!(
        (voice.caller_hint_tone, voice.callee_hint_tone.as_deref(), voice.last_minute),
        (None, Some("b.wav"), None)
    );
    desk.call(AXB, axb::modify, patched(&name, &json!({"duration": 0}))).unwrap();
    desk.advance(10_000_000);
    assert!(desk.binding(&reply).is_some(), "0 holds for ever");
}

#[test]
fn a_refused_modify_changes_nothing() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    desk.call(AXB, axb::bind, on(x(AXB, 0), 3, 4)).unwrap();
    let before = desk.all();
    let refused = [
        json!({"callerNum": text(m(3)), "maxDuration": 7}),
        json!({"calleeNum": text(m(3)), "userData": "new"}),
        json!({"callerNum": text(m(9)), "calleeNum": text(m(4)), "duration": 5}),
    ];
    for patch in refused {
        assert_eq!(desk.code(AXB, axb::modify, patched(&name, &patch)), Code::Bound, "{patch}");
        assert_eq!(desk.all(), before);
    }
    // The transfer of both at once.
    let both = json!({"callerNum": text(m(8)), "calleeNum": text(m(9))});
    desk.call(AXB, axb::modify, patched(&name, &both)).unwrap();
    let x0 = x(AXB, 0);
    assert!(desk.books.bindings.of_party(x0, m(8)).is_some() && desk.books.bindings.of_party(x0, m(1)).is_none());
    assert_eq!(desk.code(AXB, axb::bind, on(x0, 1, 2)), GOOD, "the old parties are free again");
}

#[test]
fn a_pair_ends_when_its_time_has_come() {
    let mut desk = Desk::new();
    let reply = desk.call(AXB, axb::bind, patched(&on(x(AXB, 0), 1, 2), &json!({"duration": 30}))).unwrap();
    desk.advance(29);
    assert!(desk.binding(&reply).is_some());
    desk.advance(1);
    assert!(desk.binding(&reply).is_none());
    let name = json!({"subscriptionId": word(&reply, "subscriptionId")});
    for operation in [axb::modify as Operation, axb::unbind, axb::query] {
        assert_eq!(desk.code(AXB, operation, name.clone()), Code::NoRecord);
    }
    assert_eq!(desk.code(AXB, axb::bind, on(x(AXB, 0), 1, 2)), GOOD);
}

#[test]
fn every_parameter_of_unbind() {
    let own = text(x(AXB, 0));
    let mut rows = vec![
        (json!({}), GOOD, ""),
        (json!({"subscriptionId": null}), BAD, "subscriptionId"),
        (json!({"subscriptionId": 1}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "x".repeat(65)}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "nobody"}), Code::NoRecord, ""),
        // The subscriptionId wins, right or wrong.
        (json!({"subscriptionId": "nobody", "relationNum": own}), Code::NoRecord, ""),
        (json!({"relationNum": text(x(AXB, 1))}), GOOD, ""),
        (json!({"subscriptionId": null, "relationNum": own}), GOOD, ""),
        (json!({"subscriptionId": "", "relationNum": own}), GOOD, ""),
        (json!({"subscriptionId": null, "relationNum": text(x(AXB, 1))}), Code::NoX, ""),
        (json!({"subscriptionId": null, "relationNum": text(x(OTHER_AXB, 0))}), Code::NoX, ""),
        (json!({"subscriptionId": null, "relationNum": text(m(7))}), Code::NoX, ""),
    ];
    let numbers = number_rows("relationNum", &own).into_iter();
    rows.extend(numbers.map(|(patch, code, name)| (patched(&patch, &json!({"subscriptionId": null})), code, name)));
    check(AXB, axb::unbind, bound, &rows);
}

#[test]
fn unbinding_an_x_releases_all_its_pairs() {
    let mut desk = Desk::new();
    for n in 0..5 {
        desk.call(AXB, axb::bind, on(x(AXB, 0), 2 * n + 10, 2 * n + 11)).unwrap();
    }
    desk.call(AXB, axb::bind, on(x(AXB, 1), 10, 11)).unwrap();
    desk.ask(AXB, axb::unbind, &format!("relationNum={}", text(x(AXB, 0)))).unwrap();
    assert_eq!(desk.all().len(), 1);
    desk.ask(AXB, axb::unbind, &format!("relationNum=%2B{}", x(AXB, 1).digits().as_str())).unwrap();
    assert!(desk.all().is_empty());
}

#[test]
fn every_parameter_of_query() {
    let own = text(x(AXB, 0));
    let by_x = json!({"subscriptionId": null, "relationNum": own});
    let with = |patch: Value| patched(&by_x, &patch);
    let mut rows = vec![
        (json!({}), GOOD, ""),
        (json!({"subscriptionId": null}), BAD, "subscriptionId"),
        (json!({"subscriptionId": []}), BAD, "subscriptionId"),
        (json!({"subscriptionId": "nobody", "relationNum": own}), Code::NoRecord, ""),
        (json!({"relationNum": text(x(AXB, 1))}), GOOD, ""),
        (with(json!({})), GOOD, ""),
        (with(json!({"relationNum": text(x(AXB, 1))})), Code::NoRecord, ""),
        (with(json!({"relationNum": text(x(OTHER_AXB, 0))})), Code::NoRecord, ""),
        (with(json!({"callerNum": text(m(1))})), GOOD, ""),
        (with(json!({"calleeNum": text(m(2))})), GOOD, ""),
        (with(json!({"callerNum": text(m(1)), "calleeNum": text(m(2))})), GOOD, ""),
        (with(json!({"callerNum": text(m(2))})), Code::NoRecord, ""),
        (with(json!({"callerNum": text(m(1)), "calleeNum": text(m(3))})), Code::NoRecord, ""),
        (with(json!({"callerNum": "A"})), BAD, "callerNum"),
        (with(json!({"calleeNum": 7})), BAD, "calleeNum"),
        (with(json!({"pageIndex": "two"})), BAD, "pageIndex"),
        (with(json!({"pageSize": true})), BAD, "pageSize"),
    ];
    for size in [-1, 0, 1, 9, 10, 100, 101, i64::MAX] {
        rows.push((with(json!({"pageSize": size, "pageIndex": size})), GOOD, ""));
    }
    check(AXB, axb::query, bound, &rows);
}

#[test]
fn a_query_has_pages() {
    let mut desk = Desk::new();
    let ids: Vec<String> = (0..25)
        .map(|n| desk.call(AXB, axb::bind, on(x(AXB, 0), 2 * n + 10, 2 * n + 11)).unwrap())
        .map(|reply| word(&reply, "subscriptionId").to_owned())
        .collect();
    let mut page = |query: &str| {
        let reply = desk.ask(AXB, axb::query, &format!("relationNum={}&{query}", text(x(AXB, 0)))).unwrap();
        assert_eq!(reply.get("totalCount"), Some(&json!(25)));
        let list = reply.get("relationNumList").unwrap().as_array().unwrap().clone();
        let ids: Vec<String> = list.iter().map(|item| item["subscriptionId"].as_str().unwrap().to_owned()).collect();
        (reply.get("pageIndex").unwrap().clone(), reply.get("pageSize").unwrap().clone(), ids)
    };
    assert_eq!(page(""), (json!(1), json!(50), ids.clone()));
    assert_eq!(page("pageSize=10"), (json!(1), json!(10), ids[..10].to_vec()));
    assert_eq!(page("pageIndex=3&pageSize=10"), (json!(3), json!(10), ids[20..].to_vec()));
    assert_eq!(page("pageIndex=4&pageSize=10"), (json!(4), json!(10), vec![]));
    for size in ["9", "101", "0", "-3", "99999999999999999999"] {
        assert_eq!(page(&format!("pageSize={size}")).1, json!(50), "{size}");
    }
    for index in ["0", "-1"] {
        assert_eq!(page(&format!("pageIndex={index}")).0, json!(1), "{index}");
    }
    assert_eq!(page("pageIndex=9223372036854775807&pageSize=100").2, Vec::<String>::new());
}

#[test]
fn another_apps_pair_is_not_there() {
    let mut desk = Desk::new();
    let name = bound(&mut desk);
    let before = desk.all();
    for operation in [axb::modify as Operation, axb::unbind, axb::query] {
        assert_eq!(desk.call(OTHER_AXB, operation, name.clone()), Err(Code::NoRecord.into()));
    }
    let foreign = json!({"relationNum": text(x(AXB, 0))});
    let unknown = json!({"relationNum": text(m(500))});
    for operation in [axb::unbind as Operation, axb::query] {
        let answers = [&foreign, &unknown].map(|body| desk.call(OTHER_AXB, operation, body.clone()));
        assert_eq!(answers[0], answers[1]);
        assert!(answers[0].is_err());
    }
    let answers = [x(AXB, 0), m(500)].map(|x| desk.call(OTHER_AXB, axb::bind, on(x, 8, 9)));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(desk.all(), before);
    // The same people on another app's X are nobody's concern.
    assert_eq!(desk.code(OTHER_AXB, axb::bind, on(x(OTHER_AXB, 0), 1, 2)), GOOD);
}

#[test]
fn what_stands_in_the_operators_file_can_only_be_asked_for() {
    let mut desk = Desk::of(&[]);
    let numbers = vec![VirtualNumber::new(x(AXB, 0), AXB, None)];
    let axb = numbering::Axb::new(SubscriptionId(7), AXB, m(1), x(AXB, 0), m(2));
    desk.books.bindings.replace_all(numbers, vec![Binding::Axb(axb)]).unwrap();
    let name = json!({"subscriptionId": SubscriptionId(7).to_string()});
    let by_x = json!({"relationNum": text(x(AXB, 0))});
    assert_eq!(desk.code(AXB, axb::query, name.clone()), GOOD);
    for (operation, body) in [(axb::modify as Operation, &name), (axb::unbind, &name), (axb::unbind, &by_x)] {
        let refused = desk.call(AXB, operation, body.clone()).unwrap_err();
        assert_eq!(refused.code, BAD);
        assert!(refused.to_string().contains("operator's configuration"), "{refused}");
    }
    // Beside one of ours, ours goes.
    desk.call(AXB, axb::bind, on(x(AXB, 0), 3, 4)).unwrap();
    assert_eq!(desk.code(AXB, axb::unbind, by_x), GOOD);
    assert_eq!(desk.all().len(), 1);
}
