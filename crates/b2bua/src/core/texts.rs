//! Text messages: taken in, decided, asked about, sent on, answered.

use std::time::Duration;

use super::Core;
use crate::text::{TextIn, TextKey, TextResult, Verdict};

impl Core {
    /// A text has come from a trunk by a protocol of the driver's ([`crate::settings::TextBy::Driver`]). What becomes of it leaves
    /// as [`super::Output::AnswerText`], once, perhaps at once.
    pub fn take_in_text(&mut self, now: Duration, trunk: &str, text: TextIn) {
        let _ = (now, trunk, text);
    }

    /// The customer's answer to [`super::Output::AskText`]. One for a text that is gone, or has been decided, changes nothing.
    pub fn handle_text_verdict(&mut self, now: Duration, key: TextKey, verdict: Verdict) {
        let _ = (now, key, verdict);
    }

    /// What came of [`super::Output::SendText`]. Of a text that is gone it changes nothing.
    pub fn handle_text_result(&mut self, now: Duration, key: TextKey, result: TextResult) {
        let _ = (now, key, result);
    }
}
