//! What hostile bytes may do to the readers of axbridge: nothing. One function a target; each panics when its oracle is broken.
//!
//! | target | the bytes are | the oracle, beyond "it did not panic" |
//! |---|---|---|
//! | [`message`] | a datagram | what was read and written again reads the same; every answer to it is sound; `sipx-sip` reads the same values |
//! | [`stream`] | pieces of a stream | cut in pieces or whole: the same frames; the reader agrees on where each body ends; nothing is made up |
//! | [`sdp`] | a session description | our answer answers each m= line, reads back as what was settled, for `sdp-types` too; nothing is settled that was not offered |
//! | [`rtp`] | a program: packets, reports, commands, time | one SSRC a leg for life, only what was settled goes out, to nobody but the party; the recording is as long as the time; the session comes to rest |
//! | [`wav`] | a prompt; the head of a recording | what is taken reads back the same; `hound` takes every PCM that we take; a repaired header needs no repair |
//! | [`calls`] | a world and a program: phones, hostile messages, lost transports, reloads, time | every call ends, both legs agree, nothing is left over, nobody learns who another is |
//! | [`smpp`] | a configuration and a program: what an SMSC says, texts both ways, lost connections, time | what is said is SMPP; each text has one result, each request one response, each deadline is met; it ends |
//! | [`number`] | a trunk's rules and a spelling | what was read, written in any form, reads back as the same number; no mask shows it |
//!
//! The same functions run under libFuzzer (`targets/`) and, over [`seeds`] and their mutations, in `tests/smoke.rs` on every
//! build. A further target needs a function here, a line in [`TARGETS`], seeds, a test in `tests/smoke.rs`, and a file in `targets/`.

mod calls;
mod input;
mod message;
mod mutate;
mod number;
mod rtp;
mod sdp;
mod seeds;
mod smpp;
mod stream;
mod wav;

pub use calls::calls;
pub use message::message;
pub use mutate::Mutations;
pub use number::number;
pub use rtp::rtp;
pub use sdp::sdp;
pub use seeds::seeds;
pub use smpp::smpp;
pub use stream::stream;
pub use wav::wav;

/// A target: takes any bytes, and panics when its oracle is broken.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("message", message),
    ("stream", stream),
    ("sdp", sdp),
    ("rtp", rtp),
    ("wav", wav),
    ("number", number),
    ("calls", calls),
    ("smpp", smpp),
];
