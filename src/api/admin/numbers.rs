//! `/numbers`: the virtual numbers. Lists are taken whole or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use numbering::{AppId, Area, BindError, Number, NumberState, VirtualNumber};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::Admin;
use super::asked::{
    Asked, Given, Listed, Part, Path, Whole, bad_cursor, bind_refusal, cut, no_app, not_found, number, shown,
};
use super::auth::Actor;
use crate::api::refusal::Refusal;
use crate::api::server::{LARGE_BODY, by_progress};
use crate::apps::Wrong700;
use crate::registry::Books;

/// Numbers that one request may add or transfer.
const MOST: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Admin> {
    let lists = DefaultBodyLimit::max(LARGE_BODY);
    OpenApiRouter::new()
        .routes(routes!(list, add).layer(lists).layer(from_fn(by_progress)))
        .routes(routes!(transfer).layer(lists).layer(from_fn(by_progress)))
        .routes(routes!(show, change, release))
}

/// Whether an X serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateWord {
    /// 5.
    Normal,
    /// 9: no calls, no new bindings.
    Suspended,
    /// 10: no calls, no new bindings.
    Unavailable,
    /// 11: no new bindings; those that there are work.
    Frozen,
}

impl StateWord {
    const fn of(state: NumberState) -> StateWord {
        match state {
            NumberState::Normal => StateWord::Normal,
            NumberState::Suspended => StateWord::Suspended,
            NumberState::Unavailable => StateWord::Unavailable,
            NumberState::Frozen => StateWord::Frozen,
        }
    }

    const fn state(self) -> NumberState {
        match self {
            StateWord::Normal => NumberState::Normal,
            StateWord::Suspended => NumberState::Suspended,
            StateWord::Unavailable => NumberState::Unavailable,
            StateWord::Frozen => NumberState::Frozen,
        }
    }
}

/// A virtual number.
#[derive(Serialize, ToSchema)]
struct NumberView {
    x: Whole,
    /// Whose.
    app: String,
    /// The trunk of the carrier that owns it.
    trunk: Option<String>,
    /// Where it is at home: `0755`.
    area: Option<String>,
    state: StateWord,
    /// How many bindings it carries.
    bindings: usize,
    /// How often it has been bound since the start.
    uses: u64,
    /// Until when it is not given away, in milliseconds of UNIX time.
    rests_until: Option<u64>,
    /// It stands in the operator's file, and is changed there only.
    is_configured: bool,
}

fn view(books: &Books, number: &VirtualNumber) -> NumberView {
    let x = number.number;
    NumberView {
        x: Whole(x),
        app: books.account(number.app).map_or_else(String::new, |account| account.name.to_string()),
        trunk: number.trunk.as_deref().map(str::to_owned),
        area: number.area.map(|area| area.to_string()),
        state: StateWord::of(number.state),
        bindings: books.bindings.pairs_of(x),
        uses: books.bindings.uses_of(x),
        rests_until: books.bindings.rests_until(x),
        is_configured: books.bindings.is_configured_number(x),
    }
}

/// Which numbers.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Of this app.
    app: Option<String>,
    /// At home here: `0755`.
    #[param(pattern = "^0[1-9][0-9]{1,2}$")]
    area: Option<String>,
    /// In this state.
    #[param(inline)]
    state: Option<StateWord>,
}

/// A number to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNumber {
    /// The number.
    #[schema(value_type = Whole)]
    x: String,
    /// Every number from `x` to this one is added; it has as many digits.
    #[schema(value_type = Option<Whole>)]
    last: Option<String>,
    /// Whose it is to be.
    app: String,
    /// The trunk of the carrier that owns it; absent: calls go out by the trunk that they came in by.
    trunk: Option<String>,
    /// Where it is at home; absent: where its number says.
    area: Option<String>,
    /// Absent: normal.
    state: Option<StateWord>,
}

/// What changes of a number; what is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NumberChange {
    state: Option<StateWord>,
    /// `""`: nowhere.
    area: Option<String>,
    /// `""`: calls go out by the trunk that they came in by.
    trunk: Option<String>,
}

/// Numbers that change hands.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Transfer {
    /// The app that must have all of them now.
    from: Option<String>,
    /// The app that gets them.
    to: String,
    /// Numbers without bindings, at most 10,000.
    #[schema(value_type = Vec<Whole>, min_items = 1, max_items = 10_000)]
    numbers: Vec<String>,
}

/// How many.
#[derive(Serialize, ToSchema)]
struct Count {
    /// How many were added, or transferred.
    count: usize,
}

fn area(text: &str) -> Result<Area, Refusal> {
    Area::parse(text).ok_or_else(|| {
        let message = "area: write the area code with its 0: 0755";
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_area", message)
    })
}

fn trunk(books: &Books, name: &str) -> Result<Arc<str>, Refusal> {
    if books.has_trunk(name) {
        return Ok(Arc::from(name));
    }
    let message = format!("trunk: there is no trunk {:?} in the configuration", shown(name));
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_trunk", message))
}

fn no_number() -> Refusal {
    not_found("there is no such x: GET /admin/v1/numbers lists them")
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if (1..=MOST).contains(&count) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_count", "send 1 to 10000 numbers at a time"))
}

/// Each of a list once; the refusal names the place.
fn once(seen: &mut HashSet<Number>, place: usize, x: Number) -> Result<(), Refusal> {
    if seen.insert(x) {
        return Ok(());
    }
    let message = format!("numbers[{place}]: {x} stands in the list twice");
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "twice", message))
}

/// What a number to be added stands for: itself, or all to `last`; `before`: how many stand before it.
fn range(place: usize, new: &NewNumber, before: usize) -> Result<Vec<Number>, Refusal> {
    let x = number(&format!("numbers[{place}].x"), &new.x)?;
    let Some(last) = &new.last else { return Ok(vec![x]) };
    let last = number(&format!("numbers[{place}].last"), last)?;
    let more = last.as_u64().checked_sub(x.as_u64());
    let Some(more) = more.filter(|_| x.digits().as_bytes().len() == last.digits().as_bytes().len()) else {
        let message = format!("numbers[{place}].last: send a number behind x that has as many digits");
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_range", message));
    };
    // Before any is made: a range may have more than memory holds.
    check_count(usize::try_from(more).unwrap_or(MOST).saturating_add(1).saturating_add(before))?;
    let all: Option<Vec<Number>> = (x.as_u64()..=last.as_u64()).map(Number::from_u64).collect();
    all.ok_or_else(|| {
        let message = format!("numbers[{place}].last: between x and it is what is no number: send two ranges");
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_range", message)
    })
}

/// Whether a number can be an X of an app's, as far as the 700 segment goes (product rule M4).
fn check_segment(books: &Books, place: usize, x: Number, app: AppId) -> Result<(), Refusal> {
    let refused = |message: String| {
        let message = format!("numbers[{place}], {x}: {message}");
        Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_700", message))
    };
    if books.only_700() && !x.is_700() {
        return refused("only 700 numbers may be an X here".to_owned());
    }
    match books.account(app).map(|account| account.may_have(x)) {
        Some(Err(Wrong700::Dialled { .. })) => {
            refused("its extension stands in it: send the 11 digits that are managed".to_owned())
        }
        Some(Err(Wrong700::Managed { .. })) => {
            refused("nobody dials its 11 digits: send 15, or a range of them with last".to_owned())
        }
        Some(Ok(())) | None => Ok(()),
    }
}

/// Every number, in ascending order.
#[utoipa::path(get, path = "/numbers", params(Part, Filter), responses((status = 200, body = Listed<NumberView>)))]
async fn list(
    State(admin): State<Admin>,
    Asked(part): Asked<Part>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Listed<NumberView>>, Refusal> {
    let limit = part.limit()?;
    let after = part.cursor.as_deref().map(|cursor| cursor.parse::<u64>().map_err(|_| bad_cursor())).transpose()?;
    let area = filter.area.as_deref().map(area).transpose()?;
    let state = filter.state.map(StateWord::state);
    let read = move |books: &mut Books| {
        let app = filter.app.as_deref().map(|name| books.app_id(name).ok_or_else(no_app)).transpose()?;
        let mut found: Vec<Arc<VirtualNumber>> = books
            .bindings
            .numbers()
            .filter(|number| after.is_none_or(|after| number.number.as_u64() > after))
            .filter(|number| app.is_none_or(|app| number.app == app))
            .filter(|number| area.is_none_or(|area| number.area == Some(area)))
            .filter(|number| state.is_none_or(|state| number.state == state))
            .collect();
        // The books hold them in no order: the first of them are picked out before they are put in order.
        if found.len() > limit + 1 {
            found.select_nth_unstable_by_key(limit, |number| number.number.as_u64());
            found.truncate(limit + 1);
        }
        found.sort_unstable_by_key(|number| number.number.as_u64());
        let views = found.iter().map(|number| view(books, number)).collect();
        Ok(cut(views, limit, |number: &NumberView| number.x.0.as_u64().to_string()))
    };
    admin.read(read).await.map(Json)
}

/// Adds numbers, all of them or none.
#[utoipa::path(post, path = "/numbers", request_body = Vec<NewNumber>, responses((status = 201, body = Count)))]
async fn add(
    State(admin): State<Admin>,
    actor: Actor,
    Given(new): Given<Vec<NewNumber>>,
) -> Result<(StatusCode, Json<Count>), Refusal> {
    check_count(new.len())?;
    let mut seen = HashSet::with_capacity(new.len());
    let mut numbers = Vec::with_capacity(new.len());
    for (place, new) in new.into_iter().enumerate() {
        let range = range(place, &new, seen.len())?;
        for &x in &range {
            once(&mut seen, place, x)?;
        }
        let area = new.area.as_deref().map(area).transpose()?;
        numbers.push((range, area, new));
    }
    let count = seen.len();
    check_count(count)?;
    let first = numbers.first().and_then(|(range, ..)| range.first());
    let detail = format!("{count} numbers{}", first.map(|x| format!(", the first {x}")).unwrap_or_default());
    let added = move |books: &mut Books| {
        let mut made: Vec<(usize, VirtualNumber)> = Vec::with_capacity(count);
        for (place, (range, area, new)) in numbers.into_iter().enumerate() {
            let app = books.app_id(&new.app).ok_or_else(no_app)?;
            let trunk = new.trunk.as_deref().map(|name| trunk(books, name)).transpose()?;
            for x in range {
                check_segment(books, place, x, app)?;
                let mut number = VirtualNumber::new(x, app, trunk.clone());
                number.area = area.or(number.area);
                number.state = new.state.map_or(NumberState::Normal, StateWord::state);
                made.push((place, number));
            }
        }
        for (done, (place, number)) in made.iter().enumerate() {
            let Err(error) = books.bindings.add_number(number.clone()) else { continue };
            // Those before have no bindings yet: nobody could have made any.
            for (_, added) in made.iter().take(done) {
                let _ = books.bindings.remove_number(added.number);
            }
            return Err(bind_refusal(&format!("numbers[{place}], {}", number.number), error));
        }
        Ok(Count { count })
    };
    Ok((StatusCode::CREATED, Json(admin.change(actor.creates(), detail, added).await?)))
}

/// Gives numbers without bindings to another app, all of them or none.
#[utoipa::path(post, path = "/numbers/transfer", request_body = Transfer, responses((status = 200, body = Count)))]
async fn transfer(
    State(admin): State<Admin>,
    actor: Actor,
    Given(asked): Given<Transfer>,
) -> Result<Json<Count>, Refusal> {
    let count = asked.numbers.len();
    check_count(count)?;
    let mut seen = HashSet::with_capacity(count);
    let mut numbers = Vec::with_capacity(count);
    for (place, text) in asked.numbers.iter().enumerate() {
        let x = number(&format!("numbers[{place}]"), text)?;
        once(&mut seen, place, x)?;
        numbers.push(x);
    }
    let detail = format!("{count} numbers to app {}", shown(&asked.to));
    let transferred = move |books: &mut Books| {
        let to = books.app_id(&asked.to).ok_or_else(no_app)?;
        let from = asked.from.as_deref().map(|name| books.app_id(name).ok_or_else(no_app)).transpose()?;
        let table = books.bindings.table();
        let mut moved: Vec<VirtualNumber> = Vec::with_capacity(count);
        // All is looked at before anything changes.
        for (place, x) in numbers.into_iter().enumerate() {
            let refused = |error| Err(bind_refusal(&format!("numbers[{place}], {x}"), error));
            let Some(number) = table.virtual_number(x) else { return refused(BindError::UnknownX) };
            if from.is_some_and(|from| from != number.app) {
                return refused(BindError::ForeignX);
            }
            if books.bindings.is_configured_number(x) {
                return refused(BindError::Configured);
            }
            if books.bindings.pairs_of(x) > 0 {
                return refused(BindError::InUse);
            }
            check_segment(books, place, x, to)?;
            moved.push(VirtualNumber { app: to, ..(*number).clone() });
        }
        for number in moved {
            let x = number.number;
            books.bindings.change_number(number).map_err(|error| bind_refusal(&x.to_string(), error))?;
        }
        Ok(Count { count })
    };
    admin.change(actor, detail, transferred).await.map(Json)
}

/// A number.
#[utoipa::path(get, path = "/numbers/{x}", params(("x" = Whole, Path)), responses((status = 200, body = NumberView)))]
async fn show(State(admin): State<Admin>, Path(x): Path<String>) -> Result<Json<NumberView>, Refusal> {
    let x = number("x", &x)?;
    let read = move |books: &mut Books| {
        let number = books.bindings.table().virtual_number(x).ok_or_else(no_number)?;
        Ok(view(books, &number))
    };
    admin.read(read).await.map(Json)
}

/// Changes a number, effective for the next call.
#[utoipa::path(patch, path = "/numbers/{x}", params(("x" = Whole, Path)), request_body = NumberChange,
    responses((status = 200, body = NumberView)))]
async fn change(
    State(admin): State<Admin>,
    actor: Actor,
    Path(x): Path<String>,
    Given(change): Given<NumberChange>,
) -> Result<Json<NumberView>, Refusal> {
    let x = number("x", &x)?;
    let home = change.area.as_deref().map(|text| if text.is_empty() { Ok(None) } else { area(text).map(Some) });
    let home = home.transpose()?;
    let detail = match change.state {
        Some(state) => format!("{x} {state:?}"),
        None => x.to_string(),
    };
    let changed = move |books: &mut Books| {
        let mut number = VirtualNumber::clone(&*books.bindings.table().virtual_number(x).ok_or_else(no_number)?);
        if let Some(state) = change.state {
            number.state = state.state();
        }
        if let Some(home) = home {
            number.area = home;
        }
        if let Some(name) = &change.trunk {
            number.trunk = if name.is_empty() { None } else { Some(trunk(books, name)?) };
        }
        books.bindings.change_number(number.clone()).map_err(|error| bind_refusal(&x.to_string(), error))?;
        Ok(view(books, &number))
    };
    admin.change(actor, detail, changed).await.map(Json)
}

/// Releases a number that has no bindings.
#[utoipa::path(delete, path = "/numbers/{x}", params(("x" = Whole, Path)), responses((status = 204)))]
async fn release(State(admin): State<Admin>, actor: Actor, Path(x): Path<String>) -> Result<StatusCode, Refusal> {
    let x = number("x", &x)?;
    let released =
        move |books: &mut Books| books.bindings.remove_number(x).map_err(|error| bind_refusal(&x.to_string(), error));
    admin.change(actor, x.to_string(), released).await?;
    Ok(StatusCode::NO_CONTENT)
}
