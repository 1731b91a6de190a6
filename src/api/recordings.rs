//! Recordings to listen to, by links that a signature opens.
//!
//! ```text
//!   {base}/recordings/20261123-3f9c.wav?expires=1795651200&signature=HMAC-SHA256(key, "20261123-3f9c.wav|1795651200")
//! ```
//!
//! Whoever has the link may listen until it expires; nobody can make one, or make one last longer. The signature is looked at
//! before anything else, so that nobody learns from us which recordings there are.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tower::ServiceExt;
use tower_http::services::ServeFile;

use super::refusal::Refusal;
use super::server;
use crate::clock::Clock;
use crate::recording::path_of;

/// How long a link is valid (product rule C4).
pub const VALID: Duration = Duration::from_secs(3 * 24 * 3600);

/// Where recordings lie, and what opens them.
#[derive(Clone)]
pub struct Recordings {
    dir: PathBuf,
    key: Arc<[u8]>,
    clock: Clock,
}

impl Recordings {
    /// Those of this folder; links are signed by `key`, which should be 32 random bytes that outlive a restart.
    #[must_use]
    pub fn new(dir: PathBuf, key: &[u8], clock: Clock) -> Recordings {
        Recordings { dir, key: key.into(), clock }
    }

    /// A link that is valid from now on for [`VALID`].
    #[must_use]
    pub fn link(&self, base_url: &str, name: &str) -> String {
        link(base_url, name, self.now().saturating_add(VALID.as_secs()), &self.key)
    }

    /// `GET` and `HEAD /recordings/{name}`.
    pub fn router(self) -> Router {
        let route = get(serve).layer(from_fn(server::by_progress));
        Router::new().route("/recordings/{name}", route).with_state(self)
    }

    /// Seconds of UNIX time.
    fn now(&self) -> u64 {
        self.clock.unix(self.clock.now()).as_secs()
    }
}

/// The link to a recording, valid until then (seconds of UNIX time).
#[must_use]
pub fn link(base_url: &str, name: &str, expires_unix: u64, key: &[u8]) -> String {
    let base = base_url.trim_end_matches('/');
    let mut link = format!("{base}/recordings/{name}?expires={expires_unix}&signature=");
    for byte in signed(name, &expires_unix.to_string(), key).finalize().into_bytes() {
        let _ = write!(link, "{byte:02x}");
    }
    link
}

fn signed(name: &str, expires: &str, key: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in [name, "|", expires] {
        mac.update(part.as_bytes());
    }
    mac
}

/// Reads hex digits of either case.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let pairs = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[derive(Deserialize)]
struct Signed {
    expires: Option<String>,
    signature: Option<String>,
}

fn check(recordings: &Recordings, name: &str, query: &Signed) -> Result<PathBuf, Refusal> {
    let expires = query.expires.as_deref().unwrap_or_default();
    let signature = query.signature.as_deref().and_then(unhex).unwrap_or_default();
    // Compares in a time that does not hang on what differs.
    if signed(name, expires, &recordings.key).verify_slice(&signature).is_err() {
        return Err(unsigned());
    }
    if !expires.parse::<u64>().is_ok_and(|expires| recordings.now() < expires) {
        let message = "this link was valid for three days: ask for another by the API";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "expired", message));
    }
    path_of(&recordings.dir, name).ok_or_else(gone)
}

fn unsigned() -> Refusal {
    let message = "this link has not been made here: ask for one by the API";
    Refusal::new(StatusCode::FORBIDDEN, "bad_signature", message)
}

fn gone() -> Refusal {
    let message = "this recording is no more: recordings are kept for some days, and calls under 3 s leave none";
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn serve(
    State(recordings): State<Recordings>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<Signed>, QueryRejection>,
    request: Request,
) -> Response {
    // What cannot be read has not been signed.
    let (Ok(Path(name)), Ok(Query(query))) = (name, query) else {
        return unsigned().into_response();
    };
    match check(&recordings, &name, &query) {
        Ok(path) => send(&path, &name, request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// A recording, or the part of it that is asked for (RFC 9110 §14).
pub(super) async fn send(path: &std::path::Path, name: &str, request: Request) -> Response {
    // A folder is none, and ServeFile would find out too late.
    if !tokio::fs::metadata(path).await.is_ok_and(|found| found.is_file()) {
        return gone().into_response();
    }
    let (parts, _) = request.into_parts();
    let asked = Request::from_parts(parts, Body::empty());
    let mut response = match ServeFile::new(path).oneshot(asked).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    match response.status() {
        // It went while we looked.
        StatusCode::NOT_FOUND => return gone().into_response(),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let message = "the recording has no such bytes: Content-Range says how many there are";
            let range = response.headers_mut().remove(header::CONTENT_RANGE);
            let mut refused = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", message).into_response();
            if let Some(range) = range {
                refused.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            return refused;
        }
        _ => {}
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("audio/x-wav"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    // The name is of letters, digits, dots and dashes: `path_of` has seen to that.
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use http_body_util::BodyExt;

    use super::*;

    const NAME: &str = "20261123-3f9c.wav";
    const KEY: &[u8] = b"the key of the test";

    struct Bench {
        router: Router,
        recordings: Recordings,
        _dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("20261123")).unwrap();
        std::fs::write(dir.path().join("20261123").join(NAME), b"0123456789").unwrap();
        std::fs::write(dir.path().join("secret"), b"secret").unwrap();
        std::fs::create_dir(dir.path().join("folder.wav")).unwrap();
        let recordings = Recordings::new(dir.path().to_owned(), KEY, Clock::start());
        Bench { router: recordings.clone().router(), recordings, _dir: dir }
    }

    impl Bench {
        async fn ask(&self, method: Method, target: &str, range: Option<&str>) -> (StatusCode, Response<()>, Vec<u8>) {
            let mut request = Request::builder().method(method).uri(target);
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes().to_vec();
            (parts.status, Response::from_parts(parts, ()), bytes)
        }

        async fn get(&self, target: &str) -> (u16, String) {
            let (status, _, body) = self.ask(Method::GET, target, None).await;
            (status.as_u16(), String::from_utf8(body).unwrap())
        }

        fn link_until(&self, name: &str, seconds: i64) -> String {
            link("", name, self.recordings.now().checked_add_signed(seconds).unwrap(), KEY)
        }
    }

    #[test]
    fn a_link_is_spelt_as_it_is_written_down() {
        let link = link("https://x:8443/", "a.wav", 1_795_651_200, b"key");
        // printf 'a.wav|1795651200' | openssl dgst -sha256 -hmac key
        let signature = "1998a8a9586dd1b6eaa5828636a1c9bea9c601f05b3329afd15af005ccbcce0c";
        assert_eq!(link, format!("https://x:8443/recordings/a.wav?expires=1795651200&signature={signature}"));
    }

    #[tokio::test]
    async fn a_link_opens_its_recording() {
        let bench = bench();
        let link = bench.recordings.link("", NAME);
        let (status, response, body) = bench.ask(Method::GET, &link, None).await;
        assert_eq!((status, &*body), (StatusCode::OK, &b"0123456789"[..]));
        for (name, value) in [
            ("content-type", "audio/x-wav"),
            ("content-disposition", "attachment; filename=\"20261123-3f9c.wav\""),
            ("cache-control", "private"),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(response.headers()[name], value, "{name}");
        }
        let (status, response, body) = bench.ask(Method::HEAD, &link, None).await;
        assert_eq!(
            (status, body.len(), &response.headers()["content-length"]),
            (StatusCode::OK, 0, &"10".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn parts_are_given_as_they_are_asked_for() {
        let bench = bench();
        let link = bench.recordings.link("", NAME);
        for (range, status, body, said) in [
            ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
            ("bytes=7-", 206, "789", "bytes 7-9/10"),
            ("bytes=-2", 206, "89", "bytes 8-9/10"),
            ("bytes=8-100", 206, "89", "bytes 8-9/10"),
        ] {
            let (got, response, bytes) = bench.ask(Method::GET, &link, Some(range)).await;
            assert_eq!((got.as_u16(), &*bytes), (status, body.as_bytes()), "{range}");
            assert_eq!(response.headers()["content-range"], said, "{range}");
        }
        let (status, response, body) = bench.ask(Method::GET, &link, Some("bytes=10-")).await;
        assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(response.headers()["content-range"], "bytes */10");
        assert!(String::from_utf8(body).unwrap().contains("\"error\":\"range\""));
    }

    #[tokio::test]
    async fn a_link_that_is_not_ours_opens_nothing() {
        let bench = bench();
        let good = bench.link_until(NAME, 60);
        let (path, query) = good.split_once('?').unwrap();
        let (expires, signature) = query.split_once('&').unwrap();
        let later = bench.link_until(NAME, 600);
        let later = later.split_once('?').unwrap().1.split_once('&').unwrap().0.to_owned();
        let other_key = link("", NAME, u64::MAX, b"another key");
        let mut flipped = good.clone();
        let last = flipped.pop().unwrap();
        flipped.push(if last == '0' { '1' } else { '0' });
        for tampered in [
            path.to_owned(),
            format!("{path}?{expires}"),
            format!("{path}?{signature}"),
            format!("{path}?{later}&{signature}"),
            format!("{path}?{expires}0&{signature}"),
            format!("{path}?{expires}&signature="),
            format!("{path}?{expires}&signature=zz"),
            format!("{path}?{expires}&signature=%C3%A9%C3%A9"),
            good[..good.len() - 2].to_owned(),
            format!("{good}00"),
            format!("{good}&expires=1"),
            format!("/recordings/%ff.wav?{query}"),
            flipped,
            other_key,
            format!("/recordings/20261123-0000.wav?{query}"),
            format!("/recordings/..%2Fsecret?{query}"),
        ] {
            let (status, body) = bench.get(&tampered).await;
            assert_eq!(status, 403, "{tampered}");
            assert!(body.contains("\"error\":\"bad_signature\""), "{tampered}: {body}");
        }
        assert_eq!(bench.get(&good).await.0, 200);
    }

    #[tokio::test]
    async fn an_old_link_has_expired() {
        let bench = bench();
        for seconds in [0, -1, -100_000] {
            let (status, body) = bench.get(&bench.link_until(NAME, seconds)).await;
            assert_eq!(status, 403);
            assert!(body.contains("\"error\":\"expired\""), "{body}");
        }
    }

    #[tokio::test]
    async fn a_signature_leads_to_recordings_only_and_to_those_that_there_are() {
        let bench = bench();
        for name in ["20261123-gone.wav", "..%2Fsecret", "secret", "%2Fetc%2Fpasswd", "folder.wav", "..%2F..%2Fx.wav"] {
            // What is signed is the name as it is decoded.
            let plain = name.replace("%2F", "/");
            let signed = bench.link_until(&plain, 60).replace(&format!("/recordings/{plain}"), "");
            let (status, body) = bench.get(&format!("/recordings/{name}{signed}")).await;
            assert_eq!(status, 404, "{name}");
            assert!(body.contains("\"error\":\"not_found\""), "{name}: {body}");
        }
    }
}
