//! `[[trunk]]`: a carrier's SIP peer.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::{
    AskExtension, CalledIn, CallerHeader, Listener, Reliability, SessionTimerMode, SessionTimers, Target, TextBy,
    Trunk, TrunkTexts,
};
use ipnet::IpNet;
use media::{Codec, SourcePolicy};
use sip::locate::Host;
use toml::de::DeValue;

use super::complaint::{Fault, Report};
use super::names::Names;
use super::section::Section;
use super::signalling::Signalling;
use super::tls::{Rules, Tls};
use super::{credentials, number, smpp, value};
use crate::smsc;

pub(super) const KEYS: &[&str] = &[
    "name",
    "sources",
    "targets",
    "probe_every",
    "from",
    "tls",
    "read",
    "write",
    "codecs",
    "media_source",
    "reliable_provisionals",
    "session_timer",
    "auth",
    "challenge",
    "ask_extension",
    "max_calls",
    "calls_per_second",
    "texts_per_second",
    "text",
    "smpp",
];
pub(super) const READ: &[&str] = &["country", "area", "strip", "caller_in", "called_in"];
pub(super) const WRITE: &[&str] = &["form", "prefix", "assert_identity", "shows_caller"];
pub(super) const TEXT: &[&str] = &["longest"];
pub(super) const SESSION_TIMER: &[&str] = &["mode", "expires", "min"];

/// A `TrunkId` has 16 bits, and every source is looked up in all of them.
const MAX_TRUNKS: usize = 1_000;

const CALLER_HEADERS: &[(&str, CallerHeader)] = &[
    ("p-asserted-identity", CallerHeader::PAssertedIdentity),
    ("remote-party-id", CallerHeader::RemotePartyId),
    ("from", CallerHeader::From),
];
const CALLED_IN: &[(&str, CalledIn)] = &[("request-uri", CalledIn::RequestUri), ("to", CalledIn::To)];
const CODECS: &[(&str, Codec)] = &[("PCMA", Codec::Pcma), ("PCMU", Codec::Pcmu)];
const RELIABILITIES: &[(&str, Reliability)] =
    &[("never", Reliability::Never), ("supported", Reliability::Supported), ("required", Reliability::Required)];
const SESSION_TIMERS: &[(&str, SessionTimerMode)] =
    &[("never", SessionTimerMode::Never), ("accept", SessionTimerMode::Accept), ("request", SessionTimerMode::Request)];
const ASK: &[(&str, AskExtension)] = &[("answered", AskExtension::Answered), ("early", AskExtension::Early)];
const SOURCES: &[(&str, SourcePolicy)] = &[("learn", SourcePolicy::Learn), ("signalled", SourcePolicy::Signalled)];

/// `[[trunk]]`, read; a place here is a `TrunkId`.
pub(super) struct Trunks {
    pub(super) trunks: Vec<Trunk>,
    pub(super) names: Names,
    /// What each is for, as the file says it: a target that was complained of is one all the same.
    pub(super) uses: Vec<Use>,
    pub(super) tls: Tls,
    pub(super) smscs: Vec<smsc::Settings>,
}

/// What a trunk is for.
#[derive(Clone, Copy)]
pub(super) struct Use {
    pub(super) calls: bool,
    pub(super) takes_calls: bool,
}

/// Reads the trunks. `sip` is `None` when it could not be read: then addresses are not held against its listeners.
pub(super) fn read(root: &Section<'_>, sip: Option<&Signalling>, folder: &Path, report: &mut Report<'_>) -> Trunks {
    let mut out = Trunks {
        trunks: Vec::new(),
        names: Names::new("trunk", root),
        uses: Vec::new(),
        tls: Tls::default(),
        smscs: Vec::new(),
    };
    let listeners = sip.map_or(&[][..], |sip| &sip.listeners);
    let mut tls = sip.map(|sip| Rules::new(&sip.tls, listeners, folder));
    let mut rules = Vec::new();
    let sections = root.sections("trunk", KEYS, report);
    if !root.has("trunk") {
        let mend = "add [[trunk]] with name, sources and targets: without one nobody can call";
        root.complain("trunk", Fault::absence("is missing", mend), report);
    }
    if sections.len() > MAX_TRUNKS {
        let fault = Fault::new(format!("stands here {} times", sections.len()), format!("write at most {MAX_TRUNKS}"));
        root.complain("trunk", fault, report);
    }
    let mut networks = HashMap::new();
    for section in sections.iter().take(MAX_TRUNKS) {
        let name = out.names.claim(section, report);
        let sources = section.list("sources", value::network, report);
        let targets = section.list("targets", target, report);
        let usage = Use { calls: !section.lacks("sources"), takes_calls: !section.lacks("targets") };
        check_use(section, usage, report);
        out.uses.push(usage);
        check_sources(section, &name, &sources, &mut networks, report);
        let from = from(section, listeners, report);
        if !listeners.is_empty() {
            check_targets(section, &targets, &from, listeners, report);
        }
        let rule = tls.as_mut().map(|tls| tls.read(section, &name, &targets, report));
        let mut trunk = trunk(section, name, folder, report);
        out.smscs.extend(smpp::read(section, &trunk, rule.as_ref(), folder, report));
        rules.extend(rule);
        trunk.from = from;
        trunk.sources = sources.into_iter().flatten().collect();
        trunk.targets = targets.into_iter().flatten().collect();
        out.trunks.push(trunk);
    }
    out.tls = tls.map(|tls| tls.finish(rules)).unwrap_or_default();
    out
}

/// All of a trunk but its addresses.
fn trunk(section: &Section<'_>, name: Arc<str>, folder: &Path, report: &mut Report<'_>) -> Trunk {
    let read = section.section("read", READ, report);
    let write = section.section("write", WRITE, report);
    let mut caller_in = vec![CallerHeader::PAssertedIdentity, CallerHeader::From];
    let mut called_in = CalledIn::RequestUri;
    if let Some(read) = &read {
        caller_in = order(read, "caller_in", CALLER_HEADERS, caller_in, report);
        called_in = read.or("called_in", called_in, value::word(CALLED_IN), report);
    }
    let mut says = |key| write.as_ref().is_some_and(|write: &Section<'_>| write.or(key, false, value::boolean, report));
    let (shows_caller, assert_identity) = (says("shows_caller"), says("assert_identity"));
    Trunk {
        name,
        sources: Vec::new(),
        targets: Vec::new(),
        probe_every: section.or("probe_every", Duration::ZERO, probe_every, report),
        from: Vec::new(),
        read: number::read_rule(read.as_ref(), report),
        write: number::write_rule(write.as_ref(), report),
        caller_in,
        called_in,
        shows_caller,
        ask_extension: section.or("ask_extension", AskExtension::Answered, value::word(ASK), report),
        assert_identity,
        codecs: order(section, "codecs", CODECS, vec![Codec::Pcma, Codec::Pcmu], report),
        media_source: section.or("media_source", SourcePolicy::Learn, value::word(SOURCES), report),
        reliability: section.or("reliable_provisionals", Reliability::Supported, value::word(RELIABILITIES), report),
        session_timers: session_timers(section, report),
        max_calls: section.or("max_calls", 1_000, value::whole(1..=1_000_000), report),
        calls_per_second: section.or("calls_per_second", 100, value::whole(1..=1_000_000), report),
        auth: credentials::auth(section, folder, report),
        challenge: credentials::challenge(section, folder, report),
        texts: texts(section, report),
    }
}

/// An address, `udp:ADDRESS:PORT`, or a name.
fn target(value: &DeValue<'_>) -> Result<Target, Fault> {
    let (transport, address) = match value::endpoint("target")(value) {
        Ok(endpoint) => endpoint,
        Err(fault) => {
            let name = value::text(value).ok().and_then(named);
            // A mend for what was nearly an address says all.
            let mend =
                if fault.mend.starts_with("write udp:") { format!("{}, or {NAMES}", fault.mend) } else { fault.mend };
            return name.ok_or_else(|| Fault::new(fault.problem, mend));
        }
    };
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        let mend = "write the address and the port that the peer takes calls at";
        return Err(Fault::new(format!("nobody can be reached at {address}"), mend));
    }
    Ok(Target::at(transport, address))
}

/// How a target is written that the DNS is asked for.
const NAMES: &str = "udp:HOST:PORT, udp:HOST or HOST, to look HOST up";

/// `udp:HOST:PORT`, `udp:HOST`, `HOST`.
fn named(text: &str) -> Option<Target> {
    if !text.contains(':') {
        return Some(Target { host: Host::named(text)?, port: None, transport: None });
    }
    let (_, transport, rest) = value::transport(text)?;
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port: &u16| *port > 0)?)),
        None => (rest, None),
    };
    Some(Target { host: Host::named(host)?, port, transport: Some(transport) })
}

/// 0 s, or 1 s to an hour.
fn probe_every(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let time = value::duration(Duration::ZERO..=Duration::from_secs(3_600))(value)?;
    if !time.is_zero() && time < Duration::from_secs(1) {
        let problem = format!("{} is too often", value::written(time));
        return Err(Fault::new(problem, "write a time of 1s to 1h, or \"0s\" for never"));
    }
    Ok(time)
}

/// `from`: the listeners that the trunk knows us by, as places in `listen`. One may stand without a list.
fn from(section: &Section<'_>, listeners: &[Listener], report: &mut Report<'_>) -> Vec<u16> {
    let place = |value: &DeValue<'_>| {
        let (transport, address) = value::endpoint("address to listen at")(value)?;
        let is_it = |listener: &Listener| listener.transport == transport && listener.bind == address;
        match listeners.iter().position(is_it) {
            // Listeners that could not be read, or are none, have been complained of.
            None if listeners.is_empty() => Ok(0),
            Some(place) => Ok(u16::try_from(place).expect("the configuration allows few listeners")),
            None => {
                let known: Vec<String> =
                    listeners.iter().map(|listener| value::spelt(listener.transport, listener.bind)).collect();
                let problem = format!("we do not listen at {}", value::spelt(transport, address));
                Err(Fault::new(problem, format!("write one of those of [sip]: {}", known.join(", "))))
            }
        }
    };
    if section.is_no_list("from") {
        return section.optional("from", place, report).into_iter().collect();
    }
    section.list("from", place, report).into_iter().flatten().collect()
}

/// How text messages go there.
fn texts(section: &Section<'_>, report: &mut Report<'_>) -> TrunkTexts {
    let default = TrunkTexts::default();
    let text = section.section("text", TEXT, report);
    let longest = text.map_or(0, |text| text.or("longest", 0, value::whole(0..=2_000), report));
    TrunkTexts {
        by: if section.has("smpp") { TextBy::Driver } else { TextBy::Sip },
        per_second: section.or("texts_per_second", default.per_second, value::whole(1..=1_000_000), report),
        longest: NonZeroU16::new(longest),
    }
}

fn session_timers(section: &Section<'_>, report: &mut Report<'_>) -> SessionTimers {
    let default = SessionTimers::default();
    let Some(section) = section.section("session_timer", SESSION_TIMER, report) else { return default };
    // RFC 4028 §5: nothing below 90 s.
    let time = value::duration(Duration::from_secs(90)..=Duration::from_secs(86_400));
    let seconds = |time: Duration| u32::try_from(time.as_secs()).expect("a day at most");
    let mode = section.or("mode", default.mode, value::word(SESSION_TIMERS), report);
    let expires = section.or("expires", Duration::from_secs(default.expires.into()), &time, report);
    let min = section.or("min", Duration::from_secs(default.min_se.into()), &time, report);
    if min > expires {
        let problem = format!("is {}, longer than expires ({})", value::written(min), value::written(expires));
        section.complain("min", Fault::new(problem, "write a shorter time here, or a longer one there"), report);
    }
    SessionTimers { mode, expires: seconds(expires), min_se: seconds(min) }
}

/// Words in order of preference: at least one, each once.
pub(super) fn order<T: Copy + PartialEq>(
    section: &Section<'_>,
    key: &'static str,
    words: &'static [(&'static str, T)],
    default: Vec<T>,
    report: &mut Report<'_>,
) -> Vec<T> {
    if !section.has(key) {
        return default;
    }
    let read = section.list(key, value::word(words), report);
    if read.is_empty() {
        let all = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let mend = format!("write at least one of {all}, or leave the key out");
        section.complain(key, Fault::new("names none", mend), report);
    }
    let mut out: Vec<T> = Vec::new();
    for (place, word) in read.into_iter().enumerate() {
        let Some(word) = word else { continue };
        if out.contains(&word) {
            section.complain_element(key, place, Fault::new("stands here twice", "leave one of the two out"), report);
        } else {
            out.push(word);
        }
    }
    out
}

fn check_use(section: &Section<'_>, usage: Use, report: &mut Report<'_>) {
    if !usage.calls && !usage.takes_calls && !section.has("smpp") {
        let problem = "has neither sources nor targets, so nobody can use it";
        let mend = "write sources = [\"ADDRESS\"] if it calls, targets = [\"udp:ADDRESS:PORT\"] if it takes calls, smpp = { … } if \
                    it only has texts";
        report.add(&section.own_span(), section.own_path(), Fault::absence(problem, mend));
        return;
    }
    if section.has("auth") && !usage.takes_calls {
        let problem = "answers who challenges our calls, but this trunk takes none";
        section.complain("auth", Fault::new(problem, "write `targets`, or leave auth out"), report);
    }
    if section.has("challenge") && !usage.calls {
        let problem = "challenges who calls, but this trunk never does";
        section.complain("challenge", Fault::new(problem, "write `sources`, or leave challenge out"), report);
    }
}

/// The same network in two trunks: which of them calls could not be told.
fn check_sources(
    section: &Section<'_>,
    name: &Arc<str>,
    sources: &[Option<IpNet>],
    networks: &mut HashMap<IpNet, Arc<str>>,
    report: &mut Report<'_>,
) {
    for (place, network) in sources.iter().enumerate() {
        let Some(network) = network else { continue };
        if let Some(owner) = networks.get(network) {
            let problem = format!("{network} calls for trunk `{owner}` already");
            let mend = "write it once, or a longer prefix here";
            section.complain_element("sources", place, Fault::new(problem, mend), report);
        } else {
            networks.insert(*network, Arc::clone(name));
        }
    }
}

fn check_targets(
    section: &Section<'_>,
    targets: &[Option<Target>],
    from: &[u16],
    listeners: &[Listener],
    report: &mut Report<'_>,
) {
    for (place, target) in targets.iter().enumerate() {
        let Some(target) = target else { continue };
        let Some(wanted) = target.transport else { continue };
        let transport = wanted.as_str().to_ascii_lowercase();
        let Some(address) = target.address() else {
            if !listeners.iter().any(|listener| listener.transport == wanted) {
                let problem = format!("we do not listen at {transport}, so we cannot send from there");
                let mend = format!("add \"{transport}:ADDRESS:PORT\" to listen in [sip]");
                section.complain_element("targets", place, Fault::new(problem, mend), report);
            }
            continue;
        };
        let fits = |listener: &&Listener| listener.transport == wanted && listener.bind.is_ipv4() == address.is_ipv4();
        if !listeners.iter().any(|listener| fits(&listener)) {
            let version = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let problem = format!("we do not listen at {transport} with {version}, so we cannot send from there");
            let mend = format!("add \"{transport}:ADDRESS:PORT\" with an {version} address to listen in [sip]");
            section.complain_element("targets", place, Fault::new(problem, mend), report);
        }
        let by_from = || from.iter().filter_map(|place| listeners.get(usize::from(*place))).any(|one| fits(&one));
        if listeners.iter().any(|listener| fits(&listener)) && !from.is_empty() && !by_from() {
            let (kind, version) = (wanted.as_str(), if address.is_ipv4() { "IPv4" } else { "IPv6" });
            let problem = format!("none of `from` is {kind} with {version}");
            section.complain_element("targets", place, Fault::new(problem, "write one in `from` too"), report);
        }
        if listeners.iter().any(|listener| fits(&listener) && listener.bind == address) {
            let problem = format!("{address} is our own address: calls would come back to us");
            section.complain_element("targets", place, Fault::new(problem, "write the address of the peer"), report);
        }
    }
}
