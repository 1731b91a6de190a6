//! What X answers to every message of RFC 4475 and RFC 5118 from a trunk, and that nothing of it is left behind.
//!
//! How the reader takes them is in `sip/tests/torture.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use testbed::{Setup, World};

#[path = "../../sip/tests/torture/messages.rs"]
mod messages;
use messages::{RFC_4475, RFC_5118, Torture};

/// What comes back.
#[derive(Clone, Copy)]
enum Answer {
    /// A final response of this status, with this in it.
    Final(u16, &'static str),
    /// Nothing.
    Silence,
}
use Answer::{Final, Silence};

const ALLOW: &str = "\r\nAllow: INVITE, ACK, BYE";

#[rustfmt::skip]
const TABLE: &[(&str, Answer)] = &[
    // RFC 4475 §3.1.1: valid
    ("wsinv", Final(481, "")),          // it has a To tag, and we no such dialog
    ("intmeth", Final(501, ALLOW)),
    ("esc01", Final(484, "")),          // `sips:user@example.com` is no number
    ("escnull", Final(405, ALLOW)),     // we are no registrar
    ("esc02", Final(501, ALLOW)),       // `RE%47IST%45R` is not REGISTER
    ("lwsdisp", Final(200, ALLOW)),
    ("longreq", Final(484, "")),
    ("dblreq", Final(405, ALLOW)),      // and no second answer
    ("semiuri", Final(200, ALLOW)),
    ("transports", Final(200, ALLOW)),
    ("mpart01", Final(484, "")),       // a text to a name, which is no number
    ("unreason", Silence),              // a response to nothing of ours
    ("noreason", Silence),
    // §3.1.2: invalid
    ("badinv01", Final(400, "")),
    ("clerr", Final(400, "")),
    ("ncl", Final(400, "")),
    ("scalar02", Final(400, "")),
    ("scalarlg", Silence),
    ("quotbal", Final(400, "")),
    ("ltgtruri", Final(400, "")),
    ("lwsruri", Final(400, "")),
    ("lwsstart", Final(484, "")),       // read as what it must mean
    ("trws", Final(200, ALLOW)),
    ("escruri", Final(484, "")),
    ("baddate", Final(484, "")),
    ("regbadct", Final(405, ALLOW)),
    ("badaspec", Final(200, ALLOW)),
    ("baddn", Final(200, ALLOW)),
    ("badvers", Final(505, "")),
    ("mismatch01", Final(400, "")),
    ("mismatch02", Final(400, "")),
    ("bigcode", Silence),
    // §3.2: transaction layer
    ("badbranch", Final(200, ALLOW)),   // matched as RFC 2543 did
    // §3.3: application layer
    ("insuf", Final(400, "")),          // with what it has: neither From nor To nor Call-ID
    ("unkscm", Final(416, "")),
    ("novelsc", Final(416, "")),
    ("unksm2", Final(405, ALLOW)),
    ("bext01", Final(420, "\r\nUnsupported: nothingSupportsThis, nothingSupportsThisEither\r\n")),
    ("invut", Final(415, "\r\nAccept: application/sdp\r\n")),
    ("regaut01", Final(405, ALLOW)),
    ("multi01", Final(400, "")),
    ("mcl01", Final(400, "")),
    ("bcast", Silence),                 // and nothing to 255.255.255.255
    ("zeromf", Final(200, ALLOW)),      // an endpoint needs no hop more
    ("cparam01", Final(405, ALLOW)),
    ("cparam02", Final(405, ALLOW)),
    ("regescrt", Final(405, ALLOW)),
    ("sdp01", Final(406, "")),
    // §3.4: backward compatibility. Without a Contact we could not end the call: that much of RFC 3261 must be.
    ("inv2543", Final(400, "")),
    // RFC 5118
    ("ipv6-good", Final(405, ALLOW)),
    ("ipv6-bad", Final(400, "")),
    ("port-ambiguous", Final(405, ALLOW)),
    ("port-unambiguous", Final(405, ALLOW)),
    ("via-received-param-with-delim", Final(481, "")),
    ("via-received-param-no-delim", Final(200, ALLOW)),
    ("ipv6-in-sdp", Final(400, "")),    // its Content-Length is longer than its body
    ("mult-ip-in-header", Final(481, "")),
    ("mult-ip-in-sdp", Final(484, "")),
    ("ipv4-mapped-ipv6", Final(484, "")),
    ("ipv6-bug-abnf-3-colons", Final(200, ALLOW)),
    ("ipv6-correct-abnf-2-colons", Final(200, ALLOW)),
];

fn all() -> impl Iterator<Item = (&'static Torture, Answer)> {
    let names: Vec<&str> = RFC_4475.iter().chain(RFC_5118).map(|torture| torture.name).collect();
    assert_eq!(
        names,
        TABLE.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "every message stands in the table once"
    );
    RFC_4475.iter().chain(RFC_5118).zip(TABLE.iter().map(|(_, answer)| *answer))
}

/// A host of carrier-a that is no phone: what X answers it is in `World::unclaimed`.
fn carrier() -> SocketAddr {
    "10.1.7.7:5060".parse().expect("an address")
}

fn finals(world: &World) -> Vec<(SocketAddr, String)> {
    let answers = world.unclaimed().iter();
    let answers = answers.map(|packet| (packet.destination, String::from_utf8_lossy(&packet.bytes).into_owned()));
    answers.filter(|(_, answer)| !answer.starts_with("SIP/2.0 1")).collect()
}

/// Nothing is left but what the last transaction's timers take with them.
fn is_over(world: &mut World) -> bool {
    world.run_until_idle(Duration::from_secs(200)) && world.core.is_idle() && world.core.counters().panics == 0
}

#[test]
fn x_answers_as_tabled_and_nothing_is_left() {
    let mut failures = Vec::new();
    for (torture, expected) in all() {
        let mut world = Setup::new(1).mute().world();
        world.inject_sip(carrier(), &torture.wire());
        let answers = finals(&world);
        let right = match (expected, &answers[..]) {
            (Silence, []) => true,
            (Final(status, part), [(to, answer)]) => {
                to.ip() == carrier().ip()
                    && answer.starts_with(&format!("SIP/2.0 {status} "))
                    && answer.contains(part)
                    // One request has no To that could have a tag, the other one's has blanks in it.
                    && (matches!(torture.name, "insuf" | "wsinv") || answer.contains(";tag="))
            }
            (Silence | Final(..), _) => false,
        };
        if !right {
            failures.push(format!("{} {}: {answers:?}", torture.section, torture.name));
        }
        if !is_over(&mut world) {
            failures.push(format!("{} {}: something is left", torture.section, torture.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn all_of_them_together_do_not_disturb_a_call() {
    let answers = testbed::Script::answers(Duration::from_secs(1));
    let mut world = Setup::new(1).mute().b(answers).world();
    world.call(testbed::A);
    world.run_until(Duration::from_secs(5));
    for (torture, _) in all() {
        world.inject_sip(carrier(), &torture.wire());
        // From a stranger it is all the same.
        world.inject_sip("192.0.2.66:5060".parse().expect("an address"), &torture.wire());
    }
    world.run_until(Duration::from_secs(10));
    assert_eq!(world.phone(testbed::A).state(), testbed::State::Established);
    assert_eq!(world.phone(testbed::B).state(), testbed::State::Established);
    world.hang_up(testbed::A);
    world.run_until(Duration::from_secs(15));
    assert_eq!(world.phone(testbed::B).state(), testbed::State::Ended);
    assert!(is_over(&mut world));
}

#[test]
fn a_stranger_gets_none_of_it_and_x_counts_each_fault() {
    let mut world = Setup::new(1).mute().world();
    for (torture, _) in all() {
        world.inject_sip("192.0.2.66:5060".parse().expect("an address"), &torture.wire());
    }
    assert!(finals(&world).iter().all(|(_, answer)| answer.starts_with("SIP/2.0 403 ")));
    assert!(world.cdrs().is_empty() && world.core.is_idle());

    let mut world = Setup::new(1).mute().world();
    let mut refused = 0;
    for (torture, answer) in all() {
        world.inject_sip(carrier(), &torture.wire());
        let missing_contact = u64::from(torture.name == "inv2543");
        let by_reader = matches!(answer, Final(400 | 505, _)) && torture.name != "ipv6-bad";
        refused += u64::from(by_reader || matches!(torture.name, "scalarlg" | "bigcode")).max(missing_contact);
    }
    assert_eq!(world.core.counters().parse_errors.iter().sum::<u64>(), refused);
}
