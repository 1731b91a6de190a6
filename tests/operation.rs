//! What an operator relies on: check, reload, drain, limits, figures, records, and a daemon that cannot be talked to death.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;
use std::time::Duration;

use numbering::{ReadRule, spellings};
use phone::{Ender, PhoneEvent, Script, Sound};
use support::booth::{Booth, Pace};
use support::daemon::axbridge;
use support::exposition::Exposition;
use support::setup::{Setup, Site};
use support::sip::{self, Peer, Stream, retry_after};
use support::talk::{HOME_OF_A, HOME_OF_B, Talk};
use support::{A, B, VOICE_OF_A, X, package, until};

mod support;

/// A third party, and the one that it is bound to.
const C: &str = "+8613700000003";
const D: &str = "+8613600000004";
/// The virtual number of these two.
const Y: &str = "+8675512340002";

fn is_released(event: &PhoneEvent) -> bool {
    matches!(event, PhoneEvent::Released { by: Ender::Them, .. })
}

// ---- check ----------------------------------------------------------------------------------------------------

#[test]
fn check_finds_the_shipped_configurations_good() {
    for file in ["etc/axbridge.toml", "etc/demo.toml", "etc/bench.toml", "sip-scenarios/daemon.toml"] {
        let output = axbridge().arg("check").arg(package().join(file)).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains(": good: ") && output.stderr.is_empty(), "{printed}");
    }
}

#[test]
fn check_names_line_key_and_mend_of_every_mistake_and_serving_refuses_the_file_too() {
    let site = Site::new();
    site.write_text(
        r#"[sip]
listen = ["udp:127.0.0.1:0"]
max_call = 5

[media]
bind = "127.0.0.1"
ports = "30001-30100"

[[trunk]]
name = "carrier"
sources = ["127.0.0.1"]

[[app]]
name = "shop"

[[number]]
x = "+8675512340001"
app = "shoop"
"#,
    );
    let check = axbridge().arg("check").arg(site.file()).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
    assert!(check.stdout.is_empty());
    let complained = String::from_utf8(check.stderr).unwrap();
    let lines: Vec<&str> = complained.lines().collect();
    let file = site.file().display().to_string();
    for (line, key, mend) in [(3, "max_call", "max_calls"), (7, "ports", "30000-30100"), (18, "app", "shop")] {
        let found = lines.iter().find(|found| found.starts_with(&format!("{file}:{line}: ")));
        let found = found.unwrap_or_else(|| panic!("nothing of line {line}:\n{complained}"));
        let (problem, told_mend) = found.split_once(" — ").unwrap_or_else(|| panic!("no mend: {found}"));
        assert!(problem.contains(key) && told_mend.contains(mend), "{found}");
    }
    assert_eq!(lines.last().copied(), Some(format!("{file}: {} mistakes", lines.len() - 1).as_str()));

    let serve = axbridge().arg("--config").arg(site.file()).output().unwrap();
    assert_eq!(serve.status.code(), Some(2));
    let complained = String::from_utf8(serve.stderr).unwrap();
    assert_eq!(complained.lines().collect::<Vec<_>>(), lines[..lines.len() - 1]);
    assert_eq!(fs::read_dir(site.folder()).unwrap().count(), 1, "nothing is made before the file is good");
}

#[test]
fn check_opens_no_port_and_serving_says_which_one_is_taken() {
    let taken = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let site = Site::new();
    site.write_text(&format!(
        "[sip]\nlisten = [\"udp:{address}\"]\n[media]\nbind = \"127.0.0.1\"\nports = \"20000-20003\"\n[[trunk]]\nname = \"t\"\nsources = [\"127.0.0.1\"]\n"
    ));
    let check = axbridge().arg("check").arg(site.file()).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    let serve = axbridge().arg("--config").arg(site.file()).output().unwrap();
    assert_eq!(serve.status.code(), Some(1));
    let complained = String::from_utf8(serve.stderr).unwrap();
    assert!(complained.contains("sip.listen") && complained.contains(&address.to_string()), "{complained}");
}

#[test]
fn a_file_that_is_not_there_and_a_command_line_without_a_task_are_mistakes() {
    let site = Site::new();
    let check = axbridge().arg("check").arg(site.file()).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stderr).contains(" — "), "a mend is told");
    assert_eq!(axbridge().arg("--config").arg(site.file()).output().unwrap().status.code(), Some(2));
    assert_eq!(axbridge().output().unwrap().status.code(), Some(2));
}

// ---- signals --------------------------------------------------------------------------------------------------

#[test]
fn a_reload_brings_a_binding_and_takes_another_while_a_call_of_the_taken_one_goes_on() {
    let mut talk = Talk::up();
    let home_of_d = Ipv4Addr::new(127, 0, 0, 3);
    let d = talk.booth.add(D, home_of_d, |config| config.script = Script::rings());
    let c = talk.booth.add(C, HOME_OF_A, |_| {});
    let another_a = talk.booth.add(A, HOME_OF_A, |_| {});

    talk.booth.call(c, Y, talk.daemon.udp);
    talk.booth.wait_for(c, "Y is nobody's yet", |event| matches!(event, PhoneEvent::Refused { status: 404, .. }));

    talk.setup.unbind(X, A);
    talk.setup.bind(X, C, B, "carrier-b");
    let target = talk.booth.address(d);
    talk.setup.trunk("carrier-d", "127.0.0.3", Some(target), "");
    talk.setup.bind(Y, C, D, "carrier-d");
    talk.site.write(&talk.setup);
    talk.daemon.signal("HUP");
    talk.daemon.wait_for_log("configuration taken");

    talk.booth.call(c, Y, talk.daemon.udp);
    talk.booth.wait_for(d, "D is called", |event| matches!(event, PhoneEvent::Invited { caller } if caller == Y));
    talk.booth.wait_for(c, "C hears of it", |event| matches!(event, PhoneEvent::Ringing { status: 180, .. }));
    talk.booth.call(another_a, X, talk.daemon.udp);
    talk.booth
        .wait_for(another_a, "A is bound no more", |event| matches!(event, PhoneEvent::Refused { status: 403, .. }));

    talk.hear_each_other_for(Duration::from_millis(300));
    talk.hang_up();
    talk.booth.hang_up(c);
    talk.booth.wait_for(c, "the other call ends", |event| matches!(event, PhoneEvent::Refused { status: 487, .. }));
    let site = &talk.site;
    talk.booth.wait("every call is on record", |_| site.cdrs().len() == 4);
    let causes: Vec<String> = site.cdrs().iter().map(|cdr| cdr["cause"].as_str().unwrap().to_owned()).collect();
    assert_eq!(causes, ["unknown_x", "not_bound", "hung_up", "cancelled_after_ringing"]);
    talk.daemon.terminate();
}

#[test]
fn a_broken_file_at_reload_leaves_the_old_configuration_and_its_file_of_records() {
    let mut talk = Talk::new(|_| {}, |_| {}, |_| {});
    let good = fs::read_to_string(talk.site.file()).unwrap();
    talk.site.write_text(&good.replace("[media]", "[media"));
    talk.daemon.signal("HUP");
    talk.daemon.wait_for_log("configuration not taken; the old one stands");
    talk.call();
    talk.hang_up();
    assert_eq!(talk.cdr()["cause"], "hung_up");
    talk.daemon.terminate();
}

#[test]
fn a_reload_opens_the_file_of_records_anew() {
    let mut talk = Talk::new(|_| {}, |_| {}, |_| {});
    let old = talk.site.folder().join("cdr.jsonl.1");
    fs::rename(talk.site.cdr_file(), &old).unwrap();
    talk.daemon.signal("HUP");
    talk.daemon.wait_for_log("configuration taken");
    let site = &talk.site;
    talk.booth.wait("a new file", |_| site.cdr_file().exists());
    let peer = Peer::at(HOME_OF_A, talk.daemon.udp);
    assert_eq!(peer.ask("INVITE", A, "+8610000000009").status(), 100);
    assert_eq!(peer.receive().status(), 404);
    assert_eq!(talk.cdr()["cause"], "unknown_x");
    assert_eq!(fs::read_to_string(old).unwrap(), "");
    talk.daemon.terminate();
}

#[test]
fn draining_lets_the_call_end_and_refuses_new_ones() {
    let mut talk = Talk::up();
    let c = talk.booth.add(C, HOME_OF_A, |_| {});
    let peer = Peer::at(HOME_OF_A, talk.daemon.udp);
    assert_eq!(peer.ask("OPTIONS", A, X).status(), 200);

    talk.daemon.signal("TERM");
    until("it drains", || (peer.ask("OPTIONS", A, X).status() == 503).then_some(()));
    talk.booth.call(c, X, talk.daemon.udp);
    talk.booth.wait_for(c, "no new call", |event| matches!(event, PhoneEvent::Refused { status: 503, .. }));
    let refusal = talk.booth.response(c, 503).unwrap();
    assert!((5..=10).contains(&retry_after(&refusal)), "{refusal}");

    talk.hear_each_other_for(Duration::from_millis(300));
    assert!(!talk.daemon.has_ended(), "a call is up");
    talk.hang_up();
    let status = talk.daemon.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(talk.cdr()["cause"], "hung_up");
    assert!(talk.daemon.log().contains("draining"));
}

#[test]
fn a_second_signal_ends_the_calls_on_both_sides() {
    let mut talk = Talk::up();
    let (a, b) = (talk.a, talk.b);
    talk.daemon.signal("TERM");
    talk.daemon.wait_for_log("draining");
    talk.daemon.signal("TERM");
    for who in [a, b] {
        talk.booth.wait_for(who, "a BYE", is_released);
    }
    talk.booth.assert_proper();
    assert_eq!(talk.daemon.wait().code(), Some(0));
    let cdr = talk.cdr();
    assert_eq!((&cdr["cause"], &cdr["released_by"]), (&"draining".into(), &"platform".into()));
}

// ---- what one call leaves behind ------------------------------------------------------------------------------

/// What there is to be read after one good call, at the most talkative level of the log.
struct Evidence {
    before: Exposition,
    during: Exposition,
    after: Exposition,
    log: String,
    cdr: serde_json::Value,
    cdr_lines: usize,
    cdr_mode: u32,
    /// By A and by B.
    received: [Vec<Vec<u8>>; 2],
    /// What tells of A, and of B: number, name, device, addresses.
    secrets: [Vec<String>; 2],
    sounds: [Vec<String>; 2],
}

fn evidence() -> &'static Evidence {
    static EVIDENCE: OnceLock<Evidence> = OnceLock::new();
    EVIDENCE.get_or_init(|| {
        let mut talk = Talk::new(|setup| setup.log = "level = \"trace\"\nformat = \"json\"", |_| {}, |_| {});
        until("it is healthy", || (talk.daemon.health() == (200, "ok\n".to_owned())).then_some(()));
        let before = talk.daemon.scrape();
        talk.call();
        talk.daemon.wait_for_metric("axbridge_calls_active", &[], 1.0);
        let during = talk.daemon.scrape();
        talk.hear_each_other_for(Duration::from_millis(3_200));
        talk.hang_up();
        let cdr = talk.cdr();
        talk.daemon.wait_for_metric("axbridge_recordings_total", &[("result", "finished")], 1.0);
        talk.daemon.wait_for_metric("axbridge_calls_active", &[], 0.0);
        let after = talk.daemon.scrape();
        let Talk { booth, daemon, site, a, b, .. } = talk;
        let log = daemon.terminate();
        Evidence {
            before,
            during,
            after,
            log,
            cdr,
            cdr_lines: fs::read_to_string(site.cdr_file()).unwrap().lines().count(),
            cdr_mode: fs::metadata(site.cdr_file()).unwrap().permissions().mode() & 0o777,
            received: [a, b].map(|who| booth.received(who).to_vec()),
            secrets: [a, b].map(|who| secrets_of(booth.phone(who).config())),
            sounds: [a, b].map(|who| booth.sounds(who)),
        }
    })
}

fn secrets_of(config: &phone::Config) -> Vec<String> {
    let mut secrets = spellings_of(&config.number);
    secrets.extend([config.display_name.clone().unwrap(), config.cname.clone().unwrap()]);
    secrets.extend([config.contact.to_string(), config.rtp.to_string(), format!("audio {} ", config.rtp.port())]);
    // The daemon's own address is no secret.
    secrets.extend(Some(config.contact.ip().to_string()).filter(|ip| ip != "127.0.0.1"));
    secrets
}

fn spellings_of(number: &str) -> Vec<String> {
    spellings(ReadRule::default().read(number.as_bytes()).unwrap())
}

/// The families that operators' dashboards and alerts may name, and their types.
const FAMILIES: [(&str, &str); 71] = [
    ("axbridge_answer_delay_seconds", "histogram"),
    ("axbridge_api_answers_total", "counter"),
    ("axbridge_api_gate_total", "counter"),
    ("axbridge_bindings", "gauge"),
    ("axbridge_bindings_expired_total", "counter"),
    ("axbridge_build_info", "gauge"),
    ("axbridge_call_duration_seconds", "histogram"),
    ("axbridge_callers_total", "counter"),
    ("axbridge_calls_active", "gauge"),
    ("axbridge_calls_begun_total", "counter"),
    ("axbridge_calls_total", "counter"),
    ("axbridge_calls_waiting", "gauge"),
    ("axbridge_cdr_store_total", "counter"),
    ("axbridge_cdrs_total", "counter"),
    ("axbridge_dns_names", "gauge"),
    ("axbridge_dns_queries_total", "counter"),
    ("axbridge_dns_refused_total", "counter"),
    ("axbridge_dropped_total", "counter"),
    ("axbridge_hep_packets_total", "counter"),
    ("axbridge_hint_tone_delay_seconds", "histogram"),
    ("axbridge_http_connections", "gauge"),
    ("axbridge_http_connections_total", "counter"),
    ("axbridge_notices_kept", "gauge"),
    ("axbridge_notices_messages_failed_total", "counter"),
    ("axbridge_notices_messages_in_flight", "gauge"),
    ("axbridge_notices_pending", "gauge"),
    ("axbridge_notices_receivers_resting", "gauge"),
    ("axbridge_notices_receivers_total", "counter"),
    ("axbridge_notices_store_total", "counter"),
    ("axbridge_notices_total", "counter"),
    ("axbridge_numbers", "gauge"),
    ("axbridge_overloaded", "gauge"),
    ("axbridge_ports", "gauge"),
    ("axbridge_post_dial_delay_seconds", "histogram"),
    ("axbridge_queue_depth", "gauge"),
    ("axbridge_recording_bytes_total", "counter"),
    ("axbridge_recording_disk_full", "gauge"),
    ("axbridge_recording_failures_total", "counter"),
    ("axbridge_recordings_open", "gauge"),
    ("axbridge_recordings_total", "counter"),
    ("axbridge_registry_commits_total", "counter"),
    ("axbridge_registry_queue_depth", "gauge"),
    ("axbridge_registry_work_total", "counter"),
    ("axbridge_relay_faults_total", "counter"),
    ("axbridge_relay_sessions_active", "gauge"),
    ("axbridge_relay_stalls_total", "counter"),
    ("axbridge_relay_wakeups_total", "counter"),
    ("axbridge_rtp_forward_seconds", "histogram"),
    ("axbridge_rtp_lost_total", "counter"),
    ("axbridge_rtp_packets_total", "counter"),
    ("axbridge_rtp_refused_total", "counter"),
    ("axbridge_rtp_unsent_total", "counter"),
    ("axbridge_sip_parse_errors_total", "counter"),
    ("axbridge_sip_requests_total", "counter"),
    ("axbridge_sip_responses_total", "counter"),
    ("axbridge_sip_sent_total", "counter"),
    ("axbridge_smpp_received_total", "counter"),
    ("axbridge_smpp_sent_total", "counter"),
    ("axbridge_smpp_sessions_lost_total", "counter"),
    ("axbridge_store_rows_left_out", "gauge"),
    ("axbridge_tcp_connections", "gauge"),
    ("axbridge_tcp_events_total", "counter"),
    ("axbridge_text_questions_total", "counter"),
    ("axbridge_texts_active", "gauge"),
    ("axbridge_texts_total", "counter"),
    ("axbridge_timer_lateness_seconds", "histogram"),
    ("axbridge_transactions_active", "gauge"),
    ("axbridge_trunk_calls_active", "gauge"),
    ("axbridge_trunk_route_events_total", "counter"),
    ("axbridge_trunk_routes", "gauge"),
    ("axbridge_udp_datagrams_total", "counter"),
];

#[test]
fn every_family_of_metrics_is_there_from_the_start_with_its_type() {
    let evidence = evidence();
    for (name, kind) in FAMILIES {
        let family = evidence.before.families.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((name, family.kind.as_str()), (name, kind));
    }
    let known = |name: &&String| FAMILIES.iter().any(|(family, _)| family == name);
    let unknown: Vec<&String> = evidence.after.families.keys().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "not in this test's list, so nobody promised that they stay: {unknown:?}");
}

#[test]
fn the_metrics_count_the_call_by_its_outcome_and_nothing_stays() {
    let Evidence { before, during, after, .. } = evidence();
    assert_eq!(before.sum("axbridge_calls_total"), 0.0);
    assert_eq!(during.value("axbridge_ports", &[("state", "in_use")]), 2.0);
    assert_eq!(during.value("axbridge_relay_sessions_active", &[]), 1.0);
    for trunk in ["carrier-a", "carrier-b"] {
        assert_eq!(during.value("axbridge_trunk_calls_active", &[("trunk", trunk)]), 1.0);
        assert_eq!(after.value("axbridge_trunk_calls_active", &[("trunk", trunk)]), 0.0);
    }
    assert_eq!(after.value("axbridge_calls_total", &[("outcome", "hung_up")]), 1.0);
    assert_eq!(after.sum("axbridge_calls_total"), 1.0, "one call has one outcome");
    assert_eq!(after.value("axbridge_calls_begun_total", &[]), 1.0);
    assert_eq!(after.value("axbridge_ports", &[("state", "in_use")]), 0.0);
    assert_eq!(after.value("axbridge_relay_sessions_active", &[]), 0.0);
    assert_eq!(after.value("axbridge_sip_requests_total", &[("method", "INVITE")]), 1.0);
    assert_eq!(after.value("axbridge_sip_requests_total", &[("method", "BYE")]), 1.0);
    assert_eq!(after.value("axbridge_sip_responses_total", &[("class", "2xx")]), 2.0, "B's 200, A's 200 to our BYE");
    assert!(after.value("axbridge_udp_datagrams_total", &[("event", "received")]) >= 6.0);
    for name in ["post_dial_delay", "answer_delay", "hint_tone_delay", "call_duration"] {
        assert_eq!(after.value(&format!("axbridge_{name}_seconds_count"), &[]), 1.0, "{name}");
    }
    let duration = after.value("axbridge_call_duration_seconds_sum", &[]);
    assert!((4.0..30.0).contains(&duration), "the tone and 3.2 s: {duration}");
    let packets = |direction| after.value("axbridge_rtp_packets_total", &[("direction", direction)]);
    assert!(packets("received") >= 300.0 && packets("forwarded") >= 300.0, "50 a second and side, for 3.2 s");
    assert!(packets("originated") >= 100.0, "the tone, to both");
    assert_eq!(after.value("axbridge_cdrs_total", &[("result", "written")]), 1.0);
    assert_eq!(after.value("axbridge_recordings_total", &[("result", "finished")]), 1.0);
    let bytes = after.value("axbridge_recording_bytes_total", &[]);
    let recorded = evidence().cdr["recording"]["duration_ms"].as_f64().unwrap();
    assert_eq!((bytes / 8.0).floor(), recorded, "8 samples a millisecond");
    for family in ["dropped", "sip_parse_errors", "recording_failures", "relay_faults", "rtp_lost"] {
        assert_eq!(after.sum(&format!("axbridge_{family}_total")), 0.0, "{family}");
    }
}

#[test]
fn no_log_line_and_no_metric_holds_a_number_in_any_spelling_and_each_line_is_json() {
    let evidence = evidence();
    for number in [A, B, X] {
        for spelling in spellings_of(number) {
            for (what, text) in [("log", &evidence.log), ("metrics", &evidence.after.text)] {
                assert!(!text.contains(&spelling), "{spelling} in the {what}:\n{text}");
            }
        }
    }
    let session = evidence.cdr["session_id"].as_str().unwrap();
    for line in evidence.log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    for step in ["dialling", "alerting", "answered", "joined", "ended"] {
        let said = |line: &&str| line.contains(&format!("\"message\":\"{step}\"")) && line.contains(session);
        assert_eq!(evidence.log.lines().filter(said).count(), 1, "{step} of {session}:\n{}", evidence.log);
    }
}

#[test]
fn neither_party_receives_anything_of_the_other() {
    let evidence = evidence();
    for (who, received, secrets) in
        [("A", &evidence.received[0], &evidence.secrets[1]), ("B", &evidence.received[1], &evidence.secrets[0])]
    {
        assert!(received.len() >= 4, "{who} received {} messages", received.len());
        for message in received {
            let text = String::from_utf8_lossy(message);
            for secret in secrets {
                assert!(!text.contains(secret.as_str()), "{who} received {secret}:\n{text}");
            }
        }
    }
    assert_eq!(evidence.sounds, [["zh/hint_tone.wav", "B's voice"], ["zh/hint_tone.wav", "A's voice"]]);
}

#[test]
fn a_call_leaves_one_record_in_a_private_file_with_its_times_in_order() {
    let Evidence { cdr, cdr_lines, cdr_mode, .. } = evidence();
    assert_eq!((*cdr_lines, *cdr_mode), (1, 0o600));
    let expected = [
        ("caller", A),
        ("x", X),
        ("callee", B),
        ("caller_is", "A"),
        ("app", "shop"),
        ("trunk_in", "carrier-a"),
        ("trunk_out", "carrier-b"),
        ("cause", "hung_up"),
        ("released_by", "callee"),
    ];
    for (key, value) in expected {
        assert_eq!(cdr[key], value, "{key} in {cdr}");
    }
    assert_eq!((&cdr["state_code"], &cdr["q850"]), (&0.into(), &16.into()));
    assert_eq!((&cdr["sip_status_caller"], &cdr["sip_status_callee"]), (&200.into(), &200.into()));

    let time = |key: &str| {
        let text = cdr[key].as_str().unwrap_or_else(|| panic!("no {key} in {cdr}"));
        assert!(text.len() == "2026-11-23T20:36:05.123Z".len() && text.ends_with('Z'), "{key}: {text}");
        // All are spelt alike, so that their order is that of their text.
        text.to_owned()
    };
    let keys = ["call_in_time", "forward_time", "alerting_time", "answer_time", "join_time", "end_time"];
    let times = keys.map(time);
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(cdr["recording"]["start_time"], cdr["join_time"]);
    let of_day = |time: &str| {
        let parts: Vec<f64> = time[11..23].split(':').map(|part| part.parse().unwrap()).collect();
        parts[0] * 3_600.0 + parts[1] * 60.0 + parts[2]
    };
    let talked = (of_day(&times[5]) - of_day(&times[3])).rem_euclid(86_400.0) * 1_000.0;
    assert!((cdr["duration_ms"].as_f64().unwrap() - talked).abs() < 2.0, "{talked} ms in {cdr}");
    for leg in cdr["media"].as_array().unwrap() {
        assert!(leg["received"].as_u64().unwrap() >= 150 && leg["sent"].as_u64().unwrap() >= 200, "{leg}");
        assert_eq!(leg["lost"], 0);
        // B may speak before its 200 has been read, which says where B's voice comes from.
        assert!(leg["refused"].as_u64().unwrap() <= 5, "{leg}");
    }
}

// ---- who may call, and how much ---------------------------------------------------------------------------------

#[test]
fn a_stranger_gets_403_and_no_call() {
    let site = Site::new();
    let mut setup = Setup::new();
    setup.trunk("elsewhere", "127.0.0.2/32", Some((HOME_OF_B, 9).into()), "");
    setup.bind(X, A, B, "elsewhere");
    site.write(&setup);
    let daemon = site.start();
    let stranger = Peer::at(HOME_OF_A, daemon.udp);
    for method in ["INVITE", "OPTIONS", "BYE"] {
        assert_eq!(stranger.ask(method, A, X).status(), 403, "{method}");
    }
    let friend = Peer::at(HOME_OF_B, daemon.udp);
    assert_eq!(friend.ask("OPTIONS", A, X).status(), 200);
    daemon.wait_for_metric("axbridge_dropped_total", &[("limit", "stranger")], 3.0);
    assert_eq!(daemon.metric("axbridge_calls_begun_total", &[]), 0.0);
    let log = daemon.terminate();
    assert!(log.contains("address of no trunk") && log.contains("127.0.0.1"), "{log}");
    assert_eq!(site.cdrs(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_collector_gets_what_peers_say_and_nothing_of_strangers() {
    let collector = Collector::new();
    let site = Site::new();
    let mut setup = Setup::new();
    setup.trunk("elsewhere", "127.0.0.2/32", Some((HOME_OF_B, 9).into()), "");
    setup.sections = collector.section();
    site.write(&setup);
    let daemon = site.start();
    assert_eq!(Peer::at(HOME_OF_A, daemon.udp).ask("OPTIONS", A, X).status(), 403);
    assert_eq!(Peer::at(HOME_OF_B, daemon.udp).ask("OPTIONS", A, X).status(), 200);
    // What is answered has been copied before.
    let lines: Vec<String> = collector.copies().iter().map(first_line).collect();
    let asked = format!("OPTIONS sip:{X}");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with(&asked) && lines[1].contains(" 200 "), "{lines:?}");
    daemon.terminate();
}

#[test]
fn a_collector_waits_for_the_next_start_and_goes_on_telling_which_legs_are_of_one_call() {
    let collector = Collector::new();
    let mut talk = Talk::new(|setup| setup.sections.push_str(&collector.section()), |_| {}, |_| {});
    let text = fs::read_to_string(talk.site.file()).unwrap();
    talk.site.write_text(&text.replace(&collector.section(), ""));
    talk.daemon.signal("HUP");
    talk.daemon.wait_for_log("[hep] takes effect with the next start only");
    talk.daemon.wait_for_log("configuration taken");
    talk.call();
    talk.hang_up();
    talk.cdr();
    let copies = collector.copies();
    let invites = copies.iter().filter(|copy| first_line(copy).starts_with("INVITE "));
    let correlations: Vec<&Vec<u8>> = invites.map(|copy| &copy[&17]).collect();
    assert!(correlations.len() >= 2 && correlations.iter().all(|one| *one == correlations[0]), "{correlations:?}");
    talk.daemon.terminate();
}

/// Takes copies of SIP messages by HEP version 3.
struct Collector(UdpSocket);

impl Collector {
    fn new() -> Collector {
        let socket = UdpSocket::bind((HOME_OF_A, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Collector(socket)
    }

    fn section(&self) -> String {
        format!("\n[hep]\ncollector = \"{}\"\n", self.0.local_addr().unwrap())
    }

    /// The chunks of each that has come, by their kind.
    fn copies(&self) -> Vec<BTreeMap<u16, Vec<u8>>> {
        let mut packet = [0; 65_536];
        let mut copies = Vec::new();
        while let Ok(length) = self.0.recv(&mut packet) {
            let mut rest = packet[..length].strip_prefix(b"HEP3").unwrap().get(2..).unwrap();
            let mut chunks = BTreeMap::new();
            while !rest.is_empty() {
                let [kind, end] = [2, 4].map(|at| u16::from_be_bytes([rest[at], rest[at + 1]]));
                chunks.insert(kind, rest[6..usize::from(end)].to_vec());
                rest = &rest[usize::from(end)..];
            }
            copies.push(chunks);
        }
        copies
    }
}

fn first_line(copy: &BTreeMap<u16, Vec<u8>>) -> String {
    String::from_utf8_lossy(&copy[&15]).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn each_limit_of_calls_is_answered_503_with_retry_after_and_counted() {
    // Nobody answers there, so that calls stay.
    let silent = Peer::at(HOME_OF_B, (HOME_OF_B, 9).into());
    let mut setup = Setup::new();
    setup.sip = "max_calls = 2\nretry_after = \"7s\"\n";
    setup.trunk("slow", "127.0.0.4", None, "calls_per_second = 1");
    setup.trunk("small", "127.0.0.5", None, "max_calls = 1");
    setup.trunk("free", "127.0.0.6", None, "");
    setup.trunk("carrier-b", "127.0.0.2", Some(silent.local()), "");
    setup.bind(X, A, B, "carrier-b");
    let site = Site::new();
    site.write(&setup);
    let daemon = site.start();
    let [slow, small, free] = [4, 5, 6].map(|last| Peer::at(Ipv4Addr::new(127, 0, 0, last), daemon.udp));
    let refused = |peer: &Peer| {
        let answer = peer.ask("INVITE", A, X);
        assert_eq!(answer.status(), 503, "{answer:?}");
        assert!((7..=14).contains(&retry_after(&answer.0)), "{answer:?}");
    };

    // The first one of a second is over at once: nobody has that number.
    assert_eq!(slow.ask("INVITE", A, "+8675512349999").status(), 100);
    refused(&slow);
    assert_eq!(small.ask("INVITE", A, X).status(), 100);
    refused(&small);
    assert_eq!(free.ask("INVITE", A, X).status(), 100);
    refused(&free);

    for limit in ["trunk_rate", "trunk_calls", "calls"] {
        daemon.wait_for_metric("axbridge_dropped_total", &[("limit", limit)], 1.0);
    }
    assert_eq!(daemon.metric("axbridge_calls_begun_total", &[]), 3.0);
    assert_eq!(daemon.metric("axbridge_calls_active", &[]), 2.0);
}

// ---- TCP --------------------------------------------------------------------------------------------------------

#[test]
fn a_call_over_tcp_whose_messages_come_in_single_bytes_is_a_call() {
    let mut talk = Talk::new(|_| {}, |_| {}, |_| {});
    let a = talk.booth.add_tcp(A, talk.daemon.tcp, Pace::ByteByByte, |config| config.sound = Sound::Tone(VOICE_OF_A));
    talk.booth.call(a, X, talk.daemon.tcp);
    let b = talk.b;
    let length = Duration::from_millis(200);
    talk.booth.wait("they hear each other", |booth: &Booth| {
        booth.heard(a, "B's voice") >= length && booth.heard(b, "A's voice") >= length
    });
    // B's BYE goes on to A by the stream that A's INVITE came on.
    talk.booth.hang_up(b);
    talk.booth.wait_for(a, "a BYE over TCP", is_released);
    talk.booth.assert_proper();
    assert_eq!(talk.cdr()["cause"], "hung_up");
    assert_eq!(talk.daemon.metric("axbridge_tcp_connections", &[]), 1.0);

    // And once more, ended by A.
    talk.booth.call(a, X, talk.daemon.tcp);
    talk.booth.wait("both talk again", |booth: &Booth| {
        [a, b].iter().all(|who| booth.phone(*who).state() == phone::State::Established)
    });
    let released = |booth: &Booth| booth.events(b).iter().filter(|event| is_released(event)).count();
    let before = released(&talk.booth);
    talk.booth.hang_up(a);
    talk.booth.wait("B is released", |booth| released(booth) == before + 1);
    talk.daemon.terminate();
}

#[test]
fn two_messages_in_one_write_one_in_many_and_keep_alives_between_are_all_answered() {
    let mut setup = Setup::new();
    setup.trunk("carrier-a", "127.0.0.1", None, "");
    let site = Site::new();
    site.write(&setup);
    let daemon = site.start();
    let mut stream = Stream::to(daemon.tcp);
    let requests = [0; 4].map(|_| stream.request("OPTIONS", A, X));
    let [first, second, third, fourth] = &requests;
    stream.write(format!("{first}\r\n\r\n{second}").as_bytes());
    for byte in third.bytes() {
        stream.write(&[byte]);
    }
    let (head, tail) = fourth.split_at(fourth.len() - 3);
    stream.write(head.as_bytes());
    stream.write(tail.as_bytes());
    for request in &requests {
        let answer = stream.receive().expect("the stream stays open");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("Call-ID"), sip::header(request, "Call-ID"));
        assert!(answer.header("Allow").is_some_and(|allow| allow.contains("INVITE")));
    }
    daemon.terminate();
}

#[test]
fn a_stream_without_sip_is_closed_and_others_are_served() {
    let mut setup = Setup::new();
    setup.trunk("carrier-a", "127.0.0.1", None, "");
    let site = Site::new();
    site.write(&setup);
    let daemon = site.start();
    let mut good = Stream::to(daemon.tcp);
    let mut bad = Stream::to(daemon.tcp);
    bad.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    while let Some(answer) = bad.receive() {
        assert!(answer.status() >= 400, "{answer:?}");
    }
    daemon.wait_for_metric("axbridge_tcp_events_total", &[("event", "closed_framing")], 1.0);
    let request = good.request("OPTIONS", A, X);
    good.write(request.as_bytes());
    assert_eq!(good.receive().unwrap().status(), 200);
    daemon.terminate();
}

// ---- OPTIONS and garbage ----------------------------------------------------------------------------------------

#[test]
fn garbage_is_counted_and_does_not_stop_the_answers() {
    let mut setup = Setup::new();
    setup.trunk("carrier-a", "127.0.0.1", None, "");
    let site = Site::new();
    site.write(&setup);
    let mut daemon = site.start();
    let peer = Peer::at(HOME_OF_A, daemon.udp);
    let options = sip::request("OPTIONS", "UDP", A, peer.local(), X, daemon.udp);

    // A sequence of its own, the same each time (Marsaglia's xorshift).
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let longest = 65_507;
    let mut garbage: Vec<Vec<u8>> = [0, 1, 2, 64, 500, 1_472, 9_000, longest]
        .iter()
        .cycle()
        .take(64)
        .map(|length| (0..*length).map(|_| random() as u8).collect())
        .collect();
    garbage.push(vec![0; longest]);
    garbage.push(b"\r\n".repeat(longest / 2));
    garbage.push(b"INVITE ".repeat(longest / 7));
    garbage.push([options.as_bytes()[..40].to_vec(), vec![b'a'; longest - 40]].concat());
    // Cut anywhere: before the end of the headers there is nothing to answer.
    garbage.extend((1..options.len() - 4).step_by(7).map(|cut| options.as_bytes()[..cut].to_vec()));

    for (nth, bytes) in garbage.iter().enumerate() {
        peer.send(bytes);
        // Large ones fill the socket's buffer: what the kernel drops is not the daemon's to count.
        if nth % 16 == 0 || bytes.len() > 5_000 {
            let answer = peer.ask("OPTIONS", A, X);
            assert_eq!(answer.status(), 200, "{answer:?}");
        }
    }
    let answer = peer.ask("OPTIONS", A, X);
    assert_eq!(answer.status(), 200);
    assert!(answer.header("Allow").is_some_and(|allow| allow.contains("INVITE") && allow.contains("BYE")));
    assert_eq!(
        answer.header("Accept"),
        Some("application/sdp, text/plain, message/cpim, multipart/mixed, multipart/alternative")
    );
    let count = garbage.len() as f64;
    until("every one is counted", || {
        let counted = daemon.scrape().sum("axbridge_sip_parse_errors_total");
        assert!(counted <= count, "{counted} of {count}");
        (counted == count).then_some(())
    });
    assert!(!daemon.has_ended());
    daemon.terminate();
}
