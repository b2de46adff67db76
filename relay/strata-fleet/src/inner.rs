//! What all parts of the fleet share.

use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;
use strata_relay_db::{AuditEntry, Database, DbError, Role};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Registry;
use crate::events::Events;
use crate::secrets::Secrets;
use crate::stream::Streams;
use crate::throttle::Throttle;
use crate::worker::PortPool;
use crate::{Actor, FleetConfig, FleetError};

pub(crate) struct Inner {
    pub(crate) config: FleetConfig,
    pub(crate) db: Database,
    pub(crate) secrets: Secrets,
    pub(crate) started: Instant,
    pub(crate) devices: Registry,
    pub(crate) streams: Streams,
    pub(crate) ports: PortPool,
    pub(crate) events: Events,
    /// Failed logins of people, by e-mail address.
    pub(crate) logins_by_email: Mutex<Throttle>,
    /// Failed logins of people, by address.
    pub(crate) logins_by_address: Mutex<Throttle>,
    /// Failed logins of devices, by address.
    pub(crate) agents_by_address: Mutex<Throttle>,
    /// One password hash at a time: each takes 19 MiB.
    pub(crate) hashing: Semaphore,
    /// Every task of the fleet; awaited at shutdown.
    pub(crate) tasks: TaskTracker,
    /// Cancelled at shutdown.
    pub(crate) closing: CancellationToken,
}

impl Inner {
    /// An audit line of what `actor` does now.
    pub(crate) fn audit(actor: &Actor, action: &'static str, target: String, detail: String) -> AuditEntry {
        AuditEntry {
            owner: actor.owner_id,
            at: Timestamp::now(),
            who: actor.name.clone(),
            action,
            target,
            detail,
            remote: actor.remote,
        }
    }
}

/// Refuses an actor below a role.
pub(crate) fn require(actor: &Actor, needed: Role) -> Result<(), FleetError> {
    if actor.role >= needed {
        return Ok(());
    }
    Err(FleetError::Forbidden { needed, yours: actor.role })
}

impl From<DbError> for FleetError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Taken { .. } => Self::Conflict { message: error.to_string() },
            other => Self::Internal { context: "the relay's storage failed".to_owned(), source: Box::new(other) },
        }
    }
}

/// A text that a person gave: trimmed, and within its bounds.
pub(crate) fn checked_text(what: &str, text: &str, max_chars: usize) -> Result<String, FleetError> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars == 0 {
        return Err(FleetError::Invalid { message: format!("the {what} is empty") });
    }
    if chars > max_chars {
        let message = format!("the {what} has {chars} characters: at most {max_chars} expected");
        return Err(FleetError::Invalid { message });
    }
    if text.chars().any(char::is_control) {
        return Err(FleetError::Invalid { message: format!("the {what} holds control characters") });
    }
    Ok(text.to_owned())
}

/// Locks a mutex that is never held across an await and whose holders do not panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
