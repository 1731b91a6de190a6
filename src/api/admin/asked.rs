//! What a request says, read; and numbers and lists, written.

use std::fmt;

use axum::body::Bytes;
use axum::extract::{self, FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use numbering::{BindError, Number};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::api::refusal::Refusal;
use crate::api::server;

/// A number, written whole (`+86…`); its Debug is masked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub Number);

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.reveal())
    }
}

/// What [`Number::parse`] takes.
const NUMBER: &str = r"^\+(86[1-9][0-9]{2,15}|8[0-57-9][0-9]{3,16}|[1-79][0-9]{4,17})$";

impl PartialSchema for Whole {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(NUMBER)).examples(["+8613800000001"]).into()
    }
}

impl ToSchema for Whole {}

/// A file as it is, in the document.
pub(super) struct Audio;

impl PartialSchema for Audio {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into()
    }
}

impl ToSchema for Audio {}

/// A part of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Listed<T: ToSchema> {
    /// At most as many as were asked for; there may be less, or none, and more behind `next_cursor`.
    pub items: Vec<T>,
    /// What to ask for next; absent at the end of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// At most so many, 1 to 1000; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the part before.
    pub(super) cursor: Option<String>,
}

impl Part {
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        match self.limit.unwrap_or(100) {
            limit @ 1..=1000 => Ok(limit),
            _ => Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_limit", "limit: say 1 to 1000")),
        }
    }
}

/// Cuts a list that holds one more than it may where there are more.
pub(super) fn cut<T: ToSchema>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Listed<T> {
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| has_more).map(cursor);
    Listed { items, next_cursor }
}

pub(super) fn bad_cursor() -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_cursor", "cursor: send next_cursor of the part before")
}

/// The times of a question, in milliseconds of UNIX time: they have 63 bits, and an order.
pub(super) fn span(from: Option<u64>, to: Option<u64>) -> Result<(), Refusal> {
    let bad = |message| Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_time", message));
    if from.into_iter().chain(to).any(|time| i64::try_from(time).is_err()) {
        return bad("times are milliseconds of UNIX time: the year 292278994 is too far");
    }
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return bad("from is later than to: both are milliseconds of UNIX time");
    }
    Ok(())
}

/// A number in a path, a query or a body.
pub(super) fn number(field: &str, text: &str) -> Result<Number, Refusal> {
    // In a query a + that is not escaped is a space.
    let global = text.strip_prefix(' ').map(|digits| format!("+{digits}"));
    Number::parse(global.as_deref().unwrap_or(text)).map_err(|error| {
        let message = format!("{field}: {error}: write it so: +8613800000001");
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_number", message)
    })
}

pub(super) fn not_found(what: &'static str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", what)
}

pub(super) fn no_app() -> Refusal {
    not_found("there is no such app: GET /admin/v1/apps lists them")
}

/// Why the books refuse a change; `of`: of what.
pub(super) fn bind_refusal(of: &str, error: BindError) -> Refusal {
    let status = match error {
        BindError::NotFound | BindError::UnknownX => StatusCode::NOT_FOUND,
        BindError::Exists | BindError::InUse | BindError::Configured | BindError::Full => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Refusal::new(status, error.label(), format!("{of}: {error}"))
}

/// The names in the path of a request.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Refusal> {
        extract::Path::from_request_parts(parts, state).await.map(|path| Path(path.0)).map_err(|_| {
            let message = "the path is not UTF-8: escape what stands in it once, as %E4%BD%A0";
            Refusal::new(StatusCode::BAD_REQUEST, "bad_path", message)
        })
    }
}

/// The query of a request.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Refusal> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|query| Asked(query.0))
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "bad_query", error.body_text()))
    }
}

/// The bytes of a request's body.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Body, Refusal> {
        Bytes::from_request(request, state).await.map(Body).map_err(|error| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                server::too_large()
            } else {
                let message = "the body did not come whole: send it again";
                Refusal::new(StatusCode::BAD_REQUEST, "bad_body", message)
            }
        })
    }
}

/// The body of a request, which is JSON whatever its Content-Type says.
pub(super) struct Given<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Given<T>, Refusal> {
        let Body(bytes) = Body::from_request(request, state).await?;
        serde_json::from_slice(&bytes).map(Given).map_err(|error| {
            if error.is_data() {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", format!("the JSON: {error}"))
            } else {
                Refusal::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is no JSON: {error}"))
            }
        })
    }
}

/// A name out of a path, for the audit log: no longer than a name is, and no line of its own.
pub(super) fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(128).collect()
}
