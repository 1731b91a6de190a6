//! `/deliveries`: what customers' systems were told, what became of it, and telling it once more.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::asked::{Asked, Given, Listed, Part, Path, bad_cursor, no_app, not_found, shown};
use super::auth::{Actor, Scope};
use super::{Admin, DeliveryFilter, DeliveryView, unavailable};
use crate::api::refusal::Refusal;
use crate::notify::{self, Channel, Cursor};

pub(super) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(replay)).routes(routes!(replay_since))
}

/// What an app is told of, by a URL of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelWord {
    /// What happens to calls: `status_url`.
    Status,
    /// Records of calls: `fee_url`.
    Fee,
    /// Text messages: `sms_url`.
    Sms,
    /// States of X: `number_url`.
    Number,
}

impl From<Channel> for ChannelWord {
    fn from(channel: Channel) -> ChannelWord {
        match channel {
            Channel::Status => ChannelWord::Status,
            Channel::Fee => ChannelWord::Fee,
            Channel::Sms => ChannelWord::Sms,
            Channel::Number => ChannelWord::Number,
        }
    }
}

impl From<ChannelWord> for Channel {
    fn from(word: ChannelWord) -> Channel {
        match word {
            ChannelWord::Status => Channel::Status,
            ChannelWord::Fee => Channel::Fee,
            ChannelWord::Sms => Channel::Sms,
            ChannelWord::Number => Channel::Number,
        }
    }
}

/// What has become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateWord {
    /// It is to be delivered.
    Pending,
    /// The customer has it.
    Delivered,
    /// Nobody tries any more.
    GivenUp,
}

impl From<notify::State> for StateWord {
    fn from(state: notify::State) -> StateWord {
        match state {
            notify::State::Pending => StateWord::Pending,
            notify::State::Delivered => StateWord::Delivered,
            notify::State::GivenUp => StateWord::GivenUp,
        }
    }
}

impl From<StateWord> for notify::State {
    fn from(word: StateWord) -> notify::State {
        match word {
            StateWord::Pending => notify::State::Pending,
            StateWord::Delivered => notify::State::Delivered,
            StateWord::GivenUp => notify::State::GivenUp,
        }
    }
}

/// Which of what customers' systems are told.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Deliveries {
    /// To this app.
    app: Option<String>,
    /// By this URL.
    #[param(inline)]
    channel: Option<ChannelWord>,
    /// Of which this has become.
    #[param(inline)]
    state: Option<StateWord>,
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
    channel: ChannelWord,
    /// What happened then or later, in milliseconds of UNIX time.
    since: u64,
}

/// How much.
#[derive(Serialize, ToSchema)]
struct Replayed {
    /// How many notices wait to be delivered again. It ends where too many of the app wait: ask again from there.
    count: u64,
}

/// The documents' times have 63 bits.
fn is_too_far(time: u64) -> bool {
    i64::try_from(time).is_err()
}

fn too_far() -> Refusal {
    let message = "times are milliseconds of UNIX time: the year 292278994 is too far";
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_time", message)
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
    if asked.from.into_iter().chain(asked.to).any(is_too_far) {
        return Err(too_far());
    }
    if asked.from.zip(asked.to).is_some_and(|(from, to)| from > to) {
        let message = "from is later than to: both are milliseconds of UNIX time";
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_time", message));
    }
    let filter = DeliveryFilter {
        app: asked.app,
        channel: asked.channel.map(Channel::from),
        state: asked.state.map(notify::State::from),
        session: asked.session,
        from: asked.from,
        to: asked.to,
        after,
        limit,
    };
    let scope = actor.scope;
    admin.note(actor, told(&filter)).await?;
    let mut found = (admin.0.hooks.deliveries)(filter).await.map_err(unavailable)?;
    match scope {
        Scope::Full => {}
        Scope::Read => found.items.iter_mut().for_each(|item| item.body = None),
    }
    Ok(Json(found))
}

/// When something happened, and its place: `1795651200000-17`.
fn cursor(text: &str) -> Option<Cursor> {
    let (created, id) = text.split_once('-')?;
    Some(Cursor { created: created.parse().ok()?, id: id.parse().ok()? })
}

/// What was looked for, for the audit log.
fn told(filter: &DeliveryFilter) -> String {
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
    if is_too_far(since) {
        return Err(too_far());
    }
    let channel = Channel::from(channel);
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
