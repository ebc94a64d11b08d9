//! TLS, set up once for all connections of a client.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::client::config_error::{ConfigError, ConfigErrorKind};

/// As the HTTP library would have it: the platform decides whom to trust, and HTTP/2 is preferred.
///
/// Where no connection will need roots, none are loaded: a machine may have none.
///
/// # Errors
///
/// The platform has no roots, or the provider that the process has chosen cannot do TLS.
pub(super) fn client_config(needs_roots: bool) -> Result<ClientConfig, ConfigError> {
    let failed = |error| {
        let message = format!("TLS could not be set up: {error}");
        ConfigError::new(ConfigErrorKind::Tls, message)
    };
    let provider = match CryptoProvider::get_default() {
        Some(chosen) => Arc::clone(chosen),
        None => Arc::new(aws_lc_rs::default_provider()),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let mut config = match needs_roots {
        true => config.with_platform_verifier().map_err(failed)?,
        false => config.with_root_certificates(RootCertStore::empty()),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
