//! What a message may be before it is turned away.

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
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message: 65_535,
            max_start_line: 4_096,
            max_headers: 256,
            max_header_line: 8_192,
            max_body: 60_000,
        }
    }
}
