//! The layers of a transport stream: packets, tables, PES headers, continuity.

mod continuity;
mod packet;
mod pes;
mod psi;

pub use continuity::{Continuity, Step};
pub use packet::{PACKET_BYTES, Packet, PacketReader, SYNC_BYTE};
pub use pes::PesHeader;
pub use psi::{ElementaryStream, Programme, StreamKind};
