//! Two phones against each other: what one writes the other must find in order, whatever the network does.

use super::*;
use std::collections::BTreeMap;

const A: &str = "10.1.0.1:5060";
const B: &str = "10.2.0.1:5060";
const TO_B: &str = "sip:+8613800000002@10.2.0.1:5060";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn phone(name: &str, address: &str, seed: u64, script: Script) -> Phone {
    let contact: SocketAddr = address.parse().unwrap();
    let mut config = Config::new(name, "+8613800000002", contact, SocketAddr::new(contact.ip(), 4000), seed);
    config.script = script;
    config.display_name = Some("Some One".to_owned());
    config.user_agent = Some("Test/1".to_owned());
    Phone::new(config)
}

/// What happens to a message on its way.
type Edit = fn(String) -> String;

/// Two phones and the wire between them.
struct Wire {
    now: Duration,
    phones: [Phone; 2],
    flying: BTreeMap<(Duration, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    random: Random,
    /// Of 100 messages, how many are lost, how many doubled; how long they may take, in ms.
    loss: u64,
    doubled: u64,
    delay: u64,
    sent: u64,
    events: [Vec<PhoneEvent>; 2],
    seen: [Vec<String>; 2],
    /// What happens to a SIP message on its way.
    edit: Option<Edit>,
}

impl Wire {
    fn new(a: Script, b: Script) -> Wire {
        Wire {
            now: Duration::ZERO,
            phones: [phone("A", A, 1, a), phone("B", B, 2, b)],
            flying: BTreeMap::new(),
            random: Random::new(3),
            loss: 0,
            doubled: 0,
            delay: 1,
            sent: 0,
            events: [Vec::new(), Vec::new()],
            seen: [Vec::new(), Vec::new()],
            edit: None,
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let copies = if self.random.next_u64() % 100 < self.doubled { 2 } else { 1 };
        for _ in 0..copies {
            self.sent += 1;
            if self.random.next_u64() % 100 >= self.loss {
                let at = self.now + ms(1 + self.random.next_u64() % self.delay);
                self.flying.insert((at, self.sent), (from, to, bytes.to_vec()));
            }
        }
    }

    fn collect(&mut self) {
        for side in 0..2 {
            while let Some((to, bytes)) = self.phones[side].poll_transmit() {
                let from = self.phones[side].config().contact;
                self.send(from, to, &bytes);
            }
            while let Some(packet) = self.phones[side].poll_rtp(self.now) {
                self.send(packet.source, packet.destination, &packet.bytes);
            }
            while let Some(event) = self.phones[side].poll_event() {
                self.events[side].push(event);
            }
        }
    }

    /// Runs until nothing is left to happen, or until then.
    fn run(&mut self, until: Duration) {
        loop {
            self.collect();
            let arrival = self.flying.first_key_value().map(|(&(at, _), _)| at);
            let next = self.phones.iter().filter_map(Phone::poll_timeout).chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, bytes) = entry.remove();
                let side = usize::from(to.ip().to_string() == "10.2.0.1");
                if to.port() == 5060 {
                    let bytes = match &self.edit {
                        Some(edit) => edit(String::from_utf8(bytes).unwrap()).into_bytes(),
                        None => bytes,
                    };
                    let line = String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned();
                    self.seen[side].push(line);
                    if bytes != b"lost" {
                        self.phones[side].handle_message(self.now, from, &bytes);
                    }
                } else if to.port() == 4000 {
                    self.phones[side].handle_rtp(self.now, from, &bytes);
                }
            }
            for phone in &mut self.phones {
                phone.handle_timeout(self.now);
            }
        }
        self.now = until;
    }

    fn finish(&mut self) {
        self.run(self.now + Duration::from_secs(600));
        for (side, phone) in self.phones.iter().enumerate() {
            assert!(phone.is_idle(), "{side}: {:?} {:?}", phone.call, phone.transactions);
            let breaches: Vec<_> =
                self.events[side].iter().filter(|event| matches!(event, PhoneEvent::Breach(_))).collect();
            assert!(breaches.is_empty(), "{side}: {breaches:?}");
        }
    }

    fn has(&self, side: usize, event: &PhoneEvent) -> bool {
        self.events[side].contains(event)
    }
}

const RELEASED_BY_US: PhoneEvent = PhoneEvent::Released { by: Ender::Us, reason: None };
const RELEASED_BY_THEM: PhoneEvent = PhoneEvent::Released { by: Ender::Them, reason: None };

fn count(wire: &Wire, side: usize, start: &str) -> usize {
    wire.seen[side].iter().filter(|line| line.starts_with(start)).count()
}

fn breaches(wire: &Wire, side: usize) -> Vec<&str> {
    let breaches = wire.events[side].iter().filter_map(|event| match event {
        PhoneEvent::Breach(breach) => Some(breach.as_str()),
        _ => None,
    });
    breaches.collect()
}

/// Lets it run to its end and returns what the phones complained of.
fn complaints(wire: &mut Wire) -> String {
    wire.run(wire.now + Duration::from_secs(600));
    for (side, phone) in wire.phones.iter().enumerate() {
        assert!(phone.is_idle(), "{side}: {:?} {:?}", phone.call, phone.transactions);
    }
    [breaches(wire, 0), breaches(wire, 1)].concat().join("; ")
}

#[test]
fn provisional_responses_are_reliable_where_both_sides_want_it() {
    use Reliability::{Absent, Preferred, Required, Supported};
    for (a, b, pracks, refused) in [
        (Absent, Absent, 0, None),
        (Absent, Preferred, 0, None),
        (Supported, Absent, 0, None),
        (Supported, Supported, 0, None),
        (Supported, Preferred, 2, None),
        (Supported, Required, 2, None),
        (Required, Supported, 2, None),
        (Required, Preferred, 2, None),
        (Required, Absent, 0, Some(420)),
        (Absent, Required, 0, Some(421)),
    ] {
        let b = Script::answers(ms(300)).early_media(ms(100)).hangs_up(ms(400)).reliably(b);
        let mut wire = Wire::new(Script::default().reliably(a), b);
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.finish();
        assert_eq!(count(&wire, 1, "PRACK "), pracks, "{a:?}");
        let events = |side: usize| wire.events[side].iter().filter(|event| **event == PhoneEvent::Pracked).count();
        assert_eq!((events(0), events(1)), (pracks, pracks));
        match refused {
            Some(status) => assert!(wire.has(0, &PhoneEvent::Refused { status, reason: None }), "{status}"),
            None => assert!(wire.has(0, &RELEASED_BY_THEM)),
        }
    }
}

#[test]
fn a_late_offer_comes_in_the_first_reliable_response_and_is_answered_in_the_prack() {
    for repeats_sdp in [false, true] {
        let a = Script::default().offers_late().reliably(Reliability::Supported).hangs_up(ms(1000));
        let b = Script { repeats_sdp, ..Script::answers(ms(300)).reliably(Reliability::Preferred) };
        let mut wire = Wire::new(a, b);
        for phone in &mut wire.phones {
            phone.say(Sound::Tone(440.0));
        }
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.finish();
        for phone in &wire.phones {
            assert!(phone.ear().packets() > 40);
        }
    }
}

#[test]
fn a_prack_may_make_the_next_offer() {
    let a = Script {
        prack_offer: Some(Offer::Direction(Direction::SendOnly)),
        ..Script::default().reliably(Reliability::Supported)
    };
    let b = Script::answers(ms(300)).early_media(ms(100)).hangs_up(ms(400)).reliably(Reliability::Preferred);
    let mut wire = Wire::new(a, Script { ring_after: None, ..b });
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(1, &PhoneEvent::MediaChanged { media: Some("10.1.0.1:4000".parse().unwrap()), sends: false }));
}

#[test]
fn without_prack_a_reliable_response_is_repeated_for_32_s_and_no_200_passes_it() {
    let a = Script { never_pracks: true, ..Script::default().reliably(Reliability::Supported) };
    let b = Script::answers(ms(300)).early_media(ms(100)).reliably(Reliability::Preferred);
    let mut wire = Wire::new(a, Script { ring_after: None, ..b });
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert_eq!(count(&wire, 0, "SIP/2.0 183"), 7);
    assert!(wire.has(1, &PhoneEvent::Failed(Failure::NoPrack)));
    assert!(wire.has(0, &PhoneEvent::Refused { status: 504, reason: None }));
    // Without SDP the 200 need not wait.
    let a = Script { never_pracks: true, ..Script::default().reliably(Reliability::Supported) };
    let b = Script::answers(ms(300)).hangs_up(ms(100)).reliably(Reliability::Preferred);
    let mut wire = Wire::new(a, b);
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &RELEASED_BY_THEM));
}

#[test]
fn every_provisional_response_waits_for_the_prack_of_the_one_before() {
    let b = Script::answers(ms(100)).rings_after(ms(0)).provisional(ms(0), 182).provisional(ms(0), 183);
    let mut wire = Wire::new(
        Script::default().reliably(Reliability::Required),
        b.hangs_up(ms(50)).reliably(Reliability::Supported),
    );
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    let told: Vec<_> =
        wire.seen[0].iter().filter(|line| line.starts_with("SIP/2.0 1")).map(|line| &line[8..11]).collect();
    assert_eq!(told, ["180", "182", "183"]);
    assert_eq!(count(&wire, 1, "PRACK "), 3);
}

#[test]
fn breaches_of_rfc_3262_are_told() {
    fn caught(edit: Edit) -> String {
        let script = Script::default().reliably(Reliability::Supported);
        let mut wire = Wire::new(script, Script::rings().early_media(ms(100)).reliably(Reliability::Preferred));
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.edit = Some(edit);
        wire.run(ms(5_000));
        [breaches(&wire, 0), breaches(&wire, 1)].concat().join("; ")
    }
    let rows: [(Edit, &str); 6] = [
        (|text| with(&text, "RSeq", ""), "Require: 100rel: true, RSeq: None"),
        (|text| with(&text, "Require", ""), "Require: 100rel: false, RSeq: Some"),
        (|text| with(&text, "RAck", ""), "RAck None"),
        (|text| with(&text, "RAck", "RAck: 2147483647 1 INVITE\r\n"), "PRACK for"),
        (|text| with(&text, "RSeq", "RSeq: 0\r\n"), "with RSeq 0"),
        (|text| text.replace("SIP/2.0 180 Ringing", "SIP/2.0 100 Trying"), "100 that wants a PRACK"),
    ];
    assert_eq!(caught(|text| text), "");
    for (edit, sentence) in rows {
        let told = caught(edit);
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
}

/// Another line in place of this header.
fn with(text: &str, name: &str, line: &str) -> String {
    text.split_inclusive("\r\n").map(|old| if old.starts_with(&format!("{name}:")) { line } else { old }).collect()
}

#[test]
fn reliable_calls_survive_loss_doubling_and_reordering() {
    for seed in 0..300 {
        let reliability = if seed % 2 == 0 { Reliability::Preferred } else { Reliability::Required };
        let mut a = Script::default().reliably(Reliability::Supported);
        a.late_offer = seed % 3 == 0;
        a.prack_offer = (seed % 5 == 0).then_some(Offer::Same);
        let b = match seed % 4 {
            0 => Script::answers(ms(1_300)).early_media(ms(400)).hangs_up(ms(400)),
            1 => Script::declines(ms(1_000)),
            2 => Script::answers(ms(300)).provisional(ms(100), 183).hangs_up(ms(400)),
            _ => Script::rings().early_media(ms(200)),
        };
        if seed % 4 == 3 {
            a = a.cancels(ms(2_000));
        }
        survives(seed, a, b.reliably(reliability));
    }
}

/// Plays a call over a network that loses, doubles and reorders: it ends, and nobody complains.
fn survives(seed: u64, a: Script, b: Script) {
    let mut wire = Wire::new(a, b);
    wire.random = Random::new(seed);
    (wire.loss, wire.doubled, wire.delay) = (20, 20, 300);
    wire.phones[0].call(Duration::ZERO, TO_B);
    let told = complaints(&mut wire);
    assert_eq!(told, "", "seed {seed}: {:#?}\n{:#?}", wire.events, wire.seen);
}

fn up(after: u64) -> When {
    When::Up(ms(after))
}

const HOLD: Offer = Offer::Direction(Direction::SendOnly);

#[test]
fn an_update_changes_an_early_and_a_confirmed_dialog_from_either_side() {
    let early = |after| When::Early(ms(after));
    for (side, when, offer, changed) in [
        (0, early(100), HOLD, 1),
        (1, early(100), HOLD, 1),
        (0, early(100), Offer::None, 0),
        (1, early(100), Offer::None, 0),
        (0, up(100), Offer::Moved, 1),
        (1, up(100), Offer::Codecs(vec![Codec::Pcmu]), 1),
        (1, up(100), Offer::None, 0),
    ] {
        let mut scripts = [
            Script::default().reliably(Reliability::Supported),
            Script::answers(ms(500)).early_media(ms(50)).hangs_up(ms(500)).reliably(Reliability::Preferred),
        ];
        scripts[side].deeds.push((when, Act::Update(offer)));
        let [a, b] = scripts;
        let mut wire = Wire::new(a, b);
        wire.phones[0].config.second_rtp = Some("10.1.0.1:4000".parse().unwrap());
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.finish();
        assert_eq!(count(&wire, 1 - side, "UPDATE "), 1, "{side} {when:?}");
        assert!(wire.has(side, &PhoneEvent::RequestAnswered { method: "UPDATE".to_owned(), status: 200 }));
        for side in 0..2 {
            let changes = wire.events[side].iter().filter(|event| matches!(event, PhoneEvent::MediaChanged { .. }));
            assert_eq!(changes.count(), changed, "{side} {when:?}");
        }
    }
}

#[test]
fn an_update_waits_until_the_offer_of_the_invite_is_answered() {
    // Unreliable early media settles nothing: the UPDATE must wait for the 200.
    let a = Script::default().does(When::Early(ms(100)), Act::Update(HOLD));
    let mut wire = Wire::new(a, Script::answers(ms(500)).early_media(ms(50)).hangs_up(ms(500)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(490));
    assert_eq!(count(&wire, 1, "UPDATE "), 0);
    wire.finish();
    assert_eq!(count(&wire, 1, "UPDATE "), 1);
    // And X that does not wait is answered 500.
    let mut b = phone("B", B, 2, Script::rings());
    let mut a = phone("A", A, 1, Script::default());
    a.call(Duration::ZERO, TO_B);
    let (_, invite) = a.poll_transmit().unwrap();
    b.handle_message(ms(1), A.parse().unwrap(), &invite);
    b.handle_timeout(ms(100));
    let (_, ringing) = b.poll_transmit().unwrap();
    let ringing = String::from_utf8(ringing).unwrap();
    let to = ringing.lines().find(|line| line.starts_with("To: ")).unwrap();
    let update = String::from_utf8(invite).unwrap().replace("1 INVITE", "2 UPDATE").replace("INVITE sip", "UPDATE sip");
    let update = with(&update, "To", &format!("{to}\r\n")).replace("z9hG4bK", "z9hG4bKu");
    b.handle_message(ms(101), A.parse().unwrap(), update.as_bytes());
    let (_, response) = b.poll_transmit().unwrap();
    let response = String::from_utf8(response).unwrap();
    assert!(response.starts_with("SIP/2.0 500") && response.contains("Retry-After: "), "{response}");
}

#[test]
fn changes_that_cross_are_answered_491_and_tried_again_each_at_its_time() {
    for (a, b) in [
        (Act::Reinvite(HOLD), Act::Reinvite(HOLD)),
        (Act::Update(HOLD), Act::Update(HOLD)),
        (Act::Reinvite(HOLD), Act::Update(HOLD)),
    ] {
        let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.run(ms(1_000));
        assert!(wire.phones[0].act(ms(1_000), &a) && wire.phones[1].act(ms(1_000), &b));
        wire.run(ms(1_010));
        for side in 0..2 {
            assert!(wire.has(side, &PhoneEvent::ModificationRefused { status: 491 }), "{:?}", wire.events);
        }
        // B did not make the Call-ID: up to 2 s. A did: 2.1 to 4 s.
        wire.run(ms(3_050));
        let changes = |wire: &Wire| {
            let is = |event: &&PhoneEvent| matches!(event, PhoneEvent::MediaChanged { .. });
            wire.events[0].iter().filter(is).count()
        };
        assert_eq!(changes(&wire), 1);
        wire.run(ms(5_100));
        assert_eq!(changes(&wire), 2);
        wire.phones[0].hang_up(ms(5_100));
        wire.finish();
    }
}

#[test]
fn a_glare_that_is_tried_again_too_early_is_told() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(1_000));
    assert!(wire.phones[0].act(ms(1_000), &Act::Reinvite(HOLD)) && wire.phones[1].act(ms(1_000), &Act::Reinvite(HOLD)));
    wire.run(ms(1_050));
    for phone in &mut wire.phones {
        phone.agenda.clear();
        phone.call.dialog_mut().unwrap().held_until = None;
    }
    assert!(wire.phones[0].act(ms(1_050), &Act::Reinvite(HOLD)));
    wire.run(ms(1_100));
    assert!(breaches(&wire, 1).concat().contains("too early"), "{:?}", wire.events[1]);
}

#[test]
fn a_call_moves_and_changes_its_codec_and_goes_on_after_a_fax_was_refused() {
    let mut wire = Wire::new(
        Script::default()
            .does(up(200), Act::Reinvite(Offer::Moved))
            .does(up(400), Act::Reinvite(Offer::Codecs(vec![Codec::Pcmu])))
            .does(up(600), Act::Reinvite(Offer::Fax))
            .does(up(800), Act::Reinvite(Offer::None))
            .hangs_up(ms(1_000)),
        Script::answers(ms(100)),
    );
    wire.phones[0].config.second_rtp = Some("10.1.0.1:4002".parse().unwrap());
    for phone in &mut wire.phones {
        phone.say(Sound::Tone(440.0));
    }
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::ModificationRefused { status: 488 }));
    let moved = wire.events[1].iter().filter(
        |event| matches!(event, PhoneEvent::MediaChanged { media: Some(address), .. } if address.port() == 4002),
    );
    assert_eq!(moved.count(), 2);
    assert!(wire.phones[1].ear().packets() > 40);
    assert!(wire.has(0, &RELEASED_BY_US));
}

#[test]
fn offers_can_be_refused_and_methods_unknown() {
    let b = Script { refuses_offers: Some(488), ..Script::answers(ms(100)).lacks("UPDATE") };
    let a = Script::default().does(up(100), Act::Reinvite(HOLD)).does(up(200), Act::Update(HOLD)).hangs_up(ms(400));
    let mut wire = Wire::new(a, b);
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    for status in [488, 405] {
        assert!(wire.has(0, &PhoneEvent::ModificationRefused { status }), "{status}");
    }
    assert!(!wire.events[1].iter().any(|event| matches!(event, PhoneEvent::MediaChanged { .. })));
}

#[test]
fn a_bye_that_crosses_a_reinvite_leaves_nothing() {
    for at in 0..8 {
        let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
        wire.delay = 5;
        wire.random = Random::new(at);
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.run(ms(1_000));
        assert!(wire.phones[0].act(ms(1_000), &Act::Reinvite(HOLD)));
        wire.run(ms(1_000 + at));
        wire.phones[(at % 2) as usize].hang_up(wire.now);
        wire.finish();
    }
}

#[test]
fn a_caller_may_end_its_early_dialog_by_bye() {
    let mut wire = Wire::new(Script::default().does(When::Early(ms(100)), Act::Bye), Script::rings());
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::Refused { status: 487, reason: None }));
    assert!(wire.has(1, &RELEASED_BY_THEM));
}

fn timer(seconds: u32, refresher: Refresher) -> PhoneEvent {
    PhoneEvent::SessionTimer { seconds, refresher }
}

#[test]
fn sessions_are_refreshed_by_who_was_chosen_in_either_way() {
    use Refresher::{Them, Us};
    let plain = SessionTimer::new(200);
    for (a, b, seconds, by_a, method) in [
        (plain, SessionTimer::new(1_800), 200, true, "UPDATE "),
        (plain.by_reinvite(), SessionTimer::new(1_800), 200, true, "INVITE "),
        (plain.refresher(Them), SessionTimer::new(150).by_reinvite(), 150, false, "INVITE "),
        (plain, SessionTimer::new(1_800).refresher(Us), 200, false, "UPDATE "),
        (plain.refresher(Us), SessionTimer::new(1_800).refresher(Us), 200, true, "UPDATE "),
        (SessionTimer::new(100), SessionTimer::new(1_800).at_least(300), 300, true, "UPDATE "),
    ] {
        let mut wire = Wire::new(Script::default().timed(a), Script::answers(ms(100)).timed(b));
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.run(Duration::from_secs(900));
        let (at_a, at_b) = if by_a { (Us, Them) } else { (Them, Us) };
        assert!(wire.has(0, &timer(seconds, at_a)) && wire.has(1, &timer(seconds, at_b)), "{:?}", wire.events);
        let refreshes = count(&wire, usize::from(by_a), method);
        assert!(refreshes >= 900 / seconds as usize, "{refreshes} {:?}", wire.seen);
        wire.phones[0].hang_up(wire.now);
        wire.finish();
    }
}

#[test]
fn a_peer_that_has_no_timers_ends_them() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)).timed(SessionTimer::new(120)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(Duration::from_secs(500));
    // RFC 4028 §7.2: a 200 without Session-Expires, and no refresh is due any more.
    assert_eq!((count(&wire, 0, "UPDATE "), wire.phones[0].state()), (1, State::Established));
    wire.phones[0].hang_up(wire.now);
    wire.finish();
    let mut wire = Wire::new(Script::default().timed(SessionTimer::new(120)), Script::answers(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(Duration::from_secs(500));
    assert_eq!((count(&wire, 1, "UPDATE "), wire.phones[0].state()), (0, State::Established));
    wire.phones[0].hang_up(wire.now);
    wire.finish();
}

#[test]
fn a_session_that_nobody_refreshes_ends_and_is_told() {
    let forgetful = SessionTimer::new(120).refresher(Refresher::Us).forgets();
    let mut wire =
        Wire::new(Script::default().timed(forgetful), Script::answers(ms(100)).timed(SessionTimer::new(120)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(Duration::from_secs(70));
    assert_eq!(wire.phones[1].state(), State::Established);
    let told = complaints(&mut wire);
    assert_eq!(told, "the peer does not refresh (RFC 4028 §10)");
    assert!(wire.has(1, &PhoneEvent::SessionExpired) && wire.has(0, &RELEASED_BY_THEM));
    // And the refresher tells when the other side does not end it.
    let mut wire =
        Wire::new(Script::default().timed(forgetful), Script::answers(ms(100)).timed(SessionTimer::new(120)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(1_000));
    let Call::Established(up) = &mut wire.phones[1].call else { panic!("the call is up") };
    up.dialog.timer = None;
    let told = complaints(&mut wire);
    assert_eq!(told, "the session is over and the peer does not end it (RFC 4028 §10)");
}

#[test]
fn a_peer_whose_refresh_or_end_is_refused_is_not_blamed() {
    fn told(by_a: SessionTimer, refuse: impl FnOnce(&mut Script)) -> String {
        let b = Script::answers(ms(100)).timed(SessionTimer::new(120));
        let mut wire = Wire::new(Script::default().timed(by_a), b);
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.run(ms(1_000));
        refuse(&mut wire.phones[1].config.script);
        let told = complaints(&mut wire);
        assert!(wire.has(1, &PhoneEvent::SessionExpired), "{:?}", wire.events);
        told
    }
    let challenge = || Some(Challenge { every_request: true, ..Challenge::new(407, "carrier", "alice", "secret") });
    let refreshes = SessionTimer::new(120).refresher(Refresher::Us);
    // What a re-INVITE offers is refused, or it has no credentials.
    assert_eq!(told(refreshes.by_reinvite(), |script| script.refuses_offers = Some(488)), "");
    assert_eq!(told(refreshes, |script| script.challenge = challenge()), "");
    // Who has refused nothing yet is owed the refresh.
    let sentence = "the peer does not refresh (RFC 4028 §10)";
    assert_eq!(told(refreshes.forgets(), |script| script.refuses_offers = Some(488)), sentence);
    assert_eq!(told(refreshes.forgets(), |script| script.challenge = challenge()), sentence);
    // A BYE without credentials has ended the session for who sent it.
    let mut wire =
        Wire::new(Script::default().timed(refreshes), Script::answers(ms(100)).timed(SessionTimer::new(120)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(1_000));
    wire.phones[1].config.script.challenge = challenge();
    wire.phones[0].hang_up(wire.now);
    assert_eq!(complaints(&mut wire), "");
    assert!(wire.has(1, &PhoneEvent::SessionExpired), "{:?}", wire.events);
}

#[test]
fn breaches_of_rfc_4028_are_told() {
    fn caught(edit: Edit) -> String {
        let wanted = SessionTimer::new(600);
        let mut wire =
            Wire::new(Script::default().timed(wanted), Script::answers(ms(100)).timed(SessionTimer::new(1_800)));
        wire.edit = Some(edit);
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.run(ms(5_000));
        [breaches(&wire, 0), breaches(&wire, 1)].concat().join("; ")
    }
    let rows: [(Edit, &str); 7] = [
        (|text| text.replace("Supported: timer\r\n", ""), "without Supported: timer"),
        (|text| with(&text, "Session-Expires", "Session-Expires: 60\r\n"), "Session-Expires 60 with Min-SE 90"),
        (|text| with(&text, "Session-Expires", "Session-Expires: x\r\n"), "Session-Expires: x"),
        (|text| text.replace(";refresher=uac", ""), "without refresher"),
        (|text| text.replace("600;refresher=uac", "700;refresher=uac"), "where 600 was asked for"),
        (|text| text.replace("Require: timer\r\n", ""), "refresher=uac without Require: timer"),
        (|text| text.replace("Session-Expires: 600;refresher=uac\r\n", ""), "requires timer and has no"),
    ];
    assert_eq!(caught(|text| text), "");
    for (edit, sentence) in rows {
        let told = caught(edit);
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
}

#[test]
fn changes_survive_loss_doubling_and_reordering() {
    for seed in 0..400_u64 {
        let mut random = Random::new(seed);
        let mut act = || {
            let offer = match random.next_u64() % 5 {
                0 => Offer::None,
                1 => Offer::Same,
                2 => Offer::Codecs(vec![Codec::Pcmu]),
                3 => Offer::Direction(Direction::Inactive),
                _ => HOLD,
            };
            if random.next_u64().is_multiple_of(2) { Act::Reinvite(offer) } else { Act::Update(offer) }
        };
        let mut a = Script::default().reliably(Reliability::Supported).does(up(1_000), act()).does(up(1_500), act());
        let mut b = Script::answers(ms(1_300)).early_media(ms(100)).reliably(Reliability::Preferred);
        b = b.does(up(1_000), act()).does(When::Early(ms(400)), act()).hangs_up(ms(20_000));
        if seed % 3 == 0 {
            a = a.timed(SessionTimer::new(90)).does(When::Early(ms(400)), act());
            b = b.timed(SessionTimer::new(90)).hangs_up(ms(200_000));
        }
        survives(seed, a, b);
    }
}

fn with_credentials(wire: &mut Wire, password: &str) {
    wire.phones[0].config.credentials =
        Some(Credentials { username: "alice".to_owned(), password: password.to_owned() });
}

#[test]
fn a_challenged_call_is_answered_with_credentials_or_refused() {
    for (status, algorithm, qop, stale_once, every_request) in [
        (401, Algorithm::Md5, true, false, false),
        (407, Algorithm::Md5, true, true, false),
        (401, Algorithm::Sha256, true, false, true),
        (407, Algorithm::Sha256, false, false, false),
        (407, Algorithm::Md5, false, true, true),
    ] {
        let mut challenge = Challenge::new(status, "carrier", "alice", "secret");
        challenge.algorithms.insert(0, algorithm);
        (challenge.qop, challenge.stale_once, challenge.every_request) = (qop, stale_once, every_request);
        for password in ["secret", "guess"] {
            let a = Script::default().does(up(100), Act::Update(HOLD)).hangs_up(ms(400));
            let mut wire = Wire::new(a, Script::answers(ms(100)).challenges(challenge.clone()));
            with_credentials(&mut wire, password);
            wire.phones[0].call(Duration::ZERO, TO_B);
            wire.finish();
            assert!(wire.has(0, &PhoneEvent::TriedAgain { status }));
            if password == "secret" {
                assert!(wire.has(0, &RELEASED_BY_US), "{status} {algorithm:?}: {:?}", wire.events);
                assert_eq!(count(&wire, 1, "INVITE "), if stale_once { 4 } else { 3 } - 1);
            } else {
                assert!(wire.has(0, &PhoneEvent::Refused { status: 403, reason: None }));
            }
        }
    }
    let mut wire = Wire::new(
        Script::default(),
        Script::answers(ms(100)).challenges(Challenge::new(401, "carrier", "alice", "secret")),
    );
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::Refused { status: 401, reason: None }));
}

#[test]
fn breaches_of_digest_are_told() {
    fn caught(edit: Edit) -> String {
        let challenge = Challenge { every_request: true, ..Challenge::new(407, "carrier", "alice", "secret") };
        let a = Script::default().does(up(100), Act::Update(HOLD));
        let mut wire = Wire::new(a, Script::answers(ms(100)).challenges(challenge));
        with_credentials(&mut wire, "secret");
        wire.edit = Some(edit);
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.run(ms(5_000));
        breaches(&wire, 1).join("; ")
    }
    let rows: [(Edit, &str); 5] = [
        (|text| text.replace("nc=00000002", "nc=00000001"), "nc 00000001 after 1"),
        (|text| text.replace("uri=\"sip:", "uri=\"sip:x"), "is not the Request-URI"),
        (|text| text.replace("qop=auth,", "qop=auth-int,"), "qop \"auth-int\""),
        (|text| text.replace(", opaque=\"5ccc", ", opaque=\"6ccc"), "realm or opaque"),
        (|text| text.replace("algorithm=MD5, opaque", "algorithm=SHA-256, opaque"), "not the first that was offered"),
    ];
    assert_eq!(caught(|text| text), "");
    for (edit, sentence) in rows {
        let told = caught(edit);
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
    // Nor may credentials go to who did not ask for them.
    let a = Script::default().with_header("Proxy-Authorization", "Digest username=\"alice\"");
    let mut wire = Wire::new(a, Script::is_busy(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    assert!(complaints(&mut wire).contains("Proxy-Authorization that nobody asked for"));
}

#[test]
fn digits_and_other_requests_go_both_ways_within_the_dialog() {
    let refer = Act::sends("REFER", &[("Refer-To", "<sip:x@10.9.9.9>")]);
    let a = Script::default()
        .does(up(100), Act::InfoDigit { digit: '5', relay: true })
        .does(up(200), refer)
        .does(up(300), Act::sends("FROBNICATE", &[]))
        .does(up(400), Act::sends("OPTIONS", &[]));
    let b = Script::answers(ms(100)).does(up(100), Act::InfoDigit { digit: '#', relay: false }).hangs_up(ms(1_000));
    let mut wire = Wire::new(a, b);
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    let digit = |digit, kind: &str| PhoneEvent::InfoDigit { digit, content_type: format!("application/{kind}") };
    assert!(wire.has(1, &digit('5', "dtmf-relay")) && wire.has(0, &digit('#', "dtmf")), "{:?}", wire.events);
    for (method, status) in [("INFO", 200), ("REFER", 405), ("FROBNICATE", 405), ("OPTIONS", 200)] {
        let answered = PhoneEvent::RequestAnswered { method: method.to_owned(), status };
        assert!(wire.has(0, &answered), "{method}: {:?}", wire.events[0]);
    }
}

#[test]
fn isup_travels_beside_the_sdp_and_streams_beside_the_audio() {
    let mut wire =
        Wire::new(Script::default().does(up(100), Act::Reinvite(HOLD)), Script::answers(ms(100)).hangs_up(ms(500)));
    let video = ["m=video 4010 RTP/AVP 96", "a=rtpmap:96 H264/90000"].map(str::to_owned).to_vec();
    for phone in &mut wire.phones {
        phone.config.isup = Some(vec![1, 0, 0x0a, 0xff, b'\r', b'\n']);
        phone.config.streams_before = video.clone();
        phone.config.streams_after = vec!["m=application 4012 udp wb".to_owned()];
    }
    wire.phones[0].call(Duration::ZERO, TO_B);
    let (to, invite) = wire.phones[0].poll_transmit().unwrap();
    let part = b"\xff\r\n\r\n--unique";
    assert!(invite.windows(part.len()).any(|window| window == part));
    wire.send(A.parse().unwrap(), to, &invite);
    wire.finish();
    assert_eq!(wire.events[1].iter().filter(|event| matches!(event, PhoneEvent::MediaChanged { .. })).count(), 1);
}

#[test]
fn an_answer_that_takes_or_forgets_a_stream_is_told() {
    let rows: [(Edit, &str); 2] = [
        (|text| text.replace("m=video 0", "m=video 9"), "accepts video"),
        (
            |text| {
                text.replace("m=video 0 RTP/AVP 96\r\n", "")
                    .replace("Content-Length: ", "X-L: ")
                    .replace("X-L: 0", "Content-Length: 0")
            },
            "other m= lines",
        ),
    ];
    for (edit, sentence) in rows {
        let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
        for phone in &mut wire.phones {
            phone.config.streams_after = vec!["m=video 4010 RTP/AVP 96".to_owned()];
        }
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.edit = Some(edit);
        wire.run(ms(5_000));
        assert!(breaches(&wire, 0).concat().contains(sentence), "{:?}", wire.events);
    }
}

#[test]
fn redirections_and_unknown_demands_reach_the_caller() {
    let b = Script::redirects(ms(100), 302, &["sip:a@10.9.9.9", "sip:b@10.9.9.8"]);
    let mut wire = Wire::new(Script { max_forwards: 3, ..Script::default() }, b);
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::Refused { status: 302, reason: None }));
    let mut wire = Wire::new(Script::default().with_header("Require", "foo"), Script::answers(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::Refused { status: 420, reason: None }));
}

fn branch(number: u8) -> Fork {
    Fork::rings(format!("10.2.0.1:{}", 4100 + u16::from(number) * 2).parse().unwrap(), ms(60))
}

fn forking() -> Script {
    Script { takes_forks: true, ..Script::default() }
}

#[test]
fn several_phones_ring_and_whoever_answers_first_is_the_call() {
    for (own, first, second, by) in [(300, 500, 900, 4000), (500, 300, 900, 4102), (900, 500, 300, 4104)] {
        for reliability in [Reliability::Absent, Reliability::Preferred] {
            let b = Script::answers(ms(own))
                .forks(branch(1).early_media(ms(100)).answers(ms(first)))
                .forks(branch(2).answers(ms(second)))
                .forks(branch(3).early_media(ms(80)).ends(ms(120)))
                .reliably(reliability)
                .hangs_up(ms(2_000));
            let a = forking().reliably(reliability);
            let mut wire = Wire::new(a, b);
            for phone in &mut wire.phones {
                phone.say(Sound::Tone(440.0));
            }
            wire.phones[0].call(Duration::ZERO, TO_B);
            wire.finish();
            let media = Some(SocketAddr::new("10.2.0.1".parse().unwrap(), by));
            assert!(wire.has(0, &PhoneEvent::Answered { media }), "{own}: {:?}", wire.events[0]);
            for side in 0..2 {
                let ended = wire.events[side].iter().filter(|event| **event == PhoneEvent::BranchReleased).count();
                assert_eq!(ended, 2, "{side}: {:?}", wire.events);
            }
            assert_eq!(count(&wire, 0, "SIP/2.0 199"), 1);
        }
    }
}

#[test]
fn branches_survive_loss_doubling_and_reordering_and_a_cancel() {
    for seed in 0..200 {
        let reliability = if seed % 2 == 0 { Reliability::Preferred } else { Reliability::Absent };
        let b = Script::answers(ms(700))
            .forks(branch(1).early_media(ms(100)).answers(ms(600 + seed)))
            .forks(branch(2).ends(ms(500)))
            .reliably(reliability)
            .hangs_up(ms(8_000));
        let mut a = forking().reliably(reliability);
        if seed % 4 == 3 {
            a = a.cancels(ms(400 + seed));
        }
        survives(seed, a, b);
    }
}

#[test]
fn a_second_200_that_nobody_acknowledges_or_ends_is_told() {
    let b = || Script::answers(ms(300)).forks(branch(1).answers(ms(400))).hangs_up(ms(60_000));
    let mut wire = Wire::new(forking(), b());
    wire.edit = Some(|text| if text.starts_with("BYE sip:branch") { "lost".to_owned() } else { text });
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(50_000));
    assert!(breaches(&wire, 1).concat().contains("got no BYE"));
    let mut wire = Wire::new(forking(), b());
    wire.edit =
        Some(|text| if text.contains("sip:branch") && !text.starts_with("SIP") { "lost".to_owned() } else { text });
    wire.phones[0].call(Duration::ZERO, TO_B);
    assert!(complaints(&mut wire).contains("was never acknowledged"));
}

#[test]
fn whoever_knows_of_one_x_only_is_told_of_a_fork() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(300)).forks(branch(1)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(1_000));
    assert!(breaches(&wire, 0).concat().contains("another To tag"));
}

/// Does on the way what the proxies of a recorded route would do, which two phones next to each other lack.
#[test]
fn routes_are_recorded_and_a_request_by_another_way_is_told() {
    let route = ["<sip:p1@10.2.0.1:5060;lr>", "<sip:p2@10.2.0.1:5060;lr>"].map(str::to_owned).to_vec();
    let strict = vec!["<sip:p1@10.2.0.1:5060>".to_owned()];
    let told = |route: &Vec<String>, edit: Edit| {
        let mut wire = Wire::new(Script::default(), Script::answers(ms(100)).hangs_up(ms(500)));
        wire.phones[1].config.record_route = route.clone();
        wire.edit = Some(edit);
        wire.phones[0].call(Duration::ZERO, TO_B);
        complaints(&mut wire).replace("200: Record-Route", "").replace("180: Record-Route", "")
    };
    let loose = |text: String| match text.starts_with("ACK ") {
        true => text.replace("Max-", "Route: <sip:p2@10.2.0.1:5060;lr>, <sip:p1@10.2.0.1:5060;lr>\r\nMax-"),
        false => with(&text, "Record-Route", ""),
    };
    assert_eq!(told(&route, loose), "");
    let turned = |text: String| match text.starts_with("ACK ") {
        true => text.replace("Max-", "Route: <sip:p1@10.2.0.1:5060;lr>, <sip:p2@10.2.0.1:5060;lr>\r\nMax-"),
        false => with(&text, "Record-Route", ""),
    };
    assert!(told(&route, turned).contains("ACK: Route"));
    let by_strict = |text: String| match text.starts_with("ACK ") {
        true => text
            .replace("ACK sip:+8613800000002@", "ACK sip:p1@")
            .replace("Max-", "Route: <sip:+8613800000002@10.2.0.1:5060>\r\nMax-"),
        false => with(&text, "Record-Route", ""),
    };
    assert_eq!(told(&strict, by_strict), "");
    assert!(told(&strict, |text| with(&text, "Record-Route", "")).contains("Request-URI"));
    // And the caller misses its own in the responses.
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)).hangs_up(ms(500)));
    wire.phones[0].config.record_route = route;
    wire.edit = Some(|text| with(&text, "Record-Route", ""));
    wire.phones[0].call(Duration::ZERO, TO_B);
    let told = complaints(&mut wire);
    assert!(told.contains("180: Record-Route []") && told.contains("BYE: Route []"), "{told}");
}

#[test]
fn a_canary_sings_in_every_message_and_harms_none() {
    for reliability in [Reliability::Absent, Reliability::Preferred] {
        for late_offer in [false, true] {
            let a = Script { late_offer, ..Script::default() }
                .reliably(reliability)
                .timed(SessionTimer::new(90))
                .does(up(100), Act::InfoDigit { digit: '5', relay: true })
                .does(up(200), Act::Update(HOLD))
                .does(up(300), Act::Reinvite(Offer::Direction(Direction::SendRecv)))
                .does(up(400), Act::Press('7', ms(100)));
            let b = Script::answers(ms(300)).early_media(ms(100)).reliably(reliability).hangs_up(ms(20_000));
            let mut wire = Wire::new(a, b);
            wire.edit = Some(|text| {
                let head = text.split("\r\n\r\n").next().unwrap_or_default();
                // CANCEL and the ACK of a refusal are short by their nature.
                assert!(head.matches("kingfisher").count() > 30, "{text}");
                assert!(!text.contains("m=audio") || text.matches("kingfisher").count() > 70, "{text}");
                text
            });
            for phone in &mut wire.phones {
                let mut config = phone.config.clone();
                config.canary = Some("kingfisher".to_owned());
                config.cname = Some("cname".to_owned());
                config.sound = Sound::Tone(440.0);
                *phone = Phone::new(config);
            }
            wire.phones[0].call(Duration::ZERO, TO_B);
            wire.finish();
            assert!(wire.has(1, &RELEASED_BY_US), "{:?}", wire.events);
            assert!(wire.phones[1].ear().digits() == "7");
            for phone in &wire.phones {
                assert_eq!(phone.ear().faults(), []);
                assert!(phone.ear().packets() > 200);
            }
        }
    }
}

#[test]
fn a_canary_sings_in_cancel_and_in_the_ack_of_a_refusal() {
    let mut wire = Wire::new(Script::default().cancels(ms(300)), Script::rings());
    wire.edit = Some(|text| {
        assert!(text.matches("kingfisher").count() > 5, "{text}");
        text
    });
    for phone in &mut wire.phones {
        phone.config.canary = Some("kingfisher".to_owned());
    }
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    let refused = |event: &PhoneEvent| matches!(event, PhoneEvent::Refused { status: 487, .. });
    assert!(wire.events[0].iter().any(refused), "{:?}", wire.events);
}

#[test]
fn a_call_rings_is_answered_and_hung_up() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(500)).hangs_up(ms(1000)));
    assert!(wire.phones[0].call(Duration::ZERO, TO_B));
    assert!(!wire.phones[0].call(Duration::ZERO, TO_B));
    wire.finish();
    let media = |address: &str| Some(address.parse().unwrap());
    assert_eq!(
        wire.events[0],
        [
            PhoneEvent::Ringing { status: 180, media: None },
            PhoneEvent::Answered { media: media("10.2.0.1:4000") },
            PhoneEvent::Established,
            RELEASED_BY_THEM,
        ]
    );
    assert_eq!(
        wire.events[1],
        [
            PhoneEvent::Invited { caller: "+8613800000002".to_owned() },
            PhoneEvent::Answered { media: media("10.1.0.1:4000") },
            PhoneEvent::Established,
            RELEASED_BY_US,
        ]
    );
    assert_eq!(
        wire.seen[1],
        [
            "INVITE sip:+8613800000002@10.2.0.1:5060 SIP/2.0",
            "ACK sip:+8613800000002@10.2.0.1:5060 SIP/2.0",
            "SIP/2.0 200 OK"
        ]
    );
}

#[test]
fn both_hear_each_other_and_nothing_else() {
    let mut wire = Wire::new(Script::default().hangs_up(ms(2000)), Script::answers(ms(100)));
    let mut known = Known::new();
    known.add_tone("A", 440.0);
    known.add_tone("B", 620.0);
    let known = Arc::new(known);
    for (phone, hertz) in wire.phones.iter_mut().zip([440.0, 620.0]) {
        phone.say(Sound::Tone(hertz));
        phone.set_known(Arc::clone(&known));
    }
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    for (side, other) in [(0, "B"), (1, "A")] {
        let ear = wire.phones[side].ear();
        assert_eq!(ear.sounds(), [Heard::Tone(other.into())]);
        assert!(ear.heard_for(other) > ms(1900), "{:?}", ear.runs());
        assert_eq!(ear.faults(), []);
        assert!(wire.has(side, &PhoneEvent::Hears(Heard::Tone(other.into()))));
    }
}

#[test]
fn refusals_reach_the_caller_with_their_reason() {
    for (script, status, reason) in [
        (Script::is_busy(ms(100)), 486, None),
        (Script::declines(ms(100)), 603, None),
        (Script::refuses(ms(100), 404).because("Q.850;cause=1"), 404, Some("Q.850;cause=1")),
    ] {
        let mut wire = Wire::new(Script::default(), script);
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.finish();
        assert!(wire.has(0, &PhoneEvent::Refused { status, reason: reason.map(str::to_owned) }), "{status}");
        assert!(wire.has(1, &RELEASED_BY_US));
    }
}

#[test]
fn a_cancelled_call_ends_with_487_and_one_that_crosses_the_200_with_a_bye() {
    let mut wire = Wire::new(Script::default().cancels(ms(300)), Script::rings());
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::Refused { status: 487, reason: None }));
    assert!(wire.has(1, &RELEASED_BY_THEM));

    for at in 95..106 {
        let mut wire = Wire::new(Script::default().cancels(ms(at)), Script::answers(ms(100)));
        wire.delay = 5;
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.finish();
        let cancelled = wire.has(0, &PhoneEvent::Refused { status: 487, reason: None });
        let released = wire.has(0, &RELEASED_BY_US) || wire.has(0, &RELEASED_BY_THEM);
        // A wish that comes after the ACK is no wish to cancel any more.
        let up = wire.events[0].contains(&PhoneEvent::Established) && wire.phones[0].state() == State::Ended;
        assert!(cancelled || released || up, "{at}: {:?}", wire.events);
        assert_eq!(wire.phones.each_ref().map(Phone::state)[1], State::Ended);
    }
}

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    let mut wire = Wire::new(Script::default().cancels(ms(10)), Script::rings().rings_after(ms(700)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(600));
    assert!(wire.seen[1].iter().all(|line| line.starts_with("INVITE")));
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::Refused { status: 487, reason: None }));
}

#[test]
fn early_media_is_heard_before_the_answer_and_the_200_repeats_it() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(900)).early_media(ms(100)).hangs_up(ms(50)));
    wire.phones[1].config.early_sound = Sound::Tone(425.0);
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(800));
    assert!(wire.has(0, &PhoneEvent::Ringing { status: 183, media: Some("10.2.0.1:4000".parse().unwrap()) }));
    assert!(wire.phones[0].ear().packets() > 30);
    wire.finish();
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut wire = Wire::new(Script::default().offers_late().hangs_up(ms(500)), Script::answers(ms(100)));
    for phone in &mut wire.phones {
        phone.say(Sound::Tone(440.0));
    }
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    for phone in &wire.phones {
        assert!(phone.ear().packets() > 20);
    }
}

#[test]
fn a_held_phone_is_silent_until_it_is_resumed() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
    wire.phones[1].say(Sound::Tone(440.0));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(1000));
    assert!(wire.phones[0].modify(ms(1000), Direction::SendOnly));
    assert!(!wire.phones[0].modify(ms(1000), Direction::SendOnly));
    wire.run(ms(1100));
    let heard = wire.phones[0].ear().packets();
    wire.run(ms(2000));
    assert_eq!(wire.phones[0].ear().packets(), heard);
    assert!(wire.phones[0].modify(ms(2000), Direction::SendRecv));
    wire.run(ms(3000));
    assert!(wire.phones[0].ear().packets() > heard + 40);
    wire.phones[1].hang_up(wire.now);
    wire.finish();
    assert_eq!(wire.phones[0].ear().faults(), []);
    assert_eq!(wire.events[1].iter().filter(|event| matches!(event, PhoneEvent::MediaChanged { .. })).count(), 2);
}

#[test]
fn a_busy_phone_refuses_a_second_call_and_an_unknown_dialog_has_481() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.run(ms(500));
    let mut third = phone("C", "10.3.0.1:5060", 9, Script::default());
    third.call(wire.now, TO_B);
    let (_, invite) = third.poll_transmit().unwrap();
    let c = "10.3.0.1:5060".parse().unwrap();
    wire.phones[1].handle_message(wire.now, c, &invite);
    let (to, response) = wire.phones[1].poll_transmit().unwrap();
    assert_eq!(to, c);
    third.handle_message(wire.now, wire.phones[1].config().contact, &response);
    assert_eq!(third.poll_event(), Some(PhoneEvent::Refused { status: 486, reason: None }));
    let bye = String::from_utf8(invite).unwrap().replace("INVITE", "BYE").replace("z9hG4bK", "z9hG4bKq");
    let bye = bye.replace("To: <sip:+8613800000002@10.2.0.1:5060>", "To: <sip:+8613800000002@10.2.0.1:5060>;tag=no");
    wire.phones[1].handle_message(wire.now, c, bye.as_bytes());
    let (_, response) = wire.phones[1].poll_transmit().unwrap();
    assert!(response.starts_with(b"SIP/2.0 481"), "{}", String::from_utf8_lossy(&response));
}

#[test]
fn nobody_there_is_told_after_32_s() {
    let mut wire = Wire::new(Script::default(), Script::is_dead());
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert_eq!(wire.events[0], [PhoneEvent::Failed(Failure::NoResponse)]);
    assert_eq!(wire.seen[1].len(), 7);
}

#[test]
fn a_caller_that_never_acknowledges_is_hung_up_on() {
    let mut wire = Wire::new(Script { never_acknowledge: true, ..Script::default() }, Script::answers(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(1, &PhoneEvent::Failed(Failure::NoAck)));
    assert!(wire.has(0, &RELEASED_BY_THEM));
}

#[test]
fn a_phone_that_nobody_answers_stops_ringing_by_itself() {
    let mut wire = Wire::new(Script::default(), Script::rings());
    wire.phones[0].call(Duration::ZERO, TO_B);
    wire.finish();
    assert!(wire.has(0, &PhoneEvent::Refused { status: 480, reason: None }));
}

#[test]
fn calls_survive_loss_doubling_and_reordering() {
    for seed in 0..300 {
        let b = match seed % 4 {
            0 => Script::answers(ms(300)).hangs_up(ms(400)),
            1 => Script::is_busy(ms(100)),
            2 => Script::rings(),
            _ => Script::answers(ms(300)),
        };
        let a = match seed % 4 {
            2 => Script::default().cancels(ms(400)),
            3 => Script::default().hangs_up(ms(200)),
            _ => Script::default(),
        };
        let mut wire = Wire::new(a, b);
        wire.random = Random::new(seed);
        (wire.loss, wire.doubled, wire.delay) = (20, 20, 300);
        wire.phones[0].call(Duration::ZERO, TO_B);
        wire.run(Duration::from_secs(600));
        for (side, phone) in wire.phones.iter().enumerate() {
            assert!(phone.is_idle(), "seed {seed}, {side}: {:?}\n{:?}", phone.call, wire.events);
            let breach = wire.events[side].iter().find(|event| matches!(event, PhoneEvent::Breach(_)));
            assert_eq!(breach, None, "seed {seed}, {side}");
        }
    }
}

#[test]
fn a_second_call_is_a_new_stream() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)).hangs_up(ms(500)));
    for second in 0..2 {
        // The other side is another phone, with another SSRC.
        wire.phones[1] = phone("B", B, 20 + second, Script::answers(ms(100)).hangs_up(ms(500)));
        wire.phones[1].say(Sound::Tone(440.0));
        let now = wire.now;
        assert!(wire.phones[0].call(now, TO_B));
        wire.finish();
    }
    assert!(wire.phones[0].ear().packets() > 40);
    assert_eq!(wire.phones[0].ear().faults(), []);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut wire = Wire::new(Script::default(), Script::answers(ms(300)).hangs_up(ms(400)));
        wire.phones[0].call(Duration::ZERO, TO_B);
        let mut bytes = Vec::new();
        while let Some((_, sent)) = wire.phones[0].poll_transmit() {
            bytes.extend(sent);
        }
        bytes
    };
    assert_eq!(run(), run());
}

#[test]
fn breaches_are_told() {
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    let (_, invite) = wire.phones[0].poll_transmit().unwrap();
    let invite = String::from_utf8(invite).unwrap();
    for (from, to, sentence) in [
        ("Max-Forwards: 70\r\n", "", "0 Max-Forwards headers"),
        ("Contact: ", "Subject: ", "0 Contact headers"),
        ("From: ", "From ", "rsip cannot read it"),
        ("INVITE sip:+8613800000002@10.2.0.1", "INVITE sip:+8613800000002@10.2.0.9", "is not us"),
        ("a=rtpmap:101 telephone-event/8000", "a=rtpmap:191 telephone-event/8000", "without rtpmap"),
    ] {
        let mut b = phone("B", B, 2, Script::answers(ms(0)));
        let broken = invite.replacen(from, to, 1);
        assert_ne!(broken, invite);
        b.handle_message(ms(1), A.parse().unwrap(), broken.as_bytes());
        let told = std::iter::from_fn(|| b.poll_event()).any(|event| match event {
            PhoneEvent::Breach(breach) => breach.contains(sentence),
            _ => false,
        });
        assert!(told, "{sentence}");
    }
}

#[test]
fn no_bytes_panic() {
    let mut random = Random::new(5);
    let mut wire = Wire::new(Script::default(), Script::answers(ms(100)));
    wire.phones[0].call(Duration::ZERO, TO_B);
    let (_, invite) = wire.phones[0].poll_transmit().unwrap();
    for nth in 0..2000u32 {
        let mut b = phone("B", B, 2, Script::answers(ms(0)));
        let mut bytes = invite.clone();
        for _ in 0..=nth % 4 {
            let at = random.next_u64() as usize % bytes.len();
            bytes[at] = random.next_u32() as u8;
        }
        b.handle_message(ms(1), A.parse().unwrap(), &bytes);
        b.handle_timeout(ms(10_000));
    }
}
