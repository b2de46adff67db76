//! Which datagrams had to arrive, judged from the network alone.
//!
//! The oracle knows the links, their faults and the stream, and nothing of what the
//! engine thought or did. It looks at the bond as one server with a queue:
//!
//! - A link serves while it is good: connected, both ways open, losing at most a tenth. After anything on it got
//!   worse it counts only once that may have been noticed and undone ([`Path::recovery`]).
//! - It serves 70 % of its rate: the rest is for reports of queues that come a round trip late. It begins at so many
//!   packets a round trip and doubles with each, anew after each fault of any link: who never filled a link cannot
//!   know what it carries.
//! - The stream asks for 125 % of its bytes on the wire: repeats, pings, packets in two halves.
//! - What was on a link when it failed waits again once silence can be told from delay ([`Path::silence`]).
//!
//! A datagram *must* arrive if, somewhere between two faults in its time, the queue before it is served and time
//! is left for a first try over the slowest link and then, over some link, for so many tries that all of them fail
//! for one datagram in a million. In all other cases nothing is said. Whoever is started anew takes what it held along: a datagram in whose time that falls is not judged.

use std::time::Duration;

use strata_sim::network::{HEADERS, Kind, Network};
use strata_sim::{Net, Sim};

/// Time goes in such steps.
const STEP: Duration = Duration::from_millis(10);
/// Of a link's rate.
const SERVED: f64 = 0.7;
/// Of the stream's bytes.
const ASKED: f64 = 1.25;
/// What a link may carry in its first round trip, in bytes: forty packets, twice what the engine begins with …
const FIRST_WINDOW: f64 = 56_000.0;
/// … and after it came back, ten, as RFC 6928 has it.
const WINDOW_AGAIN: f64 = 14_000.0;
/// A standing queue of an engine that means to keep it short.
const QUEUE_MS: f64 = 60.0;
/// From an arrival to the report that tells of it, and the timers of both ends.
const REPORT_MS: f64 = 30.0;
/// Losing more, a link is not good.
const GOOD_LOSS: f64 = 0.1;
/// All tries fail for one datagram in so many.
const FAIL: f64 = 1e-6;
/// The clocks' drift within the minute over which the receiver looks at them, and rounding.
const CLOCK_MARGIN: Duration = Duration::from_millis(15);

/// A link at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Path {
    good: bool,
    /// Bytes per second.
    rate: f64,
    /// How long a packet may take to the receiver, in milliseconds.
    there_ms: f64,
    /// The same, and until the sender has heard of it.
    round_trip_ms: f64,
    loss: f64,
    burst: f64,
    burst_packets: f64,
    queue_ms: f64,
}

impl Path {
    fn of(net: Option<&Net>) -> Self {
        let Some(net) = net else {
            return Self {
                good: false,
                rate: 0.0,
                there_ms: 0.0,
                round_trip_ms: 0.0,
                loss: 1.0,
                burst: 0.0,
                burst_packets: 1.0,
                queue_ms: 0.0,
            };
        };
        let (up, down) = (&net.up, &net.down);
        // Jitter is within four deviations.
        let there_ms =
            up.delay_ms + 4.0 * up.jitter_ms + QUEUE_MS + if up.reorder_percent > 0.0 { up.reorder_ms } else { 0.0 };
        let loss = up.loss_percent / 100.0;
        let open = !(net.dark || net.black_hole || net.mute);
        Self {
            good: open && loss <= GOOD_LOSS && down.loss_percent <= 30.0,
            rate: up.rate_kbps as f64 * 125.0,
            there_ms,
            round_trip_ms: there_ms + down.delay_ms + 4.0 * down.jitter_ms + REPORT_MS,
            loss,
            burst: up.burst_percent / 100.0,
            burst_packets: up.burst_packets,
            queue_ms: up.queue_ms,
        }
    }

    /// Whether anything is worse than `before`.
    fn worse_than(&self, before: &Self) -> bool {
        (before.good && !self.good)
            || self.rate < before.rate
            || self.there_ms > before.there_ms
            || self.round_trip_ms > before.round_trip_ms
            || self.loss > before.loss
    }

    /// How long silence may be delay: a round trip and what engines allow for surprises. What waits in a queue that
    /// drains more slowly than before comes later still.
    fn silence(&self, before: &Self) -> Duration {
        let slower = self.good && self.rate < before.rate;
        ms(before.round_trip_ms.max(self.round_trip_ms) + 150.0 + if slower { self.queue_ms } else { 0.0 })
    }

    /// From when it is good again until that is known: it is asked every 700 ms at least, and answers twice.
    fn recovery(&self) -> Duration {
        ms(750.0 + 2.0 * self.round_trip_ms)
    }
}

/// Something got worse.
#[derive(Debug, Clone, Copy)]
struct Onset {
    at: Duration,
    /// When it is known, and what it took along waits again.
    known: Duration,
}

/// All that the judgement needs, by steps.
#[derive(Debug)]
pub(crate) struct Oracle {
    latency: Duration,
    onsets: Vec<Onset>,
    restarts: Vec<Duration>,
    /// Datagrams are released the latency after they could have come over the fastest link.
    fastest: Duration,
    /// … or, as long as no other has shown itself, over the slowest.
    slowest: Duration,
    /// Bytes that wait at the end of each step.
    backlog: Vec<f64>,
    /// Bytes served before the end of each step.
    served: Vec<f64>,
    /// How long a datagram takes with all the tries it may need, in milliseconds; none: nothing serves.
    needs: Vec<Option<f64>>,
}

/// What is known of a link while time goes by.
#[derive(Clone, Copy)]
struct Watch {
    path: Path,
    /// Since when nothing got worse.
    since: Duration,
    failed: bool,
}

impl Oracle {
    pub(crate) fn new(network: &Network, sim: &Sim) -> Self {
        let steps = step(network.end() + network.latency()) + 1;
        let (mut asked, mut count) = (vec![0.0; steps], vec![0.0; steps]);
        for (at, payload) in &sim.pushed {
            let at = step(Duration::from_micros(at.as_micros())).min(steps - 1);
            // A half has headers of its own.
            let halves = if network.faults.iter().any(|fault| matches!(fault.kind, Kind::SmallPackets(_)))
                || network.links.iter().any(|link| payload.len() + HEADERS > link.max_datagram)
            {
                2
            } else {
                1
            };
            asked[at] += (payload.len() + HEADERS * halves) as f64 * ASKED;
            count[at] += 1.0;
        }
        let mut oracle = Self {
            latency: network.latency(),
            fastest: ms(network.links.iter().map(|link| link.up.delay_ms).fold(f64::MAX, f64::min)),
            slowest: ms(network.links.iter().map(|link| Path::of(Some(link)).there_ms).fold(0.0, f64::max)),
            onsets: Vec::new(),
            restarts: Vec::new(),
            backlog: Vec::with_capacity(steps),
            served: Vec::with_capacity(steps),
            needs: Vec::with_capacity(steps),
        };
        let mut links: Vec<Watch> = (0..network.links.len())
            .map(|link| Watch {
                path: Path::of(network.link_at(link, Duration::ZERO).as_ref()),
                since: Duration::ZERO,
                failed: false,
            })
            .collect();
        let (mut backlog, mut served) = (0.0f64, 0.0);
        let held = step(network.latency());
        for now in 0..steps {
            let recent = &asked[now.saturating_sub(held)..=now];
            if oracle.turn(network, STEP * u32::try_from(now).unwrap(), &mut links, &mut backlog) {
                backlog = recent.iter().sum();
            }
            let capacity = oracle.capacity(STEP * u32::try_from(now).unwrap(), &links) * STEP.as_secs_f64();
            // What has waited for the whole latency is gone.
            backlog = (backlog + asked[now]).min(recent.iter().sum());
            let serves = capacity.min(backlog);
            backlog -= serves;
            served += capacity;
            oracle.backlog.push(backlog);
            oracle.served.push(served);
            let second = &count[now.saturating_sub(50)..(now + 50).min(steps)];
            oracle.needs.push(Self::needs_at(STEP * u32::try_from(now).unwrap(), &links, second.iter().sum()));
        }
        oracle.onsets.sort_by_key(|onset| onset.at);
        oracle
    }

    /// What changes at a step; true if everything held has to be sent again.
    fn turn(&mut self, network: &Network, now: Duration, links: &mut [Watch], backlog: &mut f64) -> bool {
        let began = |kind: Kind| {
            let last = now.saturating_sub(STEP);
            network
                .faults
                .iter()
                .filter(move |fault| fault.kind == kind && fault.during.start > last && fault.during.start <= now)
        };
        for (link, watch) in links.iter_mut().enumerate() {
            let path = Path::of(network.link_at(link, now).as_ref());
            let before = std::mem::replace(&mut watch.path, path);
            let anew = [Kind::Renewed, Kind::AddressChange]
                .into_iter()
                .any(|kind| began(kind).any(|fault| fault.link == link));
            if anew || path.worse_than(&before) {
                let known = now + path.silence(&before);
                self.onsets.push(Onset { at: now.saturating_sub(STEP), known });
                *backlog += before.rate * before.round_trip_ms / 1000.0;
                (watch.since, watch.failed) = (now, true);
            }
            if !path.good {
                watch.since = now;
            }
        }
        let receiver = began(Kind::ReceiverRestart).count() > 0;
        if receiver || began(Kind::SenderRestart).count() > 0 {
            self.restarts.push(now);
            for watch in links.iter_mut() {
                watch.since = now;
                self.onsets.push(Onset { at: now.saturating_sub(STEP), known: now + watch.path.silence(&watch.path) });
            }
        }
        receiver
    }

    /// The links that serve now.
    fn serving(now: Duration, links: &[Watch]) -> impl Iterator<Item = &Watch> {
        links.iter().filter(move |watch| watch.path.good && watch.since + watch.path.recovery() <= now)
    }

    /// Bytes per second.
    fn capacity(&self, now: Duration, links: &[Watch]) -> f64 {
        let calm = self.onsets.iter().map(|onset| onset.known).max().unwrap_or_default();
        Self::serving(now, links)
            .map(|Watch { path, since, failed }| {
                let round_trip = path.round_trip_ms / 1000.0;
                let filled = now.saturating_sub(calm.max(*since + path.recovery())).as_secs_f64() / round_trip;
                let window = if *failed { WINDOW_AGAIN } else { FIRST_WINDOW };
                (path.rate * (1.0 - path.loss - path.burst) * SERVED).min(window * filled.exp2() / round_trip)
            })
            .sum()
    }

    fn needs_at(now: Duration, links: &[Watch], datagrams_a_second: f64) -> Option<f64> {
        let serving: Vec<&Path> = Self::serving(now, links).map(|watch| &watch.path).collect();
        // What shows that a packet is missing is the next one, or a ping.
        let between = (1000.0 * serving.len() as f64 / datagrams_a_second.max(1.0)).min(60.0);
        let slowest = serving.iter().map(|path| path.round_trip_ms).reduce(f64::max)? + between;
        let needs = serving.iter().filter_map(|path| {
            let each_ms = path.round_trip_ms + between;
            // The burst that took one try may take the next.
            let passed = datagrams_a_second * each_ms / 1000.0 / serving.len() as f64;
            let again = (1.0 - 1.0 / path.burst_packets).powf(passed);
            let fails = path.loss + path.burst + if path.burst > 0.0 { again } else { 0.0 };
            let tries = (FAIL.ln() / fails.max(FAIL).ln()).ceil();
            (fails < 0.5).then(|| slowest + each_ms * (tries - 2.0).max(0.0) + path.there_ms)
        });
        needs.reduce(f64::min)
    }

    /// Whether the datagram handed over at `pushed` must arrive.
    pub(crate) fn must(&self, pushed: Duration) -> bool {
        let due = pushed + self.latency + self.fastest - CLOCK_MARGIN;
        let released = pushed + self.latency + self.slowest + CLOCK_MARGIN;
        if self.restarts.iter().any(|&restart| pushed <= restart + STEP && restart <= released) {
            return false;
        }
        let starts = self.onsets.iter().filter(|onset| onset.at <= due).map(|onset| onset.known.max(pushed));
        std::iter::once(pushed).chain(starts).any(|start| {
            let clear = self.onsets.iter().all(|onset| onset.at > start || onset.known <= start);
            let end =
                self.onsets.iter().map(|onset| onset.at).filter(|&at| at > start).chain([due]).min().unwrap_or(due);
            clear && start < end && self.served_and_repaired(start, end)
        })
    }

    /// Whether what waits at `start` is served, and a datagram behind it tried often enough, before `end`.
    fn served_and_repaired(&self, start: Duration, end: Duration) -> bool {
        let (first, last) = (step(start), step(end).min(self.served.len() - 1));
        let goal = self.served[first] + self.backlog[first];
        let Some(sent) = (first..=last).find(|&at| self.served[at] >= goal) else { return false };
        // The worst moment until its end counts.
        let needs = self.needs[sent..=last].iter().copied().reduce(|a, b| Some(a?.max(b?))).flatten();
        needs.is_some_and(|needs| STEP * u32::try_from(sent + 1).unwrap() + ms(needs) <= end)
    }
}

fn step(at: Duration) -> usize {
    usize::try_from(at.as_millis() / STEP.as_millis()).unwrap()
}

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}
