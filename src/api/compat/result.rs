//! What a request comes to: the one table of result codes, and the answers that are made of them.
//!
//! ```text
//!   operation ─▶ Ok(Reply)      {"resultcode":"0","resultdesc":"Success", …}                    200
//!             └▶ Err(Refused)   {"resultcode":"1010002","resultdesc":"Invalid request. …"}      the code's status
//! ```
//!
//! Codes whose last two digits are 80 or more are **ours**: the public documents name the situation, but no code for it was
//! found. They stand here and nowhere else, so that they can be corrected.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use numbering::{BindError, Mode, Number};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A result code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(usize)]
pub enum Code {
    /// All is well.
    Success,
    /// We cannot do it now: the disk, the queue, or a bug.
    Internal,
    /// A parameter is missing or wrong; the text names it.
    InvalidRequest,
    /// No application of this `app_key`, or one that may not use the API.
    UnknownApp,
    /// Too many requests in a second.
    TooManyRequests,
    /// The application has another mode.
    WrongMode,
    /// AX: X is not the application's.
    NoAccount,
    /// AX: no X is free.
    NoneFreeAx,
    /// AX unbind: there is no such binding.
    NoAxToUnbind,
    /// AX: X belongs to another A.
    XTaken,
    /// AX: A has as many X as it may. Ours.
    TooManyX,
    /// AXB, AXE: X is not the application's, or carries nothing.
    NoX,
    /// AXB: there is no such binding; or no such recording.
    NoRecord,
    /// AXB, AXE: no X, or no extension, is free.
    NoneFree,
    /// The number, or the extension, is bound on this X already.
    Bound,
    /// The call of this session has ended. Ours.
    CallGone,
    /// X does not serve now.
    NumberState,
    /// AX, AXE: there is no such binding.
    NoBinding,
    /// AX: A and X are bound already.
    Exists,
    /// Too many wrong digests from this address.
    Locked,
    /// Something inside failed.
    InternalCall,
    /// Something inside was too slow.
    Timeout,
    /// No `Authorization`.
    NoAuthorization,
    /// No `realm`.
    NoRealm,
    /// No `profile`.
    NoProfile,
    /// `realm` is not `SDP`.
    WrongRealm,
    /// `profile` is not `UsernameToken`.
    WrongProfile,
    /// `type` is not `Appkey`.
    WrongType,
    /// No `type`.
    NoType,
    /// No `X-AKSK`.
    NoAksk,
    /// `X-AKSK` without a usable `Username`.
    NoAkskUsername,
    /// `X-AKSK` without a usable `Nonce`.
    NoAkskNonce,
    /// `X-AKSK` without a usable `Created`.
    NoAkskCreated,
    /// `X-AKSK` without a `PasswordDigest`.
    NoAkskDigest,
    /// No `X-WSSE`. Ours.
    NoWsse,
    /// `X-WSSE` without a usable `Username`. Ours.
    NoWsseUsername,
    /// `X-WSSE` without a usable `Nonce`. Ours.
    NoWsseNonce,
    /// `X-WSSE` without a usable `Created`. Ours.
    NoWsseCreated,
    /// `X-WSSE` without a `PasswordDigest`. Ours.
    NoWsseDigest,
    /// The digest is another one. Ours.
    WrongDigest,
    /// The same request has been here before. Ours.
    Replayed,
    /// `Created` is too far from now. Ours.
    OutsideWindow,
    /// There is nothing at this path. Ours.
    NoPath,
    /// The path is there, the method is not. Ours.
    NoMethod,
}

impl Code {
    /// Every one, in the order of the enum.
    pub const ALL: [Code; 44] = [
        Code::Success,
        Code::Internal,
        Code::InvalidRequest,
        Code::UnknownApp,
        Code::TooManyRequests,
        Code::WrongMode,
        Code::NoAccount,
        Code::NoneFreeAx,
        Code::NoAxToUnbind,
        Code::XTaken,
        Code::TooManyX,
        Code::NoX,
        Code::NoRecord,
        Code::NoneFree,
        Code::Bound,
        Code::CallGone,
        Code::NumberState,
        Code::NoBinding,
        Code::Exists,
        Code::Locked,
        Code::InternalCall,
        Code::Timeout,
        Code::NoAuthorization,
        Code::NoRealm,
        Code::NoProfile,
        Code::WrongRealm,
        Code::WrongProfile,
        Code::WrongType,
        Code::NoType,
        Code::NoAksk,
        Code::NoAkskUsername,
        Code::NoAkskNonce,
        Code::NoAkskCreated,
        Code::NoAkskDigest,
        Code::NoWsse,
        Code::NoWsseUsername,
        Code::NoWsseNonce,
        Code::NoWsseCreated,
        Code::NoWsseDigest,
        Code::WrongDigest,
        Code::Replayed,
        Code::OutsideWindow,
        Code::NoPath,
        Code::NoMethod,
    ];

    /// The table: `resultcode`, `resultdesc`, HTTP status.
    const fn row(self) -> (&'static str, &'static str, u16) {
        match self {
            Code::Success => ("0", "Success", 200),
            Code::Internal => ("1010001", "Internal system error.", 500),
            Code::InvalidRequest => ("1010002", "Invalid request.", 400),
            Code::UnknownApp => ("1010003", "Invalid app_key.", 403),
            Code::TooManyRequests => ("1010010", "The flow control upper limit is reached on the platform.", 403),
            Code::WrongMode => ("1010040", "The app_key is not allowed to invoke the API.", 403),
            Code::NoPath => ("1010080", "There is no API at this path.", 404),
            Code::NoMethod => ("1010081", "The API at this path does not know this method.", 405),
            Code::NoAccount => ("1011001", "Account does not exist.", 403),
            Code::NoneFreeAx => ("1011002", "Insufficient number of resources.", 403),
            Code::NoAxToUnbind => ("1011004", "The binding relationship does not exist.", 403),
            Code::XTaken => ("1011005", "Resources have been allocated.", 403),
            Code::TooManyX => {
                ("1011080", "The number has exceeded the upper limit of resources that can be applied for.", 403)
            }
            Code::NoX => ("1012001", "Resource of number is not to be applied.", 403),
            Code::NoRecord => ("1012007", "The record does not exist.", 403),
            Code::NoneFree => ("1012008", "Insufficient number of resources.", 403),
            Code::Bound => ("1012010", "The relation number has been bound.", 403),
            Code::CallGone => ("1012080", "The call does not exist.", 403),
            Code::NumberState => ("1012102", "The number status is abnormal.", 403),
            Code::NoBinding => ("1016001", "The record does not exist.", 403),
            Code::Exists => ("1016002", "The record already exists.", 403),
            Code::Locked => ("1020176", "Authentication failed, try again later.", 403),
            Code::InternalCall => ("1023001", "Internal error.", 500),
            Code::Timeout => ("1023002", "Response timeout.", 500),
            Code::NoAuthorization => ("1023006", "Authorization not contained in the HTTP header.", 400),
            Code::NoRealm => ("1023007", "realm not contained in Authorization.", 400),
            Code::NoProfile => ("1023008", "profile not contained in Authorization.", 400),
            Code::WrongRealm => ("1023009", "The value of realm in Authorization must be SDP.", 400),
            Code::WrongProfile => ("1023010", "The value of profile in Authorization must be UsernameToken.", 400),
            Code::WrongType => ("1023011", "The value of type in Authorization must be app_key.", 400),
            Code::NoType => ("1023012", "type not contained in Authorization.", 400),
            Code::NoAksk => ("1023033", "HTTP header not found X-AKSK field.", 400),
            Code::NoAkskUsername => ("1023034", "UserName not contained in X-AKSK.", 400),
            Code::NoAkskNonce => ("1023035", "Nonce not contained in X-AKSK.", 400),
            Code::NoAkskCreated => ("1023036", "Created not contained in X-AKSK.", 400),
            Code::NoAkskDigest => ("1023037", "PasswordDigest not contained in X-AKSK.", 400),
            Code::NoWsse => ("1023083", "HTTP header not found X-WSSE field.", 400),
            Code::NoWsseUsername => ("1023084", "UserName not contained in X-WSSE.", 400),
            Code::NoWsseNonce => ("1023085", "Nonce not contained in X-WSSE.", 400),
            Code::NoWsseCreated => ("1023086", "Created not contained in X-WSSE.", 400),
            Code::NoWsseDigest => ("1023087", "PasswordDigest not contained in X-WSSE.", 400),
            Code::WrongDigest => ("1023090", "The value of PasswordDigest is wrong.", 403),
            Code::Replayed => ("1023091", "The value of Nonce has been used before.", 403),
            Code::OutsideWindow => ("1023092", "The value of Created is too far from the time of the platform.", 403),
        }
    }

    /// `resultcode`.
    #[must_use]
    pub const fn number(self) -> &'static str {
        self.row().0
    }

    /// `resultdesc`, where there is nothing more to be said.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.row().1
    }

    /// Status of the HTTP answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().2
    }
}

/// How often each code has been answered.
pub struct Tally([AtomicU64; Code::ALL.len()]);

impl Default for Tally {
    fn default() -> Tally {
        Tally([const { AtomicU64::new(0) }; Code::ALL.len()])
    }
}

impl Tally {
    /// One more.
    pub fn count(&self, code: Code) {
        if let Some(counter) = self.0.get(code as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Every code, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Code, u64)> {
        Code::ALL.into_iter().zip(self.0.iter().map(|counter| counter.load(Relaxed)))
    }
}

/// A request that is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub code: Code,
    /// Which parameter, and what is wrong with it.
    pub about: Option<(&'static str, &'static str)>,
}

impl Refused {
    /// A parameter is wrong, and so.
    #[must_use]
    pub const fn parameter(name: &'static str, why: &'static str) -> Refused {
        Refused { code: Code::InvalidRequest, about: Some((name, why)) }
    }

    /// A parameter is missing.
    #[must_use]
    pub const fn missing(name: &'static str) -> Refused {
        Refused::parameter(name, "is missing")
    }

    /// What the API of a mode calls a rule that a binding breaks. `a` and `other` name the parameters of the parties, `number`
    /// is A, `same` is the parameter to be blamed where both are the same.
    #[must_use]
    pub fn rule(error: BindError, mode: Mode, parties: Parties) -> Refused {
        let named = |number: Number| if number == parties.number { parties.a } else { parties.other };
        let code = match error {
            BindError::UnknownX | BindError::ForeignX => match mode {
                Mode::Ax => Code::NoAccount,
                Mode::Axb | Mode::Axe => Code::NoX,
            },
            // X serves no more, or does not serve so.
            BindError::NumberState(_) | BindError::Not700 | BindError::Managed700 => Code::NumberState,
            BindError::NumberTaken(_) => match mode {
                Mode::Ax => Code::Exists,
                Mode::Axb | Mode::Axe => Code::Bound,
            },
            BindError::ExtensionTaken(_) => Code::Bound,
            BindError::XTaken => Code::XTaken,
            BindError::TooManyX => Code::TooManyX,
            BindError::NoneFree | BindError::TooManyPairs | BindError::Full => match mode {
                Mode::Ax => Code::NoneFreeAx,
                Mode::Axb | Mode::Axe => Code::NoneFree,
            },
            BindError::NotFound => Refused::not_found(mode),
            // X carries bindings of the mode that its app had before.
            BindError::InUse => Code::Bound,
            // Only a bug leads here: the names of new bindings are unique.
            BindError::Exists => Code::Internal,
            BindError::SameParty => return Refused::parameter(parties.same, "is the number of the other party"),
            BindError::PartyIsVirtual(number) => return Refused::parameter(named(number), "is a virtual number"),
            BindError::ServiceNumber(number) => return Refused::parameter(named(number), "is a service number"),
            BindError::MaxMinutes => return Refused::parameter("maxDuration", "is not within 0-1440"),
            BindError::Configured => {
                return Refused::parameter("subscriptionId", "names a binding of the operator's configuration");
            }
        };
        code.into()
    }

    /// The code of a mode for a binding that is not there.
    #[must_use]
    pub const fn not_found(mode: Mode) -> Code {
        match mode {
            Mode::Axb => Code::NoRecord,
            Mode::Ax | Mode::Axe => Code::NoBinding,
        }
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Refused {
        Refused { code, about: None }
    }
}

/// `resultdesc`.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.text())?;
        match self.about {
            Some((name, why)) => write!(f, " The parameter {name} {why}."),
            None => Ok(()),
        }
    }
}

/// How a mode's parameters name the parties of a binding.
#[derive(Clone, Copy, Debug)]
pub struct Parties {
    /// A's.
    pub a: &'static str,
    /// The other one's.
    pub other: &'static str,
    /// The one that is to be blamed where both are the same number.
    pub same: &'static str,
    /// A.
    pub number: Number,
}

/// The body of a success, its fields in the order in which they are written. It holds whole numbers, and prints none.
#[derive(Clone, PartialEq)]
pub struct Reply(Vec<(&'static str, Value)>);

impl Default for Reply {
    fn default() -> Reply {
        Reply::new()
    }
}

impl Reply {
    /// Success, and nothing more to be said.
    #[must_use]
    pub fn new() -> Reply {
        Reply(Vec::new()).with("resultcode", Code::Success.number()).with("resultdesc", Code::Success.text())
    }

    /// A refusal.
    #[must_use]
    pub fn of(refused: Refused) -> Reply {
        item().with("resultcode", refused.code.number()).with("resultdesc", refused.to_string())
    }

    /// With this field behind the others.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Reply {
        self.0.push((name, value.into()));
        self
    }

    /// With this field, where it has a value.
    #[must_use]
    pub fn with_any(self, name: &'static str, value: Option<impl Into<Value>>) -> Reply {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With this number, whole.
    #[must_use]
    pub fn with_number(self, name: &'static str, number: Number) -> Reply {
        self.with(name, number.reveal().to_string())
    }

    /// One field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

/// A part of a reply that is an object of its own.
#[must_use]
pub(crate) fn item() -> Reply {
    Reply(Vec::new())
}

impl From<Reply> for Value {
    fn from(reply: Reply) -> Value {
        reply.0.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// What an operation comes to.
pub type Answer = Result<Reply, Refused>;
