//! Who gets a text message that is sent to X (product rule S). The rules of a call, with fewer ways through.

use std::sync::Arc;

use crate::binding::{AppId, Binding, Mode, Party};
use crate::number::Number;
use crate::table::Table;

/// Why a text is refused, in the order in which it is looked for.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum TextRefusal {
    /// The number that it was sent to is not in the pool.
    UnknownX,
    /// X is suspended or unavailable.
    NumberUnusable,
    /// X has extensions: a text cannot name one.
    Extensions,
    /// The sender is not bound to X, or withholds the number.
    NotBound,
    /// The customer has switched X off (`turnFlag`).
    SwitchedOff,
    /// The binding carries no texts (`privateSms`).
    Off,
    /// A fixed line may be called through X but may not send to X.
    FixedLine,
    /// The binding does not let this party send.
    WrongDirection,
}

/// What becomes of a text to X.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextDecision {
    /// The other party gets it, from X.
    Forward {
        /// The binding, as it was at that moment.
        binding: Arc<Binding>,
        /// Which party of it sends.
        sender: Party,
        /// The other party's number.
        receiver: Number,
    },
    /// A of an A–X sends: who gets it stands in the text.
    Addressed {
        /// The A–X, as it was at that moment.
        binding: Arc<Binding>,
    },
    /// Nobody.
    Refuse {
        /// Why.
        refusal: TextRefusal,
        /// Whose X it is; `None` only for [`TextRefusal::UnknownX`].
        app: Option<AppId>,
        /// The binding that forbids it, where there is one, and which party of it sends.
        binding: Option<(Arc<Binding>, Party)>,
    },
}

impl Table {
    /// Who gets a text that `sender` has sent to `x`, at a time in milliseconds of UNIX time. A withheld or unreadable sender is
    /// `None`; it reaches nobody but the A of an A–X.
    ///
    /// The first that applies decides: [`TextRefusal`], in that order; then the other party gets it, or, where it comes from
    /// A of an A–X, whom the text names. A number of 15 digits of the 700 segment is an X of its own, or one with extensions.
    #[must_use]
    pub fn decide_text(&self, x: Number, sender: Option<Number>, now: u64) -> TextDecision {
        let Some((number, tail)) = self.dialled(x) else {
            return TextDecision::Refuse { refusal: TextRefusal::UnknownX, app: None, binding: None };
        };
        let refuse = |refusal, binding| TextDecision::Refuse { refusal, app: Some(number.app), binding };
        if !self.serves(&number) {
            return refuse(TextRefusal::NumberUnusable, None);
        }
        if tail.is_some() || self.rules(number.app).mode == Mode::Axe {
            return refuse(TextRefusal::Extensions, None);
        }
        let x = number.number;
        let Some((binding, party)) = self.bound(x, sender, now) else {
            return refuse(TextRefusal::NotBound, None);
        };
        let (is_on, carries, direction, is_party) = match &*binding {
            Binding::Axb(axb) => (true, axb.sms, axb.direction, true),
            Binding::Ax(ax) => (ax.is_on, ax.sms, ax.direction, party == Party::A),
            // One that its app had when it was of another kind.
            Binding::Axe(_) => return refuse(TextRefusal::Extensions, Some((binding, party))),
        };
        let refusal = if !is_on {
            TextRefusal::SwitchedOff
        } else if !carries {
            TextRefusal::Off
        } else if is_party && sender.is_some_and(Number::is_fixed_line) {
            TextRefusal::FixedLine
        } else if !direction.allows(party) {
            TextRefusal::WrongDirection
        } else {
            let receiver = match (&*binding, party) {
                (Binding::Axb(axb), Party::A) => axb.b,
                (Binding::Axb(_), Party::B) | (Binding::Ax(_), Party::B) => binding.a(),
                (Binding::Ax(_), Party::A) | (Binding::Axe(_), Party::A | Party::B) => {
                    return TextDecision::Addressed { binding };
                }
            };
            return TextDecision::Forward { binding, sender: party, receiver };
        };
        refuse(refusal, Some((binding, party)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{Ax, Axb, Axe, CallDirection, Extension, NumberState, SubscriptionId, VirtualNumber};
    use crate::bindings::{Bindings, Limits};
    use crate::pool::Rules;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    const A: &str = "+8613811112222";
    const B: &str = "+8613933334444";
    const X: &str = "+8617055556666";
    const APP: AppId = AppId(0);

    fn table(mode: Mode, x: &str, bindings: Vec<Binding>) -> (Bindings, Table) {
        let (mut writer, table) = Bindings::new(Limits::default());
        writer.set_rules(APP, Rules { mode, ..Rules::default() });
        writer.add_number(VirtualNumber::new(number(x), APP, None)).unwrap();
        for binding in bindings {
            writer.bind(binding).unwrap();
        }
        (writer, table)
    }

    fn axb(change: impl FnOnce(&mut Axb)) -> Binding {
        let mut axb = Axb::new(SubscriptionId(1), APP, number(A), number(X), number(B));
        change(&mut axb);
        Binding::Axb(axb)
    }

    fn ax(change: impl FnOnce(&mut Ax)) -> Binding {
        let mut ax = Ax::new(SubscriptionId(2), APP, number(A), number(X));
        change(&mut ax);
        Binding::Ax(Box::new(ax))
    }

    /// The receiver, `named` where the text names him, or the refusal.
    fn decided(table: &Table, x: &str, sender: Option<&str>, now: u64) -> Result<Option<Number>, TextRefusal> {
        match table.decide_text(number(x), sender.map(number), now) {
            TextDecision::Forward { receiver, .. } => Ok(Some(receiver)),
            TextDecision::Addressed { .. } => Ok(None),
            TextDecision::Refuse { refusal, app, .. } => {
                assert_eq!(app.is_none(), refusal == TextRefusal::UnknownX);
                Err(refusal)
            }
        }
    }

    #[test]
    fn of_a_pair_each_reaches_the_other_and_nobody_else_anybody() {
        let (_writer, table) = table(Mode::Axb, X, vec![axb(|_| {})]);
        assert_eq!(decided(&table, X, Some(A), 0), Ok(Some(number(B))));
        assert_eq!(decided(&table, X, Some(B), 0), Ok(Some(number(A))));
        assert_eq!(decided(&table, X, Some("+8613000000000"), 0), Err(TextRefusal::NotBound));
        assert_eq!(decided(&table, X, None, 0), Err(TextRefusal::NotBound));
        assert_eq!(decided(&table, "+8617000000000", Some(A), 0), Err(TextRefusal::UnknownX));
    }

    #[test]
    fn a_binding_forbids_by_direction_by_sms_and_by_its_end() {
        let (_writer, one_way) = table(Mode::Axb, X, vec![axb(|axb| axb.direction = CallDirection::AToB)]);
        assert_eq!(decided(&one_way, X, Some(A), 0), Ok(Some(number(B))));
        assert_eq!(decided(&one_way, X, Some(B), 0), Err(TextRefusal::WrongDirection));
        let (_writer, off) = table(Mode::Axb, X, vec![axb(|axb| axb.sms = false)]);
        assert_eq!(decided(&off, X, Some(A), 0), Err(TextRefusal::Off));
        let (_writer, ended) = table(Mode::Axb, X, vec![axb(|axb| axb.ends = 1_000)]);
        assert_eq!(decided(&ended, X, Some(A), 999), Ok(Some(number(B))));
        assert_eq!(decided(&ended, X, Some(A), 1_000), Err(TextRefusal::NotBound));
        let fixed = axb(|axb| axb.a = number("+8675528780001"));
        let (_writer, fixed) = table(Mode::Axb, X, vec![fixed]);
        assert_eq!(decided(&fixed, X, Some("+8675528780001"), 0), Err(TextRefusal::FixedLine));
        assert_eq!(decided(&fixed, X, Some(B), 0), Ok(Some(number("+8675528780001"))));
    }

    #[test]
    fn anybody_reaches_the_one_user_and_the_one_user_names_whom() {
        let (mut writer, on) = table(Mode::Ax, X, vec![ax(|_| {})]);
        for sender in [Some(B), Some("+8675528780001"), Some("+85223456789"), None] {
            assert_eq!(decided(&on, X, sender, 0), Ok(Some(number(A))), "{sender:?}");
        }
        assert_eq!(decided(&on, X, Some(A), 0), Ok(None));
        let suspended = VirtualNumber { state: NumberState::Suspended, ..VirtualNumber::new(number(X), APP, None) };
        writer.put_number(suspended, false);
        assert_eq!(decided(&on, X, Some(B), 0), Err(TextRefusal::NumberUnusable));
        let (_writer, off) = table(Mode::Ax, X, vec![ax(|ax| ax.is_on = false)]);
        assert_eq!(decided(&off, X, Some(B), 0), Err(TextRefusal::SwitchedOff));
        let (_writer, silent) = table(Mode::Ax, X, vec![ax(|ax| ax.sms = false)]);
        assert_eq!(decided(&silent, X, Some(A), 0), Err(TextRefusal::Off));
    }

    #[test]
    fn extensions_carry_none_and_15_digits_are_an_x_of_their_own() {
        let managed = "+8670012345678";
        let extension = Extension::parse("0042").unwrap();
        let axe = Axe::new(SubscriptionId(3), APP, number(A), number(managed), extension);
        let (_writer, axe) = table(Mode::Axe, managed, vec![Binding::Axe(Box::new(axe))]);
        for sender in [A, B] {
            assert_eq!(decided(&axe, managed, Some(sender), 0), Err(TextRefusal::Extensions));
            assert_eq!(decided(&axe, "+86700123456780042", Some(sender), 0), Err(TextRefusal::Extensions));
        }
        let own = "+86700123456789012";
        let pair = axb(|axb| axb.x = number(own));
        let (_writer, pair) = table(Mode::Axb, own, vec![pair]);
        assert_eq!(decided(&pair, own, Some(A), 0), Ok(Some(number(B))));
        assert_eq!(decided(&pair, managed, Some(A), 0), Err(TextRefusal::UnknownX));
    }
}
