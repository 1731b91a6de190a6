//! Makes what calls go by out of the operator's file and of what the admin API has said.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::{App, Settings};
use media::Prompt;

use crate::apps::{Account, AppSettings, prompts_by_role};
use crate::notify::guard::Guard;
use crate::prompts::Library;

/// What the operator's file says.
#[derive(Clone, Debug)]
pub struct Base {
    /// For calls.
    pub settings: Settings,
    /// Of its apps; their places are those of `settings`.
    pub accounts: Vec<Account>,
    /// The default set, for apps of the admin API: the file's folder may stand in for it.
    pub prompts: Arc<HashMap<String, Arc<Prompt>>>,
    /// Only numbers of the 700 segment may be an X (product rule M4).
    pub only_700: bool,
    /// Where customers' systems may be.
    pub guard: Guard,
}

impl Base {
    /// Whether the file names this application.
    #[must_use]
    pub fn has_app(&self, name: &str) -> bool {
        self.accounts.iter().any(|account| *account.name == *name)
    }

    pub(super) fn app(&self, name: &str) -> Option<&App> {
        self.settings.apps.iter().find(|app| *app.name == *name)
    }
}

/// The default set as apps of the admin API play it.
#[must_use]
pub fn default_set(library: &mut Library) -> Arc<HashMap<String, Arc<Prompt>>> {
    let names = crate::prompts::DEFAULTS.iter().map(|(name, _)| *name);
    Arc::new(names.filter_map(|name| Some((name.to_owned(), library.prompt(name).ok()?))).collect())
}

/// An app of the file, with the prompts that have been uploaded for it. The file's own prompts go before them.
pub(super) fn with_uploaded(app: &App, approved: impl Iterator<Item = (Arc<str>, Arc<Prompt>)>) -> App {
    let mut app = app.clone();
    for (name, prompt) in approved {
        app.named.entry(name).or_insert(prompt);
    }
    app
}

/// An app of the admin API. Its hint tone is what it names, never the default set's unasked: product rule C3.
pub(super) fn of_settings(settings: &AppSettings, base: &Base, approved: HashMap<Arc<str>, Arc<Prompt>>) -> App {
    let seconds = |value: u32| Duration::from_secs(u64::from(value));
    let named = |name: &str| approved.get(name).or_else(|| base.prompts.get(name)).cloned();
    let role = |role| match settings.prompts.get(role) {
        Some(name) => named(name),
        // Ringback has no words.
        None if role == "ringback" => base.prompts.get("ringback.wav").cloned(),
        None => base.prompts.get(&format!("{}/{role}.wav", settings.language)).cloned(),
    };
    App {
        name: settings.name.as_str().into(),
        hint_tone: settings.hint_tone.as_deref().and_then(named),
        require_hint_tone: settings.require_hint_tone,
        recording: settings.recording,
        no_answer: seconds(settings.no_answer_seconds),
        safety_ceiling: seconds(settings.safety_ceiling_seconds).min(base.settings.timers.safety_ceiling),
        second_call: settings.second_call(),
        is_told: settings.status_url.is_some(),
        texts: settings.texts(),
        prompts: prompts_by_role(role),
        named: approved,
    }
}
