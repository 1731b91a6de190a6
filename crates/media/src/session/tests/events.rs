//! Digits in simulated time: passed through, sent for another way of saying them, heard where they cannot be passed through;
//! and what follows a prompt.

use super::*;
use crate::Digit;
use std::collections::BTreeSet;

pub(super) const NO_EVENTS: LegFormat = LegFormat { telephone_event: None, ..PCMA };

pub(super) fn digit(digit: char) -> Digit {
    Digit::from_char(digit).unwrap()
}

/// What a party sends: when, and the packet.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) at: Duration,
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

impl Flight {
    pub(super) fn is_event(&self) -> bool {
        self.header.payload_type == 101
    }
}

/// A telephone that talks and presses.
pub(super) struct Keys {
    ptime: u64,
    pub(super) flights: Vec<Flight>,
    pub(super) at: u64,
    pub(super) sequence_number: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
}

impl Keys {
    pub(super) fn new(ptime: u64) -> Keys {
        // Both numbers wrap within every test.
        Keys { ptime, flights: Vec::new(), at: 0, sequence_number: u16::MAX - 8, timestamp: u32::MAX - 4000, ssrc: 1 }
    }

    fn samples(&self) -> u32 {
        self.ptime as u32 * 8
    }

    fn send(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: Vec<u8>) {
        let header = Header { payload_type, marker, sequence_number: self.sequence_number, timestamp, ssrc: self.ssrc };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.flights.push(Flight { at: ms(self.at), header, payload });
        self.at += self.ptime;
    }

    pub(super) fn talk(&mut self, packets: u32) {
        for _ in 0..packets {
            self.send(8, false, self.timestamp, vec![0x2a; self.samples() as usize]);
            self.timestamp = self.timestamp.wrapping_add(self.samples());
        }
    }

    /// Sends what is on the line, in A-law.
    pub(super) fn play(&mut self, audio: &[u8]) {
        self.play_as(8, audio);
    }

    pub(super) fn play_as(&mut self, payload_type: u8, audio: &[u8]) {
        for payload in audio.chunks(self.samples() as usize) {
            self.send(payload_type, false, self.timestamp, payload.to_vec());
            self.timestamp = self.timestamp.wrapping_add(payload.len() as u32);
        }
    }

    /// Presses for so many packet times; the end is sent three times. Longer than a segment, it goes on in another (RFC 4733
    /// §2.5.1.3).
    pub(super) fn press(&mut self, digit: Digit, packets: u32) {
        let mut begun = self.timestamp;
        let mut marker = true;
        for number in 1..=packets {
            let mut duration = self.timestamp.wrapping_add(self.samples()).wrapping_sub(begun);
            if duration > 65_535 {
                begun = begun.wrapping_add(65_535);
                duration -= 65_535;
            }
            let end = number == packets;
            for _ in 0..if end { 3 } else { 1 } {
                let event = TelephoneEvent { event: digit.event(), end, volume: 7, duration: duration as u16 };
                self.send(101, std::mem::take(&mut marker), begun, event.to_bytes().to_vec());
            }
            self.timestamp = self.timestamp.wrapping_add(self.samples());
        }
        // The repeated ends took their time.
        self.timestamp = self.timestamp.wrapping_add(2 * self.samples());
    }
}

/// A call in which A sends what flies, and only that.
fn fly(a: LegFormat, b: LegFormat, flights: &[Flight]) -> (Call, Vec<(Flight, Option<Out>)>) {
    let mut call = Call::joined(Remote { format: a, ..remote(A) }, Remote { format: b, ..remote(B) });
    let passed = flights
        .iter()
        .map(|flight| {
            call.run_until(flight.at);
            let out = call.rtp(A, &[&flight.header.to_bytes()[..], &flight.payload].concat());
            // As the relay does it: a deadline that has come is seen after the packet.
            call.run_until(flight.at);
            (flight.clone(), out)
        })
        .collect();
    (call, passed)
}

/// The digits that the session told of, with their lengths.
fn told(call: &Call) -> Vec<(char, u16)> {
    let digit = |(_, event): &(Duration, Event)| match event {
        Event::Digit { side, digit, ms } => {
            assert_eq!(*side, A);
            Some((digit.reveal(), *ms))
        }
        Event::PromptEnded { .. } | Event::Pressed { .. } | Event::Released { .. } | Event::Dead | Event::Closed(_) => {
            None
        }
    };
    call.events.iter().filter_map(digit).collect()
}

// ---- passed through -------------------------------------------------------------------------------------------------

/// Which of the event packets, numbered from 0 within the digit of `len` packets, the network loses.
pub(super) type Loss = fn(usize, usize) -> bool;

pub(super) const LOSSES: [(&str, Loss); 8] = [
    ("nothing", |_, _| false),
    ("the start", |number, _| number == 0),
    ("the first three", |number, _| number < 3),
    ("one end", |number, len| number == len - 3),
    ("two ends", |number, len| number >= len - 2),
    ("every end", |number, len| number >= len - 3),
    ("all but the last", |number, len| number < len - 1),
    ("every other", |number, _| number % 2 == 1),
];

#[test]
fn events_pass_through_as_they_were_sent_at_any_packet_time_and_whatever_is_lost() {
    for ptime in [10, 20, 30, 40, 60] {
        for (what, is_lost) in LOSSES {
            let mut keys = Keys::new(ptime);
            keys.talk(10);
            let mut expected = Vec::new();
            for (pressed, packets) in [('5', 5), ('5', 5), ('#', 1), ('D', 12)] {
                let begun = keys.flights.len();
                keys.press(digit(pressed), packets);
                let len = keys.flights.len() - begun;
                let mut number = 0;
                keys.flights.retain(|_| {
                    number += 1;
                    number <= begun || !is_lost(number - 1 - begun, len)
                });
                expected.push(keys.flights.len() - begun);
                keys.talk(4);
            }
            let sent = keys.flights.clone();
            let (call, passed) = fly(PCMA, PCMU, &sent);
            let offsets: BTreeSet<(u16, u32)> = passed
                .iter()
                .map(|(flight, out)| {
                    let header = out.as_ref().unwrap().header();
                    (
                        header.sequence_number.wrapping_sub(flight.header.sequence_number),
                        header.timestamp.wrapping_sub(flight.header.timestamp),
                    )
                })
                .collect();
            assert_eq!(offsets.len(), 1, "{ptime} ms, {what} lost: one stream, shifted by one and the same");
            let first = passed[0].1.as_ref().unwrap().header();
            for (flight, out) in &passed {
                let out = out.as_ref().unwrap();
                let is_first = out.header().sequence_number == first.sequence_number;
                assert_eq!(out.header().marker, flight.header.marker || is_first);
                if flight.is_event() {
                    assert_eq!((out.header().payload_type, out.payload()), (96, &flight.payload[..]));
                }
            }
            let events: Vec<_> = passed.iter().filter(|(flight, _)| flight.is_event()).collect();
            assert_eq!(events.len(), expected.iter().sum::<usize>());
            let timestamps: BTreeSet<u32> =
                events.iter().map(|(_, out)| out.as_ref().unwrap().header().timestamp).collect();
            assert_eq!(
                timestamps.len(),
                expected.iter().filter(|packets| **packets > 0).count(),
                "two equal digits are two"
            );
            assert_eq!(told(&call), [], "what is passed on is not told as well");
        }
    }
}

#[test]
fn a_key_that_is_held_for_twenty_seconds_passes_through() {
    for ptime in [10, 20, 60] {
        let mut keys = Keys::new(ptime);
        keys.talk(5);
        keys.press(digit('1'), 20_000 / ptime as u32);
        keys.talk(5);
        let (_, passed) = fly(PCMA, PCMA, &keys.flights);
        let offsets: BTreeSet<u32> = passed
            .iter()
            .map(|(flight, out)| out.as_ref().unwrap().header().timestamp.wrapping_sub(flight.header.timestamp))
            .collect();
        assert_eq!(offsets.len(), 1, "{ptime} ms");
        assert!(passed.iter().all(|(flight, out)| out.as_ref().unwrap().payload() == flight.payload));
    }
}

#[test]
fn an_event_comes_by_the_number_of_the_answer_or_of_our_offer() {
    let renamed = LegFormat { telephone_event: Some(97), telephone_event_offered: Some(101), ..PCMA };
    let mut call = Call::joined(Remote { format: renamed, ..remote(A) }, Remote { format: PCMU, ..remote(B) });
    let event = TelephoneEvent { event: 5, end: false, volume: 10, duration: 160 };
    for (number, payload_type) in [(0, 97), (1, 101)] {
        let out = call.rtp(A, &packet(payload_type, 1, number, &event.to_bytes())).unwrap();
        assert_eq!(out.header().payload_type, 96);
    }
    let back = call.rtp(B, &packet(96, 2, 0, &event.to_bytes())).unwrap();
    assert_eq!(back.header().payload_type, 97, "it is sent what it asked for");
    assert_eq!(call.rtp(A, &packet(98, 1, 2, &event.to_bytes())), None);
}

// ---- sent -----------------------------------------------------------------------------------------------------------

/// The packets of events that a side was sent.
fn events_sent(call: &Call, side: Side) -> Vec<(Duration, Header, TelephoneEvent)> {
    let payload_type = if side == A { 101 } else { 96 };
    call.sent(side, Kind::Rtp)
        .into_iter()
        .filter(|out| out.header().payload_type == payload_type)
        .map(|out| (out.at, out.header(), TelephoneEvent::parse(out.payload()).unwrap()))
        .collect()
}

fn order(call: &mut Call, side: Side, pressed: &str, ms: u16) {
    for pressed in pressed.chars() {
        call.command(Command::Digit { side, digit: digit(pressed), ms });
    }
}

/// Everything sent to a side is one stream: consecutive, nothing begins before what is before it is over, and time runs with
/// the clock.
fn assert_continuous(call: &Call, side: Side) {
    let sent = call.sent(side, Kind::Rtp);
    let first = sent[0];
    for pair in sent.windows(2) {
        let (one, next) = (pair[0].header(), pair[1].header());
        assert_eq!((next.ssrc, next.sequence_number), (one.ssrc, one.sequence_number.wrapping_add(1)));
        let step = next.timestamp.wrapping_sub(one.timestamp);
        let length = match pair[0].payload() {
            event if event.len() == 4 => u32::from(TelephoneEvent::parse(event).unwrap().duration),
            audio => audio.len() as u32,
        };
        let is_same_event = step == 0 && pair[0].payload().len() == 4 && pair[1].payload().len() == 4;
        assert!(is_same_event || step >= length, "{step} after {length} at {:?}", pair[1].at);
        if !is_same_event {
            let clock = (pair[1].at - first.at).as_micros() as i64 / 125;
            let told = i64::from(next.timestamp.wrapping_sub(first.header().timestamp));
            assert!((clock - told).abs() <= 480, "{told} where the clock says {clock}");
        }
    }
}

#[test]
fn a_digit_is_sent_as_the_rfc_has_it_and_the_peer_goes_on_after_it() {
    for (ptime_ms, expected) in [
        (10, vec![80, 160, 240, 320, 400, 480, 560, 640, 720, 800, 800, 800]),
        (20, vec![160, 320, 480, 640, 800, 800, 800]),
        (30, vec![240, 480, 720, 800, 800, 800]),
        (40, vec![320, 640, 800, 800, 800]),
        (60, vec![480, 800, 800, 800]),
    ] {
        let mut call = Call::joined(remote(A), Remote { format: LegFormat { ptime_ms, ..PCMU }, ..remote(B) });
        let mut passed = Vec::new();
        for number in 0..50_u16 {
            call.run_until(ms(u64::from(number) * 20));
            if number == 20 {
                call.run_until(ms(407));
                order(&mut call, B, "7", 100);
            }
            if call.audio(A, 1, number).is_some() {
                passed.push(number);
            }
        }
        let events = events_sent(&call, B);
        let durations: Vec<u16> = events.iter().map(|(_, _, event)| event.duration).collect();
        assert_eq!(durations, expected, "{ptime_ms} ms");
        for (place, (at, header, event)) in events.iter().enumerate() {
            assert_eq!(*at, ms(407 + place as u64 * u64::from(ptime_ms)));
            assert_eq!(header.timestamp, events[0].1.timestamp);
            assert_eq!((header.payload_type, header.marker), (96, place == 0));
            assert_eq!((event.event, event.end, event.volume), (7, place + 3 >= events.len(), 10));
        }
        // From its beginning to its last packet B hears the digit and nothing else.
        let last = events[events.len() - 1].0;
        let silenced: Vec<u16> = (20..50).filter(|number| !passed.contains(number)).collect();
        assert!(silenced.iter().all(|number| (ms(400)..last).contains(&ms(u64::from(*number) * 20))), "{silenced:?}");
        assert_eq!(passed.len() + silenced.len(), 50);
        assert_continuous(&call, B);
        let resumed =
            call.sent(B, Kind::Rtp).into_iter().find(|out| out.at >= last && out.payload().len() > 4).unwrap();
        assert!(resumed.header().marker);
        let [a, b] = call.session.totals().legs;
        assert_eq!((b.digits_sent, b.digits_refused, a.digits_sent), (1, 0, 0));
    }
}

#[test]
fn digits_follow_each_other_with_a_pause_and_two_equal_ones_are_two() {
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    call.hear(B, Hear::Nothing);
    call.run_until(ms(1000));
    order(&mut call, B, "00*d", 80);
    call.run_until(ms(5000));
    let events = events_sent(&call, B);
    let begun: Vec<_> = events.iter().filter(|(_, header, _)| header.marker).collect();
    let codes: Vec<u8> = begun.iter().map(|(_, _, event)| event.event).collect();
    assert_eq!(codes, [0, 0, 10, 15]);
    // 80 ms of digit and 70 of pause.
    let times: Vec<u128> = begun.iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(times, [1000, 1150, 1300, 1450]);
    let timestamps: Vec<u32> =
        begun.iter().map(|(_, header, _)| header.timestamp.wrapping_sub(begun[0].1.timestamp)).collect();
    assert_eq!(timestamps, [0, 1200, 2400, 3600]);
    assert_eq!(events.iter().filter(|(_, _, event)| event.end).count(), 12);
    assert_continuous(&call, B);
}

#[test]
fn a_digit_is_as_long_as_it_can_be_recognised_and_as_fits() {
    for (ordered, sent) in [(0, 320), (39, 320), (40, 320), (41, 328), (250, 2000), (5000, 40_000), (u16::MAX, 40_000)]
    {
        let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
        order(&mut call, B, "1", ordered);
        call.run_until(ms(6000));
        let events = events_sent(&call, B);
        assert_eq!(events.last().unwrap().2.duration, sent);
        assert_eq!(events.iter().filter(|(_, _, event)| event.end).count(), 3);
    }
}

#[test]
fn a_digit_waits_for_a_prompt_and_a_prompt_for_the_end_of_a_digit() {
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    let tone = prompt([1; 8000]);
    call.hear(B, once(&tone, Then::Peer));
    call.run_until(ms(333));
    order(&mut call, B, "1", 100);
    call.run_until(ms(1500));
    let events = events_sent(&call, B);
    assert_eq!((events.len(), events[0].0), (7, ms(1000)));
    assert_eq!(call.prompt_ends(), [(1000, B)], "not a sample of the prompt is lost");
    // The other way round: the digit is let go of, its three ends are sent, then the whole prompt.
    order(&mut call, B, "2", 5000);
    call.run_until(ms(1590));
    call.hear(B, once(&tone, Then::Peer));
    call.run_until(ms(4000));
    let events: Vec<_> = events_sent(&call, B).split_off(7);
    let durations: Vec<u16> = events.iter().map(|(_, _, event)| event.duration).collect();
    assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800, 800]);
    assert_eq!(events.iter().filter(|(_, _, event)| event.end).count(), 3);
    let prompts: Vec<_> =
        call.sent(B, Kind::Rtp).into_iter().filter(|out| out.at >= ms(1500) && out.payload().len() == 160).collect();
    assert_eq!((prompts.len(), prompts[0].at), (50, ms(1660)));
    assert_eq!(call.prompt_ends()[1..], [(2660, B)]);
    assert_continuous(&call, B);
}

#[test]
fn a_digit_that_cannot_be_sent_is_counted_and_forgotten() {
    let refused = |call: &Call| call.session.totals().legs[1].digits_refused;
    // Before the answer, and where B has no events.
    let mut call = Call::new(Config::default());
    order(&mut call, B, "12", 100);
    assert_eq!(refused(&call), 2);
    call.set_remote(B, Remote { format: NO_EVENTS, ..remote(B) });
    order(&mut call, B, "3", 100);
    assert_eq!(refused(&call), 3);
    // On hold, and when the hold begins in the middle of the digits.
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    let held = Remote { format: PCMU, direction: Direction { send: false, receive: true }, ..remote(B) };
    call.set_remote(B, held);
    order(&mut call, B, "4", 100);
    assert_eq!(refused(&call), 1);
    call.set_remote(B, Remote { format: PCMU, ..remote(B) });
    order(&mut call, B, "567", 100);
    call.run_until(ms(50));
    call.set_remote(B, held);
    call.run_until(ms(3000));
    assert_eq!(refused(&call), 4);
    call.set_remote(B, Remote { format: PCMU, ..remote(B) });
    call.run_until(ms(60_000));
    assert_eq!(events_sent(&call, B).len(), 3, "an old digit is not sent minutes later");
    assert!(call.audio(A, 1, 0).is_some(), "and the peer is heard again");
    // More than may wait: one is being sent, sixteen wait.
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    order(&mut call, B, "1234567890123456789", 100);
    assert_eq!(refused(&call), 2);
    call.run_until(ms(20_000));
    let begun = events_sent(&call, B).into_iter().filter(|(_, header, _)| header.marker).count();
    assert_eq!((begun, call.session.totals().legs[1].digits_sent), (17, 17));
}

#[test]
fn a_late_wake_sends_no_burst_of_a_digit() {
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    order(&mut call, B, "1", 200);
    call.run_until(ms(20));
    call.now = ms(2000);
    call.wake();
    assert_eq!(events_sent(&call, B).len(), 3);
    call.run_until(ms(3000));
    let events = events_sent(&call, B);
    assert_eq!((events.len(), events.last().unwrap().2.duration), (12, 1600));
    assert_eq!(events[3].0, ms(2020));
}

// ---- heard ----------------------------------------------------------------------------------------------------------

#[test]
fn a_digit_is_told_once_whatever_is_lost_or_repeated_and_nothing_of_it_passes() {
    for ptime in [10, 20, 30, 40, 60] {
        for seed in 0..60 {
            let mut random = Random::new(seed * 100 + ptime);
            let mut keys = Keys::new(ptime);
            let mut expected = Vec::new();
            for _ in 0..12 {
                keys.talk(1 + random.next_u32() % 20);
                let pressed = Digit::from_event((random.next_u32() % 4) as u8).unwrap();
                let begun = keys.flights.len();
                keys.press(pressed, 1 + random.next_u32() % 12);
                // One packet of each digit arrives at least; the last thing that is known of it is its length.
                let survivor = begun + random.next_u32() as usize % (keys.flights.len() - begun);
                let loss = random.next_u32() % 101;
                let mut place = 0;
                keys.flights.retain(|_| {
                    place += 1;
                    place <= begun || place - 1 == survivor || random.next_u32() % 100 >= loss
                });
                let last = TelephoneEvent::parse(&keys.flights.last().unwrap().payload).unwrap();
                expected.push((pressed.reveal(), last.duration / 8));
            }
            keys.talk(30);
            // The network repeats, and delays by less than the pause that a lost end is taken for.
            let mut flights = keys.flights.clone();
            for flight in &keys.flights {
                if random.next_u32().is_multiple_of(4) {
                    let late = ms(u64::from(random.next_u32() % 60));
                    flights.push(Flight { at: flight.at + late, ..flight.clone() });
                }
            }
            flights.sort_by_key(|flight| flight.at);
            let (mut call, passed) = fly(PCMA, NO_EVENTS, &flights);
            call.run_until(call.now + ms(1000));
            let told = told(&call);
            assert_eq!(told.len(), expected.len(), "{ptime} ms, seed {seed}");
            for ((digit, ms), (pressed, held)) in told.into_iter().zip(expected) {
                // A hole of a quarter of a second is taken for the end.
                assert!(digit == pressed && ms <= held, "{ptime} ms, seed {seed}: {digit} {ms}, {pressed} {held}");
            }
            assert!(passed.iter().all(|(flight, out)| !(flight.is_event() && out.is_some())));
            assert_eq!(call.refused(A), 0);
        }
    }
}

#[test]
fn a_digit_is_told_when_it_ends_or_fades() {
    let mut keys = Keys::new(20);
    keys.press(digit('3'), 5);
    let (call, _) = fly(PCMA, NO_EVENTS, &keys.flights);
    assert_eq!(call.events, [(ms(80), Event::Digit { side: A, digit: digit('3'), ms: 100 })]);
    // All ends are lost.
    let (mut call, _) = fly(PCMA, NO_EVENTS, &keys.flights[..4]);
    assert_eq!(call.events, []);
    call.run_until(ms(10_000));
    assert_eq!(call.events, [(ms(60 + 250), Event::Digit { side: A, digit: digit('3'), ms: 80 })]);
    // The next digit begins before that.
    let mut keys = Keys::new(20);
    keys.press(digit('3'), 5);
    keys.flights.truncate(4);
    keys.at = 100;
    keys.timestamp = keys.timestamp.wrapping_add(8000);
    keys.press(digit('3'), 5);
    let (call, _) = fly(PCMA, NO_EVENTS, &keys.flights);
    assert_eq!(call.events.iter().map(|(at, _)| at.as_millis()).collect::<Vec<_>>(), [100, 180]);
}

#[test]
fn a_key_that_is_held_is_one_digit_however_long_and_with_every_hole() {
    for (seconds, is_lost) in [
        (9, (|_| false) as fn(usize) -> bool),
        (30, |_| false),
        (30, |place| place % 50 > 20),
        (30, |place| (405..415).contains(&place)),
        (70, |place| place % 3 == 0),
    ] {
        let mut keys = Keys::new(20);
        keys.talk(3);
        keys.press(digit('8'), seconds * 50);
        keys.talk(3);
        keys.press(digit('8'), 5);
        keys.talk(20);
        let flights: Vec<Flight> = keys
            .flights
            .iter()
            .enumerate()
            .filter(|(place, _)| !is_lost(*place))
            .map(|(_, flight)| flight.clone())
            .collect();
        let (mut call, _) = fly(PCMA, NO_EVENTS, &flights);
        call.run_until(call.now + ms(1000));
        let told: Vec<char> = told(&call).into_iter().map(|(digit, _)| digit).collect();
        assert_eq!(told, ['8', '8'], "{seconds} s");
    }
}

#[test]
fn the_length_of_a_held_key_is_that_of_all_its_segments() {
    let mut keys = Keys::new(20);
    keys.press(digit('8'), 30 * 50);
    let (call, _) = fly(PCMA, NO_EVENTS, &keys.flights);
    assert_eq!(told(&call), [('8', 30_000)]);
    let mut keys = Keys::new(20);
    keys.press(digit('8'), 100 * 50);
    let (call, _) = fly(PCMA, NO_EVENTS, &keys.flights);
    assert_eq!(told(&call), [('8', u16::MAX)]);
}

#[test]
fn a_party_that_begins_anew_presses_another_digit() {
    let mut keys = Keys::new(20);
    for (ssrc, jump) in [(1, 0), (2, 0), (2, 0x6000_0000), (1, 5)] {
        keys.ssrc = ssrc;
        keys.timestamp = keys.timestamp.wrapping_add(jump);
        keys.talk(10);
        keys.press(digit('4'), 4);
    }
    let (call, _) = fly(PCMA, NO_EVENTS, &keys.flights);
    assert_eq!(told(&call), [('4', 80); 4]);
}

#[test]
fn packets_of_a_digit_that_come_after_those_of_the_next_are_no_third() {
    // The second digit is of the same source, or of another.
    for ssrc in [1, 2] {
        let mut keys = Keys::new(20);
        keys.press(digit('6'), 3);
        let first = keys.flights.clone();
        keys.ssrc = ssrc;
        keys.press(digit('9'), 3);
        let begun = keys.flights[first.len()].at;
        for late in [0, 50, 200] {
            // All of the first once more, or its ends, which had not come.
            for missing in [0, 1, 3] {
                let kept = first.len() - missing;
                let mut flights = [&keys.flights[..kept], &keys.flights[first.len()..]].concat();
                flights.extend(first.iter().map(|flight| Flight { at: begun + ms(late), ..flight.clone() }));
                flights.sort_by_key(|flight| flight.at);
                let (mut call, _) = fly(PCMA, NO_EVENTS, &flights);
                call.run_until(call.now + ms(1000));
                let told: String = told(&call).into_iter().map(|(digit, _)| digit).collect();
                assert_eq!(told, "69", "source {ssrc}, {late} ms late, {missing} missing");
            }
        }
    }
}

#[test]
fn packets_of_a_digit_before_the_last_two_are_old_too() {
    let mut keys = Keys::new(20);
    keys.press(digit('1'), 3);
    let first = keys.flights.clone();
    keys.press(digit('2'), 3);
    keys.press(digit('3'), 3);
    let begun = keys.flights[2 * first.len()].at;
    keys.flights.extend(first.iter().map(|flight| Flight { at: begun + ms(10), ..flight.clone() }));
    keys.flights.sort_by_key(|flight| flight.at);
    let (call, _) = fly(PCMA, NO_EVENTS, &keys.flights);
    assert_eq!(told(&call), [('1', 60), ('2', 60), ('3', 60)]);
}

#[test]
fn digits_are_told_where_nobody_can_be_sent_them_and_not_where_somebody_can() {
    let mut keys = Keys::new(20);
    keys.talk(3);
    keys.press(digit('5'), 5);
    // The other leg is not there yet: digits of an extension.
    let mut call = Call::new(Config::default());
    call.set_remote(A, remote(A));
    for flight in &keys.flights {
        call.run_until(flight.at);
        call.rtp(A, &[&flight.header.to_bytes()[..], &flight.payload].concat());
        call.wake();
    }
    assert_eq!(told(&call), [('5', 100)]);
    // It has events, and hears something else or is on hold.
    for hear in [Hear::Nothing, looped(&prompt([1; 160]))] {
        let mut call = Call::joined(remote(A), remote(B));
        call.hear(B, hear);
        for flight in &keys.flights {
            call.run_until(flight.at);
            call.rtp(A, &[&flight.header.to_bytes()[..], &flight.payload].concat());
            call.wake();
        }
        call.run_until(ms(2000));
        assert_eq!(told(&call), []);
    }
    // Whoever is not to send is not heard.
    let held = Remote { direction: Direction { send: true, receive: false }, ..remote(A) };
    let mut call = Call::joined(held, Remote { format: NO_EVENTS, ..remote(B) });
    for flight in &keys.flights {
        call.run_until(flight.at);
        call.rtp(A, &[&flight.header.to_bytes()[..], &flight.payload].concat());
        call.wake();
    }
    assert_eq!(told(&call), []);
}

#[test]
fn events_that_are_no_digit_and_floods_of_digits_tell_little() {
    let mut call = Call::joined(remote(A), Remote { format: NO_EVENTS, ..remote(B) });
    for (number, event) in (16..=255).enumerate() {
        call.run_until(ms(number as u64));
        call.rtp(A, &packet(101, 1, number as u16, &[event, 0x8a, 0, 160]));
        call.wake();
    }
    assert_eq!(told(&call), []);
    // A new digit with every packet, a thousand a second.
    let mut call = Call::joined(remote(A), Remote { format: NO_EVENTS, ..remote(B) });
    for number in 0..10_000_u16 {
        call.run_until(ms(u64::from(number)));
        call.rtp(A, &packet(101, 1, number, &[(number % 16) as u8, 0x8a, 0, 160]));
        call.wake();
    }
    let count = told(&call).len() as u64;
    assert!((250..=260).contains(&count), "{count} in ten seconds");
    assert_eq!(call.session.totals().legs[0].digits_refused, 10_000 - count);
    // Nobody polls.
    let mut call = Call::joined(remote(A), Remote { format: NO_EVENTS, ..remote(B) });
    for number in 0..100_u16 {
        call.now = ms(u64::from(number) * 100);
        call.rtp(A, &packet(101, 1, number, &[1, 0x8a, 0, 160]));
    }
    call.wake();
    assert_eq!((told(&call).len(), call.session.totals().legs[0].digits_refused), (8, 92));
}

#[test]
fn what_one_session_sends_another_hears() {
    let mut sender = Call::joined(remote(A), remote(B));
    let pressed = "0123456789*#ABCD";
    order(&mut sender, A, pressed, 123);
    sender.run_until(ms(10_000));
    let flights: Vec<Flight> = sender
        .sent(A, Kind::Rtp)
        .into_iter()
        .map(|out| Flight { at: out.at, header: out.header(), payload: out.payload().to_vec() })
        .collect();
    for keep in 1..8 {
        let some: Vec<Flight> = flights
            .iter()
            .enumerate()
            .filter(|(place, _)| place % 8 < keep)
            .map(|(_, flight)| flight.clone())
            .collect();
        let (mut receiver, _) = fly(PCMA, NO_EVENTS, &some);
        receiver.run_until(receiver.now + ms(1000));
        let heard: String = told(&receiver).into_iter().map(|(digit, _)| digit).collect();
        assert_eq!(heard, pressed, "{keep} of 8 packets arrive");
    }
}

// ---- what follows a prompt ------------------------------------------------------------------------------------------

/// What A hears in the 20 ms after an announcement of 200 ms, which ringback was to follow, while B speaks.
fn after_the_announcement(orders: &[(u64, Then)]) -> (Vec<u8>, Call) {
    let mut call = Call::joined(remote(A), remote(B));
    let (announcement, ringback) = (prompt([1; 1600]), prompt([2; 1600]));
    call.hear(A, once(&announcement, Then::Loop(Arc::clone(&ringback))));
    for number in 0..30_u16 {
        call.run_until(ms(u64::from(number) * 20 + 3));
        for (at, then) in orders {
            if *at == u64::from(number) * 20 {
                call.command(Command::Follow { side: A, then: then.clone() });
            }
        }
        call.rtp(B, &packet(8, 2, number, &[3; 160]));
    }
    let heard = call.sent(A, Kind::Rtp).into_iter().map(|out| out.payload()[0]).collect();
    (heard, call)
}

#[test]
fn what_follows_an_announcement_may_be_decided_while_it_plays() {
    let (heard, call) = after_the_announcement(&[]);
    assert_eq!(heard[..10], [1; 10]);
    assert!(heard[10..].iter().all(|sample| *sample == 2), "ringback, as was ordered first");
    assert_eq!(call.prompt_ends(), [(200, A)]);

    // B's early media is there before the end: no packet of ringback is heard, and the announcement is heard whole.
    for at in [0, 100, 180] {
        let (heard, call) = after_the_announcement(&[(at, Then::Peer)]);
        assert_eq!((&heard[..10], &heard[10..]), (&[1; 10][..], &[3; 20][..]), "ordered at {at} ms");
        assert_eq!(call.prompt_ends(), [(200, A)]);
        let sent = call.sent(A, Kind::Rtp);
        let markers: Vec<usize> = (0..sent.len()).filter(|place| sent[*place].header().marker).collect();
        assert_eq!(markers, [0, 10]);
        assert_continuous(&call, A);
    }

    let (heard, _) = after_the_announcement(&[(20, Then::Peer), (40, Then::Nothing)]);
    assert_eq!(heard, [1; 10], "the last order counts");
    let (heard, _) = after_the_announcement(&[(20, Then::Loop(prompt([4; 160])))]);
    assert_eq!(heard[10], 4);
}

#[test]
fn what_follows_is_no_order_where_no_prompt_plays_once() {
    // The announcement is over: ringback goes on until the call, which is told of the end, orders something else.
    let (heard, _) = after_the_announcement(&[(220, Then::Peer)]);
    assert!(heard[10..].iter().all(|sample| *sample == 2));
    for hear in [Hear::Peer, Hear::Nothing, looped(&prompt([2; 160]))] {
        let mut call = Call::joined(remote(A), remote(B));
        call.hear(A, hear.clone());
        call.command(Command::Follow { side: A, then: Then::Loop(prompt([9; 160])) });
        call.run_until(ms(1000));
        assert_eq!(call.audio(B, 2, 0).is_some(), hear == Hear::Peer);
        assert!(call.sent(A, Kind::Rtp).iter().all(|out| out.payload()[0] != 9));
    }
}
