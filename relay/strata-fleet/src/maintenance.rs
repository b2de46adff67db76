//! What admins have a device do with itself: update, roll back, reboot, factory reset; and its log for support.
//!
//! Each is a command that has succeeded when the device acknowledged it; how
//! it goes on is the device's to report. Owns the checks of what is sent and
//! the audit lines. Does not own the history of updates (`updates`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use strata_control::{
    AgentRollback, AgentUpdate, CommandResult, DeviceId, DeviceReboot, DeviceReset, LogRequest, RelayMessage,
    UpdateSchedule,
};
use strata_relay_db::{AuditEntry, DeviceRecord, Role};

use crate::agent::LogAnswer;
use crate::devices::NO_DEVICE;
use crate::inner::{Inner, checked_text, require};
use crate::url::{Expected, parse_url};
use crate::{Actor, Fleet, FleetError, UpdateDevice};

/// Where bundles are fetched from.
const HTTP: Expected = Expected {
    schemes: &[("http", 80), ("https", 443)],
    words: "http:// or https://",
    no_user: "the device does not log in where it fetches bundles",
};
/// The longest version of a bundle, in characters.
const MAX_VERSION_CHARS: usize = 64;
/// How much of a device's answer goes into the audit log, in characters.
const MAX_OUTCOME_CHARS: usize = 300;
/// Log lines when no number is given, and at most.
const LOG_LINES: (u32, u32) = (1_000, 10_000);
/// The largest log that is handed on, in bytes; of a larger one the newest lines.
const MAX_LOG_BYTES: usize = 4 * 1024 * 1024;
/// How long the lines of a log may take: more than the 20 s that an agent reads its journal for, less than the 30 s
/// within which a request is answered.
const LOG_WITHIN: Duration = Duration::from_secs(25);

impl Fleet {
    /// Has a device install a bundle. Returns when the device accepted it; its status tells how it goes. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`]; [`FleetError::Invalid`] names the value;
    /// [`FleetError::DeviceOffline`], [`FleetError::DeviceRefused`], [`FleetError::DeviceSilent`].
    pub async fn update_device(&self, actor: &Actor, id: DeviceId, update: UpdateDevice) -> Result<(), FleetError> {
        let device = self.maintained(actor, id).await?;
        let update = checked_update(update)?;
        let what = update_text(&update);
        let order = Order { action: "device.update", what, message: RelayMessage::AgentUpdate(update) };
        self.inner.order(actor, device, order).await
    }

    /// Has a device go back to the other slot's version. Returns when the device accepted it. For admins.
    ///
    /// # Errors
    /// As [`update_device`](Self::update_device).
    pub async fn roll_back_device(&self, actor: &Actor, id: DeviceId, even_if_live: bool) -> Result<(), FleetError> {
        let device = self.maintained(actor, id).await?;
        let message = RelayMessage::AgentRollback(AgentRollback { even_if_live });
        let order = Order { action: "device.roll_back", what: if_live(even_if_live).to_owned(), message };
        self.inner.order(actor, device, order).await
    }

    /// Has a device reboot. Returns when the device accepted it. For admins.
    ///
    /// # Errors
    /// As [`update_device`](Self::update_device).
    pub async fn reboot_device(&self, actor: &Actor, id: DeviceId, even_if_live: bool) -> Result<(), FleetError> {
        let device = self.maintained(actor, id).await?;
        let message = RelayMessage::DeviceReboot(DeviceReboot { even_if_live });
        let order = Order { action: "device.reboot", what: if_live(even_if_live).to_owned(), message };
        self.inner.order(actor, device, order).await
    }

    /// Has a device reset itself to how it left the factory. Returns when the device accepted it. For admins.
    ///
    /// # Errors
    /// As [`update_device`](Self::update_device).
    pub async fn reset_device(&self, actor: &Actor, id: DeviceId, keep_identity: bool) -> Result<(), FleetError> {
        let device = self.maintained(actor, id).await?;
        let what = if keep_identity { "keeping its identity" } else { "its identity too" }.to_owned();
        let message = RelayMessage::DeviceReset(DeviceReset { keep_identity });
        self.inner.order(actor, device, Order { action: "device.reset", what, message }).await
    }

    /// The newest lines of a device's log, oldest first. For operators; the audit log says who fetched it.
    ///
    /// # Errors
    /// As [`update_device`](Self::update_device), or the storage failed.
    pub async fn device_log(&self, actor: &Actor, id: DeviceId, lines: Option<u32>) -> Result<Vec<String>, FleetError> {
        require(actor, Role::Operator)?;
        let device = self.inner.db.device(actor.owner_id, id).await?.ok_or(NO_DEVICE)?;
        let (default, most) = LOG_LINES;
        let lines = lines.unwrap_or(default);
        if !(1..=most).contains(&lines) {
            return Err(FleetError::Invalid { message: format!("{lines} log lines: 1 to {most} expected") });
        }
        let fetched = self.inner.fetch_log(&device, lines).await;
        let outcome = match &fetched {
            Ok(log) => format!("{} handed out", log.len()),
            Err(error) => shortened(error),
        };
        let detail = format!("{lines} lines asked for: {outcome}");
        // A journal tells much of who uses the device: it is handed out on the record or not at all.
        self.inner.db.add_audit(&Inner::audit(actor, "device.log", format!("device {}", device.name), detail)).await?;
        fetched
    }

    /// The device, for an actor who may have it do such things.
    async fn maintained(&self, actor: &Actor, id: DeviceId) -> Result<DeviceRecord, FleetError> {
        require(actor, Role::Admin)?;
        self.inner.db.device(actor.owner_id, id).await?.ok_or(NO_DEVICE)
    }
}

/// A command, and what the audit log says of it.
struct Order {
    action: &'static str,
    what: String,
    message: RelayMessage,
}

impl Inner {
    /// Sends a command, waits for the answer, and writes both to the audit log: in a task of its own, as whoever asked
    /// may go away before the device answers.
    async fn order(self: &Arc<Self>, actor: &Actor, device: DeviceRecord, order: Order) -> Result<(), FleetError> {
        let Order { action, what, message } = order;
        let entry = Self::audit(actor, action, format!("device {}", device.name), what);
        let inner = self.clone();
        let task = self.tasks.spawn(async move {
            let outcome = inner.command(device.id, &device.name, message).await;
            let detail = format!("{}: {}", entry.detail, outcome_text(&outcome));
            let entry = AuditEntry { at: Timestamp::now(), detail, ..entry };
            // The device was told: a disk that is full changes nothing about that.
            if let Err(error) = inner.db.add_audit(&entry).await {
                tracing::error!(%error, action, device = device.name, "cannot write the audit log");
            }
            outcome
        });
        task.await.unwrap_or_else(|error| {
            let context = "the command to the device broke off".to_owned();
            Err(FleetError::Internal { context, source: Box::new(error) })
        })
    }

    async fn fetch_log(&self, device: &DeviceRecord, lines: u32) -> Result<Vec<String>, FleetError> {
        let offline = || FleetError::DeviceOffline { device: device.name.clone() };
        let message = RelayMessage::LogRequest(LogRequest { stream_id: None, lines });
        let LogAnswer { answer, mut chunks } =
            self.devices.command_for_log(device.id, message).map_err(|_| offline())?;
        let read = async {
            match answer.await {
                Ok(CommandResult::Done) => {}
                Ok(CommandResult::Refused { code, message }) => {
                    return Err(FleetError::DeviceRefused { code, message });
                }
                Err(_) => return Err(offline()),
            }
            let mut log = NewestLines::new(lines);
            loop {
                let Some(chunk) = chunks.recv().await else { return Err(broke_off(device)) };
                chunk.lines.into_iter().for_each(|line| log.push(line));
                if chunk.last {
                    return Ok(log.lines.into());
                }
            }
        };
        let late = |_| FleetError::DeviceSilent { waited: LOG_WITHIN };
        tokio::time::timeout(LOG_WITHIN, read).await.map_err(late)?
    }
}

/// Lines up to a number and a size, the newest.
struct NewestLines {
    lines: VecDeque<String>,
    /// What they take in memory.
    bytes: usize,
    /// How many were asked for; a device that sends more, empty ones too, fills no memory with them.
    most: usize,
}

impl NewestLines {
    fn new(most: u32) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, most: usize::try_from(most).unwrap_or(usize::MAX) }
    }

    fn push(&mut self, line: String) {
        self.bytes += Self::size(&line);
        self.lines.push_back(line);
        while self.bytes > MAX_LOG_BYTES || self.lines.len() > self.most {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= Self::size(&oldest);
        }
    }

    fn size(line: &str) -> usize {
        line.len() + size_of::<String>()
    }
}

fn broke_off(device: &DeviceRecord) -> FleetError {
    let message = format!("the log of {} broke off before its end: ask for fewer lines, or again", device.name);
    FleetError::Conflict { message }
}

fn if_live(even_if_live: bool) -> &'static str {
    if even_if_live { "even while a stream is live" } else { "unless a stream is live" }
}

fn outcome_text(outcome: &Result<(), FleetError>) -> String {
    match outcome {
        Ok(()) => "accepted".to_owned(),
        Err(error) => shortened(error),
    }
}

fn shortened(error: &FleetError) -> String {
    error.to_string().chars().take(MAX_OUTCOME_CHARS).collect()
}

/// For the audit log; what follows a `?` in an address may be a permission to fetch it.
fn update_text(update: &AgentUpdate) -> String {
    let address = update.bundle_url.split(['?', '#']).next().unwrap_or_default();
    let when = match (update.install, update.reboot) {
        (UpdateSchedule::WhenIdle, UpdateSchedule::WhenIdle) => String::new(),
        (install, reboot) => format!(", install {}, reboot {}", when_text(install), when_text(reboot)),
    };
    let metered = if update.over_metered { ", over metered links too" } else { "" };
    format!("to {} from {address}{when}{metered}", update.version)
}

fn when_text(schedule: UpdateSchedule) -> String {
    match schedule {
        UpdateSchedule::WhenIdle => "when idle".to_owned(),
        UpdateSchedule::Now => "now".to_owned(),
        UpdateSchedule::NotBefore { at } => format!("not before {at}"),
    }
}

fn checked_update(update: UpdateDevice) -> Result<AgentUpdate, FleetError> {
    let invalid = |message| FleetError::Invalid { message };
    let bundle_url = update.bundle_url.trim().to_owned();
    parse_url(&bundle_url, &HTTP).map_err(|why| invalid(format!("the bundle's address: {why}")))?;
    let version = checked_text("version", &update.version, MAX_VERSION_CHARS)?;
    if !is_version(&version) {
        return Err(invalid(format!("“{version}” is not a version: three numbers are expected, such as 1.4.0")));
    }
    let manifest_sha256 = update.manifest_sha256.map(|text| text.trim().to_ascii_lowercase());
    if let Some(digest) = &manifest_sha256
        && (digest.len() != 64 || !digest.chars().all(|digit| digit.is_ascii_hexdigit()))
    {
        return Err(invalid("the manifest's SHA-256 is not 64 hexadecimal digits".to_owned()));
    }
    let UpdateDevice { over_metered, install, reboot, .. } = update;
    Ok(AgentUpdate { bundle_url, version, manifest_sha256, over_metered, install, reboot })
}

/// Whether a text is `MAJOR.MINOR.PATCH`, perhaps with `-PRERELEASE` and `+BUILD` (semver.org).
fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (numbers, prerelease) = text.split_once('-').map_or((text, None), |(text, pre)| (text, Some(pre)));
    let digits = |part: &str| !part.is_empty() && part.chars().all(|digit| digit.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let words = |part: Option<&str>| part.is_none_or(|part| part.split('.').all(word));
    numbers.split('.').count() == 3 && numbers.split('.').all(number) && words(prerelease) && words(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(bundle_url: &str, version: &str) -> UpdateDevice {
        UpdateDevice {
            bundle_url: bundle_url.to_owned(),
            version: version.to_owned(),
            manifest_sha256: None,
            over_metered: false,
            install: UpdateSchedule::WhenIdle,
            reboot: UpdateSchedule::WhenIdle,
        }
    }

    fn refusal(update: UpdateDevice) -> String {
        checked_update(update).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_a_bundle_is_refused_with_its_value() {
        let address = "https://updates.example/strata-1.4.0.raucb";
        for version in ["1.4.0", "0.1.10", "2026.3.1", "1.4.0-rc.1", "1.4.0+g12ab", "1.4.0-rc-2+g12ab.dirty"] {
            assert_eq!(checked_update(update(address, version)).unwrap().version, version);
        }
        for version in
            ["1.4", "v1.4.0", "1.4.0.1", "1.04.0", "1..0", "1.4.0-", "1.4.0+", "latest", "1.4.0-rc 1", "1.4.é"]
        {
            assert!(refusal(update(address, version)).contains(version), "{version}");
        }
        assert!(refusal(update(address, "")).contains("empty"));
        assert!(refusal(update(address, &"1".repeat(65))).contains("at most 64"));
        for (url, why) in [
            ("ftp://updates.example/a.raucb", "ftp://"),
            ("/tmp/a.raucb", "no scheme"),
            ("file:///tmp/a.raucb", "http:// or https://"),
            ("https://me:secret@updates.example/a.raucb", "user name"),
            ("https:///a.raucb", "not a host name"),
            ("https://updates.example/a b", "spaces"),
        ] {
            let refusal = refusal(update(url, "1.4.0"));
            assert!(refusal.contains(why) && !refusal.contains("secret"), "{url}: {refusal}");
        }
        assert!(refusal(update(&format!("https://a.example/{}", "x".repeat(2_048)), "1.4.0")).contains("longer"));
        let digest = |text: &str| UpdateDevice { manifest_sha256: Some(text.to_owned()), ..update(address, "1.4.0") };
        assert!(refusal(digest("abc")).contains("64 hexadecimal"));
        let checked = checked_update(digest(&"AB".repeat(32))).unwrap();
        assert_eq!(checked.manifest_sha256, Some("ab".repeat(32)));
    }

    #[test]
    fn the_audit_log_keeps_no_permission_to_fetch_a_bundle() {
        let update = update("https://updates.example/a.raucb?signature=secret", "1.4.0");
        let update = UpdateDevice { install: UpdateSchedule::Now, over_metered: true, ..update };
        let text = update_text(&checked_update(update).unwrap());
        assert_eq!(
            text,
            "to 1.4.0 from https://updates.example/a.raucb, install now, reboot when idle, over metered links too"
        );
    }

    #[test]
    fn of_a_log_that_is_too_large_the_newest_lines_are_kept() {
        let mut log = NewestLines::new(100);
        (0..10).for_each(|number| log.push(format!("{number}{}", "x".repeat(1024 * 1024))));
        let kept: Vec<&str> = log.lines.iter().map(|line| &line[..1]).collect();
        assert_eq!(kept, ["7", "8", "9"]);
    }

    #[test]
    fn a_device_that_sends_more_lines_than_were_asked_for_fills_no_memory() {
        let mut log = NewestLines::new(3);
        (0..10).for_each(|number| log.push(number.to_string()));
        assert_eq!(log.lines, ["7", "8", "9"]);
        let mut empty = NewestLines::new(u32::MAX);
        (0..400_000).for_each(|_| empty.push(String::new()));
        assert_eq!(empty.lines.len(), MAX_LOG_BYTES / size_of::<String>());
    }
}
