//! The UDP sockets where datagrams come in and go out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Socket, Type};

/// Room for bursts while this program does not run; the system may grant less.
const BUFFER: usize = 4 << 20;
/// The same for datagrams that come in and that nobody would send again: 0.3 s of 45,000 a second.
const INPUT_BUFFER: usize = 16 << 20;

/// A socket that takes datagrams at `address`; a multicast group is joined.
pub(crate) fn input(address: SocketAddr) -> anyhow::Result<tokio::net::UdpSocket> {
    open_input(address).with_context(|| {
        format!("cannot take datagrams at udp://{address}: is the port in use by another program, is the address this machine's?")
    })
}

fn open_input(address: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
    let socket = new(address)?;
    // Beyond the system's limit if we may; what was granted above holds if not.
    setsockopt(&socket, RcvBufForce, &INPUT_BUFFER).or_else(|_| socket.set_recv_buffer_size(INPUT_BUFFER))?;
    if address.ip().is_multicast() {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    match address.ip() {
        IpAddr::V4(group) if group.is_multicast() => socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?,
        IpAddr::V6(group) if group.is_multicast() => socket.join_multicast_v6(&group, 0)?,
        _ => {}
    }
    tokio::net::UdpSocket::from_std(socket.into())
}

/// A socket to send datagrams to `address`.
pub(crate) fn output(address: SocketAddr) -> anyhow::Result<std::net::UdpSocket> {
    let open = || {
        let socket = new(address)?;
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        socket.bind(&SocketAddr::new(any, 0).into())?;
        Ok(socket.into())
    };
    let opened: io::Result<std::net::UdpSocket> = open();
    opened.with_context(|| format!("cannot open a socket to send to udp://{address}"))
}

fn new(family: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(family), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
