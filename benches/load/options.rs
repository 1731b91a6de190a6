//! The command line of the bench.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::floor::Role;

/// Both ends of many calls through a running axbridge: what a call and a packet cost.
#[derive(Parser, Debug)]
#[command(name = "load")]
pub(crate) struct Options {
    /// A few calls on free ports, in a few seconds: does everything still work?
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Find the highest rate of calls without a failure and with less than 1 % sent again.
    #[arg(long)]
    pub(crate) search: bool,
    /// New calls a second, one measurement each.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 500], value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) rates: Vec<u32>,
    /// How long each rate is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Calls that talk at once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub(crate) calls: u32,
    /// Seconds of talk that are measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) window: u32,
    /// For the binds: clients at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) clients: u32,
    /// For the extensions: callers who are asked at once.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=4_000))]
    pub(crate) callers: u32,
    /// For the overload: the highest clean rate, where it is known; else it is searched.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) peak: Option<u32>,
    /// For the overload: so many loops without an end share the daemon's core, so that the daemon, and not these phones, is
    /// what is overloaded.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) hogs: u32,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// On ports and folders of its own, beside a bench or daemon that has those of etc/bench.toml.
    #[arg(long)]
    pub(crate) free_ports: bool,
    /// Measure this binary instead of the one that was built with the bench.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_axbridge"))]
    pub(crate) daemon: PathBuf,
    /// The bench starts itself with this, for the kernel's floor.
    #[arg(long, hide = true, value_enum)]
    pub(crate) floor: Option<Role>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
    /// What cargo takes for the name of a bench.
    #[arg(hide = true)]
    filter: Option<String>,
}

/// What can be measured on its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Part {
    /// What the kernel alone costs.
    Floor,
    /// Calls without voices.
    Signalling,
    /// Calls with voices.
    Media,
    /// Durable binds by the API, beside calls. Only where it is asked for.
    Binding,
    /// Callers who are asked for an extension, beside calls that are forwarded. Only where it is asked for.
    Extensions,
    /// More new calls than can be served, while others are up. Only where it is asked for.
    Overload,
    /// Calls whose app is told what happens to them, beside calls whose app is not. Only where it is asked for.
    Told,
}

impl Options {
    pub(crate) fn wants(&self, part: Part) -> bool {
        let is_asked_for = matches!(part, Part::Overload | Part::Binding | Part::Extensions | Part::Told);
        self.only.contains(&part) || (self.only.is_empty() && !is_asked_for)
    }
}
