//! The audit log: who changed what, when, from where. A line is written in the transaction of the change it tells of.

use std::net::IpAddr;

use jiff::Timestamp;
use sqlx::{Sqlite, Transaction};
use strata_control::OwnerId;

use crate::convert::time;
use crate::error::failed;
use crate::{Database, DbError};

/// A line to be written.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Whose log.
    pub owner: OwnerId,
    /// When.
    pub at: Timestamp,
    /// Who: an e-mail address, `relay`, or `device NAME`.
    pub who: String,
    /// What (`device.create`).
    pub action: &'static str,
    /// To what, for people.
    pub target: String,
    /// With which values; no secrets.
    pub detail: String,
    /// From where.
    pub remote: Option<IpAddr>,
}

/// A line as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// With which values.
    pub detail: String,
    /// From where.
    pub remote: Option<String>,
}

type Row = (i64, i64, String, String, String, String, Option<String>);

pub(crate) async fn write(tx: &mut Transaction<'_, Sqlite>, entry: &AuditEntry) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO audit_log (owner_id, at, who, action, target, detail, remote) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(entry.owner.to_string())
    .bind(entry.at.as_millisecond())
    .bind(&entry.who)
    .bind(entry.action)
    .bind(&entry.target)
    .bind(&entry.detail)
    .bind(entry.remote.map(|address| address.to_string()))
    .execute(&mut **tx)
    .await
    .map_err(failed("write the audit log"))?;
    Ok(())
}

impl Database {
    /// Writes a line for something that changed nothing stored (a failed login, a command to a device).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_audit(&self, entry: &AuditEntry) -> Result<(), DbError> {
        let mut tx = self.write("write the audit log").await?;
        write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed("write the audit log"))
    }

    /// Lines of an owner, newest first, before the line `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, owner: OwnerId, before: Option<i64>, limit: u32) -> Result<Vec<AuditRecord>, DbError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, at, who, action, target, detail, remote FROM audit_log \
             WHERE owner_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(owner.to_string())
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .map_err(failed("read the audit log"))?;
        rows.into_iter()
            .map(|(id, at, who, action, target, detail, remote)| {
                Ok(AuditRecord { id, at: time(at)?, who, action, target, detail, remote })
            })
            .collect()
    }
}
