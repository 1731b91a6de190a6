//! How a request is refused: a status, one word for programs, and what to do about it for people.
//!
//! ```text
//!   {"error": "not_found", "message": "there is no such app: GET /admin/v1/apps lists them"}
//! ```

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// One word.
    pub error: &'static str,
    /// What to do about it; no whole numbers in it.
    pub message: Cow<'static, str>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Written<'a> {
    error: &'a str,
    message: &'a str,
}

impl Refusal {
    /// Of these.
    #[must_use]
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, error, message: message.into(), retry_after: None }
    }

    /// Worth another try after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Refusal {
        self.retry_after = Some(seconds);
        self
    }

    /// What stands in the body.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::to_string(&Written { error: self.error, message: &self.message })
            .expect("two strings make a JSON object")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
