//! SIP by hand: what no phone would send, and answers as they came.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::PATIENCE;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// An offer of A-law.
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n";

/// A request that begins something new: an INVITE has an offer.
pub(crate) fn request(
    method: &str,
    transport: &str,
    from: &str,
    local: SocketAddr,
    to: &str,
    server: SocketAddr,
) -> String {
    let n = NEXT.fetch_add(1, Relaxed);
    let (content_type, body) = if method == "INVITE" { ("Content-Type: application/sdp\r\n", OFFER) } else { ("", "") };
    format!(
        "{method} sip:{to}@{server} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {local};branch=z9hG4bK-by-hand-{n};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{from}@{local}>;tag=by-hand-{n}\r\n\
         To: <sip:{to}@{server}>\r\n\
         Call-ID: by-hand-{n}-{}@{local}\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:{from}@{local}>\r\n\
         {content_type}Content-Length: {}\r\n\r\n{body}",
        std::process::id(),
        body.len(),
    )
}

/// A response to a request: its headers that a response repeats, these lines, and a body of SDP if there is one.
pub(crate) fn response(request: &str, status: &str, lines: &str, body: &str) -> String {
    let mut response = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        response += &format!("{name}: {}\r\n", header(request, name).unwrap());
    }
    let content_type = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let to = header(request, "To").unwrap();
    response + &format!("To: {to};tag=by-hand\r\n{lines}{content_type}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An answer, as text.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) String);

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        let status = self.0.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        status.unwrap_or_else(|| panic!("no answer: {}", self.0))
    }

    /// The value of a header, by its long name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.0, name)
    }
}

/// The value of a header in a message.
pub(crate) fn header<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    message.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The seconds of a 503's Retry-After.
pub(crate) fn retry_after(message: &str) -> u32 {
    let value = header(message, "Retry-After").unwrap_or_else(|| panic!("no Retry-After: {message}"));
    value.parse().unwrap_or_else(|_| panic!("Retry-After: {value}"))
}

/// A UDP socket of no phone.
pub(crate) struct Peer {
    pub(crate) socket: UdpSocket,
    server: SocketAddr,
}

impl Peer {
    /// At any port of an address.
    pub(crate) fn at(address: impl Into<IpAddr>, server: SocketAddr) -> Peer {
        Peer::of(UdpSocket::bind((address.into(), 0)).unwrap(), server)
    }

    /// A socket that was there before the server.
    pub(crate) fn of(socket: UdpSocket, server: SocketAddr) -> Peer {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { socket, server }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).unwrap();
    }

    pub(crate) fn receive(&self) -> Answer {
        let mut buffer = vec![0; 65_535];
        let (length, _) = self.socket.recv_from(&mut buffer).expect("an answer comes");
        Answer(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Asks and gives the first answer to that very request.
    pub(crate) fn ask(&self, method: &str, from: &str, to: &str) -> Answer {
        let request = request(method, "UDP", from, self.local(), to, self.server);
        self.send(request.as_bytes());
        loop {
            let answer = self.receive();
            if answer.header("Call-ID") == header(&request, "Call-ID") {
                return answer;
            }
        }
    }
}

/// A TCP stream of no phone.
pub(crate) struct Stream {
    pub(crate) stream: TcpStream,
    server: SocketAddr,
    unread: Vec<u8>,
}

impl Stream {
    pub(crate) fn to(server: SocketAddr) -> Stream {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Stream { stream, server, unread: Vec::new() }
    }

    pub(crate) fn request(&self, method: &str, from: &str, to: &str) -> String {
        request(method, "TCP", from, self.stream.local_addr().unwrap(), to, self.server)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next message; `None` when the daemon closes the stream. Line ends before it are pongs.
    pub(crate) fn receive(&mut self) -> Option<Answer> {
        loop {
            if let Some(message) = cut(&mut self.unread) {
                return Some(Answer(String::from_utf8_lossy(&message).into_owned()));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.unread.extend(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Cuts the first whole message off a stream's bytes.
pub(crate) fn cut(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let blank = unread.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    unread.drain(..blank);
    let head = unread.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&unread[..head]).into_owned();
    let length = header(&text, "Content-Length").unwrap_or_else(|| panic!("no Content-Length: {text}"));
    let whole = head + length.parse::<usize>().unwrap_or_else(|_| panic!("Content-Length: {length}"));
    (unread.len() >= whole).then(|| unread.drain(..whole).collect())
}
