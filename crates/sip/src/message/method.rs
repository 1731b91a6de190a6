//! Methods (RFC 3261 §7.1 and the extensions that name their own).

/// A request method. Methods are case-sensitive (RFC 3261 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "each is the method of its name")]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Info,
    Message,
    Refer,
    Notify,
    Subscribe,
    Publish,
    /// Any other token; its bytes are in [`super::Message::method_bytes`].
    Other,
}

impl Method {
    /// Every one, in the order of `as usize`.
    pub const ALL: [Method; 15] = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Options,
        Method::Register,
        Method::Prack,
        Method::Update,
        Method::Info,
        Method::Message,
        Method::Refer,
        Method::Notify,
        Method::Subscribe,
        Method::Publish,
        Method::Other,
    ];

    /// As written; `OTHER` for [`Method::Other`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Message => "MESSAGE",
            Method::Refer => "REFER",
            Method::Notify => "NOTIFY",
            Method::Subscribe => "SUBSCRIBE",
            Method::Publish => "PUBLISH",
            Method::Other => "OTHER",
        }
    }

    /// The method of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Method {
        let known = Method::ALL.iter().take(Method::Other as usize);
        known.copied().find(|method| method.as_str().as_bytes() == token).unwrap_or(Method::Other)
    }
}
