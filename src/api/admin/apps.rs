//! `/apps`: customers' applications. Those of the operator's file are shown, and changed there only.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use b2bua::settings::SecondCall;
use numbering::{BindError, Mode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::asked::{Asked, Given, Listed, Part, Path, Whole, bind_refusal, cut, no_app, number, shown};
use super::auth::Actor;
use crate::api::refusal::Refusal;
use crate::apps::{AppSettings, BlockDefault, Generation, Secret, Sms};
use crate::registry::{AppError, Books};

pub(super) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, change, remove))
}

/// The kind of binding that an app has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeWord {
    Axb,
    Ax,
    Axe,
}

impl ModeWord {
    pub(super) const fn of(mode: Mode) -> ModeWord {
        match mode {
            Mode::Axb => ModeWord::Axb,
            Mode::Ax => ModeWord::Ax,
            Mode::Axe => ModeWord::Axe,
        }
    }

    const fn mode(self) -> Mode {
        match self {
            ModeWord::Axb => Mode::Axb,
            ModeWord::Ax => Mode::Ax,
            ModeWord::Axe => Mode::Axe,
        }
    }
}

/// What becomes of a call to an A who is in another already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SecondCallWord {
    /// It is offered: A's phone or network decides.
    Offer,
    /// It is refused: the caller hears that A is busy.
    Refuse,
}

impl SecondCallWord {
    const fn of(what: SecondCall) -> SecondCallWord {
        match what {
            SecondCall::Offer => SecondCallWord::Offer,
            SecondCall::Refuse => SecondCallWord::Refuse,
        }
    }

    const fn second_call(self) -> SecondCall {
        match self {
            SecondCallWord::Offer => SecondCall::Offer,
            SecondCallWord::Refuse => SecondCall::Refuse,
        }
    }
}

/// An application.
#[derive(Serialize, ToSchema)]
struct AppView {
    /// Its `app_key`.
    name: String,
    /// Its `app_secret`: only in the answer to the request that has made it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// It may use the API.
    has_secret: bool,
    mode: ModeWord,
    /// `zh` or `en`.
    language: String,
    hint_tone: Option<String>,
    require_hint_tone: bool,
    recording: bool,
    no_answer_seconds: u32,
    safety_ceiling_seconds: u32,
    cool_off_seconds: u32,
    extension_width: u8,
    second_call: SecondCallWord,
    call_back_number: Option<Whole>,
    requests_per_second: u32,
    mobile_areas: BTreeMap<String, String>,
    prompts: BTreeMap<String, String>,
    status_url: Option<String>,
    fee_url: Option<String>,
    sms_url: Option<String>,
    sms_control_url: Option<String>,
    number_url: Option<String>,
    signature: Generation,
    sms: Sms,
    sms_content: bool,
    block_timeout_seconds: u32,
    block_default: BlockDefault,
    /// It stands in the operator's file, and is changed there only.
    is_configured: bool,
}

impl AppView {
    fn of(app: &AppSettings, secret: Option<String>) -> AppView {
        let second_call = SecondCallWord::of(app.second_call());
        let app = app.clone();
        AppView {
            name: app.name,
            secret,
            has_secret: app.secret.is_some(),
            mode: ModeWord::of(app.mode),
            language: app.language,
            hint_tone: app.hint_tone,
            require_hint_tone: app.require_hint_tone,
            recording: app.recording,
            no_answer_seconds: app.no_answer_seconds,
            safety_ceiling_seconds: app.safety_ceiling_seconds,
            cool_off_seconds: app.cool_off_seconds,
            extension_width: app.extension_width,
            second_call,
            call_back_number: app.call_back_number.map(Whole),
            requests_per_second: app.requests_per_second,
            mobile_areas: app.mobile_areas,
            prompts: app.prompts,
            status_url: app.status_url,
            fee_url: app.fee_url,
            sms_url: app.sms_url,
            sms_control_url: app.sms_control_url,
            number_url: app.number_url,
            signature: app.signature,
            sms: app.sms,
            sms_content: app.sms_content,
            block_timeout_seconds: app.block_timeout_seconds,
            block_default: app.block_default,
            is_configured: app.is_configured,
        }
    }
}

/// A new application.
#[derive(Deserialize, ToSchema)]
struct NewApp {
    /// Its `app_key`: 1 to 64 letters, digits, `-`, `_` and `.`.
    #[schema(pattern = "^[-_A-Za-z0-9][-_.A-Za-z0-9]{0,63}$")]
    name: String,
    /// Cannot be changed later.
    mode: ModeWord,
    #[serde(flatten)]
    rest: AppChange,
}

/// What changes of an application; what is absent stays as it is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct AppChange {
    /// Its `app_secret`, 8 to 128 bytes. `""`: another one is made up, and shown once.
    secret: Option<String>,
    /// `zh` or `en`: of the default prompts.
    #[schema(pattern = "^(zh|en)$")]
    language: Option<String>,
    /// The name of an approved prompt; `""`: none.
    hint_tone: Option<String>,
    /// Calls are refused where there is no tone.
    require_hint_tone: Option<bool>,
    /// It may record.
    recording: Option<bool>,
    /// How long B rings, 1 to 600.
    #[schema(minimum = 1, maximum = 600)]
    no_answer_seconds: Option<u32>,
    /// The longest that a call may last, 1 to 86400.
    #[schema(minimum = 1, maximum = 86_400)]
    safety_ceiling_seconds: Option<u32>,
    /// How long an X without bindings rests, at most a year.
    #[schema(maximum = 31_536_000)]
    cool_off_seconds: Option<u32>,
    /// Digits of an extension, 1 to 4.
    #[schema(minimum = 1, maximum = 4)]
    extension_width: Option<u8>,
    /// What becomes of a call to an A who is in another already (ax, axe). A new app of mode ax refuses it, any other offers it.
    #[schema(inline)]
    second_call: Option<SecondCallWord>,
    /// Whom A of an A–X–E calls back where neither a caller nor the binding says (axe): a mobile or a fixed line of +86. `""`: nobody.
    call_back_number: Option<String>,
    /// Requests that it may make in a second, 1 to 1000000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_second: Option<u32>,
    /// Area codes by the first digits of mobile numbers: `{"1380755": "0755"}`. Replaces all of them.
    mobile_areas: Option<BTreeMap<String, String>>,
    /// Names of prompts by role; `""`: none. Replaces all of them.
    prompts: Option<BTreeMap<String, String>>,
    /// Where it is told what happens to calls: http:// or https://, no private address. `""`: it is not told.
    status_url: Option<String>,
    /// Where it is told the records of calls. `""`: it is not told.
    fee_url: Option<String>,
    /// Where it is told of text messages. `""`: it is not told.
    sms_url: Option<String>,
    /// Where it is asked what is to become of a text message. `""`: it is not asked.
    sms_control_url: Option<String>,
    /// Where it is told the states of its X. `""`: it is not told.
    number_url: Option<String>,
    /// How what it is told is signed with its secret. A new app has `aksk`.
    #[schema(inline)]
    signature: Option<Generation>,
    /// What becomes of text messages.
    sms: Option<Sms>,
    /// It is told their words too, as `smsContent`, from the next one on. A new app is not.
    sms_content: Option<bool>,
    /// How long the customer's answer to a text is waited for, 1 to 10.
    #[schema(minimum = 1, maximum = 10)]
    block_timeout_seconds: Option<u32>,
    /// What becomes of a text without one.
    block_default: Option<BlockDefault>,
    /// Refused. Said to serde alone: in the document it would forbid what a new app has beside these.
    #[serde(flatten)]
    #[schema(ignore)]
    unknown: Map<String, Value>,
}

impl AppChange {
    /// Whether it says where the app is told anything.
    fn has_urls(&self) -> bool {
        let urls = [&self.status_url, &self.fee_url, &self.sms_url, &self.sms_control_url, &self.number_url];
        urls.into_iter().any(Option::is_some)
    }

    /// Makes the change; the secret that was made up, if one was.
    fn apply(self, app: &mut AppSettings) -> Result<Option<String>, Refusal> {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        if let Some(field) = self.unknown.keys().next() {
            let message = format!("{}: an app has no such field, or it cannot be changed", shown(field));
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", message));
        }
        set(&mut app.language, self.language);
        set(&mut app.hint_tone, self.hint_tone.map(|name| Some(name).filter(|name| !name.is_empty())));
        set(&mut app.require_hint_tone, self.require_hint_tone);
        set(&mut app.recording, self.recording);
        set(&mut app.no_answer_seconds, self.no_answer_seconds);
        set(&mut app.safety_ceiling_seconds, self.safety_ceiling_seconds);
        set(&mut app.cool_off_seconds, self.cool_off_seconds);
        set(&mut app.extension_width, self.extension_width);
        set(&mut app.second_call, self.second_call.map(|word| Some(word.second_call())));
        let call_back = self.call_back_number.as_deref().map(|text| match text {
            "" => Ok(None),
            _ => number("call_back_number", text).map(Some),
        });
        set(&mut app.call_back_number, call_back.transpose()?);
        set(&mut app.requests_per_second, self.requests_per_second);
        set(&mut app.mobile_areas, self.mobile_areas);
        set(&mut app.prompts, self.prompts);
        for (field, url) in [
            (&mut app.status_url, self.status_url),
            (&mut app.fee_url, self.fee_url),
            (&mut app.sms_url, self.sms_url),
            (&mut app.sms_control_url, self.sms_control_url),
            (&mut app.number_url, self.number_url),
        ] {
            set(field, url.map(|url| Some(url).filter(|url| !url.is_empty())));
        }
        set(&mut app.signature, self.signature);
        set(&mut app.sms, self.sms);
        set(&mut app.sms_content, self.sms_content);
        set(&mut app.block_timeout_seconds, self.block_timeout_seconds);
        set(&mut app.block_default, self.block_default);
        let made_up = match self.secret {
            Some(secret) if secret.is_empty() => Some(made_up()?),
            Some(secret) => {
                app.secret = Some(Secret::new(secret.as_bytes()));
                None
            }
            None => None,
        };
        if let Some(secret) = &made_up {
            app.secret = Some(Secret::new(secret.as_bytes()));
        }
        app.check().map_err(|fault| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", fault.to_string()))?;
        Ok(made_up)
    }
}

/// A number that is called back may not lead to an X: the call would come back to us.
fn check_call_back(books: &Books, app: &AppSettings) -> Result<(), Refusal> {
    let is_virtual = |number| books.bindings.table().is_virtual(number);
    let Some(number) = app.call_back_number.filter(|number| is_virtual(*number)) else { return Ok(()) };
    Err(bind_refusal("call_back_number", BindError::PartyIsVirtual(number)))
}

/// What an app is told goes to no address that this machine may not speak to.
fn check_urls(books: &Books, app: &AppSettings) -> Result<(), Refusal> {
    app.check_urls(books.guard()).map_err(|(field, error)| {
        let message = format!("{field}: it {error}: {}", error.mend());
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_url", message)
    })
}

/// A secret of 192 random bits.
fn made_up() -> Result<String, Refusal> {
    use base64::Engine as _;
    let mut bytes = [0; 24];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| {
        let message = "the system has no randomness: send a secret, or try again";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no_randomness", message)
    })?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

fn refusal(error: AppError) -> Refusal {
    let (status, word) = match error {
        AppError::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        AppError::Configured => (StatusCode::CONFLICT, "configured"),
        AppError::InUse => (StatusCode::CONFLICT, "in_use"),
        AppError::Full => (StatusCode::CONFLICT, "full"),
        AppError::UnknownPrompt(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_prompt"),
    };
    Refusal::new(status, word, error.to_string())
}

/// Every application, by name.
#[utoipa::path(get, path = "/apps", params(Part), responses((status = 200, body = Listed<AppView>)))]
async fn list(State(admin): State<Admin>, Asked(part): Asked<Part>) -> Result<Json<Listed<AppView>>, Refusal> {
    let limit = part.limit()?;
    let after = part.cursor.unwrap_or_default();
    let read = move |books: &mut Books| {
        let mut apps: Vec<&AppSettings> = books.apps().filter(|app| app.name > after).collect();
        apps.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let views = apps.into_iter().take(limit + 1).map(|app| AppView::of(app, None)).collect();
        Ok(cut(views, limit, |app: &AppView| app.name.clone()))
    };
    admin.read(read).await.map(Json)
}

/// Adds an application.
#[utoipa::path(post, path = "/apps", request_body = NewApp, responses((status = 201, body = AppView)))]
async fn create(
    State(admin): State<Admin>,
    actor: Actor,
    Given(new): Given<NewApp>,
) -> Result<(StatusCode, Json<AppView>), Refusal> {
    let mut app = AppSettings::new(new.name, new.mode.mode());
    let rest = AppChange { secret: Some(new.rest.secret.unwrap_or_default()), ..new.rest };
    let secret = rest.apply(&mut app)?;
    let detail = format!("app {}", app.name);
    let made = move |books: &mut Books| {
        if books.app(&app.name).is_some() {
            let message = "there is an app of this name: PATCH it, or choose another name";
            return Err(Refusal::new(StatusCode::CONFLICT, "exists", message));
        }
        check_call_back(books, &app)?;
        check_urls(books, &app)?;
        let view = AppView::of(&app, secret);
        books.put_app(app).map_err(refusal)?;
        Ok(view)
    };
    Ok((StatusCode::CREATED, Json(admin.change(actor.creates(), detail, made).await?)))
}

/// An application.
#[utoipa::path(get, path = "/apps/{name}", params(("name" = String, Path)), responses((status = 200, body = AppView)))]
async fn show(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Json<AppView>, Refusal> {
    let view = admin.read(move |books| books.app(&name).map(|app| AppView::of(app, None)).ok_or_else(no_app)).await?;
    Ok(Json(view))
}

/// Changes an application, effective for the next call and the next request.
#[utoipa::path(patch, path = "/apps/{name}", params(("name" = String, Path)), request_body = AppChange,
    responses((status = 200, body = AppView)))]
async fn change(
    State(admin): State<Admin>,
    actor: Actor,
    Path(name): Path<String>,
    Given(change): Given<AppChange>,
) -> Result<Json<AppView>, Refusal> {
    let detail = format!("app {}", shown(&name));
    let changed = move |books: &mut Books| {
        let mut app = books.app(&name).ok_or_else(no_app)?.clone();
        if app.is_configured {
            return Err(refusal(AppError::Configured));
        }
        // What the operator has forbidden since is in the way of nothing else.
        let has_urls = change.has_urls();
        let secret = change.apply(&mut app)?;
        check_call_back(books, &app)?;
        if has_urls {
            check_urls(books, &app)?;
        }
        let view = AppView::of(&app, secret);
        books.put_app(app).map_err(refusal)?;
        Ok(view)
    };
    admin.change(actor, detail, changed).await.map(Json)
}

/// Removes an application that has no numbers, with its prompts.
#[utoipa::path(delete, path = "/apps/{name}", params(("name" = String, Path)), responses((status = 204)))]
async fn remove(State(admin): State<Admin>, actor: Actor, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let detail = format!("app {}", shown(&name));
    admin.change(actor, detail, move |books| books.remove_app(&name).map_err(refusal)).await?;
    Ok(StatusCode::NO_CONTENT)
}
