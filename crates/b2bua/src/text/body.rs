//! Reading the words of a MESSAGE (RFC 3428 §7): plain text, plain text among other parts, plain text in a `message/cpim`.
//!
//! ```text
//!   text/plain ──────────────────── base64, quoted-printable ─▶ UTF-8, GB 18030 ─▶ words
//!   multipart/* ─▶ its first part that is one of these ──▲
//!   message/cpim ─▶ From, To, Subject … left there ──────▲         (RFC 3862: they name people)
//! ```

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use encoding_rs::GB18030;
use quoted_printable::ParseMode;
use sip::message::{ContentType, Entity, HeaderName, Message};

use super::{MAX_CHARACTERS, Outcome};

/// What can be read, for `Accept` (RFC 3261 §20.1).
pub(crate) const ACCEPT: &[u8] = b"text/plain, message/cpim, multipart/mixed, multipart/alternative";

/// Wrappings within one another that are opened.
const MAX_DEPTH: u8 = 4;

/// The words of a MESSAGE.
///
/// # Errors
/// [`Outcome::ContentType`], [`Outcome::Unreadable`], [`Outcome::TooLong`].
pub(crate) fn words(message: &Message) -> Result<Cow<'_, str>, Outcome> {
    let encoding = message.header(HeaderName::ContentEncoding);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(Outcome::ContentType);
    }
    let content_type = message.header(HeaderName::ContentType);
    let whole = Entity { content_type, transfer_encoding: None, content: message.body() };
    let words = words_of(&whole, MAX_DEPTH)?;
    check(&words).map(|()| words)
}

/// Whether it may be a text message.
///
/// # Errors
/// [`Outcome::Unreadable`] where it is empty, [`Outcome::TooLong`].
pub(crate) fn check(words: &str) -> Result<(), Outcome> {
    if words.is_empty() {
        return Err(Outcome::Unreadable);
    }
    // Nothing has more characters than bytes.
    if words.len() > MAX_CHARACTERS && words.chars().count() > MAX_CHARACTERS {
        return Err(Outcome::TooLong);
    }
    Ok(())
}

fn words_of<'a>(entity: &Entity<'a>, depth: u8) -> Result<Cow<'a, str>, Outcome> {
    if depth == 0 {
        return Err(Outcome::ContentType);
    }
    let Some(content_type) = entity.content_type else {
        // RFC 2045 §5.2: plain text.
        return read(entity, b"utf-8");
    };
    let content_type = ContentType::parse(content_type).ok_or(Outcome::ContentType)?;
    if content_type.is("text", "plain") {
        return read(entity, &content_type.param(b"charset").unwrap_or(Cow::Borrowed(b"utf-8")));
    }
    // RFC 2045 §6.4: what holds other parts is not encoded itself.
    if !is_one_of(entity.transfer_encoding.unwrap_or(b"8bit"), &["7bit", "8bit", "binary"]) {
        return Err(Outcome::ContentType);
    }
    if content_type.is("message", "cpim") {
        // Its own headers, an empty line, and an entity (RFC 3862 §2).
        let inner = Entity::open(entity.content).and_then(|cpim| Entity::open(cpim.content));
        return words_of(&inner.ok_or(Outcome::Unreadable)?, depth - 1);
    }
    let mut found = Err(Outcome::ContentType);
    for part in entity.parts() {
        found = match (words_of(&part, depth - 1), found) {
            (Ok(words), _) => return Ok(words),
            // Text that cannot be read says more than something that is no text.
            (Err(Outcome::ContentType), before) => before,
            (Err(outcome), _) => Err(outcome),
        };
    }
    found
}

/// Plain text: its octets (RFC 2045 §6), then its characters.
fn read<'a>(entity: &Entity<'a>, charset: &[u8]) -> Result<Cow<'a, str>, Outcome> {
    let octets = match entity.transfer_encoding.unwrap_or(b"8bit") {
        plain if is_one_of(plain, &["7bit", "8bit", "binary"]) => Cow::Borrowed(entity.content),
        coded if is_one_of(coded, &["base64"]) => {
            // Line ends stand anywhere, and the padding is not missed where it is not there.
            let is_meant = |octet: &u8| !octet.is_ascii_whitespace() && *octet != b'=';
            let text: Vec<u8> = entity.content.iter().copied().filter(is_meant).collect();
            Cow::Owned(STANDARD_NO_PAD.decode(text).map_err(|_| Outcome::Unreadable)?)
        }
        coded if is_one_of(coded, &["quoted-printable"]) => {
            Cow::Owned(quoted_printable::decode(entity.content, ParseMode::Robust).map_err(|_| Outcome::Unreadable)?)
        }
        _ => return Err(Outcome::ContentType),
    };
    if is_one_of(charset, &["utf-8", "utf8", "us-ascii"]) {
        return match octets {
            Cow::Borrowed(octets) => std::str::from_utf8(octets).map(Cow::Borrowed).map_err(|_| Outcome::Unreadable),
            Cow::Owned(octets) => String::from_utf8(octets).map(Cow::Owned).map_err(|_| Outcome::Unreadable),
        };
    }
    if is_one_of(charset, &["gb18030", "gbk", "gb2312"]) {
        let (words, has_errors) = GB18030.decode_without_bom_handling(&octets);
        return if has_errors { Err(Outcome::Unreadable) } else { Ok(Cow::Owned(words.into_owned())) };
    }
    Err(Outcome::ContentType)
}

fn is_one_of(word: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| word.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn of(headers: &str, body: &[u8]) -> Result<String, Outcome> {
        let mut bytes = format!(
            "MESSAGE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:x@y>\r\n\
             Call-ID: 1\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        let message = Message::parse(Bytes::from(bytes), &sip::limits::Limits::default()).expect("a message");
        words(&message).map(Cow::into_owned)
    }

    fn plain(body: &[u8]) -> Result<String, Outcome> {
        of("Content-Type: text/plain\r\n", body)
    }

    #[test]
    fn plain_text_is_read_in_its_charset_or_not_at_all() {
        let words = "你好，1380 \r\n\t🙂";
        for kind in [
            "text/plain",
            "text/plain;charset=UTF-8",
            "Text/Plain ; charset=\"utf-8\"",
            "text/plain;charset=utf8;format=flowed",
            "text/plain;charset=us-ascii",
        ] {
            assert_eq!(of(&format!("Content-Type: {kind}\r\n"), words.as_bytes()).as_deref(), Ok(words), "{kind}");
        }
        assert_eq!(of("", words.as_bytes()).as_deref(), Ok(words));
        for kind in ["text/plain;charset=utf-16", "text/html", "application/vnd.3gpp.sms", "im-iscomposing", "text"] {
            assert_eq!(of(&format!("Content-Type: {kind}\r\n"), words.as_bytes()), Err(Outcome::ContentType), "{kind}");
        }
        assert_eq!(plain(&[0xc4, 0xe3]), Err(Outcome::Unreadable));
        assert_eq!(plain(b""), Err(Outcome::Unreadable));
        let gzip = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
        assert_eq!(of(gzip, b"words"), Err(Outcome::ContentType));
        assert_eq!(of("Content-Type: text/plain\r\nContent-Encoding: identity\r\n", b"words").as_deref(), Ok("words"));
    }

    #[test]
    fn two_thousand_characters_are_the_most_whatever_they_weigh() {
        for character in ["a", "汉", "🙂"] {
            let most = character.repeat(2_000);
            assert_eq!(plain(most.as_bytes()).as_deref(), Ok(&*most));
            assert_eq!(plain(character.repeat(2_001).as_bytes()), Err(Outcome::TooLong));
        }
    }

    #[test]
    fn the_first_plain_part_is_read_and_the_others_go_nowhere() {
        let kind = "Content-Type: multipart/mixed;boundary=\"b\"\r\n";
        let body = "preamble\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>no</b>\r\n--b\r\nContent-Type: text/plain;charset=UTF-8\r\n\
                    Content-Transfer-Encoding: 8bit\r\n\r\n你好\r\nthere\r\n--b\r\nContent-Type: text/plain\r\n\r\nsecond\r\n--b--\r\n";
        assert_eq!(of(kind, body.as_bytes()).as_deref(), Ok("你好\r\nthere"));
        let nested =
            "--b\r\nContent-Type: multipart/alternative;boundary=c\r\n\r\n--c\r\n\r\nbare\r\n--c--\r\n--b--\r\n";
        assert_eq!(of(kind, nested.as_bytes()).as_deref(), Ok("bare"));
        assert_eq!(of("Content-Type: multipart/mixed\r\n", body.as_bytes()), Err(Outcome::ContentType));
        let mut bad = b"--b\r\nContent-Type: text/plain\r\n\r\n".to_vec();
        bad.extend([0xff, 0xfe]);
        bad.extend(b"\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--");
        assert_eq!(of(kind, &bad), Err(Outcome::Unreadable));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let kind = "Content-Type: multipart/mixed;boundary=\"b\"\r\n";
        let part = |encoding: &str, charset: &str, content: &str| {
            let body = format!(
                "--b\r\nContent-Type: text/plain;charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{content}\r\n--b--\r\n"
            );
            of(kind, body.as_bytes())
        };
        for (encoding, charset, content, expected) in [
            ("base64", "utf-8", "5L2g5aW9IGFu\r\nZCB3b3Jkcw==", Ok("你好 and words")),
            ("Base64", "utf-8", "d29yZHM", Ok("words")),
            ("base64", "GBK", "xOO6ww==", Ok("你好")),
            ("base64", "gb2312", "xOM", Ok("你")),
            ("quoted-printable", "utf-8", "=E4=BD=A0=\r\n=E5=A5=BD 1=3D1", Ok("你好 1=1")),
            ("8bit", "gb18030", "words", Ok("words")),
            ("base64", "utf-8", "d29y!!!!", Err(Outcome::Unreadable)),
            ("base64", "utf-8", "xOO6ww==", Err(Outcome::Unreadable)),
            ("base64", "gbk", "/w==", Err(Outcome::Unreadable)),
            ("x-uuencode", "utf-8", "words", Err(Outcome::ContentType)),
        ] {
            let found = part(encoding, charset, content);
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{encoding} {charset} {content}");
        }
    }

    #[test]
    fn of_a_cpim_message_only_the_words_are_read() {
        let kind = "Content-Type: message/cpim\r\n";
        let body = "From: Wang <tel:+8613811112222>\r\nTo: <tel:+86170>\r\nSubject: kingfisher\r\n\r\n\
                    Content-Type: text/plain; charset=utf-8\r\nContent-ID: <1@h>\r\n\r\nwords\r\n";
        assert_eq!(of(kind, body.as_bytes()).as_deref(), Ok("words\r\n"));
        assert_eq!(of(kind, b"From: <tel:1>\r\n\r\nno headers end"), Err(Outcome::Unreadable));
        let mut deep = b"words".to_vec();
        for _ in 0..6 {
            deep = [b"From: <tel:1>\r\n\r\nContent-Type: message/cpim\r\n\r\n".as_slice(), &deep].concat();
        }
        assert!(of(kind, &deep).is_err());
    }
}
