//! The same story under many seeds.

use std::ops::Range;

use crate::world::World;

/// Tells the seed when what it stands for fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} failed", self.0);
        }
    }
}

/// Plays `story` with each seed and checks what it leaves behind: [`World::violations`] must be empty.
///
/// # Panics
/// At the first seed that fails, with its number and its ladder.
pub fn seeds(range: Range<u64>, story: impl Fn(u64) -> World) {
    for seed in range {
        let _named = Named(seed);
        let mut world = story(seed);
        world.finish();
    }
}
