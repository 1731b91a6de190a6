//! One TCP stream: reads frames, answers keep-alives, writes what is queued, and knows when it has waited long enough.
//!
//! ```text
//!            ┌──────────── read ─▶ Framer ─▶ message ─▶ signalling thread
//!   socket ──┤                       └─▶ ping (CRLFCRLF) ─▶ CRLF        RFC 5626 §3.5.1
//!            └──────────── write ◀─ one message at a time ◀─ queue
//!   ends: peer closes · shutdown · idle · a message too slow · nothing taken · framing error · broken
//! ```

use std::time::Duration;

use bytes::{Buf, Bytes};
use sip::framing::{Frame, Framer, FramingError};
use sip::transaction::Flow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Inbound;
use super::tcp::{Event, Shared, Stage};

/// Bytes that are read at once.
const READ: usize = 8192;

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The peer closed it; something may not have been written.
    Peer { unsent: bool },
    /// We are shutting down, and everything was written.
    Ours,
    /// Nothing passed for long.
    Idle,
    /// A message took too long.
    Slow,
    /// The peer took nothing for long.
    Stalled,
    /// What came is no SIP.
    Framing,
    /// Reading or writing failed.
    Broken,
}

/// When a stream has waited long enough, as times of the clock.
struct Deadlines {
    idle: Duration,
    message: Option<Duration>,
    write: Option<Duration>,
}

impl Deadlines {
    fn next(&self) -> Duration {
        [self.message, self.write].into_iter().flatten().fold(self.idle, Duration::min)
    }

    fn expired(&self, now: Duration) -> Option<Ended> {
        if self.message.is_some_and(|at| at <= now) {
            Some(Ended::Slow)
        } else if self.write.is_some_and(|at| at <= now) {
            Some(Ended::Stalled)
        } else {
            (self.idle <= now).then_some(Ended::Idle)
        }
    }
}

/// What is being written.
#[derive(Default)]
struct Output {
    bytes: Bytes,
    /// A keep-alive came while a message was being written; its answer must not fall into the middle.
    pong_due: bool,
}

impl Output {
    fn pong(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Bytes::from_static(b"\r\n");
        } else {
            self.pong_due = true;
        }
    }

    fn wrote(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
        if self.bytes.is_empty() && std::mem::take(&mut self.pong_due) {
            self.pong();
        }
    }
}

/// Serves the stream until it ends.
pub(super) async fn converse(
    socket: &mut TcpStream,
    flow: Flow,
    queue: &mut mpsc::Receiver<Bytes>,
    shared: &Shared,
    mut stage: watch::Receiver<Stage>,
) -> Ended {
    // Whole messages are written at once: waiting to fill a segment would only delay them.
    let _ = socket.set_nodelay(true);
    let limits = &shared.limits;
    let (mut reader, mut writer) = socket.split();
    let mut framer = Framer::new(&limits.message);
    let mut input = vec![0; READ];
    let mut output = Output::default();
    let mut deadlines = Deadlines { idle: shared.clock.now() + limits.idle, message: None, write: None };
    let timer = sleep_until(instant(shared, deadlines.next()));
    tokio::pin!(timer);
    let mut armed = deadlines.next();
    loop {
        if deadlines.next() != armed {
            armed = deadlines.next();
            timer.as_mut().reset(instant(shared, armed));
        }
        tokio::select! {
            read = reader.read(&mut input) => {
                let count = match read {
                    Ok(0) => return Ended::Peer { unsent: !output.bytes.is_empty() },
                    Ok(count) => count,
                    Err(_) => return Ended::Broken,
                };
                let came = &input[..count];
                // A lone CRLF is somebody's keep-alive, not the beginning of a message that must come to its end.
                let begun = deadlines.message.is_some() || !came.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                framer.push(came);
                if frames(&mut framer, flow, &mut output, shared).await.is_err() {
                    return Ended::Framing;
                }
                let now = shared.clock.now();
                deadlines.idle = now + limits.idle;
                deadlines.message = (begun && framer.is_partial())
                    .then(|| deadlines.message.unwrap_or(now + limits.message_time));
            }
            wrote = writer.write(&output.bytes), if !output.bytes.is_empty() => {
                match wrote {
                    Ok(count) => output.wrote(count),
                    Err(_) => return Ended::Broken,
                }
                let now = shared.clock.now();
                deadlines.idle = now + limits.idle;
                deadlines.write = (!output.bytes.is_empty()).then_some(now + limits.write);
            }
            next = queue.recv(), if output.bytes.is_empty() => {
                let Some(bytes) = next else {
                    // Closed by the shutdown below, and empty. The peer reads a clean end.
                    let _ = writer.shutdown().await;
                    return Ended::Ours;
                };
                output.bytes = bytes;
                deadlines.write = Some(shared.clock.now() + limits.write);
            }
            () = closing(&mut stage), if !queue.is_closed() => queue.close(),
            () = timer.as_mut() => {
                if let Some(ended) = deadlines.expired(shared.clock.now()) {
                    return ended;
                }
                // Woken a little early: the same deadline once more.
                timer.as_mut().reset(instant(shared, armed));
            }
        }
    }
}

/// Gives every whole message to the signalling thread.
async fn frames(framer: &mut Framer, flow: Flow, output: &mut Output, shared: &Shared) -> Result<(), FramingError> {
    while let Some(frame) = framer.poll()? {
        match frame {
            Frame::Message(bytes) => shared.tell(Inbound::Message { flow, bytes }).await,
            Frame::Ping => {
                shared.count(Event::Ping);
                output.pong();
            }
            Frame::Pong => {}
        }
    }
    Ok(())
}

/// Waits for the shutdown; a transport that was dropped is one too.
async fn closing(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage == Stage::Closing).await;
}

fn instant(shared: &Shared, at: Duration) -> Instant {
    Instant::from_std(shared.clock.instant(at))
}
