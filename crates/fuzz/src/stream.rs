//! Target `stream`.

use bytes::Bytes;
use sip::framing::{Frame, Framer};
use sip::limits::Limits;
use sip::message::{HeaderName, Message, ParseError};

use crate::input::Input;

/// See the [crate's](crate) table. The first byte says how long the pieces are, the second how long a message may be.
pub fn stream(data: &[u8]) {
    let mut input = Input::new(data);
    let (seed, small) = (input.byte(), input.byte());
    let most = if small == 0 { 65_535 } else { 64 + 16 * usize::from(small) };
    let limits = Limits { max_message: most, ..Limits::default() };
    let bytes = input.rest();
    let whole = cut(&limits, [bytes].into_iter());
    assert_eq!(cut(&limits, pieces(bytes, seed)), whole, "in pieces or whole");
    let mut told = 0;
    let (frames, error) = &whole;
    for frame in frames {
        match frame {
            Frame::Ping => told += 4,
            Frame::Pong => told += 2,
            Frame::Message(message) => {
                told += message.len();
                assert!(message.len() <= most);
                sound(message, &limits);
            }
        }
    }
    assert!(told <= bytes.len(), "more came out than went in");
    if let Some(error) = error {
        let framing = [ParseError::NoContentLength, ParseError::ContentLength, ParseError::ContentLengths];
        assert!(framing.contains(error) || *error == ParseError::TooLong, "{error:?}");
    }
}

/// The reader takes its body from where the framing has cut it.
fn sound(bytes: &Bytes, limits: &Limits) {
    let message = match Message::parse(bytes.clone(), limits) {
        Ok(message) => message,
        Err(rejected) => {
            let framed = !matches!(
                rejected.error,
                ParseError::Empty
                    | ParseError::NoEndOfHeaders
                    | ParseError::NoContentLength
                    | ParseError::ContentLength
                    | ParseError::ContentLengths
                    | ParseError::BodyTooShort
            );
            assert!(framed, "{:?}: {}", rejected.error, bytes.escape_ascii());
            return;
        }
    };
    let length = message.header(HeaderName::ContentLength).expect("the framing has read it");
    let length = std::str::from_utf8(length).expect("digits").parse::<usize>().expect("a number");
    assert_eq!(message.body().len(), length);
    assert!(bytes.ends_with(message.body()));
}

/// Pieces of 1 to 16 bytes by the seed, or the whole.
fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 24) as usize % (1 + usize::from(seed) % 16);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn cut<'a>(limits: &Limits, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<ParseError>) {
    let mut framer = Framer::new(limits);
    let mut frames = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.poll() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}
