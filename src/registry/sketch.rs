//! What the admin API needs of the books, in memory: to be replaced by the registry itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use numbering::{AppId, Bindings, Rules};

use super::{Books, Registry};
use crate::apps::{Account, Accounts, AppSettings};
use crate::prompts;
use crate::store::{Change, PromptRow, PromptState};

/// Why an application cannot be put or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppError {
    /// It stands in the operator's file.
    Configured,
    /// There is none of this name.
    NotFound,
    /// It has numbers.
    InUse,
    /// There are as many as there may be.
    Full,
    /// A prompt that it names is not there, or is not approved.
    UnknownPrompt(String),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppError::Configured => f.write_str("it stands in the configuration: change it there"),
            AppError::NotFound => f.write_str("there is no such app: GET /admin/v1/apps lists them"),
            AppError::InUse => f.write_str("it has numbers: release or transfer them first"),
            AppError::Full => f.write_str("there are as many apps as there may be: delete one first"),
            AppError::UnknownPrompt(name) => {
                write!(f, "there is no approved prompt {name:?}: upload it and let it be approved first")
            }
        }
    }
}

impl std::error::Error for AppError {}

#[derive(Default)]
pub(super) struct Sketch {
    pub(super) noted: Vec<Change>,
    apps: BTreeMap<String, (AppId, AppSettings)>,
    prompts: BTreeMap<(Arc<str>, Arc<str>), PromptRow>,
    trunks: Vec<Arc<str>>,
    published: Arc<ArcSwap<Accounts>>,
}

impl Books {
    /// Writes something down together with what else this piece of work changes.
    pub fn note(&mut self, change: Change) {
        self.sketch.noted.push(change);
    }

    /// Every application, of the operator's file too, by name.
    pub fn apps(&self) -> impl Iterator<Item = &AppSettings> {
        self.sketch.apps.values().map(|(_, app)| app)
    }

    /// An application by its name.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&AppSettings> {
        self.sketch.apps.get(name).map(|(_, app)| app)
    }

    /// The place of an application.
    #[must_use]
    pub fn app_id(&self, name: &str) -> Option<AppId> {
        self.sketch.apps.get(name).map(|(id, _)| *id)
    }

    /// Adds an application, or changes it; effective for the next call and the next request.
    ///
    /// # Errors
    /// [`AppError::Configured`], [`AppError::Full`], [`AppError::UnknownPrompt`]; nothing has changed then.
    pub fn put_app(&mut self, settings: AppSettings) -> Result<(), AppError> {
        if self.app(&settings.name).is_some_and(|app| app.is_configured) {
            return Err(AppError::Configured);
        }
        let named = settings.hint_tone.iter().chain(settings.prompts.values().filter(|name| !name.is_empty()));
        for name in named {
            let own = self.prompt(&settings.name, name).is_some_and(|prompt| prompt.state == PromptState::Approved);
            if !own && prompts::default_wav(name).is_none() {
                return Err(AppError::UnknownPrompt(name.clone()));
            }
        }
        self.insert(settings);
        Ok(())
    }

    /// Removes an application, with its prompts.
    ///
    /// # Errors
    /// [`AppError::NotFound`], [`AppError::Configured`], [`AppError::InUse`].
    pub fn remove_app(&mut self, name: &str) -> Result<(), AppError> {
        let (id, app) = self.sketch.apps.get(name).ok_or(AppError::NotFound)?;
        if app.is_configured {
            return Err(AppError::Configured);
        }
        if self.bindings.numbers().any(|number| number.app == *id) {
            return Err(AppError::InUse);
        }
        self.sketch.apps.remove(name);
        self.sketch.prompts.retain(|(app, _), _| &**app != name);
        self.publish();
        Ok(())
    }

    /// The prompts of an application, by name.
    pub fn prompts<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a PromptRow> {
        self.sketch.prompts.values().filter(move |prompt| &*prompt.app == app)
    }

    /// A prompt of an application.
    #[must_use]
    pub fn prompt(&self, app: &str, name: &str) -> Option<&PromptRow> {
        self.sketch.prompts.get(&(Arc::from(app), Arc::from(name)))
    }

    /// Adds a prompt, or changes it; it plays from the next call on if it is approved.
    pub fn put_prompt(&mut self, prompt: PromptRow) {
        self.sketch.prompts.insert((Arc::clone(&prompt.app), Arc::clone(&prompt.name)), prompt);
    }

    /// Removes a prompt; whether there was one.
    pub fn remove_prompt(&mut self, app: &str, name: &str) -> bool {
        self.sketch.prompts.remove(&(Arc::from(app), Arc::from(name))).is_some()
    }

    /// Whether there is a trunk of this name.
    #[must_use]
    pub fn has_trunk(&self, name: &str) -> bool {
        self.sketch.trunks.iter().any(|trunk| &**trunk == name)
    }

    fn insert(&mut self, settings: AppSettings) {
        let next = self.sketch.apps.values().map(|(id, _)| id.0 + 1).max().unwrap_or(0);
        let id = self.app_id(&settings.name).unwrap_or(AppId(next));
        self.sketch.apps.insert(settings.name.clone(), (id, settings));
        self.publish();
    }

    fn publish(&mut self) {
        let account = |(id, app): &(AppId, AppSettings)| Account {
            id: *id,
            name: Arc::from(&*app.name),
            secret: app.secret.clone(),
            rules: Rules { mode: app.mode, ..Rules::default() },
            recording: app.recording,
            requests_per_second: app.requests_per_second,
            mobile_areas: Vec::new(),
            is_configured: app.is_configured,
        };
        self.accounts = Arc::new(Accounts::new(self.sketch.apps.values().map(account)));
        self.sketch.published.store(Arc::clone(&self.accounts));
    }
}

impl Registry {
    /// A registry that keeps nothing, with these apps and trunks.
    #[must_use]
    pub fn in_memory(bindings: Bindings, apps: Vec<AppSettings>, trunks: &[&str]) -> Registry {
        let accounts = Arc::new(ArcSwap::default());
        let sketch = Sketch {
            trunks: trunks.iter().map(|name| Arc::from(*name)).collect(),
            published: Arc::clone(&accounts),
            ..Sketch::default()
        };
        let mut books = Books { bindings, accounts: Arc::default(), ids: 0, sketch };
        for app in apps {
            books.insert(app);
        }
        Registry { accounts, books: Some(Arc::new(Mutex::new(books))) }
    }

    /// What has been noted.
    #[cfg(test)]
    pub(crate) fn noted(&self) -> Vec<Change> {
        let books = self.books.as_ref().expect("it is in memory");
        books.lock().expect("no test panics in it").sketch.noted.clone()
    }
}
