//! What the operator decides, in the form that the core reads it: complete, checked, immutable.
//!
//! A reload replaces the whole [`Settings`] behind an `Arc`; a call keeps the one that it began with.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;
use media::{Codec, Prompt, SourcePolicy};
use numbering::{AppId, ReadRule, WriteRule};
use sip::digest::{Account, Credentials};
use sip::locate::{Way, Ways};
use sip::transaction::Transport;

pub use crate::peers::Peers;
pub use sip::locate::Target;

/// Everything the core is told by the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where we listen; a [`sip::transaction::Flow`] names one by its place here.
    pub listeners: Vec<Listener>,
    /// RTP.
    pub media: MediaSettings,
    /// Carriers' peers; [`TrunkId`] is the place here.
    pub trunks: Vec<Trunk>,
    /// Customers' applications; [`AppId`] is the place here.
    pub apps: Vec<App>,
    /// Limits of the whole core.
    pub limits: Limits,
    /// Times of the call.
    pub timers: CallTimers,
    /// What we call ourselves in `Server` and `User-Agent`; `None` leaves the header away.
    pub product_name: Option<Box<str>>,
    /// The driver wants to know which Call-IDs are of one call: [`crate::core::Output::Correlated`].
    pub correlates: bool,
    /// Whose the addresses and the names are, by the trunks above; made when it is first asked.
    pub index: OnDemand,
}

/// Where the trunks of some settings are found, made once. A clone begins anew: settings are cloned to be changed.
#[derive(Debug, Default)]
pub struct OnDemand {
    peers: OnceLock<Arc<Peers>>,
    names: OnceLock<HashMap<Arc<str>, TrunkId>>,
}

impl Clone for OnDemand {
    fn clone(&self) -> Self {
        OnDemand::default()
    }
}

/// One socket address that we serve SIP on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Its protocol.
    pub transport: Transport,
    /// What the socket is bound to.
    pub bind: SocketAddr,
    /// What peers are told in Via and Contact: `host:port`.
    pub advertised: Box<str>,
}

/// RTP addresses and times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaSettings {
    /// What the sockets are bound to.
    pub bind: IpAddr,
    /// What the SDP says.
    pub advertised: IpAddr,
    /// First and last RTP port, both even; RTCP is the port above.
    pub ports: (u16, u16),
    /// How long a port rests after a call.
    pub quarantine: Duration,
    /// A call whose both parties are silent this long (no packet at all) is ended; zero never does.
    pub dead_after: Duration,
}

/// Place of a trunk in [`Settings::trunks`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TrunkId(pub u16);

/// Which header tells who calls, in order of trust.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallerHeader {
    /// RFC 3325.
    PAssertedIdentity,
    /// draft-ietf-sip-privacy-04, still sent by old switches.
    RemotePartyId,
    /// RFC 3261 §20.20.
    From,
}

/// Where the dialled X stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalledIn {
    /// The Request-URI's user part.
    RequestUri,
    /// The To header's user part.
    To,
}

/// Whether provisional responses are acknowledged (100rel, RFC 3262).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reliability {
    /// Only where the peer requires it.
    Never,
    /// Where both can.
    Supported,
    /// Our INVITEs require it; a caller that cannot is served without.
    Required,
}

/// Whether dialogs have a session timer (RFC 4028).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionTimerMode {
    /// None.
    Never,
    /// Where the peer asks for one.
    Accept,
    /// We ask for one, and refresh ourselves where the peer knows none.
    Request,
}

/// Session timers of a trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionTimers {
    /// Whether.
    pub mode: SessionTimerMode,
    /// The interval that we ask for, and the longest that we take, in seconds; at least `min_se`.
    pub expires: u32,
    /// The shortest that we take, in seconds; 90 at least (§5).
    pub min_se: u32,
}

/// A carrier's SIP peer.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Its name in logs, metrics and CDRs.
    pub name: Arc<str>,
    /// Addresses it calls from. A request from an address of no trunk is a stranger's.
    pub sources: Vec<IpNet>,
    /// Where it takes calls: addresses, and names that the driver looks up. Tried in order. Empty: this trunk only calls.
    pub targets: Vec<Target>,
    /// How often each of its routes is asked by OPTIONS whether it lives; zero: never.
    pub probe_every: Duration,
    /// The listeners that it knows us by: their places in [`Settings::listeners`]. Empty: any will do.
    pub from: Vec<u16>,
    /// How it spells numbers to us.
    pub read: ReadRule,
    /// How it wants them spelt.
    pub write: WriteRule,
    /// Which headers tell the caller; the first that holds a number wins.
    pub caller_in: Vec<CallerHeader>,
    /// Where X stands.
    pub called_in: CalledIn,
    /// Also say X in P-Asserted-Identity on the outgoing leg.
    pub assert_identity: bool,
    /// The carrier allows that A is shown who calls, where the binding wants it (`calleeNumDisplay`, `displayNumMode`).
    pub shows_caller: bool,
    /// How its callers are asked for an extension.
    pub ask_extension: AskExtension,
    /// Companding laws in order of preference; never empty.
    pub codecs: Vec<Codec>,
    /// Media source policy.
    pub media_source: SourcePolicy,
    /// Reliable provisional responses.
    pub reliability: Reliability,
    /// Session timers.
    pub session_timers: SessionTimers,
    /// Calls in progress that came from it or go to it.
    pub max_calls: u32,
    /// New calls a second from it (a bucket as deep as one second).
    pub calls_per_second: u32,
    /// Who we are when it challenges our requests (RFC 3261 §22); `None` lets the challenge refuse the call.
    pub auth: Option<Arc<Credentials>>,
    /// Who its calls and texts must prove to be; `None` believes its address.
    pub challenge: Option<Arc<Account>>,
    /// Text messages.
    pub texts: TrunkTexts,
}

/// How text messages go to and come from a trunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkTexts {
    /// What carries them.
    pub by: TextBy,
    /// Texts a second from it (a bucket as deep as one second).
    pub per_second: u32,
    /// The most characters that go in one message; a longer text goes in several, one after another. `None`: whatever there
    /// are.
    pub longest: Option<NonZeroU16>,
}

/// What carries the texts of a trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TextBy {
    /// SIP MESSAGE (RFC 3428).
    #[default]
    Sip,
    /// The driver, which has a protocol of its own: [`crate::core::Output::SendText`], [`crate::core::Core::take_in_text`].
    /// The trunk's SIP side takes no MESSAGE then, and is sent none.
    Driver,
}

impl Default for TrunkTexts {
    /// SIP, a hundred a second, of whatever length.
    fn default() -> Self {
        TrunkTexts { by: TextBy::Sip, per_second: 100, longest: None }
    }
}

/// A customer's application.
#[derive(Clone, Debug)]
pub struct App {
    /// Its key in CDRs, logs and metrics.
    pub name: Arc<str>,
    /// The approved tone that both hear on answer (`【企业简称】来电`).
    pub hint_tone: Option<Arc<Prompt>>,
    /// Refuse (7507) a call for which neither the binding nor the app has a tone.
    pub require_hint_tone: bool,
    /// Recording allowed for this app.
    pub recording: bool,
    /// How long B rings.
    pub no_answer: Duration,
    /// The longest that a call of this app may last, where that is less than [`CallTimers::safety_ceiling`].
    pub safety_ceiling: Duration,
    /// What becomes of a call to an A who is in another already (AX and AXE).
    pub second_call: SecondCall,
    /// It wants to know what happens to its calls: [`crate::core::Output::Told`].
    pub is_told: bool,
    /// What becomes of text messages to its X.
    pub texts: AppTexts,
    /// The app's prompts.
    pub prompts: AppPrompts,
    /// Prompts that bindings name.
    pub named: HashMap<Arc<str>, Arc<Prompt>>,
}

/// What becomes of text messages to the X of an app (product rule S).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AppTexts {
    /// They are refused, and the customer is told nothing.
    #[default]
    Off,
    /// They are forwarded, and the customer is told.
    Notify,
    /// The customer is asked first, and told what came of it.
    Block {
        /// How long the answer is waited for: ten seconds at most.
        within: Duration,
        /// What becomes of a text for which no answer came.
        unanswered: Unanswered,
    },
}

/// What becomes of a text for which the customer has no answer in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unanswered {
    /// It is forwarded as if nobody had been asked.
    Forward,
    /// It is thrown away.
    #[default]
    Discard,
}

/// The prompts of product rule R; `None` plays nothing.
#[derive(Clone, Debug, Default)]
pub struct AppPrompts {
    /// Heard while B rings, once an announcement has been played.
    pub ringback: Option<Arc<Prompt>>,
    /// B is busy.
    pub busy: Option<Arc<Prompt>>,
    /// The caller may not call this way.
    pub no_permission: Option<Arc<Prompt>>,
    /// The caller is not bound to X.
    pub no_binding: Option<Arc<Prompt>>,
    /// Something of ours or the carrier's failed.
    pub service_fault: Option<Arc<Prompt>>,
    /// One minute is left.
    pub last_minute: Option<Arc<Prompt>>,
    /// Asks for an extension.
    pub enter_extension: Option<Arc<Prompt>>,
    /// The extension is nobody's.
    pub wrong_extension: Option<Arc<Prompt>>,
    /// No extension was typed.
    pub empty_extension: Option<Arc<Prompt>>,
    /// A of an A–X called X, and nobody has been named to be reached.
    pub no_callee: Option<Arc<Prompt>>,
    /// A of an A–X–E called X, and there is nobody to be called back.
    pub no_call_back: Option<Arc<Prompt>>,
}

impl AppPrompts {
    /// Each that there is.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Prompt>> {
        let AppPrompts {
            ringback,
            busy,
            no_permission,
            no_binding,
            service_fault,
            last_minute,
            enter_extension,
            wrong_extension,
            empty_extension,
            no_callee,
            no_call_back,
        } = self;
        let prompts = [
            ringback,
            busy,
            no_permission,
            no_binding,
            service_fault,
            last_minute,
            enter_extension,
            wrong_extension,
            empty_extension,
            no_callee,
            no_call_back,
        ];
        prompts.into_iter().flatten()
    }
}

/// What becomes of a call to an A who is in another already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SecondCall {
    /// It is offered: A's phone or network decides.
    Offer,
    /// It is refused: the caller hears that A is busy (8102).
    #[default]
    Refuse,
}

/// How a trunk's callers are asked for an extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AskExtension {
    /// The call is answered first: some carriers pass no digits before.
    #[default]
    Answered,
    /// In early media (183): whoever types no extension pays nothing.
    Early,
}

/// Limits of the core; reaching one is counted and answered.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls in progress.
    pub calls: u32,
    /// Calls of one X in progress at once; 0 does not limit.
    pub calls_per_number: u32,
    /// Text messages in progress.
    pub texts: u32,
    /// Server and client transactions in memory.
    pub transactions: u32,
    /// What a message may be.
    pub message: sip::limits::Limits,
    /// `Retry-After` of a 503, in seconds: at least this, at most twice this (so that callers do not come back together).
    pub retry_after: u32,
}

/// Times of the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallTimers {
    /// RFC 3261 T1, T2, T4.
    pub sip: sip::transaction::Timers,
    /// The longest that any call may last, counted from B's answer.
    pub safety_ceiling: Duration,
}

impl Default for SessionTimers {
    /// RFC 4028's recommendations: taken part in, half an hour, 90 s at least.
    fn default() -> Self {
        SessionTimers { mode: SessionTimerMode::Accept, expires: 1800, min_se: 90 }
    }
}

impl Trunk {
    /// Whether calls may come from this address.
    #[must_use]
    pub fn may_call_from(&self, source: IpAddr) -> bool {
        self.sources.iter().any(|network| network.contains(&source))
    }
}

impl Settings {
    /// The trunk that an address belongs to: the most specific of the sources wins; a target that is in no source is its
    /// trunk's too, since it answers our calls. Costs a look-up for each length of prefix that the sources have.
    #[must_use]
    pub fn trunk_of(&self, source: IpAddr) -> Option<TrunkId> {
        self.peers().find(source)
    }

    /// Whose addresses are whose, to be asked elsewhere.
    #[must_use]
    pub fn peers(&self) -> &Arc<Peers> {
        self.index.peers.get_or_init(|| Arc::new(Peers::of(&self.trunks)))
    }

    /// By what we can send, as the listeners are: where a name leaves the choice to us, the first of them comes first.
    #[must_use]
    pub fn ways(&self) -> Ways {
        let mut ways = Ways::default();
        for listener in &self.listeners {
            let way = Way { transport: listener.transport, ipv4: listener.bind.is_ipv4() };
            if !ways.list.contains(&way) {
                ways.list.push(way);
            }
            ways.loopback |= listener.bind.ip().is_loopback();
            ways.own.push((listener.transport, listener.bind));
        }
        ways
    }

    /// Others, with what of these cannot change while sockets are bound and transactions are under way.
    pub(crate) fn kept_in(&self, others: Arc<Settings>) -> Arc<Settings> {
        let is_kept =
            others.listeners == self.listeners && others.media == self.media && others.timers.sip == self.timers.sip;
        if is_kept {
            return others;
        }
        let mut others = Arc::unwrap_or_clone(others);
        others.listeners.clone_from(&self.listeners);
        others.media.clone_from(&self.media);
        others.timers.sip.clone_from(&self.timers.sip);
        Arc::new(others)
    }

    /// The listener that what goes to a peer of a trunk leaves by: the first of its protocol and IP version, one of
    /// [`Trunk::from`] if there is one. `None`: nothing can be sent there.
    #[must_use]
    pub fn listener_to(&self, trunk: &Trunk, transport: Transport, peer: IpAddr) -> Option<u16> {
        let fits = |listener: &Listener| listener.transport == transport && listener.bind.is_ipv4() == peer.is_ipv4();
        let named = trunk.from.iter().copied().find(|at| self.listeners.get(usize::from(*at)).is_some_and(fits));
        named.or_else(|| u16::try_from(self.listeners.iter().position(fits)?).ok())
    }

    /// The trunk of a name.
    #[must_use]
    pub fn trunk_named(&self, name: &str) -> Option<TrunkId> {
        let names = self.index.names.get_or_init(|| {
            self.trunks.iter().zip(0..).map(|(trunk, place)| (Arc::clone(&trunk.name), TrunkId(place))).collect()
        });
        names.get(name).copied()
    }

    /// A trunk.
    #[must_use]
    pub fn trunk(&self, id: TrunkId) -> &Trunk {
        &self.trunks[usize::from(id.0)]
    }

    /// An application.
    #[must_use]
    pub fn app(&self, id: AppId) -> Option<&App> {
        self.apps.get(usize::try_from(id.0).ok()?)
    }
}
