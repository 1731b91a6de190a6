//! Who takes part, and under which settings: two phones bound through X, each behind its own carrier.
//!
//! ```text
//!   A 10.1.0.10 ─ carrier-a 10.1.0.1 ─┐                  ┌─ carrier-b 10.2.0.1 ─ B 10.2.0.10
//!     rtp 10.1.0.11                   └─ X 10.0.0.1:5060 ┘                         rtp 10.2.0.11
//! ```
//!
//! X belongs to carrier-b: calls through it leave there. [`Setup::reversed`] gives it to carrier-a, for B calls A.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use b2bua::core::Core;
use b2bua::settings::{
    App, AppPrompts, AppTexts, AskExtension, CallTimers, CalledIn, CallerHeader, Limits, Listener, MediaSettings,
    Reliability, SecondCall, SessionTimers, Settings, Target, Trunk, TrunkTexts,
};
use media::{Codec, Prompt, SourcePolicy};
use numbering::{
    AppId, Ax, Axb, Axe, Binding, Bindings, CallDirection, Extension, Mode, Number, ReadRule, Rules, SubscriptionId,
    Temporary, VirtualNumber, Voice, WriteRule,
};
use phone::{Known, Script, Sound};
use sip::transaction::{Timers, Transport};

use crate::network::{Link, Random};
use crate::world::World;

/// What A says: a tone of so many Hz.
pub const A_TONE: f64 = 440.0;

/// What B says: a tone of so many Hz.
pub const B_TONE: f64 = 620.0;

/// Prompts of the app: name, length in milliseconds.
const PROMPTS: [(&str, u64); 13] = [
    ("announcement.wav", 2_000),
    ("hint_tone.wav", 1_200),
    ("ringback.wav", 3_000),
    ("busy.wav", 900),
    ("no_binding.wav", 1_500),
    ("no_permission.wav", 1_400),
    ("service_fault.wav", 1_300),
    ("last_minute.wav", 1_100),
    ("enter_extension.wav", 2_500),
    ("wrong_extension.wav", 1_600),
    ("empty_extension.wav", 1_700),
    ("no_callee.wav", 1_800),
    ("no_call_back.wav", 1_900),
];

/// Numbers: A, B, X.
pub(crate) const NUMBERS: [&str; 3] = ["+8613811112222", "+8613933334444", "+8617055556666"];

/// The longest call of all.
const SAFETY_CEILING: Duration = Duration::from_secs(4 * 3_600);

/// Where X is.
pub(crate) const X: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// X's SIP port.
pub(crate) const SIP_PORT: u16 = 5060;

/// A prompt of this length that no other sounds like: noise seeded by its name.
#[must_use]
pub fn prompt(name: &str, ms: u64) -> Prompt {
    let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = Random::new(seed);
    let samples = usize::try_from(ms.min(60_000) * 8).expect("at most 480,000");
    let alaw = (0..samples).map(|_| random.next_u64() as u8).collect();
    Prompt { name: name.into(), alaw }
}

/// A world in the making. Every field may be changed before [`Setup::world`].
#[derive(Clone, Debug)]
pub struct Setup {
    /// Of the core, the phones and the network.
    pub seed: u64,
    /// The way of SIP.
    pub link: Link,
    /// The way of RTP and RTCP.
    pub media_link: Link,
    /// What the operator decides.
    pub settings: Settings,
    /// A–X–B.
    pub binding: Axb,
    /// Bindings that stand in its place, of the kind that the app has.
    pub instead: Vec<Binding>,
    /// What the app's bindings obey.
    pub rules: Rules,
    /// The X numbers.
    pub numbers: Vec<VirtualNumber>,
    /// Targets at which nobody answers.
    pub silent: Vec<SocketAddr>,
    /// The phones, A first. More may be added.
    pub phones: Vec<phone::Config>,
}

impl Setup {
    /// A calls B through X on a perfect network; B rings for ever; nothing is recorded.
    #[must_use]
    pub fn new(seed: u64) -> Setup {
        let [a, b, x] = NUMBERS.map(|number| Number::parse(number).expect("a constant in global form"));
        let app = AppId(0);
        let binding = Axb::new(SubscriptionId(1), app, a, x, b);
        Setup {
            seed,
            link: Link::default(),
            media_link: Link::default(),
            settings: settings(),
            binding,
            instead: Vec::new(),
            rules: Rules::default(),
            numbers: vec![VirtualNumber::new(x, app, Some("carrier-b".into()))],
            silent: Vec::new(),
            phones: vec![
                config("A", NUMBERS[0], "Wang Xiaoming", 1, A_TONE, seed),
                config("B", NUMBERS[1], "Li Dahua", 2, B_TONE, seed),
            ],
        }
    }

    /// What A does.
    #[must_use]
    pub fn a(mut self, script: Script) -> Setup {
        self.phones[0].script = script;
        self
    }

    /// What B does.
    #[must_use]
    pub fn b(mut self, script: Script) -> Setup {
        self.phones[1].script = script;
        self
    }

    /// One more phone, bound to nobody, behind carrier-a: who calls X without being entitled to.
    #[must_use]
    pub fn stranger(mut self, number: &str, script: Script) -> Setup {
        let place = self.phones.len();
        let name = char::from(b'A' + u8::try_from(place % 26).expect("below 26")).to_string();
        let mut config = config(&name, number, "Zhao Liu", 1, 850.0, self.seed);
        let host = Ipv4Addr::new(10, 1, 1, u8::try_from(place * 2 % 250).expect("below 250"));
        config.contact = SocketAddr::new(host.into(), SIP_PORT);
        config.rtp = SocketAddr::new(host.into(), 42_000);
        config.second_rtp = None;
        config.script = script;
        self.phones.push(config);
        self
    }

    /// X belongs to A alone (AX); whom A reaches through it is `temporary`, for a minute.
    #[must_use]
    pub fn ax(mut self, temporary: Option<&str>) -> Setup {
        let Axb { app, a, x, .. } = self.binding;
        let temporary = temporary.map(|number| Temporary {
            callee: Number::parse(number).expect("a constant in global form"),
            ends: 60_000,
            user_text: None,
        });
        self.rules.mode = Mode::Ax;
        self.instead = vec![Binding::Ax(Box::new(Ax { temporary, ..Ax::new(SubscriptionId(2), app, a, x) }))];
        self
    }

    /// A is reached through X and this extension (AXE), of whose width those of the app are.
    #[must_use]
    pub fn axe(mut self, extension: &str) -> Setup {
        let Axb { app, a, x, .. } = self.binding;
        let extension = Extension::parse(extension).expect("a constant of one to four digits");
        self.rules = Rules { mode: Mode::Axe, extension_width: extension.width(), ..self.rules };
        let id = SubscriptionId(3 + self.instead.len() as u128);
        self.instead.push(Binding::Axe(Box::new(Axe::new(id, app, a, x, extension))));
        self
    }

    /// The last of the bindings of [`Setup::axe`], to be changed.
    ///
    /// # Panics
    /// There is none.
    pub fn last_axe(&mut self) -> &mut Axe {
        match self.instead.last_mut() {
            Some(Binding::Axe(axe)) => axe,
            other => panic!("no binding with an extension: {other:?}"),
        }
    }

    /// The binding of [`Setup::ax`], to be changed.
    ///
    /// # Panics
    /// There is none.
    pub fn last_ax(&mut self) -> &mut Ax {
        match self.instead.last_mut() {
            Some(Binding::Ax(ax)) => ax,
            other => panic!("no binding of one user: {other:?}"),
        }
    }

    /// How SIP travels.
    #[must_use]
    pub fn link(self, link: Link) -> Setup {
        Setup { link, ..self }
    }

    /// How RTP travels.
    #[must_use]
    pub fn media_link(self, media_link: Link) -> Setup {
        Setup { media_link, ..self }
    }

    /// Calls are recorded.
    #[must_use]
    pub fn recorded(mut self) -> Setup {
        self.binding.record = true;
        self
    }

    /// A call may last so many minutes; a prompt warns one minute before.
    #[must_use]
    pub fn max_minutes(mut self, minutes: u16) -> Setup {
        self.binding.max_minutes = minutes;
        self
    }

    /// Who may call.
    #[must_use]
    pub fn direction(mut self, direction: CallDirection) -> Setup {
        self.binding.direction = direction;
        self
    }

    /// Both directions have an announcement instead of ringback.
    #[must_use]
    pub fn announced(mut self) -> Setup {
        let mut voice = self.binding.voice.take().map_or_else(Voice::default, |voice| *voice);
        voice.caller_hint_tone = Some("announcement.wav".into());
        voice.callee_hint_tone = Some("announcement.wav".into());
        self.binding.voice = Some(Box::new(voice));
        self
    }

    /// X belongs to carrier-a: for calls from B to A.
    #[must_use]
    pub fn reversed(mut self) -> Setup {
        for number in &mut self.numbers {
            number.trunk = Some("carrier-a".into());
        }
        self
    }

    /// Both phones and both trunks speak TCP.
    #[must_use]
    pub fn tcp(mut self) -> Setup {
        for phone in &mut self.phones {
            phone.transport = phone::Transport::Tcp;
        }
        for target in self.settings.trunks.iter_mut().flat_map(|trunk| &mut trunk.targets) {
            target.transport = Some(Transport::Tcp);
        }
        self
    }

    /// Nobody says anything: for stories about signalling alone, which then take no time to tell.
    #[must_use]
    pub fn mute(mut self) -> Setup {
        for phone in &mut self.phones {
            phone.sound = Sound::Mute;
            phone.cname = None;
        }
        self
    }

    /// Every phone says who it is in every place of everything that it sends ([`phone::Config::canary`]).
    #[must_use]
    pub fn canaries(mut self) -> Setup {
        for phone in &mut self.phones {
            phone.canary = Some(format!("kingfisher-{}", phone.name));
        }
        self
    }

    /// The app.
    pub fn app(&mut self) -> &mut App {
        &mut self.settings.apps[0]
    }

    /// The world, at time zero.
    ///
    /// # Panics
    /// The bindings contradict each other.
    #[must_use]
    pub fn world(self) -> World {
        let (mut bindings, table) = Bindings::new(numbering::Limits::default());
        let pair = self.instead.is_empty().then(|| Binding::Axb(self.binding.clone()));
        bindings.set_rules(AppId(0), self.rules.clone());
        for number in &self.numbers {
            bindings.add_number(number.clone()).expect("the numbers of a set-up are different");
        }
        for binding in pair.into_iter().chain(self.instead.iter().cloned()) {
            bindings.bind(binding).expect("the bindings of a set-up do not contradict each other");
        }
        let settings = Arc::new(self.settings.clone());
        let mut core = Core::new(Arc::clone(&settings), table, self.seed ^ 0xc07e);
        let (first, last) = settings.media.ports;
        for port in (first..=last).step_by(2) {
            core.add_port(port);
        }
        World::new(self, settings, core, bindings)
    }

    /// What the ears of the phones know: every prompt of the app, every phone's tone.
    pub(crate) fn known(&self) -> Arc<Known> {
        let mut known = Known::new();
        for app in &self.settings.apps {
            let prompts = app.prompts.all().chain(app.hint_tone.as_ref()).chain(app.named.values());
            let mut prompts: Vec<&Arc<Prompt>> = prompts.collect();
            // A map's order is not the same twice.
            prompts.sort_by(|a, b| a.name.cmp(&b.name));
            for prompt in prompts {
                known.add_prompt(&prompt.name, &prompt.alaw);
            }
        }
        for phone in &self.phones {
            for (sound, name) in
                [(&phone.sound, phone.name.clone()), (&phone.early_sound, format!("{}'s network", phone.name))]
            {
                if let Sound::Tone(hertz) = sound {
                    known.add_tone(&name, *hertz);
                }
            }
        }
        Arc::new(known)
    }
}

fn settings() -> Settings {
    let prompts: HashMap<Arc<str>, Arc<Prompt>> =
        PROMPTS.iter().map(|(name, ms)| (Arc::from(*name), Arc::new(prompt(name, *ms)))).collect();
    let named = |name: &str| prompts.get(name).cloned();
    let bind = SocketAddr::new(X, SIP_PORT);
    let listener = |transport| Listener { transport, bind, advertised: bind.to_string().into() };
    let app = App {
        name: "app".into(),
        hint_tone: named("hint_tone.wav"),
        require_hint_tone: true,
        recording: true,
        no_answer: Duration::from_secs(60),
        safety_ceiling: SAFETY_CEILING,
        second_call: SecondCall::default(),
        is_told: false,
        texts: AppTexts::Notify,
        prompts: AppPrompts {
            ringback: named("ringback.wav"),
            busy: named("busy.wav"),
            no_permission: named("no_permission.wav"),
            no_binding: named("no_binding.wav"),
            service_fault: named("service_fault.wav"),
            last_minute: named("last_minute.wav"),
            enter_extension: named("enter_extension.wav"),
            wrong_extension: named("wrong_extension.wav"),
            empty_extension: named("empty_extension.wav"),
            no_callee: named("no_callee.wav"),
            no_call_back: named("no_call_back.wav"),
        },
        named: prompts,
    };
    Settings {
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        media: MediaSettings {
            bind: X,
            advertised: X,
            ports: (30_000, 30_062),
            quarantine: Duration::from_secs(1),
            dead_after: Duration::ZERO,
        },
        trunks: vec![trunk("carrier-a", 1), trunk("carrier-b", 2)],
        apps: vec![app],
        limits: Limits {
            calls: 100,
            calls_per_number: 0,
            texts: 100,
            transactions: 1_000,
            message: sip::limits::Limits::default(),
            retry_after: 5,
        },
        timers: CallTimers { sip: Timers::default(), safety_ceiling: SAFETY_CEILING },
        product_name: Some("axbridge".into()),
        correlates: false,
        index: Default::default(),
    }
}

fn trunk(name: &str, place: u8) -> Trunk {
    Trunk {
        name: name.into(),
        sources: vec![format!("10.{place}.0.0/16").parse().expect("a network")],
        targets: vec![Target::at(Transport::Udp, gateway(place))],
        probe_every: Duration::ZERO,
        from: Vec::new(),
        read: ReadRule::default(),
        write: WriteRule::default(),
        caller_in: vec![CallerHeader::PAssertedIdentity, CallerHeader::From],
        called_in: CalledIn::RequestUri,
        assert_identity: true,
        shows_caller: false,
        ask_extension: AskExtension::default(),
        codecs: vec![Codec::Pcma, Codec::Pcmu],
        media_source: SourcePolicy::Learn,
        reliability: Reliability::Supported,
        session_timers: SessionTimers::default(),
        max_calls: 100,
        calls_per_second: 100,
        auth: None,
        challenge: None,
        texts: TrunkTexts::default(),
    }
}

fn gateway(place: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, place, 0, 1).into(), SIP_PORT)
}

/// A phone full of things that nobody else may learn.
fn config(name: &str, number: &str, display: &str, place: u8, hertz: f64, seed: u64) -> phone::Config {
    let contact = SocketAddr::new(Ipv4Addr::new(10, place, 0, 10).into(), SIP_PORT);
    let rtp = SocketAddr::new(Ipv4Addr::new(10, place, 0, 11).into(), 40_000 + u16::from(place) * 112);
    let mut config = phone::Config::new(
        name,
        number,
        contact,
        rtp,
        seed.wrapping_mul(31).wrapping_add(u64::from(name.as_bytes()[0])),
    );
    let canary = format!("kingfisher-{name}");
    config.gateway = Some(gateway(place));
    config.second_rtp = Some(SocketAddr::new(Ipv4Addr::new(10, place, 0, 12).into(), rtp.port() + 1_000));
    config.display_name = Some(display.to_owned());
    config.user_agent = Some(format!("Handset-{name}/7.1"));
    config.headers = vec![
        ("P-Asserted-Identity".to_owned(), format!("<sip:{number}@{contact}>")),
        ("Subject".to_owned(), canary.clone()),
        ("Geolocation".to_owned(), format!("<cid:{canary}@example.invalid>")),
    ];
    config.sdp_session_lines = vec![format!("i={canary}"), format!("e={canary}@example.invalid")];
    config.sdp_media_lines = vec![format!("a=label:{canary}"), format!("a=ssrc:12345 cname:{canary}")];
    config.cname = Some(format!("cname-of-{name}@{}", rtp.ip()));
    config.sound = Sound::Tone(hertz);
    config.early_sound = Sound::Tone(hertz + 500.0);
    config
}
