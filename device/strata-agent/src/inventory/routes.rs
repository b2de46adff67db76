//! Which interface has a route to which address, from the kernel's main tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Route is usable (`RTF_UP`, linux/route.h).
const RTF_UP: u32 = 0x0001;
/// Route refuses its destination (`RTF_REJECT`).
const RTF_REJECT: u32 = 0x0200;

/// One route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The interface.
    pub interface: String,
    /// The destination's network.
    pub network: IpAddr,
    /// Bits of the network that count; 0 for a default route.
    pub prefix: u8,
    /// The next hop; none for a network that is directly there.
    pub gateway: Option<IpAddr>,
    /// Lower is used first.
    pub metric: u32,
}

/// All routes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Reads the kernel's tables; what cannot be read has no routes.
    #[must_use]
    pub fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
    }

    /// Parses the text of `/proc/net/route` and `/proc/net/ipv6_route`.
    #[must_use]
    pub fn parse(v4: &str, v6: &str) -> Self {
        Self(v4.lines().skip(1).filter_map(parse_v4).chain(v6.lines().filter_map(parse_v6)).collect())
    }

    /// Whether `interface` has a route to `address`.
    #[must_use]
    pub fn reaches(&self, interface: &str, address: IpAddr) -> bool {
        self.0.iter().any(|route| route.interface == interface && route.contains(address))
    }

    /// Whether `interface` has any route.
    #[must_use]
    pub fn has_route(&self, interface: &str) -> bool {
        self.0.iter().any(|route| route.interface == interface)
    }

    /// The gateway of `interface`'s default route, IPv4 first.
    #[must_use]
    pub fn gateway(&self, interface: &str) -> Option<IpAddr> {
        self.defaults().filter(|route| route.interface == interface).find_map(|route| route.gateway)
    }

    /// The interface that the system itself uses: the default route of the lowest metric, IPv4 first.
    #[must_use]
    pub fn default_interface(&self) -> Option<&str> {
        self.defaults().min_by_key(|route| (route.network.is_ipv6(), route.metric)).map(|route| &*route.interface)
    }

    fn defaults(&self) -> impl Iterator<Item = &Route> {
        self.0.iter().filter(|route| route.prefix == 0)
    }
}

impl Route {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`; addresses in hexadecimal, in the machine's byte order.
fn parse_v4(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [interface, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
    let address = |text| u32::from_str_radix(text, 16).ok().map(|bits| Ipv4Addr::from(bits.to_ne_bytes()));
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 {
        return None;
    }
    let gateway = address(gateway).filter(|gateway| !gateway.is_unspecified());
    Some(Route {
        interface: interface.to_owned(),
        network: address(destination)?.into(),
        prefix: u8::try_from(address(mask)?.to_bits().leading_ones()).ok()?,
        gateway: gateway.map(IpAddr::from),
        metric: metric.parse().ok()?,
    })
}

/// `destination prefix source prefix next_hop metric refcount use flags interface`, all in hexadecimal.
fn parse_v6(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, prefix, _, _, next_hop, metric, _, _, flags, interface] = fields[..] else { return None };
    let address = |text| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits);
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let network = address(destination)?;
    // Link-local and multicast networks are on every interface and lead to no relay.
    if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 || network.is_unicast_link_local() || network.is_multicast() {
        return None;
    }
    let next_hop = address(next_hop).filter(|next_hop| !next_hop.is_unspecified());
    Some(Route {
        interface: interface.to_owned(),
        network: network.into(),
        prefix: u8::from_str_radix(prefix, 16).ok().filter(|prefix| *prefix <= 128)?,
        gateway: next_hop.map(IpAddr::from),
        metric: u32::from_str_radix(metric, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
wwan0\t00000000\t016433C6\t0003\t0\t0\t700\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
down0\t00000000\t010200C0\t0002\t0\t0\t1\t00000000\t0\t0\t0
garbage
";
    const V6: &str = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 wlan0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn the_kernels_tables_are_understood() {
        let routes = Routes::parse(V4, V6);
        assert_eq!(routes.default_interface(), Some("eth0"));
        assert_eq!(routes.gateway("eth0"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(routes.gateway("wwan0"), Some("198.51.100.1".parse().unwrap()));
        assert_eq!(routes.gateway("wlan0"), Some("fe80::1".parse().unwrap()));
        assert!(routes.has_route("eth0") && !routes.has_route("down0") && !routes.has_route("lo"));
    }

    #[test]
    fn reaching_is_per_interface_and_family() {
        let routes = Routes::parse(V4, V6);
        for (interface, address, expected) in [
            ("wwan0", "203.0.113.1", true),
            ("eth0", "192.0.2.77", true),
            ("wlan0", "203.0.113.1", false),
            ("wlan0", "2001:db9::1", true),
            ("eth0", "2001:db8::1", true),
            ("eth0", "2001:db9::1", false),
            ("eth1", "fe80::5", false),
            ("lo", "203.0.113.1", false),
        ] {
            assert_eq!(routes.reaches(interface, address.parse().unwrap()), expected, "{interface} {address}");
        }
    }
}
