//! The receiver as a whole, fed with packets that are well-formed and far from reasonable.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use strata_bond::Time;

use crate::steps::elapsed;
use crate::watched::Watched;
use crate::wire;

/// The sender's clock when the receiver starts.
const CLOCK_US: u64 = 50_000_000;

/// How a number follows the one before.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Jump {
    Next,
    Back(u8),
    Skip(u8),
    Far(u32),
    FarBack(u32),
}

impl Jump {
    /// Moves `number` and returns what it is now.
    fn apply(self, number: &mut u64) -> u64 {
        match self {
            Self::Next => *number += 1,
            // Goes on from where it was afterwards.
            Self::Back(by) => return number.saturating_sub(by.into()),
            Self::FarBack(by) => return number.saturating_sub(by.into()),
            Self::Skip(by) => *number += u64::from(by) + 1,
            Self::Far(by) => *number += u64::from(by),
        }
        *number
    }
}

#[derive(Debug, Arbitrary)]
enum Step {
    Hello {
        connection: u8,
        session: u8,
        link: u8,
        number: u8,
        latency_us: Number,
        first_link_sequence: Number,
        first: Jump,
        clock_us: i32,
    },
    Data {
        connection: u8,
        link: Jump,
        stream: Jump,
        age: u8,
        future: bool,
        flags: u8,
        bytes: u16,
    },
    Burst {
        connection: u8,
        packets: u8,
        stream: Jump,
    },
    Ping {
        connection: u8,
        link: Jump,
    },
    Parity {
        connection: u8,
        link: Jump,
        /// How far before the newest datagram the block begins, or after it.
        first: i8,
        count: u8,
        total: u8,
        index: u8,
        bytes: u16,
    },
    Raw {
        connection: u8,
        packet: Vec<u8>,
    },
    Closed {
        connection: u8,
    },
    Wait {
        code: u8,
    },
}

/// Small, large or anything.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Number {
    Small(u16),
    Large(u32),
    Any(u64),
}

impl From<Number> for u64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Small(number) => number.into(),
            Number::Large(number) => number.into(),
            Number::Any(number) => number,
        }
    }
}

struct Harness {
    receiver: Watched,
    started: Time,
    link_sequence: u64,
    sequence: u64,
}

/// Steps as `arbitrary` finds them.
pub fn run(data: &[u8]) {
    let started = Time::from_micros(1_000_000_000);
    let receiver = Watched::new(started, Duration::from_millis(200));
    let mut harness = Harness { receiver, started, link_sequence: 0, sequence: 0 };
    let mut input = Unstructured::new(data);
    while !input.is_empty()
        && let Ok(step) = Step::arbitrary(&mut input)
    {
        harness.take(step);
    }
    harness.receiver.finish();
}

impl Harness {
    fn clock_us(&self) -> u64 {
        CLOCK_US + self.receiver.now().as_micros() - self.started.as_micros()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Hello { connection, session, link, number, latency_us, first_link_sequence, first, clock_us } => {
                let hello = wire::Hello {
                    number,
                    session: (session & 3).into(),
                    link: link & 31,
                    latency_us: latency_us.into(),
                    first_link_sequence: first_link_sequence.into(),
                    first_sequence: first.apply(&mut self.sequence.clone()),
                    clock_us: self.clock_us().saturating_add_signed(clock_us.into()),
                };
                self.packet(connection, &hello.write());
            }
            Step::Data { connection, link, stream, age, future, flags, bytes } => {
                let (link_sequence, sequence) = (link.apply(&mut self.link_sequence), stream.apply(&mut self.sequence));
                let age = i64::try_from(elapsed(age).as_micros()).unwrap_or(i64::MAX);
                let sent = self.clock_us().saturating_add_signed(if future { age } else { -age });
                self.packet(connection, &wire::data(flags & 7, link_sequence, sequence, sent, (bytes & 2047).into()));
            }
            Step::Burst { connection, packets, stream } => {
                for _ in 0..packets {
                    self.link_sequence += 1;
                    let sequence = stream.apply(&mut self.sequence);
                    self.packet(connection, &wire::data(0, self.link_sequence, sequence, self.clock_us(), 40));
                }
            }
            Step::Ping { connection, link } => {
                let link_sequence = link.apply(&mut self.link_sequence);
                self.packet(connection, &wire::ping(link_sequence));
            }
            Step::Parity { connection, link, first, count, total, index, bytes } => {
                let parity = wire::Parity {
                    link_sequence: link.apply(&mut self.link_sequence),
                    first: self.sequence.saturating_add_signed(first.into()),
                    // Mostly possible ones, of blocks of which most is there.
                    count: count % 70,
                    total: total % 34,
                    index: index % 34,
                    bytes: usize::from(bytes) % 1480,
                };
                self.packet(connection, &parity.write());
            }
            Step::Raw { connection, packet } => self.packet(connection, &packet.into()),
            Step::Closed { connection } => self.receiver.closed((connection & 31).into()),
            Step::Wait { code } => self.receiver.wait(elapsed(code)),
        }
    }

    fn packet(&mut self, connection: u8, packet: &Bytes) {
        self.receiver.packet((connection & 31).into(), packet);
    }
}
