//! What we are under TLS where the operator has named no certificate: one of our own making, which nobody vouches for.
//!
//! It is made once, and found again after a restart: a client that has been told to trust it goes on doing so.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls::ServerConfig;
use std::sync::Arc;

use crate::transport::credentials::{self, FileError, Identity};

/// TLS sessions that are remembered.
const SESSIONS: usize = 4_096;

/// Why there is no certificate of our own.
#[derive(Debug)]
pub enum IdentityError {
    /// A file is there and cannot be used.
    File(PathBuf, FileError),
    /// A file cannot be written.
    Unwritable(PathBuf, io::Error),
    /// A name is none that a certificate can have.
    Name(String),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::File(path, error) => {
                write!(f, "{} {error} — delete https.pem and https.key, and new ones are made", path.display())
            }
            IdentityError::Unwritable(path, error) => {
                write!(f, "{}: {error} — make the folder writable for this user", path.display())
            }
            IdentityError::Name(name) => write!(f, "{name:?} is no name of a host: a certificate cannot have it"),
        }
    }
}

impl std::error::Error for IdentityError {}

/// The certificate in `https.pem` of this folder and its key in `https.key`; made for these names and addresses where there
/// is none yet.
///
/// # Errors
/// One of the files cannot be used, or not be written.
pub fn own(folder: &Path, names: &[String]) -> Result<Identity, IdentityError> {
    let (chain, key) = (folder.join("https.pem"), folder.join("https.key"));
    // The key is written first: without a certificate there has been no end of it.
    if !chain.exists() {
        write_new(&chain, &key, names)?;
    }
    let certificates = credentials::read_certificates(&chain);
    let certificates = certificates.map_err(|error| IdentityError::File(chain, error))?;
    let secret = credentials::read_key(&key).map_err(|error| IdentityError::File(key.clone(), error))?;
    Identity::new(certificates, secret).map_err(|error| IdentityError::File(key, error))
}

/// What an HTTP server is under TLS by this certificate: as for SIP, and HTTP/1.1 is what it speaks.
///
/// # Errors
/// Never for an [`Identity`] alone.
pub fn tls(identity: &Identity) -> Result<Arc<ServerConfig>, FileError> {
    let mut config = ServerConfig::clone(&*credentials::server(identity, None)?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A ticket right behind the handshake carries the acknowledgement of the client's last flight. Without it a client whose socket
    // has Nagle's algorithm waits 40 ms with its request, and customers' programs open a connection for each.
    config.send_tls13_tickets = 1;
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}

fn write_new(chain: &Path, key: &Path, names: &[String]) -> Result<(), IdentityError> {
    let made = rcgen::generate_simple_self_signed(names).map_err(|_| IdentityError::Name(names.join(" ")))?;
    write(key, 0o600, &made.signing_key.serialize_pem())?;
    write(chain, 0o644, &made.cert.pem())
}

/// Writes a file whole or not at all.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), IdentityError> {
    let beside = path.with_extension("new");
    let written = || {
        // One that was left behind may be readable for others.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|error| IdentityError::Unwritable(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn it_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = own(folder.path(), &names()).unwrap();
        let mode = fs::metadata(folder.path().join("https.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(own(folder.path(), &names()).unwrap(), first);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn files_that_cannot_be_used_are_left_alone_and_said() {
        let folder = tempfile::tempdir().unwrap();
        own(folder.path(), &names()).unwrap();
        let key = folder.path().join("https.key");
        fs::write(&key, "no key").unwrap();
        assert!(matches!(own(folder.path(), &names()), Err(IdentityError::File(..))));
        assert_eq!(fs::read_to_string(&key).unwrap(), "no key");
        fs::remove_file(&key).unwrap();
        assert!(matches!(own(folder.path(), &names()), Err(IdentityError::File(..))));
        let nowhere = folder.path().join("none");
        assert!(matches!(own(&nowhere, &names()), Err(IdentityError::Unwritable(..))));
    }
}
