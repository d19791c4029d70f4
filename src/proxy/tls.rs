//! TLS of the data listener: one certificate, read anew at each reload.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file that cannot be read or holds nothing of use.
    #[error("cannot read `{path}`: {text}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the reader said; never the file's content.
        text: String,
    },
    /// Certificate and key do not fit.
    #[error("the certificate `{cert}` and the key `{key}` do not go together")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// rustls refused the set-up.
    #[error("cannot set up TLS")]
    Setup(#[from] rustls::Error),
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads certificate chain and key from PEM files.
    pub fn load(cert: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(read(cert, key)?) }))
    }

    /// Reads them anew, and says whether the chain is another; on an error the old ones stay in use.
    pub fn reload(&self, cert: &Path, key: &Path) -> Result<bool, TlsError> {
        let new = Arc::new(read(cert, key)?);
        Ok(self.current.swap(new.clone()).cert != new.cert)
    }

    /// The server side that uses it, speaking HTTP/1.1.
    pub fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| TlsError::Read {
        path: path.to_owned(),
        text: error.to_string(),
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).map_err(|error| unreadable(cert, &error))?.collect();
    let chain = chain.map_err(|error| unreadable(cert, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|source| TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned(), source })
}

/// The client side towards the provider: the machine's own certificate store.
pub fn client() -> Result<Arc<rustls::ClientConfig>, TlsError> {
    use rustls_platform_verifier::BuilderVerifierExt;
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
