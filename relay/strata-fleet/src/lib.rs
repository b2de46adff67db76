//! The relay's knowledge of its fleet: the application layer under pages, REST and agents' socket.
//!
//! [`Fleet`] is the one handle: sessions, devices and their updates, streams,
//! destinations, users. Every call takes the [`Actor`] who asks, enforces its role, and
//! treats what belongs to another owner as unknown. Owns: stream states and
//! who may change them, reconciliation, workers, live numbers. Does not own:
//! HTTP, SQL (`strata-relay-db`), or media.

mod actor;
mod agent;
mod config;
mod destinations;
mod devices;
mod error;
mod event;
mod events;
mod fleet;
mod inner;
mod jwt;
mod maintenance;
mod password;
mod secrets;
mod sessions;
mod stream;
mod throttle;
mod token;
mod updates;
mod url;
mod users;
mod view;
mod worker;

pub use actor::Actor;
pub use agent::{AgentConnection, AgentOutbox, Outgoing};
pub use config::{FleetConfig, Timing};
pub use error::{ErrorKind, FleetError};
pub use event::FleetEvent;
pub use events::FleetEvents;
pub use fleet::Fleet;
pub use strata_relay_db::{DestinationId, Role, StreamState, UserId};
pub use users::admin;
pub use view::{
    Aged, ApiTokens, AuditView, DestinationInput, DestinationView, DeviceUpdateView, DeviceView, EnrolmentToken,
    Health, HistoryPoint, LinkPoint, LiveNumbers, PlayTarget, SessionCookie, StartStream, StreamDestination,
    StreamEventView, StreamFilter, StreamUpdate, StreamView, UpdateDevice, UserView,
};
