//! Header names: case-insensitive, with their compact forms (RFC 3261 §7.3.3 and the registry).

macro_rules! names {
    ($($variant:ident $long:literal $(, $compact:literal)? ;)*) => {
        /// A header that we read or write; every other one is [`HeaderName::Other`] and keeps its bytes.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "each is the header of its name")]
        pub enum HeaderName {
            $($variant,)*
            Other,
        }

        impl HeaderName {
            /// The header of a name in any case, long or compact.
            #[must_use]
            pub fn of(name: &[u8]) -> HeaderName {
                let mut lower = [0_u8; 24];
                let Some(lower) = lower.get_mut(..name.len()) else { return HeaderName::Other };
                for (to, from) in lower.iter_mut().zip(name) {
                    *to = from.to_ascii_lowercase();
                }
                match &*lower {
                    $($long $(| $compact)? => HeaderName::$variant,)*
                    _ => HeaderName::Other,
                }
            }
        }
    };
}

names! {
    Via b"via", b"v";
    From b"from", b"f";
    To b"to", b"t";
    CallId b"call-id", b"i";
    CSeq b"cseq";
    Contact b"contact", b"m";
    MaxForwards b"max-forwards";
    ContentLength b"content-length", b"l";
    ContentType b"content-type", b"c";
    ContentEncoding b"content-encoding", b"e";
    ContentDisposition b"content-disposition";
    Route b"route";
    RecordRoute b"record-route";
    Require b"require";
    ProxyRequire b"proxy-require";
    Supported b"supported", b"k";
    Unsupported b"unsupported";
    Allow b"allow";
    Accept b"accept";
    Reason b"reason";
    RetryAfter b"retry-after";
    PAssertedIdentity b"p-asserted-identity";
    PPreferredIdentity b"p-preferred-identity";
    RemotePartyId b"remote-party-id";
    Privacy b"privacy";
    Diversion b"diversion";
    HistoryInfo b"history-info";
    ReferTo b"refer-to", b"r";
    ReferredBy b"referred-by", b"b";
    Replaces b"replaces";
    SessionExpires b"session-expires", b"x";
    MinSe b"min-se";
    RSeq b"rseq";
    RAck b"rack";
    Event b"event", b"o";
    Expires b"expires";
    Subject b"subject", b"s";
    Warning b"warning";
    UserAgent b"user-agent";
    Server b"server";
    WwwAuthenticate b"www-authenticate";
    Authorization b"authorization";
    ProxyAuthenticate b"proxy-authenticate";
    ProxyAuthorization b"proxy-authorization";
    Date b"date";
    Timestamp b"timestamp";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_in_their_compact_form() {
        assert_eq!(HeaderName::of(b"cAlL-iD"), HeaderName::CallId);
        assert_eq!(HeaderName::of(b"I"), HeaderName::CallId);
        assert_eq!(HeaderName::of(b"P-Asserted-Identity"), HeaderName::PAssertedIdentity);
        assert_eq!(HeaderName::of(b"X-Canary"), HeaderName::Other);
        assert_eq!(HeaderName::of(b""), HeaderName::Other);
        assert_eq!(HeaderName::of(&[b'v'; 100]), HeaderName::Other);
    }
}
