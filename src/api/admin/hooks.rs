//! What the admin API asks of others than the registry: live calls, records, the audit log, and why a call goes as it goes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use numbering::Number;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Listed, Whole};
use crate::notify::{Channel, LogQuery, State};
use crate::registry::Unavailable;

/// Asks somebody something.
pub type Hook<Q, A> =
    Box<dyn Fn(Q) -> Pin<Box<dyn Future<Output = Result<A, Unavailable>> + Send>> + Send + Sync + 'static>;

/// Whom to ask. Lists come in parts: at most `limit` items, and the cursor of the next part.
pub struct Hooks {
    /// The calls in progress.
    pub calls: Hook<CallFilter, Vec<CallView>>,
    /// Ends a call by its `session_id`; whether there was one.
    pub stop: Hook<String, bool>,
    /// Records of calls that have ended, the latest first.
    pub cdrs: Hook<CdrFilter, Listed<CdrView>>,
    /// What customers' systems were told, the latest first.
    pub deliveries: Hook<LogQuery, Listed<DeliveryView>>,
    /// Tells something once more, by its `id`; whether that can be.
    pub replay: Hook<u64, bool>,
    /// Tells an app once more all that happened since, by a channel; how much that is.
    pub replay_since: Hook<(Arc<str>, Channel, u64), u64>,
    /// What has been done by this API, the latest first.
    pub audit: Hook<AuditFilter, Listed<AuditView>>,
    /// What becomes of a call of this number (the second) to this X (the first).
    pub why: Hook<(Number, Number), Why>,
}

/// Which calls in progress.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallFilter {
    /// Of this app.
    pub app: Option<String>,
    /// Through this X.
    pub x: Option<Number>,
}

/// A call in progress.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CallView {
    /// Its name, as in records and notifications.
    pub session_id: String,
    /// Whose.
    pub app: Option<String>,
    /// X.
    pub x: Option<Whole>,
    /// Who calls; absent where that is withheld.
    pub caller: Option<Whole>,
    /// Who is called, once that is known.
    pub callee: Option<Whole>,
    /// Its binding.
    pub subscription_id: Option<String>,
    /// The trunk that it came from.
    pub trunk_in: String,
    /// The trunk that it went to.
    pub trunk_out: Option<String>,
    /// How far it has come: `calling`, `ringing`, `talking`.
    pub state: String,
    /// When its INVITE came, in milliseconds of UNIX time.
    pub began: u64,
    /// When it was answered.
    pub answered: Option<u64>,
    /// It is being recorded.
    pub recording: bool,
}

/// Which records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CdrFilter {
    /// Ended at this time or later (milliseconds of UNIX time).
    pub from: Option<u64>,
    /// Ended before this time.
    pub to: Option<u64>,
    /// This number called, or was called.
    pub number: Option<Number>,
    /// Through this X.
    pub x: Option<Number>,
    /// Of this app.
    pub app: Option<String>,
    /// For this cause: a label of `axbridge_calls_total`.
    pub cause: Option<String>,
    /// This call.
    pub session_id: Option<String>,
    /// `next_cursor` of the part before.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A call that has ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CdrView {
    /// Its name.
    pub session_id: String,
    /// Whose.
    pub app: Option<String>,
    /// X.
    pub x: Option<Whole>,
    /// Who called.
    pub caller: Option<Whole>,
    /// Who was called.
    pub callee: Option<Whole>,
    /// Its binding.
    pub subscription_id: Option<String>,
    /// When its INVITE came, in milliseconds of UNIX time.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
    /// Why: a label of `axbridge_calls_total`.
    pub cause: String,
    /// The same by the customers' API: `stateCode`, `ulFailReason`.
    pub state_code: u16,
    /// Its recording.
    pub recording: Option<String>,
    /// All that is known: the object that stands as a line in the file of call records.
    #[schema(value_type = Object)]
    pub record: serde_json::Value,
}

/// Something that a customer's system is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Its name here.
    pub id: u64,
    /// Its name in the header `X-Notice-Id`: the same when it is told again.
    pub notice_id: String,
    /// To whom.
    pub app: String,
    /// By which URL.
    #[schema(inline)]
    pub channel: Channel,
    /// The call (`sessionId`) or text message that it belongs to; what it belongs to is told in its order.
    pub session: String,
    /// When it happened, in milliseconds of UNIX time.
    pub created: u64,
    /// What has become of it.
    #[schema(inline)]
    pub state: State,
    /// When it is tried next; absent while it waits for one before it.
    pub due: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
    /// The HTTP status of the last answer.
    pub status: Option<u16>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was delivered or given up.
    pub settled: Option<u64>,
    /// The message, with numbers in clear; for tokens of scope `full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub body: Option<serde_json::Value>,
}

/// Which part of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditFilter {
    /// `next_cursor` of the part before.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Something that somebody did by this API.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditView {
    /// When, in milliseconds of UNIX time.
    pub at: u64,
    /// The name of the token.
    pub who: String,
    /// From where.
    pub from: String,
    /// Method and path, as in this document.
    pub action: String,
    /// What came of it: the HTTP status.
    pub status: u16,
    /// To what; numbers are masked.
    pub detail: String,
}

/// What becomes of a call, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Why {
    /// It is connected.
    pub connects: bool,
    /// One word: `connect`, or why it is refused.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// The `stateCode` of a refusal; 0 where it is connected.
    pub state_code: u16,
    /// Whose X is.
    pub app: Option<String>,
    /// The binding that decides.
    pub subscription_id: Option<String>,
    /// Who is called.
    pub callee: Option<Whole>,
    /// By which trunk.
    pub trunk: Option<String>,
    /// What has been looked at, in order.
    pub steps: Vec<String>,
}
