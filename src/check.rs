//! `axbridge check FILE`: says every mistake of a configuration, each with its mend, and opens nothing.

use std::path::Path;
use std::process::ExitCode;

use crate::config;

/// Exit code 0 when the file can be served, 1 when it cannot.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok(config) => {
            println!(
                "{}: good: {} trunks, {} apps, {} numbers, {} bindings",
                file.display(),
                config.settings.trunks.len(),
                config.settings.apps.len(),
                config.numbers.len(),
                config.bindings.len(),
            );
            ExitCode::SUCCESS
        }
        Err(complaints) => {
            for complaint in &complaints {
                eprintln!("{complaint}");
            }
            eprintln!(
                "{}: {} mistake{}",
                file.display(),
                complaints.len(),
                if complaints.len() == 1 { "" } else { "s" }
            );
            ExitCode::FAILURE
        }
    }
}
