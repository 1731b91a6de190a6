//! Certificates and keys out of PEM files (RFC 7468), and what TLS makes of them.
//!
//! Everything is read and tried here, before a port opens or a reload changes anything: what has become a
//! [`rustls::ServerConfig`] or a [`Client`] can be used.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig};

use crate::files::{self, Unread};

/// The largest file that is read. The authorities of a whole system fill a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// Why a file cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileError {
    /// It cannot be read.
    Unreadable(io::ErrorKind),
    /// It is a folder, a pipe, a device.
    NoFile,
    /// It has more than 1 MB.
    TooLarge,
    /// Something in it is no PEM.
    Pem,
    /// It holds no certificate.
    NoCertificate,
    /// A certificate in it cannot be understood.
    BadCertificate,
    /// It holds no private key.
    NoKey,
    /// Its private key is of a kind that we do not speak.
    BadKey,
    /// Its private key belongs to another certificate.
    OtherKey,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
            FileError::NoFile => f.write_str("is no file"),
            FileError::TooLarge => f.write_str("is larger than 1 MB"),
            FileError::Pem => f.write_str("is no PEM file"),
            FileError::NoCertificate => f.write_str("holds no certificate"),
            FileError::BadCertificate => f.write_str("holds a certificate that cannot be understood"),
            FileError::NoKey => f.write_str("holds no private key"),
            FileError::BadKey => f.write_str("holds a private key that cannot be used"),
            FileError::OtherKey => f.write_str("holds the private key of another certificate"),
        }
    }
}

/// The certificates in a file, in its order.
///
/// # Errors
///
/// It cannot be read, or holds none.
pub fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|_| FileError::Pem)?;
    if found.is_empty() { Err(FileError::NoCertificate) } else { Ok(found) }
}

/// The first private key in a file.
///
/// # Errors
///
/// It cannot be read, or holds none.
pub fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => FileError::NoKey,
        _ => FileError::Pem,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, FileError> {
    files::read(file, MAX_FILE).map_err(|error| match error {
        Unread::Io(error) => FileError::Unreadable(error.kind()),
        Unread::NoFile => FileError::NoFile,
        Unread::TooLarge => FileError::TooLarge,
    })
}

/// A certificate of ours and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.certified.cert == other.certified.cert && self.key == other.key
    }
}

impl Eq for Identity {}

impl Identity {
    /// Of a chain, our own certificate first, and the key of that.
    ///
    /// # Errors
    ///
    /// The key cannot be used, or is that of another certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Identity, FileError> {
        let signing = provider().key_provider.load_private_key(key.clone_key()).map_err(|_| FileError::BadKey)?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(FileError::OtherKey),
            Err(_) => return Err(FileError::BadCertificate),
        }
        Ok(Identity { certified: Arc::new(certified), key: Arc::new(key) })
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

/// Authorities that vouch for others' certificates.
#[derive(Clone, Debug)]
pub struct Authorities {
    certificates: Arc<[CertificateDer<'static>]>,
    store: Arc<RootCertStore>,
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        self.certificates == other.certificates
    }
}

impl Eq for Authorities {}

impl Authorities {
    /// Of their certificates.
    ///
    /// # Errors
    ///
    /// One of them cannot be understood.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Authorities, FileError> {
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            store.add(certificate.clone()).map_err(|_| FileError::BadCertificate)?;
        }
        Ok(Authorities { certificates: certificates.into(), store: Arc::new(store) })
    }

    /// Those that the system trusts: the distribution keeps them up to date, and the operator adds to them for every
    /// program at once. A list built into the program would be as old as the program. May be empty.
    #[must_use]
    pub fn of_system() -> Authorities {
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        let mut store = RootCertStore::empty();
        // Systems hold a few that nobody understands any more.
        certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
        Authorities { certificates: certificates.into(), store: Arc::new(store) }
    }

    /// These and others beside them.
    ///
    /// # Errors
    ///
    /// One of them cannot be understood.
    pub fn and(&self, more: Vec<CertificateDer<'static>>) -> Result<Authorities, FileError> {
        let mut store = RootCertStore::clone(&self.store);
        for certificate in &more {
            store.add(certificate.clone()).map_err(|_| FileError::BadCertificate)?;
        }
        let certificates = self.certificates.iter().cloned().chain(more).collect();
        Ok(Authorities { certificates, store: Arc::new(store) })
    }

    /// Nobody.
    #[must_use]
    pub fn none() -> Authorities {
        Authorities { certificates: Vec::new().into(), store: Arc::new(RootCertStore::empty()) }
    }

    /// Nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }
}

/// Whose certificates callers must show, and whether they must.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callers {
    /// Who vouches for them.
    pub authorities: Authorities,
    /// A caller without a certificate is refused.
    pub required: bool,
}

/// What we are when others connect to us: TLS 1.2 and 1.3.
///
/// # Errors
///
/// `callers` names no authority.
pub fn server(identity: &Identity, callers: Option<&Callers>) -> Result<Arc<ServerConfig>, FileError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need");
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some(callers) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(&callers.authorities.store), provider());
            let verifier = if callers.required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|_| FileError::NoCertificate)?)
        }
    };
    let mut config = builder.with_cert_resolver(identity.resolver());
    // A stream lives for hours, so that resuming one gains nothing; and one that is resumed is not verified again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What we are when we connect to others: TLS 1.2 and 1.3.
#[derive(Clone, Debug)]
pub struct Client {
    authorities: Authorities,
    identity: Option<Identity>,
    config: Arc<ClientConfig>,
}

impl PartialEq for Client {
    fn eq(&self, other: &Client) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
            // What differs is told by the first bytes of a certificate of ours; what is alike by all of the authorities'.
            || (self.identity == other.identity && self.authorities == other.authorities)
    }
}

impl Eq for Client {}

impl Client {
    /// Trusts these; shows `identity` to those who ask for one.
    #[must_use]
    pub fn new(authorities: Authorities, identity: Option<Identity>) -> Client {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(Arc::clone(&authorities.store));
        let mut config = match &identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
        };
        // As above: each stream is verified in full.
        config.resumption = Resumption::disabled();
        Client { authorities, identity, config: Arc::new(config) }
    }

    /// One that shows the same, and trusts these.
    #[must_use]
    pub fn believing(&self, authorities: Authorities) -> Client {
        Client::new(authorities, self.identity.clone())
    }

    /// Whom it trusts.
    #[must_use]
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}
