//! What the integration tests share: the built daemon as a process, phones on real sockets, and what can be read of both.
//!
//! ```text
//!   Site: a folder, a configuration ─▶ Daemon: a process ◀── SIP, RTP ──▶ Booth: phones ── loopback, 127.0.0.1 and up
//!                                        ├ log (stderr), exit code
//!                                        ├ /metrics ─▶ Exposition
//!                                        ├ the API ─▶ http: customers' and operators' programs
//!                                        └ CDR lines, recordings ─▶ wav
//! ```
//!
//! Nothing sleeps before it looks: every wait looks for its event again and again, up to [`PATIENCE`].

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::time::Duration;

use axbridge::clock::Clock;

pub(crate) mod booth;
pub(crate) mod centre;
pub(crate) mod daemon;
pub(crate) mod dns;
pub(crate) mod exposition;
pub(crate) mod http;
pub(crate) mod pki;
pub(crate) mod receiver;
pub(crate) mod secure;
pub(crate) mod setup;
pub(crate) mod sip;
pub(crate) mod talk;
pub(crate) mod wav;

/// A binding's party that calls, speaking [`VOICE_OF_A`].
pub(crate) const A: &str = "+8613800000001";
/// The other one, speaking [`VOICE_OF_B`].
pub(crate) const B: &str = "+8613900000002";
/// Their virtual number.
pub(crate) const X: &str = "+8675512340001";

/// In Hz.
pub(crate) const VOICE_OF_A: f64 = 440.0;
/// In Hz.
pub(crate) const VOICE_OF_B: f64 = 620.0;

/// The longest that a test waits for anything. Machines that build at the same time are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a look that failed is not repeated.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.now() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// The folder of the package.
pub(crate) fn package() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program prints; fails where it is not installed or ends in an error.
pub(crate) fn output_of(program: &str, arguments: &[&str], file: &std::path::Path) -> Vec<u8> {
    let output = std::process::Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}); ./test.sh installs it"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The same as a line.
pub(crate) fn line_of(program: &str, arguments: &[&str], file: &std::path::Path) -> String {
    String::from_utf8(output_of(program, arguments, file)).unwrap().trim().to_owned()
}
