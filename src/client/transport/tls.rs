//! TLS, set up once for all connections of a client.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use crate::client::config_error::{ConfigError, ConfigErrorKind};

/// The platform decides whom to trust, and who is named in `more_roots`; HTTP/2 is preferred.
///
/// Where no connection will need roots, none are loaded: a machine may have none.
///
/// # Errors
///
/// There is no crypto provider, or it cannot do TLS; the platform has no roots; one that is named is
/// none.
pub(super) fn client_config(
    needs_roots: bool,
    more_roots: &[u8],
) -> Result<ClientConfig, ConfigError> {
    let provider = provider().ok_or_else(|| error(NO_PROVIDER))?;
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| error(format!("TLS could not be set up: {cause}")))?;
    let more_roots = roots(more_roots)?;
    let mut config = match needs_roots {
        true => {
            let verifier = Verifier::new_with_extra_roots(more_roots, provider)
                .map_err(|cause| error(format!("{cause}: {NO_ROOTS}")))?;
            let config = config.dangerous();
            config.with_custom_certificate_verifier(Arc::new(verifier))
        }
        false => config.with_root_certificates(RootCertStore::empty()),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn error(message: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Tls, message)
}

/// The certificates of a text, which are all that can be trusted.
fn roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    if pem.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let roots = roots.ok().filter(|roots| {
        let mut store = RootCertStore::empty();
        !roots.is_empty() && roots.iter().all(|root| store.add(root.clone()).is_ok())
    });
    roots.ok_or_else(|| error("a root certificate is none: PEM is asked for"))
}

/// The one that the process has chosen, else the one that is built in.
pub(crate) fn provider() -> Option<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned().or_else(built_in)
}

#[cfg(feature = "tls-aws-lc")]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
fn built_in() -> Option<Arc<CryptoProvider>> {
    None
}

const NO_PROVIDER: &str = "there is no crypto provider for TLS: switch on the feature `tls-aws-lc` \
    or `tls-ring` of this crate, or install one of rustls's own for the process";
const NO_ROOTS: &str = "install `ca-certificates`, name a file of certificates in `SSL_CERT_FILE`, or \
    pass your own with `root_certificates`";
