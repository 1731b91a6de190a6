//! One call from its first message to the last, with everything that is checked of any.

#![allow(dead_code, reason = "each test file uses a part of it")]

use b2bua::outcome::Cause;
use testbed::{A, Expect, PhoneId, Setup, World, assert_ladder, leaks_of};

/// A calls; runs to the end, checks what is left and what was said, and compares.
pub(crate) fn story(setup: Setup, cause: Cause, ladder: &Expect) -> World {
    story_of(setup, A, cause, ladder)
}

/// The same, with a caller of one's choice.
pub(crate) fn story_of(setup: Setup, caller: PhoneId, cause: Cause, ladder: &Expect) -> World {
    // Once more with canaries in every place of every message: nothing of them arrives anywhere else.
    assert_eq!(leaks_of(setup.clone(), |world| world.call(caller)), Vec::<String>::new());
    let mut world = setup.world();
    world.call(caller);
    world.finish();
    assert_eq!(world.cdrs().len(), 1, "one record a call");
    assert_eq!(world.cdrs()[0].cause, cause, "{}", world.ladder());
    assert_ladder(&world, ladder);
    world
}
