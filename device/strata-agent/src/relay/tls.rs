//! Whom the agent trusts as a relay: TLS 1.3, the system's certificate
//! authorities and, where there are such, a configured file and the relay's own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The TLS settings; `ca_file` is read anew for each connection, so that a renewed one counts. `own` (PEM) is what came
/// with the enrolment.
///
/// # Errors
/// Names what cannot be used, or says that there is no authority at all.
pub fn client_config(ca_file: Option<&Path>, own: Option<&str>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!("a certificate of the system was left out: {error}");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let pem =
            fs::read(path).with_context(|| format!("cannot read the certificate authority {}", path.display()))?;
        add_authorities(&mut roots, &pem).with_context(|| format!("in {}", path.display()))?;
    }
    if let Some(pem) = own {
        add_authorities(&mut roots, pem.as_bytes())
            .context("in the relay's own authority: give it again by `strata-agent enrol --relay URL --ca FILE`")?;
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

/// Whether `pem` holds a certificate authority.
///
/// # Errors
/// Says why not.
pub(crate) fn check_authorities(pem: &[u8]) -> anyhow::Result<()> {
    add_authorities(&mut RootCertStore::empty(), pem)
}

fn add_authorities(roots: &mut RootCertStore, pem: &[u8]) -> anyhow::Result<()> {
    const NONE: &str = "there are no PEM certificates that can be used";
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().context(NONE)?;
    let (added, _) = roots.add_parsable_certificates(certificates);
    anyhow::ensure!(added > 0, NONE);
    Ok(())
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
            let message = format!("{:#}", client_config(Some(&path), None).unwrap_err());
            assert!(message.contains("ca.pem"), "{message}");
            let Some(content) = content else { continue };
            let message = format!("{:#}", client_config(None, Some(content)).unwrap_err());
            assert!(message.contains("enrol --relay URL --ca FILE"), "{message}");
        }
    }
}
