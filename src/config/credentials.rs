//! `trunk.auth` and `trunk.challenge`: who we are to a carrier, and who its calls must prove to be.
//!
//! A password is never shown: complaints of it say what is wrong with it, not what it is.

use std::path::Path;
use std::sync::Arc;

use sip::digest::{Account, Credentials, Hash, Password};
use toml::de::DeValue;

use super::complaint::{Fault, Report};
use super::section::{Section, missing, wrong_kind};
use super::{trunk, value};
use crate::files;

pub(super) const AUTH: &[&str] = &["user", "password", "password_file", "realm"];
pub(super) const CHALLENGE: &[&str] = &["realm", "user", "password", "password_file", "algorithms"];

/// The longest user, realm or password, in bytes.
const LONGEST: usize = 256;

const HASHES: &[(&str, Hash)] = &[("SHA-256", Hash::Sha256), ("MD5", Hash::Md5)];

/// Who we are to a trunk; `None` too when something was complained of.
pub(super) fn auth(trunk: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<Arc<Credentials>> {
    let section = trunk.section("auth", AUTH, report)?;
    let user = section.required("user", "\"NAME\"", user, report);
    let password = password(&section, folder, report);
    let realm = section.optional("realm", realm, report).map(Into::into);
    Some(Arc::new(Credentials { user: user?.into(), password: password?, realm }))
}

/// Who a trunk must prove to be; `None` too when something was complained of.
pub(super) fn challenge(trunk: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<Arc<Account>> {
    let section = trunk.section("challenge", CHALLENGE, report)?;
    let realm = section.required("realm", "\"axbridge.example\"", realm, report);
    let user = section.required("user", "\"NAME\"", user, report);
    let password = password(&section, folder, report);
    let hashes = trunk::order(&section, "algorithms", HASHES, vec![Hash::Sha256, Hash::Md5], report);
    Some(Arc::new(Account { realm: realm?.into(), user: user?.into(), password: password?, hashes }))
}

fn password(section: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<Password> {
    secret(section, "password", "password_file", folder, report).map(Password::new)
}

/// From one key, or from the file that another key names.
pub(super) fn secret(
    section: &Section<'_>,
    key: &'static str,
    file_key: &'static str,
    folder: &Path,
    report: &mut Report<'_>,
) -> Option<Vec<u8>> {
    let file = section.optional(file_key, value::text, report);
    if file.is_none() && section.has(file_key) {
        return None;
    }
    match (section.has(key), file.filter(|file| !file.is_empty())) {
        (true, None) => section.optional(key, word, report).map(|secret| secret.as_bytes().to_vec()),
        (true, Some(_)) => {
            let problem = format!("stands beside {key}");
            section.complain(file_key, Fault::new(problem, "leave one of the two out"), report);
            None
        }
        (false, Some(file)) => match read(&folder.join(file)) {
            Ok(secret) => Some(secret),
            Err(problem) => {
                let problem = format!("{} {problem}", value::quote(file));
                let mend = format!("make it a file of one line of at most {LONGEST} bytes that this user may read");
                section.complain(file_key, Fault::new(problem, mend), report);
                None
            }
        },
        (false, None) => {
            section.complain(key, missing(key, "\"SECRET\""), report);
            None
        }
    }
}

/// The one line of a file, without its end.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    // And its end, which may be two bytes.
    let mut line = files::read(path, LONGEST as u64 + 2).map_err(|error| error.to_string())?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    match fits(&line) {
        Ok(()) => Ok(line),
        Err(problem) => Err(problem.to_owned()),
    }
}

/// What a user, a realm or a password may be: it must stand in a header, and be typed.
fn fits(text: &[u8]) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("is empty")
    } else if text.len() > LONGEST {
        Err("is too long")
    } else if text.iter().any(u8::is_ascii_control) {
        Err("holds a line end or another control character")
    } else {
        Ok(())
    }
}

fn word<'v>(value: &'v DeValue<'v>) -> Result<&'v str, Fault> {
    let mend = format!("write 1 to {LONGEST} bytes in quotation marks, without control characters");
    match value {
        DeValue::String(text) => fits(text.as_bytes()).map(|()| &**text).map_err(|problem| Fault::new(problem, mend)),
        other => Err(wrong_kind(other, "a text", &mend)),
    }
}

fn realm<'v>(value: &'v DeValue<'v>) -> Result<&'v str, Fault> {
    let text = value::text(value)?;
    let mend = format!("write 1 to {LONGEST} bytes without control characters");
    fits(text.as_bytes()).map(|()| text).map_err(|problem| Fault::new(problem, mend))
}

/// A colon would part user and realm in the hash at another place (RFC 7616 §3.4.2).
fn user<'v>(value: &'v DeValue<'v>) -> Result<&'v str, Fault> {
    let text = realm(value)?;
    if text.contains(':') {
        return Err(Fault::new(
            format!("{} holds a colon", value::quote(text)),
            "write the user alone, without a colon",
        ));
    }
    Ok(text)
}
