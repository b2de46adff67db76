//! The history of each device's updates: one row per attempt, with how far it got.
//!
//! Owns the rows and that their number is bounded. Which report begins an
//! attempt and which goes on with one is the caller's to say.

use jiff::Timestamp;
use strata_control::{DeviceId, OwnerId, SlotName, UpdateProgress, UpdateStep};

use crate::convert::{from_json, time, to_json};
use crate::error::failed;
use crate::{Database, DbError};

/// Attempts kept of each device, the newest: a device that makes them up fills no disk.
const KEPT: i64 = 100;

/// An attempt to update a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceUpdateRecord {
    /// Its number; grows with time.
    pub id: i64,
    /// Version of the bundle.
    pub version: String,
    /// The slot it went to.
    pub slot: SlotName,
    /// How far it got.
    pub step: UpdateStep,
    /// What went wrong, in the device's words.
    pub error: Option<String>,
    /// When the relay first heard of it.
    pub started_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    version: String,
    slot: String,
    step: String,
    error: Option<String>,
    started_at: i64,
    changed_at: i64,
}

impl Row {
    fn read(self) -> Result<DeviceUpdateRecord, DbError> {
        Ok(DeviceUpdateRecord {
            id: self.id,
            version: self.version,
            slot: from_json("slot", &self.slot)?,
            step: from_json("step of an update", &self.step)?,
            error: self.error,
            started_at: time(self.started_at)?,
            changed_at: time(self.changed_at)?,
        })
    }
}

impl Database {
    /// The newest attempts of this owner's device, newest first; none when the owner has no such device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device_updates(
        &self,
        owner: OwnerId,
        device: DeviceId,
        limit: u32,
    ) -> Result<Vec<DeviceUpdateRecord>, DbError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT device_updates.id, version, slot, step, error, started_at, changed_at FROM device_updates \
             JOIN devices ON devices.id = device_id WHERE device_id = ? AND owner_id = ? \
             ORDER BY device_updates.id DESC LIMIT ?",
        )
        .bind(device.to_string())
        .bind(owner.to_string())
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .map_err(failed("list a device's updates"))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The newest attempt of a device of any owner: for the device itself, which has proven who it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_device_update(&self, device: DeviceId) -> Result<Option<DeviceUpdateRecord>, DbError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, version, slot, step, error, started_at, changed_at FROM device_updates \
             WHERE device_id = ? ORDER BY id DESC LIMIT 1",
        )
        .bind(device.to_string())
        .fetch_optional(self.pool())
        .await
        .map_err(failed("look up a device's newest update"))?;
        row.map(Row::read).transpose()
    }

    /// Adds an attempt that its device tells of; nothing when the device was deleted meanwhile. The oldest of many
    /// are forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_device_update(
        &self,
        device: DeviceId,
        told: &UpdateProgress,
        now: Timestamp,
    ) -> Result<(), DbError> {
        const WHAT: &str = "store a device's update";
        let mut tx = self.write(WHAT).await?;
        sqlx::query(
            "INSERT INTO device_updates (device_id, version, slot, step, error, started_at, changed_at) \
             SELECT id, ?, ?, ?, ?, ?, ? FROM devices WHERE id = ?",
        )
        .bind(&told.version)
        .bind(to_json("slot", &told.slot)?)
        .bind(to_json("step of an update", &told.step)?)
        .bind(told.error.as_deref())
        .bind(now.as_millisecond())
        .bind(now.as_millisecond())
        .bind(device.to_string())
        .execute(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
        sqlx::query(
            "DELETE FROM device_updates WHERE device_id = ?1 AND id NOT IN \
             (SELECT id FROM device_updates WHERE device_id = ?1 ORDER BY id DESC LIMIT ?2)",
        )
        .bind(device.to_string())
        .bind(KEPT)
        .execute(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
        tx.commit().await.map_err(failed(WHAT))
    }

    /// Notes how far an attempt got, and its version as it is known now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_device_update(&self, id: i64, told: &UpdateProgress, now: Timestamp) -> Result<(), DbError> {
        sqlx::query("UPDATE device_updates SET version = ?, step = ?, error = ?, changed_at = ? WHERE id = ?")
            .bind(&told.version)
            .bind(to_json("step of an update", &told.step)?)
            .bind(told.error.as_deref())
            .bind(now.as_millisecond())
            .bind(id)
            .execute(self.pool())
            .await
            .map_err(failed("store how far a device's update got"))?;
        Ok(())
    }
}
