use std::net::SocketAddr;
use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tower::ServiceExt;

use super::super::authentication::{DEFAULT_WINDOW, Gate, Generation, digest};
use super::super::result::Tally;
use super::super::{
    AX as AX_PATH, AX_CALLEE, AXB as AXB_PATH, AXE as AXE_PATH, CALL_STOP, Compat, Hooks, OPERATIONS, RECORD, router,
};
use super::*;
use crate::clock::Clock;
use crate::registry::Unavailable;

/// The API over books behind a lock; without them, over a registry that cannot answer.
fn compat(desk: Option<Desk>) -> Arc<Compat> {
    let accounts = accounts();
    let books = desk.map(|desk| Arc::new(Mutex::new(desk.books)));
    let hooks = Hooks {
        recording_link: Box::new(|account, name, base_url| {
            let link = match name.as_str() {
                "own.wav" => Some(format!("{base_url}/{}/{name}?signed", account.name)),
                "broken.wav" => Some("a\nb".to_owned()),
                _ => None,
            };
            Box::pin(async move { Ok(link) })
        }),
        stop_call: Box::new(|app, session| Box::pin(async move { Ok(app == AXB && session == "here") })),
    };
    Arc::new(Compat {
        accounts: Box::new(move || Arc::clone(&accounts)),
        transact: Box::new(move |work, _| {
            let books = books.clone();
            Box::pin(async move { Ok(work(&mut books.ok_or(Unavailable)?.lock().unwrap())) })
        }),
        gate: Gate::new(Some(DEFAULT_WINDOW)),
        hooks,
        clock: Clock::start(),
        tally: Tally::default(),
    })
}

struct Client {
    compat: Arc<Compat>,
    nonce: u64,
}

impl Client {
    fn new() -> Client {
        Client { compat: compat(Some(Desk::new())), nonce: 0 }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value, Response<()>) {
        let response = router(Arc::clone(&self.compat)).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get("content-type").unwrap();
        assert_eq!(kind, "application/json;charset=UTF-8");
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let value = serde_json::from_slice(&body).unwrap();
        (parts.status, value, Response::from_parts(parts, ()))
    }

    fn request(&mut self, app: &str, method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let created = self.compat.clock.rfc3339(self.compat.clock.now());
        let digest = BASE64_STANDARD.encode(digest(Generation::Wsse, &Secret::new(SECRET), &nonce, &created));
        let token =
            format!(r#"UsernameToken Username="{app}",PasswordDigest="{digest}",Nonce="{nonce}",Created="{created}""#);
        Request::builder()
            .method(method)
            .uri(path)
            .header("Authorization", r#"WSSE realm="SDP",profile="UsernameToken",type="Appkey""#)
            .header("X-WSSE", token)
            .header("Content-Type", "application/json;charset=UTF-8")
            .header("Host", "api.example")
            .body(body.into())
            .unwrap()
    }

    async fn ask(&mut self, app: &str, method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = self.request(app, method, path, body);
        let (status, value, _) = self.send(request).await;
        (status, value)
    }
}

fn is(answer: &(StatusCode, Value), code: Code) {
    assert_eq!(answer.1["resultcode"], json!(code.number()), "{}", answer.1);
    assert_eq!(answer.0.as_u16(), code.status());
    assert!(answer.1["resultdesc"].as_str().unwrap().starts_with(code.text()));
    if code != Code::Success {
        assert_eq!(answer.1.as_object().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_pair_lives_through_http() {
    let mut client = Client::new();
    let body = json!({"callerNum": "+8613900000001", "calleeNum": "+8613900000002", "areaCode": "0755"}).to_string();
    let made = client.ask("axb", "POST", AXB_PATH, body).await;
    is(&made, Code::Success);
    assert!(made.1["resultcode"].is_string());
    let id = made.1["subscriptionId"].as_str().unwrap().to_owned();
    let x = made.1["relationNum"].as_str().unwrap().to_owned();
    is(&client.ask("axb", "GET", &format!("{AXB_PATH}?subscriptionId={id}"), "").await, Code::Success);
    is(&client.ask("axb", "GET", &format!("{AXB_PATH}?relationNum={x}"), "").await, Code::Success);
    is(&client.ask("axb", "GET", &format!("{AXB_PATH}/?relationNum=%2B{}", &x[1..]), "ignored").await, Code::Success);
    let change = json!({"subscriptionId": id, "calleeNum": "+8613900000003"}).to_string();
    is(&client.ask("axb", "PUT", AXB_PATH, change).await, Code::Success);
    is(&client.ask("other-axb", "DELETE", &format!("{AXB_PATH}?subscriptionId={id}"), "").await, Code::NoRecord);
    // A query wins over the body; a body alone will do.
    let body = json!({"subscriptionId": id}).to_string();
    is(&client.ask("axb", "DELETE", &format!("{AXB_PATH}?subscriptionId=nobody"), body.clone()).await, Code::NoRecord);
    is(&client.ask("axb", "DELETE", AXB_PATH, body.clone()).await, Code::Success);
    is(&client.ask("axb", "DELETE", AXB_PATH, body).await, Code::NoRecord);
}

#[tokio::test]
async fn every_operation_is_at_its_path_and_for_its_mode() {
    let mut client = Client::new();
    for operation in &OPERATIONS {
        for (_, name, mode) in APPS {
            let answer = client.ask(name, operation.method, operation.path, "").await;
            let is_allowed = operation.mode.is_none_or(|own| own == mode);
            is(&answer, if is_allowed { Code::InvalidRequest } else { Code::WrongMode });
        }
    }
    let paths: std::collections::BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.path).collect();
    assert_eq!(paths.len(), 6);
    assert_eq!(paths, [AXB_PATH, AX_PATH, AX_CALLEE, AXE_PATH, RECORD, CALL_STOP].into());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let mut client = Client::new();
    let click = "/rest/httpsessions/click2Call/v2.0";
    let axyb = "/rest/omp/xyrelationnumber/v1.0?app_key=axb";
    for path in ["/", "/rest", "/rest/", "/metrics", click, axyb, "/rest/caas/privatenumber/v1.0", "/rest/%FF"] {
        is(&client.ask("axb", "POST", path, "{}").await, Code::NoPath);
    }
    let all = "POST, DELETE, PUT, GET";
    for (method, path, allowed) in [
        ("PATCH", AXB_PATH, all),
        ("POST", AX_CALLEE, "PUT"),
        ("POST", RECORD, "GET"),
        ("GET", CALL_STOP, "POST"),
        ("post", AXB_PATH, all),
    ] {
        let request = client.request("axb", method, path, "{}");
        let (status, value, response) = client.send(request).await;
        is(&(status, value), Code::NoMethod);
        assert_eq!(response.headers()["allow"], allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_learns_why() {
    let mut client = Client::new();
    let request = |uri: &str| Request::builder().method("POST").uri(uri).body(Body::from("{")).unwrap();
    let (status, value, _) = client.send(request(AXB_PATH)).await;
    is(&(status, value), Code::NoAuthorization);
    is(&client.ask("nobody", "POST", AXB_PATH, "{").await, Code::UnknownApp);
    let again = || client.nonce;
    let nonce = again();
    is(&client.ask("axb", "POST", AXB_PATH, "{").await, Code::InvalidRequest);
    client.nonce = nonce;
    let mut wrong = client.request("axb", "POST", AXB_PATH, "{}");
    let token =
        wrong.headers().get("x-wsse").unwrap().to_str().unwrap().replace("PasswordDigest=\"", "PasswordDigest=\"0");
    wrong.headers_mut().insert("x-wsse", token.parse().unwrap());
    let (status, value, _) = client.send(wrong).await;
    is(&(status, value), Code::WrongDigest);
}

#[tokio::test]
async fn the_source_is_the_one_of_the_connection() {
    let mut client = Client::new();
    let source = |n: u8| ConnectInfo(SocketAddr::from(([192, 0, 2, n], 4_000)));
    for _ in 0..10 {
        let mut wrong = client.request("axb", "POST", AXB_PATH, "{}");
        let token = wrong.headers().get("x-wsse").unwrap().to_str().unwrap().replace("Digest=\"", "Digest=\"0");
        wrong.headers_mut().insert("x-wsse", token.parse().unwrap());
        wrong.extensions_mut().insert(source(1));
        client.send(wrong).await;
    }
    for (n, code) in [(1, Code::Locked), (2, Code::InvalidRequest)] {
        let mut request = client.request("axb", "POST", AXB_PATH, "{}");
        request.extensions_mut().insert(source(n));
        let (status, value, _) = client.send(request).await;
        is(&(status, value), code);
    }
}

#[tokio::test]
async fn bodies_have_their_limits() {
    let mut client = Client::new();
    for body in ["[".repeat(64 * 1024), "x".repeat(64 * 1024 + 1), "{\"a\":".repeat(1_000), "\u{0}".to_owned()] {
        let answer = client.ask("axb", "POST", AXB_PATH, body).await;
        is(&answer, Code::InvalidRequest);
        assert!(answer.1["resultdesc"].as_str().unwrap().contains("body"));
    }
}

#[tokio::test]
async fn a_recording_is_elsewhere() {
    let mut client = Client::new();
    let request = client.request("ax", "GET", &format!("{RECORD}?recordDomain=any&fileName=own.wav"), "");
    let (status, value, response) = client.send(request).await;
    assert_eq!((status, &value["resultcode"]), (StatusCode::MOVED_PERMANENTLY, &json!("0")));
    assert_eq!(response.headers().get("location").unwrap(), "http://api.example/ax/own.wav?signed");
    is(&client.ask("ax", "GET", &format!("{RECORD}?recordDomain=any&fileName=foreign.wav"), "").await, Code::NoRecord);
    is(&client.ask("ax", "GET", &format!("{RECORD}?fileName=own.wav"), "").await, Code::InvalidRequest);
    is(&client.ask("ax", "GET", &format!("{RECORD}?recordDomain=any&fileName=broken.wav"), "").await, Code::Internal);
}

#[tokio::test]
async fn a_call_is_stopped_where_it_is_there() {
    let mut client = Client::new();
    let body = |session: &str| json!({"sessionid": session, "signal": "call_stop"}).to_string();
    is(&client.ask("axb", "POST", CALL_STOP, body("here")).await, Code::Success);
    is(&client.ask("axb", "POST", CALL_STOP, body("gone")).await, Code::CallGone);
    is(&client.ask("ax", "POST", CALL_STOP, body("here")).await, Code::CallGone);
}

#[tokio::test]
async fn a_registry_that_cannot_answer_is_an_internal_error() {
    let mut client = Client { compat: compat(None), nonce: 0 };
    let body = json!({"callerNum": "+8613900000001", "calleeNum": "+8613900000002"}).to_string();
    is(&client.ask("axb", "POST", AXB_PATH, body).await, Code::Internal);
}

#[tokio::test]
async fn answers_are_counted_by_code() {
    let mut client = Client::new();
    for _ in 0..3 {
        client.ask("axb", "GET", "/nowhere", "").await;
    }
    client.ask("axb", "GET", AXB_PATH, "").await;
    let counted: Vec<_> = client.compat.answers().filter(|(_, count)| *count != 0).collect();
    assert_eq!(counted, [(Code::InvalidRequest, 1), (Code::NoPath, 3)]);
}
