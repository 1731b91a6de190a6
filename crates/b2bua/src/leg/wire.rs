//! What a leg writes: every message from nothing, and where it goes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use sip::dialog::Dialog;
use sip::message::{Message, Method, unbracketed, write};
use sip::transaction::{ClientId, Flow, ServerId, Transport};

use super::{ALLOW, Io, Line, Owner};
use crate::outcome::Cause;
use crate::routes::Routes;
use crate::settings::{Settings, TrunkId};

/// Headers beyond those that every message has.
pub(super) type Headers<'a> = &'a [(&'static str, &'a [u8])];

/// A body and its media type; nothing where there is none.
pub(super) type Body<'a> = Option<(&'static str, &'a [u8])>;

/// A session description as a body; an empty one is none.
pub(super) fn sdp(body: &[u8]) -> Body<'_> {
    (!body.is_empty()).then_some(("application/sdp", body))
}

impl Line {
    /// Sends a request in a dialog, in a transaction of its own.
    pub(super) fn request(
        &mut self,
        io: &mut Io<'_>,
        dialog: &mut Dialog,
        method: Method,
        headers: Headers<'_>,
        body: Body<'_>,
    ) -> ClientId {
        let flow = self.next_flow(io, dialog);
        let content = body.map_or(&b""[..], |(_, content)| content);
        let authorizations = self.authorizations(method, dialog.request_uri(), content);
        // Those that may move the peer's idea of where we are say where we are (RFC 3261 §12.2.1.1, RFC 3311 §5.1).
        let contact = matches!(method, Method::Invite | Method::Update)
            .then(|| contact(io.layer.advertised(flow.listener), flow.transport));
        dialog.local_cseq = dialog.local_cseq.max(self.last_cseq);
        let client = io.layer.send_request(io.now, flow, method, Owner::Leg(self.owner), |out, via| {
            dialog.write_request(out, method, via);
            if let Some(contact) = &contact {
                write::header(out, "Contact", contact);
                write::header(out, "Allow", ALLOW);
            }
            for (name, value) in &authorizations {
                write::header(out, name, value);
            }
            for (name, value) in headers {
                write::header(out, name, value);
            }
            write::finish(out, body.map(|(kind, _)| kind.as_bytes()), content);
            dialog.local_cseq
        });
        self.last_cseq = dialog.local_cseq;
        client
    }

    /// BYE.
    pub(super) fn bye(&mut self, io: &mut Io<'_>, dialog: &mut Dialog, reason: &[u8]) -> ClientId {
        self.request(io, dialog, Method::Bye, &[("Reason", reason)], None)
    }

    /// ACK to a 2xx for the INVITE of this CSeq number.
    pub(super) fn ack(&self, io: &mut Io<'_>, dialog: &Dialog, cseq: u32) -> Acked {
        let flow = self.next_flow(io, dialog);
        let bytes = io.layer.send_ack(flow, |out, via| {
            dialog.write_ack(out, via, cseq);
            for (name, value) in &self.invite_authorizations {
                write::header(out, name, value);
            }
            write::finish(out, None, b"");
        });
        Acked { cseq, bytes }
    }

    /// Where an in-dialog request goes: the address that the peer's Contact or route names, if that is an address of the
    /// same trunk; else where the peer's messages come from. So no Contact can aim our requests at a stranger.
    pub(super) fn next_flow(&self, io: &Io<'_>, dialog: &Dialog) -> Flow {
        let flow = self.flow;
        let Some(hop) = dialog.next_hop() else { return flow };
        // A dialog that began in private stays there, whatever a Contact says.
        let is_private = hop.is_sips || flow.transport == Transport::Tls;
        let named = if is_private { Some(Transport::Tls) } else { hop.transport.and_then(Transport::of_uri_param) };
        let transport = named.unwrap_or(flow.transport);
        let port = hop.port.unwrap_or(transport.default_port());
        let flow = Flow { reopen: Some(port), ..flow };
        let Some(ip) = std::str::from_utf8(unbracketed(hop.host)).ok().and_then(|host| host.parse::<IpAddr>().ok())
        else {
            return flow;
        };
        if transport.is_reliable() && transport == flow.transport && ip == flow.peer.ip() {
            // RFC 5923 §5: the connection that is there serves both ways.
            return flow;
        }
        if trunk_of(io.now, io.settings, io.routes, ip) != Some(self.trunk) {
            return flow;
        }
        let listener = if transport == flow.transport && ip.is_ipv4() == flow.peer.is_ipv4() {
            flow.listener
        } else {
            let trunk = io.settings.trunk(self.trunk);
            let Some(listener) = io.settings.listener_to(trunk, transport, ip) else { return flow };
            listener
        };
        Flow::to(transport, listener, SocketAddr::new(ip, port))
    }
}

/// What every request of ours outside a dialog begins with.
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    /// Request-URI and To.
    pub(crate) target: &'a [u8],
    /// Who sends it: X at us, or we.
    pub(crate) from: &'a [u8],
    pub(crate) tag: &'a [u8],
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: u32,
    pub(crate) max_forwards: u8,
}

impl Head<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>, via: &[u8]) {
        let method = self.method.as_str();
        write::request(out, method, self.target);
        write::header(out, "Via", via);
        write::header(out, "Max-Forwards", self.max_forwards.to_string().as_bytes());
        write::header(out, "From", &[b"<", self.from, b">;tag=", self.tag].concat());
        write::header(out, "To", &[b"<", self.target, b">"].concat());
        write::header(out, "Call-ID", self.call_id);
        write::header(out, "CSeq", format!("{} {method}", self.cseq).as_bytes());
    }
}

/// The trunk that an address belongs to: by the configuration, or because its names lead there.
pub(crate) fn trunk_of(now: Duration, settings: &Settings, routes: &Routes, ip: IpAddr) -> Option<TrunkId> {
    settings.trunk_of(ip).or_else(|| settings.trunk_named(routes.trunk_of_address(now, ip)?))
}

/// An ACK that was sent, for when its 2xx comes again.
#[derive(Clone, Debug)]
pub(super) struct Acked {
    pub(super) cseq: u32,
    pub(super) bytes: Bytes,
}

pub(crate) fn sip_uri(user: &[u8], host: &str, transport: Transport) -> Vec<u8> {
    let mut uri = b"sip:".to_vec();
    write::escape_user(&mut uri, user);
    uri.push(b'@');
    uri.extend_from_slice(host.as_bytes());
    uri.extend_from_slice(transport.uri_param().as_bytes());
    uri
}

pub(super) fn contact(host: &str, transport: Transport) -> Vec<u8> {
    format!("<sip:{host}{}>", transport.uri_param()).into_bytes()
}

/// `Reason` of a cause (RFC 3326, ITU-T Q.850).
pub(super) fn reason(cause: Cause) -> Vec<u8> {
    format!("Q.850;cause={}", cause.row().q850).into_bytes()
}

/// A response that makes or keeps a dialog: with our Contact and what we take.
pub(super) fn response(
    io: &Io<'_>,
    request: &Message,
    flow: Flow,
    local_tag: &[u8],
    status: u16,
    headers: Headers<'_>,
    body: Body<'_>,
) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    write::response_to(&mut out, request, status, write::reason_phrase(status), local_tag, Some(flow.peer));
    write::record_routes(&mut out, request);
    write::header(&mut out, "Contact", &contact(io.layer.advertised(flow.listener), flow.transport));
    write::header(&mut out, "Allow", ALLOW);
    for (name, value) in headers {
        write::header(&mut out, name, value);
    }
    if let Some(product) = &io.settings.product_name {
        write::header(&mut out, "Server", product.as_bytes());
    }
    write::finish(&mut out, body.map(|(kind, _)| kind.as_bytes()), body.map_or(&b""[..], |(_, content)| content));
    Bytes::from(out)
}

/// The final response other than 2xx to the INVITE that began the leg.
pub(super) fn refusal(
    io: &Io<'_>,
    request: &Message,
    flow: Flow,
    local_tag: &[u8],
    status: u16,
    cause: Cause,
) -> Bytes {
    bodiless(io.settings, request, flow, local_tag, status, &[("Reason", &reason(cause))])
}

/// A response to an in-dialog request, with a few headers and no body.
pub(super) fn plain(io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message, status: u16, headers: Headers<'_>) {
    let bytes = bodiless(io.settings, request, flow, b"", status, headers);
    io.layer.respond(io.now, id, status, bytes);
}

/// A response without a body.
pub(crate) fn bodiless(
    settings: &Settings,
    request: &Message,
    flow: Flow,
    to_tag: &[u8],
    status: u16,
    headers: &[(&str, &[u8])],
) -> Bytes {
    let mut out = Vec::with_capacity(512);
    write::response_to(&mut out, request, status, write::reason_phrase(status), to_tag, Some(flow.peer));
    for (name, value) in headers {
        write::header(&mut out, name, value);
    }
    if let Some(product) = &settings.product_name {
        write::header(&mut out, "Server", product.as_bytes());
    }
    write::finish(&mut out, None, b"");
    Bytes::from(out)
}
