//! `wss://`: whom a device trusts as its relay.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::{Device, Relay, TOKEN};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate for `localhost` that signs itself.
fn certificate(folder: &Path) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "relay.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(folder.join("relay.pem")).unwrap();
    (certificate, PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap())
}

/// Ends TLS and passes the rest on to the relay; its port.
async fn terminate_tls(folder: &Path, relay: &Relay) -> u16 {
    let (certificate, key) = certificate(folder);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, target) = (listener.local_addr().unwrap().port(), relay.port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A device that does not trust the certificate ends the handshake.
            let Ok(mut inside) = acceptor.accept(stream).await else { continue };
            let mut outside = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut inside, &mut outside).await.ok() });
        }
    });
    port
}

#[tokio::test]
async fn a_relay_with_a_certificate_of_its_own_is_trusted_when_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start().await;
    let port = terminate_tls(folder.path(), &relay).await;
    let trusted = format!("extra_ca_file = \"{}\"", folder.path().join("relay.pem").display());
    let mut device = Device::with(&format!("wss://localhost:{port}"), &trusted, &[]);
    device.write_token(TOKEN);
    device.start();
    relay.accept_login().await.status("anything", |_| true).await;
}

#[tokio::test]
async fn any_other_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start().await;
    let port = terminate_tls(folder.path(), &relay).await;
    let mut device = Device::new(&format!("wss://localhost:{port}"));
    device.write_token(TOKEN);
    device.start();
    let error = device.last_error("extra_ca_file").await;
    assert_eq!(error["kind"], "unreachable");
    assert!(device.path("state/enrolment-token").exists(), "the token was not given away");
}

#[tokio::test]
async fn a_certificate_that_came_with_the_enrolment_is_trusted_while_the_agent_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start().await;
    let port = terminate_tls(folder.path(), &relay).await;
    let mut device = Device::new("");
    device.start();
    device.last_error("knows no relay").await;
    let ca = folder.path().join("relay.pem").display().to_string();
    let url = format!("wss://localhost:{port}");
    // Without it the token is kept back; with it the same enrolment works, at once.
    assert!(device.enrol(&["--relay", &url], TOKEN).0);
    device.last_error("enrol --ca").await;
    let (done, said) = device.enrol(&["--relay", &url, "--ca", &ca], TOKEN);
    assert!(done, "{said}");
    relay.accept_login().await.status("anything", |_| true).await;
    let kept: toml::Table = std::fs::read_to_string(device.path("state/relay.toml")).unwrap().parse().unwrap();
    assert_eq!(kept["relay_ca"].as_str(), Some(&*std::fs::read_to_string(&ca).unwrap()));
}
