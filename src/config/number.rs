//! `[[number]]` and `[[binding]]`: virtual numbers and who reaches whom through them; and how trunks spell numbers.

use std::collections::HashMap;
use std::sync::Arc;

use b2bua::settings::App;
use numbering::{
    AppId, Area, Axb, BindError, Binding, Bindings, CallDirection, Form, Limits, Mode, Number, NumberState, ReadRule,
    SubscriptionId, VirtualNumber, Voice, WriteRule,
};
use toml::de::DeValue;

use super::app::{self, Apps};
use super::complaint::{Fault, Report};
use super::section::Section;
use super::trunk::Trunks;
use super::value;
use crate::prompts::Library;

pub(super) const NUMBER: &[&str] = &["x", "app", "trunk", "area", "state"];
pub(super) const BINDING: &[&str] = &[
    "x",
    "a",
    "b",
    "direction",
    "max_minutes",
    "record",
    "record_hint_tone",
    "caller_hint_tone",
    "callee_hint_tone",
    "last_minute_prompt",
    "user_data",
    "id",
];

/// The longest `userData` of the API, in bytes.
const MAX_USER_DATA: usize = 256;

const STATES: &[(&str, NumberState)] = &[
    ("normal", NumberState::Normal),
    ("suspended", NumberState::Suspended),
    ("unavailable", NumberState::Unavailable),
    ("frozen", NumberState::Frozen),
];
const DIRECTIONS: &[(&str, CallDirection)] =
    &[("both", CallDirection::Both), ("a-to-b", CallDirection::AToB), ("b-to-a", CallDirection::BToA)];
const FORMS: &[(&str, Form)] = &[
    ("global", Form::Global),
    ("international", Form::International),
    ("00", Form::Prefixed00),
    ("national", Form::National),
];

/// `read` of a trunk; the default without one.
pub(super) fn read_rule(section: Option<&Section<'_>>, report: &mut Report<'_>) -> ReadRule {
    let mut rule = ReadRule::default();
    let Some(section) = section else { return rule };
    let area_code = |value| area(value).map(|area| area.to_string());
    let strip = |value| {
        let found = value::text(value)?;
        let bare = found.strip_prefix('+').unwrap_or(found);
        let good = (1..=15).contains(&bare.len()) && digits(bare);
        if good { Ok(found.to_owned()) } else { Err(no("prefix of a number", found, "write 1 to 15 digits")) }
    };
    rule.country = section.or("country", rule.country, value::whole(1..=999), report);
    rule.area = section.optional("area", area_code, report);
    rule.strip = section.list("strip", strip, report).into_iter().flatten().collect();
    rule
}

/// `write` of a trunk; the default without one.
pub(super) fn write_rule(section: Option<&Section<'_>>, report: &mut Report<'_>) -> WriteRule {
    let mut rule = WriteRule::default();
    let Some(section) = section else { return rule };
    let prefix = |value| {
        let found = value::text(value)?;
        let good = found.len() <= 15 && found.bytes().all(|byte| byte.is_ascii_digit() || b"+*#".contains(&byte));
        if good { Ok(found.to_owned()) } else { Err(no("prefix of a number", found, "write at most 15 of 0-9 + * #")) }
    };
    rule.form = section.or("form", rule.form, value::word(FORMS), report);
    rule.prefix = section.or("prefix", rule.prefix, prefix, report);
    rule
}

/// An area code with its 0.
fn area(value: &DeValue<'_>) -> Result<Area, Fault> {
    let found = value::text(value)?;
    Area::parse(found).ok_or_else(|| no("area code", found, "write it with its 0, e.g. \"0755\""))
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn no(noun: &str, found: &str, mend: &str) -> Fault {
    Fault::new(format!("{} is no {noun}", value::quote(found)), mend)
}

/// A number in global form. The mend of any other spelling is the number's own global form, where it can be told.
fn number(value: &DeValue<'_>) -> Result<Number, Fault> {
    let (found, problem) = match value {
        DeValue::String(text) => match Number::parse(text) {
            Ok(number) => return Ok(number),
            Err(error) => (text.to_string(), error.to_string()),
        },
        DeValue::Integer(number) => (number.to_string(), "it is not a text in quotation marks".to_owned()),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            return Err(super::section::wrong_kind(value, "a number", "write e.g. \"+8613800000001\""));
        }
    };
    let mend = match ReadRule::default().read(found.as_bytes()) {
        Ok(number) => format!("write \"{}\"", number.reveal()),
        Err(_) => "write e.g. \"+8613800000001\": +, country, number".to_owned(),
    };
    Err(Fault::new(format!("{} is no number in global form: {problem}", value::quote(&found)), mend))
}

/// `[[number]]`, read.
pub(super) struct Numbers {
    pub(super) numbers: Vec<VirtualNumber>,
    /// Each number's application and line.
    known: HashMap<Number, (AppId, usize)>,
    /// A number could not be read: a binding may mean it.
    doubtful: bool,
}

pub(super) fn numbers(root: &Section<'_>, trunks: &Trunks, apps: &Apps, report: &mut Report<'_>) -> Numbers {
    let mut out = Numbers { numbers: Vec::new(), known: HashMap::new(), doubtful: root.is_no_list("number") };
    // A call whose X names no trunk goes back to the trunk that it came from.
    let returns = trunks.uses.iter().any(|usage| usage.calls && usage.takes_calls);
    for section in &root.sections("number", NUMBER, report) {
        let x = section.required("x", "\"+8675512340001\"", number, report);
        if !section.has("app") {
            section.complain("app", super::section::missing("app", "\"NAME\""), report);
        }
        let app = apps.names.refer(section, "app", report);
        let trunk = trunks.names.refer(section, "trunk", report);
        let trunk = trunk.and_then(|place| Some((trunks.trunks.get(place)?, trunks.uses.get(place)?)));
        if let Some((trunk, _)) = trunk.filter(|(_, usage)| !usage.takes_calls) {
            let fault = Fault::absence(format!("trunk `{}` takes no calls", trunk.name), "give that trunk `targets`");
            section.complain("trunk", fault, report);
        }
        if !section.has("trunk") && !returns && !trunks.trunks.is_empty() {
            let problem = "is missing, and no trunk both calls and takes calls";
            section.complain("trunk", Fault::absence(problem, "write the trunk that its calls go out by"), report);
        }
        let Some(x) = x else {
            out.doubtful = true;
            continue;
        };
        // An unknown app has been complained of; the number is known all the same, so that its bindings are not
        // complained of too.
        let app = AppId(u32::try_from(app.unwrap_or(0)).expect("no more than 10,000 apps are read"));
        if let Some((_, line)) = out.known.get(&x) {
            let fault = Fault::new(format!("stands in line {line} already"), "leave one of the two out");
            section.complain("x", fault, report);
            continue;
        }
        out.known.insert(x, (app, report.line(&section.span("x"))));
        let mut number = VirtualNumber::new(x, app, trunk.map(|(trunk, _)| Arc::clone(&trunk.name)));
        number.area = section.optional("area", area, report).or(number.area);
        number.state = section.or("state", number.state, value::word(STATES), report);
        out.numbers.push(number);
    }
    out
}

/// `[[binding]]`: read, and tried one after the other in a table of their own, which knows the rules.
pub(super) fn bindings(
    root: &Section<'_>,
    numbers: &Numbers,
    apps: &mut Apps,
    library: &mut Library,
    report: &mut Report<'_>,
) -> Vec<Axb> {
    let (mut table, _) = Bindings::new(Limits::default());
    for number in &numbers.numbers {
        if let Err(error) = table.add_number(number.clone()) {
            root.complain("number", Fault::new(error.to_string(), "leave some out"), report);
            break;
        }
    }
    let mut lines = Lines::default();
    let mut out = Vec::new();
    for section in &root.sections("binding", BINDING, report) {
        let Some(axb) = axb(section, numbers, apps, library, report) else { continue };
        match table.bind(Binding::Axb(axb.clone())) {
            Ok(()) => {
                lines.note(&axb, report.line(&section.own_span()));
                out.push(axb);
            }
            Err(error) => complain(section, &axb, error, &lines, report),
        }
    }
    out
}

fn axb(
    section: &Section<'_>,
    numbers: &Numbers,
    apps: &mut Apps,
    library: &mut Library,
    report: &mut Report<'_>,
) -> Option<Axb> {
    let x = section.required("x", "\"+8675512340001\"", number, report);
    let a = section.required("a", "\"+8613800000001\"", number, report);
    let b = section.required("b", "\"+8613900000002\"", number, report);
    let app = x.and_then(|x| Some(numbers.known.get(&x)?.0));
    if let (Some(x), None, false) = (x, app, numbers.doubtful) {
        let mend = format!("add [[number]] with x = \"{}\"", x.reveal());
        section.complain("x", Fault::absence("is no virtual number of ours", mend), report);
    }
    let Apps { apps, accounts, .. } = apps;
    let app_of = app.and_then(|app| apps.get_mut(usize::try_from(app.0).ok()?));
    let mode = app.and_then(|app| accounts.get(usize::try_from(app.0).ok()?)).map(|account| account.rules.mode);
    if mode.is_some_and(|mode| mode != Mode::Axb) {
        let fault = Fault::absence(
            "belongs to an app whose bindings are no pairs",
            "bind it by the API, or mend that app's `mode`",
        );
        section.complain("x", fault, report);
    }
    let record = section.or("record", false, value::boolean, report);
    if let Some(app) = app_of.as_ref().filter(|app| record && !app.recording) {
        let problem = format!("app `{}` does not allow recording", app.name);
        section.complain("record", Fault::absence(problem, "write recording = true for that app"), report);
    }
    let voice = voice(section, app_of, library, report);
    let user_data = |value| {
        let found = value::text(value)?;
        if found.len() <= MAX_USER_DATA {
            return Ok(found);
        }
        let problem = format!("has {} bytes", found.len());
        Err(Fault::new(problem, format!("write at most {MAX_USER_DATA}")))
    };
    let id = |value| {
        let found = value::text(value)?;
        let mend = "write a UUID, e.g. \"7d5b2b0e-3a67-4c55-9d3a-5f0e6f2c9a01\", or leave it out";
        SubscriptionId::parse(found).ok_or_else(|| no("UUID", found, mend))
    };
    let direction = section.or("direction", CallDirection::Both, value::word(DIRECTIONS), report);
    let max_minutes = section.or("max_minutes", 0, value::whole(0..=1_440), report);
    let user_text = section.optional("user_data", user_data, report).filter(|text| !text.is_empty());
    let id = section.optional("id", id, report);
    let (x, a, b) = (x?, a?, b?);
    Some(Axb {
        direction,
        max_minutes,
        record,
        voice,
        user_text: user_text.map(Into::into),
        ..Axb::new(id.unwrap_or_else(|| derived_id(x, a, b)), app?, a, x, b)
    })
}

/// The prompts of a binding; the app keeps them, by their names.
fn voice(
    section: &Section<'_>,
    mut app: Option<&mut App>,
    library: &mut Library,
    report: &mut Report<'_>,
) -> Option<Box<Voice>> {
    let mut one = |key| {
        let prompt = app::named_prompt(section, key, library, report)?;
        let name = Arc::clone(&prompt.name);
        if let Some(app) = &mut app {
            app.named.entry(Arc::clone(&name)).or_insert(prompt);
        }
        Some(name)
    };
    let voice = Voice {
        caller_hint_tone: one("caller_hint_tone"),
        callee_hint_tone: one("callee_hint_tone"),
        record_hint_tone: one("record_hint_tone"),
        last_minute: one("last_minute_prompt"),
    };
    (voice != Voice::default()).then(|| Box::new(voice))
}

/// A UUID of version 8 (RFC 9562 §5.8) made from the three numbers: a reload keeps it, so call records before and after
/// name the same binding.
fn derived_id(x: Number, a: Number, b: Number) -> SubscriptionId {
    let lane = |seed: u64| [x, a, b].iter().fold(seed, |state, number| scramble(state ^ number.as_u64()));
    let bits = u128::from(lane(0x6178_6272_6964_6765)) << 64 | u128::from(lane(0x2d62_696e_6469_6e67));
    let versioned = bits & !(0xf << 76) | 8 << 76;
    SubscriptionId(versioned & !(0b11 << 62) | 0b10 << 62)
}

/// The finalizer of SplitMix64: every bit of the state moves half of the bits of the result.
fn scramble(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

/// Where the bindings so far stand.
#[derive(Default)]
struct Lines {
    of_party: HashMap<(Number, Number), usize>,
    of_id: HashMap<SubscriptionId, usize>,
}

impl Lines {
    fn note(&mut self, axb: &Axb, line: usize) {
        self.of_party.insert((axb.x, axb.a), line);
        self.of_party.insert((axb.x, axb.b), line);
        self.of_id.insert(axb.id, line);
    }
}

fn complain(section: &Section<'_>, axb: &Axb, error: BindError, lines: &Lines, report: &mut Report<'_>) {
    let key_of = |party: Number| if party == axb.a { "a" } else { "b" };
    let (key, fault) = match error {
        BindError::NumberTaken(party) => {
            let line = lines.of_party.get(&(axb.x, party)).copied().unwrap_or_default();
            let problem = format!("{party} is bound on this x already, in line {line}");
            (key_of(party), Fault::new(problem, "bind it on another x: a number occurs on an x only once"))
        }
        BindError::Exists => {
            let line = lines.of_id.get(&axb.id).copied().unwrap_or_default();
            let problem = format!("another binding has this id, in line {line}");
            ("id", Fault::new(problem, "write an id of its own, or leave it out"))
        }
        BindError::SameParty => ("b", Fault::new("is the same number as a", "write two different numbers")),
        BindError::PartyIsVirtual(party) => {
            (key_of(party), Fault::new(format!("{party} is a virtual number"), "write the party's real number"))
        }
        BindError::ServiceNumber(party) => {
            let problem = format!("{party} is a service number (400, 800, 95 or 96)");
            (key_of(party), Fault::new(problem, "write a mobile or fixed-line number"))
        }
        BindError::TooManyPairs => ("x", Fault::new(error.to_string(), "spread the pairs over more virtual numbers")),
        BindError::Full
        | BindError::UnknownX
        | BindError::ForeignX
        | BindError::MaxMinutes
        | BindError::NotFound
        | BindError::InUse
        | BindError::NumberState(_)
        | BindError::XTaken
        | BindError::TooManyX
        | BindError::ExtensionTaken(_)
        | BindError::Not700
        | BindError::Managed700
        | BindError::NoneFree
        | BindError::Configured => ("x", Fault::new(error.to_string(), "leave it out")),
    };
    section.complain(key, fault, report);
}
