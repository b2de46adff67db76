//! The UDP socket where datagrams go: what is due together leaves in one call (UDP segmentation offload).

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use strata_link::Datagram;

use crate::udp;

/// The most datagrams and bytes that Linux takes in one call.
const MAX_SEGMENTS: usize = 64;
const MAX_BYTES: usize = 65_000;
/// When the system's buffer is full, it is tried again after this.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Where datagrams go; nobody listening there is said once and is no reason to stop.
///
/// A plain socket: the runtime would be woken each time that the system has sent something.
pub(crate) struct Output {
    socket: UdpSocket,
    address: SocketAddr,
    /// Whether the system can cut datagrams apart on the way there.
    segments: bool,
    failing: bool,
}

impl Output {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { socket: udp::output(address)?, address, segments: true, failing: false })
    }

    pub(crate) async fn send(&mut self, datagrams: &[Datagram]) {
        let mut rest = datagrams;
        while !rest.is_empty() {
            let (run, later) = rest.split_at(if self.segments { run_length(rest) } else { 1 });
            match self.send_run(run) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL_PAUSE).await,
                Err(error) if run.len() > 1 => {
                    tracing::debug!("datagrams leave one by one from now on: {error}");
                    self.segments = false;
                }
                outcome => {
                    self.note(outcome);
                    rest = later;
                }
            }
        }
    }

    /// Sends one datagram, or several of equal size of which the last may be smaller.
    fn send_run(&self, run: &[Datagram]) -> io::Result<()> {
        if let [datagram] = run {
            return self.socket.send_to(&datagram.payload, self.address).map(drop);
        }
        let parts: Vec<IoSlice<'_>> = run.iter().map(|datagram| IoSlice::new(&datagram.payload)).collect();
        let size = u16::try_from(parts[0].len()).expect("a datagram's size");
        let cut = [ControlMessage::UdpGsoSegments(&size)];
        let address = SockaddrStorage::from(self.address);
        sendmsg(self.socket.as_raw_fd(), &parts, &cut, MsgFlags::empty(), Some(&address))?;
        Ok(())
    }

    fn note(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("cannot send to udp://{}: {error}", self.address);
                }
            }
        }
    }
}

/// How many of the first datagrams can leave in one call.
fn run_length(datagrams: &[Datagram]) -> usize {
    let size = datagrams[0].payload.len();
    let most = datagrams.len().min(MAX_SEGMENTS).min(MAX_BYTES / size);
    let equal = datagrams[..most].iter().take_while(|datagram| datagram.payload.len() == size).count();
    let shorter = datagrams[..most].get(equal).is_some_and(|next| next.payload.len() < size);
    equal + usize::from(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagrams(sizes: &[usize]) -> Vec<Datagram> {
        let datagram =
            |&size| Datagram { payload: vec![0; size].into(), sequence: 0, lost_before: 0, new_session: false };
        sizes.iter().map(datagram).collect()
    }

    #[test]
    fn equal_ones_leave_together_and_a_smaller_one_ends_the_run() {
        assert_eq!(run_length(&datagrams(&[1316, 1316, 188, 1316])), 3);
        assert_eq!(run_length(&datagrams(&[188, 1316])), 1);
        assert_eq!(run_length(&datagrams(&[188])), 1);
        assert_eq!(run_length(&datagrams(&[100; 70])), MAX_SEGMENTS);
        assert_eq!(run_length(&datagrams(&[1456; 70])), MAX_BYTES / 1456);
    }
}
