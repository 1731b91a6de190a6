//! Customers' applications as the API knows them: who may ask, and for what.
//!
//! An application comes from the operator's file (`[[app]]`) or from the admin API, where the store keeps it. Either way it
//! has one place among the settings' apps, its [`AppId`], which stays its own while the process runs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use numbering::{AppId, Area, Mode, Number, Rules};
use serde::{Deserialize, Serialize};

/// A key that both sides know (`app_secret`). Its Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Secret {
        Secret(bytes.into())
    }

    /// For digests only.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its place among the settings' apps.
    pub id: AppId,
    /// Its name, which is its `app_key`.
    pub name: Arc<str>,
    /// `None`: it may not use the API.
    pub secret: Option<Secret>,
    /// Its kind of binding, and what goes with it.
    pub rules: Rules,
    /// It may record.
    pub recording: bool,
    /// Requests that it may make in a second (a bucket as deep as one second).
    pub requests_per_second: u32,
    /// Where its mobile numbers are at home, by the digits that they begin with behind +86; the longest prefix wins.
    pub mobile_areas: Vec<(Box<str>, Area)>,
    /// It stands in the operator's file, and is changed there only.
    pub is_configured: bool,
}

impl Account {
    /// Where a number of this app's users is at home: a fixed line by its area code, a mobile by [`Account::mobile_areas`].
    #[must_use]
    pub fn home_of(&self, number: Number) -> Option<Area> {
        let by_prefix = || {
            let digits = number.digits();
            let national = digits.as_str().strip_prefix("86")?;
            let fits = self.mobile_areas.iter().filter(|(prefix, _)| national.starts_with(&**prefix));
            fits.max_by_key(|(prefix, _)| prefix.len()).map(|(_, area)| *area)
        };
        Area::of(number).or_else(by_prefix)
    }
}

/// Every application.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    by_name: HashMap<Arc<str>, Arc<Account>>,
    by_id: HashMap<AppId, Arc<Account>>,
}

impl Accounts {
    /// These; of two with one name or one place the later.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Account>) -> Accounts {
        let mut accounts = Accounts::default();
        for account in all {
            let account = Arc::new(account);
            accounts.by_name.insert(Arc::clone(&account.name), Arc::clone(&account));
            accounts.by_id.insert(account.id, account);
        }
        accounts
    }

    /// By its `app_key`.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Account>> {
        self.by_name.get(name)
    }

    /// By its place.
    #[must_use]
    pub fn get(&self, id: AppId) -> Option<&Arc<Account>> {
        self.by_id.get(&id)
    }

    /// Every one, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.by_id.values()
    }
}

/// What the admin API says of an application; kept by the store as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AppSettings {
    /// Its name, which is its `app_key`.
    pub name: String,
    /// Its `app_secret`; `None`: it may not use the API.
    pub secret: Option<String>,
    /// `axb`, `ax` or `axe`.
    #[serde(with = "mode_word")]
    pub mode: Mode,
    /// `zh` or `en`: whose default prompts it plays.
    pub language: String,
    /// The approved prompt that both hear on the answer.
    pub hint_tone: Option<String>,
    /// Calls without a hint tone are refused.
    pub require_hint_tone: bool,
    /// It may record.
    pub recording: bool,
    /// How long a called party may ring, in seconds; `None`: as the configuration says.
    pub no_answer_seconds: Option<u32>,
    /// The longest call, in seconds; `None`: as the configuration says.
    pub safety_ceiling_seconds: Option<u32>,
    /// How long an X rests after its last binding, in seconds.
    pub cool_off_seconds: u32,
    /// Digits of an extension, 1 to 4.
    pub extension_width: u8,
    /// Requests a second.
    pub requests_per_second: u32,
    /// Area codes by what mobile numbers begin with behind +86.
    pub mobile_areas: BTreeMap<String, String>,
    /// Approved prompts by what they are for: `ringback`, `busy`, `no_permission`, `no_binding`, `service_fault`, `last_minute`.
    pub prompts: BTreeMap<String, String>,
}

/// How long an X rests unless something else is said, in seconds.
pub const COOL_OFF: u32 = 300;
/// Requests a second unless something else is said.
pub const REQUESTS_PER_SECOND: u32 = 1_000;

impl Default for AppSettings {
    fn default() -> AppSettings {
        AppSettings::new("", Mode::Axb)
    }
}

impl AppSettings {
    /// An application that says nothing more.
    #[must_use]
    pub fn new(name: &str, mode: Mode) -> AppSettings {
        AppSettings {
            name: name.to_owned(),
            secret: None,
            mode,
            language: "zh".to_owned(),
            hint_tone: None,
            require_hint_tone: true,
            recording: false,
            no_answer_seconds: None,
            safety_ceiling_seconds: None,
            cool_off_seconds: COOL_OFF,
            extension_width: 4,
            requests_per_second: REQUESTS_PER_SECOND,
            mobile_areas: BTreeMap::new(),
            prompts: BTreeMap::new(),
        }
    }

    /// As the store keeps it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("words and numbers always serialise")
    }

    /// Back from [`AppSettings::to_json`]; what an older axbridge did not say gets its default.
    #[must_use]
    pub fn from_json(text: &str) -> Option<AppSettings> {
        serde_json::from_str(text).ok()
    }

    /// What the API goes by.
    #[must_use]
    pub fn account(&self, id: AppId) -> Account {
        let areas = self.mobile_areas.iter();
        Account {
            id,
            name: self.name.as_str().into(),
            secret: self.secret.as_ref().map(|secret| Secret::new(secret.as_bytes())),
            rules: Rules {
                mode: self.mode,
                cool_off: u64::from(self.cool_off_seconds) * 1_000,
                extension_width: self.extension_width,
            },
            recording: self.recording,
            requests_per_second: self.requests_per_second,
            mobile_areas: areas
                .filter_map(|(prefix, area)| Some((prefix.as_str().into(), Area::parse(area)?)))
                .collect(),
            is_configured: false,
        }
    }
}

/// The mode as a word.
mod mode_word {
    use numbering::Mode;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let word = String::deserialize(deserializer)?;
        let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == word);
        mode.ok_or_else(|| D::Error::custom("is none of axb, ax, axe"))
    }
}
