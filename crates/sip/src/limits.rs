//! What a message may be before it is turned away.
//!
//! | what | where its limit is | beyond it |
//! |---|---|---|
//! | message, start line, header lines, header, body | [`Limits`] | answered (513, 414, 400, 400, 413), counted |
//! | Vias; Call-ID, tags and branch | [`Limits`] | 400, counted |
//! | Request-URI | its start line | 414 |
//! | other URIs, parameters, comma lists | their header | 400; each is read once from end to end where it is asked for |
//! | Record-Routes of a dialog | [`crate::dialog::MAX_ROUTES`] | 400 |
//! | parts and nesting of a multipart body | [`crate::message::MAX_PARTS`], twice | no session description is seen |
//! | a stream's message, and what came with it | [`Limits::max_message`] | the stream is closed, counted |

/// Limits of the reader. Reaching one is a [`crate::message::ParseError`], never growth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Whole message in bytes; at most 65,535, which the reader's offsets are made for.
    pub max_message: usize,
    /// Start line in bytes.
    pub max_start_line: usize,
    /// Header lines.
    pub max_headers: usize,
    /// One header with its folded lines, in bytes.
    pub max_header_line: usize,
    /// Body in bytes.
    pub max_body: usize,
    /// Vias, by lines and commas: a request has one for every hop, and no more hops than Max-Forwards begins with.
    pub max_vias: usize,
    /// Call-ID, tag of From or To, branch of the top Via, each in bytes. They are what transactions and dialogs keep.
    pub max_identifier: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message: 65_535,
            max_start_line: 4_096,
            max_headers: 256,
            max_header_line: 8_192,
            max_body: 60_000,
            max_vias: 70,
            max_identifier: 512,
        }
    }
}
