//! `[dns]`: who knows the names of carriers.

use std::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::complaint::{Fault, Report};
use super::section::Section;
use super::{Dns, value};

pub(super) const KEYS: &[&str] = &["servers", "timeout"];

/// More are never needed: each is asked when those before do not answer.
const MAX_SERVERS: usize = 8;

pub(super) fn read(root: &Section<'_>, report: &mut Report<'_>) -> Dns {
    let mut out = Dns { servers: Vec::new(), timeout: Duration::from_secs(5) };
    let Some(section) = root.section("dns", KEYS, report) else { return out };
    let servers = section.list("servers", server, report);
    if servers.len() > MAX_SERVERS {
        let problem = format!("has {} addresses", servers.len());
        section.complain("servers", Fault::new(problem, format!("write at most {MAX_SERVERS}")), report);
    }
    out.servers = servers.into_iter().flatten().collect();
    let range = Duration::from_millis(100)..=Duration::from_secs(30);
    out.timeout = section.or("timeout", out.timeout, value::duration(range), report);
    out
}

fn server(value: &DeValue<'_>) -> Result<SocketAddr, Fault> {
    let address = value::socket(value)?;
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        let mend = "write the address and the port of a DNS server, e.g. \"192.0.2.53:53\"";
        return Err(Fault::new(format!("nobody can be asked at {address}"), mend));
    }
    Ok(address)
}
