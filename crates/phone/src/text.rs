//! Text messages: MESSAGE outside any dialog (RFC 3428).
//!
//! ```text
//!   text ─▶ MESSAGE ─▶ 200 ─▶ TextAnswered          MESSAGE ─▶ Texted, then what the script says
//!                   └▶ 401, 407 ─▶ once more, with credentials
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use rsip::{Method, Uri};

use crate::transaction::Key;
use crate::wire::{Draft, Received, address_of};
use crate::{Phone, PhoneEvent};

/// Texts of ours without an answer; more are not sent.
const MAX_TEXTS: usize = 64;

/// Answers that wait for their time; more are left away.
const MAX_OWED: usize = 256;

/// How a phone answers a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextReply {
    /// So long after it came.
    pub after: Duration,
    /// With this final response.
    pub status: u16,
}

impl Default for TextReply {
    /// 200 at once.
    fn default() -> Self {
        TextReply { after: Duration::ZERO, status: 200 }
    }
}

/// A MESSAGE of ours that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    branch: String,
    target: Uri,
    peer: SocketAddr,
    tag: String,
    call_id: String,
    cseq: u32,
    content_type: String,
    body: Vec<u8>,
}

/// An answer that waits for its time.
#[derive(Debug)]
pub(crate) struct Owed {
    at: Duration,
    status: u16,
    key: Key,
    request: Received,
}

impl Unanswered {
    /// Of its last request.
    pub(crate) fn branch(&self) -> &str {
        &self.branch
    }
}

impl Phone {
    /// Sends a text to a SIP URI whose host is an address. `false` when it cannot be sent.
    pub fn text(&mut self, now: Duration, target: &str, content_type: &str, body: &[u8]) -> bool {
        let Ok(target) = Uri::try_from(target) else { return false };
        let Some(peer) = address_of(&target) else { return false };
        if self.texts.len() == MAX_TEXTS {
            return false;
        }
        let (tag, call_id) = (self.token(), format!("{}@{}", self.token(), self.config.contact.ip()));
        let text = Unanswered {
            branch: String::new(),
            target,
            peer,
            tag,
            call_id,
            cseq: 1,
            content_type: content_type.to_owned(),
            body: body.to_vec(),
        };
        self.send_text(now, text);
        true
    }

    fn send_text(&mut self, now: Duration, text: Unanswered) {
        let text = Unanswered { branch: format!("z9hG4bK{}", self.token()), ..text };
        let authorization: Vec<_> = self.credentials("MESSAGE", &text.target.to_string()).into_iter().collect();
        let display = self.config.display_name.as_ref().map(|name| format!("\"{name}\" ")).unwrap_or_default();
        let from = format!("{display}<sip:{}@{}>;tag={}", self.config.number, self.config.contact, text.tag);
        let to = format!("<{}>", text.target);
        let mut draft = Draft::new()
            .canary(self.canary())
            .via(self.config.transport, self.config.contact, &text.branch)
            .max_forwards(self.config.script.max_forwards)
            .dialog(&from, &to, &text.call_id, text.cseq, "MESSAGE")
            .headers(&authorization)
            .headers(&self.config.headers)
            .headers(&[("Content-Type".to_owned(), text.content_type.clone())]);
        if let Some(agent) = self.agent() {
            draft = draft.header("User-Agent", &agent);
        }
        let bytes = draft.request("MESSAGE", &text.target, Some(&text.body));
        self.transactions.request(now, text.peer, &text.branch, Method::Message, bytes);
        self.texts.push(text);
    }

    /// The answer to a text of ours.
    pub(crate) fn on_text_response(&mut self, now: Duration, status: u16, received: &Received) {
        let Some(place) = self.texts.iter().position(|text| text.branch == received.branch) else { return };
        if status < 200 {
            return;
        }
        let text = self.texts.remove(place);
        if matches!(status, 401 | 407) && self.on_challenge(status, received) {
            let cseq = text.cseq + 1;
            self.send_text(now, Unanswered { cseq, ..text });
            return;
        }
        self.event(PhoneEvent::TextAnswered { status });
    }

    /// Nobody has answered a text of ours.
    pub(crate) fn on_text_unanswered(&mut self, branch: &str) {
        self.texts.retain(|text| text.branch != branch);
        self.event(PhoneEvent::TextUnanswered);
    }

    /// A text for us.
    pub(crate) fn on_text(&mut self, now: Duration, key: Key, request: Received) {
        for header in ["Contact", "Subject", "Call-Info"] {
            if request.value(header).is_some() {
                self.breach(format!("MESSAGE with {header}"));
            }
        }
        let (content_type, body) = request.body.clone().unwrap_or_default();
        let content = String::from_utf8_lossy(&body).into_owned();
        self.event(PhoneEvent::Texted { sender: request.caller.clone(), content_type, content });
        let TextReply { after, status } = self.config.script.text_reply;
        if self.owed.len() < MAX_OWED {
            self.owed.push(Owed { at: now + after, status, key, request });
        }
        self.answer_texts(now);
    }

    /// When the next answer is due.
    pub(crate) fn text_timeout(&self) -> Option<Duration> {
        self.owed.iter().map(|owed| owed.at).min()
    }

    /// Answers what is due.
    pub(crate) fn answer_texts(&mut self, now: Duration) {
        while let Some(place) = self.owed.iter().position(|owed| owed.at <= now) {
            let Owed { status, key, request, .. } = self.owed.remove(place);
            let after: &[(String, String)] = match status {
                503 => &[("Retry-After".to_owned(), "7".to_owned())],
                _ => &[],
            };
            self.respond_with(now, &key, &request, status, None, after);
        }
    }
}
