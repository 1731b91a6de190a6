//! Every rule of every parameter, the gate, the way through HTTP, and random programs against a model too simple to be wrong.

mod ax;
mod axb;
mod axe;
mod fields;
mod gate;
mod http;
mod model;

use std::sync::Arc;

use numbering::{AppId, Area, Binding, Bindings, Limits, Mode, Number, Rules, SubscriptionId, VirtualNumber};
use serde_json::{Value, json};

use super::Work;
use super::fields::Fields;
use super::result::{Answer, Code, Refused, Reply};
use crate::apps::{Account, Accounts, Secret};
use crate::registry::Books;

const SECRET: &[u8] = b"example-app-secret";

/// Milliseconds of UNIX time at which tests begin.
const START: u64 = 1_795_000_000_000;

const AXB: AppId = AppId(1);
const OTHER_AXB: AppId = AppId(2);
const AX: AppId = AppId(3);
const OTHER_AX: AppId = AppId(4);
const AXE: AppId = AppId(5);
const OTHER_AXE: AppId = AppId(6);

/// Two X in Shenzhen and one in Beijing for each of these.
const APPS: [(AppId, &str, Mode); 6] = [
    (AXB, "axb", Mode::Axb),
    (OTHER_AXB, "other-axb", Mode::Axb),
    (AX, "ax", Mode::Ax),
    (OTHER_AX, "other-ax", Mode::Ax),
    (AXE, "axe", Mode::Axe),
    (OTHER_AXE, "other-axe", Mode::Axe),
];

type Operation = fn(&Arc<Account>, &Fields) -> Result<Work, Refused>;

/// An X of an app: 0 and 1 in Shenzhen, 2 in Beijing.
fn x(app: AppId, place: u64) -> Number {
    let base = if place == 2 { 861_012_340_000 } else { 8_675_512_340_000 };
    Number::from_u64(base + u64::from(app.0) * 10 + place).unwrap()
}

/// A mobile whose home nobody knows.
fn m(n: u64) -> Number {
    Number::from_u64(8_613_900_000_000 + n).unwrap()
}

fn text(number: Number) -> String {
    number.reveal().to_string()
}

fn account(id: AppId, name: &str, mode: Mode) -> Account {
    Account {
        id,
        name: name.into(),
        secret: Some(Secret::new(SECRET)),
        rules: Rules { mode, cool_off: 0, extension_width: 2, call_back: None },
        recording: true,
        requests_per_second: 50,
        mobile_areas: vec![
            ("138".into(), Area::parse("0755").unwrap()),
            ("1380010".into(), Area::parse("010").unwrap()),
            ("137".into(), Area::parse("021").unwrap()),
        ],
        notify: crate::apps::Urls::default(),
        is_configured: false,
    }
}

fn accounts() -> Arc<Accounts> {
    Arc::new(Accounts::new(APPS.map(|(id, name, mode)| account(id, name, mode))))
}

/// Books and who may ask for what.
struct Desk {
    books: Books,
    accounts: Arc<Accounts>,
}

impl Desk {
    fn new() -> Desk {
        Desk::of(&[0, 1, 2])
    }

    /// Each app has these X.
    fn of(places: &[u64]) -> Desk {
        let (mut bindings, _) = Bindings::new(Limits { pairs_per_number: 50, ..Limits::default() });
        let accounts = accounts();
        bindings.handle_time(START);
        for (app, ..) in APPS {
            bindings.set_rules(app, accounts.get(app).unwrap().rules.clone());
            for place in places {
                bindings.add_number(VirtualNumber::new(x(app, *place), app, None)).unwrap();
            }
        }
        Desk { books: Books::for_tests(bindings, Arc::clone(&accounts)), accounts }
    }

    fn call(&mut self, app: AppId, operation: Operation, body: Value) -> Answer {
        let fields = Fields::of_json(body.to_string().as_bytes())?;
        operation(self.accounts.get(app).unwrap(), &fields)?(&mut self.books)
    }

    /// The same as a query.
    fn ask(&mut self, app: AppId, operation: Operation, query: &str) -> Answer {
        operation(self.accounts.get(app).unwrap(), &Fields::of_query(query))?(&mut self.books)
    }

    fn code(&mut self, app: AppId, operation: Operation, body: Value) -> Code {
        code(&self.call(app, operation, body))
    }

    fn advance(&mut self, seconds: u64) {
        let now = self.books.bindings.now() + seconds * 1000;
        self.books.bindings.handle_time(now);
    }

    fn binding(&self, reply: &Reply) -> Option<Arc<Binding>> {
        self.books.bindings.get(id(reply))
    }

    fn all(&self) -> Vec<Arc<Binding>> {
        self.books.bindings.iter().collect()
    }
}

fn code(answer: &Answer) -> Code {
    answer.as_ref().map_or_else(|refused| refused.code, |_| Code::Success)
}

fn id(reply: &Reply) -> SubscriptionId {
    SubscriptionId::parse(word(reply, "subscriptionId")).unwrap()
}

fn word<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.get(name).unwrap_or_else(|| panic!("no {name}")).as_str().unwrap()
}

/// One object over another; null takes away.
fn patched(base: &Value, patch: &Value) -> Value {
    let mut all = base.clone();
    for (name, value) in patch.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

/// Each patch, on fresh books that `prepare` has written into, gives its code, and names the parameter where one is wrong.
fn check(app: AppId, operation: Operation, prepare: fn(&mut Desk) -> Value, rows: &[(Value, Code, &str)]) {
    for (patch, expected, name) in rows {
        let mut desk = Desk::new();
        let base = prepare(&mut desk);
        let before = desk.all();
        let answer = desk.call(app, operation, patched(&base, patch));
        assert_eq!(code(&answer), *expected, "{patch}: {answer:?}");
        if let Err(refused) = answer {
            let about = refused.about.map_or("", |(name, _)| name);
            assert_eq!(about, *name, "{patch}");
            assert!(refused.to_string().len() <= 128, "{refused}");
            assert!(refused.to_string().contains(name), "{refused}");
            assert_eq!(desk.all(), before, "{patch}: a refused request changes nothing");
        }
    }
}

/// What every mode's bind and modify share, as rows of [`check`].
fn user_text_rows() -> Vec<(Value, Code, &'static str)> {
    let (good, bad) = (Code::Success, Code::InvalidRequest);
    vec![
        (json!({"userData": "x"}), good, ""),
        (json!({"userData": "x".repeat(256)}), good, ""),
        (json!({"userData": "bWltZQ==\r\nbGluZQ=="}), good, ""),
        (json!({"userData": null}), good, ""),
        (json!({"userData": "x".repeat(257)}), bad, "userData"),
        (json!({"userData": ""}), bad, "userData"),
        (json!({"userData": "{"}), bad, "userData"),
        (json!({"userData": "a}b"}), bad, "userData"),
        (json!({"userData": "订单"}), bad, "userData"),
        (json!({"userData": 7}), bad, "userData"),
        (json!({"userData": {"a": 1}}), bad, "userData"),
        (json!({"nobodyKnows": [[{"this": 1}]]}), good, ""),
    ]
}

/// Rows of a name of a prompt.
fn tone_rows(name: &'static str) -> Vec<(Value, Code, &'static str)> {
    let (good, bad) = (Code::Success, Code::InvalidRequest);
    vec![
        (json!({name: "hint.wav"}), good, ""),
        (json!({name: "提示.wav"}), good, ""),
        (json!({name: "音".repeat(128)}), good, ""),
        (json!({name: ""}), good, ""),
        (json!({name: "音".repeat(129)}), bad, name),
        (json!({name: "a/b.wav"}), bad, name),
        (json!({name: "a\\b.wav"}), bad, name),
        (json!({name: ".."}), bad, name),
        (json!({name: "a\u{0}b"}), bad, name),
        (json!({name: 1}), bad, name),
        (json!({name: ["a"]}), bad, name),
    ]
}

/// Rows of a `"true"`/`"false"`.
fn flag_rows(name: &'static str) -> Vec<(Value, Code, &'static str)> {
    let (good, bad) = (Code::Success, Code::InvalidRequest);
    let mut rows: Vec<_> =
        [json!("true"), json!("false"), json!(true), json!(false), json!(1), json!("0"), json!("TRUE")]
            .into_iter()
            .map(|value| (json!({name: value}), good, ""))
            .collect();
    rows.extend(
        [json!("yes"), json!(2), json!(""), json!({}), json!([]), json!(1.5)]
            .into_iter()
            .map(|value| (json!({name: value}), bad, name)),
    );
    rows
}

/// Rows of an integer.
fn integer_rows(name: &'static str, least: i64, most: i64) -> Vec<(Value, Code, &'static str)> {
    let (good, bad) = (Code::Success, Code::InvalidRequest);
    let mut rows: Vec<_> = [json!(least), json!(most), json!(least.to_string()), json!(most.to_string()), json!(null)]
        .into_iter()
        .map(|value| (json!({name: value}), good, ""))
        .collect();
    let huge = json!(u64::MAX);
    rows.extend(
        [json!(least - 1), json!(most + 1), json!((most + 1).to_string()), huge, json!(1.5), json!(true), json!("")]
            .into_iter()
            .chain([json!("many"), json!("1 "), json!("+1"), json!("99999999999999999999"), json!({}), json!([1])])
            .map(|value| (json!({name: value}), bad, name)),
    );
    rows
}

/// Rows of a number that must be one in global form. `own` is a good one.
fn number_rows(name: &'static str, own: &str) -> Vec<(Value, Code, &'static str)> {
    let (good, bad) = (Code::Success, Code::InvalidRequest);
    let mut rows = vec![
        (json!({name: own}), good, ""),
        (json!({name: own.trim_start_matches('+')}), good, ""),
        (json!({name: own.replace('+', " ")}), good, ""),
    ];
    let wrong = ["13900000009", "+86", "+86139x0000009", "++8613900000009", "tel:+8613900000009", "+8607551234", "中"];
    rows.extend(wrong.map(|text| (json!({name: text}), bad, name)));
    rows.push((json!({name: "+86".to_owned() + &"1".repeat(126)}), bad, name));
    rows.extend(
        [json!(8_613_900_000_009_u64), json!(true), json!({}), json!([])].map(|v| (json!({name: v}), bad, name)),
    );
    rows
}
