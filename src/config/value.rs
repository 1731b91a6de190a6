//! Readers of single values: what is accepted, and what is said of the rest.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use sip::transaction::Transport;
use toml::de::DeValue;

use super::complaint::{Fault, nearest};
use super::section::wrong_kind;

/// Quotes what stands in the file, cut when it is long, so that a complaint stays a line.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("`");
    for (place, c) in text.chars().enumerate() {
        if place == 80 {
            out.push('…');
            break;
        }
        out.extend(c.escape_debug());
    }
    out.push('`');
    out
}

/// Any text.
pub(super) fn text<'v>(value: &'v DeValue<'v>) -> Result<&'v str, Fault> {
    match value {
        DeValue::String(text) => Ok(text),
        DeValue::Integer(number) => {
            Err(wrong_kind(value, "a text", &format!("put it in quotation marks: \"{number}\"")))
        }
        other => Err(wrong_kind(other, "a text", "put it in quotation marks")),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        other => Err(wrong_kind(other, "true or false", "write true or false, without quotation marks")),
    }
}

/// A whole number within limits.
pub(super) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, Fault>
where
    T: TryFrom<i128> + PartialOrd + fmt::Display,
{
    move |value| {
        let DeValue::Integer(number) = value else {
            let mend = format!("write a whole number of {} to {}", range.start(), range.end());
            return Err(wrong_kind(value, "a whole number", &mend));
        };
        i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let mend = format!("write a whole number of {} to {}", range.start(), range.end());
                Fault::new(format!("{number} is out of range"), mend)
            })
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| {
        let all = || {
            let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let (last, others) = quoted.split_last().expect("there is a choice of words");
            format!("{} or {last}", others.join(", "))
        };
        let DeValue::String(found) = value else {
            return Err(wrong_kind(value, "a word", &format!("write {}", all())));
        };
        let found: &str = found;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == found) {
            return Ok(*meaning);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let mend = match nearest(found, &known) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write {}", all()),
        };
        Err(Fault::new(format!("{} is not known", quote(found)), mend))
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A time with its unit: `500ms`, `5s`, `2m`, `4h`, `7d`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Result<Duration, Fault> {
    move |value| {
        let found: &str = match value {
            DeValue::String(text) => text,
            // A number without unit has been read as seconds by one and as milliseconds by the other.
            DeValue::Integer(number) => {
                return Err(wrong_kind(value, "a time", &format!("write its unit: \"{number}s\" or \"{number}ms\"")));
            }
            other => return Err(wrong_kind(other, "a time", "write e.g. \"500ms\", \"5s\", \"2m\", \"4h\" or \"7d\"")),
        };
        let digits = found.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = found.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
        let parsed = unit.and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor));
        let Some(millis) = parsed else {
            return Err(Fault::new(
                format!("{} is no time", quote(found)),
                "write e.g. \"500ms\", \"5s\", \"2m\", \"4h\" or \"7d\"",
            ));
        };
        let time = Duration::from_millis(millis);
        if range.contains(&time) {
            return Ok(time);
        }
        let mend = format!("write a time of {} to {}", written(*range.start()), written(*range.end()));
        Err(Fault::new(format!("{} is out of range", quote(found)), mend))
    }
}

/// A time as the file would say it.
pub(super) fn written(time: Duration) -> String {
    let millis = time.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let (name, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)))
        .expect("every whole number is a multiple of 1 ms");
    format!("{}{name}", millis / u128::from(*factor))
}

/// What stands before an address.
const TRANSPORTS: [(&str, Transport); 3] = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];

/// The protocol before the first colon: as it stands, what it means, and what follows.
pub(super) fn transport(text: &str) -> Option<(&str, Transport, &str)> {
    let (name, rest) = text.split_once(':')?;
    let (_, transport) = TRANSPORTS.into_iter().find(|(known, _)| *known == name)?;
    Some((name, transport, rest))
}

/// An address with its protocol: `udp:192.0.2.1:5060`, `tls:[2001:db8::1]:5061`.
pub(super) fn endpoint(noun: &'static str) -> impl Fn(&DeValue<'_>) -> Result<(Transport, SocketAddr), Fault> {
    const MEND: &str = "write udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT";
    move |value| {
        let found = text_or(value, MEND)?;
        let Some((name, transport, rest)) = transport(found) else {
            return Err(Fault::new(format!("{} is no {noun}", quote(found)), MEND));
        };
        rest.parse().map(|address| (transport, address)).map_err(|_| {
            let port = transport.default_port();
            let mend = match rest.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => format!("write the port too: {found}:{port}"),
                Ok(IpAddr::V6(_)) => format!("write the address in brackets and the port: {name}:[{rest}]:{port}"),
                Err(_) => MEND.to_owned(),
            };
            Fault::new(format!("{} is no {noun}", quote(found)), mend)
        })
    }
}

/// An endpoint as the file says it.
pub(super) fn spelt(transport: Transport, address: SocketAddr) -> String {
    format!("{}:{address}", transport.as_str().to_ascii_lowercase())
}

/// An address and a port.
pub(super) fn socket(value: &DeValue<'_>) -> Result<SocketAddr, Fault> {
    let found = text_or(value, "write \"ADDRESS:PORT\"")?;
    found
        .parse()
        .map_err(|_| Fault::new(format!("{} is no address with a port", quote(found)), "write \"ADDRESS:PORT\""))
}

/// An address.
pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, Fault> {
    let mend = "write an IP address without a port, e.g. \"192.0.2.1\"";
    let found = text_or(value, mend)?;
    found.parse().map_err(|_| Fault::new(format!("{} is no IP address", quote(found)), mend))
}

/// An address that others can send to.
pub(super) fn reachable(value: &DeValue<'_>) -> Result<IpAddr, Fault> {
    let address = address(value)?;
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        let mend = "write the address that peers reach this machine at";
        return Err(Fault::new(format!("nobody can send to {address}"), mend));
    }
    Ok(address)
}

/// A network, or one address: `192.0.2.0/24`, `192.0.2.7`.
pub(super) fn network(value: &DeValue<'_>) -> Result<IpNet, Fault> {
    let mend = "write ADDRESS or ADDRESS/LENGTH, e.g. \"192.0.2.0/24\"";
    let found = text_or(value, mend)?;
    if let Ok(address) = found.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let no_network = || Fault::new(format!("{} is no network", quote(found)), mend);
    let (address, length) = found.split_once('/').ok_or_else(no_network)?;
    let address: IpAddr = address.parse().map_err(|_| no_network())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let network = length.parse::<u8>().ok().and_then(|length| IpNet::new(address, length).ok());
    let Some(network) = network else {
        let problem = format!("{} has no prefix length of 0 to {longest}", quote(found));
        return Err(Fault::new(problem, format!("write e.g. \"{address}/{longest}\"")));
    };
    if network.addr() != network.network() {
        let problem = format!("{} has bits beyond its prefix", quote(found));
        return Err(Fault::new(problem, format!("write \"{}\" or \"{address}\"", network.trunc())));
    }
    Ok(network)
}

/// RTP ports: `30000-59999`. The first is even, the last odd: RTP takes the even one, RTCP the odd one above (RFC 3550
/// §11). Gives the first and the last RTP port.
pub(super) fn port_range(value: &DeValue<'_>) -> Result<(u16, u16), Fault> {
    let mend = "write FIRST-LAST, e.g. \"30000-59999\"";
    let found = text_or(value, mend)?;
    let parsed = found
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?)));
    let Some((first, last)) = parsed else {
        return Err(Fault::new(format!("{} is no range of ports", quote(found)), mend));
    };
    if first < 1_024 {
        let problem = format!("{} begins below 1024", quote(found));
        return Err(Fault::new(problem, "write a first port of 1024 to 65532"));
    }
    if !first.is_multiple_of(2) {
        let problem = format!("{first} is odd, but RTP ports are even");
        return Err(Fault::new(problem, format!("write \"{}-{last}\"", first - 1)));
    }
    if last.is_multiple_of(2) {
        let problem = format!("{last} is even, so its RTCP port would lie outside");
        return Err(Fault::new(problem, format!("write \"{first}-{}\"", last + 1)));
    }
    if last < first || last - first < 3 {
        let problem = format!("{} does not hold the four ports of one call", quote(found));
        return Err(Fault::new(problem, format!("write a last port of {} or above", u32::from(first) + 3)));
    }
    Ok((first, last - 1))
}

/// A name of ours: in logs, metrics, CDRs and in other keys.
pub(super) fn name<'v>(value: &'v DeValue<'v>) -> Result<&'v str, Fault> {
    let mend = "write 1 to 64 of the characters A-Z a-z 0-9 . _ -";
    let found = text_or(value, mend)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&found.len()) && found.bytes().all(fits) {
        return Ok(found);
    }
    Err(Fault::new(format!("{} is no name", quote(found)), mend))
}

/// `host` or `host:port` as it is to stand in Via and Contact (RFC 3261 §25.1): a name, an IPv4 address or an IPv6 one
/// in brackets.
pub(super) fn host_port<'v>(value: &'v DeValue<'v>) -> Result<(&'v str, Option<u16>), Fault> {
    let mend = "write \"HOST\" or \"HOST:PORT\"";
    let found = text_or(value, mend)?;
    let no_host = |mend: String| Fault::new(format!("{} is no host", quote(found)), mend);
    if found.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(no_host(format!("write it in brackets: \"[{found}]\"")));
    }
    let (host, port) = match found.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            (host, Some(port.ok_or_else(|| no_host(mend.to_owned()))?))
        }
        Some(_) | None => (found, None),
    };
    let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => Some(IpAddr::V6(inner.parse().map_err(|_| no_host(mend.to_owned()))?)),
        None => host.parse::<IpAddr>().ok(),
    };
    if address.is_some_and(|address| address.is_unspecified()) {
        let mend = "write the address that peers reach this machine at";
        return Err(Fault::new(format!("nobody can send to {host}"), mend));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if address.is_none() && !(host.len() <= 253 && host.split('.').all(label)) {
        return Err(no_host(mend.to_owned()));
    }
    Ok((host, port))
}

fn text_or<'v>(value: &'v DeValue<'v>, mend: &str) -> Result<&'v str, Fault> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(wrong_kind(other, "a text", mend)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader says of a TOML value.
    fn read<T: fmt::Debug>(toml: &str, reader: impl Fn(&DeValue<'_>) -> Result<T, Fault>) -> String {
        let value = DeValue::parse(toml).unwrap();
        match reader(value.get_ref()) {
            Ok(value) => format!("{value:?}"),
            Err(fault) => format!("{} — {}", fault.problem, fault.mend),
        }
    }

    #[test]
    fn a_time_is_a_whole_number_and_its_unit() {
        let all = || duration(Duration::ZERO..=Duration::from_secs(7 * 86_400));
        for (toml, time) in [
            ("\"500ms\"", "500ms"),
            ("\"5s\"", "5s"),
            ("\"5 s\"", "5s"),
            ("\"2m\"", "120s"),
            ("\"4h\"", "14400s"),
            ("\"7d\"", "604800s"),
            ("\"0s\"", "0ns"),
        ] {
            assert_eq!(read(toml, all()), time, "{toml}");
        }
        for toml in
            ["\"\"", "\"s\"", "\"5\"", "\"5S\"", "\"-5s\"", "\"5.5s\"", "\"5s \"", "\"1h30m\"", "\"9999999999999999d\""]
        {
            assert!(read(toml, all()).contains(" is no time — write e.g."), "{toml}");
        }
        assert_eq!(read("\"8d\"", all()), "`8d` is out of range — write a time of 0s to 7d");
        assert_eq!(read("5", all()), "is a number, not a time — write its unit: \"5s\" or \"5ms\"");
        assert_eq!(
            read("true", all()),
            "is true or false, not a time — write e.g. \"500ms\", \"5s\", \"2m\", \"4h\" or \"7d\""
        );
    }

    #[test]
    fn a_time_is_written_with_its_largest_whole_unit() {
        for (millis, expected) in
            [(0, "0s"), (1, "1ms"), (1_500, "1500ms"), (60_000, "1m"), (90_000, "90s"), (86_400_000, "1d")]
        {
            assert_eq!(written(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_whole_number_is_read_in_every_base_and_kept_within_limits() {
        for (toml, number) in [("10", "10"), ("1_0", "10"), ("0x0a", "10"), ("0b1010", "10"), ("+10", "10")] {
            assert_eq!(read(toml, whole(1_u16..=10)), number, "{toml}");
        }
        for toml in ["11", "0", "-1", "0x1_0000_0000", "170141183460469231731687303715884105728"] {
            assert!(
                read(toml, whole(1_u16..=10)).ends_with(" is out of range — write a whole number of 1 to 10"),
                "{toml}"
            );
        }
    }

    #[test]
    fn an_endpoint_has_a_protocol_an_address_and_a_port() {
        assert_eq!(read("\"udp:192.0.2.1:5060\"", endpoint("target")), "(Udp, 192.0.2.1:5060)");
        assert_eq!(read("\"tcp:[2001:db8::1]:0\"", endpoint("target")), "(Tcp, [2001:db8::1]:0)");
        assert_eq!(read("\"tls:192.0.2.1:5061\"", endpoint("target")), "(Tls, 192.0.2.1:5061)");
        for found in [
            "",
            "udp",
            "udp:",
            ":::",
            "sctp:192.0.2.1:5060",
            "192.0.2.1:5060",
            "udp:192.0.2.1:70000",
            "UDP:192.0.2.1:1",
        ] {
            assert_eq!(
                read(&format!("\"{found}\""), endpoint("target")),
                format!("`{found}` is no target — write udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT")
            );
        }
    }

    #[test]
    fn a_network_says_no_more_bits_than_its_prefix() {
        for (toml, expected) in [
            ("\"192.0.2.0/24\"", "192.0.2.0/24"),
            ("\"192.0.2.7\"", "192.0.2.7/32"),
            ("\"2001:db8::/32\"", "2001:db8::/32"),
            ("\"2001:db8::1\"", "2001:db8::1/128"),
            ("\"0.0.0.0/0\"", "0.0.0.0/0"),
        ] {
            assert_eq!(read(toml, network), expected, "{toml}");
        }
        assert_eq!(
            read("\"2001:db8::1/32\"", network),
            "`2001:db8::1/32` has bits beyond its prefix — write \"2001:db8::/32\" or \"2001:db8::1\""
        );
        for found in ["", "/", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/256", "2001:db8::/129", "192.0.2/24", "/24"] {
            let said = read(&format!("\"{found}\""), network);
            assert!(said.contains(" is no network — ") || said.contains(" has no prefix length of "), "{said}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for (found, expected) in [
            ("sip.example", "(\"sip.example\", None)"),
            ("sip.example:5070", "(\"sip.example\", Some(5070))"),
            ("203.0.113.5:5060", "(\"203.0.113.5\", Some(5060))"),
            ("[2001:db8::1]", "(\"[2001:db8::1]\", None)"),
            ("[2001:db8::1]:5060", "(\"[2001:db8::1]\", Some(5060))"),
        ] {
            assert_eq!(
                read(&format!("\"{found}\""), |value| host_port(value).map(|read| format!("{read:?}"))),
                format!("{expected:?}")
            );
        }
        for found in [
            "", ":", ":5060", "a:", "a:b", "a:65536", "a b", "-a", "a-", "a..b", "[::1", "::1]", "[a]:1", "a;b", "a>b",
            "号",
        ] {
            let said = read(&format!("\"{found}\""), |value| host_port(value).map(|_| ()));
            assert_eq!(said, format!("{} is no host — write \"HOST\" or \"HOST:PORT\"", quote(found)));
        }
        assert!(read("\"[::]:5060\"", |value| host_port(value).map(|_| ())).starts_with("nobody can send to [::] — "));
    }

    #[test]
    fn what_is_quoted_stays_one_short_line() {
        assert_eq!(quote("a\r\nb\u{1b}"), "`a\\r\\nb\\u{1b}`");
        assert_eq!(quote(&"号".repeat(500)).chars().count(), 80 + 3);
    }
}
