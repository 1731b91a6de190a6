//! `/calls`, `/cdrs`, `/audit` and `/why`: what goes on, what was, who did it, and why a call goes as it goes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use numbering::Number;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::asked::{Asked, Listed, Part, Path, Whole, bad_cursor, not_found, number, shown, span};
use super::auth::Actor;
use super::{Admin, AuditFilter, AuditView, CallFilter, CallView, CdrFilter, CdrView, Why, unavailable};
use crate::api::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(calls))
        .routes(routes!(stop))
        .routes(routes!(cdrs))
        .routes(routes!(audit))
        .routes(routes!(why))
}

/// Which calls in progress.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Calls {
    /// Of this app.
    app: Option<String>,
    /// Through this X.
    #[param(value_type = Option<Whole>)]
    x: Option<String>,
}

/// The calls in progress.
#[derive(Serialize, ToSchema)]
struct Live {
    /// All of them; at most 10,000.
    items: Vec<CallView>,
}

/// Which records.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Cdrs {
    /// Ended at this time or later, in milliseconds of UNIX time.
    from: Option<u64>,
    /// Ended before this time.
    to: Option<u64>,
    /// This number called, or was called.
    #[param(value_type = Option<Whole>)]
    number: Option<String>,
    /// Through this X.
    #[param(value_type = Option<Whole>)]
    x: Option<String>,
    /// Of this app.
    app: Option<String>,
    /// For this cause: a label of `axbridge_calls_total`.
    cause: Option<String>,
    /// This call.
    session_id: Option<String>,
}

/// Which call.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhyAsked {
    /// The number that is called.
    #[param(value_type = Whole)]
    x: String,
    /// Who calls.
    #[param(value_type = Whole)]
    caller: String,
}

fn optional(field: &str, text: Option<&str>) -> Result<Option<Number>, Refusal> {
    text.map(|text| number(field, text)).transpose()
}

/// The calls in progress.
#[utoipa::path(get, path = "/calls", params(Calls), responses((status = 200, body = Live)))]
async fn calls(State(admin): State<Admin>, Asked(asked): Asked<Calls>) -> Result<Json<Live>, Refusal> {
    let x = optional("x", asked.x.as_deref())?;
    let items = (admin.0.hooks.calls)(CallFilter { app: asked.app, x }).await.map_err(unavailable)?;
    Ok(Json(Live { items }))
}

/// Ends a call in progress: both legs are released.
#[utoipa::path(delete, path = "/calls/{session_id}", params(("session_id" = String, Path)), responses((status = 204)))]
async fn stop(State(admin): State<Admin>, actor: Actor, Path(session_id): Path<String>) -> Result<StatusCode, Refusal> {
    // Written down first: what cannot be written down is not done.
    let detail = format!("call {}", shown(&session_id));
    admin.note(actor.clone(), detail.clone()).await?;
    let is_stopped = (admin.0.hooks.stop)(session_id).await.map_err(unavailable)?;
    if is_stopped {
        Ok(StatusCode::NO_CONTENT)
    } else {
        let missed = not_found("there is no such call in progress: GET /admin/v1/calls lists them");
        admin.change(actor, detail, |_| Err(missed)).await
    }
}

/// Records of calls that have ended, the latest first. That they are read is written down.
#[utoipa::path(get, path = "/cdrs", params(Part, Cdrs), responses((status = 200, body = Listed<CdrView>)))]
async fn cdrs(
    State(admin): State<Admin>,
    actor: Actor,
    Asked(part): Asked<Part>,
    Asked(asked): Asked<Cdrs>,
) -> Result<Json<Listed<CdrView>>, Refusal> {
    let limit = part.limit()?;
    let (number, x) = (optional("number", asked.number.as_deref())?, optional("x", asked.x.as_deref())?);
    let Cdrs { from, to, app, cause, session_id, .. } = asked;
    // When a call has ended, and its name.
    let is_cursor = |text: &str| text.split_once('-').is_some_and(|(ended, _)| ended.parse::<i64>().is_ok());
    if part.cursor.as_deref().is_some_and(|text| !is_cursor(text)) {
        return Err(bad_cursor());
    }
    span(from, to)?;
    let filter = CdrFilter { from, to, number, x, app, cause, session_id, cursor: part.cursor, limit };
    admin.note(actor, told(&filter)).await?;
    (admin.0.hooks.cdrs)(filter).await.map_err(unavailable).map(Json)
}

/// What was looked for, for the audit log: numbers print masked.
fn told(filter: &CdrFilter) -> String {
    let mut words = Vec::new();
    let mut say = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name} {value}")));
    say("from", filter.from.map(|at| at.to_string()));
    say("to", filter.to.map(|at| at.to_string()));
    say("number", filter.number.map(|number| number.to_string()));
    say("x", filter.x.map(|x| x.to_string()));
    say("app", filter.app.as_deref().map(shown));
    say("cause", filter.cause.as_deref().map(shown));
    say("call", filter.session_id.as_deref().map(shown));
    words.join(", ")
}

/// What has been done by this API, the latest first.
#[utoipa::path(get, path = "/audit", params(Part), responses((status = 200, body = Listed<AuditView>)))]
async fn audit(State(admin): State<Admin>, Asked(part): Asked<Part>) -> Result<Json<Listed<AuditView>>, Refusal> {
    let filter = AuditFilter { limit: part.limit()?, cursor: part.cursor };
    // The place of a row in the log.
    if filter.cursor.as_deref().is_some_and(|text| text.parse::<i64>().is_err()) {
        return Err(bad_cursor());
    }
    (admin.0.hooks.audit)(filter).await.map_err(unavailable).map(Json)
}

/// What becomes of a call of this number to this X now, and why. Nothing is called.
#[utoipa::path(get, path = "/why", params(WhyAsked), responses((status = 200, body = Why)))]
async fn why(State(admin): State<Admin>, Asked(asked): Asked<WhyAsked>) -> Result<Json<Why>, Refusal> {
    let (x, caller) = (number("x", &asked.x)?, number("caller", &asked.caller)?);
    (admin.0.hooks.why)((x, caller)).await.map_err(unavailable).map(Json)
}
