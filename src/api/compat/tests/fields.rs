use super::super::fields::{Fields, MAX_BODY};
use super::super::record;
use super::super::{call_stop, result};
use super::*;

fn json_fields(text: &str) -> Result<Fields, Refused> {
    Fields::of_json(text.as_bytes())
}

#[test]
fn a_body_is_an_object_or_nothing() {
    for text in ["", "  \r\n", "{}", "[]", "null", "\u{feff}{}", " {\"a\":[1,{\"b\":null}]} "] {
        assert!(json_fields(text).is_ok(), "{text}");
    }
    for text in ["[1]", "7", "true", "\"{}\"", "{", "{}{}", "{a:1}", "callerNum=1", "{\"a\":1e999}"] {
        assert_eq!(json_fields(text).err().map(|r| (r.code, r.about.unwrap().0)), Some((Code::InvalidRequest, "body")));
    }
}

#[test]
fn a_body_has_its_size_and_its_depth() {
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert!(json_fields(&deep(31)).is_ok());
    for n in [32, 33, 1_000, 30_000] {
        assert_eq!(json_fields(&deep(n)).err().unwrap().about.unwrap().0, "body", "{n}");
    }
    assert!(json_fields(&"[".repeat(60_000)).is_err());
    // What stands in a string is not nested.
    assert!(json_fields(&format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(500))).is_ok());
    let long = |n: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(n - 8));
    assert!(json_fields(&long(MAX_BODY)).is_ok());
    assert!(json_fields(&long(MAX_BODY + 1)).is_err());
}

#[test]
fn of_two_of_one_name_the_later_counts() {
    let fields = json_fields(r#"{"duration":1,"duration":"2"}"#).unwrap();
    assert_eq!(fields.integer("duration", 0..=9), Ok(Some(2)));
    assert_eq!(Fields::of_query("duration=1&duration=2").integer("duration", 0..=9), Ok(Some(2)));
}

#[test]
fn bytes_that_are_no_text_are_refused_only_where_they_matter() {
    let fields = Fields::of_json(b"{\"other\":\"\xb5\xa5\",\"userData\":\"\xb5\xa5\"}").unwrap();
    assert_eq!(fields.user_text().unwrap_err().about.unwrap().0, "userData");
    assert_eq!(fields.integer("duration", 0..=9), Ok(None));
}

#[test]
fn a_query_is_unescaped_and_keeps_its_plus() {
    let number = Number::parse("+8613800000001").unwrap();
    for query in
        ["n=%2B8613800000001", "n=+8613800000001", "n=%208613800000001", "n=8613800000001", "a&n=%2b8613800000001"]
    {
        assert_eq!(Fields::of_query(query).number("n"), Ok(Some(number)), "{query}");
    }
    for (query, value) in
        [("n=%", "%"), ("n=%4", "%4"), ("n=%zz", "%zz"), ("n=a=b", "a=b"), ("%6e=x", "x"), ("n=%e4%b8", "\u{fffd}")]
    {
        assert_eq!(Fields::of_query(query).text("n", 0..=9), Ok(Some(value)), "{query}");
    }
    for query in ["", "n", "n=", "&&", "=", "m=1"] {
        assert_eq!(Fields::of_query(query).text("n", 1..=9), Ok(None), "{query}");
    }
}

#[test]
fn a_query_wins_over_a_body_field_by_field() {
    let body = json_fields(r#"{"a":"1","b":"2"}"#).unwrap();
    let both = Fields::of_query("a=3&b=&c=4").over(body);
    let get = |name| both.text(name, 0..=9).unwrap();
    assert_eq!((get("a"), get("b"), get("c")), (Some("3"), Some("2"), Some("4")));
}

#[test]
fn lengths_are_counted_in_characters() {
    let fields = json_fields(r#"{"a":"中文","b":""}"#).unwrap();
    assert_eq!(fields.text("a", 2..=2), Ok(Some("中文")));
    assert!(fields.text("a", 3..=9).is_err() && fields.text("a", 0..=1).is_err());
    assert_eq!(fields.text("b", 1..=9), Ok(None));
}

#[test]
fn the_log_sees_numbers_masked_and_nothing_else() {
    let fields =
        json_fields(r#"{"callerNum":"+8613800000001","calleeNum":"8613800000002","userData":"secret","origNum":1}"#);
    assert_eq!(fields.unwrap().masked().to_string(), "callerNum=+86138****0001 calleeNum=+86138****0002");
}

#[test]
fn a_recording_has_a_domain_and_a_name() {
    let name = |query| record::name(&Fields::of_query(query)).map_err(|refused| refused.about.unwrap().0);
    assert_eq!(
        name("recordDomain=ostor.huawei.com&fileName=19012309153712050118304.wav").as_deref(),
        Ok("19012309153712050118304.wav")
    );
    for (query, about) in [
        ("fileName=a.wav", "recordDomain"),
        ("recordDomain=&fileName=a.wav", "recordDomain"),
        ("recordDomain=d", "fileName"),
        ("recordDomain=d&fileName=", "fileName"),
        ("recordDomain=d&fileName=..%2Fa.wav", "fileName"),
        ("recordDomain=d&fileName=a%00.wav", "fileName"),
        ("recordDomain=d&fileName=..", "fileName"),
    ] {
        assert_eq!(name(query).err(), Some(about), "{query}");
    }
    let long = format!("recordDomain={}&fileName=a", "d".repeat(129));
    assert_eq!(name(&long).err(), Some("recordDomain"));
}

#[test]
fn a_call_is_stopped_by_its_session_and_the_signal() {
    let session = |body: Value| {
        call_stop::session(&Fields::of_json(body.to_string().as_bytes()).unwrap())
            .map_err(|refused| refused.about.unwrap().0)
    };
    let long = "s".repeat(256);
    assert_eq!(session(json!({"sessionid": long, "signal": "call_stop"})), Ok(long.clone()));
    for (body, about) in [
        (json!({"signal": "call_stop"}), "sessionid"),
        (json!({"sessionid": "", "signal": "call_stop"}), "sessionid"),
        (json!({"sessionid": 1, "signal": "call_stop"}), "sessionid"),
        (json!({"sessionid": long + "s", "signal": "call_stop"}), "sessionid"),
        (json!({"sessionid": "s"}), "signal"),
        (json!({"sessionid": "s", "signal": "call_start"}), "signal"),
        (json!({"sessionid": "s", "signal": 1}), "signal"),
    ] {
        assert_eq!(session(body.clone()).err(), Some(about), "{body}");
    }
}

#[test]
fn codes_are_distinct_and_in_their_places() {
    let numbers: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.number()).collect();
    assert_eq!(numbers.len(), Code::ALL.len());
    for (place, code) in Code::ALL.into_iter().enumerate() {
        assert_eq!(code as usize, place);
        assert!((1..=32).contains(&code.number().len()) && (1..=128).contains(&code.text().len()));
        assert!([200, 400, 403, 404, 405, 500].contains(&code.status()));
    }
    let tally = result::Tally::default();
    tally.count(Code::NoMethod);
    tally.count(Code::NoMethod);
    let counted: Vec<_> = tally.iter().filter(|(_, count)| *count != 0).collect();
    assert_eq!(counted, [(Code::NoMethod, 2)]);
}

#[test]
fn a_reply_is_written_in_order_and_prints_no_number() {
    let reply = Reply::new().with_number("privateNum", m(1)).with("callDirection", 0);
    let written = serde_json::to_string(&reply).unwrap();
    let expected = r#"{"resultcode":"0","resultdesc":"Success","privateNum":"+8613900000001","callDirection":0}"#;
    assert_eq!(written, expected);
    assert!(!format!("{reply:?}").contains("139"));
    let refused = Refused::missing("callerNum");
    let written = serde_json::to_string(&Reply::of(refused)).unwrap();
    let expected = r#"{"resultcode":"1010002","resultdesc":"Invalid request. The parameter callerNum is missing."}"#;
    assert_eq!(written, expected);
}
