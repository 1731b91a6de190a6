//! The phone's own transactions (RFC 3261 §17, RFC 6026), small on purpose: written apart from the ones that they test.
//!
//! ```text
//!   client  INVITE  Calling ─1xx─▶ Proceeding ─3xx-6xx, ACK─▶ Refused          ─2xx, ACK─▶ Accepted (ACKs again)
//!           other   Trying ─final─▶ Done
//!   server  INVITE  Proceeding ─3xx-6xx─▶ Completed ─ACK─▶ Confirmed           ─2xx─▶ Accepted (until its ACK)
//!           other   Proceeding ─final─▶ Answered
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rsip::Method;

use crate::script::{Timers, Transport};
use crate::wire;

/// Transactions of each kind that are remembered; the oldest give way.
const MAX_TRANSACTIONS: usize = 256;

/// Messages waiting to be sent; more are lost, as in any network.
const MAX_OUTBOX: usize = 1024;

/// What tells requests apart (§17.2.3): branch, sent-by, and INVITE's ACK is INVITE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) branch: String,
    pub(crate) sent_by: String,
    pub(crate) method: Method,
}

/// A message that is sent again and again until `until`.
#[derive(Clone, Copy, Debug)]
struct Resend {
    next: Duration,
    interval: Duration,
}

#[derive(Debug)]
enum ClientState {
    Calling { resend: Option<Resend>, until: Duration },
    Proceeding { until: Option<Duration> },
    Trying { resend: Option<Resend>, until: Duration },
    Refused { ack: Vec<u8>, until: Duration },
    Accepted { ack: Vec<u8>, tag: String, until: Duration },
    Done { until: Duration },
}

#[derive(Debug)]
struct Client {
    branch: String,
    method: Method,
    destination: SocketAddr,
    bytes: Vec<u8>,
    state: ClientState,
}

#[derive(Debug)]
enum ServerState {
    Proceeding { last: Option<Vec<u8>> },
    Completed { last: Vec<u8>, resend: Option<Resend>, until: Duration },
    Confirmed { until: Duration },
    Accepted { last: Vec<u8>, resend: Resend, until: Duration },
    Acknowledged { until: Duration },
    Answered { last: Vec<u8>, until: Duration },
}

#[derive(Debug)]
struct Server {
    key: Key,
    source: SocketAddr,
    state: ServerState,
}

/// A further 2xx of a fork.
#[derive(Debug)]
struct More {
    tag: String,
    source: SocketAddr,
    bytes: Vec<u8>,
    resend: Resend,
    until: Duration,
}

/// What a response is to the phone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Look at it.
    New,
    /// Absorbed: seen before, and acknowledged again where it asks for it.
    Repeated,
    /// A second 2xx with another To tag.
    Forked,
    /// Answers nothing of ours.
    Stray,
}

/// What became of a transaction by time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expired {
    /// No final response to this request.
    NoResponse { branch: String, method: Method },
    /// Our 2xx was never acknowledged.
    NoAck { key: Key },
    /// Nor a further one, of another To tag.
    BranchUnacknowledged { tag: String },
}

/// All of a phone's transactions.
#[derive(Debug)]
pub(crate) struct Transactions {
    timers: Timers,
    reliable: bool,
    clients: Vec<Client>,
    servers: Vec<Server>,
    more: Vec<More>,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Transactions {
    pub(crate) fn new(timers: Timers, transport: Transport) -> Transactions {
        Transactions {
            timers,
            reliable: transport != Transport::Udp,
            clients: Vec::new(),
            servers: Vec::new(),
            more: Vec::new(),
            outbox: VecDeque::new(),
        }
    }

    pub(crate) fn send(&mut self, destination: SocketAddr, bytes: Vec<u8>) {
        if self.outbox.len() < MAX_OUTBOX {
            self.outbox.push_back((destination, bytes));
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty() && self.more.is_empty() && self.outbox.is_empty()
    }

    /// Sends a request other than ACK.
    pub(crate) fn request(&mut self, now: Duration, to: SocketAddr, branch: &str, method: Method, bytes: Vec<u8>) {
        let resend = (!self.reliable).then(|| Resend { next: now + self.timers.t1, interval: self.timers.t1 });
        let until = now + self.timers.t1 * 64;
        let state = match method {
            Method::Invite => ClientState::Calling { resend, until },
            _ => ClientState::Trying { resend, until },
        };
        if self.clients.len() == MAX_TRANSACTIONS {
            self.clients.remove(0);
        }
        self.clients.push(Client { branch: branch.to_owned(), method, destination: to, bytes: bytes.clone(), state });
        self.send(to, bytes);
    }

    /// Sends the CANCEL of an INVITE that has had a provisional response: the final response must come within 64·T1 (§9.1).
    pub(crate) fn cancel(&mut self, now: Duration, branch: &str) {
        let give_up = now + self.timers.t1 * 64;
        let mut cancel = None;
        for client in &mut self.clients {
            if client.branch == branch
                && let ClientState::Proceeding { until } = &mut client.state
            {
                *until = Some(give_up);
                cancel = wire::cancel_of(&client.bytes).map(|bytes| (client.destination, bytes));
            }
        }
        if let Some((destination, bytes)) = cancel {
            self.request(now, destination, branch, Method::Cancel, bytes);
        }
    }

    /// The CANCEL of this INVITE is on its way.
    pub(crate) fn is_cancelling(&self, branch: &str) -> bool {
        self.clients.iter().any(|client| client.branch == branch && client.method == Method::Cancel)
    }

    /// A response arrived, with this To. A refusal of an INVITE is acknowledged here, a 2xx by [`Self::acknowledge`].
    pub(crate) fn on_response(
        &mut self,
        now: Duration,
        key: (&str, Method),
        status: u16,
        (to, to_tag): (&str, &str),
    ) -> Verdict {
        let (t1, t4) = (self.timers.t1, if self.reliable { Duration::ZERO } else { self.timers.t4 });
        let linger = if self.reliable { Duration::ZERO } else { t1 * 64 };
        let Some(client) = self.clients.iter_mut().find(|client| (client.branch.as_str(), client.method) == key) else {
            return Verdict::Stray;
        };
        let mut sends_ack = None;
        let verdict = match &mut client.state {
            ClientState::Calling { .. } | ClientState::Proceeding { .. } => {
                if status >= 300 {
                    let ack = wire::ack_of(&client.bytes, to).unwrap_or_default();
                    sends_ack = Some(ack.clone());
                    client.state = ClientState::Refused { ack, until: now + linger };
                } else if status >= 200 {
                    // The phone gives the ACK by itself: it may carry an answer.
                    let tag = to_tag.to_owned();
                    client.state = ClientState::Accepted { ack: Vec::new(), tag, until: now + t1 * 64 };
                } else if let ClientState::Calling { .. } = client.state {
                    client.state = ClientState::Proceeding { until: None };
                }
                Verdict::New
            }
            ClientState::Trying { resend, .. } => {
                if status >= 200 {
                    client.state = ClientState::Done { until: now + t4 };
                } else if let Some(resend) = resend {
                    resend.interval = self.timers.t2;
                }
                Verdict::New
            }
            ClientState::Refused { ack, .. } => {
                if status >= 300 {
                    sends_ack = Some(ack.clone());
                }
                Verdict::Repeated
            }
            ClientState::Accepted { ack, tag, .. } => {
                if (200..300).contains(&status) && tag != to_tag {
                    Verdict::Forked
                } else {
                    if (200..300).contains(&status) && !ack.is_empty() {
                        sends_ack = Some(ack.clone());
                    }
                    Verdict::Repeated
                }
            }
            ClientState::Done { .. } => Verdict::Repeated,
        };
        let destination = client.destination;
        if let Some(ack) = sends_ack {
            self.send(destination, ack);
        }
        verdict
    }

    /// Sends the ACK of a 2xx, and again with each repetition of it.
    pub(crate) fn acknowledge(&mut self, branch: &str, to: SocketAddr, bytes: Vec<u8>) {
        for client in &mut self.clients {
            if client.branch == branch
                && let ClientState::Accepted { ack, .. } = &mut client.state
            {
                client.destination = to;
                ack.clone_from(&bytes);
            }
        }
        self.send(to, bytes);
    }

    /// A request arrived; `true` when it is a new one.
    pub(crate) fn on_request(&mut self, key: &Key, source: SocketAddr) -> bool {
        if let Some(server) = self.servers.iter_mut().find(|server| server.key == *key) {
            let again = match &server.state {
                ServerState::Proceeding { last } => last.clone(),
                ServerState::Completed { last, .. } | ServerState::Answered { last, .. } => Some(last.clone()),
                // RFC 6026 §7.1: the repeated INVITE is absorbed; the 2xx is on its own clock.
                ServerState::Accepted { .. } | ServerState::Acknowledged { .. } | ServerState::Confirmed { .. } => None,
            };
            if let Some(bytes) = again {
                self.send(source, bytes);
            }
            return false;
        }
        if self.servers.len() == MAX_TRANSACTIONS {
            self.servers.remove(0);
        }
        self.servers.push(Server { key: key.clone(), source, state: ServerState::Proceeding { last: None } });
        true
    }

    /// The INVITE transaction that a CANCEL means has had no final response.
    pub(crate) fn is_proceeding(&self, key: &Key) -> bool {
        self.servers.iter().any(|server| server.key == *key && matches!(server.state, ServerState::Proceeding { .. }))
    }

    /// There is such a transaction, whatever its state.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.servers.iter().any(|server| server.key == *key)
    }

    /// Answers a request; nothing happens when it was answered finally before.
    pub(crate) fn respond(&mut self, now: Duration, key: &Key, status: u16, bytes: Vec<u8>) {
        let (t1, reliable) = (self.timers.t1, self.reliable);
        let Some(server) = self.servers.iter_mut().find(|server| server.key == *key) else {
            return;
        };
        let ServerState::Proceeding { .. } = server.state else {
            return;
        };
        let resend = Resend { next: now + t1, interval: t1 };
        let until = now + t1 * 64;
        server.state = match (server.key.method, status) {
            (_, ..=199) => ServerState::Proceeding { last: Some(bytes.clone()) },
            (Method::Invite, 200..=299) => ServerState::Accepted { last: bytes.clone(), resend, until },
            (Method::Invite, _) => {
                ServerState::Completed { last: bytes.clone(), resend: (!reliable).then_some(resend), until }
            }
            (_, _) => ServerState::Answered { last: bytes.clone(), until: if reliable { now } else { until } },
        };
        let source = server.source;
        self.send(source, bytes);
    }

    /// Sends a provisional response once more (RFC 3262 §3).
    pub(crate) fn repeat(&mut self, key: &Key, bytes: Vec<u8>) {
        if let Some(server) = self.servers.iter().find(|server| server.key == *key)
            && let ServerState::Proceeding { .. } = &server.state
        {
            let source = server.source;
            self.send(source, bytes);
        }
    }

    /// One 2xx more to an INVITE that has one, of another To tag, until its ACK comes.
    pub(crate) fn respond_more(&mut self, now: Duration, key: &Key, tag: &str, bytes: Vec<u8>) {
        let Some(server) = self.servers.iter().find(|server| server.key == *key) else {
            return;
        };
        let (t1, source) = (self.timers.t1, server.source);
        let resend = Resend { next: now + t1, interval: t1 };
        if self.more.len() < MAX_TRANSACTIONS {
            self.more.push(More { tag: tag.to_owned(), source, bytes: bytes.clone(), resend, until: now + t1 * 64 });
        }
        self.send(source, bytes);
    }

    /// The 2xx of this To tag was acknowledged.
    pub(crate) fn acknowledged_more(&mut self, tag: &str) {
        self.more.retain(|more| more.tag != tag);
    }

    /// An ACK with the branch of its INVITE: that of a refusal. `true` when it found one.
    pub(crate) fn on_ack(&mut self, now: Duration, key: &Key) -> bool {
        let absorb = if self.reliable { Duration::ZERO } else { self.timers.t4 };
        let Some(server) = self.servers.iter_mut().find(|server| server.key == *key) else {
            return false;
        };
        match server.state {
            ServerState::Completed { .. } => {
                server.state = ServerState::Confirmed { until: now + absorb };
                true
            }
            ServerState::Confirmed { .. } => true,
            ServerState::Proceeding { .. }
            | ServerState::Accepted { .. }
            | ServerState::Acknowledged { .. }
            | ServerState::Answered { .. } => false,
        }
    }

    /// The 2xx to this INVITE was acknowledged: no more of it.
    pub(crate) fn acknowledged(&mut self, key: &Key) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.key == *key)
            && let ServerState::Accepted { until, .. } = server.state
        {
            server.state = ServerState::Acknowledged { until };
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let clients = self.clients.iter().filter_map(|client| match &client.state {
            ClientState::Calling { resend, until } | ClientState::Trying { resend, until } => {
                Some(resend.map_or(*until, |resend| resend.next.min(*until)))
            }
            ClientState::Proceeding { until } => *until,
            ClientState::Refused { until, .. } | ClientState::Accepted { until, .. } | ClientState::Done { until } => {
                Some(*until)
            }
        });
        let servers = self.servers.iter().filter_map(|server| match &server.state {
            ServerState::Proceeding { .. } => None,
            ServerState::Completed { resend, until, .. } => Some(resend.map_or(*until, |r| r.next.min(*until))),
            ServerState::Accepted { resend, until, .. } => Some(resend.next.min(*until)),
            ServerState::Confirmed { until }
            | ServerState::Acknowledged { until }
            | ServerState::Answered { until, .. } => Some(*until),
        });
        let more = self.more.iter().map(|more| more.resend.next.min(more.until));
        clients.chain(servers).chain(more).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration) -> Vec<Expired> {
        let mut expired = Vec::new();
        let mut sends = Vec::new();
        self.clients.retain_mut(|client| retain_client(client, now, self.timers.t2, &mut sends, &mut expired));
        self.servers.retain_mut(|server| retain_server(server, now, self.timers.t2, &mut sends, &mut expired));
        let t2 = self.timers.t2;
        self.more.retain_mut(|more| {
            if now >= more.until {
                expired.push(Expired::BranchUnacknowledged { tag: more.tag.clone() });
                return false;
            }
            if more.resend.is_due(now, t2) {
                sends.push((more.source, more.bytes.clone()));
            }
            true
        });
        for (destination, bytes) in sends {
            self.send(destination, bytes);
        }
        expired
    }
}

fn retain_client(
    client: &mut Client,
    now: Duration,
    t2: Duration,
    sends: &mut Vec<(SocketAddr, Vec<u8>)>,
    expired: &mut Vec<Expired>,
) -> bool {
    let no_response = || Expired::NoResponse { branch: client.branch.clone(), method: client.method };
    match &mut client.state {
        ClientState::Calling { until, .. }
        | ClientState::Trying { until, .. }
        | ClientState::Proceeding { until: Some(until) }
            if now >= *until =>
        {
            expired.push(no_response());
            false
        }
        ClientState::Calling { resend: Some(resend), .. } => {
            if resend.is_due(now, Duration::MAX) {
                sends.push((client.destination, client.bytes.clone()));
            }
            true
        }
        ClientState::Trying { resend: Some(resend), .. } => {
            if resend.is_due(now, t2) {
                sends.push((client.destination, client.bytes.clone()));
            }
            true
        }
        ClientState::Calling { .. } | ClientState::Trying { .. } | ClientState::Proceeding { .. } => true,
        ClientState::Refused { until, .. } | ClientState::Accepted { until, .. } | ClientState::Done { until } => {
            now < *until
        }
    }
}

fn retain_server(
    server: &mut Server,
    now: Duration,
    t2: Duration,
    sends: &mut Vec<(SocketAddr, Vec<u8>)>,
    expired: &mut Vec<Expired>,
) -> bool {
    match &mut server.state {
        ServerState::Proceeding { .. } => true,
        ServerState::Accepted { until, .. } if now >= *until => {
            expired.push(Expired::NoAck { key: server.key.clone() });
            false
        }
        ServerState::Completed { until, .. } if now >= *until => false,
        ServerState::Accepted { last, resend, .. } | ServerState::Completed { last, resend: Some(resend), .. } => {
            if resend.is_due(now, t2) {
                sends.push((server.source, last.clone()));
            }
            true
        }
        ServerState::Completed { .. } => true,
        ServerState::Confirmed { until }
        | ServerState::Acknowledged { until }
        | ServerState::Answered { until, .. } => now < *until,
    }
}

impl Resend {
    /// Whether to send now; the interval doubles up to `limit`.
    fn is_due(&mut self, now: Duration, limit: Duration) -> bool {
        if now < self.next {
            return false;
        }
        self.interval = (self.interval * 2).min(limit);
        self.next = now + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "10.0.0.1:5060";

    const INVITE: &str = "INVITE sip:x@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=b\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=f\r\nTo: <sip:x@10.0.0.1>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nSubject: s\r\nContent-Length: 0\r\n\r\n";

    fn transactions() -> Transactions {
        Transactions::new(Timers::default(), Transport::Udp)
    }

    fn peer() -> SocketAddr {
        PEER.parse().unwrap()
    }

    fn key(method: Method) -> Key {
        Key { branch: "z9hG4bK1".to_owned(), sent_by: PEER.to_owned(), method }
    }

    /// Runs to the end of all timers; when was something sent (in ms), and what expired.
    fn run(transactions: &mut Transactions) -> (Vec<u128>, Vec<Expired>) {
        let (mut sent, mut expired) = (Vec::new(), Vec::new());
        while transactions.poll_transmit().is_some() {}
        while let Some(now) = transactions.poll_timeout() {
            expired.extend(transactions.handle_timeout(now));
            while transactions.poll_transmit().is_some() {
                sent.push(now.as_millis());
            }
        }
        (sent, expired)
    }

    #[test]
    fn an_invite_without_response_is_sent_seven_times_and_given_up_after_32_s() {
        let mut transactions = transactions();
        transactions.request(Duration::ZERO, peer(), "b", Method::Invite, INVITE.into());
        let (sent, expired) = run(&mut transactions);
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
        assert_eq!(expired, [Expired::NoResponse { branch: "b".to_owned(), method: Method::Invite }]);
        assert!(transactions.is_empty());
    }

    #[test]
    fn a_bye_without_response_is_sent_every_four_seconds_at_last() {
        let mut transactions = transactions();
        transactions.request(Duration::ZERO, peer(), "b", Method::Bye, vec![1]);
        let (sent, expired) = run(&mut transactions);
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(expired.len(), 1);
    }

    #[test]
    fn a_ringing_invite_waits_without_end() {
        let mut transactions = transactions();
        transactions.request(Duration::ZERO, peer(), "b", Method::Invite, INVITE.into());
        let verdict = transactions.on_response(Duration::ZERO, ("b", Method::Invite), 180, ("", "t"));
        assert_eq!(verdict, Verdict::New);
        assert_eq!(transactions.poll_timeout(), None);
        while transactions.poll_transmit().is_some() {}
        transactions.cancel(Duration::from_secs(60), "b");
        let (_, cancel) = transactions.poll_transmit().unwrap();
        let cancel = String::from_utf8(cancel).unwrap();
        assert!(cancel.starts_with("CANCEL sip:x@10.0.0.1 SIP/2.0\r\n") && cancel.contains("branch=b\r\n"), "{cancel}");
        assert!(cancel.contains("CSeq: 7 CANCEL") && !cancel.contains("Subject"), "{cancel}");
        transactions.on_response(Duration::from_secs(60), ("b", Method::Cancel), 200, ("", "t"));
        let (sent, expired) = run(&mut transactions);
        assert_eq!((sent, expired.len()), (vec![], 1));
    }

    #[test]
    fn every_repetition_of_a_refusal_is_acknowledged() {
        let mut transactions = transactions();
        transactions.request(Duration::ZERO, peer(), "b", Method::Invite, INVITE.into());
        for (nth, verdict) in [Verdict::New, Verdict::Repeated, Verdict::Repeated].into_iter().enumerate() {
            let got = transactions.on_response(Duration::ZERO, ("b", Method::Invite), 486, ("<sip:x@y>;tag=t", "t"));
            assert_eq!(got, verdict);
            let (_, ack) = std::iter::from_fn(|| transactions.poll_transmit()).last().unwrap();
            let ack = String::from_utf8(ack).unwrap();
            assert!(ack.starts_with("ACK sip:x@10.0.0.1 SIP/2.0\r\n"), "{nth}: {ack}");
            assert!(ack.contains("To: <sip:x@y>;tag=t\r\n") && ack.contains("CSeq: 7 ACK\r\n"), "{ack}");
        }
    }

    #[test]
    fn every_repetition_of_a_200_is_acknowledged_and_another_tag_is_a_fork() {
        let mut transactions = transactions();
        transactions.request(Duration::ZERO, peer(), "b", Method::Invite, INVITE.into());
        let mut on = |tag: &str| transactions.on_response(Duration::ZERO, ("b", Method::Invite), 200, ("", tag));
        assert_eq!(on("t"), Verdict::New);
        transactions.acknowledge("b", peer(), vec![2]);
        let mut on = |tag: &str| transactions.on_response(Duration::ZERO, ("b", Method::Invite), 200, ("", tag));
        assert_eq!(on("t"), Verdict::Repeated);
        assert_eq!(on("other"), Verdict::Forked);
        let acks = std::iter::from_fn(|| transactions.poll_transmit()).filter(|(_, bytes)| bytes == &[2]).count();
        assert_eq!(acks, 2);
    }

    #[test]
    fn a_200_is_repeated_until_its_ack_and_tells_when_none_comes() {
        let mut transactions = transactions();
        assert!(transactions.on_request(&key(Method::Invite), peer()));
        transactions.respond(Duration::ZERO, &key(Method::Invite), 200, vec![2]);
        let (sent, expired) = run(&mut transactions);
        assert_eq!(sent.len(), 10);
        assert_eq!(expired, [Expired::NoAck { key: key(Method::Invite) }]);

        assert!(transactions.on_request(&key(Method::Invite), peer()));
        transactions.respond(Duration::ZERO, &key(Method::Invite), 200, vec![2]);
        transactions.acknowledged(&key(Method::Invite));
        assert_eq!(run(&mut transactions), (vec![], vec![]));
    }

    #[test]
    fn a_repeated_request_gets_the_last_response_again() {
        let mut transactions = transactions();
        assert!(transactions.on_request(&key(Method::Bye), peer()));
        assert!(!transactions.on_request(&key(Method::Bye), peer()));
        assert_eq!(transactions.poll_transmit(), None);
        transactions.respond(Duration::ZERO, &key(Method::Bye), 200, vec![2]);
        transactions.respond(Duration::ZERO, &key(Method::Bye), 481, vec![3]);
        assert!(!transactions.on_request(&key(Method::Bye), peer()));
        let sent: Vec<_> = std::iter::from_fn(|| transactions.poll_transmit()).collect();
        assert_eq!(sent, [(peer(), vec![2]), (peer(), vec![2])]);
    }

    #[test]
    fn a_refusal_is_repeated_until_its_ack() {
        let mut transactions = transactions();
        transactions.on_request(&key(Method::Invite), peer());
        transactions.respond(Duration::ZERO, &key(Method::Invite), 486, vec![2]);
        assert!(transactions.on_ack(Duration::ZERO, &key(Method::Invite)));
        assert!(transactions.on_ack(Duration::ZERO, &key(Method::Invite)));
        assert_eq!(run(&mut transactions), (vec![], vec![]));
        assert!(transactions.is_empty());
    }

    #[test]
    fn the_oldest_transaction_gives_way() {
        let mut transactions = transactions();
        for nth in 0..MAX_TRANSACTIONS + 5 {
            let key = Key { branch: nth.to_string(), sent_by: String::new(), method: Method::Bye };
            transactions.on_request(&key, peer());
        }
        assert_eq!(transactions.servers.len(), MAX_TRANSACTIONS);
    }
}
