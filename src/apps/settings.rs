//! An application as the admin API keeps it: a JSON object in the store (`store::AppRow::settings`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use b2bua::settings::{App, AppPrompts, AppTexts, SecondCall, Unanswered};
use media::Prompt;
use numbering::{AppId, Area, Kind, Mode, Number, Rules};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Account, Generation, Secret, Urls};
use crate::notify::guard::{Guard, UrlError};

/// How long an X rests unless something else is said, in seconds.
pub const COOL_OFF: u32 = 300;
/// Requests a second unless something else is said.
pub const REQUESTS_PER_SECOND: u32 = 1_000;

/// How long the customer's answer to a text is waited for unless something else is said, in seconds.
pub const BLOCK_TIMEOUT: u32 = 5;
/// The longest that it may be: the sender's network waits for an answer too.
pub const LONGEST_BLOCK: u32 = 10;

/// What becomes of text messages to the X of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sms {
    /// They are refused.
    #[default]
    Off,
    /// They are forwarded, and the customer is told.
    Notify,
    /// The customer is asked first.
    Block,
}

/// What becomes of a text for which the customer has no answer in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockDefault {
    /// It is forwarded as if nobody had been asked.
    Forward,
    /// It is thrown away.
    #[default]
    Discard,
}

/// The prompts that an app has by role.
pub const ROLES: [&str; 11] = [
    "ringback",
    "busy",
    "no_permission",
    "no_binding",
    "service_fault",
    "last_minute",
    "enter_extension",
    "wrong_extension",
    "empty_extension",
    "no_callee",
    "no_call_back",
];

/// Every role's prompt.
#[must_use]
pub fn prompts_by_role(mut prompt: impl FnMut(&'static str) -> Option<Arc<Prompt>>) -> AppPrompts {
    AppPrompts {
        ringback: prompt("ringback"),
        busy: prompt("busy"),
        no_permission: prompt("no_permission"),
        no_binding: prompt("no_binding"),
        service_fault: prompt("service_fault"),
        last_minute: prompt("last_minute"),
        enter_extension: prompt("enter_extension"),
        wrong_extension: prompt("wrong_extension"),
        empty_extension: prompt("empty_extension"),
        no_callee: prompt("no_callee"),
        no_call_back: prompt("no_call_back"),
    }
}

/// What becomes of a call to an A who is in another already, unless an app says something else. One user's X is busy like
/// any telephone; behind extensions stand desks, where a second caller may wait.
#[must_use]
pub const fn second_call(mode: Mode) -> SecondCall {
    match mode {
        Mode::Ax => SecondCall::Refuse,
        Mode::Axb | Mode::Axe => SecondCall::Offer,
    }
}

/// Whether a number may be a party of a binding: a mobile's or a fixed line's of +86 (product rule M5).
#[must_use]
pub fn is_party(number: Number) -> bool {
    match number.kind() {
        Kind::Mobile | Kind::Fixed { .. } => true,
        Kind::Protected700 | Kind::Service400 | Kind::Service95 | Kind::Other => false,
    }
}

/// What the admin API says of an application. Absent in a stored object is what [`AppSettings::new`] says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AppSettings {
    /// Its `app_key`. In the store it is the row's name, and not repeated.
    #[serde(skip)]
    pub name: String,
    /// Its `app_secret`; `None`: it may not use the API.
    #[serde(with = "secret")]
    pub secret: Option<Secret>,
    /// The one kind of binding that it has.
    #[serde(with = "mode")]
    pub mode: Mode,
    /// `zh` or `en`: of the default set's prompts.
    pub language: String,
    /// The name of the tone that both hear on the answer.
    pub hint_tone: Option<String>,
    /// Calls are refused where there is no tone.
    pub require_hint_tone: bool,
    /// It may record.
    pub recording: bool,
    /// How long B rings.
    pub no_answer_seconds: u32,
    /// The longest that a call may last.
    pub safety_ceiling_seconds: u32,
    /// How long an X without bindings rests.
    pub cool_off_seconds: u32,
    /// Digits of an extension, 1 to 4.
    pub extension_width: u8,
    /// What becomes of a call to an A who is in another already; `None`: [`second_call`] of its mode.
    #[serde(with = "second_call_word")]
    pub second_call: Option<SecondCall>,
    /// Whom A of an A–X–E calls back where neither a caller nor the binding says; `None`: nobody.
    #[serde(with = "whole")]
    pub call_back_number: Option<Number>,
    /// Requests that it may make in a second.
    pub requests_per_second: u32,
    /// Area codes of its users' mobile numbers, by the digits that they begin with.
    pub mobile_areas: BTreeMap<String, String>,
    /// Names of prompts by role; `""`: none is played. An absent role has the default set's.
    pub prompts: BTreeMap<String, String>,
    /// Where it is told what happens to calls.
    pub status_url: Option<String>,
    /// Where it is told the records of calls.
    pub fee_url: Option<String>,
    /// Where it is told of text messages.
    pub sms_url: Option<String>,
    /// Where it is asked what is to become of a text message.
    pub sms_control_url: Option<String>,
    /// Where it is told the states of X.
    pub number_url: Option<String>,
    /// How what it is told is signed.
    pub signature: Generation,
    /// What becomes of text messages.
    pub sms: Sms,
    /// It is told their words too.
    pub sms_content: bool,
    /// How long the customer's answer to a text is waited for.
    pub block_timeout_seconds: u32,
    /// What becomes of a text without one.
    pub block_default: BlockDefault,
    /// It stands in the operator's file.
    #[serde(skip)]
    pub is_configured: bool,
}

/// What is wrong with settings: the field, and how to mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsFault {
    /// The field.
    pub field: &'static str,
    /// How to mend it.
    pub mend: &'static str,
}

impl fmt::Display for SettingsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.mend)
    }
}

impl std::error::Error for SettingsFault {}

impl Default for AppSettings {
    fn default() -> Self {
        AppSettings::new(String::new(), Mode::Axb)
    }
}

impl AppSettings {
    /// An app of which nothing more is said.
    #[must_use]
    pub fn new(name: String, mode: Mode) -> AppSettings {
        AppSettings {
            name,
            secret: None,
            mode,
            language: "zh".to_owned(),
            hint_tone: None,
            require_hint_tone: true,
            recording: false,
            no_answer_seconds: 60,
            safety_ceiling_seconds: 14_400,
            cool_off_seconds: COOL_OFF,
            extension_width: 4,
            second_call: None,
            call_back_number: None,
            requests_per_second: REQUESTS_PER_SECOND,
            mobile_areas: BTreeMap::new(),
            prompts: BTreeMap::new(),
            status_url: None,
            fee_url: None,
            sms_url: None,
            sms_control_url: None,
            number_url: None,
            signature: Generation::default(),
            sms: Sms::default(),
            sms_content: false,
            block_timeout_seconds: BLOCK_TIMEOUT,
            block_default: BlockDefault::default(),
            is_configured: false,
        }
    }

    /// What an app of the operator's file says, in the words of this API.
    #[must_use]
    pub fn of_file(account: &Account, app: &App) -> AppSettings {
        let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let prompts = &app.prompts;
        let roles = [
            ("ringback", &prompts.ringback),
            ("busy", &prompts.busy),
            ("no_permission", &prompts.no_permission),
            ("no_binding", &prompts.no_binding),
            ("service_fault", &prompts.service_fault),
            ("last_minute", &prompts.last_minute),
            ("enter_extension", &prompts.enter_extension),
            ("wrong_extension", &prompts.wrong_extension),
            ("empty_extension", &prompts.empty_extension),
            ("no_callee", &prompts.no_callee),
            ("no_call_back", &prompts.no_call_back),
        ];
        let name_of =
            |prompt: &Option<Arc<Prompt>>| prompt.as_ref().map_or_else(String::new, |prompt| prompt.name.to_string());
        let prompts: BTreeMap<_, _> = roles.map(|(role, prompt)| (role.to_owned(), name_of(prompt))).into();
        let urls = &account.notify;
        let url = |url: &Option<Arc<str>>| url.as_deref().map(str::to_owned);
        let (sms, block_timeout_seconds, block_default) = match app.texts {
            AppTexts::Off => (Sms::Off, BLOCK_TIMEOUT, BlockDefault::default()),
            AppTexts::Notify => (Sms::Notify, BLOCK_TIMEOUT, BlockDefault::default()),
            AppTexts::Block { within, unanswered: Unanswered::Forward } => {
                (Sms::Block, seconds(within), BlockDefault::Forward)
            }
            AppTexts::Block { within, unanswered: Unanswered::Discard } => {
                (Sms::Block, seconds(within), BlockDefault::Discard)
            }
        };
        let is_english = prompts.values().any(|name| name.starts_with("en/"));
        AppSettings {
            name: account.name.to_string(),
            secret: account.secret.clone(),
            mode: account.rules.mode,
            language: if is_english { "en" } else { "zh" }.to_owned(),
            hint_tone: app.hint_tone.as_ref().map(|prompt| prompt.name.to_string()),
            require_hint_tone: app.require_hint_tone,
            recording: app.recording,
            no_answer_seconds: seconds(app.no_answer),
            safety_ceiling_seconds: seconds(app.safety_ceiling),
            cool_off_seconds: u32::try_from(account.rules.cool_off / 1_000).unwrap_or(u32::MAX),
            extension_width: account.rules.extension_width,
            second_call: Some(app.second_call),
            call_back_number: account.rules.call_back,
            requests_per_second: account.requests_per_second,
            mobile_areas: account
                .mobile_areas
                .iter()
                .map(|(prefix, area)| (prefix.to_string(), area.to_string()))
                .collect(),
            prompts,
            status_url: url(&urls.status_url),
            fee_url: url(&urls.fee_url),
            sms_url: url(&urls.sms_url),
            sms_control_url: url(&urls.sms_control_url),
            number_url: url(&urls.number_url),
            signature: urls.signature,
            sms,
            sms_content: urls.sms_content,
            block_timeout_seconds,
            block_default,
            is_configured: true,
        }
    }

    /// As the store keeps it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("words and numbers always serialise")
    }

    /// Back from [`AppSettings::to_json`]; what an older axbridge did not say gets its default.
    #[must_use]
    pub fn from_json(name: &str, text: &str) -> Option<AppSettings> {
        let settings: AppSettings = serde_json::from_str(text).ok()?;
        Some(AppSettings { name: name.to_owned(), ..settings })
    }

    /// What becomes of a call to an A who is in another already.
    #[must_use]
    pub fn second_call(&self) -> SecondCall {
        self.second_call.unwrap_or_else(|| second_call(self.mode))
    }

    /// What the customers' API goes by.
    #[must_use]
    pub fn account(&self, id: AppId) -> Account {
        let areas = self.mobile_areas.iter();
        let url = |url: &Option<String>| url.as_deref().map(Into::into);
        Account {
            id,
            name: self.name.as_str().into(),
            secret: self.secret.clone(),
            rules: Rules {
                mode: self.mode,
                cool_off: u64::from(self.cool_off_seconds) * 1_000,
                extension_width: self.extension_width,
                call_back: self.call_back_number,
            },
            recording: self.recording,
            requests_per_second: self.requests_per_second,
            mobile_areas: areas
                .filter_map(|(prefix, area)| Some((prefix.as_str().into(), Area::parse(area)?)))
                .collect(),
            notify: Urls {
                status_url: url(&self.status_url),
                fee_url: url(&self.fee_url),
                sms_url: url(&self.sms_url),
                sms_control_url: url(&self.sms_control_url),
                number_url: url(&self.number_url),
                signature: self.signature,
                sms_content: self.sms_content,
            },
            is_configured: self.is_configured,
        }
    }

    /// What calls go by says so of text messages.
    #[must_use]
    pub fn texts(&self) -> AppTexts {
        match self.sms {
            Sms::Off => AppTexts::Off,
            Sms::Notify => AppTexts::Notify,
            Sms::Block => AppTexts::Block {
                within: Duration::from_secs(u64::from(self.block_timeout_seconds)),
                unanswered: match self.block_default {
                    BlockDefault::Forward => Unanswered::Forward,
                    BlockDefault::Discard => Unanswered::Discard,
                },
            },
        }
    }

    /// Whether every field has a value that it may have. Whether the prompts exist and where URLs lead is not looked at.
    ///
    /// # Errors
    /// The first field that has not.
    pub fn check(&self) -> Result<(), SettingsFault> {
        let is_name = (1..=64).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            && !self.name.starts_with('.');
        let is_secret = |secret: &Secret| (8..=128).contains(&secret.bytes().len());
        let is_prefix = |prefix: &str| (1..=11).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
        let has_areas = self.mobile_areas.iter().all(|(prefix, area)| is_prefix(prefix) && Area::parse(area).is_some());
        let is_prompt = |name: &String| name.len() <= 128;
        for (is_good, field, mend) in [
            (is_name, "name", "give it 1 to 64 letters, digits, -, _ and ."),
            (self.secret.as_ref().is_none_or(is_secret), "secret", "give it 8 to 128 bytes, or leave it away"),
            (matches!(&*self.language, "zh" | "en"), "language", "say zh or en"),
            (self.hint_tone.as_ref().is_none_or(is_prompt), "hint_tone", "name a prompt, or say \"\""),
            ((1..=600).contains(&self.no_answer_seconds), "no_answer_seconds", "say 1 to 600"),
            ((1..=86_400).contains(&self.safety_ceiling_seconds), "safety_ceiling_seconds", "say 1 to 86400"),
            (self.cool_off_seconds <= 31_536_000, "cool_off_seconds", "say 0 to 31536000, which is a year"),
            ((1..=4).contains(&self.extension_width), "extension_width", "say 1 to 4"),
            (
                self.call_back_number.is_none_or(is_party),
                "call_back_number",
                "give the number of a mobile or a fixed line of +86, or say \"\"",
            ),
            (
                self.call_back_number.is_none() || self.mode == Mode::Axe,
                "call_back_number",
                "leave it away: only an app of mode axe calls back",
            ),
            ((1..=1_000_000).contains(&self.requests_per_second), "requests_per_second", "say 1 to 1000000"),
            ((1..=LONGEST_BLOCK).contains(&self.block_timeout_seconds), "block_timeout_seconds", "say 1 to 10"),
            (self.mobile_areas.len() <= 1_000, "mobile_areas", "give at most 1000 prefixes"),
            (has_areas, "mobile_areas", "write prefix and area code so: {\"1380755\": \"0755\"}"),
            (
                self.prompts.iter().all(|(role, name)| ROLES.contains(&&**role) && is_prompt(name)),
                "prompts",
                "the roles are ringback, busy, no_permission, no_binding, service_fault, last_minute, \
                 enter_extension, wrong_extension, empty_extension, no_callee and no_call_back",
            ),
        ] {
            if !is_good {
                return Err(SettingsFault { field, mend });
            }
        }
        Ok(())
    }

    /// Whether what it is told may go where its URLs lead.
    ///
    /// # Errors
    /// The first field whose URL cannot be used, and why.
    pub fn check_urls(&self, guard: &Guard) -> Result<(), (&'static str, UrlError)> {
        let urls = [
            ("status_url", &self.status_url),
            ("fee_url", &self.fee_url),
            ("sms_url", &self.sms_url),
            ("sms_control_url", &self.sms_control_url),
            ("number_url", &self.number_url),
        ];
        let checked = |(field, url): (&'static str, &Option<String>)| match url.as_deref().map(|url| guard.check(url)) {
            Some(Err(error)) => Err((field, error)),
            Some(Ok(_)) | None => Ok(()),
        };
        urls.into_iter().try_for_each(checked)
    }

    /// Whether a prompt of this name is played.
    #[must_use]
    pub fn plays(&self, prompt: &str) -> bool {
        self.hint_tone.as_deref() == Some(prompt) || self.prompts.values().any(|name| name == prompt)
    }
}

mod mode {
    use numbering::Mode;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(mode.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
        let word = String::deserialize(from)?;
        Mode::ALL.into_iter().find(|mode| mode.as_str() == word).ok_or_else(|| D::Error::custom("axb, ax or axe"))
    }
}

mod whole {
    use numbering::Number;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &Option<Number>, to: S) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => to.serialize_some(&number.as_u64()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Number>, D::Error> {
        let Some(value) = Option::<u64>::deserialize(from)? else { return Ok(None) };
        Number::from_u64(value).map(Some).ok_or_else(|| D::Error::custom("a number"))
    }
}

mod second_call_word {
    use b2bua::settings::SecondCall;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(what: &Option<SecondCall>, to: S) -> Result<S::Ok, S::Error> {
        match what {
            Some(SecondCall::Offer) => to.serialize_some("offer"),
            Some(SecondCall::Refuse) => to.serialize_some("refuse"),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecondCall>, D::Error> {
        match Option::<String>::deserialize(from)?.as_deref() {
            Some("offer") => Ok(Some(SecondCall::Offer)),
            Some("refuse") => Ok(Some(SecondCall::Refuse)),
            Some(_) => Err(D::Error::custom("offer or refuse")),
            None => Ok(None),
        }
    }
}

mod secret {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::apps::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
        match secret {
            // Secrets of the admin API came as JSON strings.
            Some(secret) => to.serialize_some(&String::from_utf8_lossy(secret.bytes())),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(|secret| Secret::new(secret.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outlive_a_restart_and_their_debug_keeps_the_secret() {
        let mut settings = AppSettings::new("shop".to_owned(), Mode::Axe);
        settings.secret = Some(Secret::new(b"correct horse"));
        settings.mobile_areas.insert("1380755".to_owned(), "0755".to_owned());
        settings.second_call = Some(SecondCall::Refuse);
        settings.call_back_number = Number::parse("+8675528780001").ok();
        settings.check().unwrap();
        settings.status_url = Some("https://shop.example.com/status".to_owned());
        settings.signature = Generation::Wsse;
        settings.sms_content = true;
        let text = serde_json::to_string(&settings).unwrap();
        let mut back: AppSettings = serde_json::from_str(&text).unwrap();
        back.name = "shop".to_owned();
        assert_eq!(back, settings);
        let debug = format!("{settings:?}");
        assert!(!debug.contains("horse") && !debug.contains("28780001"), "{debug}");
        // What an older axbridge has written has fewer fields.
        let old: AppSettings = serde_json::from_str(r#"{"mode":"ax"}"#).unwrap();
        assert_eq!(old, AppSettings::new(String::new(), Mode::Ax));
        assert_eq!((old.second_call(), old.call_back_number), (SecondCall::Refuse, None));
        for (text, second_call) in [("{}", SecondCall::Offer), (r#"{"mode":"axe"}"#, SecondCall::Offer)] {
            assert_eq!(AppSettings::from_json("old", text).unwrap().second_call(), second_call, "{text}");
        }
        for bad in [r#"{"second_call":"busy"}"#, r#"{"call_back_number":1}"#, r#"{"signature":"none"}"#] {
            assert_eq!(AppSettings::from_json("old", bad), None, "{bad}");
        }
    }

    #[test]
    fn an_app_is_told_where_its_urls_lead_and_nowhere_that_is_forbidden() {
        let mut settings = AppSettings::new("shop".to_owned(), Mode::Axb);
        let account = settings.account(AppId(0));
        assert_eq!((account.notify, settings.check_urls(&Guard::default())), (Urls::default(), Ok(())));
        settings.fee_url = Some("https://shop.example.com/fee".to_owned());
        settings.number_url = Some("http://127.0.0.1/num".to_owned());
        settings.signature = Generation::Wsse;
        settings.sms_content = true;
        let told = settings.account(AppId(0)).notify;
        let fee_url = Some("https://shop.example.com/fee".into());
        let number_url = Some("http://127.0.0.1/num".into());
        assert_eq!(
            told,
            Urls { fee_url, number_url, signature: Generation::Wsse, sms_content: true, ..Urls::default() }
        );
        let refused = settings.check_urls(&Guard::default());
        assert!(matches!(refused, Err(("number_url", UrlError::Forbidden(..)))), "{refused:?}");
        assert_eq!(settings.check_urls(&Guard::new(vec!["127.0.0.0/8".parse().unwrap()])), Ok(()));
        settings.sms_control_url = Some("shop".to_owned());
        assert_eq!(settings.check_urls(&Guard::default()), Err(("sms_control_url", UrlError::Syntax)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_field() {
        let with = |change: fn(&mut AppSettings)| {
            let mut settings = AppSettings::new("shop".to_owned(), Mode::Axb);
            change(&mut settings);
            settings.check().err().map(|fault| fault.field)
        };
        assert_eq!(with(|_| {}), None);
        for (field, change) in [
            ("name", (|app| app.name.clear()) as fn(&mut AppSettings)),
            ("name", |app| app.name = "a/b".to_owned()),
            ("name", |app| app.name = "..".to_owned()),
            ("secret", |app| app.secret = Some(Secret::new(b"short"))),
            ("language", |app| app.language = "fr".to_owned()),
            ("no_answer_seconds", |app| app.no_answer_seconds = 0),
            ("safety_ceiling_seconds", |app| app.safety_ceiling_seconds = 86_401),
            ("extension_width", |app| app.extension_width = 5),
            ("call_back_number", |app| app.call_back_number = Number::parse("+8613800000001").ok()),
            ("call_back_number", |app| {
                app.mode = Mode::Axe;
                app.call_back_number = Number::parse("+869500012345").ok();
            }),
            ("requests_per_second", |app| app.requests_per_second = 0),
            ("block_timeout_seconds", |app| app.block_timeout_seconds = 0),
            ("block_timeout_seconds", |app| app.block_timeout_seconds = 11),
            ("mobile_areas", |app| drop(app.mobile_areas.insert("138".to_owned(), "755".to_owned()))),
            ("mobile_areas", |app| drop(app.mobile_areas.insert(String::new(), "0755".to_owned()))),
            ("prompts", |app| drop(app.prompts.insert("song".to_owned(), "x.wav".to_owned()))),
        ] {
            assert_eq!(with(change), Some(field));
        }
    }
}
