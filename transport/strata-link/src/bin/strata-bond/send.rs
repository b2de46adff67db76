//! `strata-bond send`: from UDP to the bond.

use std::io;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use strata_identity::KeyPair;
use strata_link::{LinkConfig, MAX_DATAGRAM, SendError, Sender, SenderConfig};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::arguments::{Link, Send};
use crate::{Stop, statistics, udp};

/// Datagrams read at a time before anything else gets its turn.
const BATCH: usize = 64;
/// At high rates datagrams are gathered for this long: read, encrypted and sent together they cost half.
const GATHER: Duration = Duration::from_millis(1);
/// Memory taken at a time for payloads, which are cut from it.
const CHUNK: usize = 64 << 10;

pub(crate) async fn run(arguments: Send) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let identity = KeyPair::read(&arguments.key)?;
    let input = udp::input(arguments.input)?;
    let common = arguments.common;
    let mut statistics = statistics::open(common.stats.as_deref(), common.stats_interval).await?;
    let links = links(&arguments.links)?;
    // A mistyped interface is said now. One that vanishes later is waited for.
    links.iter().try_for_each(LinkConfig::check)?;
    let latency = common.latency;
    let sender = Sender::start(SenderConfig { identity, peer: arguments.peer, latency, links })?;
    tracing::info!("taking datagrams at udp://{}, sending over {} links", arguments.input, arguments.links.len());
    tokio::select! {
        outcome = Intake::default().run(&input, &sender) => outcome?,
        () = statistics::keep(&mut statistics, || sender.stats()) => {}
        () = stop.wait() => {}
    }
    // Before the links are closed: the last line shows them as they were.
    if let Some(statistics) = &mut statistics {
        statistics.write(sender.stats()).await;
    }
    sender.close().await;
    let stats = sender.stats();
    tracing::info!(
        "took {} datagrams, repeated {} packets, could not send {} in time",
        stats.datagrams_in,
        stats.retransmitted_packets,
        stats.unsent_datagrams
    );
    Ok(())
}

fn links(links: &[Link]) -> anyhow::Result<Vec<LinkConfig>> {
    let config = |(at, link): (usize, &Link)| {
        let Ok(id) = u8::try_from(at) else { bail!("{} links are too many: 16 are possible", links.len()) };
        Ok(LinkConfig { id, name: link.text.clone(), remote: link.remote, interface: link.interface.clone() })
    };
    links.iter().enumerate().map(config).collect()
}

/// Reads the input socket.
#[derive(Default)]
struct Intake {
    chunk: BytesMut,
    refused: u64,
    /// When everything that had come was read; none while there may be more.
    emptied: Option<Instant>,
}

impl Intake {
    /// Hands over what comes in, until the socket breaks.
    async fn run(mut self, input: &UdpSocket, sender: &Sender) -> anyhow::Result<()> {
        loop {
            self.ready(input).await.context("the input socket broke")?;
            self.read(input, sender)?;
        }
    }

    /// Waits until there is something to read.
    async fn ready(&self, input: &UdpSocket) -> io::Result<()> {
        input.readable().await?;
        match self.emptied {
            Some(emptied) if emptied.elapsed() < GATHER => tokio::time::sleep_until(emptied + GATHER).await,
            Some(_) => {}
            // The tasks that send get their turn.
            None => tokio::task::yield_now().await,
        }
        Ok(())
    }

    fn read(&mut self, input: &UdpSocket, sender: &Sender) -> anyhow::Result<()> {
        self.emptied = None;
        for _ in 0..BATCH {
            if self.chunk.capacity() < MAX_DATAGRAM + 1 {
                self.chunk = BytesMut::with_capacity(CHUNK);
            }
            // One byte more than fits, so that a datagram too large is seen instead of cut.
            let mut room = bytes::BufMut::limit(&mut self.chunk, MAX_DATAGRAM + 1);
            match input.try_recv_buf(&mut room) {
                Ok(_) => self.hand_over(sender),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.emptied = Some(Instant::now());
                    break;
                }
                Err(error) => return Err(error).context("the input socket broke"),
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, sender: &Sender) {
        let datagram: Bytes = self.chunk.split().freeze();
        let Err(error) = sender.send(datagram) else { return };
        // Said at the first and then at each power of two: a flood must not fill the log.
        self.refused += 1;
        if self.refused.is_power_of_two() && error != SendError::Closed {
            tracing::warn!("{error} ({} datagrams refused so far)", self.refused);
        }
    }
}
