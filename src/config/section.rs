//! Reads one table of the file: each key once, each mistake with its place.
//!
//! The readers go over the parsed tree themselves instead of deriving them: a derived reader stops at the first
//! mistake, and an operator at night wants all of them at once.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaint::{Fault, KeyPath, Report, nearest};

/// A table of the file.
pub(super) struct Section<'s> {
    table: &'s DeTable<'s>,
    /// Its header, or itself when it stands in a line.
    span: Range<usize>,
    path: KeyPath<'s>,
    known: &'static [&'static str],
}

impl<'s> Section<'s> {
    /// Looks at a table; a key that is not `known` is complained of.
    pub(super) fn new(
        table: &'s DeTable<'s>,
        span: Range<usize>,
        path: KeyPath<'s>,
        known: &'static [&'static str],
        report: &mut Report<'_>,
    ) -> Section<'s> {
        for key in table.keys() {
            let word: &str = key.get_ref();
            if !known.contains(&word) {
                let mend = match nearest(word, known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                report.add(&key.span(), path.key(word), Fault::new(format!("`{word}` is no key"), mend));
            }
        }
        Section { table, span, path, known }
    }

    /// Where this table begins.
    pub(super) fn own_span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The path of this table.
    pub(super) fn own_path(&self) -> KeyPath<'_> {
        self.path
    }

    /// Where the value of a key stands; where the table begins when the key does not stand here.
    pub(super) fn span(&self, key: &'static str) -> Range<usize> {
        self.value(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Complains of a key.
    pub(super) fn complain(&self, key: &'static str, fault: Fault, report: &mut Report<'_>) {
        report.add(&self.span(key), self.path.key(key), fault);
    }

    /// Complains of a place in a list, or of the whole list when it has no such place.
    pub(super) fn complain_element(&self, key: &'static str, place: usize, fault: Fault, report: &mut Report<'_>) {
        let span = match self.value(key).map(Spanned::get_ref) {
            Some(DeValue::Array(list)) => list.get(place).map(Spanned::span),
            Some(_) | None => None,
        };
        report.add(&span.unwrap_or_else(|| self.span(key)), self.path.element(key, place), fault);
    }

    /// Does the key stand here?
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Does something stand here that is no list?
    pub(super) fn is_no_list(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(|value| !matches!(value.get_ref(), DeValue::Array(_)))
    }

    /// Is the key absent, or an empty list?
    pub(super) fn lacks(&self, key: &'static str) -> bool {
        match self.value(key).map(Spanned::get_ref) {
            None => true,
            Some(DeValue::Array(list)) => list.is_empty(),
            Some(_) => false,
        }
    }

    /// A value that may be left away. `None` also for one that was complained of.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'s DeValue<'s>) -> Result<T, Fault>,
        report: &mut Report<'_>,
    ) -> Option<T> {
        let value = self.value(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                report.add(&value.span(), self.path.key(key), fault);
                None
            }
        }
    }

    /// A value that has a default.
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&'s DeValue<'s>) -> Result<T, Fault>,
        report: &mut Report<'_>,
    ) -> T {
        self.optional(key, read, report).unwrap_or(default)
    }

    /// A value that must stand here; `example` is shown when it does not.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&'s DeValue<'s>) -> Result<T, Fault>,
        report: &mut Report<'_>,
    ) -> Option<T> {
        if !self.has(key) {
            self.complain(key, missing(key, example), report);
        }
        self.optional(key, read, report)
    }

    /// A list of values; those that were complained of are `None`. An absent key is an empty list.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&'s DeValue<'s>) -> Result<T, Fault>,
        report: &mut Report<'_>,
    ) -> Vec<Option<T>> {
        let all: Vec<_> = self.elements(key, report).collect();
        let read = |(path, element): (KeyPath<'_>, &'s Spanned<DeValue<'s>>)| match read(element.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                report.add(&element.span(), path, fault);
                None
            }
        };
        all.into_iter().map(read).collect()
    }

    /// The elements of a list, each with its path; what they are is for the caller to say. An absent key is an empty list.
    pub(super) fn elements(
        &self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> impl Iterator<Item = (KeyPath<'_>, &'s Spanned<DeValue<'s>>)> {
        let list = match self.value(key).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Array(list))) => Some(list),
            Some((value, other)) => {
                report.add(&value.span(), self.path.key(key), wrong_kind(other, "a list", "put it in [ ]"));
                None
            }
            None => None,
        };
        list.into_iter().flatten().enumerate().map(move |(place, element)| (self.path.element(key, place), element))
    }

    /// A table below this one.
    pub(super) fn section<'a>(
        &'a self,
        key: &'static str,
        known: &'static [&'static str],
        report: &mut Report<'_>,
    ) -> Option<Section<'a>> {
        let value = self.value(key)?;
        let path = self.path.key(key);
        let DeValue::Table(table) = value.get_ref() else {
            let mend = match value.get_ref() {
                DeValue::Array(_) => format!("write `[{key}]`, once and with single brackets"),
                _ => format!("write `{key} = {{ … }}` with any of: {}", known.join(", ")),
            };
            report.add(&value.span(), path, wrong_kind(value.get_ref(), "a table", &mend));
            return None;
        };
        Some(Section::new(table, value.span(), path, known, report))
    }

    /// Tables below this one: `[[key]]`.
    pub(super) fn sections<'a>(
        &'a self,
        key: &'static str,
        known: &'static [&'static str],
        report: &mut Report<'_>,
    ) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let list = match value.get_ref() {
            DeValue::Array(list) => list,
            other => {
                let fault = wrong_kind(other, "a list of tables", &format!("write `[[{key}]]`, with two brackets"));
                report.add(&value.span(), self.path.key(key), fault);
                return Vec::new();
            }
        };
        let mut out = Vec::with_capacity(list.len());
        for (place, element) in list.iter().enumerate() {
            let path = self.path.element(key, place);
            match element.get_ref() {
                DeValue::Table(table) => out.push(Section::new(table, element.span(), path, known, report)),
                other => report.add(&element.span(), path, wrong_kind(other, "a table", &format!("write `[[{key}]]`"))),
            }
        }
        out
    }

    fn value(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'s>>> {
        debug_assert!(self.known.contains(&key), "`{key}` is read, so it must be listed as known");
        self.table.get(key)
    }
}

/// A key that should stand here and does not.
pub(super) fn missing(key: &str, example: &str) -> Fault {
    Fault::absence("is missing", format!("write e.g. `{key} = {example}`"))
}

/// A value of another kind than was wanted.
pub(super) fn wrong_kind(value: &DeValue<'_>, wanted: &str, mend: &str) -> Fault {
    let found = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Fault::new(format!("is {found}, not {wanted}"), mend)
}
