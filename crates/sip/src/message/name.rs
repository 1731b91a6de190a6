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
            /// Every name that is known, in lower case.
            const KNOWN: &[(&[u8], HeaderName)] = &[
                $(($long, HeaderName::$variant), $(($compact, HeaderName::$variant),)?)*
            ];
        }
    };
}

/// Slots of the table; a power of two with room to spare.
const SLOTS: usize = 256;

/// Hash table over [`HeaderName::KNOWN`], made at compile time: place + 1, 0 where a slot is free.
const TABLE: [u8; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut place = 0;
    while place < HeaderName::KNOWN.len() {
        let mut slot = slot(HeaderName::KNOWN[place].0);
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = place as u8 + 1;
        place += 1;
    }
    table
};

/// Where the search for a name begins: with these factors every known name finds its own slot at once. Bit 5 makes
/// letters lower case; whatever else it does, it does to both sides.
const fn slot(name: &[u8]) -> usize {
    let len = name.len();
    let [first, middle, last] = [name[0] | 0x20, name[len / 2] | 0x20, name[len - 1] | 0x20];
    (first as usize * 38 + middle as usize * 51 + last as usize * 45 + len * 17) % SLOTS
}

impl HeaderName {
    /// The header of a name in any case, long or compact.
    #[must_use]
    pub fn of(name: &[u8]) -> HeaderName {
        if name.is_empty() {
            return HeaderName::Other;
        }
        let mut slot = slot(name);
        while let Some(place) = TABLE[slot].checked_sub(1) {
            let (known, header) = HeaderName::KNOWN[usize::from(place)];
            if known.eq_ignore_ascii_case(name) {
                return header;
            }
            slot = (slot + 1) % SLOTS;
        }
        HeaderName::Other
    }
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
    InfoPackage b"info-package";
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
    fn every_name_is_found_in_either_case() {
        for (name, header) in HeaderName::KNOWN {
            assert_eq!(HeaderName::of(name), *header);
            assert_eq!(HeaderName::of(&name.to_ascii_uppercase()), *header);
        }
        assert!(HeaderName::KNOWN.len() < SLOTS / 2, "the search of a full table would not end");
    }

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
