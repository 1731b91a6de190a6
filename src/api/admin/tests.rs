//! Every route against a registry over a store of its own.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use numbering::{AppId, Axb, Binding, Bindings, Limits, Number, SubscriptionId, VirtualNumber};
use tower::ServiceExt;

use super::*;
use crate::notify::{Channel, LogQuery, State};
use crate::registry::Opened;
use crate::store::{AuditQuery, Reader, Store};

const X: &str = "+8617000000001";

struct Bench {
    router: Router,
    registry: Registry,
    /// Holds the store.
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Answer {
    status: u16,
    json: Value,
    bytes: Vec<u8>,
    headers: axum::http::HeaderMap,
}

fn n(text: &str) -> Number {
    Number::parse(text).unwrap()
}

fn tokens() -> Tokens {
    let token = |name: &str, scope| Token { name: name.into(), token: format!("{name}-token"), scope };
    Tokens::new([token("full", Scope::Full), token("read", Scope::Read)])
}

fn hook<Q: 'static, A: Send + 'static>(answer: impl Fn(Q) -> A + Send + Sync + 'static) -> Hook<Q, A> {
    Box::new(move |asked| {
        let answer = answer(asked);
        Box::pin(async move { Ok(answer) })
    })
}

fn hooks(asked: &Arc<Mutex<Vec<String>>>) -> Hooks {
    let log = |asked: &Arc<Mutex<Vec<String>>>| {
        let asked = Arc::clone(asked);
        move |what: String| asked.lock().unwrap().push(what)
    };
    let (calls, stop, cdrs, audit, why) = (log(asked), log(asked), log(asked), log(asked), log(asked));
    let (deliveries, replay, replay_since) = (log(asked), log(asked), log(asked));
    let call = || CallView {
        session_id: "s1".into(),
        app: Some("shop".into()),
        x: Some(Whole(n(X))),
        caller: Some(Whole(n("+8613800000001"))),
        callee: None,
        subscription_id: None,
        trunk_in: "carrier".into(),
        trunk_out: None,
        state: "ringing".into(),
        began: 1,
        answered: None,
        recording: false,
    };
    let record = || CdrView {
        session_id: "s0".into(),
        app: None,
        x: Some(Whole(n(X))),
        caller: None,
        callee: Some(Whole(n("+8613800000002"))),
        subscription_id: None,
        began: 1,
        ended: 2,
        cause: "busy".into(),
        state_code: 8102,
        recording: None,
        record: json!({"session_id": "s0"}),
    };
    let delivery = || DeliveryView {
        id: 17,
        notice_id: "s0-fee".into(),
        app: "shop".into(),
        channel: Channel::Fee,
        session: "s0".into(),
        created: 2,
        state: State::GivenUp,
        due: None,
        attempts: 7,
        status: Some(500),
        error: Some("status".into()),
        settled: Some(3),
        body: Some(json!({"eventType": "fee", "feeLst": [{"callerNum": "+8613800000001"}]})),
    };
    let row = || AuditView {
        at: 1,
        who: "full".into(),
        from: "10.0.0.1".into(),
        action: "GET /admin/v1/cdrs".into(),
        status: 200,
        detail: String::new(),
    };
    Hooks {
        calls: hook(move |filter: CallFilter| {
            calls(format!("{filter:?}"));
            vec![call()]
        }),
        stop: hook(move |session: String| {
            stop(session.clone());
            session == "s1"
        }),
        cdrs: hook(move |filter: CdrFilter| {
            cdrs(format!("{filter:?}"));
            Listed { items: vec![record()], next_cursor: Some("more".into()) }
        }),
        deliveries: hook(move |query: LogQuery| {
            deliveries(format!("{query:?}"));
            let found = delivery();
            let found = DeliveryView { body: found.body.filter(|_| query.has_bodies), ..found };
            Listed { items: vec![found], next_cursor: Some("2-17".into()) }
        }),
        replay: hook(move |id: u64| {
            replay(format!("replay {id}"));
            id == 17
        }),
        replay_since: hook(move |(app, channel, since): (Arc<str>, crate::notify::Channel, u64)| {
            replay_since(format!("{app} {} {since}", channel.as_str()));
            3
        }),
        audit: hook(move |filter: AuditFilter| {
            audit(format!("{filter:?}"));
            Listed { items: vec![row()], next_cursor: None }
        }),
        why: hook(move |(x, caller): (Number, Number)| {
            why(format!("{x} {caller}"));
            Why {
                connects: false,
                reason: "no_binding".into(),
                message: "nobody is bound".into(),
                state_code: 8014,
                app: None,
                subscription_id: None,
                callee: None,
                trunk: None,
                steps: vec![],
            }
        }),
    }
}

const FILE: &str = r#"
[sip]
listen = ["udp:127.0.0.1:5060"]
[media]
bind = "127.0.0.1"
[[trunk]]
name = "carrier"
sources = ["192.0.2.1"]
targets = ["udp:192.0.2.1:5060"]
[[app]]
name = "file"
"#;

/// One app of the operator's file, with an X and two bindings that are the API's.
fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let file = crate::config::parse(FILE, std::path::Path::new("c.toml")).unwrap().into_file();
    let (bindings, _) = Bindings::new(Limits::default());
    let clock = Clock::start();
    let opened = Opened::read(Store::open(dir.path()).unwrap(), file, bindings, clock, 0).unwrap();
    let (registry, _) = opened.spawn(clock, Box::new(|_| {})).unwrap();
    let fill = |books: &mut Books| {
        books.bindings.add_number(VirtualNumber::new(n(X), AppId(0), None)).unwrap();
        for (id, a, b) in [(1, "+8613800000001", "+8613800000002"), (2, "+8613800000003", "+8613800000004")] {
            books.bindings.bind(Binding::Axb(Axb::new(SubscriptionId(id), AppId(0), n(a), n(X), n(b)))).unwrap();
        }
    };
    let asked = Arc::default();
    let admin = Admin::new(registry.clone(), hooks(&asked), tokens(), clock);
    let filler = registry.clone();
    std::thread::spawn(move || filler.transact_blocking(fill)).join().unwrap().unwrap();
    Bench { router: admin.router(), registry, dir, asked }
}

impl Bench {
    async fn send(&self, token: Option<&str>, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 1))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status: parts.status.as_u16(), json, bytes, headers: parts.headers }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.send(Some("full-token"), method, &format!("/admin/v1{path}"), body).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }

    /// Asks for what is to be refused.
    async fn refused(&self, method: &str, path: &str, body: Value, status: u16, error: &str) {
        let answer = self.ask(method, path, body).await;
        assert_eq!((answer.status, answer.json["error"].as_str()), (status, Some(error)), "{path}: {}", answer.json);
        assert!(answer.json["message"].as_str().is_some_and(|text| text.len() > 10), "{path}: {}", answer.json);
    }

    async fn make_app(&self, name: &str) {
        let answer = self.ask("POST", "/apps", json!({"name": name, "mode": "axb"})).await;
        assert_eq!(answer.status, 201, "{}", answer.json);
    }

    /// The audit log, oldest first.
    fn audit(&self) -> Vec<AuditRow> {
        let query = AuditQuery { limit: 1_000, ..AuditQuery::default() };
        let rows = Reader::open(self.dir.path()).unwrap().audit(&query).unwrap();
        rows.into_iter().rev().map(|(_, row)| row).collect()
    }
}

fn items(json: &Value, field: &str) -> Vec<String> {
    json["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

/// Every operation that there is to be.
const OPERATIONS: [(&str, &str); 32] = [
    ("get", "/deliveries"),
    ("post", "/deliveries/replay"),
    ("post", "/deliveries/{id}/replay"),
    ("post", "/bindings"),
    ("get", "/apps"),
    ("post", "/apps"),
    ("get", "/apps/{name}"),
    ("patch", "/apps/{name}"),
    ("delete", "/apps/{name}"),
    ("get", "/numbers"),
    ("post", "/numbers"),
    ("post", "/numbers/transfer"),
    ("get", "/numbers/{x}"),
    ("patch", "/numbers/{x}"),
    ("delete", "/numbers/{x}"),
    ("get", "/apps/{app}/prompts"),
    ("post", "/apps/{app}/prompts/defaults"),
    ("get", "/apps/{app}/prompts/{name}"),
    ("put", "/apps/{app}/prompts/{name}"),
    ("delete", "/apps/{app}/prompts/{name}"),
    ("post", "/apps/{app}/prompts/{name}/submit"),
    ("post", "/apps/{app}/prompts/{name}/approve"),
    ("post", "/apps/{app}/prompts/{name}/reject"),
    ("get", "/bindings"),
    ("get", "/bindings/{subscription_id}"),
    ("delete", "/bindings/{subscription_id}"),
    ("get", "/calls"),
    ("delete", "/calls/{session_id}"),
    ("get", "/cdrs"),
    ("get", "/audit"),
    ("get", "/why"),
    ("get", "/openapi.json"),
];

#[tokio::test]
async fn the_document_has_every_route_and_says_nothing_that_it_does_not_explain() {
    let bench = bench();
    let answer = bench.send(None, Method::GET, "/admin/v1/openapi.json", vec![]).await;
    assert_eq!(answer.status, 200);
    let document = answer.json;
    let read: utoipa::openapi::OpenApi = serde_json::from_value(document.clone()).unwrap();
    let again = serde_json::to_value(&read).unwrap();
    assert_eq!(again["paths"], document["paths"]);
    let names = |document: &Value| -> Vec<String> {
        document["components"]["schemas"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(&again), names(&document));
    // What a new app has beside what can be changed is not forbidden by the half that they share.
    assert_eq!(document["components"]["schemas"]["AppChange"]["additionalProperties"], Value::Null);
    assert_eq!(document["components"]["schemas"]["AppChange"]["properties"]["unknown"], Value::Null);
    let mut declared = BTreeSet::from([("get".to_owned(), "/openapi.json".to_owned())]);
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            declared.insert((method.clone(), path.strip_prefix("/admin/v1").unwrap().to_owned()));
            let id = format!("{method} {path}");
            assert!(ids.insert(id), "twice: {path}");
            assert!(operation["summary"].as_str().is_some(), "{method} {path} is not explained");
            let responses = operation["responses"].as_object().unwrap();
            for status in ["400", "401", "422", "429", "500"] {
                assert!(responses.contains_key(status), "{method} {path}: {status}");
            }
            let names: Vec<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let mut said: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            said.sort_by_key(|name| names.iter().position(|known| known == name));
            assert_eq!(said, names, "{method} {path}");
        }
    }
    let expected = OPERATIONS.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(declared, BTreeSet::from(expected));
    let mut references = 0;
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    references += 1;
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                left.extend(fields.values());
            }
            Value::Array(values) => left.extend(values),
            _ => {}
        }
    }
    assert!(references > 100, "{references}");
}

#[test]
fn the_document_says_what_may_be_missing_and_what_values_may_be() {
    let (_, document) = declared();
    let paths = &document["paths"];
    for (method, path) in
        [("get", "/numbers"), ("post", "/numbers"), ("post", "/numbers/transfer"), ("get", "/bindings")]
    {
        let responses = &paths[format!("/admin/v1{path}")][method]["responses"];
        assert!(responses["404"].is_object(), "{method} {path}: its app may be missing");
    }
    assert!(paths["/admin/v1/cdrs"]["get"]["responses"]["404"].is_null());
    let audio = &paths["/admin/v1/apps/{app}/prompts/{name}"];
    let binary = json!({"type": "string", "format": "binary"});
    assert_eq!(audio["put"]["requestBody"]["content"]["audio/x-wav"]["schema"], binary);
    assert_eq!(audio["get"]["responses"]["200"]["content"]["audio/x-wav"]["schema"], binary);
    let limit = &paths["/admin/v1/apps"]["get"]["parameters"][0];
    assert_eq!(
        (&limit["name"], &limit["schema"]["minimum"], &limit["schema"]["maximum"]),
        (&json!("limit"), &json!(1), &json!(1000))
    );
}

#[tokio::test]
async fn who_may_do_what() {
    let bench = bench();
    for (method, path) in OPERATIONS {
        let path = format!("/admin/v1{}", path.replace(['{', '}'], ""));
        let send =
            |token| bench.send(token, Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), &path, vec![]);
        if path.ends_with("openapi.json") {
            assert_eq!(send(None).await.status, 200);
            continue;
        }
        let answer = send(None).await;
        assert_eq!((answer.status, &answer.json["error"]), (401, &json!("unauthorized")), "{method} {path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let reading = send(Some("read-token")).await;
        let is_barred = (reading.status, reading.json["error"].as_str()) == (403, Some("read_only"));
        assert_eq!(is_barred, method != "get", "{method} {path}: {}", reading.json);
        for answer in [reading, send(Some("full-token")).await] {
            assert!(answer.status != 401 && answer.json["error"] != "no_route", "{method} {path}: {}", answer.json);
        }
    }
    assert!(bench.audit().iter().all(|row| row.who == "full" || row.action.starts_with("GET")));
}

#[tokio::test]
async fn wrong_tokens_are_counted_and_then_nothing_is_served() {
    let bench = bench();
    for wrong in 0..10 {
        let answer = bench.send(Some(&format!("full-token{wrong}")), Method::GET, "/admin/v1/apps", vec![]).await;
        assert_eq!(answer.status, 401);
    }
    // A right one is not even looked at.
    let answer = bench.send(Some("full-token"), Method::GET, "/admin/v1/apps", vec![]).await;
    assert_eq!((answer.status, &answer.json["error"]), (429, &json!("too_many_tries")));
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 1_700);
}

#[tokio::test]
async fn what_is_no_route_is_refused_in_json() {
    let bench = bench();
    bench.refused("GET", "/nothing", Value::Null, 404, "no_route").await;
    let elsewhere = bench.send(None, Method::GET, "/elsewhere", vec![]).await;
    assert_eq!((elsewhere.status, elsewhere.bytes), (404, vec![]), "that is for others to answer");
    bench.refused("PUT", "/apps", Value::Null, 405, "wrong_method").await;
    bench.refused("GET", "/apps/%ff", Value::Null, 400, "bad_path").await;
    bench.refused("GET", "/apps?limit=1&limit=2", Value::Null, 400, "bad_query").await;
    bench.refused("GET", "/apps?limit=x", Value::Null, 400, "bad_query").await;
    bench.refused("GET", "/apps?limit=0", Value::Null, 422, "bad_limit").await;
    bench.refused("GET", "/apps?limit=1001", Value::Null, 422, "bad_limit").await;
    bench.refused("GET", "/numbers?cursor=x", Value::Null, 422, "bad_cursor").await;
    bench.refused("GET", "/bindings?cursor=x", Value::Null, 422, "bad_cursor").await;
    let answer = bench.send(Some("full-token"), Method::POST, "/admin/v1/apps", b"{".to_vec()).await;
    assert_eq!((answer.status, &answer.json["error"]), (400, &json!("bad_json")));
    let answer = bench.send(Some("full-token"), Method::POST, "/admin/v1/numbers", vec![b' '; 2_200_000]).await;
    assert_eq!((answer.status, &answer.json["error"]), (413, &json!("too_large")));
}

#[tokio::test]
async fn apps_are_made_shown_changed_and_removed() {
    let bench = bench();
    let made = bench.ask("POST", "/apps", json!({"name": "shop", "mode": "axe", "extension_width": 3})).await;
    assert_eq!(made.status, 201);
    let secret = made.json["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 32);
    assert_eq!((&made.json["mode"], &made.json["extension_width"]), (&json!("axe"), &json!(3)));
    assert_eq!(bench.registry.accounts().named("shop").unwrap().secret.as_ref().unwrap().bytes(), secret.as_bytes());
    let shown = bench.get("/apps/shop").await;
    assert_eq!(
        (&shown["secret"], &shown["has_secret"], &shown["language"]),
        (&Value::Null, &json!(true), &json!("zh"))
    );
    let change = json!({"recording": true, "hint_tone": "zh/hint_tone.wav", "prompts": {"busy": "en/busy.wav"}});
    let changed = bench.ask("PATCH", "/apps/shop", change).await;
    assert_eq!(
        (changed.status, &changed.json["recording"], &changed.json["extension_width"]),
        (200, &json!(true), &json!(3))
    );
    assert_eq!(changed.json["secret"], Value::Null);
    let changed = bench.ask("PATCH", "/apps/shop", json!({"hint_tone": "", "secret": ""})).await;
    assert_eq!(changed.json["hint_tone"], Value::Null);
    assert_ne!(changed.json["secret"], json!(secret));
    assert_eq!(items(&bench.get("/apps").await, "name"), ["file", "shop"]);
    let first = bench.get("/apps?limit=1").await;
    assert_eq!((items(&first, "name"), &first["next_cursor"]), (vec!["file".to_owned()], &json!("file")));
    let second = bench.get("/apps?limit=1&cursor=file").await;
    assert_eq!((items(&second, "name"), &second["next_cursor"]), (vec!["shop".to_owned()], &Value::Null));
    assert_eq!(bench.ask("DELETE", "/apps/shop", Value::Null).await.status, 204);
    let rows = bench.audit();
    let told: Vec<(&str, u16, &str)> = rows.iter().map(|row| (&*row.action, row.status, &*row.detail)).collect();
    assert_eq!(
        told,
        [
            ("POST /admin/v1/apps", 201, "app shop"),
            ("PATCH /admin/v1/apps/{name}", 200, "app shop"),
            ("PATCH /admin/v1/apps/{name}", 200, "app shop"),
            ("DELETE /admin/v1/apps/{name}", 204, "app shop"),
        ]
    );
    assert_eq!((&*rows[0].who, &*rows[0].from), ("full", "10.0.0.1"));
    assert!(rows[0].at > 1_700_000_000_000 && rows.is_sorted_by_key(|row| row.at));
}

#[tokio::test]
async fn an_app_says_what_becomes_of_a_second_call_and_whom_its_users_call_back() {
    let bench = bench();
    let number = "+8675528780001";
    for (name, mode, second_call) in [("pairs", "axb", "offer"), ("one", "ax", "refuse"), ("desks", "axe", "offer")] {
        let made = bench.ask("POST", "/apps", json!({"name": name, "mode": mode})).await.json;
        assert_eq!((&made["second_call"], &made["call_back_number"]), (&json!(second_call), &Value::Null), "{mode}");
    }
    let rules = || bench.registry.accounts().named("desks").unwrap().rules.call_back;
    let change = json!({"second_call": "refuse", "call_back_number": number, "prompts": {"no_call_back": ""}});
    let changed = bench.ask("PATCH", "/apps/desks", change).await;
    assert_eq!((changed.status, &changed.json["second_call"]), (200, &json!("refuse")), "{}", changed.json);
    assert_eq!((&changed.json["call_back_number"], rules()), (&json!(number), Some(n(number))));
    // What is not said stays.
    let changed = bench.ask("PATCH", "/apps/desks", json!({"recording": true})).await.json;
    assert_eq!((&changed["second_call"], &changed["call_back_number"]), (&json!("refuse"), &json!(number)));
    for (app, wrong, error) in [
        ("desks", json!({"second_call": "busy"}), "bad_value"),
        ("desks", json!({"call_back_number": "13800000001"}), "bad_number"),
        ("desks", json!({"call_back_number": "+864001234567"}), "bad_value"),
        ("desks", json!({"call_back_number": "+86110"}), "bad_value"),
        ("desks", json!({"call_back_number": X}), "party_is_virtual"),
        ("one", json!({"call_back_number": number}), "bad_value"),
        ("desks", json!({"prompts": {"no_callees": ""}}), "bad_value"),
    ] {
        bench.refused("PATCH", &format!("/apps/{app}"), wrong, 422, error).await;
    }
    let new = json!({"name": "more", "mode": "axe", "call_back_number": X});
    bench.refused("POST", "/apps", new, 422, "party_is_virtual").await;
    assert_eq!(rules(), Some(n(number)));
    let changed = bench.ask("PATCH", "/apps/desks", json!({"call_back_number": "", "second_call": "offer"})).await.json;
    assert_eq!((&changed["second_call"], &changed["call_back_number"]), (&json!("offer"), &Value::Null));
    assert_eq!(rules(), None);
    // An app of the file shows what it plays.
    let played = bench.get("/apps/file").await["prompts"].clone();
    let played = |role: &str| played[role].as_str().unwrap().to_owned();
    for role in crate::apps::ROLES {
        let name = if role == "ringback" { "ringback.wav".to_owned() } else { format!("zh/{role}.wav") };
        assert_eq!(played(role), name);
    }
}

#[tokio::test]
async fn an_app_says_where_it_is_told_and_no_forbidden_address() {
    let bench = bench();
    let shop = json!({"name": "shop", "mode": "axb", "status_url": "https://shop.example.com/status"});
    let made = bench.ask("POST", "/apps", shop).await.json;
    assert_eq!((&made["status_url"], &made["fee_url"]), (&json!("https://shop.example.com/status"), &Value::Null));
    assert_eq!(made["signature"], "aksk");
    let told = || bench.registry.accounts().named("shop").unwrap().notify.clone();
    assert_eq!(told().status_url.as_deref(), Some("https://shop.example.com/status"));
    let change = json!({"number_url": "http://198.51.101.7:8000/num", "status_url": "", "signature": "wsse"});
    let changed = bench.ask("PATCH", "/apps/shop", change).await.json;
    assert_eq!((&changed["status_url"], &changed["signature"]), (&Value::Null, &json!("wsse")));
    assert_eq!((told().status_url, told().number_url.as_deref()), (None, Some("http://198.51.101.7:8000/num")));
    assert_eq!((&changed["sms_content"], told().sms_content), (&json!(false), false));
    for words in [true, false] {
        let changed = bench.ask("PATCH", "/apps/shop", json!({"sms_content": words})).await.json;
        assert_eq!((&changed["sms_content"], told().sms_content), (&json!(words), words));
        assert_eq!((told().number_url.is_some(), told().signature), (true, crate::apps::Generation::Wsse));
    }
    for (url, mend) in [
        ("http://127.0.0.1/", "[notify] allow"),
        ("http://[::ffff:10.0.0.1]/", "[notify] allow"),
        ("http://169.254.169.254/latest", "[notify] allow"),
        ("https://localhost/", "[notify] allow"),
        ("http://2130706433/", "four numbers"),
        ("ftp://shop.example.com/", "https://"),
        ("https://me:secret@shop.example.com/", "leave the user away"),
        ("shop", "e.g."),
    ] {
        for field in ["status_url", "fee_url", "sms_url", "sms_control_url", "number_url"] {
            let answer = bench.ask("PATCH", "/apps/shop", json!({field: url})).await;
            assert_eq!((answer.status, &answer.json["error"]), (422, &json!("bad_url")), "{url}: {}", answer.json);
            let message = answer.json["message"].as_str().unwrap();
            assert!(message.starts_with(field) && message.contains(mend), "{url}: {message}");
            assert!(!message.contains("secret@"), "{message}");
        }
    }
    bench.refused("PATCH", "/apps/shop", json!({"signature": "none"}), 422, "bad_value").await;
    let new = json!({"name": "more", "mode": "axb", "fee_url": "http://10.0.0.1/"});
    bench.refused("POST", "/apps", new, 422, "bad_url").await;
    // A reload that allows a network is enough; what it takes back later is in the way of no other change.
    for (allow, status) in [("\n[notify]\nallow = [\"10.0.0.0/8\"]\n", 200), ("", 422)] {
        let file = crate::config::parse(&format!("{FILE}{allow}"), std::path::Path::new("c.toml")).unwrap().into_file();
        let registry = bench.registry.clone();
        std::thread::spawn(move || registry.reload(file)).join().unwrap().unwrap();
        let changed = bench.ask("PATCH", "/apps/shop", json!({"fee_url": "http://10.0.0.1/"})).await;
        assert_eq!(changed.status, status, "{}", changed.json);
        let changed = bench.ask("PATCH", "/apps/shop", json!({"recording": true})).await;
        assert_eq!((changed.status, &changed.json["fee_url"]), (200, &json!("http://10.0.0.1/")));
    }
}

#[tokio::test]
async fn what_was_told_is_listed_and_told_again() {
    let bench = bench();
    let shop = json!({"name": "shop", "mode": "axb", "fee_url": "https://shop.example.com/fee"});
    assert_eq!(bench.ask("POST", "/apps", shop).await.status, 201);
    let path = "/deliveries?app=shop&channel=fee&state=given_up&session=s0&from=1&to=9&cursor=3-18&limit=1";
    let found = bench.get(path).await;
    assert_eq!(found["next_cursor"], "2-17");
    let item = &found["items"][0];
    assert_eq!((&item["id"], &item["channel"], &item["state"]), (&json!(17), &json!("fee"), &json!("given_up")));
    assert_eq!(item["body"]["feeLst"][0]["callerNum"], "+8613800000001");
    let asked = bench.asked.lock().unwrap().join("\n");
    for word in
        ["Some(Fee)", "Some(GivenUp)", "Cursor { created: 3, id: 18 }", "from: Some(1)", "to: Some(9)", "limit: 1"]
    {
        assert!(asked.contains(word), "{word}: {asked}");
    }
    // Whoever may only look sees no number.
    let reading = bench.send(Some("read-token"), Method::GET, &format!("/admin/v1{path}"), vec![]).await;
    assert_eq!((reading.status, &reading.json["items"][0]["id"]), (200, &json!(17)));
    assert!(!String::from_utf8(reading.bytes).unwrap().contains("13800000001"));
    for (query, status, error) in [
        ("cursor=x", 422, "bad_cursor"),
        ("cursor=1", 422, "bad_cursor"),
        ("from=2&to=1", 422, "bad_time"),
        ("channel=fees", 400, "bad_query"),
        ("state=lost", 400, "bad_query"),
    ] {
        bench.refused("GET", &format!("/deliveries?{query}"), Value::Null, status, error).await;
    }

    let replayed = bench.ask("POST", "/deliveries/17/replay", Value::Null).await;
    assert_eq!((replayed.status, replayed.json), (200, json!({"count": 1})));
    for missed in ["18", "x", "-1"] {
        bench.refused("POST", &format!("/deliveries/{missed}/replay"), Value::Null, 404, "not_found").await;
    }
    let since = |app: &str, channel: &str| json!({"app": app, "channel": channel, "since": 5});
    let replayed = bench.ask("POST", "/deliveries/replay", since("shop", "fee")).await;
    assert_eq!((replayed.status, replayed.json), (200, json!({"count": 3})));
    bench.refused("POST", "/deliveries/replay", since("none", "fee"), 404, "not_found").await;
    bench.refused("POST", "/deliveries/replay", since("shop", "status"), 409, "no_url").await;
    bench.refused("POST", "/deliveries/replay", since("shop", "fees"), 422, "bad_value").await;
    let asked = bench.asked.lock().unwrap().clone();
    assert_eq!(asked[asked.len() - 3..], ["replay 17", "replay 18", "shop fee 5"]);
    let rows = bench.audit();
    let told: Vec<(&str, u16, &str)> =
        rows.iter().skip(1).map(|row| (&*row.action, row.status, &*row.detail)).collect();
    assert_eq!(
        told[0],
        ("GET /admin/v1/deliveries", 200, "app shop, channel fee, state given_up, session s0, from 1, to 9")
    );
    for row in [
        ("POST /admin/v1/deliveries/{id}/replay", 200, "delivery 17"),
        ("POST /admin/v1/deliveries/{id}/replay", 404, "delivery 18"),
        ("POST /admin/v1/deliveries/replay", 200, "app shop, channel fee, since 5"),
        ("POST /admin/v1/deliveries/replay", 404, "app none, channel fee, since 5"),
        ("POST /admin/v1/deliveries/replay", 409, "app shop, channel status, since 5"),
    ] {
        assert!(told.contains(&row), "{row:?}: {told:?}");
    }
}

#[tokio::test]
async fn apps_that_cannot_be_are_refused() {
    let bench = bench();
    bench.make_app("shop").await;
    bench.refused("POST", "/apps", json!({"name": "shop", "mode": "axb"}), 409, "exists").await;
    for wrong in [
        json!({"name": "a/b", "mode": "axb"}),
        json!({"name": "a", "mode": "abx"}),
        json!({"name": "a"}),
        json!({"mode": "axb"}),
        json!({"name": "a", "mode": "axb", "colour": "red"}),
        json!({"name": "a", "mode": "axb", "secret": "short"}),
        json!({"name": "a", "mode": "axb", "extension_width": 5}),
        json!({"name": "a", "mode": "axb", "mobile_areas": {"138": "755"}}),
        json!([]),
    ] {
        bench.refused("POST", "/apps", wrong, 422, "bad_value").await;
    }
    bench.refused("PATCH", "/apps/shop", json!({"mode": "ax"}), 422, "bad_value").await;
    bench.refused("PATCH", "/apps/shop", json!({"hint_tone": "no.wav"}), 422, "unknown_prompt").await;
    bench.refused("PATCH", "/apps/none", json!({}), 404, "not_found").await;
    bench.refused("GET", "/apps/none", Value::Null, 404, "not_found").await;
    bench.refused("DELETE", "/apps/none", Value::Null, 404, "not_found").await;
    bench.refused("PATCH", "/apps/file", json!({"recording": true}), 409, "configured").await;
    bench.refused("DELETE", "/apps/file", Value::Null, 409, "configured").await;
    bench.ask("POST", "/numbers", json!([{"x": "+8617000000002", "app": "shop"}])).await;
    bench.refused("DELETE", "/apps/shop", Value::Null, 409, "in_use").await;
    let refused = bench.audit();
    assert!(refused.iter().any(|row| row.status == 409 && row.detail == "app file"));
}

#[tokio::test]
async fn numbers_are_added_shown_changed_and_released() {
    let bench = bench();
    bench.make_app("shop").await;
    let new = json!([
        {"x": "+8617000000002", "app": "shop", "trunk": "carrier", "area": "0755", "state": "frozen"},
        {"x": "+8675528000001", "app": "shop"},
    ]);
    let added = bench.ask("POST", "/numbers", new).await;
    assert_eq!((added.status, added.json), (201, json!({"count": 2})));
    let shown = bench.get("/numbers/+8617000000002").await;
    assert_eq!(
        shown,
        json!({"x": "+8617000000002", "app": "shop", "trunk": "carrier", "area": "0755", "state": "frozen",
        "bindings": 0, "uses": 0, "rests_until": null, "is_configured": false})
    );
    assert_eq!(bench.get(&format!("/numbers/{X}")).await["bindings"], 2);
    for (query, found) in [
        ("", vec![X, "+8617000000002", "+8675528000001"]),
        ("?app=shop", vec!["+8617000000002", "+8675528000001"]),
        ("?area=0755", vec!["+8617000000002", "+8675528000001"]),
        ("?state=frozen", vec!["+8617000000002"]),
        ("?app=file&state=frozen", vec![]),
        ("?limit=1", vec![X]),
        ("?limit=1&cursor=8617000000001", vec!["+8617000000002"]),
    ] {
        assert_eq!(items(&bench.get(&format!("/numbers{query}")).await, "x"), found, "{query}");
    }
    assert_eq!(bench.get("/numbers?limit=2").await["next_cursor"], "8617000000002");
    let changed =
        bench.ask("PATCH", "/numbers/+8617000000002", json!({"state": "normal", "area": "", "trunk": ""})).await;
    let fields = ["state", "area", "trunk"].map(|field| changed.json[field].clone());
    assert_eq!((changed.status, fields), (200, [json!("normal"), Value::Null, Value::Null]));
    assert_eq!(bench.ask("DELETE", "/numbers/+8617000000002", Value::Null).await.status, 204);
    bench.refused("GET", "/numbers/+8617000000002", Value::Null, 404, "not_found").await;
    // Nobody finds a number in what has been written down.
    assert!(bench.audit().iter().all(|row| !format!("{row:?}").contains("7000000002")));
    assert!(bench.audit().iter().any(|row| row.detail == n("+8617000000002").to_string()));
}

#[tokio::test]
async fn a_list_of_numbers_is_taken_whole_or_not_at_all() {
    let bench = bench();
    bench.make_app("shop").await;
    let good = json!({"x": "+8617000000002", "app": "shop"});
    for (bad, status, error) in [
        (json!({"x": X, "app": "shop"}), 409, "exists"),
        (json!({"x": "8617000000003", "app": "shop"}), 422, "bad_number"),
        (json!({"x": "+8617000000003", "app": "none"}), 404, "not_found"),
        (json!({"x": "+8617000000003", "app": "shop", "trunk": "none"}), 422, "unknown_trunk"),
        (json!({"x": "+8617000000003", "app": "shop", "area": "755"}), 422, "bad_area"),
        (json!({"x": "+8617000000003", "app": "shop", "state": "x"}), 422, "bad_value"),
        (good.clone(), 422, "twice"),
    ] {
        bench.refused("POST", "/numbers", json!([good, bad]), status, error).await;
        assert_eq!(items(&bench.get("/numbers").await, "x"), [X], "{error}");
    }
    bench.refused("POST", "/numbers", json!([]), 422, "bad_count").await;
    let many: Vec<Value> = (0..10_001).map(|last| json!({"x": format!("+86171{last:08}"), "app": "shop"})).collect();
    bench.refused("POST", "/numbers", json!(many), 422, "bad_count").await;
    assert_eq!(bench.ask("POST", "/numbers", json!(many[1..])).await.status, 201);
    bench.refused("DELETE", &format!("/numbers/{X}"), Value::Null, 409, "in_use").await;
    bench.refused("DELETE", "/numbers/+8617900000001", Value::Null, 404, "not_found").await;
    bench.refused("PATCH", "/numbers/1", json!({}), 422, "bad_number").await;
}

#[tokio::test]
async fn a_range_of_numbers_is_added_at_once() {
    let bench = bench();
    bench.make_app("shop").await;
    let whole = json!({"x": "+86700123456780000", "last": "+86700123456789999", "app": "shop", "area": "0755"});
    let one = json!({"x": "+8617000000002", "app": "shop"});
    for (wrong, status, error) in [
        (json!([whole, one]), 422, "bad_count"),
        (json!([one, whole]), 422, "bad_count"),
        (json!([{"x": "+86700123456780000", "last": "+86700123456790000", "app": "shop"}]), 422, "bad_count"),
        (json!([{"x": "+10000", "last": "+99999", "app": "shop"}]), 422, "bad_count"),
        (json!([{"x": "+100000000000000000", "last": "+999999999999999999", "app": "shop"}]), 422, "bad_count"),
        (json!([{"x": "+8617000000009", "last": "+8617000000008", "app": "shop"}]), 422, "bad_range"),
        (json!([{"x": "+8617000000009", "last": "+86170000000010", "app": "shop"}]), 422, "bad_range"),
        (json!([{"x": "+85999", "last": "+86100", "app": "shop"}]), 422, "bad_range"),
        (json!([{"x": "+8617000000009", "last": "8617000000010", "app": "shop"}]), 422, "bad_number"),
        (json!([one, {"x": "+8617000000001", "last": "+8617000000003", "app": "shop"}]), 422, "twice"),
        (json!([{"x": "+8617000000000", "last": "+8617000000003", "app": "shop"}]), 409, "exists"),
    ] {
        bench.refused("POST", "/numbers", wrong, status, error).await;
        assert_eq!(items(&bench.get("/numbers").await, "x"), [X], "{error}");
    }
    let added = bench.ask("POST", "/numbers", json!([whole])).await;
    assert_eq!((added.status, added.json), (201, json!({"count": 10_000})));
    let shown = bench.get("/numbers/+86700123456789999").await;
    assert_eq!((&shown["app"], &shown["area"]), (&json!("shop"), &json!("0755")));
    let two = json!([{"x": "+8617000000002", "last": "+8617000000003", "app": "shop"}]);
    assert_eq!(bench.ask("POST", "/numbers", two).await.json, json!({"count": 2}));
}

#[tokio::test]
async fn a_700_number_has_15_digits_or_11_by_the_mode_of_its_app() {
    let bench = bench();
    bench.make_app("pairs").await;
    for (name, mode) in [("one", "ax"), ("desks", "axe")] {
        assert_eq!(bench.ask("POST", "/apps", json!({"name": name, "mode": mode})).await.status, 201);
    }
    let (managed, dialled) = ("+8670012345678", "+86700123456780001");
    for (x, app) in [(managed, "pairs"), (managed, "one"), (dialled, "desks")] {
        bench.refused("POST", "/numbers", json!([{"x": x, "app": app}]), 422, "wrong_700").await;
    }
    for (x, app) in [(dialled, "pairs"), ("+86700123456780002", "one"), (managed, "desks")] {
        assert_eq!(bench.ask("POST", "/numbers", json!([{"x": x, "app": app}])).await.status, 201, "{app}");
    }
    for (x, app) in [(managed, "pairs"), (dialled, "desks")] {
        bench.refused("POST", "/numbers/transfer", json!({"to": app, "numbers": [x]}), 422, "wrong_700").await;
    }
    let transferred = bench.ask("POST", "/numbers/transfer", json!({"to": "one", "numbers": [dialled]})).await;
    assert_eq!(transferred.status, 200);
    // Where the operator wants no others, none is added; a reload is enough.
    let text = format!("{FILE}\n[numbering]\nonly_700 = true\n");
    let file = crate::config::parse(&text, std::path::Path::new("c.toml")).unwrap().into_file();
    let registry = bench.registry.clone();
    std::thread::spawn(move || registry.reload(file)).join().unwrap().unwrap();
    let other = "+8617000000002";
    bench.refused("POST", "/numbers", json!([{"x": other, "app": "pairs"}]), 422, "wrong_700").await;
    bench.refused("POST", "/numbers/transfer", json!({"to": "pairs", "numbers": [X]}), 409, "in_use").await;
    let added = bench.ask("POST", "/numbers", json!([{"x": "+86700123456780003", "app": "pairs"}])).await;
    assert_eq!(added.status, 201);
}

#[tokio::test]
async fn numbers_change_hands_all_or_none() {
    let bench = bench();
    bench.make_app("one").await;
    bench.make_app("two").await;
    let (first, second) = ("+8617000000002", "+8617000000003");
    let new = json!([{"x": first, "app": "one"}, {"x": second, "app": "two"}]);
    assert_eq!(bench.ask("POST", "/numbers", new).await.status, 201);
    for (asked, status, error) in [
        (json!({"from": "one", "to": "two", "numbers": [first, second]}), 422, "foreign_x"),
        (json!({"to": "two", "numbers": [first, X]}), 409, "in_use"),
        (json!({"to": "two", "numbers": [first, "+8617000000009"]}), 404, "unknown_x"),
        (json!({"to": "none", "numbers": [first]}), 404, "not_found"),
        (json!({"to": "two", "numbers": [first, first]}), 422, "twice"),
        (json!({"to": "two", "numbers": []}), 422, "bad_count"),
    ] {
        bench.refused("POST", "/numbers/transfer", asked, status, error).await;
        assert_eq!(bench.get(&format!("/numbers/{first}")).await["app"], "one");
    }
    let done = bench.ask("POST", "/numbers/transfer", json!({"from": "one", "to": "two", "numbers": [first]})).await;
    assert_eq!((done.status, done.json), (200, json!({"count": 1})));
    assert_eq!(items(&bench.get("/numbers?app=two").await, "x"), [first, second]);
}

fn wav(samples: u32) -> Vec<u8> {
    let mut wav = media::wav::header(samples).to_vec();
    wav.resize(wav.len() + samples as usize, 0xd5);
    wav
}

#[tokio::test]
async fn a_prompt_goes_its_way() {
    let bench = bench();
    bench.make_app("shop").await;
    let path = "/apps/shop/prompts/welcome.wav";
    let put = || bench.send(Some("full-token"), Method::PUT, "/admin/v1/apps/shop/prompts/welcome.wav", wav(16_000));
    let put = async || put().await;
    let made = put().await;
    assert_eq!((made.status, &made.json["state"], &made.json["milliseconds"]), (200, &json!("draft"), &json!(2_000)));
    bench.refused("POST", &format!("{path}/approve"), Value::Null, 409, "wrong_state").await;
    bench.refused("POST", &format!("{path}/reject"), json!({"remark": "no"}), 409, "wrong_state").await;
    bench.refused("PATCH", "/apps/shop", json!({"hint_tone": "welcome.wav"}), 422, "unknown_prompt").await;
    assert_eq!(bench.ask("POST", &format!("{path}/submit"), Value::Null).await.json["state"], "submitted");
    bench.refused("POST", &format!("{path}/reject"), json!({"remark": ""}), 422, "bad_remark").await;
    let rejected = bench.ask("POST", &format!("{path}/reject"), json!({"remark": "too loud"})).await.json;
    assert_eq!((&rejected["state"], &rejected["remark"]), (&json!("rejected"), &json!("too loud")));
    assert_eq!(put().await.json["state"], "draft");
    bench.ask("POST", &format!("{path}/submit"), Value::Null).await;
    assert_eq!(bench.ask("POST", &format!("{path}/approve"), Value::Null).await.json["state"], "approved");
    assert_eq!(bench.ask("PATCH", "/apps/shop", json!({"hint_tone": "welcome.wav"})).await.status, 200);
    bench.refused("DELETE", path, Value::Null, 409, "in_use").await;
    let heard = bench.ask("GET", path, Value::Null).await;
    assert_eq!((heard.bytes, &heard.headers["content-type"]), (wav(16_000), &"audio/x-wav".parse().unwrap()));
    assert_eq!((put().await.json["error"]).as_str(), Some("in_use"), "a draft does not take the place of what plays");
    assert_eq!(bench.ask("PATCH", "/apps/shop", json!({"hint_tone": ""})).await.status, 200);
    assert_eq!(put().await.json["state"], "draft", "a new upload is another prompt");
    assert_eq!(bench.ask("DELETE", path, Value::Null).await.status, 204);
    bench.refused("GET", path, Value::Null, 404, "not_found").await;
    bench.refused("DELETE", path, Value::Null, 404, "not_found").await;
}

#[tokio::test]
async fn a_binding_is_made_shown_and_ended() {
    let bench = bench();
    let good = json!({"app": "file", "a": "+8613800000005", "b": "+8675528000001", "duration": 60});
    let made = bench.ask("POST", "/bindings", good.clone()).await;
    assert_eq!((made.status, &made.json["x"], &made.json["b"]), (201, &json!(X), &json!("+8675528000001")));
    assert!(made.json["ends"].as_u64().is_some());
    let path = format!("/bindings/{}", made.json["subscription_id"].as_str().unwrap());
    assert_eq!(bench.get(&path).await, made.json);
    for (field, value, status, error) in [
        ("app", json!("nobody"), 404, "not_found"),
        ("a", json!("+86110"), 422, "bad_value"),
        ("a", json!("+15551234567"), 422, "bad_value"),
        ("b", json!("+864001234567"), 422, "bad_value"),
        ("b", json!(null), 422, "bad_value"),
        ("a", json!("+8613800000001"), 422, "none_free"),
        ("x", json!("+8617000000009"), 404, "unknown_x"),
        ("area", json!("755"), 422, "bad_value"),
        ("area", json!("0755"), 422, "none_free"),
        ("extension", json!("1"), 422, "bad_value"),
        ("duration", json!(7_776_001), 422, "bad_value"),
        ("max_minutes", json!(1_441), 422, "max_minutes"),
        ("user_data", json!("u".repeat(257)), 422, "bad_value"),
        ("more", json!(1), 422, "bad_value"),
    ] {
        let mut wrong = json!({"app": "file", "a": "+8613800000006", "b": "+8613800000007"});
        wrong[field] = value;
        bench.refused("POST", "/bindings", wrong, status, error).await;
    }
    assert_eq!(bench.ask("DELETE", &path, Value::Null).await.status, 204);
    bench.refused("GET", &path, Value::Null, 404, "not_found").await;
    assert_eq!(bench.ask("POST", "/bindings", good).await.status, 201);
}

#[tokio::test]
async fn what_is_no_prompt_is_refused_and_says_why() {
    let bench = bench();
    bench.make_app("shop").await;
    let put = async |path: &str, wav: Vec<u8>| {
        let answer = bench.send(Some("full-token"), Method::PUT, &format!("/admin/v1/apps/{path}"), wav).await;
        (answer.status, answer.json["error"].as_str().unwrap_or_default().to_owned())
    };
    let mut stereo = wav(100);
    stereo[22] = 2;
    let mut fast = wav(100);
    fast[24..28].copy_from_slice(&16_000_u32.to_le_bytes());
    for (path, wav, status, error) in [
        ("shop/prompts/a.wav", vec![], 422, "empty"),
        ("shop/prompts/a.wav", b"ID3".to_vec(), 422, "not_riff"),
        ("shop/prompts/a.wav", stereo, 422, "not_mono"),
        ("shop/prompts/a.wav", fast, 422, "wrong_rate"),
        ("shop/prompts/a.wav", wav(2_098_000), 422, "too_large"),
        ("shop/prompts/a.wav", wav(2_200_000), 413, "too_large"),
        ("shop/prompts/a.mp3", wav(100), 422, "bad_name"),
        ("shop/prompts/..%2Fa.wav", wav(100), 422, "bad_name"),
        ("shop/prompts/.wav", wav(100), 422, "bad_name"),
        ("none/prompts/a.wav", wav(100), 404, "not_found"),
    ] {
        assert_eq!(put(path, wav).await, (status, error.to_owned()), "{path}");
    }
    assert_eq!(put("shop/prompts/zh%2F%E4%BD%A0%E5%A5%BD.wav", wav(101)).await.0, 200);
    assert_eq!(items(&bench.get("/apps/shop/prompts").await, "name"), ["zh/你好.wav"]);
}

#[tokio::test]
async fn the_default_set_is_added_in_one_step() {
    let bench = bench();
    bench.make_app("shop").await;
    let added = bench.ask("POST", "/apps/shop/prompts/defaults", Value::Null).await;
    assert_eq!((added.status, added.json.as_array().map(Vec::len)), (200, Some(crate::prompts::DEFAULTS.len())));
    assert!(added.json.as_array().unwrap().iter().all(|prompt| prompt["state"] == "approved"));
    let again = bench.ask("POST", "/apps/shop/prompts/defaults", Value::Null).await;
    assert_eq!(again.json, json!([]));
    let part = bench.get("/apps/shop/prompts?limit=20").await;
    assert_eq!(part["items"].as_array().unwrap().len(), 20);
    let cursor = part["next_cursor"].as_str().unwrap().replace('/', "%2F");
    assert_eq!(
        bench.get(&format!("/apps/shop/prompts?limit=20&cursor={cursor}")).await["items"].as_array().unwrap().len(),
        crate::prompts::DEFAULTS.len() - 20
    );
    let heard = bench.ask("GET", "/apps/shop/prompts/zh%2Fbusy.wav", Value::Null).await;
    assert!(media::wav::read_prompt(&heard.bytes).is_ok());
    bench.refused("POST", "/apps/none/prompts/defaults", Value::Null, 404, "not_found").await;
}

#[tokio::test]
async fn bindings_are_found_and_ended() {
    let bench = bench();
    let ids = [SubscriptionId(1).to_string(), SubscriptionId(2).to_string()];
    let found = async |query: &str| items(&bench.get(&format!("/bindings{query}")).await, "subscription_id");
    assert_eq!(found("").await, ids);
    assert_eq!(found("?app=file").await, ids);
    assert_eq!(found("?x=%2B8617000000001").await, ids);
    assert_eq!(found("?x=+8617000000001&limit=1").await, ids[..1], "a + that is not escaped");
    assert_eq!(found("?number=%2B8613800000004").await, ids[1..]);
    assert_eq!(found("?number=%2B8613800000009").await, Vec::<String>::new());
    assert_eq!(found(&format!("?cursor={}", ids[0])).await, ids[1..]);
    let part = bench.get("/bindings?limit=1").await;
    assert_eq!(part["next_cursor"], json!(ids[0]));
    assert_eq!(bench.get(&format!("/bindings?limit=1&cursor={}", ids[0])).await["next_cursor"], Value::Null);
    bench.refused("GET", "/bindings?app=none", Value::Null, 404, "not_found").await;
    let shown = bench.get(&format!("/bindings/{}", ids[0])).await;
    let fields = ["app", "mode", "x", "a", "b"].map(|field| shown[field].as_str().unwrap().to_owned());
    assert_eq!(fields, ["file", "axb", X, "+8613800000001", "+8613800000002"]);
    assert_eq!(bench.ask("DELETE", &format!("/bindings/{}", ids[0]), Value::Null).await.status, 204);
    bench.refused("DELETE", &format!("/bindings/{}", ids[0]), Value::Null, 404, "not_found").await;
    bench.refused("GET", &format!("/bindings/{}", ids[0]), Value::Null, 404, "not_found").await;
    bench.refused("GET", "/bindings/1", Value::Null, 422, "bad_id").await;
}

#[tokio::test]
async fn calls_records_and_reasons_come_from_the_hooks() {
    let bench = bench();
    let calls = bench.get("/calls?app=shop&x=%2B8617000000001").await;
    assert_eq!(
        (items(&calls, "caller"), items(&calls, "session_id")),
        (vec!["+8613800000001".into()], vec!["s1".into()])
    );
    assert_eq!(bench.ask("DELETE", "/calls/s1", Value::Null).await.status, 204);
    bench.refused("DELETE", "/calls/s2", Value::Null, 404, "not_found").await;
    let query = "/cdrs?from=1&to=2&number=%2B8613800000002&x=%2B8617000000001&app=shop&cause=busy&limit=7&cursor=5-s9";
    let cdrs = bench.get(query).await;
    assert_eq!((&cdrs["items"][0]["callee"], &cdrs["next_cursor"]), (&json!("+8613800000002"), &json!("more")));
    bench.refused("GET", "/cdrs?from=2&to=1", Value::Null, 422, "bad_time").await;
    bench.refused("GET", "/cdrs?to=9223372036854775808", Value::Null, 422, "bad_time").await;
    bench.refused("GET", "/cdrs?number=1", Value::Null, 422, "bad_number").await;
    for path in ["/cdrs?cursor=c", "/cdrs?cursor=1", "/cdrs?cursor=-c", "/audit?cursor=c", "/audit?cursor=1-c"] {
        bench.refused("GET", path, Value::Null, 422, "bad_cursor").await;
    }
    assert_eq!(bench.get("/audit?limit=3&cursor=3").await["items"][0]["who"], "full");
    assert_eq!(bench.get("/why?x=%2B8617000000001&caller=%2B8613800000009").await["reason"], "no_binding");
    bench.refused("GET", "/why?x=%2B8617000000001", Value::Null, 400, "bad_query").await;
    let (number, x) = (n("+8613800000002"), n(X));
    let audit = bench.audit();
    let told: Vec<(&str, u16, &str)> = audit.iter().map(|row| (&*row.action, row.status, &*row.detail)).collect();
    let looked_for = format!("from 1, to 2, number {number}, x {x}, app shop, cause busy");
    assert_eq!(
        told,
        [
            ("DELETE /admin/v1/calls/{session_id}", 204, "call s1"),
            ("DELETE /admin/v1/calls/{session_id}", 204, "call s2"),
            ("DELETE /admin/v1/calls/{session_id}", 404, "call s2"),
            ("GET /admin/v1/cdrs", 200, &looked_for),
        ]
    );
    let asked = bench.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 6, "{asked:?}");
    assert!(asked[3].contains("limit: 7") && asked[3].contains("Some(\"5-s9\")"), "{}", asked[3]);
    assert!(asked.iter().all(|asked| !asked.contains("13800000002")), "{asked:?}");
}
