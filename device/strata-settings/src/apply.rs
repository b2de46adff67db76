//! Makes the running system follow the settings: host name, SSH, the radios' country, and files under
//! `/run/strata-settings` for sshd, the radios and the update daemon. What to do is decided by a pure function ([`plan`]); [`apply`] does it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use strata_control::{DeviceProblem, DeviceProblemKind};

use crate::document::Values;
use crate::values::{COUNTRY, HOST_NAME, NO_WAY_IN, OVER_METERED, SSH_ENABLED, SSH_KEYS, no_way_in};

const SSH_UNIT: &str = "ssh.service";
/// Tells the kernel what [`COUNTRY_FILE`] says; udev starts it with each radio.
const COUNTRY_UNIT: &str = "strata-country.service";
/// In the run folder.
const COUNTRY_FILE: &str = "wifi-country";
/// The agent sends them in each status: a file full of nonsense must not make that too long.
const MAX_PROBLEMS: usize = 8;
const MAX_PROBLEM_CHARS: usize = 500;

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Set the kernel's host name.
    HostName(String),
    /// Write a file of the run folder.
    Write(&'static str, String),
    /// Start SSH, or stop it.
    Ssh {
        /// Which.
        start: bool,
    },
    /// Have the radios follow another country's rules than a moment ago.
    Country(String),
}

/// What the system does now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// The kernel's host name.
    pub host_name: String,
    /// Whether SSH runs; none while it is between the two, or cannot be told.
    pub ssh_runs: Option<bool>,
    /// What the radios were told to follow; none before they were told anything.
    pub country: Option<String>,
}

/// The parts of the system that follow settings.
pub trait System {
    /// What it does now.
    fn observe(&mut self) -> Observed;
    /// Sets the kernel's host name.
    ///
    /// # Errors
    /// What the kernel says.
    fn set_host_name(&mut self, name: &str) -> io::Result<()>;
    /// Starts or stops SSH.
    ///
    /// # Errors
    /// What `systemctl` says.
    fn ssh(&mut self, start: bool) -> io::Result<()>;
    /// Has the radios follow the country that was written down.
    ///
    /// # Errors
    /// What the unit that does it says.
    fn set_country(&mut self) -> io::Result<()>;
}

/// What must be done so that the system follows `in_force`, and a sentence for what will not be.
#[must_use]
pub fn plan(in_force: &Values, now: &Observed) -> (Vec<Action>, Option<&'static str>) {
    let mut actions = Vec::new();
    if let Some(name) = in_force.get(HOST_NAME).and_then(Value::as_str) {
        actions.push(Action::Write("hostname", format!("{name}\n")));
        if now.host_name != name {
            actions.push(Action::HostName(name.into()));
        }
    }
    if let Some(over_metered) = in_force.get(OVER_METERED) {
        actions.push(Action::Write("update.json", format!("{}\n", json!({ "over_metered": over_metered }))));
    }
    if let Some(country) = in_force.get(COUNTRY).and_then(Value::as_str) {
        actions.push(Action::Write(COUNTRY_FILE, format!("{country}\n")));
        if now.country.as_deref().is_some_and(|before| before != country) {
            actions.push(Action::Country(country.into()));
        }
    }
    let locked_out = no_way_in(in_force);
    if let Some(enabled) = in_force.get(SSH_ENABLED).and_then(Value::as_bool) {
        let start = enabled && !locked_out;
        let keys = in_force.get(SSH_KEYS).and_then(Value::as_array).filter(|_| start);
        let lines = keys.into_iter().flatten().filter_map(Value::as_str).map(|key| format!("{key}\n"));
        // Before SSH starts; and no key is left behind when it stops.
        actions.push(Action::Write("authorized_keys", lines.collect()));
        if now.ssh_runs != Some(start) {
            actions.push(Action::Ssh { start });
        }
    }
    (actions, locked_out.then_some(NO_WAY_IN))
}

/// Does it, as far as possible; a sentence for each thing that is not as the settings want it.
pub fn apply(in_force: &Values, system: &mut impl System, run_dir: &Path) -> Vec<String> {
    let told = fs::read_to_string(run_dir.join(COUNTRY_FILE)).ok().map(|text| text.trim().to_owned());
    let (actions, refused) = plan(in_force, &Observed { country: told, ..system.observe() });
    let mut problems: Vec<String> = refused.map(str::to_owned).into_iter().collect();
    for action in actions {
        let (what, done) = match &action {
            Action::HostName(name) => (format!("hostname {name} cannot be set"), system.set_host_name(name)),
            Action::Write(name, text) => {
                let path = run_dir.join(name);
                (format!("{} cannot be written", path.display()), replace(run_dir, name, text))
            }
            Action::Ssh { start } => {
                let verb = if *start { "started" } else { "stopped" };
                (format!("SSH cannot be {verb}"), system.ssh(*start))
            }
            Action::Country(country) => {
                (format!("the radios do not follow the rules of {country}"), system.set_country())
            }
        };
        problems.extend(done.err().map(|error| format!("A setting is not followed: {what}: {error}")));
    }
    problems
}

/// Tells the agent, through `problems.json` in the run folder.
///
/// # Errors
/// What the file system says.
pub fn report(problems: &[String], run_dir: &Path) -> io::Result<()> {
    let kind = DeviceProblemKind::Settings;
    let message = |text: &String| text.chars().take(MAX_PROBLEM_CHARS).collect();
    let list: Vec<_> =
        problems.iter().take(MAX_PROBLEMS).map(|text| DeviceProblem { kind, message: message(text) }).collect();
    replace(run_dir, "problems.json", &(serde_json::to_string(&list)? + "\n"))
}

/// Replaces a file that everybody may read and only its owner may write. sshd insists on that, also for the folder.
fn replace(run_dir: &Path, name: &str, text: &str) -> io::Result<()> {
    if !run_dir.is_dir() {
        fs::create_dir_all(run_dir)?;
        fs::set_permissions(run_dir, fs::Permissions::from_mode(0o755))?;
    }
    let new = run_dir.join(format!(".{name}.new"));
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    fs::rename(new, run_dir.join(name))
}

/// The machine that this runs on.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl System for Machine {
    fn observe(&mut self) -> Observed {
        let host_name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // A job that waits may be the start that an earlier call asked for.
        let shown = systemctl(&["show", "--property=ActiveState,Job", SSH_UNIT]).unwrap_or_default();
        let ssh_runs = match shown.lines().find_map(|line| line.strip_prefix("ActiveState=")) {
            _ if shown.lines().any(|line| line.starts_with("Job=") && line != "Job=0" && line != "Job=") => None,
            Some("active" | "reloading") => Some(true),
            Some("inactive" | "failed") => Some(false),
            _ => None,
        };
        Observed { host_name, ssh_runs, country: None }
    }

    fn set_host_name(&mut self, name: &str) -> io::Result<()> {
        Ok(nix::unistd::sethostname(name)?)
    }

    fn ssh(&mut self, start: bool) -> io::Result<()> {
        systemctl(&["--no-block", if start { "start" } else { "stop" }, SSH_UNIT]).map(drop)
    }

    fn set_country(&mut self) -> io::Result<()> {
        systemctl(&["restart", COUNTRY_UNIT]).map(drop)
    }
}

fn systemctl(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("systemctl").args(arguments).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("systemctl {} ended with {}: {}", arguments.join(" "), output.status, said.trim())))
}
