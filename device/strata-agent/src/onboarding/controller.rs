//! The task behind the access point: it knows the facts, asks the state machine, and has done what that says.
//!
//! One thing at a time is done to the radios, each in a task of its own, so that this loop never waits. Does not own
//! the decision ([`strata_network::access_point`]) or the pages.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use strata_network::access_point::{Facts, Machine, Radio as Wanted, Radios, TRY, TURN};
use strata_network::modem_manager::{Modem, ModemManager};
use strata_network::network_manager::{Connectivity, Error, Joined, Network, NetworkManager, Radio};
use strata_network::own_network::OwnNetwork;
use strata_network::reason::Reason;
use strata_network::wifi::Wish;
use strata_portal::device::{Failure, Progress};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{self, Instant, MissedTickBehavior};

use super::camera::{self, Code, Watch};
use super::door::{Command, Door, Open, Shared, hand_over};
use super::modem::{self, WrongPins};
use super::own_network::own_network;
use super::radio::{self, Done, Look};
use super::{Setup, Standing};

/// The state machine's beat.
const BEAT: Duration = Duration::from_secs(1);
/// What was heard is new for so long: after a network was tried, the access point comes back without another scan.
const NEW: Duration = Duration::from_secs(2 * 60);
/// Between two attempts to take the access point up.
const RAISE_AGAIN: Duration = Duration::from_secs(10);
/// Wishes that may wait: people make one at a time.
const COMMANDS: usize = 8;

/// The access point while it is up.
struct Raised {
    since: Instant,
    radio: Radio,
    joined: Joined,
    _pages: Open,
}

/// A network that somebody chose, until it is known whether it is worth keeping.
struct Trial {
    /// Which, as somebody may choose another one meanwhile.
    number: u64,
    wish: Wish,
    /// Whether there was no other way out: what is reached then is reached over this network.
    alone: bool,
    /// Once it is joined, and until when it may show where it leads.
    joined: Option<(Joined, Instant)>,
    /// Where it leads.
    leads: Option<Connectivity>,
}

struct Controller<'a> {
    setup: &'a Setup,
    nm: NetworkManager,
    modems: ModemManager,
    standing: watch::Receiver<Standing>,
    commands: mpsc::Sender<Command>,
    machine: Machine,
    started: Instant,
    picture: Shared,
    radios: Vec<Radio>,
    uplinks: Vec<Radio>,
    raised: Option<Raised>,
    trial: Option<Trial>,
    trials: u64,
    /// Somebody wants to know what there is now.
    scan_wanted: bool,
    /// What is done to the radios now; one at a time.
    action: JoinSet<Done>,
    checks: JoinSet<(u64, Connectivity)>,
    wrong_pins: Arc<Mutex<WrongPins>>,
    /// What is asked of modems, by their numbers.
    asked: JoinSet<(u32, Progress)>,
    /// How that went, until a look that began later shows what the modem is like since.
    answers: Vec<(Instant, u32, Progress)>,
    /// The cameras, while there is nothing better to do with them.
    watches: Vec<Watch>,
    codes: mpsc::Sender<Code>,
    raise_not_before: Option<Instant>,
    /// What was told of it last: not every few seconds again.
    told: String,
}

/// Runs until NetworkManager's signals end.
pub(super) async fn run(setup: &Setup, nm: NetworkManager, standing: watch::Receiver<Standing>) -> anyhow::Error {
    match serve(setup, nm, standing).await {
        Ok(()) => anyhow::anyhow!("the system's D-Bus closed the connection"),
        Err(error) => error,
    }
}

async fn serve(setup: &Setup, nm: NetworkManager, mut standing: watch::Receiver<Standing>) -> anyhow::Result<()> {
    let (commands, mut asked) = mpsc::channel(COMMANDS);
    let (codes, mut seen) = mpsc::channel(1);
    let mut controller = Controller::new(setup, nm, standing.clone(), commands, codes);
    let (nm, modems) = (controller.nm.clone(), controller.modems.clone());
    let mut changes = Box::pin(futures_util::stream::select(nm.changes().await?, modems.changes().await?));
    let mut restarts = Box::pin(nm.restarts().await?);
    let (mut looks, mut look_again) = (JoinSet::new(), true);
    let mut beat = time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if look_again && looks.is_empty() {
            look_again = false;
            looks.spawn(radio::look(controller.nm.clone(), controller.modems.clone()));
        }
        tokio::select! {
            change = changes.next() => match change {
                Some(()) => look_again = true,
                None => return Ok(()),
            },
            _ = restarts.next() => anyhow::bail!("NetworkManager started again, or ended"),
            Some(look) = looks.join_next() => match look? {
                Ok(look) => controller.looked(look),
                // A device that went away while it was looked at: its going is a signal, too.
                Err(error) => tracing::debug!("no look at the network: {error}"),
            },
            Some(done) = controller.action.join_next() => {
                look_again = true;
                controller.done(done?);
            }
            Some(answer) = controller.asked.join_next() => {
                look_again = true;
                let (number, progress) = answer?;
                controller.answers.push((Instant::now(), number, progress));
            }
            Some(checked) = controller.checks.join_next() => {
                let (number, leads) = checked?;
                controller.checked(number, leads);
            }
            Some(command) = asked.recv() => controller.command(command),
            Some(code) = seen.recv() => controller.code(code),
            changed = standing.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                controller.relay_said();
            }
            // A look may have failed.
            _ = beat.tick() => look_again |= !controller.answers.is_empty(),
        }
        controller.step()?;
    }
}

impl<'a> Controller<'a> {
    fn new(
        setup: &'a Setup,
        nm: NetworkManager,
        standing: watch::Receiver<Standing>,
        commands: mpsc::Sender<Command>,
        codes: mpsc::Sender<Code>,
    ) -> Self {
        let waits = setup.token.path().exists();
        let picture = Shared::default();
        picture.lock().token_after = waits.then(|| standing.borrow().attempts);
        Self {
            setup,
            modems: ModemManager::new(nm.bus().clone()),
            nm,
            standing,
            commands,
            machine: Machine::new(Duration::ZERO),
            started: Instant::now(),
            picture,
            radios: Vec::new(),
            uplinks: Vec::new(),
            raised: None,
            trial: None,
            trials: 0,
            scan_wanted: false,
            action: JoinSet::new(),
            checks: JoinSet::new(),
            wrong_pins: Arc::new(Mutex::new(WrongPins::new(&setup.config.state_dir))),
            asked: JoinSet::new(),
            answers: Vec::new(),
            watches: Vec::new(),
            codes,
            raise_not_before: None,
            told: String::new(),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The radio that is, or would be, the access point: the last that can be one and is not the way out.
    fn own_radio(&self) -> Option<&Radio> {
        let is_up = |radio: &&Radio| self.raised.as_ref().is_some_and(|raised| raised.radio == **radio);
        let can = || self.radios.iter().filter(|radio| radio.can_be_access_point);
        can().find(is_up).or_else(|| can().rfind(|radio| !self.uplinks.contains(radio))).or_else(|| can().next_back())
    }

    /// The radio that joins networks.
    fn client_radio(&self) -> Option<&Radio> {
        let own = self.own_radio();
        self.radios.iter().find(|radio| Some(*radio) != own).or(own)
    }

    fn facts(&self) -> Facts {
        let (standing, picture) = (self.standing.borrow(), self.picture.lock());
        let own = self.own_radio();
        Facts {
            policy: standing.policy,
            enrolled: standing.enrolled,
            internet: picture.internet(&standing),
            relay: standing.at_relay,
            streaming: standing.streaming,
            radios: match (own, self.radios.len()) {
                (None, _) => Radios::None,
                (Some(_), 1) => Radios::One,
                (Some(_), _) => Radios::Two,
            },
            uplink_on_radio: own.is_some_and(|own| self.uplinks.contains(own)),
            known_networks: !picture.known.is_empty(),
            // Phones ask as long as the pages are open; how many there are does not matter.
            guests: u32::from(picture.somebody_there(Instant::now(), TURN / 2)),
        }
    }

    fn looked(&mut self, look: Look) {
        let Look { begun, connections, radios, uplinks, connectivity, known, modems, mobiles } = look;
        if self.raised.as_ref().is_some_and(|raised| raised.since < begun && !connections.has(&raised.joined)) {
            tracing::warn!("the access point went down by itself");
            self.raised = None;
        }
        let mut picture = self.picture.lock();
        if picture.connectivity != Some(connectivity) {
            tracing::info!("the way out, as NetworkManager sees it: {connectivity:?}");
            if connectivity == Connectivity::Full {
                self.setup.relay_now.notify_one();
            }
        }
        picture.one_radio = radios.len() == 1;
        picture.connectivity = Some(connectivity);
        (picture.known, picture.mobiles) = (known, mobiles);
        let (shown, waiting) = std::mem::take(&mut self.answers).into_iter().partition(|(at, ..)| *at <= begun);
        self.answers = waiting;
        picture.modems_are(modems, shown);
        (self.radios, self.uplinks) = (radios, uplinks);
    }

    fn command(&mut self, command: Command) {
        let (now, facts) = (self.now(), self.facts());
        match command {
            Command::Scan => self.scan_wanted = true,
            Command::Join(wish) => {
                tracing::info!("somebody wants the network “{}”", wish.ssid);
                self.give_up_trial();
                self.picture.lock().joining = (Some(wish.ssid.clone()), Progress::Going);
                self.trials += 1;
                self.trial =
                    Some(Trial { number: self.trials, wish, alone: !facts.internet, joined: None, leads: None });
                self.machine.join(now, &facts);
            }
            Command::TokenGiven => {
                tracing::info!("somebody gave an enrolment token");
                let attempts = self.standing.borrow().attempts;
                let mut picture = self.picture.lock();
                (picture.token_after, picture.token_failure) = (Some(attempts), None);
                drop(picture);
                if self.trial.is_none() && !facts.internet {
                    self.machine.go_online(now, &facts);
                }
            }
            Command::Pin(number, pin) => {
                let (manager, wrong) = (self.modems.clone(), self.wrong_pins.clone());
                self.ask_modem(number, async move |modem| modem::enter_pin(manager, &wrong, modem, pin).await);
            }
            Command::Apn(number, apn) => {
                let nm = self.nm.clone();
                self.ask_modem(number, |modem| modem::set_apn(nm, modem, apn));
            }
        }
    }

    fn ask_modem<F>(&mut self, number: u32, ask: impl FnOnce(Modem) -> F)
    where
        F: Future<Output = Progress> + Send + 'static,
    {
        let modem = self.picture.lock().modems.iter().find(|modem| modem.number == number).cloned();
        // One that was pulled out meanwhile is asked for nothing.
        if let Some(asking) = modem.map(ask) {
            self.asked.spawn(async move { (number, asking.await) });
        }
    }

    /// Somebody held a QR code before the camera: the same wish as on the pages.
    fn code(&mut self, code: Code) {
        match code {
            // The label's.
            Code::Wifi(wish) if wish.ssid.to_string() == self.picture.lock().own_ssid => {
                tracing::info!("the QR code of this device's own network is for phones");
            }
            Code::Wifi(wish) => match wish.profile() {
                Ok(_) => self.command(Command::Join(wish)),
                Err(error) => tracing::warn!("a QR code asks for the network “{}”: {error}", wish.ssid),
            },
            // Unlike the pages it asks for no passphrase: a device that is somebody's stays that.
            Code::Enrolment(_) if self.standing.borrow().enrolled => {
                tracing::warn!("a QR code with a token is not taken: the device belongs to a relay");
            }
            Code::Enrolment(link) => match hand_over(&self.setup.config, link.token.reveal(), Some(&link.relay)) {
                Ok(()) => self.command(Command::TokenGiven),
                // For whoever looks at the pages then.
                Err(failure) => self.picture.lock().token_failure = Some(failure),
            },
        }
    }

    /// The cameras look for QR codes while the device is nobody's or offline: they are free before there can be a stream.
    fn look_through_cameras(&mut self) {
        let wanted = {
            let standing = self.standing.borrow();
            let done = standing.enrolled && self.picture.lock().internet(&standing);
            if self.setup.config.camera_codes && !done { standing.cameras.clone() } else { Vec::new() }
        };
        self.watches.retain(|watch| wanted.contains(&watch.node));
        for node in wanted {
            if !self.watches.iter().any(|watch| watch.node == node) {
                self.watches.push(camera::watch(&self.setup.config, &node, self.codes.clone()));
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Heard(heard) => self.heard(heard),
            Done::Lowered => {}
            Done::Raised { radio, own, heard, joined } => {
                if let Some(networks) = heard {
                    self.heard(Ok(networks));
                }
                self.raised(radio, &own, joined);
            }
            Done::Activated { number, radio, joined } => match (joined, &self.trial) {
                (joined, Some(trial)) if trial.number == number => match joined {
                    Ok(joined) => self.joined(radio, joined),
                    Err(error) => self.trial_failed(failure_of(&error)),
                },
                // Somebody chose another one meanwhile.
                (Ok(joined), _) => self.leave(joined),
                (Err(_), _) => {}
            },
        }
    }

    fn joined(&mut self, radio: Radio, joined: Joined) {
        self.machine.joined(self.now());
        let Some(trial) = &mut self.trial else { return };
        tracing::info!("joined “{}”", trial.wish.ssid);
        trial.joined = Some((joined, Instant::now() + TRY));
        let (number, nm) = (trial.number, self.nm.clone());
        let attempts = self.standing.borrow().attempts;
        let mut picture = self.picture.lock();
        // What failed before says nothing of this network.
        picture.token_after = picture.token_after.map(|after| after.max(attempts));
        self.setup.relay_now.notify_one();
        self.checks.spawn(async move { (number, radio::check(nm, radio).await) });
    }

    fn heard(&mut self, heard: Result<Vec<Network>, Error>) {
        self.scan_wanted = false;
        match heard {
            Ok(networks) => {
                let mut picture = self.picture.lock();
                (picture.networks, picture.heard) = (networks, Some(Instant::now()));
            }
            Err(error) => tracing::warn!("no networks are heard: {error}"),
        }
    }

    fn raised(&mut self, radio: Radio, own: &OwnNetwork, joined: Result<Joined, Error>) {
        let door = Door {
            setup: self.setup.clone(),
            passphrase: own.passphrase.clone(),
            picture: self.picture.clone(),
            standing: self.standing.clone(),
            commands: self.commands.clone(),
        };
        let up = joined.map_err(anyhow::Error::new).and_then(|joined| Ok((joined, door.open(&radio.interface)?)));
        match up {
            Ok((joined, pages)) => {
                tracing::info!("the access point “{}” is up on {}", own.ssid, radio.interface);
                self.told.clear();
                self.raised = Some(Raised { since: Instant::now(), radio, joined, _pages: pages });
            }
            Err(error) => {
                let told = format!("the access point is not up: {error:#}");
                if self.told != told {
                    tracing::warn!("{told}");
                    self.told = told;
                }
                self.raise_not_before = Some(Instant::now() + RAISE_AGAIN);
            }
        }
    }

    fn checked(&mut self, number: u64, leads: Connectivity) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.number == number) {
            tracing::info!("where “{}” leads: {leads:?}", trial.wish.ssid);
            trial.leads = Some(leads);
        }
    }

    /// The relay was reached, or not.
    fn relay_said(&mut self) {
        let refused_before = self.picture.lock().token_refused();
        let refused = {
            let (standing, mut picture) = (self.standing.borrow(), self.picture.lock());
            picture.relay_said(&standing);
            picture.token_refused()
        };
        if refused && !refused_before {
            match &self.trial {
                // The news that it is joined is still on its way; it is judged then.
                Some(Trial { joined: None, .. }) => return,
                // It was reached: the network is a good one, but there is nothing more to do over it.
                Some(Trial { alone: true, .. }) => self.keep_trial(),
                _ => {}
            }
            self.machine.give_back(self.now(), &self.facts());
        }
    }

    /// Whether being online is of use before somebody does more.
    fn more_to_do(&self) -> bool {
        self.standing.borrow().enrolled || self.picture.lock().token_waits()
    }

    /// Looks whether it is known by now what a network that somebody chose is worth.
    fn judge_trial(&mut self) {
        let Some(Trial { alone, joined: Some((_, until)), leads, .. }) = &self.trial else { return };
        let over = Instant::now() >= *until;
        match leads {
            _ if *alone && self.standing.borrow().at_relay => self.keep_trial(),
            Some(Connectivity::Full) => {
                self.keep_trial();
                if !self.more_to_do() {
                    self.machine.give_back(self.now(), &self.facts());
                }
            }
            Some(Connectivity::Portal) => self.trial_failed(Failure::HotelPortal),
            // Perhaps the relay is in it all the same.
            Some(_) if over || !self.more_to_do() => self.trial_failed(Failure::NoInternet),
            Some(_) | None => {}
        }
    }

    /// The network is kept, instead of what was known by its name.
    fn keep_trial(&mut self) {
        let Some(Trial { wish, joined: Some((joined, _)), .. }) = self.trial.take() else { return };
        self.picture.lock().joining = (Some(wish.ssid.clone()), Progress::Done);
        tracing::info!("the network “{}” is kept", wish.ssid);
        let nm = self.nm.clone();
        tokio::spawn(async move {
            let kept = async {
                nm.keep(&joined).await?;
                nm.forget_others(&wish.ssid, &joined).await
            };
            if let Err(error) = kept.await {
                tracing::error!("the network “{}” is not kept: {error}", wish.ssid);
            }
        });
    }

    fn trial_failed(&mut self, failure: Failure) {
        if let Some(trial) = &self.trial {
            tracing::warn!("the network “{}” is not used: {failure:?}", trial.wish.ssid);
            self.picture.lock().joining = (Some(trial.wish.ssid.clone()), Progress::Failed(failure));
        }
        self.give_up_trial();
        self.machine.give_back(self.now(), &self.facts());
    }

    /// What was joined for a try is left, and nothing of it remains.
    fn give_up_trial(&mut self) {
        if let Some(Trial { joined: Some((joined, _)), .. }) = self.trial.take() {
            self.leave(joined);
        }
    }

    fn leave(&self, joined: Joined) {
        let nm = self.nm.clone();
        tokio::spawn(async move {
            if let Err(error) = nm.forget(&joined).await {
                tracing::debug!("a network that was tried was gone: {error}");
            }
        });
    }

    /// Has done what is to be done now, if nothing else is being done to the radios.
    fn step(&mut self) -> anyhow::Result<()> {
        self.judge_trial();
        self.look_through_cameras();
        let wanted = self.machine.look(self.now(), &self.facts());
        if !self.action.is_empty() {
            return Ok(());
        }
        let one_radio = self.radios.len() == 1;
        if let Some(raised) = &self.raised
            && (wanted == Wanted::Client || !self.radios.contains(&raised.radio) || (self.scan_wanted && one_radio))
        {
            let joined = raised.joined.clone();
            tracing::info!("the access point is taken down");
            self.raised = None;
            self.action.spawn(radio::lower(self.nm.clone(), joined));
            return Ok(());
        }
        if self.begin_trial() {
            return Ok(());
        }
        if wanted == Wanted::AccessPoint && self.raised.is_none() {
            return self.raise(one_radio);
        }
        if self.scan_wanted
            && let Some(radio) = self.client_radio()
        {
            self.action.spawn(radio::scan(self.nm.clone(), radio.clone()));
        }
        Ok(())
    }

    /// Joins the network that somebody chose, once its radio is free.
    fn begin_trial(&mut self) -> bool {
        let Some(trial @ Trial { joined: None, .. }) = &self.trial else { return false };
        let Some(radio) = self.client_radio().filter(|radio| self.raised.as_ref().is_none_or(|up| up.radio != **radio))
        else {
            return false;
        };
        match trial.wish.profile() {
            Ok(profile) => {
                self.action.spawn(radio::activate(self.nm.clone(), radio.clone(), trial.number, profile));
            }
            // The pages refuse such wishes.
            Err(error) => {
                tracing::warn!("{error}");
                self.trial_failed(Failure::Network(Reason::Refused));
            }
        }
        true
    }

    fn raise(&mut self, one_radio: bool) -> anyhow::Result<()> {
        if self.raise_not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let Some(radio) = self.own_radio().cloned() else { return Ok(()) };
        let own = own_network(&self.setup.config.state_dir, radio.address)?;
        let mut picture = self.picture.lock();
        picture.own_ssid.clone_from(&own.ssid);
        let old = picture.heard.is_none_or(|at| at.elapsed() >= NEW);
        let scan = self.scan_wanted || (old && one_radio);
        drop(picture);
        self.scan_wanted |= old && !one_radio;
        self.action.spawn(radio::raise(self.nm.clone(), radio, own, scan));
        Ok(())
    }
}

fn failure_of(error: &Error) -> Failure {
    match error {
        Error::Refused(reason) => Failure::Network(*reason),
        Error::Bus(_) | Error::Late(_) | Error::Disk(_) => {
            tracing::warn!("{error}: {:?}", std::error::Error::source(error));
            Failure::Network(Reason::Ended)
        }
    }
}
