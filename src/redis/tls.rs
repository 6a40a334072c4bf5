//! TLS of the connections: certificates are verified against the given CA or the built-in roots, and
//! the name against the host that was asked for. `tls_insecure` is the only way around it.

use std::path::Path;
use std::sync::Arc;

use ::redis::{ClientTlsConfig, TlsCertificates};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::TlsOptions;
use crate::error::{Error, ErrorKind, Result};

/// TLS as the connectors need it: for sockets of our own, and for the Cluster client.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) certificates: TlsCertificates,
    pub(super) insecure: bool,
}

impl Tls {
    /// Reads the files that the options name. [`ErrorKind::Config`] where one can't be used.
    pub(super) fn new(options: &TlsOptions) -> Result<Self> {
        let ca = options.ca.as_deref().map(|path| read("tls_ca", path)).transpose()?;
        let client_tls = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => Some(ClientTlsConfig {
                client_cert: read("tls_cert", cert)?,
                client_key: read("tls_key", key)?,
            }),
            (None, None) => None,
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "tls_cert and tls_key are needed together",
                ));
            }
        };
        let certificates = TlsCertificates { client_tls, root_cert: ca };
        let config = Arc::new(client_config(&certificates, options.insecure)?);
        Ok(Self { config, certificates, insecure: options.insecure })
    }

    /// The Cluster client asks rustls for the process's provider. Where the program has chosen none,
    /// the one that this library is built with is.
    pub(super) fn choose_provider() {
        if CryptoProvider::get_default().is_none() {
            // Another thread may have been faster, which is as good.
            let _ = ring::default_provider().install_default();
        }
    }
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::new(ErrorKind::Config, format!("{option}: can't read {}: {error}", path.display()))
    })
}

fn unusable(option: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("{option}: {why}"))
}

fn client_config(certificates: &TlsCertificates, insecure: bool) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("tls", &error))?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
    } else {
        builder.with_root_certificates(roots(certificates.root_cert.as_deref())?)
    };
    let Some(client) = &certificates.client_tls else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&client.client_cert)
        .collect::<Result<_, _>>()
        .map_err(|_| unusable("tls_cert", &"no certificates in PEM form"))?;
    let key = PrivateKeyDer::from_pem_slice(&client.client_key)
        .map_err(|_| unusable("tls_key", &"no private key in PEM form"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable("tls_cert", &error))
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|_| unusable("tls_ca", &"no certificates in PEM form"))?;
        roots.add(certificate).map_err(|error| unusable("tls_ca", &error))?;
    }
    if roots.is_empty() {
        return Err(unusable("tls_ca", &"no certificates in PEM form"));
    }
    Ok(roots)
}

/// What `tls_insecure` asks for: any certificate for any name, only the handshake's own signatures
/// are still checked.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
