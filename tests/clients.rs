//! Other programs' opinion of the customers' API: the clients of `tests/clients/`, written from its documentation alone, against the
//! built daemon.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};

use support::package;
use support::setup::Site;

mod support;

/// City and first X of each app: five X in the first two, where one client each allocates, ten in the third.
const CITIES: [(&str, u32); 3] = [("755", 5), ("10", 5), ("21", 10)];

/// One app of each mode, with its own X in every city.
fn configuration(site: &Site) -> String {
    let mut text = format!(
        r#"[sip]
listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]

[media]
bind = "127.0.0.1"
ports = "{}"

[store]
dir = "data"

[recording]
dir = "recordings"

[cdr]
file = "cdr.jsonl"

[api]
http = "127.0.0.1:0"
https = "127.0.0.1:0"

[metrics]
listen = "127.0.0.1:0"

[[trunk]]
name = "carrier"
sources = ["127.0.0.1"]
targets = ["udp:127.0.0.1:9"]
"#,
        site.ports()
    );
    for (digit, mode) in [(1, "axb"), (2, "ax"), (3, "axe")] {
        let _ = write!(
            text,
            r#"
[[app]]
name = "bench-{mode}"
hint_tone = "zh/hint_tone.wav"
recording = true
mode = "{mode}"
secret = "bench-secret"
cool_off = "0s"
requests_per_second = 10000
"#
        );
        for (city, count) in CITIES {
            for place in 1..=count {
                let _ = write!(
                    text,
                    "\n[[number]]\nx = \"+86{city}88{digit}000{place:02}\"\napp = \"bench-{mode}\"\ntrunk = \"carrier\"\n"
                );
            }
        }
    }
    text
}

/// A client at work.
struct Client {
    name: String,
    process: Child,
}

impl Client {
    fn start(program: &str, script: &str, arguments: &[&str]) -> Client {
        let script = package().join("tests/clients").join(script);
        let mut command = Command::new(program);
        command.arg(&script).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process =
            command.spawn().unwrap_or_else(|error| panic!("{program} cannot be run ({error}); ./test.sh installs it"));
        Client { name: format!("{program} {} {}", script.display(), arguments.join(" ")), process }
    }

    /// Its exit code and everything that it prints.
    fn end(self) -> (Option<i32>, String) {
        let output = self.process.wait_with_output().unwrap();
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code(), format!("{}\n{printed}", self.name))
    }
}

#[test]
fn clients_in_python_and_php_find_what_the_documentation_says() {
    let site = Site::new();
    site.write_text(&configuration(&site));
    let mut daemon = site.start();
    let urls = [("http", daemon.http), ("https", daemon.https)]
        .map(|(scheme, address)| format!("{scheme}://{}", address.expect("it serves both")));

    for url in &urls {
        for (one, other) in [("AKSK", "WSSE"), ("WSSE", "AKSK")] {
            // Side by side, each with the X of its own city.
            let clients = [
                Client::start("python3", "scenario.py", &["--url", url, "--generation", one, "--area", "0755"]),
                Client::start("php", "scenario.php", &["--url", url, "--generation", other, "--area", "010"]),
            ];
            for (code, printed) in clients.map(Client::end) {
                println!("{printed}");
                assert_eq!(code, Some(0), "{printed}");
                assert!(printed.trim_end().ends_with(": as documented"), "{printed}");
            }
        }
    }

    // They notice what is wrong: here that no answer is a success.
    let clients = [("python3", "scenario.py"), ("php", "scenario.php")]
        .map(|(program, script)| Client::start(program, script, &["--url", &urls[0], "--secret", "another"]));
    for (code, printed) in clients.map(Client::end) {
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("DIFFERENT at step ") && printed.contains("no success: HTTP 403"), "{printed}");
    }

    assert!(!daemon.has_ended());
    daemon.terminate();
}
