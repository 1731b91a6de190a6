//! `[sip]`: where we listen, how much we take on, how long we wait.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use b2bua::settings::{CallTimers, Limits, Listener};
use sip::transaction::{Timers, Transport};
use toml::de::DeValue;

use super::complaint::{Fault, Report};
use super::section::{Section, missing};
use super::{tls, value};

pub(super) const KEYS: &[&str] = &[
    "listen",
    "advertised",
    "server_name",
    "max_calls",
    "max_calls_per_number",
    "max_texts",
    "max_transactions",
    "max_message_bytes",
    "retry_after",
    "no_answer",
    "safety_ceiling",
    "t1",
    "t2",
    "t4",
    "tls",
];
pub(super) const LISTEN: &[&str] = &["address", "advertised"];

/// Listeners: a `Flow` names one in 16 bits, and nobody has more.
const MAX_LISTENERS: usize = 64;

/// How long B may ring.
pub(super) const NO_ANSWER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// The longest safety ceiling.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// `[sip]`, read.
pub(super) struct Signalling {
    pub(super) listeners: Vec<Listener>,
    pub(super) limits: Limits,
    pub(super) timers: CallTimers,
    pub(super) product_name: Option<Box<str>>,
    pub(super) no_answer: Duration,
    pub(super) tls: tls::Ours,
}

pub(super) fn read(root: &Section<'_>, folder: &Path, report: &mut Report<'_>) -> Option<Signalling> {
    let Some(section) = root.section("sip", KEYS, report) else {
        if !root.has("sip") {
            root.complain("sip", Fault::absence("is missing", "write [sip] with at least `listen`"), report);
        }
        return None;
    };
    let listeners = listeners(&section, report);
    let private = listeners.iter().find(|(_, listener)| listener.transport == Transport::Tls).map(|(place, _)| *place);
    Some(Signalling {
        tls: tls::ours(&section, private, folder, report),
        listeners: listeners.into_iter().map(|(_, listener)| listener).collect(),
        limits: limits(&section, report),
        timers: timers(&section, report),
        product_name: product_name(&section, report),
        no_answer: section.or("no_answer", Duration::from_secs(60), value::duration(NO_ANSWER), report),
    })
}

/// The listeners, each with its place in the file.
fn listeners(section: &Section<'_>, report: &mut Report<'_>) -> Vec<(usize, Listener)> {
    let of_all = section.optional("advertised", value::host_port, report);
    let read: Vec<_> = section.elements("listen", report).collect();
    let elements = read.into_iter().map(|(path, element)| match element.get_ref() {
        DeValue::Table(table) => {
            let own = Section::new(table, element.span(), path, LISTEN, report);
            let address = own.required("address", "\"udp:ADDRESS:PORT\"", value::endpoint(LISTENER), report);
            (address, own.optional("advertised", value::host_port, report), own.has("advertised"))
        }
        text => match value::endpoint(LISTENER)(text) {
            Ok(address) => (Some(address), None, false),
            Err(fault) => {
                report.add(&element.span(), path, fault);
                (None, None, false)
            }
        },
    });
    let elements: Vec<_> = elements.collect();
    if section.lacks("listen") {
        section.complain("listen", missing("listen", "[\"udp:0.0.0.0:5060\", \"tcp:0.0.0.0:5060\"]"), report);
    }
    if elements.len() > MAX_LISTENERS {
        let problem = format!("has {} addresses", elements.len());
        section.complain("listen", Fault::new(problem, format!("write at most {MAX_LISTENERS}")), report);
    }
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for (place, (address, own, has_own)) in elements.into_iter().enumerate() {
        let Some((transport, bind)) = address else { continue };
        // Port 0 is a new port each time, so two of them do not meet. TLS takes ports of TCP.
        if !seen.insert((transport.is_reliable(), bind)) && bind.port() != 0 {
            let problem = format!("{bind} stands here twice");
            section.complain_element("listen", place, Fault::new(problem, "leave one of them out"), report);
        }
        if bind.ip().is_unspecified() && !has_own && !section.has("advertised") {
            let problem = format!("peers cannot be told to send to {}", bind.ip());
            let mend = "write advertised = \"HOST\", the address that they reach this machine at";
            section.complain_element("listen", place, Fault::new(problem, mend), report);
        }
        if bind.ip().is_multicast() {
            let fault = Fault::new(format!("{bind} is a multicast address"), "write an address of this machine");
            section.complain_element("listen", place, fault, report);
        }
        let advertised = match own.or(of_all) {
            Some((host, Some(port))) => format!("{host}:{port}"),
            Some((host, None)) => format!("{host}:{}", bind.port()),
            None => bind.to_string(),
        };
        out.push((place, Listener { transport, bind, advertised: advertised.into() }));
    }
    out
}

/// What an element of `listen` is.
const LISTENER: &str = "address to listen at";

fn limits(section: &Section<'_>, report: &mut Report<'_>) -> Limits {
    let retry_after = |value: &toml::de::DeValue<'_>| {
        let time = value::duration(Duration::from_secs(1)..=Duration::from_secs(3_600))(value)?;
        if time.subsec_nanos() != 0 {
            let mend = format!("write \"{}s\"", time.as_secs() + 1);
            return Err(Fault::new("SIP knows only whole seconds here", mend));
        }
        Ok(u32::try_from(time.as_secs()).expect("an hour is 3,600 s"))
    };
    let default = sip::limits::Limits::default();
    let max_message = section.or("max_message_bytes", default.max_message, value::whole(1_300..=65_535), report);
    Limits {
        calls: section.or("max_calls", 20_000, value::whole(1..=1_000_000), report),
        texts: section.or("max_texts", 5_000, value::whole(1..=1_000_000), report),
        calls_per_number: section.or("max_calls_per_number", 0, value::whole(0..=1_000_000), report),
        transactions: section.or("max_transactions", 1_000_000, value::whole(100..=10_000_000), report),
        message: sip::limits::Limits { max_message, max_body: default.max_body.min(max_message), ..default },
        retry_after: section.or("retry_after", 5, retry_after, report),
    }
}

fn timers(section: &Section<'_>, report: &mut Report<'_>) -> CallTimers {
    let default = Timers::default();
    let range = Duration::from_millis(10)..=Duration::from_secs(60);
    let t1 = section.or("t1", default.t1, value::duration(range.clone()), report);
    let t2 = section.or("t2", default.t2, value::duration(range.clone()), report);
    let t4 = section.or("t4", default.t4, value::duration(range), report);
    for (key, time) in [("t2", t2), ("t4", t4)] {
        if time < t1 {
            let problem = format!("{} is shorter than t1, {}", value::written(time), value::written(t1));
            section.complain(key, Fault::new(problem, "write a time of at least t1"), report);
        }
    }
    let ceiling = Duration::from_secs(1)..=LONGEST;
    CallTimers {
        sip: Timers { t1, t2, t4 },
        safety_ceiling: section.or("safety_ceiling", Duration::from_secs(4 * 3_600), value::duration(ceiling), report),
    }
}

/// RFC 3261 §25.1 `server-val`: tokens and a version, parted by blanks.
fn product_name(section: &Section<'_>, report: &mut Report<'_>) -> Option<Box<str>> {
    let read = |value| {
        let found = value::text(value)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~/ ".contains(&byte);
        if found.len() <= 64 && found.bytes().all(fits) && found.trim() == found {
            return Ok(found);
        }
        let mend = "write at most 64 letters, digits and - . _ /, or \"\" to send no such header";
        Err(Fault::new(format!("{} cannot stand in a Server header", value::quote(found)), mend))
    };
    let name = section.or("server_name", "axbridge", read, report);
    (!name.is_empty()).then(|| name.into())
}

/// Gives each listener that was bound to port 0 the port that it got.
///
/// `bound` are the sockets' own addresses, in the order of the listeners. Call it once all are bound, before the first
/// message goes out: the advertised port stands in every Via and Contact.
pub fn settle_ports(listeners: &mut [Listener], bound: &[SocketAddr]) {
    for (listener, bound) in listeners.iter_mut().zip(bound) {
        if listener.bind.port() != 0 {
            continue;
        }
        listener.bind.set_port(bound.port());
        if let Some(host) = listener.advertised.strip_suffix(":0") {
            listener.advertised = format!("{host}:{}", bound.port()).into();
        }
    }
}

/// The listener that takes one of these ports, where there is one. TLS takes ports of TCP.
pub(super) fn taken_by(
    listeners: &[Listener],
    transport: Transport,
    bind: IpAddr,
    ports: (u16, u16),
) -> Option<&Listener> {
    listeners.iter().find(|listener| {
        let own = listener.bind.ip();
        let meet = own == bind || own.is_unspecified() || bind.is_unspecified();
        let port = listener.bind.port();
        listener.transport.is_reliable() == transport.is_reliable()
            && meet
            && port != 0
            && (ports.0..=ports.1).contains(&port)
    })
}
