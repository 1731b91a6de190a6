//! Text messages between the calls' thread and the customers' systems: what a customer is told of one, and what it is asked
//! (product rule S).

use b2bua::text::{Text, TextEvent, Verdict};
use numbering::{Number, Party};
use serde::Deserialize;

use crate::clock::Clock;
use crate::notify::{Sms, SmsMode, message};

/// `sendResult` of a text that the customer is asked about: nothing has been sent.
const NOT_SENT: i32 = 0;

/// What the customer is told of a text that went on, or did not; of its words only where it wants them
/// ([`crate::notify::Outbox::post_sms`]).
pub(crate) fn notice(event: &TextEvent, clock: &Clock) -> Sms {
    let told = of(&event.text, clock);
    Sms {
        called: event.called,
        result: i32::from(event.outcome.row().send_result),
        split: u32::from(event.parts),
        ..told
    }
}

/// What the customer is asked of a text, as JSON: with its words, since it is to decide by them.
pub(crate) fn question(text: &Text, clock: &Clock) -> String {
    message::sms_body(&Sms { mode: SmsMode::Block, result: NOT_SENT, ..of(text, clock) }, true)
}

fn of(text: &Text, clock: &Clock) -> Sms {
    Sms {
        app: std::sync::Arc::clone(&text.app),
        id: (*text.id).into(),
        mode: if text.is_asked { SmsMode::Block } else { SmsMode::Notify },
        calling: text.calling,
        called: None,
        x: text.x,
        at: clock.unix_ms(text.at),
        binding: text.binding,
        content: std::sync::Arc::clone(&text.content),
        result: NOT_SENT,
        split: 0,
        direction: match text.sender_is {
            Some(Party::A) => 1,
            Some(Party::B) => 2,
            None => 0,
        },
        user_text: text.user_text.clone(),
    }
}

/// The answer of Block mode: `{"actions":[{"operation":"vNumberRoute","message":{"called":…,"calling":…}}]}`. The first action
/// counts.
#[derive(Deserialize)]
struct Answer {
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    operation: String,
    message: Option<Route>,
}

#[derive(Deserialize)]
struct Route {
    called: Option<String>,
    calling: Option<String>,
}

/// What an answer says; one that cannot be read is none.
pub(crate) fn verdict(status: u16, body: &[u8]) -> Verdict {
    let answer = serde_json::from_slice::<Answer>(body).ok().filter(|_| (200..300).contains(&status));
    let Some(action) = answer.and_then(|answer| answer.actions.into_iter().next()) else { return Verdict::Unanswered };
    let number = |text: Option<String>| text.and_then(|text| Number::parse(text.trim()).ok());
    match (&*action.operation, action.message) {
        ("DiscardMessage", _) => Verdict::Discard,
        ("vNumberRoute", Some(Route { called, calling })) => match number(called) {
            Some(called) => Verdict::Route { called, calling: number(calling) },
            None => Verdict::Unanswered,
        },
        _ => Verdict::Unanswered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_block_mode_are_read_and_others_are_none() {
        let number = |text| Number::parse(text).unwrap();
        let route = br#"{"actions":[{"operation":"vNumberRoute","message":{"called":"+8613800000001","calling":"+8617000000001"},"extParas":[]}]}"#;
        let expected = Verdict::Route { called: number("+8613800000001"), calling: Some(number("+8617000000001")) };
        assert_eq!(verdict(200, route), expected);
        let alone = br#"{"actions":[{"operation":"vNumberRoute","message":{"called":"+8613800000001"}}]}"#;
        assert_eq!(verdict(200, alone), Verdict::Route { called: number("+8613800000001"), calling: None });
        assert_eq!(verdict(200, br#"{"actions":[{"operation":"DiscardMessage"}]}"#), Verdict::Discard);
        for (status, body) in [
            (500, &br#"{"actions":[{"operation":"DiscardMessage"}]}"#[..]),
            (200, b""),
            (200, b"{}"),
            (200, br#"{"actions":[]}"#),
            (200, br#"{"actions":[{"operation":"Sing"}]}"#),
            (200, br#"{"actions":[{"operation":"vNumberRoute"}]}"#),
            (200, br#"{"actions":[{"operation":"vNumberRoute","message":{"called":"110"}}]}"#),
        ] {
            assert_eq!(verdict(status, body), Verdict::Unanswered, "{status} {}", body.escape_ascii());
        }
    }
}
