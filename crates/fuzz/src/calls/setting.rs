//! Bytes as a world: who takes part, what the operator has decided, what the phones do by themselves.
//!
//! A zero is the usual thing everywhere: no bytes at all make A call B, who answers.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use b2bua::settings::{
    AskExtension, CalledIn, Reliability as Policy, SecondCall, SessionTimerMode, SessionTimers, Settings, Target, Trunk,
};
use media::{Codec, Prompt, SourcePolicy};
use numbering::CallDirection;
use sip::digest::{Account, Credentials, Hash, Password};
use sip::transaction::Transport;
use testbed::{
    Act, Algorithm, Challenge, Direction, Fork, Link, Offer, Provisional, Refresher, Reliability, Reply, Script,
    SessionTimer, Setup, When, ms,
};

use crate::input::Input;

/// The longest call of all: nobody ends those that two strangers have with each other.
pub(super) const CEILING: Duration = Duration::from_secs(600);

/// Times that scripts and programs know, in milliseconds.
const TIMES: [u64; 16] =
    [0, 40, 100, 200, 300, 500, 900, 1_500, 2_000, 3_000, 5_000, 8_000, 20_000, 33_000, 50_000, 70_000];

/// The RTP ports of the phones to which a call of A, B or C is forked.
const FORKS: [u16; 3] = [45_000, 45_100, 45_200];

/// Offers that are no audio call of ours alone, each a stream with its attributes.
const STREAMS: [&str; 3] = [
    "m=video 41000 RTP/AVP 31",
    "m=image 41002 udptl t38\r\na=T38FaxVersion:0",
    "m=audio 41004 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
];

/// Short prompts: what they sound like matters to no oracle here, that they end does.
fn base() -> Setup {
    static BASE: OnceLock<Setup> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let mut setup = Setup::new(1);
        setup.settings.timers.safety_ceiling = CEILING;
        let app = setup.app();
        app.safety_ceiling = CEILING;
        let short = |prompt: &mut Arc<Prompt>| *prompt = Arc::new(testbed::prompt(&prompt.name, 200));
        app.named.values_mut().for_each(short);
        let named = app.named.clone();
        let prompts = &mut app.prompts;
        let all = [
            &mut prompts.ringback,
            &mut prompts.busy,
            &mut prompts.no_permission,
            &mut prompts.no_binding,
            &mut prompts.service_fault,
            &mut prompts.last_minute,
            &mut prompts.enter_extension,
            &mut prompts.wrong_extension,
            &mut prompts.empty_extension,
            &mut prompts.no_callee,
            &mut prompts.no_call_back,
            &mut app.hint_tone,
        ];
        for prompt in all.into_iter().flatten() {
            prompt.clone_from(&named[&prompt.name]);
        }
        setup
    });
    base.clone()
}

/// The world that these bytes want.
pub(super) fn setup(input: &mut Input<'_>) -> Setup {
    let mut setup = base();
    setup.seed = u64::from(input.byte());
    setup.silent = vec![silent(0), silent(1)];
    for phone in &mut setup.phones {
        phone.seed = phone.seed.wrapping_add(setup.seed << 8);
    }
    setup.link = link(input.byte());
    if input.byte() % 16 != 1 {
        setup = setup.mute();
    }
    setup.media_link = if setup.link.is_perfect() { Link::default() } else { Link::bad(5) };
    let flags = input.u16();
    let has = |bit: u16| flags & (1 << bit) != 0;
    if has(0) {
        setup = setup.recorded();
    }
    if has(1) {
        setup = setup.announced();
    }
    if has(2) {
        setup = setup.tcp();
    }
    if has(3) {
        setup = setup.reversed();
    }
    if has(4) {
        setup = setup.max_minutes(u16::from(input.byte() % 4));
    }
    if has(5) {
        setup = setup.stranger("+8613766667777", Script::default());
    }
    if has(6) {
        limits(&mut setup, input);
    }
    if has(7) {
        setup = setup.direction(input.pick(&[CallDirection::Both, CallDirection::AToB, CallDirection::BToA]));
    }
    if has(8) {
        let app = setup.app();
        app.hint_tone = None;
        app.require_hint_tone = has(9);
    }
    if has(10) {
        setup.app().prompts = b2bua::settings::AppPrompts::default();
    }
    if has(11) {
        setup.settings.media.dead_after = Duration::from_secs(u64::from(input.byte() % 20));
    }
    setup = match (has(12), has(13)) {
        (false, false) => setup,
        (false, true) => setup.ax(Some("+8613933334444")),
        (true, false) => setup.axe("1"),
        (true, true) => setup.axe("15").axe("51"),
    };
    if has(14) {
        setup.app().second_call = SecondCall::Offer;
    }
    for place in 0..2 {
        trunk(&mut setup.settings.trunks[place], place, input);
        if has(15) {
            setup.settings.trunks[place].ask_extension = AskExtension::Early;
        }
    }
    for place in 0..setup.phones.len() {
        phone(&mut setup, place, input);
    }
    setup
}

fn link(byte: u8) -> Link {
    match byte % 16 {
        12 => Link::bad(5),
        13 => Link::bad(20),
        14 => Link { jitter: ms(2_000), ..Link::bad(40) },
        15 => Link { latency: ms(300), ..Link::default() },
        _ => Link::default(),
    }
}

/// Limits so small that a program reaches them; what a phone says is still within them, else it is right to complain.
fn limits(setup: &mut Setup, input: &mut Input<'_>) {
    let limits = &mut setup.settings.limits;
    limits.calls = input.pick(&[100, 1, 2, 3, 0]);
    limits.calls_per_number = input.pick(&[0, 1, 2]);
    limits.transactions = input.pick(&[1_000, 4, 8, 16, 0]);
    limits.message.max_message = input.pick(&[65_535, 6_000, 9_000]);
    limits.message.max_headers = input.pick(&[256, 100, 120]);
    limits.retry_after = input.pick(&[5, 0, 1]);
    setup.app().no_answer = ms(input.pick(&[60_000, 500, 3_000, 0]));
    let ports = input.pick(&[32_u16, 1, 2, 3, 4]);
    setup.settings.media.ports.1 = setup.settings.media.ports.0 + 2 * (ports - 1);
    setup.settings.media.quarantine = ms(input.pick(&[1_000, 0, 60_000]));
}

fn trunk(trunk: &mut Trunk, place: usize, input: &mut Input<'_>) {
    let flags = input.u16();
    let has = |bit: u16| flags & (1 << bit) != 0;
    trunk.reliability = match flags & 3 {
        0 | 1 => Policy::Supported,
        2 => Policy::Never,
        _ => Policy::Required,
    };
    if has(2) {
        trunk.session_timers = SessionTimers {
            mode: input.pick(&[SessionTimerMode::Request, SessionTimerMode::Accept, SessionTimerMode::Never]),
            expires: input.pick(&[90, 120, 300, 1_800]),
            min_se: 90,
        };
    }
    if has(3) {
        trunk.codecs = input.pick(&[[Codec::Pcmu, Codec::Pcma], [Codec::Pcma, Codec::Pcma]]).to_vec();
    }
    if has(4) {
        trunk.max_calls = input.pick(&[1, 2, 0]);
        trunk.calls_per_second = input.pick(&[1, 100, 0]);
    }
    if has(5) {
        let realm = has(6).then(|| "carrier".into());
        let credentials = Credentials { user: "axbridge".into(), password: Password::new(b"secret".to_vec()), realm };
        trunk.auth = Some(Arc::new(credentials));
    }
    if has(7) {
        trunk.challenge = Some(Arc::new(Account {
            realm: "axbridge".into(),
            user: "carrier".into(),
            password: Password::new(b"secret".to_vec()),
            hashes: if has(8) { vec![Hash::Sha256, Hash::Md5] } else { vec![Hash::Md5] },
        }));
    }
    trunk.media_source = if has(9) { SourcePolicy::Signalled } else { SourcePolicy::Learn };
    trunk.assert_identity = !has(10);
    trunk.called_in = if has(11) { CalledIn::To } else { CalledIn::RequestUri };
    if has(12) {
        // A target that is dead stands before or behind the one that serves.
        let served = trunk.targets[0].clone();
        let dead = Target::at(Transport::Udp, silent(place));
        trunk.targets = if has(13) { vec![served.clone(), dead] } else { vec![dead, served.clone()] };
        if has(14) {
            trunk.targets.push(Target { transport: Some(Transport::Tcp), ..served });
        }
    }
}

/// Where nobody answers, by the trunk's place.
fn silent(place: usize) -> SocketAddr {
    ([10, [1, 2][place], 3, 1], 5060).into()
}

fn phone(setup: &mut Setup, place: usize, input: &mut Input<'_>) {
    let script = script(input, place);
    let phone = &mut setup.phones[place];
    phone.script =
        if place == 1 && input.byte() == 0 && script == Script::default() { Script::answers(ms(900)) } else { script };
    let flags = input.byte();
    let has = |bit: u8| flags & (1 << bit) != 0;
    if has(0) {
        phone.credentials =
            Some(testbed::Credentials { username: "carrier".to_owned(), password: "secret".to_owned() });
    }
    if has(1) {
        phone.isup = Some(b"\x01\x00kingfisher".to_vec());
    }
    if has(2) {
        phone.streams_after.push(input.pick(&STREAMS).to_owned());
    }
    if has(3) {
        phone.streams_before.push(input.pick(&STREAMS).to_owned());
    }
    if has(4) {
        phone.telephone_event = None;
    }
    if has(5) {
        phone.codecs.reverse();
    }
    if has(6) {
        phone.canary = Some(format!("kingfisher-{}", phone.name));
    }
    if has(7) {
        phone
            .record_route
            .push(input.pick(&["<sip:{}:5060;lr>", "<sip:{}:5060>"]).replace("{}", &phone.contact.ip().to_string()));
    }
}

/// A time of a script or a program.
pub(super) fn time(input: &mut Input<'_>) -> Duration {
    let byte = input.byte();
    ms(TIMES[usize::from(byte % 16)] + u64::from(byte / 16) * 7)
}

/// What the phone at this place does by itself.
pub(super) fn script(input: &mut Input<'_>, place: usize) -> Script {
    let flags = input.u16();
    let has = |bit: u16| flags & (1 << bit) != 0;
    let mut script = Script::default();
    if flags == 0 {
        return script;
    }
    script.reply = match flags & 3 {
        0 | 1 => Reply::Answer { after: time(input) },
        2 => Reply::Never,
        _ => {
            let status = input.pick(&[486, 603, 404, 480, 503, 488, 300, 302, 305, 400, 408, 491, 500, 600, 699]);
            let reason = (input.byte() % 4 == 1).then(|| format!("Q.850;cause={}", input.byte()));
            if (300..400).contains(&status) {
                let target =
                    input.pick(&["sip:10.2.0.1:5060", "sip:10.2.3.1", "sip:+8613811112222@10.2.0.1", "tel:110", "x"]);
                script.refusal_headers.push(("Contact".to_owned(), format!("<{target}>;q=0.5")));
            }
            Reply::Refuse { after: time(input), status, reason }
        }
    };
    if has(2) {
        script.ring_after = (input.byte() % 4 != 1).then(|| time(input));
    }
    if has(3) {
        script.early_media_after = Some(time(input));
    }
    if has(4) {
        script.hang_up_after = Some(time(input));
    }
    if has(5) {
        script.cancel_after = Some(time(input));
    }
    script.late_offer = has(6);
    if has(7) {
        script.reliability = input.pick(&[Reliability::Supported, Reliability::Preferred, Reliability::Required]);
        let more = input.byte();
        script.never_pracks = more % 8 == 1;
        script.repeats_sdp = more % 8 == 2;
        // Others may be refused, which a PRACK should not be.
        script.prack_offer =
            (more % 8 == 3).then(|| Offer::Direction(input.pick(&[Direction::SendOnly, Direction::SendRecv])));
    }
    if has(8) {
        for _ in 0..input.byte() % 4 {
            let headers =
                if input.byte() % 8 == 1 { vec![("Alert-Info".to_owned(), "<urn:x>".to_owned())] } else { Vec::new() };
            let after = time(input);
            let status = input.pick(&[180, 181, 182, 183, 199, 101, 150, 189]);
            script.provisionals.push(Provisional { after, status, sdp: input.byte() % 2 == 1, headers });
        }
    }
    if has(9) {
        for _ in 0..=input.byte() % 3 {
            let after = time(input);
            let when = input.pick(&[When::Up(after), When::Early(after), When::Invited(after)]);
            script.deeds.push((when, act(input)));
        }
    }
    if has(10) {
        let expires = input.pick(&[90, 120, 600, 1_800]);
        let timer = SessionTimer::new(expires).at_least(input.pick(&[90, 100, 300]).min(expires));
        let more = input.byte();
        let timer = if more & 1 == 0 { timer } else { timer.by_reinvite() };
        let timer = if more & 2 == 0 { timer } else { timer.forgets() };
        let timer = match more >> 2 & 3 {
            1 => timer.refresher(Refresher::Us),
            2 => timer.refresher(Refresher::Them),
            _ => timer,
        };
        script.session_timer = Some(timer);
    }
    if has(11) {
        script.lacks = vec![input.pick(&["UPDATE", "PRACK", "INFO", "OPTIONS"]).to_owned()];
    }
    if has(12) {
        script.refuses_offers = Some(input.pick(&[488, 491, 500, 481, 408]));
    }
    if has(13) {
        let status = input.pick(&[407, 401]);
        let password = input.pick(&["secret", "another"]);
        let mut challenge = Challenge::new(status, input.pick(&["carrier", "elsewhere"]), "axbridge", password);
        let more = input.byte();
        challenge.stale_once = more & 1 != 0;
        challenge.every_request = more & 2 != 0;
        challenge.qop = more & 4 == 0;
        if more & 8 != 0 {
            challenge.algorithms = vec![Algorithm::Sha256, Algorithm::Md5];
        }
        script.challenge = Some(challenge);
    }
    if has(14) {
        match input.byte() % 8 {
            0 => script.dead = true,
            1 => script.never_acknowledge = true,
            2 => script.max_forwards = input.byte(),
            3 => script = script.with_header("Require", "teleport"),
            4 => script = script.with_header("Supported", "teleport"),
            5 => script = script.with_header("Privacy", "id"),
            6 => script = script.with_header("Accept", "application/sdp"),
            _ => script = script.with_header("History-Info", "<sip:kingfisher@example.invalid>;index=1"),
        }
    }
    if has(15) {
        if let Reply::Answer { after } = &mut script.reply {
            *after = (*after).min(ms(20_000));
        }
        for number in 0..=input.byte() % 2 {
            let rtp = SocketAddr::from(([10, 2, 0, 13], FORKS[place.min(2)] + u16::from(number) * 2));
            // A branch that answers after the INVITE's transaction is gone is heard by nobody.
            let mut time = || time(input).min(ms(20_000));
            let fork = Fork::rings(rtp, time());
            let (media, end) = (time(), time());
            script.forks.push(match input.byte() % 4 {
                0 => fork.answers(end),
                1 => fork.early_media(media).answers(end),
                2 => fork.early_media(media).ends(end),
                _ => fork.ends(end),
            });
        }
    }
    script
}

/// Something that a phone does within its call.
pub(super) fn act(input: &mut Input<'_>) -> Act {
    match input.byte() % 10 {
        0 | 1 => Act::Reinvite(offer(input)),
        2 | 3 => Act::Update(offer(input)),
        4 => Act::InfoDigit { digit: input.pick(&['5', '#', '*', 'D']), relay: input.byte().is_multiple_of(2) },
        5 => Act::Press(input.pick(&['1', '#', '0']), ms(u64::from(input.byte()))),
        6 => Act::Bye,
        7 => Act::sends("REFER", &[("Refer-To", "<sip:+8613800000000@example.invalid>")]),
        8 => {
            let headers = [("Content-Type".to_owned(), "text/plain".to_owned())].to_vec();
            Act::Send { method: "MESSAGE".to_owned(), headers, body: Some(b"kingfisher".to_vec()) }
        }
        _ => Act::sends(
            input.pick(&["SUBSCRIBE", "NOTIFY", "OPTIONS", "FROBNICATE", "INFO", "PUBLISH"]),
            &[("Event", "refer")],
        ),
    }
}

fn offer(input: &mut Input<'_>) -> Offer {
    match input.byte() % 8 {
        0 => Offer::Same,
        1 => Offer::None,
        2 => Offer::Moved,
        3 => Offer::Fax,
        4 => Offer::Codecs(vec![testbed::Codec::Pcmu]),
        5 => Offer::Direction(Direction::SendOnly),
        6 => Offer::Direction(Direction::Inactive),
        _ => Offer::Direction(input.pick(&[Direction::SendRecv, Direction::RecvOnly])),
    }
}

/// What is heard of such a phone is not always in order, and nobody's fault: which of several branches is heard is X's choice, and
/// where it changes, the listener has a gap; a digit that is being pressed as the parties are joined reaches the other from its
/// middle on, with the timestamp of its beginning.
pub(super) fn is_uneven(script: &Script) -> bool {
    !script.forks.is_empty() || script.deeds.iter().any(|(_, act)| matches!(act, Act::Press(..)))
}

/// Such a phone may hang up before the ACK comes, and was in no call then, though one was answered.
pub(super) fn is_hasty(script: &Script) -> bool {
    script.deeds.iter().any(|(_, act)| matches!(act, Act::Bye))
}

/// What a reload brings: other rules for new calls, and the trunks in another order, so that none may be known by its place.
pub(super) fn reloaded(settings: &Settings, input: &mut Input<'_>) -> Settings {
    let mut next = settings.clone();
    for place in 0..2 {
        trunk(&mut next.trunks[place], place, input);
    }
    let flags = input.byte();
    if flags & 1 != 0 {
        next.trunks.swap(0, 1);
    }
    if flags & 2 != 0 {
        next.limits.calls = input.pick(&[100, 0, 1]);
    }
    if flags & 4 != 0 {
        next.apps[0].hint_tone = None;
    }
    if flags & 8 != 0 {
        next.product_name = None;
    }
    next
}
