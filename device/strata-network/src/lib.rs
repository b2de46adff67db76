//! The device's networks: NetworkManager and ModemManager over D-Bus, and when the access point is on.
//!
//! Owns what is asked of them and reading their answers. Does not own pages for
//! people (`strata-portal`) or the links of streams (`strata-agent`).

pub mod access_point;
pub mod modem_manager;
pub mod network_manager;
pub mod own_network;
pub mod reason;
pub mod wifi;
pub mod wifi_code;
