//! The relay's storage: SQLite in one file, its tables and every query on them.
//!
//! Owns: the SQL (nobody else writes any), migrations, stored forms, the
//! sealing of stream keys, and that an audit line is written in the same
//! transaction as the change it tells of. Every query of a request is scoped
//! by owner; the few that are not say why in their documentation. Does not
//! own: roles, who may do what, or which state of a stream may follow which.

mod audit;
mod convert;
mod database;
mod destinations;
mod devices;
mod error;
mod id;
mod role;
mod seal;
mod sessions;
mod stream_state;
mod streams;
mod updates;
mod users;

pub use audit::{AuditEntry, AuditRecord};
pub use database::Database;
pub use destinations::{DestinationRecord, DestinationValues, KeyChange, OpenDestination};
pub use devices::{DeviceRecord, EnrolOutcome, Enrolment, NewDevice, NewEnrolmentToken};
pub use error::DbError;
pub use id::{DestinationId, UserId};
pub use role::{ParseRoleError, Role};
pub use seal::SealKey;
pub use sessions::{NewRefreshToken, RefreshOutcome, TokenHash};
pub use stream_state::{ParseStreamStateError, StreamState};
pub use streams::{
    ChosenDestination, Desired, NewStream, StreamChange, StreamConfig, StreamEnd, StreamEventRecord, StreamRecord,
    StreamSelection,
};
pub use updates::DeviceUpdateRecord;
pub use users::{Credentials, NewUser, UserRecord};
