//! The stand-ins: they answer as RAUC 1.13, logind and NetworkManager do, and remember what they were told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_control::SlotName;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedObjectPath, OwnedVariant, Variant, fdo, interface};

pub const ACTIVE: &str = "/org/freedesktop/NetworkManager/ActiveConnection/1";
pub const SETTINGS: &str = "/org/freedesktop/NetworkManager/Settings/1";

/// A slot's content and whether it may boot.
#[derive(Clone, Debug, Default)]
pub struct WorldSlot {
    pub bootable: bool,
    pub version: Option<String>,
    pub hash: Option<String>,
}

/// What the stand-in for RAUC does with an order to install.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// It installs, one step of progress each time it is asked.
    Installs,
    /// It fails with this error, after having spoiled the slot or not.
    Fails { error: String, spoils: bool },
    /// It goes on for ever.
    Hangs,
    /// It dies and is started again.
    Dies,
    /// It installs, and its end is never heard of.
    Unheard,
}

/// The device around the daemon.
pub struct World {
    pub booted: SlotName,
    pub a: WorldSlot,
    pub b: WorldSlot,
    /// The boot loader's order.
    pub first: SlotName,
    /// Bundles by address: version, compatible, manifest's hash; or RAUC's error.
    pub bundles: HashMap<String, Result<(String, String, String), String>>,
    pub behaviour: Behaviour,
    /// Whether RAUC knows `require-manifest-hash` (from 1.14 on).
    pub knows_hash: bool,
    pub operation: String,
    pub last_error: String,
    pub percent: i32,
    pub marks: Vec<(String, String)>,
    pub reboots: usize,
    pub refuse_reboot: bool,
    /// The boot loader's state cannot be written.
    pub refuse_marks: bool,
    pub metered: u32,
    pub access_point: bool,
}

impl World {
    pub fn new() -> Self {
        let bundle = |version: &str| Ok((version.to_owned(), super::COMPATIBLE.to_owned(), hash(version)));
        let bundles = [(super::URL.to_owned(), bundle("0.2.0")), ("/data/0.2.0.raucb".to_owned(), bundle("0.2.0"))];
        Self {
            booted: SlotName::A,
            a: WorldSlot { bootable: true, ..WorldSlot::default() },
            b: WorldSlot::default(),
            first: SlotName::A,
            bundles: HashMap::from(bundles),
            behaviour: Behaviour::Installs,
            knows_hash: false,
            operation: "idle".to_owned(),
            last_error: String::new(),
            percent: 0,
            marks: vec![],
            reboots: 0,
            refuse_reboot: false,
            refuse_marks: false,
            metered: 4,
            access_point: false,
        }
    }

    pub fn slot(&mut self, name: SlotName) -> &mut WorldSlot {
        match name {
            SlotName::A => &mut self.a,
            SlotName::B => &mut self.b,
        }
    }

    pub fn other(&self) -> SlotName {
        if self.booted == SlotName::A { SlotName::B } else { SlotName::A }
    }

    /// The marks since this was last asked.
    pub fn take_marks(&mut self) -> Vec<String> {
        self.marks.drain(..).map(|(state, slot)| format!("{slot} {state}")).collect()
    }
}

/// The manifest's hash of a version's bundle.
pub fn hash(version: &str) -> String {
    format!("{:0<64}", version.replace('.', "a"))
}

type Dictionary = HashMap<String, OwnedVariant>;

fn owned(value: impl Into<Variant<'static>>) -> OwnedVariant {
    OwnedVariant::try_from(value.into()).unwrap()
}

/// A variant within the variant, as GLib's `g_variant_dict_insert(…, "v", …)` makes it.
fn nested(values: HashMap<&'static str, String>) -> OwnedVariant {
    let inner: HashMap<&str, Variant<'_>> =
        values.into_iter().map(|(key, value)| (key, Variant::from(value))).collect();
    owned(Variant::Variant(Box::new(Variant::from(inner))))
}

/// RAUC's errors are GLib's, with their text as it is.
#[derive(Debug)]
pub struct RaucError(String);

impl zbus::DBusError for RaucError {
    fn create_reply(&self, call: &zbus::message::Header<'_>) -> zbus::Result<zbus::Message> {
        zbus::Message::error(call, self.name()).build(&self.0)
    }

    fn name(&self) -> zbus::names::ErrorName<'_> {
        zbus::names::ErrorName::from_static_str_unchecked(
            "org.gtk.GDBus.UnmappedGError.Quark._g_2dio_2derror_2dquark.Code30",
        )
    }

    fn description(&self) -> Option<&str> {
        Some(&self.0)
    }
}

pub struct Installer(pub Arc<Mutex<World>>);

impl Installer {
    fn idle(&self) -> Result<std::sync::MutexGuard<'_, World>, RaucError> {
        let world = self.0.lock().unwrap();
        if world.operation == "idle" {
            Ok(world)
        } else {
            Err(RaucError("already processing a different method".into()))
        }
    }
}

#[interface(name = "de.pengutronix.rauc.Installer")]
impl Installer {
    async fn inspect_bundle(&self, source: String, _args: Dictionary) -> Result<Dictionary, RaucError> {
        let world = self.idle()?;
        let missing = || Err("Failed to stream bundle x: not found: unexpected HTTP error code 404".to_owned());
        let (version, compatible, hash) =
            world.bundles.get(&source).cloned().unwrap_or_else(missing).map_err(RaucError)?;
        let update = HashMap::from([("version", version), ("compatible", compatible)]);
        let bundle = HashMap::from([("format", "verity".to_owned())]);
        Ok(HashMap::from([
            ("manifest-hash".to_owned(), owned(hash)),
            ("update".to_owned(), nested(update)),
            ("bundle".to_owned(), nested(bundle)),
        ]))
    }

    async fn install_bundle(
        &self,
        source: String,
        args: Dictionary,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), RaucError> {
        let behaviour = {
            let mut world = self.idle()?;
            for key in args.keys() {
                if !world.knows_hash || key != "require-manifest-hash" {
                    return Err(RaucError(format!("Unsupported key: {key}")));
                }
            }
            world.operation = "installing".to_owned();
            world.last_error.clear();
            world.behaviour.clone()
        };
        let (world, emitter) = (Arc::clone(&self.0), emitter.to_owned());
        tokio::spawn(async move { install(world, emitter, source, behaviour).await });
        Ok(())
    }

    async fn mark(&self, state: String, slot_identifier: String) -> Result<(String, String), RaucError> {
        let mut world = self.idle()?;
        if world.refuse_marks {
            return Err(RaucError("Failed to run fw_setenv: Child process exited with code 1".into()));
        }
        let name = if slot_identifier == "booted" { world.booted } else { world.other() };
        world.slot(name).bootable = state != "bad";
        if state == "active" {
            world.first = name;
        }
        world.marks.push((state.clone(), slot_identifier));
        Ok(("rootfs".to_owned(), format!("marked slot {name:?} as {state}")))
    }

    async fn get_slot_status(&self) -> Result<Vec<(String, Dictionary)>, RaucError> {
        let world = self.idle()?;
        let status = |name: &str, slot: &WorldSlot| {
            let mut status = HashMap::from([
                ("class".to_owned(), owned("rootfs")),
                ("bootname".to_owned(), owned(name.to_owned())),
                ("boot-status".to_owned(), owned(if slot.bootable { "good" } else { "bad" })),
            ]);
            status.extend(slot.version.clone().map(|version| ("bundle.version".to_owned(), owned(version))));
            status.extend(slot.hash.clone().map(|hash| ("bundle.hash".to_owned(), owned(hash))));
            status
        };
        let other = HashMap::from([("class".to_owned(), owned("appfs"))]);
        Ok(vec![
            ("rootfs.0".to_owned(), status("A", &world.a)),
            ("rootfs.1".to_owned(), status("B", &world.b)),
            ("appfs.0".to_owned(), other),
        ])
    }

    #[zbus(property)]
    async fn operation(&self) -> String {
        self.0.lock().unwrap().operation.clone()
    }

    #[zbus(property)]
    async fn last_error(&self) -> String {
        self.0.lock().unwrap().last_error.clone()
    }

    #[zbus(property)]
    async fn progress(&self) -> (i32, String, i32) {
        let percent = self.0.lock().unwrap().percent;
        (percent, "Copying image to rootfs.1".to_owned(), 3)
    }

    #[zbus(signal)]
    pub async fn completed(emitter: &SignalEmitter<'_>, result: i32) -> zbus::Result<()>;
}

/// As RAUC does: the slot cannot boot while it is written, and is the next to boot afterwards.
async fn install(world: Arc<Mutex<World>>, emitter: SignalEmitter<'static>, source: String, behaviour: Behaviour) {
    tokio::time::sleep(Duration::from_millis(20)).await;
    let result = {
        let mut world = world.lock().unwrap();
        let target = world.other();
        match behaviour {
            Behaviour::Installs | Behaviour::Unheard => {
                let (version, _, hash) = world.bundles[&source].clone().unwrap();
                *world.slot(target) = WorldSlot { bootable: true, version: Some(version), hash: Some(hash) };
                world.first = target;
                world.percent = 100;
                if matches!(behaviour, Behaviour::Unheard) {
                    world.operation = "idle".to_owned();
                    return;
                }
                0
            }
            Behaviour::Fails { error, spoils } => {
                if spoils {
                    *world.slot(target) = WorldSlot::default();
                }
                world.last_error = error;
                1
            }
            Behaviour::Hangs => {
                *world.slot(target) = WorldSlot::default();
                world.percent = 40;
                return;
            }
            Behaviour::Dies => {
                *world.slot(target) = WorldSlot::default();
                world.operation = "idle".to_owned();
                return;
            }
        }
    };
    Installer::completed(&emitter, result).await.unwrap();
    world.lock().unwrap().operation = "idle".to_owned();
}

pub struct Manager(pub Arc<Mutex<World>>);

#[interface(name = "org.freedesktop.login1.Manager")]
impl Manager {
    async fn reboot(&self, interactive: bool) -> fdo::Result<()> {
        assert!(!interactive);
        let mut world = self.0.lock().unwrap();
        if world.refuse_reboot {
            return Err(fdo::Error::AccessDenied("Operation inhibited".to_owned()));
        }
        world.reboots += 1;
        Ok(())
    }
}

pub struct Network(pub Arc<Mutex<World>>);

#[interface(name = "org.freedesktop.NetworkManager")]
impl Network {
    #[zbus(property)]
    async fn metered(&self) -> u32 {
        self.0.lock().unwrap().metered
    }

    #[zbus(property)]
    async fn active_connections(&self) -> Vec<OwnedObjectPath> {
        vec![OwnedObjectPath::try_from(ACTIVE).unwrap()]
    }
}

pub struct Active(pub Arc<Mutex<World>>);

#[interface(name = "org.freedesktop.NetworkManager.Connection.Active")]
impl Active {
    #[zbus(property, name = "Type")]
    async fn kind(&self) -> String {
        "802-11-wireless".to_owned()
    }

    #[zbus(property)]
    async fn state(&self) -> u32 {
        2
    }

    #[zbus(property)]
    async fn connection(&self) -> OwnedObjectPath {
        OwnedObjectPath::try_from(SETTINGS).unwrap()
    }
}

pub struct Settings(pub Arc<Mutex<World>>);

#[interface(name = "org.freedesktop.NetworkManager.Settings.Connection")]
impl Settings {
    async fn get_settings(&self) -> HashMap<String, Dictionary> {
        let mode = if self.0.lock().unwrap().access_point { "ap" } else { "infrastructure" };
        let wireless = HashMap::from([("mode".to_owned(), owned(mode))]);
        HashMap::from([("802-11-wireless".to_owned(), wireless)])
    }
}
