//! `/bindings`: relations of every app, to be found, made and ended. What a customer's program says of one at length (prompts,
//! directions, call-backs) it says by its own API.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use numbering::{Area, Ax, Axb, Axe, Binding, CallBack, Extension, Mode, Number, SubscriptionId, TimeUnit, Wish};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::apps::ModeWord;
use super::asked::{
    Asked, Given, Listed, Part, Path, Whole, bad_cursor, bind_refusal, cut, no_app, not_found, number, shown,
};
use super::auth::Actor;
use crate::api::refusal::Refusal;
use crate::apps::{Account, is_party};
use crate::registry::Books;

/// Bindings that one request looks at: the registry serves everybody else in between.
const LOOKED_AT: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new().routes(routes!(list, make)).routes(routes!(show, end))
}

/// A binding.
#[derive(Serialize, ToSchema)]
struct BindingView {
    subscription_id: String,
    app: String,
    mode: ModeWord,
    x: Whole,
    a: Whole,
    /// B; of an A–X whom A reaches now.
    b: Option<Whole>,
    /// E.
    extension: Option<String>,
    /// Who may call: 0 both, 1 A, 2 B.
    call_direction: Option<u8>,
    /// Longest call in minutes; 0 does not limit.
    max_minutes: u16,
    record: bool,
    /// When it ends, in milliseconds of UNIX time; absent: never.
    ends: Option<u64>,
    /// The customer's own words.
    user_data: Option<String>,
    /// It stands in the operator's file, and is changed there only.
    is_configured: bool,
}

/// Beside A, whom a binding names.
fn other(binding: &Binding) -> Option<Number> {
    match binding {
        Binding::Axb(axb) => Some(axb.b),
        Binding::Ax(ax) => ax.temporary.as_ref().map(|temporary| temporary.callee),
        Binding::Axe(axe) => match axe.call_back {
            CallBack::Number(number) => Some(number),
            CallBack::App | CallBack::Tone(_) => None,
        },
    }
}

fn view(books: &Books, binding: &Binding) -> BindingView {
    let (extension, direction) = match binding {
        Binding::Axb(axb) => (None, Some(axb.direction.code())),
        Binding::Ax(ax) => (None, Some(ax.direction.code())),
        Binding::Axe(axe) => (Some(axe.extension.to_string()), None),
    };
    BindingView {
        subscription_id: binding.id().to_string(),
        app: books.account(binding.app()).map_or_else(String::new, |account| account.name.to_string()),
        mode: ModeWord::of(binding.mode()),
        x: Whole(binding.x()),
        a: Whole(binding.a()),
        b: other(binding).map(Whole),
        extension,
        call_direction: direction,
        max_minutes: binding.max_minutes(),
        record: binding.record(),
        ends: binding.ends(),
        user_data: binding.user_text(None).map(str::to_owned),
        is_configured: books.bindings.is_configured(binding.id()),
    }
}

/// Which bindings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Of this app.
    app: Option<String>,
    /// Of this X.
    #[param(value_type = Option<Whole>)]
    x: Option<String>,
    /// With this number as A, or as the other party.
    #[param(value_type = Option<Whole>)]
    number: Option<String>,
}

fn id(text: &str) -> Result<SubscriptionId, Refusal> {
    SubscriptionId::parse(text).ok_or_else(|| {
        let message = "subscription_id: send a UUID as it was answered when the binding was made";
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_id", message)
    })
}

fn no_binding() -> Refusal {
    not_found("there is no such binding: it has ended, or never was")
}

/// Bindings of every app, in the order of their ids. A part may hold none and have a `next_cursor`: go on then.
#[utoipa::path(get, path = "/bindings", params(Part, Filter), responses((status = 200, body = Listed<BindingView>)))]
async fn list(
    State(admin): State<Admin>,
    Asked(part): Asked<Part>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Listed<BindingView>>, Refusal> {
    let limit = part.limit()?;
    let after =
        part.cursor.as_deref().map(|cursor| SubscriptionId::parse(cursor).ok_or_else(bad_cursor)).transpose()?;
    let x = filter.x.as_deref().map(|text| number("x", text)).transpose()?;
    let party = filter.number.as_deref().map(|text| number("number", text)).transpose()?;
    let read = move |books: &mut Books| {
        let app = filter.app.as_deref().map(|name| books.app_id(name).ok_or_else(no_app)).transpose()?;
        let fits = |binding: &Arc<Binding>| {
            app.is_none_or(|app| binding.app() == app)
                && party.is_none_or(|party| binding.a() == party || other(binding) == Some(party))
        };
        if let Some(x) = x {
            // What an X carries is bounded, and in no order.
            let later = |binding: &Arc<Binding>| after.is_none_or(|after| binding.id() > after);
            let mut found: Vec<Arc<Binding>> = books.bindings.of_number(x).filter(fits).filter(later).collect();
            found.sort_unstable_by_key(|binding| binding.id());
            found.truncate(limit + 1);
            let views = found.iter().map(|binding| view(books, binding)).collect();
            return Ok(cut(views, limit, |binding: &BindingView| binding.subscription_id.clone()));
        }
        let all: Box<dyn Iterator<Item = Arc<Binding>>> = match after {
            Some(after) => Box::new(books.bindings.iter_after(after)),
            None => Box::new(books.bindings.iter()),
        };
        let mut listed = Listed { items: Vec::new(), next_cursor: None };
        let mut last = None;
        for (looked_at, binding) in all.enumerate() {
            let is_full = listed.items.len() == limit && fits(&binding);
            if is_full || looked_at == LOOKED_AT {
                listed.next_cursor = last.map(|last: SubscriptionId| last.to_string());
                break;
            }
            last = Some(binding.id());
            if fits(&binding) {
                listed.items.push(view(books, &binding));
            }
        }
        Ok(listed)
    };
    admin.read(read).await.map(Json)
}

/// A new binding, of the kind of its app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBinding {
    /// Whose.
    app: String,
    /// A.
    a: String,
    /// B, of an A–X–B alone.
    b: Option<String>,
    /// X; else it is chosen.
    x: Option<String>,
    /// The area code that X shall have, where it is chosen; else that of A's home.
    area: Option<String>,
    /// X may be of another area where none of that one is free.
    #[serde(default)]
    is_loose: bool,
    /// E, of an A–X–E alone; else it is chosen.
    extension: Option<String>,
    /// How long it holds, in seconds; 0, or absent: for ever. An A–X always does; an A–X–E takes whole minutes.
    #[serde(default)]
    duration: u32,
    /// Longest call in minutes, 0 to 1440; 0, or absent, does not limit. Not of an A–X–E.
    #[serde(default)]
    max_minutes: u16,
    /// Calls are recorded.
    #[serde(default)]
    record: bool,
    /// The customer's own words.
    user_data: Option<String>,
}

/// The longest that a binding may be said to hold: 90 days.
const MAX_DURATION: u32 = 7_776_000;
/// The longest `user_data`, in characters.
const MAX_USER_DATA: usize = 256;

fn bad(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", message)
}

/// A number that may be a party: a mobile's or a fixed line's of +86 (product rule M5).
fn party(field: &'static str, text: &str) -> Result<Number, Refusal> {
    let party = number(field, text)?;
    let message = || bad(format!("{field}: send the number of a mobile or a fixed line of +86"));
    if is_party(party) { Ok(party) } else { Err(message()) }
}

impl NewBinding {
    fn bind(self, books: &mut Books) -> Result<BindingView, Refusal> {
        let app = books.app_id(&self.app).ok_or_else(no_app)?;
        let account = Arc::clone(books.account(app).ok_or_else(no_app)?);
        let mode = account.rules.mode;
        let a = party("a", &self.a)?;
        let b = self.b.as_deref().map(|text| party("b", text)).transpose()?;
        if b.is_some() != (mode == Mode::Axb) {
            return Err(bad("b: an app of mode axb binds two numbers, one of another mode one"));
        }
        if (self.extension.is_some() && mode != Mode::Axe) || (self.max_minutes != 0 && mode == Mode::Axe) {
            return Err(bad("extension is for the mode axe, max_minutes for the others"));
        }
        if self.duration > MAX_DURATION || (self.duration != 0 && mode == Mode::Ax) {
            return Err(bad("duration: 0 to 7776000 seconds; an A-X has none"));
        }
        if self.user_data.as_ref().is_some_and(|text| text.chars().count() > MAX_USER_DATA) {
            return Err(bad("user_data: at most 256 characters"));
        }
        let x = self.x(books, &account, a, b)?;
        let id = books.new_id();
        let seconds = u64::from(self.duration);
        let ends = if seconds == 0 { 0 } else { books.bindings.now().saturating_add(seconds * 1_000) };
        let user_text = self.user_data.map(Into::into);
        let binding = match (mode, b) {
            (Mode::Axb, Some(b)) => Binding::Axb(Axb {
                duration: self.duration,
                ends,
                max_minutes: self.max_minutes,
                record: self.record,
                user_text,
                ..Axb::new(id, app, a, x, b)
            }),
            (Mode::Ax, _) => {
                let (max_minutes, record) = (self.max_minutes, self.record);
                Binding::Ax(Box::new(Ax { max_minutes, record, user_text, ..Ax::new(id, app, a, x) }))
            }
            (Mode::Axe | Mode::Axb, _) => {
                let extension = match self.extension.as_deref() {
                    Some(text) => {
                        let fits = |extension: &Extension| extension.width() == account.rules.extension_width;
                        Extension::parse(text)
                            .filter(fits)
                            .ok_or_else(|| bad("extension: as many digits as its app has"))?
                    }
                    None => books.bindings.allocate_extension(x).map_err(|error| bind_refusal("extension", error))?,
                };
                let bind_for = self.duration.div_ceil(TimeUnit::Minutes.seconds());
                let axe = Axe {
                    unit: TimeUnit::Minutes,
                    bind_for,
                    ends,
                    record: self.record,
                    user_text,
                    ..Axe::new(id, app, a, x, extension)
                };
                Binding::Axe(Box::new(axe))
            }
        };
        let made = binding.clone();
        books.bindings.bind(binding).map_err(|error| bind_refusal("binding", error))?;
        Ok(view(books, &made))
    }

    fn x(&self, books: &Books, account: &Account, a: Number, b: Option<Number>) -> Result<Number, Refusal> {
        if let Some(x) = &self.x {
            return number("x", x);
        }
        let area = match &self.area {
            Some(area) => Some(Area::parse(area).ok_or_else(|| bad("area: write an area code with its 0: 0755"))?),
            None => account.home_of(a),
        };
        let parties: Vec<Number> = [Some(a), b].into_iter().flatten().collect();
        let wish = Wish { area, is_loose: self.is_loose };
        books.bindings.allocate(account.id, wish, &parties).map_err(|error| bind_refusal("x", error))
    }
}

/// Makes a binding, effective for the next call.
#[utoipa::path(post, path = "/bindings", request_body = NewBinding, responses((status = 201, body = BindingView)))]
async fn make(
    State(admin): State<Admin>,
    actor: Actor,
    Given(new): Given<NewBinding>,
) -> Result<(StatusCode, Json<BindingView>), Refusal> {
    let detail = format!("binding of app {}", shown(&new.app));
    let made = admin.change(actor.creates(), detail, move |books| new.bind(books)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// A binding.
#[utoipa::path(get, path = "/bindings/{subscription_id}", params(("subscription_id" = String, Path, format = "uuid")),
    responses((status = 200, body = BindingView)))]
async fn show(State(admin): State<Admin>, Path(text): Path<String>) -> Result<Json<BindingView>, Refusal> {
    let id = id(&text)?;
    let read = move |books: &mut Books| {
        let binding = books.bindings.get(id).ok_or_else(no_binding)?;
        Ok(view(books, &binding))
    };
    admin.read(read).await.map(Json)
}

/// Ends a binding; calls in progress go on to their end.
#[utoipa::path(delete, path = "/bindings/{subscription_id}", params(("subscription_id" = String, Path, format = "uuid")),
    responses((status = 204)))]
async fn end(State(admin): State<Admin>, actor: Actor, Path(text): Path<String>) -> Result<StatusCode, Refusal> {
    let id = id(&text)?;
    let ended = move |books: &mut Books| {
        books.bindings.unbind(id).map(drop).map_err(|error| bind_refusal(&id.to_string(), error))
    };
    admin.change(actor, format!("binding {id}"), ended).await?;
    Ok(StatusCode::NO_CONTENT)
}
