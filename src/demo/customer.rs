//! The customer's system: takes what it is told, and says 200.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded};
use numbering::Number;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::api::compat::authentication::Token;
use crate::apps::{Secret, digest};
use crate::clock::Clock;

/// A message that has come.
pub(super) struct Notification {
    /// When.
    pub(super) at: Duration,
    /// The whole message.
    body: Value,
    /// With the signature.
    headers: HeaderMap,
}

/// Listens on the loopback until it is dropped.
pub(super) struct Customer {
    address: SocketAddr,
    arrived: Receiver<Notification>,
    _runtime: Runtime,
}

impl Customer {
    pub(super) fn start(clock: Clock) -> io::Result<Customer> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().thread_name("customer").build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (sender, arrived) = bounded(1_024);
        let take = async move |headers: HeaderMap, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let notification = Notification { at: clock.now(), body, headers };
            // Far more room than one call needs; were it full, a promise of the demo would not be kept.
            let _ = sender.try_send(notification);
        };
        let router: Router = Router::new().fallback(take);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Customer { address, arrived, _runtime: runtime })
    }

    pub(super) fn url(&self, path: &str) -> Arc<str> {
        format!("http://{}{path}", self.address).into()
    }

    pub(super) fn next(&self) -> Option<Notification> {
        self.arrived.try_recv().ok()
    }
}

impl Notification {
    /// `callin`, `fee` …
    pub(super) fn event(&self) -> &str {
        self.body["eventType"].as_str().unwrap_or("?")
    }

    pub(super) fn is_fee(&self) -> bool {
        self.event() == "fee"
    }

    /// The event, or the one record of a fee.
    fn info(&self) -> &Value {
        if self.is_fee() { &self.body["feeLst"][0] } else { &self.body["statusInfo"] }
    }

    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.info().get(name)
    }

    pub(super) fn is_of(&self, session_id: &str) -> bool {
        self.field("sessionId").and_then(Value::as_str) == Some(session_id)
    }

    /// It bears the digest that only who knows the secret can make.
    pub(super) fn is_signed(&self, secret: &Secret) -> bool {
        let is_made_by = |token: Token<'_>| {
            BASE64_STANDARD.encode(digest(token.generation, secret, token.nonce, token.created)) == token.digest
        };
        Token::read(&self.headers).is_ok_and(is_made_by)
    }
}

/// Its event, then who is told to have called whom, and why it ended; numbers are masked.
impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |name: &str| {
            let number = self.field(name).and_then(Value::as_str).and_then(|text| Number::parse(text).ok());
            number.map_or_else(|| "?".to_owned(), |number| number.to_string())
        };
        let (from, to) = if self.is_fee() { ("callerNum", "calleeNum") } else { ("caller", "called") };
        write!(f, "{:<11}{} → {}", self.event(), number(from), number(to))?;
        for (name, word) in [("fwdDstNum", "reached"), ("fwdDisplayNum", "shown")] {
            if self.field(name).is_some() {
                write!(f, ", {word} {}", number(name))?;
            }
        }
        for name in ["stateCode", "ulFailReason", "recordFlag"] {
            if let Some(value) = self.field(name) {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}
