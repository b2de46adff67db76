//! What people set on the device about updates: a file that `strata-settings` writes at each start and change.
//!
//! Does not own the settings, nor their migration.

use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize, Default)]
struct Settings {
    #[serde(default)]
    over_metered: bool,
}

/// Whether updates may use links where data costs money; not, where nothing can be read.
#[must_use]
pub fn over_metered(file: &Path) -> bool {
    let read = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<Settings>(&bytes).ok());
    read.unwrap_or_default().over_metered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_allows_metered_links() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("update.json");
        assert!(!over_metered(&file));
        for (text, allowed) in
            [("{\"over_metered\":true}", true), ("{}", false), ("garbage", false), ("{\"over_metered\":1}", false)]
        {
            std::fs::write(&file, text).unwrap();
            assert_eq!(over_metered(&file), allowed, "{text}");
        }
    }
}
