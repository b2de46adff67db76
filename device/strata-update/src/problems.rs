//! What is wrong with the device: what `strata-data` found at boot, and what the daemon found itself.

use std::path::Path;

use strata_control::{DeviceProblem, DeviceProblemKind};

use crate::files;

/// What the daemon found, each with a place of its own so that it goes when it is over.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems {
    /// About this boot; stays until the next.
    pub boot: Vec<DeviceProblem>,
    /// The state that was kept could not be read; stays until the next start.
    pub identity: Option<String>,
    /// The state cannot be kept.
    pub not_kept: Option<String>,
    /// The running slot cannot be called good, or not yet.
    pub not_good: Option<String>,
    /// The reboot that an update needs does not come.
    pub reboot: Option<String>,
    /// Slots have to be marked and cannot be.
    pub not_marked: Option<String>,
}

impl Problems {
    /// All, those of the partitions first.
    #[must_use]
    pub fn all(&self, data_problems_file: &Path) -> Vec<DeviceProblem> {
        let of = |kind, message: &Option<String>| message.clone().map(|message| DeviceProblem { kind, message });
        let mut all = partitions(data_problems_file);
        all.extend(self.boot.iter().cloned());
        all.extend(of(DeviceProblemKind::Identity, &self.identity));
        all.extend(of(DeviceProblemKind::Identity, &self.not_kept));
        all.extend(of(DeviceProblemKind::Boot, &self.not_good));
        all.extend(of(DeviceProblemKind::Boot, &self.reboot));
        all.extend(of(DeviceProblemKind::Boot, &self.not_marked));
        all
    }
}

/// What `strata-data` wrote down; a list that cannot be read is a problem of its own.
fn partitions(path: &Path) -> Vec<DeviceProblem> {
    match files::read_json::<Vec<DeviceProblem>>(path) {
        Ok(problems) => problems.unwrap_or_default(),
        Err(error) => {
            let message = format!("The list of the partitions' problems cannot be read: {error:#}.");
            vec![DeviceProblem { kind: DeviceProblemKind::Data, message }]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_problems_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("problems.json");
        assert_eq!(Problems::default().all(&path), []);
        std::fs::write(&path, r#"[{"kind":"data","message":"The data partition is full."}]"#).unwrap();
        let own = Problems { identity: Some("read-only".to_owned()), ..Problems::default() };
        let all = own.all(&path);
        assert_eq!(
            all.iter().map(|problem| problem.kind).collect::<Vec<_>>(),
            [DeviceProblemKind::Data, DeviceProblemKind::Identity]
        );
        std::fs::write(&path, "[").unwrap();
        assert!(Problems::default().all(&path)[0].message.contains("problems.json is damaged"));
    }
}
