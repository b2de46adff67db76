//! `strata-settings`: the settings on the command line, and at boot.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use strata_settings::apply::{self, Machine};
use strata_settings::document::{Document, Values};
use strata_settings::schema::{Key, Schema};
use strata_settings::store::{FileSystem, Loaded, Store};
use strata_settings::values::{in_force, set, unknown};

const FILE: &str = "/data/settings/settings.json";

/// A device's settings. They survive updates and roll-backs.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// Another settings file than the device's; the running system is then left alone by `set` and `reset`.
    #[arg(long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,
    /// The keys and their steps.
    #[arg(long, value_name = "FILE", default_value = "/usr/share/strata/settings.toml", global = true)]
    schema: PathBuf,
    /// Where `migrate` and `apply` write what they tell other programs.
    #[arg(long, value_name = "FOLDER", default_value = "/run/strata-settings", global = true)]
    run_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Bring the settings file to this image's version, up or down.
    Migrate,
    /// Make the running system follow the settings.
    Apply,
    /// Show a setting, or all.
    Get {
        /// Which.
        key: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show all settings with their defaults and meanings.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change a setting, and make the running system follow.
    Set {
        /// Which.
        key: String,
        /// What to; of a list, one item a line.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Put a setting back to its default, and make the running system follow.
    Reset {
        /// Which.
        key: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strata-settings: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let schema = Schema::read(&arguments.schema)?;
    let path = arguments.file.clone().unwrap_or_else(|| FILE.into());
    let writes = !matches!(arguments.command, Command::Get { .. } | Command::List { .. });
    // Held until the end: of two changes at once, the second is applied last as well.
    let _lock = if writes { lock(&path) } else { None };
    let mut store = Store::new(FileSystem, path);
    let loaded = store.load(&schema);
    if let Some(news) = loaded.news.as_ref().filter(|_| !matches!(arguments.command, Command::Migrate | Command::Apply))
    {
        eprintln!("strata-settings: {news}");
    }
    match arguments.command {
        Command::Migrate => migrate(&mut store, &schema, &loaded, &arguments.run_dir),
        Command::Apply => {
            apply_all(&schema, &loaded.document, loaded.unsaved, &arguments.run_dir);
            Ok(())
        }
        Command::Get { key, json } => get(&schema, &loaded, key.as_deref(), json),
        Command::List { json } => list(&schema, &loaded, json),
        Command::Set { ref key, .. } | Command::Reset { ref key } => {
            let value = if let Command::Set { value, .. } = &arguments.command { Some(value.as_str()) } else { None };
            let mut document = loaded.document.clone();
            set(&schema, &mut document.values, key, value)?;
            // Somebody looked after the settings: what was said before is settled, what came up just now is not.
            document.notice.clone_from(&loaded.news);
            store.save(&loaded, &document)?;
            if let Some(file) = &arguments.file {
                eprintln!("strata-settings: stored in {}; not applied: it is not the device's own", file.display());
                return Ok(());
            }
            let followed = apply_all(&schema, &document, false, &arguments.run_dir);
            anyhow::ensure!(followed, "{key} is stored, but the running system does not follow: see above");
            Ok(())
        }
    }
}

/// Keeps a second `strata-settings` waiting. Without a folder there is nothing to change; a folder that cannot be
/// locked must not keep a device from booting with what it can read.
fn lock(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| folder.is_dir())?;
    match File::open(folder).and_then(|file| file.lock().map(|()| file)) {
        Ok(file) => Some(file),
        Err(error) => {
            eprintln!("strata-settings: cannot lock {}: {error}", folder.display());
            None
        }
    }
}

fn migrate(store: &mut Store<FileSystem>, schema: &Schema, loaded: &Loaded, run_dir: &Path) -> anyhow::Result<()> {
    let version = schema.version();
    let mut problems = problems_of(schema, &loaded.document).1;
    let mut did = match loaded.found {
        None => format!("made with all defaults, version {version}"),
        Some(found) if found < version => format!("brought from version {found} up to {version}"),
        Some(found) if found > version => format!("brought from version {found} back to {version}"),
        Some(_) if loaded.unsaved => format!("put right, version {version}"),
        Some(_) => format!("of version {version} already"),
    };
    if loaded.unsaved
        && let Err(error) = store.save(loaded, &loaded.document)
    {
        did += ", in memory only";
        problems.push(not_stored(&error));
    }
    say(&format!("settings: {did}"))?;
    tell(&problems, run_dir);
    Ok(())
}

fn not_stored(why: &dyn std::fmt::Display) -> String {
    format!("The settings are not stored, changes will be refused: {why}")
}

/// The values in force and what is wrong with the stored ones.
fn problems_of(schema: &Schema, document: &Document) -> (Values, Vec<String>) {
    let (values, mut problems) = in_force(schema, &document.values);
    problems.extend(document.notice.clone());
    (values, problems)
}

/// Whether the running system follows now; what it does not, and what is wrong with the stored settings, is told.
fn apply_all(schema: &Schema, document: &Document, unsaved: bool, run_dir: &Path) -> bool {
    let (values, mut problems) = problems_of(schema, document);
    if unsaved {
        problems.push(not_stored(&"the settings file could not be brought to this version at boot"));
    }
    let not_followed = apply::apply(&values, &mut Machine, run_dir);
    let followed = not_followed.is_empty();
    problems.extend(not_followed);
    tell(&problems, run_dir);
    followed
}

/// To people on standard error, to the agent by a file.
fn tell(problems: &[String], run_dir: &Path) {
    for problem in problems {
        eprintln!("strata-settings: {problem}");
    }
    if let Err(error) = apply::report(problems, run_dir) {
        eprintln!("strata-settings: cannot write {}/problems.json: {error}", run_dir.display());
    }
}

fn get(schema: &Schema, loaded: &Loaded, name: Option<&str>, json: bool) -> anyhow::Result<()> {
    let values = in_force(schema, &loaded.document.values).0;
    match name {
        None if json => say(&serde_json::to_string_pretty(&values)?),
        None => values.iter().try_for_each(|(name, value)| say(&format!("{name} = {value}"))),
        Some(name) => {
            let value = values.get(name).ok_or_else(|| unknown(schema, name))?;
            say(&if json { value.to_string() } else { plain(value) })
        }
    }
}

/// As one would give it to `set`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

fn list(schema: &Schema, loaded: &Loaded, json: bool) -> anyhow::Result<()> {
    let values = in_force(schema, &loaded.document.values).0;
    let with_values = schema.keys.iter().filter_map(|key| Some((key, values.get(&key.name)?)));
    if json {
        let row = |(Key { name, kind, default, meaning }, value): (&Key, &Value)| json!({ "key": name, "value": value, "default": default, "allowed": kind.to_string(), "meaning": meaning });
        return say(&serde_json::to_string_pretty(&with_values.map(row).collect::<Vec<_>>())?);
    }
    let cell = |value: &Value| match value {
        Value::Array(items) if items.is_empty() => "(none)".into(),
        Value::Array(items) if items.len() > 1 => format!("({} items)", items.len()),
        value => plain(value).chars().take(40).collect(),
    };
    let mut rows = vec![["KEY", "VALUE", "DEFAULT", "MEANING"].map(str::to_owned)];
    rows.extend(with_values.map(|(key, value)| {
        [key.name.clone(), cell(value), cell(&key.default), format!("{} ({})", key.meaning, key.kind)]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [first, second, third] = [width(0), width(1), width(2)];
    rows.iter().try_for_each(|[key, value, default, meaning]| {
        say(&format!("{key:first$}  {value:second$}  {default:third$}  {meaning}"))
    })
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write to standard output")
}
