//! `[[app]]`: a customer's application, its tone and its prompts.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::{App, AppPrompts, AppTexts, SecondCall, Unanswered};
use media::Prompt;
use numbering::{AppId, Area, Mode, Number, Rules};
use toml::de::DeValue;

use super::complaint::{Fault, KeyPath, Report, nearest};
use super::names::Names;
use super::section::Section;
use super::{credentials, number, signalling, value};
use crate::apps::{self, Account, Generation, Secret, Urls};
use crate::clock::millis;
use crate::notify::guard::Guard;
use crate::prompts::{DEFAULTS, Library, PromptError};

pub(super) const KEYS: &[&str] = &[
    "name",
    "language",
    "hint_tone",
    "require_hint_tone",
    "recording",
    "no_answer",
    "safety_ceiling",
    "prompts",
    "mode",
    "secret",
    "secret_file",
    "cool_off",
    "extension_width",
    "second_call",
    CALL_BACK,
    "requests_per_second",
    "mobile_areas",
    "notify",
    "sms",
    "sms_content",
    "block_timeout",
    "block_default",
];
const CALL_BACK: &str = "call_back_number";
pub(super) const PROMPTS: &[&str] = &apps::ROLES;
pub(super) const NOTIFY: &[&str] = &["status_url", "fee_url", "sms_url", "sms_control_url", "number_url", "signature"];

const MAX_APPS: usize = 10_000;
const MAX_COOL_OFF: Duration = Duration::from_secs(365 * 86_400);

/// `[[app]]`, read; a place here is an `AppId`.
pub(super) struct Apps {
    pub(super) apps: Vec<App>,
    /// What the API knows of each, in the same order.
    pub(super) accounts: Vec<Account>,
    pub(super) names: Names,
    /// Whom A calls back: the app's place in the file, the number, and where it stands.
    call_backs: Vec<(usize, Number, Range<usize>)>,
}

impl Apps {
    /// Complains of those that are called back by an X: the call would come back to us.
    pub(super) fn check_call_backs(&self, is_virtual: impl Fn(Number) -> bool, report: &mut Report<'_>) {
        for (place, number, span) in self.call_backs.iter().filter(|(_, number, _)| is_virtual(*number)) {
            let fault = Fault::new(format!("{number} is a virtual number"), "write a real number");
            report.add(span, KeyPath::ROOT.element("app", *place).key(CALL_BACK), fault);
        }
    }
}

/// What an app has that says nothing of its own.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) no_answer: Duration,
    pub(super) safety_ceiling: Duration,
}

pub(super) fn read(
    root: &Section<'_>,
    defaults: Defaults,
    guard: &Guard,
    folder: &Path,
    library: &mut Library,
    report: &mut Report<'_>,
) -> Apps {
    let mut out =
        Apps { apps: Vec::new(), accounts: Vec::new(), names: Names::new("app", root), call_backs: Vec::new() };
    let sections = root.sections("app", KEYS, report);
    if sections.len() > MAX_APPS {
        let fault = Fault::new(format!("stands here {} times", sections.len()), format!("write at most {MAX_APPS}"));
        root.complain("app", fault, report);
    }
    for section in sections.iter().take(MAX_APPS) {
        let name = out.names.claim(section, report);
        let id = AppId(u32::try_from(out.apps.len()).expect("no more than MAX_APPS are read"));
        let account = account(section, id, Arc::clone(&name), guard, folder, report);
        if let (Some(number), Some(place)) = (account.rules.call_back, section.own_path().place()) {
            out.call_backs.push((place, number, section.span(CALL_BACK)));
        }
        out.apps.push(app(section, name, &account, defaults, library, report));
        out.accounts.push(account);
    }
    out
}

/// What the API goes by.
fn account(
    section: &Section<'_>,
    id: AppId,
    name: Arc<str>,
    guard: &Guard,
    folder: &Path,
    report: &mut Report<'_>,
) -> Account {
    const MODES: &[(&str, Mode)] = &[("axb", Mode::Axb), ("ax", Mode::Ax), ("axe", Mode::Axe)];
    let has_secret = section.has("secret") || section.has("secret_file");
    let secret = if has_secret { credentials::secret(section, "secret", "secret_file", folder, report) } else { None };
    let cool_off = Duration::from_secs(u64::from(apps::COOL_OFF));
    let cool_off = section.or("cool_off", cool_off, value::duration(Duration::ZERO..=MAX_COOL_OFF), report);
    let mode = section.or("mode", Mode::Axb, value::word(MODES), report);
    Account {
        id,
        name,
        secret: secret.map(|secret| Secret::new(&secret)),
        rules: Rules {
            mode,
            cool_off: millis(cool_off),
            extension_width: section.or("extension_width", 4, value::whole(1..=4), report),
            call_back: call_back(section, mode, report),
        },
        recording: section.or("recording", false, value::boolean, report),
        requests_per_second: section.or(
            "requests_per_second",
            apps::REQUESTS_PER_SECOND,
            value::whole(1..=1_000_000),
            report,
        ),
        mobile_areas: section.list("mobile_areas", mobile_area, report).into_iter().flatten().collect(),
        notify: Urls {
            sms_content: section.or("sms_content", false, value::boolean, report),
            ..urls(section, guard, report)
        },
        is_configured: true,
    }
}

/// Where it is told what happens; `""`: nowhere.
fn urls(app: &Section<'_>, guard: &Guard, report: &mut Report<'_>) -> Urls {
    const GENERATIONS: &[(&str, Generation)] = &[("aksk", Generation::Aksk), ("wsse", Generation::Wsse)];
    let Some(section) = app.section("notify", NOTIFY, report) else { return Urls::default() };
    let read = |value| {
        let found = value::text(value)?;
        if found.is_empty() {
            return Ok(None);
        }
        match guard.check(found) {
            Ok(_) => Ok(Some(found.into())),
            Err(error) => Err(Fault::new(format!("{} {error}", value::quote(found)), error.mend())),
        }
    };
    let mut url = |key| section.optional(key, read, report).flatten();
    Urls {
        status_url: url("status_url"),
        fee_url: url("fee_url"),
        sms_url: url("sms_url"),
        sms_control_url: url("sms_control_url"),
        number_url: url("number_url"),
        signature: section.or("signature", Generation::default(), value::word(GENERATIONS), report),
        sms_content: false,
    }
}

/// `call_back_number`: a party's number, of an app that has extensions.
fn call_back(section: &Section<'_>, mode: Mode, report: &mut Report<'_>) -> Option<Number> {
    let found = section.optional(CALL_BACK, number::party, report)?;
    if mode != Mode::Axe {
        let problem = "is whom A calls back by an X with extensions, and this app has none";
        section.complain(CALL_BACK, Fault::absence(problem, "write mode = \"axe\" here, or leave it out"), report);
    }
    Some(found)
}

/// `"138001=0755"`.
fn mobile_area<'v>(value: &'v DeValue<'v>) -> Result<(Box<str>, Area), Fault> {
    let found = value::text(value)?;
    let read = || {
        let (prefix, area) = found.split_once('=')?;
        let (prefix, area) = (prefix.trim(), Area::parse(area.trim())?);
        let is_prefix = (1..=11).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_digit());
        is_prefix.then(|| (prefix.into(), area))
    };
    let mend = "write PREFIX=AREA, e.g. \"138001=0755\"";
    read().ok_or_else(|| Fault::new(format!("{} is no prefix and area", value::quote(found)), mend))
}

fn app(
    section: &Section<'_>,
    name: Arc<str>,
    account: &Account,
    defaults: Defaults,
    library: &mut Library,
    report: &mut Report<'_>,
) -> App {
    const LANGUAGES: &[(&str, &str)] = &[("zh", "zh"), ("en", "en")];
    const SECOND_CALLS: &[(&str, SecondCall)] = &[("refuse", SecondCall::Refuse), ("offer", SecondCall::Offer)];
    let language = section.or("language", "zh", value::word(LANGUAGES), report);
    // Never the default set's tone unasked: that an operator names it is his word that it is approved (product rule C3).
    let hint_tone = named_prompt(section, "hint_tone", library, report);
    let ceiling = value::duration(Duration::from_secs(1)..=defaults.safety_ceiling);
    let safety_ceiling = section.or("safety_ceiling", defaults.safety_ceiling, ceiling, report);
    App {
        name,
        hint_tone,
        require_hint_tone: section.or("require_hint_tone", true, value::boolean, report),
        recording: account.recording,
        no_answer: section.or("no_answer", defaults.no_answer, value::duration(signalling::NO_ANSWER), report),
        safety_ceiling,
        second_call: section.or(
            "second_call",
            apps::second_call(account.rules.mode),
            value::word(SECOND_CALLS),
            report,
        ),
        is_told: account.notify.status_url.is_some(),
        texts: texts(section, report),
        prompts: prompts(section, language, library, report),
        named: HashMap::new(),
    }
}

/// What becomes of text messages.
fn texts(section: &Section<'_>, report: &mut Report<'_>) -> AppTexts {
    const MODES: &[(&str, apps::Sms)] =
        &[("off", apps::Sms::Off), ("notify", apps::Sms::Notify), ("block", apps::Sms::Block)];
    const DEFAULTS: &[(&str, Unanswered)] = &[("forward", Unanswered::Forward), ("discard", Unanswered::Discard)];
    let sms = section.or("sms", apps::Sms::Off, value::word(MODES), report);
    let range = Duration::from_secs(1)..=Duration::from_secs(u64::from(apps::LONGEST_BLOCK));
    let default = Duration::from_secs(u64::from(apps::BLOCK_TIMEOUT));
    let within = section.or("block_timeout", default, value::duration(range), report);
    let unanswered = section.or("block_default", Unanswered::Discard, value::word(DEFAULTS), report);
    match sms {
        apps::Sms::Off => AppTexts::Off,
        apps::Sms::Notify => AppTexts::Notify,
        apps::Sms::Block => AppTexts::Block { within, unanswered },
    }
}

fn prompts(section: &Section<'_>, language: &str, library: &mut Library, report: &mut Report<'_>) -> AppPrompts {
    let own = section.section("prompts", PROMPTS, report);
    apps::prompts_by_role(|key| {
        if let Some(own) = own.as_ref().filter(|own| own.has(key)) {
            return named_prompt(own, key, library, report);
        }
        // Ringback has no words.
        let default = if key == "ringback" { "ringback.wav".to_owned() } else { format!("{language}/{key}.wav") };
        let path = section.own_path();
        find(&default, &section.own_span(), path.key("prompts").key(key), library, report)
    })
}

/// The prompt that a key names; none for `""` and for an absent key.
pub(super) fn named_prompt(
    section: &Section<'_>,
    key: &'static str,
    library: &mut Library,
    report: &mut Report<'_>,
) -> Option<Arc<Prompt>> {
    let name = section.optional(key, value::text, report).filter(|name| !name.is_empty())?;
    let path = section.own_path();
    find(name, &section.span(key), path.key(key), library, report)
}

fn find(
    name: &str,
    span: &Range<usize>,
    path: KeyPath<'_>,
    library: &mut Library,
    report: &mut Report<'_>,
) -> Option<Arc<Prompt>> {
    match library.prompt(name) {
        Ok(prompt) => Some(prompt),
        Err(error) => {
            let mend = match error {
                PromptError::BadName => "write a name such as \"zh/busy.wav\", or \"\" for none".to_owned(),
                PromptError::Unknown => {
                    let known: Vec<&str> = DEFAULTS.iter().map(|(name, _)| *name).collect();
                    match nearest(name, &known) {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => "put the file into the folder of [prompts] dir, or write \"\" for none".to_owned(),
                    }
                }
                PromptError::Unreadable(_) | PromptError::NoFile => "make it a file that this user may read".to_owned(),
                PromptError::TooLarge | PromptError::Wav(_) => {
                    "make it a WAV of at most 2 MB: 8,000 Hz, mono, A-law or 16-bit PCM".to_owned()
                }
            };
            report.add(span, path, Fault::new(format!("{} {error}", value::quote(name)), mend));
            None
        }
    }
}
