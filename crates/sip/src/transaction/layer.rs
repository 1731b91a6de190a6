//! The owner of all transactions: matching, routing, limits.
//!
//! A response finds its transaction by the place and generation written in the branch that we chose, a request by the
//! key of RFC 3261 §17.2.3. All 64 random bits of a branch must agree, so nobody off the path can answer for a peer.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use super::invite_client::{Due, InviteClient};
use super::invite_server::InviteServer;
use super::non_invite_client::NonInviteClient;
use super::non_invite_server::NonInviteServer;
use super::{Cancelled, ClientId, Event, Flow, ServerId, Timers, Transmit, Transport};
use crate::deadlines::Deadlines;
use crate::message::{HeaderName, Message, Method, write};
use crate::token::{Tokens, push_hex, read_hex};

const COOKIE: &[u8] = b"z9hG4bK";
const BRANCH_LEN: usize = COOKIE.len() + 8 + 8 + 16;

/// Why a request gets no transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal<O> {
    /// The same request came by another way (RFC 3261 §8.2.2.2), and has a transaction, which may be somebody's: answer 482.
    Merged(Option<O>),
    /// There are as many transactions as the limit allows: answer 503.
    Full,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Client(ClientId),
    Server(ServerId),
}

#[derive(Debug)]
struct Client<O> {
    generation: u32,
    random: u64,
    flow: Flow,
    owner: O,
    method: Method,
    /// CSeq number of the request: what its responses must say too.
    cseq: u32,
    machine: ClientMachine,
    /// The earliest hint that is out for it.
    armed: Option<Duration>,
}

#[derive(Debug)]
enum ClientMachine {
    Invite(InviteClient),
    NonInvite(NonInviteClient),
}

#[derive(Debug)]
struct Server<O> {
    generation: u32,
    flow: Flow,
    owner: Option<O>,
    key: Box<[u8]>,
    merge_key: Option<Box<[u8]>>,
    machine: ServerMachine,
    /// The earliest hint that is out for it.
    armed: Option<Duration>,
}

#[derive(Debug)]
enum ServerMachine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

/// All transactions of one signalling loop.
#[derive(Debug)]
pub struct Layer<O> {
    timers: Timers,
    advertised: Vec<Box<str>>,
    tokens: Tokens,
    limit: usize,
    next_generation: u32,
    clients: Slab<Client<O>>,
    servers: Slab<Server<O>>,
    /// Peers choose the keys of this and the next; std draws the key of its hash anew for each map, so nobody can choose ones
    /// that meet in one bucket. Neither is ever walked through, so the order in them decides nothing.
    server_index: HashMap<Box<[u8]>, ServerId>,
    merge_index: HashMap<Box<[u8]>, ServerId>,
    deadlines: Deadlines<Key>,
    transmits: VecDeque<Transmit>,
}

impl<O: Copy> Layer<O> {
    /// `advertised` is the `host:port` of each listener, `limit` the most transactions of either kind.
    #[must_use]
    pub fn new(timers: Timers, advertised: Vec<Box<str>>, limit: usize, seed: u64) -> Layer<O> {
        Layer {
            timers,
            advertised,
            tokens: Tokens::new(seed),
            limit,
            next_generation: 0,
            clients: Slab::new(),
            servers: Slab::new(),
            server_index: HashMap::new(),
            merge_index: HashMap::new(),
            deadlines: Deadlines::default(),
            transmits: VecDeque::new(),
        }
    }

    /// Transactions alive: client, server.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// No transaction is alive and nothing waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty() && self.transmits.is_empty()
    }

    /// The next thing to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`Layer::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.next()
    }

    /// The base times, for timers that the user keeps itself (RFC 3261 §13.3.1.4).
    #[must_use]
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// `host:port` of a listener as peers shall see it.
    #[must_use]
    pub fn advertised(&self, listener: u16) -> &str {
        &self.advertised[usize::from(listener)]
    }

    /// A message came.
    pub fn handle_message(&mut self, now: Duration, flow: Flow, message: Message) -> Option<Event<O>> {
        if message.is_request() { self.on_request(now, flow, message) } else { self.on_response(now, flow, message) }
    }

    /// Time has come: returns events one at a time, until `None`.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Event<O>> {
        while let Some((at, key)) = self.deadlines.pop_due(now) {
            match key {
                Key::Client(id) => {
                    let armed = live(&mut self.clients, id).map(|client| &mut client.armed);
                    if armed.and_then(|armed| armed.take_if(|armed| *armed == at)).is_some()
                        && let Some(event) = self.on_client_time(now, id)
                    {
                        return Some(event);
                    }
                }
                Key::Server(id) => {
                    let armed = live_server(&mut self.servers, id).map(|server| &mut server.armed);
                    if armed.and_then(|armed| armed.take_if(|armed| *armed == at)).is_some() {
                        self.on_server_time(now, id);
                    }
                }
            }
        }
        None
    }

    /// The transport failed to deliver to `flow` (RFC 3261 §17.1.4): the requests on it that no response has shown to have
    /// arrived end. An INVITE that rings has long since left and goes on. Over UDP only INVITEs end: any other request
    /// goes again by its own timer.
    pub fn handle_transport_failure(&mut self, flow: Flow) -> Vec<Event<O>> {
        // What was for a stream that is gone went by one that was opened in its place.
        let concerned = |own: &Flow| {
            own.transport == flow.transport
                && if own.peer == flow.peer {
                    own.connection == 0 || own.connection == flow.connection
                } else {
                    own.opens_to() == Some(flow.peer)
                }
        };
        let failed = |client: &Client<O>| {
            concerned(&client.flow)
                && match &client.machine {
                    ClientMachine::Invite(machine) => machine.is_calling(),
                    ClientMachine::NonInvite(machine) => flow.transport.is_reliable() && machine.is_waiting(),
                }
        };
        let indexes: Vec<usize> =
            self.clients.iter().filter(|(_, client)| failed(client)).map(|(index, _)| index).collect();
        indexes
            .into_iter()
            .map(|index| {
                let client = self.clients.remove(index);
                let id = ClientId { index: index as u32, generation: client.generation };
                Event::Undelivered { id, owner: client.owner, method: client.method }
            })
            .collect()
    }

    /// 64 bits that nobody outside can predict.
    pub fn draw(&mut self) -> u64 {
        self.tokens.draw()
    }

    /// Whose request a response answers; nothing changes by asking.
    #[must_use]
    pub fn owner_of(&self, response: &Message) -> Option<O> {
        let (id, random) = read_branch(response.top_via().branch)?;
        let client = self.clients.get(id.index as usize).filter(|client| client.generation == id.generation)?;
        (client.random == random).then_some(client.owner)
    }

    /// Whether an INVITE with a transaction is meant: by its repeat, by its CANCEL, by the ACK to its refusal.
    #[must_use]
    pub fn knows_invite(&self, request: &Message) -> bool {
        self.server_index.contains_key(&server_key(request, Method::Invite))
    }

    // ---- client side ------------------------------------------------------------------------------------------

    /// Sends a request in a transaction of its own. `build` writes the message and tells its CSeq number; it is given the whole
    /// Via value.
    pub fn send_request(
        &mut self,
        now: Duration,
        flow: Flow,
        method: Method,
        owner: O,
        build: impl FnOnce(&mut Vec<u8>, &[u8]) -> u32,
    ) -> ClientId {
        let generation = self.generation();
        let random = self.tokens.draw();
        let entry = self.clients.vacant_entry();
        let id = ClientId { index: entry.key() as u32, generation };
        let mut bytes = Vec::with_capacity(1024);
        let cseq = build(&mut bytes, &via(&self.advertised[usize::from(flow.listener)], flow.transport, id, random));
        let bytes = Bytes::from(bytes);
        let reliable = flow.transport.is_reliable();
        let machine = match method {
            Method::Invite => ClientMachine::Invite(InviteClient::start(now, &self.timers, reliable, bytes.clone())),
            _ => ClientMachine::NonInvite(NonInviteClient::start(now, &self.timers, reliable, bytes.clone())),
        };
        entry.insert(Client { generation, random, flow, owner, method, cseq, machine, armed: None });
        self.transmits.push_back(Transmit { flow, bytes });
        self.arm_client(id);
        id
    }

    /// Sends a message that has no transaction (an ACK to a 2xx). `build` is given a Via value with a branch of its own.
    pub fn send_ack(&mut self, flow: Flow, build: impl FnOnce(&mut Vec<u8>, &[u8])) -> Bytes {
        let id = ClientId { index: u32::MAX, generation: self.generation() };
        let random = self.tokens.draw();
        let mut bytes = Vec::with_capacity(512);
        build(&mut bytes, &via(&self.advertised[usize::from(flow.listener)], flow.transport, id, random));
        let bytes = Bytes::from(bytes);
        self.transmits.push_back(Transmit { flow, bytes: bytes.clone() });
        bytes
    }

    /// Sends bytes again, or bytes that no transaction keeps.
    pub fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.transmits.push_back(Transmit { flow, bytes });
    }

    /// Cancels an INVITE (RFC 3261 §9.1): at once if it has a provisional response, else with the first one.
    /// Nothing happens when a final response has come.
    pub fn cancel(&mut self, now: Duration, id: ClientId, reason: &[u8]) {
        let Some(client) = live(&mut self.clients, id) else { return };
        let flow = client.flow;
        let ClientMachine::Invite(machine) = &mut client.machine else { return };
        let Some(request) = machine.request() else { return };
        let cancel = echo(request, Method::Cancel, None, reason);
        let reliable = flow.transport.is_reliable();
        if let Some(bytes) = machine.on_cancel(now, &self.timers, reliable, cancel) {
            self.transmits.push_back(Transmit { flow, bytes });
        }
        self.arm_client(id);
    }

    /// Nobody waits for the answer to an INVITE any more, and no CANCEL is to be sent (its dialog ends by BYE): it goes
    /// without a word when 64·T1 are over, whatever the peer still says.
    pub fn abandon(&mut self, now: Duration, id: ClientId) {
        let Some(client) = live(&mut self.clients, id) else { return };
        if let ClientMachine::Invite(machine) = &mut client.machine {
            machine.abandon(now, &self.timers);
            self.arm_client(id);
        }
    }

    /// Nobody waits for the answer to a request other than INVITE any more: it is not sent again, and what the peer still says
    /// is not heard.
    pub fn stop(&mut self, id: ClientId) {
        let is_it = live(&mut self.clients, id).is_some_and(|client| match client.machine {
            ClientMachine::NonInvite(_) => true,
            ClientMachine::Invite(_) => false,
        });
        if is_it {
            self.clients.remove(id.index as usize);
        }
    }

    /// Forgets the transactions of an owner that is no more: after a fault of ours. Nothing is sent.
    pub fn forget(&mut self, is_owner: impl Fn(&O) -> bool) {
        self.clients.retain(|_, client| !is_owner(&client.owner));
        let (servers, merges) = (&mut self.server_index, &mut self.merge_index);
        self.servers.retain(|_, server| {
            let is_gone = server.owner.as_ref().is_some_and(&is_owner);
            if is_gone {
                servers.remove(&server.key);
                server.merge_key.as_ref().map(|key| merges.remove(key));
            }
            !is_gone
        });
    }

    fn on_response(&mut self, now: Duration, flow: Flow, message: Message) -> Option<Event<O>> {
        let (id, random) = read_branch(message.top_via().branch)?;
        let method = message.method();
        let status = message.status();
        let client = live(&mut self.clients, id)?;
        // Who does not say our CSeq back has not answered this request, whatever else it says.
        let cseq = message.cseq().number;
        if client.random != random || client.cseq != cseq || message.vias().count() != 1 {
            return None;
        }
        let reliable = client.flow.transport.is_reliable();
        let owner = client.owner;
        let target = client.flow;
        match &mut client.machine {
            ClientMachine::NonInvite(machine) => {
                if method != client.method || !machine.on_response(now, &self.timers, reliable, status) {
                    return None;
                }
            }
            ClientMachine::Invite(machine) if method == Method::Cancel => {
                if status >= 200 {
                    machine.on_cancel_response();
                    // Timer E is gone and its hint with it: what remains is to give up.
                    self.arm_client(id);
                }
                return None;
            }
            ClientMachine::Invite(machine) => {
                if method != Method::Invite {
                    return None;
                }
                match invite_response(machine, now, &self.timers, reliable, status, &message) {
                    Reaction::Pass => {}
                    Reaction::PassAndSend(bytes) => self.transmits.push_back(Transmit { flow: target, bytes }),
                    Reaction::Send(bytes) => {
                        self.transmits.push_back(Transmit { flow: target, bytes });
                        return None;
                    }
                    Reaction::Drop => return None,
                }
            }
        }
        self.arm_client(id);
        Some(Event::Response { id, owner, flow, message })
    }

    fn on_client_time(&mut self, now: Duration, id: ClientId) -> Option<Event<O>> {
        let client = live(&mut self.clients, id)?;
        let (flow, owner, method) = (client.flow, client.owner, client.method);
        let due = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.on_time(now, &self.timers),
            ClientMachine::NonInvite(machine) => machine.on_time(now, &self.timers),
        };
        match due {
            Due::Nothing => {
                self.arm_client(id);
                None
            }
            Due::Send(bytes) => {
                self.transmits.push_back(Transmit { flow, bytes });
                self.arm_client(id);
                None
            }
            Due::Ended => {
                self.clients.remove(id.index as usize);
                None
            }
            Due::TimedOut => {
                self.clients.remove(id.index as usize);
                Some(Event::Timeout { id, owner, method })
            }
        }
    }

    fn arm_client(&mut self, id: ClientId) {
        let Some(client) = live(&mut self.clients, id) else { return };
        let deadline = match &client.machine {
            ClientMachine::Invite(machine) => machine.deadline(),
            ClientMachine::NonInvite(machine) => machine.deadline(),
        };
        if let Some(at) = deadline.filter(|at| client.armed.is_none_or(|armed| *at < armed)) {
            client.armed = Some(at);
            self.deadlines.push(at, Key::Client(id));
        }
    }

    // ---- server side ------------------------------------------------------------------------------------------

    /// Makes `owner` known for the CANCEL and the copies by other ways that may come.
    pub fn own(&mut self, id: ServerId, owner: O) {
        if let Some(server) = live_server(&mut self.servers, id) {
            server.owner = Some(owner);
        }
    }

    /// Sends a response in its transaction. A second final response is not sent.
    pub fn respond(&mut self, now: Duration, id: ServerId, status: u16, bytes: Bytes) {
        let Some(server) = live_server(&mut self.servers, id) else { return };
        let flow = server.flow;
        let reliable = flow.transport.is_reliable();
        let sent = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.on_respond(now, &self.timers, reliable, status, &bytes),
            ServerMachine::NonInvite(machine) => machine.on_respond(now, &self.timers, reliable, status, &bytes),
        };
        if sent {
            self.transmits.push_back(Transmit { flow, bytes });
            self.arm_server(id);
        }
    }

    /// Answers a request that has no transaction.
    pub fn reply(&mut self, flow: Flow, request: &Message, bytes: Bytes) {
        self.transmits.push_back(Transmit { flow: reply_flow(flow, request), bytes });
    }

    fn on_request(&mut self, now: Duration, flow: Flow, message: Message) -> Option<Event<O>> {
        let method = message.method();
        let key = server_key(&message, if method == Method::Ack { Method::Invite } else { method });
        if let Some(&id) = self.server_index.get(&key) {
            return self.on_repeated_request(now, id, flow, message);
        }
        if method == Method::Ack {
            return Some(Event::Ack { flow, message });
        }
        // What ends calls must get through when there is no room for new ones: it is what makes room.
        let is_new = method != Method::Cancel && message.to_tag().is_empty();
        let limit = if is_new { self.limit } else { self.limit + self.limit / 4 };
        if self.servers.len() + self.clients.len() >= limit {
            return Some(Event::Refused { refusal: Refusal::Full, flow, message });
        }
        let merge_key = is_new.then(|| merge_key(&message));
        if let Some(&first) = merge_key.as_ref().and_then(|key| self.merge_index.get(key)) {
            let owner = live_server(&mut self.servers, first).and_then(|server| server.owner);
            return Some(Event::Refused { refusal: Refusal::Merged(owner), flow, message });
        }
        let invite = (method == Method::Cancel).then(|| self.cancelled_invite(flow, &message)).flatten();
        let id = self.insert_server(response_flow(flow, &message), method, key, merge_key);
        Some(match method {
            Method::Cancel => Event::Cancel { id, invite, flow, message },
            _ => Event::Request { id, flow, message },
        })
    }

    fn on_repeated_request(&mut self, now: Duration, id: ServerId, flow: Flow, message: Message) -> Option<Event<O>> {
        let server = live_server(&mut self.servers, id)?;
        if message.method() == Method::Ack {
            let ServerMachine::Invite(machine) = &mut server.machine else { return None };
            let reliable = server.flow.transport.is_reliable();
            if machine.on_ack(now, &self.timers, reliable) {
                self.arm_server(id);
                return None;
            }
            return Some(Event::Ack { flow, message });
        }
        let repeat = match &server.machine {
            ServerMachine::Invite(machine) => machine.on_repeat(),
            ServerMachine::NonInvite(machine) => machine.on_repeat(),
        };
        if let Some(bytes) = repeat {
            let flow = server.flow;
            self.transmits.push_back(Transmit { flow, bytes });
        }
        None
    }

    /// The INVITE that a CANCEL means: same branch and sent-by, from the same address.
    fn cancelled_invite(&mut self, flow: Flow, cancel: &Message) -> Option<Cancelled<O>> {
        let id = *self.server_index.get(&server_key(cancel, Method::Invite))?;
        let server = live_server(&mut self.servers, id)?;
        let ServerMachine::Invite(machine) = &server.machine else { return None };
        let (owner, is_pending) = (server.owner, machine.is_proceeding());
        (server.flow.peer.ip() == response_flow(flow, cancel).peer.ip()).then_some(Cancelled { owner, is_pending })
    }

    fn insert_server(&mut self, flow: Flow, method: Method, key: Box<[u8]>, merge_key: Option<Box<[u8]>>) -> ServerId {
        let generation = self.generation();
        let machine = match method {
            Method::Invite => ServerMachine::Invite(InviteServer::Proceeding { provisional: None }),
            _ => ServerMachine::NonInvite(NonInviteServer::Trying),
        };
        let entry = self.servers.vacant_entry();
        let id = ServerId { index: entry.key() as u32, generation };
        self.server_index.insert(key.clone(), id);
        if let Some(key) = &merge_key {
            self.merge_index.insert(key.clone(), id);
        }
        entry.insert(Server { generation, flow, owner: None, key, merge_key, machine, armed: None });
        id
    }

    fn on_server_time(&mut self, now: Duration, id: ServerId) {
        let Some(server) = live_server(&mut self.servers, id) else { return };
        let flow = server.flow;
        let due = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.on_time(now, &self.timers),
            ServerMachine::NonInvite(machine) => match machine.deadline() {
                Some(at) if now >= at => Due::Ended,
                Some(_) | None => Due::Nothing,
            },
        };
        match due {
            Due::Nothing => self.arm_server(id),
            Due::Send(bytes) => {
                self.transmits.push_back(Transmit { flow, bytes });
                self.arm_server(id);
            }
            Due::Ended | Due::TimedOut => {
                let server = self.servers.remove(id.index as usize);
                self.server_index.remove(&server.key);
                if let Some(key) = &server.merge_key {
                    self.merge_index.remove(key);
                }
            }
        }
    }

    fn arm_server(&mut self, id: ServerId) {
        let Some(server) = live_server(&mut self.servers, id) else { return };
        let deadline = match &server.machine {
            ServerMachine::Invite(machine) => machine.deadline(),
            ServerMachine::NonInvite(machine) => machine.deadline(),
        };
        if let Some(at) = deadline.filter(|at| server.armed.is_none_or(|armed| *at < armed)) {
            server.armed = Some(at);
            self.deadlines.push(at, Key::Server(id));
        }
    }

    fn generation(&mut self) -> u32 {
        self.next_generation = self.next_generation.wrapping_add(1);
        self.next_generation
    }
}

enum Reaction {
    Pass,
    PassAndSend(Bytes),
    Send(Bytes),
    Drop,
}

fn invite_response(
    machine: &mut InviteClient,
    now: Duration,
    timers: &Timers,
    reliable: bool,
    status: u16,
    message: &Message,
) -> Reaction {
    match status {
        100..=199 => match machine {
            InviteClient::Calling { .. } | InviteClient::Proceeding { .. } => {
                match machine.on_provisional(now, timers, reliable) {
                    Some(cancel) => Reaction::PassAndSend(cancel),
                    None => Reaction::Pass,
                }
            }
            InviteClient::Completed { .. } | InviteClient::Accepted { .. } => Reaction::Drop,
        },
        200..=299 => match machine {
            InviteClient::Calling { .. } | InviteClient::Proceeding { .. } => {
                *machine = InviteClient::Accepted { timer_m: now + timers.give_up() };
                Reaction::Pass
            }
            InviteClient::Accepted { .. } => Reaction::Pass,
            InviteClient::Completed { .. } => Reaction::Drop,
        },
        _ => match machine {
            InviteClient::Calling { request, .. } | InviteClient::Proceeding { request, .. } => {
                let ack = echo(request, Method::Ack, message.header(HeaderName::To), b"");
                // RFC 3261 §17.1.1.2: timer D is at least 32 s over UDP.
                let timer_d = if reliable { now } else { now + timers.give_up() };
                *machine = InviteClient::Completed { ack: ack.clone(), timer_d };
                Reaction::PassAndSend(ack)
            }
            InviteClient::Completed { ack, .. } => Reaction::Send(ack.clone()),
            InviteClient::Accepted { .. } => Reaction::Drop,
        },
    }
}

/// CANCEL (§9.1) and the ACK to a non-2xx (§17.1.1.3) repeat the INVITE's Request-URI, Via, From, Call-ID, CSeq number
/// and Route; an ACK has the response's To.
fn echo(invite: &Bytes, method: Method, to: Option<&[u8]>, reason: &[u8]) -> Bytes {
    let limits = crate::limits::Limits::default();
    let Ok(invite) = Message::parse(invite.clone(), &limits) else {
        // It is our own INVITE, so it parses; if it ever did not, sending nothing ends the call by time-out.
        return Bytes::new();
    };
    let mut out = Vec::with_capacity(512);
    write::request(&mut out, method.as_str(), invite.request_uri());
    write::header(&mut out, "Via", invite.header(HeaderName::Via).unwrap_or_default());
    write::header(&mut out, "Max-Forwards", b"70");
    for header in invite.headers().filter(|header| header.name == HeaderName::Route) {
        write::header(&mut out, "Route", header.value);
    }
    write::header(&mut out, "From", invite.header(HeaderName::From).unwrap_or_default());
    let to = to.or_else(|| invite.header(HeaderName::To)).unwrap_or_default();
    write::header(&mut out, "To", to);
    write::header(&mut out, "Call-ID", invite.call_id());
    write::header(&mut out, "CSeq", format!("{} {}", invite.cseq().number, method.as_str()).as_bytes());
    if !reason.is_empty() {
        write::header(&mut out, "Reason", reason);
    }
    write::finish(&mut out, None, b"");
    Bytes::from(out)
}

fn live<O>(clients: &mut Slab<Client<O>>, id: ClientId) -> Option<&mut Client<O>> {
    clients.get_mut(id.index as usize).filter(|client| client.generation == id.generation)
}

fn live_server<O>(servers: &mut Slab<Server<O>>, id: ServerId) -> Option<&mut Server<O>> {
    servers.get_mut(id.index as usize).filter(|server| server.generation == id.generation)
}

fn via(advertised: &str, transport: Transport, id: ClientId, random: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(b"SIP/2.0/");
    out.extend_from_slice(transport.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(advertised.as_bytes());
    out.extend_from_slice(b";branch=");
    out.extend_from_slice(COOKIE);
    push_hex(&mut out, u64::from(id.index), 8);
    push_hex(&mut out, u64::from(id.generation), 8);
    push_hex(&mut out, random, 16);
    out.extend_from_slice(b";rport");
    out
}

fn read_branch(branch: &[u8]) -> Option<(ClientId, u64)> {
    if branch.len() != BRANCH_LEN || !branch.starts_with(COOKIE) {
        return None;
    }
    let digits = &branch[COOKIE.len()..];
    let index = u32::try_from(read_hex(&digits[..8])?).ok()?;
    let generation = u32::try_from(read_hex(&digits[8..16])?).ok()?;
    Some((ClientId { index, generation }, read_hex(&digits[16..])?))
}

/// RFC 3261 §17.2.3. Without the magic cookie (RFC 2543 peers), or with nothing behind it (RFC 4475 §3.2.1), the whole identity
/// of the request takes the branch's place.
fn server_key(message: &Message, method: Method) -> Box<[u8]> {
    let via = message.top_via();
    let mut key = Vec::with_capacity(96);
    key.push(method as u8);
    if matches!(method, Method::Other) {
        key.extend_from_slice(message.method_bytes());
        key.push(0);
    }
    if via.branch.len() > COOKIE.len() && via.branch.starts_with(COOKIE) {
        key.extend_from_slice(via.branch);
    } else {
        key.extend_from_slice(message.request_uri());
        key.push(0);
        key.extend_from_slice(message.from_tag());
        key.push(0);
        key.extend_from_slice(message.call_id());
        key.extend_from_slice(&message.cseq().number.to_be_bytes());
        key.extend_from_slice(via.branch);
    }
    key.push(0);
    key.extend(via.host.iter().map(u8::to_ascii_lowercase));
    key.extend_from_slice(&via.port.unwrap_or(5060).to_be_bytes());
    key.into_boxed_slice()
}

fn merge_key(message: &Message) -> Box<[u8]> {
    let mut key = Vec::with_capacity(96);
    key.extend_from_slice(message.call_id());
    key.push(0);
    key.extend_from_slice(message.from_tag());
    key.push(0);
    key.extend_from_slice(&message.cseq().number.to_be_bytes());
    key.extend_from_slice(message.method_bytes());
    key.into_boxed_slice()
}

/// Where the response to a request goes (RFC 3261 §18.2.2, RFC 3581 §4): a stream's goes back on it, and when it is gone, by
/// a new one to the Via's port; a datagram's to the address that it came from, at the port it came from when the client
/// asked so (`rport`), else at the Via's.
fn response_flow(flow: Flow, request: &Message) -> Flow {
    let via = request.top_via();
    let port = via.port.unwrap_or(flow.transport.default_port());
    match flow.transport {
        Transport::Tcp | Transport::Tls => Flow { reopen: Some(port), ..flow },
        Transport::Udp => {
            if via.rport.is_some() {
                return flow;
            }
            let maddr = via.maddr.and_then(|maddr| std::str::from_utf8(maddr).ok()?.parse::<IpAddr>().ok());
            // A maddr that is neither the source nor multicast would let anyone aim our responses at a third party.
            let ip = maddr.filter(|ip| ip.is_multicast() || *ip == flow.peer.ip()).unwrap_or(flow.peer.ip());
            Flow { peer: SocketAddr::new(ip, port), ..flow }
        }
    }
}

/// The same for a request without transaction, from whomever: a stream that is gone is not worth another one.
fn reply_flow(flow: Flow, request: &Message) -> Flow {
    Flow { reopen: None, ..response_flow(flow, request) }
}
