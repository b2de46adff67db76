//! A peer without the right key: writes real QUIC packets by hand, and counts what comes back.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, Endpoint, EndpointConfig};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::sign;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use strata_identity::KeyPair;
use tokio::net::UdpSocket;

/// Takes any server's key: a stranger wants an answer, not an identity.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// What a client with a key that nobody allowed offers in its first packet: all that makes the handshake dear.
pub(crate) fn client() -> ClientConfig {
    let key = KeyPair::generate();
    let private = sign::any_supported_type(&PrivatePkcs8KeyDer::from(key.to_pkcs8_der()).into()).unwrap();
    let own = CertifiedKey::new(vec![CertificateDer::from(key.public().to_spki_der())], private);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(own))));
    tls.alpn_protocols = vec![b"strata-bond/1".to_vec()];
    tls.enable_sni = false;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Real first packets of connections that differ in everything, each a whole UDP datagram of 1,200 bytes.
pub(crate) fn initials(receiver: SocketAddr, count: usize) -> Vec<Vec<u8>> {
    let config = client();
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
    let packets = (0..count).map(|_| {
        let now = Instant::now();
        let (_, mut connection) = endpoint.connect(now, config.clone(), receiver, "receiver").unwrap();
        let mut packet = Vec::new();
        let size = connection.poll_transmit(now, 1, &mut packet).unwrap().size;
        packet.truncate(size);
        packet
    });
    packets.collect()
}

/// A packet with a long header of a version that nobody speaks.
pub(crate) fn unknown_version(random: &mut SmallRng, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes];
    random.fill_bytes(&mut packet);
    packet[0] |= 0xc0;
    packet[1..5].copy_from_slice(&[0x5a, 0x5a, 0x5a, 0x5a]);
    // Ids of eight bytes.
    (packet[5], packet[14]) = (8, 8);
    packet
}

/// A packet of a connection that is not there.
pub(crate) fn short_header(random: &mut SmallRng, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes];
    random.fill_bytes(&mut packet);
    packet[0] = 0x40 | (packet[0] & 0x3f);
    packet
}

/// A socket that counts both ways.
pub(crate) struct Stranger {
    socket: UdpSocket,
    pub(crate) sent_bytes: usize,
    /// Sizes of what came back.
    pub(crate) answers: Vec<usize>,
}

impl Stranger {
    /// At any of the addresses of the loopback interface.
    pub(crate) async fn at(host: u8) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0))).await.unwrap();
        Self { socket, sent_bytes: 0, answers: Vec::new() }
    }

    pub(crate) async fn send(&mut self, to: SocketAddr, packet: &[u8]) {
        self.sent_bytes += self.socket.send_to(packet, to).await.unwrap();
    }

    /// Takes what comes until nothing has come for `quiet`.
    pub(crate) async fn listen(&mut self, quiet: Duration) {
        let mut packet = [0; 2048];
        while let Ok(received) = tokio::time::timeout(quiet, self.socket.recv_from(&mut packet)).await {
            self.answers.push(received.unwrap().0);
        }
    }

    /// Takes what has come already.
    pub(crate) fn drain(&mut self) {
        let mut packet = [0; 2048];
        while let Ok((bytes, _)) = self.socket.try_recv_from(&mut packet) {
            self.answers.push(bytes);
        }
    }

    pub(crate) fn received_bytes(&self) -> usize {
        self.answers.iter().sum()
    }
}

/// Bogus packets of all kinds, ready to be sent: what a storm is made of.
pub(crate) struct Storm {
    packets: Vec<Vec<u8>>,
    next: usize,
}

impl Storm {
    /// A quarter each: random bytes, short headers, real first packets, unknown versions.
    pub(crate) fn mixed(receiver: SocketAddr, count: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let mut packets = Vec::new();
        for initial in initials(receiver, count / 4) {
            let mut bytes = vec![0; random.random_range(1..1400)];
            random.fill_bytes(&mut bytes);
            packets.push(bytes);
            let bytes = random.random_range(1..1400);
            packets.push(short_header(&mut random, bytes));
            packets.push(unknown_version(&mut random, 1200));
            packets.push(initial);
        }
        Self { packets, next: 0 }
    }

    /// Real first packets only: what costs most.
    pub(crate) fn of_initials(receiver: SocketAddr, count: usize) -> Self {
        Self { packets: initials(receiver, count), next: 0 }
    }

    /// Sends `count` packets at up to 20,000 a second, from eight addresses in turn.
    pub(crate) async fn blow(&mut self, to: SocketAddr, count: usize) -> Vec<Stranger> {
        let mut strangers = Vec::new();
        for host in 2..10 {
            strangers.push(Stranger::at(host).await);
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for number in 0..count {
            if number % 100 == 0 {
                ticks.tick().await;
                strangers.iter_mut().for_each(Stranger::drain);
            }
            let packet = &self.packets[self.next % self.packets.len()];
            self.next += 1;
            let from = number / 4 % strangers.len();
            strangers[from].send(to, packet).await;
        }
        strangers
    }
}
