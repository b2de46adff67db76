//! What the image says of itself: its slots and updates, what is wrong with the device, and who it is.

use std::fs;

use strata_control::{
    AgentInfo, AgentUpdate, CommandResult, DeviceMessage, DeviceProblem, DeviceProblemKind, SlotName, SlotStatus,
    UpdateProgress,
};
use strata_update_protocol::{Install, Request};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Agent;
use crate::config::Config;
use crate::problems::{self, Watcher};
use crate::update::{Known, UpdateDaemon};

/// Said of a daemon that does not answer.
const DAEMON_MISSED: &str = "The update daemon does not answer: updates and the state of the slots are not known. \
                             Restart the device; if it stays so, read its journal.";

/// The image, as the agent sees it.
#[derive(Debug)]
pub(super) struct Image {
    /// Whether this machine runs one of ours.
    pub(super) is_ours: bool,
    daemon: UpdateDaemon,
    /// What the update daemon says, and whether it does.
    pub(super) known: watch::Receiver<Known>,
    /// What the agent and other programs found wrong.
    pub(super) found: watch::Receiver<Vec<DeviceProblem>>,
    /// How far the update was when the relay was last told.
    told: Option<UpdateProgress>,
}

impl Image {
    /// Looks in `tasks`. Begins with nothing: a disk that hangs must not keep the agent from its start.
    pub(super) fn watch(config: &Config, is_ours: bool, tasks: &mut JoinSet<()>) -> Self {
        let daemon = UpdateDaemon::new(config.update_socket.clone(), is_ours);
        let (known_sender, known) = watch::channel(Known::default());
        tasks.spawn(daemon.clone().watch(known_sender));
        let (found_sender, found) = watch::channel(vec![]);
        tasks.spawn(Watcher::new(config).run(found_sender));
        Self { is_ours, daemon, known, found, told: None }
    }

    /// For `device.status`.
    pub(super) fn slots_and_update(&self) -> (Vec<SlotStatus>, Option<UpdateProgress>) {
        let known = self.known.borrow();
        known.status.as_ref().map(|status| (status.slots.clone(), status.update.clone())).unwrap_or_default()
    }

    /// Everything that is wrong with the device.
    pub(super) fn problems(&self) -> Vec<DeviceProblem> {
        let (known, found) = (self.known.borrow(), self.found.borrow());
        let missed = known
            .is_missed
            .then(|| DeviceProblem { kind: DeviceProblemKind::Other, message: DAEMON_MISSED.to_owned() });
        let of_image = known.status.as_ref().map_or(&[][..], |status| &status.problems);
        problems::merged([missed.as_slice(), of_image, &found])
    }

    /// Hands a command to the update daemon.
    pub(super) fn command(&self, request: Request) -> impl Future<Output = CommandResult> + Send + use<> {
        let daemon = self.daemon.clone();
        async move { daemon.command(&request).await }
    }
}

impl Agent {
    /// The update daemon said something, or is gone.
    pub(super) fn update_changed(&mut self) {
        let known = self.image.known.borrow_and_update();
        let progress = known.status.as_ref().and_then(|status| status.update.clone());
        drop(known);
        if progress != self.image.told {
            self.tell_update(progress);
        }
        self.problems_changed();
    }

    /// A relay that was away missed what happened meanwhile: it is told the newest.
    pub(super) fn update_at_login(&mut self) {
        let (_, progress) = self.image.slots_and_update();
        self.tell_update(progress);
    }

    fn tell_update(&mut self, progress: Option<UpdateProgress>) {
        self.image.told.clone_from(&progress);
        if let Some(progress) = progress {
            self.say(DeviceMessage::UpdateProgress(progress));
        }
    }

    pub(super) fn problems_changed(&mut self) {
        self.image.found.mark_unchanged();
        self.status_is_due();
        self.publish();
    }
}

/// The relay's command as the update daemon takes it.
pub(super) fn install(update: AgentUpdate) -> Request {
    let AgentUpdate { bundle_url, version, manifest_sha256, over_metered, install, reboot } = update;
    Request::Install(Install {
        source: bundle_url,
        version: Some(version),
        manifest_sha256,
        over_metered,
        install,
        reboot,
    })
}

/// What runs here, for the relay.
pub(super) fn agent_info() -> AgentInfo {
    let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    AgentInfo {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname,
        arch: std::env::consts::ARCH.to_owned(),
        image_version: image_version(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        booted_slot: booted_slot(&fs::read_to_string("/proc/cmdline").unwrap_or_default()),
    }
}

/// The image's version in `os-release(5)`; none on another system than ours.
fn image_version(release: &str) -> Option<String> {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    value("ID").filter(|id| id == "strata")?;
    value("IMAGE_VERSION").or_else(|| value("VERSION_ID"))
}

/// The slot that the boot script named on the kernel's command line.
fn booted_slot(cmdline: &str) -> Option<SlotName> {
    match cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix("rauc.slot="))? {
        "A" => Some(SlotName::A),
        "B" => Some(SlotName::B),
        other => {
            tracing::warn!("the kernel's command line names the slot “{other}”: A or B expected");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use strata_control::{SlotState, UpdateStep};
    use strata_update_protocol::Status;

    use super::*;

    fn problem(kind: DeviceProblemKind, message: &str) -> DeviceProblem {
        DeviceProblem { kind, message: message.to_owned() }
    }

    #[test]
    fn a_missed_daemon_is_a_problem_and_what_it_said_last_still_told() {
        let slot = SlotStatus { name: SlotName::A, booted: true, state: SlotState::Good, version: None, reason: None };
        let update = UpdateProgress {
            version: "1.1".into(),
            slot: SlotName::B,
            percent: 40,
            step: UpdateStep::Downloading,
            error: None,
        };
        let boot = problem(DeviceProblemKind::Boot, "slot B was passed over");
        let status = Status {
            version: "1.0".into(),
            booted: SlotName::A,
            slots: vec![slot.clone()],
            update: Some(update.clone()),
            problems: vec![boot.clone()],
        };
        let data = problem(DeviceProblemKind::Data, "the disk is full");
        let (known_sender, known) = watch::channel(Known { status: Some(status), ..Known::default() });
        let (_found_sender, found) = watch::channel(vec![data.clone()]);
        let daemon = UpdateDaemon::new("/nowhere/update.sock".into(), true);
        let image = Image { is_ours: true, daemon, known, found, told: None };
        assert_eq!(image.problems(), [boot.clone(), data.clone()]);
        known_sender.send_modify(|known| known.is_missed = true);
        assert_eq!(image.problems(), [problem(DeviceProblemKind::Other, DAEMON_MISSED), boot, data]);
        assert_eq!(image.slots_and_update(), (vec![slot], Some(update)));
    }

    #[tokio::test]
    async fn a_look_that_hangs_keeps_nobody_from_going_on() {
        let folder = tempfile::tempdir().unwrap();
        // Opening it hangs until somebody writes.
        let pipe = folder.path().join("problems.json");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let text = ["state_dir", "run_dir", "log_dir", "media_dir"]
            .map(|key| format!("{key} = {:?}\n", folder.path().join(key)))
            .concat();
        let config = toml::from_str(&format!("{text}problem_files = [{pipe:?}]\n")).unwrap();
        let mut tasks = JoinSet::new();
        let mut image = Image::watch(&config, false, &mut tasks);
        assert!(tokio::time::timeout(Duration::from_millis(200), image.found.changed()).await.is_err());
        assert_eq!(image.problems(), []);
        tokio::fs::write(&pipe, r#"[{"kind":"data","message":"slow"}]"#).await.unwrap();
        image.found.changed().await.unwrap();
        assert_eq!(image.problems(), [problem(DeviceProblemKind::Data, "slow")]);
    }

    #[test]
    fn the_slot_is_what_the_boot_script_said() {
        for (cmdline, slot) in [
            ("root=/dev/vda3 rauc.slot=A quiet\n", Some(SlotName::A)),
            ("rauc.slot=B", Some(SlotName::B)),
            ("rauc.slot=C", None),
            ("xrauc.slot=A", None),
            ("", None),
        ] {
            assert_eq!(booted_slot(cmdline), slot, "{cmdline}");
        }
    }

    #[test]
    fn only_our_image_has_a_version() {
        for (release, version) in [
            ("ID=strata\nIMAGE_VERSION=\"1.2\"\nVERSION_ID=13\n", Some("1.2")),
            ("NAME=x\nID=strata\nVERSION_ID=13\n", Some("13")),
            ("ID=debian\nVERSION_ID=\"13\"\n", None),
            ("", None),
        ] {
            assert_eq!(image_version(release).as_deref(), version, "{release}");
        }
    }
}
