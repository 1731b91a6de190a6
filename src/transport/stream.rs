//! One stream, TCP or TLS: reads frames, answers keep-alives, writes what is queued, and knows when it has waited long enough.
//!
//! ```text
//!            ┌──────────── read ─▶ Framer ─▶ message ─▶ signalling thread
//!   socket ──┤                       └─▶ ping (CRLFCRLF) ─▶ CRLF        RFC 5626 §3.5.1
//!            └──────────── write ◀─ one message at a time ◀─ queue
//!   ends: peer closes · shutdown · idle · a message too slow · nothing taken · framing error · broken
//! ```

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use sip::framing::{Frame, Framer, FramingError};
use sip::transaction::Flow;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Inbound;
use super::tcp::{Event, Shared, Stage};
use super::tls;

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
    /// TLS says so: with 1.3, a client learns only here that its certificate was refused.
    Tls(Event),
}

impl Ended {
    fn by(error: &io::Error, output: &Output) -> Ended {
        match tls::cause_of(error) {
            Some(event) => Ended::Tls(event),
            // Many close TCP without a word in TLS. Messages say how long they are, so nothing can be cut off unseen.
            None if error.kind() == io::ErrorKind::UnexpectedEof => Ended::Peer { unsent: output.is_pending() },
            None => Ended::Broken,
        }
    }
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
    /// TLS has taken bytes that it may still hold.
    is_held: bool,
}

impl Output {
    fn pong(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Bytes::from_static(b"\r\n");
        } else {
            self.pong_due = true;
        }
    }

    /// Something has not left yet.
    fn is_pending(&self) -> bool {
        self.is_held || !self.bytes.is_empty()
    }

    fn wrote(&mut self, count: usize) {
        self.is_held = true;
        self.bytes.advance(count.min(self.bytes.len()));
        if self.bytes.is_empty() && std::mem::take(&mut self.pong_due) {
            self.pong();
        }
    }
}

/// Serves the stream until it ends.
pub(super) async fn converse(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    flow: Flow,
    queue: &mut mpsc::Receiver<Bytes>,
    shared: &Shared,
    mut stage: watch::Receiver<Stage>,
) -> Ended {
    let limits = &shared.limits;
    let (mut reader, mut writer) = tokio::io::split(socket);
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
                    Ok(0) => return Ended::Peer { unsent: output.is_pending() },
                    Ok(count) => count,
                    Err(error) => return Ended::by(&error, &output),
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
            put = put_out(&mut writer, &output.bytes), if output.is_pending() => {
                let now = shared.clock.now();
                deadlines.idle = now + limits.idle;
                match put {
                    Ok(Put::Written(count)) => {
                        output.wrote(count);
                        deadlines.write = Some(now + limits.write);
                    }
                    Ok(Put::Left) => {
                        output.is_held = false;
                        deadlines.write = None;
                    }
                    Err(error) => return Ended::by(&error, &output),
                }
            }
            next = queue.recv(), if !output.is_pending() => {
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

/// A step of writing.
enum Put {
    /// So many bytes have been taken.
    Written(usize),
    /// Everything that was taken has left.
    Left,
}

/// Writes some; when there is nothing to write, lets what TLS holds leave. Whatever was not done when this is dropped has
/// not been begun.
async fn put_out(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<Put> {
    if bytes.is_empty() {
        writer.flush().await.map(|()| Put::Left)
    } else {
        writer.write(bytes).await.map(Put::Written)
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
pub(super) async fn closing(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage == Stage::Closing).await;
}

fn instant(shared: &Shared, at: Duration) -> Instant {
    Instant::from_std(shared.clock.instant(at))
}
