//! `[trunk.smpp]`: the trunk's short message service centre.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::Trunk;
use sip::locate::Host;
use smpp::{DefaultAlphabet, Long};
use toml::de::DeValue;

use super::complaint::{Fault, Report};
use super::section::Section;
use super::{credentials, value};
use crate::smsc::Settings;
use crate::transport::credentials::Authorities;
use crate::transport::tls::Rule;

pub(super) const KEYS: &[&str] = &[
    "address",
    "tls",
    "system_id",
    "password",
    "password_file",
    "system_type",
    "alphabet",
    "long",
    "window",
    "per_second",
    "enquire_every",
    "response_timeout",
];

/// The port that IANA gave SMPP.
const PORT: u16 = 2_775;

const ALPHABETS: &[(&str, DefaultAlphabet)] =
    &[("gsm", DefaultAlphabet::Gsm), ("latin1", DefaultAlphabet::Latin1), ("unused", DefaultAlphabet::Unused)];
const LONG: &[(&str, Long)] = &[("udh", Long::Udh), ("sar", Long::Sar), ("payload", Long::Payload)];

/// Reads a trunk's `smpp`; `None` too when something was complained of. `rule` is what its `tls` says.
pub(super) fn read(
    section: &Section<'_>,
    trunk: &Trunk,
    rule: Option<&Rule>,
    folder: &Path,
    report: &mut Report<'_>,
) -> Option<Settings> {
    let smpp = section.section("smpp", KEYS, report)?;
    let address = smpp.required("address", "\"smsc.carrier.example:2775\"", address, report);
    let system_id = smpp.required("system_id", "\"NAME\"", octets::<15>, report);
    let password = credentials::secret(&smpp, "password", "password_file", folder, report);
    let password = password.and_then(|password| match fits::<8>(&password) {
        Ok(password) => Some(password.to_owned()),
        Err(fault) => {
            let key = if smpp.has("password") { "password" } else { "password_file" };
            smpp.complain(key, fault, report);
            None
        }
    });
    let system_type = smpp.or("system_type", "", octets::<12>, report);
    let alphabet = smpp.or("alphabet", DefaultAlphabet::Gsm, value::word(ALPHABETS), report);
    let long = smpp.or("long", Long::Udh, value::word(LONG), report);
    let window = smpp.or("window", 10, value::whole(1..=1_000), report);
    let per_second = NonZeroU32::new(smpp.or("per_second", 0, value::whole(0..=10_000), report));
    let time = |from, to| value::duration(Duration::from_secs(from)..=Duration::from_secs(to));
    let enquire_every = smpp.or("enquire_every", Duration::from_secs(30), time(1, 3_600), report);
    let response_timeout = smpp.or("response_timeout", Duration::from_secs(10), time(1, 20), report);
    let has_tls = smpp.or("tls", false, value::boolean, report);
    let tls = if has_tls { Some(verified(&smpp, rule?, report)?) } else { None };
    let (host, port) = address?;
    Some(Settings {
        trunk: Arc::clone(&trunk.name),
        host,
        port,
        tls,
        link: smpp::Config {
            system_id: system_id?.into(),
            password: password?.into(),
            system_type: system_type.into(),
            alphabet,
            long,
            window,
            per_second,
            enquire_every,
            response_timeout,
        },
        read: trunk.read.clone(),
        write: trunk.write.clone(),
    })
}

/// Who vouches for it: the trunk's authorities, those of `[sip.tls]`, or the system's, which are read only where they are needed.
fn verified(smpp: &Section<'_>, rule: &Rule, report: &mut Report<'_>) -> Option<Rule> {
    if !rule.client.authorities().is_empty() {
        return Some(rule.clone());
    }
    let system = Authorities::of_system();
    if system.is_empty() {
        let problem = "nobody can vouch for its certificate: the system knows no authorities";
        let mend = "write tls.ca = \"FILE\" in this trunk, or install ca-certificates";
        smpp.complain("tls", Fault::new(problem, mend), report);
        return None;
    }
    Some(Rule { client: Arc::new(rule.client.believing(system)), server_name: rule.server_name.clone() })
}

fn address(value: &DeValue<'_>) -> Result<(Host, u16), Fault> {
    let (host, port) = value::host_port(value)?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let host = match bare.parse::<IpAddr>() {
        Ok(ip) => Host::Address(ip),
        Err(_) => Host::named(host).ok_or_else(|| {
            Fault::new(format!("{} is no host", value::quote(host)), "write \"HOST\" or \"HOST:PORT\"")
        })?,
    };
    Ok((host, port.unwrap_or(PORT)))
}

/// A C-octet string of SMPP (§3.1): ASCII, of so many octets at most.
fn octets<'v, const MOST: usize>(value: &'v DeValue<'v>) -> Result<&'v str, Fault> {
    fits::<MOST>(value::text(value)?.as_bytes())
}

/// A fault does not say what the text is: it may be a password.
fn fits<const MOST: usize>(text: &[u8]) -> Result<&str, Fault> {
    match std::str::from_utf8(text) {
        Ok(text) if text.len() <= MOST && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') => Ok(text),
        Ok(_) | Err(_) => {
            Err(Fault::new("cannot be said in SMPP", format!("write at most {MOST} printable ASCII characters")))
        }
    }
}
