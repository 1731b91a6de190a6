//! The call as a ladder: what each phone sent and received, what begins to play, and what the customer is told, in the order of time.

use std::fmt::Write as _;
use std::time::Duration;

use media::Side;
use numbering::{Number, spellings};

use super::booth::Which;
use super::customer::Notification;

/// Lines, printed as they come and kept for the file.
pub(super) struct Ladder {
    begun: Duration,
    /// Spellings of the parties' numbers and what stands for them, longest first.
    names: Vec<(String, &'static str)>,
    text: String,
}

impl Ladder {
    pub(super) fn new(begun: Duration, parties: [(Number, &'static str); 3]) -> Ladder {
        let mut names: Vec<(String, &'static str)> = parties
            .into_iter()
            .flat_map(|(number, name)| spellings(number).into_iter().map(move |spelling| (spelling, name)))
            .collect();
        names.sort_by_key(|(spelling, _)| std::cmp::Reverse(spelling.len()));
        Ladder { begun, names, text: String::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A message that a phone sent or received.
    pub(super) fn message(&mut self, at: Duration, phone: Which, sent: bool, bytes: &[u8]) {
        let what = self.summary(bytes);
        let arrow = match (phone, sent) {
            (Which::A, true) => "A ─▶ X",
            (Which::A, false) => "A ◀─ X",
            (Which::B, true) => "       X ◀─ B",
            (Which::B, false) => "       X ─▶ B",
        };
        self.line(at, &format!("{arrow:<16}{what}"));
    }

    /// A sound that begins to play to a side, or to both.
    pub(super) fn sound(&mut self, at: Duration, side: Option<Side>, name: &str) {
        let arrow = match side {
            Some(Side::A) => "A ◀♪ X",
            Some(Side::B) => "       X ♪▶ B",
            None => "A ◀══ X ══▶ B",
        };
        self.line(at, &format!("{arrow:<16}♪ {name}"));
    }

    /// What the customer's system was told; when it came.
    pub(super) fn notification(&mut self, notification: &Notification) {
        self.line(notification.at, &format!("{:<16}{notification}", "X ═▶ customer"));
    }

    fn line(&mut self, at: Duration, what: &str) {
        let seconds = at.saturating_sub(self.begun).as_secs_f64();
        let line = format!("{seconds:8.3}  {what}");
        println!("{line}");
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn summary(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (one, two) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let has_sdp = text.contains("\r\n\r\nv=0");
        let mut out = match one {
            "SIP/2.0" => two.to_owned(),
            method => method.to_owned(),
        };
        if has_sdp {
            out.push_str(" (sdp)");
        }
        if one == "INVITE" {
            let from = lines.find(|line| line.starts_with("From:") || line.starts_with("f:")).unwrap_or_default();
            let user = from.split_once("sip:").and_then(|(_, rest)| rest.split('@').next()).unwrap_or("?");
            let _ = write!(out, "  to {}, from {}", self.party(two), self.party(user));
        }
        out
    }

    /// The name of the party whose number a text holds.
    fn party(&self, text: &str) -> &'static str {
        self.names.iter().find(|(spelling, _)| text.contains(spelling.as_str())).map_or("?", |(_, name)| name)
    }
}
