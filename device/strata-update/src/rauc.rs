//! RAUC, over D-Bus (`de.pengutronix.rauc.Installer`, as of RAUC 1.13).
//!
//! Owns what is asked of it and reading its answers; every failure comes back
//! translated ([`crate::messages`]), with RAUC's own words in the log. Does not
//! own the decision to install. RAUC answers one thing at a time: while it
//! installs, everything else is refused as busy.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use strata_control::SlotName;
use tokio::time::{self, MissedTickBehavior};
use zbus::proxy::CacheProperties;
use zbus::{OwnedVariant, Variant};

use crate::bus::Bus;
use crate::image;
use crate::messages::{self, Failure, FailureKind, translate};

/// How often an install's progress is asked for.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often RAUC may be found idle, or gone, before its end counts as missed.
const IDLE_LOOKS: u8 = 3;

type Dictionary = HashMap<String, OwnedVariant>;

#[zbus::proxy(interface = "de.pengutronix.rauc.Installer", default_service = "de.pengutronix.rauc", default_path = "/")]
trait Installer {
    async fn inspect_bundle(&self, source: &str, args: HashMap<&str, Variant<'_>>) -> zbus::Result<Dictionary>;
    async fn install_bundle(&self, source: &str, args: HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    async fn mark(&self, state: &str, slot_identifier: &str) -> zbus::Result<(String, String)>;
    async fn get_slot_status(&self) -> zbus::Result<Vec<(String, Dictionary)>>;
    #[zbus(signal)]
    async fn completed(&self, result: i32) -> zbus::Result<()>;
    #[zbus(property)]
    fn operation(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn last_error(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn progress(&self) -> zbus::Result<(i32, String, i32)>;
}

/// What a slot is marked as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// It may be booted, with all attempts.
    Good,
    /// It is not booted again by itself.
    Bad,
    /// It is the first to boot, with all attempts.
    Active,
}

/// Which slot is marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// The one that runs.
    Booted,
    /// The one that does not.
    Other,
}

/// A slot as RAUC sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Which.
    pub name: SlotName,
    /// Whether the boot loader has attempts left for it.
    pub bootable: bool,
    /// The version that RAUC wrote there; none when it never wrote any.
    pub version: Option<String>,
    /// The SHA-256 of the manifest it came from.
    pub manifest_sha256: Option<String>,
}

/// What a bundle says of itself, its signature verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// Its version.
    pub version: String,
    /// The kind of device it is for.
    pub compatible: String,
    /// The SHA-256 of its manifest.
    pub manifest_sha256: Option<String>,
}

/// RAUC.
#[derive(Debug)]
pub struct Rauc {
    proxy: InstallerProxy<'static>,
}

impl Rauc {
    /// Connects; RAUC's service is started by the bus when it is first asked something.
    ///
    /// # Errors
    /// When the bus is not reached.
    pub async fn connect(bus: &Bus) -> Result<Self, Failure> {
        let connection = bus.connect().await.map_err(|error| no_rauc(&format!("{error:#}")))?;
        let proxy = InstallerProxy::builder(&connection).cache_properties(CacheProperties::No).build().await;
        Ok(Self { proxy: proxy.map_err(|error| no_rauc(&error.to_string()))? })
    }

    /// Both slots.
    ///
    /// # Errors
    /// [`Failure`], [`FailureKind::Busy`] while RAUC installs.
    pub async fn slots(&self) -> Result<Vec<Slot>, Failure> {
        let slots = self.proxy.get_slot_status().await.map_err(|error| failed(&error, ""))?;
        Ok(slots.iter().filter_map(|(_, status)| slot(status)).collect())
    }

    /// Looks into a bundle; verifies its signature, not yet its content.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn inspect(&self, source: &str) -> Result<Bundle, Failure> {
        let info = self.proxy.inspect_bundle(source, HashMap::new()).await.map_err(|error| failed(&error, source))?;
        let update = info.get("update").map(|value| peel(value));
        // Short, as a status repeats it.
        let text = |key: &str| -> String {
            update.and_then(|update| lookup(update, key)).unwrap_or_default().chars().take(100).collect()
        };
        Ok(Bundle {
            version: text("version"),
            compatible: text("compatible"),
            manifest_sha256: info.get("manifest-hash").and_then(|value| string(value)),
        })
    }

    /// Installs a bundle; `progress` is told the percentage as it grows.
    ///
    /// # Errors
    /// [`Failure`]; the running slot is untouched then. [`FailureKind::Lost`]: the other one may be the next to boot.
    pub async fn install(
        &self,
        source: &str,
        manifest_sha256: Option<&str>,
        mut progress: impl FnMut(u8),
    ) -> Result<(), Failure> {
        let mut completed = self.proxy.receive_completed().await.map_err(|error| failed(&error, source))?;
        self.start(source, manifest_sha256).await?;
        let mut ticks = time::interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle_looks = 0;
        loop {
            tokio::select! {
                // What it said counts before what it does now: on a busy machine both are there at once.
                biased;
                signal = completed.next() => {
                    let Some(signal) = signal else { return Err(ended_in_the_middle(source)) };
                    let result = signal.args().map_err(|error| unanswered(&error))?.result;
                    return if result == 0 { Ok(()) } else { Err(self.last_failure(source).await) };
                }
                _ = ticks.tick() => {}
            }
            if let Ok((percent, _, _)) = self.proxy.progress().await {
                progress(u8::try_from(percent.clamp(0, 100)).unwrap_or(0));
            }
            // RAUC says that it is done before it is idle; idle without that, it died and was started again.
            let runs = self.proxy.operation().await.is_ok_and(|operation| operation == "installing");
            idle_looks = if runs { 0 } else { idle_looks + 1 };
            if idle_looks >= IDLE_LOOKS {
                return Err(ended_in_the_middle(source));
            }
        }
    }

    /// Orders the install. RAUC takes the manifest's hash from 1.14 on; an older one is asked without it, and the
    /// caller compares afterwards.
    async fn start(&self, source: &str, manifest_sha256: Option<&str>) -> Result<(), Failure> {
        let no_start = |error: zbus::Error| match answer(&error) {
            Some(text) => logged(translate(&text, source)),
            None => unanswered(&error),
        };
        if let Some(hash) = manifest_sha256 {
            let args = HashMap::from([("require-manifest-hash", Variant::from(hash))]);
            match self.proxy.install_bundle(source, args).await {
                Err(error)
                    if answer(&error).is_some_and(|text| text.contains("Unsupported key: require-manifest-hash")) => {}
                result => return result.map_err(no_start),
            }
        }
        self.proxy.install_bundle(source, HashMap::new()).await.map_err(no_start)
    }

    async fn last_failure(&self, source: &str) -> Failure {
        match self.proxy.last_error().await {
            Ok(text) => logged(translate(&text, source)),
            Err(error) => failed(&error, source),
        }
    }

    /// Marks a slot.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn mark(&self, mark: Mark, which: Which) -> Result<(), Failure> {
        let state = match mark {
            Mark::Good => "good",
            Mark::Bad => "bad",
            Mark::Active => "active",
        };
        let slot = match which {
            Which::Booted => "booted",
            Which::Other => "other",
        };
        let (_, message) = self.proxy.mark(state, slot).await.map_err(|error| match answer(&error) {
            Some(text) => logged(boot_state(&text)),
            None => no_rauc(&error.to_string()),
        })?;
        tracing::info!("RAUC: {message}");
        Ok(())
    }
}

/// Of the slots that are booted from; others have no name at the boot loader.
fn slot(status: &Dictionary) -> Option<Slot> {
    let text = |key: &str| status.get(key).and_then(|value| string(value));
    Some(Slot {
        name: image::slot(&text("bootname")?)?,
        bootable: text("boot-status").as_deref() == Some("good"),
        version: text("bundle.version"),
        manifest_sha256: text("bundle.hash"),
    })
}

/// RAUC puts dictionaries into variants of variants.
fn peel<'a>(value: &'a Variant<'a>) -> &'a Variant<'a> {
    match value {
        Variant::Variant(inner) => peel(inner),
        other => other,
    }
}

fn string(value: &Variant<'_>) -> Option<String> {
    match peel(value) {
        Variant::Str(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn lookup(dictionary: &Variant<'_>, key: &str) -> Option<String> {
    let Variant::Dict(dictionary) = dictionary else { return None };
    dictionary.iter().find(|(name, _)| string(name).as_deref() == Some(key)).and_then(|(_, value)| string(value))
}

/// What RAUC itself answered; none when it did not answer.
fn answer(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, text, _) => Some(text.clone().unwrap_or_else(|| name.to_string())),
        zbus::Error::FDO(standard) => match &**standard {
            zbus::fdo::Error::Failed(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn failed(error: &zbus::Error, source: &str) -> Failure {
    answer(error).map_or_else(|| no_rauc(&error.to_string()), |text| logged(translate(&text, source)))
}

fn logged(failure: Failure) -> Failure {
    tracing::warn!(rauc = failure.raw, "{failure}");
    failure
}

fn no_rauc(raw: &str) -> Failure {
    let sentence =
        format!("The update service of the device (RAUC) does not answer ({raw}): reboot the device, then try again.");
    logged(Failure { kind: FailureKind::NoRauc, sentence, raw: raw.to_owned() })
}

fn boot_state(raw: &str) -> Failure {
    if raw.contains("already processing a different method") {
        return translate(raw, "");
    }
    let sentence = format!("The boot loader's state cannot be written ({raw}): the device's disk may be failing.");
    Failure { kind: FailureKind::BootState, sentence, raw: raw.to_owned() }
}

/// What became of an order to install is not known.
fn unanswered(error: &zbus::Error) -> Failure {
    Failure { kind: FailureKind::Lost, ..no_rauc(&error.to_string()) }
}

/// RAUC's word is missing. With a bundle that comes from a server, a server that is gone is the likely cause: RAUC
/// may hang with it, or end.
fn ended_in_the_middle(source: &str) -> Failure {
    let sentence = if messages::is_remote(source) {
        format!(
            "The installation broke off in the middle, as the server of {source} went away or the device's update service (RAUC) ended: the device runs what it ran before; try again."
        )
    } else {
        "The update service of the device (RAUC) ended in the middle: the device runs what it ran before; try again."
            .to_owned()
    };
    logged(Failure { kind: FailureKind::Lost, sentence, raw: "RAUC is idle, and no Completed was seen".to_owned() })
}
