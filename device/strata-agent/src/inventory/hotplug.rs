//! Notices that hardware or the network changes, by the kernel's netlink sockets.
//!
//! Two sockets: uevents (`NETLINK_KOBJECT_UEVENT`: something was plugged in or
//! out) and routes (`NETLINK_ROUTE`: a link, an address or a route changed).
//! What changed is not read from the messages; a look at the machine follows.
//! A burst of messages counts once.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;
use tokio::time::{self, Instant};

/// The kernel's own uevents (group 1 of the protocol).
const UEVENT_GROUPS: u32 = 1;
/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE` (linux/rtnetlink.h).
const ROUTE_GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Device nodes get their owner shortly after the uevent: so long nothing must happen before a look is worth it.
const QUIET: Duration = Duration::from_millis(400);
/// A machine that never is quiet is looked at all the same.
const PATIENCE: Duration = Duration::from_secs(3);

/// Subsystems whose uevents matter here.
const SUBSYSTEMS: [&[u8]; 4] = [b"SUBSYSTEM=net", b"SUBSYSTEM=video4linux", b"SUBSYSTEM=usb", b"SUBSYSTEM=wwan"];

/// The open sockets; one that the system refuses is done without.
#[derive(Debug)]
pub struct Changes {
    uevents: Option<UnixDatagram>,
    routes: Option<UnixDatagram>,
}

impl Changes {
    /// Opens both sockets.
    #[must_use]
    pub fn open() -> Self {
        let open = |protocol, groups, what| match open(protocol, groups) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!("{what} are noticed at the next scan only: {error}");
                None
            }
        };
        Self {
            uevents: open(SockProtocol::NetlinkKObjectUEvent, UEVENT_GROUPS, "devices plugged in or out"),
            routes: open(SockProtocol::NetlinkRoute, ROUTE_GROUPS, "changes of the network"),
        }
    }

    /// Returns once something changed and the machine is quiet again. Cancel-safe: a change
    /// that is cut off here is seen at the scan that cut it off.
    pub async fn next(&mut self) {
        self.change().await;
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit && time::timeout(QUIET, self.change()).await.is_ok() {}
    }

    async fn change(&mut self) {
        tokio::select! {
            () = message(&mut self.uevents, is_relevant_uevent) => {}
            () = message(&mut self.routes, |_| true) => {}
        }
    }
}

fn open(protocol: SockProtocol, groups: u32) -> io::Result<UnixDatagram> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    // Only `recv(2)` is used of it, which all datagram sockets have in common.
    UnixDatagram::from_std(StdDatagram::from(socket))
}

/// Waits for a message that matters; for ever where there is no socket.
async fn message(socket: &mut Option<UnixDatagram>, matters: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 8 * 1024];
    loop {
        let Some(open) = socket else { return std::future::pending().await };
        match open.recv(&mut buffer).await {
            Ok(length) if matters(&buffer[..length]) => return,
            Ok(_) => {}
            // Messages were lost: something happened.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => return,
            Err(error) => {
                tracing::warn!("changes are noticed at the next scan only: {error}");
                *socket = None;
            }
        }
    }
}

fn is_relevant_uevent(message: &[u8]) -> bool {
    message.split(|byte| *byte == 0).any(|field| SUBSYSTEMS.contains(&field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uevents_of_other_subsystems_are_passed_over() {
        assert!(is_relevant_uevent(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=video4linux\0SEQNUM=1\0"));
        assert!(!is_relevant_uevent(b"change@/devices/x\0ACTION=change\0SUBSYSTEM=power_supply\0"));
        assert!(!is_relevant_uevent(b""));
    }

    #[tokio::test]
    async fn without_sockets_nothing_ever_happens() {
        let mut changes = Changes { uevents: None, routes: None };
        assert!(time::timeout(Duration::from_millis(20), changes.next()).await.is_err());
    }
}
