//! One run: links, both ends, source and sink, and what happens when.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use strata_netem::Emulator;
use strata_netem::protocol::{Command, Config, LinkSpec, LinkStats, Reply, ShapeChange, Way};
use strata_sim::scenario::{Change, Scenario};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::peer::{Ends, Peer, Places, free_port};
use crate::row::{Circumstances, Row, Watched};
use crate::sink::{Expected, Sink};
use crate::source::{Plan, Source};

/// The least time after the last datagram until the sink is asked.
const TAIL: Duration = Duration::from_secs(2);
/// Beyond latency and the slowest path, a datagram is late after this time.
const LATE_MARGIN_MS: f64 = 100.0;
/// A source that is this much behind its end will not get there.
const STALLED: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) peer: Peer,
    pub(crate) scenario: Scenario,
    pub(crate) latency_ms: u32,
    pub(crate) seed: u64,
}

/// Runs it; a signal ends it and everything it started.
pub(crate) async fn until_signal(job: &Job) -> anyhow::Result<Row> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        row = run(job) => row,
        _ = terminate.recv() => bail!("ended by a signal"),
        _ = interrupt.recv() => bail!("ended by a signal"),
    }
}

async fn run(job: &Job) -> anyhow::Result<Row> {
    let folder = tempfile::tempdir()?;
    let clock = Instant::now().into_std();
    let sink = Sink::start(clock)?;
    let (listen, input, output) = (free_port()?, free_port()?, sink.address);
    let emulator = start_links(job, listen).await?;
    let links = emulator.as_ref().map_or_else(|| vec![listen], Emulator::addresses);
    let mut load = [load(), 0.0];
    let places = Places { input, links: &links, listen, output, latency_ms: job.latency_ms, folder: folder.path() };
    let mut ends = job.peer.start(&places).await?;

    let cpu_before = [ends.sender.cpu_s(), ends.receiver.cpu_s()];
    let start = Instant::now() + Duration::from_millis(200);
    let (bps, duration) = (job.scenario.bps, job.scenario.duration);
    let follow = if job.scenario.follows { ends.statistics.clone() } else { None };
    let source = Source::start(Plan { to: input, bps, duration, clock, start: start.into_std(), follow })?;
    let mut watched = follow_timeline(job, emulator.as_ref(), start, &source, &mut ends).await?;
    let src = source.finish()?;
    load[1] = self::load();
    let dead = ends.dead();
    sleep(TAIL.max(Duration::from_millis(u64::from(job.latency_ms) + 1000))).await;

    watched.end(stats(emulator.as_ref()));
    let cpu_after = [ends.sender.cpu_s(), ends.receiver.cpu_s()];
    let cpu_s = [0, 1].map(|end| cpu_after[end].zip(cpu_before[end]).map(|(after, before)| after - before));
    // What the peers' own sockets drop is the peers' loss.
    let own: Vec<SocketAddr> =
        emulator.as_ref().map(Emulator::addresses).into_iter().flatten().chain([output]).collect();
    let around = Circumstances { load, dead, log: ends.log_tail(), cpu_s, kernel_drops: kernel_drops(&own) };
    ends.end().await;
    let slowest_ms = job.scenario.nets.iter().map(|net| net.up.delay_ms).fold(0.0, f64::max);
    let late_ms = f64::from(job.latency_ms) + slowest_ms + LATE_MARGIN_MS;
    let received = sink.finish()?.judge(Expected { count: src.planned, warm: src.warm, late_ms });
    Ok(Row::new(job, src, received, &watched, around))
}

/// The scenario's links; none: sender and receiver meet directly.
async fn start_links(job: &Job, target: SocketAddr) -> anyhow::Result<Option<Emulator>> {
    if job.scenario.nets.is_empty() {
        return Ok(None);
    }
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let spec = |net: &strata_sim::Net| LinkSpec { listen, target, shape: net.up, down: Some(net.down), trace: None };
    let links = job.scenario.nets.iter().map(spec).collect();
    let config = Config { seed: job.seed, links, control: None, exit_idle_s: None };
    Emulator::start(&config).await.map(Some).context("cannot start the links")
}

/// Changes the links when it is time, and reads their counters each second, until the source has ended.
async fn follow_timeline(
    job: &Job,
    emulator: Option<&Emulator>,
    start: Instant,
    source: &Source,
    ends: &mut Ends,
) -> anyhow::Result<Watched> {
    let mut changes = job.scenario.changes.iter().peekable();
    let (mut watched, mut second) = (Watched::default(), Duration::ZERO);
    let give_up = start + job.scenario.duration + STALLED;
    loop {
        let next = changes.peek().map_or(second, |(at, ..)| second.min(*at));
        sleep_until(start + next).await;
        while let Some((_, link, change)) = changes.next_if(|(at, ..)| *at <= next) {
            if let Some(emulator) = emulator {
                watched.apply(emulator, *link, *change)?;
            }
        }
        if second <= next {
            second += Duration::from_secs(1);
            watched.seconds.push(stats(emulator));
            if source.ended() {
                return Ok(watched);
            }
            // Without either end the rest would say nothing more.
            if let Some(dead) = ends.dead().first() {
                bail!("the {dead} ended during the run: {}", ends.log_tail());
            }
            if Instant::now() > give_up {
                bail!("the source is {} s behind: this machine is too busy", STALLED.as_secs());
            }
        }
    }
}

impl Watched {
    fn apply(&mut self, emulator: &Emulator, link: usize, change: Change) -> anyhow::Result<()> {
        let handed = stats(Some(emulator)).get(link).map_or(0, |stats| stats.up.in_packets);
        self.into_dark.resize(self.into_dark.len().max(link + 1), 0);
        let into_dark = &mut self.into_dark[link];
        // While it is dark this holds what was handed over before, less what an earlier darkness swallowed.
        if matches!(change, Change::Dark | Change::Light) {
            *into_dark = handed - *into_dark;
        }
        match emulator.apply(&command(link, change)) {
            Reply::Error { message } => bail!("the emulator refused a change: {message}"),
            _ => Ok(()),
        }
    }

    /// The last counters; a link that is still dark has its sum now.
    fn end(&mut self, last: Vec<LinkStats>) {
        for (into_dark, link) in self.into_dark.iter_mut().zip(&last).filter(|(_, link)| link.cut) {
            *into_dark = link.up.in_packets - *into_dark;
        }
        self.seconds.push(last);
    }
}

fn stats(emulator: Option<&Emulator>) -> Vec<LinkStats> {
    match emulator.map(|emulator| emulator.apply(&Command::Stats)) {
        Some(Reply::Stats { links }) => links,
        _ => Vec::new(),
    }
}

fn command(link: usize, change: Change) -> Command {
    match change {
        Change::Rate(kbps) => {
            let change = ShapeChange { rate_kbps: Some(kbps), ..ShapeChange::default() };
            // The way back keeps its own rate.
            Command::Set { link, way: Some(Way::Up), change }
        }
        Change::Dark => Command::Cut { link },
        Change::Light => Command::Restore { link },
    }
}

/// The machine's load of the last minute.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Packets that the system dropped at these UDP sockets, because nobody read them in time.
fn kernel_drops(own: &[SocketAddr]) -> u64 {
    let text = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let drops = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        own.iter().any(|own| own.port() == port).then(|| fields.last()?.parse::<u64>().ok()).flatten()
    };
    text.lines().skip(1).filter_map(drops).sum()
}

#[cfg(test)]
mod tests {
    use strata_netem::protocol::Shape;
    use strata_sim::Net;

    use super::*;

    /// Hands packets to a link and waits until it has taken them.
    async fn hand(emulator: &Emulator, socket: &tokio::net::UdpSocket, packets: u64) {
        let before = stats(Some(emulator))[0].up.in_packets;
        for _ in 0..packets {
            socket.send_to(b"packet", emulator.addresses()[0]).await.unwrap();
        }
        while stats(Some(emulator))[0].up.in_packets < before + packets {
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn only_packets_handed_to_a_dark_link_count_as_sent_into_it() {
        let nets = vec![Net::shaped(Shape::default(), Shape::default())];
        let scenario = Scenario { nets, ..Scenario::named("S1").unwrap() };
        let job = Job { peer: Peer::Strata, scenario, latency_ms: 500, seed: 1 };
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let emulator = start_links(&job, socket.local_addr().unwrap()).await.unwrap().unwrap();
        let mut watched = Watched::default();
        hand(&emulator, &socket, 3).await;
        for (change, packets) in [(Change::Dark, 2), (Change::Light, 4), (Change::Dark, 5)] {
            watched.apply(&emulator, 0, change).unwrap();
            hand(&emulator, &socket, packets).await;
        }
        watched.end(stats(Some(&emulator)));
        assert_eq!(watched.into_dark, [7]);
        assert_eq!(watched.seconds[0][0].up.in_packets, 14);
    }
}
