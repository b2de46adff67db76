//! Half an hour in which the two ends' clocks drift apart: what comes out follows the source's clock, whatever the
//! paths do meanwhile.

use std::time::Duration;

use strata_bond::Time;
use strata_sim::{Clock, MS, Net, Sim};

const RUN: Duration = Duration::from_secs(30 * 60);
/// So long the receiver takes to know how far the clocks are apart: its minute of samples, and half of that again.
const SETTLED: Duration = Duration::from_secs(90);
/// How far the output's clock may be from the source's, in parts per million.
const MOST_PPM: f64 = 10.0;

/// A datagram: when it was handed over and how long it took to come out, by the true time.
type Point = (Duration, Duration);

/// The sender's clock drifts against the receiver's; the faster link is dark for some seconds at some moments.
fn run(drift_ppm: i32, dark: &[(u64, u64)]) -> Vec<Point> {
    run_beside(60, drift_ppm, dark)
}

/// The same beside a link of so many milliseconds.
fn run_beside(slower_ms: u32, drift_ppm: i32, dark: &[(u64, u64)]) -> Vec<Point> {
    let nets = [Net::new(2000, 20, 0.005).jitter(8), Net::new(2000, slower_ms, 0.0).jitter(8)];
    let clock = |start, drift_ppm| Clock { start: Duration::from_secs(start), drift_ppm };
    let mut sim = Sim::with_clocks(1, 1000, &nets, [clock(0, drift_ppm), clock(3600, 0)]);
    for &(at, lasts) in dark {
        stream_until(&mut sim, at);
        sim.nets[0].dark = true;
        stream_until(&mut sim, at + lasts);
        sim.nets[0].dark = false;
    }
    stream_until(&mut sim, RUN.as_secs());
    sim.finish();
    sim.assert_all_delivered();
    let points = sim.pushed.iter().zip(&sim.released);
    points.map(|((pushed, _), (at, _))| (pushed.since(Time::ZERO), at.since(*pushed))).collect()
}

/// Small datagrams: only their times count.
fn stream_until(sim: &mut Sim, second: u64) {
    sim.stream(80_000, 100, (Time::ZERO + Duration::from_secs(second)).since(sim.now));
}

/// The slope of the output's clock above the source's, in parts per million.
fn slope_ppm(points: &[Point]) -> f64 {
    let count = points.len() as f64;
    let seconds = |(pushed, took): &Point| (pushed.as_secs_f64(), took.as_secs_f64());
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(seconds).map(|(x, y)| of(x, y)).sum::<f64>();
    let (x, y) = (sum(&|x, _| x) / count, sum(&|_, y| y) / count);
    sum(&|at, took| (at - x) * (took - y)) / sum(&|at, _| (at - x).powi(2)) * 1e6
}

fn settled(points: &[Point]) -> &[Point] {
    &points[points.partition_point(|(pushed, _)| *pushed < SETTLED)..]
}

/// The mean time from handing over to coming out in the minute that begins at `minute`, in milliseconds.
fn delay_ms(points: &[Point], minute: u64) -> f64 {
    let of_minute: Vec<f64> = points
        .iter()
        .filter(|(pushed, _)| pushed.as_secs() / 60 == minute)
        .map(|(_, took)| took.as_secs_f64() * 1e3)
        .collect();
    of_minute.iter().sum::<f64>() / of_minute.len() as f64
}

/// No decoder may notice: what follows each other in the source does so in the output.
fn assert_no_step(points: &[Point]) {
    let step = points.windows(2).map(|pair| pair[0].1.abs_diff(pair[1].1)).max();
    assert!(step < Some(MS), "{step:?}");
}

#[test]
fn the_output_follows_the_sources_clock_not_the_receivers() {
    for drift_ppm in [100, -100] {
        let points = run(drift_ppm, &[]);
        let ppm = slope_ppm(settled(&points));
        assert!(ppm.abs() < MOST_PPM, "{drift_ppm}: {ppm:.2} ppm");
        assert_no_step(&points);
    }
}

#[test]
fn the_faster_link_going_dark_and_coming_back_changes_nothing() {
    for drift_ppm in [100, -100] {
        let points = run(drift_ppm, &[(300, 30), (700, 20), (1000, 50)]);
        let ppm = slope_ppm(settled(&points));
        assert!(ppm.abs() < MOST_PPM, "{drift_ppm}: {ppm:.2} ppm");
        assert_no_step(&points);
    }
}

#[test]
fn the_faster_link_missing_for_minutes_leaves_no_delay_behind() {
    let points = run_beside(120, 100, &[(300, 200), (900, 200)]);
    let [before, meanwhile, after] = [4, 7, 29].map(|minute| delay_ms(&points, minute));
    assert!(meanwhile > before + 20.0, "the slower path's delay counts: {before:.1} {meanwhile:.1}");
    // Latency and faster path; what is not taken back (docs/protocol/bond.md); jitter.
    assert!(after < 1020.0 + 40.0 + 8.0, "{before:.1} {after:.1}");
    assert_no_step(&points);
}
