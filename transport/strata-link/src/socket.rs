//! UDP sockets: bound to an interface where one is named, with large buffers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{LinkConfig, LinkError};

/// Asked for; the system grants what `net.core.rmem_max` and `wmem_max` allow.
const BUFFER: usize = 4 << 20;
/// A tenth of a second of 20,000 packets, as the system counts them.
const ENOUGH_BUFFER: usize = 4 << 20;

/// Where an interface can be reached; changes when a modem dials in again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct InterfaceState {
    present: bool,
    addresses: Vec<IpAddr>,
}

/// Looks an interface up.
pub(crate) fn interface_state(name: &str) -> InterfaceState {
    let Ok(all) = getifaddrs() else { return InterfaceState::default() };
    let mut state = InterfaceState::default();
    for entry in all.filter(|entry| entry.interface_name == name) {
        state.present = true;
        let Some(address) = entry.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            state.addresses.push(v4.ip().into());
        } else if let Some(v6) = address.as_sockaddr_in6() {
            state.addresses.push(v6.ip().into());
        }
    }
    state
}

/// A socket to `link`'s receiver.
pub(crate) fn open(link: &LinkConfig) -> Result<UdpSocket, LinkError> {
    let failed = |source| LinkError::Socket { link: link.id, interface: link.interface.clone(), source };
    let socket = new_socket(link.remote).map_err(failed)?;
    let source = match &link.interface {
        None => unspecified(link.remote),
        Some(name) => {
            let state = interface_state(name);
            if !state.present {
                return Err(LinkError::NoInterface { link: link.id, interface: name.clone() });
            }
            socket.bind_device(Some(name.as_bytes())).map_err(failed)?;
            source_address(link, name, &state)?
        }
    };
    socket.bind(&SocketAddr::new(source, 0).into()).map_err(failed)?;
    Ok(socket.into())
}

/// The interface's address of the receiver's family.
fn source_address(link: &LinkConfig, interface: &str, state: &InterfaceState) -> Result<IpAddr, LinkError> {
    let usable = |address: &&IpAddr| match address {
        IpAddr::V4(_) => link.remote.is_ipv4(),
        // A link-local address reaches nobody beyond the next router.
        IpAddr::V6(v6) => link.remote.is_ipv6() && !v6.is_unicast_link_local(),
    };
    state.addresses.iter().find(usable).copied().ok_or_else(|| LinkError::NoAddress {
        link: link.id,
        interface: interface.to_owned(),
        family: if link.remote.is_ipv4() { "IPv4" } else { "IPv6" },
    })
}

/// A listening socket.
pub(crate) fn listen(address: SocketAddr) -> Result<UdpSocket, LinkError> {
    let open = || {
        let socket = new_socket(address)?;
        socket.bind(&address.into())?;
        warn_of_small_buffer(&socket);
        Ok(socket.into())
    };
    open().map_err(|source| LinkError::Listen { address, source })
}

/// A storm of bogus packets fills a small buffer before the endpoint gets its turn: the stream's packets are lost then.
fn warn_of_small_buffer(socket: &Socket) {
    match socket.recv_buffer_size() {
        Ok(bytes) if bytes < ENOUGH_BUFFER => tracing::warn!(
            "the system grants a receive buffer of {} KiB only: set net.core.rmem_max to 4194304",
            bytes >> 10
        ),
        Ok(_) => {}
        Err(error) => tracing::debug!("the size of the receive buffer is not known: {error}"),
    }
}

fn new_socket(family: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(family), Type::DGRAM, Some(Protocol::UDP))?;
    if family.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn unspecified(family: SocketAddr) -> IpAddr {
    if family.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(remote: &str, interface: Option<&str>) -> LinkConfig {
        LinkConfig { id: 3, name: "test".into(), remote: remote.parse().unwrap(), interface: interface.map(Into::into) }
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = open(&link("127.0.0.1:9", Some("nosuch0"))).unwrap_err().to_string();
        assert!(error.contains("nosuch0") && error.contains("link 3"), "{error}");
    }

    #[test]
    fn a_named_interface_gives_its_own_address() {
        let socket = open(&link("127.0.0.1:9", Some("lo"))).unwrap();
        assert_eq!(socket.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn a_port_in_use_is_named_with_what_to_do() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("in use"), "{error}");
    }
}
