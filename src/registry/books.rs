//! What the registry keeps: bindings and numbers, applications, prompts; and what of it has changed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use b2bua::settings::{App, Settings};
use media::Prompt;
use numbering::{AppId, Binding, Bindings, Entry, Mode, Number, NumberState, SubscriptionId, VirtualNumber};

use super::compose::{self, Base};
use crate::apps::{Account, Accounts, AppSettings};
use crate::notify::guard::Guard;
use crate::store::{AppRow, Change, PromptRow, PromptState};

/// Applications of the admin API.
const MAX_APPS: usize = 10_000;

/// Why an application cannot be put or removed. Nothing has changed then.
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

type Apps = BTreeMap<Arc<str>, Arc<AppSettings>>;
type Prompts = BTreeMap<(Arc<str>, Arc<str>), Arc<PromptRow>>;

/// An X of an app has another state now, or has been taken from it.
pub(super) type Moved = (AppId, Number, Option<NumberState>);

/// What an app is to be told of an X that it had.
pub(super) fn moved(was: &VirtualNumber, is: Option<&VirtualNumber>) -> Option<Moved> {
    match is.filter(|is| is.app == was.app) {
        None => Some((was.app, was.number, None)),
        Some(is) => (is.state != was.state).then_some((was.app, was.number, Some(is.state))),
    }
}

/// What a piece of work may read and change.
pub struct Books {
    /// Bindings and numbers; their clock has been told.
    pub bindings: Bindings,
    base: Arc<Base>,
    /// Of the operator's file, in the words of the admin API.
    of_file: Apps,
    /// Of the admin API.
    apps: Arc<Apps>,
    prompts: Arc<Prompts>,
    /// Every application that there has been since the start; its place is its [`AppId`].
    places: Vec<Arc<str>>,
    /// The same by name.
    ids_of_apps: HashMap<Arc<str>, AppId>,
    accounts: Arc<Accounts>,
    changes: Vec<Change>,
    /// What the operator's file has changed about its X, and their apps have not been told.
    moved: Vec<Moved>,
    /// Applications or approved prompts have changed, and calls do not know it yet.
    is_stale: bool,
    ids: u64,
}

/// Where the books can be taken back to.
pub(super) struct Mark {
    apps: Arc<Apps>,
    prompts: Arc<Prompts>,
    accounts: Arc<Accounts>,
    is_stale: bool,
}

impl Books {
    pub(super) fn new(bindings: Bindings, base: Base, id_seed: u64) -> Books {
        let mut books = Books {
            bindings,
            base: Arc::new(base),
            of_file: Apps::new(),
            apps: Arc::default(),
            prompts: Arc::default(),
            places: Vec::new(),
            ids_of_apps: HashMap::new(),
            accounts: Arc::default(),
            changes: Vec::new(),
            moved: Vec::new(),
            is_stale: true,
            ids: id_seed,
        };
        books.renew_accounts();
        books
    }

    /// Books without a registry: what is written down goes nowhere.
    #[cfg(test)]
    pub(crate) fn for_tests(bindings: Bindings, accounts: Arc<Accounts>) -> Books {
        let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[media]\nbind = \"127.0.0.1\"\n\
                    [[trunk]]\nname = \"carrier\"\nsources = [\"192.0.2.1\"]\ntargets = [\"udp:192.0.2.1:5060\"]\n";
        let config = crate::config::parse(text, std::path::Path::new("c.toml")).expect("it is complete");
        let mut books = Books::new(bindings, config.into_file().base, 0);
        for account in accounts.iter() {
            books.bindings.set_rules(account.id, account.rules.clone());
        }
        books.accounts = accounts;
        books
    }

    /// A name for a new binding: a UUID of version 7 (RFC 9562 §5.7), so that new ones stand together in the store.
    pub fn new_id(&mut self) -> SubscriptionId {
        self.ids = self.ids.wrapping_add(1);
        let millis = u128::from(self.bindings.now()) << 80;
        let low = u128::from(self.ids) & ((1 << 62) - 1);
        SubscriptionId(millis | 0x7 << 76 | 0b10 << 62 | low)
    }

    // ---- applications -----------------------------------------------------------------------------------------

    /// An application.
    #[must_use]
    pub fn account(&self, app: AppId) -> Option<&Arc<Account>> {
        self.accounts.get(app)
    }

    /// Every application.
    #[must_use]
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Every application, of the operator's file too.
    pub fn apps(&self) -> impl Iterator<Item = &AppSettings> {
        self.of_file.values().chain(self.apps.values()).map(|app| &**app)
    }

    /// An application by its name.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&AppSettings> {
        self.of_file.get(name).or_else(|| self.apps.get(name)).map(|app| &**app)
    }

    /// The place of an application.
    #[must_use]
    pub fn app_id(&self, name: &str) -> Option<AppId> {
        self.accounts.named(name).map(|account| account.id)
    }

    /// Whether there is a trunk of this name.
    #[must_use]
    pub fn has_trunk(&self, name: &str) -> bool {
        self.base.settings.trunk_named(name).is_some()
    }

    /// Whether only numbers of the 700 segment may be an X.
    #[must_use]
    pub fn only_700(&self) -> bool {
        self.base.only_700
    }

    /// Where customers' systems may be.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.base.guard
    }

    /// Adds an application, or changes it; effective for the next call and the next request.
    ///
    /// # Errors
    /// [`AppError::Configured`], [`AppError::Full`], [`AppError::UnknownPrompt`].
    pub fn put_app(&mut self, settings: AppSettings) -> Result<(), AppError> {
        let name: Arc<str> = settings.name.as_str().into();
        if self.base.has_app(&name) {
            return Err(AppError::Configured);
        }
        if !self.apps.contains_key(&name) && self.apps.len() >= MAX_APPS {
            return Err(AppError::Full);
        }
        let named = settings.hint_tone.iter().chain(settings.prompts.values().filter(|name| !name.is_empty()));
        for prompt in named {
            let own = self.prompt(&name, prompt).is_some_and(|prompt| prompt.state == PromptState::Approved);
            if !own && !self.base.prompts.contains_key(prompt) {
                return Err(AppError::UnknownPrompt(prompt.clone()));
            }
        }
        let row = AppRow { name: Arc::clone(&name), settings: settings.to_json() };
        Arc::make_mut(&mut self.apps).insert(name, Arc::new(settings));
        self.changes.push(Change::PutApp(row));
        self.renew_accounts();
        Ok(())
    }

    /// Removes an application without numbers, and its prompts.
    ///
    /// # Errors
    /// [`AppError::NotFound`], [`AppError::Configured`], [`AppError::InUse`].
    pub fn remove_app(&mut self, name: &str) -> Result<(), AppError> {
        if self.base.has_app(name) {
            return Err(AppError::Configured);
        }
        let id = self.app_id(name).ok_or(AppError::NotFound)?;
        if self.bindings.numbers().any(|number| number.app == id) {
            return Err(AppError::InUse);
        }
        Arc::make_mut(&mut self.apps).remove(name);
        Arc::make_mut(&mut self.prompts).retain(|(app, _), _| &**app != name);
        self.changes.push(Change::EndApp(name.into()));
        self.renew_accounts();
        Ok(())
    }

    // ---- prompts ----------------------------------------------------------------------------------------------

    /// The uploaded prompts of an application, by name.
    pub fn prompts(&self, app: &str) -> impl Iterator<Item = &PromptRow> + use<'_> {
        let app: Arc<str> = app.into();
        let first: (Arc<str>, Arc<str>) = (Arc::clone(&app), "".into());
        self.prompts.range(first..).take_while(move |((of, _), _)| *of == app).map(|(_, row)| &**row)
    }

    /// An uploaded prompt.
    #[must_use]
    pub fn prompt(&self, app: &str, name: &str) -> Option<&PromptRow> {
        self.prompts.get(&(app.into(), name.into())).map(|row| &**row)
    }

    /// Adds a prompt of an application, or changes it; it plays from the next call on if it is approved.
    pub fn put_prompt(&mut self, row: PromptRow) {
        let key = (Arc::clone(&row.app), Arc::clone(&row.name));
        self.changes.push(Change::PutPrompt(row.clone()));
        let is_heard = row.state == PromptState::Approved;
        let old = Arc::make_mut(&mut self.prompts).insert(key, Arc::new(row));
        self.is_stale |= is_heard || old.is_some_and(|old| old.state == PromptState::Approved);
    }

    /// Removes a prompt; whether there was one.
    pub fn remove_prompt(&mut self, app: &str, name: &str) -> bool {
        let key: (Arc<str>, Arc<str>) = (app.into(), name.into());
        let had = Arc::make_mut(&mut self.prompts).remove(&key).is_some();
        if had {
            self.changes.push(Change::EndPrompt { app: key.0, name: key.1 });
            self.is_stale = true;
        }
        had
    }

    /// Writes down something else, together with what this piece of work changes.
    pub fn note(&mut self, change: Change) {
        self.changes.push(change);
    }

    // ---- for the registry -------------------------------------------------------------------------------------

    /// Where this piece of work begins.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            apps: Arc::clone(&self.apps),
            prompts: Arc::clone(&self.prompts),
            accounts: Arc::clone(&self.accounts),
            is_stale: self.is_stale,
        }
    }

    /// Back to there; `entries` are what has happened to bindings and numbers since.
    pub(super) fn back_to(&mut self, mark: Mark, entries: Vec<Entry>) {
        self.bindings.undo(entries);
        self.changes.clear();
        self.apps = mark.apps;
        self.prompts = mark.prompts;
        if !Arc::ptr_eq(&self.accounts, &mark.accounts) {
            let all = mark.accounts.iter().map(|account| (account.id, account.rules.clone()));
            self.bindings.set_all_rules(all);
        }
        self.accounts = mark.accounts;
        self.is_stale = mark.is_stale;
    }

    /// The X of the operator's file.
    pub(super) fn numbers_of_file(&self) -> Vec<Arc<VirtualNumber>> {
        let is_of_file = |number: &Arc<VirtualNumber>| self.bindings.is_configured_number(number.number);
        self.bindings.numbers().filter(is_of_file).collect()
    }

    /// The file has been taken anew: what has become of those that it had.
    pub(super) fn note_numbers_of_file(&mut self, before: Vec<Arc<VirtualNumber>>) {
        let table = self.bindings.table();
        self.moved.extend(before.iter().filter_map(|was| moved(was, table.virtual_number(was.number).as_deref())));
        // The walk has no order of its own.
        self.moved.sort_unstable_by_key(|(app, x, _)| (*app, *x));
    }

    /// What apps of the file are to be told.
    pub(super) fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }

    /// What an application is called.
    pub(super) fn name_of(&self, app: AppId) -> Option<&Arc<str>> {
        self.places.get(app.0 as usize)
    }

    /// What has happened since this was last asked: to be written down, and to take it back by.
    pub(super) fn take_changes(&mut self) -> (Vec<Change>, Vec<Entry>) {
        let entries = self.bindings.take_journal();
        let mut changes = std::mem::take(&mut self.changes);
        // Applications go first: numbers and bindings name them. What ends with an application has ended before.
        changes.extend(entries.iter().filter_map(|entry| self.change_of(entry)));
        (changes, entries)
    }

    /// The row of a binding, as it is now; `None`: it has ended.
    pub(super) fn row_of(&self, id: SubscriptionId) -> Option<Change> {
        self.put(&self.bindings.get(id)?)
    }

    fn put(&self, binding: &Arc<Binding>) -> Option<Change> {
        let app = self.places.get(binding.app().0 as usize)?;
        Some(Change::PutBinding { app: Arc::clone(app), binding: Arc::clone(binding) })
    }

    fn change_of(&self, entry: &Entry) -> Option<Change> {
        let name = |app: AppId| self.places.get(app.0 as usize).cloned();
        match entry {
            Entry::Binding { is: Some(binding), .. } => self.put(binding),
            Entry::Binding { was, is: None } => Some(Change::EndBinding(was.as_ref()?.id())),
            Entry::Number { is: Some(number), .. } => {
                Some(Change::PutNumber { app: name(number.app)?, number: Arc::clone(number) })
            }
            Entry::Number { was, is: None } => Some(Change::EndNumber(was.as_ref()?.number)),
            Entry::Rest { x, until, .. } => Some(Change::Rest { x: *x, until: *until }),
        }
    }

    /// Takes what the store holds, at the start.
    pub(super) fn restore_apps(&mut self, apps: Vec<AppSettings>, prompts: Vec<PromptRow>) {
        for settings in apps {
            let name: Arc<str> = settings.name.as_str().into();
            if self.base.has_app(&name) {
                tracing::error!(app = %name, "the store has an app that the configuration names too; the configuration's goes");
                continue;
            }
            Arc::make_mut(&mut self.apps).insert(name, Arc::new(settings));
        }
        let all = prompts.into_iter().map(|row| ((Arc::clone(&row.app), Arc::clone(&row.name)), Arc::new(row)));
        self.prompts = Arc::new(all.collect());
        self.renew_accounts();
    }

    /// An application that the admin API has made and a new file names too.
    pub(super) fn app_in_the_way(&self, base: &Base) -> Option<Arc<str>> {
        self.apps.keys().find(|name| base.has_app(name)).cloned()
    }

    /// An application whose numbers the admin API has added, and which a new file leaves out or makes another kind of.
    pub(super) fn app_that_is_missed(&self, base: &Base) -> Option<Arc<str>> {
        let stays = |account: &Account| {
            let new = base.accounts.iter().find(|new| new.name == account.name);
            new.is_some_and(|new| new.rules.mode == account.rules.mode)
        };
        let gone: Vec<&Arc<Account>> =
            self.accounts.iter().filter(|account| account.is_configured && !stays(account)).collect();
        if gone.is_empty() {
            return None;
        }
        let own = |number: &VirtualNumber| !self.bindings.is_configured_number(number.number);
        self.bindings.numbers().filter(|number| own(number)).find_map(|number| {
            gone.iter().find(|account| account.id == number.app).map(|account| Arc::clone(&account.name))
        })
    }

    /// Takes the operator's file anew.
    pub(super) fn set_base(&mut self, base: Base) {
        self.base = Arc::new(base);
        self.renew_accounts();
    }

    /// The place of an application; one that there has not been yet gets the next.
    pub(super) fn place_of(&mut self, name: &str) -> AppId {
        if let Some(id) = self.ids_of_apps.get(name) {
            return *id;
        }
        let id = AppId(u32::try_from(self.places.len()).expect("far fewer apps are ever made"));
        let name: Arc<str> = name.into();
        self.places.push(Arc::clone(&name));
        self.ids_of_apps.insert(name, id);
        id
    }

    fn renew_accounts(&mut self) {
        let base = Arc::clone(&self.base);
        let apps = Arc::clone(&self.apps);
        let mut all = Vec::with_capacity(base.accounts.len() + apps.len());
        for account in &base.accounts {
            all.push(Account { id: self.place_of(&account.name), ..account.clone() });
        }
        let said = base.accounts.iter().zip(&base.settings.apps);
        self.of_file = said
            .map(|(account, app)| (Arc::clone(&account.name), Arc::new(AppSettings::of_file(account, app))))
            .collect();
        for settings in apps.values() {
            all.push(settings.account(self.place_of(&settings.name)));
        }
        self.bindings.set_all_rules(all.iter().map(|account| (account.id, account.rules.clone())));
        self.bindings.set_only_700(base.only_700);
        self.accounts = Arc::new(Accounts::new(all));
        self.is_stale = true;
    }

    /// Where the settings that calls know are behind: the new ones.
    pub(super) fn renewed_settings(&mut self, old: &[App]) -> Option<Settings> {
        std::mem::take(&mut self.is_stale).then(|| self.compose(old))
    }

    fn compose(&self, old: &[App]) -> Settings {
        let mut apps = Vec::with_capacity(self.places.len());
        for (place, name) in self.places.iter().enumerate() {
            let approved = self.prompts(name).filter(|row| row.state == PromptState::Approved);
            let approved = approved.map(|row| {
                let prompt = Prompt { name: Arc::clone(&row.name), alaw: Arc::clone(&row.alaw) };
                (Arc::clone(&row.name), Arc::new(prompt))
            });
            let app = match (self.base.app(name), self.apps.get(name)) {
                (Some(app), _) => compose::with_uploaded(app, approved),
                (None, Some(settings)) => compose::of_settings(settings, &self.base, approved.collect()),
                // It is gone: calls that still go by it keep what it said last.
                (None, None) => old.get(place).cloned().unwrap_or_else(|| {
                    compose::of_settings(&AppSettings::new(name.to_string(), Mode::Axb), &self.base, HashMap::new())
                }),
            };
            apps.push(app);
        }
        Settings { apps, ..self.base.settings.clone() }
    }
}
