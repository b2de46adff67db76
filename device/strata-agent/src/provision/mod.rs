//! `strata-agent provision`: what the file `strata.toml` on the medium's boot partition asks for, done once.
//!
//! Owns the order: everything is looked at before anything is changed, the token comes last, the answer is written
//! before the file with its secrets goes. Root runs it at each start, and has the agent begin anew; a power cut at any place
//! has it done again, with the same result. Does not own what is done: NetworkManager, `strata-settings` and `enrol` do that.

mod file;

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{self, Command, Stdio};

use anyhow::Context;
use strata_network::network_manager::NetworkManager;

use crate::config::Config;
use crate::enrol::{Wanted, enrol};
use file::{Enrolment, Plan};

/// What a person puts there.
const FILE: &str = "strata.toml";
/// What they find there afterwards.
const RESULT: &str = "strata-result.txt";
/// More is no such file.
const MOST_BYTES: u64 = 64 * 1024;

/// What was done, or why nothing was.
enum Outcome {
    /// Nothing was changed: these things cannot be.
    Refused(Vec<String>),
    /// This was done; what could not be is tried again at the next start.
    Done { done: Vec<String>, failed: Vec<String> },
}

/// Does what `folder`'s file asks for; nothing where there is none. `settings` is the program `strata-settings`.
///
/// # Errors
/// When the answer cannot be written, or the file with its secrets not be removed.
pub async fn provision(config: &Config, folder: &Path, settings: &Path) -> anyhow::Result<Option<String>> {
    let path = folder.join(FILE);
    let Some(text) = read(&path)? else { return Ok(None) };
    if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
        // What a power cut leaves of one that was done: its answer stays.
        remove(&path).with_context(|| format!("the empty {FILE} cannot be removed"))?;
        return Ok(None);
    }
    let outcome = match text.and_then(|text| file::read(&text)) {
        Err(wrong) => Outcome::Refused(wrong),
        Ok(plan) if plan.is_empty() => {
            Outcome::Refused(vec!["it asks for nothing: is each line a comment?".to_owned()])
        }
        Ok(plan) => match check(&plan, folder, settings) {
            wrong if !wrong.is_empty() => Outcome::Refused(wrong),
            _ => carry_out(config, &plan, folder, settings).await,
        },
    };
    let (text, over) = answer(&outcome);
    write_through(&folder.join(RESULT), text.as_bytes())
        .with_context(|| format!("{RESULT} cannot be written: is the medium write-protected, or full?"))?;
    if over {
        remove(&path).with_context(|| format!("{FILE} cannot be removed, with the secrets in it"))?;
    }
    Ok(Some(text))
}

/// None without a file; the inner error is what its author is told.
fn read(path: &Path) -> anyhow::Result<Option<Result<String, Vec<String>>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("{FILE} cannot be read"))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{FILE} cannot be read")),
    };
    if bytes.len() as u64 > MOST_BYTES {
        return Ok(Some(Err(vec![format!("the file is larger than {} KiB", MOST_BYTES / 1024)])));
    }
    Ok(Some(String::from_utf8(bytes).map_err(|_| vec!["the file is no text in UTF-8: save it as such".to_owned()])))
}

/// What only the device can tell to be wrong.
fn check(plan: &Plan, folder: &Path, settings: &Path) -> Vec<String> {
    // Not the device's own: the values are looked at, and nothing follows them.
    let scratch = env::temp_dir().join(format!("strata-provision-{}.json", process::id()));
    let mut wrong: Vec<String> =
        plan.settings.iter().filter_map(|(key, value)| set(settings, Some(&scratch), key, value).err()).collect();
    if let Err(error) = fs::remove_file(&scratch)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("{} is left: {error}", scratch.display());
    }
    if let Some(Enrolment { authority: Some(name), .. }) = &plan.enrolment
        && !folder.join(name).is_file()
    {
        wrong.push(format!("relay_ca: there is no file {name} beside {FILE}"));
    }
    wrong
}

/// Has `strata-settings` set a value, in the device's settings or in another file.
fn set(program: &Path, file: Option<&Path>, key: &str, value: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    if let Some(file) = file {
        command.arg("--file").arg(file);
    }
    let ran = command.args(["set", key, value]).stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("{key}: {} does not run: {error}", program.display()))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(said.trim().trim_start_matches("strata-settings: ").to_owned())
}

async fn carry_out(config: &Config, plan: &Plan, folder: &Path, settings: &Path) -> Outcome {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (key, value) in &plan.settings {
        match set(settings, None, key, value) {
            Ok(()) => done.push(format!("{key} is set")),
            Err(error) => failed.push(error),
        }
    }
    if plan.wifi.is_some() || plan.apn.is_some() {
        match to_network_manager(plan).await {
            Ok(said) => done.extend(said),
            Err(error) => failed.push(format!("the network: {error:#}")),
        }
    }
    if let Some(Enrolment { relay, authority, token }) = &plan.enrolment {
        let authority = authority.as_ref().map(|name| folder.join(name));
        let wanted = Wanted { relay: relay.as_ref(), ca_file: authority.as_deref(), token: token.reveal() };
        match enrol(config, wanted) {
            Ok(_) => done.push("the token is kept; the device uses it as soon as it reaches the relay".to_owned()),
            Err(error) => failed.push(format!("the token: {error:#}")),
        }
    }
    Outcome::Done { done, failed }
}

async fn to_network_manager(plan: &Plan) -> anyhow::Result<Vec<String>> {
    let bus = zbus::Connection::system().await.context("the system's D-Bus is not reached")?;
    let nm = NetworkManager::new(bus);
    let mut done = Vec::new();
    if let Some(wish) = &plan.wifi {
        nm.know(&wish.ssid, &wish.profile()?).await?;
        done.push(format!("the network “{}” is joined wherever it is heard", wish.ssid));
    }
    if let Some(apn) = &plan.apn {
        nm.set_apn(None, apn).await?;
        done.push(format!("modems use the APN {apn}"));
    }
    Ok(done)
}

/// What the person reads, and whether the file has served its purpose.
fn answer(outcome: &Outcome) -> (String, bool) {
    let list = |lines: &[String]| lines.iter().map(|line| format!("- {line}\n")).collect::<String>();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    match outcome {
        Outcome::Refused(wrong) => (
            format!(
                "{now}: nothing was changed. In {FILE} this cannot be:\n\n{}\nCorrect it, and start the device again.\n",
                list(wrong)
            ),
            false,
        ),
        Outcome::Done { done, failed } if failed.is_empty() => {
            (format!("{now}: done.\n\n{}\n{FILE} held secrets and was removed.\n", list(done)), true)
        }
        Outcome::Done { done, failed } => (
            format!(
                "{now}: not all could be done.\n\n{}\nThis failed, and is tried again at the next start:\n\n{}",
                list(done),
                list(failed)
            ),
            false,
        ),
    }
}

/// Without a file beside it: FAT has no room to lose for one that a power cut leaves.
fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Not its name alone: what it held would stay on the medium.
fn remove(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let blank = vec![b'\n'; usize::try_from(file.metadata()?.len()).unwrap_or_default()];
    file.write_all(&blank)?;
    file.sync_all()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A boot partition with a file, an agent's folder, and a program in place of `strata-settings` that refuses the
    /// name “no” and writes down what it is asked.
    struct Scene {
        folder: tempfile::TempDir,
        config: Config,
    }

    impl Scene {
        fn new(text: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["boot", "state"] {
                fs::create_dir(folder.path().join(name)).unwrap();
            }
            fs::write(folder.path().join("boot").join(FILE), text).unwrap();
            let script = format!(
                "#!/bin/sh\necho \"$@\" >>{0}/asked\ncase \"$*\" in *' no') echo 'strata-settings: hostname: no' >&2; exit 1 ;; esac\n",
                folder.path().display()
            );
            fs::write(folder.path().join("settings"), script).unwrap();
            fs::set_permissions(folder.path().join("settings"), fs::Permissions::from_mode(0o755)).unwrap();
            let config = toml::from_str(&format!("state_dir = {:?}\n", folder.path().join("state"))).unwrap();
            Self { folder, config }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join(name)
        }

        async fn provision(&self) -> Option<String> {
            provision(&self.config, &self.path("boot"), &self.path("settings")).await.unwrap()
        }

        fn asked(&self) -> Vec<String> {
            let asked = fs::read_to_string(self.path("asked")).unwrap_or_default();
            asked.lines().filter(|line| !line.starts_with("--file")).map(str::to_owned).collect()
        }
    }

    #[tokio::test]
    async fn it_is_done_once_and_its_secrets_go() {
        let scene = Scene::new(b"relay = \"a.example\"\ntoken = \"abc\"\nhostname = \"van\"\n");
        let told = scene.provision().await.unwrap();
        assert!(told.contains("hostname is set") && told.contains("token is kept"), "{told}");
        assert_eq!(fs::read_to_string(scene.path("boot/strata-result.txt")).unwrap(), told);
        assert!(!scene.path("boot/strata.toml").exists());
        assert_eq!(fs::read_to_string(scene.path("state/enrolment-token")).unwrap(), "abc\n");
        assert_eq!(scene.asked(), ["set hostname van"]);
        assert_eq!(scene.provision().await, None);
        // The power may go between what was written over it and its removal.
        fs::write(scene.path("boot/strata.toml"), "\n\n\n").unwrap();
        assert_eq!(scene.provision().await, None);
        assert!(!scene.path("boot/strata.toml").exists());
        assert_eq!(fs::read_to_string(scene.path("boot/strata-result.txt")).unwrap(), told);
    }

    #[tokio::test]
    async fn what_cannot_be_changes_nothing_and_waits_to_be_corrected() {
        for text in [
            &b"token = \"abc\"\nrelay = \"a.example\"\nhostname = \"no\"\n"[..],
            b"token = \"abc\"\nrelay = \"a.example\"\nrelay_ca = \"ca.pem\"\n",
            b"# token = \"abc\"\n",
            b"token = \"abc",
            b"\xff\xfe",
            &[b'#'; 70_000],
        ] {
            let scene = Scene::new(text);
            let told = scene.provision().await.unwrap();
            assert!(told.contains("nothing was changed") && told.contains("\n- "), "{told}");
            assert!(!told.contains("abc"), "{told}");
            assert_eq!(fs::read(scene.path("boot/strata.toml")).unwrap(), text);
            assert_eq!(scene.asked(), Vec::<String>::new());
            assert!(!scene.path("state/enrolment-token").exists());
        }
    }

    #[tokio::test]
    async fn what_fails_on_the_way_is_tried_again() {
        let scene = Scene::new(b"relay = \"a.example\"\ntoken = \"abc\"\nhostname = \"van\"\n");
        fs::remove_dir(scene.path("state")).unwrap();
        let told = scene.provision().await.unwrap();
        assert!(told.contains("hostname is set") && told.contains("tried again"), "{told}");
        fs::create_dir(scene.path("state")).unwrap();
        assert!(scene.provision().await.unwrap().contains("token is kept"));
        assert!(!scene.path("boot/strata.toml").exists());
    }
}
