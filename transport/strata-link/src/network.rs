//! Where packets go: the operating system's sockets, or a network that a test made.
//!
//! The seam between this crate and the world. Whoever brings its own network and
//! pauses tokio's clock has the whole of it, QUIC included, under simulated time.

use std::fmt::Debug;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::AsyncUdpSocket;

use crate::quic_socket::QuicSocket;
use crate::{LinkConfig, LinkError, socket};

/// Opens the sockets of an end.
pub trait Network: Debug + Send + Sync + 'static {
    /// A socket to a link's receiver.
    ///
    /// # Errors
    /// [`LinkError`] when there is none now; the link tries again.
    fn open(&self, link: &LinkConfig) -> Result<Arc<dyn AsyncUdpSocket>, LinkError>;

    /// A receiver's socket.
    ///
    /// # Errors
    /// [`LinkError::Listen`] when the address cannot be listened on.
    fn listen(&self, address: SocketAddr) -> Result<Arc<dyn AsyncUdpSocket>, LinkError>;
}

/// The operating system's sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct System;

impl Network for System {
    fn open(&self, link: &LinkConfig) -> Result<Arc<dyn AsyncUdpSocket>, LinkError> {
        let failed = |source| LinkError::Socket { link: link.id, interface: link.interface.clone(), source };
        watch(socket::open(link)?).map_err(failed)
    }

    fn listen(&self, address: SocketAddr) -> Result<Arc<dyn AsyncUdpSocket>, LinkError> {
        watch(socket::listen(address)?).map_err(|source| LinkError::Listen { address, source })
    }
}

fn watch(socket: UdpSocket) -> std::io::Result<Arc<dyn AsyncUdpSocket>> {
    Ok(QuicSocket::new(socket)?)
}
