//! TLS by hand: what a carrier shows and believes, and streams that are looked at without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use super::pki::{Authority, Issued};
use super::{PATIENCE, until};

/// What one who connects believes, and shows if asked.
pub(crate) fn client(believes: &Authority, shows: Option<&Issued>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder().with_root_certificates(store(believes));
    Arc::new(match shows {
        None => builder.with_no_client_auth(),
        Some(issued) => builder.with_client_auth_cert(chain(issued), key(issued)).unwrap(),
    })
}

/// What one who listens shows, and whom it wants to see a certificate of.
pub(crate) fn server(shows: &Issued, wants: Option<&Authority>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder();
    let builder = match wants {
        None => builder.with_no_client_auth(),
        Some(authority) => builder
            .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(store(authority))).build().unwrap()),
    };
    Arc::new(builder.with_single_cert(chain(shows), key(shows)).unwrap())
}

fn store(authority: &Authority) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    store
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn key(issued: &Issued) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap()
}

/// One end of a stream that never blocks.
pub(crate) struct Link {
    local: SocketAddr,
    listens: Option<(TcpListener, Arc<ServerConfig>)>,
    stream: Option<(TcpStream, Connection)>,
    /// Written before there was a stream.
    unsent: Vec<u8>,
    /// Come, and not asked for yet.
    unread: Vec<u8>,
    /// Why there is no stream any more.
    ended: Option<String>,
}

impl Link {
    /// To the daemon, whose certificate must be valid for the address.
    pub(crate) fn to(daemon: SocketAddr, config: &Arc<ClientConfig>) -> Link {
        let stream = TcpStream::connect(daemon).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), ServerName::from(daemon.ip())).unwrap();
        let local = stream.local_addr().unwrap();
        Link { listens: None, stream: Some((open(stream), connection.into())), ..Link::at(local) }
    }

    /// From whoever connects; the last one who did is spoken with.
    pub(crate) fn listening(address: impl Into<std::net::IpAddr>, config: &Arc<ServerConfig>) -> Link {
        let listener = TcpListener::bind((address.into(), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let local = listener.local_addr().unwrap();
        Link { listens: Some((listener, Arc::clone(config))), ..Link::at(local) }
    }

    fn at(local: SocketAddr) -> Link {
        Link { local, listens: None, stream: None, unsent: Vec::new(), unread: Vec::new(), ended: None }
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.turn();
    }

    /// Puts what has come to the end of `unread`.
    pub(crate) fn receive(&mut self, unread: &mut Vec<u8>) {
        self.turn();
        unread.append(&mut self.unread);
    }

    /// Waits until the handshake is over, or the daemon says no: then why.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        until("the handshake is over", || {
            self.turn();
            match (&self.ended, &self.stream) {
                (Some(why), _) => Some(Err(why.clone())),
                (None, Some((_, connection))) if !connection.is_handshaking() => Some(Ok(())),
                (None, _) => None,
            }
        })
    }

    /// Waits for the daemon to end the stream; what it sent is returned.
    pub(crate) fn wait_for_end(&mut self) -> Vec<u8> {
        until("the stream ends", || {
            self.turn();
            self.ended.as_ref().map(|_| ())
        });
        std::mem::take(&mut self.unread)
    }

    /// The certificate that the daemon has shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        let (_, connection) = self.stream.as_ref().expect("there is a stream");
        connection.peer_certificates().expect("the handshake is over")[0].clone().into_owned()
    }

    fn turn(&mut self) {
        if let Some((listener, config)) = &self.listens
            && let Ok((stream, _)) = listener.accept()
        {
            self.ended = None;
            self.stream = Some((open(stream), ServerConnection::new(Arc::clone(config)).unwrap().into()));
        }
        let Some((stream, connection)) = &mut self.stream else { return };
        match exchange(stream, connection, &mut self.unsent, &mut self.unread) {
            Ok(()) => {}
            Err(error) => {
                self.ended = Some(error.to_string());
                self.stream = None;
            }
        }
    }
}

/// Writes and reads what can be written and read without waiting.
fn exchange(
    stream: &mut TcpStream,
    connection: &mut Connection,
    unsent: &mut Vec<u8>,
    unread: &mut Vec<u8>,
) -> io::Result<()> {
    loop {
        if !connection.is_handshaking() && !unsent.is_empty() {
            connection.writer().write_all(&std::mem::take(unsent))?;
        }
        while connection.wants_write() {
            match connection.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        match connection.read_tls(stream) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let processed = connection.process_new_packets().map_err(io::Error::other);
        if processed.is_err() {
            // The alert that says why.
            let _ = connection.write_tls(stream);
        }
        let plain = processed?.plaintext_bytes_to_read();
        let before = unread.len();
        unread.resize(before + plain, 0);
        connection.reader().read_exact(&mut unread[before..])?;
    }
}

fn open(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}
