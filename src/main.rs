//! The command line: serve, check a configuration, demonstrate, ask a running daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use axbridge::command::{self, Question};
use axbridge::{check, demo, serve};
use clap::{Parser, Subcommand};

/// A self-hosted privacy-number platform: two people talk through a virtual number, neither learns the other's.
#[derive(Parser)]
#[command(name = "axbridge", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Serve with this configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep durable state in this folder, whatever the configuration says.
    #[arg(long, value_name = "DIR", requires = "config")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration without opening a port: every mistake with its line and the mend.
    Check {
        /// The configuration (TOML).
        file: PathBuf,
    },
    /// Place one real call on loopback ports and show it as it happens.
    Demo {
        /// Keep recording.wav, ladder.txt and cdr.json in this folder.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    #[command(flatten)]
    Ask(Box<Question>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (arguments.command, arguments.config) {
        (Some(Command::Check { file }), _) => check::run(&file),
        (Some(Command::Demo { out }), _) => demo::run(out.as_deref()),
        (Some(Command::Ask(question)), _) => command::run(&question),
        (None, Some(file)) => serve::run(&file, arguments.data.as_deref()),
        (None, None) => {
            eprintln!(
                "axbridge: nothing to do: give --config FILE to serve, or a command (axbridge --help lists them)"
            );
            ExitCode::from(2)
        }
    }
}
