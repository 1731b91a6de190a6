//! `axbridge --config FILE`: serve until SIGTERM; SIGHUP takes the file anew.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::clock::Clock;
use crate::config::{self, Complaint, Format, Log};
use crate::daemon::Daemon;

/// How often it is seen whether the signalling loop has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Serves. Exit code 0 after an orderly end, 1 when it could not begin or broke, 2 for a configuration with mistakes.
#[must_use]
pub fn run(file: &Path, data: Option<&Path>) -> ExitCode {
    let config = match config::load(file) {
        Ok(mut config) => {
            if let Some(data) = data {
                config.store = data.to_owned();
            }
            config
        }
        Err(complaints) => {
            complain(&complaints);
            return ExitCode::from(2);
        }
    };
    begin_log(&config.log);
    let signals = match caught() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("axbridge: signals cannot be caught: {error}");
            return ExitCode::FAILURE;
        }
    };
    let daemon = match Daemon::start(config, Clock::start(), None) {
        Ok(daemon) => daemon,
        Err(error) => {
            eprintln!("axbridge: {error}");
            return ExitCode::FAILURE;
        }
    };
    for (transport, address) in daemon.sip_addresses() {
        tracing::info!(transport = transport.as_str(), %address, "serving SIP");
    }
    for (scheme, address) in daemon.api_addresses() {
        tracing::info!(scheme = scheme.as_str(), %address, "serving the API");
    }
    if let Some(address) = daemon.metrics_address() {
        tracing::info!(%address, "serving /metrics");
    }
    if until_ended(daemon, &signals, file) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// SIGHUP, SIGTERM and SIGINT, as they come.
fn caught() -> std::io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    let (sender, receiver) = bounded(16);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn until_ended(mut daemon: Daemon, signals: &Receiver<i32>, file: &Path) -> bool {
    let mut draining = false;
    while !daemon.has_ended() {
        match signals.recv_timeout(LOOK) {
            Ok(SIGHUP) => reload(&mut daemon, file),
            Ok(_) if draining => {
                tracing::warn!("ending every call now");
                daemon.stop();
            }
            Ok(_) => {
                draining = true;
                tracing::info!("draining: no new calls; a second signal ends the calls in progress");
                daemon.drain();
            }
            Err(_) => {}
        }
    }
    tracing::info!("ended");
    daemon.finish()
}

fn reload(daemon: &mut Daemon, file: &Path) {
    match config::load(file) {
        Ok(config) => match daemon.reload(config) {
            Ok(summary) => tracing::info!(?summary, "configuration taken"),
            Err(error) => tracing::error!(%error, "configuration not taken; the old one stands"),
        },
        Err(complaints) => {
            complain(&complaints);
            tracing::error!(mistakes = complaints.len(), "configuration not taken; the old one stands");
        }
    }
}

fn complain(complaints: &[Complaint]) {
    for complaint in complaints {
        eprintln!("{complaint}");
    }
}

fn begin_log(log: &Log) {
    let configured = || EnvFilter::new(log.level.as_str());
    let filter = match std::env::var("AXBRIDGE_LOG") {
        Ok(filter) => EnvFilter::try_new(filter).unwrap_or_else(|error| {
            eprintln!("axbridge: AXBRIDGE_LOG is no filter, [log] level goes: {error}");
            configured()
        }),
        Err(_) => configured(),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let begun = match log.format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().try_init(),
    };
    if let Err(error) = begun {
        eprintln!("axbridge: logging cannot begin: {error}");
    }
}
