//! `[media]`, `[recording]`, `[cdr]`, `[metrics]` and `[log]`: where voice, files and figures go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use b2bua::settings::{Listener, MediaSettings};
use sip::transaction::Transport;

use super::complaint::{Fault, Report};
use super::section::{Section, missing};
use crate::hep;

use super::{Format, Level, Log, RecordingConfig, signalling, value};

pub(super) const MEDIA: &[&str] = &["bind", "advertised", "ports", "quarantine", "dead_after", "workers"];
pub(super) const RECORDING: &[&str] = &["dir", "keep", "min"];
pub(super) const CDR: &[&str] = &["file", "keep"];
pub(super) const STORE: &[&str] = &["dir"];
pub(super) const METRICS: &[&str] = &["listen"];
pub(super) const HEP: &[&str] = &["collector", "agent", "password"];
pub(super) const LOG: &[&str] = &["level", "format"];
pub(super) const PROMPTS: &[&str] = &["dir"];

const DAY: Duration = Duration::from_secs(86_400);

/// `[media]`, and the number of relay workers.
pub(super) fn media(
    root: &Section<'_>,
    listeners: &[Listener],
    report: &mut Report<'_>,
) -> Option<(MediaSettings, usize)> {
    let Some(section) = root.section("media", MEDIA, report) else {
        if !root.has("media") {
            root.complain("media", Fault::absence("is missing", "write [media] with at least `bind`"), report);
        }
        return None;
    };
    let bind = section.required("bind", "\"192.0.2.1\"", value::address, report);
    let bind = bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let advertised = section.optional("advertised", value::reachable, report);
    if !section.has("advertised") && bind.is_unspecified() {
        let mend = "write e.g. `advertised = \"203.0.113.5\"`, the address that peers reach this machine at";
        section.complain("advertised", Fault::new(format!("is missing, and {bind} cannot stand in SDP"), mend), report);
    }
    if advertised.is_some_and(|advertised| advertised.is_ipv4() != bind.is_ipv4()) {
        let problem = format!("is of another IP version than bind, {bind}");
        section.complain("advertised", Fault::new(problem, "write both as IPv4 or both as IPv6"), report);
    }
    let ports = section.or("ports", (30_000, 59_998), value::port_range, report);
    // RTCP has the port above the last RTP port.
    if let Some(listener) = signalling::taken_by(listeners, Transport::Udp, bind, (ports.0, ports.1 + 1)) {
        let problem = format!("overlaps with SIP, which listens at udp:{}", listener.bind);
        section.complain("ports", Fault::new(problem, "write a range without that port"), report);
    }
    let quarantine = value::duration(Duration::ZERO..=Duration::from_secs(600));
    let dead_after = value::duration(Duration::ZERO..=DAY);
    let settings = MediaSettings {
        bind,
        advertised: advertised.unwrap_or(bind),
        ports,
        quarantine: section.or("quarantine", Duration::from_secs(5), quarantine, report),
        dead_after: section.or("dead_after", Duration::from_secs(60), dead_after, report),
    };
    Some((settings, section.or("workers", 1, value::whole(1..=64), report)))
}

/// `[recording]`.
pub(super) fn recording(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> RecordingConfig {
    let mut out = RecordingConfig { dir: folder.join("recordings"), keep: 7 * DAY, min: Duration::from_secs(3) };
    let Some(section) = root.section("recording", RECORDING, report) else { return out };
    out.dir = path(&section, "dir", "recordings", folder, report);
    if out.dir.exists() && !out.dir.is_dir() {
        let fault = Fault::new(format!("{} is not a folder", out.dir.display()), "write the path of a folder");
        section.complain("dir", fault, report);
    }
    out.keep = section.or("keep", out.keep, value::duration(Duration::from_secs(60)..=3_650 * DAY), report);
    out.min = section.or("min", out.min, value::duration(Duration::ZERO..=Duration::from_secs(3_600)), report);
    out
}

/// `[hep]`.
pub(super) fn hep(root: &Section<'_>, report: &mut Report<'_>) -> Option<hep::Config> {
    let section = root.section("hep", HEP, report)?;
    let password = |value| {
        let found = value::text(value)?;
        let problem = || Fault::new(format!("has {} bytes", found.len()), "write at most 64");
        if found.len() <= 64 { Ok(found.as_bytes().into()) } else { Err(problem()) }
    };
    let collector = section.required("collector", "\"192.0.2.9:9060\"", value::socket, report);
    let agent = section.or("agent", 2_001, value::whole(1..=u32::MAX), report);
    let password = section.or("password", Box::default(), password, report);
    Some(hep::Config { collector: collector?, agent, password })
}

/// `[store]`.
pub(super) fn store(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> PathBuf {
    let Some(section) = root.section("store", STORE, report) else { return folder.join("data") };
    let dir = path(&section, "dir", "data", folder, report);
    if dir.exists() && !dir.is_dir() {
        let fault = Fault::new(format!("{} is not a folder", dir.display()), "write the path of a folder");
        section.complain("dir", fault, report);
    }
    dir
}

/// `[cdr]`: the file, and how long the store keeps records.
pub(super) fn cdr(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> (PathBuf, Duration) {
    let keep = 90 * DAY;
    let Some(section) = root.section("cdr", CDR, report) else { return (folder.join("cdr.jsonl"), keep) };
    let file = path(&section, "file", "cdr.jsonl", folder, report);
    if file.is_dir() {
        let fault = Fault::new(format!("{} is a folder", file.display()), "write the path of a file in it");
        section.complain("file", fault, report);
    }
    (file, section.or("keep", keep, value::duration(DAY..=3_650 * DAY), report))
}

/// `[metrics]`; none without the section.
pub(super) fn metrics(root: &Section<'_>, listeners: &[Listener], report: &mut Report<'_>) -> Option<SocketAddr> {
    let section = root.section("metrics", METRICS, report)?;
    let address = section.required("listen", "\"127.0.0.1:9090\"", value::socket, report)?;
    let ports = (address.port(), address.port());
    if let Some(listener) = signalling::taken_by(listeners, Transport::Tcp, address.ip(), ports) {
        let fault = Fault::new(
            format!("SIP listens at {} already", value::spelt(listener.transport, listener.bind)),
            "write another port",
        );
        section.complain("listen", fault, report);
    }
    Some(address)
}

/// `[log]`.
pub(super) fn log(root: &Section<'_>, report: &mut Report<'_>) -> Log {
    const LEVELS: &[(&str, Level)] = &[
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    const FORMATS: &[(&str, Format)] = &[("text", Format::Text), ("json", Format::Json)];
    let mut out = Log { level: Level::Info, format: Format::Text };
    let Some(section) = root.section("log", LOG, report) else { return out };
    out.level = section.or("level", out.level, value::word(LEVELS), report);
    out.format = section.or("format", out.format, value::word(FORMATS), report);
    out
}

/// `[prompts]`: the operator's own folder.
pub(super) fn prompts_dir(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<PathBuf> {
    let section = root.section("prompts", PROMPTS, report)?;
    if !section.has("dir") {
        section.complain("dir", missing("dir", "\"prompts\""), report);
        return None;
    }
    let dir = path(&section, "dir", "prompts", folder, report);
    if !dir.is_dir() {
        let mend = "make it, or leave [prompts] out to use the default set alone";
        section.complain("dir", Fault::new(format!("there is no folder {}", dir.display()), mend), report);
        return None;
    }
    Some(dir)
}

/// A path, relative to the folder of the configuration.
pub(super) fn path(
    section: &Section<'_>,
    key: &'static str,
    default: &str,
    folder: &Path,
    report: &mut Report<'_>,
) -> PathBuf {
    let read = |value| {
        let found = value::text(value)?;
        if found.is_empty() || found.contains('\0') {
            return Err(Fault::new(format!("{} is no path", value::quote(found)), format!("write e.g. \"{default}\"")));
        }
        Ok(found)
    };
    folder.join(section.or(key, default, read, report))
}
