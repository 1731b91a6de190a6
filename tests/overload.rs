//! A flood: a call that is up hears nothing of it, ends as it should, and nothing is left.

use std::net::Ipv4Addr;
use std::time::Duration;

use support::sip::{self, Peer};
use support::talk::{HOME_OF_A, Talk};
use support::{A, X, until};

mod support;

/// Nobody has it.
const UNKNOWN: &str = "+8675512349999";
/// INVITEs of each flooder, in so many floods.
const INVITES: usize = 150;
const FLOODS: usize = 10;

#[test]
fn a_call_goes_on_and_ends_in_a_flood_from_a_stranger_and_from_a_trunk_and_nothing_is_left() {
    let mut talk = Talk::new(
        |setup| {
            // The transactions of those who never acknowledge end after 64·T1.
            setup.sip = "t1 = \"200ms\"\n";
            setup.trunk("flooder", "127.0.0.4", None, "calls_per_second = 20");
        },
        |_| {},
        |_| {},
    );
    talk.call();
    // Once its beginning is published, so are all its INVITEs: A has long been answered.
    talk.daemon.wait_for_metric("axbridge_calls_begun_total", &[], 1.0);
    let before = talk.daemon.metric("axbridge_sip_requests_total", &[("method", "INVITE")]);
    let [trunk, stranger] = [4, 9].map(|last| Peer::at(Ipv4Addr::new(127, 0, 0, last), talk.daemon.udp));
    let flood = |peer: &Peer, talk: &Talk| {
        for _ in 0..INVITES {
            let invite = sip::request("INVITE", "UDP", A, peer.local(), UNKNOWN, talk.daemon.udp);
            peer.send(invite.as_bytes());
        }
    };
    for _ in 0..FLOODS {
        flood(&trunk, &talk);
        flood(&stranger, &talk);
        talk.hear_each_other_for(Duration::from_millis(40));
    }
    flood(&trunk, &talk);
    flood(&stranger, &talk);
    talk.hang_up();
    let Talk { booth, site, .. } = &mut talk;
    booth.wait("the call's record", |_| site.cdrs().iter().any(|cdr| cdr["cause"] == "hung_up"));

    // Whatever was sent before this is answered has been read by then, or the kernel had no room for it.
    assert_eq!(Peer::at(HOME_OF_A, talk.daemon.udp).ask("OPTIONS", A, X).status(), 200);
    let sent = (INVITES * (FLOODS + 1)) as f64;
    let limit = |name| vec![("limit", name)];
    until("every INVITE is told of", || {
        let seen = talk.daemon.scrape();
        let dropped = |name| seen.value("axbridge_dropped_total", &limit(name));
        let lost = seen.value("axbridge_udp_datagrams_total", &[("event", "lost")]);
        let invites = seen.value("axbridge_sip_requests_total", &[("method", "INVITE")]) - before;
        let begun = seen.value("axbridge_calls_begun_total", &[]) - 1.0;
        assert!(invites <= sent && dropped("stranger") <= sent, "{}", seen.text);
        let all_are_read = invites + dropped("stranger") + lost >= sent * 2.0;
        // Each was begun or refused; those that wait are neither yet.
        let all_are_done = invites == begun + dropped("trunk_rate") + dropped("overload");
        (all_are_read && all_are_done).then_some(())
    });
    let seen = talk.daemon.scrape();
    assert!(seen.value("axbridge_dropped_total", &limit("trunk_rate")) > 0.0, "{}", seen.text);
    assert!(seen.value("axbridge_dropped_total", &limit("stranger")) > 0.0, "{}", seen.text);

    until("nothing is left", || {
        let seen = talk.daemon.scrape();
        let left = [
            seen.value("axbridge_calls_active", &[]),
            seen.value("axbridge_calls_waiting", &[]),
            seen.value("axbridge_ports", &[("state", "in_use")]),
            seen.value("axbridge_relay_sessions_active", &[]),
            seen.value("axbridge_overloaded", &[]),
            seen.sum("axbridge_transactions_active"),
        ];
        (left == [0.0; 6]).then_some(())
    });
    talk.daemon.terminate();
}
