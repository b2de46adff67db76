use std::net::IpAddr;

use serde::Serialize;
use strata_control::OwnerId;
use strata_relay_db::{Role, UserId};

/// Who asks. Every call takes one; what belongs to another owner looks exactly like what does not exist.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Actor {
    /// The user.
    pub user_id: UserId,
    /// Whose devices, streams and destinations it sees.
    pub owner_id: OwnerId,
    /// What it may do.
    pub role: Role,
    /// Its e-mail address, for timelines and the audit log.
    pub name: String,
    /// Where the request came from, for the audit log.
    pub remote: Option<IpAddr>,
}
