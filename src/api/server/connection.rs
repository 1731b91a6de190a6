//! One connection, from its handshake to its last byte.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::pace::Expired;
use super::{LARGE_BODY, LAST_WORDS, Pace, Scheme, Shared, count};
use crate::api::refusal::Refusal;

/// The longest head of a request.
const HEAD: usize = 32 * 1024;
/// Header lines of a request.
const LINES: usize = 64;
/// What is read after the last answer, so that a peer which still sends gets to read it.
const LINGER: usize = 8 << 20;
/// For how long.
const LINGER_FOR: Duration = Duration::from_secs(1);

/// Runs a connection to its end.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are small, and each is waited for.
    let _ = stream.set_nodelay(true);
    let Some(config) = tls else {
        return serve(stream, peer, Scheme::Http, shared, stop).await;
    };
    let shaken = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return,
        shaken = timeout(shared.limits.handshake, TlsAcceptor::from(config).accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => serve(stream, peer, Scheme::Https, shared, stop).await,
        Ok(Err(_)) => count(&shared.counters.tls_failed),
        Err(_) => {
            count(&shared.counters.tls_failed);
            count(&shared.counters.timed_out);
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(
    stream: S,
    peer: SocketAddr,
    scheme: Scheme,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
) {
    let pace = Pace::new(&shared.limits, Instant::now());
    let service = Asked { router: shared.router.clone(), pace: pace.clone(), peer, scheme };
    let mut connection = http1::Builder::new()
        // Ours measure more than the head, and answer.
        .header_read_timeout(None)
        // Programs look for `Location` and `Content-Type` as they are spelt in every book, though they should not.
        .title_case_headers(true)
        .max_headers(LINES)
        .max_header_size(HEAD)
        .max_buf_size(2 * HEAD)
        .serve_connection(TokioIo::new(Paced { stream, pace: pace.clone() }), service);
    let mut sleep = pin!(sleep_until(pace.deadline()));
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut is_told = false;
    // The end of the connection; or that its time was up.
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Ok(ended));
            }
            if !is_told && stopped.as_mut().poll(cx).is_ready() {
                is_told = true;
                Pin::new(&mut connection).graceful_shutdown();
                pace.end_at(Instant::now() + LAST_WORDS);
                continue;
            }
            let deadline = pace.deadline();
            if sleep.deadline() != deadline {
                sleep.as_mut().reset(deadline);
            }
            ready!(sleep.as_mut().poll(cx));
            match pace.expire(Instant::now()) {
                Expired::Unanswered => count(&shared.counters.timed_out),
                expired => return Poll::Ready(Err(expired)),
            }
        }
    })
    .await;
    let mut stream = connection.into_parts().io.into_inner().stream;
    let said = match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) if pace.is_new() => malformed(&error),
        Ok(Err(_)) | Err(Expired::Idle | Expired::Unanswered) => None,
        Err(Expired::Unasked) => {
            count(&shared.counters.timed_out);
            Some(late(false))
        }
        Err(Expired::Cut) => {
            count(&shared.counters.timed_out);
            // It does not read, or the server ends: nothing more is waited for.
            return;
        }
    };
    let _ = timeout(LINGER_FOR, linger(&mut stream, said)).await;
}

/// Says a last word, and reads what still comes: a socket that is closed with something unread takes the answer with it.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, said: Option<Refusal>) -> io::Result<()> {
    if let Some(refusal) = said {
        stream.write_all(written(&refusal).as_bytes()).await?;
    }
    stream.shutdown().await?;
    let mut sink = [0; 4096];
    let mut rest = LINGER;
    while rest > 0 {
        match stream.read(&mut sink).await? {
            0 => break,
            read => rest = rest.saturating_sub(read),
        }
    }
    Ok(())
}

/// What is said to bytes that are no request.
fn malformed(error: &hyper::Error) -> Option<Refusal> {
    if error.is_parse_too_large() {
        let message = "the head of the request is too long: send at most 64 header lines and 32 KB";
        return Some(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", message));
    }
    let message = "this is no HTTP/1.1 request: check that http:// and https:// are not mixed up";
    error.is_parse().then(|| Refusal::new(StatusCode::BAD_REQUEST, "malformed", message))
}

/// What is said where there are too many connections.
pub(super) fn full() -> String {
    let message = "there are too many connections: use one for several requests, and try again";
    written(&Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1))
}

/// What is said when time is up; `is_whole`: the request had come.
fn late(is_whole: bool) -> Refusal {
    if is_whole {
        let message = "the answer took too long: ask for less, or try again later";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", message)
    } else {
        let message = "the request did not come to its end in time: send it faster";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    }
}

/// A response, where there is nobody to write it for us.
fn written(refusal: &Refusal) -> String {
    let body = refusal.body();
    let mut text = format!("HTTP/1.1 {}\r\ncontent-type: application/json\r\n", refusal.status);
    if let Some(seconds) = refusal.retry_after {
        let _ = write!(text, "retry-after: {seconds}\r\n");
    }
    let _ = write!(text, "connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    text
}

/// Hands requests to the router.
struct Asked {
    router: Router,
    pace: Pace,
    peer: SocketAddr,
    scheme: Scheme,
}

type Answer = Response<Told>;

impl hyper::service::Service<Request<Incoming>> for Asked {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.pace.on_request();
        let pace = self.pace.clone();
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                pace.on_whole();
            }
            Body::new(Coming { body, pace: pace.clone() })
        });
        // No route takes more; and nothing is read of it.
        let is_huge = HttpBody::size_hint(request.body()).lower() > LARGE_BODY as u64;
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(self.peer));
        extensions.insert(self.scheme);
        extensions.insert(pace.clone());
        let router = self.router.clone();
        Box::pin(async move {
            let answer = async {
                if is_huge {
                    return too_large().into_response();
                }
                match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            };
            let mut answer = pin!(answer);
            // Whoever finds the time to be up polls us again.
            let mut response = poll_fn(|cx| match pace.late() {
                // A panic is our bug, and ends one request; nothing of it is polled again.
                None => catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)))
                    .unwrap_or_else(|_| Poll::Ready(fault().into_response())),
                Some(is_whole) => Poll::Ready(late(is_whole).into_response()),
            })
            .await;
            if pace.late().is_some() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            pace.on_answer();
            Ok(response.map(|body| Told { body, pace }))
        })
    }
}

/// What is said to a body that is larger than its route takes.
pub(crate) fn too_large() -> Refusal {
    let message = "the body is too long: send at most 64 KB, or 2.1 MB where a file or a list of numbers is uploaded";
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

/// What is said when a handler has panicked.
fn fault() -> Refusal {
    let message = "this request met a fault of ours: report it, with the time and the log";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", message)
}

/// The body of a request, whose end is noted.
struct Coming {
    body: Incoming,
    pace: Pace,
}

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.pace.on_whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, whose end is noted.
struct Told {
    body: Body,
    pace: Pace,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.pace.on_answered();
    }
}

/// A stream whose bytes are counted. Before there is a request nothing is written: what hyper says to garbage has no body, and
/// we say it in its place.
struct Paced<S> {
    stream: S,
    pace: Pace,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.pace.on_read(buffer.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.pace.is_new() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.pace.on_written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.pace.is_new() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.pace.on_written(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
