//! The bodies of notices, field for field those of the PrivateNumber API (notifications: call events, fee, SMS, X-number
//! status). No other module knows the names. Times are UTC, `yyyy-MM-dd HH:mm:ss`; what is not known is left out.
//!
//! What the API's description leaves open is decided here:
//!
//! | field | decided |
//! |---|---|
//! | `caller`, `called` of callin | who really calls → X as dialled |
//! | … of callout, alerting, answer | who is shown → who is really called |
//! | … of disconnect | who really called → whom the call reached, or X where it reached nobody |
//! | `caller`, `callerNum` of a caller who is withheld | `anonymous`; `called`, `bindNum`, `calleeNum` that cannot be read: left out |
//! | `subscriptionId`, `userData` of callin | left out in AXE, as described: nobody has been asked for an extension yet |
//! | `digitInfo` | the digits as typed, without `#`; `""` where none were |
//! | `direction` | 1: A calls; 0: somebody else; 2: there is no binding |
//! | `spId` | the app's name, as `appKey` |
//! | `icid`, and the id of every notice | the call and what is told of it: the same after a crash |
//! | `fwdUnaswRsn` | not answered: Q.850 as the callee's network said, else of our table; answered: 0 |
//! | `callOutUnaswRsn` | 0: the platform begins no call by itself |
//! | `sipStatusCode` | not answered: of the callee's network, else what the caller got; answered: 0 |
//! | `failTime` | the end of a call that was not answered |
//! | `recordFlag` | 1 only where a file is kept, with the other `record…`; else 0 and without them |
//! | `recordDomain`, `recordBucketName` | ours, and `sp-` with the app's name: the API's link to a recording takes any |
//! | `mptyId` | as `subscriptionId` |
//! | `serviceType` | 003 AX, 004 AXB as described; AXE: ours |
//! | `smsContent` of a notice | as the sender wrote it, with the `@<number>` of an A–X; left out unless the app wants it |
//! | `areaCode`, `callDuration` | left out: no description has them |
//! | `status`, `cause` of an X | integers; 10 has cause 1 where X has been taken from the app, and 3 where it does not serve |
//! | an X that an app gets | is not told as a change |
//! | where the state of an X goes to | its own URL only; the states of an app's X are told in their order |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use b2bua::event::{CallEvent, OnwardCall, What};
use numbering::{Mode, Number, NumberState, SubscriptionId};
use serde::{Serialize, Serializer};

use super::{Channel, Notice};
use crate::clock::{self, Clock};

/// What stands for a number that is withheld.
const WITHHELD: &str = "anonymous";

/// What `hostName` and `recordDomain` say.
const HOST: &str = "axbridge";

/// What `serviceType` says of AXE.
const AXE: &str = "AXE";

/// The bodies of some notices of a channel as one message; of a channel that merges nothing, the first.
#[must_use]
pub fn whole(channel: Channel, bodies: &[&str]) -> String {
    let (before, after) = match channel {
        Channel::Status | Channel::Sms => return bodies.first().copied().unwrap_or_default().to_owned(),
        Channel::Fee => (r#"{"eventType":"fee","feeLst":["#, "]}"),
        Channel::Number => (r#"{"eventType":"numStatus","numInfo":["#, "]}"),
    };
    [before, &bodies.join(","), after].concat()
}

fn body(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("strings and numbers always serialise")
}

/// UTC of milliseconds of UNIX time.
fn utc(unix: u64) -> String {
    clock::utc(Duration::from_millis(unix))
}

// ---- numbers --------------------------------------------------------------------------------------------------------

fn number<S: Serializer>(number: &Option<Number>, to: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => to.collect_str(&number.reveal()),
        None => to.serialize_none(),
    }
}

fn caller<S: Serializer>(caller: &Option<Number>, to: S) -> Result<S::Ok, S::Error> {
    match caller {
        Some(number) => to.collect_str(&number.reveal()),
        None => to.serialize_str(WITHHELD),
    }
}

fn id<S: Serializer>(id: &Option<SubscriptionId>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.collect_str(id),
        None => to.serialize_none(),
    }
}

// ---- call events ----------------------------------------------------------------------------------------------------

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event_type: &'static str,
    status_info: StatusInfo<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusInfo<'a> {
    timestamp: String,
    session_id: &'a str,
    #[serde(flatten)]
    parties: Option<Parties>,
    #[serde(serialize_with = "id", skip_serializing_if = "Option::is_none")]
    subscription_id: Option<SubscriptionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digit_info: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_desc: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<&'a str>,
}

#[derive(Serialize)]
struct Parties {
    #[serde(serialize_with = "caller")]
    caller: Option<Number>,
    #[serde(serialize_with = "number", skip_serializing_if = "Option::is_none")]
    called: Option<Number>,
}

impl Parties {
    const fn of(caller: Option<Number>, called: Option<Number>) -> Option<Parties> {
        Some(Parties { caller, called })
    }

    const fn onward(call: OnwardCall) -> Option<Parties> {
        Parties::of(call.shown, call.called)
    }
}

/// What happens to a call.
pub(super) fn event(event: &CallEvent, clock: &Clock) -> Notice {
    let (event_type, parties) = match &event.what {
        What::CallIn { caller, called } => ("callin", Parties::of(*caller, *called)),
        What::CallOut(call) => ("callout", Parties::onward(*call)),
        What::Alerting(call) => ("alerting", Parties::onward(*call)),
        What::Answer(call) => ("answer", Parties::onward(*call)),
        What::Collected { .. } => ("collectInfo", None),
        What::Disconnect { caller, called, .. } => ("disconnect", Parties::of(*caller, *called)),
    };
    let row = match event.what {
        What::Disconnect { cause, .. } => Some(cause.row()),
        What::CallIn { .. } | What::CallOut(_) | What::Alerting(_) | What::Answer(_) | What::Collected { .. } => None,
    };
    let is_unasked = matches!(event.what, What::CallIn { .. }) && event.mode == Some(Mode::Axe);
    let message = Event {
        event_type,
        status_info: StatusInfo {
            timestamp: clock.utc(event.at),
            session_id: &event.session_id,
            parties,
            subscription_id: event.binding.filter(|_| !is_unasked),
            digit_info: match &event.what {
                What::Collected { digits } => Some(digits),
                What::CallIn { .. }
                | What::CallOut(_)
                | What::Alerting(_)
                | What::Answer(_)
                | What::Disconnect { .. } => None,
            },
            state_code: row.map(|row| row.state_code),
            state_desc: row.map(|row| row.description),
            user_data: event.user_text.as_deref().filter(|_| !is_unasked),
        },
    };
    let created = clock.unix_ms(event.at);
    Notice {
        id: format!("{}-{event_type}-{created}", event.session_id),
        app: Arc::clone(&event.app),
        channel: Channel::Status,
        session: event.session_id.to_string(),
        created,
        body: body(&message),
    }
}

// ---- fees -----------------------------------------------------------------------------------------------------------

/// The record of a call as its app is told. Times are milliseconds of UNIX time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fee {
    /// The app's name.
    pub app: Arc<str>,
    /// The call.
    pub session_id: String,
    /// The binding, where there was one.
    pub subscription_id: Option<String>,
    /// Its kind, or that of the app.
    pub mode: Option<Mode>,
    /// Whether A of the binding called.
    pub is_by_a: bool,
    /// Who called.
    pub caller: Option<Number>,
    /// X as dialled.
    pub x: Option<Number>,
    /// Who was shown to the callee.
    pub shown: Option<Number>,
    /// Who was called for X.
    pub callee: Option<Number>,
    /// The extension of the binding.
    pub extension: Option<String>,
    /// The call came in.
    pub call_in: u64,
    /// The callee was called.
    pub forwarded: Option<u64>,
    /// His phone rang.
    pub alerting: Option<u64>,
    /// He answered.
    pub answered: Option<u64>,
    /// The call ended.
    pub ended: u64,
    /// Of the table of outcomes.
    pub state_code: u16,
    /// Of the callee's network, or of the table.
    pub q850: u8,
    /// Of the callee's network, or what the caller got.
    pub sip_status: u16,
    /// The recording that is kept, and when it began.
    pub recording: Option<(String, u64)>,
    /// The customer's own words.
    pub user_text: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FeeInfo<'a> {
    direction: u8,
    sp_id: &'a str,
    app_key: &'a str,
    icid: &'a str,
    #[serde(serialize_with = "number", skip_serializing_if = "Option::is_none")]
    bind_num: Option<Number>,
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<&'a str>,
    #[serde(serialize_with = "caller")]
    caller_num: Option<Number>,
    #[serde(serialize_with = "number", skip_serializing_if = "Option::is_none")]
    callee_num: Option<Number>,
    #[serde(serialize_with = "number", skip_serializing_if = "Option::is_none")]
    fwd_display_num: Option<Number>,
    #[serde(serialize_with = "number", skip_serializing_if = "Option::is_none")]
    fwd_dst_num: Option<Number>,
    call_in_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fwd_start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fwd_alerting_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fwd_answer_time: Option<String>,
    call_end_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_time: Option<String>,
    fwd_unasw_rsn: u8,
    ul_fail_reason: u16,
    sip_status_code: u16,
    call_out_unasw_rsn: u8,
    record_flag: u8,
    #[serde(flatten)]
    recording: Option<RecordInfo<'a>>,
    tts_play_times: u8,
    tts_trans_duration: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    mpty_id: Option<&'a str>,
    service_type: &'static str,
    host_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extend_num: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordInfo<'a> {
    record_start_time: String,
    record_object_name: &'a str,
    record_bucket_name: String,
    record_domain: &'static str,
}

/// The record of a call; `mode` is the kind of its app.
pub(super) fn fee(fee: &Fee, mode: Mode) -> Notice {
    let id = format!("{}-fee", fee.session_id);
    let is_answered = fee.answered.is_some();
    let info = FeeInfo {
        direction: match (&fee.subscription_id, fee.is_by_a) {
            (None, _) => 2,
            (Some(_), true) => 1,
            (Some(_), false) => 0,
        },
        sp_id: &fee.app,
        app_key: &fee.app,
        icid: &id,
        bind_num: fee.x,
        session_id: &fee.session_id,
        subscription_id: fee.subscription_id.as_deref(),
        caller_num: fee.caller,
        callee_num: fee.x,
        fwd_display_num: fee.shown,
        fwd_dst_num: fee.callee,
        call_in_time: utc(fee.call_in),
        fwd_start_time: fee.forwarded.map(utc),
        fwd_alerting_time: fee.alerting.map(utc),
        fwd_answer_time: fee.answered.map(utc),
        call_end_time: utc(fee.ended),
        fail_time: (!is_answered).then(|| utc(fee.ended)),
        fwd_unasw_rsn: if is_answered { 0 } else { fee.q850 },
        ul_fail_reason: fee.state_code,
        sip_status_code: if is_answered { 0 } else { fee.sip_status },
        call_out_unasw_rsn: 0,
        record_flag: u8::from(fee.recording.is_some()),
        recording: fee.recording.as_ref().map(|(name, started)| RecordInfo {
            record_start_time: utc(*started),
            record_object_name: name,
            record_bucket_name: format!("sp-{}", fee.app.to_ascii_lowercase()),
            record_domain: HOST,
        }),
        tts_play_times: 0,
        tts_trans_duration: 0,
        mpty_id: fee.subscription_id.as_deref(),
        service_type: match fee.mode.unwrap_or(mode) {
            Mode::Ax => "003",
            Mode::Axb => "004",
            Mode::Axe => AXE,
        },
        host_name: HOST,
        user_data: fee.user_text.as_deref(),
        extend_num: fee.extension.as_deref(),
    };
    let body = body(&info);
    Notice {
        app: Arc::clone(&fee.app),
        channel: Channel::Fee,
        session: fee.session_id.clone(),
        created: fee.ended,
        body,
        id,
    }
}

// ---- text messages --------------------------------------------------------------------------------------------------

/// Whether the customer is told, or asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmsMode {
    /// Told what became of the message.
    Notify,
    /// Asked what is to become of it.
    Block,
}

/// What became of a text message, or is to become.
#[derive(Clone, PartialEq, Eq)]
pub struct Sms {
    /// The app's name.
    pub app: Arc<str>,
    /// The message's own id.
    pub id: Box<str>,
    /// Told or asked.
    pub mode: SmsMode,
    /// Who sent it.
    pub calling: Option<Number>,
    /// To whom it was forwarded; `None`: to nobody.
    pub called: Option<Number>,
    /// X.
    pub x: Number,
    /// When, in milliseconds of UNIX time.
    pub at: u64,
    /// The binding, where there was one.
    pub binding: Option<SubscriptionId>,
    /// Its words.
    pub content: Arc<str>,
    /// `sendResult`.
    pub result: i32,
    /// `splitNum`: into how many it was split.
    pub split: u32,
    /// `direction`.
    pub direction: u8,
    /// The customer's own words.
    pub user_text: Option<Box<str>>,
}

/// Its words are nobody's business.
impl fmt::Debug for Sms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sms { app, id, mode, result, .. } = self;
        write!(f, "Sms({app}, {id}, {mode:?}, {result})")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SmsMessage<'a> {
    app_key: &'a str,
    sms_event: SmsEvent<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SmsEvent<'a> {
    sms_identifier: &'a str,
    notification_mode: &'static str,
    #[serde(serialize_with = "caller")]
    calling: Option<Number>,
    #[serde(serialize_with = "number", skip_serializing_if = "Option::is_none")]
    called: Option<Number>,
    #[serde(serialize_with = "number")]
    virtual_number: Option<Number>,
    event: &'static str,
    time_stamp: String,
    #[serde(serialize_with = "id", skip_serializing_if = "Option::is_none")]
    subscription_id: Option<SubscriptionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms_content: Option<&'a str>,
    send_result: i32,
    ext_info: ExtInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtInfo {
    ext_paras: [ExtPara; 2],
}

#[derive(Serialize)]
struct ExtPara {
    key: &'static str,
    value: String,
}

/// The JSON of a text message: of the notice, and of the question to the control URL; with its words (`smsContent`) or without.
#[must_use]
pub fn sms_body(sms: &Sms, has_words: bool) -> String {
    body(&SmsMessage {
        app_key: &sms.app,
        sms_event: SmsEvent {
            sms_identifier: &sms.id,
            notification_mode: match sms.mode {
                SmsMode::Notify => "Notify",
                SmsMode::Block => "Block",
            },
            calling: sms.calling,
            called: sms.called,
            virtual_number: Some(sms.x),
            // With the blank that the API has.
            event: "Text SMS ",
            time_stamp: clock::rfc3339(Duration::from_millis(sms.at)),
            subscription_id: sms.binding,
            sms_content: has_words.then_some(&*sms.content),
            send_result: sms.result,
            ext_info: ExtInfo {
                ext_paras: [
                    ExtPara { key: "splitNum", value: sms.split.to_string() },
                    ExtPara { key: "direction", value: sms.direction.to_string() },
                ],
            },
            user_data: sms.user_text.as_deref(),
        },
    })
}

/// What became of a text message, told with its words or without.
pub(super) fn sms(sms: &Sms, has_words: bool) -> Notice {
    Notice {
        id: format!("{}-sms-{}", sms.id, sms.at),
        app: Arc::clone(&sms.app),
        channel: Channel::Sms,
        session: sms.id.to_string(),
        created: sms.at,
        body: sms_body(sms, has_words),
    }
}

// ---- numbers of an app ----------------------------------------------------------------------------------------------

/// The most X of a message.
pub(super) const NUMBERS: usize = 100;

/// How many X the body of a notice has.
pub(super) fn count_numbers(body: &str) -> usize {
    // What stands within is digits and short words.
    body.bytes().filter(|byte| *byte == b'{').count()
}

/// What all notices of an app's X belong to.
const SESSION: &str = "numbers";

#[derive(Serialize)]
struct NumInfo {
    #[serde(serialize_with = "number")]
    number: Option<Number>,
    status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<u8>,
}

/// The states of some X of an app, [`NUMBERS`] at most; `None`: it has been taken from the app. `at` is in milliseconds of UNIX
/// time; `place` is another one for each that this process makes.
pub(super) fn numbers(app: &Arc<str>, states: &[(Number, Option<NumberState>)], at: u64, place: u64) -> Notice {
    let infos = states.iter().map(|(x, state)| {
        let cause = match state {
            None => Some(1),
            Some(NumberState::Unavailable) => Some(3),
            Some(NumberState::Normal | NumberState::Suspended | NumberState::Frozen) => None,
        };
        body(&NumInfo { number: Some(*x), status: state.unwrap_or(NumberState::Unavailable).code(), cause })
    });
    Notice {
        id: format!("{SESSION}-{at}-{place}"),
        app: Arc::clone(app),
        channel: Channel::Number,
        session: SESSION.to_owned(),
        created: at,
        body: infos.collect::<Vec<_>>().join(","),
    }
}
