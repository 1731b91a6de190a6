//! Both ends of many calls through X, in one process: A dials, B answers at once, A hangs up (RFC 3261).
//!
//! ```text
//!   A   ┌──────────┐ 1xx ┌────────────┐ 2xx ┌─────────┐ hold ┌─────────┐ 2xx ┌──────┐
//!       │ Inviting │────▶│ Proceeding │────▶│ Talking │─────▶│ Leaving │────▶│ Over │
//!       └──────────┘     └────────────┘     └─────────┘      └─────────┘     └──────┘
//!         Timer A                                              Timer E         any refusal, and BYE from X: Failed
//!                                                                              503 to what was offered beyond: Refused
//!
//!   B   INVITE ┌──────────┐ ACK ┌─────────┐ BYE ┌──────┐
//!      ───────▶│ Answered │────▶│ Talking │────▶│ Over │
//!              └──────────┘     └─────────┘     └──────┘
//!                Timer G
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use axbridge::clock::Clock;

use crate::figures::Quantiles;
use crate::message::{Answer, Line, Received, respond};
use crate::rtp::Traffic;
use crate::sys::Epoll;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// The longest wait for a packet: beginnings, voices and timers are looked at this often.
const LOOK: Duration = Duration::from_millis(1);
/// Datagrams that one socket may give before the clock has its turn.
const READS: usize = 64;
const CALLER: usize = usize::MAX;
const CALLEE: usize = usize::MAX - 1;

/// A's and B's SIP sockets. They outlive the daemons: the configuration names B's port.
pub(crate) struct Sockets {
    pub(crate) caller: UdpSocket,
    pub(crate) callee: UdpSocket,
}

/// What shall be called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Dialled.
    pub(crate) number: &'static str,
    /// New calls a second.
    pub(crate) rate: f64,
    /// Calls in all.
    pub(crate) calls: u32,
    /// How long a call is up; without it, until [`Phones::hang_up`].
    pub(crate) hold: Option<Duration>,
    /// Tells the runs of one bench apart.
    pub(crate) run: u32,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) begun: u32,
    pub(crate) answered: u32,
    /// Set up and ended as they should.
    pub(crate) done: u32,
    pub(crate) failed: u32,
    /// Refused with 503 and Retry-After, where that is not a failure.
    pub(crate) refused: u32,
    /// How often those were told to come back after so many seconds.
    pub(crate) retry_after: BTreeMap<u32, u32>,
    /// Messages that a phone had to send again.
    pub(crate) resent: u64,
    /// Messages that X sent again.
    pub(crate) repeated: u64,
    /// Why the first of those failed that did.
    pub(crate) complaint: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Resend {
    at: Duration,
    interval: Duration,
}

impl Resend {
    fn first(now: Duration) -> Resend {
        Resend { at: now + T1, interval: T1 }
    }

    fn again(self, now: Duration, most: Duration) -> Resend {
        let interval = (self.interval * 2).min(most);
        Resend { at: now + interval, interval }
    }
}

#[derive(Debug)]
enum Calling {
    Inviting(Resend),
    Proceeding,
    Talking { until: Option<Duration>, answer: Answer },
    Leaving { answer: Answer, resend: Resend },
    Over,
    Refused,
    Failed,
}

#[derive(Debug)]
struct Call {
    stage: Calling,
    begun: Duration,
    answered: Option<Duration>,
    leg: Option<usize>,
}

#[derive(Debug)]
enum Called {
    Answered { resend: Resend, response: Vec<u8>, peer: SocketAddr },
    Talking,
    Over,
}

#[derive(Debug)]
struct Visit {
    stage: Called,
    /// When B said 200.
    answered: Duration,
    leg: Option<usize>,
}

/// Whose deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Call(u32),
    Visit(u32),
}

/// Both ends.
pub(crate) struct Phones<'a> {
    clock: Clock,
    epoll: Rc<Epoll>,
    sockets: &'a Sockets,
    callee: SocketAddr,
    plan: Plan,
    /// The first call of the plan: those before it were there already ([`Phones::offer`]).
    first: u32,
    /// Calls that have voices: the first so many.
    voices: u32,
    line: Line,
    calls: Vec<Call>,
    visits: Vec<Visit>,
    by_call_id: HashMap<Vec<u8>, u32>,
    timers: BinaryHeap<Reverse<(Duration, Timer)>>,
    traffic: Option<Traffic>,
    /// Where the RTP of calls without voices would go: a socket that nobody reads.
    mute: UdpSocket,
    began: Duration,
    /// When the last call of the plan began.
    all_begun: Option<Duration>,
    tally: Tally,
    setups: Vec<Duration>,
    /// INVITE to the first response of any kind, and to a refusal.
    firsts: Vec<Duration>,
    refusals: Vec<Duration>,
    out: Vec<u8>,
    buffer: Vec<u8>,
    tokens: Vec<usize>,
}

impl<'a> Phones<'a> {
    /// Begins at once. `talking`: every party sends voice while its call is up.
    pub(crate) fn new(
        clock: Clock,
        sockets: &'a Sockets,
        x: SocketAddr,
        plan: Plan,
        talking: bool,
    ) -> io::Result<Phones<'a>> {
        let epoll = Rc::new(Epoll::new()?);
        let caller = sockets.caller.local_addr()?;
        let mut buffer = vec![0; 65_535];
        for (socket, token) in [(&sockets.caller, CALLER), (&sockets.callee, CALLEE)] {
            // What an earlier run left behind.
            while socket.recv(&mut buffer).is_ok() {}
            epoll.add(socket.as_fd(), token)?;
        }
        Ok(Phones {
            clock,
            traffic: talking.then(|| Traffic::new(clock, Rc::clone(&epoll))),
            epoll,
            sockets,
            callee: sockets.callee.local_addr()?,
            plan,
            first: 0,
            voices: if talking { plan.calls } else { 0 },
            line: Line { x, caller, number: plan.number, run: plan.run },
            calls: Vec::with_capacity(plan.calls as usize),
            visits: Vec::with_capacity(plan.calls as usize),
            by_call_id: HashMap::with_capacity(plan.calls as usize),
            timers: BinaryHeap::new(),
            mute: UdpSocket::bind("127.0.0.1:0")?,
            began: clock.now(),
            all_begun: None,
            tally: Tally::default(),
            setups: Vec::with_capacity(plan.calls as usize),
            firsts: Vec::with_capacity(plan.calls as usize),
            refusals: Vec::new(),
            out: Vec::with_capacity(2048),
            buffer,
            tokens: Vec::with_capacity(64),
        })
    }

    /// More calls, silent ones, from now on, beside those that are up. To refuse one with 503 and Retry-After is no failure
    /// then, and nobody who was refused comes back.
    pub(crate) fn offer(&mut self, rate: f64, calls: u32, hold: Duration) {
        self.first = self.tally.begun;
        self.plan = Plan { rate, calls: self.first + calls, hold: Some(hold), ..self.plan };
        (self.began, self.all_begun) = (self.clock.now(), None);
        self.setups.clear();
        self.firsts.clear();
    }

    // ---- what a bench asks ------------------------------------------------------------------------------------

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The voices.
    pub(crate) fn traffic(&mut self) -> Option<&mut Traffic> {
        self.traffic.as_mut()
    }

    /// INVITE to 200, of every call that was answered.
    pub(crate) fn setup(&mut self) -> Quantiles {
        Quantiles::of(std::mem::take(&mut self.setups))
    }

    /// INVITE to the first response of any kind.
    pub(crate) fn first_responses(&mut self) -> Quantiles {
        Quantiles::of(std::mem::take(&mut self.firsts))
    }

    /// INVITE to 503.
    pub(crate) fn refusals(&mut self) -> Quantiles {
        Quantiles::of(std::mem::take(&mut self.refusals))
    }

    /// Calls of the offer that were answered by then and have come to their end as they should.
    pub(crate) fn done_of_those_answered_by(&self, at: Duration) -> u32 {
        let offered = self.calls.iter().skip(self.first as usize);
        let good = |call: &&Call| matches!(call.stage, Calling::Over) && call.answered.is_some_and(|then| then <= at);
        offered.filter(good).count() as u32
    }

    /// Calls that were up before the offer and have not come to their end as they should.
    pub(crate) fn harmed(&self) -> u32 {
        let before = self.calls.iter().take(self.first as usize);
        before.filter(|call| !matches!(call.stage, Calling::Over)).count() as u32
    }

    /// Calls that began in a second, as it turned out.
    pub(crate) fn achieved_rate(&self) -> f64 {
        let began = self.all_begun.map_or(Duration::ZERO, |at| at.saturating_sub(self.began)).as_secs_f64();
        let gaps = f64::from((self.plan.calls - self.first).saturating_sub(1));
        if began > 0.0 { gaps / began } else { self.plan.rate }
    }

    /// Every call has been answered or has failed.
    pub(crate) fn all_are_up(&self) -> bool {
        self.all_begun.is_some() && self.tally.answered + self.tally.failed + self.tally.refused >= self.plan.calls
    }

    /// Every party hears the other one.
    pub(crate) fn all_hear_each_other(&self) -> bool {
        let Some(traffic) = &self.traffic else { return false };
        let legs = self.calls.iter().filter(|call| matches!(call.stage, Calling::Talking { .. })).map(|call| call.leg);
        legs.chain(self.visits.iter().map(|visit| visit.leg)).flatten().all(|leg| traffic.hears(leg).is_some())
    }

    /// Every caller hears something, be it a prompt.
    pub(crate) fn all_hear_something(&self) -> bool {
        let Some(traffic) = &self.traffic else { return false };
        let talking = self.calls.iter().filter(|call| matches!(call.stage, Calling::Talking { .. }));
        talking.filter_map(|call| call.leg).all(|leg| traffic.first_heard(leg).is_some())
    }

    /// From the 200, as A sees it, to the first packet that A hears.
    pub(crate) fn question_delays(&self) -> Vec<Duration> {
        let Some(traffic) = &self.traffic else { return Vec::new() };
        let delay = |call: &Call| Some(traffic.first_heard(call.leg?)?.saturating_sub(call.answered?));
        self.calls.iter().filter_map(delay).collect()
    }

    /// Every call has come to its end.
    pub(crate) fn all_are_over(&self) -> bool {
        self.all_begun.is_some() && self.over() >= self.plan.calls
    }

    /// Every call of the offer has.
    pub(crate) fn offer_is_over(&self) -> bool {
        self.all_begun.is_some() && self.over() >= self.plan.calls - self.first
    }

    fn over(&self) -> u32 {
        self.tally.done + self.tally.failed + self.tally.refused
    }

    /// From B's 200 to the first packet, at A and at B. Which B belongs to an A is known from the voice that B hears.
    pub(crate) fn tone_delays(&self) -> [Vec<Duration>; 2] {
        let mut delays = [Vec::new(), Vec::new()];
        let Some(traffic) = &self.traffic else { return delays };
        for visit in &self.visits {
            let Some(leg) = visit.leg else { continue };
            for (delays, leg) in delays.iter_mut().zip([traffic.hears(leg), Some(leg)]) {
                let heard = leg.and_then(|leg| traffic.first_heard(leg));
                delays.extend(heard.map(|heard| heard.saturating_sub(visit.answered)));
            }
        }
        delays
    }

    // ---- the loop ---------------------------------------------------------------------------------------------

    /// Runs until `done` says so or until the time is over. `false`: it was the time.
    pub(crate) fn run(&mut self, limit: Duration, done: impl Fn(&Phones<'a>) -> bool) -> io::Result<bool> {
        let until = self.clock.now() + limit;
        while !done(self) {
            if self.clock.now() >= until {
                return Ok(false);
            }
            self.turn()?;
        }
        Ok(true)
    }

    fn turn(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        self.begin_calls(now)?;
        self.on_timers(now);
        if let Some(traffic) = &mut self.traffic {
            traffic.on_time(now);
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        self.epoll.wait(LOOK, &mut tokens)?;
        for token in &tokens {
            match *token {
                CALLER | CALLEE => self.read(*token)?,
                leg => {
                    if let Some(traffic) = &mut self.traffic {
                        traffic.on_readable(leg);
                    }
                }
            }
        }
        self.tokens = tokens;
        Ok(())
    }

    fn begin_calls(&mut self, now: Duration) -> io::Result<()> {
        while self.tally.begun < self.plan.calls {
            let due = self.began + Duration::from_secs_f64(f64::from(self.tally.begun - self.first) / self.plan.rate);
            if due > now {
                return Ok(());
            }
            let call = self.tally.begun;
            let leg = self.open_voice(call)?;
            let begun = self.clock.now();
            self.calls.push(Call { stage: Calling::Inviting(Resend::first(begun)), begun, answered: None, leg });
            self.timers.push(Reverse((begun + T1, Timer::Call(call))));
            self.tally.begun += 1;
            self.invite(call)?;
            if self.tally.begun == self.plan.calls {
                self.all_begun = Some(begun);
            }
        }
        Ok(())
    }

    fn open_voice(&mut self, place: u32) -> io::Result<Option<usize>> {
        let traffic = self.traffic.as_mut().filter(|_| place < self.voices);
        traffic.map(Traffic::open).transpose()
    }

    fn invite(&mut self, call: u32) -> io::Result<()> {
        let rtp = self.rtp(self.calls[call as usize].leg)?;
        self.line.invite(&mut self.out, call, rtp);
        self.send_to_x();
        Ok(())
    }

    fn rtp(&self, leg: Option<usize>) -> io::Result<SocketAddr> {
        match (leg, &self.traffic) {
            (Some(leg), Some(traffic)) => Ok(traffic.address(leg)),
            (Some(_) | None, _) => self.mute.local_addr(),
        }
    }

    /// A full buffer loses the message, as a network would; the timers send it again.
    fn send_to_x(&self) {
        let _ = self.sockets.caller.send_to(&self.out, self.line.x);
    }

    fn on_timers(&mut self, now: Duration) {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            match timer {
                Timer::Call(call) => self.on_call_timer(now, call),
                Timer::Visit(visit) => self.on_visit_timer(now, visit),
            }
        }
    }

    /// A timer that its state has left behind does nothing.
    fn on_call_timer(&mut self, now: Duration, call: u32) {
        let place = call as usize;
        let resend = match &mut self.calls[place].stage {
            Calling::Inviting(resend) if resend.at <= now => {
                *resend = resend.again(now, Duration::MAX);
                *resend
            }
            Calling::Leaving { answer, resend } if resend.at <= now => {
                *resend = resend.again(now, T2);
                self.line.bye(&mut self.out, call, answer);
                *resend
            }
            Calling::Talking { until: Some(until), .. } if *until <= now => return self.leave(now, call),
            Calling::Inviting(_) | Calling::Leaving { .. } | Calling::Talking { .. } => return,
            Calling::Proceeding | Calling::Over | Calling::Refused | Calling::Failed => return,
        };
        self.tally.resent += 1;
        self.timers.push(Reverse((resend.at, Timer::Call(call))));
        if matches!(self.calls[place].stage, Calling::Inviting(_))
            && let Ok(rtp) = self.rtp(self.calls[place].leg)
        {
            self.line.invite(&mut self.out, call, rtp);
        }
        self.send_to_x();
    }

    fn on_visit_timer(&mut self, now: Duration, visit: u32) {
        match &mut self.visits[visit as usize].stage {
            Called::Answered { resend, response, peer } if resend.at <= now => {
                *resend = resend.again(now, T2);
                self.timers.push(Reverse((resend.at, Timer::Visit(visit))));
                self.tally.resent += 1;
                let _ = self.sockets.callee.send_to(response, *peer);
            }
            Called::Answered { .. } | Called::Talking | Called::Over => {}
        }
    }

    /// Hangs up every call that is up.
    pub(crate) fn hang_up(&mut self) {
        let now = self.clock.now();
        for call in 0..self.tally.begun {
            self.leave(now, call);
        }
    }

    fn leave(&mut self, now: Duration, call: u32) {
        let place = call as usize;
        let answer = match &self.calls[place].stage {
            Calling::Talking { answer, .. } => answer.clone(),
            Calling::Inviting(_) | Calling::Proceeding => return,
            Calling::Leaving { .. } | Calling::Over | Calling::Refused | Calling::Failed => return,
        };
        self.fall_silent(self.calls[place].leg);
        self.line.bye(&mut self.out, call, &answer);
        self.send_to_x();
        let resend = Resend::first(now);
        self.timers.push(Reverse((resend.at, Timer::Call(call))));
        self.calls[place].stage = Calling::Leaving { answer, resend };
    }

    fn fall_silent(&mut self, leg: Option<usize>) {
        if let (Some(traffic), Some(leg)) = (&mut self.traffic, leg) {
            traffic.be_silent(leg);
        }
    }

    fn fail(&mut self, call: u32, why: impl FnOnce() -> String) {
        let place = call as usize;
        self.fall_silent(self.calls[place].leg);
        self.calls[place].stage = Calling::Failed;
        self.tally.failed += 1;
        self.tally.complaint.get_or_insert_with(why);
    }

    /// Calls that have begun and not come to their end have failed.
    pub(crate) fn give_up(&mut self) {
        for call in 0..self.tally.begun {
            match self.calls[call as usize].stage {
                Calling::Inviting(_) | Calling::Proceeding => {
                    self.fail(call, || "no final response to INVITE".to_owned())
                }
                Calling::Talking { .. } | Calling::Leaving { .. } => {
                    self.fail(call, || "no response to BYE".to_owned())
                }
                Calling::Over | Calling::Refused | Calling::Failed => {}
            }
        }
    }

    // ---- in ---------------------------------------------------------------------------------------------------

    fn read(&mut self, token: usize) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..READS {
            let socket = if token == CALLER { &self.sockets.caller } else { &self.sockets.callee };
            // Nothing more, or a peer's refusal from before the daemon was there.
            let Ok((length, source)) = socket.recv_from(&mut buffer) else { break };
            let Some(message) = Received::read(&buffer[..length]) else { continue };
            match (token, message.status()) {
                (CALLER, Some(status)) => self.on_response(&message, status),
                (CALLER, None) => self.on_caller_request(&message, source),
                (_, Some(_)) => {}
                (_, None) => self.on_callee_request(&message, source)?,
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn on_response(&mut self, message: &Received<'_>, status: u16) {
        let call = message.header("Call-ID").and_then(|call_id| self.line.call_of(call_id));
        let Some(call) = call.filter(|call| *call < self.tally.begun) else { return };
        match (message.method(), status) {
            ("INVITE", 100..=199) => {
                let now = self.clock.now();
                let Call { stage, begun, .. } = &mut self.calls[call as usize];
                if matches!(stage, Calling::Inviting(_)) {
                    *stage = Calling::Proceeding;
                    self.firsts.push(now.saturating_sub(*begun));
                }
            }
            ("INVITE", 200..=299) => self.on_answer(message, call),
            ("INVITE", _) => self.on_refusal(message, call, status),
            ("BYE", 200..=699) => {
                if matches!(self.calls[call as usize].stage, Calling::Leaving { .. }) {
                    if status < 300 {
                        self.calls[call as usize].stage = Calling::Over;
                        self.tally.done += 1;
                    } else {
                        self.fail(call, || format!("BYE answered with {status}"));
                    }
                }
            }
            (_, _) => {}
        }
    }

    fn on_answer(&mut self, message: &Received<'_>, call: u32) {
        let place = call as usize;
        let Some(answer) = Answer::of(message) else { return };
        self.line.ack(&mut self.out, call, &answer);
        self.send_to_x();
        if !matches!(self.calls[place].stage, Calling::Inviting(_) | Calling::Proceeding) {
            self.tally.repeated += 1;
            return;
        }
        let now = self.clock.now();
        self.setups.push(now.saturating_sub(self.calls[place].begun));
        self.tally.answered += 1;
        self.calls[place].answered = Some(now);
        let until = self.plan.hold.map(|hold| now + hold);
        if let Some(until) = until {
            self.timers.push(Reverse((until, Timer::Call(call))));
        }
        self.calls[place].stage = Calling::Talking { until, answer };
        if let (Some(traffic), Some(leg), Some(remote)) = (&mut self.traffic, self.calls[place].leg, message.rtp()) {
            traffic.talk_to(leg, remote);
        }
    }

    fn on_refusal(&mut self, message: &Received<'_>, call: u32, status: u16) {
        let to = message.header("To").and_then(|to| std::str::from_utf8(to).ok()).unwrap_or_default();
        self.line.ack_refusal(&mut self.out, call, to);
        self.send_to_x();
        let after = message.header("Retry-After").and_then(|after| std::str::from_utf8(after).ok()?.parse().ok());
        match self.calls[call as usize].stage {
            Calling::Inviting(_) | Calling::Proceeding => {
                if let (503, Some(after)) = (status, after)
                    && self.first > 0
                {
                    self.refuse(call, after);
                } else {
                    self.fail(call, || format!("INVITE answered with {status}"));
                }
            }
            Calling::Talking { .. } | Calling::Leaving { .. } => self.tally.repeated += 1,
            Calling::Over | Calling::Refused | Calling::Failed => self.tally.repeated += 1,
        }
    }

    fn refuse(&mut self, call: u32, after: u32) {
        let took = self.clock.now().saturating_sub(self.calls[call as usize].begun);
        self.refusals.push(took);
        *self.tally.retry_after.entry(after).or_default() += 1;
        self.tally.refused += 1;
        self.calls[call as usize].stage = Calling::Refused;
    }

    /// X never has a reason to hang up: that fails the call.
    fn on_caller_request(&mut self, message: &Received<'_>, source: SocketAddr) {
        if message.method() == "ACK" {
            return;
        }
        respond(&mut self.out, message, "200 OK", "a", self.line.caller, None);
        let _ = self.sockets.caller.send_to(&self.out, source);
        let call = message.header("Call-ID").and_then(|call_id| self.line.call_of(call_id));
        if let Some(call) = call.filter(|call| *call < self.tally.begun && message.method() == "BYE")
            && matches!(self.calls[call as usize].stage, Calling::Talking { .. })
        {
            self.fail(call, || "X hung up".to_owned());
        }
    }

    fn on_callee_request(&mut self, message: &Received<'_>, source: SocketAddr) -> io::Result<()> {
        let Some(call_id) = message.header("Call-ID") else { return Ok(()) };
        let visit = self.by_call_id.get(call_id).copied();
        match (message.method(), visit) {
            ("INVITE", None) if !message.is_in_dialog() => self.answer(message, call_id, source)?,
            ("INVITE", Some(visit)) if !message.is_in_dialog() => {
                self.tally.repeated += 1;
                if let Called::Answered { response, peer, .. } = &self.visits[visit as usize].stage {
                    let _ = self.sockets.callee.send_to(response, *peer);
                }
            }
            ("ACK", Some(visit)) => {
                let stage = &mut self.visits[visit as usize].stage;
                if matches!(stage, Called::Answered { .. }) {
                    *stage = Called::Talking;
                }
            }
            ("ACK", None) => {}
            (method, visit) => {
                respond(&mut self.out, message, "200 OK", "b", self.callee, None);
                let _ = self.sockets.callee.send_to(&self.out, source);
                if let (Some(visit), "BYE") = (visit, method) {
                    self.on_bye(visit);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, message: &Received<'_>, call_id: &[u8], source: SocketAddr) -> io::Result<()> {
        let visit = self.visits.len() as u32;
        let leg = self.open_voice(visit)?;
        if let (Some(traffic), Some(leg), Some(remote)) = (&mut self.traffic, leg, message.rtp()) {
            traffic.talk_to(leg, remote);
        }
        let rtp = self.rtp(leg)?;
        let tag = format!("b{visit}");
        respond(&mut self.out, message, "180 Ringing", &tag, self.callee, None);
        let _ = self.sockets.callee.send_to(&self.out, source);
        respond(&mut self.out, message, "200 OK", &tag, self.callee, Some(rtp));
        let answered = self.clock.now();
        let _ = self.sockets.callee.send_to(&self.out, source);
        let resend = Resend::first(answered);
        self.timers.push(Reverse((resend.at, Timer::Visit(visit))));
        self.by_call_id.insert(call_id.to_vec(), visit);
        let stage = Called::Answered { resend, response: self.out.clone(), peer: source };
        self.visits.push(Visit { stage, answered, leg });
        Ok(())
    }

    fn on_bye(&mut self, visit: u32) {
        let place = visit as usize;
        self.fall_silent(self.visits[place].leg);
        match self.visits[place].stage {
            Called::Answered { .. } | Called::Talking => self.visits[place].stage = Called::Over,
            Called::Over => self.tally.repeated += 1,
        }
    }
}
