//! Which interfaces carry a stream, as pure functions.
//!
//! An interface is a link when the operator allows it, it is connected, and it
//! has a route to the worker's address. Owns that choice and the links' numbers,
//! which stay with an interface while the stream lives. Does not own sockets.

use std::net::{IpAddr, SocketAddr};

use strata_control::{Interface, InterfaceKind, InterfaceState, LinkPolicy};
use strata_encoder_protocol::EncoderLink;

use crate::inventory::routes::Routes;

/// Links that a bond takes.
const MAX_LINKS: usize = 16;

/// The way over one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// The interface.
    pub interface: String,
    /// The worker's address, as reached over it.
    pub remote: SocketAddr,
}

/// Whether the operator allows `interface`: what is set for the stream counts
/// before what is set for the device; not set means yes.
#[must_use]
pub fn is_enabled(interface: &str, stream: &[LinkPolicy], device: &[LinkPolicy]) -> bool {
    stream.iter().chain(device).find(|policy| policy.interface == interface).is_none_or(|policy| policy.enabled)
}

/// Every interface's way to the worker. `remotes` are its addresses, best first.
#[must_use]
pub fn select(
    interfaces: &[Interface],
    routes: &Routes,
    allowed: impl Fn(&str) -> bool,
    remotes: &[SocketAddr],
) -> Vec<Path> {
    interfaces
        .iter()
        .filter(|interface| interface.state == InterfaceState::Connected && allowed(&interface.name))
        .filter_map(|interface| {
            let remote = remotes.iter().find(|remote| reaches(interface, routes, remote.ip()))?;
            Some(Path { interface: interface.name.clone(), remote: *remote })
        })
        .collect()
}

fn reaches(interface: &Interface, routes: &Routes, remote: IpAddr) -> bool {
    if interface.kind == InterfaceKind::Loopback || remote.is_loopback() {
        return interface.kind == InterfaceKind::Loopback && remote.is_loopback();
    }
    let has_family = interface.addresses.iter().any(|address| address.contains(':') == remote.is_ipv6());
    has_family && routes.reaches(&interface.name, remote)
}

/// Gives each path its link number: its former one, else the lowest that is free.
/// `numbers` names the interface of each number and is kept up to date.
#[must_use]
pub fn number(paths: Vec<Path>, bind: bool, numbers: &mut Vec<String>) -> Vec<EncoderLink> {
    let present: Vec<String> = paths.iter().map(|path| path.interface.clone()).collect();
    let mut links: Vec<EncoderLink> = paths
        .into_iter()
        .filter_map(|Path { interface, remote }| {
            let id = number_of(&interface, &present, numbers)?;
            Some(EncoderLink { id, interface, bind, remote })
        })
        .collect();
    links.sort_by_key(|link| link.id);
    links
}

fn number_of(interface: &str, present: &[String], numbers: &mut Vec<String>) -> Option<u8> {
    let known = numbers.iter().position(|name| name == interface);
    let position = known.or_else(|| {
        if numbers.len() < MAX_LINKS {
            numbers.push(interface.to_owned());
            return Some(numbers.len() - 1);
        }
        // All numbers are given away: one of an interface that is gone is free again.
        let free = numbers.iter().position(|name| !present.contains(name))?;
        interface.clone_into(&mut numbers[free]);
        Some(free)
    })?;
    u8::try_from(position).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, kind: InterfaceKind, state: InterfaceState, address: &str) -> Interface {
        Interface {
            name: name.into(),
            kind,
            driver: None,
            bus: None,
            product: None,
            state,
            enabled: true,
            addresses: vec![address.into()],
            gateway: None,
            default_route: false,
            carrier: true,
            technology: None,
            band: None,
            network: None,
            signal_dbm: None,
        }
    }

    fn policy(interface: &str, enabled: bool) -> LinkPolicy {
        LinkPolicy { interface: interface.into(), enabled, priority: 0, metered: false }
    }

    #[test]
    fn the_streams_policy_counts_before_the_devices() {
        let device = [policy("a", false), policy("b", false)];
        let stream = [policy("a", true)];
        assert!(is_enabled("a", &stream, &device));
        assert!(!is_enabled("b", &stream, &device));
        assert!(is_enabled("c", &stream, &device));
    }

    #[test]
    fn a_link_is_connected_allowed_and_has_a_route() {
        use InterfaceKind::{Ethernet, Loopback, Modem};
        use InterfaceState::{Connected, Down};
        let interfaces = [
            interface("lo", Loopback, Connected, "127.0.0.1/8"),
            interface("eth0", Ethernet, Connected, "192.0.2.7/24"),
            interface("wwan0", Modem, Connected, "198.51.100.2/30"),
            interface("wwan1", Modem, Down, "198.51.100.6/30"),
            interface("wwan2", Modem, Connected, "198.51.100.10/30"),
        ];
        let routes = Routes::parse(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
             wwan0\t00000000\t016433C6\t0003\t0\t0\t700\t00000000\n\
             wwan2\t00000000\t096433C6\t0003\t0\t0\t701\t00000000\n\
             eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\n",
            "",
        );
        let select = |remote: &str| {
            select(&interfaces, &routes, |name| name != "wwan2", &[remote.parse().unwrap()])
                .into_iter()
                .map(|path| path.interface)
                .collect::<Vec<_>>()
        };
        assert_eq!(select("203.0.113.9:15000"), ["wwan0"]);
        // A LAN without a way out is a link to a relay in that LAN only.
        assert_eq!(select("192.0.2.50:15000"), ["eth0", "wwan0"]);
        assert_eq!(select("127.0.0.1:15000"), ["lo"]);
        assert!(select("[2001:db8::1]:15000").is_empty());
    }

    #[test]
    fn a_number_stays_with_its_interface() {
        let path = |name: &str| Path { interface: name.into(), remote: "192.0.2.1:1".parse().unwrap() };
        let mut numbers = vec![];
        let ids = |links: Vec<EncoderLink>| links.into_iter().map(|l| (l.id, l.interface)).collect::<Vec<_>>();
        assert_eq!(ids(number(vec![path("a"), path("b")], true, &mut numbers)), [(0, "a".into()), (1, "b".into())]);
        assert_eq!(ids(number(vec![path("c"), path("b")], true, &mut numbers)), [(1, "b".into()), (2, "c".into())]);
        assert_eq!(ids(number(vec![path("a")], true, &mut numbers)), [(0, "a".into())]);
    }

    #[test]
    fn numbers_of_interfaces_that_are_gone_are_used_again() {
        let path = |number: usize| Path { interface: format!("i{number}"), remote: "192.0.2.1:1".parse().unwrap() };
        let mut numbers = vec![];
        assert_eq!(number((0..20).map(path).collect(), true, &mut numbers).len(), MAX_LINKS);
        let links = number(vec![path(1), path(30)], true, &mut numbers);
        assert_eq!(links.iter().map(|link| link.id).collect::<Vec<_>>(), [0, 1]);
    }
}
