//! schemathesis' opinion of the admin API: it reads `openapi.json`, sends what the document allows and what it forbids, and compares
//! every answer with what the document says of it.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use support::daemon::Daemon;
use support::package;
use support::setup::{Setup, Site};

mod support;

const TOKEN: &str = "token-of-the-schema-test";

/// A daemon with an API, and apps and numbers to be found.
fn daemon(site: &Site) -> Daemon {
    let mut setup = Setup::new();
    // Port 9 discards.
    setup.trunk("carrier", "127.0.0.1", Some((Ipv4Addr::LOCALHOST, 9).into()), "");
    setup.bind(support::X, support::A, support::B, "carrier");
    site.write(&setup);
    let text = fs::read_to_string(site.file()).unwrap();
    let api = format!(
        "\n[store]\ndir = \"data\"\n\n[api]\nhttp = \"127.0.0.1:0\"\n\n[[admin]]\nname = \"full\"\ntoken = \"{TOKEN}\"\nscope = \"full\"\n"
    );
    site.write_text(&(text + &api));
    site.start()
}

/// Where the daemon has said that it serves HTTP.
fn address(daemon: &Daemon) -> String {
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("serving the API") && line.contains("\"http\""));
    line.and_then(|line| line.split("address=").nth(1)).expect("it serves the API").trim().to_owned()
}

/// Runs schemathesis for at most a minute, with the same seed each time.
fn schemathesis(site: &Site, daemon: &Daemon, arguments: &[&str], change: impl FnOnce(&mut Command)) {
    let folder = package().join("tests/schema");
    let program = package().join("target/schemathesis/bin/schemathesis");
    assert!(program.exists(), "{} is not there; ./test.sh installs it", program.display());
    // Below `timeout`, should its own bound not hold.
    let mut command = Command::new("timeout");
    command.arg("180").arg(program).arg("--config-file").arg(folder.join("schemathesis.toml")).arg("run");
    command.arg(format!("http://{}/admin/v1/openapi.json", address(daemon))).args(arguments);
    command.args([
        "--seed",
        "1",
        "--max-examples",
        "40",
        "--suppress-health-check",
        "filter_too_much",
        "--continue-on-failure",
        "--no-color",
        "--warnings",
        "off",
    ]);
    // It leaves folders where it runs.
    command.current_dir(site.folder()).stdin(Stdio::null()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SCHEMATHESIS_HOOKS", folder.join("hooks.py"));
    change(&mut command);
    let output = command.output().unwrap_or_else(|error| panic!("timeout cannot be run ({error})"));
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    // It has not just found nothing to do.
    assert!(printed.contains("No issues found"), "{printed}");
}

#[test]
fn the_admin_api_is_as_its_document_says() {
    let site = Site::new();
    let mut daemon = daemon(&site);
    let header = format!("Authorization: Bearer {TOKEN}");
    schemathesis(&site, &daemon, &["-H", &header, "--max-time", "60"], |_| {});
    assert!(!daemon.has_ended());
    let log = daemon.terminate();
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn the_admin_api_lets_nobody_in_without_a_token() {
    let site = Site::new();
    let daemon = daemon(&site);
    schemathesis(&site, &daemon, &["--checks", "nobody_is_let_in", "--max-time", "20"], |command| {
        command.env("AXBRIDGE_NO_TOKEN", "1");
    });
    daemon.terminate();
}
