//! Up and down again, for any steps and any values; single operations; schemas that cannot be right.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use strata_settings::document::{Document, MigrateError, Operation, Step, Values, version_of};
use strata_settings::schema::Schema;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&KEYS[..]).prop_map(str::to_owned)
}

/// Few different ones, so that they meet the pairs of a map; and some of any shape.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0..4u8).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop::collection::vec(".{0,3}", 0..3).prop_map(|texts| json!({ "texts": texts })),
    ]
}

fn values() -> impl Strategy<Value = Values> {
    prop::collection::btree_map(key(), value(), 0..=KEYS.len())
}

fn operation() -> impl Strategy<Value = Operation> {
    let default = || prop::option::of(value());
    prop_oneof![
        (key(), default()).prop_map(|(key, default)| Operation::Add { key, default }),
        (key(), default()).prop_map(|(key, default)| Operation::Remove { key, default }),
        (key(), key()).prop_map(|(from, to)| Operation::Rename { from, to }),
        (key(), prop::collection::vec((0..4u8, 0..4u8), 0..4)).prop_map(|(key, pairs)| {
            let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
            let new =
                |(a, b): &(u8, u8)| !before.contains(a) && !after.contains(b) && before.insert(*a) && after.insert(*b);
            Operation::Map { key, pairs: pairs.into_iter().filter(new).map(|(a, b)| (a.into(), b.into())).collect() }
        }),
    ]
}

/// No key twice in a step, as `Schema::parse` demands.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop::collection::vec(operation(), 0..4).prop_map(|operations| {
        let mut touched = BTreeSet::new();
        let fits = |operation: &Operation| operation.keys().into_iter().all(|key| touched.insert(key.to_owned()));
        operations.into_iter().filter(fits).collect()
    });
    prop::collection::vec(step, 0..6)
}

/// As if it had been written and read.
fn stored(document: &Document) -> Document {
    let read: Document = serde_json::from_slice(&serde_json::to_vec(document).unwrap()).unwrap();
    assert_eq!(&read, document);
    read
}

/// Brought to version `to` by an image that knows no more than the steps up to there.
fn migrated(document: &Document, steps: &[Step], to: usize) -> Document {
    let mut document = stored(document);
    document.migrate(&steps[..to]).unwrap();
    assert_eq!(document.version, version_of(&steps[..to]));
    assert!(!document.kept.contains_key(&document.version), "{document:?}");
    document
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn up_then_down_and_down_then_up_change_nothing(
        steps in steps(), at in any::<prop::sample::Index>(), through in any::<prop::sample::Index>(), values in values(),
    ) {
        let (at, through) = (at.index(steps.len() + 1), through.index(steps.len() + 1));
        let start = Document { values, ..Document::new(&steps[..at]) };
        let away = migrated(&start, &steps, through);
        prop_assert_eq!(&migrated(&away, &steps, at).values, &start.values);
    }

    #[test]
    fn every_trip_returns_whatever_was_changed_in_any_version_before(
        steps in steps(),
        visits in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of((key(), value()))), 1..8),
        through in any::<prop::sample::Index>(),
    ) {
        let mut document = Document::new(&[]);
        let mut at = 0;
        for (next, change) in visits {
            at = next.index(steps.len() + 1);
            document = migrated(&document, &steps, at);
            document.values.extend(change);
        }
        let away = migrated(&document, &steps, through.index(steps.len() + 1));
        prop_assert_eq!(migrated(&away, &steps, at).values, document.values);
    }

    #[test]
    fn no_document_makes_it_panic(document in any_document(), steps in steps()) {
        if let Ok(mut document) = serde_json::from_value::<Document>(document) {
            match document.migrate(&steps) {
                Ok(()) => prop_assert_eq!(document.version, version_of(&steps)),
                Err(MigrateError::NoVersion | MigrateError::NoWayBack { .. }) => {}
            }
        }
    }
}

/// The right shape with wrong content: steps that touch keys twice, maps that cannot be undone, any version.
fn any_document() -> impl Strategy<Value = Value> {
    let pairs = prop::collection::vec((0..3u8, 0..3u8), 0..4);
    let map = (key(), pairs).prop_map(|(key, pairs)| json!({ "map": { "key": key, "pairs": pairs } }));
    let operation = prop_oneof![operation().prop_map(|operation| serde_json::to_value(operation).unwrap()), map];
    let step = prop::collection::vec(operation, 0..4);
    let kept = prop::collection::btree_map((0..9u32).prop_map(|version| version.to_string()), values(), 0..4);
    (prop_oneof![0..9u32, any::<u32>()], values(), prop::collection::vec(step, 0..9), kept).prop_map(
        |(version, values, back, kept)| json!({ "version": version, "values": values, "back": back, "kept": kept }),
    )
}

#[test]
fn each_operation_up_and_down() {
    let add = json!({ "add": { "key": "x", "default": 7 } });
    let remove = json!({ "remove": { "key": "x", "default": 7 } });
    let rename = json!({ "rename": { "from": "x", "to": "y" } });
    let map = json!({ "map": { "key": "x", "pairs": [[false, "off"], [true, "on"]] } });
    // Operation; before; after; changed afterwards to; and back at the old version.
    let table = [
        (&add, json!({}), json!({ "x": 7 }), json!({ "x": 8 }), json!({})),
        (&remove, json!({ "x": 1 }), json!({}), json!({}), json!({ "x": 1 })),
        (&remove, json!({}), json!({}), json!({}), json!({})),
        (&rename, json!({ "x": 1 }), json!({ "y": 1 }), json!({ "y": 2 }), json!({ "x": 2 })),
        (&rename, json!({}), json!({}), json!({ "y": 2 }), json!({ "x": 2 })),
        (&rename, json!({ "x": 1, "y": 5 }), json!({ "y": 1 }), json!({}), json!({ "y": 5 })),
        (&map, json!({ "x": true }), json!({ "x": "on" }), json!({ "x": "off" }), json!({ "x": false })),
        (&map, json!({ "x": "on" }), json!({ "x": true }), json!({ "x": 3 }), json!({ "x": 3 })),
    ];
    for (operation, before, after, changed, back) in table {
        let steps: [Step; 1] = [vec![serde_json::from_value(operation.clone()).unwrap()]];
        let values = |json: &Value| serde_json::from_value::<Values>(json.clone()).unwrap();
        let mut document = Document { values: values(&before), ..Document::new(&[]) };
        document.migrate(&steps).unwrap();
        assert_eq!(document.values, values(&after), "{operation} of {before}");
        document.values = values(&changed);
        document.migrate(&[]).unwrap();
        assert_eq!(document.values, values(&back), "{operation} of {before}, changed to {changed}, and back");
    }
}

#[test]
fn the_way_back_of_an_added_key_that_was_removed_gives_its_default() {
    // A device that was never older than version 2 comes down to 1, which has "x".
    let steps: [Step; 1] = [vec![Operation::Remove { key: "x".into(), default: Some(7.into()) }]];
    let mut document = Document::new(&steps);
    document.migrate(&[]).unwrap();
    assert_eq!(document.values, Values::from([("x".into(), 7.into())]));
    // What is set there returns after a visit to 2.
    document.values.insert("x".into(), 9.into());
    document.migrate(&steps).unwrap();
    assert_eq!(document.values, Values::new());
    document.migrate(&[]).unwrap();
    assert_eq!(document.values["x"], 9);
}

#[test]
fn a_newer_document_without_its_way_back_is_refused() {
    let mut document = Document { version: 3, ..Document::new(&[]) };
    let error = document.clone().migrate(&[vec![]]).unwrap_err();
    assert_eq!(error.to_string(), "it is of version 3 and holds no way back to version 2");
    document.version = 0;
    assert_eq!(document.migrate(&[]), Err(MigrateError::NoVersion));
}

#[test]
fn the_shipped_schema_is_right() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../rootfs/files/usr/share/strata/settings.toml");
    let schema = Schema::read(path.as_ref()).unwrap();
    assert_eq!(schema.keys.len(), 5);
    assert_eq!(schema.closest("ssh.enable"), "ssh.enabled");
}

#[test]
fn a_schema_that_cannot_be_right_is_refused_with_the_place() {
    let key = |name: &str| format!("[[keys]]\nname = '{name}'\ntype = 'flag'\ndefault = true\nmeaning = ''\n");
    let with = |steps: &str| {
        let steps: String = steps.split(';').map(|step| format!("[[steps]]\noperations = [{step}]\n")).collect();
        key("x") + &key("y") + &steps
    };
    let table = [
        (with("") + &key("x"), "the schema's key x: is there twice"),
        (with("").replacen("true", "7", 1), "the schema's key x: its default 7 is not true or false"),
        (with("{add={key='z'}}"), "step from version 1, key z: is added, but not there afterwards"),
        (with("{remove={key='x'}}"), "step from version 1, key x: is removed, but still there"),
        (with(";{rename={from='x',to='y'}}"), "step from version 2, key x: is an old name, but still there"),
        (with("{rename={from='w',to='z'}}"), "key z: is a new name, but not there afterwards"),
        (with("{map={key='z',pairs=[]}}"), "key z: is mapped, but not there"),
        (with("{map={key='x',pairs=[[1,true],[2,true]]}}"), "key x: two pairs have the same value on one side"),
        (with("{add={key='x'}},{map={key='x',pairs=[]}}"), "key x: is touched twice in one step"),
        (with("{move={key='x'}}"), "unknown variant `move`"),
    ];
    for (text, expected) in table {
        let error = Schema::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nis not: {expected}");
    }
    Schema::parse(&with("{add={key='x'}};{rename={from='v',to='y'}},{remove={key='w'}}")).unwrap();
}
