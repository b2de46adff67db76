//! What runs: the image as it describes itself, and how U-Boot started it.
//!
//! Owns reading `image.toml` and the kernel's command line (`docs/device/boot.md`:
//! `rauc.slot`, `strata.skipped`, `strata.rounds`).

use std::fs;
use std::path::Path;

use anyhow::Context;
use semver::Version;
use serde::Deserialize;
use strata_control::SlotName;

/// The image as it describes itself; keys of newer images are ignored.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Image {
    /// Its version.
    pub version: Version,
    /// What a bundle must be made for.
    pub compatible: String,
    /// The oldest version that may be installed over it.
    pub floor: Version,
}

impl Image {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {}: this is no image of Strata's", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// A slot that U-Boot passed over in this boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Which.
    pub slot: SlotName,
    /// U-Boot's word for why, such as `kernel-missing`.
    pub why: String,
}

/// How this system was started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    /// The slot that runs.
    pub slot: SlotName,
    /// Slots that were passed over.
    pub skipped: Vec<Skipped>,
    /// How often both slots had used up all attempts, since the device was made.
    pub rounds: u32,
    /// The kernel's name for this boot, 32 hexadecimal digits as the journal writes it.
    pub id: String,
}

impl Boot {
    /// Reads the kernel's command line and the boot's name.
    ///
    /// # Errors
    /// When this is no boot by the image's boot script.
    pub fn read() -> anyhow::Result<Self> {
        let line = fs::read_to_string("/proc/cmdline").context("cannot read /proc/cmdline")?;
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("the boot has no name")?;
        Self::parse(&line, &id)
    }

    /// Takes both as text.
    ///
    /// # Errors
    /// When the running slot is not named.
    pub fn parse(line: &str, id: &str) -> anyhow::Result<Self> {
        let value = |key: &str| line.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix(key));
        let slot = value("rauc.slot=").and_then(slot).context(
            "the kernel's command line has no rauc.slot=A or B: this system was not started by the image's boot script",
        )?;
        let skipped = value("strata.skipped=").unwrap_or_default().split(',').filter_map(skipped).collect();
        // A number that cannot be read is none: it only feeds a notice.
        let rounds = value("strata.rounds=").and_then(|number| number.parse().ok()).unwrap_or(0);
        Ok(Self { slot, skipped, rounds, id: id.trim().replace('-', "") })
    }
}

/// A slot by its name at the boot loader and in RAUC.
pub(crate) fn slot(name: &str) -> Option<SlotName> {
    match name {
        "A" => Some(SlotName::A),
        "B" => Some(SlotName::B),
        _ => None,
    }
}

/// A slot's name for people.
pub(crate) fn letter(slot: SlotName) -> &'static str {
    match slot {
        SlotName::A => "A",
        SlotName::B => "B",
    }
}

/// The one that it is not.
pub(crate) fn other(slot: SlotName) -> SlotName {
    match slot {
        SlotName::A => SlotName::B,
        SlotName::B => SlotName::A,
    }
}

fn skipped(text: &str) -> Option<Skipped> {
    let (name, why) = text.split_once(':')?;
    Some(Skipped { slot: slot(name)?, why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let id = "0f0e0d0c-0b0a-0908-0706-050403020100\n";
        let passed = |slot, why: &str| Skipped { slot, why: why.to_owned() };
        for (line, expected, skipped, rounds) in [
            ("console=ttyS0 root=PARTUUID=1 ro rauc.slot=A panic=5\n", SlotName::A, vec![], 0),
            ("rauc.slot=B strata.skipped= strata.rounds=x", SlotName::B, vec![], 0),
            (
                "ro rauc.slot=B strata.skipped=A:kernel-missing, strata.rounds=2",
                SlotName::B,
                vec![passed(SlotName::A, "kernel-missing")],
                2,
            ),
            (
                "rauc.slot=A strata.skipped=B:initrd-missing,C:odd,B:kernel-refused,",
                SlotName::A,
                vec![passed(SlotName::B, "initrd-missing"), passed(SlotName::B, "kernel-refused")],
                0,
            ),
            // The last one counts, as everywhere on a kernel's command line.
            ("rauc.slot=A rauc.slot=B", SlotName::B, vec![], 0),
        ] {
            let boot = Boot::parse(line, id).unwrap();
            assert_eq!((boot.slot, &boot.skipped, boot.rounds), (expected, &skipped, rounds), "{line}");
            assert_eq!(boot.id, "0f0e0d0c0b0a09080706050403020100");
        }
        for line in ["", "quiet", "rauc.slot=C", "rauc.slot="] {
            assert!(Boot::parse(line, id).unwrap_err().to_string().contains("rauc.slot"), "{line}");
        }
    }

    #[test]
    fn an_image_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.toml");
        fs::write(&path, "version = \"0.2.0\"\ncompatible = \"c\"\nfloor = \"0.1.0\"\nmachine = \"virtual\"\n")
            .unwrap();
        let image = Image::read(&path).unwrap();
        assert_eq!((image.version, image.floor), (Version::new(0, 2, 0), Version::new(0, 1, 0)));
        fs::write(&path, "version = \"two\"\n").unwrap();
        assert!(format!("{:#}", Image::read(&path).unwrap_err()).contains("version"));
    }
}
