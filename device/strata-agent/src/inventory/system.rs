//! How the machine does: processor, memory, temperature, disk, time since boot; from procfs and sysfs.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use strata_control::Usage;

/// The numbers of one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct SystemStatus {
    /// Share of all processor cores in use since the last look, 0–100.
    pub cpu_percent: f32,
    /// Memory.
    pub memory: Usage,
    /// The hottest sensor, in degrees Celsius.
    pub temperature_c: Option<f32>,
    /// Disk of the data partition.
    pub disk: Usage,
    /// Seconds since boot.
    pub uptime_s: u64,
}

/// Looks at the machine; remembers the processor's counters between two looks.
#[derive(Debug)]
pub struct SystemProbe {
    data: PathBuf,
    former: CpuTime,
}

/// Clock ticks of all cores since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct CpuTime {
    busy: u64,
    all: u64,
}

impl SystemProbe {
    /// Prepares; `data` is on the partition whose room matters.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self { data, former: cpu_time(&read("/proc/stat")) }
    }

    /// The numbers now.
    #[must_use]
    pub fn look(&mut self) -> SystemStatus {
        let now = cpu_time(&read("/proc/stat"));
        let cpu_percent = share(self.former, now);
        self.former = now;
        SystemStatus {
            cpu_percent,
            memory: memory(&read("/proc/meminfo")),
            temperature_c: temperature(Path::new("/sys/class/thermal")),
            disk: disk(&self.data),
            uptime_s: uptime(&read("/proc/uptime")),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// First line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …`.
fn cpu_time(stat: &str) -> CpuTime {
    let line = stat.lines().next().unwrap_or_default();
    // Guest time is part of user time already.
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).take(8).filter_map(|text| text.parse().ok()).collect();
    let all = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    CpuTime { busy: all - idle, all }
}

fn share(former: CpuTime, now: CpuTime) -> f32 {
    let all = now.all.saturating_sub(former.all);
    if all == 0 {
        return 0.0;
    }
    // Tick counts between two looks are far below 2^24.
    (100.0 * now.busy.saturating_sub(former.busy) as f32 / all as f32).clamp(0.0, 100.0)
}

fn memory(meminfo: &str) -> Usage {
    let bytes = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let total_bytes = bytes("MemTotal").unwrap_or(0);
    let available = bytes("MemAvailable").unwrap_or(0);
    Usage { used_bytes: total_bytes.saturating_sub(available), total_bytes }
}

fn temperature(zones: &Path) -> Option<f32> {
    let zones = fs::read_dir(zones).ok()?;
    zones
        .flatten()
        .filter_map(|zone| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse::<f32>().ok())
        .map(|millidegrees| millidegrees / 1_000.0)
        // Sensors that are not there report absurd numbers.
        .filter(|degrees| (-40.0..150.0).contains(degrees) && *degrees != 0.0)
        .reduce(f32::max)
}

/// Room on the file system that holds `path`, or will once it is made; zeroes when it cannot be asked.
pub(crate) fn disk(path: &Path) -> Usage {
    let Some(room) = path.ancestors().find_map(|path| statvfs(path).ok()) else { return Usage::default() };
    let bytes = |blocks: u64| blocks * room.fragment_size();
    // What only root may use counts as used.
    let total_bytes = bytes(room.blocks());
    Usage { used_bytes: total_bytes.saturating_sub(bytes(room.blocks_available())), total_bytes }
}

fn uptime(text: &str) -> u64 {
    text.split('.').next().and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_share_is_between_two_looks() {
        let former = cpu_time("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n");
        assert_eq!(former, CpuTime { busy: 200, all: 1_000 });
        let now = cpu_time("cpu  200 0 150 1000 150 0 0 0 50 0\n");
        assert!((share(former, now) - 30.0).abs() < 0.01);
        assert_eq!(share(now, now), 0.0);
        assert_eq!(cpu_time(""), CpuTime::default());
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let usage = memory("MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    400 kB\n");
        assert_eq!(usage, Usage { used_bytes: 600 * 1024, total_bytes: 1000 * 1024 });
    }

    #[test]
    fn the_hottest_sensor_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(temperature(folder.path()), None);
        for (zone, text) in [("a", "41500"), ("b", "48000\n"), ("c", "-274000"), ("d", "garbage")] {
            fs::create_dir(folder.path().join(zone)).unwrap();
            fs::write(folder.path().join(zone).join("temp"), text).unwrap();
        }
        assert_eq!(temperature(folder.path()), Some(48.0));
    }

    #[test]
    fn this_machine_has_memory_a_disk_and_an_age() {
        let status = SystemProbe::new("/".into()).look();
        assert!(status.memory.total_bytes > status.memory.used_bytes && status.memory.used_bytes > 0);
        assert!(status.disk.total_bytes > 0 && status.uptime_s > 0);
    }
}
