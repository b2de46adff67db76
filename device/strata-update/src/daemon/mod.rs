//! The daemon: one task that owns the state, takes requests and what its jobs report, and begins jobs.
//!
//! Owns the order in which things happen: the new state is on the disk, then its
//! actions begin. Does not own what follows from an event ([`crate::state`]), how
//! an action is done (`jobs`) or what a request needs (`requests`).

mod jobs;
mod requests;
mod start;
mod status;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use strata_control::RefusedCode;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{self, Instant};

use crate::agent_file::{Live, LiveLook};
use crate::bus::Bus;
use crate::check::{Check, Step};
use crate::config::Config;
use crate::floor::Floor;
use crate::image::{Boot, Image, other};
use crate::notify;
use crate::pace::Pace;
use crate::problems::Problems;
use crate::rauc::Slot;
use crate::server::{Ask, Server, StatusLine};
use crate::state::{Action, Event, Machine, State};
use crate::store::{Persisted, Record, SlotNote, Store};

/// Requests that wait: each client has one at a time.
const ASKS_WAITING: usize = 16;
/// Reports that wait: a job says a few in a second, each is taken in microseconds.
const REPORTS_WAITING: usize = 64;
/// Between two looks at the agent's file without an occasion.
const LIVE_LOOK: Duration = Duration::from_secs(10);

/// What a daemon is started with.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// What this image is.
    pub image: Image,
    /// How it was started.
    pub boot: Boot,
    /// The way to RAUC, logind and NetworkManager.
    pub bus: Bus,
    /// How often it looks and tries again.
    pub pace: Pace,
}

/// What every job needs.
#[derive(Debug)]
struct Context {
    config: Config,
    image: Image,
    boot: Boot,
    bus: Bus,
    pace: Pace,
    floor: Floor,
    check: Check,
    live: Mutex<LiveLook>,
}

impl Context {
    /// How many streams are live now.
    fn live(&self) -> Live {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).look(Instant::now())
    }
}

/// What a job tells the daemon.
#[derive(Debug)]
enum Report {
    /// Something happened.
    Event(Event),
    /// The update cannot or must not be installed, and why.
    Refused(String),
    /// The new system failed its check, and why.
    Failed(String),
    /// The bundle was looked into: its version.
    Bundle(String),
    /// RAUC's percentage.
    Progress(u8),
    /// The check is at this step.
    Step(Step),
    /// The slots as RAUC sees them.
    Slots(Vec<Slot>),
    /// The running slot was called good.
    Good,
    /// It was not yet, and why.
    NotGood(String),
    /// The reboot was ordered and does not come, and why.
    NoReboot(String),
    /// Slots have to be marked and cannot be, and why; none when they are.
    NotMarked(Option<String>),
}

/// The daemon.
struct Daemon {
    context: Arc<Context>,
    store: Store,
    persisted: Persisted,
    problems: Problems,
    slots: Vec<Slot>,
    percent: u8,
    /// Whether the running slot was called good in this boot.
    good: bool,
    jobs: JoinSet<()>,
    /// The job that a newer order replaces.
    waiting: Option<AbortHandle>,
    /// The job that marks slots after a fall-back, until what is in them changes.
    settling: Option<AbortHandle>,
    reports: mpsc::Sender<(u32, Report)>,
    /// Counts orders: what a job of an earlier one still has to say of it no longer counts.
    order: u32,
    rebooting: bool,
    status: watch::Sender<StatusLine>,
}

/// Runs the daemon until `stop` is ready.
///
/// # Errors
/// When the socket cannot be opened.
pub async fn run(setup: Setup, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let server = Server::open(&setup.config.socket())?;
    let (reports, mut reported) = mpsc::channel(REPORTS_WAITING);
    let (asks, mut asked) = mpsc::channel::<Ask>(ASKS_WAITING);
    let (status, line) = watch::channel(StatusLine::from(""));
    let mut daemon = Daemon::new(setup, reports, status);
    daemon.start();
    daemon.publish();
    let mut server = JoinSet::from_iter([server.run(asks, line)]);
    notify::ready();
    let mut looks = time::interval(LIVE_LOOK);
    let mut watchdog = notify::watchdog_interval().map(time::interval);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(ask) = asked.recv() => {
                let answer = daemon.request(ask.request);
                if ask.answer.send(answer).is_err() {
                    tracing::debug!("a client did not wait for its answer");
                }
            }
            Some((order, report)) = reported.recv() => daemon.report(order, report),
            Some(ended) = daemon.jobs.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a job failed: {error}");
                }
            }
            // So that it is known since when the agent tells nothing.
            _ = looks.tick() => drop(daemon.context.live()),
            () = tick(watchdog.as_mut()) => notify::alive(),
        }
        daemon.publish();
    }
    notify::stopping();
    server.shutdown().await;
    daemon.jobs.shutdown().await;
    Ok(())
}

async fn tick(interval: Option<&mut time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

impl Daemon {
    fn new(setup: Setup, reports: mpsc::Sender<(u32, Report)>, status: watch::Sender<StatusLine>) -> Self {
        let Setup { config, image, boot, bus, pace } = setup;
        let store = Store::new(&config.state_dir);
        let (persisted, damage) = store.load();
        let floor = Floor::new(&config.state_dir, image.floor.clone());
        let check = Check::new(&config, bus.clone(), pace);
        let live = Mutex::new(LiveLook::new(&config.agent_state_file));
        Self {
            store,
            persisted,
            problems: Problems { identity: damage, ..Problems::default() },
            slots: vec![],
            percent: 0,
            good: config.good_mark().exists(),
            jobs: JoinSet::new(),
            waiting: None,
            settling: None,
            reports,
            order: 0,
            rebooting: false,
            status,
            context: Arc::new(Context { config, image, boot, bus, pace, floor, check, live }),
        }
    }

    fn machine(&self) -> Machine {
        self.persisted.machine()
    }

    /// Writes the state down; what to tell people when that fails is among the problems then.
    fn keep(&mut self) -> bool {
        match self.store.save(&self.persisted) {
            Ok(()) => {
                self.problems.not_kept = None;
                true
            }
            Err(error) => {
                tracing::error!("{error:#}");
                self.problems.not_kept = Some(format!(
                    "How far an update is cannot be written down ({error:#}), so none can be installed: the identity partition may be damaged."
                ));
                false
            }
        }
    }

    /// Takes an event: writes the new state down, then begins what it asks for.
    fn apply(&mut self, event: Event, reason: Option<String>) {
        let before = self.machine();
        let (next, mut actions) = before.step(event);
        if next == before && actions.is_empty() {
            return tracing::debug!(?before, ?event, "nothing follows");
        }
        tracing::info!(from = ?before.state, to = ?next.state, ?event, reason, "update");
        self.note(event, next, reason.as_deref());
        if let Some(update) = &mut self.persisted.update {
            update.machine = next;
            update.boot.clone_from(&self.context.boot.id);
            update.changed_at = Timestamp::now();
            update.reason = reason.or_else(|| update.reason.take());
        }
        let kept = self.persisted.update.is_none() || self.keep();
        // What begins now could not be made out after a power cut; all else goes on, to the safe end it has.
        if !kept && matches!(next.state, State::Waiting | State::Downloading | State::Switching) {
            self.give_up();
            actions.retain(|action| matches!(action, Action::Confirm | Action::TakeBack));
        }
        for action in actions {
            self.begin(action);
        }
    }

    fn give_up(&mut self) {
        if let Some(update) = &mut self.persisted.update {
            update.machine = Machine::at(State::Refused);
            update.reason.clone_from(&self.problems.not_kept);
        }
    }

    /// What an event says of the slots' contents.
    fn note(&mut self, event: Event, next: Machine, reason: Option<&str>) {
        let Some(update) = &mut self.persisted.update else { return };
        let (target, version) = (update.target, update.version.clone());
        match event {
            Event::Allowed | Event::RollbackAsked => update.installed_in = Some(self.context.boot.id.clone()),
            Event::Installed => {
                update.reason = None;
                *self.persisted.note_mut(target) = SlotNote { version: Some(version), ..SlotNote::default() };
            }
            Event::Refused => {
                let begun = update.installed_in.is_some() && update.machine.state != State::Switching;
                let spoiled = begun && self.slots.iter().any(|slot| slot.name == target && !slot.bootable);
                if spoiled {
                    let reason = format!("An update to {version} was not written to its end.");
                    *self.persisted.note_mut(target) = SlotNote { reason: Some(reason), ..SlotNote::default() };
                }
            }
            _ if next.state == State::RolledBack && update.machine.state != State::RolledBack => {
                let note = self.persisted.note_mut(target);
                note.called_good = false;
                note.version.get_or_insert(version);
                note.reason = reason.map(str::to_owned);
            }
            _ => {}
        }
    }

    /// Begins an action; its job reports how it went.
    fn begin(&mut self, action: Action) {
        let (context, reports) = self.for_job();
        let asked = self.persisted.update.as_ref().and_then(|update| update.asked.clone());
        match (action, asked) {
            (Action::Prepare, Some(install)) => {
                let resumed = self.machine().resumes > 0;
                self.begin_waiting(jobs::prepare(context, reports, install, resumed));
            }
            (Action::Install, Some(install)) => {
                self.percent = 0;
                self.end_settling();
                let resumed = self.machine().resumes > 0;
                self.begin_waiting(jobs::install(context, reports, install, resumed));
            }
            (Action::AwaitReboot, Some(install)) => {
                self.begin_waiting(jobs::await_reboot(context, reports, install.reboot));
            }
            // Only an order to go back has no bundle, and it never waits for its reboot but after a restart.
            (Action::Prepare | Action::Install, None) => tracing::error!(?action, "there is nothing to install"),
            (Action::AwaitReboot, None) => {
                self.begin_waiting(jobs::await_reboot(context, reports, strata_control::UpdateSchedule::WhenIdle));
            }
            (Action::Switch, _) => {
                self.end_settling();
                self.jobs.spawn(jobs::switch(context, reports));
            }
            (Action::Reboot, _) => self.reboot(),
            (Action::Verify, asked) => {
                let version = self.persisted.update.as_ref().map(|update| update.version.clone());
                let hash = asked.and_then(|install| install.manifest_sha256);
                self.jobs.spawn(jobs::verify(context, reports, version.unwrap_or_default(), hash));
            }
            (Action::Confirm, _) => drop(self.jobs.spawn(jobs::confirm(context, reports))),
            (Action::CallGood, _) => drop(self.jobs.spawn(jobs::call_good(context, reports))),
            (Action::Reject, _) => drop(self.jobs.spawn(jobs::reject(context, reports))),
            (Action::Settle, _) => {
                let rejection = self.rejection();
                self.settling = Some(self.jobs.spawn(jobs::settle(context, reports, rejection)));
            }
            (Action::TakeBack, _) => drop(self.jobs.spawn(jobs::give_up(context, reports, self.given_up()))),
        }
    }

    /// A job of the order under way: a newer order ends it.
    fn begin_waiting(&mut self, job: impl Future<Output = ()> + Send + 'static) {
        if let Some(former) = self.waiting.replace(self.jobs.spawn(job)) {
            former.abort();
        }
    }

    fn reboot(&mut self) {
        if !self.rebooting {
            self.rebooting = true;
            let (context, reports) = self.for_job();
            self.jobs.spawn(jobs::reboot(context, reports));
        }
    }

    fn refresh_slots(&mut self) {
        let (context, reports) = self.for_job();
        self.jobs.spawn(jobs::slots(context, reports));
    }

    fn for_job(&self) -> (Arc<Context>, jobs::Reports) {
        (Arc::clone(&self.context), jobs::Reports { order: self.order, sender: self.reports.clone() })
    }

    /// A new order takes the place of the newest update.
    fn new_order(&mut self, mut record: Record) {
        self.order += 1;
        self.percent = 0;
        // RAUC may have begun for the one before: that is still to be taken back, or to be checked.
        if let Some(former) = self.persisted.update.take()
            && former.machine.state == State::Waiting
        {
            record.machine.resumes = former.machine.resumes;
            record.installed_in = former.installed_in;
        }
        self.persisted.update = Some(record);
    }

    /// What is in the other slot changes now: marks for what was there before must not come afterwards.
    fn end_settling(&mut self) {
        if let Some(job) = self.settling.take() {
            job.abort();
        }
        self.problems.not_marked = None;
    }

    fn report(&mut self, order: u32, report: Report) {
        let outlives_its_order = matches!(
            report,
            Report::Event(Event::Settled) | Report::Slots(_) | Report::Good | Report::NotGood(_) | Report::NoReboot(_)
        );
        if order != self.order && !outlives_its_order {
            return tracing::debug!(?report, "of an order that a newer one replaced");
        }
        match report {
            Report::Event(event) => {
                self.apply(event, None);
                match event {
                    Event::Settled => self.settled(),
                    Event::Installed => {
                        self.percent = 100;
                        self.refresh_slots();
                    }
                    _ => {}
                }
            }
            Report::Refused(reason) => self.apply(Event::Refused, Some(reason)),
            Report::Failed(reason) => self.apply(Event::Failed, Some(reason)),
            Report::Bundle(version) => self.change_record(|update| update.version = version),
            Report::Progress(percent) => self.percent = percent,
            Report::Step(step) => self.change_record(|update| update.verify_step = Some(step)),
            Report::Slots(slots) => self.slots = slots,
            Report::Good => self.called_good(),
            Report::NotGood(why) => {
                self.problems.not_good = Some(format!("The running system was not called good yet: {why}."));
            }
            Report::NoReboot(why) => self.problems.reboot = Some(why),
            Report::NotMarked(why) => self.problems.not_marked = why,
        }
    }

    fn change_record(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(update) = &mut self.persisted.update {
            change(update);
            self.keep();
        }
    }

    /// The running slot is the one to run from now on.
    fn called_good(&mut self) {
        let (booted, version) = (self.context.boot.slot, self.context.image.version.to_string());
        self.good = true;
        self.problems.not_good = None;
        let note = SlotNote { version: Some(version), called_good: true, reason: None };
        if *self.persisted.note(booted) != note || self.persisted.expected != Some(booted) {
            *self.persisted.note_mut(booted) = note;
            self.persisted.expected = Some(booted);
            self.keep();
        }
        self.refresh_slots();
    }

    /// What failed is marked and kept: this slot is the one to run.
    fn settled(&mut self) {
        let booted = self.context.boot.slot;
        self.problems.not_marked = None;
        if self.persisted.expected != Some(booted) {
            self.persisted.expected = Some(booted);
            self.persisted.note_mut(other(booted)).called_good = false;
            self.keep();
        }
        self.refresh_slots();
    }
}

/// What a refusal says to programs.
fn busy(message: &str) -> (RefusedCode, String) {
    (RefusedCode::Busy, message.to_owned())
}
