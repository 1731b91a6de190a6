//! A stream is cut into the same frames however its bytes arrive, and never grows without bound.

use sip::framing::{Frame, Framer};
use sip::limits::Limits;
use sip::message::{Message, ParseError};

fn limits() -> Limits {
    Limits { max_message: 500, ..Limits::default() }
}

/// What a stream gives: frames, then perhaps an error.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    frames: Vec<Frame>,
    error: Option<ParseError>,
}

fn cut<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Outcome, Framer) {
    let mut framer = Framer::new(&limits());
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.poll() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (Outcome { frames, error: Some(error) }, framer),
            }
        }
    }
    (Outcome { frames, error: None }, framer)
}

/// Cut in one piece, byte by byte, and in every two pieces: always the same.
fn frames(stream: &[u8]) -> Outcome {
    let (whole, _) = cut([stream].into_iter());
    assert_eq!(cut(stream.chunks(1)).0, whole, "byte by byte: {}", stream.escape_ascii());
    for at in 0..stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(cut([first, second].into_iter()).0, whole, "in two at {at}: {}", stream.escape_ascii());
    }
    whole
}

fn message(body: &str, length: &str) -> Vec<u8> {
    format!(
        "MESSAGE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:a@192.0.2.1>;tag=1\r\n\
         To: <sip:b@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n{length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn only_messages(outcome: &Outcome) -> Vec<&[u8]> {
    outcome
        .frames
        .iter()
        .map(|frame| match frame {
            Frame::Message(bytes) => &bytes[..],
            Frame::Ping | Frame::Pong => panic!("{outcome:?}"),
        })
        .collect()
}

#[test]
fn messages_that_follow_each_other_are_cut_apart() {
    let one = message("hello", "Content-Length: 5");
    let two = message("", "l : 0");
    // A body that looks like a message is a body.
    let three = message(std::str::from_utf8(&two).unwrap(), &format!("CONTENT-LENGTH:\r\n  {}", two.len()));
    let outcome = frames(&[&one[..], &two, &three].concat());
    assert_eq!(outcome.error, None);
    assert_eq!(only_messages(&outcome), [&one[..], &two, &three]);
    for bytes in only_messages(&outcome) {
        let message = Message::parse(bytes.to_vec().into(), &Limits::default()).unwrap();
        assert!(bytes.ends_with(message.body()), "the reader and the framing agree on the body");
    }
}

#[test]
fn blanks_around_the_colon_of_content_length_do_not_misframe() {
    let inner = message("", "Content-Length: 0");
    for name in ["Content-Length :", "Content-Length \t:\t ", "content-LENGTH  :", "l\t:", "L :\r\n "] {
        // Whoever overlooks the header takes the body for a request of its own.
        let outer = message(std::str::from_utf8(&inner).unwrap(), &format!("{name}{}", inner.len()));
        let outcome = frames(&[&outer[..], &inner].concat());
        assert_eq!(outcome.error, None, "{name:?}");
        assert_eq!(only_messages(&outcome), [&outer[..], &inner], "{name:?}");
    }
}

#[test]
fn lines_may_end_with_a_line_feed_alone() {
    let text: Vec<u8> = message("hi", "Content-Length: 2").into_iter().filter(|byte| *byte != b'\r').collect();
    let outcome = frames(&[&b"\n\n"[..], &text, b"\n", &text].concat());
    assert_eq!(only_messages(&outcome), [&text[..], &text]);
}

#[test]
fn keep_alives_are_told_from_messages() {
    let text = message("", "Content-Length: 0");
    let outcome = frames(&[&b"\r\n\r\n"[..], &text, b"\r\n", &text, b"\r\n\r\n\r\n\r\n\r\n", &text].concat());
    let expected = [
        Frame::Ping,
        Frame::Message(text.clone().into()),
        Frame::Pong,
        Frame::Message(text.clone().into()),
        Frame::Ping,
        Frame::Ping,
        Frame::Pong,
        Frame::Message(text.into()),
    ];
    assert_eq!(outcome, Outcome { frames: expected.into(), error: None });
}

#[test]
fn a_stream_that_cannot_be_followed_is_an_error() {
    for (length, error) in [
        ("X: y", ParseError::NoContentLength),
        ("X: y\r\n Content-Length: 0", ParseError::NoContentLength),
        ("Content-Length: 0\r\nl: 1", ParseError::ContentLengths),
        ("Content-Length : 1\r\nContent-Length: 0", ParseError::ContentLengths),
        ("l: 0\r\nX: y\r\nContent-Length\t: 00\r\nCONTENT-LENGTH: 7", ParseError::ContentLengths),
        ("Content-Length: -1", ParseError::ContentLength),
        ("Content-Length:", ParseError::ContentLength),
        ("Content-Length: 1 2", ParseError::ContentLength),
        ("Content-Length: 18446744073709551616", ParseError::ContentLength),
        ("Content-Length: 9999999999999999999", ParseError::TooLong),
        ("Content-Length: 400", ParseError::TooLong),
    ] {
        let good = message("", "Content-Length: 0");
        let outcome = frames(&[&good[..], &message("", length)].concat());
        assert_eq!((outcome.frames.len(), outcome.error), (1, Some(error)), "{length}");
    }
    assert_eq!(frames(&[b'x'; 501]).error, Some(ParseError::TooLong), "headers without an end");
    let endless = message("", &format!("X: {}", "x".repeat(limits().max_message)));
    assert_eq!(frames(&endless).error, Some(ParseError::TooLong), "headers that end too late, without Content-Length");
    assert_eq!(frames(b"\r\r\n\r\n").error, Some(ParseError::NoContentLength));
    assert_eq!(frames(&message("", "Content-Length: 1\r\nContent-Length: 01")).error, None);
}

#[test]
fn a_message_may_be_as_long_as_the_limit_and_no_longer() {
    let head = message("", "Content-Length: 123").len();
    let room = limits().max_message - head;
    let fits = message(&"x".repeat(room), &format!("Content-Length: {room}"));
    assert_eq!(fits.len(), limits().max_message);
    assert_eq!(frames(&fits), Outcome { frames: vec![Frame::Message(fits.into())], error: None });
    let longer = message(&"x".repeat(room + 1), &format!("Content-Length: {}", room + 1));
    assert_eq!(frames(&longer).error, Some(ParseError::TooLong));
}

#[test]
fn what_is_left_over_is_known() {
    let text = message("hello", "Content-Length: 5");
    let (outcome, framer) = cut([&text[..text.len() - 1]].into_iter());
    assert!(outcome.frames.is_empty() && framer.is_partial());
    let (outcome, framer) = cut([&text[..]].into_iter());
    assert!(outcome.frames.len() == 1 && !framer.is_partial());
    assert!(!Framer::new(&limits()).is_partial());
}
