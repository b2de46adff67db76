//! A device to test with: the daemon in folders of its own, and stand-ins for RAUC, logind and NetworkManager behind
//! one peer-to-peer D-Bus connection. They are stand-ins: what the real ones do is tested in the virtual device.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "shared by several test programs")]

pub mod services;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use semver::Version;
use strata_control::{SlotName, SlotStatus, UpdateProgress, UpdateSchedule, UpdateStep};
use strata_update::bus::Bus;
use strata_update::cli::client::Client;
use strata_update::config::Config;
use strata_update::daemon::{self, Setup};
use strata_update::image::{Boot, Image};
use strata_update::pace::Pace;
use strata_update_protocol::{Install, Request, Status};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time;

use services::{Installer, Manager, Network, World};

/// For whatever must happen; the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);
pub const COMPATIBLE: &str = "strata-virtual";
pub const URL: &str = "http://relay.example/0.2.0.raucb";
pub const PACE: Pace =
    Pace { look: Duration::from_millis(20), retry: Duration::from_millis(50), slow: Duration::from_millis(100) };

/// Folders, the world around, and the daemon while one runs.
pub struct Device {
    pub folder: TempDir,
    pub world: Arc<Mutex<World>>,
    pub config: Config,
    pub image: Image,
    bus: zbus::Connection,
    peer: zbus::Connection,
    boots: u32,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Both ends of a connection behind which the stand-ins are.
pub async fn connect(world: &Arc<Mutex<World>>) -> (zbus::Connection, zbus::Connection) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let network = "/org/freedesktop/NetworkManager";
    let server = zbus::connection::Builder::unix_stream(theirs)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at("/", Installer(Arc::clone(world)))
        .serve_at("/org/freedesktop/login1", Manager(Arc::clone(world)))
        .serve_at(network, Network(Arc::clone(world)))
        .serve_at(services::ACTIVE, services::Active(Arc::clone(world)))
        .serve_at(services::SETTINGS, services::Settings(Arc::clone(world)))
        .build();
    let client = zbus::connection::Builder::unix_stream(ours).p2p().build();
    let (server, client) = tokio::join!(server, client);
    (client.unwrap(), server.unwrap())
}

impl Device {
    /// A device that runs 0.1.0 from slot A, never updated.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["run", "agent", "data"] {
            fs::create_dir(path(name)).unwrap();
        }
        let journal = path("journalctl");
        fs::write(&journal, "#!/bin/sh\ncase $1 in --list-boots) cat \"$0.boots\";; *) echo \"a line of $1\";; esac\n")
            .unwrap();
        fs::set_permissions(&journal, fs::Permissions::from_mode(0o755)).unwrap();
        let config = Config {
            run_dir: path("run"),
            state_dir: path("identity/update"),
            reset_file: path("agent/reset.json"),
            rejected_dir: path("data/rejected"),
            agent_state_file: path("agent/state.json"),
            data_problems_file: path("data/problems.json"),
            settings_file: path("settings/update.json"),
            image_file: path("image.toml"),
            encoder_program: "/nonexistent/strata-encoder".into(),
            journal_program: journal,
            verify_limit_s: 1,
            encoder_try_s: 1,
            ..Config::default()
        };
        let world = Arc::new(Mutex::new(World::new()));
        let (bus, peer) = connect(&world).await;
        let image =
            Image { version: Version::new(0, 1, 0), compatible: COMPATIBLE.to_owned(), floor: Version::new(0, 1, 0) };
        Self { folder, world, config, image, bus, peer, boots: 0, running: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What the agent says of itself from now on.
    pub fn agent(&self, state: &str, connected: bool, streams: usize) {
        let streams: Vec<String> = (0..streams).map(|number| format!("stream{number}")).collect();
        let since = connected.then_some("2026-01-01T00:00:00Z");
        let text = serde_json::json!({ "state": state, "connected_since": since, "streams": streams }).to_string();
        let beside = self.path("agent/new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &self.config.agent_state_file).unwrap();
    }

    /// A boot into this slot, whose image says that it is this version; ends the daemon before it, as a power cut does.
    pub async fn boot(&mut self, slot: SlotName, version: &str, command_line: &str) {
        self.cut().await;
        self.boots += 1;
        for entry in fs::read_dir(&self.config.run_dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::remove_file(&self.config.agent_state_file).ok();
        let boots: Vec<_> =
            (0..=self.boots).map(|number| serde_json::json!({ "boot_id": format!("b{number}") })).collect();
        fs::write(self.path("journalctl.boots"), serde_json::to_string(&boots).unwrap()).unwrap();
        self.image.version = Version::parse(version).unwrap();
        self.world().booted = slot;
        let name = if slot == SlotName::A { "A" } else { "B" };
        self.daemon(&format!("rauc.slot={name} {command_line}")).await;
    }

    /// Boots that left no daemon behind.
    pub fn silent_boots(&mut self, count: u32) {
        self.boots += count;
    }

    /// Starts the daemon, in the boot that is.
    pub async fn daemon(&mut self, command_line: &str) {
        let setup = Setup {
            config: self.config.clone(),
            image: self.image.clone(),
            boot: Boot::parse(command_line, &format!("b{}", self.boots)).unwrap(),
            bus: Bus::Peer(self.bus.clone()),
            pace: PACE,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(daemon::run(setup, async { stopped.await.unwrap_or(()) }));
        self.running = Some(Running { stop, task });
        time::timeout(LIMIT, async {
            while Client::connect(&self.config.socket()).await.is_err() {
                time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }

    /// Ends the daemon as it stands.
    pub async fn cut(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            running.task.await.ok();
            drop(running.stop);
        }
    }

    /// Ends the daemon as systemd does.
    pub async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.send(()).unwrap();
        running.task.await.unwrap().unwrap();
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.config.socket()).await.unwrap()
    }

    pub async fn order(&self, request: Request) -> anyhow::Result<()> {
        self.client().await.order(&request).await
    }

    pub async fn status(&self) -> Status {
        let mut client = self.client().await;
        client.send(&Request::Status).await.unwrap();
        client.status().await.unwrap().unwrap()
    }

    /// Waits for a status that `wanted` accepts.
    pub async fn wait(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut client = self.client().await;
        client.send(&Request::Watch).await.unwrap();
        let mut last = None;
        let search = async {
            loop {
                let status = client.status().await.unwrap().unwrap();
                last = Some(status.clone());
                if wanted(&status) {
                    return status;
                }
            }
        };
        time::timeout(LIMIT, search)
            .await
            .unwrap_or_else(|_| panic!("not so within the limit; the last status: {last:#?}"))
    }

    /// Waits until the update is at this step.
    pub async fn wait_step(&self, step: UpdateStep) -> UpdateProgress {
        let at = |status: &Status| status.update.as_ref().is_some_and(|update| update.step == step);
        self.wait(at).await.update.unwrap()
    }

    /// Waits until the running slot was called good.
    pub async fn wait_good(&self) {
        self.agent("connecting", false, 0);
        self.wait_mark().await;
    }

    pub async fn wait_mark(&self) {
        self.until(|| self.config.good_mark().exists()).await;
    }

    /// Waits until it is so.
    pub async fn until(&self, so: impl Fn() -> bool) {
        let wait = async {
            while !so() {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(LIMIT, wait).await.expect("so within the limit");
    }

    /// Waits until logind was asked to reboot this often.
    pub async fn wait_reboots(&self, count: usize) {
        self.until(|| self.world().reboots >= count).await;
    }

    /// An install that hung is over after all, as the world says.
    pub async fn complete_install(&self) {
        let emitter = zbus::object_server::SignalEmitter::new(&self.peer, "/").unwrap();
        self.world().operation = "idle".to_owned();
        Installer::completed(&emitter, 0).await.unwrap();
    }

    pub fn rejected(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.config.rejected_dir);
        entries.map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
    }
}

pub fn slot(status: &Status, name: SlotName) -> &SlotStatus {
    status.slots.iter().find(|slot| slot.name == name).unwrap()
}

/// An order for the bundle at this address.
pub fn order(source: &str) -> Install {
    Install {
        source: source.to_owned(),
        version: None,
        manifest_sha256: None,
        over_metered: false,
        install: UpdateSchedule::WhenIdle,
        reboot: UpdateSchedule::WhenIdle,
    }
}

/// The real encoder, which the workspace's tests build.
pub fn real_encoder() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("strata-encoder")).find(|path: &PathBuf| Path::exists(path));
    found.expect("strata-encoder is built first: cargo build -p strata-encoder")
}
