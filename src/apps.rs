//! Customers' applications as the API knows them: who may ask, and for what.
//!
//! An application comes from the operator's file (`[[app]]`) or from the admin API, where the store keeps it. Either way it
//! has one place among the settings' apps, its [`AppId`], which stays its own while the process runs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use numbering::{AppId, Area, Mode, Number, Rules};

mod settings;
mod signature;

pub use settings::{
    AppSettings, BLOCK_TIMEOUT, BlockDefault, COOL_OFF, LONGEST_BLOCK, REQUESTS_PER_SECOND, ROLES, SettingsFault, Sms,
    is_party, prompts_by_role, second_call,
};
pub use signature::{Generation, digest};

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
    /// Where it is told what happens.
    pub notify: Urls,
    /// It stands in the operator's file, and is changed there only.
    pub is_configured: bool,
}

/// Where an application is told what happens, each by `http` or `https`. Nothing is told where there is no URL.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Urls {
    /// What happens to calls.
    pub status_url: Option<Arc<str>>,
    /// Records of calls.
    pub fee_url: Option<Arc<str>>,
    /// Text messages.
    pub sms_url: Option<Arc<str>>,
    /// What is to become of a text message is asked there.
    pub sms_control_url: Option<Arc<str>>,
    /// States of X.
    pub number_url: Option<Arc<str>>,
    /// How what it is told is signed.
    pub signature: Generation,
    /// It is told the words of text messages too.
    pub sms_content: bool,
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

    /// Whether a number can be an X of this app's: 11 digits of a 700 number are managed, and 15 are dialled (product rule M4).
    ///
    /// # Errors
    /// It is of the 700 segment, and has the other length.
    pub fn may_have(&self, x: Number) -> Result<(), Wrong700> {
        match (self.rules.mode, x.managed_700()) {
            (Mode::Axe, Some((managed, _))) => Err(Wrong700::Dialled { managed }),
            (Mode::Axb | Mode::Ax, None) => match (x.with_tail(0), x.with_tail(9_999)) {
                (Some(first), Some(last)) => Err(Wrong700::Managed { first, last }),
                (_, _) => Ok(()),
            },
            (Mode::Axe, None) | (Mode::Axb | Mode::Ax, Some(_)) => Ok(()),
        }
    }
}

/// A number of the 700 segment has not the length that its app's kind of binding wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong700 {
    /// It has 15 digits, and the last four of those are dialled extensions.
    Dialled {
        /// The 11 that can be an X.
        managed: Number,
    },
    /// It has 11 digits, and nobody dials those.
    Managed {
        /// The first of the 10,000 that can be an X.
        first: Number,
        /// The last.
        last: Number,
    },
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
