//! The shipped files, broken files, and files broken at random.

use std::collections::BTreeSet;

use b2bua::settings::{AskExtension, CalledIn, CallerHeader, Listener, SecondCall, Target};
use media::{Codec, SourcePolicy};
use numbering::{CallDirection, Form, Mode, Number};
use sip::transaction::Transport;
use toml::de::DeValue;

use super::*;

mod tls;

const AXBRIDGE: &str = include_str!("../../etc/axbridge.toml");
const DEMO: &str = include_str!("../../etc/demo.toml");

/// The smallest that carries a call. Tests break it.
const SMALL: &str = r#"[sip]
listen = ["udp:127.0.0.1:5060"]
[media]
bind = "127.0.0.1"
[[trunk]]
name = "one"
sources = ["192.0.2.0/24"]
targets = ["udp:192.0.2.10:5060"]
[[trunk]]
name = "two"
sources = ["198.51.100.0/24"]
[[app]]
name = "shop"
recording = true
[[number]]
x = "+8675512340001"
app = "shop"
trunk = "one"
[[binding]]
x = "+8675512340001"
a = "+8613800000001"
b = "+8613900000002"
[[binding]]
x = "+8675512340001"
a = "+8613800000003"
b = "+8613900000004"
"#;

fn etc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name)
}

fn complaints(text: &str) -> Vec<String> {
    match parse(text, Path::new("c.toml")) {
        Ok(_) => Vec::new(),
        Err(complaints) => complaints.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_shipped_files_are_good() {
    for name in ["axbridge.toml", "bench.toml", "demo.toml"] {
        if let Err(complaints) = load(&etc(name)) {
            panic!("{}", complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Every key of a tree, with its path: `trunk.read.country`.
fn keys_of(value: &DeValue<'_>, path: &str, out: &mut BTreeSet<String>) {
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let path =
                    if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
                out.insert(path.clone());
                keys_of(value.get_ref(), &path, out);
            }
        }
        DeValue::Array(list) => list.iter().for_each(|value| keys_of(value.get_ref(), path, out)),
        _ => {}
    }
}

/// The shipped file with the keys that it shows in comments.
fn shipped_in_full() -> String {
    let is_shown = |rest: &str| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let line = |line: &'static str| line.strip_prefix('#').filter(|rest| is_shown(rest)).unwrap_or(line);
    AXBRIDGE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_documents_every_key_and_no_other() {
    let sections = [
        ("sip", signalling::KEYS),
        ("sip.listen", signalling::LISTEN),
        ("sip.tls", super::tls::SIP),
        ("dns", dns::KEYS),
        ("media", output::MEDIA),
        ("store", output::STORE),
        ("api", super::api::API),
        ("admin", super::api::ADMIN),
        ("recording", output::RECORDING),
        ("cdr", output::CDR),
        ("notify", super::notify::KEYS),
        ("metrics", output::METRICS),
        ("hep", output::HEP),
        ("log", output::LOG),
        ("prompts", output::PROMPTS),
        ("trunk", trunk::KEYS),
        ("trunk.read", trunk::READ),
        ("trunk.write", trunk::WRITE),
        ("trunk.session_timer", trunk::SESSION_TIMER),
        ("trunk.text", trunk::TEXT),
        ("trunk.smpp", super::smpp::KEYS),
        ("trunk.auth", credentials::AUTH),
        ("trunk.challenge", credentials::CHALLENGE),
        ("trunk.tls", super::tls::TRUNK),
        ("app", app::KEYS),
        ("app.notify", app::NOTIFY),
        ("app.prompts", app::PROMPTS),
        ("numbering", number::NUMBERING),
        ("number", number::NUMBER),
        ("binding", number::BINDING),
    ];
    let mut known: BTreeSet<String> = ROOT.iter().map(|key| (*key).to_owned()).collect();
    for (section, keys) in sections {
        assert!(known.contains(section), "{section} is listed before what it is in");
        known.extend(keys.iter().map(|key| format!("{section}.{key}")));
    }
    let mut shipped = BTreeSet::new();
    let text = shipped_in_full();
    let tree = DeTable::parse(&text).unwrap().into_inner();
    keys_of(&DeValue::Table(tree), "", &mut shipped);
    assert_eq!(shipped, known);
}

#[test]
fn the_shipped_file_shows_the_defaults() {
    let shipped = load(&etc("axbridge.toml")).unwrap();
    let small = parse(SMALL, &etc("axbridge.toml")).unwrap();
    let (ours, theirs) = (&small.settings, &shipped.settings);
    assert_eq!(ours.product_name, theirs.product_name);
    assert_eq!(format!("{:?}", ours.limits), format!("{:?}", theirs.limits));
    assert_eq!(ours.timers, theirs.timers);
    assert_eq!(ours.media, theirs.media);
    assert_eq!(small.dns, shipped.dns);
    assert_eq!(
        (&small.recording, &small.cdr_file, &small.log, small.relay_workers),
        (&shipped.recording, &shipped.cdr_file, &shipped.log, shipped.relay_workers)
    );
    let (ours, theirs) = (&ours.trunks[0], &theirs.trunks[0]);
    assert_eq!((&ours.caller_in, ours.called_in), (&theirs.caller_in, theirs.called_in));
    assert_eq!((&ours.write, ours.assert_identity), (&theirs.write, theirs.assert_identity));
    assert_eq!((&ours.codecs, ours.media_source), (&theirs.codecs, theirs.media_source));
    assert_eq!((ours.max_calls, ours.calls_per_second), (theirs.max_calls, theirs.calls_per_second));
    assert_eq!(ours.probe_every, theirs.probe_every);
    assert_eq!((ours.shows_caller, ours.ask_extension), (theirs.shows_caller, theirs.ask_extension));
    assert_eq!((small.only_700, &small.notify), (shipped.only_700, &shipped.notify));
    assert_eq!(small.accounts[0].notify, shipped.accounts[0].notify);
    assert_eq!(ours.texts, theirs.texts);
    let (ours, theirs) = (&small.settings.apps[0], &shipped.settings.apps[0]);
    assert_eq!(ours.require_hint_tone, theirs.require_hint_tone);
    assert_eq!((ours.no_answer, ours.second_call, ours.texts), (theirs.no_answer, theirs.second_call, theirs.texts));
    assert_eq!(format!("{:?}", ours.prompts), format!("{:?}", theirs.prompts));
}

#[test]
fn the_file_of_the_load_benches_limits_nothing_that_they_meet() {
    let config = load(&etc("bench.toml")).unwrap();
    let settings = &config.settings;
    let listener = |transport| Listener {
        transport,
        bind: "127.0.0.1:6080".parse().unwrap(),
        advertised: "127.0.0.1:6080".into(),
    };
    assert_eq!(settings.listeners, [listener(Transport::Udp), listener(Transport::Tcp)]);
    assert_eq!(config.metrics, Some("127.0.0.1:9180".parse().unwrap()));
    assert_eq!((settings.limits.transactions, settings.limits.calls_per_number), (2_000_000, 0));
    let [trunk] = &settings.trunks[..] else { panic!("one trunk") };
    assert!(settings.trunk_of("127.0.0.9".parse().unwrap()).is_some());
    assert_eq!(trunk.targets, [Target::at(Transport::Udp, "127.0.0.1:6099".parse().unwrap())]);
    // 3,000 calls a second of 1 s, two ports each, and those that rest.
    let pairs = f64::from((settings.media.ports.1 - settings.media.ports.0) / 2 + 1);
    assert!(pairs >= 3_000.0 * 2.0 * (1.0 + settings.media.quarantine.as_secs_f64()));

    let spelt: Vec<String> = config
        .bindings
        .iter()
        .map(|binding| {
            let mut out = Vec::new();
            trunk.write.write(binding.b, &mut out);
            String::from_utf8(out).unwrap()
        })
        .collect();
    assert_eq!(spelt, ["15552224444", "15552224444"]);
    for (x, place) in [("15550001111", 0), ("25550001111", 1)] {
        let binding = &config.bindings[place];
        assert_eq!(trunk.read.read(x.as_bytes()).unwrap(), binding.x);
        assert_eq!(trunk.read.read(b"15552223333").unwrap(), binding.a);
        let app = settings.app(binding.app).unwrap();
        let recorded = place == 1;
        assert_eq!((binding.record, app.recording, app.hint_tone.is_some()), (recorded, recorded, recorded));
        assert!(app.hint_tone.is_some() || !app.require_hint_tone);
    }
}

#[test]
fn the_file_of_the_demo_takes_free_ports_and_plays_every_kind_of_prompt() {
    let mut config = parse(DEMO, &etc("demo.toml")).unwrap();
    let app = &config.settings.apps[0];
    assert!(app.hint_tone.is_some() && app.recording && app.prompts.last_minute.is_some());
    let binding = &config.bindings[0];
    assert!(binding.record && binding.max_minutes == 2);
    assert_eq!(binding.voice.as_ref().unwrap().caller_hint_tone.as_deref(), Some("zh/announcement.wav"));
    assert!(app.named.contains_key("zh/announcement.wav"));

    let bound = ["127.0.0.1:41000".parse().unwrap(), "127.0.0.1:41001".parse().unwrap()];
    settle_ports(&mut config.settings.listeners, &bound);
    let advertised: Vec<&str> = config.settings.listeners.iter().map(|listener| &*listener.advertised).collect();
    assert_eq!(advertised, ["127.0.0.1:41000", "127.0.0.1:41001"]);
    assert_eq!(config.settings.listeners[1].bind, bound[1]);
}

#[test]
fn an_app_is_told_what_happens_where_the_file_says() {
    let app = |name: &str, keys: &str| format!("{SMALL}\n[[app]]\nname = \"{name}\"\n{keys}");
    let text = app(
        "told",
        "notify.status_url = \"https://shop.example.com/status\"\nnotify.number_url = \"http://10.0.0.1/num\"\n\
         notify.sms_url = \"\"\nnotify.signature = \"wsse\"\nsms_content = true\n[notify]\nallow = [\"10.0.0.0/8\"]\n\
         proxy = \"http://me:password@10.0.0.2:3128\"\ntimeout = \"3s\"\nconnections_per_app = 2\nkeep = \"2d\"\n",
    );
    let config = parse(&text, Path::new("c.toml")).unwrap();
    let told = config.accounts.last().unwrap();
    assert_eq!(told.notify.status_url.as_deref(), Some("https://shop.example.com/status"));
    assert_eq!(told.notify.number_url.as_deref(), Some("http://10.0.0.1/num"));
    assert_eq!((&told.notify.sms_url, &told.notify.fee_url), (&None, &None));
    assert_eq!((told.notify.signature, told.notify.sms_content), (crate::apps::Generation::Wsse, true));
    let is_told: Vec<bool> = config.settings.apps.iter().map(|app| app.is_told).collect();
    assert!(is_told.last() == Some(&true) && is_told.iter().filter(|is_told| **is_told).count() == 1);
    let notify = &config.notify;
    assert_eq!((notify.timeout, notify.connections_per_app), (Duration::from_secs(3), 2));
    assert_eq!(notify.limits().keep, Duration::from_secs(2 * 86_400));
    assert!(notify.proxy.is_some() && !format!("{notify:?}").contains("password"));

    // Whether it wants the words does not hang on the other keys.
    let alone = parse(&app("told", "sms_content = true\n"), Path::new("c.toml")).unwrap();
    let words = crate::apps::Urls { sms_content: true, ..crate::apps::Urls::default() };
    assert_eq!(alone.accounts.last().unwrap().notify, words);

    for (keys, key, mend) in [
        ("notify.status_url = \"http://10.0.0.1/\"", "notify.status_url", "[notify] allow"),
        ("notify.fee_url = \"shop\"", "notify.fee_url", "e.g."),
        ("notify.sms_control_url = 1", "notify.sms_control_url", "quotation marks"),
        ("notify.signature = \"ask\"", "notify.signature", "aksk"),
        ("notify.url = \"\"", "notify.url", "known here"),
        ("sms_content = \"true\"", "sms_content", "write true or false"),
        ("[notify]\nallow = [\"10.0.0.1/8\"]", "notify.allow[0]", "10.0.0.0/8"),
        ("[notify]\nproxy = \"https://me:password@proxy\"", "notify.proxy", "http://"),
        ("[notify]\nca = \"none.pem\"", "notify.ca", "PEM"),
        ("[notify]\ntimeout = \"2m\"", "notify.timeout", "1s to 1m"),
        ("[notify]\nconnections_per_app = 0", "notify.connections_per_app", "1 to 64"),
        ("[notify]\nkeep = \"1h\"", "notify.keep", "1d to 365d"),
    ] {
        let complaints = parse(&app("told", keys), Path::new("c.toml")).unwrap_err();
        let [complaint] = &complaints[..] else { panic!("{keys}: {complaints:?}") };
        assert!(complaint.key.ends_with(key) && complaint.line > 0, "{keys}: {complaint}");
        assert!(complaint.mend.contains(mend) && !complaint.to_string().contains("password"), "{keys}: {complaint}");
    }
}

#[test]
fn the_apps_of_the_load_benches_are_told_by_urls_of_this_machine() {
    let config = load(&etc("bench.toml")).unwrap();
    let told: Vec<_> = config.accounts.iter().filter(|account| account.notify.status_url.is_some()).collect();
    assert_eq!(told.iter().map(|account| &*account.name).collect::<Vec<_>>(), ["bench-axb", "bench-ax", "bench-axe"]);
    for account in told {
        let urls = &account.notify;
        let urls = [&urls.status_url, &urls.fee_url, &urls.sms_url, &urls.number_url].map(Option::as_deref);
        let at = |path: &str| Some(format!("http://127.0.0.1:18090/{path}"));
        let wanted = [at("status"), at("fee"), at("sms"), at("num")];
        assert_eq!(urls.map(|url| url.map(str::to_owned)), wanted);
    }
}

#[test]
fn a_settled_port_leaves_what_the_operator_wrote() {
    let listener = |bind: &str, advertised: &str| Listener {
        transport: Transport::Udp,
        bind: bind.parse().unwrap(),
        advertised: advertised.into(),
    };
    let mut listeners =
        [listener("[::1]:0", "[::1]:0"), listener("0.0.0.0:0", "sip.example:5070"), listener("1.2.3.4:5060", "a:5060")];
    let bound = ["[::1]:7".parse().unwrap(), "0.0.0.0:8".parse().unwrap(), "1.2.3.4:5060".parse().unwrap()];
    settle_ports(&mut listeners, &bound);
    let advertised: Vec<&str> = listeners.iter().map(|listener| &*listener.advertised).collect();
    assert_eq!(advertised, ["[::1]:7", "sip.example:5070", "a:5060"]);
}

#[test]
fn every_value_of_the_shipped_file_arrives() {
    let config = parse(AXBRIDGE, &etc("axbridge.toml")).unwrap();
    let settings = &config.settings;
    assert_eq!(&*settings.listeners[1].advertised, "127.0.0.1:5060");
    assert_eq!(settings.product_name.as_deref(), Some("axbridge"));
    assert_eq!(settings.limits.retry_after, 5);
    assert_eq!(settings.limits.message.max_message, 65_535);
    assert_eq!(settings.timers.safety_ceiling, Duration::from_secs(4 * 3_600));
    assert_eq!(settings.media.ports, (30_000, 59_998));
    assert_eq!(config.recording.dir, etc("recordings"));
    assert_eq!(config.recording.keep, Duration::from_secs(7 * 86_400));
    assert_eq!(config.cdr_file, etc("cdr.jsonl"));
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", Format::Text));
    let trunk = &settings.trunks[0];
    assert_eq!(trunk.sources[1], "198.51.100.7/32".parse().unwrap());
    assert_eq!(trunk.targets[1].to_string(), "tcp:192.0.2.11:5060");
    assert_eq!(trunk.from, [0, 1]);
    assert_eq!((trunk.read.area.as_deref(), &trunk.read.strip[..]), (Some("0755"), &["17951".to_owned()][..]));
    assert_eq!(trunk.caller_in, [CallerHeader::PAssertedIdentity, CallerHeader::From]);
    assert_eq!(trunk.called_in, CalledIn::RequestUri);
    assert_eq!(trunk.write.form, Form::Global);
    assert_eq!(trunk.codecs, [Codec::Pcma, Codec::Pcmu]);
    assert_eq!(trunk.media_source, SourcePolicy::Learn);
    assert_eq!(settings.apps[0].safety_ceiling, Duration::from_secs(2 * 3_600));
    assert_eq!(&*settings.apps[0].hint_tone.as_ref().unwrap().name, "zh/hint_tone.wav");
    assert_eq!(config.numbers[0].trunk.as_deref(), Some("carrier-1"));
    let binding = &config.bindings[0];
    assert_eq!(binding.direction, CallDirection::Both);
    assert_eq!((binding.max_minutes, binding.record), (60, true));
    assert_eq!(binding.user_text.as_deref(), Some("order 20261123-0001"));
    assert_eq!(binding.id.to_string(), "7d5b2b0e-3a67-4c55-9d3a-5f0e6f2c9a01");
    let voice = binding.voice.as_ref().unwrap();
    assert_eq!(voice.callee_hint_tone, None);
    for name in [&voice.caller_hint_tone, &voice.record_hint_tone, &voice.last_minute] {
        assert!(settings.apps[0].named.contains_key(name.as_ref().unwrap()));
    }
}

#[test]
fn what_is_left_away_has_its_default_and_is_not_invented() {
    let config = parse(SMALL, Path::new("/etc/axbridge/axbridge.toml")).unwrap();
    let app = &config.settings.apps[0];
    assert!(app.hint_tone.is_none() && app.require_hint_tone, "a tone is never assumed to be approved");
    assert_eq!(&*app.prompts.busy.as_ref().unwrap().name, "zh/busy.wav");
    assert_eq!(&*app.prompts.ringback.as_ref().unwrap().name, "ringback.wav");
    assert_eq!(config.metrics, None);
    assert_eq!(config.cdr_file, Path::new("/etc/axbridge/cdr.jsonl"));
    assert_eq!(config.settings.media.advertised, config.settings.media.bind);
    assert!(config.bindings.iter().all(|binding| binding.voice.is_none() && !binding.record));
}

#[test]
fn a_target_is_an_address_or_a_name() {
    let read = |target: &str| {
        let text =
            SMALL.replace("udp:192.0.2.10:5060", target).replace("\"udp:127", "\"tcp:127.0.0.1:5060\", \"udp:127");
        parse(&text, Path::new("c.toml")).map(|config| config.settings.trunks[0].targets[0].clone())
    };
    for (target, port, transport) in [
        ("Sip.Carrier.Example", None, None),
        ("udp:sip.carrier.example", None, Some(Transport::Udp)),
        ("tcp:sip.carrier.example.", None, Some(Transport::Tcp)),
        ("udp:sip.carrier.example:5070", Some(5070), Some(Transport::Udp)),
    ] {
        let read = read(target).unwrap();
        assert_eq!(
            (read.name(), read.port, read.transport),
            (Some("sip.carrier.example"), port, transport),
            "{target}"
        );
        assert_eq!(read.address(), None);
    }
    assert_eq!(read("tcp:192.0.2.1:5060").unwrap(), Target::at(Transport::Tcp, "192.0.2.1:5060".parse().unwrap()));
    for target in [
        "",
        ":",
        "udp:",
        "udp::5060",
        "udp:a:b",
        "udp:a:0",
        "udp:a:5060:1",
        "udp:a:65536",
        "a b",
        "a..b",
        "192.0.2.1",
        "192.0.2.300",
        "udp:192.0.2.1",
        "sip:a",
        "号",
    ] {
        let complaint = read(target).unwrap_err().remove(0).to_string();
        assert!(complaint.contains("trunk[0].targets[0]: ") && complaint.contains(" is no target — "), "{complaint}");
    }
}

#[test]
fn prompts_are_shared_and_an_empty_name_plays_nothing() {
    let text = SMALL.replace("recording = true", "prompts = { busy = \"\", no_binding = \"en/no_binding.wav\" }")
        + "caller_hint_tone = \"en/no_binding.wav\"\n";
    let config = parse(&text, Path::new("c.toml")).unwrap();
    let app = &config.settings.apps[0];
    assert!(app.prompts.busy.is_none() && app.prompts.last_minute.is_some());
    let (one, two) = (app.prompts.no_binding.as_ref().unwrap(), &app.named["en/no_binding.wav"]);
    assert!(std::sync::Arc::ptr_eq(one, two));
}

#[test]
fn a_second_call_is_refused_to_the_a_of_an_ax_unless_the_app_says_otherwise() {
    let read = |said: &str| {
        let text = format!("{}[[app]]\nname = \"more\"\n{said}\n", SMALL.split_once("[[number]]").unwrap().0);
        parse(&text, Path::new("c.toml")).unwrap().settings.apps[1].second_call
    };
    for (said, expected) in [
        ("", SecondCall::Offer),
        ("mode = \"axb\"", SecondCall::Offer),
        ("mode = \"axe\"", SecondCall::Offer),
        ("mode = \"ax\"", SecondCall::Refuse),
        ("mode = \"ax\"\nsecond_call = \"offer\"", SecondCall::Offer),
        ("mode = \"axe\"\nsecond_call = \"refuse\"", SecondCall::Refuse),
    ] {
        assert_eq!(read(said), expected, "{said}");
    }
}

#[test]
fn what_extensions_need_arrives() {
    let text = SMALL
        .replace("name = \"one\"", "name = \"one\"\nask_extension = \"early\"\nwrite.shows_caller = true")
        .replace(
            "[[number]]",
            "[[app]]\nname = \"desks\"\nlanguage = \"en\"\nmode = \"axe\"\ncall_back_number = \"+8675528780001\"\n\
             prompts = { empty_extension = \"\", no_call_back = \"zh/busy.wav\" }\n[[number]]",
        );
    let config = parse(&text, Path::new("c.toml")).unwrap();
    let [one, two] = &config.settings.trunks[..] else { panic!("two trunks") };
    assert_eq!((one.shows_caller, one.ask_extension), (true, AskExtension::Early));
    assert_eq!((two.shows_caller, two.ask_extension), (false, AskExtension::Answered));
    let rules = |place: usize| &config.accounts[place].rules;
    assert_eq!((rules(0).mode, rules(0).call_back), (Mode::Axb, None));
    assert_eq!((rules(1).mode, rules(1).call_back), (Mode::Axe, Number::parse("+8675528780001").ok()));
    let prompts = &config.settings.apps[1].prompts;
    let name = |prompt: &Option<Arc<Prompt>>| prompt.as_ref().map(|prompt| prompt.name.to_string());
    assert_eq!(name(&prompts.enter_extension).as_deref(), Some("en/enter_extension.wav"));
    assert_eq!(name(&prompts.wrong_extension).as_deref(), Some("en/wrong_extension.wav"));
    assert_eq!(name(&prompts.no_callee).as_deref(), Some("en/no_callee.wav"));
    assert_eq!(name(&prompts.no_call_back).as_deref(), Some("zh/busy.wav"));
    assert!(prompts.empty_extension.is_none());
    // Nothing that is played is left out of the list of all.
    assert_eq!(config.settings.apps[0].prompts.all().count(), app::PROMPTS.len());
}

#[test]
fn a_section_may_be_every_number_of_a_range() {
    let x = |last: u64| Number::from_u64(86_700_123_456_780_000 + last).unwrap();
    let text = SMALL.split_once("[[number]]").unwrap().0.to_owned()
        + "[numbering]\nonly_700 = true\n[[app]]\nname = \"desks\"\nmode = \"axe\"\n\
           [[number]]\nx = \"+86700123456780000\"\nlast = \"+86700123456789999\"\napp = \"shop\"\ntrunk = \"one\"\n\
           area = \"010\"\n\
           [[number]]\nx = \"+86700123456790007\"\nlast = \"+86700123456790007\"\napp = \"shop\"\nstate = \"frozen\"\n\
           [[number]]\nx = \"+8670012345677\"\nlast = \"+8670012345678\"\napp = \"desks\"\n\
           [[binding]]\nx = \"+86700123456780042\"\na = \"+8613800000001\"\nb = \"+8613900000002\"\n";
    let config = parse(&text, Path::new("c.toml")).unwrap();
    assert!(config.only_700);
    assert_eq!((config.numbers.len(), config.bindings[0].x), (10_003, x(42)));
    for (place, number) in config.numbers.iter().take(10_000).enumerate() {
        assert_eq!(number.number, x(u64::try_from(place).unwrap()));
    }
    let last = &config.numbers[9_999];
    assert_eq!(last.trunk.as_deref(), Some("one"));
    assert_eq!((last.area, last.state), (numbering::Area::parse("010"), numbering::NumberState::Normal));
    assert_eq!(config.numbers[10_000].state, numbering::NumberState::Frozen);
    let others: Vec<Number> = config.numbers[10_000..].iter().map(|number| number.number).collect();
    let parsed = |text| Number::parse(text).unwrap();
    assert_eq!(others, [x(10_007), parsed("+8670012345677"), parsed("+8670012345678")]);
    // The registry gets to know.
    assert!(config.into_file().base.only_700);
    assert!(!parse(SMALL, Path::new("c.toml")).unwrap().into_file().base.only_700);
}

#[test]
fn a_binding_without_id_has_the_same_one_each_time_and_its_own() {
    let ids = |text: &str| -> Vec<String> {
        parse(text, Path::new("c.toml")).unwrap().bindings.iter().map(|binding| binding.id.to_string()).collect()
    };
    let first = ids(SMALL);
    assert_eq!(first, ids(SMALL));
    assert_ne!(first[0], first[1]);
    for id in &first {
        assert_eq!((id.as_bytes()[14], b"89ab".contains(&id.as_bytes()[19])), (b'8', true), "{id} is of version 8");
    }
    let swapped = SMALL.replace("\"+8613800000001\"", "Z").replace("\"+8613900000002\"", "\"+8613800000001\"");
    assert_ne!(first[0], ids(&swapped.replace('Z', "\"+8613900000002\""))[0]);
}

/// What is broken in [`SMALL`], and every complaint that it earns.
const BROKEN: &[(&str, &str, &[&str])] = &[
    // The writing itself.
    ("[media]", "[media", &["c.toml:3: unclosed table — write [NAME]"]),
    ("\"127.0.0.1\"", "127.0.0.1", &["c.toml:4: invalid float — put the text in quotation marks"]),
    ("name = \"two\"", "name = two", &["c.toml:10: invalid boolean — put the text in quotation marks"]),
    ("name = \"two\"", "name = \"two", &["c.toml:10: invalid basic string — close the text with \""]),
    ("name = \"two\"", "name", &["c.toml:10: key with no value — write KEY = VALUE"]),
    (
        "[\"198.51.100.0/24\"]",
        "[\"198.51.100.0/24\"",
        &["c.toml:12: missing comma between array elements — put a comma between the two, or close the list with ]"],
    ),
    (
        "[[app]]",
        "[sip]",
        &[
            "c.toml:12: `sip` stands here for the second time — leave one of the two out",
            "c.toml:13: sip.name: `name` is no key — known here: listen, advertised, server_name, max_calls, max_calls_per_number, max_texts, max_transactions, max_message_bytes, retry_after, no_answer, safety_ceiling, t1, t2, t4, tls",
            "c.toml:14: sip.recording: `recording` is no key — known here: listen, advertised, server_name, max_calls, max_calls_per_number, max_texts, max_transactions, max_message_bytes, retry_after, no_answer, safety_ceiling, t1, t2, t4, tls",
        ],
    ),
    (
        "[[app]]",
        "name = \"three\"\n[[app]]",
        &["c.toml:12: `name` stands here for the second time — leave one of the two out"],
    ),
    (
        "recording = true",
        "no_answer = 060\nrecoding = true\nlanguage = zh",
        &[
            "c.toml:14: unexpected leading zero — leave the leading 0 out, or put the text in quotation marks",
            "c.toml:15: app[0].recoding: `recoding` is no key — did you mean `recording`?",
            "c.toml:16: string values must be quoted — put the text in quotation marks",
        ],
    ),
    // Keys.
    (
        "listen =",
        "lisen =",
        &[
            "c.toml:1: sip.listen: is missing — write e.g. `listen = [\"udp:0.0.0.0:5060\", \"tcp:0.0.0.0:5060\"]`",
            "c.toml:2: sip.lisen: `lisen` is no key — did you mean `listen`?",
        ],
    ),
    (
        "[media]",
        "[medai]",
        &[
            "c.toml:1: media: is missing — write [media] with at least `bind`",
            "c.toml:3: medai: `medai` is no key — did you mean `media`?",
        ],
    ),
    (
        "bind =",
        "colour = 1\nbind =",
        &[
            "c.toml:4: media.colour: `colour` is no key — known here: bind, advertised, ports, quarantine, dead_after, workers",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nread.contry = 86",
        &["c.toml:7: trunk[0].read.contry: `contry` is no key — did you mean `country`?"],
    ),
    // Kinds.
    (
        "[\"udp:127.0.0.1:5060\"]",
        "\"udp:127.0.0.1:5060\"",
        &["c.toml:2: sip.listen: is a text, not a list — put it in [ ]"],
    ),
    (
        "recording = true",
        "recording = \"yes\"",
        &["c.toml:14: app[0].recording: is a text, not true or false — write true or false, without quotation marks"],
    ),
    ("[[app]]", "[app]", &["c.toml:12: app: is a table, not a list of tables — write `[[app]]`, with two brackets"]),
    (
        "[media]",
        "[[media]]",
        &["c.toml:3: media: is a list, not a table — write `[media]`, once and with single brackets"],
    ),
    (
        "name = \"one\"",
        "name = 1",
        &["c.toml:6: trunk[0].name: is a number, not a text — write 1 to 64 of the characters A-Z a-z 0-9 . _ -"],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nread = 86",
        &[
            "c.toml:7: trunk[0].read: is a number, not a table — write `read = { … }` with any of: country, area, strip, caller_in, called_in",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nmax_calls = 1.5",
        &[
            "c.toml:7: trunk[0].max_calls: is a number with a fraction, not a whole number — write a whole number of 1 to 1000000",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nmax_calls = \"many\"",
        &["c.toml:7: trunk[0].max_calls: is a text, not a whole number — write a whole number of 1 to 1000000"],
    ),
    (
        "\"192.0.2.0/24\"",
        "192",
        &[
            "c.toml:7: trunk[0].sources[0]: is a number, not a text — write ADDRESS or ADDRESS/LENGTH, e.g. \"192.0.2.0/24\"",
        ],
    ),
    // SIP.
    (
        "udp:127.0.0.1:5060",
        "upd:127.0.0.1:5060",
        &[
            "c.toml:2: sip.listen[0]: `upd:127.0.0.1:5060` is no address to listen at — write udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT",
        ],
    ),
    (
        "udp:127.0.0.1:5060",
        "udp:127.0.0.1",
        &[
            "c.toml:2: sip.listen[0]: `udp:127.0.0.1` is no address to listen at — write the port too: udp:127.0.0.1:5060",
        ],
    ),
    (
        "udp:127.0.0.1:5060",
        "udp:2001:db8::1",
        &[
            "c.toml:2: sip.listen[0]: `udp:2001:db8::1` is no address to listen at — write the address in brackets and the port: udp:[2001:db8::1]:5060",
        ],
    ),
    (
        "udp:127.0.0.1:5060",
        "udp:sip.example:5060",
        &[
            "c.toml:2: sip.listen[0]: `udp:sip.example:5060` is no address to listen at — write udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT",
        ],
    ),
    (
        "udp:127.0.0.1:5060",
        "udp:0.0.0.0:5060",
        &[
            "c.toml:2: sip.listen[0]: peers cannot be told to send to 0.0.0.0 — write advertised = \"HOST\", the address that they reach this machine at",
        ],
    ),
    (
        "\"udp:127.0.0.1:5060\"",
        "\"udp:127.0.0.1:5060\", \"udp:127.0.0.1:5060\"",
        &["c.toml:2: sip.listen[1]: 127.0.0.1:5060 stands here twice — leave one of them out"],
    ),
    (
        "[media]",
        "advertised = \"0.0.0.0\"\n[media]",
        &["c.toml:3: sip.advertised: nobody can send to 0.0.0.0 — write the address that peers reach this machine at"],
    ),
    (
        "[media]",
        "advertised = \"2001:db8::1\"\n[media]",
        &["c.toml:3: sip.advertised: `2001:db8::1` is no host — write it in brackets: \"[2001:db8::1]\""],
    ),
    (
        "[media]",
        "advertised = \"host:0\"\n[media]",
        &["c.toml:3: sip.advertised: `host:0` is no host — write \"HOST\" or \"HOST:PORT\""],
    ),
    (
        "[media]",
        "advertised = \"not a host\"\n[media]",
        &["c.toml:3: sip.advertised: `not a host` is no host — write \"HOST\" or \"HOST:PORT\""],
    ),
    (
        "[media]",
        "server_name = \"a\\r\\nVia: x\"\n[media]",
        &[
            "c.toml:3: sip.server_name: `a\\r\\nVia: x` cannot stand in a Server header — write at most 64 letters, digits and - . _ /, or \"\" to send no such header",
        ],
    ),
    (
        "[media]",
        "max_calls = 0\nmax_message_bytes = 70000\n[media]",
        &[
            "c.toml:3: sip.max_calls: 0 is out of range — write a whole number of 1 to 1000000",
            "c.toml:4: sip.max_message_bytes: 70000 is out of range — write a whole number of 1300 to 65535",
        ],
    ),
    (
        "[media]",
        "max_calls = 99999999999999999999999999999999999999999999\n[media]",
        &[
            "c.toml:3: sip.max_calls: 99999999999999999999999999999999999999999999 is out of range — write a whole number of 1 to 1000000",
        ],
    ),
    (
        "[media]",
        "retry_after = \"1500ms\"\n[media]",
        &["c.toml:3: sip.retry_after: SIP knows only whole seconds here — write \"2s\""],
    ),
    (
        "[media]",
        "retry_after = 5\nt1 = \"half a second\"\n[media]",
        &[
            "c.toml:3: sip.retry_after: is a number, not a time — write its unit: \"5s\" or \"5ms\"",
            "c.toml:4: sip.t1: `half a second` is no time — write e.g. \"500ms\", \"5s\", \"2m\", \"4h\" or \"7d\"",
        ],
    ),
    (
        "[media]",
        "t1 = \"5s\"\nt2 = \"4s\"\n[media]",
        &["c.toml:4: sip.t2: 4s is shorter than t1, 5s — write a time of at least t1"],
    ),
    (
        "[media]",
        "safety_ceiling = \"2d\"\nno_answer = \"99999999999999999999d\"\n[media]",
        &[
            "c.toml:3: sip.safety_ceiling: `2d` is out of range — write a time of 1s to 1d",
            "c.toml:4: sip.no_answer: `99999999999999999999d` is no time — write e.g. \"500ms\", \"5s\", \"2m\", \"4h\" or \"7d\"",
        ],
    ),
    // Media.
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1:5004\"",
        &[
            "c.toml:4: media.bind: `127.0.0.1:5004` is no IP address — write an IP address without a port, e.g. \"192.0.2.1\"",
        ],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"0.0.0.0\"",
        &[
            "c.toml:3: media.advertised: is missing, and 0.0.0.0 cannot stand in SDP — write e.g. `advertised = \"203.0.113.5\"`, the address that peers reach this machine at",
        ],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"0.0.0.0\"\nadvertised = \"::1\"",
        &[
            "c.toml:5: media.advertised: is of another IP version than bind, 0.0.0.0 — write both as IPv4 or both as IPv6",
        ],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"0.0.0.0\"\nadvertised = \"224.0.0.1\"",
        &[
            "c.toml:5: media.advertised: nobody can send to 224.0.0.1 — write the address that peers reach this machine at",
        ],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"30001-30999\"",
        &["c.toml:5: media.ports: 30001 is odd, but RTP ports are even — write \"30000-30999\""],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"30000-31000\"",
        &["c.toml:5: media.ports: 31000 is even, so its RTCP port would lie outside — write \"30000-31001\""],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"30000-30001\"",
        &[
            "c.toml:5: media.ports: `30000-30001` does not hold the four ports of one call — write a last port of 30003 or above",
        ],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"30000-29999\"",
        &[
            "c.toml:5: media.ports: `30000-29999` does not hold the four ports of one call — write a last port of 30003 or above",
        ],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"30000\"",
        &["c.toml:5: media.ports: `30000` is no range of ports — write FIRST-LAST, e.g. \"30000-59999\""],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"80-99\"",
        &["c.toml:5: media.ports: `80-99` begins below 1024 — write a first port of 1024 to 65532"],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"5000-5999\"",
        &[
            "c.toml:5: media.ports: overlaps with SIP, which listens at udp:127.0.0.1:5060 — write a range without that port",
        ],
    ),
    (
        "bind = \"127.0.0.1\"",
        "bind = \"127.0.0.1\"\nports = \"4000-5061\"\nworkers = 0",
        &[
            "c.toml:5: media.ports: overlaps with SIP, which listens at udp:127.0.0.1:5060 — write a range without that port",
            "c.toml:6: media.workers: 0 is out of range — write a whole number of 1 to 64",
        ],
    ),
    // Files, figures, logs.
    (
        "[media]",
        "[recording]\ndir = \"\"\nkeep = \"1s\"\n[media]",
        &[
            "c.toml:4: recording.dir: `` is no path — write e.g. \"recordings\"",
            "c.toml:5: recording.keep: `1s` is out of range — write a time of 1m to 3650d",
        ],
    ),
    (
        "[media]",
        "[cdr]\nfile = 1\n[media]",
        &["c.toml:4: cdr.file: is a number, not a text — put it in quotation marks: \"1\""],
    ),
    (
        "[media]",
        "[metrics]\n[media]",
        &["c.toml:3: metrics.listen: is missing — write e.g. `listen = \"127.0.0.1:9090\"`"],
    ),
    (
        "[media]",
        "[metrics]\nlisten = \"9090\"\n[media]",
        &["c.toml:4: metrics.listen: `9090` is no address with a port — write \"ADDRESS:PORT\""],
    ),
    (
        "[media]",
        "[log]\nlevel = \"inf\"\nformat = \"xml\"\n[media]",
        &[
            "c.toml:4: log.level: `inf` is not known — did you mean \"info\"?",
            "c.toml:5: log.format: `xml` is not known — write \"text\" or \"json\"",
        ],
    ),
    ("[media]", "[prompts]\n[media]", &["c.toml:3: prompts.dir: is missing — write e.g. `dir = \"prompts\"`"]),
    (
        "[media]",
        "[prompts]\ndir = \"no/such/folder\"\n[media]",
        &[
            "c.toml:4: prompts.dir: there is no folder no/such/folder — make it, or leave [prompts] out to use the default set alone",
        ],
    ),
    // Trunks.
    ("name = \"one\"\n", "\n", &["c.toml:5: trunk[0].name: is missing — write e.g. `name = \"trunk-1\"`"]),
    (
        "name = \"two\"",
        "name = \"one\"",
        &["c.toml:10: trunk[1].name: another trunk has the name `one`, in line 6 — write a name of its own"],
    ),
    (
        "name = \"one\"",
        "name = \"the first\"",
        &["c.toml:6: trunk[0].name: `the first` is no name — write 1 to 64 of the characters A-Z a-z 0-9 . _ -"],
    ),
    (
        "sources = [\"198.51.100.0/24\"]",
        "sources = []",
        &[
            "c.toml:9: trunk[1]: has neither sources nor targets, so nobody can use it — write sources = [\"ADDRESS\"] if it calls, targets = [\"udp:ADDRESS:PORT\"] if it takes calls, smpp = { … } if it only has texts",
        ],
    ),
    (
        "\"192.0.2.0/24\"",
        "\"192.0.2.7/24\"",
        &[
            "c.toml:7: trunk[0].sources[0]: `192.0.2.7/24` has bits beyond its prefix — write \"192.0.2.0/24\" or \"192.0.2.7\"",
        ],
    ),
    (
        "\"192.0.2.0/24\"",
        "\"192.0.2.0/33\"",
        &[
            "c.toml:7: trunk[0].sources[0]: `192.0.2.0/33` has no prefix length of 0 to 32 — write e.g. \"192.0.2.0/32\"",
        ],
    ),
    (
        "\"192.0.2.0/24\"",
        "\"carrier.example\"",
        &[
            "c.toml:7: trunk[0].sources[0]: `carrier.example` is no network — write ADDRESS or ADDRESS/LENGTH, e.g. \"192.0.2.0/24\"",
        ],
    ),
    (
        "\"198.51.100.0/24\"",
        "\"192.0.2.0/24\"",
        &[
            "c.toml:11: trunk[1].sources[0]: 192.0.2.0/24 calls for trunk `one` already — write it once, or a longer prefix here",
        ],
    ),
    (
        "sources = [\"198.51.100.0/24\"]",
        "targets = [\"upd:1.2.3.4:5060\"]",
        &[
            "c.toml:11: trunk[1].targets[0]: `upd:1.2.3.4:5060` is no target — write udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT, or udp:HOST:PORT, udp:HOST or HOST, to look HOST up",
        ],
    ),
    (
        "udp:192.0.2.10:5060",
        "tcp:sip.carrier.example",
        &[
            "c.toml:8: trunk[0].targets[0]: we do not listen at tcp, so we cannot send from there — add \"tcp:ADDRESS:PORT\" to listen in [sip]",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nprobe_every = \"500ms\"",
        &["c.toml:7: trunk[0].probe_every: 500ms is too often — write a time of 1s to 1h, or \"0s\" for never"],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nprobe_every = \"2h\"",
        &["c.toml:7: trunk[0].probe_every: `2h` is out of range — write a time of 0s to 1h"],
    ),
    // DNS.
    (
        "[media]",
        "[dns]\nservers = [\"192.0.2.53\", \"0.0.0.0:53\", \"192.0.2.53:0\"]\ntimeout = \"1m\"\nsearch = true\n[media]",
        &[
            "c.toml:4: dns.servers[0]: `192.0.2.53` is no address with a port — write \"ADDRESS:PORT\"",
            "c.toml:4: dns.servers[1]: nobody can be asked at 0.0.0.0:53 — write the address and the port of a DNS server, e.g. \"192.0.2.53:53\"",
            "c.toml:4: dns.servers[2]: nobody can be asked at 192.0.2.53:0 — write the address and the port of a DNS server, e.g. \"192.0.2.53:53\"",
            "c.toml:5: dns.timeout: `1m` is out of range — write a time of 100ms to 30s",
            "c.toml:6: dns.search: `search` is no key — known here: servers, timeout",
        ],
    ),
    (
        "udp:192.0.2.10:5060",
        "udp:192.0.2.10:0",
        &[
            "c.toml:8: trunk[0].targets[0]: nobody can be reached at 192.0.2.10:0 — write the address and the port that the peer takes calls at",
        ],
    ),
    (
        "udp:192.0.2.10:5060",
        "tcp:192.0.2.10:5060",
        &[
            "c.toml:8: trunk[0].targets[0]: we do not listen at tcp with IPv4, so we cannot send from there — add \"tcp:ADDRESS:PORT\" with an IPv4 address to listen in [sip]",
        ],
    ),
    (
        "udp:192.0.2.10:5060",
        "udp:[2001:db8::1]:5060",
        &[
            "c.toml:8: trunk[0].targets[0]: we do not listen at udp with IPv6, so we cannot send from there — add \"udp:ADDRESS:PORT\" with an IPv6 address to listen in [sip]",
        ],
    ),
    (
        "udp:192.0.2.10:5060",
        "udp:127.0.0.1:5060",
        &[
            "c.toml:8: trunk[0].targets[0]: 127.0.0.1:5060 is our own address: calls would come back to us — write the address of the peer",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nread = { country = 0, area = \"755\", strip = [\"a\"], caller_in = [], called_in = \"form\" }",
        &[
            "c.toml:7: trunk[0].read.country: 0 is out of range — write a whole number of 1 to 999",
            "c.toml:7: trunk[0].read.area: `755` is no area code — write it with its 0, e.g. \"0755\"",
            "c.toml:7: trunk[0].read.strip[0]: `a` is no prefix of a number — write 1 to 15 digits",
            "c.toml:7: trunk[0].read.caller_in: names none — write at least one of p-asserted-identity, remote-party-id, from, or leave the key out",
            "c.toml:7: trunk[0].read.called_in: `form` is not known — write \"request-uri\" or \"to\"",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nwrite = { form = \"e164\", prefix = \"abc\", assert_identity = 1 }",
        &[
            "c.toml:7: trunk[0].write.form: `e164` is not known — write \"global\", \"international\", \"00\" or \"national\"",
            "c.toml:7: trunk[0].write.prefix: `abc` is no prefix of a number — write at most 15 of 0-9 + * #",
            "c.toml:7: trunk[0].write.assert_identity: is a number, not true or false — write true or false, without quotation marks",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\ncodecs = [\"PCMA\", \"PCMA\", \"G729\"]\nmedia_source = \"learned\"",
        &[
            "c.toml:7: trunk[0].codecs[1]: stands here twice — leave one of the two out",
            "c.toml:7: trunk[0].codecs[2]: `G729` is not known — write \"PCMA\" or \"PCMU\"",
            "c.toml:8: trunk[0].media_source: `learned` is not known — did you mean \"learn\"?",
        ],
    ),
    // Passwords: what is wrong with one is said, what it is is not.
    (
        "name = \"two\"",
        "name = \"two\"\nauth.password = kingfisher",
        &["c.toml:11: string values must be quoted — put the text in quotation marks"],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nauth = { user = \"a:b\", password = 12345, realm = \"\" }",
        &[
            "c.toml:7: trunk[0].auth.user: `a:b` holds a colon — write the user alone, without a colon",
            "c.toml:7: trunk[0].auth.password: is a number, not a text — write 1 to 256 bytes in quotation marks, without control characters",
            "c.toml:7: trunk[0].auth.realm: is empty — write 1 to 256 bytes without control characters",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nauth.user = \"a\"\nauth.password = \"line\\nline\"\nchallenge = { password_file = 1 }",
        &[
            "c.toml:8: trunk[0].auth.password: holds a line end or another control character — write 1 to 256 bytes in quotation marks, without control characters",
            "c.toml:9: trunk[0].challenge.realm: is missing — write e.g. `realm = \"axbridge.example\"`",
            "c.toml:9: trunk[0].challenge.user: is missing — write e.g. `user = \"NAME\"`",
            "c.toml:9: trunk[0].challenge.password_file: is a number, not a text — put it in quotation marks: \"1\"",
        ],
    ),
    (
        "name = \"two\"",
        "name = \"two\"\nchallenge = { realm = \"r\", user = \"u\", algorithms = [\"SHA256\", \"MD5\", \"MD5\"], password_file = \"\" }",
        &[
            "c.toml:11: trunk[1].challenge.password: is missing — write e.g. `password = \"SECRET\"`",
            "c.toml:11: trunk[1].challenge.algorithms[0]: `SHA256` is not known — did you mean \"SHA-256\"?",
            "c.toml:11: trunk[1].challenge.algorithms[2]: stands here twice — leave one of the two out",
        ],
    ),
    (
        "name = \"two\"",
        "name = \"two\"\nchallenge = { realm = \"r\", user = \"u\", password = \"\", password_file = \"p\" }",
        &["c.toml:11: trunk[1].challenge.password_file: stands beside password — leave one of the two out"],
    ),
    (
        "name = \"two\"",
        "name = \"two\"\nauth = { user = \"u\", password = \"p\" }",
        &[
            "c.toml:11: trunk[1].auth: answers who challenges our calls, but this trunk takes none — write `targets`, or leave auth out",
        ],
    ),
    (
        "sources = [\"192.0.2.0/24\"]",
        "challenge = { realm = \"r\", user = \"u\", password = \"p\" }",
        &[
            "c.toml:7: trunk[0].challenge: challenges who calls, but this trunk never does — write `sources`, or leave challenge out",
        ],
    ),
    // Applications and prompts.
    (
        "name = \"shop\"",
        "name = \"shop\"\n[[app]]\nname = \"shop\"",
        &["c.toml:15: app[1].name: another app has the name `shop`, in line 13 — write a name of its own"],
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nhint_tone = \"zh/hint-tone.wav\"",
        &[
            "c.toml:14: app[0].hint_tone: `zh/hint-tone.wav` is neither in the folder of prompts nor in the default set — did you mean \"zh/hint_tone.wav\"?",
        ],
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nhint_tone = \"own.wav\"",
        &[
            "c.toml:14: app[0].hint_tone: `own.wav` is neither in the folder of prompts nor in the default set — put the file into the folder of [prompts] dir, or write \"\" for none",
        ],
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nhint_tone = \"/etc/passwd\"",
        &[
            "c.toml:14: app[0].hint_tone: `/etc/passwd` is not a path below the folder of prompts — write a name such as \"zh/busy.wav\", or \"\" for none",
        ],
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nlanguage = \"fr\"\nsafety_ceiling = \"5h\"",
        &[
            "c.toml:14: app[0].language: `fr` is not known — write \"zh\" or \"en\"",
            "c.toml:15: app[0].safety_ceiling: `5h` is out of range — write a time of 1s to 4h",
        ],
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nprompts.busy = \"zh/busi.wav\"\nprompts.enter_extensions = \"\"\nprompts.no_callee = \"zh/no_calee.wav\"\nprompts.song = \"\"",
        &[
            "c.toml:14: app[0].prompts.busy: `zh/busi.wav` is neither in the folder of prompts nor in the default set — did you mean \"zh/busy.wav\"?",
            "c.toml:15: app[0].prompts.enter_extensions: `enter_extensions` is no key — did you mean `enter_extension`?",
            "c.toml:16: app[0].prompts.no_callee: `zh/no_calee.wav` is neither in the folder of prompts nor in the default set — did you mean \"zh/no_callee.wav\"?",
            "c.toml:17: app[0].prompts.song: `song` is no key — known here: ringback, busy, no_permission, no_binding, service_fault, last_minute, enter_extension, wrong_extension, empty_extension, no_callee, no_call_back",
        ],
    ),
    // Calls to one who calls already, and extensions.
    (
        "name = \"one\"",
        "name = \"one\"\nwrite.shows_caller = \"yes\"\nask_extension = \"answer\"",
        &[
            "c.toml:7: trunk[0].write.shows_caller: is a text, not true or false — write true or false, without quotation marks",
            "c.toml:8: trunk[0].ask_extension: `answer` is not known — did you mean \"answered\"?",
        ],
    ),
    (
        "name = \"one\"",
        "name = \"one\"\nask_extension = true",
        &["c.toml:7: trunk[0].ask_extension: is true or false, not a word — write \"answered\" or \"early\""],
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nsecond_call = \"busy\"\ncall_back_number = \"+8613800000009\"",
        &[
            "c.toml:14: app[0].second_call: `busy` is not known — write \"refuse\" or \"offer\"",
            "c.toml:15: app[0].call_back_number: is whom A calls back by an X with extensions, and this app has none — write mode = \"axe\" here, or leave it out",
        ],
    ),
    (
        "[[number]]",
        "[[app]]\nname = \"desks\"\nmode = \"axe\"\ncall_back_number = \"+8675512340001\"\n[[number]]",
        &["c.toml:18: app[1].call_back_number: +86755****0001 is a virtual number — write a real number"],
    ),
    (
        "[[number]]",
        "[[app]]\nname = \"desks\"\nmode = \"axe\"\ncall_back_number = \"+864008001234\"\n[[app]]\nname = \"more\"\nmode = \"axe\"\ncall_back_number = \"0755-2878 0001\"\n[[number]]",
        &[
            "c.toml:18: app[1].call_back_number: +86400***1234 is no number of a mobile or a fixed line of +86 — write a mobile or fixed-line number",
            "c.toml:22: app[2].call_back_number: `0755-2878 0001` is no number in global form: it does not begin with + and a country code — write \"+8675528780001\"",
        ],
    ),
    // Numbers.
    ("app = \"shop\"", "app = \"shp\"", &["c.toml:17: number[0].app: there is no app `shp` — did you mean \"shop\"?"]),
    ("app = \"shop\"", "", &["c.toml:15: number[0].app: is missing — write e.g. `app = \"NAME\"`"]),
    (
        "name = \"shop\"",
        "name = \"online-shop\"",
        &["c.toml:17: number[0].app: there is no app `shop` — known: online-shop"],
    ),
    (
        "trunk = \"one\"",
        "trunk = \"three\"",
        &["c.toml:18: number[0].trunk: there is no trunk `three` — known: one, two"],
    ),
    (
        "trunk = \"one\"",
        "trunk = \"two\"",
        &["c.toml:18: number[0].trunk: trunk `two` takes no calls — give that trunk `targets`"],
    ),
    (
        "targets = [\"udp:192.0.2.10:5060\"]\n[[trunk]]\nname = \"two\"\nsources = [\"198.51.100.0/24\"]\n",
        "[[trunk]]\nname = \"two\"\ntargets = [\"udp:192.0.2.10:5060\"]\n",
        &["c.toml:17: number[0].trunk: trunk `one` takes no calls — give that trunk `targets`"],
    ),
    (
        "trunk = \"one\"",
        "[[number]]\nx = \"+8675512340001\"\napp = \"shop\"",
        &["c.toml:19: number[1].x: stands in line 16 already — leave one of the two out"],
    ),
    (
        "trunk = \"one\"",
        "[[number]]\nx = \"+8675512340000\"\nlast = \"+8675512349999\"\napp = \"shop\"",
        &["c.toml:19: number[1].x: +86755****0001 stands in line 16 already — write each number once"],
    ),
    (
        "trunk = \"one\"",
        "last = \"+8675512350001\"",
        &[
            "c.toml:18: number[0].last: makes 10001 numbers of this section — write at most 10000 a section, here up to \"+8675512350000\"",
        ],
    ),
    (
        "trunk = \"one\"",
        "last = \"+8675512340000\"",
        &["c.toml:18: number[0].last: comes before x — write \"+8675512340001\" or more, or leave it out"],
    ),
    (
        "trunk = \"one\"",
        "last = \"+86755123400010\"",
        &["c.toml:18: number[0].last: has not as many digits as x — write both with the same number of digits"],
    ),
    (
        "trunk = \"one\"",
        "last = 75512340002",
        &[
            "c.toml:18: number[0].last: `75512340002` is no number in global form: it is not a text in quotation marks — write \"+8675512340002\"",
        ],
    ),
    (
        "trunk = \"one\"",
        "[[number]]\nx = \"+85999\"\nlast = \"+86100\"\napp = \"shop\"",
        &["c.toml:20: number[1].last: passes +860…, which is no number — write two sections"],
    ),
    // 700 numbers.
    (
        "trunk = \"one\"",
        "[[number]]\nx = \"+8670012345678\"\napp = \"shop\"",
        &[
            "c.toml:19: number[1].x: is a managed 700 number of 11 digits, and nobody dials those — write 15 digits, or all that it has: x = \"+86700123456780000\" and last = \"+86700123456789999\"",
        ],
    ),
    (
        "trunk = \"one\"",
        "[[app]]\nname = \"desks\"\nmode = \"axe\"\n[[number]]\nx = \"+86700123456780001\"\napp = \"desks\"",
        &[
            "c.toml:22: number[1].x: has the extension of an app of mode axe in it — write the 11 digits that are managed: \"+8670012345678\"",
        ],
    ),
    (
        "[[number]]",
        "[numbering]\nonly_700 = true\n[[number]]",
        &[
            "c.toml:18: number[0].x: is no 700 number, and nothing else may be an X — write a 700 number, or only_700 = false in [numbering]",
        ],
    ),
    (
        "[[number]]",
        "[numbering]\nonly_700 = 1\nonly_400 = true\n[[number]]",
        &[
            "c.toml:16: numbering.only_700: is a number, not true or false — write true or false, without quotation marks",
            "c.toml:17: numbering.only_400: `only_400` is no key — did you mean `only_700`?",
        ],
    ),
    (
        "x = \"+8675512340001\"",
        "x = \"075512340001\"",
        &[
            "c.toml:16: number[0].x: `075512340001` is no number in global form: it does not begin with + and a country code — write \"+8675512340001\"",
        ],
    ),
    // Bindings.
    (
        "a = \"+8613800000001\"",
        "a = \"13800000001\"",
        &[
            "c.toml:21: binding[0].a: `13800000001` is no number in global form: it does not begin with + and a country code — write \"+8613800000001\"",
        ],
    ),
    (
        "a = \"+8613800000001\"",
        "a = 13800000001",
        &[
            "c.toml:21: binding[0].a: `13800000001` is no number in global form: it is not a text in quotation marks — write \"+8613800000001\"",
        ],
    ),
    (
        "a = \"+8613800000001\"",
        "a = \"0755-2878 0001\"",
        &[
            "c.toml:21: binding[0].a: `0755-2878 0001` is no number in global form: it does not begin with + and a country code — write \"+8675528780001\"",
        ],
    ),
    (
        "a = \"+8613800000001\"",
        "a = \"anonymous\"",
        &[
            "c.toml:21: binding[0].a: `anonymous` is no number in global form: it does not begin with + and a country code — write e.g. \"+8613800000001\": +, country, number",
        ],
    ),
    ("a = \"+8613800000001\"\n", "", &["c.toml:19: binding[0].a: is missing — write e.g. `a = \"+8613800000001\"`"]),
    (
        "a = \"+8613800000003\"",
        "a = \"+8613800000001\"",
        &[
            "c.toml:25: binding[1].a: +86138****0001 is bound on this x already, in line 19 — bind it on another x: a number occurs on an x only once",
        ],
    ),
    (
        "b = \"+8613900000004\"",
        "b = \"+8613800000001\"",
        &[
            "c.toml:26: binding[1].b: +86138****0001 is bound on this x already, in line 19 — bind it on another x: a number occurs on an x only once",
        ],
    ),
    (
        "b = \"+8613900000002\"",
        "b = \"+8613800000001\"",
        &["c.toml:22: binding[0].b: is the same number as a — write two different numbers"],
    ),
    (
        "b = \"+8613900000002\"",
        "b = \"+8675512340001\"",
        &["c.toml:22: binding[0].b: +86755****0001 is a virtual number — write the party's real number"],
    ),
    (
        "b = \"+8613900000002\"",
        "b = \"+864008001234\"",
        &[
            "c.toml:22: binding[0].b: +86400***1234 is a service number (400, 800, 95 or 96) — write a mobile or fixed-line number",
        ],
    ),
    (
        "x = \"+8675512340001\"\na",
        "x = \"+8675512340002\"\na",
        &[
            "c.toml:20: binding[0].x: is no virtual number of ours — add [[number]] with x = \"+8675512340001\"",
            "c.toml:24: binding[1].x: is no virtual number of ours — add [[number]] with x = \"+8675512340001\"",
        ],
    ),
    (
        "b = \"+8613900000002\"",
        "b = \"+8613900000002\"\ndirection = 1\nmax_minutes = 1441\nrecord = 1",
        &[
            "c.toml:23: binding[0].direction: is a number, not a word — write \"both\", \"a-to-b\" or \"b-to-a\"",
            "c.toml:24: binding[0].max_minutes: 1441 is out of range — write a whole number of 0 to 1440",
            "c.toml:25: binding[0].record: is a number, not true or false — write true or false, without quotation marks",
        ],
    ),
    (
        "recording = true\n[[number]]\nx = \"+8675512340001\"\napp = \"shop\"\ntrunk = \"one\"\n[[binding]]",
        "[[number]]\nx = \"+8675512340001\"\napp = \"shop\"\ntrunk = \"one\"\n[[binding]]\nrecord = true",
        &["c.toml:19: binding[0].record: app `shop` does not allow recording — write recording = true for that app"],
    ),
    (
        "b = \"+8613900000002\"",
        "b = \"+8613900000002\"\nid = \"7\"",
        &[
            "c.toml:23: binding[0].id: `7` is no UUID — write a UUID, e.g. \"7d5b2b0e-3a67-4c55-9d3a-5f0e6f2c9a01\", or leave it out",
        ],
    ),
    (
        "b = \"+8613900000002\"",
        "b = \"+8613900000002\"\nrecord_hint_tone = \"zh/nothing.wav\"\nlast_minute_prompt = \"\"",
        &[
            "c.toml:23: binding[0].record_hint_tone: `zh/nothing.wav` is neither in the folder of prompts nor in the default set — put the file into the folder of [prompts] dir, or write \"\" for none",
        ],
    ),
];

#[test]
fn every_mistake_is_named_with_its_line_its_key_and_the_mend() {
    assert_eq!(complaints(SMALL), [""; 0]);
    for (good, bad, expected) in BROKEN {
        assert!(SMALL.contains(good), "{good}");
        assert_eq!(complaints(&SMALL.replacen(good, bad, 1)), *expected, "{good} → {bad}");
    }
}

#[test]
fn all_mistakes_of_a_file_come_in_one_go() {
    let text = SMALL
        .replace("listen =", "lisen =")
        .replace("\"192.0.2.0/24\"", "\"192.0.2.0/99\"")
        .replace("recording = true", "recording = maybe")
        .replace("\"+8613800000003\"", "\"+8613900000002\"");
    let lines: Vec<usize> =
        parse(&text, Path::new("c.toml")).unwrap_err().iter().map(|complaint| complaint.line).collect();
    // Line 1 misses `listen`: not said, since line 14 cannot be read and might hold anything.
    assert_eq!(lines, [2, 7, 14, 25]);
}

#[test]
fn a_file_without_anything_says_what_it_needs() {
    assert_eq!(
        complaints(""),
        [
            "c.toml:1: sip: is missing — write [sip] with at least `listen`",
            "c.toml:1: media: is missing — write [media] with at least `bind`",
            "c.toml:1: trunk: is missing — add [[trunk]] with name, sources and targets: without one nobody can call",
        ]
    );
}

#[test]
fn a_number_whose_calls_go_nowhere_is_complained_of() {
    let text = SMALL.replace("targets = [\"udp:192.0.2.10:5060\"]\n", "").replace("trunk = \"one\"\n", "");
    assert_eq!(
        complaints(&text),
        ["c.toml:14: number[0].trunk: is missing, and no trunk both calls and takes calls — write the trunk that its \
          calls go out by"]
    );
}

#[test]
fn the_same_id_twice_is_complained_of() {
    let id = "id = \"7d5b2b0e-3a67-4c55-9d3a-5f0e6f2c9a01\"\n";
    let text = SMALL.replace("b = \"+8613900000002\"\n", &format!("b = \"+8613900000002\"\n{id}")) + id;
    assert_eq!(
        complaints(&text),
        ["c.toml:28: binding[1].id: another binding has this id, in line 19 — write an id of its own, or leave it out"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_complained_of_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let [complaint] = &load(&missing).unwrap_err()[..] else { panic!("one complaint") };
    assert!(complaint.to_string().starts_with(&format!("{}: cannot be read: ", missing.display())), "{complaint}");

    let latin = folder.path().join("latin.toml");
    std::fs::write(&latin, b"[sip]\n# caf\xe9\n").unwrap();
    let [complaint] = &load(&latin).unwrap_err()[..] else { panic!("one complaint") };
    assert_eq!(complaint.to_string(), format!("{}:2: is not UTF-8 — save the file as UTF-8", latin.display()));
}

#[test]
fn a_prompt_that_cannot_be_played_is_complained_of_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("sounds/zh")).unwrap();
    std::fs::write(folder.path().join("sounds/own.wav"), "no sound").unwrap();
    // This one takes the place of the default set's.
    std::fs::write(folder.path().join("sounds/zh/busy.wav"), "no sound").unwrap();
    let text = SMALL.replace("recording = true", "hint_tone = \"own.wav\"") + "[prompts]\ndir = \"sounds\"\n";
    let complaints = parse(&text, &folder.path().join("c.toml")).unwrap_err();
    let places: Vec<(usize, &str)> = complaints.iter().map(|complaint| (complaint.line, &*complaint.key)).collect();
    assert_eq!(places, [(12, "app[0].prompts.busy"), (14, "app[0].hint_tone")]);
    for complaint in complaints {
        assert_eq!(complaint.mend, "make it a WAV of at most 2 MB: 8,000 Hz, mono, A-law or 16-bit PCM");
    }
}

fn secrets(config: &Config) -> (sip::digest::Credentials, sip::digest::Account) {
    let trunk = &config.settings.trunks[1];
    ((**trunk.auth.as_ref().unwrap()).clone(), (**trunk.challenge.as_ref().unwrap()).clone())
}

#[test]
fn a_short_message_service_centre_is_read_and_its_mistakes_are_named() {
    use ::smpp::{DefaultAlphabet, Long};
    use b2bua::settings::TextBy;

    const GOOD: &str = "smpp.address = \"smsc.example\"\nsmpp.system_id = \"id\"\nsmpp.password = \"hush-hush\"\n";
    let with = |lines: &str| {
        let lines = lines.replace("hush-hush", "hush");
        SMALL.replace("sources = [\"198.51.100.0/24\"]\n", &format!("{lines}\n"))
    };
    let config = parse(&with(GOOD), Path::new("c.toml")).unwrap();
    assert_eq!(
        config.settings.trunks.iter().map(|trunk| trunk.texts.by).collect::<Vec<_>>(),
        [TextBy::Sip, TextBy::Driver]
    );
    let [smsc] = &config.smscs[..] else { panic!("one trunk has one") };
    assert_eq!((&*smsc.trunk, smsc.port, &smsc.tls), ("two", 2_775, &None));
    assert_eq!((&*smsc.link.password, &*smsc.link.system_type), ("hush", ""));
    assert_eq!((smsc.link.alphabet, smsc.link.long, smsc.link.window), (DefaultAlphabet::Gsm, Long::Udh, 10));
    assert!(!format!("{config:?}").contains("hush"), "a password is not shown");

    let full = format!(
        "{GOOD}smpp.alphabet = \"unused\"\nsmpp.long = \"payload\"\nsmpp.window = 1\nsmpp.enquire_every = \"1m\"\n\
         smpp.response_timeout = \"5s\"\nsmpp.system_type = \"VN\"\n"
    )
    .replace("smsc.example", "[2001:db8::1]:2776");
    let config = parse(&with(&full), Path::new("c.toml")).unwrap();
    let smsc = &config.smscs[0];
    assert_eq!((&smsc.host, smsc.port), (&sip::locate::Host::Address("2001:db8::1".parse().unwrap()), 2_776));
    assert_eq!((smsc.link.alphabet, smsc.link.long, smsc.link.window), (DefaultAlphabet::Unused, Long::Payload, 1));

    for (lines, said) in [
        ("smpp = {}".to_owned(), &["smpp.address", "smpp.system_id", "smpp.password"][..]),
        (GOOD.replace("smsc.example", "no host"), &["smpp.address"]),
        (GOOD.replace("\"id\"", "\"sixteen-letters-\""), &["smpp.system_id"]),
        (GOOD.replace("hush-hush", "geheimnis"), &["smpp.password"]),
        (GOOD.replace("\"id\"", "\"ünï\""), &["smpp.system_id"]),
        (format!("{GOOD}smpp.window = 0"), &["smpp.window"]),
        (format!("{GOOD}smpp.long = \"cut\""), &["smpp.long"]),
        (format!("{GOOD}smpp.alphabet = \"gbk\""), &["smpp.alphabet"]),
        (format!("{GOOD}smpp.response_timeout = \"25s\""), &["smpp.response_timeout"]),
        (format!("{GOOD}smpp.colour = 1"), &["smpp.colour"]),
    ] {
        let found = complaints(&with(&lines));
        assert_eq!(found.len(), said.len(), "{lines}: {found:?}");
        for (complaint, key) in found.iter().zip(said) {
            assert!(complaint.contains(&format!("trunk[1].{key}")) || complaint.contains(key), "{complaint}");
            assert!(!complaint.contains("geheimnis"), "a password is shown: {complaint}");
        }
    }
}

#[test]
fn passwords_of_both_directions_arrive_and_are_never_printed() {
    use sip::digest::{Account, Credentials, Hash, Password};

    let config = parse(AXBRIDGE, &etc("axbridge.toml")).unwrap();
    let trunk = &config.settings.trunks[0];
    assert!(trunk.auth.is_none() && trunk.challenge.is_none());
    let (auth, challenge) = secrets(&config);
    let expected = Credentials {
        user: "axbridge".into(),
        password: Password::new(&b"change-me-1"[..]),
        realm: Some("carrier-2.example".into()),
    };
    assert_eq!(auth, expected);
    let expected = Account {
        realm: "axbridge.example".into(),
        user: "carrier-2".into(),
        password: Password::new(&b"change-me-2"[..]),
        hashes: vec![Hash::Sha256, Hash::Md5],
    };
    assert_eq!(challenge, expected);
    let bytes = format!("{:?}", b"change-me");
    for printed in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(!printed.contains("change-me") && !printed.contains(bytes.trim_matches(['[', ']'])));
    }
    // Without the keys that may be left away.
    let text = AXBRIDGE.replace("auth.realm = \"carrier-2.example\"\n", "");
    let text = text
        .replace("challenge.algorithms = [\"SHA-256\", \"MD5\"]\n", "")
        .replace("challenge.password_file = \"\"\n", "");
    let (auth, short) = secrets(&parse(&text, &etc("axbridge.toml")).unwrap());
    assert_eq!((auth.realm, short), (None, challenge));
    let text = AXBRIDGE.replace("[\"SHA-256\", \"MD5\"]", "[\"MD5\"]");
    assert_eq!(secrets(&parse(&text, &etc("axbridge.toml")).unwrap()).1.hashes, [Hash::Md5]);
}

#[test]
fn a_password_may_stand_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let text = SMALL.replace("name = \"one\"", "name = \"one\"\nauth = { user = \"u\", password_file = \"keys/one\" }");
    let read = || parse(&text, &folder.path().join("c.toml"));
    let said = || match &read().unwrap_err()[..] {
        [complaint] => {
            let mend = "make it a file of one line of at most 256 bytes that this user may read";
            assert_eq!((complaint.line, &*complaint.key, &*complaint.mend), (7, "trunk[0].auth.password_file", mend));
            complaint.problem.clone()
        }
        complaints => panic!("{complaints:?}"),
    };
    assert!(said().starts_with("`keys/one` cannot be read: "));
    std::fs::create_dir_all(folder.path().join("keys/one")).unwrap();
    assert_eq!(said(), "`keys/one` is no file");
    std::fs::remove_dir(folder.path().join("keys/one")).unwrap();
    let long = [b'p'; 300];
    for (content, problem) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"kingfisher\n\n", "holds a line end or another control character"),
        (b"king\0fisher", "holds a line end or another control character"),
        (&long[..257], "is too long"),
        (&long, "is too long"),
    ] {
        std::fs::write(folder.path().join("keys/one"), content).unwrap();
        assert_eq!(said(), format!("`keys/one` {problem}"));
    }
    for (content, password) in [
        (&b"kingfisher"[..], &b"kingfisher"[..]),
        (b"kingfisher\n", b"kingfisher"),
        (b"king fisher \r\n", b"king fisher "),
        (b"\xff\"'", b"\xff\"'"),
        (&long[..256], &long[..256]),
    ] {
        std::fs::write(folder.path().join("keys/one"), content).unwrap();
        let config = read().unwrap();
        assert_eq!(config.settings.trunks[0].auth.as_ref().unwrap().password, sip::digest::Password::new(password));
    }
}

fn with_pairs(numbers: u64, pairs: u64) -> String {
    use std::fmt::Write as _;
    let mut text = SMALL.split_once("[[number]]").unwrap().0.to_owned();
    for x in 0..numbers {
        writeln!(text, "[[number]]\nx = \"+8675512{x:06}\"\napp = \"shop\"\ntrunk = \"one\"").unwrap();
    }
    for pair in 0..numbers * pairs {
        let x = pair / pairs;
        writeln!(text, "[[binding]]\nx = \"+8675512{x:06}\"\na = \"+86138{pair:08}\"\nb = \"+86139{pair:08}\"")
            .unwrap();
        writeln!(text, "record = true\ncaller_hint_tone = \"zh/announcement.wav\"").unwrap();
    }
    text
}

#[test]
fn many_pairs_on_many_numbers_load_and_no_two_share_an_id() {
    let config = parse(&with_pairs(10, 300), Path::new("c.toml")).unwrap();
    let ids: std::collections::HashSet<_> = config.bindings.iter().map(|binding| binding.id).collect();
    assert_eq!((config.numbers.len(), config.bindings.len(), ids.len()), (10, 3_000, 3_000));
    let name = |place: usize| config.bindings[place].voice.as_ref().unwrap().caller_hint_tone.clone().unwrap();
    assert!(std::sync::Arc::ptr_eq(&name(0), &name(2_999)), "a name is kept once");
}

#[test]
fn more_numbers_than_there_may_be_are_complained_of_once() {
    use std::fmt::Write as _;
    let mut text = SMALL.split_once("[[number]]").unwrap().0.to_owned();
    for begin in 0..110 {
        let range = format!("x = \"+8613{begin:05}0000\"\nlast = \"+8613{begin:05}9999\"");
        writeln!(text, "[[number]]\n{range}\napp = \"shop\"\ntrunk = \"one\"").unwrap();
    }
    let complaints = complaints(&text);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].ends_with(" — leave some out"), "{complaints:?}");
}

#[test]
fn more_pairs_than_a_number_carries_are_complained_of() {
    let complaints = complaints(&with_pairs(1, 5_002));
    assert_eq!(complaints.len(), 2);
    assert!(complaints[0].starts_with("c.toml:30020: binding[5000].x: "), "{}", complaints[0]);
}

/// A small generator, seeded (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

fn mutated(text: &str, dice: &mut Dice) -> String {
    const BITS: [&str; 28] = [
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "#",
        "\\",
        "\"\"\"",
        "'''",
        "\0",
        "\r",
        "\u{feff}",
        "号",
        "-1",
        "1e999",
        "0x",
        "99999999999999999999",
        "1979-05-27",
        "[[[[[[[[[[[[[[[[",
        "[trunk.read]\n",
        "[[binding]]\n",
    ];
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len());
        let end = (at + dice.below(40)).min(bytes.len());
        match dice.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, BITS[dice.below(BITS.len())].bytes())),
            2 => drop(bytes.splice(at..end, BITS[dice.below(BITS.len())].bytes())),
            3 => {
                let piece = bytes[at..end].to_vec();
                let to = dice.below(bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            _ => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
        }
        if bytes.is_empty() {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_file_broken_at_random_never_panics_and_each_complaint_has_its_place() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut good = 0;
    for round in 0..1_000 {
        // The shipped file names a folder of prompts, which is not there in these rounds.
        let whole = AXBRIDGE.replace("[prompts]\ndir = \"prompts\"\n", "");
        let text = mutated(if round % 3 == 0 { &whole } else { SMALL }, &mut dice);
        let lines = text.split('\n').count();
        match parse(&text, Path::new("/no/such/folder/c.toml")) {
            Ok(_) => good += 1,
            Err(complaints) => {
                assert!(!complaints.is_empty(), "round {round}: refused without a word");
                for complaint in complaints {
                    let placed = (1..=lines).contains(&complaint.line) && complaint.column >= 1;
                    assert!(placed, "round {round}: {complaint}");
                    assert!(!complaint.problem.is_empty() && !complaint.mend.is_empty(), "round {round}: {complaint}");
                }
            }
        }
    }
    assert!((50..950).contains(&good), "{good} of 1,000 were good: the mutations test little");
}

#[test]
fn every_end_of_the_shipped_file_is_read_without_a_panic() {
    for end in (0..AXBRIDGE.len()).step_by(23).filter(|end| AXBRIDGE.is_char_boundary(*end)) {
        let _ = parse(&AXBRIDGE[..end], Path::new("/no/such/folder/c.toml"));
    }
}
