//! Bodies against what the API's description says, letter by letter.

use super::*;
use crate::notify::message;

const SESSION: &str = "0123456789abcdef0123456789abcdef";
const ID: &str = "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e";

fn told(what: What) -> Notice {
    let at = Duration::from_millis(61_250);
    message::event(&call_event("food", SESSION, at, what), &Clock::begun_at(UNIX))
}

#[test]
fn call_events_have_the_fields_of_the_api() {
    let rest = format!(r#""subscriptionId":"{ID}","userData":"order \"7\"""#);
    let head = |event: &str| {
        format!(r#"{{"eventType":"{event}","statusInfo":{{"timestamp":"2026-11-23 20:37:06","sessionId":"{SESSION}","#)
    };
    let onward_parties = r#""caller":"+8675512340001","called":"+8613900000002","#;
    for (what, event, fields) in [
        (call_in(), "callin", format!(r#""caller":"+8613800000001","called":"+8675512340001",{rest}"#)),
        (What::CallOut(onward()), "callout", format!("{onward_parties}{rest}")),
        (What::Alerting(onward()), "alerting", format!("{onward_parties}{rest}")),
        (What::Answer(onward()), "answer", format!("{onward_parties}{rest}")),
        (
            What::Collected { digits: "0042".into() },
            "collectInfo",
            format!(r#""subscriptionId":"{ID}","digitInfo":"0042","userData":"order \"7\"""#),
        ),
        (
            What::Disconnect {
                caller: Some(n(8_613_800_000_001)),
                called: Some(n(8_613_900_000_002)),
                cause: Cause::Busy,
            },
            "disconnect",
            format!(
                r#""caller":"+8613800000001","called":"+8613900000002","subscriptionId":"{ID}","stateCode":8102,"stateDesc":"The called party is busy.","userData":"order \"7\"""#
            ),
        ),
    ] {
        let notice = told(what);
        assert_eq!(notice.body, format!("{}{fields}}}}}", head(event)));
        assert_eq!(notice.id, format!("{SESSION}-{event}-1795466226250"));
        assert_eq!((&*notice.app, &*notice.session, notice.channel), ("food", SESSION, Channel::Status));
        assert_eq!(notice.created, 1_795_466_226_250);
        assert_eq!(message::whole(Channel::Status, &[&notice.body]), notice.body);
    }
}

#[test]
fn a_callin_of_axe_names_no_binding_and_a_withheld_caller_has_no_number() {
    let clock = Clock::begun_at(UNIX);
    let mut event = call_event("food", SESSION, Duration::ZERO, What::CallIn { caller: None, called: None });
    event.mode = Some(Mode::Axe);
    let expected = format!(
        r#"{{"eventType":"callin","statusInfo":{{"timestamp":"2026-11-23 20:36:05","sessionId":"{SESSION}","caller":"anonymous"}}}}"#
    );
    assert_eq!(message::event(&event, &clock).body, expected);
    // Every other event of AXE names it.
    event.what = What::Answer(onward());
    assert!(message::event(&event, &clock).body.contains(ID));
    // Without a binding there is nothing to be named.
    event = CallEvent { binding: None, user_text: None, ..event };
    event.what = What::Disconnect { caller: None, called: None, cause: Cause::HungUp };
    let expected = format!(
        r#"{{"eventType":"disconnect","statusInfo":{{"timestamp":"2026-11-23 20:36:05","sessionId":"{SESSION}","caller":"anonymous","stateCode":0,"stateDesc":"The user releases the call."}}}}"#
    );
    assert_eq!(message::event(&event, &clock).body, expected);
}

fn ms(seconds: u64) -> u64 {
    1_795_466_165_000 + seconds * 1000
}

fn answered() -> Fee {
    Fee {
        app: "Food".into(),
        session_id: SESSION.to_owned(),
        subscription_id: Some(ID.to_owned()),
        mode: Some(Mode::Axb),
        is_by_a: true,
        caller: Some(n(8_613_800_000_001)),
        x: Some(n(8_675_512_340_001)),
        shown: Some(n(8_675_512_340_001)),
        callee: Some(n(8_613_900_000_002)),
        extension: None,
        call_in: ms(0),
        forwarded: Some(ms(1)),
        alerting: Some(ms(2)),
        answered: Some(ms(5)),
        ended: ms(65),
        state_code: 0,
        q850: 16,
        sip_status: 200,
        recording: Some((format!("20261123-{SESSION}.wav"), ms(6))),
        user_text: Some("u".to_owned()),
    }
}

#[test]
fn a_fee_has_the_fields_of_the_api() {
    let notice = message::fee(&answered(), Mode::Axb);
    let expected = format!(
        concat!(
            r#"{{"direction":1,"spId":"Food","appKey":"Food","icid":"{s}-fee","bindNum":"+8675512340001","sessionId":"{s}","#,
            r#""subscriptionId":"{i}","callerNum":"+8613800000001","calleeNum":"+8675512340001","#,
            r#""fwdDisplayNum":"+8675512340001","fwdDstNum":"+8613900000002","callInTime":"2026-11-23 20:36:05","#,
            r#""fwdStartTime":"2026-11-23 20:36:06","fwdAlertingTime":"2026-11-23 20:36:07","#,
            r#""fwdAnswerTime":"2026-11-23 20:36:10","callEndTime":"2026-11-23 20:37:10","fwdUnaswRsn":0,"ulFailReason":0,"#,
            r#""sipStatusCode":0,"callOutUnaswRsn":0,"recordFlag":1,"recordStartTime":"2026-11-23 20:36:11","#,
            r#""recordObjectName":"20261123-{s}.wav","recordBucketName":"sp-food","recordDomain":"axbridge","#,
            r#""ttsPlayTimes":0,"ttsTransDuration":0,"mptyId":"{i}","serviceType":"004","hostName":"axbridge","userData":"u"}}"#,
        ),
        s = SESSION,
        i = ID
    );
    assert_eq!(notice.body, expected);
    assert_eq!((&*notice.id, notice.created), (&*format!("{SESSION}-fee"), ms(65)));
    assert_eq!(
        message::whole(Channel::Fee, &[&notice.body, "{}"]),
        format!(r#"{{"eventType":"fee","feeLst":[{expected},{{}}]}}"#)
    );
}

#[test]
fn a_call_that_was_not_answered_says_why_and_has_no_recording() {
    let fee = Fee {
        is_by_a: false,
        mode: Some(Mode::Axe),
        extension: Some("0042".to_owned()),
        alerting: None,
        answered: None,
        state_code: 8102,
        q850: 17,
        sip_status: 486,
        recording: None,
        ..answered()
    };
    let body = message::fee(&fee, Mode::Axe).body;
    for field in [
        r#""direction":0,"#,
        r#""callEndTime":"2026-11-23 20:37:10","failTime":"2026-11-23 20:37:10","#,
        r#""fwdUnaswRsn":17,"ulFailReason":8102,"sipStatusCode":486,"callOutUnaswRsn":0,"recordFlag":0,"ttsPlayTimes":0,"#,
        r#""serviceType":"AXE","#,
        r#""extendNum":"0042"}"#,
    ] {
        assert!(body.contains(field), "{field}: {body}");
    }
    for absent in ["fwdAlertingTime", "fwdAnswerTime", "recordStartTime", "recordObjectName", "recordDomain"] {
        assert!(!body.contains(absent), "{absent}: {body}");
    }
    // Nobody had bound anything: the kind is that of the app.
    let fee = Fee { subscription_id: None, mode: None, callee: None, shown: None, caller: None, ..fee };
    let body = message::fee(&fee, Mode::Ax).body;
    for field in [r#""direction":2,"#, r#""callerNum":"anonymous","#, r#""serviceType":"003""#] {
        assert!(body.contains(field), "{field}: {body}");
    }
    for absent in ["subscriptionId", "mptyId", "fwdDstNum", "fwdDisplayNum"] {
        assert!(!body.contains(absent), "{absent}: {body}");
    }
}

#[test]
fn a_text_message_has_the_fields_of_the_api() {
    let sms = Sms {
        app: "food".into(),
        id: "m-1".into(),
        mode: SmsMode::Notify,
        calling: Some(n(8_613_800_000_001)),
        called: Some(n(8_613_900_000_002)),
        x: n(8_675_512_340_001),
        at: 1_608_714_376_450,
        binding: SubscriptionId::parse(ID),
        content: "您好 \"7\"".into(),
        result: 0,
        split: 2,
        direction: 1,
        user_text: Some("u".into()),
    };
    let expected = format!(
        concat!(
            r#"{{"appKey":"food","smsEvent":{{"smsIdentifier":"m-1","notificationMode":"Notify","calling":"+8613800000001","#,
            r#""called":"+8613900000002","virtualNumber":"+8675512340001","event":"Text SMS ","#,
            r#""timeStamp":"2020-12-23T09:06:16.450Z","subscriptionId":"{}","smsContent":"您好 \"7\"","sendResult":0,"#,
            r#""extInfo":{{"extParas":[{{"key":"splitNum","value":"2"}},{{"key":"direction","value":"1"}}]}},"userData":"u"}}}}"#,
        ),
        ID
    );
    assert_eq!(message::sms_body(&sms, true), expected);
    assert_eq!(message::sms(&sms, true).body, expected);
    assert_eq!(message::sms(&sms, false).body, expected.replace(r#""smsContent":"您好 \"7\"","#, ""));
    assert_eq!(message::sms(&sms, false).id, "m-1-sms-1608714376450");
    assert!(!format!("{sms:?}").contains('您'));
    let blocked = Sms { mode: SmsMode::Block, called: None, binding: None, user_text: None, ..sms };
    let body = message::sms_body(&blocked, false);
    assert!(body.contains(r#""notificationMode":"Block""#));
    for absent in ["\"called\"", "smsContent", "subscriptionId", "userData"] {
        assert!(!body.contains(absent), "{absent}: {body}");
    }
}

#[test]
fn states_of_x_say_their_cause_only_where_x_serves_no_more() {
    let states = [
        (n(8_675_512_340_001), Some(NumberState::Normal)),
        (n(8_675_512_340_002), Some(NumberState::Suspended)),
        (n(8_675_512_340_003), Some(NumberState::Unavailable)),
        (n(8_675_512_340_004), Some(NumberState::Frozen)),
        (n(8_675_512_340_005), None),
    ];
    let notice = message::numbers(&"food".into(), &states, 7, 3);
    assert_eq!(
        message::whole(Channel::Number, &[&notice.body]),
        concat!(
            r#"{"eventType":"numStatus","numInfo":[{"number":"+8675512340001","status":5},{"number":"+8675512340002","status":9},"#,
            r#"{"number":"+8675512340003","status":10,"cause":3},{"number":"+8675512340004","status":11},"#,
            r#"{"number":"+8675512340005","status":10,"cause":1}]}"#,
        )
    );
    assert_eq!((&*notice.id, &*notice.session), ("numbers-7-3", "numbers"));
}
