//! What the network throws at a session. Where something must change nothing, a call with it is compared with one without it.

use super::*;
use crate::g711::alaw_to_linear;

/// The samples of packet `number`: each its own, none of them silent.
fn spoken(number: u16) -> [u8; 160] {
    [0x20 + (number % 97) as u8; 160]
}

fn named(name: &str) -> Command {
    Command::Record { name: Arc::from(name) }
}

impl Call {
    fn says(&mut self, side: Side, header: Header, payload: &[u8]) -> Option<Out> {
        self.rtp(side, &[&header.to_bytes()[..], payload].concat())
    }

    fn close(&mut self) -> Totals {
        self.command(Command::Close);
        match self.events.last() {
            Some((_, Event::Closed(totals))) => **totals,
            other => panic!("{other:?}"),
        }
    }

    /// The value of each 20 ms of the recording, where they are of one value.
    fn blocks(&self) -> Vec<Option<u8>> {
        self.alaw.chunks(160).map(|block| block.iter().all(|sample| *sample == block[0]).then_some(block[0])).collect()
    }

    fn rtcp(&mut self, side: Side, source: SocketAddr, bytes: &[u8]) {
        self.session.handle_rtcp(self.now, side, source, bytes);
    }
}

fn header(ssrc: u32, sequence_number: u16, timestamp: u32) -> Header {
    Header { payload_type: 8, marker: false, sequence_number, timestamp, ssrc }
}

/// How one sent packet stands to the one before: sequence numbers and samples ahead.
fn steps(sent: &[&Out]) -> Vec<(u16, u32)> {
    sent.windows(2)
        .map(|pair| {
            let (one, next) = (pair[0].header(), pair[1].header());
            assert_eq!(one.ssrc, next.ssrc, "one SSRC for ever");
            (next.sequence_number.wrapping_sub(one.sequence_number), next.timestamp.wrapping_sub(one.timestamp))
        })
        .collect()
}

/// Two seconds of both parties talking, recorded; `disturb` may do what it likes before each packet of A's.
fn talk(a: Remote, source: SocketAddr, ssrcs: [u32; 2], mut disturb: impl FnMut(&mut Call, u16)) -> Call {
    let mut call = Call::joined(a, remote(B));
    call.command(named("talk.wav"));
    for number in 0..100_u16 {
        call.run_until(ms(u64::from(number) * 20));
        disturb(&mut call, number);
        let audio = header(ssrcs[0], number.wrapping_sub(50), (u32::from(number) * 160).wrapping_sub(9000));
        call.rtp_from(A, source, &[&audio.to_bytes()[..], &spoken(number)].concat());
        call.says(B, header(ssrcs[1], number, u32::from(number) * 160), &[SILENCE_ALAW; 160]);
    }
    call.run_until(ms(2000));
    call
}

#[test]
fn what_strangers_send_after_the_lock_changes_nothing() {
    let nat = address("203.0.113.7:61000");
    for (policy, source) in
        [(SourcePolicy::Signalled, party(A)), (SourcePolicy::Learn, party(A)), (SourcePolicy::Learn, nat)]
    {
        let a = Remote { source: policy, ..remote(A) };
        let mut alone = talk(a, source, [1, 2], |_, _| {});
        let mut injected = 0;
        let mut disturbed = talk(a, source, [1, 2], |call, number| {
            if number < 3 {
                return;
            }
            let strangers = ["198.51.100.66:5555", "198.51.100.2:5000", "203.0.113.7:61002", "192.0.2.1:4002"];
            for stranger in strangers.map(address) {
                // As the party would send next, as somebody new, and as the one before the party.
                for (ssrc, sequence) in [(1, number.wrapping_sub(50)), (7, number), (2, 40_000)] {
                    let forged = header(ssrc, sequence, u32::from(number) * 160);
                    let forged = [&forged.to_bytes()[..], &[0x66; 160]].concat();
                    assert_eq!(call.rtp_from(A, stranger, &forged), None);
                    injected += 1;
                }
                call.rtcp(A, stranger, &their_report(1, 2, 3, 4, 5)[..]);
            }
        });
        let sent = disturbed.sent(B, Kind::Rtp).len();
        assert_eq!(sent, 100);
        assert_eq!(disturbed.sent(B, Kind::Rtp), alone.sent(B, Kind::Rtp));
        assert_eq!(disturbed.sent(A, Kind::Rtp), alone.sent(A, Kind::Rtp));
        assert_eq!(disturbed.refused(A), injected);
        let (with, without) = (disturbed.close(), alone.close());
        assert_eq!(with.legs[0].received, without.legs[0].received);
        assert_eq!(with.legs[0].lost, 0);
        assert_eq!(disturbed.alaw, alone.alaw, "the recording");
    }
}

#[test]
fn the_address_in_the_sdp_wins_the_race_before_the_lock() {
    let a = Remote { source: SourcePolicy::Learn, ..remote(A) };
    let stranger = address("198.51.100.66:5555");
    let forged = |number: u16| packet(8, 66, 1000 + number, &[0x66; 160]);
    // The stranger is first with two packets.
    let mut heard = 0;
    let call = talk(a, party(A), [1, 2], |call, number| {
        for packet in 0..2 {
            heard += usize::from(call.rtp_from(A, stranger, &forged(2 * number + packet)).is_some());
        }
    });
    assert_eq!((heard, call.refused(A)), (2, 198));
    assert_eq!(call.session.locked_source(A), Some(party(A)));
    let sent = call.sent(B, Kind::Rtp);
    assert_eq!(sent.len(), 102);
    assert!(sent[2..].iter().zip(0..).all(|(out, number)| out.payload() == spoken(number)));
    assert!(sent[2].header().marker);
    assert!(steps(&sent).iter().all(|step| *step == (1, 160)), "one stream for B all the same");
    // The party is first.
    let mut heard = 0;
    let call = talk(a, party(A), [1, 2], |call, number| {
        heard += usize::from(number > 0 && call.rtp_from(A, stranger, &forged(number)).is_some());
    });
    assert_eq!((heard, call.refused(A)), (0, 99));
}

#[test]
fn a_trunk_with_fixed_addresses_learns_nothing() {
    let mut call = Call::joined(remote(A), remote(B));
    let nat = address("203.0.113.7:61000");
    for number in 0..200 {
        call.run_until(ms(u64::from(number) * 20));
        assert_eq!(call.rtp_from(A, nat, &packet(8, 1, number, &[0x66; 160])), None);
        assert_eq!(call.audio(B, 2, number).unwrap().destination, party(A));
    }
    assert_eq!((call.session.locked_source(A), call.refused(A)), (None, 200));
    // Neither does a new SDP with the same address, nor one with another, make it learn.
    for (number, rtp) in [(200, party(A)), (201, address("192.0.2.1:4100"))] {
        call.run_until(ms(u64::from(number) * 20));
        call.set_remote(A, Remote { rtp, ..remote(A) });
        for forged in 0..10 {
            assert_eq!(call.rtp_from(A, nat, &packet(8, 1, forged, &[0x66; 160])), None);
        }
        assert_eq!(call.audio(B, 2, number).unwrap().destination, rtp);
        assert!(call.rtp_from(A, rtp, &packet(8, 1, number, &[0x2a; 160])).is_some());
    }
}

#[test]
fn a_learnt_source_stays_until_an_sdp_names_another_address() {
    let a = Remote { source: SourcePolicy::Learn, ..remote(A) };
    let mut call = Call::joined(a, remote(B));
    let (nat, other) = (address("203.0.113.7:61000"), address("203.0.113.9:62000"));
    for number in 0..3 {
        call.rtp_from(A, nat, &packet(8, 1, number, &[0x2a; 160]));
    }
    // Silence, refreshes, holds and new formats reopen nothing.
    let held = Direction { send: true, receive: false };
    for (step, again) in
        [a, Remote { direction: held, ..a }, a, Remote { format: PCMU, ..a }, a].into_iter().enumerate()
    {
        call.run_until(ms(60_000 * (step as u64 + 1)));
        call.set_remote(A, again);
        for number in 0..10 {
            assert_eq!(call.rtp_from(A, other, &packet(8, 9, number, &[0x66; 160])), None);
            assert_eq!(call.rtp_from(A, party(A), &packet(8, 9, number, &[0x66; 160])), None);
        }
        assert_eq!(call.session.locked_source(A), Some(nat));
    }
    call.set_remote(A, Remote { rtp: address("192.0.2.1:4100"), ..a });
    for number in 10..13 {
        assert!(call.rtp_from(A, other, &packet(8, 9, number, &[0x2a; 160])).is_some());
    }
    assert_eq!(call.session.locked_source(A), Some(other));
}

#[test]
fn an_ssrc_that_collides_with_ours_or_the_other_partys_changes_nothing() {
    let mut plain = talk(remote(A), party(A), [0xaaaa, 0xbbbb], |_, _| {});
    let ours = Side::BOTH.map(|side| plain.sent(side, Kind::Rtp)[0].header().ssrc);
    plain.close();
    for ssrcs in [[ours[0], 0xbbbb], [ours[1], 0xbbbb], [0xaaaa, ours[1]], [0xbbbb, 0xbbbb], [ours[1], ours[0]], ours] {
        let mut call = talk(remote(A), party(A), ssrcs, |_, _| {});
        for side in Side::BOTH {
            assert_eq!(call.sent(side, Kind::Rtp), plain.sent(side, Kind::Rtp), "{ssrcs:x?}");
            assert!(call.sent(side, Kind::Rtp).iter().all(|out| out.header().ssrc == ours[side.index()]));
        }
        // They say good-bye for the SSRC that is also ours.
        for side in Side::BOTH {
            let report = their_report(ssrcs[side.index()], 1, ours[side.index()], 0, 0);
            call.rtcp(side, party_rtcp(side), &report);
        }
        call.run_until(ms(12_000));
        for side in Side::BOTH {
            assert!(!call.sent(side, Kind::Rtcp).is_empty());
            for out in call.sent(side, Kind::Rtcp) {
                assert!(rtcp::parse(&out.bytes, ours[side.index()]).is_ok());
                assert_eq!(out.bytes[4..8], ours[side.index()].to_be_bytes(), "we report as ourselves");
            }
        }
        assert!(call.audio(A, ssrcs[0], 500).is_some());
        call.close();
        assert_eq!(call.alaw[..2000 * 8], plain.alaw[..2000 * 8], "{ssrcs:x?}");
    }
}

#[test]
fn a_party_that_sends_back_what_it_is_sent_is_heard() {
    let mut call = Call::joined(remote(A), remote(B));
    for number in 0..100_u16 {
        call.run_until(ms(u64::from(number) * 20));
        let out = call.audio(A, 1, number).unwrap();
        let echo = call.rtp(B, &out.bytes).unwrap();
        assert_eq!((echo.side, echo.payload()), (A, out.payload()));
    }
    assert!(steps(&call.sent(A, Kind::Rtp)).iter().all(|step| *step == (1, 160)));
}

/// 25 minutes: the sequence number wraps twice, the timestamp once, in what comes and, somewhere else, in what goes.
#[test]
fn a_long_call_wraps_and_nobody_notices() {
    let mut call = Call::joined(remote(A), remote(B));
    call.command(named("long.wav"));
    let packets = 75_000_u32;
    let mut last: Option<Header> = None;
    for number in 0..packets {
        call.run_until(ms(u64::from(number) * 20));
        let at = header(1, (number as u16).wrapping_add(60_000), (number * 160).wrapping_sub(packets / 2 * 160));
        let mut bytes = [&at.to_bytes()[..], &spoken((number % 97) as u16)].concat();
        let forward = call.session.handle_rtp(call.now, A, party(A), &mut bytes).unwrap();
        let sent = rtp::parse(&bytes[forward.range]).unwrap().0;
        if let Some(last) = last.replace(sent) {
            assert_eq!(sent.sequence_number, last.sequence_number.wrapping_add(1), "packet {number}");
            assert_eq!(sent.timestamp, last.timestamp.wrapping_add(160), "packet {number}");
            assert!(!sent.marker);
        }
    }
    call.run_until(ms(u64::from(packets) * 20));
    let totals = call.close();
    assert_eq!((totals.legs[0].received, totals.legs[0].lost, totals.recorded_ms), (75_000, 0, 1_500_000));
    for (number, block) in (0..packets).zip(call.blocks()) {
        assert_eq!(block, Some(spoken((number % 97) as u16)[0]), "block {number}");
    }
}

#[test]
fn a_party_that_changes_its_law_is_heard_and_recorded_right() {
    let mut call = Call::joined(remote(A), remote(B));
    call.command(named("laws.wav"));
    let every: Vec<u8> = (0..160).collect();
    let mut expected = Vec::new();
    for number in 0..40_u16 {
        call.run_until(ms(u64::from(number) * 20));
        let (payload_type, codec) = if number / 10 % 2 == 0 { (8, Codec::Pcma) } else { (0, Codec::Pcmu) };
        let out = call.rtp(A, &packet(payload_type, 1, number, &every)).unwrap();
        let mut alaw = every.clone();
        convert(codec, Codec::Pcma, &mut alaw);
        assert_eq!((out.header().payload_type, out.payload()), (8, &alaw[..]));
        expected.extend(alaw);
    }
    assert!(steps(&call.sent(B, Kind::Rtp)).iter().all(|step| *step == (1, 160)));
    call.run_until(ms(800));
    call.close();
    assert_eq!(call.alaw, expected);
}

#[test]
fn a_payload_type_that_nobody_settled_on_is_refused_and_the_call_goes_on() {
    let mut call = Call::joined(remote(A), remote(B));
    let known = [0, 8, 13, 101];
    let mut refused = 0;
    for (number, payload_type) in (0..128_u8).enumerate() {
        call.run_until(ms(number as u64 * 20));
        assert!(call.audio(A, 1, 2 * number as u16).is_some());
        if !known.contains(&payload_type) {
            assert_eq!(call.rtp(A, &packet(payload_type, 1, 2 * number as u16 + 1, &[0x66; 160])), None);
            refused += 1;
        }
    }
    assert_eq!(call.refused(A), refused);
    assert!(call.sent(B, Kind::Rtp).iter().all(|out| out.payload() == [0x2a; 160]));
}

/// A sender that jumps in the middle of two seconds: what it sends goes on as one stream, and is recorded where it was said.
#[test]
fn a_sender_that_jumps_is_heard_and_recorded_on() {
    type Jump = fn(u16, &mut Header);
    let jumps: &[(&str, Jump)] = &[
        ("a new SSRC and all new", |number, header| {
            *header = Header {
                ssrc: 9,
                sequence_number: 30_000 + number,
                timestamp: header.timestamp ^ 0x5555_0000,
                ..*header
            };
        }),
        ("a new SSRC, the rest goes on", |_, header| header.ssrc = 9),
        ("restart at zero", |number, header| {
            (header.sequence_number, header.timestamp) = (number - 50, (u32::from(number) - 50) * 160);
        }),
        ("sequence to zero", |number, header| header.sequence_number = number - 50),
        ("sequence back by 40", |_, header| header.sequence_number -= 40),
        ("sequence back by 100", |_, header| header.sequence_number -= 100),
        ("sequence back by 101", |_, header| header.sequence_number -= 101),
        ("sequence ahead by 5,000", |_, header| header.sequence_number += 5000),
        ("sequence ahead by half", |_, header| header.sequence_number = header.sequence_number.wrapping_add(1 << 15)),
        ("timestamp to zero", |number, header| header.timestamp = (u32::from(number) - 50) * 160),
        ("timestamp ahead by 3 s", |_, header| header.timestamp += 24_000),
        ("timestamp ahead by 4 min", |_, header| header.timestamp += 4 * 60 * 8000),
        ("timestamp ahead by an hour", |_, header| header.timestamp += 3600 * 8000),
        ("timestamp ahead by half", |_, header| header.timestamp = header.timestamp.wrapping_add(1 << 31)),
        ("timestamp back by 2 s", |_, header| header.timestamp -= 16_000),
        ("timestamp back by an hour", |_, header| header.timestamp = header.timestamp.wrapping_sub(3600 * 8000)),
    ];
    for (what, jump) in jumps {
        let mut call = Call::joined(remote(A), remote(B));
        call.command(named("jump.wav"));
        for number in 0..100_u16 {
            call.run_until(ms(u64::from(number) * 20));
            let mut header = header(1, 20_000 + number, 900_000 + u32::from(number) * 160);
            if number >= 50 {
                jump(number, &mut header);
            }
            call.says(A, header, &spoken(number));
        }
        call.run_until(ms(2000));
        let sent = call.sent(B, Kind::Rtp);
        // To be sure of a restart takes a second packet.
        assert!(sent.len() >= 99, "{what}: {} packets", sent.len());
        for (place, (sequence, samples)) in steps(&sent).into_iter().enumerate() {
            let elapsed = (sent[place + 1].at - sent[place].at).as_millis() as u32 * 8;
            assert_eq!((sequence, samples), (1, elapsed), "{what}: {place}");
        }
        call.close();
        let blocks = call.blocks();
        let right = (0..100).filter(|number| blocks[usize::from(*number)] == Some(spoken(*number)[0])).count();
        assert!(right >= 99, "{what}: {right} of 100 recorded right");
    }
}

#[test]
fn a_loss_of_a_thousand_packets_is_a_loss_and_no_jump() {
    let mut call = Call::joined(remote(A), remote(B));
    let first = call.audio(A, 1, 100).unwrap().header();
    call.run_until(ms(20_020));
    let next = call.audio(A, 1, 1101).unwrap().header();
    assert_eq!(next.sequence_number.wrapping_sub(first.sequence_number), 1001);
    assert_eq!(next.timestamp.wrapping_sub(first.timestamp), 1001 * 160);
    assert!(!next.marker);
    assert_eq!(call.session.totals().legs[0].lost, 1000);
}

#[test]
fn minutes_of_silence_are_recorded_and_what_comes_after_them_is_heard() {
    /// Timestamp and SSRC of the first packet after the silence, by those of the last before it.
    type Resumption = fn(u32) -> (u32, u32);
    let minutes = 7;
    let silence = ms(minutes * 60_000);
    let resumptions: &[(&str, Resumption)] = &[
        ("the timestamp went on", |last| (1, last + 160 + 7 * 60 * 8000)),
        ("the timestamp stood still", |last| (1, last + 160)),
        ("the timestamp is any", |last| (1, last.wrapping_add(0x7654_3210))),
        ("another source", |last| (5, last.wrapping_mul(77))),
    ];
    for (what, resume) in resumptions {
        let mut call = Call::joined(remote(A), remote(B));
        call.command(named("silence.wav"));
        let mut pieces = 0;
        for number in 0..100_u16 {
            let (pause, (ssrc, timestamp)) = match number {
                0..50 => (ms(0), (1, u32::from(number) * 160)),
                50.. => {
                    let (ssrc, timestamp) = resume(49 * 160);
                    (silence, (ssrc, timestamp.wrapping_add((u32::from(number) - 50) * 160)))
                }
            };
            let before = call.alaw.len();
            call.run_until(pause + ms(u64::from(number) * 20));
            pieces = pieces.max(call.alaw.len() - before);
            call.says(A, header(ssrc, number, timestamp), &spoken(number));
        }
        assert_eq!(call.dead_at(), [49 * 20 + 30_000], "{what}");
        call.run_until(silence + ms(2000));
        let sent = call.sent(B, Kind::Rtp);
        assert_eq!(sent.len(), 100, "{what}");
        for (place, (sequence, samples)) in steps(&sent).into_iter().enumerate() {
            let elapsed = (sent[place + 1].at - sent[place].at).as_millis() as u32 * 8;
            assert_eq!(sequence, 1, "{what}");
            assert!(samples == 160 || samples == elapsed, "{what}: {samples} samples in {elapsed}");
        }
        let totals = call.close();
        assert_eq!(totals.recorded_ms, minutes * 60_000 + 2000, "{what}");
        assert_eq!(call.alaw.len() as u64, totals.recorded_ms * 8);
        let blocks = call.blocks();
        let resumed = blocks.len() - 50;
        assert!((0..50).all(|number| blocks[usize::from(number)] == Some(spoken(number)[0])), "{what}");
        assert!(blocks[50..resumed].iter().all(|block| *block == Some(SILENCE_ALAW)), "{what}");
        // A clock that stood still is noticed after a tenth of a second.
        let late = if *what == "the timestamp stood still" { 0..5 } else { 0..0 };
        for number in late.end..50 {
            let recorded = blocks[resumed + usize::from(number)];
            assert_eq!(recorded, Some(spoken(50 + number)[0]), "{what}: {number}");
        }
    }
}

#[test]
fn a_session_that_nobody_wakes_for_minutes_makes_up_for_it() {
    let mut call = Call::joined(remote(A), remote(B));
    call.command(named("stall.wav"));
    call.hear(A, looped(&prompt([9; 777])));
    call.audio(A, 1, 0);
    call.now = ms(600_000);
    call.wake();
    call.audio(A, 1, 30_000);
    assert_eq!(call.close().recorded_ms, 600_000);
    assert_eq!(call.alaw.len(), 600_000 * 8);
    assert_eq!(call.sent(A, Kind::Rtp).len(), 2, "and no burst of prompt packets");
}

#[test]
fn the_packet_time_may_change_with_every_packet() {
    let mut random = Random::new(3551);
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    call.command(named("ptimes.wav"));
    let (mut spoken, mut sent): (Vec<u8>, Vec<(u32, usize)>) = (Vec::new(), Vec::new());
    for number in 0..500_u16 {
        let samples = [80, 160, 240, 320, 480, 480, 160, 33][(random.next_u32() % 8) as usize];
        call.run_until(Duration::from_micros(spoken.len() as u64 * 125));
        let payload: Vec<u8> = (0..samples).map(|_| random.next_u32() as u8).collect();
        let out = call.says(A, header(1, number, spoken.len() as u32), &payload).unwrap();
        let mut converted = payload.clone();
        convert(Codec::Pcma, Codec::Pcmu, &mut converted);
        assert_eq!(out.payload(), converted);
        sent.push((out.header().timestamp, samples));
        spoken.extend(payload);
        if number == 250 {
            // What we say ourselves has the leg's own packet time, whatever the party sends.
            call.hear(A, once(&prompt([1; 1600]), Then::Peer));
        }
    }
    for pair in sent.windows(2) {
        assert_eq!(pair[1].0.wrapping_sub(pair[0].0), pair[0].1 as u32);
    }
    assert!(call.sent(A, Kind::Rtp).iter().all(|out| out.payload().len() == 160));
    let end = Duration::from_micros(spoken.len() as u64 * 125);
    call.run_until(end);
    call.close();
    // Whole milliseconds are recorded.
    assert_eq!(call.alaw[..], spoken[..call.alaw.len()]);
    assert!(spoken.len() - call.alaw.len() < 8);
}

#[test]
fn comfort_noise_is_neither_passed_on_nor_recorded_and_keeps_the_call_alive() {
    let mut call = Call::joined(remote(A), remote(B));
    call.command(named("noise.wav"));
    let mut number = 0_u16;
    let mut at = 0;
    // Noise first of all, then a second of speech and forty of noise, a packet each 200 ms, of any length that RFC 3389 has.
    for second in 0..205_u64 {
        let is_speech = second % 41 == 20;
        let (step, payload_type) = if is_speech { (20, 8) } else { (200, 13) };
        for _ in 0..1000 / step {
            call.run_until(ms(at));
            let payload = if is_speech { vec![0x2a; 160] } else { vec![0x46; 1 + usize::from(number % 11)] };
            let header =
                Header { payload_type, marker: is_speech && at % 1000 == 0, ..header(1, number, at as u32 * 8) };
            assert_eq!(call.says(A, header, &payload).is_some(), is_speech);
            number += 1;
            at += step;
        }
    }
    call.run_until(ms(at));
    assert_eq!(call.dead_at(), []);
    let sent = call.sent(B, Kind::Rtp);
    assert_eq!(sent.len(), 5 * 50);
    assert!(sent.iter().all(|out| out.payload() == [0x2a; 160]));
    let markers: Vec<usize> = (0..sent.len()).filter(|place| sent[*place].header().marker).collect();
    assert_eq!(markers, [0, 50, 100, 150, 200], "a talkspurt begins where the party says so");
    for (place, step) in steps(&sent).into_iter().enumerate() {
        let samples = if place % 50 == 49 { 40 * 8000 + 160 } else { 160 };
        assert_eq!(step, (1, samples), "what is not passed on is no loss");
    }
    let totals = call.close();
    assert_eq!((totals.legs[0].lost, totals.legs[0].refused, totals.recorded_ms), (0, 0, 205_000));
    for (second, samples) in call.alaw.chunks(8000).enumerate() {
        let expected = if second % 41 == 20 { 0x2a } else { SILENCE_ALAW };
        assert!(samples.iter().all(|sample| *sample == expected), "second {second}");
    }
}

/// A packet with everything that a header can hold, cut anywhere and damaged anywhere: only audio goes on.
#[test]
fn no_part_of_a_header_crosses_however_it_is_damaged() {
    let mut bytes = packet(8, 0xdede_dede, 0xdede, &[]);
    bytes[4..8].fill(0xde);
    bytes[0] |= 0x20 | 0x10 | 15;
    bytes.extend([0xde; 60]);
    bytes.extend([0xbe, 0xde, 0, 3]);
    bytes.extend([0xde; 12]);
    bytes.extend([0x2a; 160]);
    bytes.extend([0xde, 0xde, 0xde, 4]);
    let mut call = Call::joined(remote(A), remote(B));
    assert_eq!(call.rtp(A, &bytes).unwrap().payload(), [0x2a; 160]);
    let mut passed = 0;
    let mut check = |damaged: &[u8], is_whole: bool| {
        let mut call = Call::joined(remote(A), remote(B));
        let Some(out) = call.rtp(A, damaged) else {
            assert!(call.refused(A) + call.session.dropped(B) == 1);
            return;
        };
        passed += 1;
        assert_eq!(out.bytes[0], 0x80, "no padding, no extension, no CSRC");
        assert!(out.bytes.len() <= damaged.len());
        // Without its padding's length a packet's last bytes are audio to anybody.
        assert!(!is_whole || !out.payload().contains(&0xde), "{:02x?}", &damaged[..12]);
        assert!(!out.bytes[..HEADER_LEN].windows(4).any(|bytes| bytes == [0xde; 4]));
    };
    for len in 0..bytes.len() {
        check(&bytes[..len], false);
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            // Bits that say what is audio: padding, extension, CSRC count, the two lengths.
            let says_what_is_audio = at == 0 || at == bytes.len() - 1 || (74..76).contains(&at);
            let is_audio = (88..248).contains(&at);
            check(&damaged, !says_what_is_audio && !is_audio);
        }
    }
    assert!(passed > 1000, "{passed}");
}

#[test]
fn a_marker_is_the_partys_within_a_talkspurt_and_ours_where_one_begins() {
    let mut call = Call::joined(remote(A), remote(B));
    let mut markers = Vec::new();
    for number in 0..40_u16 {
        call.run_until(ms(u64::from(number) * 20));
        let header =
            Header { marker: number % 10 == 5, ..header(1 + u32::from(number / 30), number, u32::from(number) * 160) };
        if call.says(A, header, &spoken(number)).unwrap().header().marker {
            markers.push(number);
        }
    }
    assert_eq!(markers, [0, 5, 15, 25, 30, 35]);
}

#[test]
fn rtcp_that_is_none_is_counted_and_changes_nothing() {
    let good = their_report(1, 0x0102_0304, 3, 4, 5);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let garbage: Vec<Vec<u8>> = vec![
        vec![],
        vec![0x80],
        good[..7].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0x80, 200, 0]].concat(),
        [&good[..], &[0; 8]].concat(),
        with(0, 0x41),
        with(0, 0xc1),
        with(0, 0x9f),
        with(0, 0xa1),
        with(1, 199),
        with(1, 202),
        with(1, 203),
        with(2, 0xff),
        with(3, 0),
        with(3, 11),
        with(52, 0x01),
        with(55, 200),
        vec![0x81, 203, 0, 1, 0, 0, 0, 1],
        vec![0xff; 1500],
        vec![0x80; 65_507],
    ];
    let disturbed = |bytes: &[Vec<u8>]| {
        let call = talk(remote(A), party(A), [1, 2], |call, _| {
            for bytes in bytes {
                call.rtcp(A, party_rtcp(A), bytes);
            }
        });
        let totals = call.session.control_totals(A);
        (call.out, call.alaw, (totals.received, totals.byes, totals.refused))
    };
    let (out, alaw, _) = disturbed(&[]);
    let (disturbed_out, disturbed_alaw, totals) = disturbed(&garbage);
    assert_eq!(totals, (0, 0, 100 * garbage.len() as u64));
    assert!(out == disturbed_out && alaw == disturbed_alaw);
}

#[test]
fn goodbyes_end_nothing_however_many() {
    let quiet = talk(remote(A), party(A), [1, 2], |_, _| {});
    // A compound packet that consists of farewells to everybody, from both sides, and again.
    let mut goodbyes = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
    for ssrc in [1_u32, 2, 0xffff_ffff] {
        goodbyes.extend([0x81, 203, 0, 3]);
        goodbyes.extend(ssrc.to_be_bytes());
        goodbyes.extend(b"\x07hung up");
    }
    let said = talk(remote(A), party(A), [1, 2], |call, _| {
        for side in Side::BOTH {
            call.rtcp(side, party_rtcp(side), &goodbyes);
        }
    });
    assert_eq!(said.session.control_totals(A).byes, 300);
    assert_eq!(said.events, []);
    assert!(said.out == quiet.out && said.alaw == quiet.alaw);
}

#[test]
fn nothing_that_a_party_says_of_itself_in_rtcp_reaches_anybody() {
    let canary = b"canary+8613912345678";
    let mut bytes = their_report(0xcaca_caca, 0xcaca_caca, 3, 4, 5);
    // CNAME, NAME, EMAIL, PHONE, LOC, TOOL, NOTE, PRIV, and one that nobody has defined.
    let mut items = Vec::new();
    for kind in [1, 2, 3, 4, 5, 6, 7, 8, 99] {
        items.extend([kind, canary.len() as u8]);
        items.extend(canary);
    }
    items.resize(items.len().next_multiple_of(4) + 4, 0);
    let mut put = |head: u8, kind: u8, body: &[u8]| {
        assert_eq!(body.len() % 4, 0);
        bytes.extend([head, kind, 0, 1 + (body.len() / 4) as u8]);
        bytes.extend(0xcaca_caca_u32.to_be_bytes());
        bytes.extend(body);
    };
    put(0x81, 202, &items);
    put(0x80, 204, canary);
    put(0x81, 205, canary);
    put(0x81, 206, canary);
    put(0x80, 207, canary);
    put(0x81, 203, canary);
    assert!(rtcp::parse(&bytes, 0).is_ok());
    let mut call = Call::joined(remote(A), remote(B));
    for number in 0..1500_u16 {
        call.run_until(ms(u64::from(number) * 20));
        call.rtcp(A, party_rtcp(A), &bytes);
        call.audio(A, 1, number);
        call.audio(B, 2, number);
    }
    assert_eq!(call.session.control_totals(A).received, 1500);
    assert!(call.sent(A, Kind::Rtcp).len() > 4 && call.sent(B, Kind::Rtcp).len() > 4);
    for out in &call.out {
        assert!(!out.bytes.windows(6).any(|bytes| bytes == b"canary" || bytes == b"139123"));
        assert!(out.side == A || !out.bytes.windows(3).any(|bytes| bytes == [0xca; 3]));
    }
}

#[test]
fn what_comes_to_the_wrong_port_is_refused_there() {
    let rtp = packet(8, 1, 50, &[0x66; 160]);
    let marked = packet(72, 1, 50, &[0x66; 160]);
    let rtcp = their_report(1, 0x0102_0304, 3, 4, 5);
    let cname = [&[0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 202, 0, 2, 0, 0, 0, 1][..], &[1, 2, b'x', b'y']].concat();
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let dtls = [&[22, 0xfe, 0xfd][..], &[0; 40]].concat();
    for source in [party(A), party_rtcp(A)] {
        let mut refused = 0;
        let quiet = talk(remote(A), party(A), [1, 2], |_, _| {});
        let disturbed = talk(remote(A), party(A), [1, 2], |call, _| {
            // As one who multiplexes both on one port would send them, and one who has its ports the wrong way round.
            for bytes in [&rtcp, &cname, &stun, &dtls, &b"\r\n\r\n".to_vec(), &b"SIP/2.0 200 OK\r\n\r\n".to_vec()] {
                assert_eq!(call.rtp_from(A, source, bytes), None);
                refused += 1;
            }
            for bytes in [&rtp, &marked, &stun, &dtls] {
                call.rtcp(A, source, bytes);
            }
        });
        assert_eq!((disturbed.refused(A), disturbed.session.control_totals(A).refused), (refused, 400));
        assert!(disturbed.out == quiet.out && disturbed.alaw == quiet.alaw);
    }
}

#[test]
fn the_loudest_of_both_parties_at_once_is_recorded_without_wrapping() {
    let mut call = Call::joined(remote(A), remote(B));
    call.command(named("loud.wav"));
    for number in 0..50_u16 {
        call.run_until(ms(u64::from(number) * 20));
        for (side, ssrc) in [(A, 1), (B, 2)] {
            call.rtp(side, &packet(8, ssrc, number, &[0xaa; 160]));
        }
    }
    call.run_until(ms(1000));
    call.close();
    assert!(call.alaw.iter().all(|sample| alaw_to_linear(*sample) == alaw_to_linear(0xaa)));
}
