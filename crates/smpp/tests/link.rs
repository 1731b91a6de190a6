//! The link against a scripted SMSC in simulated time. What is said on the wire is read by hand, octet by octet.

use std::collections::VecDeque;
use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use smpp::{Answer, Config, DefaultAlphabet, Event, Failure, Incoming, Link, Long, Loss, Output, Reply, Submit};
use testbed::smsc::{Pdu, ShortMessage, id};

const X: &str = "+8617000000001";
const B: &str = "+8613900000002";

fn config() -> Config {
    Config {
        system_id: "axbridge".into(),
        password: "secret08".into(),
        system_type: "VN".into(),
        alphabet: DefaultAlphabet::Gsm,
        long: Long::Udh,
        window: 10,
        per_second: None,
        enquire_every: Duration::from_secs(30),
        response_timeout: Duration::from_secs(10),
    }
}

/// The link, the SMSC's end of its connection, and what has passed between them.
struct Story {
    now: Duration,
    link: Link<u32>,
    /// What the link has sent and the SMSC has not looked at.
    wire: Vec<u8>,
    /// PDUs that the SMSC has not been told to answer.
    asked: VecDeque<Pdu>,
    is_connected: bool,
    /// Connections that were asked for.
    connects: Vec<Duration>,
    came: Vec<Incoming>,
    results: Vec<(u32, Result<u16, Failure>)>,
    events: Vec<(Duration, Event)>,
    ladder: String,
    sequence: u32,
}

impl Story {
    /// Not connected yet.
    fn new(config: Config) -> Story {
        Story {
            now: Duration::ZERO,
            link: Link::new(config, 0),
            wire: Vec::new(),
            asked: VecDeque::new(),
            is_connected: false,
            connects: Vec::new(),
            came: Vec::new(),
            results: Vec::new(),
            events: Vec::new(),
            ladder: String::new(),
            sequence: 100,
        }
    }

    /// Bound, and nothing in the ladder yet.
    fn bound(config: Config) -> Story {
        let mut story = Story::new(config);
        story.connect();
        story.accept_bind();
        story.ladder.clear();
        story
    }

    fn connect(&mut self) {
        self.link.handle_timeout(self.now);
        self.settle();
        assert_eq!(self.connects.last(), Some(&self.now), "a connection is wanted");
        self.is_connected = true;
        self.link.handle_connected(self.now);
        self.settle();
    }

    fn accept_bind(&mut self) {
        let bind = self.next();
        assert_eq!(bind.id, id::BIND_TRANSCEIVER);
        self.say(bind.response(0));
        assert!(self.link.is_bound());
    }

    fn settle(&mut self) {
        while let Some(output) = self.link.poll_output() {
            match output {
                Output::Connect => self.connects.push(self.now),
                Output::Transmit(bytes) if self.is_connected => self.wire.extend_from_slice(&bytes),
                Output::Transmit(_) => panic!("said to nobody"),
                Output::Close => {
                    self.is_connected = false;
                    self.line("close");
                }
                Output::Text(text) => {
                    self.line(&format!("text {:?}", text.content));
                    self.came.push(text);
                }
                Output::Submitted(key, result) => {
                    self.line(&format!("submitted {key} {result:?}"));
                    self.results.push((key, result));
                }
                Output::Event(event) => {
                    self.line(&format!("{event:?}"));
                    self.events.push((self.now, event));
                }
            }
            while let Some(pdu) = Pdu::take(&mut self.wire) {
                self.line(&format!("──▶ {pdu:?}"));
                self.asked.push_back(pdu);
            }
        }
    }

    fn line(&mut self, line: &str) {
        writeln!(self.ladder, "{:8.3}  {line}", self.now.as_secs_f64()).unwrap();
    }

    /// What the link has said next.
    fn next(&mut self) -> Pdu {
        self.asked.pop_front().expect("the link has said nothing more")
    }

    fn say(&mut self, pdu: Pdu) {
        self.line(&format!("◀── {pdu:?}"));
        self.link.handle_bytes(self.now, &pdu.write());
        self.settle();
    }

    fn respond(&mut self, status: u32) -> Pdu {
        let request = self.next();
        self.say(request.response(status));
        request
    }

    fn deliver(&mut self, message: &ShortMessage) -> u32 {
        self.sequence += 1;
        self.say(Pdu { id: id::DELIVER_SM, status: 0, sequence: self.sequence, body: message.write() });
        self.sequence
    }

    fn submit(&mut self, key: u32, text: &str) {
        let until = self.now + Duration::from_secs(20);
        let (source, destination) = (X.to_owned(), B.to_owned());
        self.link.submit(self.now, &Submit { key, source, destination, content: text.into(), until });
        self.settle();
    }

    fn answer(&mut self, reply: Reply, answer: Answer) {
        self.link.answer(self.now, reply, answer);
        self.settle();
    }

    /// To the moment, through every deadline on the way.
    fn run_until(&mut self, at: Duration) {
        while let Some(due) = self.link.poll_timeout().filter(|due| *due <= at) {
            self.now = self.now.max(due);
            self.link.handle_timeout(self.now);
            self.settle();
            assert!(self.link.poll_timeout().is_none_or(|next| next > self.now), "a deadline is not met");
        }
        self.now = at;
    }

    fn hang_up(&mut self) {
        self.is_connected = false;
        self.line("closed");
        self.link.handle_closed(self.now);
        self.settle();
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn it_binds_as_the_specification_has_it() {
    let mut story = Story::new(config());
    story.connect();
    let bind = story.next();
    assert_eq!((bind.id, bind.status, bind.sequence), (id::BIND_TRANSCEIVER, 0, 1));
    assert_eq!(bind.body, b"axbridge\0secret08\0VN\0\x34\0\0\0");
    assert!(!story.link.is_bound());
    story.say(bind.response(0));
    assert_eq!(story.events, [(Duration::ZERO, Event::Bound)]);
    assert!(!format!("{:?}", config()).contains("secret"), "a password is not shown");
}

#[test]
fn a_text_is_submitted_and_taken() {
    let mut story = Story::bound(config());
    story.submit(1, "Your parcel is here: €5 [please pay]");
    let submit = story.respond(0);
    let message = ShortMessage::read(&submit.body);
    assert_eq!(message.source, (1, "8617000000001".to_owned()));
    assert_eq!(message.destination, (1, "8613900000002".to_owned()));
    assert_eq!((message.esm_class, message.registered_delivery, message.data_coding), (0, 0, 0));
    // 3GPP TS 23.038: the euro and the brackets are escaped.
    assert_eq!(&message.octets[..24], b"Your parcel is here: \x1b\x655");
    assert_eq!(story.results, [(1, Ok(1))]);

    story.submit(2, "您的快递已到达🚚");
    let message = ShortMessage::read(&story.respond(0).body);
    assert_eq!((message.data_coding, message.words()), (8, "您的快递已到达🚚".to_owned()));
    assert_eq!(story.results[1], (2, Ok(1)));
}

#[test]
fn a_long_text_goes_as_the_smsc_wants_it() {
    let text = "汉字🚚".repeat(500);
    let mut story = Story::bound(Config { window: 100, ..config() });
    story.submit(1, &text);
    let messages: Vec<ShortMessage> =
        std::mem::take(&mut story.asked).iter().map(|pdu| ShortMessage::read(&pdu.body)).collect();
    let total = u8::try_from(messages.len()).unwrap();
    for (place, message) in messages.iter().enumerate() {
        let place = u8::try_from(place).unwrap() + 1;
        assert_eq!((message.esm_class, &message.octets[..6]), (0x40, &[5, 0, 3, 0, total, place][..]));
        assert!(message.octets.len() <= 140, "{} octets", message.octets.len());
    }
    assert_eq!(messages.iter().map(ShortMessage::words).collect::<String>(), text);

    let mut story = Story::bound(Config { long: Long::Sar, window: 100, ..config() });
    story.submit(1, &text);
    let messages: Vec<ShortMessage> =
        std::mem::take(&mut story.asked).iter().map(|pdu| ShortMessage::read(&pdu.body)).collect();
    for (place, message) in messages.iter().enumerate() {
        let place = u8::try_from(place).unwrap() + 1;
        let expected = [(0x020c, vec![0, 0]), (0x020e, vec![total]), (0x020f, vec![place])];
        assert_eq!((message.esm_class, &message.tlvs[..]), (0, &expected[..]));
    }
    assert_eq!(messages.iter().map(ShortMessage::words).collect::<String>(), text);

    // What is longer than one short message, however little.
    for text in [text, "汉".repeat(71)] {
        let mut story = Story::bound(Config { long: Long::Payload, ..config() });
        story.submit(1, &text);
        let message = ShortMessage::read(&story.respond(0).body);
        let octets: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!((message.octets, message.tlvs), (Vec::new(), vec![(0x0424, octets)]));
        assert_eq!(story.results, [(1, Ok(1))]);
    }
}

#[test]
fn a_text_is_taken_when_its_last_part_is() {
    let mut story = Story::bound(config());
    story.submit(7, &"汉".repeat(150));
    story.respond(0);
    story.respond(0);
    assert_eq!(story.results, []);
    story.respond(0);
    assert_eq!(story.results, [(7, Ok(3))]);
}

#[test]
fn no_more_are_under_way_than_the_window_holds() {
    let mut story = Story::bound(Config { window: 2, ..config() });
    for key in 0..5 {
        story.submit(key, "words");
    }
    assert_eq!(story.asked.len(), 2);
    for _ in 0..5 {
        story.respond(0);
        assert!(story.asked.len() <= 2);
    }
    assert_eq!(story.results, (0..5).map(|key| (key, Ok(1))).collect::<Vec<_>>());
}

#[test]
fn what_the_smsc_wants_later_goes_later() {
    let mut story = Story::bound(config());
    story.submit(1, "words");
    story.respond(0x58);
    assert_eq!(story.asked.len(), 0);
    story.run_until(seconds(1));
    story.respond(0x14);
    story.run_until(seconds(2));
    story.respond(0);
    assert_eq!(story.results, [(1, Ok(1))]);

    // For as long as anybody cares.
    story.submit(2, "words");
    for second in 3..=22 {
        assert_eq!(story.results.len(), 1);
        story.respond(0x58);
        story.run_until(seconds(second));
    }
    assert_eq!(story.results[1], (2, Err(Failure::Throttled)));
    assert_eq!(story.link.counters().throttled, 22);
}

/// An SMSC that takes so many a second and wants the others later.
fn with_a_limit(texts: impl IntoIterator<Item = String>, config: Config, limit: usize) -> Story {
    let mut story = Story::bound(config);
    for (key, text) in (0..).zip(texts) {
        story.submit(key, &text);
    }
    for second in 1..20 {
        let mut left = limit;
        loop {
            while let Some(request) = story.asked.pop_front() {
                story.say(request.response(if left == 0 { 0x58 } else { 0 }));
                left = left.saturating_sub(1);
            }
            // What has been put off may be said again within the second.
            let due = story.link.poll_timeout().filter(|due| *due < seconds(second));
            let Some(due) = due else { break };
            story.run_until(due);
        }
        story.run_until(seconds(second));
    }
    story
}

#[test]
fn no_text_is_lost_to_an_smsc_that_takes_few_a_second() {
    let long = with_a_limit(["汉".repeat(2_000)], config(), 5);
    assert_eq!(long.results, [(0, Ok(30))]);
    let many = with_a_limit((0..100).map(|n| format!("text {n}")), Config { window: 50, ..config() }, 10);
    assert_eq!(many.results.iter().filter(|(_, result)| *result == Ok(1)).count(), 100, "{:?}", many.results);
}

#[test]
fn texts_that_were_put_off_go_in_their_order() {
    let mut story = Story::bound(config());
    for (key, words) in (0..).zip(["一", "二", "三"]) {
        story.submit(key, words);
    }
    for _ in 0..3 {
        story.respond(0x58);
    }
    let mut said = Vec::new();
    for second in 1..10 {
        story.run_until(seconds(second));
        while !story.asked.is_empty() {
            said.push(ShortMessage::read(&story.respond(0).body).words());
        }
    }
    assert_eq!(said, ["一", "二", "三"]);
}

#[test]
fn no_more_leave_in_a_second_than_the_smsc_has_said_it_takes() {
    let mut story = Story::bound(Config { per_second: NonZeroU32::new(4), ..config() });
    for key in 0..9 {
        story.submit(key, "words");
    }
    for second in 1..=2 {
        story.run_until(seconds(second) - Duration::from_millis(1));
        assert_eq!(story.asked.len(), 4);
        while !story.asked.is_empty() {
            story.respond(0);
        }
    }
    story.run_until(seconds(2));
    assert_eq!(story.asked.len(), 1);
}

#[test]
fn who_has_a_part_is_not_to_get_it_again() {
    // The other part has been taken, and this one may go another time: nobody is told to try the whole again.
    let mut story = Story::bound(config());
    story.submit(1, &"汉".repeat(100));
    story.respond(0);
    story.respond(0x64);
    assert_eq!(story.results, [(1, Err(Failure::Silent))]);
    // Nor where it is put off until nobody cares.
    let mut story = Story::bound(Config { window: 1, ..config() });
    story.submit(1, &"汉".repeat(100));
    story.respond(0);
    for second in 1..=20 {
        story.respond(0x58);
        story.run_until(seconds(second));
    }
    assert_eq!(story.results, [(1, Err(Failure::Silent))]);
    // A number that does not exist does not exist either way.
    let mut story = Story::bound(config());
    story.submit(1, &"汉".repeat(100));
    story.respond(0);
    story.respond(0x0b);
    assert_eq!(story.results, [(1, Err(Failure::Refused(0x0b)))]);
}

#[test]
fn refusals_and_silence_fail_that_text_alone() {
    let mut story = Story::bound(config());
    for key in 1..=5 {
        story.submit(key, "words");
    }
    let requests: Vec<Pdu> = std::mem::take(&mut story.asked).into();
    story.say(Pdu { id: id::GENERIC_NACK, status: 0, sequence: requests[4].sequence, body: Vec::new() });
    story.say(requests[0].response(0x0b));
    story.say(Pdu { id: id::GENERIC_NACK, status: 3, sequence: requests[1].sequence, body: Vec::new() });
    // A message id that is too long: the header says that it was taken. A nack never says so.
    let body = vec![b'x'; 70];
    story.say(Pdu { id: id::SUBMIT_SM | id::RESPONSE, status: 0, sequence: requests[2].sequence, body });
    story.run_until(seconds(10));
    story.say(requests[3].response(0));
    let expected = [
        (5, Err(Failure::Refused(0xff))),
        (1, Err(Failure::Refused(0x0b))),
        (2, Err(Failure::Refused(0x03))),
        (3, Ok(1)),
        (4, Err(Failure::Silent)),
    ];
    assert_eq!(story.results, expected);
    assert!(story.link.is_bound());
    // A part that is refused takes the text with it: what has not left does not leave.
    let mut story = Story::bound(Config { window: 1, ..config() });
    story.submit(1, &"汉".repeat(150));
    story.respond(0x45);
    assert_eq!((story.results, story.asked.len()), (vec![(1, Err(Failure::Refused(0x45)))], 0));
}

#[test]
fn numbers_that_smpp_cannot_say_are_refused() {
    let mut story = Story::bound(config());
    let submit = Submit {
        key: 1,
        source: X.to_owned(),
        destination: "1".repeat(21),
        content: "words".into(),
        until: seconds(20),
    };
    story.link.submit(story.now, &submit);
    story.settle();
    assert_eq!(story.results, [(1, Err(Failure::Unwritable))]);
}

#[test]
fn both_ask_whether_the_other_is_there() {
    let mut story = Story::bound(config());
    story.run_until(seconds(30));
    story.respond(0);
    story.say(Pdu { id: id::ENQUIRE_LINK, status: 0, sequence: 77, body: Vec::new() });
    let answer = story.next();
    assert_eq!((answer.id, answer.sequence), (id::ENQUIRE_LINK | id::RESPONSE, 77));
    story.run_until(seconds(75));
    ladder(
        &story,
        "
  30.000  ──▶ enquire_link #2
  30.000  ◀── enquire_link_resp #2
  30.000  ◀── enquire_link #77
  30.000  ──▶ enquire_link_resp #77
  60.000  ──▶ enquire_link #3
  70.000  close
  70.000  Lost(Silent)
",
    );
    assert_eq!(story.connects, [seconds(0), seconds(71)]);
}

/// A ladder.
fn ladder(story: &Story, expected: &str) {
    assert_eq!(story.ladder.trim_end(), expected.trim_start_matches('\n').trim_end());
}

#[test]
fn it_comes_back_and_is_patient_with_who_is_not_there() {
    let mut story = Story::bound(config());
    story.hang_up();
    let mut wanted = Vec::new();
    for rest in [1, 2, 4, 8, 16, 30, 30] {
        let at = story.now + seconds(rest);
        story.run_until(at);
        wanted.push(at);
        assert_eq!(story.connects[1..], wanted, "after {rest} s");
        story.link.handle_closed(story.now);
        story.settle();
    }
    // Sessions that do not last are none.
    let mut at = story.now;
    for rest in [30, 30] {
        at += seconds(rest);
        story.run_until(at);
        assert_eq!(story.connects.last(), Some(&at));
        story.is_connected = true;
        story.link.handle_connected(at);
        story.settle();
        story.accept_bind();
        story.hang_up();
    }
    // A bind that is refused: nothing will have changed in a second.
    let at = story.now + seconds(30);
    story.run_until(at);
    story.is_connected = true;
    story.link.handle_connected(at);
    story.settle();
    story.respond(0x0e);
    assert_eq!(story.events.last(), Some(&(at, Event::Lost(Loss::Refused(0x0e)))));
    story.run_until(at + seconds(30));
    assert_eq!(story.connects.last(), Some(&(at + seconds(30))));
    // One that does not answer the bind.
    story.is_connected = true;
    story.link.handle_connected(story.now);
    story.settle();
    let late = story.now + seconds(10);
    story.run_until(late);
    assert_eq!(story.events.last(), Some(&(late, Event::Lost(Loss::Silent))));
}

#[test]
fn what_has_not_left_goes_by_the_next_connection() {
    let mut story = Story::bound(Config { window: 1, enquire_every: seconds(86_400), ..config() });
    story.run_until(seconds(40));
    story.submit(1, "under way");
    story.submit(2, "waits");
    story.hang_up();
    assert_eq!(story.results, [(1, Err(Failure::Silent))], "it may have been taken");
    story.asked.clear();
    story.submit(3, "comes meanwhile");
    story.run_until(seconds(41));
    story.is_connected = true;
    story.link.handle_connected(story.now);
    story.settle();
    story.accept_bind();
    story.respond(0);
    story.respond(0);
    assert_eq!(story.results[1..], [(2, Ok(1)), (3, Ok(1))]);
    // Where nobody is there, nobody waits.
    story.run_until(seconds(80));
    story.hang_up();
    story.run_until(seconds(81));
    story.submit(4, "waits for the connection");
    story.link.handle_closed(story.now);
    story.settle();
    story.submit(5, "does not wait");
    assert_eq!(story.results[3..], [(4, Err(Failure::Unbound)), (5, Err(Failure::Unbound))]);
}

#[test]
fn a_text_whose_time_is_over_is_not_sent() {
    let mut story =
        Story::bound(Config { window: 1, response_timeout: seconds(60), enquire_every: seconds(90), ..config() });
    story.submit(1, "under way");
    story.submit(2, "waits");
    story.run_until(seconds(20));
    assert_eq!(story.results, [(1, Err(Failure::Silent)), (2, Err(Failure::Late))]);
    story.respond(0);
    assert_eq!((story.asked.len(), story.results.len()), (0, 2));
}

#[test]
fn a_text_that_comes_is_answered_when_it_is_known_what_became_of_it() {
    let mut story = Story::bound(config());
    for (answer, status) in [
        (Answer::Taken, 0),
        (Answer::Later, 0x64),
        (Answer::NoSuchNumber, 0x0b),
        (Answer::TooLong, 0x01),
        (Answer::Failed, 0x65),
        (Answer::Rejected, 0x66),
    ] {
        let sequence = story.deliver(&ShortMessage::ucs2("8613800000001", "8617000000001", "到了吗？"));
        let text = story.came.pop().expect("it is told of");
        assert_eq!(story.asked.len(), 0, "nothing is answered yet");
        assert_eq!((text.source.as_deref(), text.destination.as_deref()), (Some("+8613800000001"), Some(X)));
        assert_eq!(text.content, "到了吗？");
        story.answer(text.reply, answer);
        let response = story.next();
        assert_eq!(
            (response.id, response.sequence, response.status),
            (id::DELIVER_SM | id::RESPONSE, sequence, status)
        );
        assert_eq!(response.body, b"\0", "{answer:?}");
        story.answer(text.reply, answer);
        assert_eq!(story.asked.len(), 0, "an answer counts once");
    }
}

#[test]
fn what_comes_is_read_in_its_alphabet() {
    let mut story = Story::bound(config());
    let plain = ShortMessage::ucs2("8613800000001", "8617000000001", "");
    for (data_coding, octets, text) in [
        (0, &b"\x00 caf\x05 \x1b\x65"[..], "@ café €"),
        (1, b"ascii", "ascii"),
        (3, b"caf\xe9", "café"),
        (8, &[0x4e, 0x2d, 0xd8, 0x3d, 0xde, 0x9a], "中🚚"),
        (15, &[0xd6, 0xd0, 0xce, 0xc4], "中文"),
    ] {
        story.deliver(&ShortMessage { data_coding, octets: octets.to_vec(), ..plain.clone() });
        let text_in = story.came.pop().expect("it is told of");
        assert_eq!(text_in.content, text);
        story.answer(text_in.reply, Answer::Taken);
        assert_eq!(story.next().status, 0);
    }
    let payload: Vec<u8> = "长".repeat(2_000).encode_utf16().flat_map(u16::to_be_bytes).collect();
    story.deliver(&ShortMessage { tlvs: vec![(0x0424, payload)], ..plain.clone() });
    assert_eq!(story.came.pop().map(|text| text.content), Some("长".repeat(2_000)));
    // Pictures, and a sender that is a name.
    story.deliver(&ShortMessage { data_coding: 4, octets: vec![1, 2, 3], ..plain.clone() });
    assert_eq!((story.next().status, story.came.len()), (0x66, 0));
    story.deliver(&ShortMessage { source: (5, "Bank".to_owned()), ..plain });
    assert_eq!(story.came.pop().map(|text| text.source), Some(None));
}

#[test]
fn receipts_are_taken_and_told_to_nobody() {
    let mut story = Story::bound(config());
    let octets = b"id:4711 sub:001 dlvrd:001 stat:DELIVRD err:000 text:".to_vec();
    for esm_class in [0x04, 0x08, 0x10, 0x20] {
        let receipt =
            ShortMessage { esm_class, data_coding: 0, octets: octets.clone(), ..ShortMessage::ucs2("1", "2", "") };
        story.deliver(&receipt);
        assert_eq!((story.next().status, story.came.len()), (0, 0));
    }
    assert_eq!(story.link.counters().receipts, 4);
}

#[test]
fn parts_become_one_text_in_whatever_order_they_come() {
    // Cut amid a pair of surrogates, as some SMSCs do.
    let text = format!("{}🚚{}", "汉".repeat(66), "字".repeat(100));
    let parts = ShortMessage::parts("8613800000001", "8617000000001", &text, 67, 9);
    assert_eq!(parts.len(), 3);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut story = Story::bound(config());
        // Another text of the same reference, of somebody else.
        story.deliver(&ShortMessage::parts("8613800000003", "8617000000001", &text, 67, 9)[0]);
        assert_eq!(story.next().status, 0);
        for place in &order[..2] {
            story.deliver(&parts[*place]);
            assert_eq!((story.next().status, story.came.len()), (0, 0));
        }
        // A part that comes twice.
        story.deliver(&parts[order[0]]);
        assert_eq!((story.next().status, story.came.len()), (0, 0));
        let last = story.deliver(&parts[order[2]]);
        assert_eq!(story.came.len(), 1);
        assert_eq!(story.came[0].content, text);
        story.answer(story.came[0].reply, Answer::Taken);
        assert_eq!(story.next().sequence, last);
    }
    // The same said by TLVs.
    let mut story = Story::bound(config());
    for (place, words) in [(2, "world"), (1, "hello ")] {
        let tlvs = vec![(0x020c, vec![1, 2]), (0x020e, vec![2]), (0x020f, vec![place])];
        story.deliver(&ShortMessage { tlvs, ..ShortMessage::ucs2("8613800000001", "8617000000001", words) });
    }
    assert_eq!(story.came[0].content, "hello world");
}

#[test]
fn a_text_that_is_wanted_later_is_made_whole_by_its_last_part() {
    let parts = ShortMessage::parts("8613800000001", "8617000000001", &"汉".repeat(100), 67, 1);
    let mut story = Story::bound(Config { enquire_every: seconds(86_400), ..config() });
    story.deliver(&parts[0]);
    story.run_until(seconds(590));
    story.deliver(&parts[1]);
    story.answer(story.came[0].reply, Answer::Later);
    story.run_until(seconds(5_000));
    story.deliver(&parts[1]);
    assert_eq!(story.came.len(), 2);
    // It is forgotten where it was: the same.
    story.run_until(seconds(5_200));
    story.deliver(&parts[1]);
    assert_eq!(story.came.len(), 3);
    story.answer(story.came[2].reply, Answer::Taken);
    let statuses: Vec<u32> = story.asked.iter().map(|pdu| pdu.status).collect();
    assert_eq!(statuses, [0, 0x64, 0]);
}

#[test]
fn a_long_text_that_is_said_again_counts_once_and_another_of_its_reference_for_itself() {
    let texts = ["汉".repeat(100), "字".repeat(100)];
    let [first, second] = texts.clone().map(|text| ShortMessage::parts("8613800000001", "8617000000001", &text, 67, 7));
    let mut story = Story::bound(config());
    story.deliver(&first[0]);
    story.deliver(&first[1]);
    // While it waits another one of the same reference has to wait too, and changes nothing.
    story.deliver(&second[0]);
    story.deliver(&first[0]);
    story.answer(story.came[0].reply, Answer::Rejected);
    let statuses =
        |story: &mut Story| -> Vec<u32> { std::mem::take(&mut story.asked).iter().map(|pdu| pdu.status).collect() };
    assert_eq!(statuses(&mut story), [0, 0x64, 0, 0x66]);
    // Responses were lost: the same answers.
    story.deliver(&first[1]);
    story.deliver(&first[0]);
    assert_eq!((statuses(&mut story), story.came.len()), (vec![0x66, 0], 1));
    // The other one now.
    story.deliver(&second[1]);
    story.deliver(&second[0]);
    assert_eq!(story.came.iter().map(|text| text.content.clone()).collect::<Vec<_>>(), texts);
    story.answer(story.came[1].reply, Answer::Taken);
    // One that never became whole gives way to the next.
    story.deliver(&first[0]);
    story.deliver(&second[0]);
    story.deliver(&second[1]);
    assert_eq!((story.came.len(), &story.came[2].content), (3, &texts[1]));
    assert_eq!(story.link.counters().orphaned, 1);
}

#[test]
fn a_text_of_which_parts_are_missing_is_given_up_after_ten_minutes() {
    let parts = ShortMessage::parts("8613800000001", "8617000000001", &"汉".repeat(200), 67, 1);
    let mut story = Story::bound(Config { enquire_every: seconds(86_400), ..config() });
    story.deliver(&parts[0]);
    story.deliver(&parts[1]);
    story.run_until(seconds(599));
    assert_eq!(story.link.counters().orphaned, 0);
    story.run_until(seconds(661));
    assert_eq!(story.link.counters().orphaned, 2);
    story.deliver(&parts[2]);
    assert_eq!(story.came.len(), 0);
}

#[test]
fn what_is_said_again_counts_once() {
    let mut story = Story::bound(config());
    let message = ShortMessage::ucs2("8613800000001", "8617000000001", "once");
    let first = story.deliver(&message);
    let second = story.deliver(&message);
    assert_eq!(story.came.len(), 1);
    // More than a few copies are not kept.
    let others = [0; 3].map(|_| story.deliver(&message));
    let refused = story.next();
    assert_eq!((refused.sequence, refused.status), (others[2], 0x64));
    story.answer(story.came[0].reply, Answer::Taken);
    assert_eq!((story.next().sequence, story.next().sequence), (first, second));
    story.asked.clear();
    // Answered is answered: people do write the same twice.
    story.deliver(&message);
    assert_eq!(story.came.len(), 2);
    // The connection goes before the answer, which the next one brings.
    story.hang_up();
    story.answer(story.came[1].reply, Answer::Rejected);
    assert_eq!(story.asked.len(), 0);
    story.run_until(seconds(1));
    story.is_connected = true;
    story.link.handle_connected(story.now);
    story.settle();
    story.accept_bind();
    story.deliver(&message);
    assert_eq!((story.next().status, story.came.len()), (0x66, 2));
    story.deliver(&message);
    assert_eq!(story.came.len(), 3, "that was it");
    // The text is still under way when it is said again on another connection.
    story.hang_up();
    story.run_until(story.now + seconds(2));
    story.is_connected = true;
    story.link.handle_connected(story.now);
    story.settle();
    story.accept_bind();
    let again = story.deliver(&message);
    story.answer(story.came[2].reply, Answer::Taken);
    assert_eq!((story.next().sequence, story.came.len(), story.asked.len()), (again, 3, 0));
    assert_eq!(story.link.counters().repeated, 6);
}

#[test]
fn a_text_that_is_never_answered_is_forgotten() {
    let mut story = Story::bound(Config { enquire_every: seconds(86_400), ..config() });
    let message = ShortMessage::ucs2("8613800000001", "8617000000001", "words");
    story.deliver(&message);
    story.run_until(seconds(59));
    story.deliver(&message);
    assert_eq!(story.came.len(), 1);
    story.run_until(seconds(60));
    story.deliver(&message);
    assert_eq!(story.came.len(), 2);
    story.answer(story.came[0].reply, Answer::Taken);
    assert_eq!(story.asked.len(), 0);
}

#[test]
fn an_end_waits_for_what_is_outstanding_and_is_said() {
    let mut story = Story::bound(Config { window: 1, ..config() });
    let message = ShortMessage::ucs2("8613800000001", "8617000000001", "words");
    story.deliver(&message);
    story.submit(1, "under way");
    story.submit(2, "waits");
    story.link.unbind(story.now);
    story.settle();
    story.deliver(&ShortMessage { data_coding: 3, ..message.clone() });
    story.respond(0);
    story.answer(story.came[0].reply, Answer::Taken);
    ladder(
        &story,
        "
   0.000  ◀── deliver_sm #101
   0.000  text \"words\"
   0.000  ──▶ submit_sm #2
   0.000  submitted 2 Err(Unbound)
   0.000  ◀── deliver_sm #102
   0.000  ──▶ deliver_sm_resp #102 0x64
   0.000  ◀── submit_sm_resp #2
   0.000  submitted 1 Ok(1)
   0.000  ──▶ deliver_sm_resp #101
   0.000  ──▶ unbind #3
",
    );
    let unbind = story.asked.pop_back().expect("it is said");
    story.say(unbind.response(0));
    assert!(story.link.has_ended() && !story.is_connected);
    story.submit(3, "too late");
    assert_eq!(story.results[2], (3, Err(Failure::Unbound)));
    assert_eq!(story.link.poll_timeout(), None);

    // Nobody waits for ever.
    let mut story = Story::bound(config());
    story.deliver(&message);
    story.submit(1, "under way");
    story.link.unbind(story.now);
    story.run_until(seconds(20));
    ladder(
        &story,
        "
   0.000  ◀── deliver_sm #101
   0.000  text \"words\"
   0.000  ──▶ submit_sm #2
  10.000  submitted 1 Err(Silent)
  10.000  ──▶ unbind #3
  20.000  close
",
    );

    // It was asked whether it is there when the end began, and does not say so: there is nobody to say good-bye to.
    let mut story = Story::bound(Config { enquire_every: seconds(5), ..config() });
    story.deliver(&message);
    story.run_until(seconds(5));
    story.link.unbind(story.now);
    story.run_until(seconds(30));
    ladder(
        &story,
        "
   0.000  ◀── deliver_sm #101
   0.000  text \"words\"
   5.000  ──▶ enquire_link #2
  15.000  close
",
    );
    assert!(story.link.has_ended());

    // The SMSC wants it to end, and will be asked again.
    let mut story = Story::bound(config());
    story.say(Pdu { id: id::UNBIND, status: 0, sequence: 9, body: Vec::new() });
    ladder(
        &story,
        "
   0.000  ◀── unbind #9
   0.000  ──▶ unbind_resp #9
   0.000  close
   0.000  Lost(Unbound)
",
    );
    story.run_until(seconds(1));
    assert_eq!(story.connects.len(), 2);
}

#[test]
fn what_is_no_pdu_ends_the_connection_and_what_is_unknown_does_not() {
    for length in [0_u32, 15, 16 * 1024 + 1, u32::MAX] {
        let mut story = Story::bound(config());
        story.link.handle_bytes(story.now, &length.to_be_bytes());
        story.settle();
        let nack = story.next();
        assert_eq!((nack.id, nack.status), (id::GENERIC_NACK, 2));
        assert_eq!(story.events.last(), Some(&(Duration::ZERO, Event::Lost(Loss::Garbage))));
    }
    let mut story = Story::bound(config());
    // query_sm, data_sm, and nothing that there is: no SMSC asks that of an ESME.
    for (place, unknown) in [0x03, 0x103, 0x7777].into_iter().enumerate() {
        let sequence = u32::try_from(place).unwrap() + 50;
        story.say(Pdu { id: unknown, status: 0, sequence, body: vec![0; 40] });
        let nack = story.next();
        assert_eq!((nack.id, nack.sequence), (id::GENERIC_NACK, sequence), "{unknown:#x}");
    }
    // A deliver_sm that is cut short; responses to nothing.
    story.say(Pdu { id: id::DELIVER_SM, status: 0, sequence: 60, body: vec![0; 5] });
    let response = story.next();
    assert_eq!((response.id, response.sequence, response.status), (id::DELIVER_SM | id::RESPONSE, 60, 0x66));
    // Optional parameters that are nobody's business here, and wrong in themselves; a sender whose name is no ASCII.
    let tlvs = vec![(0x0204, vec![1]), (0x0381, vec![0; 40]), (0x001e, vec![b'x'; 70]), (0x1400, vec![])];
    let message = ShortMessage { tlvs, ..ShortMessage::ucs2("8613800000001", "8617000000001", "words") };
    let mut body = message.write();
    body.extend([0x04, 0x24, 0xff]);
    story.say(Pdu { id: id::DELIVER_SM, status: 0, sequence: 61, body });
    assert_eq!(story.came.pop().map(|text| text.content), Some("words".to_owned()));
    for response in [id::SUBMIT_SM, id::ENQUIRE_LINK, id::BIND_TRANSCEIVER, id::UNBIND, 0x103] {
        story.say(Pdu { id: response | id::RESPONSE, status: 0, sequence: 1, body: b"x\0".to_vec() });
    }
    assert!(story.link.is_bound() && story.asked.is_empty());
}

#[test]
fn limits_are_answered() {
    let mut story = Story::bound(Config { window: 1, ..config() });
    for key in 0..1_001 {
        story.submit(key, "words");
    }
    assert_eq!(story.results, [(1_000, Err(Failure::Full))]);

    let mut story = Story::bound(config());
    for number in 0..251 {
        story.deliver(&ShortMessage::ucs2(&format!("86138{number:08}"), "8617000000001", "words"));
    }
    assert_eq!((story.came.len(), story.asked.len(), story.next().status), (250, 1, 0x64));

    let mut story = Story::bound(config());
    let text = "汉".repeat(100);
    for number in 0..1_001 {
        let parts = ShortMessage::parts(&format!("86138{number:08}"), "8617000000001", &text, 67, 1);
        story.deliver(&parts[0]);
    }
    let statuses: Vec<u32> = story.asked.iter().map(|pdu| pdu.status).collect();
    assert_eq!((statuses[999], statuses[1_000]), (0, 0x64));
    assert_eq!(story.link.counters().turned_away, 1);
}

proptest! {
    /// Whatever an SMSC says, in whatever pieces: nothing panics, every text that was submitted has one result in the end, and
    /// every deadline is met.
    #[test]
    fn nothing_that_an_smsc_says_breaks_it(
        pdus in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>(), 0_u32..12, prop::collection::vec(any::<u8>(), 0..60)), 0..40),
        cuts in prop::collection::vec(1_usize..40, 1..8),
    ) {
        let mut story = Story::bound(Config { window: 3, ..config() });
        for key in 0..6 {
            story.submit(key, &"汉".repeat(80));
        }
        let ids = [id::SUBMIT_SM | id::RESPONSE, id::DELIVER_SM, id::ENQUIRE_LINK, id::UNBIND, id::GENERIC_NACK, 0x103];
        let mut stream = Vec::new();
        for (which, status, sequence, body) in pdus {
            let status = [0, 0x58, 0x14, status][which.index(4)];
            stream.extend(Pdu { id: *which.get(&ids), status, sequence, body }.write());
        }
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || !story.is_connected {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            story.link.handle_bytes(story.now, piece);
            story.settle();
            rest = after;
        }
        story.run_until(seconds(60));
        let mut keys: Vec<u32> = story.results.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        prop_assert_eq!(keys, (0..6).collect::<Vec<_>>());
    }

    /// Arbitrary octets.
    #[test]
    fn no_octets_break_it(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut story = Story::bound(config());
        story.link.handle_bytes(story.now, &octets);
        story.settle();
        story.run_until(seconds(60));
    }
}
