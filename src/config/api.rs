//! `[api]` and `[[admin]]`: where HTTP is served, how long a customer's clock may be wrong, and who may administer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::Listener;
use sip::transaction::Transport;

use super::complaint::{Fault, Report};
use super::names::Names;
use super::section::{Section, missing};
use super::{credentials, output, signalling, value};
use crate::apps::Secret;

pub(super) const API: &[&str] = &["http", "https", "certificate", "key", "public_url", "created_window", "connections"];
pub(super) const ADMIN: &[&str] = &["name", "token", "token_file", "scope"];

/// Who may administer at once.
const MAX_TOKENS: usize = 1_000;

/// HTTP, as the operator wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Api {
    /// Where it is served in clear.
    pub http: Option<SocketAddr>,
    /// Where it is served over TLS.
    pub https: Option<SocketAddr>,
    /// Certificate and key, in PEM; `None`: one that is made at the first start and kept in the store's folder.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// What stands before the path of links; `None`: as the request says.
    pub public_url: Option<String>,
    /// How far a request's `Created` may be from our clock; `None`: any distance.
    pub created_window: Option<Duration>,
    /// Connections at once.
    pub connections: usize,
    /// Who may administer.
    pub tokens: Vec<Token>,
}

/// Somebody who may administer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Who, in the audit log.
    pub name: Arc<str>,
    /// What they show.
    pub secret: Secret,
    /// What they may do.
    pub scope: Scope,
}

/// What the holder of a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Look.
    Read,
    /// Everything.
    Full,
}

pub(super) fn read(
    root: &Section<'_>,
    listeners: &[Listener],
    metrics: Option<SocketAddr>,
    folder: &Path,
    report: &mut Report<'_>,
) -> Option<Api> {
    let tokens = tokens(root, folder, report);
    let section = root.section("api", API, report)?;
    let mut listen = |key: &'static str| {
        let address = section.optional(key, value::socket, report)?;
        let ports = (address.port(), address.port());
        let taken = signalling::taken_by(listeners, Transport::Tcp, address.ip(), ports).is_some();
        if taken || metrics.is_some_and(|metrics| metrics == address && address.port() != 0) {
            section.complain(
                key,
                Fault::new(format!("{address} is in use by this file already"), "write another port"),
                report,
            );
        }
        Some(address)
    };
    let (http, https) = (listen("http"), listen("https"));
    if !section.has("http") && !section.has("https") {
        section.complain("http", missing("http", "\"127.0.0.1:8080\""), report);
    }
    if http.is_some() && http == https && http.is_some_and(|address| address.port() != 0) {
        section.complain("https", Fault::new("is the address of http", "write another port"), report);
    }
    let window = section.or("created_window", DAY, value::duration(Duration::ZERO..=3_650 * DAY), report);
    Some(Api {
        http,
        https,
        certificate: certificate(&section, folder, report),
        public_url: section.optional("public_url", url, report),
        created_window: (!window.is_zero()).then_some(window),
        connections: section.or("connections", 4_096, value::whole(1..=1_000_000), report),
        tokens,
    })
}

const DAY: Duration = Duration::from_secs(86_400);

fn certificate(section: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<(PathBuf, PathBuf)> {
    let (has_certificate, has_key) = (section.has("certificate"), section.has("key"));
    if !has_certificate && !has_key {
        return None;
    }
    for (key, is_there) in [("certificate", has_certificate), ("key", has_key)] {
        if !is_there {
            section.complain(key, missing(key, "\"FILE.pem\""), report);
        }
    }
    let certificate = output::path(section, "certificate", "https.pem", folder, report);
    let key = output::path(section, "key", "https.key", folder, report);
    for (name, file) in [("certificate", &certificate), ("key", &key)] {
        if section.has(name) && !file.is_file() {
            let fault = Fault::new(format!("there is no file {}", file.display()), "write the path of a PEM file");
            section.complain(name, fault, report);
        }
    }
    Some((certificate, key))
}

/// `https://api.example.com`, without a slash at its end.
fn url(value: &toml::de::DeValue<'_>) -> Result<String, Fault> {
    let found = value::text(value)?;
    let rest = found.strip_prefix("https://").or_else(|| found.strip_prefix("http://"));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>?#\\".contains(&byte);
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(is_plain) => {
            Ok(found.trim_end_matches('/').to_owned())
        }
        Some(_) | None => {
            let mend = "write e.g. \"https://api.example.com\"";
            Err(Fault::new(format!("{} is no address of a web server", value::quote(found)), mend))
        }
    }
}

fn tokens(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Vec<Token> {
    const SCOPES: &[(&str, Scope)] = &[("read", Scope::Read), ("full", Scope::Full)];
    let mut names = Names::new("admin", root);
    let sections = root.sections("admin", ADMIN, report);
    if sections.len() > MAX_TOKENS {
        let fault = Fault::new(format!("stands here {} times", sections.len()), format!("write at most {MAX_TOKENS}"));
        root.complain("admin", fault, report);
    }
    let mut out: Vec<Token> = Vec::new();
    for section in sections.iter().take(MAX_TOKENS) {
        let name = names.claim(section, report);
        let secret = credentials::secret(section, "token", "token_file", folder, report);
        let scope = section.or("scope", Scope::Read, value::word(SCOPES), report);
        let Some(secret) = secret.map(|secret| Secret::new(&secret)) else { continue };
        if out.iter().any(|known| known.secret == secret) {
            section.complain(
                "token",
                Fault::new("is somebody else's too", "give everybody a token of their own"),
                report,
            );
        }
        out.push(Token { name, secret, scope });
    }
    out
}
