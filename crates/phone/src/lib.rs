//! A scripted SIP telephone, sans I/O, for tests and demonstrations.
//!
//! It speaks through `rsip` and shares no code with the parts that it talks to: an independent second opinion of every
//! message that they write (RFC 3261), of their offers and answers (RFC 3264), and of their RTP (RFC 3550).
//!
//! ```text
//!   handle_message ─▶ wire (rsip, breaches) ─▶ transaction ─▶ call ─▶ poll_transmit        Script ─▶ rings, answers, hangs up
//!                                     caller · called · reliable · change · session_timer
//!   handle_rtp ─▶ Ear: what is heard when                    Voice: what is said ─▶ poll_rtp
//! ```
//!
//! Time is a [`Duration`] since the process's epoch. A phone has one call at a time; a second INVITE is busy.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod call;
mod called;
mod caller;
mod canary;
mod change;
mod digest;
mod ear;
mod fork;
mod random;
mod reliable;
mod route;
mod script;
mod sdp;
mod session_timer;
mod text;
mod transaction;
mod voice;
mod wire;

pub use digest::{Algorithm, Challenge, Credentials};
pub use ear::{Ear, Fault, Heard, Known, Run, tone_part};
pub use script::{
    Act, Config, Fork, Provisional, RefreshBy, Refresher, Reliability, Reply, Script, SessionTimer, Timers, Transport,
    When,
};
pub use sdp::{Codec, Direction, Offer};
pub use text::TextReply;
pub use voice::{PTIME, Sound};

use call::{Call, Cancel, Dialog, Pending};
use canary::Canary;
use digest::{Answering, Asking};
use fork::Branch;
use random::Random;
use sdp::Path;
use transaction::{Expired, Key, Transactions};
use voice::Voice;
use wire::{Received, Start};

/// Events waiting to be taken; more are dropped, oldest first.
const MAX_EVENTS: usize = 4096;

/// Deeds that wait for their time; more are left undone.
const MAX_AGENDA: usize = 64;

/// What a phone may take.
const METHODS: [&str; 9] = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO", "MESSAGE"];

/// After so long a deed that had to wait for another to end is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Who ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ender {
    /// This phone.
    Us,
    /// The other side.
    Them,
}

/// Why a call came to no proper end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The INVITE had no final response.
    NoResponse,
    /// Our 200 was never acknowledged.
    NoAck,
    /// Our BYE had no response.
    ByeUnanswered,
    /// Our reliable provisional response was never acknowledged by a PRACK.
    NoPrack,
}

/// What a phone tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PhoneEvent {
    /// An INVITE came.
    Invited {
        /// User part of From.
        caller: String,
    },
    /// A provisional response above 100 came.
    Ringing {
        /// 101-199.
        status: u16,
        /// RTP address in its SDP.
        media: Option<SocketAddr>,
    },
    /// Calling: the 200 came. Called: it was sent.
    Answered {
        /// The peer's RTP address, where it is known by now.
        media: Option<SocketAddr>,
    },
    /// Calling: the ACK was sent. Called: it came.
    Established,
    /// A re-INVITE of either side was settled.
    MediaChanged {
        /// The peer's RTP address.
        media: Option<SocketAddr>,
        /// We may send.
        sends: bool,
    },
    /// Our re-INVITE or UPDATE was refused.
    ModificationRefused {
        /// 300-699.
        status: u16,
    },
    /// A reliable provisional response was acknowledged: calling, our PRACK was answered; called, the PRACK came.
    Pracked,
    /// Another request than INVITE, ACK, PRACK, CANCEL and BYE came within the dialog.
    Requested {
        /// E.g. `UPDATE`.
        method: String,
    },
    /// Our request within the dialog, other than these, has its final response.
    RequestAnswered {
        /// E.g. `UPDATE`.
        method: String,
        /// 200-699.
        status: u16,
    },
    /// A session timer was settled or refreshed (RFC 4028).
    SessionTimer {
        /// Session-Expires.
        seconds: u32,
        /// Who refreshes.
        refresher: Refresher,
    },
    /// The session was not refreshed in time; the call ends.
    SessionExpired,
    /// Our INVITE was refused in a way that can be mended, and was sent again.
    TriedAgain {
        /// 401, 407 or 422.
        status: u16,
    },
    /// Our INVITE was refused; 487 after a CANCEL.
    Refused {
        /// 300-699.
        status: u16,
        /// Value of Reason (RFC 3326).
        reason: Option<String>,
    },
    /// The call is over, or was given up before the answer.
    Released {
        /// Who ended it.
        by: Ender,
        /// Value of Reason (RFC 3326) in the peer's BYE or CANCEL.
        reason: Option<String>,
    },
    /// The call is over, and not properly.
    Failed(Failure),
    /// A branch of a fork was ended: called, by a BYE of its own; calling, by us, since another had answered before.
    BranchReleased,
    /// A digit came in an INFO.
    InfoDigit {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// Type of the body that told it.
        content_type: String,
    },
    /// A text came.
    Texted {
        /// User part of From.
        sender: String,
        /// As written.
        content_type: String,
        /// What it says.
        content: String,
    },
    /// A text of ours has its final response.
    TextAnswered {
        /// 200-699.
        status: u16,
    },
    /// A text of ours had no final response.
    TextUnanswered,
    /// Something else than before is heard.
    Hears(Heard),
    /// The peer did what the RFCs forbid.
    Breach(String),
}

/// How far a phone's call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No call yet.
    Idle,
    /// INVITE sent.
    Calling,
    /// INVITE received.
    Ringing,
    /// 200 sent, ACK awaited.
    Answered,
    /// Both talk.
    Established,
    /// BYE sent.
    Ending,
    /// Over.
    Ended,
}

/// A packet of a phone's media.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The phone's own address: its RTP port, or the one above for RTCP.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// RTP or RTCP.
    pub bytes: Vec<u8>,
}

/// A scripted telephone.
#[derive(Debug)]
pub struct Phone {
    config: Config,
    random: Random,
    transactions: Transactions,
    call: Call,
    events: VecDeque<PhoneEvent>,
    voice: Voice,
    ear: Ear,
    path: Option<Path>,
    /// Requests of ours within the dialog that wait for their final responses.
    pending: Vec<Pending>,
    /// Deeds whose time is known, in no order.
    agenda: Vec<(Duration, Act)>,
    /// Min-SE of the last 422.
    min_se_asked: u32,
    answering: Option<Answering>,
    asking: Asking,
    /// Other phones behind the same proxy, and the INVITE that they got too.
    branches: Vec<Branch>,
    forked: Option<(Key, Received)>,
    /// Our INVITE's dialog before any response, for each new To tag.
    pristine: Option<Dialog>,
    /// To tags of second 200s that we have ended.
    ended: Vec<String>,
    /// Where the RTP of the voice comes from.
    speaks_from: SocketAddr,
    /// Texts of ours without an answer, and answers of ours that wait for their time.
    texts: Vec<text::Unanswered>,
    owed: Vec<text::Owed>,
}

impl Phone {
    /// A phone at rest.
    #[must_use]
    pub fn new(config: Config) -> Phone {
        let mut random = Random::new(config.seed);
        Phone {
            transactions: Transactions::new(config.timers, config.transport),
            call: Call::Idle,
            events: VecDeque::new(),
            voice: Voice::new(&mut random).with_canary(Canary::of(&config)),
            ear: Ear::default(),
            path: None,
            pending: Vec::new(),
            agenda: Vec::new(),
            min_se_asked: 0,
            answering: None,
            asking: Asking::default(),
            branches: Vec::new(),
            forked: None,
            pristine: None,
            ended: Vec::new(),
            speaks_from: config.rtp,
            texts: Vec::new(),
            owed: Vec::new(),
            random,
            config,
        }
    }

    /// Who it is.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes what it does by itself; takes effect with the next call.
    pub fn set_script(&mut self, script: Script) {
        self.config.script = script;
    }

    /// What it shall recognise by ear.
    pub fn set_known(&mut self, known: Arc<Known>) {
        self.ear.set_known(known);
    }

    /// Says this from now on, in a call that is up and in the next ones.
    pub fn say(&mut self, sound: Sound) {
        self.voice.say(&sound);
        self.config.sound = sound;
    }

    /// What it heard.
    #[must_use]
    pub fn ear(&self) -> &Ear {
        &self.ear
    }

    /// How far its call has come.
    #[must_use]
    pub fn state(&self) -> State {
        match self.call {
            Call::Idle => State::Idle,
            Call::Calling(_) => State::Calling,
            Call::Ringing(_) => State::Ringing,
            Call::Answered(_) => State::Answered,
            Call::Established(_) => State::Established,
            Call::Ending(_) => State::Ending,
            Call::Ended => State::Ended,
        }
    }

    /// Call-ID of its call, while there is one.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.call.dialog().map(|dialog| dialog.call_id.as_str())
    }

    /// Where it is sent audio to, by the last offer and answer.
    #[must_use]
    pub fn rtp(&self) -> SocketAddr {
        self.speaks_from
    }

    /// An offer of either side waits for its answer.
    #[must_use]
    pub fn is_negotiating(&self) -> bool {
        self.call.dialog().is_some_and(|dialog| !dialog.media.is_free())
    }

    /// No call, no transaction, nothing to send.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.call, Call::Idle | Call::Ended)
            && self.transactions.is_empty()
            && self.branches.is_empty()
            && self.owed.is_empty()
    }

    /// A datagram, or one message of a stream, came from `source`.
    pub fn handle_message(&mut self, now: Duration, source: SocketAddr, bytes: &[u8]) {
        if self.config.script.dead {
            return;
        }
        let (received, breaches) = match wire::read(bytes) {
            Ok(read) => read,
            Err(error) => {
                self.breach(error);
                return;
            }
        };
        let what = match &received.start {
            Start::Request(_) => received.method.to_string(),
            Start::Status(status) => format!("{status} ({})", received.method),
        };
        for breach in breaches {
            self.breach(format!("{what}: {breach}"));
        }
        match received.start {
            Start::Request(_) => self.on_request(now, source, received),
            Start::Status(status) => self.on_response(now, status, &received),
        }
    }

    /// An RTP packet came to its RTP port.
    pub fn handle_rtp(&mut self, now: Duration, source: SocketAddr, bytes: &[u8]) {
        if let Some(heard) = self.ear.on_rtp(now, source, self.path, &self.config.codecs, bytes) {
            self.event(PhoneEvent::Hears(heard));
        }
    }

    /// The next time that [`Phone::handle_timeout`] has something to do or [`Phone::poll_rtp`] something to give.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let report = self.config.cname.as_ref().and_then(|_| self.voice.report_timeout());
        let deed = self.agenda.iter().map(|(at, _)| *at).min();
        let call = self.call.poll_timeout(self.answers());
        let texts = self.text_timeout();
        [self.transactions.poll_timeout(), call, self.voice.poll_timeout(), report, deed, self.branch_timeout(), texts]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        for expired in self.transactions.handle_timeout(now) {
            self.on_expired(now, expired);
        }
        // A step may be followed at once by the next.
        let answers = self.answers();
        while self.call.poll_timeout(answers).is_some_and(|at| at <= now) {
            match &mut self.call {
                Call::Calling(_) => self.cancel(now),
                Call::Ringing(ringing) => {
                    let due = ringing.next_step(answers).filter(|place| ringing.plan[*place].0 <= now);
                    match due {
                        Some(place) => {
                            let (_, step) = ringing.plan.remove(place);
                            self.on_step(now, step);
                        }
                        None => self.on_prack_overdue(now),
                    }
                }
                Call::Established(up) if up.hang_up_at.is_some_and(|at| at <= now) => self.hang_up(now),
                Call::Established(_) => self.on_session_timer(now),
                Call::Idle | Call::Answered(_) | Call::Ending(_) | Call::Ended => break,
            }
        }
        self.answer_texts(now);
        self.on_branches(now);
        self.follow_agenda(now);
    }

    fn answers(&self) -> bool {
        matches!(self.config.script.reply, Reply::Answer { .. })
    }

    /// The next SIP message to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transactions.poll_transmit()
    }

    /// The next RTP or RTCP packet that is due.
    pub fn poll_rtp(&mut self, now: Duration) -> Option<Packet> {
        let source = self.speaks_from;
        if let Some((path, bytes)) = self.voice.poll(now) {
            return Some(Packet { source, destination: path.remote, bytes });
        }
        let (path, bytes) = self.voice.poll_report(now, self.config.cname.as_ref()?, self.canary().as_ref())?;
        let above = |address: SocketAddr| SocketAddr::new(address.ip(), address.port().saturating_add(1));
        Some(Packet { source: above(source), destination: above(path.remote), bytes })
    }

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<PhoneEvent> {
        self.events.pop_front()
    }

    /// Gives up a call that was not answered: CANCEL, as soon as a provisional response allows it.
    pub fn cancel(&mut self, now: Duration) {
        let Call::Calling(calling) = &mut self.call else {
            return;
        };
        if let Cancel::Not { .. } = calling.cancel {
            calling.cancel = Cancel::AtFirstResponse;
            self.transactions.cancel(now, &calling.branch);
            if self.transactions.is_cancelling(&calling.branch) {
                calling.cancel = Cancel::Sent;
            }
        }
    }

    /// Ends the call in the way that its state asks for: CANCEL, 603 or BYE.
    pub fn hang_up(&mut self, now: Duration) {
        match &mut self.call {
            Call::Calling(_) => self.cancel(now),
            Call::Ringing(_) => self.refuse(now, 603, None),
            Call::Answered(answered) => answered.hang_up = true,
            Call::Established(_) => self.send_bye(now),
            Call::Idle | Call::Ending(_) | Call::Ended => {}
        }
    }

    /// Presses a digit (RFC 4733). `false` when it cannot be sent.
    pub fn press(&mut self, digit: char, length: Duration) -> bool {
        self.voice.press(digit, length)
    }

    fn on_expired(&mut self, now: Duration, expired: Expired) {
        match (expired, &mut self.call) {
            (Expired::NoResponse { branch, .. }, Call::Calling(calling)) if calling.branch == branch => {
                self.end(now);
                self.event(PhoneEvent::Failed(Failure::NoResponse));
            }
            (Expired::NoResponse { method: rsip::Method::Bye, .. }, Call::Ending(_)) => {
                self.end(now);
                self.event(PhoneEvent::Failed(Failure::ByeUnanswered));
            }
            (Expired::NoResponse { branch, .. }, Call::Established(up))
                if up.modifying.as_ref().is_some_and(|ours| ours.branch == branch) =>
            {
                // RFC 3261 §12.2.1.2: no response to a request within the dialog ends the dialog.
                self.send_bye(now);
            }
            (Expired::NoAck { key }, Call::Answered(answered)) if answered.ack.key == key => {
                self.event(PhoneEvent::Failed(Failure::NoAck));
                self.send_bye(now);
            }
            (Expired::NoAck { key }, Call::Established(up)) if up.ack.as_ref().is_some_and(|ack| ack.key == key) => {
                self.event(PhoneEvent::Failed(Failure::NoAck));
                self.send_bye(now);
            }
            (Expired::NoResponse { branch, .. }, _) if self.texts.iter().any(|text| text.branch() == branch) => {
                self.on_text_unanswered(&branch);
            }
            (Expired::NoResponse { branch, .. }, _) => self.on_no_response(now, &branch),
            (Expired::NoAck { .. }, _) => {}
            (Expired::BranchUnacknowledged { tag }, _) => self.on_branch_unacknowledged(&tag),
        }
    }

    /// Offer and answer stand: listen and speak.
    fn media_settled(&mut self, now: Duration, sound: Option<Sound>) {
        self.path = self.call.dialog().and_then(|dialog| dialog.media.path(&self.config));
        self.speaks_from = self.call.dialog().map_or(self.config.rtp, |dialog| dialog.media.local_rtp());
        if let Some(sound) = sound {
            self.voice.say(&sound);
            self.voice.set_path(now, self.path);
        } else if self.voice.is_running() {
            self.voice.set_path(now, self.path);
        }
    }

    /// A new offer and its answer stand.
    fn media_changed(&mut self, now: Duration) {
        let sound = match self.call {
            Call::Answered(_) | Call::Established(_) => Some(self.config.sound.clone()),
            Call::Idle | Call::Calling(_) | Call::Ringing(_) | Call::Ending(_) | Call::Ended => None,
        };
        self.media_settled(now, sound);
        let sends = self.path.is_some_and(|path| path.send);
        self.event(PhoneEvent::MediaChanged { media: self.remote_rtp(), sends });
    }

    fn remote_rtp(&self) -> Option<SocketAddr> {
        self.call.dialog().and_then(|dialog| dialog.media.remote_rtp())
    }

    fn end(&mut self, now: Duration) {
        if let Call::Answered(answered) = &self.call {
            self.transactions.acknowledged(&answered.ack.key);
        }
        self.call = Call::Ended;
        self.path = None;
        self.pending.clear();
        self.agenda.clear();
        self.branches.retain(|branch| branch.answered);
        self.voice.set_path(now, None);
    }

    fn event(&mut self, event: PhoneEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn breach(&mut self, sentence: String) {
        self.event(PhoneEvent::Breach(sentence));
    }

    /// Methods that it takes, as Allow tells them.
    fn allow(&self) -> String {
        let lacks = |method: &&str| self.config.script.lacks.iter().any(|lacked| lacked == *method);
        METHODS.into_iter().filter(|method| !lacks(method)).collect::<Vec<_>>().join(", ")
    }

    /// Option tags of Supported.
    fn supported(&self) -> Vec<&'static str> {
        let reliably = self.config.script.reliability != Reliability::Absent;
        let timed = self.config.script.session_timer.is_some();
        [reliably.then_some(reliable::OPTION), timed.then_some(session_timer::OPTION)].into_iter().flatten().collect()
    }

    fn contact(&self) -> String {
        self.contact_by(self.call.dialog().map_or(&self.config.number, |dialog| &dialog.contact_user))
    }

    fn contact_of(&self, dialog: &Dialog) -> String {
        self.contact_by(&dialog.contact_user)
    }

    fn contact_by(&self, user: &str) -> String {
        let transport = match self.config.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        match self.canary() {
            None => format!("<sip:{user}@{}{transport}>", self.config.contact),
            Some(canary) => {
                let (token, text) = (canary.token(), canary.text());
                format!("\"{text}\" <sip:{user}@{}{transport};x-canary={token}>;x-canary={token}", self.config.contact)
            }
        }
    }

    /// User-Agent, Server.
    fn agent(&self) -> Option<String> {
        let canary = self.canary().map(|canary| canary.token());
        let both = [self.config.user_agent.clone(), canary].into_iter().flatten().collect::<Vec<_>>().join(" ");
        (!both.is_empty()).then_some(both)
    }

    fn canary(&self) -> Option<Canary> {
        Canary::of(&self.config)
    }

    /// Made up by a seed; a canary sings in it.
    fn token(&mut self) -> String {
        let token = self.random.token();
        self.canary().map_or_else(|| token.clone(), |canary| format!("{token}.{}", canary.token()))
    }

    /// Takes what is settled by a description; a breach is told, and nothing changes.
    fn note_flaw(&mut self, received: &Received, flaw: String) {
        self.breach(format!("{} {flaw}", received.method));
    }
}

#[cfg(test)]
mod tests;
