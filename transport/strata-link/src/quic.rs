//! How QUIC is set up under the bond.
//!
//! The bond decides how much is in flight, so QUIC's own congestion control is set
//! aside ([`Unlimited`]); connection ids are short, acknowledgements rare, buffers
//! large. Owns the codes with which connections are closed and what they mean.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use quinn::{AckFrequencyConfig, EndpointConfig, TransportConfig, VarInt};
use quinn_proto::RandomConnectionIdGenerator;
use quinn_proto::congestion::{Controller, ControllerFactory};
use quinn_proto::crypto::{CryptoError, HmacKey};
use sha2::Sha256;
use strata_identity::KeyPair;

/// The end was closed by its owner.
pub(crate) const CLOSED: VarInt = VarInt::from_u32(0);
/// Another sender with the same key took over.
pub(crate) const REPLACED: VarInt = VarInt::from_u32(1);
/// The other end speaks another version of the bond protocol.
pub(crate) const VERSION: VarInt = VarInt::from_u32(2);
/// This link was connected anew.
pub(crate) const RENEWED: VarInt = VarInt::from_u32(3);

/// TLS's alert for a key that is not the pinned one (RFC 8446, `access_denied`).
pub(crate) const ACCESS_DENIED: u8 = 49;

/// What the receiver writes on a stream once the sender's key was checked.
pub(crate) const WELCOME: u8 = 1;

/// Lets a whole 1,316-byte datagram through in one packet from the first packet on.
pub(crate) const FULL_MTU: u16 = 1400;
/// What every path carries: the fallback.
pub(crate) const SMALL_MTU: u16 = 1200;

/// Without any packet for this long a connection is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Keeps address translators' entries alive while nothing is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Assumed before the first measurement: the first repeat of a lost handshake packet comes three times this later.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// QUIC acknowledges every so many packets: the bond has reports of its own.
const ACK_EVERY: u32 = 25;
/// At the latest after this; must be known to both ends for their timers.
const ACK_DELAY: Duration = Duration::from_millis(100);
/// Datagrams waiting inside QUIC: half a second at 500 Mbit/s.
const DATAGRAM_BUFFER: usize = 32 << 20;

/// Connection ids of four bytes: on an endpoint of a few connections more only cost.
const CONNECTION_ID: usize = 4;

/// Settings of either end's socket. `identity` makes the keys of stateless resets, so that a receiver that was
/// started anew ends the connections of its predecessor at once.
pub(crate) fn endpoint(identity: &KeyPair) -> EndpointConfig {
    let mut mac = Hmac::<Sha256>::new_from_slice(&identity.seed()).expect("HMAC takes keys of any size");
    mac.update(b"strata-link stateless reset");
    let key = ResetKey(mac.finalize().into_bytes().into());
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID)));
    config
}

/// Settings of a sender's connection.
pub(crate) fn sender(mtu: u16) -> TransportConfig {
    let mut config = common();
    config.initial_mtu(mtu).min_mtu(mtu).keep_alive_interval(Some(KEEP_ALIVE));
    // The receiver's welcome.
    config.max_concurrent_uni_streams(VarInt::from_u32(1));
    config
}

/// Settings of a receiver's connections: it only sends small packets.
pub(crate) fn receiver() -> TransportConfig {
    let mut config = common();
    config.max_concurrent_uni_streams(VarInt::from_u32(0)).mtu_discovery_config(None);
    config
}

fn common() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY)).max_ack_delay(Some(ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(Unlimited))
        .ack_frequency_config(Some(acks))
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("30 s is a valid timeout")))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER));
    config
}

/// Proves to a former connection's peer that this end has forgotten it.
struct ResetKey([u8; 32]);

impl ResetKey {
    fn mac(&self, data: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any size");
        mac.update(data);
        mac
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.mac(data).finalize().into_bytes());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.mac(data).verify_slice(signature).map_err(|_| CryptoError)
    }
}

/// No congestion control: the bond's windows decide what is handed to QUIC.
#[derive(Debug, Clone, Copy)]
struct Unlimited;

/// Beyond 32 bits quinn does not pace either.
const WINDOW: u64 = 1 << 40;

impl ControllerFactory for Unlimited {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(*self)
    }
}

impl Controller for Unlimited {
    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, _lost_bytes: u64) {}

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
