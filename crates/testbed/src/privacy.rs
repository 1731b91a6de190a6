//! The leak test: a story is told again with canaries on all phones, and whatever of them arrives elsewhere is told.

use crate::setup::Setup;
use crate::world::World;

/// Tells this story with every phone putting its number, its display name, its host and a word of its own into every place of
/// every message; returns what of it reached another phone, the log or a metric label, a sentence each. Empty is good.
///
/// The story does what it likes with the world, and need not bring it to an end.
///
/// ```
/// use testbed::{A, Script, Setup, leaks_of, ms};
///
/// let setup = Setup::new(1).a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(500)));
/// assert_eq!(leaks_of(setup, |world| world.call(A)), Vec::<String>::new());
/// ```
///
/// # Panics
/// The canaries harmed the call: something else is wrong besides, e.g. a phone complains, or a call never ends.
pub fn leaks_of(setup: Setup, story: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = setup.canaries().world();
    story(&mut world);
    world.end_all();
    let (leaks, others): (Vec<_>, Vec<_>) =
        world.violations().into_iter().partition(|wrong| wrong.contains("leak to "));
    assert!(others.is_empty(), "{}\n{}", others.join("\n"), world.ladder());
    leaks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{A, Act, B, Direction, Offer, Script, When, ms};

    fn talk() -> Setup {
        let hold = Act::Reinvite(Offer::Direction(Direction::SendOnly));
        let b = Script::answers(ms(500)).does(When::Up(ms(2_000)), Act::InfoDigit { digit: '5', relay: true });
        Setup::new(1).a(Script::default().does(When::Up(ms(1_500)), hold).hangs_up(ms(9_000))).b(b)
    }

    #[test]
    fn nothing_of_a_canary_arrives_anywhere_else() {
        let early = |script: Script| script.early_media(ms(200));
        for setup in [
            talk(),
            talk().tcp(),
            talk().announced().recorded(),
            Setup::new(1).b(early(Script::answers(ms(900))).hangs_up(ms(6_000))),
            Setup::new(1).b(Script::is_busy(ms(100)).because("Q.850;cause=17")),
            Setup::new(1).a(Script::default().cancels(ms(700))).b(Script::rings()),
            Setup::new(1).a(Script::default().offers_late()).b(Script::answers(ms(300)).hangs_up(ms(6_000))),
        ] {
            assert_eq!(leaks_of(setup, |world| world.call(A)), Vec::<String>::new());
        }
        let other_way = talk().reversed().a(Script::answers(ms(300)).hangs_up(ms(6_000)));
        assert_eq!(leaks_of(other_way, |world| world.call(B)), Vec::<String>::new());
    }

    #[test]
    fn a_canary_that_x_lets_through_is_found() {
        let mut setup = talk();
        setup.settings.product_name = Some("kingfisher-B".into());
        assert!(leaks_of(setup, |world| world.call(A)).iter().any(|leak| leak.contains("leak to A: Canary of B")));
    }
}
