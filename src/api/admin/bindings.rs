//! `/bindings`: relations of every app, to be found and ended. They are made by the customers' API.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use numbering::{Binding, CallBack, Number, SubscriptionId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::apps::ModeWord;
use super::asked::{Asked, Listed, Part, Path, Whole, bad_cursor, bind_refusal, cut, no_app, not_found, number};
use super::auth::Actor;
use crate::api::refusal::Refusal;
use crate::registry::Books;

/// Bindings that one request looks at: the registry serves everybody else in between.
const LOOKED_AT: usize = 50_000;

pub(super) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, end))
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
