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
use crate::apps::{Account, Wrong700, is_party};
use crate::prompts::Library;

pub(super) const NUMBERING: &[&str] = &["only_700"];
pub(super) const NUMBER: &[&str] = &["x", "last", "app", "trunk", "area", "state"];
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

/// Numbers of one section: as many as a managed 700 number has.
const MAX_RANGE: u64 = 10_000;
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

/// A number that may be a party (product rule M5).
pub(super) fn party(value: &DeValue<'_>) -> Result<Number, Fault> {
    let found = number(value)?;
    if is_party(found) {
        return Ok(found);
    }
    let problem = format!("{found} is no number of a mobile or a fixed line of +86");
    Err(Fault::new(problem, "write a mobile or fixed-line number"))
}

/// `[numbering]`: whether only numbers of the 700 segment may be an X.
pub(super) fn only_700(root: &Section<'_>, report: &mut Report<'_>) -> bool {
    let section = root.section("numbering", NUMBERING, report);
    section.is_some_and(|section| section.or("only_700", false, value::boolean, report))
}

/// `[[number]]`, read.
pub(super) struct Numbers {
    pub(super) numbers: Vec<VirtualNumber>,
    /// Each number's application and line.
    known: HashMap<Number, (AppId, usize)>,
    /// A number could not be read: a binding may mean it.
    doubtful: bool,
}

impl Numbers {
    /// Whether it is an X.
    pub(super) fn knows(&self, number: Number) -> bool {
        self.known.contains_key(&number)
    }
}

pub(super) fn numbers(
    root: &Section<'_>,
    only_700: bool,
    trunks: &Trunks,
    apps: &Apps,
    report: &mut Report<'_>,
) -> Numbers {
    let mut out = Numbers { numbers: Vec::new(), known: HashMap::new(), doubtful: root.is_no_list("number") };
    // A call whose X names no trunk goes back to the trunk that it came from.
    let returns = trunks.uses.iter().any(|usage| usage.calls && usage.takes_calls);
    for section in &root.sections("number", NUMBER, report) {
        let range = range(section, report);
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
        // More than the table takes need not be made: it is complained of there.
        let range = range.filter(|_| out.numbers.len() <= Limits::default().numbers);
        let Some(range) = range else {
            out.doubtful = true;
            continue;
        };
        check_segment(section, &range, only_700, app.and_then(|place| apps.accounts.get(place)), report);
        let area = section.optional("area", area, report);
        let state = section.or("state", NumberState::Normal, value::word(STATES), report);
        // An unknown app has been complained of; the number is known all the same, so that its bindings are not
        // complained of too.
        let app = AppId(u32::try_from(app.unwrap_or(0)).expect("no more than 10,000 apps are read"));
        let trunk = trunk.map(|(trunk, _)| &trunk.name);
        let line = report.line(&section.span("x"));
        let mut is_said = false;
        for &x in &range {
            if let Some((_, line)) = out.known.get(&x) {
                if !std::mem::replace(&mut is_said, true) {
                    let fault = match range.len() {
                        1 => Fault::new(format!("stands in line {line} already"), "leave one of the two out"),
                        _ => Fault::new(format!("{x} stands in line {line} already"), "write each number once"),
                    };
                    section.complain("x", fault, report);
                }
                continue;
            }
            out.known.insert(x, (app, line));
            let mut number = VirtualNumber::new(x, app, trunk.cloned());
            number.area = area.or(number.area);
            number.state = state;
            out.numbers.push(number);
        }
    }
    out
}

/// The numbers of a section: `x` alone, or all from it to `last`. `None`: they could not be read.
fn range(section: &Section<'_>, report: &mut Report<'_>) -> Option<Vec<Number>> {
    let x = section.required("x", "\"+8675512340001\"", number, report);
    if !section.has("last") {
        return Some(vec![x?]);
    }
    let last = section.optional("last", number, report);
    let (x, last) = (x?, last?);
    let mut complain = |problem: String, mend: String| {
        section.complain("last", Fault::new(problem, mend), report);
        None
    };
    if x.digits().as_bytes().len() != last.digits().as_bytes().len() {
        return complain(
            "has not as many digits as x".to_owned(),
            "write both with the same number of digits".to_owned(),
        );
    }
    match last.as_u64().checked_sub(x.as_u64()) {
        None => complain("comes before x".to_owned(), format!("write \"{}\" or more, or leave it out", x.reveal())),
        Some(more) if more >= MAX_RANGE => complain(
            format!("makes {} numbers of this section", more + 1),
            format!("write at most {MAX_RANGE} a section, here up to \"+{}\"", x.as_u64() + MAX_RANGE - 1),
        ),
        Some(_) => {
            // Between two numbers of one length there may be what is none: +860….
            let all: Option<Vec<Number>> = (x.as_u64()..=last.as_u64()).map(Number::from_u64).collect();
            all.or_else(|| complain("passes +860…, which is no number".to_owned(), "write two sections".to_owned()))
        }
    }
}

/// Whether these may be an X as far as the 700 segment goes; the first that may not is complained of.
fn check_segment(
    section: &Section<'_>,
    range: &[Number],
    only_700: bool,
    account: Option<&Account>,
    report: &mut Report<'_>,
) {
    if only_700 && range.iter().any(|x| !x.is_700()) {
        let mend = "write a 700 number, or only_700 = false in [numbering]";
        section.complain("x", Fault::new("is no 700 number, and nothing else may be an X", mend), report);
    }
    // An app that is not there has been complained of.
    let Some(account) = account else { return };
    let fault = match range.iter().find_map(|x| account.may_have(*x).err()) {
        Some(Wrong700::Dialled { managed }) => Fault::absence(
            "has the extension of an app of mode axe in it",
            format!("write the 11 digits that are managed: \"{}\"", managed.reveal()),
        ),
        Some(Wrong700::Managed { first, last }) => Fault::absence(
            "is a managed 700 number of 11 digits, and nobody dials those",
            format!("write 15 digits, or all that it has: x = \"{}\" and last = \"{}\"", first.reveal(), last.reveal()),
        ),
        None => return,
    };
    section.complain("x", fault, report);
}

/// `[[binding]]`: read, and tried one after the other in a table of their own, which knows the rules.
pub(super) fn bindings(
    root: &Section<'_>,
    numbers: &Numbers,
    apps: &mut Apps,
    library: &mut Library,
    report: &mut Report<'_>,
) -> Vec<Axb> {
    let limits = Limits::default();
    if numbers.numbers.len() > limits.numbers {
        root.complain("number", Fault::new(BindError::Full.to_string(), "leave some out"), report);
        return Vec::new();
    }
    let (mut table, _) = Bindings::new(limits);
    table.set_all_rules(apps.accounts.iter().map(|account| (account.id, account.rules.clone())));
    for number in &numbers.numbers {
        // What a number must be has been looked at where it stands.
        if let Err(error) = table.restore_number(number.clone()) {
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
        | BindError::Not700
        | BindError::Managed700
        | BindError::XTaken
        | BindError::TooManyX
        | BindError::ExtensionTaken(_)
        | BindError::NoneFree
        | BindError::Configured => ("x", Fault::new(error.to_string(), "leave it out")),
    };
    section.complain(key, fault, report);
}
