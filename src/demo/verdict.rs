//! Was every promise kept? Each one is a line; one that was not makes the demo fail.

use std::path::Path;
use std::time::Duration;

use b2bua::cdr::Cdr;
use media::wav;
use numbering::{Number, spellings};
use phone::Ear;

use super::booth::{Booth, Which};
use super::customer::Notification;
use super::ladder::Ladder;
use crate::apps::Secret;

/// What the call left behind.
pub(super) struct Evidence<'a> {
    pub(super) booth: &'a Booth,
    /// What the customer was told, in the order that it was shown in.
    pub(super) notified: &'a [Notification],
    pub(super) secret: Option<&'a Secret>,
    pub(super) ladder: &'a Ladder,
    pub(super) cdr: &'a Cdr,
    /// A, B, X.
    pub(super) parties: (Number, Number, Number),
    pub(super) recording: Option<&'a Path>,
    pub(super) cdr_file: &'a Path,
    pub(super) ladder_file: &'a Path,
}

/// Prints the verdict. `true`: all was as promised.
pub(super) fn tell(evidence: &Evidence<'_>) -> bool {
    let (a, b, x) = evidence.parties;
    let (ear_a, ear_b) = (evidence.booth.phone(Which::A).ear(), evidence.booth.phone(Which::B).ear());
    let breaches: Vec<&str> = evidence.booth.breaches().collect();
    let recorded = evidence.recording.and_then(recorded_length);
    let talked = talked(evidence.cdr);
    let rows = [
        ("the phones found no breach of the RFCs".to_owned(), breaches.is_empty(), breaches.join("; ")),
        heard("A", ear_a, &["zh/announcement.wav", "ringback.wav", "zh/hint_tone.wav", "B's voice"]),
        heard("B", ear_b, &["zh/hint_tone.wav", "A's voice"]),
        unbroken("A", ear_a),
        unbroken("B", ear_b),
        (format!("B was shown X ({x})"), shown(evidence.booth, x), String::new()),
        hidden("A", "B", evidence.booth, Which::B, a),
        hidden("B", "A", evidence.booth, Which::A, b),
        (
            "the call ended as a hang-up of B".to_owned(),
            ended_well(evidence.cdr),
            evidence.cdr.cause.row().label.to_owned(),
        ),
        (
            "the recording has the length of the conversation".to_owned(),
            recorded.is_some_and(|length| length.abs_diff(talked) < Duration::from_millis(400)),
            format!("{recorded:?} of {talked:?}"),
        ),
        told(evidence.notified),
        signed(evidence.notified, evidence.secret),
        charged(evidence.notified, evidence.cdr),
    ];
    println!();
    for (promise, kept, found) in &rows {
        println!(
            "  {} {promise}{}",
            if *kept { "✓" } else { "✗" },
            if *kept { String::new() } else { format!(" — {found}") }
        );
    }
    println!();
    if let (Some(path), Some(length)) = (evidence.recording, recorded) {
        println!("recording  {}  ({:.2} s, A-law, 8,000 Hz, mono)", path.display(), length.as_secs_f64());
    }
    println!(
        "CDR        {}  (cause {}, stateCode {})",
        evidence.cdr_file.display(),
        evidence.cdr.cause.row().label,
        evidence.cdr.cause.row().state_code
    );
    println!("ladder     {}  ({} lines)", evidence.ladder_file.display(), evidence.ladder.text().lines().count());
    rows.iter().all(|(_, kept, _)| *kept)
}

type Row = (String, bool, String);

/// The party heard exactly these sounds, silence aside, in this order.
fn heard(who: &str, ear: &Ear, wanted: &[&str]) -> Row {
    let sounds: Vec<String> = ear.sounds().iter().map(ToString::to_string).collect();
    (format!("{who} heard {} and nothing else", wanted.join(", ")), sounds == wanted, sounds.join(", "))
}

fn unbroken(who: &str, ear: &Ear) -> Row {
    let faults: Vec<String> = ear.faults().iter().take(5).map(|(at, fault)| format!("{fault:?} at {at:?}")).collect();
    (
        format!("{who}'s stream was unbroken: one SSRC, no gap ({} packets)", ear.packets()),
        faults.is_empty(),
        faults.join(", "),
    )
}

fn shown(booth: &Booth, x: Number) -> bool {
    let wanted = format!("<sip:{}@", x.reveal());
    booth.received(Which::B).iter().filter(|message| message.starts_with(b"INVITE")).all(|invite| {
        let text = String::from_utf8_lossy(invite);
        text.lines().any(|line| line.starts_with("From:") && line.contains(&wanted))
    })
}

/// Nothing that `listener` received holds the number in any spelling, or the other's name.
fn hidden(who: &str, from: &str, booth: &Booth, listener: Which, number: Number) -> Row {
    let mut secrets = spellings(number);
    secrets.push(format!("Secret Name Of {who}"));
    let leak = booth.received(listener).iter().find_map(|message| {
        let text = String::from_utf8_lossy(message);
        secrets.iter().find(|secret| text.contains(secret.as_str())).cloned()
    });
    (format!("{who}'s number and name never reached {from}"), leak.is_none(), leak.unwrap_or_default())
}

/// Each thing once, in the order in which it happened.
fn told(notified: &[Notification]) -> Row {
    const WANTED: [&str; 6] = ["callin", "callout", "alerting", "answer", "disconnect", "fee"];
    let events: Vec<&str> = notified.iter().map(Notification::event).collect();
    (format!("the customer was told {} and nothing else", WANTED.join(", ")), events == WANTED, events.join(", "))
}

fn signed(notified: &[Notification], secret: Option<&Secret>) -> Row {
    let is_signed = |told: &Notification| secret.is_some_and(|secret| told.is_signed(secret));
    let unsigned: Vec<&str> = notified.iter().filter(|told| !is_signed(told)).map(Notification::event).collect();
    ("each message was signed with the app's secret".to_owned(), unsigned.is_empty(), unsigned.join(", "))
}

/// The fee names the recording, and why the call ended.
fn charged(notified: &[Notification], cdr: &Cdr) -> Row {
    let fee = notified.iter().find(|told| told.is_fee());
    let recording = cdr.recording.as_ref().map(|recording| &*recording.name);
    let says = |field: &str| fee.map(|fee| fee.field(field));
    let is_right = says("recordObjectName").flatten().and_then(serde_json::Value::as_str) == recording
        && says("ulFailReason").flatten().and_then(serde_json::Value::as_u64)
            == Some(u64::from(cdr.cause.row().state_code));
    ("the fee names the recording and the cause".to_owned(), is_right, format!("{:?}", says("recordObjectName")))
}

fn ended_well(cdr: &Cdr) -> bool {
    cdr.cause == b2bua::outcome::Cause::HungUp && cdr.released_by == Some(media::Side::B)
}

/// From the join to the end.
fn talked(cdr: &Cdr) -> Duration {
    cdr.joined.map_or(Duration::ZERO, |joined| cdr.ended.saturating_sub(joined))
}

fn recorded_length(path: &Path) -> Option<Duration> {
    let bytes = std::fs::read(path).ok()?;
    let samples = wav::read_prompt(&bytes).ok()?;
    Some(Duration::from_millis(samples.len() as u64 / 8))
}
