//! The admin API, `/admin/v1`: what the operator's own programs and the console ask for.
//!
//! ```text
//!   Authorization: Bearer TOKEN ─▶ auth ─▶ may it? ─▶ a route ─▶ Registry::transact ─▶ the change and its AuditRow, together
//!                                    └ 401, 403, 429              Hooks ─▶ live calls, records, the audit log
//! ```
//!
//! Routes and `openapi.json` are made of the same declarations. Numbers are whole here, and masked in what is written down about
//! a request. Whatever is refused is refused as a [`Refused`], and nothing has changed then.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::refusal::Refusal;
use crate::clock::Clock;
use crate::registry::{Books, Registry, Unavailable};
use crate::store::{AuditRow, Change};

mod apps;
mod asked;
mod auth;
mod bindings;
mod deliveries;
mod hooks;
mod numbers;
mod prompts;
mod records;

pub use asked::{Listed, Whole};
pub use auth::{Scope, Token, Tokens};
pub use hooks::{AuditFilter, AuditView, CallFilter, CallView, CdrFilter, CdrView, DeliveryView, Hook, Hooks, Why};

use auth::{Actor, Wrong};

/// Where it is.
const BASE: &str = "/admin/v1";

/// The admin API; cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<Inside>);

struct Inside {
    registry: Registry,
    hooks: Hooks,
    tokens: ArcSwap<Tokens>,
    wrong: Wrong,
    clock: Clock,
}

/// Every refusal.
#[derive(Serialize, ToSchema)]
pub struct Refused {
    /// One word, for programs.
    #[schema(example = "not_found")]
    pub error: String,
    /// What to do about it, for people.
    pub message: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "axbridge admin API",
        description = "Applications, virtual numbers, prompts, bindings, calls, records and notifications."
    ),
    components(schemas(Refused))
)]
struct Document;

impl Admin {
    /// For whoever has one of these tokens; what is asked of others than the registry, by `hooks`.
    #[must_use]
    pub fn new(registry: Registry, hooks: Hooks, tokens: Tokens, clock: Clock) -> Admin {
        Admin(Arc::new(Inside {
            registry,
            hooks,
            tokens: ArcSwap::from_pointee(tokens),
            wrong: Wrong::default(),
            clock,
        }))
    }

    /// From now on these tokens.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.0.tokens.store(Arc::new(tokens));
    }

    /// Every route below `/admin/v1`.
    pub fn router(&self) -> Router {
        let (router, document) = declared();
        let document = Arc::new(document);
        let guarded = router
            .fallback(nowhere)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn_with_state(self.clone(), auth::guard))
            .with_state(self.clone());
        // The document holds no secrets, and says how to get in.
        let all = guarded.route("/openapi.json", get(async move || Json(Value::clone(&document))));
        // Nested, so that what is refused here says nothing of paths elsewhere.
        Router::new().nest(BASE, all)
    }

    /// Lets `work` change the books, and writes down who did it; whatever it refuses is written down too.
    async fn change<T: Send + 'static>(
        &self,
        actor: Actor,
        detail: String,
        work: impl FnOnce(&mut Books) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let done = self.0.registry.transact(move |books| {
            let done = work(books);
            let status = done.as_ref().map_or_else(|refusal| refusal.status, |_| actor.success);
            books.note(Change::Audit(actor.row(books.bindings.now(), status, detail)));
            done
        });
        done.await.map_err(unavailable)?
    }

    /// Lets `work` read the books.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.0.registry.read(work).await.map_err(unavailable)?
    }

    /// Writes down that somebody does something which is done elsewhere.
    async fn note(&self, actor: Actor, detail: String) -> Result<(), Refusal> {
        self.change(actor, detail, |_| Ok(())).await
    }
}

impl Actor {
    fn row(self, at: u64, status: StatusCode, detail: String) -> AuditRow {
        let Actor { who, from, action, .. } = self;
        AuditRow { at, who: who.to_string(), from: from.to_string(), action, status: status.as_u16(), detail }
    }
}

fn unavailable(_: Unavailable) -> Refusal {
    let message = "the disk or the queue is full, and nothing has changed: try again";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "unavailable", message).retry_after(1)
}

async fn nowhere() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no_route", "there is no such path: /admin/v1/openapi.json lists them")
}

async fn wrong_method() -> Refusal {
    let message = "this path does not take this method: /admin/v1/openapi.json lists them";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

/// Every route, and the document that describes them.
fn declared() -> (Router<Admin>, Value) {
    let routes = apps::routes()
        .merge(numbers::routes())
        .merge(prompts::routes())
        .merge(bindings::routes())
        .merge(records::routes())
        .merge(deliveries::routes());
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi()).merge(routes).split_for_parts();
    let mut document = serde_json::to_value(document).expect("the document is plain JSON");
    if let Some(paths) = document["paths"].as_object_mut() {
        *paths = std::mem::take(paths).into_iter().map(|(path, item)| (format!("{BASE}{path}"), item)).collect();
    }
    describe_refusals(&mut document);
    (router, document)
}

/// Whether something that is not there can be asked for: in the path, or as the app of a number or a binding.
fn names(path: &str) -> bool {
    path.contains('{') || path.contains("/numbers") || path.ends_with("/bindings") || path.ends_with("/replay")
}

/// Adds to each operation how it is refused, since that is alike for all of them.
fn describe_refusals(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer"}});
    document["security"] = json!([{"token": []}]);
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.iter_mut());
    for (path, item) in paths {
        let operations = item.as_object_mut().into_iter().flat_map(|item| item.iter_mut());
        for (method, operation) in operations.filter(|(_, operation)| operation.get("responses").is_some()) {
            let has_body = operation.get("requestBody").is_some();
            let changes = method != "get";
            for (applies, status, description) in [
                (true, "400", "A parameter or the JSON is malformed."),
                (true, "401", "No token, or none that is known."),
                (changes, "403", "The token may only read."),
                (names(path), "404", "There is none of this name."),
                (true, "405", "The path does not take this method."),
                (changes, "409", "It stands in the operator's file, is in use, or is there already."),
                (has_body, "413", "The body is too long."),
                (true, "422", "A value is none that it may have."),
                (true, "429", "Ten wrong tokens came from this address: it has to wait."),
                (true, "500", "The disk or a queue is full; nothing has changed."),
            ] {
                if applies {
                    operation["responses"][status] = json!({
                        "description": description,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}},
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
