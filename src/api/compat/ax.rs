//! A–X: bind, unbind, modify, query (`/rest/provision/caas/privatenumber/v1.0`), and whom A reaches next
//! (`/rest/caas/privatenumber/calleenumber/v1.0`).

use std::sync::Arc;

use numbering::{Ax, BindError, Binding, CallDirection, Mode, Number, Temporary};

use super::choice::Choice;
use super::fields::{Fields, Name};
use super::result::{Code, Parties, Refused, Reply, item};
use super::terms::{Terms, set};
use super::{Work, voice_of};
use crate::apps::Account;
use crate::registry::Books;

/// How long a temporary callee is reached where the request does not say, in seconds.
const TEMPORARY: u32 = 60;

/// Longest that one may be reached, in seconds.
const MAX_TEMPORARY: u32 = 7_776_000;

/// Binds A to X.
///
/// # Errors
/// A parameter is wrong.
pub fn bind(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let a = fields.party("origNum")?.ok_or(Refused::missing("origNum"))?;
    // The page of codes says so: what is no number has no account either.
    let x = match fields.text("privateNum", 1..=32)? {
        None => None,
        Some(_) => Some(fields.number("privateNum").ok().flatten().ok_or(Code::NoAccount)?),
    };
    let choice = Choice::read(fields, x)?;
    let kind = fields.one_of("privateNumType", &[("mobile-virtual", ())])?;
    if choice.is_by_area() && kind.is_none() {
        return Err(Refused::missing("privateNumType"));
    }
    let shows_caller = shows_caller(fields)?;
    let is_on = is_on(fields)?;
    let terms = Terms::read(fields)?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let x = choice.x(books, &account, &[a]).map_err(|error| rule(error, a, "origNum"))?;
        let mut ax = Ax {
            id: books.new_id(),
            app: account.id,
            a,
            x,
            direction: CallDirection::Both,
            is_on: is_on.unwrap_or(true),
            shows_caller: shows_caller.unwrap_or(false),
            max_minutes: 0,
            record: false,
            sms: true,
            voice: None,
            user_text: None,
            temporary: None,
        };
        terms.change_ax(&mut ax);
        let reply = Reply::new()
            .with_number("origNum", a)
            .with_number("privateNum", x)
            .with("subscriptionId", ax.id.to_string());
        books.bindings.bind(Binding::Ax(Box::new(ax))).map_err(|error| rule(error, a, "origNum"))?;
        Ok(reply)
    }))
}

/// Changes a binding in one step; `origNum` is its new A.
///
/// # Errors
/// A parameter is wrong.
pub fn modify(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let key = Key::read(fields)?;
    let a = fields.party("origNum")?;
    let (shows_caller, is_on) = (shows_caller(fields)?, is_on(fields)?);
    let terms = Terms::read(fields)?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let old = key.find(books, &account).ok_or(Code::NoBinding)?;
        let change = |binding: &mut Binding| {
            let Binding::Ax(ax) = binding else { return };
            set(&mut ax.a, a);
            set(&mut ax.shows_caller, shows_caller);
            set(&mut ax.is_on, is_on);
            terms.change_ax(ax);
        };
        books.bindings.modify(old.id, change).map_err(|error| rule(error, a.unwrap_or(old.a), "origNum"))?;
        Ok(Reply::new())
    }))
}

/// Ends a binding.
///
/// # Errors
/// A parameter is wrong.
pub fn unbind(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let key = Key::read(fields)?;
    let a = fields.number("origNum")?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        // Older clients name A beside X; beside a subscriptionId it does not count.
        let is_meant = |ax: &Ax| matches!(key, Key::Id(_)) || a.is_none_or(|a| a == ax.a);
        let ax = key.find(books, &account).filter(is_meant).ok_or(Code::NoAxToUnbind)?;
        books.bindings.unbind(ax.id).map_err(|error| rule(error, ax.a, "calleeNum"))?;
        Ok(Reply::new())
    }))
}

/// Tells a binding, or those of an A, oldest first.
///
/// # Errors
/// A parameter is wrong.
pub fn query(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let name = fields.subscription()?;
    let (a, x) = (fields.number("origNum")?, fields.number("privateNum")?);
    let account = Arc::clone(account);
    let wanted = match (name, a, x) {
        (Some(name), _, _) => Err(Key::Id(name)),
        (None, Some(a), _) => Ok(a),
        (None, None, Some(x)) => Err(Key::X(x)),
        (None, None, None) => return Err(Refused::missing("subscriptionId")),
    };
    Ok(Box::new(move |books| {
        let found: Vec<Ax> = match wanted {
            Ok(a) => books.bindings.of_a(account.id, a).filter_map(|binding| single(&binding).cloned()).collect(),
            Err(key) => key.find(books, &account).into_iter().collect(),
        };
        if found.is_empty() {
            return Err(Code::NoBinding.into());
        }
        let list: Vec<serde_json::Value> = found.iter().map(|ax| told(ax).into()).collect();
        Ok(Reply::new().with("privateNumList", list))
    }))
}

/// Says whom A reaches by X next; whoever was said before is forgotten.
///
/// # Errors
/// A parameter is wrong.
pub fn set_temporary(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let key = Key::read(fields)?;
    let callee = fields.callee("calleeNum")?.ok_or(Refused::missing("calleeNum"))?;
    // 0, which elsewhere is "for ever", cannot be meant.
    let duration = fields.integer("duration", 0..=MAX_TEMPORARY)?.filter(|seconds| *seconds != 0);
    let duration = duration.unwrap_or(TEMPORARY);
    let user_text = fields.user_text()?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let ax = key.find(books, &account).ok_or(Code::NoBinding)?;
        let ends = books.bindings.now().saturating_add(u64::from(duration) * 1000);
        let change = |binding: &mut Binding| {
            let Binding::Ax(ax) = binding else { return };
            ax.temporary = Some(Temporary { callee, ends, user_text });
        };
        books.bindings.modify(ax.id, change).map_err(|error| rule(error, ax.a, "calleeNum"))?;
        Ok(Reply::new())
    }))
}

/// What an A–X is found by.
#[derive(Clone, Copy)]
enum Key {
    Id(Name),
    X(Number),
}

impl Key {
    fn read(fields: &Fields) -> Result<Key, Refused> {
        let (name, x) = (fields.subscription()?, fields.number("privateNum")?);
        name.map(Key::Id).or(x.map(Key::X)).ok_or(Refused::missing("subscriptionId"))
    }

    fn find(self, books: &Books, account: &Account) -> Option<Ax> {
        let found = match self {
            Key::Id(name) => books.bindings.get(name.0?),
            Key::X(x) => books.bindings.of_party(x, x),
        };
        found.filter(|binding| binding.app() == account.id).as_deref().and_then(single).cloned()
    }
}

fn single(binding: &Binding) -> Option<&Ax> {
    match binding {
        Binding::Ax(ax) => Some(ax),
        Binding::Axb(_) | Binding::Axe(_) => None,
    }
}

fn shows_caller(fields: &Fields) -> Result<Option<bool>, Refused> {
    fields.one_of("calleeNumDisplay", &[("0", false), ("1", true)])
}

fn is_on(fields: &Fields) -> Result<Option<bool>, Refused> {
    fields.one_of("turnFlag", &[("on", true), ("off", false)])
}

fn told(ax: &Ax) -> Reply {
    voice_of(item(), ax.voice.as_deref())
        .with("subscriptionId", ax.id.to_string())
        .with_number("origNum", ax.a)
        .with_number("privateNum", ax.x)
        .with("callDirection", ax.direction.code())
        .with("maxDuration", ax.max_minutes)
        .with("recordFlag", ax.record.to_string())
        .with("privateSms", ax.sms.to_string())
        .with("calleeNumDisplay", if ax.shows_caller { "1" } else { "0" })
        .with("turnFlag", if ax.is_on { "on" } else { "off" })
        .with_any("userData", ax.user_text.as_deref())
}

fn rule(error: BindError, a: Number, same: &'static str) -> Refused {
    Refused::rule(error, Mode::Ax, Parties { a: "origNum", other: "calleeNum", same, number: a })
}
