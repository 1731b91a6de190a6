//! Ladders: what was said between the phones and X, as text that a test compares and a person reads.
//!
//! ```text
//!    0.000  A ─▶ X          INVITE X          From: A
//!    0.000         X ─▶ B   INVITE B          From: X
//!    3.200  A ◀─ X          200 (sdp)         ♪ hint tone to both
//!    5.000  CDR  hung_up by A, …
//! ```
//!
//! Messages stand at the time at which X sent or received them, lost ones at the time they were sent.

use std::fmt::Write as _;
use std::time::Duration;

use b2bua::cdr::Cdr;
use media::{Command, Hear, Repeat, Side, Then};

use crate::world::World;

/// Lines of one ladder; the rest is only counted.
const MAX_ENTRIES: usize = 10_000;

/// On which side of X a phone stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Column {
    Left,
    Right,
}

/// Which way a message went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    ToX,
    FromX,
}

/// What a phone begins to hear, or the recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A prompt, and what follows it.
    Plays {
        /// Who hears.
        to: String,
        /// The prompt.
        prompt: String,
        /// `over and over`, `then …`.
        then: Option<String>,
    },
    /// The other party.
    Joined {
        /// Who hears.
        to: String,
    },
    /// Nothing any more.
    Silent {
        /// Who hears nothing.
        to: String,
    },
    /// Recording begins.
    Records,
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Message { column: Column, way: Way, phone: String, text: String, remark: String },
    Note(Note),
    Ended(String),
}

/// All that happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ladder {
    entries: Vec<(Duration, Entry)>,
    left_off: usize,
}

impl Ladder {
    pub(crate) fn push(&mut self, at: Duration, entry: Entry) {
        if self.entries.len() < MAX_ENTRIES {
            self.entries.push((at, entry));
        } else {
            self.left_off += 1;
        }
    }

    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut at = 0;
        while let Some((time, _)) = self.entries.get(at) {
            let end =
                self.entries[at..].iter().position(|(later, _)| later != time).map_or(self.entries.len(), |n| at + n);
            render_instant(&mut out, *time, &self.entries[at..end]);
            at = end;
        }
        if self.left_off > 0 {
            let _ = writeln!(out, "… and {} more", self.left_off);
        }
        out
    }
}

/// The lines of one instant; what begins to play stands beside the last message from X.
fn render_instant(out: &mut String, time: Duration, entries: &[(Duration, Entry)]) {
    let notes: Vec<&Note> = entries
        .iter()
        .filter_map(|(_, entry)| match entry {
            Entry::Note(note) => Some(note),
            Entry::Message { .. } | Entry::Ended(_) => None,
        })
        .collect();
    let mut music = compose(&notes);
    let beside = entries.iter().rposition(|(_, entry)| matches!(entry, Entry::Message { way: Way::FromX, .. }));
    if beside.is_none() && !music.is_empty() {
        line(out, time, "", "", &std::mem::take(&mut music));
    }
    // What a call came to stands below the messages that it came to it by.
    let is_end = |entry: &Entry| matches!(entry, Entry::Ended(_));
    let (ends, others): (Vec<_>, Vec<_>) = entries.iter().enumerate().partition(|(_, (_, entry))| is_end(entry));
    for (place, (_, entry)) in others.into_iter().chain(ends) {
        match entry {
            Entry::Message { column, way, phone, text, remark } => {
                let arrow = match (column, way) {
                    (Column::Left, Way::ToX) => format!("{phone} ─▶ X"),
                    (Column::Left, Way::FromX) => format!("{phone} ◀─ X"),
                    (Column::Right, Way::FromX) => format!("       X ─▶ {phone}"),
                    (Column::Right, Way::ToX) => format!("       X ◀─ {phone}"),
                };
                let mut remarks = vec![remark.clone()];
                if Some(place) == beside {
                    remarks.push(std::mem::take(&mut music));
                }
                remarks.retain(|remark| !remark.is_empty());
                line(out, time, &arrow, text, &remarks.join("  "));
            }
            Entry::Note(_) => {}
            Entry::Ended(text) => {
                let _ = writeln!(out, "{}  CDR  {text}", seconds(time));
            }
        }
    }
}

fn line(out: &mut String, time: Duration, arrow: &str, text: &str, remark: &str) {
    let line = format!("{}  {}{}{remark}", seconds(time), padded(arrow, 16), padded(text, 18));
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Padded by characters: the arrows are more than one byte each.
fn padded(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text.chars().count()).max(usize::from(!text.is_empty()));
    format!("{text}{}", " ".repeat(blanks))
}

fn seconds(time: Duration) -> String {
    format!("{:4}.{:03}", time.as_secs(), time.subsec_millis())
}

fn compose(notes: &[&Note]) -> String {
    let mut said: Vec<String> = Vec::new();
    for (place, note) in notes.iter().enumerate() {
        let pair = notes.iter().enumerate().find(|(other, candidate)| *other != place && is_pair(note, candidate));
        if pair.is_some_and(|(other, _)| other < place) {
            continue;
        }
        let both = pair.is_some();
        said.push(match note {
            Note::Plays { to, prompt, then } => {
                let to = if both { "both" } else { to };
                let then = then.as_ref().map(|then| format!(", {then}")).unwrap_or_default();
                format!("{prompt} to {to}{then}")
            }
            Note::Joined { .. } if both => "joined".to_owned(),
            Note::Joined { to } => format!("{to} hears the other"),
            Note::Silent { .. } if both => "silence to both".to_owned(),
            Note::Silent { to } => format!("silence to {to}"),
            Note::Records => "recording begins".to_owned(),
        });
    }
    if said.is_empty() { String::new() } else { format!("♪ {}", said.join("; ")) }
}

/// The same for two parties.
fn is_pair(one: &Note, other: &Note) -> bool {
    match (one, other) {
        (Note::Plays { to: a, prompt: p, then: t }, Note::Plays { to: b, prompt: q, then: u }) => {
            a != b && p == q && t == u
        }
        (Note::Joined { to: a }, Note::Joined { to: b }) | (Note::Silent { to: a }, Note::Silent { to: b }) => a != b,
        _ => false,
    }
}

/// `hint_tone.wav` as a person says it.
pub(crate) fn spoken(prompt: &str) -> String {
    prompt.strip_suffix(".wav").unwrap_or(prompt).replace('_', " ")
}

/// What a command to a media session lets be heard, and by whom. `hearing` is kept up to date.
pub(crate) fn note_of(command: &Command, names: &[String; 2], hearing: &mut [bool; 2]) -> Option<Note> {
    let (side, hear) = match command {
        Command::Record { .. } => return Some(Note::Records),
        Command::Hear { side, hear } => (*side, hear),
        Command::SetRemote { .. }
        | Command::Follow { .. }
        | Command::Digit { .. }
        | Command::Collect { .. }
        | Command::Close => return None,
    };
    let to = names[side.index()].clone();
    let heard_before = std::mem::replace(&mut hearing[side.index()], *hear != Hear::Nothing);
    match hear {
        Hear::Nothing => heard_before.then_some(Note::Silent { to }),
        Hear::Peer => Some(Note::Joined { to }),
        Hear::Prompt { prompt, repeat, then } => {
            let then = match (repeat, then) {
                (Repeat::Loop, _) => Some("over and over".to_owned()),
                (Repeat::Once, Then::Nothing) => None,
                (Repeat::Once, Then::Peer) => Some("then the other".to_owned()),
                (Repeat::Once, Then::Loop(next)) => Some(format!("then {}", spoken(&next.name))),
            };
            Some(Note::Plays { to, prompt: spoken(&prompt.name), then })
        }
    }
}

/// One line about a call that has ended.
pub(crate) fn summary(cdr: &Cdr, names: &[String; 2]) -> String {
    let mut parts = vec![cdr.cause.row().label.to_owned()];
    if let Some(side) = cdr.released_by {
        parts[0] += &format!(" by {}", names[side.index()]);
    }
    let span = |from: Option<Duration>, until: Option<Duration>| {
        Some(seconds(until.unwrap_or(cdr.ended).saturating_sub(from?)).trim_start().to_owned())
    };
    for (what, time) in [("rang", span(cdr.alerting, cdr.answered)), ("talked", span(cdr.answered, None))] {
        if let Some(time) = time {
            parts.push(format!("{what} {time}"));
        }
    }
    for (side, status) in [(Side::A, cdr.status_a), (Side::B, cdr.status_b)] {
        if status > 0 {
            parts.push(format!("{} {status}", names[side.index()]));
        }
    }
    if cdr.recording.is_some() {
        let recorded = Duration::from_millis(cdr.media.recorded_ms);
        parts.push(format!("recorded {}", seconds(recorded).trim_start()));
    }
    parts.join(", ")
}

/// What stands in a SIP message, for its line.
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) remark: String,
    /// User part of the Request-URI.
    pub(crate) called: Option<String>,
    /// INVITE outside a dialog.
    pub(crate) begins_call: bool,
}

/// First value of a header, by its full name, in a message of ours or of a phone: neither folds or abbreviates.
pub(crate) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split("\r\n").take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The user part of the first URI in a header value or request line.
pub(crate) fn user(value: &str) -> Option<&str> {
    let after = value.split_once("sip:").or_else(|| value.split_once("tel:"))?.1;
    let end = after.find(['@', '>', ';', ' ']).unwrap_or(after.len());
    after.get(..end)
}

/// Reads a message for its line. `name` makes names of numbers.
pub(crate) fn tell(bytes: &[u8], name: impl Fn(&str) -> String) -> Told {
    let message = String::from_utf8_lossy(bytes);
    let start = message.split("\r\n").next().unwrap_or_default();
    let cseq = header(&message, "CSeq").unwrap_or_default();
    let method = cseq.split_ascii_whitespace().nth(1).unwrap_or_default();
    let sdp = header(&message, "Content-Type").is_some_and(|kind| kind.contains("sdp"));
    let held = message.split("\r\n").find_map(|line| match line {
        "a=sendonly" | "a=recvonly" | "a=inactive" => line.strip_prefix("a="),
        _ => None,
    });
    let body = match (sdp, held) {
        (true, Some(held)) => format!(" (sdp, {held})"),
        (true, None) => " (sdp)".to_owned(),
        (false, _) => String::new(),
    };
    let extras = extras(&message);
    let in_dialog = header(&message, "To").is_some_and(|to| to.contains(";tag="));
    let reason = header(&message, "Reason").map(|reason| format!("Reason: {reason}"));
    if let Some(rest) = start.strip_prefix("SIP/2.0 ") {
        let status = rest.get(..3).unwrap_or(rest);
        let to = if method == "INVITE" { String::new() } else { format!(" to {method}") };
        let after = header(&message, "Retry-After").map(|seconds| format!("Retry-After: {seconds}"));
        let all = [reason, after].into_iter().flatten().chain(extras);
        let remark = all.collect::<Vec<_>>().join(", ");
        return Told { text: format!("{status}{to}{body}"), remark, called: None, begins_call: false };
    }
    let request = start.split(' ').next().unwrap_or_default();
    let called = user(start).map(str::to_owned);
    let from = header(&message, "From").and_then(user).map(&name).unwrap_or_default();
    if request == "MESSAGE" && !in_dialog {
        let to = called.as_deref().map(&name).unwrap_or_default();
        let kind = header(&message, "Content-Type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
        let words = message.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let told = if kind == "text/plain" { brief(words) } else { kind.to_owned() };
        let credentials = extras.into_iter().find(|extra| extra == "with credentials");
        let remark = [format!("From: {from}"), told].into_iter().chain(credentials).collect::<Vec<_>>().join(", ");
        return Told { text: format!("MESSAGE {to}"), remark, called, begins_call: true };
    }
    if request != "INVITE" {
        return Told {
            text: format!("{request}{body}"),
            remark: reason.into_iter().chain(extras).collect::<Vec<_>>().join(", "),
            called,
            begins_call: false,
        };
    }
    let body = match (sdp, held) {
        (true, Some(held)) => format!(" ({held})"),
        (true, None) => String::new(),
        (false, _) => " (no sdp)".to_owned(),
    };
    if in_dialog {
        return Told { text: format!("re-INVITE{body}"), remark: extras.join(", "), called, begins_call: false };
    }
    let to = called.as_deref().map(&name).unwrap_or_default();
    let remark = std::iter::once(format!("From: {from}")).chain(extras).collect::<Vec<_>>().join(", ");
    Told { text: format!("INVITE {to}{body}"), remark, called, begins_call: true }
}

/// The words of a text, where there are few; else how many.
fn brief(words: &str) -> String {
    let count = words.chars().count();
    if count > 40 { format!("{count} characters") } else { format!("{words:?}") }
}

/// What else helps to read a message, in the order of the headers below. What a seed makes up is not told.
fn extras(message: &str) -> Vec<String> {
    let as_it_is = ["Require", "Unsupported", "Session-Expires", "Min-SE", "Event", "Refer-To"];
    let mut told: Vec<String> = Vec::new();
    for name in as_it_is {
        // What RSeq makes plain need not be said twice.
        let value = header(message, name).filter(|value| name != "Require" || !value.eq_ignore_ascii_case("100rel"));
        told.extend(
            value.filter(|value| name != "Require" || *value != "timer").map(|value| format!("{name}: {value}")),
        );
    }
    let is_response = message.starts_with("SIP/2.0 ");
    match (header(message, "RSeq"), header(message, "Require")) {
        (Some(_), _) => told.push("reliable".to_owned()),
        (None, Some(require)) if !is_response && require.eq_ignore_ascii_case("100rel") => {
            told.push("Require: 100rel".to_owned());
        }
        (None, _) => {}
    }
    for name in ["WWW-Authenticate", "Proxy-Authenticate"] {
        if let Some(challenge) = header(message, name) {
            let stale = if challenge.to_ascii_lowercase().contains("stale=true") { ", stale" } else { "" };
            told.push(format!("challenge{stale}"));
        }
    }
    if header(message, "Authorization").or_else(|| header(message, "Proxy-Authorization")).is_some() {
        told.push("with credentials".to_owned());
    }
    if header(message, "Route").is_some() {
        told.push("routed".to_owned());
    }
    if let Some(kind) = header(message, "Content-Type").filter(|kind| !kind.contains("sdp")) {
        let kind = kind.split(';').next().unwrap_or(kind).trim();
        told.push(kind.strip_prefix("application/").unwrap_or(kind).to_owned());
    }
    told
}

/// Compares a world's ladder with what a test expects; `UPDATE_EXPECT=1` rewrites the test.
///
/// # Panics
/// They differ; the difference is shown.
pub fn assert_ladder(world: &World, expected: &expect_test::Expect) {
    expected.assert_eq(&dedented(&world.ladder()));
}

/// Without the blanks that all lines begin with, as `expect!` takes its text.
fn dedented(text: &str) -> String {
    let indent = text.lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    text.lines().flat_map(|line| [line.get(indent..).unwrap_or_default(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const MS: Duration = Duration::from_millis(1);

    fn message(column: Column, way: Way, phone: &str, text: &str, remark: &str) -> Entry {
        Entry::Message { column, way, phone: phone.into(), text: text.into(), remark: remark.into() }
    }

    fn plays(to: &str) -> Entry {
        Entry::Note(Note::Plays { to: to.into(), prompt: "hint tone".into(), then: None })
    }

    #[test]
    fn a_ladder_looks_like_the_one_in_the_architecture() {
        let mut ladder = Ladder::default();
        ladder.push(Duration::ZERO, message(Column::Left, Way::ToX, "A", "INVITE X", "From: A"));
        ladder.push(Duration::ZERO, message(Column::Left, Way::FromX, "A", "100", ""));
        ladder.push(Duration::ZERO, message(Column::Right, Way::FromX, "B", "INVITE B", "From: X"));
        ladder.push(40 * MS, message(Column::Right, Way::ToX, "B", "180", ""));
        ladder.push(3200 * MS, plays("A"));
        ladder.push(3200 * MS, plays("B"));
        ladder.push(3200 * MS, message(Column::Left, Way::FromX, "A", "200 (sdp)", ""));
        ladder.push(4400 * MS, Entry::Note(Note::Joined { to: "A".into() }));
        ladder.push(4400 * MS, Entry::Note(Note::Joined { to: "B".into() }));
        ladder.push(4400 * MS, Entry::Note(Note::Records));
        ladder.push(5000 * MS, Entry::Ended("hung_up by A".into()));
        expect![[r#"
               0.000  A ─▶ X          INVITE X          From: A
               0.000  A ◀─ X          100
               0.000         X ─▶ B   INVITE B          From: X
               0.040         X ◀─ B   180
               3.200  A ◀─ X          200 (sdp)         ♪ hint tone to both
               4.400                                    ♪ joined; recording begins
               5.000  CDR  hung_up by A
        "#]]
        .assert_eq(&dedented(&ladder.render()));
    }

    #[test]
    fn messages_are_told_by_method_or_status() {
        let name = |number: &str| format!("<{number}>");
        let text = |message: &str| {
            let told = tell(message.as_bytes(), name);
            format!("{} | {} | {}", told.text, told.remark, told.begins_call)
        };
        let invite = "INVITE sip:1@h SIP/2.0\r\nFrom: <sip:2@h>;tag=x\r\nTo: <sip:1@h>\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\n";
        assert_eq!(text(invite), "INVITE <1> | From: <2> | true");
        assert_eq!(text(&invite.replace("Content-Type", "X")), "INVITE <1> (no sdp) | From: <2> | true");
        assert_eq!(text(&invite.replace("To: <sip:1@h>", "To: <sip:1@h>;tag=y")), "re-INVITE |  | false");
        assert_eq!(
            text("SIP/2.0 200 OK\r\nCSeq: 2 BYE\r\nReason: Q.850;cause=16\r\n\r\n"),
            "200 to BYE | Reason: Q.850;cause=16 | false"
        );
        assert_eq!(text("SIP/2.0 503 x\r\nCSeq: 2 INVITE\r\nRetry-After: 5\r\n\r\n"), "503 | Retry-After: 5 | false");
        assert_eq!(text("BYE sip:1@h SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n"), "BYE |  | false");
        assert_eq!(text(""), " |  | false");
        for (message, told) in [
            ("SIP/2.0 183 x\r\nCSeq: 2 INVITE\r\nRequire: 100rel\r\nRSeq: 9\r\n\r\n", "183 | reliable | false"),
            ("SIP/2.0 420 x\r\nCSeq: 2 INVITE\r\nUnsupported: foo\r\n\r\n", "420 | Unsupported: foo | false"),
            (
                "SIP/2.0 407 x\r\nCSeq: 2 INVITE\r\nProxy-Authenticate: Digest stale=TRUE\r\n\r\n",
                "407 | challenge, stale | false",
            ),
            (
                "UPDATE sip:1@h SIP/2.0\r\nCSeq: 2 UPDATE\r\nSession-Expires: 90;refresher=uac\r\n\r\n",
                "UPDATE | Session-Expires: 90;refresher=uac | false",
            ),
            (
                "INFO sip:1@h SIP/2.0\r\nCSeq: 2 INFO\r\nRoute: <sip:h;lr>\r\nContent-Type: application/dtmf-relay\r\n\r\n",
                "INFO | routed, dtmf-relay | false",
            ),
        ] {
            assert_eq!(text(message), told);
        }
        let required = invite.replace("\r\n\r\n", "\r\nRequire: 100rel\r\nProxy-Authorization: Digest\r\n\r\n");
        assert_eq!(text(&required), "INVITE <1> | From: <2>, Require: 100rel, with credentials | true");
    }

    #[test]
    fn what_differs_for_the_parties_is_said_of_each() {
        let one = Note::Plays { to: "A".into(), prompt: "busy".into(), then: Some("over and over".into()) };
        let other = Note::Silent { to: "B".into() };
        assert_eq!(compose(&[&one, &other]), "♪ busy to A, over and over; silence to B");
        assert_eq!(compose(&[&Note::Joined { to: "A".into() }]), "♪ A hears the other");
        assert_eq!(compose(&[]), "");
    }
}
