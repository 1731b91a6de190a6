//! A short message service centre on a real socket, by script: [`testbed::smsc`] over TCP or TLS.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use testbed::smsc::{Pdu, ShortMessage, id};

use super::until;

/// How often a stream that is read sees what else there is to do.
const LOOK: Duration = Duration::from_millis(10);

/// What it has seen, and what it is to do.
#[derive(Default)]
struct State {
    /// Whole binds, by their bodies.
    binds: Vec<Vec<u8>>,
    /// How the next binds and `submit_sm`s are answered; without a word of it they are taken.
    bind_statuses: VecDeque<u32>,
    submit_statuses: VecDeque<u32>,
    submitted: Vec<ShortMessage>,
    /// All octets that the other end has said.
    octets: Vec<u8>,
    /// PDUs to be sent.
    queue: VecDeque<Pdu>,
    /// Responses to `deliver_sm`: sequence number and status.
    responses: Vec<(u32, u32)>,
    /// An `unbind` has come.
    unbinds: usize,
    is_bound: bool,
    next_sequence: u32,
    /// Responses to `submit_sm` wait, and those that do.
    holds: bool,
    held: Vec<Pdu>,
    ignores_unbind: bool,
    /// The connection, or everything, is to end.
    hangs_up: bool,
    ends: bool,
}

/// Ends when it is dropped.
pub(crate) struct Centre {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Centre {
    pub(crate) fn start(tls: Option<Arc<ServerConfig>>) -> Centre {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(&listener, tls.as_ref(), &shared));
        Centre { address, state, thread: Some(thread) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until a session is there.
    pub(crate) fn wait_for_bind(&self) {
        until("the daemon binds", || self.state().is_bound.then_some(()));
    }

    /// The bodies of all binds.
    pub(crate) fn binds(&self) -> Vec<Vec<u8>> {
        self.state().binds.clone()
    }

    pub(crate) fn unbinds(&self) -> usize {
        self.state().unbinds
    }

    pub(crate) fn refuse_next_bind(&self, status: u32) {
        self.state().bind_statuses.push_back(status);
    }

    /// How the next short messages are answered.
    pub(crate) fn answer_next(&self, statuses: &[u32]) {
        self.state().submit_statuses.extend(statuses);
    }

    /// Waits for so many short messages, and takes them.
    pub(crate) fn take(&self, count: usize) -> Vec<ShortMessage> {
        until("short messages are submitted", || {
            let mut state = self.state();
            (state.submitted.len() >= count).then(|| std::mem::take(&mut state.submitted))
        })
    }

    /// Everything that the daemon has said.
    pub(crate) fn octets(&self) -> Vec<u8> {
        self.state().octets.clone()
    }

    /// Sends a short message; its sequence number.
    pub(crate) fn deliver(&self, message: &ShortMessage) -> u32 {
        let mut state = self.state();
        state.next_sequence += 1;
        let sequence = state.next_sequence;
        state.queue.push_back(Pdu { id: id::DELIVER_SM, status: 0, sequence, body: message.write() });
        sequence
    }

    /// Waits for the status of a short message that was sent.
    pub(crate) fn status_of(&self, sequence: u32) -> u32 {
        until("a short message is answered", || {
            self.state().responses.iter().find(|(of, _)| *of == sequence).map(|(_, status)| *status)
        })
    }

    /// Answers no short message until it is told to.
    pub(crate) fn hold(&self) {
        self.state().holds = true;
    }

    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.holds = false;
        let held = std::mem::take(&mut state.held);
        state.queue.extend(held);
    }

    pub(crate) fn ignore_unbinds(&self) {
        self.state().ignores_unbind = true;
    }

    pub(crate) fn hang_up(&self) {
        self.state().hangs_up = true;
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).ends = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// One connection after another.
fn serve(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, state: &Mutex<State>) {
    while !state.lock().unwrap().ends {
        let Ok((socket, _)) = listener.accept() else {
            std::thread::park_timeout(LOOK);
            continue;
        };
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        socket.set_nodelay(true).unwrap();
        match tls {
            None => talk(socket, state),
            Some(config) => talk(shaken(socket, config), state),
        }
        let mut state = state.lock().unwrap();
        (state.is_bound, state.hangs_up) = (false, false);
    }
}

fn shaken(socket: TcpStream, config: &Arc<ServerConfig>) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket)
}

fn talk(mut stream: impl Stream, state: &Mutex<State>) {
    let (mut input, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => input.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        let mut state = state.lock().unwrap();
        while let Some(pdu) = Pdu::take(&mut input) {
            state.octets.extend(pdu.write());
            let answer = state.on_pdu(&pdu);
            state.queue.extend(answer);
        }
        if state.hangs_up || state.ends {
            return;
        }
        while let Some(pdu) = state.queue.pop_front() {
            if stream.write_all(&pdu.write()).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
    }
}

impl State {
    fn on_pdu(&mut self, pdu: &Pdu) -> Option<Pdu> {
        match pdu.id {
            id::BIND_TRANSCEIVER => {
                self.binds.push(pdu.body.clone());
                let status = self.bind_statuses.pop_front().unwrap_or(0);
                self.is_bound = status == 0;
                Some(pdu.response(status))
            }
            id::SUBMIT_SM => {
                let status = self.submit_statuses.pop_front().unwrap_or(0);
                self.submitted.push(ShortMessage::read(&pdu.body));
                let response = pdu.response(status);
                if self.holds {
                    self.held.push(response);
                    return None;
                }
                Some(response)
            }
            id::ENQUIRE_LINK => Some(pdu.response(0)),
            id::UNBIND => {
                self.unbinds += 1;
                if self.ignores_unbind {
                    return None;
                }
                self.is_bound = false;
                Some(pdu.response(0))
            }
            other if other == id::DELIVER_SM | id::RESPONSE => {
                self.responses.push((pdu.sequence, pdu.status));
                None
            }
            _ => None,
        }
    }
}
