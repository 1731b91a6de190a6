//! Digits collected in simulated time: told as they are pressed, once each, whatever the network and the hand do to them.

use super::events::{Flight, Keys, LOSSES, NO_EVENTS, digit};
use super::*;
use crate::inband_dtmf::tests::{Line, Pad, below, uniform};
use crate::{Digit, DigitBy};

/// A telephone at A whose X has answered and asks: B is not there yet.
fn asking(format: LegFormat) -> Call {
    let mut call = Call::new(Config { dead_after: ms(30_000), unix_at_epoch: Duration::from_secs(1_700_000_000) });
    call.set_remote(A, Remote { format, ..remote(A) });
    call.command(Command::Collect { side: A, on: true });
    call.hear(A, looped(&prompt([1; 1600])));
    call
}

fn collect(call: &mut Call, on: bool) {
    call.command(Command::Collect { side: A, on });
}

fn send(call: &mut Call, flights: &[Flight]) {
    for flight in flights {
        call.run_until(flight.at);
        call.rtp(A, &[&flight.header.to_bytes()[..], &flight.payload].concat());
        // As the relay does it: a deadline that has come is seen after the packet.
        call.run_until(flight.at);
    }
}

/// What was collected in one way: each key at its press, a dot at each release. Anything else that concerns a digit fails.
fn collected(call: &Call, way: DigitBy) -> String {
    let mut told = String::new();
    for (_, event) in &call.events {
        match event {
            Event::Pressed { side, digit, by } if *by == way => {
                assert_eq!(*side, A);
                told.push(digit.reveal());
            }
            Event::Released { side, by } if *by == way => {
                assert_eq!(*side, A);
                told.push('.');
            }
            Event::Digit { .. } => panic!("a digit that is collected is told in no other way"),
            Event::Pressed { .. } | Event::Released { .. } => {}
            Event::PromptEnded { .. } | Event::Dead | Event::Closed(_) => {}
        }
    }
    told
}

fn times(call: &Call) -> Vec<u128> {
    call.events.iter().map(|(at, _)| at.as_millis()).collect()
}

fn each(keys: &str) -> String {
    keys.chars().flat_map(|key| [key, '.']).collect()
}

// ---- telephone-events -----------------------------------------------------------------------------------------------

#[test]
fn a_digit_is_told_at_its_first_packet_and_at_its_end() {
    let mut keys = Keys::new(20);
    keys.press(digit('3'), 5);
    let mut call = asking(PCMA);
    send(&mut call, &keys.flights);
    let by = DigitBy::Event;
    assert_eq!(
        call.events,
        [(ms(0), Event::Pressed { side: A, digit: digit('3'), by }), (ms(80), Event::Released { side: A, by })]
    );
    // A single packet with the end bit, and its repetitions.
    let mut keys = Keys::new(20);
    keys.press(digit('#'), 1);
    let mut call = asking(PCMA);
    send(&mut call, &keys.flights);
    assert_eq!((collected(&call, by), times(&call)), ("#.".to_owned(), vec![0, 0]));
}

#[test]
fn a_digit_without_an_end_is_released_by_the_next_one_or_after_a_quarter_of_a_second() {
    let mut keys = Keys::new(20);
    keys.press(digit('3'), 5);
    keys.flights.truncate(4);
    let mut call = asking(PCMA);
    send(&mut call, &keys.flights);
    call.run_until(ms(10_000));
    assert_eq!((collected(&call, DigitBy::Event), times(&call)), ("3.".to_owned(), vec![0, 60 + 250]));
    // The same digit once more.
    keys.at = 100;
    keys.timestamp = keys.timestamp.wrapping_add(8000);
    keys.press(digit('3'), 5);
    let mut call = asking(PCMA);
    send(&mut call, &keys.flights);
    assert_eq!((collected(&call, DigitBy::Event), times(&call)), ("3.3.".to_owned(), vec![0, 100, 100, 180]));
}

#[test]
fn lost_starts_lost_ends_and_repeated_ends_change_nothing_at_any_packet_time() {
    for ptime in [10, 20, 30, 40, 60] {
        for (what, is_lost) in LOSSES {
            let mut keys = Keys::new(ptime);
            let mut expected = String::new();
            for (pressed, packets) in [('5', 5), ('5', 5), ('#', 2), ('D', 12), ('D', 2)] {
                keys.talk(4);
                let begun = keys.flights.len();
                keys.press(digit(pressed), packets);
                let len = keys.flights.len() - begun;
                let mut number = 0;
                keys.flights.retain(|_| {
                    number += 1;
                    number <= begun || !is_lost(number - 1 - begun, len)
                });
                assert!(keys.flights.len() > begun, "something of it comes");
                expected.extend([pressed, '.']);
            }
            let mut call = asking(PCMA);
            send(&mut call, &keys.flights);
            call.run_until(call.now + ms(1000));
            assert_eq!(collected(&call, DigitBy::Event), expected, "{ptime} ms, {what} lost");
        }
    }
}

#[test]
fn two_equal_digits_one_right_after_the_other_are_two() {
    for ptime in [10, 20, 30, 40, 60] {
        for lost_ends in 0..=3 {
            let mut keys = Keys::new(ptime);
            for _ in 0..4 {
                keys.press(digit('7'), 3);
                keys.flights.truncate(keys.flights.len() - lost_ends);
            }
            let mut call = asking(PCMA);
            send(&mut call, &keys.flights);
            call.run_until(call.now + ms(1000));
            assert_eq!(collected(&call, DigitBy::Event), "7.7.7.7.", "{ptime} ms, {lost_ends} ends lost");
        }
    }
}

#[test]
fn a_key_that_is_held_is_pressed_once_however_long_and_over_segments() {
    for (seconds, is_lost) in [
        (9, (|_| false) as fn(usize) -> bool),
        (30, |_| false),
        // Longer holes than what a digit is taken to have ended for.
        (30, |place| place % 50 > 20),
        // The packets around the first change of segment.
        (30, |place| (405..415).contains(&place)),
        (70, |place| place % 3 == 0),
    ] {
        let mut keys = Keys::new(20);
        keys.press(digit('8'), seconds * 50);
        keys.talk(3);
        keys.press(digit('8'), 5);
        let flights: Vec<Flight> = keys
            .flights
            .iter()
            .enumerate()
            .filter(|(place, _)| !is_lost(*place))
            .map(|(_, flight)| flight.clone())
            .collect();
        let mut call = asking(PCMA);
        send(&mut call, &flights);
        call.run_until(call.now + ms(1000));
        assert_eq!(collected(&call, DigitBy::Event), "8.8.", "{seconds} s");
    }
}

#[test]
fn packets_that_come_twice_late_or_in_another_order_press_nothing() {
    // The second digit is of the same source, or of another.
    for ssrc in [1, 2] {
        let mut keys = Keys::new(20);
        keys.press(digit('6'), 3);
        let first = keys.flights.clone();
        keys.ssrc = ssrc;
        keys.press(digit('9'), 3);
        let begun = keys.flights[first.len()].at;
        for late in [0, 50, 200] {
            let mut flights = keys.flights.clone();
            flights.extend(first.iter().map(|flight| Flight { at: begun + ms(late), ..flight.clone() }));
            flights.sort_by_key(|flight| flight.at);
            let mut call = asking(PCMA);
            send(&mut call, &flights);
            call.run_until(call.now + ms(1000));
            assert_eq!(collected(&call, DigitBy::Event), "6.9.", "source {ssrc}, {late} ms late");
        }
    }
    // The ends come before the beginning.
    let mut keys = Keys::new(20);
    keys.press(digit('6'), 4);
    let mut flights = keys.flights.clone();
    flights.reverse();
    for (number, flight) in flights.iter_mut().enumerate() {
        flight.at = ms(number as u64);
    }
    let mut call = asking(PCMA);
    send(&mut call, &flights);
    call.run_until(ms(1000));
    assert_eq!((collected(&call, DigitBy::Event), times(&call)), ("6.".to_owned(), vec![0, 0]));
}

#[test]
fn digits_that_nobody_presses_so_fast_are_counted_and_neither_pressed_nor_released() {
    let mut call = asking(PCMA);
    for number in 0..10_000_u16 {
        call.run_until(ms(u64::from(number)));
        call.rtp(A, &packet(101, 1, number, &[(number % 16) as u8, 0x0a, 0, 160]));
        call.wake();
    }
    call.run_until(ms(20_000));
    let told = collected(&call, DigitBy::Event);
    let count = told.chars().filter(|note| *note != '.').count() as u64;
    assert_eq!(told.len() as u64, 2 * count);
    assert!((250..=260).contains(&count), "{count} in ten seconds");
    assert_eq!(call.session.totals().legs[0].digits_refused, 10_000 - count);
    // Nobody polls.
    let mut call = asking(PCMA);
    call.events.clear();
    for number in 0..100_u16 {
        call.now = ms(u64::from(number) * 100);
        call.rtp(A, &packet(101, 1, number, &[1, 0x8a, 0, 160]));
    }
    call.wake();
    assert_eq!(collected(&call, DigitBy::Event), each("11111111"));
    assert_eq!(call.session.totals().legs[0].digits_refused, 92);
}

// ---- when it begins and ends ----------------------------------------------------------------------------------------

#[test]
fn a_digit_is_collected_only_when_all_of_it_is() {
    // Where B takes events they pass through, otherwise they are told whole when nobody collects.
    for b in [Some(PCMA), Some(NO_EVENTS), None] {
        for on in [0_u64, 30, 85, 150] {
            for off in [230_u64, 330, 345, 390] {
                let mut keys = Keys::new(20);
                keys.press(digit('1'), 5);
                keys.at = 200;
                keys.timestamp = keys.timestamp.wrapping_add(1600);
                keys.press(digit('2'), 4);
                keys.at = 320;
                keys.timestamp = keys.timestamp.wrapping_add(800);
                keys.press(digit('3'), 4);
                let mut call = Call::new(Config::default());
                call.set_remote(A, remote(A));
                if let Some(format) = b {
                    call.set_remote(B, Remote { format, ..remote(B) });
                    call.hear(B, Hear::Peer);
                }
                let mut orders = [(ms(on), true), (ms(off), false)].into_iter().peekable();
                for flight in &keys.flights {
                    while let Some((at, on)) = orders.next_if(|(at, _)| *at <= flight.at) {
                        call.run_until(at);
                        collect(&mut call, on);
                    }
                    send(&mut call, std::slice::from_ref(flight));
                }
                call.run_until(ms(2000));
                // 1 lasts until 80 ms, 2 from 200 to 260, 3 from 320 to 380, or until their last end.
                let mut expected = Vec::new();
                let whole = b != Some(PCMA);
                if on == 0 {
                    expected.extend(["1", "."]);
                } else if whole && on > 80 {
                    expected.push("(1)");
                }
                expected.push("2");
                if off > 260 {
                    expected.push(".");
                }
                if off > 320 {
                    expected.push("3");
                }
                if off > 380 {
                    expected.push(".");
                }
                if off < 320 && whole {
                    expected.push("(3)");
                }
                let told: Vec<String> = call
                    .events
                    .iter()
                    .map(|(_, event)| match event {
                        Event::Pressed { digit, .. } => digit.reveal().to_string(),
                        Event::Released { .. } => ".".to_owned(),
                        Event::Digit { digit, .. } => format!("({})", digit.reveal()),
                        Event::PromptEnded { .. } | Event::Dead | Event::Closed(_) => panic!("{event:?}"),
                    })
                    .collect();
                assert_eq!(told, expected, "B has {b:?}, on at {on}, off at {off}");
            }
        }
    }
}

#[test]
fn a_key_that_is_held_over_two_collections_is_pressed_once() {
    for by_tone in [false, true] {
        let mut keys = Keys::new(20);
        if by_tone {
            let mut line = Line::default();
            line.silence(320);
            line.press(&mut Random::new(1), '#', 4000, Pad::PLAIN);
            line.silence(4000);
            keys.play(&line.encode(Codec::Pcma));
        } else {
            keys.talk(2);
            keys.press(digit('#'), 25);
            keys.talk(25);
        }
        let mut call = asking(PCMA);
        for flight in &keys.flights {
            if flight.at == ms(200) {
                collect(&mut call, false);
                assert!(call.session.legs[0].take_tone().is_none());
            }
            if flight.at == ms(240) {
                collect(&mut call, true);
                // A second order changes nothing.
                collect(&mut call, true);
            }
            send(&mut call, std::slice::from_ref(flight));
        }
        call.run_until(ms(2000));
        let way = if by_tone { DigitBy::Tone } else { DigitBy::Event };
        assert_eq!(collected(&call, way), "#");
    }
}

#[test]
fn the_digit_after_one_that_was_held_when_collection_began_is_collected() {
    let mut line = Line::default();
    let random = &mut Random::new(1);
    for key in ['5', '5', '6'] {
        line.press(random, key, 800, Pad::PLAIN);
        line.silence(400);
    }
    let mut keys = Keys::new(20);
    keys.play(&line.encode(Codec::Pcma));
    let mut call = Call::joined(remote(A), remote(B));
    for flight in &keys.flights {
        if flight.at == ms(40) {
            collect(&mut call, true);
        }
        send(&mut call, std::slice::from_ref(flight));
    }
    call.run_until(ms(2000));
    assert_eq!(collected(&call, DigitBy::Tone), "5.6.");
}

#[test]
fn who_is_not_collected_from_tells_nothing_of_tones() {
    let mut line = Line::default();
    line.press(&mut Random::new(1), '5', 800, Pad::PLAIN);
    line.silence(800);
    let mut keys = Keys::new(20);
    keys.play(&line.encode(Codec::Pcma));
    let mut call = Call::joined(remote(A), remote(B));
    call.command(Command::Collect { side: B, on: true });
    send(&mut call, &keys.flights);
    call.run_until(ms(2000));
    assert_eq!(call.events, []);
}

// ---- everything else goes on ------------------------------------------------------------------------------------------

#[test]
fn collecting_changes_nothing_of_what_is_sent_recorded_and_missed() {
    let mut line = Line::default();
    let random = &mut Random::new(5);
    for key in "4711".chars() {
        line.press(random, key, 800, Pad::PLAIN);
        line.silence(800);
    }
    let mut keys = Keys::new(20);
    keys.play(&line.encode(Codec::Pcma));
    keys.press(digit('9'), 10);
    keys.talk(20);
    let run = |collects: bool, format: LegFormat| {
        let mut call = Call::joined(remote(A), Remote { format, ..remote(B) });
        call.command(Command::Record { name: Arc::from("x.wav") });
        call.hear(A, looped(&prompt([1; 1600])));
        if collects {
            collect(&mut call, true);
        }
        send(&mut call, &keys.flights);
        call.run_until(ms(60_000));
        call.command(Command::Close);
        call
    };
    for format in [PCMA, PCMU, NO_EVENTS] {
        let (with, without) = (run(true, format), run(false, format));
        assert_eq!(with.out, without.out);
        assert!(with.sent(B, Kind::Rtp).len() > 50);
        assert_eq!(with.alaw, without.alaw);
        assert_eq!(with.dead_at(), without.dead_at());
        assert_eq!(with.dead_at().len(), 1);
        assert_eq!(collected(&with, DigitBy::Tone), "4.7.1.1.");
        assert_eq!(collected(&with, DigitBy::Event), "9.");
        assert_eq!(with.session.totals(), without.session.totals());
    }
}

#[test]
fn a_digit_that_comes_in_two_ways_is_told_once_for_each() {
    // Audio and events side by side, as a gateway sends them that does not take the tones out.
    let mut line = Line::default();
    line.silence(800);
    line.press(&mut Random::new(2), '8', 1600, Pad::PLAIN);
    line.silence(3200);
    let mut audio = Keys::new(20);
    audio.play(&line.encode(Codec::Pcma));
    let mut flights = Vec::new();
    let mut number = 0;
    for (place, flight) in audio.flights.iter().enumerate() {
        let mut push = |header: Header, payload: Vec<u8>| {
            flights.push(Flight { at: flight.at, header: Header { sequence_number: number, ..header }, payload });
            number += 1;
        };
        push(flight.header, flight.payload.clone());
        if (5..17).contains(&place) {
            let duration = 160 * (place as u16 - 4).min(10);
            let event = TelephoneEvent { event: 8, end: place >= 14, volume: 7, duration };
            let timestamp = audio.flights[5].header.timestamp;
            push(Header { payload_type: 101, timestamp, ..flight.header }, event.to_bytes().to_vec());
        }
    }
    let mut call = asking(PCMA);
    send(&mut call, &flights);
    call.run_until(ms(3000));
    assert_eq!((collected(&call, DigitBy::Event), collected(&call, DigitBy::Tone)), (each("8"), each("8")));
    // The press within 45 ms of the tone's beginning, at the end of a packet that holds enough of it.
    let tone = call.events.iter().find(|(_, event)| matches!(event, Event::Pressed { by: DigitBy::Tone, .. }));
    assert!(tone.is_some_and(|(at, _)| (ms(100)..=ms(145)).contains(at)), "{:?}", call.events);
}

#[test]
fn tones_are_heard_in_the_law_of_each_packet() {
    for format in [PCMA, PCMU] {
        let mut line = Line::default();
        let random = &mut Random::new(3);
        for key in "1470".chars() {
            line.press(random, key, 800, Pad::PLAIN);
            line.silence(800);
        }
        // The party changes from one law to the other with every packet: both static numbers are taken.
        let laws = [Codec::Pcma, Codec::Pcmu].map(|codec| line.encode(codec));
        let mut call = asking(format);
        for number in 0..line.0.len() / 160 {
            call.run_until(ms(number as u64 * 20));
            let (payload_type, audio) = if number % 2 == 0 { (8, &laws[0]) } else { (0, &laws[1]) };
            call.rtp(A, &packet(payload_type, 1, number as u16, &audio[number * 160..][..160]));
            call.wake();
        }
        call.run_until(ms(3000));
        assert_eq!(collected(&call, DigitBy::Tone), "1.4.7.0.");
    }
}

#[test]
fn a_tone_ends_when_the_audio_does() {
    let mut line = Line::default();
    line.press(&mut Random::new(4), '2', 1600, Pad::PLAIN);
    let mut keys = Keys::new(20);
    keys.play(&line.encode(Codec::Pcma));
    let mut call = asking(PCMA);
    send(&mut call, &keys.flights);
    call.run_until(ms(5000));
    assert_eq!((collected(&call, DigitBy::Tone), times(&call)[1]), ("2.".to_owned(), 180 + 250));
    // Whoever is on hold is not heard.
    let held = Remote { direction: Direction { send: true, receive: false }, ..remote(A) };
    let mut call = asking(PCMA);
    call.set_remote(A, held);
    send(&mut call, &keys.flights);
    call.run_until(ms(5000));
    assert_eq!(collected(&call, DigitBy::Tone), "");
}

// ---- ten thousand collections ---------------------------------------------------------------------------------------

/// An extension of one to four digits, and whether it is ended by '#'.
fn extension(random: &mut Random) -> String {
    let mut keys: String = (0..1 + random.next_u32() % 4)
        .map(|_| {
            // Equal digits in a row are what goes wrong first.
            let digit = (random.next_u32() % 3) as u8;
            Digit::from_event(if random.next_u32().is_multiple_of(2) { digit } else { (random.next_u32() % 10) as u8 })
                .unwrap()
                .reveal()
        })
        .collect();
    if random.next_u32().is_multiple_of(2) {
        keys.push('#');
    }
    keys
}

/// A network that loses 2 %, doubles 2 %, and delays each packet by up to so many milliseconds of its own.
fn through_the_network(random: &mut Random, flights: &[Flight], jitter: u32) -> Vec<Flight> {
    let mut arriving = Vec::new();
    for flight in flights {
        for copy in 0..if random.next_u32().is_multiple_of(50) { 2 } else { 1 } {
            if !random.next_u32().is_multiple_of(50) {
                let late = ms(u64::from(random.next_u32() % (jitter + 1)) + copy);
                arriving.push(Flight { at: flight.at + late, ..flight.clone() });
            }
        }
    }
    arriving.sort_by_key(|flight| flight.at);
    arriving
}

#[test]
fn ten_thousand_collections_by_events_through_a_bad_network_lose_and_double_nothing() {
    let (mut wrong, mut unheard, mut pressed, mut packets, mut lost) = (Vec::new(), 0, 0, 0, 0);
    for seed in 0..10_000_u64 {
        let mut random = Random::new(seed);
        let ptime = [10, 20, 30, 40, 60][(seed % 5) as usize];
        let keys = extension(&mut random);
        let mut phone = Keys::new(ptime);
        phone.timestamp = random.next_u32();
        phone.sequence_number = random.next_u32() as u16;
        let mut reaching = String::new();
        // Less than from the beginning of one digit to that of the next, more than from its end.
        let jitter = [0, 10, 40, 90][random.next_u32() as usize % 4];
        let mut flights = Vec::new();
        phone.talk(3);
        for key in keys.chars() {
            // 40 to 400 ms, and to the next one at least 40 ms more than the repeated ends take.
            phone.press(digit(key), (40 + random.next_u32() % 361).div_ceil(ptime as u32));
            phone.talk((40 + random.next_u32() % 400).div_ceil(ptime as u32));
            let arriving = through_the_network(&mut random, &phone.flights, jitter);
            packets += phone.flights.len();
            lost += phone.flights.len().saturating_sub(arriving.len());
            pressed += 1;
            if arriving.iter().any(Flight::is_event) {
                reaching.push(key);
            } else {
                unheard += 1;
            }
            flights.extend(arriving);
            phone.flights.clear();
        }
        flights.sort_by_key(|flight| flight.at);
        let mut call = asking(PCMA);
        send(&mut call, &flights);
        call.run_until(call.now + ms(1000));
        if collected(&call, DigitBy::Event) != each(&reaching) || !collected(&call, DigitBy::Tone).is_empty() {
            wrong.push(seed);
        }
    }
    assert_eq!(wrong, [], "seeds of collections that went wrong");
    // No packet of it came: nobody can tell. 2 % three times over is 8 in a million, for the shortest press at 60 ms.
    assert_eq!(unheard, 0);
    assert!(pressed > 25_000 && packets > 300_000 && lost > 3000, "{pressed} {packets} {lost}");
}

/// Five thousand collections by tones at 20 dB over the noise.
fn five_thousand_by_tones(codec: Codec, format: LegFormat) {
    let mut wrong = Vec::new();
    for seed in 0..5000_u64 {
        let mut random = Random::new(seed);
        let length = [80, 160, 240, 320, 480][(seed % 5) as usize];
        let keys = extension(&mut random);
        let mut line = Line::default();
        line.silence(random.next_u32() as usize % 800);
        // One keypad a call: as loud, as uneven and as much out of tune as is to be taken.
        let twist = uniform(&mut random) * 12.0 - 8.0;
        let louder = -3.0 - uniform(&mut random) * (33.0 - twist.abs());
        let level = if twist > 0.0 { [louder - twist, louder] } else { [louder, louder + twist] };
        let out = [0, 1].map(|_| (uniform(&mut random) * 2.0 - 1.0) * 0.015);
        let pad = Pad { level, out };
        for key in keys.chars() {
            let [tone, pause] = [(); 2].map(|()| 8 * (40 + random.next_u32() as usize % 361));
            line.press(&mut random, key, tone, pad);
            line.silence(pause);
        }
        line.noise(&mut random, below(pad, 20.0));
        let mut phone = Keys::new(length as u64 / 8);
        phone.play_as(format.payload_type, &line.encode(codec));
        let mut call = asking(format);
        send(&mut call, &phone.flights);
        call.run_until(call.now + ms(1000));
        if collected(&call, DigitBy::Tone) != each(&keys) {
            wrong.push((seed, pad, keys.len()));
        }
    }
    assert!(wrong.is_empty(), "collections that went wrong: {wrong:?}");
}

#[test]
fn five_thousand_collections_by_tones_in_a_law_lose_and_double_nothing() {
    five_thousand_by_tones(Codec::Pcma, PCMA);
}

#[test]
fn five_thousand_collections_by_tones_in_mu_law_lose_and_double_nothing() {
    five_thousand_by_tones(Codec::Pcmu, PCMU);
}
