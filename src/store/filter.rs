//! A WHERE clause in the making, which says along which index the database walks.

use rusqlite::types::Value;

/// The first condition that is picked has its index walked; those behind it are only looked at.
#[derive(Default)]
pub(crate) struct Filter {
    /// `WHERE …`, or nothing.
    pub(crate) clause: String,
    /// What stands for its question marks.
    pub(crate) values: Vec<Value>,
    is_picked: bool,
}

impl Filter {
    /// Whether an index is picked.
    pub(crate) fn is_picked(&self) -> bool {
        self.is_picked
    }

    /// A condition that begins with an indexed column, and picks that index if none is.
    pub(crate) fn pick<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        // A plus keeps the database from using an index (https://www.sqlite.org/optoverview.html, §1).
        let plus = if std::mem::replace(&mut self.is_picked, true) { "+" } else { "" };
        self.and(&format!("{plus}{condition}"), values);
    }

    /// A condition for which the database may take any index.
    pub(crate) fn and<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.clause.push_str(if self.clause.is_empty() { "WHERE " } else { " AND " });
        self.clause.push_str(condition);
        self.values.extend(values);
    }
}
