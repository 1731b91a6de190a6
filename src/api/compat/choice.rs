//! Which X a new binding gets: the one that is named, else one of an area, else one where A is at home, else any.

use numbering::{Area, BindError, Extension, Number, Wish};

use super::fields::Fields;
use super::result::Refused;
use crate::apps::Account;
use crate::registry::Books;

/// What a request says of its X.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    named: Option<Number>,
    area: Option<Area>,
    is_loose: bool,
}

impl Choice {
    /// Reads it; `named` is the X that the request names.
    ///
    /// # Errors
    /// `areaCode` or `areaMatchMode` is wrong.
    pub fn read(fields: &Fields, named: Option<Number>) -> Result<Choice, Refused> {
        let area = fields.area()?;
        let is_loose = fields.one_of("areaMatchMode", &[("0", false), ("1", true)])?.unwrap_or(false);
        Ok(Choice { named, area, is_loose })
    }

    /// Whether X is to be found by `areaCode`.
    #[must_use]
    pub fn is_by_area(&self) -> bool {
        self.named.is_none() && self.area.is_some()
    }

    /// The X for a binding of these parties, A first; it is not taken by that.
    ///
    /// # Errors
    /// X is not this app's; none is free.
    pub fn x(&self, books: &Books, account: &Account, parties: &[Number]) -> Result<Number, BindError> {
        match self.named {
            Some(x) => own(books, account, x),
            None => books.bindings.allocate(account.id, self.wish(account, parties), parties),
        }
    }

    /// The X for a binding of A with this extension.
    ///
    /// # Errors
    /// X is not this app's; the extension is free on none.
    pub fn x_beside(
        &self,
        books: &Books,
        account: &Account,
        a: Number,
        extension: Extension,
    ) -> Result<Number, BindError> {
        match self.named {
            Some(x) => own(books, account, x),
            None => books.bindings.allocate_beside(account.id, self.wish(account, &[a]), extension),
        }
    }

    fn wish(&self, account: &Account, parties: &[Number]) -> Wish {
        let home = || parties.first().and_then(|a| account.home_of(*a));
        Wish { area: self.area.or_else(home), is_loose: self.is_loose }
    }
}

/// An X of this app. Another app's is as unknown as one that nobody has.
///
/// # Errors
/// [`BindError::UnknownX`].
pub(crate) fn own(books: &Books, account: &Account, x: Number) -> Result<Number, BindError> {
    let owner = books.bindings.table().virtual_number(x).map(|number| number.app);
    if owner == Some(account.id) { Ok(x) } else { Err(BindError::UnknownX) }
}
