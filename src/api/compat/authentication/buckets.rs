//! How many requests an app may make: a bucket as deep as one second, kept as the time at which it will be full again.

use std::collections::HashMap;
use std::time::Duration;

use numbering::AppId;

use super::shards::Shards;

/// How deep a bucket is.
const DEPTH: Duration = Duration::from_secs(1);

/// One bucket for each app.
#[derive(Default)]
pub(crate) struct Buckets {
    full_at: Shards<HashMap<AppId, Duration>>,
}

impl Buckets {
    /// Takes one request out of the app's bucket, which fills at so many a second; `false` where it is empty.
    pub(crate) fn take(&self, now: Duration, app: AppId, per_second: u32) -> bool {
        let Some(cost) = DEPTH.checked_div(per_second) else { return false };
        self.full_at.with(app, |parts| {
            let full_at = parts.entry(app).or_default();
            let then = (*full_at).max(now).saturating_add(cost);
            let is_enough = then.saturating_sub(now) <= DEPTH;
            if is_enough {
                *full_at = then;
            }
            is_enough
        })
    }
}
