//! Sessions of the pages and refresh tokens of the API. Only hashes of tokens are stored.

use jiff::Timestamp;
use uuid::Uuid;

use crate::convert::parse;
use crate::error::failed;
use crate::users::UserRow;
use crate::{AuditEntry, Database, DbError, UserId, UserRecord, audit};

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// A refresh token to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewRefreshToken {
    /// Its hash.
    pub hash: TokenHash,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What came of presenting a refresh token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefreshOutcome {
    /// It was good and is used up; the new one is stored.
    Rotated(UserRecord),
    /// There is no such token, it is over, or its family was revoked.
    Refused,
    /// It was used before: someone has a copy. Its family is revoked now.
    Reused(UserRecord),
}

#[derive(sqlx::FromRow)]
struct RefreshRow {
    family: String,
    user_id: String,
    expires_at: i64,
    used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl Database {
    /// Stores a session of the pages and the time of the login.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_session(
        &self,
        hash: &TokenHash,
        user: UserId,
        expires_at: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), DbError> {
        const WHAT: &str = "store a session";
        let mut tx = self.write(WHAT).await?;
        sqlx::query("INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)")
            .bind(hash.as_slice())
            .bind(user.to_string())
            .bind(entry.at.as_millisecond())
            .bind(expires_at.as_millisecond())
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        note_login(&mut tx, user, entry.at).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))
    }

    /// Who holds this session; none when it is unknown or over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_user(&self, hash: &TokenHash, now: Timestamp) -> Result<Option<UserRecord>, DbError> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT users.id, owner_id, email, role, users.created_at, last_login_at \
             FROM sessions JOIN users ON users.id = user_id WHERE token_hash = ? AND expires_at > ?",
        )
        .bind(hash.as_slice())
        .bind(now.as_millisecond())
        .fetch_optional(self.pool())
        .await
        .map_err(failed("look up a session"))?;
        row.map(UserRow::read).transpose()
    }

    /// Ends a session; one that is not there is no error.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_session(&self, hash: &TokenHash, entry: &AuditEntry) -> Result<(), DbError> {
        const WHAT: &str = "end a session";
        let mut tx = self.write(WHAT).await?;
        let done = sqlx::query("DELETE FROM sessions WHERE token_hash = ?")
            .bind(hash.as_slice())
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        if done.rows_affected() > 0 {
            audit::write(&mut tx, entry).await?;
        }
        tx.commit().await.map_err(failed(WHAT))
    }

    /// Stores the first refresh token of a login.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_refresh_token(
        &self,
        token: &NewRefreshToken,
        user: UserId,
        entry: &AuditEntry,
    ) -> Result<(), DbError> {
        const WHAT: &str = "store a refresh token";
        let mut tx = self.write(WHAT).await?;
        insert_refresh(&mut tx, token, &Uuid::now_v7().to_string(), user, entry.at).await?;
        note_login(&mut tx, user, entry.at).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))
    }

    /// Uses a refresh token up and stores its successor.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rotate_refresh_token(
        &self,
        presented: &TokenHash,
        next: &NewRefreshToken,
        now: Timestamp,
    ) -> Result<RefreshOutcome, DbError> {
        const WHAT: &str = "rotate a refresh token";
        let mut tx = self.write(WHAT).await?;
        let row: Option<RefreshRow> = sqlx::query_as(
            "SELECT family, user_id, expires_at, used_at, revoked_at FROM refresh_tokens WHERE token_hash = ?",
        )
        .bind(presented.as_slice())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
        let Some(row) = row else { return Ok(RefreshOutcome::Refused) };
        let user_id: UserId = parse("user id", &row.user_id)?;
        let over = row.expires_at <= now.as_millisecond();
        let outcome = if row.revoked_at.is_some() || over {
            RefreshOutcome::Refused
        } else if row.used_at.is_some() {
            revoke_family(&mut tx, &row.family, now).await?;
            RefreshOutcome::Reused(user_of(&mut tx, user_id).await?)
        } else {
            sqlx::query("UPDATE refresh_tokens SET used_at = ? WHERE token_hash = ?")
                .bind(now.as_millisecond())
                .bind(presented.as_slice())
                .execute(&mut *tx)
                .await
                .map_err(failed(WHAT))?;
            insert_refresh(&mut tx, next, &row.family, user_id, now).await?;
            RefreshOutcome::Rotated(user_of(&mut tx, user_id).await?)
        };
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(outcome)
    }

    /// Revokes the family of a refresh token; one that is not there is no error.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_refresh_token(&self, presented: &TokenHash, now: Timestamp) -> Result<(), DbError> {
        const WHAT: &str = "revoke a refresh token";
        let mut tx = self.write(WHAT).await?;
        let family: Option<(String,)> = sqlx::query_as("SELECT family FROM refresh_tokens WHERE token_hash = ?")
            .bind(presented.as_slice())
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        if let Some((family,)) = family {
            revoke_family(&mut tx, &family, now).await?;
        }
        tx.commit().await.map_err(failed(WHAT))
    }

    /// Deletes what is over: sessions and refresh tokens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_sessions(&self, now: Timestamp) -> Result<(), DbError> {
        const WHAT: &str = "delete old sessions";
        let mut tx = self.write(WHAT).await?;
        for sql in ["DELETE FROM sessions WHERE expires_at <= ?", "DELETE FROM refresh_tokens WHERE expires_at <= ?"] {
            sqlx::query(sql).bind(now.as_millisecond()).execute(&mut *tx).await.map_err(failed(WHAT))?;
        }
        tx.commit().await.map_err(failed(WHAT))
    }
}

type Tx = sqlx::Transaction<'static, sqlx::Sqlite>;

async fn note_login(tx: &mut Tx, user: UserId, at: Timestamp) -> Result<(), DbError> {
    sqlx::query("UPDATE users SET last_login_at = ? WHERE id = ?")
        .bind(at.as_millisecond())
        .bind(user.to_string())
        .execute(&mut **tx)
        .await
        .map_err(failed("note a login"))?;
    Ok(())
}

async fn user_of(tx: &mut Tx, id: UserId) -> Result<UserRecord, DbError> {
    let row: UserRow =
        sqlx::query_as("SELECT id, owner_id, email, role, created_at, last_login_at FROM users WHERE id = ?")
            .bind(id.to_string())
            .fetch_one(&mut **tx)
            .await
            .map_err(failed("look up a user"))?;
    row.read()
}

async fn insert_refresh(
    tx: &mut Tx,
    token: &NewRefreshToken,
    family: &str,
    user: UserId,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO refresh_tokens (token_hash, family, user_id, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(token.hash.as_slice())
    .bind(family)
    .bind(user.to_string())
    .bind(now.as_millisecond())
    .bind(token.expires_at.as_millisecond())
    .execute(&mut **tx)
    .await
    .map_err(failed("store a refresh token"))?;
    Ok(())
}

async fn revoke_family(tx: &mut Tx, family: &str, now: Timestamp) -> Result<(), DbError> {
    sqlx::query("UPDATE refresh_tokens SET revoked_at = ? WHERE family = ? AND revoked_at IS NULL")
        .bind(now.as_millisecond())
        .bind(family)
        .execute(&mut **tx)
        .await
        .map_err(failed("revoke refresh tokens"))?;
    Ok(())
}
