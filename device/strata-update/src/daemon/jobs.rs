//! The jobs: how each action is done, from the first try to its report.
//!
//! Owns waiting, trying again and the order of calls within an action. A job
//! changes nothing of the daemon's state; it reports, and ends.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use strata_control::{SlotName, UpdateSchedule};
use strata_update_protocol::Install;
use tokio::sync::mpsc;
use tokio::time::{self, Instant};

use super::{Context, Report};
use crate::image::other;
use crate::journal::{self, Rejection};
use crate::messages::{self, Failure, FailureKind};
use crate::rauc::{Bundle, Mark, Rauc, Which};
use crate::schedule::{Hold, hold};
use crate::state::Event;
use crate::{floor, network, power, settings};

/// How long RAUC may be busy with what an earlier daemon ordered.
const BUSY_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long a server may be out of reach when an install is begun anew: the links are being built up.
const REACH_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Services get 90 s to stop (systemd's default); a reboot that takes longer does not come.
const REBOOT_LIMIT: Duration = Duration::from_secs(180);
/// Between two questions for the slots while RAUC does not answer, at most.
const SLOTS_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Tries of marking slots in a row; after that it is a problem, and tried more slowly where nothing else helps.
const MARK_TRIES: u8 = 5;

type Shared = Arc<Context>;

/// What slots are marked as, one after the other.
type Marks = [(Mark, Which); 2];
/// The running system is the one to run, the other one is not booted again.
const STAY: Marks = [(Mark::Bad, Which::Other), (Mark::Active, Which::Booted)];
/// The former system is the one to run.
const LEAVE: Marks = [(Mark::Bad, Which::Booted), (Mark::Active, Which::Other)];

/// Where a job's reports go.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    /// The order that the job belongs to.
    pub(super) order: u32,
    pub(super) sender: mpsc::Sender<(u32, Report)>,
}

async fn tell(reports: &Reports, report: Report) {
    if reports.sender.send((reports.order, report)).await.is_err() {
        tracing::debug!("the daemon ends");
    }
}

/// From where nothing can wait: a handful of reports always fit.
fn tell_now(reports: &Reports, report: Report) {
    if let Err(error) = reports.sender.try_send((reports.order, report)) {
        tracing::warn!("a report is lost: {error}");
    }
}

/// Waits until the bundle may be installed, looks into it, and says yes or why not.
pub(super) async fn prepare(context: Shared, reports: Reports, install: Install, resumed: bool) {
    wait_for(&context, || {
        let not_good = !context.config.good_mark().exists();
        not_good.then_some(Hold::NotGood).or_else(|| held(&context, install.install))
    })
    .await;
    match look_into(&context, &install, resumed).await {
        Ok(bundle) => {
            tell(&reports, Report::Bundle(bundle.version)).await;
            tell(&reports, Report::Event(Event::Allowed)).await;
        }
        Err((version, why)) => {
            if let Some(version) = version {
                tell(&reports, Report::Bundle(version)).await;
            }
            // What RAUC had begun before may have come to its end meanwhile.
            if resumed {
                take_back(&context, &reports).await;
            }
            tell(&reports, Report::Refused(why)).await;
        }
    }
}

fn held(context: &Context, schedule: UpdateSchedule) -> Option<Hold> {
    hold(schedule, Timestamp::now(), context.live())
}

async fn wait_for(context: &Context, mut look: impl FnMut() -> Option<Hold>) {
    let mut said = None;
    while let Some(hold) = look() {
        if said != Some(hold) {
            tracing::info!("the update waits: {hold}");
            said = Some(hold);
        }
        time::sleep(context.pace.look).await;
    }
}

/// The checks in their order; a refusal with the bundle's version, where that is known.
async fn look_into(context: &Context, install: &Install, resumed: bool) -> Result<Bundle, (Option<String>, String)> {
    let source = &install.source;
    if messages::is_remote(source) && !install.over_metered && !settings::over_metered(&context.config.settings_file) {
        match network::is_metered(&context.bus).await {
            Ok(false) => {}
            Ok(true) => {
                return Err((None, "The device is online over a link where data costs money: connect it to another one, or allow metered links, for this update or by the setting update.over_metered.".to_owned()));
            }
            Err(error) => {
                return Err((
                    None,
                    format!(
                        "Whether data costs money is not known ({error:#}): allow metered links for this update, or try again."
                    ),
                ));
            }
        }
    }
    let bundle = inspect(context, source, resumed).await.map_err(|failure| (None, failure.sentence))?;
    check_bundle(context, install, &bundle).map_err(|why| (Some(bundle.version.clone()), why))?;
    Ok(bundle)
}

fn check_bundle(context: &Context, install: &Install, bundle: &Bundle) -> Result<(), String> {
    let own = &context.image.compatible;
    if bundle.compatible != *own {
        return Err(messages::wrong_compatible(&install.source, own, &bundle.compatible));
    }
    floor::check(&bundle.version, &context.floor.now(), install.version.as_deref())
        .map_err(|error| error.to_string())?;
    match (&install.manifest_sha256, &bundle.manifest_sha256) {
        (Some(asked), found) if found.as_ref() != Some(asked) => Err(messages::other_build(&install.source)),
        _ => Ok(()),
    }
}

/// Has RAUC look into the bundle. It may still be at work for a former daemon, and links may still be coming up.
async fn inspect(context: &Context, source: &str, resumed: bool) -> Result<Bundle, Failure> {
    let began = Instant::now();
    loop {
        let failure = match Rauc::connect(&context.bus).await {
            Ok(rauc) => match rauc.inspect(source).await {
                Ok(bundle) => return Ok(bundle),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        let patience = match failure.kind {
            FailureKind::Busy => BUSY_LIMIT,
            FailureKind::Unreachable | FailureKind::ConnectionLost if resumed => REACH_LIMIT,
            _ => return Err(failure),
        };
        if began.elapsed() >= patience {
            return Err(failure);
        }
        time::sleep(context.pace.retry).await;
    }
}

/// Has RAUC install the bundle. Refused only when the other slot can no longer become the next to boot: what RAUC
/// made of it, or still makes of it, is taken back first.
pub(super) async fn install(context: Shared, reports: Reports, install: Install, resumed: bool) {
    let hash = install.manifest_sha256.as_deref();
    let (why, in_doubt) = match write(&context, &reports, &install).await {
        Ok(()) if is_other_build(&context, hash, other(context.boot.slot)).await => {
            (messages::other_build(&install.source), true)
        }
        Ok(()) => return tell(&reports, Report::Event(Event::Installed)).await,
        Err(failure) => (failure.sentence, resumed || failure.kind == FailureKind::Lost),
    };
    if in_doubt {
        take_back(&context, &reports).await;
    } else {
        tell_slots(&context, &reports).await;
    }
    tell(&reports, Report::Refused(why)).await;
}

async fn write(context: &Context, reports: &Reports, install: &Install) -> Result<(), Failure> {
    let rauc = Rauc::connect(&context.bus).await?;
    let hash = install.manifest_sha256.as_deref();
    rauc.install(&install.source, hash, |percent| tell_now(reports, Report::Progress(percent))).await
}

/// Whether RAUC wrote another build into the slot than the one asked for: the file may have changed after it was
/// looked into. RAUC's notes may be lost with the data partition; they count where they are.
async fn is_other_build(context: &Context, hash: Option<&str>, slot: SlotName) -> bool {
    let Some(hash) = hash else { return false };
    let slots = async { Rauc::connect(&context.bus).await?.slots().await };
    let slots = slots.await.unwrap_or_else(|failure| {
        tracing::warn!("which build is in the slot is not known: {failure}");
        vec![]
    });
    let found = slots.iter().find(|seen| seen.name == slot).and_then(|seen| seen.manifest_sha256.as_deref());
    found.is_some_and(|found| found != hash)
}

/// Gives up an install that RAUC may still be at work for.
pub(super) async fn give_up(context: Shared, reports: Reports, why: String) {
    take_back(&context, &reports).await;
    tell(&reports, Report::Refused(why)).await;
}

/// Takes back what RAUC may make of the other slot, as soon as it is done: it takes no marks before. When it never is,
/// the check of whatever boots decides.
async fn take_back(context: &Context, reports: &Reports) {
    let began = Instant::now();
    let may_try = || began.elapsed() < BUSY_LIMIT;
    if mark_soon(context, STAY).await.is_err() && !keep_marking(context, reports, STAY, may_try).await {
        tracing::error!(
            "the other slot could not be marked bad: the update may boot all the same, and is checked then"
        );
    }
    tell_slots(context, reports).await;
}

/// Whether a slot was touched shows there.
async fn tell_slots(context: &Context, reports: &Reports) {
    let slots = async { Rauc::connect(&context.bus).await?.slots().await };
    match slots.await {
        Ok(slots) => tell(reports, Report::Slots(slots)).await,
        Err(failure) => tracing::warn!("what became of the slots is not known: {failure}"),
    }
}

/// Waits until the reboot may be.
pub(super) async fn await_reboot(context: Shared, reports: Reports, schedule: UpdateSchedule) {
    wait_for(&context, || held(&context, schedule)).await;
    tell(&reports, Report::Event(Event::RebootDue)).await;
}

/// Reboots; says so when it does not come, and tries again.
pub(super) async fn reboot(context: Shared, reports: Reports) {
    loop {
        let why = match power::reboot(&context.bus).await {
            Ok(()) => {
                tracing::info!("the reboot is ordered");
                time::sleep(REBOOT_LIMIT).await;
                "the services do not stop".to_owned()
            }
            Err(error) => format!("{error:#}"),
        };
        let message = format!("The reboot was ordered and does not come ({why}): switch the device off and on.");
        tell(&reports, Report::NoReboot(message)).await;
        time::sleep(context.pace.retry).await;
    }
}

/// Makes the other slot the next to boot.
pub(super) async fn switch(context: Shared, reports: Reports) {
    let switched = async { Rauc::connect(&context.bus).await?.mark(Mark::Active, Which::Other).await };
    match switched.await {
        Ok(()) => tell(&reports, Report::Event(Event::Switched)).await,
        Err(failure) => tell(&reports, Report::Refused(failure.sentence)).await,
    }
}

/// Checks the new system.
pub(super) async fn verify(context: Shared, reports: Reports, version: String, hash: Option<String>) {
    if is_other_build(&context, hash.as_deref(), context.boot.slot).await {
        let why = format!("The new system {version} is another build than the one that was asked for.");
        return tell(&reports, Report::Failed(why)).await;
    }
    match context.check.run(|step| tell_now(&reports, Report::Step(step))).await {
        Ok(()) => tell(&reports, Report::Event(Event::Passed)).await,
        Err(failure) => tell(&reports, Report::Failed(failure.sentence(&version))).await,
    }
}

/// Calls the running slot good as soon as its agent is ready; once in a boot.
pub(super) async fn confirm(context: Shared, reports: Reports) {
    if context.config.good_mark().exists() {
        return tell(&reports, Report::Good).await;
    }
    let late = |seen| tell_now(&reports, Report::NotGood(seen));
    context.check.agent_ready(late).await;
    call_good(context, reports.clone()).await;
}

/// Calls the running slot good: RAUC gives its attempts back, the floor rises, the mark is there.
pub(super) async fn call_good(context: Shared, reports: Reports) {
    while let Err(why) = try_to_call_good(&context).await {
        tell(&reports, Report::NotGood(why)).await;
        time::sleep(context.pace.retry).await;
    }
    tell(&reports, Report::Good).await;
}

async fn try_to_call_good(context: &Context) -> Result<(), String> {
    let marked = async { Rauc::connect(&context.bus).await?.mark(Mark::Good, Which::Booted).await };
    marked.await.map_err(|failure| failure.sentence.trim_end_matches('.').to_owned())?;
    // A floor that cannot be raised is no reason to call the slot anything but good.
    if let Err(error) = context.floor.raise() {
        tracing::error!("the floor was not raised: {error:#}");
    }
    let mark = context.config.good_mark();
    File::create(&mark).map_err(|error| format!("{} cannot be written: {error}", mark.display()))?;
    Ok(())
}

/// Marks the running system bad and makes the former one the next to boot; then there is a reboot in any case.
pub(super) async fn reject(context: Shared, reports: Reports) {
    match mark_soon(&context, LEAVE).await {
        Ok(()) => tell(&reports, Report::Event(Event::Rejected)).await,
        Err(failure) => {
            tell(&reports, Report::NotMarked(Some(not_marked(&failure)))).await;
            // U-Boot counts this boot; when its attempts are used up, the former system boots all the same.
            reboot(context, reports).await;
        }
    }
}

/// Marks the failed system bad and this one the first to boot, and keeps the failed boots' journal.
pub(super) async fn settle(context: Shared, reports: Reports, rejection: Rejection) {
    let marked = mark_soon(&context, STAY).await;
    let Context { config, .. } = &*context;
    match journal::keep(&config.rejected_dir, &config.journal_program, &rejection).await {
        Ok(folder) => tracing::warn!("rejected: {} Kept in {}", rejection.reason, folder.display()),
        Err(error) => tracing::error!("what failed cannot be kept: {error:#}"),
    }
    if marked.is_ok() || keep_marking(&context, &reports, STAY, || true).await {
        tell(&reports, Report::Event(Event::Settled)).await;
    }
}

/// Marks slowly, as long as `may_try`, and says meanwhile that it cannot. Whether it did.
async fn keep_marking(context: &Context, reports: &Reports, marks: Marks, may_try: impl Fn() -> bool) -> bool {
    while let Err(failure) = mark_all(context, marks).await {
        if !may_try() {
            return false;
        }
        tell(reports, Report::NotMarked(Some(not_marked(&failure)))).await;
        time::sleep(context.pace.slow).await;
    }
    tell(reports, Report::NotMarked(None)).await;
    true
}

fn not_marked(failure: &Failure) -> String {
    format!(
        "The boot loader could not be told yet which slot to boot, and that is tried again and again: {}",
        failure.sentence
    )
}

/// Tries a few times in a row.
async fn mark_soon(context: &Context, marks: Marks) -> Result<(), Failure> {
    let mut tries = 1;
    while let Err(failure) = mark_all(context, marks).await {
        tracing::error!("slots cannot be marked: {failure}");
        if tries == MARK_TRIES {
            return Err(failure);
        }
        tries += 1;
        time::sleep(context.pace.retry).await;
    }
    Ok(())
}

async fn mark_all(context: &Context, marks: Marks) -> Result<(), Failure> {
    let rauc = Rauc::connect(&context.bus).await?;
    for (mark, which) in marks {
        rauc.mark(mark, which).await?;
    }
    Ok(())
}

/// Asks RAUC for the slots until it answers, more and more rarely.
pub(super) async fn slots(context: Shared, reports: Reports) {
    let mut pause = context.pace.retry;
    loop {
        let slots = async { Rauc::connect(&context.bus).await?.slots().await };
        match slots.await {
            Ok(slots) => return tell(&reports, Report::Slots(slots)).await,
            Err(failure) => tracing::debug!("the slots are not known yet: {failure}"),
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(SLOTS_PAUSE);
    }
}
