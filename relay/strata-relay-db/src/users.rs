//! Owners and their users.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use strata_control::OwnerId;
use uuid::Uuid;

use crate::convert::{optional_time, parse, time};
use crate::error::{failed, failed_or_taken};
use crate::{AuditEntry, Database, DbError, Role, UserId, audit};

/// A user as stored; the password's hash is only in [`Credentials`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserRecord {
    /// Its identifier.
    pub id: UserId,
    /// Whose user.
    pub owner: OwnerId,
    /// Its e-mail address; upper and lower case are the same.
    pub email: String,
    /// What it may do.
    pub role: Role,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last logged in.
    pub last_login_at: Option<Timestamp>,
}

/// A user and its password's hash.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub user: UserRecord,
    /// PHC string.
    pub password_hash: SecretString,
}

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its identifier.
    pub id: UserId,
    /// Whose user.
    pub owner: OwnerId,
    /// Its e-mail address.
    pub email: String,
    /// PHC string.
    pub password_hash: SecretString,
    /// What it may do.
    pub role: Role,
}

#[derive(sqlx::FromRow)]
pub(crate) struct UserRow {
    id: String,
    owner_id: String,
    email: String,
    role: String,
    created_at: i64,
    last_login_at: Option<i64>,
}

impl UserRow {
    pub(crate) fn read(self) -> Result<UserRecord, DbError> {
        Ok(UserRecord {
            id: parse("user id", &self.id)?,
            owner: parse("owner id", &self.owner_id)?,
            email: self.email,
            role: parse("role", &self.role)?,
            created_at: time(self.created_at)?,
            last_login_at: optional_time(self.last_login_at)?,
        })
    }
}

impl Database {
    /// The owner of that name, added where there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ensure_owner(&self, name: &str, now: Timestamp) -> Result<OwnerId, DbError> {
        const WHAT: &str = "add an owner";
        let mut tx = self.write(WHAT).await?;
        sqlx::query("INSERT INTO owners (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(Uuid::now_v7().to_string())
            .bind(name)
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        let (id,): (String,) = sqlx::query_as("SELECT id FROM owners WHERE name = ?")
            .bind(name)
            .fetch_one(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        tx.commit().await.map_err(failed(WHAT))?;
        parse("owner id", &id)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`DbError::Taken`] when the e-mail address is in use.
    pub async fn add_user(&self, user: &NewUser, entry: &AuditEntry) -> Result<(), DbError> {
        const WHAT: &str = "add a user";
        let mut tx = self.write(WHAT).await?;
        sqlx::query(
            "INSERT INTO users (id, owner_id, email, password_hash, role, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(user.id.to_string())
        .bind(user.owner.to_string())
        .bind(&user.email)
        .bind(user.password_hash.expose_secret())
        .bind(user.role.as_str())
        .bind(entry.at.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(failed_or_taken(WHAT, "user", &user.email))?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))
    }

    /// The user of that e-mail address, for a login.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials(&self, email: &str) -> Result<Option<Credentials>, DbError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            #[sqlx(flatten)]
            user: UserRow,
            password_hash: String,
        }
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, owner_id, email, role, created_at, last_login_at, password_hash FROM users WHERE email = ?",
        )
        .bind(email)
        .fetch_optional(self.pool())
        .await
        .map_err(failed("look up a user"))?;
        row.map(|row| Ok(Credentials { user: row.user.read()?, password_hash: row.password_hash.into() })).transpose()
    }

    /// The user with this identifier; for tokens that name their user, hence of any owner.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, id: UserId) -> Result<Option<UserRecord>, DbError> {
        let row: Option<UserRow> =
            sqlx::query_as("SELECT id, owner_id, email, role, created_at, last_login_at FROM users WHERE id = ?")
                .bind(id.to_string())
                .fetch_optional(self.pool())
                .await
                .map_err(failed("look up a user"))?;
        row.map(UserRow::read).transpose()
    }

    /// All users of an owner, by e-mail address.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self, owner: OwnerId) -> Result<Vec<UserRecord>, DbError> {
        let rows: Vec<UserRow> = sqlx::query_as(
            "SELECT id, owner_id, email, role, created_at, last_login_at FROM users WHERE owner_id = ? ORDER BY email",
        )
        .bind(owner.to_string())
        .fetch_all(self.pool())
        .await
        .map_err(failed("list the users"))?;
        rows.into_iter().map(UserRow::read).collect()
    }

    /// All users of all owners with their owners' names: for the command line, never for a request.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn all_users(&self) -> Result<Vec<(UserRecord, String)>, DbError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            #[sqlx(flatten)]
            user: UserRow,
            owner_name: String,
        }
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT users.id, owner_id, email, role, users.created_at, last_login_at, owners.name AS owner_name \
             FROM users JOIN owners ON owners.id = owner_id ORDER BY owners.name, email",
        )
        .fetch_all(self.pool())
        .await
        .map_err(failed("list the users"))?;
        rows.into_iter().map(|row| Ok((row.user.read()?, row.owner_name))).collect()
    }
}
