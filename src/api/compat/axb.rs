//! A–X–B: bind, unbind, modify, query (`/rest/caas/relationnumber/partners/v1.0`).

use std::sync::Arc;

use numbering::{Axb, BindError, Binding, Mode, Number, SubscriptionId};

use super::choice::{Choice, own};
use super::fields::{Fields, Name};
use super::result::{Code, Parties, Refused, Reply, item};
use super::terms::{Terms, set};
use super::{Work, voice_of};
use crate::apps::Account;
use crate::registry::Books;

/// Longest life of a pair: 90 days, in seconds.
const MAX_DURATION: u32 = 7_776_000;

/// Entries of a page.
const PAGE: std::ops::RangeInclusive<usize> = 10..=100;
const DEFAULT_PAGE: usize = 50;

/// Binds A and B to X.
///
/// # Errors
/// A parameter is wrong.
pub fn bind(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let a = fields.party("callerNum")?.ok_or(Refused::missing("callerNum"))?;
    let b = fields.party("calleeNum")?.ok_or(Refused::missing("calleeNum"))?;
    if a == b {
        return Err(Refused::parameter("calleeNum", "is the number of the other party"));
    }
    let choice = Choice::read(fields, fields.number("relationNum")?)?;
    let duration = fields.integer("duration", 0..=MAX_DURATION)?.unwrap_or(0);
    let terms = Terms::read(fields)?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let refused = |error| rule(error, a, "calleeNum");
        let x = choice.x(books, &account, &[a, b]).map_err(refused)?;
        let mut axb = Axb::new(books.new_id(), account.id, a, x, b);
        terms.change_axb(&mut axb);
        hold(&mut axb, duration, books.bindings.now());
        let reply = Reply::new()
            .with("subscriptionId", axb.id.to_string())
            .with_number("relationNum", x)
            .with("callDirection", axb.direction.code())
            .with("duration", duration)
            .with("maxDuration", axb.max_minutes);
        books.bindings.bind(Binding::Axb(axb)).map_err(refused)?;
        Ok(reply)
    }))
}

/// Changes a pair in one step (转绑).
///
/// # Errors
/// A parameter is wrong.
pub fn modify(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let name = fields.subscription()?.ok_or(Refused::missing("subscriptionId"))?;
    let (a, b) = (fields.party("callerNum")?, fields.party("calleeNum")?);
    let duration = fields.integer("duration", 0..=MAX_DURATION)?;
    let terms = Terms::read(fields)?;
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let old = named(books, &account, name)?;
        let now = books.bindings.now();
        let change = |binding: &mut Binding| {
            let Binding::Axb(axb) = binding else { return };
            set(&mut axb.a, a);
            set(&mut axb.b, b);
            terms.change_axb(axb);
            if let Some(duration) = duration {
                hold(axb, duration, now);
            }
        };
        let same = if b.is_some() { "calleeNum" } else { "callerNum" };
        let changed = books.bindings.modify(old.id, change);
        changed.map_err(|error| rule(error, a.unwrap_or(old.a), same))?;
        Ok(Reply::new())
    }))
}

/// Ends a pair, or every pair of an X.
///
/// # Errors
/// A parameter is wrong.
pub fn unbind(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let account = Arc::clone(account);
    if let Some(name) = fields.subscription()? {
        return Ok(Box::new(move |books| {
            let axb = named(books, &account, name)?;
            books.bindings.unbind(axb.id).map_err(|error| rule(error, axb.a, "calleeNum"))?;
            Ok(Reply::new())
        }));
    }
    let x = fields.number("relationNum")?.ok_or(Refused::missing("subscriptionId"))?;
    Ok(Box::new(move |books| {
        own(books, &account, x).map_err(|_| Code::NoX)?;
        if books.bindings.pairs_of(x) == 0 {
            return Err(Code::NoX.into());
        }
        match books.bindings.unbind_all(x) {
            Ok(ended) if !ended.is_empty() => Ok(Reply::new()),
            Ok(_) => Err(rule(BindError::Configured, x, "relationNum")),
            Err(_) => Err(Code::NoX.into()),
        }
    }))
}

/// Tells a pair, or the pairs of an X page by page, oldest first.
///
/// # Errors
/// A parameter is wrong.
pub fn query(account: &Arc<Account>, fields: &Fields) -> Result<Work, Refused> {
    let name = fields.subscription()?;
    let x = fields.number("relationNum")?;
    let (a, b) = (fields.number("callerNum")?, fields.number("calleeNum")?);
    let page = fields.any_integer("pageIndex")?.and_then(|page| usize::try_from(page).ok()).filter(|page| *page > 0);
    let page = page.unwrap_or(1);
    let size = fields.any_integer("pageSize")?.and_then(|size| usize::try_from(size).ok());
    let size = size.filter(|size| PAGE.contains(size)).unwrap_or(DEFAULT_PAGE);
    if name.is_none() && x.is_none() {
        return Err(Refused::missing("subscriptionId"));
    }
    let account = Arc::clone(account);
    Ok(Box::new(move |books| {
        let mut pairs = match (name, x) {
            (Some(name), _) => vec![named(books, &account, name)?.id],
            (None, Some(x)) => of_x(books, &account, x, a, b),
            (None, None) => Vec::new(),
        };
        if pairs.is_empty() {
            return Err(Code::NoRecord.into());
        }
        // The names of bindings are in the order of their making.
        pairs.sort_unstable();
        let shown = pairs.iter().skip((page - 1).saturating_mul(size)).take(size);
        let shown = shown.filter_map(|id| books.bindings.get(*id));
        let list: Vec<serde_json::Value> =
            shown.filter_map(|binding| pair(&binding).map(told)).map(Into::into).collect();
        Ok(Reply::new()
            .with("totalCount", pairs.len())
            .with("pageIndex", page)
            .with("pageSize", size)
            .with("relationNumList", list))
    }))
}

/// The pairs of an X of this app that have these parties, in no particular order.
fn of_x(books: &Books, account: &Account, x: Number, a: Option<Number>, b: Option<Number>) -> Vec<SubscriptionId> {
    if own(books, account, x).is_err() {
        return Vec::new();
    }
    let is_wanted = |axb: &Axb| axb.app == account.id && a.is_none_or(|a| a == axb.a) && b.is_none_or(|b| b == axb.b);
    let is_wanted = |binding: &Arc<Binding>| pair(binding).is_some_and(is_wanted);
    // Within one X a number occurs once, so a party leads to its pair at once.
    match a.or(b) {
        Some(party) => {
            let found = books.bindings.of_party(x, party).filter(is_wanted);
            found.map(|binding| binding.id()).into_iter().collect()
        }
        // An X is one app's, and so is all that it carries.
        None => books.bindings.ids_of_number(x).to_vec(),
    }
}

fn told(axb: &Axb) -> Reply {
    voice_of(item(), axb.voice.as_deref())
        .with("subscriptionId", axb.id.to_string())
        .with_number("relationNum", axb.x)
        .with_number("callerNum", axb.a)
        .with_number("calleeNum", axb.b)
        .with("callDirection", axb.direction.code())
        .with("duration", axb.duration)
        .with("maxDuration", axb.max_minutes)
        .with("recordFlag", axb.record.to_string())
        .with("privateSms", axb.sms.to_string())
        .with_any("userData", axb.user_text.as_deref())
}

/// Lets a pair hold so long from now on.
fn hold(axb: &mut Axb, seconds: u32, now: u64) {
    axb.duration = seconds;
    axb.ends = if seconds == 0 { 0 } else { now.saturating_add(u64::from(seconds) * 1000) };
}

fn pair(binding: &Binding) -> Option<&Axb> {
    match binding {
        Binding::Axb(axb) => Some(axb),
        Binding::Ax(_) | Binding::Axe(_) => None,
    }
}

/// A pair of this app.
fn named(books: &Books, account: &Account, name: Name) -> Result<Axb, Refused> {
    let found = name.0.and_then(|id| books.bindings.get(id)).filter(|binding| binding.app() == account.id);
    found.as_deref().and_then(pair).cloned().ok_or(Code::NoRecord.into())
}

fn rule(error: BindError, a: Number, same: &'static str) -> Refused {
    Refused::rule(error, Mode::Axb, Parties { a: "callerNum", other: "calleeNum", same, number: a })
}
