//! What the kernel alone costs here: a program that does nothing with a packet but pass it on.
//!
//! ```text
//!   relay   phone ── socket 2i ─▶ recv, send ─▶ socket 2i+1 ── phone     the shape of a call's media
//!   echo    phone ── one socket: recv_from, send_to ── phone             the shape of a request and its response
//! ```
//!
//! Nothing that forwards packets one by one through sockets can cost less; the platform's own share is the difference. The
//! bench starts itself as this program, on the daemon's core, measured as the daemon is.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use axbridge::clock::Clock;
use clap::ValueEnum;

use crate::figures::{ms, per};
use crate::message::MESSAGES_A_CALL;
use crate::proc::Cpu;
use crate::rtp::{Passed, Traffic};
use crate::sys;

/// Bytes of a request: about what an INVITE has.
const REQUEST: usize = 700;
const LOOK: Duration = Duration::from_millis(1);
/// Before anything is measured.
const SETTLE: Duration = Duration::from_millis(300);

/// What the child does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Passes packets on between the two sockets of each pair.
    Relay,
    /// Sends every packet back.
    Echo,
}

// ---- the child ------------------------------------------------------------------------------------------------

/// The child's whole life: ports of the phones on its first line of input, its own on its first line of output, then
/// packets until it is killed.
pub(crate) fn serve(role: Role) -> io::Result<()> {
    sys::raise_file_limit()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let sockets = ports(&line).map(|port| serving(role, port)).collect::<io::Result<Vec<UdpSocket>>>()?;
    let epoll = sys::Epoll::new()?;
    let mut own = String::new();
    for (place, socket) in sockets.iter().enumerate() {
        epoll.add(socket.as_fd(), place)?;
        own += &format!("{} ", socket.local_addr()?.port());
    }
    let mut output = io::stdout().lock();
    writeln!(output, "{own}")?;
    output.flush()?;
    forward(role, &epoll, &sockets)
}

fn serving(role: Role, peer: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    match role {
        Role::Relay => socket.connect((Ipv4Addr::LOCALHOST, peer))?,
        Role::Echo => sys::widen((&socket).into())?,
    }
    Ok(socket)
}

fn forward(role: Role, epoll: &sys::Epoll, sockets: &[UdpSocket]) -> io::Result<()> {
    let (mut packet, mut tokens) = ([0; 2048], Vec::new());
    loop {
        epoll.wait(Duration::from_secs(1), &mut tokens)?;
        for place in &tokens {
            // What is lost here shows as lost at the phones.
            match role {
                Role::Relay => {
                    if let (Some(from), Some(to)) = (sockets.get(*place), sockets.get(place ^ 1)) {
                        let _ = from.recv(&mut packet).and_then(|length| to.send(&packet[..length]));
                    }
                }
                Role::Echo => {
                    if let Some(socket) = sockets.get(*place) {
                        let received = socket.recv_from(&mut packet);
                        let _ = received.and_then(|(length, source)| socket.send_to(&packet[..length], source));
                    }
                }
            }
        }
    }
}

fn ports(line: &str) -> impl Iterator<Item = u16> + '_ {
    line.split_ascii_whitespace().filter_map(|port| port.parse().ok())
}

// ---- the bench ------------------------------------------------------------------------------------------------

/// The child, killed when dropped.
struct Server {
    child: Child,
    ports: Vec<u16>,
}

impl Server {
    fn start(role: Role, peers: &[u16], core: Option<usize>) -> io::Result<Server> {
        let name = match role {
            Role::Relay => "relay",
            Role::Echo => "echo",
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--floor", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::tie(&mut command, core);
        let mut server = Server { child: command.spawn()?, ports: Vec::new() };
        let peers: String = peers.iter().map(|port| format!("{port} ")).collect();
        if let Some(mut input) = server.child.stdin.take() {
            writeln!(input, "{peers}")?;
        }
        let mut line = String::new();
        BufReader::new(server.child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        server.ports = ports(&line).collect();
        Ok(server)
    }

    fn address(&self, place: usize) -> io::Result<SocketAddr> {
        let port = self.ports.get(place).ok_or_else(|| io::Error::other("the floor's process has not begun"))?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the kernel alone takes.
#[derive(Debug)]
pub(crate) struct Measured {
    calls: u32,
    passed: Passed,
    relay_cpu: Duration,
    requests: u64,
    responses: u64,
    echo_cpu: Duration,
    rate: f64,
}

/// As many flows as there will be calls, then as many requests and responses as `call_rate` calls a second are worth.
pub(crate) fn measure(
    clock: Clock,
    core: Option<usize>,
    calls: u32,
    call_rate: u32,
    time: Duration,
) -> io::Result<Measured> {
    let (passed, relay_cpu) = relay(clock, core, calls, time)?;
    let rate = f64::from(call_rate) * MESSAGES_A_CALL as f64 / 2.0;
    let (requests, responses, echo_cpu) = echo(clock, core, rate, time)?;
    Ok(Measured { calls, passed, relay_cpu, requests, responses, echo_cpu, rate })
}

fn relay(clock: Clock, core: Option<usize>, calls: u32, time: Duration) -> io::Result<(Passed, Duration)> {
    let epoll = Rc::new(sys::Epoll::new()?);
    let mut traffic = Traffic::new(clock, Rc::clone(&epoll));
    let legs = (0..calls * 2).map(|_| traffic.open()).collect::<io::Result<Vec<usize>>>()?;
    let peers: Vec<u16> = legs.iter().map(|leg| traffic.address(*leg).port()).collect();
    let server = Server::start(Role::Relay, &peers, core)?;
    for leg in &legs {
        traffic.talk_to(*leg, server.address(*leg)?);
    }
    let mut tokens = Vec::new();
    let mut talk = |traffic: &mut Traffic, time: Duration| {
        let until = clock.now() + time;
        while clock.now() < until {
            traffic.on_time(clock.now());
            epoll.wait(LOOK, &mut tokens)?;
            for leg in &tokens {
                traffic.on_readable(*leg);
            }
        }
        Ok::<(), io::Error>(())
    };
    talk(&mut traffic, SETTLE)?;
    traffic.measure(true);
    let cpu = Cpu::of(server.child.id())?;
    talk(&mut traffic, time)?;
    let cpu = Cpu::of(server.child.id())?.since(&cpu).total();
    traffic.measure(false);
    talk(&mut traffic, SETTLE)?;
    Ok((traffic.passed(), cpu))
}

fn echo(clock: Clock, core: Option<usize>, rate: f64, time: Duration) -> io::Result<(u64, u64, Duration)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    sys::widen((&socket).into())?;
    let server = Server::start(Role::Echo, &[socket.local_addr()?.port()], core)?;
    let x = server.address(0)?;
    let epoll = sys::Epoll::new()?;
    epoll.add(socket.as_fd(), 0)?;
    let (mut requests, mut responses, mut tokens, mut packet) = (0, 0, Vec::new(), [b' '; REQUEST]);
    let cpu = Cpu::of(server.child.id())?;
    let began = clock.now();
    while clock.now() - began < time + SETTLE {
        let due = (clock.now() - began).min(time).as_secs_f64() * rate;
        while (requests as f64) < due {
            requests += 1;
            let _ = socket.send_to(&packet, x);
        }
        epoll.wait(LOOK, &mut tokens)?;
        while socket.recv(&mut packet).is_ok() {
            responses += 1;
        }
    }
    let cpu = Cpu::of(server.child.id())?.since(&cpu).total();
    Ok((requests, responses, cpu))
}

impl Measured {
    pub(crate) fn print(&self) {
        let packet = per(self.relay_cpu.as_secs_f64() * 1e6, self.passed.received as f64);
        let request = per(self.echo_cpu.as_secs_f64() * 1e6, self.responses as f64);
        println!("\nThe kernel's floor: recv, send and nothing else, on the daemon's core");
        println!(
            "  packet      {packet:.3} µs of CPU   {} calls' worth, {:.4} % lost, latency p50 {}   p99 {}",
            self.calls,
            per(self.passed.sent.saturating_sub(self.passed.received) as f64 * 100.0, self.passed.sent as f64),
            ms(self.passed.latency.p50),
            ms(self.passed.latency.p99)
        );
        println!(
            "  request     {request:.3} µs of CPU, its response included   {:.0} a second, {} lost; a call has {:.1} of them: {:.4} ms",
            self.rate,
            self.requests.saturating_sub(self.responses),
            MESSAGES_A_CALL as f64 / 2.0,
            request * MESSAGES_A_CALL as f64 / 2.0 / 1e3
        );
    }
}
