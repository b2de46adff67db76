use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use crate::inner::lock;

/// The UDP ports that workers may use.
#[derive(Clone)]
pub(crate) struct PortPool {
    shared: Arc<Shared>,
}

struct Shared {
    range: RangeInclusive<u16>,
    listen: IpAddr,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    ports: BTreeSet<u16>,
    /// Where the next search begins: a port that was just given back is used last.
    next: u16,
}

/// A port of the pool; given back on drop.
pub(crate) struct PortLease {
    shared: Arc<Shared>,
    port: u16,
}

impl PortPool {
    pub(crate) fn new(range: RangeInclusive<u16>, listen: IpAddr) -> Self {
        let taken = Mutex::new(Taken { ports: BTreeSet::new(), next: *range.start() });
        Self { shared: Arc::new(Shared { range, listen, taken }) }
    }

    /// A port that neither a worker nor another program uses; none when there is none.
    pub(crate) fn lease(&self) -> Option<PortLease> {
        let mut taken = lock(&self.shared.taken);
        let (first, last) = (*self.shared.range.start(), *self.shared.range.end());
        let next = taken.next;
        for port in (next..=last).chain(first..next) {
            if taken.ports.contains(&port) {
                continue;
            }
            if !self.is_free(port) {
                tracing::warn!(port, "the UDP port is used by another program: trying the next one");
                continue;
            }
            taken.ports.insert(port);
            taken.next = if port == last { first } else { port + 1 };
            return Some(PortLease { shared: self.shared.clone(), port });
        }
        None
    }

    /// This port, whoever uses it: a worker that runs already does. None when another worker has it.
    pub(crate) fn claim(&self, port: u16) -> Option<PortLease> {
        lock(&self.shared.taken).ports.insert(port).then(|| PortLease { shared: self.shared.clone(), port })
    }

    /// Whether no program uses the port now.
    pub(crate) fn is_free(&self, port: u16) -> bool {
        UdpSocket::bind((self.shared.listen, port)).is_ok()
    }

    pub(crate) fn range(&self) -> &RangeInclusive<u16> {
        &self.shared.range
    }
}

impl PortLease {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        lock(&self.shared.taken).ports.remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range of one port that was free a moment ago.
    fn pool_around(socket: &UdpSocket) -> PortPool {
        let port = socket.local_addr().unwrap().port();
        PortPool::new(port..=port, IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn a_port_is_leased_once_and_comes_back() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let pool = pool_around(&socket);
        drop(socket);
        let lease = pool.lease().unwrap();
        assert!(pool.lease().is_none());
        assert!(pool.claim(lease.port()).is_none());
        drop(lease);
        assert!(pool.lease().is_some());
    }

    #[test]
    fn a_port_of_another_program_is_passed_over() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(pool_around(&socket).lease().is_none());
    }
}
