//! Every target with its seeds and a bounded number of mutations of them, without libFuzzer.
//!
//! `STRATA_FUZZ_SEED` repeats a run or begins another one, `STRATA_FUZZ_RUNS` makes it longer.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot be set up fails; figures are printed")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use strata_fuzz::TARGETS;

/// Mutations of each target's seeds.
const RUNS: u64 = 400;
/// A seed is small: it is read in every run and kept for ever.
const MAX_SEED: u64 = 32 << 10;
const MAX_SEEDS: usize = 60;
/// Inputs grow by no more than this.
const MAX_INPUT: usize = 64 << 10;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The files of a target's seeds, in an order of their own.
fn seed_files(folders: &[&str]) -> Vec<PathBuf> {
    let list =
        |folder: &&str| std::fs::read_dir(here().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files: Vec<PathBuf> = folders.iter().flat_map(list).map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// One of the small changes that find most.
fn mutate(random: &mut SmallRng, input: &mut Vec<u8>, other: &[u8]) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..8) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random(),
        2 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
        3 => input.insert(at, random.random()),
        4 => {
            let end = (at + random.random_range(0..32)).min(input.len());
            input.drain(at..end);
        }
        5 => {
            let end = (at + random.random_range(0..200)).min(input.len());
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        6 => {
            let from = random.random_range(0..=other.len());
            input.truncate(at);
            input.extend(&other[from..]);
        }
        _ => {
            let end = (at + 8).min(input.len());
            input[at..end].fill(if random.random() { 0xff } else { 0 });
        }
    }
    input.truncate(MAX_INPUT);
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds: Vec<Vec<u8>> = seed_files(target.seeds).iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty());
    let start = number("STRATA_FUZZ_SEED", 1);
    let runs = number("STRATA_FUZZ_RUNS", RUNS);
    println!("{name}: {} seeds, {runs} mutations; STRATA_FUZZ_SEED={start}", seeds.len());
    let run = |input: &[u8], what: String| {
        if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("{name}: {what} breaks a promise: {hex}");
        }
    };
    for (number, seed) in seeds.iter().enumerate() {
        run(seed, format!("seed {number}"));
    }
    run(&[], "nothing".into());
    for number in 0..runs {
        let mut random = SmallRng::seed_from_u64(start.wrapping_mul(1 << 32) + number);
        let mut input = seeds[random.random_range(0..seeds.len())].clone();
        let other = &seeds[random.random_range(0..seeds.len())];
        for _ in 0..random.random_range(1..8) {
            mutate(&mut random, &mut input, other);
        }
        run(&input, format!("mutation {number} of STRATA_FUZZ_SEED={start}"));
    }
}

macro_rules! targets {
    ($($name:ident),+) => {
        $(#[test] fn $name() { check(stringify!($name)); })+

        #[test]
        fn every_target_is_tested_here_and_built_for_libfuzzer() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
            let mut files: Vec<String> = std::fs::read_dir(here().join("fuzz/fuzz_targets")).unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
            files.sort();
            let mut sorted = names.clone();
            sorted.sort_unstable();
            assert_eq!(files, sorted);
            let manifest = std::fs::read_to_string(here().join("fuzz/Cargo.toml")).unwrap();
            assert!(names.iter().all(|name| manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\""))));
        }
    };
}

targets!(packet, receiver, receiver_steps, sender, sender_steps, pair, transport_stream, control, identity, emulator);

#[test]
fn seeds_are_few_and_small() {
    for target in TARGETS {
        let files = seed_files(target.seeds);
        assert!(files.len() <= MAX_SEEDS, "{}: {} seeds", target.name, files.len());
        for file in files {
            let bytes = file.metadata().unwrap().len();
            assert!(bytes <= MAX_SEED, "{}: {bytes} bytes", file.display());
        }
    }
}
