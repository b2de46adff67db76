//! Destinations. A stream key goes in once, sealed, and comes out only on its way to a worker.

use jiff::Timestamp;
use secrecy::SecretString;
use strata_control::OwnerId;

use crate::convert::{parse, time};
use crate::error::failed;
use crate::{AuditEntry, Database, DbError, DestinationId, audit};

/// A destination as stored, without its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DestinationRecord {
    /// Its identifier.
    pub id: DestinationId,
    /// Whose.
    pub owner: OwnerId,
    /// Its name.
    pub name: String,
    /// URL without the key.
    pub url: String,
    /// Whether a key is stored.
    pub has_key: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A destination with its key, for the worker.
#[derive(Clone, Debug)]
pub struct OpenDestination {
    /// Its identifier.
    pub id: DestinationId,
    /// URL without the key.
    pub url: String,
    /// The key.
    pub key: Option<SecretString>,
}

/// What to do with the stored key.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// Leave it.
    Keep,
    /// Delete it.
    Remove,
    /// Replace it.
    Set(SecretString),
}

/// A destination to be added, or its new values.
#[derive(Clone, Debug)]
pub struct DestinationValues {
    /// Its identifier.
    pub id: DestinationId,
    /// Its name.
    pub name: String,
    /// URL without the key.
    pub url: String,
    /// Its key.
    pub key: KeyChange,
}

#[derive(sqlx::FromRow)]
struct DestinationRow {
    id: String,
    owner_id: String,
    name: String,
    url: String,
    has_key: bool,
    created_at: i64,
    updated_at: i64,
}

impl DestinationRow {
    fn read(self) -> Result<DestinationRecord, DbError> {
        Ok(DestinationRecord {
            id: parse("destination id", &self.id)?,
            owner: parse("owner id", &self.owner_id)?,
            name: self.name,
            url: self.url,
            has_key: self.has_key,
            created_at: time(self.created_at)?,
            updated_at: time(self.updated_at)?,
        })
    }
}

/// What a key is bound to: its row.
fn place(id: DestinationId) -> String {
    format!("destination {id}")
}

impl Database {
    /// Adds a destination.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_destination(&self, values: &DestinationValues, entry: &AuditEntry) -> Result<(), DbError> {
        const WHAT: &str = "add a destination";
        let mut tx = self.write(WHAT).await?;
        sqlx::query(
            "INSERT INTO destinations (id, owner_id, name, url, sealed_key, created_at, updated_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(values.id.to_string())
        .bind(entry.owner.to_string())
        .bind(&values.name)
        .bind(&values.url)
        .bind(self.sealed(values))
        .bind(entry.at.as_millisecond())
        .bind(entry.at.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))
    }

    /// Changes a destination. False when the owner has no such destination.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_destination(&self, values: &DestinationValues, entry: &AuditEntry) -> Result<bool, DbError> {
        const WHAT: &str = "change a destination";
        let mut tx = self.write(WHAT).await?;
        let done = sqlx::query(
            "UPDATE destinations SET name = ?, url = ?, updated_at = ?, \
             sealed_key = CASE WHEN ? THEN sealed_key ELSE ? END WHERE id = ? AND owner_id = ?",
        )
        .bind(&values.name)
        .bind(&values.url)
        .bind(entry.at.as_millisecond())
        .bind(matches!(values.key, KeyChange::Keep))
        .bind(self.sealed(values))
        .bind(values.id.to_string())
        .bind(entry.owner.to_string())
        .execute(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(true)
    }

    fn sealed(&self, values: &DestinationValues) -> Option<Vec<u8>> {
        match &values.key {
            KeyChange::Keep | KeyChange::Remove => None,
            KeyChange::Set(key) => Some(self.seal_key().seal(&place(values.id), key)),
        }
    }

    /// Deletes a destination. False when the owner has no such destination.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_destination(&self, id: DestinationId, entry: &AuditEntry) -> Result<bool, DbError> {
        const WHAT: &str = "delete a destination";
        let mut tx = self.write(WHAT).await?;
        let done = sqlx::query("DELETE FROM destinations WHERE id = ? AND owner_id = ?")
            .bind(id.to_string())
            .bind(entry.owner.to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(true)
    }

    /// All destinations of an owner, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn destinations(&self, owner: OwnerId) -> Result<Vec<DestinationRecord>, DbError> {
        let rows: Vec<DestinationRow> = sqlx::query_as(
            "SELECT id, owner_id, name, url, sealed_key IS NOT NULL AS has_key, created_at, updated_at \
             FROM destinations WHERE owner_id = ? ORDER BY name, id",
        )
        .bind(owner.to_string())
        .fetch_all(self.pool())
        .await
        .map_err(failed("list the destinations"))?;
        rows.into_iter().map(DestinationRow::read).collect()
    }

    /// One destination of an owner.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn destination(&self, owner: OwnerId, id: DestinationId) -> Result<Option<DestinationRecord>, DbError> {
        let row: Option<DestinationRow> = sqlx::query_as(
            "SELECT id, owner_id, name, url, sealed_key IS NOT NULL AS has_key, created_at, updated_at \
             FROM destinations WHERE owner_id = ? AND id = ?",
        )
        .bind(owner.to_string())
        .bind(id.to_string())
        .fetch_optional(self.pool())
        .await
        .map_err(failed("look up a destination"))?;
        row.map(DestinationRow::read).transpose()
    }

    /// One destination of an owner with its key, for the worker.
    ///
    /// # Errors
    /// [`DbError::Unseal`] when the key does not open.
    pub async fn open_destination(
        &self,
        owner: OwnerId,
        id: DestinationId,
    ) -> Result<Option<OpenDestination>, DbError> {
        let row: Option<(String, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT url, sealed_key FROM destinations WHERE owner_id = ? AND id = ?")
                .bind(owner.to_string())
                .bind(id.to_string())
                .fetch_optional(self.pool())
                .await
                .map_err(failed("look up a destination"))?;
        let Some((url, sealed)) = row else { return Ok(None) };
        let key = match sealed {
            None => None,
            Some(sealed) => {
                Some(self.seal_key().open(&place(id), &sealed).ok_or_else(|| DbError::Unseal { id: id.to_string() })?)
            }
        };
        Ok(Some(OpenDestination { id, url, key }))
    }
}
