//! Target `smpp`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use smpp::{Answer, Config, DefaultAlphabet, Link, Long, Output, Reply, Submit};
use testbed::smsc::{Pdu, ShortMessage, id};

use crate::input::Input;

const X: &str = "+8617000000001";
const PARTIES: [&str; 2] = ["8613800000001", "8613900000002"];
const WORDS: [&str; 4] = ["words", "汉字", "€[🚚]", ""];
const ANSWERS: [Answer; 6] =
    [Answer::Taken, Answer::Later, Answer::NoSuchNumber, Answer::TooLong, Answer::Failed, Answer::Rejected];
const STATUSES: [u32; 8] = [0, 0, 0, 0x58, 0x14, 0x0b, 0x64, 0xff];

/// The link, the other end of its connection, and what each owes the other.
struct Story {
    now: Duration,
    link: Link<u32>,
    wire: Vec<u8>,
    is_connected: bool,
    wants_connection: bool,
    /// Requests of the link without a response.
    asked: VecDeque<Pdu>,
    /// `deliver_sm`s of this connection, and how often each was responded to.
    owed: BTreeMap<u32, u32>,
    came: Vec<Reply>,
    told: BTreeSet<u64>,
    /// Texts without a result.
    open: BTreeSet<u32>,
    keys: u32,
    sequence: u32,
}

/// See the [crate's](crate) table. The first bytes are the configuration, the others a program.
pub fn smpp(data: &[u8]) {
    let mut input = Input::new(data);
    let config = Config {
        system_id: "id".into(),
        password: "pw".into(),
        system_type: "".into(),
        alphabet: input.pick(&[DefaultAlphabet::Gsm, DefaultAlphabet::Latin1, DefaultAlphabet::Unused]),
        long: input.pick(&[Long::Udh, Long::Sar, Long::Payload]),
        window: input.pick(&[1, 3, 50]),
        per_second: NonZeroU32::new(input.pick(&[0, 0, 7])),
        enquire_every: Duration::from_secs(30),
        response_timeout: Duration::from_secs(10),
    };
    let mut story = Story {
        now: Duration::ZERO,
        link: Link::new(config, input.u16()),
        wire: Vec::new(),
        is_connected: false,
        wants_connection: false,
        asked: VecDeque::new(),
        owed: BTreeMap::new(),
        came: Vec::new(),
        told: BTreeSet::new(),
        open: BTreeSet::new(),
        keys: 0,
        sequence: 0,
    };
    story.pass(Duration::ZERO);
    story.connect();
    while !input.is_empty() {
        story.step(&mut input);
    }
    // The end: whatever the SMSC still does not say, each text has had its result, and nothing waits for anything.
    story.link.unbind(story.now);
    story.settle();
    story.pass(Duration::from_secs(60));
    assert!(story.link.has_ended() && story.link.poll_timeout().is_none(), "it has not ended");
    assert_eq!(story.open, BTreeSet::new(), "texts without a result");
}

impl Story {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 10 {
            // Octets of whatever kind.
            0 => {
                let count = input.byte().into();
                let octets = input.take(count).to_vec();
                // A deliver_sm among them is owed nothing that could be told here.
                self.owed.clear();
                self.hear(&octets);
                self.owed.clear();
            }
            1 | 2 => self.respond(input),
            3 => self.deliver(input),
            4 => {
                let (id, status, sequence) = (input.u32(), input.u32(), input.u32());
                let count = input.byte().into();
                let body = input.take(count).to_vec();
                if id != self::id::DELIVER_SM {
                    self.hear(&Pdu { id, status, sequence, body }.write());
                }
            }
            5 => {
                let text = [input.pick(&WORDS)].repeat(usize::from(input.byte()) + 1).concat();
                self.keys += 1;
                self.open.insert(self.keys);
                let until = self.now + Duration::from_secs(input.pick(&[1, 20, 20]));
                let (source, destination) = (X.to_owned(), format!("+{}", input.pick(&PARTIES)));
                let submit = Submit { key: self.keys, source, destination, content: text.into(), until };
                self.link.submit(self.now, &submit);
                self.settle();
            }
            6 => {
                if !self.came.is_empty() {
                    let reply = self.came.swap_remove(usize::from(input.byte()) % self.came.len());
                    self.link.answer(self.now, reply, input.pick(&ANSWERS));
                    self.settle();
                }
            }
            7 => self.pass(Duration::from_millis(input.pick(&[1, 100, 1_000, 5_000, 31_000, 700_000]))),
            8 => {
                if self.is_connected {
                    self.hang_up();
                    self.link.handle_closed(self.now);
                    self.settle();
                }
            }
            _ => self.connect(),
        }
    }

    fn connect(&mut self) {
        if std::mem::take(&mut self.wants_connection) {
            self.is_connected = true;
            self.link.handle_connected(self.now);
            self.settle();
            // Most programs shall get further than the bind.
            if let Some(bind) = self.asked.pop_front() {
                self.hear(&bind.response(0).write());
            }
        }
    }

    fn hang_up(&mut self) {
        self.is_connected = false;
        self.wire.clear();
        self.asked.clear();
        self.owed.clear();
    }

    fn hear(&mut self, octets: &[u8]) {
        if self.is_connected {
            self.link.handle_bytes(self.now, octets);
            self.settle();
        }
    }

    fn respond(&mut self, input: &mut Input<'_>) {
        if let Some(request) = self.asked.pop_front() {
            self.hear(&request.response(input.pick(&STATUSES)).write());
        }
    }

    fn deliver(&mut self, input: &mut Input<'_>) {
        let source = input.pick(&PARTIES);
        let text = [input.pick(&WORDS)].repeat(usize::from(input.byte() % 40) + 1).concat();
        let parts = ShortMessage::parts(source, "8617000000001", &text, 20, input.pick(&[1, 2]));
        let part = &parts[usize::from(input.byte()) % parts.len().max(1)..];
        let Some(part) = part.first() else { return };
        self.sequence += 1;
        if self.is_connected && self.link.is_bound() {
            self.owed.insert(self.sequence, 0);
        }
        let body = part.write();
        self.hear(&Pdu { id: id::DELIVER_SM, status: 0, sequence: self.sequence, body }.write());
    }

    /// Time passes, through every deadline on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.link.handle_timeout(self.now);
        self.settle();
        while let Some(due) = self.link.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.link.handle_timeout(self.now);
            self.settle();
            assert!(self.link.poll_timeout().is_none_or(|next| next > self.now), "a deadline is not met");
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(output) = self.link.poll_output() {
            match output {
                Output::Connect => self.wants_connection = true,
                Output::Transmit(octets) => {
                    assert!(self.is_connected, "said to nobody");
                    self.wire.extend_from_slice(&octets);
                }
                Output::Close => {
                    self.read();
                    self.hang_up();
                }
                Output::Text(text) => {
                    assert!(self.told.insert(text.reply.as_u64()), "a reply is used twice");
                    self.came.push(text.reply);
                }
                Output::Submitted(key, result) => {
                    assert!(self.open.remove(&key), "a second result for one text");
                    assert!(result.is_err() || result.is_ok_and(|parts| parts > 0));
                }
                Output::Event(_) => {}
            }
        }
        self.read();
    }

    /// What the link says is SMPP, and no request is responded to twice.
    fn read(&mut self) {
        while let Some(pdu) = Pdu::take(&mut self.wire) {
            if pdu.id == id::SUBMIT_SM {
                let _ = ShortMessage::read(&pdu.body);
            }
            if pdu.id == id::DELIVER_SM | id::RESPONSE
                && let Some(count) = self.owed.get_mut(&pdu.sequence)
            {
                *count += 1;
                assert_eq!(*count, 1, "two responses to one request");
            }
            if pdu.id < id::RESPONSE {
                self.asked.push_back(pdu);
            }
        }
        assert!(self.wire.is_empty(), "half a PDU");
    }
}
