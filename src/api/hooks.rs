//! Where the admin API gets what the registry does not know: live calls from the signalling loop, records and the audit log from
//! their stores.

use std::sync::Arc;

use b2bua::core::inquiry::{self, LiveCall, Which, WouldBe};
use b2bua::outcome::Cause;
use numbering::{AppId, Number};

use super::admin::{
    AuditFilter, AuditView, CallFilter, CallView, CdrFilter, CdrView, DeliveryView, Hooks, Listed, Whole, Why,
};
use crate::cdr;
use crate::clock::Clock;
use crate::notify::{self, LogQuery, Queue};
use crate::registry::{Registry, Unavailable};
use crate::signalling::Line;
use crate::store::{AuditQuery, Reader};

/// Live calls that are told at once.
const MAX_CALLS: usize = 10_000;

/// Whom the hooks ask.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) registry: Registry,
    pub(super) line: Line,
    pub(super) search: cdr::Search,
    pub(super) audit: Arc<Reader>,
    pub(super) queue: Queue,
    pub(super) clock: Clock,
}

/// The hooks of the admin API.
pub(super) fn admin(sources: &Sources) -> Hooks {
    let (of_calls, of_stop, of_cdrs, of_audit, of_why) =
        (sources.clone(), sources.clone(), sources.clone(), sources.clone(), sources.clone());
    let (of_deliveries, of_replay, of_replay_since) = (sources.clone(), sources.clone(), sources.clone());
    Hooks {
        calls: Box::new(move |filter| {
            let sources = of_calls.clone();
            Box::pin(async move { sources.calls(filter).await })
        }),
        stop: Box::new(move |session: String| {
            let line = of_stop.line.clone();
            Box::pin(async move {
                let stopped = line.ask(move |core, now| core.stop_call(now, &session, None)).await;
                stopped.map_err(|_| Unavailable)
            })
        }),
        cdrs: Box::new(move |filter| {
            let sources = of_cdrs.clone();
            Box::pin(async move { blocking(move || sources.cdrs(&filter)).await })
        }),
        deliveries: Box::new(move |filter| {
            let sources = of_deliveries.clone();
            Box::pin(async move { blocking(move || sources.deliveries(&filter)).await })
        }),
        replay: Box::new(move |id| {
            let sources = of_replay.clone();
            Box::pin(async move { sources.queue.replay(sources.now(), id).await })
        }),
        replay_since: Box::new(move |(app, channel, since)| {
            let sources = of_replay_since.clone();
            Box::pin(async move { sources.queue.replay_since(sources.now(), app, channel, since).await })
        }),
        audit: Box::new(move |filter| {
            let sources = of_audit.clone();
            Box::pin(async move { blocking(move || sources.audit(&filter)).await })
        }),
        why: Box::new(move |(x, caller)| {
            let sources = of_why.clone();
            Box::pin(async move { sources.why(x, caller).await })
        }),
    }
}

/// SQLite waits for the disk, which no thread of HTTP shall do.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Unavailable))
}

impl Sources {
    fn app_name(&self, app: Option<AppId>) -> Option<String> {
        let accounts = self.registry.accounts();
        Some(accounts.get(app?)?.name.to_string())
    }

    async fn calls(&self, filter: CallFilter) -> Result<Vec<CallView>, Unavailable> {
        let accounts = self.registry.accounts();
        let app = match &filter.app {
            None => None,
            // An app that there is not has no calls.
            Some(name) => match accounts.named(name) {
                Some(account) => Some(account.id),
                None => return Ok(Vec::new()),
            },
        };
        let which = Which { app, x: filter.x };
        let calls = self.line.ask(move |core, _| core.live_calls(which, MAX_CALLS)).await.map_err(|_| Unavailable)?;
        Ok(calls.into_iter().map(|call| self.view(call)).collect())
    }

    fn view(&self, call: LiveCall) -> CallView {
        let state = match (call.answered, call.alerting) {
            (Some(_), _) => "talking",
            (None, Some(_)) => "ringing",
            (None, None) => "calling",
        };
        CallView {
            session_id: call.session_id.to_string(),
            app: self.app_name(call.app),
            x: call.x.map(Whole),
            caller: call.caller.map(Whole),
            callee: call.callee.map(Whole),
            subscription_id: call.binding.map(|id| id.to_string()),
            trunk_in: call.trunk_in.to_string(),
            trunk_out: call.trunk_out.map(|trunk| trunk.to_string()),
            state: state.to_owned(),
            began: self.clock.unix_ms(call.call_in),
            answered: call.answered.map(|at| self.clock.unix_ms(at)),
            recording: call.is_recorded,
        }
    }

    fn cdrs(&self, filter: &CdrFilter) -> Result<Listed<CdrView>, Unavailable> {
        let query = cdr::Query {
            from: filter.from,
            to: filter.to,
            number: filter.number,
            x: filter.x,
            app: filter.app.clone(),
            cause: filter.cause.clone(),
            session_id: filter.session_id.clone(),
            recording: None,
            after: filter.cursor.as_deref().and_then(cursor),
            limit: u32::try_from(filter.limit).unwrap_or(cdr::PAGE).min(cdr::PAGE),
        };
        let found = self.search.find(&query).map_err(|error| {
            tracing::error!(%error, "the store of call records cannot be read");
            Unavailable
        })?;
        let is_full = found.len() >= filter.limit;
        let last = found.last().map(cdr::Found::cursor).filter(|_| is_full);
        Ok(Listed {
            items: found.into_iter().map(record).collect(),
            next_cursor: last.map(|last| format!("{}-{}", last.ended, last.session_id)),
        })
    }

    fn now(&self) -> u64 {
        self.clock.unix_ms(self.clock.now())
    }

    fn deliveries(&self, query: &LogQuery) -> Result<Listed<DeliveryView>, Unavailable> {
        let found = self.queue.log(query).map_err(|error| {
            tracing::error!(%error, "the log of notices cannot be read");
            Unavailable
        })?;
        let last = found.last().map(notify::Delivery::cursor).filter(|_| found.len() >= query.limit as usize);
        Ok(Listed {
            items: found.into_iter().map(delivery).collect(),
            next_cursor: last.map(|last| format!("{}-{}", last.created, last.id)),
        })
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Listed<AuditView>, Unavailable> {
        let query = AuditQuery {
            before: filter.cursor.as_deref().and_then(|cursor| cursor.parse().ok()),
            limit: u32::try_from(filter.limit).unwrap_or(u32::MAX),
            ..AuditQuery::default()
        };
        let rows = self.audit.audit(&query).map_err(|error| {
            tracing::error!(%error, "the audit log cannot be read");
            Unavailable
        })?;
        let last = rows.last().map(|(id, _)| id.to_string()).filter(|_| rows.len() >= filter.limit);
        let view = |row: crate::store::AuditRow| AuditView {
            at: row.at,
            who: row.who,
            from: row.from,
            action: row.action,
            status: row.status,
            detail: row.detail,
        };
        Ok(Listed { items: rows.into_iter().map(|(_, row)| view(row)).collect(), next_cursor: last })
    }

    async fn why(&self, x: Number, caller: Number) -> Result<Why, Unavailable> {
        let asked = self.line.ask(move |core, now| core.why(now, x, Some(caller))).await;
        let found = asked.map_err(|_| Unavailable)?;
        Ok(match found {
            Some(found) => self.told(x, caller, found),
            None => Why {
                connects: false,
                reason: "no_trunk".to_owned(),
                message: "No trunk may call.".to_owned(),
                state_code: 0,
                app: None,
                subscription_id: None,
                callee: None,
                trunk: None,
                steps: vec!["no [[trunk]] of the configuration has sources".to_owned()],
            },
        })
    }

    /// The same in words, one line for each thing that was looked at.
    fn told(&self, x: Number, caller: Number, found: inquiry::Why) -> Why {
        let app = self.app_name(found.app);
        let id = found.binding.map(|id| id.to_string());
        let mut steps = vec![match &app {
            Some(app) => format!("{x} is a number of app {app}"),
            None => format!("{x} is no number of this platform"),
        }];
        if app.is_some() {
            steps.push(match (&id, &found.outcome) {
                (Some(id), _) => format!("{caller} reaches it by binding {id}"),
                (None, Ok(WouldBe::Asked { .. })) => "it is shared by extensions".to_owned(),
                (None, _) => format!("{caller} has no binding on it"),
            });
        }
        match found.outcome {
            Ok(WouldBe::Asked { width, prompt }) => {
                let prompt = prompt.as_deref().unwrap_or("no prompt");
                steps.push(format!("the caller is asked for an extension of {width} digits: {prompt}"));
                Why {
                    connects: true,
                    reason: "ask_extension".to_owned(),
                    message: "The caller is asked for an extension.".to_owned(),
                    state_code: 0,
                    app,
                    subscription_id: None,
                    callee: None,
                    trunk: None,
                    steps,
                }
            }
            Ok(WouldBe::Connected(would)) => {
                let prompt = |what: &str, name: &Option<Arc<str>>| match name {
                    Some(name) => format!("{what}: {name}"),
                    None => format!("{what}: none"),
                };
                steps.push(format!("{} is called by trunk {}, and sees {x}", would.callee, would.trunk_out));
                steps.push(prompt("heard by the caller before ringback", &would.announcement));
                steps.push(prompt("heard by both on the answer", &would.hint_tone));
                steps.push(format!("recorded: {}", if would.record { "yes" } else { "no" }));
                steps.push(format!("ends after {} s at the latest", would.longest.as_secs()));
                Why {
                    connects: true,
                    reason: "connect".to_owned(),
                    message: "The call is connected.".to_owned(),
                    state_code: 0,
                    app,
                    subscription_id: id,
                    callee: Some(Whole(would.callee)),
                    trunk: Some(would.trunk_out.to_string()),
                    steps,
                }
            }
            Err(cause) => refused(cause, app, id, steps),
        }
    }
}

fn refused(cause: Cause, app: Option<String>, id: Option<String>, mut steps: Vec<String>) -> Why {
    let row = cause.row();
    steps.push(format!("refused with SIP {}, stateCode {}: {}", cause.refusal(), row.state_code, row.description));
    Why {
        connects: false,
        reason: row.label.to_owned(),
        message: row.description.to_owned(),
        state_code: row.state_code,
        app,
        subscription_id: id,
        callee: None,
        trunk: None,
        steps,
    }
}

/// `1795651200000-3f9c…`.
fn cursor(text: &str) -> Option<cdr::Cursor> {
    let (ended, session_id) = text.split_once('-')?;
    Some(cdr::Cursor { ended: ended.parse().ok()?, session_id: session_id.to_owned() })
}

fn delivery(found: notify::Delivery) -> DeliveryView {
    DeliveryView {
        id: found.id,
        notice_id: found.notice_id,
        app: found.app,
        channel: found.channel,
        session: found.session,
        created: found.created,
        state: found.state,
        due: found.due,
        attempts: found.attempts,
        status: found.last_status,
        error: found.last_error.map(|error| error.as_str().to_owned()),
        settled: found.settled,
        body: found.body.map(|body| {
            let whole = notify::message::whole(found.channel, &[&body]);
            serde_json::from_str(&whole).unwrap_or_default()
        }),
    }
}

fn record(found: cdr::Found) -> CdrView {
    CdrView {
        session_id: found.session_id,
        app: found.app,
        x: found.x.map(Whole),
        caller: found.caller.map(Whole),
        callee: found.callee.map(Whole),
        subscription_id: found.subscription_id,
        began: found.call_in,
        ended: found.ended,
        cause: found.cause,
        state_code: found.state_code,
        recording: found.recording,
        record: serde_json::from_str(&found.record).unwrap_or_default(),
    }
}
