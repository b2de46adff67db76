//! Users and the audit log.

use jiff::Timestamp;
use secrecy::SecretString;
use strata_relay_db::{DbError, NewUser, Role, UserId};

use crate::inner::{Inner, require};
use crate::sessions::MAX_EMAIL_BYTES;
use crate::{Actor, AuditView, Fleet, FleetConfig, FleetError, UserView};

/// Lines of the audit log on one page.
const AUDIT_PAGE: u32 = 100;

impl Fleet {
    /// A page of the audit log, newest first; `before` is the last id of the former page. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], or the storage failed.
    pub async fn audit(&self, actor: &Actor, before: Option<i64>) -> Result<Vec<AuditView>, FleetError> {
        require(actor, Role::Admin)?;
        let lines = self.inner.db.audit(actor.owner_id, before, AUDIT_PAGE).await?;
        let view = |line: strata_relay_db::AuditRecord| AuditView {
            id: line.id,
            at: line.at,
            who: line.who,
            action: line.action,
            target: line.target,
            detail: line.detail,
            remote: line.remote,
        };
        Ok(lines.into_iter().map(view).collect())
    }

    /// All users of the actor's owner, by e-mail address. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], or the storage failed.
    pub async fn users(&self, actor: &Actor) -> Result<Vec<UserView>, FleetError> {
        require(actor, Role::Admin)?;
        let users = self.inner.db.users(actor.owner_id).await?;
        let view = |user: strata_relay_db::UserRecord| UserView {
            id: user.id,
            email: user.email,
            role: user.role,
            created_at: user.created_at,
            last_login_at: user.last_login_at,
        };
        Ok(users.into_iter().map(view).collect())
    }

    /// Adds a user of the actor's owner. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::Invalid`], [`FleetError::Conflict`] when the address is in use.
    pub async fn add_user(
        &self,
        actor: &Actor,
        email: &str,
        password: &SecretString,
        role: Role,
    ) -> Result<UserId, FleetError> {
        require(actor, Role::Admin)?;
        let email = checked_email(email)?;
        let password_hash = self.inner.hash_password(password).await?;
        let user = NewUser { id: UserId::generate(), owner: actor.owner_id, email, password_hash, role };
        let entry = Inner::audit(actor, "user.add", user.email.clone(), format!("role {role}"));
        self.inner.db.add_user(&user, &entry).await?;
        Ok(user.id)
    }
}

fn checked_email(email: &str) -> Result<String, FleetError> {
    let email = email.trim();
    let shaped = email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    let plain = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if shaped && plain && email.len() <= MAX_EMAIL_BYTES {
        return Ok(email.to_owned());
    }
    Err(FleetError::Invalid { message: format!("“{email}” is not an e-mail address") })
}

/// What the machine's administrator does on the command line, with the relay running or not.
pub mod admin {
    use strata_relay_db::{AuditEntry, Database};

    use super::{DbError, FleetConfig, FleetError, NewUser, Role, SecretString, Timestamp, UserId, checked_email};
    use crate::{fleet, password};

    /// A user to be added.
    #[derive(Clone, Debug)]
    pub struct AddUser {
        /// Its e-mail address.
        pub email: String,
        /// Its password.
        pub password: SecretString,
        /// What it may do.
        pub role: Role,
        /// Name of the owner; added where there is none of that name.
        pub owner: String,
    }

    /// A line of the list of users.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct ListedUser {
        /// Its e-mail address.
        pub email: String,
        /// What it may do.
        pub role: Role,
        /// Name of its owner.
        pub owner: String,
        /// When it last logged in.
        pub last_login_at: Option<Timestamp>,
    }

    /// Adds a user, and its owner where needed.
    ///
    /// # Errors
    /// [`FleetError::Invalid`], [`FleetError::Conflict`] when the address is in use, or the storage failed.
    pub async fn add_user(config: &FleetConfig, add: AddUser) -> Result<UserId, FleetError> {
        let email = checked_email(&add.email)?;
        let owner_name = crate::inner::checked_text("owner's name", &add.owner, 100)?;
        if let Some(message) = password::problem(&add.password) {
            return Err(FleetError::Invalid { message });
        }
        let (db, _) = fleet::open_storage(config).await?;
        let added = insert(&db, email, &owner_name, &add).await;
        db.close().await;
        added.map_err(FleetError::from)
    }

    async fn insert(db: &Database, email: String, owner_name: &str, add: &AddUser) -> Result<UserId, DbError> {
        let now = Timestamp::now();
        let owner = db.ensure_owner(owner_name, now).await?;
        let password_hash = password::hash(&add.password);
        let user = NewUser { id: UserId::generate(), owner, email, password_hash, role: add.role };
        let entry = AuditEntry {
            owner,
            at: now,
            who: "command line".to_owned(),
            action: "user.add",
            target: user.email.clone(),
            detail: format!("role {}", add.role),
            remote: None,
        };
        db.add_user(&user, &entry).await?;
        Ok(user.id)
    }

    /// All users of all owners.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn list_users(config: &FleetConfig) -> Result<Vec<ListedUser>, FleetError> {
        let (db, _) = fleet::open_storage(config).await?;
        let users = db.all_users().await;
        db.close().await;
        let listed = |(user, owner): (strata_relay_db::UserRecord, String)| ListedUser {
            email: user.email,
            role: user.role,
            owner,
            last_login_at: user.last_login_at,
        };
        Ok(users?.into_iter().map(listed).collect())
    }
}
