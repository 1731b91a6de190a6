//! `/apps/{app}/prompts`: an app's own prompts, from the upload to the reviewer's word (product rule R).
//!
//! ```text
//!   PUT ─▶ draft ─submit─▶ submitted ─approve─▶ approved        only approved ones play
//!            ▲                 └──────reject──▶ rejected ◀─reject─┘
//!            └── PUT again, from anywhere
//! ```

use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::Admin;
use super::asked::{Asked, Audio, Body, Given, Listed, Part, Path, cut, no_app, not_found, shown};
use super::auth::Actor;
use crate::api::refusal::Refusal;
use crate::api::server::{LARGE_BODY, by_progress};
use crate::prompts::DEFAULTS;
use crate::registry::Books;
use crate::store::{PromptRow, PromptState};

/// Prompts that an app may have.
const MOST: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Admin> {
    let audio = routes!(listen, upload, remove).layer(DefaultBodyLimit::max(LARGE_BODY)).layer(from_fn(by_progress));
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(add_defaults))
        .routes(audio)
        .routes(routes!(submit))
        .routes(routes!(approve))
        .routes(routes!(reject))
}

/// A prompt.
#[derive(Serialize, ToSchema)]
struct PromptView {
    /// What bindings and settings name it by.
    name: String,
    /// `draft`, `submitted`, `approved` or `rejected`.
    state: String,
    /// What the reviewer said.
    remark: String,
    /// How long it is.
    milliseconds: u64,
    /// When it was last changed, in milliseconds of UNIX time.
    changed: u64,
}

impl PromptView {
    fn of(prompt: &PromptRow) -> PromptView {
        PromptView {
            name: prompt.name.to_string(),
            state: prompt.state.as_str().to_owned(),
            remark: prompt.remark.clone(),
            milliseconds: prompt.alaw.len() as u64 / 8,
            changed: prompt.changed,
        }
    }
}

/// What the reviewer says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rejection {
    /// Why; at most 1000 bytes.
    #[schema(min_length = 1, max_length = 1000)]
    remark: String,
}

fn no_prompt() -> Refusal {
    not_found("there is no such prompt: GET /admin/v1/apps/{app}/prompts lists them")
}

/// A path of one or more parts, each a plain name, that ends with `.wav`.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.chars().any(char::is_control);
    let is_name = name.len() <= 128 && name.ends_with(".wav") && name.split('/').all(is_part) && !name.contains('\\');
    if is_name {
        return Ok(());
    }
    let message = "name: write at most 128 bytes that end with .wav, such as welcome.wav";
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_name", message))
}

fn detail(app: &str, name: &str) -> String {
    format!("app {}, prompt {}", shown(app), shown(name))
}

/// The prompts of an app, by name.
#[utoipa::path(get, path = "/apps/{app}/prompts", params(("app" = String, Path), Part),
    responses((status = 200, body = Listed<PromptView>)))]
async fn list(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Asked(part): Asked<Part>,
) -> Result<Json<Listed<PromptView>>, Refusal> {
    let limit = part.limit()?;
    let after = part.cursor.unwrap_or_default();
    let read = move |books: &mut Books| {
        books.app(&app).ok_or_else(no_app)?;
        let mut found: Vec<&PromptRow> = books.prompts(&app).filter(|prompt| *prompt.name > *after).collect();
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let views = found.into_iter().take(limit + 1).map(PromptView::of).collect();
        Ok(cut(views, limit, |prompt: &PromptView| prompt.name.clone()))
    };
    admin.read(read).await.map(Json)
}

/// The audio of a prompt: a WAV file, A-law, 8,000 Hz, mono.
#[utoipa::path(get, path = "/apps/{app}/prompts/{name}", params(("app" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = inline(Audio), content_type = "audio/x-wav")))]
async fn listen(
    State(admin): State<Admin>,
    Path((app, name)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    let alaw = admin.read(move |books| Ok(Arc::clone(&books.prompt(&app, &name).ok_or_else(no_prompt)?.alaw))).await?;
    let header_of = u32::try_from(alaw.len()).map(media::wav::header).unwrap_or_else(|_| media::wav::header(0));
    let mut wav = header_of.to_vec();
    wav.extend_from_slice(&alaw);
    if alaw.len() % 2 == 1 {
        wav.push(0);
    }
    Ok(([(header::CONTENT_TYPE, "audio/x-wav"), (header::CACHE_CONTROL, "private")], wav))
}

/// Uploads a prompt: a WAV file of at most 2 MB, 8,000 Hz, mono, A-law or PCM of 16 bit. It is a draft then, whatever it
/// was, and does not play until it is approved.
#[utoipa::path(put, path = "/apps/{app}/prompts/{name}", params(("app" = String, Path), ("name" = String, Path)),
    request_body(content = inline(Audio), content_type = "audio/x-wav"), responses((status = 200, body = PromptView)))]
async fn upload(
    State(admin): State<Admin>,
    actor: Actor,
    Path((app, name)): Path<(String, String)>,
    Body(wav): Body,
) -> Result<Json<PromptView>, Refusal> {
    check_name(&name)?;
    let alaw = media::wav::read_prompt(&wav).map_err(|error| {
        let message = format!("the audio: {error}");
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.label(), message)
    })?;
    let done = detail(&app, &name);
    let put = move |books: &mut Books| {
        let owner = books.app(&app).ok_or_else(no_app)?;
        // A draft in the place of what plays would leave the app without it.
        if owner.plays(&name) && books.prompt(&app, &name).is_some_and(|old| old.state == PromptState::Approved) {
            return Err(in_use());
        }
        check_room(books, &app, &name)?;
        let prompt = PromptRow {
            app: app.into(),
            name: name.into(),
            state: PromptState::Draft,
            remark: String::new(),
            alaw: alaw.into(),
            changed: books.bindings.now(),
        };
        let view = PromptView::of(&prompt);
        books.put_prompt(prompt);
        Ok(view)
    };
    admin.change(actor, done, put).await.map(Json)
}

fn in_use() -> Refusal {
    let message = "the app plays it: PATCH the app so that it names another one first";
    Refusal::new(StatusCode::CONFLICT, "in_use", message)
}

fn check_room(books: &Books, app: &str, name: &str) -> Result<(), Refusal> {
    if books.prompt(app, name).is_some() || books.prompts(app).count() < MOST {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::CONFLICT, "full", "the app has 1000 prompts: delete one first"))
}

/// Removes a prompt that the app does not play.
#[utoipa::path(delete, path = "/apps/{app}/prompts/{name}", params(("app" = String, Path), ("name" = String, Path)),
    responses((status = 204)))]
async fn remove(
    State(admin): State<Admin>,
    actor: Actor,
    Path((app, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let done = detail(&app, &name);
    let removed = move |books: &mut Books| {
        let owner = books.app(&app).ok_or_else(no_app)?;
        let prompt = books.prompt(&app, &name).ok_or_else(no_prompt)?;
        if prompt.state == PromptState::Approved && owner.plays(&name) {
            return Err(in_use());
        }
        books.remove_prompt(&app, &name);
        Ok(())
    };
    admin.change(actor, done, removed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a prompt from one of these states to another.
async fn step(
    admin: Admin,
    actor: Actor,
    (app, name): (String, String),
    from: &'static [PromptState],
    to: PromptState,
    remark: String,
) -> Result<Json<PromptView>, Refusal> {
    let done = detail(&app, &name);
    let stepped = move |books: &mut Books| {
        books.app(&app).ok_or_else(no_app)?;
        let prompt = books.prompt(&app, &name).ok_or_else(no_prompt)?;
        if !from.contains(&prompt.state) {
            let wanted: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
            let message = format!("the prompt is {}, and has to be {}", prompt.state.as_str(), wanted.join(" or "));
            return Err(Refusal::new(StatusCode::CONFLICT, "wrong_state", message));
        }
        let prompt = PromptRow { state: to, remark, changed: books.bindings.now(), ..prompt.clone() };
        let view = PromptView::of(&prompt);
        books.put_prompt(prompt);
        Ok(view)
    };
    admin.change(actor, done, stepped).await.map(Json)
}

/// Hands a draft to the reviewer.
#[utoipa::path(post, path = "/apps/{app}/prompts/{name}/submit", params(("app" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = PromptView)))]
async fn submit(
    State(admin): State<Admin>,
    actor: Actor,
    Path(names): Path<(String, String)>,
) -> Result<Json<PromptView>, Refusal> {
    step(admin, actor, names, &[PromptState::Draft], PromptState::Submitted, String::new()).await
}

/// The reviewer lets a prompt play.
#[utoipa::path(post, path = "/apps/{app}/prompts/{name}/approve", params(("app" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = PromptView)))]
async fn approve(
    State(admin): State<Admin>,
    actor: Actor,
    Path(names): Path<(String, String)>,
) -> Result<Json<PromptView>, Refusal> {
    step(admin, actor, names, &[PromptState::Submitted], PromptState::Approved, String::new()).await
}

/// The reviewer does not let a prompt play, or no more.
#[utoipa::path(post, path = "/apps/{app}/prompts/{name}/reject", params(("app" = String, Path), ("name" = String, Path)),
    request_body = Rejection, responses((status = 200, body = PromptView)))]
async fn reject(
    State(admin): State<Admin>,
    actor: Actor,
    Path(names): Path<(String, String)>,
    Given(rejection): Given<Rejection>,
) -> Result<Json<PromptView>, Refusal> {
    if rejection.remark.is_empty() || rejection.remark.len() > 1_000 {
        let message = "remark: say why, in at most 1000 bytes";
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_remark", message));
    }
    let from = &[PromptState::Submitted, PromptState::Approved];
    step(admin, actor, names, from, PromptState::Rejected, rejection.remark).await
}

/// Adds the default set as approved prompts of the app; those of its own of the same names stay.
#[utoipa::path(post, path = "/apps/{app}/prompts/defaults", params(("app" = String, Path)),
    responses((status = 200, body = Vec<PromptView>)))]
async fn add_defaults(
    State(admin): State<Admin>,
    actor: Actor,
    Path(app): Path<String>,
) -> Result<Json<Vec<PromptView>>, Refusal> {
    let done = format!("app {}", shown(&app));
    let added = move |books: &mut Books| {
        books.app(&app).ok_or_else(no_app)?;
        if books.prompts(&app).count() + DEFAULTS.len() > MOST {
            return Err(Refusal::new(StatusCode::CONFLICT, "full", "the app has 1000 prompts: delete some first"));
        }
        let app: Arc<str> = app.into();
        let mut views = Vec::new();
        for (name, wav) in DEFAULTS {
            if books.prompt(&app, name).is_some() {
                continue;
            }
            // A test reads every one of them.
            let Ok(alaw) = media::wav::read_prompt(wav) else { continue };
            let prompt = PromptRow {
                app: Arc::clone(&app),
                name: name.into(),
                state: PromptState::Approved,
                remark: "default set".to_owned(),
                alaw: alaw.into(),
                changed: books.bindings.now(),
            };
            views.push(PromptView::of(&prompt));
            books.put_prompt(prompt);
        }
        Ok(views)
    };
    admin.change(actor, done, added).await.map(Json)
}
