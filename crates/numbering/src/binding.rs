//! Bindings: who is reached through X, and on what terms.

use std::fmt;
use std::sync::Arc;

use crate::number::Number;

/// A customer's application: its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AppId(pub u32);

/// The name of a binding: a UUID (RFC 9562), printed as one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u128);

impl SubscriptionId {
    /// Reads the form that Display writes, in either case, or the same 32 hex digits without dashes.
    #[must_use]
    pub fn parse(text: &str) -> Option<SubscriptionId> {
        let dashed = match text.len() {
            36 => true,
            32 => false,
            _ => return None,
        };
        let mut id = 0_u128;
        for (place, byte) in text.bytes().enumerate() {
            if dashed && matches!(place, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            id = id << 4 | u128::from(char::from(byte).to_digit(16)?);
        }
        Some(SubscriptionId(id))
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        let part = |shift: u32, bits: u32| v >> shift & ((1 << bits) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 32),
            part(80, 16),
            part(64, 16),
            part(48, 16),
            part(0, 48)
        )
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A party of a binding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Party {
    /// `callerNum` of the API.
    A,
    /// `calleeNum` of the API.
    B,
}

impl Party {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Party {
        match self {
            Party::A => Party::B,
            Party::B => Party::A,
        }
    }
}

/// Who may call whom (`callDirection`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CallDirection {
    /// 0.
    #[default]
    Both,
    /// 1: only A calls.
    AToB,
    /// 2: only B calls.
    BToA,
}

impl CallDirection {
    /// The API's integer.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<CallDirection> {
        match code {
            0 => Some(CallDirection::Both),
            1 => Some(CallDirection::AToB),
            2 => Some(CallDirection::BToA),
            _ => None,
        }
    }

    /// Back to the API's integer.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            CallDirection::Both => 0,
            CallDirection::AToB => 1,
            CallDirection::BToA => 2,
        }
    }

    /// Whether this party may call.
    #[must_use]
    pub const fn allows(self, caller: Party) -> bool {
        match (self, caller) {
            (CallDirection::Both, _) | (CallDirection::AToB, Party::A) | (CallDirection::BToA, Party::B) => true,
            (CallDirection::AToB, Party::B) | (CallDirection::BToA, Party::A) => false,
        }
    }
}

/// Prompts that a binding names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Voice {
    /// What A hears instead of ringback when A dials X.
    pub caller_hint_tone: Option<Arc<str>>,
    /// What B hears instead of ringback when B dials X.
    pub callee_hint_tone: Option<Arc<str>>,
    /// What both hear on the answer.
    pub record_hint_tone: Option<Arc<str>>,
    /// What both hear one minute before the end.
    pub last_minute: Option<Arc<str>>,
}

/// A–X–B.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Axb {
    /// Its name.
    pub id: SubscriptionId,
    /// Whose.
    pub app: AppId,
    /// A.
    pub a: Number,
    /// B.
    pub b: Number,
    /// X.
    pub x: Number,
    /// Who may call.
    pub direction: CallDirection,
    /// Longest call in minutes (0-1440); 0 does not limit.
    pub max_minutes: u16,
    /// Calls are recorded.
    pub record: bool,
    /// Text messages are carried (`privateSms`).
    pub sms: bool,
    /// How long it was to hold when it was made or last changed so, in seconds; 0: for ever.
    pub duration: u32,
    /// When it ends: milliseconds of UNIX time; 0: never.
    pub ends: u64,
    /// Prompts.
    pub voice: Option<Box<Voice>>,
    /// The customer's own words (`userData`), repeated in records.
    pub user_text: Option<Box<str>>,
}

impl Axb {
    /// Both may call as long as they like, for ever; nothing is recorded.
    #[must_use]
    pub const fn new(id: SubscriptionId, app: AppId, a: Number, x: Number, b: Number) -> Axb {
        Axb {
            id,
            app,
            a,
            b,
            x,
            direction: CallDirection::Both,
            max_minutes: 0,
            record: false,
            sms: true,
            duration: 0,
            ends: 0,
            voice: None,
            user_text: None,
        }
    }
}

/// A–X: anybody reaches A through X, and A reaches by X whom the customer names just before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ax {
    /// Its name.
    pub id: SubscriptionId,
    /// Whose.
    pub app: AppId,
    /// A.
    pub a: Number,
    /// X.
    pub x: Number,
    /// Who may call: `AToB` is A alone, `BToA` everybody else.
    pub direction: CallDirection,
    /// X is switched on (`turnFlag`).
    pub is_on: bool,
    /// The customer wants A to see who calls instead of X (`calleeNumDisplay` 1).
    pub shows_caller: bool,
    /// Longest call in minutes (0-1440); 0 does not limit.
    pub max_minutes: u16,
    /// Calls are recorded.
    pub record: bool,
    /// Text messages are carried.
    pub sms: bool,
    /// Prompts.
    pub voice: Option<Box<Voice>>,
    /// The customer's own words.
    pub user_text: Option<Box<str>>,
    /// Whom A reaches now.
    pub temporary: Option<Temporary>,
}

impl Ax {
    /// Switched on for both directions; nothing is recorded, nobody is named to be reached.
    #[must_use]
    pub const fn new(id: SubscriptionId, app: AppId, a: Number, x: Number) -> Ax {
        Ax {
            id,
            app,
            a,
            x,
            direction: CallDirection::Both,
            is_on: true,
            shows_caller: false,
            max_minutes: 0,
            record: false,
            sms: true,
            voice: None,
            user_text: None,
            temporary: None,
        }
    }
}

impl Axe {
    /// For ever; nothing is recorded, A's calls do what the app says.
    #[must_use]
    pub const fn new(id: SubscriptionId, app: AppId, a: Number, x: Number, extension: Extension) -> Axe {
        Axe {
            id,
            app,
            a,
            x,
            extension,
            shows_caller: false,
            record: false,
            record_hint_tone: None,
            call_back: CallBack::App,
            unit: TimeUnit::Hours,
            bind_for: 0,
            call_back_for: 0,
            ends: 0,
            user_text: None,
            last_caller: None,
        }
    }
}

/// Whom A reaches by calling X (AX).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Temporary {
    /// Who; service numbers too.
    pub callee: Number,
    /// Until when: milliseconds of UNIX time.
    pub ends: u64,
    /// The customer's own words for these calls.
    pub user_text: Option<Box<str>>,
}

/// A–X–E: A is reached through X and an extension.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Axe {
    /// Its name.
    pub id: SubscriptionId,
    /// Whose.
    pub app: AppId,
    /// A.
    pub a: Number,
    /// X.
    pub x: Number,
    /// E.
    pub extension: Extension,
    /// The customer wants A to see who calls instead of X (`displayNumMode` 1).
    pub shows_caller: bool,
    /// Calls are recorded.
    pub record: bool,
    /// The tone that both hear on the answer.
    pub record_hint_tone: Option<Arc<str>>,
    /// What A reaches by calling X where nobody has called A lately.
    pub call_back: CallBack,
    /// What the two times below are counted in.
    pub unit: TimeUnit,
    /// How long it was to hold; 0: for ever.
    pub bind_for: u32,
    /// How long a caller can be called back; 0: for ever.
    pub call_back_for: u32,
    /// When it ends: milliseconds of UNIX time; 0: never.
    pub ends: u64,
    /// The customer's own words.
    pub user_text: Option<Box<str>>,
    /// Who called A by this extension last.
    pub last_caller: Option<LastCaller>,
}

impl Axe {
    /// X as the parties see it: a managed 700 number with the extension behind it, since 15 digits are dialled (product rule
    /// M4); any other X as it is.
    #[must_use]
    pub fn shown(&self) -> Number {
        self.x.with_tail(self.extension.value()).unwrap_or(self.x)
    }

    /// Whom A calls back, where somebody has called who still can be.
    #[must_use]
    pub fn call_back_to(&self, now: u64) -> Option<LastCaller> {
        let life = u64::from(self.call_back_for) * u64::from(self.unit.seconds()) * 1_000;
        self.last_caller.filter(|last| life == 0 || last.at.saturating_add(life) > now)
    }
}

/// Somebody who has called A.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastCaller {
    /// Who.
    pub number: Number,
    /// When: milliseconds of UNIX time.
    pub at: u64,
}

/// What A reaches by calling the X of an A–X–E where nobody has called A lately.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum CallBack {
    /// What the app says.
    #[default]
    App,
    /// This prompt.
    Tone(Arc<str>),
    /// This number.
    Number(Number),
}

/// What times of an A–X–E are counted in (`timeUnit`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeUnit {
    /// 0.
    #[default]
    Hours,
    /// 1.
    Minutes,
}

impl TimeUnit {
    /// One of it, in seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            TimeUnit::Hours => 3600,
            TimeUnit::Minutes => 60,
        }
    }
}

/// An extension: one to four digits, not all of them 0. `7` and `07` are two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extension {
    width: u8,
    value: u16,
}

impl Extension {
    /// The extension of this width (1 to 4) and value (1 to 9, 99, 999 or 9999).
    #[must_use]
    pub fn new(width: u8, value: u16) -> Option<Extension> {
        let is_one = (1..=4).contains(&width) && (1..=Extension::last(width)).contains(&value);
        is_one.then_some(Extension { width, value })
    }

    /// Reads its digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Extension> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Extension::new(u8::try_from(text.len()).ok()?, text.parse().ok()?)
    }

    /// The largest value of a width.
    #[must_use]
    pub const fn last(width: u8) -> u16 {
        10_u16.pow(if width > 4 { 4 } else { width as u32 }) - 1
    }

    /// How many digits.
    #[must_use]
    pub const fn width(self) -> u8 {
        self.width
    }

    /// Without its leading zeros.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.value
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$}", self.value, width = usize::from(self.width))
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The one kind of binding that an app has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// A–X–B.
    #[default]
    Axb,
    /// A–X.
    Ax,
    /// A–X–E.
    Axe,
}

impl Mode {
    /// Every one.
    pub const ALL: [Mode; 3] = [Mode::Axb, Mode::Ax, Mode::Axe];

    /// `axb`, `ax`, `axe`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Axb => "axb",
            Mode::Ax => "ax",
            Mode::Axe => "axe",
        }
    }
}

/// A relation through X.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Binding {
    /// A–X–B.
    Axb(Axb),
    /// A–X. Boxed, so that a table of pairs does not pay for it.
    Ax(Box<Ax>),
    /// A–X–E.
    Axe(Box<Axe>),
}

/// What a binding is looked up by beside its X: a party's number, `X` itself where anybody may call, or an extension.
pub(crate) type Key = u64;

/// No number has the highest bit: the largest has 18 digits.
pub(crate) const fn extension_key(extension: Extension) -> Key {
    1 << 63 | (extension.width as u64) << 16 | extension.value as u64
}

impl Binding {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> SubscriptionId {
        match self {
            Binding::Axb(axb) => axb.id,
            Binding::Ax(ax) => ax.id,
            Binding::Axe(axe) => axe.id,
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Binding::Axb(_) => Mode::Axb,
            Binding::Ax(_) => Mode::Ax,
            Binding::Axe(_) => Mode::Axe,
        }
    }

    /// Whose.
    #[must_use]
    pub const fn app(&self) -> AppId {
        match self {
            Binding::Axb(axb) => axb.app,
            Binding::Ax(ax) => ax.app,
            Binding::Axe(axe) => axe.app,
        }
    }

    /// Makes it another app's.
    pub const fn set_app(&mut self, app: AppId) {
        match self {
            Binding::Axb(axb) => axb.app = app,
            Binding::Ax(ax) => ax.app = app,
            Binding::Axe(axe) => axe.app = app,
        }
    }

    /// Its X.
    #[must_use]
    pub const fn x(&self) -> Number {
        match self {
            Binding::Axb(axb) => axb.x,
            Binding::Ax(ax) => ax.x,
            Binding::Axe(axe) => axe.x,
        }
    }

    /// Its A.
    #[must_use]
    pub const fn a(&self) -> Number {
        match self {
            Binding::Axb(axb) => axb.a,
            Binding::Ax(ax) => ax.a,
            Binding::Axe(axe) => axe.a,
        }
    }

    /// When it ends, in milliseconds of UNIX time; `None`: never.
    #[must_use]
    pub fn ends(&self) -> Option<u64> {
        let ends = match self {
            Binding::Axb(axb) => axb.ends,
            Binding::Ax(_) => 0,
            Binding::Axe(axe) => axe.ends,
        };
        (ends != 0).then_some(ends)
    }

    /// When something about it ends: it, or its temporary callee.
    pub(crate) fn due(&self) -> Option<u64> {
        match self {
            Binding::Ax(ax) => ax.temporary.as_ref().map(|temporary| temporary.ends),
            Binding::Axb(_) | Binding::Axe(_) => self.ends(),
        }
    }

    /// X as the parties see it.
    #[must_use]
    pub fn shown(&self) -> Number {
        match self {
            Binding::Axb(axb) => axb.x,
            Binding::Ax(ax) => ax.x,
            Binding::Axe(axe) => axe.shown(),
        }
    }

    /// The customer wants A to see who calls, instead of X.
    #[must_use]
    pub const fn shows_caller(&self) -> bool {
        match self {
            Binding::Axb(_) => false,
            Binding::Ax(ax) => ax.shows_caller,
            Binding::Axe(axe) => axe.shows_caller,
        }
    }

    /// Longest call in minutes; 0 does not limit.
    #[must_use]
    pub const fn max_minutes(&self) -> u16 {
        match self {
            Binding::Axb(axb) => axb.max_minutes,
            Binding::Ax(ax) => ax.max_minutes,
            Binding::Axe(_) => 0,
        }
    }

    /// Whether its calls are recorded.
    #[must_use]
    pub const fn record(&self) -> bool {
        match self {
            Binding::Axb(axb) => axb.record,
            Binding::Ax(ax) => ax.record,
            Binding::Axe(axe) => axe.record,
        }
    }

    /// What both hear on the answer.
    #[must_use]
    pub fn record_hint_tone(&self) -> Option<&Arc<str>> {
        match self {
            Binding::Axb(axb) => axb.voice.as_ref()?.record_hint_tone.as_ref(),
            Binding::Ax(ax) => ax.voice.as_ref()?.record_hint_tone.as_ref(),
            Binding::Axe(axe) => axe.record_hint_tone.as_ref(),
        }
    }

    /// What both hear one minute before the end.
    #[must_use]
    pub fn last_minute(&self) -> Option<&Arc<str>> {
        self.voice()?.last_minute.as_ref()
    }

    /// What this party hears instead of ringback.
    #[must_use]
    pub fn announcement(&self, caller: Party) -> Option<&Arc<str>> {
        let voice = self.voice()?;
        match caller {
            Party::A => voice.caller_hint_tone.as_ref(),
            Party::B => voice.callee_hint_tone.as_ref(),
        }
    }

    fn voice(&self) -> Option<&Voice> {
        match self {
            Binding::Axb(axb) => axb.voice.as_deref(),
            Binding::Ax(ax) => ax.voice.as_deref(),
            Binding::Axe(_) => None,
        }
    }

    /// The customer's own words for a call of this party.
    #[must_use]
    pub fn user_text(&self, caller: Option<Party>) -> Option<&str> {
        match self {
            Binding::Axb(axb) => axb.user_text.as_deref(),
            Binding::Ax(ax) => {
                let temporary = ax.temporary.as_ref().filter(|_| caller == Some(Party::A));
                temporary.and_then(|temporary| temporary.user_text.as_deref()).or(ax.user_text.as_deref())
            }
            Binding::Axe(axe) => axe.user_text.as_deref(),
        }
    }

    /// Which party of it a number is. Of an A–X everybody but A is B.
    #[must_use]
    pub fn party(&self, number: Number) -> Option<Party> {
        if self.a() == number {
            return Some(Party::A);
        }
        match self {
            Binding::Axb(axb) => (axb.b == number).then_some(Party::B),
            Binding::Ax(_) => Some(Party::B),
            Binding::Axe(_) => None,
        }
    }

    /// What it is looked up by beside X.
    pub(crate) const fn keys(&self) -> [Key; 2] {
        match self {
            Binding::Axb(axb) => [axb.a.as_u64(), axb.b.as_u64()],
            Binding::Ax(ax) => [ax.a.as_u64(), ax.x.as_u64()],
            // A may have several on one X, so A's number leads to none of them.
            Binding::Axe(axe) => [extension_key(axe.extension); 2],
        }
    }
}

/// Where a number is at home: an area code, without its 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Area(u16);

impl Area {
    /// Reads an area code with its 0: `010`, `0755`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Area> {
        let is_one = matches!(text.len(), 3 | 4)
            && text.starts_with('0')
            && !text.starts_with("00")
            && text.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| text.parse().ok().map(Area))?
    }

    /// Of a fixed line of +86: its area code.
    #[must_use]
    pub fn of(number: Number) -> Option<Area> {
        number.area().map(Area)
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0{}", self.0)
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether an X serves (`status` of the API's push).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum NumberState {
    /// 5.
    #[default]
    Normal,
    /// 9: no calls, no new bindings.
    Suspended,
    /// 10: no calls, no new bindings.
    Unavailable,
    /// 11: no new bindings; those that there are work.
    Frozen,
}

impl NumberState {
    /// Every one.
    pub const ALL: [NumberState; 4] =
        [NumberState::Normal, NumberState::Suspended, NumberState::Unavailable, NumberState::Frozen];

    /// The API's integer.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            NumberState::Normal => 5,
            NumberState::Suspended => 9,
            NumberState::Unavailable => 10,
            NumberState::Frozen => 11,
        }
    }

    /// From the API's integer.
    #[must_use]
    pub fn from_code(code: u8) -> Option<NumberState> {
        NumberState::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Whether calls go through.
    #[must_use]
    pub const fn carries_calls(self) -> bool {
        matches!(self, NumberState::Normal | NumberState::Frozen)
    }
}

/// An X.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualNumber {
    /// X itself.
    pub number: Number,
    /// Whose it is.
    pub app: AppId,
    /// The trunk of the carrier that owns it; `None`: calls go out by the trunk that they came in by.
    pub trunk: Option<Arc<str>>,
    /// Where it is at home; `None`: nowhere.
    pub area: Option<Area>,
    /// Whether it serves.
    pub state: NumberState,
}

impl VirtualNumber {
    /// An X that serves, at home where its number says.
    #[must_use]
    pub fn new(number: Number, app: AppId, trunk: Option<Arc<str>>) -> VirtualNumber {
        VirtualNumber { number, app, trunk, area: Area::of(number), state: NumberState::Normal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_printed_and_without_dashes() {
        let text = "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213e";
        let id = SubscriptionId::parse(text).unwrap();
        assert_eq!(id.0, 0x88ec_9feb_ed7d_4b0a_bf65_cc6b_e2b9_213e);
        assert_eq!(format!("{id} {id:?}"), format!("{text} {text}"));
        assert_eq!(SubscriptionId::parse(&text.to_uppercase()), Some(id));
        assert_eq!(SubscriptionId::parse(&text.replace('-', "")), Some(id));
        for value in [0, 1, u128::MAX, 1 << 127] {
            let id = SubscriptionId(value);
            assert_eq!(SubscriptionId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "88ec9feb",
            "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213",
            "88ec9feb-ed7d-4b0a-bf65-cc6be2b9213ee",
            "88ec9febed7d4b0abf65cc6be2b9213g",
            "88ec9feb-ed7d-4b0a-bf65ccc6be2b9213e",
            "88ec9febe-d7d-4b0a-bf65-cc6be2b9213e",
            "+8ec9feb-ed7d-4b0a-bf65-cc6be2b9213e",
            "------------------------------------",
            "é8ec9feb-ed7d-4b0a-bf65-cc6be2b9213",
        ] {
            assert_eq!(SubscriptionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn directions_have_their_codes_and_allow_what_they_say() {
        let rows = [
            (0, CallDirection::Both, true, true),
            (1, CallDirection::AToB, true, false),
            (2, CallDirection::BToA, false, true),
        ];
        for (code, direction, a, b) in rows {
            assert_eq!(CallDirection::from_code(code), Some(direction));
            assert_eq!(direction.code(), code);
            assert_eq!((direction.allows(Party::A), direction.allows(Party::B)), (a, b));
        }
        assert_eq!(CallDirection::from_code(3), None);
        assert_eq!((Party::A.other(), Party::B.other()), (Party::B, Party::A));
    }

    #[test]
    fn extensions_have_a_width_and_no_other_spelling() {
        for (text, width, value) in [("1", 1, 1), ("9", 1, 9), ("07", 2, 7), ("0100", 4, 100), ("9999", 4, 9_999)] {
            let extension = Extension::parse(text).unwrap();
            assert_eq!((extension.width(), extension.value()), (width, value));
            assert_eq!(extension.to_string(), text);
        }
        for text in ["", "0", "00", "0000", "12345", "+1", "1a", "٣"] {
            assert_eq!(Extension::parse(text), None, "{text}");
        }
        assert_eq!([1, 2, 3, 4].map(Extension::last), [9, 99, 999, 9_999]);
        assert_eq!((Extension::new(2, 100), Extension::new(0, 1), Extension::new(5, 1)), (None, None, None));
        let keys: std::collections::HashSet<Key> = (1..=4)
            .flat_map(|width| (1..=Extension::last(width)).map(move |value| Extension::new(width, value).unwrap()))
            .map(extension_key)
            .collect();
        assert_eq!(keys.len(), 9 + 99 + 999 + 9_999);
        assert!(keys.iter().all(|key| Number::from_u64(*key).is_none()));
    }

    #[test]
    fn areas_are_read_with_their_zero_and_known_of_fixed_lines() {
        for text in ["010", "0755", "021", "0898"] {
            assert_eq!(Area::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "0", "01", "755", "00755", "0075", "07a5", "+0755", "07555"] {
            assert_eq!(Area::parse(text), None, "{text}");
        }
        let of = |text| Area::of(Number::parse(text).unwrap()).map(|area| area.to_string());
        assert_eq!(of("+8675528000001").as_deref(), Some("0755"));
        assert_eq!(of("+861062000001").as_deref(), Some("010"));
        assert_eq!((of("+8613800000001"), of("+14155550100")), (None, None));
    }

    #[test]
    fn states_have_the_codes_of_the_push() {
        assert_eq!(NumberState::ALL.map(NumberState::code), [5, 9, 10, 11]);
        for state in NumberState::ALL {
            assert_eq!(NumberState::from_code(state.code()), Some(state));
        }
        assert_eq!(NumberState::from_code(6), None);
        assert_eq!(NumberState::ALL.map(NumberState::carries_calls), [true, false, false, true]);
    }
}
