//! What the running system is told, and the command line on files of the tests' own.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use strata_settings::apply::{Action, Observed, System, apply, plan, report};
use strata_settings::document::Values;
use strata_settings::schema::Schema;
use strata_settings::values::{NO_WAY_IN, in_force, set};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f anna";
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rootfs/files/usr/share/strata/settings.toml");

fn values(json: &Value) -> Values {
    in_force(&Schema::read(SCHEMA.as_ref()).unwrap(), &serde_json::from_value(json.clone()).unwrap()).0
}

#[test]
fn ssh_runs_when_it_is_on_and_somebody_could_log_in() {
    let on = json!({ "ssh.enabled": true, "ssh.authorized_keys": [KEY] });
    let off = json!({ "ssh.authorized_keys": [KEY] });
    let no_way_in = json!({ "ssh.enabled": true });
    let (start, stop) = (Some(true), Some(false));
    for (settings, runs, told_to, keys, problem) in [
        (&on, Some(false), start, true, None),
        (&on, Some(true), None, true, None),
        (&on, None, start, true, None),
        (&off, Some(false), None, false, None),
        (&off, Some(true), stop, false, None),
        (&off, None, stop, false, None),
        (&no_way_in, Some(false), None, false, Some(NO_WAY_IN)),
        (&no_way_in, Some(true), stop, false, Some(NO_WAY_IN)),
    ] {
        let now = Observed { host_name: "strata".into(), ssh_runs: runs, country: None };
        let mut expected = vec![
            Action::Write("hostname", "strata\n".into()),
            Action::Write("update.json", "{\"over_metered\":false}\n".into()),
            Action::Write("wifi-country", "00\n".into()),
            Action::Write("authorized_keys", if keys { format!("{KEY}\n") } else { String::new() }),
        ];
        expected.extend(told_to.map(|start| Action::Ssh { start }));
        assert_eq!(plan(&values(settings), &now), (expected, problem), "{settings} while {runs:?}");
    }
}

#[test]
fn radios_that_were_told_a_country_are_told_another_one() {
    for (before, set, told) in
        [(None, "DE", None), (Some("DE"), "DE", None), (Some("00"), "DE", Some("DE")), (Some("DE"), "00", Some("00"))]
    {
        let now = Observed { host_name: "strata".into(), ssh_runs: Some(false), country: before.map(str::to_owned) };
        let (actions, _) = plan(&values(&json!({ "wifi.country": set })), &now);
        assert!(actions.contains(&Action::Write("wifi-country", format!("{set}\n"))), "{actions:?}");
        let found = actions.iter().find_map(|action| match action {
            Action::Country(country) => Some(country.as_str()),
            _ => None,
        });
        assert_eq!(found, told, "{set} after {before:?}");
    }
}

/// A system whose host name cannot be set.
struct Stubborn;

impl System for Stubborn {
    fn observe(&mut self) -> Observed {
        Observed { host_name: "localhost".into(), ssh_runs: Some(false), country: None }
    }
    fn set_host_name(&mut self, _: &str) -> io::Result<()> {
        Err(io::Error::other("not permitted"))
    }
    fn ssh(&mut self, start: bool) -> io::Result<()> {
        panic!("SSH was to stay off: {start}")
    }
    fn set_country(&mut self) -> io::Result<()> {
        panic!("the country was to stay")
    }
}

#[test]
fn what_cannot_be_followed_is_told_and_the_rest_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let settings = json!({ "hostname": "van-3", "update.over_metered": true });
    let problems = apply(&values(&settings), &mut Stubborn, &run_dir);
    assert_eq!(problems, ["A setting is not followed: hostname van-3 cannot be set: not permitted"]);
    let written = |name: &str| fs::read_to_string(run_dir.join(name)).unwrap();
    assert_eq!((written("hostname"), written("authorized_keys")), ("van-3\n".into(), String::new()));
    assert_eq!(written("update.json"), "{\"over_metered\":true}\n");
    report(&problems, &run_dir).unwrap();
    let told: Value = serde_json::from_str(&written("problems.json")).unwrap();
    assert_eq!(told, json!([{ "kind": "settings", "message": problems[0] }]));
}

#[test]
fn a_change_is_checked() {
    let schema = Schema::read(SCHEMA.as_ref()).unwrap();
    let mut stored = Values::new();
    let mut change = |name: &str, text: &str| set(&schema, &mut stored, name, Some(text)).map_err(|e| e.to_string());
    let table = [
        ("host_name", "x", "there is no setting \"host_name\"; the closest is \"hostname\""),
        ("hostname", "Van 3", "hostname cannot be \"Van 3\"; it can be 1 to 63 of a-z, 0-9 and -"),
        ("hostname", "-x", "hostname cannot be"),
        ("wifi.country", "de", "wifi.country cannot be \"de\"; it can be the two letters of a country, such as DE"),
        ("wifi.country", "DEU", "wifi.country cannot be"),
        ("hostname", "", "hostname cannot be"),
        ("update.over_metered", "yes", "update.over_metered cannot be \"yes\"; it can be true or false"),
        ("ssh.enabled", "true", NO_WAY_IN),
        ("ssh.authorized_keys", "ssh-ed25519 AAAA", "ssh.authorized_keys cannot be"),
        ("ssh.authorized_keys", &format!("command=\"x\" {KEY}"), "ssh.authorized_keys cannot be"),
        ("ssh.authorized_keys", &KEY.replace("ssh-ed25519", "ssh-rsa"), "ssh.authorized_keys cannot be"),
        ("ssh.authorized_keys", &json!([format!("{KEY}\nroot")]).to_string(), "ssh.authorized_keys cannot be"),
        ("ssh.authorized_keys", &[KEY; 17].join("\n"), "it can be up to 16 public SSH keys"),
    ];
    for (name, text, expected) in table {
        let error = change(name, text).unwrap_err();
        assert!(error.contains(expected), "{error}\nis not: {expected}");
    }
    change("ssh.authorized_keys", &format!("{KEY}\n\n{KEY}\n")).unwrap();
    change("ssh.enabled", "true").unwrap();
    assert_eq!(change("ssh.authorized_keys", "").unwrap_err(), NO_WAY_IN);
    assert_eq!(set(&schema, &mut stored, "ssh.authorized_keys", None).unwrap_err().to_string(), NO_WAY_IN);
    assert_eq!(stored["ssh.authorized_keys"], json!([KEY, KEY]));
}

#[test]
fn a_value_from_the_file_that_is_not_allowed_is_not_followed_and_said() {
    let schema = Schema::read(SCHEMA.as_ref()).unwrap();
    let stored = Values::from([("hostname".into(), json!(["x".repeat(200)])), ("ssh.enable".into(), true.into())]);
    let (values, problems) = in_force(&schema, &stored);
    assert_eq!((&values["hostname"], &values["ssh.enabled"]), (&json!("strata"), &json!(false)));
    assert!(
        problems[0].starts_with("The setting hostname cannot be [\"xxx") && problems[0].len() < 250,
        "{problems:?}"
    );
    assert!(problems[1].contains("ssh.enable, which is no setting of this version (the closest is ssh.enabled)"));
}

fn settings(folder: &Path, schema: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_strata-settings");
    let mut command = Command::new(program);
    command.arg("--file").arg(folder.join("settings.json")).arg("--schema").arg(schema);
    command.arg("--run-dir").arg(folder.join("run")).args(arguments).output().unwrap()
}

/// What it printed on standard output.
fn done(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_update_and_a_roll_back_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.toml");
    let text = fs::read_to_string(SCHEMA).unwrap().replace("\"update.over_metered\"", "\"update.metered\"");
    let text = text.replace(
        "type = \"flag\"\ndefault = false\nmeaning = \"whether updates",
        "type = { choice = [\"wait\", \"use\"] }\ndefault = \"wait\"\nmeaning = \"whether updates",
    );
    let steps = r#"
[[steps]]
operations = [{ rename = { from = "update.over_metered", to = "update.metered" } }]
[[steps]]
operations = [{ map = { key = "update.metered", pairs = [[false, "wait"], [true, "use"]] } }]
"#;
    fs::write(&newer, text + steps).unwrap();
    let old = |arguments: &[&str]| done(settings(folder.path(), SCHEMA.as_ref(), arguments));
    let new = |arguments: &[&str]| done(settings(folder.path(), &newer, arguments));

    assert_eq!(old(&["migrate"]), "settings: made with all defaults, version 1\n");
    assert_eq!(old(&["migrate"]), "settings: of version 1 already\n");
    old(&["set", "update.over_metered", "true"]);
    assert_eq!(new(&["migrate"]), "settings: brought from version 1 up to 3\n");
    assert_eq!(new(&["get", "update.metered"]), "use\n");
    new(&["set", "update.metered", "wait"]);
    new(&["set", "hostname", "van-3"]);
    assert_eq!(old(&["migrate"]), "settings: brought from version 3 back to 1\n");
    assert_eq!(old(&["get", "update.over_metered", "--json"]), "false\n");
    assert_eq!(old(&["get", "hostname"]), "van-3\n");
    assert!(old(&["list"]).contains("hostname             van-3   strata   the device's name"), "{}", old(&["list"]));
    old(&["reset", "hostname"]);
    let listed: Value = serde_json::from_str(&old(&["list", "--json"])).unwrap();
    assert_eq!((&listed[0]["key"], &listed[0]["value"]), (&json!("hostname"), &json!("strata")));
    assert_eq!(fs::read_to_string(folder.path().join("run/problems.json")).unwrap(), "[]\n");

    let refused = settings(folder.path(), SCHEMA.as_ref(), &["get", "hostnam"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the closest is \"hostname\""));
}

#[test]
fn migrate_says_what_is_wrong_and_never_keeps_a_device_from_booting() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("settings.json"), "{").unwrap();
    let schema = Path::new(SCHEMA);
    assert_eq!(done(settings(folder.path(), schema, &["migrate"])), "settings: made with all defaults, version 1\n");
    let problems = fs::read_to_string(folder.path().join("run/problems.json")).unwrap();
    assert!(problems.contains("was damaged") && problems.contains("damaged-1"), "{problems}");

    let missing = folder.path().join("missing/folder");
    let run = folder.path().join("run");
    let arguments = ["migrate", "--run-dir", run.to_str().unwrap()];
    let program = env!("CARGO_BIN_EXE_strata-settings");
    let with_file = |rest: &[&str]| {
        let file = missing.join("settings.json");
        Command::new(program).arg("--file").arg(file).arg("--schema").arg(schema).args(rest).output().unwrap()
    };
    let output = with_file(&arguments);
    assert!(String::from_utf8_lossy(&output.stderr).contains("The settings are not stored"), "{output:?}");
    assert_eq!(done(output), "settings: made with all defaults, version 1, in memory only\n");
    let output = with_file(&["set", "hostname", "van-3"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is the data partition mounted, writable"), "{output:?}");
}
