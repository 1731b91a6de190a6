//! A customer's system by script: an HTTP server by hand that does to each request what it is told to, and keeps what came.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;

/// How often a connection that waits sees that it shall end.
const LOOK: Duration = Duration::from_millis(20);

/// What is done to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// This status, this body; the connection stays.
    Answer(u16, Vec<u8>),
    /// The same, and the connection ends without a word of it.
    AnswerAndLeave(u16),
    /// Elsewhere.
    Redirect(u16, String),
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Hang,
    /// The connection is reset.
    Reset,
    /// A head, byte by byte, of more than anybody waits for.
    DripHead,
    /// A good head, and its body byte by byte.
    DripBody,
    /// A good head, and a body without end.
    Endless,
    /// A head without end.
    EndlessHead,
    /// A request to open a way to somebody: it is opened.
    Tunnel(SocketAddr),
}

impl Act {
    pub(crate) fn ok() -> Act {
        Act::Answer(200, Vec::new())
    }
}

/// A request that has come.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    /// `POST`.
    pub(crate) method: String,
    /// As it stands in the first line.
    pub(crate) target: String,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Which connection it came by, counted from one.
    pub(crate) connection: usize,
}

impl Hit {
    /// `X-Notice-Id`, taken apart.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.headers.get("x-notice-id").map(|ids| ids.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }
}

type Script = Box<dyn Fn(&Hit) -> Act + Send + Sync>;

/// The running server; it ends when it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    script: Script,
    tls: Option<Arc<ServerConfig>>,
    hits: Mutex<Vec<Hit>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    written: AtomicU64,
    is_over: AtomicBool,
}

impl Receiver {
    /// On a free port of 127.0.0.1.
    pub(crate) fn start(script: impl Fn(&Hit) -> Act + Send + Sync + 'static) -> Receiver {
        Receiver::bind(Ipv4Addr::LOCALHOST.into(), None, script)
    }

    pub(crate) fn bind(
        ip: IpAddr,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Hit) -> Act + Send + Sync + 'static,
    ) -> Receiver {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            tls,
            hits: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accepting.accept(&listener));
        Receiver { address, shared, thread: Some(thread) }
    }

    /// `http://127.0.0.1:…/path`.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// What has come, in its order.
    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.shared.hits.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.hits.lock().unwrap().len()
    }

    /// Connections that were taken.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// The most that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.shared.most_open.load(Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// Bytes that were sent without end.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

trait Stream: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// What becomes of a connection after a request.
enum Then {
    Stay,
    Leave,
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        let mut threads = Vec::new();
        while !self.is_over.load(Relaxed) {
            match listener.accept() {
                Ok((socket, _)) => {
                    let number = self.connections.fetch_add(1, Relaxed) + 1;
                    let open = self.open.fetch_add(1, Relaxed) + 1;
                    self.most_open.fetch_max(open, Relaxed);
                    let shared = Arc::clone(self);
                    threads.push(std::thread::spawn(move || {
                        let _ = shared.serve(socket, number);
                        shared.open.fetch_sub(1, Relaxed);
                    }));
                    threads.retain(|thread| !thread.is_finished());
                }
                Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn serve(&self, socket: TcpStream, number: usize) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        match &self.tls {
            None => self.talk(socket, number),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                self.talk(StreamOwned::new(connection, socket), number)
            }
        }
    }

    fn talk(&self, mut stream: impl Stream, connection: usize) -> io::Result<()> {
        let mut unread = Vec::new();
        while let Some(hit) = self.read(&mut stream, &mut unread, connection)? {
            let act = (self.script)(&hit);
            self.hits.lock().unwrap().push(hit);
            match self.act(&mut stream, act)? {
                Then::Stay => {}
                Then::Leave => break,
            }
        }
        Ok(())
    }

    /// Bytes, when some come; `None` at the end, theirs or ours.
    fn more(&self, stream: &mut impl Stream) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 16_384];
        while !self.is_over.load(Relaxed) {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => return Ok(Some(buffer[..length].to_vec())),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn read(&self, stream: &mut impl Stream, unread: &mut Vec<u8>, connection: usize) -> io::Result<Option<Hit>> {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            match self.more(stream)? {
                Some(bytes) => unread.extend(bytes),
                None => return Ok(None),
            }
        };
        let head = String::from_utf8(unread[..end].to_vec()).expect("a request's head is ASCII");
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let headers: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
        while unread.len() < end + 4 + length {
            match self.more(stream)? {
                Some(bytes) => unread.extend(bytes),
                None => return Ok(None),
            }
        }
        let body = unread[end + 4..end + 4 + length].to_vec();
        unread.drain(..end + 4 + length);
        Ok(Some(Hit { method, target, headers, body, connection }))
    }

    fn act(&self, stream: &mut impl Stream, act: Act) -> io::Result<Then> {
        let head = |status: u16, length: usize| format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
        match act {
            Act::Answer(status, body) => {
                stream.write_all(&[head(status, body.len()).into_bytes(), body].concat())?;
                return Ok(Then::Stay);
            }
            Act::AnswerAndLeave(status) => stream.write_all(head(status, 0).as_bytes())?,
            Act::Redirect(status, to) => {
                let head = format!("HTTP/1.1 {status} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(head.as_bytes())?;
                return Ok(Then::Stay);
            }
            Act::Raw(bytes) => stream.write_all(&bytes)?,
            Act::Hang => while self.more(stream)?.is_some() {},
            Act::Reset => SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO))?,
            Act::DripHead => self.drip(stream, format!("HTTP/1.1 200 X\r\nX-Y: {}", "z".repeat(1_000)).as_bytes())?,
            Act::DripBody => {
                stream.write_all(head(200, 1_000).as_bytes())?;
                self.drip(stream, &[b'x'; 1_000])?;
            }
            Act::Endless => {
                stream.write_all(head(200, 1 << 30).as_bytes())?;
                self.pour(stream, &[b'x'; 16_384])?;
            }
            Act::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 X\r\n")?;
                self.pour(stream, &b"X-Y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n".repeat(100))?;
            }
            Act::Tunnel(to) => {
                let other = TcpStream::connect(to)?;
                stream.write_all(b"HTTP/1.1 200 X\r\n\r\n")?;
                self.join(stream, other)?;
            }
        }
        stream.flush()?;
        Ok(Then::Leave)
    }

    fn drip(&self, stream: &mut impl Stream, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            if self.is_over.load(Relaxed) {
                break;
            }
            stream.write_all(&[*byte])?;
            std::thread::park_timeout(Duration::from_millis(100));
        }
        Ok(())
    }

    fn pour(&self, stream: &mut impl Stream, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < 1 << 30 && !self.is_over.load(Relaxed) {
            stream.write_all(bytes)?;
            written += bytes.len();
            self.written.fetch_add(bytes.len() as u64, Relaxed);
        }
        Ok(())
    }

    fn join(&self, stream: &mut impl Stream, other: TcpStream) -> io::Result<()> {
        let (mut back, mut near) = (other.try_clone()?, stream.socket().try_clone()?);
        let way_back = std::thread::spawn(move || {
            let _ = io::copy(&mut back, &mut near);
        });
        let mut forth = other;
        while let Some(bytes) = self.more(stream)? {
            forth.write_all(&bytes)?;
        }
        let _ = forth.shutdown(std::net::Shutdown::Both);
        let _ = way_back.join();
        Ok(())
    }
}
