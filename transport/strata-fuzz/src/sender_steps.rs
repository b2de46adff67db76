//! The sender, fed with reports that are well-formed and far from true, while links come and go.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};

use crate::sender::{SESSION, WatchedSender};
use crate::steps::elapsed;
use crate::wire;

#[derive(Debug, Arbitrary)]
struct LinkReport {
    link: u8,
    hello: u8,
    highest: u32,
    age_us: u32,
    depth: u16,
    /// Distance and length; often in an order that no receiver writes.
    missing: Vec<(u16, u16)>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Push { count: u8, bytes: u16 },
    Wait { code: u8 },
    Report { instance: bool, clock_us: Clock, offset_us: Clock, latency_us: u32, next: u32, links: Vec<LinkReport> },
    Honest { age: u8, links: u8, missing: u8 },
    Up { link: u8, rtt: u8, max_datagram: u16 },
    Down { link: u8 },
    Remove { link: u8 },
    Latency { ms: u16 },
    MaxDatagram { link: u8, bytes: u16 },
    Raw { packet: Vec<u8> },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Clock {
    Near(i32),
    Any(i64),
}

impl From<Clock> for i64 {
    fn from(clock: Clock) -> Self {
        match clock {
            Clock::Near(us) => us.into(),
            Clock::Any(us) => us,
        }
    }
}

struct Harness {
    sender: WatchedSender,
    number: u64,
}

/// Steps as `arbitrary` finds them.
pub fn run(data: &[u8]) {
    let mut harness = Harness { sender: WatchedSender::new(2, Duration::from_millis(500)), number: 0 };
    let mut input = Unstructured::new(data);
    while !input.is_empty()
        && let Ok(step) = Step::arbitrary(&mut input)
    {
        harness.take(step);
        harness.sender.drain(drop);
    }
    harness.sender.finish();
}

impl Harness {
    fn take(&mut self, step: Step) {
        let now = self.sender.now;
        match step {
            Step::Push { count, bytes } => {
                for _ in 0..count {
                    self.sender.push(usize::from(bytes));
                }
            }
            Step::Wait { code } => self.sender.wait(elapsed(code), drop),
            Step::Report { instance, clock_us, offset_us, latency_us, next, links } => {
                let links: Vec<wire::LinkReport> = links.into_iter().map(Into::into).collect();
                self.report(
                    &wire::Report {
                        instance: instance.into(),
                        clock_us: now.as_micros().saturating_add_signed(clock_us.into()),
                        offset_us: offset_us.into(),
                        latency_us: (latency_us % 33_000_000).into(),
                        next: next.into(),
                        ..self.plain()
                    },
                    &links,
                );
            }
            Step::Honest { age, links, missing } => {
                let links = (0..links & 15).map(|link| self.honest(link, elapsed(age), missing)).collect::<Vec<_>>();
                self.report(&self.plain(), &links);
            }
            Step::Up { link, rtt, max_datagram } => {
                self.sender.sender.add_link(now, link & 15, "link");
                let max_datagram = usize::from(max_datagram).max(1150);
                self.sender.sender.link_up(now, link & 15, elapsed(rtt), max_datagram);
            }
            Step::Down { link } => self.sender.sender.link_down(link & 15, "test"),
            Step::Remove { link } => self.sender.sender.remove_link(link & 15),
            Step::Latency { ms } => {
                let latency = Duration::from_millis(u64::from(ms).clamp(20, 30_000));
                self.sender.sender.set_latency(now, latency);
            }
            Step::MaxDatagram { link, bytes } => {
                self.sender.sender.set_max_datagram(link & 15, usize::from(bytes).max(1150));
            }
            Step::Raw { packet } => {
                self.sender.packet(&packet.into());
            }
        }
    }

    /// What a receiver says to which nothing special happens.
    fn plain(&self) -> wire::Report {
        wire::Report {
            session: SESSION.to_le_bytes()[..4].iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte)),
            instance: 0,
            number: self.number + 1,
            clock_us: self.sender.now.as_micros(),
            offset_us: 0,
            latency_us: 500_000,
            next: 0,
            counters: [0; 5],
        }
    }

    /// Nearly all that was sent over a link arrived.
    fn honest(&self, link: u8, age: Duration, missing: u8) -> wire::LinkReport {
        let stats = self.sender.sender.stats(self.sender.now);
        let sent = stats.links.iter().find(|stats| stats.id == link).map_or(0, |stats| stats.sent_packets);
        wire::LinkReport {
            link,
            hello: 1,
            highest: sent,
            age_us: u64::try_from(age.as_micros()).unwrap_or(u64::MAX),
            depth: sent,
            missing: (0..u64::from(missing & 63)).map(|range| (1 + range * 2, 1)).collect(),
        }
    }

    fn report(&mut self, report: &wire::Report, links: &[wire::LinkReport]) {
        self.number += 1;
        self.sender.packet(&report.write(links));
    }
}

impl From<LinkReport> for wire::LinkReport {
    fn from(report: LinkReport) -> Self {
        Self {
            link: report.link & 15,
            hello: report.hello,
            highest: report.highest.into(),
            age_us: report.age_us.into(),
            depth: report.depth.into(),
            missing: report.missing.iter().map(|&(below, length)| (below.into(), length.into())).collect(),
        }
    }
}
