//! Workers: one process per stream, which outlives the relay. Owns their ports, their start and restart, adoption
//! after a restart of the relay, and the socket to each. What a stream makes of it is `stream`'s.

mod ports;
mod process;
mod supervisor;

pub(crate) use ports::{PortLease, PortPool};
pub(crate) use process::{sockets_in, stop_orphan};
pub(crate) use supervisor::{WorkerHandle, WorkerMode, WorkerNote, WorkerOrder, WorkerPlan, supervise};
