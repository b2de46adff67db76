//! Who carries the stream: `strata-bond`, or another transport to compare with.

use std::ffi::OsString;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::source::last_line;

/// Long enough to connect on a machine that does eight other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// For peers that do not say when they are connected.
const SETTLE: Duration = Duration::from_secs(4);
/// A receiver listens after this time.
const LISTENS: Duration = Duration::from_secs(1);
/// Then it is killed.
const END: Duration = Duration::from_secs(5);

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// The project's own command.
    Strata,
    /// librist, load-share over the links, waiting out their skew.
    RistRo,
    /// SRT, over one link.
    Srt,
}

/// Where a peer's ends are.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    /// Where the sender takes the stream.
    pub(crate) input: SocketAddr,
    /// Where the sender sends to.
    pub(crate) links: &'a [SocketAddr],
    /// Where the receiver listens.
    pub(crate) listen: SocketAddr,
    /// Where the receiver sends to.
    pub(crate) output: SocketAddr,
    pub(crate) latency_ms: u32,
    /// For keys, statistics and logs.
    pub(crate) folder: &'a Path,
}

/// A peer's two running ends; both end when dropped.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) sender: Process,
    pub(crate) receiver: Process,
    /// Where the sender names its target.
    pub(crate) statistics: Option<PathBuf>,
    log: PathBuf,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: &'static str,
}

impl Peer {
    /// As on the command line and in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strata => "strata",
            Self::RistRo => "rist-ro",
            Self::Srt => "srt",
        }
    }

    /// Starts both ends and waits until they are connected.
    pub(crate) async fn start(self, places: &Places<'_>) -> anyhow::Result<Ends> {
        if self == Self::Srt && places.links.len() > 1 {
            bail!("srt has one link; this scenario has {}", places.links.len());
        }
        let log = places.folder.join("peers.log");
        let (receive, send) = match self {
            Self::Strata => strata(places).await?,
            Self::RistRo => rist(places),
            Self::Srt => srt(places),
        };
        let receiver = Process::spawn("receiver", receive, &log)?;
        sleep(LISTENS).await;
        let sender = Process::spawn("sender", send, &log)?;
        let statistics = (self == Self::Strata).then(|| places.folder.join("send.jsonl"));
        let mut ends = Ends { sender, receiver, statistics, log };
        ends.connected().await?;
        Ok(ends)
    }
}

/// A command line, the program first.
type Line = Vec<OsString>;

fn line(parts: &[&str]) -> Line {
    parts.iter().map(OsString::from).collect()
}

async fn strata(places: &Places<'_>) -> anyhow::Result<(Line, Line)> {
    let program = std::env::current_exe()?.with_file_name("strata-bond");
    let key = |side: &str| places.folder.join(format!("{side}.key"));
    let mut public = Vec::new();
    for side in ["send", "receive"] {
        let made = Command::new(&program).arg("keygen").arg(key(side)).output().await;
        let made = made.with_context(|| format!("cannot run {}: is it built?", program.display()))?;
        public.push(String::from_utf8(made.stdout)?.trim().to_owned());
    }
    let end = |side: &str, peer: &str, key_of_peer: &str| {
        let mut line = vec![program.clone().into_os_string()];
        line.extend([side.into(), "--key".into(), key(side).into_os_string(), peer.into(), key_of_peer.into()]);
        line.extend(["--latency".into(), format!("{}ms", places.latency_ms).into()]);
        line
    };
    let mut receive = end("receive", "--allow", &public[0]);
    receive.extend(["--listen".into(), places.listen.to_string().into()]);
    receive.extend(["--output".into(), format!("udp://{}", places.output).into()]);
    let mut send = end("send", "--peer", &public[1]);
    send.extend(["--input".into(), format!("udp://{}", places.input).into()]);
    send.extend(["--stats".into(), places.folder.join("send.jsonl").into_os_string()]);
    send.extend(["--stats-interval".into(), "100ms".into()]);
    send.extend(places.links.iter().flat_map(|link| ["--link".into(), link.to_string().into()]));
    Ok((receive, send))
}

fn rist(places: &Places<'_>) -> (Line, Line) {
    let latency = places.latency_ms.to_string();
    let options = format!("buffer={latency}&reorder-buffer=120");
    let weight = if places.links.len() > 1 { "&weight=5" } else { "" };
    let links: Vec<String> = places.links.iter().map(|link| format!("rist://{link}?{options}{weight}")).collect();
    let end = |program: &str, input: String, output: String| {
        line(&[program, "-p", "1", "-b", &latency, "-S", "0", "-v", "3", "-i", &input, "-o", &output])
    };
    let receive =
        end("ristreceiver", format!("rist://@{}?{options}", places.listen), format!("udp://{}", places.output));
    (receive, end("ristsender", format!("udp://@{}", places.input), links.join(",")))
}

fn srt(places: &Places<'_>) -> (Line, Line) {
    let options = format!("latency={}&transtype=live", places.latency_ms);
    let end = |input: String, output: String| line(&["srt-live-transmit", "-q", "-ll:fatal", &input, &output]);
    let receive = end(format!("srt://{}?mode=listener&{options}", places.listen), format!("udp://{}", places.output));
    let link = places.links[0];
    (receive, end(format!("udp://{}?rcvbuf=4194304", places.input), format!("srt://{link}?mode=caller&{options}")))
}

impl Ends {
    /// Waits until all links are up; of a peer that does not say, for the usual time.
    async fn connected(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        let patience = if self.statistics.is_some() { PATIENCE } else { SETTLE };
        while start.elapsed() < patience {
            if let Some(dead) = self.dead().first() {
                bail!("the {dead} ended: {}", self.log_tail());
            }
            if self.statistics.as_deref().is_some_and(all_up) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        if self.statistics.is_some() {
            bail!("the links are not up after {} s: {}", patience.as_secs(), self.log_tail());
        }
        Ok(())
    }

    /// The ends that have ended by themselves.
    pub(crate) fn dead(&mut self) -> Vec<&'static str> {
        [&mut self.sender, &mut self.receiver].into_iter().filter_map(Process::dead).collect()
    }

    /// The last words of both ends.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Ends both.
    pub(crate) async fn end(self) {
        for mut process in [self.sender, self.receiver] {
            process.end().await;
        }
    }
}

fn all_up(statistics: &Path) -> bool {
    let line = last_line(statistics);
    let links = line.as_ref().and_then(|line| line["links"].as_array());
    links.is_some_and(|links| links.iter().all(|link| link["state"] == "up"))
}

impl Process {
    fn spawn(name: &'static str, line: Line, log: &Path) -> anyhow::Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(&line[0])
            .args(&line[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}: is it installed?", line[0].display()))?;
        Ok(Self { child, name })
    }

    fn dead(&mut self) -> Option<&'static str> {
        matches!(self.child.try_wait(), Ok(Some(_))).then_some(self.name)
    }

    /// Processor seconds of all its threads so far; none when it has ended.
    pub(crate) fn cpu_s(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten()?;
        Some(ticks / per_second as f64)
    }

    async fn end(&mut self) {
        if let Some(pid) = self.child.id() {
            // One that has just ended is no error; what ignores the signal is killed when dropped.
            if kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).is_ok() {
                drop(timeout(END, self.child.wait()).await);
            }
        }
    }
}

/// A port of loopback that nobody uses now.
pub(crate) fn free_port() -> std::io::Result<SocketAddr> {
    UdpSocket::bind("127.0.0.1:0")?.local_addr()
}
