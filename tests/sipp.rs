//! Another implementation's opinion: every SIPp story of `sip-scenarios/` against the built daemon.
//!
//! The stories' ports are fixed: 7060, 7180 to 7182 and 27000 to 27999 at 127.0.0.1; 7098 to 7100, 7197 to 7199 and RTP from 26000 at the
//! addresses 127.0.1.N and 127.0.2.N. Whatever else uses them makes this test fail.

use std::fs;
use std::process::Command;

use support::setup::Site;
use support::{package, until};

mod support;

#[test]
fn every_story_passes_and_leaves_nothing_behind() {
    let scenarios = package().join("sip-scenarios");
    let site = Site::new();
    let text = fs::read_to_string(scenarios.join("daemon.toml")).unwrap();
    let folder = site.folder().to_str().expect("the temporary folder has a plain name");
    assert!(text.contains("../out/stories"), "the stories' daemon writes elsewhere now");
    site.write_text(&text.replace("../out/stories", folder));
    let mut daemon = site.start();

    let output = Command::new(scenarios.join("run")).arg("--cdr").arg(site.cdr_file()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}{complained}");
    let stories = fs::read_dir(&scenarios).unwrap().filter_map(Result::ok);
    let stories = stories.filter(|entry| entry.path().join("scenario.toml").is_file()).count();
    assert!(printed.contains(&format!("{stories} passed, 0 failed")), "{printed}");

    assert!(!daemon.has_ended());
    let left = ["axbridge_calls_active", "axbridge_relay_sessions_active", "axbridge_recordings_open"];
    let metrics = until("no call is left", || {
        let metrics = daemon.scrape();
        let in_use = metrics.value("axbridge_ports", &[("state", "in_use")]);
        (in_use == 0.0 && left.iter().all(|name| metrics.value(name, &[]) == 0.0)).then_some(metrics)
    });
    assert_eq!(metrics.sum("axbridge_sip_parse_errors_total"), 0.0);
    assert_eq!(metrics.sum("axbridge_recording_failures_total"), 0.0);
    assert_eq!(metrics.value("axbridge_cdrs_total", &[("result", "lost")]), 0.0);
    daemon.terminate();
}
