//! Why a call ended: one table for the CDR, the metric label, the SIP status, `Reason` (RFC 3326, Q.850) and the prompt.
//!
//! State codes are those of the PrivateNumber API's disconnect event (`stateCode`, `ulFailReason`).

use numbering::Refusal;

/// Why a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// A or B hung up after the answer.
    HungUp,
    /// The binding's maximum duration was reached.
    MaxDuration,
    /// The operator's safety ceiling was reached.
    SafetyCeiling,
    /// A gave up before B rang.
    CancelledBeforeRinging,
    /// A gave up while B rang.
    CancelledAfterRinging,
    /// The caller is not bound to X.
    NotBound,
    /// X is no number of ours.
    UnknownX,
    /// The dialled number cannot be read.
    UnreadableNumber,
    /// The binding does not allow this direction.
    WrongDirection,
    /// A fixed line may only be called.
    FixedLineCaller,
    /// A of an A–X called X, and nobody has been named to be reached.
    NoTemporaryCallee,
    /// The customer has switched X off.
    SwitchedOff,
    /// X is suspended or unavailable.
    NumberUnusable,
    /// The extension that was typed or dialled is nobody's.
    UnknownExtension,
    /// The caller typed no extension.
    EmptyExtension,
    /// The caller hung up before an extension was typed.
    LeftWhileTyping,
    /// A of an A–X–E called X, and there is nobody to be called back.
    NoCallBack,
    /// There is no approved hint tone.
    NoHintTone,
    /// B is busy.
    Busy,
    /// B did not answer in time.
    NoAnswer,
    /// B declined.
    Rejected,
    /// B or its network refused (blacklist, do not disturb).
    Refused,
    /// B's number does not exist.
    NoSuchNumber,
    /// B cannot be reached.
    Unreachable,
    /// B's network did not respond at all.
    NoResponse,
    /// B's network failed (5xx).
    FarFailure,
    /// A's offer has no codec of ours.
    NoCommonCodec,
    /// B's answer is no answer to our offer.
    BadAnswer,
    /// A never acknowledged our 200.
    NoAck,
    /// A never acknowledged a provisional response that wants it.
    NoPrack,
    /// A session timer ran out: a peer did not refresh, or knows the call no more.
    SessionExpired,
    /// No RTP from either side.
    DeadMedia,
    /// The trunk has its maximum of calls.
    TrunkFull,
    /// X has its maximum of calls.
    NumberFull,
    /// No RTP port is free.
    NoPorts,
    /// The customer or the operator ended the call.
    Stopped,
    /// We are shutting down.
    Draining,
    /// No trunk can take the outgoing leg.
    NoRoute,
    /// The call went round through our own X.
    Loop,
    /// Our own fault.
    Internal,
}

/// Which of the app's prompts a refusal plays to A.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalPrompt {
    /// Please call from the bound number.
    NoBinding,
    /// You may not call this way.
    NoPermission,
    /// B is busy.
    Busy,
    /// Service fault.
    ServiceFault,
    /// The extension is nobody's.
    WrongExtension,
    /// No extension was typed.
    EmptyExtension,
    /// Nobody has been named to be reached.
    NoCallee,
    /// There is nobody to be called back.
    NoCallBack,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// `stateCode` / `ulFailReason`.
    pub state_code: u16,
    /// `stateDesc`.
    pub description: &'static str,
    /// Metric label and CDR word.
    pub label: &'static str,
    /// Q.850 cause in `Reason`.
    pub q850: u8,
    /// Final SIP status to A where it was not answered.
    pub status: u16,
    /// Prompt to A before that status.
    pub prompt: Option<RefusalPrompt>,
}

impl Cause {
    /// Every cause, for metrics and tests.
    pub const ALL: [Cause; 40] = [
        Cause::HungUp,
        Cause::MaxDuration,
        Cause::SafetyCeiling,
        Cause::CancelledBeforeRinging,
        Cause::CancelledAfterRinging,
        Cause::NotBound,
        Cause::UnknownX,
        Cause::UnreadableNumber,
        Cause::WrongDirection,
        Cause::FixedLineCaller,
        Cause::NoTemporaryCallee,
        Cause::SwitchedOff,
        Cause::NumberUnusable,
        Cause::UnknownExtension,
        Cause::EmptyExtension,
        Cause::LeftWhileTyping,
        Cause::NoCallBack,
        Cause::NoHintTone,
        Cause::Busy,
        Cause::NoAnswer,
        Cause::Rejected,
        Cause::Refused,
        Cause::NoSuchNumber,
        Cause::Unreachable,
        Cause::NoResponse,
        Cause::FarFailure,
        Cause::NoCommonCodec,
        Cause::BadAnswer,
        Cause::NoAck,
        Cause::NoPrack,
        Cause::SessionExpired,
        Cause::DeadMedia,
        Cause::TrunkFull,
        Cause::NumberFull,
        Cause::NoPorts,
        Cause::Stopped,
        Cause::Draining,
        Cause::NoRoute,
        Cause::Loop,
        Cause::Internal,
    ];

    /// Final SIP status to a caller who was not answered. A call that the called party ended before the caller could be told
    /// that it was answered has found nobody: 480.
    #[must_use]
    pub const fn refusal(self) -> u16 {
        match self.row().status {
            200..300 => 480,
            status => status,
        }
    }

    /// What this cause means everywhere.
    #[must_use]
    #[rustfmt::skip]
    pub const fn row(self) -> Row {
        use RefusalPrompt as P;
        match self {
            Cause::HungUp                 => row(0,    "The user releases the call.",             "hung_up",                  16, 200, None),
            Cause::MaxDuration            => row(8010, "The maximum call duration was reached.",   "max_duration",             16, 200, None),
            Cause::SafetyCeiling          => row(8010, "The platform's longest call was reached.", "safety_ceiling",          102, 200, None),
            Cause::CancelledBeforeRinging => row(7501, "The caller hung up before ringing.",      "cancelled_before_ringing", 16, 487, None),
            Cause::CancelledAfterRinging  => row(7502, "The caller hung up while ringing.",       "cancelled_after_ringing",  16, 487, None),
            Cause::NotBound               => row(8014, "The caller is not bound to this number.", "not_bound",                21, 403, Some(P::NoBinding)),
            Cause::UnknownX               => row(8025, "The virtual number does not exist.",      "unknown_x",                1,  404, None),
            Cause::UnreadableNumber       => row(8014, "The dialled number cannot be read.",      "unreadable_number",        28, 484, None),
            Cause::WrongDirection         => row(8016, "This direction is not allowed.",          "wrong_direction",          21, 403, Some(P::NoPermission)),
            Cause::FixedLineCaller        => row(8023, "A fixed line may not call.",              "fixed_line_caller",        21, 403, Some(P::NoPermission)),
            Cause::NoTemporaryCallee      => row(8013, "Nobody has been named to be reached.",    "no_temporary_callee",      21, 403, Some(P::NoCallee)),
            Cause::SwitchedOff            => row(8018, "The customer has switched the number off.", "switched_off",           21, 403, Some(P::NoPermission)),
            Cause::NumberUnusable         => row(8055, "The virtual number does not serve now.",  "number_unusable",          21, 403, Some(P::ServiceFault)),
            Cause::UnknownExtension       => row(8022, "The extension is nobody's.",              "unknown_extension",        1,  404, Some(P::WrongExtension)),
            Cause::EmptyExtension         => row(8033, "The caller typed no extension.",          "empty_extension",          28, 484, Some(P::EmptyExtension)),
            Cause::LeftWhileTyping        => row(7516, "The caller hung up before an extension was typed.", "left_while_typing", 16, 487, None),
            Cause::NoCallBack             => row(8019, "There is nobody to be called back.",      "no_call_back",             21, 403, Some(P::NoCallBack)),
            Cause::NoHintTone             => row(7507, "There is no approved hint tone.",         "no_hint_tone",             21, 403, Some(P::ServiceFault)),
            Cause::Busy                   => row(8102, "The called party is busy.",               "busy",                     17, 486, Some(P::Busy)),
            Cause::NoAnswer               => row(8101, "The called party did not answer.",        "no_answer",                19, 480, None),
            Cause::Rejected               => row(7503, "The called party declined.",              "rejected",                 21, 603, None),
            Cause::Refused                => row(7504, "The called party's network refused.",     "refused",                  21, 403, None),
            Cause::NoSuchNumber           => row(8100, "The called number does not exist.",       "no_such_number",           1,  404, None),
            Cause::Unreachable            => row(8103, "The called party cannot be reached.",     "unreachable",              20, 480, None),
            Cause::NoResponse             => row(8035, "The called network did not respond.",     "no_response",              18, 408, Some(P::ServiceFault)),
            Cause::FarFailure             => row(8103, "The called network failed.",              "far_failure",              38, 502, Some(P::ServiceFault)),
            Cause::NoCommonCodec          => row(8040, "There is no common codec.",               "no_common_codec",          65, 488, None),
            Cause::BadAnswer              => row(8040, "The called side's answer fits no offer.", "bad_answer",               65, 502, Some(P::ServiceFault)),
            Cause::NoAck                  => row(8040, "The caller never acknowledged.",          "no_ack",                   102, 200, None),
            Cause::NoPrack                => row(8040, "The caller never acknowledged ringing.",  "no_prack",                 102, 504, None),
            Cause::SessionExpired         => row(8040, "The session was not refreshed.",          "session_expired",          102, 200, None),
            Cause::DeadMedia              => row(8040, "No media came from either side.",         "dead_media",               41, 200, None),
            Cause::TrunkFull              => row(7001, "The trunk has its maximum of calls.",     "trunk_full",               42, 503, None),
            Cause::NumberFull             => row(7003, "The number has its maximum of calls.",    "number_full",              17, 486, Some(P::Busy)),
            Cause::NoPorts                => row(522,  "No media port is free.",                  "no_ports",                 44, 503, None),
            Cause::Stopped                => row(8017, "The customer ended the call.",            "stopped",                  16, 480, None),
            Cause::Draining               => row(8040, "The platform is shutting down.",          "draining",                 42, 503, None),
            Cause::NoRoute                => row(8040, "No trunk takes the outgoing leg.",        "no_route",                 3,  500, Some(P::ServiceFault)),
            Cause::Loop                   => row(8044, "The call went round through this platform.", "loop",                  25, 482, None),
            Cause::Internal               => row(8040, "Internal error.",                         "internal",                 41, 500, Some(P::ServiceFault)),
        }
    }

    /// What a final response of B's network means, its Q.850 cause included where it gave one that says more.
    #[must_use]
    pub const fn of_response(status: u16, q850: Option<u8>) -> Cause {
        match (status, q850) {
            (480 | 500..=599, Some(17)) => Cause::Busy,
            (408 | 480 | 500..=599, Some(18 | 19)) => Cause::NoAnswer,
            (480 | 500..=599, Some(1 | 22 | 28)) => Cause::NoSuchNumber,
            (480 | 500..=599, Some(20 | 27)) => Cause::Unreachable,
            (480 | 500..=599, Some(21)) => Cause::Rejected,
            (status, _) => Cause::of_status(status),
        }
    }

    /// What a final response of B's network means (RFC 3398 §8.2.6.1 backwards; product rule C8).
    #[must_use]
    pub const fn of_status(status: u16) -> Cause {
        match status {
            486 | 600 => Cause::Busy,
            603 => Cause::Rejected,
            401 | 403 | 405 | 407 | 433 | 607 | 608 => Cause::Refused,
            404 | 410 | 484 | 485 | 604 => Cause::NoSuchNumber,
            408 | 480 => Cause::Unreachable,
            482 | 483 => Cause::Loop,
            415 | 488 | 606 => Cause::NoCommonCodec,
            487 => Cause::NoAnswer,
            500..=599 => Cause::FarFailure,
            _ => Cause::Unreachable,
        }
    }
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Cause {
        match refusal {
            Refusal::UnknownX => Cause::UnknownX,
            Refusal::NotBound => Cause::NotBound,
            Refusal::WrongDirection => Cause::WrongDirection,
            Refusal::FixedLineCaller => Cause::FixedLineCaller,
            Refusal::NoTemporaryCallee => Cause::NoTemporaryCallee,
            Refusal::SwitchedOff => Cause::SwitchedOff,
            Refusal::NumberUnusable => Cause::NumberUnusable,
            Refusal::UnknownExtension => Cause::UnknownExtension,
            Refusal::NoCallBack => Cause::NoCallBack,
        }
    }
}

const fn row(
    state_code: u16,
    description: &'static str,
    label: &'static str,
    q850: u8,
    status: u16,
    prompt: Option<RefusalPrompt>,
) -> Row {
    Row { state_code, description, label, q850, status, prompt }
}
