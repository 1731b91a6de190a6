//! The admin API, in as few words as a bench needs: one request, one connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::daemon::Place;

/// How long the API may take to be there, once SIP is.
const START: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for what is below `/admin/v1`.
///
/// # Errors
/// The API is not there, or refuses: with what it says.
pub(crate) fn administer(place: &Place, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "{method} /admin/v1{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer bench-admin\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        place.api,
        body.len()
    );
    let mut stream = connect(place)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 2") {
        return Ok(());
    }
    Err(io::Error::other(format!("{method} {path}: {answer}")))
}

fn connect(place: &Place) -> io::Result<TcpStream> {
    let until = place.clock.now() + START;
    loop {
        match TcpStream::connect(place.api) {
            Ok(stream) => return Ok(stream),
            Err(error) if place.clock.now() > until => {
                return Err(io::Error::new(error.kind(), format!("the API at {}: {error}", place.api)));
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}
