//! Devices, their keys and their enrolment tokens.

use jiff::Timestamp;
use strata_control::{AgentInfo, DeviceId, DeviceStatus, OwnerId};
use strata_identity::PublicKey;
use subtle::ConstantTimeEq;

use crate::convert::{from_json_lenient, optional_time, parse, time, to_json};
use crate::error::failed;
use crate::{AuditEntry, Database, DbError, TokenHash, audit};

/// A device as stored.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceRecord {
    /// Its identifier.
    pub id: DeviceId,
    /// Whose device.
    pub owner: OwnerId,
    /// The name people gave it.
    pub name: String,
    /// The key it enrolled with.
    pub public_key: Option<PublicKey>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it enrolled.
    pub enrolled_at: Option<Timestamp>,
    /// When its key was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last heard.
    pub last_seen_at: Option<Timestamp>,
    /// What runs on it.
    pub agent: Option<AgentInfo>,
    /// Its last stored status.
    pub status: Option<DeviceStatus>,
    /// When that came.
    pub status_at: Option<Timestamp>,
    /// When its unused token ends; none when there is none.
    pub token_expires_at: Option<Timestamp>,
}

/// A device to be added.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// Its identifier.
    pub id: DeviceId,
    /// Whose device.
    pub owner: OwnerId,
    /// Its name.
    pub name: String,
}

/// An enrolment token to be stored: the part it is found by, and the hash of the secret part.
#[derive(Clone, Debug)]
pub struct NewEnrolmentToken {
    /// Public part.
    pub lookup: String,
    /// SHA-256 of the secret part.
    pub secret_hash: TokenHash,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A token as a device presents it, with the key it wants to enrol.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// Public part of the token.
    pub lookup: String,
    /// SHA-256 of the secret part.
    pub secret_hash: TokenHash,
    /// The device's key.
    pub public_key: PublicKey,
    /// What runs on it.
    pub agent: AgentInfo,
    /// From where.
    pub remote: Option<std::net::IpAddr>,
}

/// What came of presenting a token.
#[derive(Clone, PartialEq, Debug)]
#[allow(clippy::large_enum_variant, reason = "one a login")]
pub enum EnrolOutcome {
    /// The token is used up, now or before, and the key is the device's.
    Enrolled(DeviceRecord),
    /// No such token.
    Unknown,
    /// It was used before, with another key.
    Used,
    /// Its time is over, or a newer one replaced it.
    Expired,
}

#[derive(sqlx::FromRow)]
struct DeviceRow {
    id: String,
    owner_id: String,
    name: String,
    public_key: Option<String>,
    created_at: i64,
    enrolled_at: Option<i64>,
    revoked_at: Option<i64>,
    last_seen_at: Option<i64>,
    agent: Option<String>,
    status: Option<String>,
    status_at: Option<i64>,
    token_expires_at: Option<i64>,
}

impl DeviceRow {
    fn read(self) -> Result<DeviceRecord, DbError> {
        Ok(DeviceRecord {
            id: parse("device id", &self.id)?,
            owner: parse("owner id", &self.owner_id)?,
            name: self.name,
            public_key: self.public_key.map(|text| parse("device key", &text)).transpose()?,
            created_at: time(self.created_at)?,
            enrolled_at: optional_time(self.enrolled_at)?,
            revoked_at: optional_time(self.revoked_at)?,
            last_seen_at: optional_time(self.last_seen_at)?,
            agent: from_json_lenient(self.agent.as_deref()),
            status: from_json_lenient(self.status.as_deref()),
            status_at: optional_time(self.status_at)?,
            token_expires_at: optional_time(self.token_expires_at)?,
        })
    }
}

/// Every column, and the end of the newest unused token.
macro_rules! select_devices {
    ($rest:literal) => {
        concat!(
            "SELECT id, owner_id, name, public_key, created_at, enrolled_at, revoked_at, last_seen_at, agent, \
             status, status_at, (SELECT MAX(expires_at) FROM enrolment_tokens WHERE device_id = devices.id \
             AND used_at IS NULL) AS token_expires_at FROM devices ",
            $rest
        )
    };
}

impl Database {
    /// Adds a device with its first token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_device(
        &self,
        device: &NewDevice,
        token: &NewEnrolmentToken,
        entry: &AuditEntry,
    ) -> Result<(), DbError> {
        const WHAT: &str = "add a device";
        let mut tx = self.write(WHAT).await?;
        sqlx::query("INSERT INTO devices (id, owner_id, name, created_at) VALUES (?, ?, ?, ?)")
            .bind(device.id.to_string())
            .bind(device.owner.to_string())
            .bind(&device.name)
            .bind(entry.at.as_millisecond())
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        insert_token(&mut tx, device.id, token, entry.at).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))
    }

    /// Gives a device a new token; its unused ones are over. False when the owner has no such device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replace_enrolment_token(
        &self,
        device: DeviceId,
        token: &NewEnrolmentToken,
        entry: &AuditEntry,
    ) -> Result<bool, DbError> {
        const WHAT: &str = "store an enrolment token";
        let mut tx = self.write(WHAT).await?;
        let (known,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM devices WHERE id = ? AND owner_id = ?")
            .bind(device.to_string())
            .bind(entry.owner.to_string())
            .fetch_one(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        if known == 0 {
            return Ok(false);
        }
        end_unused_tokens(&mut tx, device, entry.at.as_millisecond()).await?;
        insert_token(&mut tx, device, token, entry.at).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(true)
    }

    /// Consumes a token: from now on the device logs in with this key. A revoked device is admitted again. The same
    /// token with the same key, while that is the device's, changes nothing and is answered the same.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enrol(&self, enrolment: &Enrolment, now: Timestamp) -> Result<EnrolOutcome, DbError> {
        const WHAT: &str = "enrol a device";
        let mut tx = self.write(WHAT).await?;
        let row: Option<(Vec<u8>, String, i64, Option<i64>)> =
            sqlx::query_as("SELECT secret_hash, device_id, expires_at, used_at FROM enrolment_tokens WHERE lookup = ?")
                .bind(&enrolment.lookup)
                .fetch_optional(&mut *tx)
                .await
                .map_err(failed(WHAT))?;
        let Some((secret_hash, device, expires_at, used_at)) = row else { return Ok(EnrolOutcome::Unknown) };
        if !bool::from(secret_hash.as_slice().ct_eq(&enrolment.secret_hash)) {
            return Ok(EnrolOutcome::Unknown);
        }
        if used_at.is_some() {
            // The device that used it and never heard the answer, a power cut between, asks again.
            let record = itself(&mut tx, &device).await?;
            let same = record.revoked_at.is_none() && record.public_key == Some(enrolment.public_key);
            return Ok(if same { EnrolOutcome::Enrolled(record) } else { EnrolOutcome::Used });
        }
        if expires_at <= now.as_millisecond() {
            return Ok(EnrolOutcome::Expired);
        }
        sqlx::query("UPDATE enrolment_tokens SET used_at = ? WHERE lookup = ?")
            .bind(now.as_millisecond())
            .bind(&enrolment.lookup)
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        sqlx::query(
            "UPDATE devices SET public_key = ?, enrolled_at = ?, revoked_at = NULL, last_seen_at = ?, agent = ? \
             WHERE id = ?",
        )
        .bind(enrolment.public_key.to_string())
        .bind(now.as_millisecond())
        .bind(now.as_millisecond())
        .bind(to_json("agent", &enrolment.agent)?)
        .bind(&device)
        .execute(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
        let record = itself(&mut tx, &device).await?;
        let entry = AuditEntry {
            owner: record.owner,
            at: now,
            who: format!("device {}", record.name),
            action: "device.enrol",
            target: format!("device {}", record.name),
            detail: format!("key {}", enrolment.public_key),
            remote: enrolment.remote,
        };
        audit::write(&mut tx, &entry).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(EnrolOutcome::Enrolled(record))
    }

    /// A device of any owner: for the device itself, which proves who it is by its key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device_itself(&self, id: DeviceId) -> Result<Option<DeviceRecord>, DbError> {
        let row: Option<DeviceRow> = sqlx::query_as(select_devices!("WHERE id = ?"))
            .bind(id.to_string())
            .fetch_optional(self.pool())
            .await
            .map_err(failed("look up a device"))?;
        row.map(DeviceRow::read).transpose()
    }

    /// A device of this owner.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device(&self, owner: OwnerId, id: DeviceId) -> Result<Option<DeviceRecord>, DbError> {
        let row: Option<DeviceRow> = sqlx::query_as(select_devices!("WHERE id = ? AND owner_id = ?"))
            .bind(id.to_string())
            .bind(owner.to_string())
            .fetch_optional(self.pool())
            .await
            .map_err(failed("look up a device"))?;
        row.map(DeviceRow::read).transpose()
    }

    /// All devices of an owner, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn devices(&self, owner: OwnerId) -> Result<Vec<DeviceRecord>, DbError> {
        let rows: Vec<DeviceRow> = sqlx::query_as(select_devices!("WHERE owner_id = ? ORDER BY name, id"))
            .bind(owner.to_string())
            .fetch_all(self.pool())
            .await
            .map_err(failed("list the devices"))?;
        rows.into_iter().map(DeviceRow::read).collect()
    }

    /// Renames a device. False when the owner has no such device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rename_device(&self, id: DeviceId, name: &str, entry: &AuditEntry) -> Result<bool, DbError> {
        let query = sqlx::query("UPDATE devices SET name = ? WHERE id = ? AND owner_id = ?").bind(name.to_owned());
        self.change_device("rename a device", query, id, entry).await
    }

    /// Revokes a device's key; its unused tokens are over. False when the owner has no such device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_device(&self, id: DeviceId, entry: &AuditEntry) -> Result<bool, DbError> {
        const WHAT: &str = "revoke a device";
        let now = entry.at.as_millisecond();
        let mut tx = self.write(WHAT).await?;
        let done = sqlx::query("UPDATE devices SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ? AND owner_id = ?")
            .bind(now)
            .bind(id.to_string())
            .bind(entry.owner.to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        end_unused_tokens(&mut tx, id, now).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(true)
    }

    /// Deletes a device with its streams, their timelines and the history of its updates. False when the owner has no such device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_device(&self, id: DeviceId, entry: &AuditEntry) -> Result<bool, DbError> {
        let query = sqlx::query("DELETE FROM devices WHERE id = ? AND owner_id = ?");
        self.change_device("delete a device", query, id, entry).await
    }

    /// Runs a change whose last two parameters are the device's id and its owner's.
    async fn change_device(
        &self,
        what: &'static str,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        id: DeviceId,
        entry: &AuditEntry,
    ) -> Result<bool, DbError> {
        let mut tx = self.write(what).await?;
        let done =
            query.bind(id.to_string()).bind(entry.owner.to_string()).execute(&mut *tx).await.map_err(failed(what))?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(what))?;
        Ok(true)
    }

    /// Notes a login: when, and what runs on the device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_device_login(&self, id: DeviceId, agent: &AgentInfo, now: Timestamp) -> Result<(), DbError> {
        const WHAT: &str = "note a device's login";
        sqlx::query("UPDATE devices SET last_seen_at = ?, agent = ? WHERE id = ?")
            .bind(now.as_millisecond())
            .bind(to_json("agent", agent)?)
            .bind(id.to_string())
            .execute(self.pool())
            .await
            .map_err(failed(WHAT))?;
        Ok(())
    }

    /// Stores a device's status and that it was heard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn store_device_status(
        &self,
        id: DeviceId,
        status: &DeviceStatus,
        status_at: Timestamp,
        seen_at: Timestamp,
    ) -> Result<(), DbError> {
        const WHAT: &str = "store a device's status";
        sqlx::query("UPDATE devices SET status = ?, status_at = ?, last_seen_at = ? WHERE id = ?")
            .bind(to_json("device status", status)?)
            .bind(status_at.as_millisecond())
            .bind(seen_at.as_millisecond())
            .bind(id.to_string())
            .execute(self.pool())
            .await
            .map_err(failed(WHAT))?;
        Ok(())
    }

    /// Stores when a device was last heard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_device_seen(&self, id: DeviceId, at: Timestamp) -> Result<(), DbError> {
        sqlx::query("UPDATE devices SET last_seen_at = ? WHERE id = ?")
            .bind(at.as_millisecond())
            .bind(id.to_string())
            .execute(self.pool())
            .await
            .map_err(failed("note a device"))?;
        Ok(())
    }
}

async fn itself(tx: &mut sqlx::Transaction<'_, sqlx::Sqlite>, id: &str) -> Result<DeviceRecord, DbError> {
    sqlx::query_as::<_, DeviceRow>(select_devices!("WHERE id = ?"))
        .bind(id)
        .fetch_one(&mut **tx)
        .await
        .map_err(failed("look up a device"))?
        .read()
}

async fn end_unused_tokens(
    tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    device: DeviceId,
    now: i64,
) -> Result<(), DbError> {
    sqlx::query("UPDATE enrolment_tokens SET expires_at = MIN(expires_at, ?) WHERE device_id = ? AND used_at IS NULL")
        .bind(now)
        .bind(device.to_string())
        .execute(&mut **tx)
        .await
        .map_err(failed("end a device's unused tokens"))?;
    Ok(())
}

async fn insert_token(
    tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    device: DeviceId,
    token: &NewEnrolmentToken,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO enrolment_tokens (lookup, secret_hash, device_id, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&token.lookup)
    .bind(token.secret_hash.as_slice())
    .bind(device.to_string())
    .bind(now.as_millisecond())
    .bind(token.expires_at.as_millisecond())
    .execute(&mut **tx)
    .await
    .map_err(failed("store an enrolment token"))?;
    Ok(())
}
