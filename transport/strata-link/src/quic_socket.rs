//! The UDP socket under a QUIC endpoint, woken by arriving packets only.
//!
//! Tokio's own socket also waits to be writable, and so each packet that has left
//! would wake the thread once more for nothing. Here a full buffer, which the
//! bond's windows make rare, is tried again after a moment.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep};

/// When the system's buffer is full, it is tried again after this.
const FULL_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct QuicSocket {
    io: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    full: AtomicBool,
}

impl QuicSocket {
    /// Takes a socket that does not block.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        let state = UdpSocketState::new((&socket).into())?;
        #[expect(deprecated, reason = "its successor is unsafe, for types whose descriptor may change; ours does not")]
        let io = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Arc::new(Self { io, state, full: AtomicBool::new(false) }))
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, pause: Box::pin(sleep(Duration::ZERO)) })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let outcome = self.state.send(self.io.get_ref().into(), transmit);
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.io.poll_read_ready(context))?;
            match self.state.recv(self.io.get_ref().into(), buffers, meta) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Ok(received) => {
                    if received < meta.len() {
                        // All was read: asking once more would only bring the answer that there is nothing.
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits until sending is worth another try.
struct Writable {
    socket: Arc<QuicSocket>,
    pause: Pin<Box<Sleep>>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.full.swap(false, Ordering::Relaxed) {
            self.pause.as_mut().reset(Instant::now() + FULL_PAUSE);
        }
        ready!(self.pause.as_mut().poll(context));
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_full_buffer_is_tried_again() {
        let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
        plain.set_nonblocking(true).unwrap();
        let socket = QuicSocket::new(plain).unwrap();
        let mut poller = Arc::clone(&socket).create_io_poller();
        poll_fn(|context| poller.as_mut().poll_writable(context)).await.unwrap();
        socket.full.store(true, Ordering::Relaxed);
        let waits = poll_fn(|context| Poll::Ready(poller.as_mut().poll_writable(context).is_pending())).await;
        assert!(waits, "at once would be in vain");
        poll_fn(|context| poller.as_mut().poll_writable(context)).await.unwrap();
    }
}
