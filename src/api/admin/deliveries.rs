//! `/deliveries`: what customers' systems were told, what became of it, and telling it once more.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::asked::{Asked, Given, Listed, Part, Path, bad_cursor, no_app, not_found, shown, span};
use super::auth::{Actor, Scope};
use super::{Admin, DeliveryView, unavailable};
use crate::api::refusal::Refusal;
use crate::notify::{self, Channel, Cursor, LogQuery, PAGE};

pub(super) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(replay)).routes(routes!(replay_since))
}

/// Which of what customers' systems are told.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Deliveries {
    /// To this app.
    app: Option<String>,
    /// By this URL.
    #[param(inline)]
    channel: Option<Channel>,
    /// Of which this has become.
    #[param(inline)]
    state: Option<notify::State>,
    /// Of this call (`sessionId`) or text message.
    session: Option<String>,
    /// Happened at this time or later, in milliseconds of UNIX time.
    from: Option<u64>,
    /// Happened before this time.
    to: Option<u64>,
}

/// What is to be told once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Since {
    /// To whom.
    app: String,
    // By which URL. A description beside the words would make of them what nothing can be.
    #[schema(inline)]
    channel: Channel,
    /// What happened then or later, in milliseconds of UNIX time.
    since: u64,
}

/// How much.
#[derive(Serialize, ToSchema)]
struct Replayed {
    /// How many notices wait to be delivered again. It ends where too many of the app wait: ask again from there.
    count: u64,
}

/// What customers' systems were told and are to be told, the latest first. That it is read is written down.
#[utoipa::path(get, path = "/deliveries", params(Part, Deliveries),
    responses((status = 200, body = Listed<DeliveryView>)))]
async fn list(
    State(admin): State<Admin>,
    actor: Actor,
    Asked(part): Asked<Part>,
    Asked(asked): Asked<Deliveries>,
) -> Result<Json<Listed<DeliveryView>>, Refusal> {
    let limit = part.limit()?;
    let after = part.cursor.as_deref().map(|text| cursor(text).ok_or_else(bad_cursor)).transpose()?;
    span(asked.from, asked.to)?;
    let query = LogQuery {
        app: asked.app,
        channel: asked.channel,
        state: asked.state,
        session: asked.session,
        notice_id: None,
        from: asked.from,
        to: asked.to,
        after,
        limit: u32::try_from(limit).unwrap_or(PAGE),
        has_bodies: actor.scope == Scope::Full,
    };
    admin.note(actor, told(&query)).await?;
    (admin.0.hooks.deliveries)(query).await.map_err(unavailable).map(Json)
}

/// When something happened, and its place: `1795651200000-17`.
fn cursor(text: &str) -> Option<Cursor> {
    let (created, id) = text.split_once('-')?;
    Some(Cursor { created: created.parse().ok()?, id: id.parse().ok()? })
}

/// What was looked for, for the audit log.
fn told(filter: &LogQuery) -> String {
    let mut words = Vec::new();
    let mut say = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name} {value}")));
    say("app", filter.app.as_deref().map(shown));
    say("channel", filter.channel.map(|channel| channel.as_str().to_owned()));
    say("state", filter.state.map(|state| state.as_str().to_owned()));
    say("session", filter.session.as_deref().map(shown));
    say("from", filter.from.map(|at| at.to_string()));
    say("to", filter.to.map(|at| at.to_string()));
    words.join(", ")
}

/// Tells something once more that was delivered or given up, with all its attempts and under the same `notice_id`.
#[utoipa::path(post, path = "/deliveries/{id}/replay", params(("id" = u64, Path)), responses((status = 200, body = Replayed)))]
async fn replay(State(admin): State<Admin>, actor: Actor, Path(id): Path<String>) -> Result<Json<Replayed>, Refusal> {
    // Written down first: what cannot be written down is not done.
    let detail = format!("delivery {}", shown(&id));
    admin.note(actor.clone(), detail.clone()).await?;
    let is_replayed = match id.parse() {
        Ok(id) => (admin.0.hooks.replay)(id).await.map_err(unavailable)?,
        Err(_) => false,
    };
    if is_replayed {
        return Ok(Json(Replayed { count: 1 }));
    }
    let message = "nothing of this id was delivered or given up, or too many notices of its app wait already: \
                   GET /admin/v1/deliveries lists them";
    admin.change(actor, detail, |_| Err(not_found(message))).await
}

/// Tells an app once more all that happened since a time, by one of its URLs.
#[utoipa::path(post, path = "/deliveries/replay", request_body = Since, responses((status = 200, body = Replayed)))]
async fn replay_since(
    State(admin): State<Admin>,
    actor: Actor,
    Given(asked): Given<Since>,
) -> Result<Json<Replayed>, Refusal> {
    let Since { app, channel, since } = asked;
    span(Some(since), None)?;
    let detail = format!("app {}, channel {}, since {since}", shown(&app), channel.as_str());
    let find = move |books: &mut crate::registry::Books| {
        let id = books.app_id(&app).ok_or_else(no_app)?;
        let account = books.account(id).ok_or_else(no_app)?;
        if channel.url(account).is_none() {
            let message = "the app has no URL for this: PATCH /admin/v1/apps, or its notify in the configuration";
            return Err(Refusal::new(StatusCode::CONFLICT, "no_url", message));
        }
        Ok(std::sync::Arc::clone(&account.name))
    };
    let app = admin.change(actor, detail, find).await?;
    let count = (admin.0.hooks.replay_since)((app, channel, since)).await.map_err(unavailable)?;
    Ok(Json(Replayed { count }))
}
