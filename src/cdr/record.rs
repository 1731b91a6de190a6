//! A record by the wall clock, as it lies in the spool, and the line that becomes of it.
//!
//! ```text
//!   b2bua's Cdr ─ Record::of ─▶ Record ─▶ spool ─▶ Record          all that is known, times in milliseconds of UNIX time
//!                                  └─ which recordings there are ─▶ JSON line, row of the store
//! ```

use std::borrow::Cow;
use std::time::Duration;

use b2bua::cdr::Cdr;
use media::{LegTotals, Side};
use numbering::{Mode, Number, Party};
use serde::{Deserialize, Serialize};

use super::Kept;
use crate::clock::{self, Clock, millis};
use crate::notify::Fee;

/// What is known of a call.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    pub(super) session_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subscription_id: Option<String>,
    #[serde(borrow)]
    trunk_in: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trunk_out: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caller: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) x: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) callee: Option<u64>,
    /// Who was shown to the callee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<u64>,
    /// Of the binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_is: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extension: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digits: Option<Cow<'a, str>>,
    pub(super) call_in: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerting: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<u64>,
    pub(super) ended: u64,
    duration_ms: u64,
    #[serde(borrow)]
    pub(super) cause: Cow<'a, str>,
    pub(super) state_code: u16,
    #[serde(borrow)]
    state_desc: Cow<'a, str>,
    #[serde(borrow)]
    released_by: Cow<'a, str>,
    sip_status: [u16; 2],
    q850: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    q850_callee: Option<u8>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    recording: Option<Recorded<'a>>,
    media: [Media; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<Cow<'a, str>>,
}

/// A recording that was begun; whether it is kept is another matter.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Recorded<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    started: u64,
    ms: u64,
}

/// What passed through a leg: received, sent, lost, refused, jitter.
type Media = (u64, u64, u64, u64, u32);

impl<'a> Record<'a> {
    pub(super) fn of(cdr: &'a Cdr, clock: &Clock) -> Record<'a> {
        let row = cdr.cause.row();
        let time = |at: Duration| clock.unix_ms(at);
        let media = |totals: &LegTotals| (totals.received, totals.sent, totals.lost, totals.refused, totals.jitter_us);
        Record {
            session_id: Cow::Borrowed(&cdr.session_id),
            app: cdr.app_name.as_deref().map(Cow::Borrowed),
            subscription_id: cdr.binding.map(|id| id.to_string()),
            trunk_in: Cow::Borrowed(&cdr.trunk_in),
            trunk_out: cdr.trunk_out.as_deref().map(Cow::Borrowed),
            caller: cdr.caller.map(Number::as_u64),
            x: cdr.x.map(Number::as_u64),
            callee: cdr.callee.map(Number::as_u64),
            shown: cdr.shown.map(Number::as_u64),
            mode: cdr.mode.map(|mode| Cow::Borrowed(mode.as_str())),
            caller_is: cdr.caller_is.map(|party| match party {
                Party::A => Cow::Borrowed("A"),
                Party::B => Cow::Borrowed("B"),
            }),
            extension: cdr.extension.map(|extension| Cow::Owned(extension.to_string())),
            digits: cdr.digits.as_deref().map(Cow::Borrowed),
            call_in: time(cdr.call_in),
            asked: cdr.asked.map(time),
            forwarded: cdr.forwarded.map(time),
            alerting: cdr.alerting.map(time),
            answered: cdr.answered.map(time),
            joined: cdr.joined.map(time),
            ended: time(cdr.ended),
            duration_ms: cdr.answered.map_or(0, |answered| millis(cdr.ended.saturating_sub(answered))),
            cause: Cow::Borrowed(row.label),
            state_code: row.state_code,
            state_desc: Cow::Borrowed(row.description),
            released_by: Cow::Borrowed(match cdr.released_by {
                Some(Side::A) => "caller",
                Some(Side::B) => "callee",
                None => "platform",
            }),
            sip_status: [cdr.status_a, cdr.status_b],
            q850: row.q850,
            q850_callee: cdr.q850_b,
            recording: cdr.recording.as_ref().map(|recording| Recorded {
                name: Cow::Borrowed(&recording.name),
                started: time(recording.started),
                ms: cdr.media.recorded_ms,
            }),
            media: Side::BOTH.map(|side| media(&cdr.media.legs[side.index()])),
            user_data: cdr.user_text.as_deref().map(Cow::Borrowed),
        }
    }

    /// Leaves a recording away that has left no file.
    pub(super) fn settle(&mut self, recordings: &Kept) {
        self.recording.take_if(|recording| !recordings.has(&recording.name, recording.ms));
    }

    /// What the app of the call is told of it; of a settled record.
    pub(super) fn fee(&self) -> Option<Fee> {
        let number = |digits: Option<u64>| digits.and_then(Number::from_u64);
        let [to_caller, of_callee] = self.sip_status;
        Some(Fee {
            app: self.app.as_deref()?.into(),
            session_id: self.session_id.to_string(),
            subscription_id: self.subscription_id.clone(),
            mode: self.mode.as_deref().and_then(|word| Mode::ALL.into_iter().find(|mode| mode.as_str() == word)),
            is_by_a: self.caller_is.as_deref() == Some("A"),
            caller: number(self.caller),
            x: number(self.x),
            shown: number(self.shown),
            callee: number(self.callee),
            extension: self.extension.as_deref().map(Into::into),
            call_in: self.call_in,
            forwarded: self.forwarded,
            alerting: self.alerting,
            answered: self.answered,
            ended: self.ended,
            state_code: self.state_code,
            q850: self.q850_callee.unwrap_or(self.q850),
            sip_status: if of_callee == 0 { to_caller } else { of_callee },
            recording: self.recording.as_ref().map(|recording| (recording.name.to_string(), recording.started)),
            user_text: self.user_data.as_deref().map(Into::into),
        })
    }

    /// The name of its recording.
    pub(super) fn recording(&self) -> Option<&str> {
        self.recording.as_ref().map(|recording| &*recording.name)
    }

    /// As a JSON object on one line.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&Line::of(self)).expect("strings and numbers always serialise")
    }
}

#[derive(Serialize)]
struct Line<'a> {
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<&'a str>,
    trunk_in: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trunk_out: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callee: Option<String>,
    /// Which party of the binding called: `A` or `B`.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_is: Option<&'a str>,
    /// Of the binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    extension: Option<&'a str>,
    /// What the caller typed last where it was asked for an extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    digits: Option<&'a str>,
    call_in_time: String,
    /// The caller heard the question for an extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerting_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_time: Option<String>,
    end_time: String,
    /// From the answer to the end.
    duration_ms: u64,
    cause: &'a str,
    state_code: u16,
    state_desc: &'a str,
    /// `caller`, `callee` or `platform`.
    released_by: &'a str,
    sip_status_caller: u16,
    sip_status_callee: u16,
    q850: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    q850_callee: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingLine<'a>>,
    media: [MediaLine; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<&'a str>,
}

#[derive(Serialize)]
struct RecordingLine<'a> {
    name: &'a str,
    start_time: String,
    duration_ms: u64,
}

#[derive(Serialize)]
struct MediaLine {
    leg: &'static str,
    received: u64,
    sent: u64,
    lost: u64,
    refused: u64,
    jitter_us: u32,
}

impl<'a> Line<'a> {
    fn of(record: &'a Record<'_>) -> Line<'a> {
        let time = |unix: u64| clock::rfc3339(Duration::from_millis(unix));
        let number = |digits: u64| format!("+{digits}");
        let [caller, callee] = record.media;
        Line {
            session_id: &record.session_id,
            app: record.app.as_deref(),
            subscription_id: record.subscription_id.as_deref(),
            trunk_in: &record.trunk_in,
            trunk_out: record.trunk_out.as_deref(),
            caller: record.caller.map(number),
            x: record.x.map(number),
            callee: record.callee.map(number),
            caller_is: record.caller_is.as_deref(),
            extension: record.extension.as_deref(),
            digits: record.digits.as_deref(),
            call_in_time: time(record.call_in),
            ask_time: record.asked.map(time),
            forward_time: record.forwarded.map(time),
            alerting_time: record.alerting.map(time),
            answer_time: record.answered.map(time),
            join_time: record.joined.map(time),
            end_time: time(record.ended),
            duration_ms: record.duration_ms,
            cause: &record.cause,
            state_code: record.state_code,
            state_desc: &record.state_desc,
            released_by: &record.released_by,
            sip_status_caller: record.sip_status[0],
            sip_status_callee: record.sip_status[1],
            q850: record.q850,
            q850_callee: record.q850_callee,
            recording: record.recording.as_ref().map(|recording| RecordingLine {
                name: &recording.name,
                start_time: time(recording.started),
                duration_ms: recording.ms,
            }),
            media: [MediaLine::of("caller", caller), MediaLine::of("callee", callee)],
            user_data: record.user_data.as_deref(),
        }
    }
}

impl MediaLine {
    fn of(leg: &'static str, (received, sent, lost, refused, jitter_us): Media) -> MediaLine {
        MediaLine { leg, received, sent, lost, refused, jitter_us }
    }
}
