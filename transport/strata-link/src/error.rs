//! What can go wrong at the edges; each message names the value and what to do.

use std::io;
use std::net::SocketAddr;

/// Why a sender or receiver could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The receiver's address could not be listened on.
    #[error("cannot listen on {address}: {}", listen_hint(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link's interface is not there.
    #[error("link {link}: there is no network interface “{interface}”: `ip link` lists those there are")]
    NoInterface {
        /// The link's id.
        link: u8,
        /// The interface as named.
        interface: String,
    },
    /// A link's interface has no address to send from.
    #[error("link {link}: the interface {interface} has no {family} address: is it connected?")]
    NoAddress {
        /// The link's id.
        link: u8,
        /// The interface as named.
        interface: String,
        /// “IPv4” or “IPv6”, as the receiver's address asks for.
        family: &'static str,
    },
    /// A link's socket could not be opened or bound.
    #[error("link {link}: cannot open a UDP socket{}", interface.as_ref().map(|name| format!(" on interface {name}")).unwrap_or_default())]
    Socket {
        /// The link's id.
        link: u8,
        /// The interface, if one was named.
        interface: Option<String>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The links as configured contradict each other.
    #[error("bad set of links: {0}")]
    Links(String),
    /// The latency is outside of what the bond supports.
    #[error("a latency of {0} ms is not possible: choose 20 to 30000 ms")]
    Latency(u128),
    /// TLS could not be set up with this identity.
    #[error("cannot set up TLS with this key")]
    Tls(#[source] rustls::Error),
    /// Called outside of a tokio runtime.
    #[error("a running tokio runtime is needed")]
    NoRuntime,
    /// The other end was closed already.
    #[error("already closed")]
    Closed,
}

fn listen_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "the port is in use by another program; stop it or choose another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; use one of its own, 0.0.0.0 or [::]",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher port",
        _ => "the operating system refused",
    }
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Empty, or larger than the bond carries.
    #[error("a datagram of {0} bytes cannot be sent: 1 to 1456 bytes are possible")]
    Size(usize),
    /// More datagrams are waiting than could be sent within the latency; this one was dropped.
    #[error("the send queue is full: the links carry less than the source produces")]
    Full,
    /// The sender was closed.
    #[error("the sender was closed")]
    Closed,
}
