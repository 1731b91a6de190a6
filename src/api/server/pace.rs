//! What a connection waits for, and until when.
//!
//! ```text
//!            first byte          head whole            route carries a file
//!   Idle ───────────────▶ Head ─────────────▶ Request ─────────────────────▶ File (each 16 KB begin its time anew)
//!    ▲                                          │                             │
//!    └──────────────────────── answer written ──┴─────────────────────────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{LAST_WORDS, Limits};

/// What has to move before the time of a file begins anew.
const STEP: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Idle,
    Head,
    Request,
    File,
}

/// What is left to a connection whose time is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expired {
    /// Nothing: it was idle.
    Idle,
    /// To be told that its request did not come in time.
    Unasked,
    /// To be answered that it took too long; there is a little more time for that.
    Unanswered,
    /// Nothing: its answer had begun.
    Cut,
}

/// The pace of a connection; among the extensions of its requests.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    phase: Phase,
    deadline: Instant,
    /// Nothing goes on behind it: the server ends.
    end: Option<Instant>,
    /// Since the time of a file began.
    moved: usize,
    /// Requests that have been seen.
    requests: u64,
    /// The body of the request has come to its end.
    is_whole: bool,
    /// The head of the answer has been given away.
    is_answered: bool,
    is_late: bool,
}

impl Pace {
    pub(super) fn new(limits: &Limits, now: Instant) -> Pace {
        let now = Now {
            phase: Phase::Idle,
            // Whoever opens a connection has something to ask: it is not held for one that only takes room.
            deadline: now + limits.idle.min(limits.head),
            end: None,
            moved: 0,
            requests: 0,
            is_whole: false,
            is_answered: false,
            is_late: false,
        };
        Pace(Arc::new(Shared { limits: limits.clone(), now: Mutex::new(now) }))
    }

    /// The request or its answer carries a file: it may take as long as bytes move.
    pub fn by_progress(&self) {
        let mut now = self.now();
        if now.phase == Phase::Request {
            now.phase = Phase::File;
            now.moved = 0;
            now.deadline = Instant::now() + self.0.limits.progress;
        }
    }

    pub(super) fn on_read(&self, bytes: usize) {
        let mut now = self.now();
        match now.phase {
            Phase::Idle if bytes > 0 => {
                now.phase = Phase::Head;
                now.deadline = Instant::now() + self.0.limits.head;
            }
            Phase::File => self.step(&mut now, bytes),
            Phase::Idle | Phase::Head | Phase::Request => {}
        }
    }

    pub(super) fn on_written(&self, bytes: usize) {
        let mut now = self.now();
        if now.phase == Phase::File {
            self.step(&mut now, bytes);
        }
    }

    fn step(&self, now: &mut Now, bytes: usize) {
        now.moved = now.moved.saturating_add(bytes);
        if now.moved >= STEP {
            now.moved = 0;
            now.deadline = Instant::now() + self.0.limits.progress;
        }
    }

    pub(super) fn on_request(&self) {
        let mut now = self.now();
        now.requests += 1;
        (now.is_whole, now.is_answered, now.is_late) = (false, false, false);
        now.phase = Phase::Request;
        now.deadline = Instant::now() + self.0.limits.request;
    }

    pub(super) fn on_whole(&self) {
        self.now().is_whole = true;
    }

    /// The answer begins.
    pub(super) fn on_answer(&self) {
        self.now().is_answered = true;
    }

    /// The answer has been given to the connection, to its last byte.
    pub(super) fn on_answered(&self) {
        let mut now = self.now();
        now.phase = Phase::Idle;
        now.deadline = Instant::now() + self.0.limits.idle;
    }

    pub(super) fn end_at(&self, end: Instant) {
        self.now().end = Some(end);
    }

    pub(super) fn deadline(&self) -> Instant {
        let now = self.now();
        now.end.map_or(now.deadline, |end| end.min(now.deadline))
    }

    /// The deadline has come.
    pub(super) fn expire(&self, at: Instant) -> Expired {
        let mut now = self.now();
        match now.phase {
            _ if now.end.is_some_and(|end| end <= at) => Expired::Cut,
            Phase::Idle => Expired::Idle,
            Phase::Head if now.requests == 0 => Expired::Unasked,
            Phase::Request | Phase::File if !now.is_answered && !now.is_late => {
                now.is_late = true;
                now.deadline = at + LAST_WORDS;
                Expired::Unanswered
            }
            Phase::Head | Phase::Request | Phase::File => Expired::Cut,
        }
    }

    /// The time of the request is up; whether it had come in whole.
    pub(super) fn late(&self) -> Option<bool> {
        let now = self.now();
        now.is_late.then_some(now.is_whole)
    }

    /// No request has been seen.
    pub(super) fn is_new(&self) -> bool {
        self.now().requests == 0
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
