//! The links of one stream: real interfaces, or simulated ones through its emulator.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use strata_control::{ReceiveAddress, StreamId};
use strata_encoder_protocol::EncoderLink;
use tokio::time::{self, Duration, Instant};

use super::record::StreamRecord;
use super::{StreamContext, Surroundings};
use crate::emulator::{self, Emulator};
use crate::inventory::simulated::MODEMS;
use crate::links::{self, Path};
use crate::program;

/// For the name servers.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// How often the emulator is asked whether it is there.
const EMULATOR_INTERVAL: Duration = Duration::from_secs(5);

/// Where a stream's packets can go.
pub(super) struct Paths {
    context: Arc<StreamContext>,
    stream_id: StreamId,
    /// The worker's addresses as last resolved, and for which name.
    remotes: Option<(ReceiveAddress, Vec<SocketAddr>)>,
    emulator: Option<Emulator>,
    emulator_checked: Instant,
}

impl Paths {
    pub(super) fn new(context: Arc<StreamContext>, stream_id: StreamId) -> Self {
        Self { context, stream_id, remotes: None, emulator: None, emulator_checked: Instant::now() }
    }

    /// Resolves the worker's address, starts or takes over the emulator, and says which links there are.
    ///
    /// # Errors
    /// When there is none and there was none before.
    pub(super) async fn open(&mut self, record: &mut StreamRecord) -> anyhow::Result<Vec<EncoderLink>> {
        let opened = self.prepare(&record.start.receive).await;
        let links = self.current(record);
        if links.is_empty() {
            // An encoder that is started again in a dead spot keeps the links that it had.
            if !record.links.is_empty() {
                return Ok(record.links.clone());
            }
            opened?;
            anyhow::bail!("{}", self.no_links(&record.start.receive));
        }
        record.links.clone_from(&links);
        Ok(links)
    }

    async fn prepare(&mut self, receive: &ReceiveAddress) -> anyhow::Result<()> {
        if self.remotes.as_ref().is_none_or(|(of, _)| of != receive) {
            self.remotes = Some((receive.clone(), resolve(receive).await?));
        }
        if !self.context.simulate {
            return Ok(());
        }
        let target = *self.remotes.as_ref().and_then(|(_, remotes)| remotes.first()).context("there is an address")?;
        match self.emulator.take() {
            Some(emulator) if emulator.target() == target => self.emulator = Some(emulator),
            Some(emulator) => emulator.stop().await,
            None => {}
        }
        if self.emulator.is_none() {
            self.emulator = Some(Emulator::take_over_or_start(self.emulator_settings()?, target).await?);
        }
        Ok(())
    }

    /// After an encoder was taken over: the links it should have now.
    pub(super) async fn reopen(&mut self, record: &mut StreamRecord) {
        if let Err(error) = self.open(record).await {
            tracing::warn!(stream = %self.stream_id, "the links could not be looked up anew: {error:#}");
        }
    }

    /// The links now; empty when there is none.
    pub(super) fn current(&self, record: &mut StreamRecord) -> Vec<EncoderLink> {
        let Some((_, remotes)) = &self.remotes else { return record.links.clone() };
        let surroundings = self.context.surroundings.borrow();
        let Surroundings { inventory, policies } = &*surroundings;
        let allowed = |name: &str| links::is_enabled(name, &record.start.links, policies);
        let paths = match &self.emulator {
            None => links::select(&inventory.interfaces, &inventory.routes, allowed, remotes),
            Some(emulator) => simulated(emulator, allowed),
        };
        links::number(paths, !self.context.simulate, &mut record.link_numbers)
    }

    /// Looks after the emulator; true when the links may be others now.
    pub(super) async fn check(&mut self) -> bool {
        let Some(emulator) = &mut self.emulator else { return false };
        if self.emulator_checked.elapsed() < EMULATOR_INTERVAL {
            return false;
        }
        self.emulator_checked = Instant::now();
        match emulator.revive().await {
            Ok(revived) => revived,
            Err(error) => {
                tracing::error!(stream = %self.stream_id, "the simulated links are gone: {error:#}");
                false
            }
        }
    }

    /// The stream is over.
    pub(super) async fn close(&mut self) {
        if let Some(emulator) = self.emulator.take() {
            emulator.stop().await;
        }
    }

    fn emulator_settings(&self) -> anyhow::Result<emulator::Settings> {
        let config = &self.context.config;
        Ok(emulator::Settings {
            program: program::find(program::EMULATOR, "emulator_program", config.emulator_program.as_deref())?,
            socket: self.context.emulator_socket(self.stream_id),
            log: self.context.new_log(&format!("netem-{}.log", self.stream_id)),
            orphan_timeout_s: config.orphan_timeout_s,
        })
    }

    fn no_links(&self, receive: &ReceiveAddress) -> String {
        let surroundings = self.context.surroundings.borrow();
        let names: Vec<String> = surroundings
            .inventory
            .interfaces
            .iter()
            .map(|interface| format!("{} ({:?})", interface.name, interface.state))
            .collect();
        format!(
            "no link reaches the relay at {}: none of {} is allowed, connected and has a route to it",
            receive.host,
            if names.is_empty() { "no interfaces".to_owned() } else { names.join(", ") }
        )
    }
}

fn simulated(emulator: &Emulator, allowed: impl Fn(&str) -> bool) -> Vec<Path> {
    MODEMS
        .iter()
        .zip(emulator.entrances())
        .filter(|(modem, _)| allowed(modem.interface))
        .map(|(modem, entrance)| Path { interface: modem.interface.to_owned(), remote: *entrance })
        .collect()
}

/// The worker's addresses. An encoder's link has one remote: the first port is used.
async fn resolve(receive: &ReceiveAddress) -> anyhow::Result<Vec<SocketAddr>> {
    let host = &receive.host;
    let port = *receive.ports.first().context("the relay named no port to send to")?;
    let addresses = time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host.as_str(), port)))
        .await
        .with_context(|| format!("the name servers did not answer for {host} within {} s", RESOLVE_LIMIT.as_secs()))?
        .with_context(|| format!("{host} has no address"))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    anyhow::ensure!(!addresses.is_empty(), "{host} has no address");
    Ok(addresses)
}
