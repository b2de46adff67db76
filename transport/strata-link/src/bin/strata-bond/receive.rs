//! `strata-bond receive`: from the bond to UDP.

use std::net::SocketAddr;

use strata_identity::KeyPair;
use strata_link::{Datagram, Receiver, ReceiverConfig};
use tokio::net::UdpSocket;

use crate::arguments::Receive;
use crate::{Stop, statistics, udp};

pub(crate) async fn run(arguments: Receive) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let identity = KeyPair::read(&arguments.key)?;
    let mut output = Output::open(arguments.output)?;
    let common = arguments.common;
    let mut statistics = statistics::open(common.stats.as_deref(), common.stats_interval).await?;
    let receiver = Receiver::bind(ReceiverConfig {
        identity,
        allow: arguments.allow,
        listen: arguments.listen,
        latency: common.latency,
    })
    .await?;
    tracing::info!("listening at {}, sending to udp://{}", receiver.local_addr(), arguments.output);
    tokio::select! {
        () = pass_on(&receiver, &mut output) => {}
        () = statistics::keep(&mut statistics, || receiver.stats()) => {}
        () = stop.wait() => {}
    }
    if let Some(statistics) = &mut statistics {
        statistics.write(receiver.stats()).await;
    }
    let stats = receiver.stats();
    tracing::info!("delivered {} datagrams, lost {}, of these {} late", stats.delivered, stats.lost, stats.late);
    receiver.close().await;
    Ok(())
}

/// Sends what is released, until the receiver ends.
async fn pass_on(receiver: &Receiver, output: &mut Output) {
    while let Some(datagram) = receiver.recv().await {
        output.send(&datagram).await;
    }
}

/// Where datagrams go; nobody listening there is said once and is no reason to stop.
struct Output {
    socket: UdpSocket,
    address: SocketAddr,
    failing: bool,
}

impl Output {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { socket: udp::output(address)?, address, failing: false })
    }

    async fn send(&mut self, datagram: &Datagram) {
        if datagram.new_session {
            tracing::info!("the stream begins at sequence {}", datagram.sequence);
        }
        if datagram.lost_before > 0 {
            tracing::debug!("{} datagrams lost before sequence {}", datagram.lost_before, datagram.sequence);
        }
        match self.socket.send_to(&datagram.payload, self.address).await {
            Ok(_) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("cannot send to udp://{}: {error}", self.address);
                }
            }
        }
    }
}
