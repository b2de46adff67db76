//! The settings file through damage, arbitrary content, and a power cut between any two writes and within each.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use strata_settings::document::{Document, Operation, Step, Values};
use strata_settings::schema::Schema;
use strata_settings::store::{Disk, FileSystem, Store};

const PATH: &str = "/d/settings.json";
const OLD: &str = "/d/settings.json.old";
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// One thing that the store did to the disk.
#[derive(Clone, PartialEq, Debug)]
enum Did {
    Write(PathBuf, Vec<u8>),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    SyncFolder,
}

/// A disk in memory that remembers what was done.
#[derive(Clone, Default)]
struct Recorder {
    files: Files,
    done: Vec<Did>,
}

impl Recorder {
    fn act(&mut self, did: Did) -> io::Result<()> {
        perform(&mut self.files, &did)?;
        self.done.push(did);
        Ok(())
    }
}

fn perform(files: &mut Files, did: &Did) -> io::Result<()> {
    match did {
        Did::Write(path, bytes) => drop(files.insert(path.clone(), bytes.clone())),
        Did::Rename(from, to) => {
            let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.clone(), bytes);
        }
        Did::Link(_, to) if files.contains_key(to) => return Err(io::ErrorKind::AlreadyExists.into()),
        Did::Link(from, to) => {
            let bytes = files.get(from).ok_or(io::ErrorKind::NotFound)?.clone();
            files.insert(to.clone(), bytes);
        }
        Did::SyncFolder => {}
    }
    Ok(())
}

impl Disk for Recorder {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }
    fn make_folder(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.act(Did::Write(path.into(), bytes.into()))
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(Did::Rename(from.into(), to.into()))
    }
    fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(Did::Link(from.into(), to.into()))
    }
    fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
        self.act(Did::SyncFolder)
    }
}

fn schema(steps: Vec<Step>) -> Schema {
    Schema { steps, ..Schema::parse(include_str!("../../rootfs/files/usr/share/strata/settings.toml")).unwrap() }
}

fn store(files: &Files) -> Store<Recorder> {
    Store::new(Recorder { files: files.clone(), done: Vec::new() }, PATH.into())
}

fn named(name: &str) -> Values {
    Values::from([("hostname".into(), name.into())])
}

fn content(steps: &[Step], name: &str) -> Vec<u8> {
    serde_json::to_vec(&Document { values: named(name), ..Document::new(steps) }).unwrap()
}

/// Every state that a power cut can leave: after each action, and with a part of each file's content.
fn cuts(before: &Files, done: &[Did]) -> Vec<Files> {
    let mut files = before.clone();
    let mut states = vec![before.clone()];
    for did in done {
        if let Did::Write(path, bytes) = did {
            for part in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                states.push(files.clone());
                states.last_mut().unwrap().insert(path.clone(), bytes[..part].into());
            }
        }
        perform(&mut files, did).unwrap();
        states.push(files.clone());
    }
    states
}

/// Stores a change and cuts the power everywhere in it. Gives the names that were found afterwards.
fn change_through_all_cuts(before: &Files, steps: &[Step], damaged: bool) {
    let schema = schema(steps.to_vec());
    let mut first = store(before);
    let loaded = first.load(&schema);
    let old = loaded.document.clone();
    let new = Document { values: named("new"), ..old.clone() };
    first.save(&loaded, &new).unwrap();
    let done = &first.disk().done;
    assert_eq!(done.last(), Some(&Did::SyncFolder), "what was acknowledged is on the medium");
    let states = cuts(before, done);
    assert!(states.len() > 6, "{done:?}");
    for state in states {
        let mut again = store(&state);
        let loaded = again.load(&schema);
        let found = &loaded.document.values;
        assert!(*found == old.values || *found == new.values, "{found:?} after {state:?}");
        let told = loaded.document.notice.is_some();
        assert_eq!(told, damaged, "{:?} after {state:?}", loaded.document.notice);
        // And the next change goes through.
        let next = Document { values: named("next"), ..loaded.document.clone() };
        again.save(&loaded, &next).unwrap();
        assert_eq!(again.load(&schema).document, next);
    }
}

#[test]
fn a_power_cut_leaves_the_old_settings_or_the_new() {
    let one_step: Step = vec![Operation::Remove { key: "gone".into(), default: None }];
    let steps = [one_step];
    let good = |bytes: Vec<u8>| Files::from([(PATH.into(), bytes)]);
    let with_old = |mut files: Files| {
        files.insert(OLD.into(), content(&[], "older"));
        files
    };
    change_through_all_cuts(&Files::new(), &steps, false);
    for before in [good(content(&steps, "old")), with_old(good(content(&steps, "old")))] {
        change_through_all_cuts(&before, &steps, false);
        // The same with a migration down.
        change_through_all_cuts(&before, &[], false);
    }
    change_through_all_cuts(&good(content(&[], "old")), &steps, false);
    for many in [0, 9] {
        let mut before = good(b"{\"version\":".to_vec());
        before.extend((1..=many).map(|n| (format!("{PATH}.damaged-{n}").into(), vec![n])));
        change_through_all_cuts(&before, &steps, true);
        change_through_all_cuts(&with_old(before), &steps, true);
    }
}

#[test]
fn a_damaged_file_is_kept_aside_and_the_one_before_is_used() {
    let damaged: &[u8] = b"\0\0\0\0";
    let schema = schema(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new-folder/settings.json");
    let beside = |name: &str| path.with_file_name(name);
    let mut store = Store::new(FileSystem, path.clone());
    for name in ["first", "second"] {
        let loaded = store.load(&schema);
        assert_eq!(loaded.news, None);
        store.save(&loaded, &Document { values: named(name), ..loaded.document.clone() }).unwrap();
    }
    std::fs::write(&path, damaged).unwrap();

    let loaded = store.load(&schema);
    assert_eq!(loaded.document.values, named("first"));
    let news = loaded.news.clone().unwrap();
    assert!(news.contains("settings.json.damaged-1; those before the last change are in force"), "{news}");
    store.save(&loaded, &loaded.document).unwrap();
    assert_eq!(std::fs::read(beside("settings.json.damaged-1")).unwrap(), damaged);

    // It is said until somebody looks after it, but it is no news any more.
    let loaded = store.load(&schema);
    assert_eq!((loaded.news, loaded.document.notice, loaded.unsaved), (None, Some(news), false));

    std::fs::write(&path, damaged).unwrap();
    std::fs::write(beside("settings.json.old"), damaged).unwrap();
    let loaded = store.load(&schema);
    assert_eq!((&loaded.document.values, loaded.found), (&Values::new(), None));
    let news = loaded.news.clone().unwrap();
    assert!(news.contains("settings.json.damaged-2") && news.contains("all settings are at their defaults"), "{news}");

    // Something that is no file at all.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let loaded = store.load(&schema);
    store.save(&loaded, &loaded.document).unwrap();
    assert!(beside("settings.json.damaged-2").is_dir());
    assert_eq!(store.load(&schema).document.notice, loaded.news);
}

#[test]
fn without_a_place_to_write_all_is_at_its_default_and_a_change_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(FileSystem, folder.path().join("missing/settings/settings.json"));
    let loaded = store.load(&schema(Vec::new()));
    assert_eq!((&loaded.document.values, &loaded.news), (&Values::new(), &None));
    let error = store.save(&loaded, &loaded.document).unwrap_err().to_string();
    assert!(error.contains("missing/settings/settings.json: No such file"), "{error}");
}

proptest! {
    #[test]
    fn whatever_is_in_the_files_there_are_settings(
        file in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            ".{0,60}".prop_map(String::into_bytes),
            any_json().prop_map(|json| json.to_string().into_bytes()),
        ],
        old in prop::option::of(any_json()),
    ) {
        let mut files = Files::from([(PATH.into(), file)]);
        files.extend(old.map(|old| (OLD.into(), old.to_string().into_bytes())));
        let schema = schema(vec![vec![Operation::Add { key: "hostname".into(), default: None }]]);
        let mut store = store(&files);
        let loaded = store.load(&schema);
        prop_assert_eq!(loaded.document.version, 2);
        let (values, _) = strata_settings::values::in_force(&schema, &loaded.document.values);
        prop_assert!(schema.keys.iter().all(|key| key.kind.allows(&values[&key.name])));
        store.save(&loaded, &loaded.document).unwrap();
        prop_assert_eq!(store.load(&schema).document, loaded.document);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let word = prop::sample::select(
        &["version", "values", "back", "kept", "notice", "add", "key", "hostname", "2", "ssh.enabled"][..],
    );
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (0..4).prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        word.clone().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(word.clone(), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}
