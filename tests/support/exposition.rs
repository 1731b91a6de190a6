//! `/metrics` over HTTP, and a strict reader of Prometheus' text format.
//!
//! ```text
//!   # HELP name words          each family once: HELP, TYPE, then its samples and no others
//!   # TYPE name counter|gauge|histogram
//!   name{label="value",…} 1
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// Answer to a GET: status, headers, body.
pub(crate) fn get(server: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("the headers end");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Everything that was scraped.
#[derive(Clone, Debug)]
pub(crate) struct Exposition {
    pub(crate) text: String,
    pub(crate) families: BTreeMap<String, Family>,
}

impl Exposition {
    pub(crate) fn scrape(server: SocketAddr) -> Exposition {
        let (status, head, body) = get(server, "/metrics");
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("content-type: text/plain"), "{head}");
        Exposition::parse(body)
    }

    /// Reads it; whatever is not as it should be fails.
    pub(crate) fn parse(text: String) -> Exposition {
        assert!(text.ends_with('\n'), "the last line does not end");
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let (mut helped, mut current) = (None, String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(!words.trim().is_empty(), "no help: {line}");
                helped = Some(name.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                assert_eq!(helped.take().as_deref(), Some(name), "TYPE without its HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let family = Family { kind: kind.to_owned(), samples: Vec::new() };
                assert!(families.insert(name.to_owned(), family).is_none(), "{name} twice");
                current = name.to_owned();
            } else {
                let sample = Sample::parse(line);
                let family = families.get_mut(&current).unwrap_or_else(|| panic!("a sample of nothing: {line}"));
                let endings: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(endings.iter().any(|ending| sample.name == format!("{current}{ending}")), "astray: {line}");
                family.samples.push(sample);
            }
        }
        let exposition = Exposition { text, families };
        exposition.check_unique();
        exposition.check_histograms();
        exposition
    }

    /// The value of a sample, which must be there once.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let found = self.samples().find(|sample| sample.name == name && sample.labels == wanted);
        found.unwrap_or_else(|| panic!("no {name}{labels:?} in\n{}", self.text)).value
    }

    /// The sum of a family's samples.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.families.get(name).unwrap_or_else(|| panic!("no {name}")).samples.iter().map(|sample| sample.value).sum()
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }

    fn check_unique(&self) {
        let mut seen = BTreeSet::new();
        for sample in self.samples() {
            assert!(seen.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
        }
    }

    /// Buckets grow, and the last one, `+Inf`, is the count.
    fn check_histograms(&self) {
        for (name, family) in self.families.iter().filter(|(_, family)| family.kind == "histogram") {
            let buckets: Vec<&Sample> =
                family.samples.iter().filter(|sample| sample.name == format!("{name}_bucket")).collect();
            let edges: Vec<f64> = buckets.iter().map(|bucket| number(&bucket.labels["le"])).collect();
            assert!(edges.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {edges:?}");
            assert!(buckets.windows(2).all(|pair| pair[0].value <= pair[1].value), "{name}: {buckets:?}");
            assert_eq!(edges.last(), Some(&f64::INFINITY), "{name}");
            assert_eq!(buckets.last().unwrap().value, self.value(&format!("{name}_count"), &[]), "{name}");
            assert!(self.value(&format!("{name}_sum"), &[]) >= 0.0, "{name}");
        }
    }
}

impl Sample {
    fn parse(line: &str) -> Sample {
        let bad = || -> ! { panic!("no sample: {line}") };
        let Some((series, value)) = line.rsplit_once(' ') else { bad() };
        let (name, labels) = match series.split_once('{') {
            None => (series, ""),
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| bad())),
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
        };
        if !is_name(name) {
            bad();
        }
        let mut read = BTreeMap::new();
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let Some((key, quoted)) = label.split_once('=') else { bad() };
            let value = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| bad());
            if !is_name(key) || value.contains(['"', '\\']) || read.insert(key.to_owned(), value.to_owned()).is_some() {
                bad();
            }
        }
        Sample { name: name.to_owned(), labels: read, value: number(value) }
    }
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("no number: {text}")),
    }
}
