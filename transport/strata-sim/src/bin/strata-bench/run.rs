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
use crate::row::{Circumstances, Row, Seconds};
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
    let mut seconds = follow_timeline(job, emulator.as_ref(), start, &source, &mut ends).await?;
    let src = source.finish()?;
    load[1] = self::load();
    let dead = ends.dead();
    sleep(TAIL.max(Duration::from_millis(u64::from(job.latency_ms) + 1000))).await;

    seconds.push(stats(emulator.as_ref()));
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
    Ok(Row::new(job, src, received, &seconds, around))
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
) -> anyhow::Result<Seconds> {
    let mut changes = job.scenario.changes.iter().peekable();
    let (mut seconds, mut second) = (Vec::new(), Duration::ZERO);
    let give_up = start + job.scenario.duration + STALLED;
    loop {
        let next = changes.peek().map_or(second, |(at, ..)| second.min(*at));
        sleep_until(start + next).await;
        while let Some((_, link, change)) = changes.next_if(|(at, ..)| *at <= next) {
            if let Some(emulator) = emulator
                && let Reply::Error { message } = emulator.apply(&command(*link, *change))
            {
                bail!("the emulator refused a change: {message}");
            }
        }
        if second <= next {
            second += Duration::from_secs(1);
            seconds.push(stats(emulator));
            if source.ended() {
                return Ok(seconds);
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
