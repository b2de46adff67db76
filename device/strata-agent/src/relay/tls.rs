//! Whom the agent trusts as a relay: TLS 1.3, the system's certificate
//! authorities and, where configured, one file more.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The TLS settings; read anew for each connection, so that a renewed file counts.
///
/// # Errors
/// Names the file that cannot be used, or says that there is no authority at all.
pub fn client_config(extra_ca_file: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!("a certificate of the system was left out: {error}");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = extra_ca_file {
        let cannot = || format!("extra_ca_file {} holds no PEM certificates that can be used", path.display());
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect).with_context(cannot)?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        anyhow::ensure!(added > 0, cannot());
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "this system trusts no certificate authority: install ca-certificates, or set extra_ca_file"
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 is not available")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for content in
            [None, Some(""), Some("garbage"), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
        {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let message = format!("{:#}", client_config(Some(&path)).unwrap_err());
            assert!(message.contains("ca.pem"), "{message}");
        }
    }
}
