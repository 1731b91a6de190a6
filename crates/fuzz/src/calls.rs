//! Target `calls`: the bytes are a world and a program of events in it, in simulated time.
//!
//! ```text
//!   setting   │ networks, trunks, limits, the app, the phones and their scripts
//!   program   │ time passes · a phone calls, hangs up, acts · a hostile message · a lost transport · hostile RTP
//!             │ bindings change · settings are loaded anew · the core drains, or ends all calls
//!   the end   │ all phones hang up, and time runs until nothing is left to happen
//! ```
//!
//! The oracle is the testbed's: `World::violations_despite` what the program has done to it. Nothing is excused for the program
//! having been wild: every call ends with one CDR, both legs of it, nothing is left over, and nobody learns who another is.

use std::time::Duration;

use b2bua::outcome::Cause;
use b2bua::settings::Settings;
use numbering::{Axb, Binding};
use testbed::{A, Act, B, Harm, OnWire, PhoneId, Script, Setup, State, World, ms};

use crate::input::Input;

mod hostile;
mod setting;

use hostile::{CANARY, branch, header, trunk_of};

/// Operations of one program; what follows is ignored.
const MAX_OPERATIONS: usize = 60;

/// When everybody has hung up, all is over within this time: the longest call, its last transactions, and some more.
const LIMIT: Duration = Duration::from_secs(3_600);

/// What X may say for each message that it was given, each call and each phone's hang-up: the retransmissions of a request
/// (RFC 3261 §17.1.2.2) or of a response (§13.3.1.4), several of which one message may call for.
const MOST_PER_MESSAGE: usize = 60;

/// See the [crate's](crate) table.
pub fn calls(data: &[u8]) {
    let mut input = Input::new(data);
    let mut play = Play::new(setting::setup(&mut input));
    let first = if input.byte() % 16 == 1 { play.callee } else { play.caller };
    play.world.call(first);
    let mut operations = 0;
    while !input.is_empty() && operations < MAX_OPERATIONS {
        operations += 1;
        play.step(&mut input);
    }
    play.finish();
}

struct Play {
    world: World,
    /// Who calls whom where X's trunk is the other's.
    caller: PhoneId,
    callee: PhoneId,
    phones: usize,
    binding: Axb,
    settings: Settings,
    harm: Harm,
    shots: usize,
}

impl Play {
    fn new(setup: Setup) -> Play {
        let reversed = setup.numbers.iter().any(|number| number.trunk.as_deref() == Some("carrier-a"));
        let (caller, callee) = if reversed { (B, A) } else { (A, B) };
        let who = |is_so: &dyn Fn(&Script) -> bool| {
            let phones = setup.phones.iter().enumerate().filter(|(_, phone)| is_so(&phone.script));
            phones.map(|(place, _)| PhoneId(place)).collect()
        };
        Play {
            caller,
            callee,
            phones: setup.phones.len(),
            binding: setup.binding.clone(),
            settings: setup.settings.clone(),
            harm: Harm {
                uneven: who(&|script| setting::is_uneven(script)),
                hasty: who(&|script| setting::is_hasty(script)),
                ..Harm::default()
            },
            shots: 0,
            world: setup.world(),
        }
    }

    fn who(&self, input: &mut Input<'_>) -> PhoneId {
        PhoneId(usize::from(input.byte()) % self.phones)
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 25 {
            0..=5 => {
                let until = self.world.now() + setting::time(input);
                self.world.run_until(until);
            }
            6 => {
                let who = self.who(input);
                self.world.hang_up(who);
            }
            7 | 8 => {
                let (who, act) = (self.who(input), setting::act(input));
                self.harm.uneven.extend(matches!(act, Act::Press(..)).then_some(who));
                self.harm.hasty.extend(matches!(act, Act::Bye).then_some(who));
                self.world.with_phone(who, |phone, now| phone.act(now, &act));
            }
            9 => self.call(input),
            10 => {
                let who = self.who(input);
                let script = setting::script(input, who.0);
                if matches!(self.world.phone(who).state(), State::Idle | State::Ended) {
                    // The oracle asks the last script why a phone was in no call; it may have been the one before.
                    self.harm.cut_off = true;
                    self.harm.uneven.extend(setting::is_uneven(&script).then_some(who));
                    self.world.with_phone(who, |phone, _| phone.set_script(script));
                }
            }
            11..=18 => self.shoot(input),
            19 => self.cut_off(input),
            20 => self.speak(input),
            21 => self.rebind(input),
            22 => {
                let settings = setting::reloaded(&self.settings, input);
                self.world.reload(settings);
            }
            23 => {
                let who = self.who(input);
                self.world.with_phone(who, |phone, now| phone.cancel(now));
            }
            _ => match input.byte() % 16 {
                14 => self.world.core.drain(),
                15 => {
                    let now = self.world.now();
                    self.world.core.end_all(now);
                    self.world.run_until(now);
                }
                _ => {}
            },
        }
    }

    fn call(&mut self, input: &mut Input<'_>) {
        let who = self.who(input);
        if !matches!(self.world.phone(who).state(), State::Idle | State::Ended) {
            return;
        }
        let spelling = input.pick(&["+8617055556666", "17055556666", "008617055556666", "+8613700000000", "110", "x"]);
        self.world.call_number(who, spelling);
    }

    fn shoot(&mut self, input: &mut Input<'_>) {
        self.shots += 1;
        let Some(shot) = hostile::shot(&self.world, input, self.shots) else { return };
        let trunk = trunk_of(shot.source.ip());
        let text = String::from_utf8_lossy(&shot.bytes);
        if trunk < 2 && text.contains("INVITE") {
            self.harm.called_for = true;
            // A phone that asks for credentials remembers one caller: of two it takes the one for the other.
            let asks = self.world.phones().enumerate().filter(|(_, phone)| phone.config().script.challenge.is_some());
            self.harm.spoken_for.extend(asks.map(|(place, _)| PhoneId(place)));
        }
        // Who speaks of a call of this trunk, by its Call-ID or by a branch of it, speaks for whoever is in that call.
        let of_trunk = self.world.wire().iter().filter(|said| trunk_of(said.peer.ip()) == trunk);
        // So does whoever has a phone's address: what X answers goes to the phone.
        let is_phone = self.world.phones().any(|phone| phone.config().contact == shot.source);
        let speaks_for_somebody = is_phone
            || of_trunk.map(|said| String::from_utf8_lossy(&said.bytes)).any(|said| {
                [header(&said, "Call-ID"), branch(&said)].into_iter().flatten().any(|known| text.contains(known))
            });
        if speaks_for_somebody && !shot.is_repetition {
            let phones = self.world.phones().enumerate();
            let on_trunk = phones.filter(|(_, phone)| trunk_of(phone.config().contact.ip()) == trunk);
            self.harm.spoken_for.extend(on_trunk.map(|(place, _)| PhoneId(place)));
        }
        self.world.inject_sip_by(shot.protocol, shot.source, &shot.bytes);
    }

    fn cut_off(&mut self, input: &mut Input<'_>) {
        let peers: Vec<_> = self.world.wire().iter().rev().take(16).map(|said| (said.protocol, said.peer)).collect();
        let Some(&(protocol, peer)) = peers.get(usize::from(input.byte()) % peers.len().max(1)) else { return };
        self.harm.cut_off = true;
        if input.byte() % 4 == 3 {
            // From now on it hears nothing, and may complain of it.
            let trunk = trunk_of(peer.ip());
            let deaf =
                self.world.phones().enumerate().filter(|(_, phone)| trunk_of(phone.config().contact.ip()) == trunk);
            self.harm.spoken_for.extend(deaf.map(|(place, _)| PhoneId(place)));
            self.world.refuse(peer);
        } else {
            self.world.fail(protocol, peer);
        }
    }

    /// RTP or RTCP to one of the first sessions' ports.
    fn speak(&mut self, input: &mut Input<'_>) {
        self.harm.heard_for = true;
        let phone = self.world.phone(self.who(input)).config().rtp;
        let source = input.pick(&[phone, ([10, 1, 7, 7], 41_000).into(), ([192, 0, 2, 66], 9).into()]);
        let port = self.settings.media.ports.0 + u16::from(input.byte() % 8);
        let mut bytes = match input.byte() % 4 {
            0 => [0x80, 8, 0, input.byte(), 0, 0, 0, 160, 7, 7, 7, 7].to_vec(),
            1 => [0x80, 0x80 | 101, 0, input.byte(), 0, 0, 0, 160, 7, 7, 7, 7, 5, 0x8a, 3, 32].to_vec(),
            2 => [0x81, 203, 0, 1, 7, 7, 7, 7].to_vec(),
            _ => Vec::new(),
        };
        let length = usize::from(input.byte());
        bytes.extend_from_slice(input.take(length));
        if self.world.says_aloud(&bytes) {
            return;
        }
        self.world.inject_rtp(source, port, &bytes);
    }

    fn rebind(&mut self, input: &mut Input<'_>) {
        let id = self.binding.id;
        // Each is refused where it does not fit: bound already, not bound.
        match input.byte() % 4 {
            0 => drop(self.world.bindings.unbind(id)),
            1 => drop(self.world.bindings.bind(Binding::Axb(self.binding.clone()))),
            2 => {
                let direction = input.pick(&[numbering::CallDirection::AToB, numbering::CallDirection::Both]);
                let turn = |binding: &mut Binding| {
                    if let Binding::Axb(axb) = binding {
                        axb.direction = direction;
                    }
                };
                drop(self.world.bindings.modify(id, turn));
            }
            _ => drop(self.world.bindings.remove_number(self.binding.x)),
        }
    }

    fn finish(mut self) {
        // A called phone may be called once more while another hangs up: by who speaks in its name, or by what was on its way.
        for _ in 0..3 {
            for place in 0..self.phones {
                self.world.hang_up(PhoneId(place));
            }
            let until = self.world.now() + ms(80_000);
            self.world.run_until(until);
        }
        let came_to_rest = self.world.run_until_idle(LIMIT);
        let mut wrong = self.world.violations_despite(&self.harm);
        if !came_to_rest {
            wrong.push(format!("something still goes on after {LIMIT:?}"));
        }
        self.check_canaries(&mut wrong);
        self.check_measure(&mut wrong);
        let minutes = Duration::from_secs(60 * u64::from(self.binding.max_minutes));
        let most = if minutes.is_zero() { setting::CEILING } else { minutes } + ms(100);
        for cdr in self.world.cdrs() {
            let talked = cdr.answered.map_or(Duration::ZERO, |answered| cdr.ended - answered);
            if talked > most {
                wrong.push(format!("a call of {talked:?} that may last {most:?}"));
            }
        }
        if self.world.cdrs().iter().any(|cdr| cdr.cause == Cause::Internal) {
            wrong.push("a call has ended by a fault of ours".to_owned());
        }
        assert!(wrong.is_empty(), "{}\n{:#?}", wrong.join("\n"), self.harm);
    }

    /// What hostile messages hold goes to nobody but those on a trunk that has said it, and into no log.
    fn check_canaries(&self, wrong: &mut Vec<String>) {
        for said in self.world.wire().iter().filter(|said| said.by_x) {
            let text = String::from_utf8_lossy(&said.bytes);
            let trunk = trunk_of(said.peer.ip());
            for (place, word) in ["a", "b", "s"].into_iter().enumerate().filter(|(place, _)| *place != trunk) {
                let word = format!("{CANARY}-{word}");
                let has_said_it = |heard: &&OnWire| {
                    !heard.by_x
                        && trunk_of(heard.peer.ip()) == trunk
                        && String::from_utf8_lossy(&heard.bytes).contains(&word)
                };
                if text.contains(&word) && self.world.wire().iter().find(has_said_it).is_none() {
                    wrong.push(format!("a canary of {place} to {}: {text}", said.peer));
                }
            }
        }
        let canary = |line: &&String| line.contains(CANARY) || line.contains("kingfisher");
        wrong.extend(self.world.logs().iter().filter(canary).map(|line| format!("a canary in the log: {line}")));
    }

    /// Nobody can make X say more than so much for what it is told.
    fn check_measure(&self, wrong: &mut Vec<String>) {
        let given = self.world.wire().iter().filter(|said| !said.by_x).count();
        let said = self.world.wire().len() - given;
        if said > MOST_PER_MESSAGE * (given + 1) {
            wrong.push(format!("{said} messages for {given}"));
        }
    }
}
