//! `[[app]]`: a customer's application, its tone and its prompts.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::{App, AppPrompts};
use media::Prompt;

use super::complaint::{Fault, KeyPath, Report, nearest};
use super::names::Names;
use super::section::Section;
use super::{signalling, value};
use crate::prompts::{DEFAULTS, Library, PromptError};

pub(super) const KEYS: &[&str] =
    &["name", "language", "hint_tone", "require_hint_tone", "recording", "no_answer", "safety_ceiling", "prompts"];
pub(super) const PROMPTS: &[&str] =
    &["ringback", "busy", "no_permission", "no_binding", "service_fault", "last_minute"];

const MAX_APPS: usize = 10_000;

/// `[[app]]`, read; a place here is an `AppId`.
pub(super) struct Apps {
    pub(super) apps: Vec<App>,
    pub(super) names: Names,
}

/// What an app has that says nothing of its own.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) no_answer: Duration,
    pub(super) safety_ceiling: Duration,
}

pub(super) fn read(root: &Section<'_>, defaults: Defaults, library: &mut Library, report: &mut Report<'_>) -> Apps {
    let mut out = Apps { apps: Vec::new(), names: Names::new("app", root) };
    let sections = root.sections("app", KEYS, report);
    if sections.len() > MAX_APPS {
        let fault = Fault::new(format!("stands here {} times", sections.len()), format!("write at most {MAX_APPS}"));
        root.complain("app", fault, report);
    }
    for section in sections.iter().take(MAX_APPS) {
        let name = out.names.claim(section, report);
        out.apps.push(app(section, name, defaults, library, report));
    }
    out
}

fn app(
    section: &Section<'_>,
    name: Arc<str>,
    defaults: Defaults,
    library: &mut Library,
    report: &mut Report<'_>,
) -> App {
    const LANGUAGES: &[(&str, &str)] = &[("zh", "zh"), ("en", "en")];
    let language = section.or("language", "zh", value::word(LANGUAGES), report);
    // Never the default set's tone unasked: that an operator names it is his word that it is approved (product rule C3).
    let hint_tone = named_prompt(section, "hint_tone", library, report);
    let ceiling = value::duration(Duration::from_secs(1)..=defaults.safety_ceiling);
    let safety_ceiling = section.or("safety_ceiling", defaults.safety_ceiling, ceiling, report);
    App {
        name,
        hint_tone,
        require_hint_tone: section.or("require_hint_tone", true, value::boolean, report),
        recording: section.or("recording", false, value::boolean, report),
        no_answer: section.or("no_answer", defaults.no_answer, value::duration(signalling::NO_ANSWER), report),
        safety_ceiling,
        prompts: prompts(section, language, library, report),
        named: HashMap::new(),
    }
}

fn prompts(section: &Section<'_>, language: &str, library: &mut Library, report: &mut Report<'_>) -> AppPrompts {
    let own = section.section("prompts", PROMPTS, report);
    let mut one = |key: &'static str| {
        if let Some(own) = own.as_ref().filter(|own| own.has(key)) {
            return named_prompt(own, key, library, report);
        }
        // Ringback has no words.
        let default = if key == "ringback" { "ringback.wav".to_owned() } else { format!("{language}/{key}.wav") };
        let path = section.own_path();
        find(&default, &section.own_span(), path.key("prompts").key(key), library, report)
    };
    AppPrompts {
        ringback: one("ringback"),
        busy: one("busy"),
        no_permission: one("no_permission"),
        no_binding: one("no_binding"),
        service_fault: one("service_fault"),
        last_minute: one("last_minute"),
    }
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
