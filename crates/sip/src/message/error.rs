//! What may be wrong with a message: a census.

macro_rules! census {
    ($($(#[$doc:meta])* $variant:ident $label:literal $phrase:literal;)*) => {
        /// Why a message, or a part of it, cannot be read. One variant an accusation.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ParseError {
            $($(#[$doc])* $variant,)*
        }

        impl ParseError {
            /// Every accusation.
            pub const ALL: &[ParseError] = &[$(ParseError::$variant,)*];

            /// Metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(ParseError::$variant => $label,)* }
            }

            /// In words, as a reason phrase.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(ParseError::$variant => $phrase,)* }
            }
        }
    };
}

census! {
    /// Nothing but line ends.
    Empty "empty" "Empty Message";
    /// Longer than [`crate::limits::Limits::max_message`].
    TooLong "too_long" "Message Too Long";
    /// Neither a request line nor a status line.
    StartLine "start_line" "Malformed Start Line";
    /// A start line longer than allowed.
    StartLineTooLong "start_line_too_long" "Start Line Too Long";
    /// A version other than SIP/2.0.
    Version "version" "Version Not Supported";
    /// The Request-URI is empty or holds blanks.
    RequestUri "request_uri" "Malformed Request-URI";
    /// A status outside 100-699.
    Status "status" "Malformed Status Code";
    /// The headers have no end.
    NoEndOfHeaders "no_end_of_headers" "Headers Without End";
    /// A header line without a colon, or with a name that is no token.
    HeaderLine "header_line" "Malformed Header Line";
    /// More headers than allowed.
    TooManyHeaders "too_many_headers" "Too Many Headers";
    /// A header longer than allowed.
    HeaderTooLong "header_too_long" "Header Too Long";
    /// A header that may stand once stands again.
    Repeated "repeated_header" "Repeated Header";
    /// No Via.
    MissingVia "missing_via" "Missing Via";
    /// The top Via cannot be read, or has parameters or elements that are empty.
    Via "via" "Malformed Via";
    /// More Vias than allowed.
    TooManyVias "too_many_vias" "Too Many Vias";
    /// No From.
    MissingFrom "missing_from" "Missing From";
    /// From cannot be read.
    From "from" "Malformed From";
    /// No To.
    MissingTo "missing_to" "Missing To";
    /// To cannot be read.
    To "to" "Malformed To";
    /// No Call-ID, or an empty one.
    MissingCallId "missing_call_id" "Missing Call-ID";
    /// Call-ID holds blanks or controls.
    CallId "call_id" "Malformed Call-ID";
    /// A Call-ID, tag or branch longer than allowed.
    IdentifierTooLong "identifier_too_long" "Identifier Too Long";
    /// No CSeq.
    MissingCSeq "missing_cseq" "Missing CSeq";
    /// CSeq cannot be read or its number is above 2^31-1.
    CSeq "cseq" "Malformed CSeq";
    /// CSeq names another method than the request line.
    CSeqMethod "cseq_method" "CSeq Method Mismatch";
    /// Content-Length cannot be read.
    ContentLength "content_length" "Malformed Content-Length";
    /// Two Content-Length that differ.
    ContentLengths "content_lengths" "Conflicting Content-Length";
    /// The body is shorter than Content-Length.
    BodyTooShort "body_too_short" "Body Shorter Than Content-Length";
    /// The body is longer than allowed.
    BodyTooLong "body_too_long" "Body Too Long";
    /// Max-Forwards is no number from 0 to 255.
    MaxForwards "max_forwards" "Malformed Max-Forwards";
    /// A name-addr or addr-spec cannot be read.
    Address "address" "Malformed Address";
    /// A URI cannot be read.
    Uri "uri" "Malformed URI";
    /// No Contact where one must be.
    MissingContact "missing_contact" "Missing Contact";
    /// More Record-Routes than a dialog may have.
    TooManyRoutes "too_many_routes" "Too Many Record-Routes";
    /// A stream's message has no Content-Length (RFC 3261 §18.3).
    NoContentLength "no_content_length" "Missing Content-Length";
}

impl ParseError {
    /// The status of the answer to a request that this is wrong with (RFC 3261 §21.4, §21.5).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            ParseError::Version => 505,
            ParseError::TooLong => 513,
            ParseError::BodyTooLong => 413,
            ParseError::StartLineTooLong => 414,
            ParseError::Empty
            | ParseError::StartLine
            | ParseError::RequestUri
            | ParseError::Status
            | ParseError::NoEndOfHeaders
            | ParseError::HeaderLine
            | ParseError::TooManyHeaders
            | ParseError::HeaderTooLong
            | ParseError::Repeated
            | ParseError::MissingVia
            | ParseError::Via
            | ParseError::TooManyVias
            | ParseError::MissingFrom
            | ParseError::From
            | ParseError::MissingTo
            | ParseError::To
            | ParseError::MissingCallId
            | ParseError::CallId
            | ParseError::IdentifierTooLong
            | ParseError::MissingCSeq
            | ParseError::CSeq
            | ParseError::CSeqMethod
            | ParseError::ContentLength
            | ParseError::ContentLengths
            | ParseError::BodyTooShort
            | ParseError::MaxForwards
            | ParseError::Address
            | ParseError::Uri
            | ParseError::MissingContact
            | ParseError::TooManyRoutes
            | ParseError::NoContentLength => 400,
        }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ParseError {}
