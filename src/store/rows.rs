//! Bindings and numbers as rows of the database, and back.
//!
//! ```text
//!   id (16 bytes, sorted) │ app │ mode │ x │ a │ b: B, E or nothing │ ends │ terms
//!                                                                            └ JSON of what differs from the usual; mostly NULL
//! ```
//!
//! The types of `numbering` know nothing of this: what is written, and under which names, is said here and nowhere else.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use numbering::{
    AppId, Area, Ax, Axb, Axe, Binding, CallBack, CallDirection, Extension, LastCaller, Mode, Number, NumberState,
    SubscriptionId, Temporary, TimeUnit, VirtualNumber, Voice,
};
use rusqlite::{CachedStatement, Row, params};
use serde::{Deserialize, Serialize};

/// Rows name apps by name; who loads them knows their places.
const NOBODY: AppId = AppId(u32::MAX);

/// Writes a binding by a statement with the columns in the order of the picture.
pub(super) fn put_binding(statement: &mut CachedStatement<'_>, app: i64, binding: &Binding) -> rusqlite::Result<()> {
    let b = match binding {
        Binding::Axb(axb) => Some(digits(axb.b)),
        Binding::Ax(_) => None,
        Binding::Axe(axe) => Some(extension_code(axe.extension)),
    };
    let terms = Terms::of(binding);
    // Serialising strings and numbers into memory cannot fail.
    let terms = (terms != Terms::default()).then(|| serde_json::to_string(&terms).unwrap_or_default());
    statement.execute(params![
        id_bytes(binding.id()),
        app,
        mode_code(binding.mode()),
        digits(binding.x()),
        digits(binding.a()),
        b,
        binding.ends().unwrap_or_default().cast_signed(),
        terms,
    ])?;
    Ok(())
}

/// Reads a binding from columns in the order of the picture; the app's are left to the caller. What stands there may be
/// anything: the error says what is wrong, without a number.
pub(super) fn binding(row: &Row<'_>, names: &mut Names) -> Result<Binding, String> {
    let id = id(row, 0)?;
    let [x, a] = [number(row, 3)?, number(row, 4)?];
    let ends = integer(row, 6)?.cast_unsigned();
    let terms = match row.get_ref(7).and_then(|value| Ok(value.as_str_or_null()?)) {
        Ok(None) => Terms::default(),
        // Where, not what: the text holds numbers.
        Ok(Some(json)) => serde_json::from_str(json)
            .map_err(|error| format!("binding {id}: terms: {:?} at column {}", error.classify(), error.column()))?,
        Err(_) => return Err(format!("binding {id}: terms: no text")),
    };
    let mode = integer(row, 2)?;
    let wrong = |what: &str| format!("binding {id}: {what}");
    let direction = CallDirection::from_code(terms.direction).ok_or_else(|| wrong("direction"))?;
    match Mode::ALL.into_iter().find(|known| mode_code(*known) == mode) {
        Some(Mode::Axb) => Ok(Binding::Axb(Axb {
            id,
            app: NOBODY,
            a,
            b: number(row, 5)?,
            x,
            direction,
            max_minutes: terms.minutes,
            record: terms.record,
            sms: !terms.no_sms,
            duration: terms.duration,
            ends,
            voice: terms.voice.map(|voice| Box::new(voice.read(names))),
            user_text: terms.text.map(Into::into),
        })),
        Some(Mode::Ax) => Ok(Binding::Ax(Box::new(Ax {
            id,
            app: NOBODY,
            a,
            x,
            direction,
            is_on: !terms.off,
            shows_caller: terms.shows_caller,
            max_minutes: terms.minutes,
            record: terms.record,
            sms: !terms.no_sms,
            voice: terms.voice.map(|voice| Box::new(voice.read(names))),
            user_text: terms.text.map(Into::into),
            temporary: match terms.temporary {
                None => None,
                Some(temporary) => Some(Temporary {
                    callee: Number::from_u64(temporary.callee).ok_or_else(|| wrong("temporary callee"))?,
                    ends: temporary.ends,
                    user_text: temporary.text.map(Into::into),
                }),
            },
        }))),
        Some(Mode::Axe) => Ok(Binding::Axe(Box::new(Axe {
            id,
            app: NOBODY,
            a,
            x,
            extension: extension(integer(row, 5)?).ok_or_else(|| wrong("extension"))?,
            shows_caller: terms.shows_caller,
            record: terms.record,
            record_hint_tone: names.intern_some(terms.record_tone),
            call_back: match (terms.back_tone, terms.back_number) {
                (None, None) => CallBack::App,
                (Some(tone), None) => CallBack::Tone(names.intern(&tone)),
                (None, Some(number)) => {
                    CallBack::Number(Number::from_u64(number).ok_or_else(|| wrong("call-back number"))?)
                }
                (Some(_), Some(_)) => return Err(wrong("two ways to call back")),
            },
            unit: if terms.in_minutes { TimeUnit::Minutes } else { TimeUnit::Hours },
            bind_for: terms.duration,
            call_back_for: terms.back_for,
            ends,
            user_text: terms.text.map(Into::into),
            last_caller: match terms.last_caller {
                None => None,
                Some(last) => Some(LastCaller {
                    number: Number::from_u64(last.number).ok_or_else(|| wrong("last caller"))?,
                    at: last.at,
                }),
            },
        }))),
        None => Err(wrong("mode")),
    }
}

/// Writes an X: number, app, trunk, area, state.
pub(super) fn put_number(statement: &mut CachedStatement<'_>, app: i64, x: &VirtualNumber) -> rusqlite::Result<()> {
    let area = x.area.map(|area| area.to_string());
    statement.execute(params![digits(x.number), app, x.trunk, area, x.state.code()])?;
    Ok(())
}

/// Reads an X from columns in that order; the app's is left to the caller.
pub(super) fn virtual_number(row: &Row<'_>, names: &mut Names) -> Result<VirtualNumber, String> {
    let number = number(row, 0)?;
    let wrong = |what: &str| format!("number {number}: {what}");
    let text = |column: usize| row.get_ref(column).ok().and_then(|value| value.as_str_or_null().ok());
    let trunk = text(2).ok_or_else(|| wrong("trunk"))?;
    let area = match text(3).ok_or_else(|| wrong("area"))? {
        None => None,
        Some(area) => Some(Area::parse(area).ok_or_else(|| wrong("area"))?),
    };
    let state = u8::try_from(integer(row, 4)?).ok().and_then(NumberState::from_code).ok_or_else(|| wrong("state"))?;
    Ok(VirtualNumber { number, app: NOBODY, trunk: trunk.map(|trunk| names.intern(trunk)), area, state })
}

/// A number as the database keeps it: the integer of its digits.
pub(super) fn digits(number: Number) -> i64 {
    // At most 18 digits: it has room.
    number.as_u64().cast_signed()
}

/// The number in a column.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<Number, String> {
    Number::from_u64(integer(row, column)?.cast_unsigned()).ok_or_else(|| format!("column {column} is no number"))
}

/// The integer in a column.
pub(super) fn integer(row: &Row<'_>, column: usize) -> Result<i64, String> {
    row.get_ref(column)
        .ok()
        .and_then(|value| value.as_i64().ok())
        .ok_or_else(|| format!("column {column} is no integer"))
}

/// The key of a binding: sorted as its id is printed, so that ids that begin with the time stand together.
pub(super) const fn id_bytes(id: SubscriptionId) -> [u8; 16] {
    id.0.to_be_bytes()
}

fn id(row: &Row<'_>, column: usize) -> Result<SubscriptionId, String> {
    let bytes = row.get_ref(column).ok().and_then(|value| value.as_blob().ok()?.try_into().ok());
    bytes.map(|bytes| SubscriptionId(u128::from_be_bytes(bytes))).ok_or_else(|| "no id of 16 bytes".into())
}

const fn mode_code(mode: Mode) -> i64 {
    match mode {
        Mode::Axb => 0,
        Mode::Ax => 1,
        Mode::Axe => 2,
    }
}

/// `7` and `07` are two.
fn extension_code(extension: Extension) -> i64 {
    i64::from(extension.width()) * 10_000 + i64::from(extension.value())
}

fn extension(code: i64) -> Option<Extension> {
    Extension::new(u8::try_from(code / 10_000).ok()?, u16::try_from(code % 10_000).ok()?)
}

/// Names that have been met: equal ones share their letters.
#[derive(Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }

    fn intern_some(&mut self, name: Option<Cow<'_, str>>) -> Option<Arc<str>> {
        name.map(|name| self.intern(&name))
    }
}

/// What of a binding differs from the usual. A field that an older row does not have is as usual; one that nobody knows makes
/// the row unreadable, since calls shall not be made on half the terms.
#[derive(Serialize, Deserialize, PartialEq, Default)]
#[serde(default, deny_unknown_fields)]
struct Terms<'a> {
    #[serde(skip_serializing_if = "is_usual")]
    direction: u8,
    #[serde(skip_serializing_if = "is_usual")]
    minutes: u16,
    #[serde(skip_serializing_if = "is_usual")]
    record: bool,
    #[serde(skip_serializing_if = "is_usual")]
    no_sms: bool,
    #[serde(skip_serializing_if = "is_usual")]
    off: bool,
    #[serde(skip_serializing_if = "is_usual")]
    shows_caller: bool,
    /// Of A–X–B in seconds, of A–X–E in its unit.
    #[serde(skip_serializing_if = "is_usual")]
    duration: u32,
    #[serde(skip_serializing_if = "is_usual")]
    in_minutes: bool,
    #[serde(skip_serializing_if = "is_usual")]
    back_for: u32,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    back_tone: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_usual")]
    back_number: Option<u64>,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    record_tone: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    voice: Option<VoiceTerms<'a>>,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    temporary: Option<TemporaryTerms<'a>>,
    #[serde(skip_serializing_if = "is_usual")]
    last_caller: Option<CallerTerms>,
}

/// The prompts of an A–X–B or an A–X.
#[derive(Serialize, Deserialize, PartialEq, Default)]
#[serde(default, deny_unknown_fields)]
struct VoiceTerms<'a> {
    #[serde(borrow, skip_serializing_if = "is_usual")]
    caller: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    callee: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    record: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "is_usual")]
    last_minute: Option<Cow<'a, str>>,
}

/// Whom A of an A–X reaches.
#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct TemporaryTerms<'a> {
    callee: u64,
    ends: u64,
    #[serde(borrow, default, skip_serializing_if = "is_usual")]
    text: Option<Cow<'a, str>>,
}

/// Who called A of an A–X–E last.
#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct CallerTerms {
    number: u64,
    at: u64,
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl<'a> Terms<'a> {
    fn of(binding: &'a Binding) -> Terms<'a> {
        match binding {
            Binding::Axb(axb) => Terms {
                direction: axb.direction.code(),
                minutes: axb.max_minutes,
                record: axb.record,
                no_sms: !axb.sms,
                duration: axb.duration,
                voice: axb.voice.as_deref().map(VoiceTerms::of),
                text: borrowed(axb.user_text.as_deref()),
                ..Terms::default()
            },
            Binding::Ax(ax) => Terms {
                direction: ax.direction.code(),
                minutes: ax.max_minutes,
                record: ax.record,
                no_sms: !ax.sms,
                off: !ax.is_on,
                shows_caller: ax.shows_caller,
                voice: ax.voice.as_deref().map(VoiceTerms::of),
                text: borrowed(ax.user_text.as_deref()),
                temporary: ax.temporary.as_ref().map(|temporary| TemporaryTerms {
                    callee: temporary.callee.as_u64(),
                    ends: temporary.ends,
                    text: borrowed(temporary.user_text.as_deref()),
                }),
                ..Terms::default()
            },
            Binding::Axe(axe) => Terms {
                record: axe.record,
                shows_caller: axe.shows_caller,
                duration: axe.bind_for,
                in_minutes: axe.unit == TimeUnit::Minutes,
                back_for: axe.call_back_for,
                back_tone: match &axe.call_back {
                    CallBack::Tone(tone) => borrowed(Some(tone)),
                    CallBack::App | CallBack::Number(_) => None,
                },
                back_number: match &axe.call_back {
                    CallBack::Number(number) => Some(number.as_u64()),
                    CallBack::App | CallBack::Tone(_) => None,
                },
                record_tone: borrowed(axe.record_hint_tone.as_deref()),
                text: borrowed(axe.user_text.as_deref()),
                last_caller: axe.last_caller.map(|last| CallerTerms { number: last.number.as_u64(), at: last.at }),
                ..Terms::default()
            },
        }
    }
}

impl<'a> VoiceTerms<'a> {
    fn of(voice: &'a Voice) -> VoiceTerms<'a> {
        VoiceTerms {
            caller: borrowed(voice.caller_hint_tone.as_deref()),
            callee: borrowed(voice.callee_hint_tone.as_deref()),
            record: borrowed(voice.record_hint_tone.as_deref()),
            last_minute: borrowed(voice.last_minute.as_deref()),
        }
    }

    fn read(self, names: &mut Names) -> Voice {
        Voice {
            caller_hint_tone: names.intern_some(self.caller),
            callee_hint_tone: names.intern_some(self.callee),
            record_hint_tone: names.intern_some(self.record),
            last_minute: names.intern_some(self.last_minute),
        }
    }
}

fn borrowed(text: Option<&str>) -> Option<Cow<'_, str>> {
    text.map(Cow::Borrowed)
}
