//! `strata-bond receive`: from the bond to UDP.

use strata_identity::KeyPair;
use strata_link::{Datagram, Receiver, ReceiverConfig};

use crate::arguments::Receive;
use crate::output::Output;
use crate::{Stop, statistics};

/// Datagrams sent at a time before anything else gets its turn.
const BATCH: usize = 64;

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
    let mut due = Vec::with_capacity(BATCH);
    while let Some(datagram) = receiver.recv().await {
        due.push(datagram);
        due.extend(std::iter::from_fn(|| receiver.try_recv()).take(BATCH - 1));
        due.iter().for_each(report);
        output.send(&due).await;
        due.clear();
    }
}

/// Says what is no part of an undisturbed stream.
fn report(datagram: &Datagram) {
    if datagram.new_session {
        tracing::info!("the stream begins at sequence {}", datagram.sequence);
    }
    if datagram.lost_before > 0 {
        tracing::debug!("{} datagrams lost before sequence {}", datagram.lost_before, datagram.sequence);
    }
}
