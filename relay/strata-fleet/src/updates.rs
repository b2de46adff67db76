//! The history of a device's updates: which of its reports begins an attempt, which goes on with one, which is no news.
//!
//! A device says how far its newest update got and neither when it began nor
//! what came before; the history is what the relay makes of that. Does not own
//! the commands that start one (`maintenance`), nor the rows (`strata-relay-db`).

use jiff::Timestamp;
use strata_control::{DeviceId, UpdateProgress, UpdateStep};
use strata_relay_db::{DbError, DeviceUpdateRecord};

use crate::devices::NO_DEVICE;
use crate::inner::Inner;
use crate::{Actor, DeviceUpdateView, Fleet, FleetError};

/// Attempts listed when no limit is given; as many as are kept.
const MOST_LISTED: u32 = 100;
/// The longest version and error that are stored, in characters; what is beyond is cut.
const MAX_VERSION_CHARS: usize = 64;
const MAX_ERROR_CHARS: usize = 1_000;

impl Fleet {
    /// The newest attempts to update a device, newest first.
    ///
    /// # Errors
    /// [`FleetError::NotFound`], or the storage failed.
    pub async fn device_updates(
        &self,
        actor: &Actor,
        id: DeviceId,
        limit: Option<u32>,
    ) -> Result<Vec<DeviceUpdateView>, FleetError> {
        self.inner.db.device(actor.owner_id, id).await?.ok_or(NO_DEVICE)?;
        let limit = limit.unwrap_or(MOST_LISTED).min(MOST_LISTED);
        let records = self.inner.db.device_updates(actor.owner_id, id, limit).await?;
        Ok(records.into_iter().map(view).collect())
    }
}

fn view(record: DeviceUpdateRecord) -> DeviceUpdateView {
    DeviceUpdateView {
        version: record.version,
        slot: record.slot,
        step: record.step,
        error: record.error,
        started_at: record.started_at,
        changed_at: record.changed_at,
    }
}

impl Inner {
    /// Keeps what a device tells of its update; what is known already is not written again.
    pub(crate) async fn note_update(&self, device: DeviceId, name: &str, told: &UpdateProgress) {
        let told = stored_form(told);
        match self.store_update(device, &told).await {
            Ok(News::None) => {}
            Ok(News::GoesOn(_) | News::Begins) => {
                let UpdateProgress { version, step, percent, error, .. } = &told;
                tracing::info!(device = name, version, ?step, percent, error, "a device's update");
            }
            // The device says it again with its next status.
            Err(error) => tracing::error!(%error, device = name, "cannot store how far a device's update got"),
        }
    }

    async fn store_update(&self, device: DeviceId, told: &UpdateProgress) -> Result<News, DbError> {
        let newest = self.db.newest_device_update(device).await?;
        let news = news(newest.as_ref(), told);
        match news {
            News::None => {}
            News::GoesOn(id) => self.db.change_device_update(id, told, Timestamp::now()).await?,
            News::Begins => self.db.begin_device_update(device, told, Timestamp::now()).await?,
        }
        Ok(news)
    }
}

fn stored_form(told: &UpdateProgress) -> UpdateProgress {
    let cut = |text: &str, chars| text.chars().take(chars).collect::<String>();
    UpdateProgress {
        version: cut(&told.version, MAX_VERSION_CHARS),
        error: told.error.as_deref().map(|error| cut(error, MAX_ERROR_CHARS)),
        ..told.clone()
    }
}

/// What a report means for the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    /// It is there already.
    None,
    /// The attempt of this number got further, or what is said of its end changed.
    GoesOn(i64),
    /// Another attempt.
    Begins,
}

fn news(newest: Option<&DeviceUpdateRecord>, told: &UpdateProgress) -> News {
    use UpdateStep::{Downloading, Good, RebootPending, Refused, RolledBack, Verifying, Waiting};
    // Which version a bundle holds is known for sure when the device has looked into it, which ends its waiting.
    let same = |newest: &&DeviceUpdateRecord| {
        newest.slot == told.slot && (newest.version == told.version || newest.step == Waiting)
    };
    let Some(newest) = newest.filter(same) else { return News::Begins };
    if (&newest.version, newest.step, &newest.error) == (&told.version, told.step, &told.error) {
        return News::None;
    }
    match (newest.step, told.step) {
        // A refusal is the only word on its attempt: another word is on another one.
        (Refused, _) => News::Begins,
        // Good at first, and given up later by the boot loader. A command to go back is an attempt in the other slot.
        (Good, Good | RolledBack) | (RolledBack, RolledBack) => News::GoesOn(newest.id),
        (Good | RolledBack, _) => News::Begins,
        // It was in its slot, and comes again: how it ended was never heard.
        (RebootPending | Verifying, Waiting | Downloading) => News::Begins,
        // Also backwards: a download that broke off begins anew and stays the same attempt.
        _ => News::GoesOn(newest.id),
    }
}

#[cfg(test)]
mod tests {
    use strata_control::SlotName;
    use strata_control::UpdateStep::{
        Downloading, Good, Installed, Other, RebootPending, Refused, RolledBack, Verifying, Waiting,
    };

    use super::*;

    const GOES_ON: News = News::GoesOn(7);

    fn told(step: UpdateStep, error: &str) -> UpdateProgress {
        let error = (!error.is_empty()).then(|| error.to_owned());
        UpdateProgress { version: "1.1.0".to_owned(), slot: SlotName::B, percent: 50, step, error }
    }

    fn known(told: &UpdateProgress) -> DeviceUpdateRecord {
        DeviceUpdateRecord {
            id: 7,
            version: told.version.clone(),
            slot: told.slot,
            step: told.step,
            error: told.error.clone(),
            started_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn each_attempt_is_one_row_whatever_was_heard_of_it() {
        let table = [
            ((Waiting, ""), (Downloading, ""), GOES_ON),
            ((Downloading, ""), (Downloading, ""), News::None),
            ((Downloading, ""), (Downloading, "the server does not answer: tried again"), GOES_ON),
            ((Downloading, ""), (Waiting, ""), GOES_ON),
            ((Downloading, ""), (Refused, "the signature is wrong"), GOES_ON),
            ((Installed, ""), (RebootPending, ""), GOES_ON),
            ((RebootPending, ""), (Verifying, ""), GOES_ON),
            ((RebootPending, ""), (RolledBack, "slot B did not boot"), GOES_ON),
            ((Verifying, ""), (Good, ""), GOES_ON),
            ((Verifying, ""), (Waiting, ""), News::Begins),
            ((RebootPending, ""), (Downloading, ""), News::Begins),
            ((Good, ""), (Good, ""), News::None),
            ((Good, ""), (RolledBack, "slot B no longer starts: its kernel is missing"), GOES_ON),
            ((Good, ""), (Waiting, ""), News::Begins),
            ((RolledBack, "slot B did not boot"), (RolledBack, "slot B did not boot: kernel panic"), GOES_ON),
            ((RolledBack, "slot B did not boot"), (Verifying, ""), News::Begins),
            ((RolledBack, "slot B did not boot"), (Good, ""), News::Begins),
            ((Refused, "too old"), (Refused, "too old"), News::None),
            ((Refused, "too old"), (Refused, "no link without costs"), News::Begins),
            ((Refused, "too old"), (Waiting, ""), News::Begins),
            ((Downloading, ""), (Other, ""), GOES_ON),
            ((Other, ""), (Good, ""), GOES_ON),
        ];
        for ((before, error), (step, now), expected) in table {
            let before = known(&told(before, error));
            assert_eq!(news(Some(&before), &told(step, now)), expected, "{before:?} then {step:?} {now}");
        }
        let versions = [
            (("unknown", Waiting, ""), ("1.1.0", Waiting, ""), GOES_ON),
            (("unknown", Waiting, ""), ("1.1.0", Downloading, ""), GOES_ON),
            (("1.1.0", Waiting, ""), ("1.2.0", Refused, "another version was asked for"), GOES_ON),
            (("unknown", Waiting, ""), ("unknown", Waiting, ""), News::None),
            (("1.1.0", Downloading, ""), ("1.2.0", Waiting, ""), News::Begins),
            (("unknown", Refused, "no such file"), ("1.1.0", Refused, "too old"), News::Begins),
        ];
        for ((known_as, before, error), (version, step, now), expected) in versions {
            let before = known(&UpdateProgress { version: known_as.to_owned(), ..told(before, error) });
            let now = UpdateProgress { version: version.to_owned(), ..told(step, now) };
            assert_eq!(news(Some(&before), &now), expected, "{before:?} then {now:?}");
        }
        let good = told(Good, "");
        assert_eq!(news(None, &good), News::Begins);
        let other_version = UpdateProgress { version: "1.2.0".to_owned(), ..good.clone() };
        let other_slot = UpdateProgress { slot: SlotName::A, ..good.clone() };
        for other in [other_version, other_slot] {
            assert_eq!(news(Some(&known(&good)), &other), News::Begins, "{other:?}");
        }
        let other_slot = UpdateProgress { slot: SlotName::A, ..told(Waiting, "") };
        assert_eq!(news(Some(&known(&told(Waiting, ""))), &other_slot), News::Begins, "a wait for another slot");
    }

    #[test]
    fn what_is_cut_is_known_again() {
        let long = stored_form(&UpdateProgress { version: "9".repeat(500), ..told(Refused, &"é".repeat(5_000)) });
        assert_eq!((long.version.len(), long.error.as_ref().unwrap().chars().count()), (64, 1_000));
        assert_eq!(news(Some(&known(&long)), &stored_form(&long)), News::None);
    }
}
