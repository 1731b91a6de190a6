//! A–X–E: bind, unbind, modify, query (`/rest/caas/extendnumber/v1.0`).

use std::sync::Arc;

use numbering::{Axe, BindError, Binding, CallBack, Extension, Mode, Number, TimeUnit};

use super::Work;
use super::choice::Choice;
use super::fields::{Fields, Name, Told};
use super::result::{Code, Parties, Refused, Reply};
use super::terms::set;
use crate::apps::Account;
use crate::registry::Books;

/// How long a binding holds where the request does not say, in seconds.
const DEFAULT_LIFE: u32 = 168 * 3600;

/// Binds A to X and E.
///
/// # Errors
/// A parameter is wrong.
pub fn bind(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let a = fields.party("bindNum")?.ok_or(Refused::missing("bindNum"))?;
    let choice = Choice::read(fields, fields.number("virtualNum")?)?;
    let extension = fields.extension()?;
    if extension.is_some_and(|extension| extension.width() != account.rules.extension_width) {
        return Err(Refused::parameter("extendNum", "has another length than the extensions of this app"));
    }
    let terms = Terms::read(fields)?;
    let unit = terms.unit.unwrap_or_default();
    terms.check(unit)?;
    let bind_for = terms.bind_for.unwrap_or(DEFAULT_LIFE / unit.seconds());
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let refused = |error| rule(error, a);
        let (x, extension) = place(books, &account, choice, a, extension).map_err(refused)?;
        let mut axe = Axe {
            id: books.new_id(),
            app: account.id,
            a,
            x,
            extension,
            shows_caller: false,
            record: false,
            record_hint_tone: None,
            call_back: CallBack::App,
            unit,
            bind_for,
            // Where nothing is said, a caller can be called back as long as the binding holds.
            call_back_for: bind_for,
            ends: 0,
            user_text: None,
            last_caller: None,
        };
        hold(&mut axe, bind_for, books.bindings.now());
        terms.change(&mut axe, books.bindings.now());
        let reply = Reply::new()
            .with("subscriptionId", axe.id.to_string())
            .with_number("virtualNum", x)
            .with("extendNum", extension.to_string())
            .with_any("userData", axe.user_text.as_deref());
        books.bindings.bind(Binding::Axe(Box::new(axe))).map_err(refused)?;
        Ok(reply)
    }))
}

/// Finds X and E.
fn place(
    books: &mut Books,
    account: &Account,
    choice: Choice,
    a: Number,
    extension: Option<Extension>,
) -> Result<(Number, Extension), BindError> {
    match extension {
        Some(extension) => Ok((choice.x_beside(books, account, a, extension)?, extension)),
        None => {
            let x = choice.x(books, account, &[a])?;
            Ok((x, books.bindings.allocate_extension(x)?))
        }
    }
}

/// Changes a binding in one step; `bindNum` is its new A.
///
/// # Errors
/// A parameter is wrong.
pub fn modify(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let key = Key::read(fields)?;
    let a = fields.party("bindNum")?;
    let terms = Terms::read(fields)?;
    if terms.unit.is_some() {
        terms.bind_for.ok_or(Refused::parameter("bindExpiredTime", "is missing beside timeUnit"))?;
        terms.call_back_for.ok_or(Refused::parameter("callbackExpiredTime", "is missing beside timeUnit"))?;
    }
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let old = key.find(books, &account).ok_or(Code::NoBinding)?;
        // How long a time may be depends on its unit, which may be the one that the binding has.
        terms.check(terms.unit.unwrap_or(old.unit))?;
        let now = books.bindings.now();
        let change = |binding: &mut Binding| {
            let Binding::Axe(axe) = binding else { return };
            set(&mut axe.a, a);
            terms.change(axe, now);
        };
        books.bindings.modify(old.id, change).map_err(|error| rule(error, a.unwrap_or(old.a)))?;
        Ok(Reply::new())
    }))
}

/// Ends a binding.
///
/// # Errors
/// A parameter is wrong.
pub fn unbind(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let key = Key::read(fields)?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let axe = key.find(books, &account).ok_or(Code::NoBinding)?;
        books.bindings.unbind(axe.id).map_err(|error| rule(error, axe.a))?;
        Ok(Reply::new())
    }))
}

/// Tells a binding.
///
/// # Errors
/// A parameter is wrong.
pub fn query(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let key = Key::read(fields)?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| Ok(told(&key.find(books, &account).ok_or(Code::NoBinding)?))))
}

fn told(axe: &Axe) -> Reply {
    let (tone, number) = match &axe.call_back {
        CallBack::App => (None, None),
        CallBack::Tone(tone) => (Some(&**tone), None),
        CallBack::Number(number) => (None, Some(number.reveal().to_string())),
    };
    Reply::new()
        .with("subscriptionId", axe.id.to_string())
        .with_number("virtualNum", axe.x)
        .with("extendNum", axe.extension.to_string())
        .with_number("bindNum", axe.a)
        .with("displayNumMode", if axe.shows_caller { "1" } else { "0" })
        .with("recordFlag", axe.record.to_string())
        .with_any("recordHintTone", axe.record_hint_tone.as_deref())
        .with_any("callbackTone", tone)
        .with_any("callbackNum", number)
        .with("timeUnit", if axe.unit == TimeUnit::Minutes { "1" } else { "0" })
        .with("bindExpiredTime", axe.bind_for)
        .with("callbackExpiredTime", axe.call_back_for)
        .with_any("userData", axe.user_text.as_deref())
}

/// What a request says of the terms; what it does not say stays as it is.
struct Terms {
    shows_caller: Option<bool>,
    record: Option<bool>,
    record_hint_tone: Told<Arc<str>>,
    /// At most one of these two names something.
    call_back_tone: Told<Arc<str>>,
    call_back_number: Told<Number>,
    unit: Option<TimeUnit>,
    bind_for: Option<u32>,
    call_back_for: Option<u32>,
    user_text: Option<Box<str>>,
}

impl Terms {
    fn read(fields: &Fields) -> Result<Terms, Refused> {
        let (tone, number) = (fields.tone("callbackTone")?, fields.party("callbackNum")?);
        if number.is_some() && tone.as_ref().is_some_and(Option::is_some) {
            return Err(Refused::parameter("callbackTone", "stands beside callbackNum"));
        }
        let longest = most(TimeUnit::Minutes);
        Ok(Terms {
            shows_caller: fields.one_of("displayNumMode", &[("0", false), ("1", true)])?,
            record: fields.flag("recordFlag")?,
            record_hint_tone: fields.tone("recordHintTone")?,
            call_back_tone: tone,
            call_back_number: fields.has("callbackNum").then_some(number),
            unit: fields.one_of("timeUnit", &[("0", TimeUnit::Hours), ("1", TimeUnit::Minutes)])?,
            bind_for: fields.integer("bindExpiredTime", 0..=longest)?,
            call_back_for: fields.integer("callbackExpiredTime", 0..=longest)?,
            user_text: fields.user_text()?,
        })
    }

    /// Both times are ones of this unit.
    fn check(&self, unit: TimeUnit) -> Result<(), Refused> {
        for (name, time) in [("bindExpiredTime", self.bind_for), ("callbackExpiredTime", self.call_back_for)] {
            if time.is_some_and(|time| time > most(unit)) {
                return Err(Refused::parameter(name, "is out of its range"));
            }
        }
        Ok(())
    }

    fn change(self, axe: &mut Axe, now: u64) {
        set(&mut axe.shows_caller, self.shows_caller);
        set(&mut axe.record, self.record);
        set(&mut axe.record_hint_tone, self.record_hint_tone);
        set(&mut axe.user_text, self.user_text.map(Some));
        set(&mut axe.unit, self.unit);
        set(&mut axe.call_back_for, self.call_back_for);
        if let Some(time) = self.bind_for {
            hold(axe, time, now);
        }
        match (self.call_back_tone, self.call_back_number) {
            (Some(Some(tone)), _) => axe.call_back = CallBack::Tone(tone),
            (_, Some(Some(number))) => axe.call_back = CallBack::Number(number),
            (Some(None), Some(None)) => axe.call_back = CallBack::App,
            // An empty one takes away what is of its own kind.
            (Some(None), None) if matches!(axe.call_back, CallBack::Tone(_)) => axe.call_back = CallBack::App,
            (None, Some(None)) if matches!(axe.call_back, CallBack::Number(_)) => axe.call_back = CallBack::App,
            (Some(None) | None, Some(None) | None) => {}
        }
    }
}

/// The longest time in a unit: 30 days.
const fn most(unit: TimeUnit) -> u32 {
    720 * 3600 / unit.seconds()
}

/// Lets a binding hold so long from now on, in its unit.
fn hold(axe: &mut Axe, time: u32, now: u64) {
    axe.bind_for = time;
    let life = u64::from(time) * u64::from(axe.unit.seconds()) * 1000;
    axe.ends = if time == 0 { 0 } else { now.saturating_add(life) };
}

/// What an A–X–E is found by.
#[derive(Clone, Copy)]
enum Key {
    Id(Name),
    Extension(Number, Extension),
}

impl Key {
    fn read(fields: &Fields) -> Result<Key, Refused> {
        if let Some(name) = fields.subscription()? {
            return Ok(Key::Id(name));
        }
        let x = fields.number("virtualNum")?.ok_or(Refused::missing("subscriptionId"))?;
        let extension = fields.extension()?.ok_or(Refused::missing("extendNum"))?;
        Ok(Key::Extension(x, extension))
    }

    fn find(self, books: &Books, account: &Account) -> Option<Axe> {
        let found = match self {
            Key::Id(name) => books.bindings.get(name.0?),
            Key::Extension(x, extension) => books.bindings.of_extension(x, extension),
        };
        match &*found.filter(|binding| binding.app() == account.id)? {
            Binding::Axe(axe) => Some((**axe).clone()),
            Binding::Axb(_) | Binding::Ax(_) => None,
        }
    }
}

fn rule(error: BindError, a: Number) -> Refused {
    Refused::rule(error, Mode::Axe, Parties { a: "bindNum", other: "callbackNum", same: "callbackNum", number: a })
}
