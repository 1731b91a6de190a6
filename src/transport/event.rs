//! What happens to SIP streams: one census, counted, and the labels of `axbridge_tcp_events_total`.

/// A reason that something was turned away or a stream closed; the metric's label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A stream was accepted.
    Accepted,
    /// A stream was opened.
    Opened,
    /// A connection could not be opened.
    ConnectFailed,
    /// A stream was refused: too many.
    RefusedTotal,
    /// A stream was refused: too many from its address.
    RefusedAddress,
    /// A stream was refused: too many from addresses of no trunk.
    RefusedStranger,
    /// A stream was closed: what came was no SIP.
    ClosedFraming,
    /// A stream was closed: nothing passed for long.
    ClosedIdle,
    /// A stream was closed: a message took too long to arrive.
    ClosedSlow,
    /// A stream was closed: the peer took nothing for long.
    ClosedStalled,
    /// A stream broke.
    ClosedBroken,
    /// The peer closed a stream.
    ClosedPeer,
    /// We closed a stream, shutting down.
    ClosedOurs,
    /// A message was refused because the stream's queue was full.
    QueueFull,
    /// A keep-alive was answered (RFC 5626 §3.5.1).
    Ping,
    /// A stream was refused before the TLS handshake: its peer's address is no trunk's.
    TlsStranger,
    /// A TLS handshake took too long.
    TlsTimeout,
    /// A TLS handshake failed: what came is no TLS, or there is no version or cipher that both speak.
    TlsProtocol,
    /// The peer refused our certificate, or that we have none, or had another complaint of its own.
    TlsAlert,
    /// The peer was asked for a certificate and had none.
    TlsNoCertificate,
    /// The peer's certificate is vouched for by nobody whom we trust.
    TlsIssuer,
    /// The peer's certificate has expired, or is not valid yet.
    TlsExpired,
    /// The peer's certificate is valid, but for somebody else.
    TlsName,
    /// The peer's certificate is wrong in another way.
    TlsCertificate,
    /// Two trunks want different certificates of one address, so that none will do.
    TlsAmbiguous,
    /// The stream ended or broke during the TLS handshake.
    TlsBroken,
}

impl Event {
    /// Every one, in the order of [`super::tcp::Tcp::counters`].
    pub const ALL: [Event; 26] = [
        Event::Accepted,
        Event::Opened,
        Event::ConnectFailed,
        Event::RefusedTotal,
        Event::RefusedAddress,
        Event::RefusedStranger,
        Event::ClosedFraming,
        Event::ClosedIdle,
        Event::ClosedSlow,
        Event::ClosedStalled,
        Event::ClosedBroken,
        Event::ClosedPeer,
        Event::ClosedOurs,
        Event::QueueFull,
        Event::Ping,
        Event::TlsStranger,
        Event::TlsTimeout,
        Event::TlsProtocol,
        Event::TlsAlert,
        Event::TlsNoCertificate,
        Event::TlsIssuer,
        Event::TlsExpired,
        Event::TlsName,
        Event::TlsCertificate,
        Event::TlsAmbiguous,
        Event::TlsBroken,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Event::Accepted => "accepted",
            Event::Opened => "opened",
            Event::ConnectFailed => "connect_failed",
            Event::RefusedTotal => "refused_total",
            Event::RefusedAddress => "refused_address",
            Event::RefusedStranger => "refused_stranger",
            Event::ClosedFraming => "closed_framing",
            Event::ClosedIdle => "closed_idle",
            Event::ClosedSlow => "closed_slow",
            Event::ClosedStalled => "closed_stalled",
            Event::ClosedBroken => "closed_broken",
            Event::ClosedPeer => "closed_peer",
            Event::ClosedOurs => "closed_ours",
            Event::QueueFull => "queue_full",
            Event::Ping => "ping",
            Event::TlsStranger => "tls_stranger",
            Event::TlsTimeout => "tls_timeout",
            Event::TlsProtocol => "tls_protocol",
            Event::TlsAlert => "tls_alert",
            Event::TlsNoCertificate => "tls_no_certificate",
            Event::TlsIssuer => "tls_issuer",
            Event::TlsExpired => "tls_expired",
            Event::TlsName => "tls_name",
            Event::TlsCertificate => "tls_certificate",
            Event::TlsAmbiguous => "tls_ambiguous",
            Event::TlsBroken => "tls_broken",
        }
    }
}
