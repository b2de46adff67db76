//! Network interfaces, by `getifaddrs(3)` and sysfs.
//!
//! An interface's kind comes from its driver, its bus and what the kernel says
//! of its device, never from its name: modems come up as `eth0` or `usb0`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use strata_control::{Interface, InterfaceKind, InterfaceState};

use super::routes::Routes;

/// Where the kernel shows interfaces.
const SYSFS: &str = "/sys/class/net";
/// Drivers of cellular modems' data ports.
const MODEM_DRIVERS: [&str; 9] = [
    "qmi_wwan",
    "qmi_wwan_q",
    "cdc_mbim",
    "huawei_cdc_ncm",
    "sierra_net",
    "mhi_net",
    "mhi_wwan_mbim",
    "iosm",
    "mtk_t7xx",
];
/// Drivers that modems share with wired adapters: the USB vendor decides.
const SHARED_DRIVERS: [&str; 3] = ["cdc_ether", "cdc_ncm", "rndis_host"];
/// USB vendors that make modems: Huawei, ZTE, Sierra, Quectel, SIMCom, Qualcomm, Telit, Novatel, Fibocom, Option, Alcatel.
const MODEM_VENDORS: [&str; 11] =
    ["12d1", "19d2", "1199", "2c7c", "1e0e", "05c6", "1bc7", "1410", "2cb7", "0af0", "1bbb"];
/// `ARPHRD_LOOPBACK` (linux/if_arp.h).
const TYPE_LOOPBACK: &str = "772";

/// All interfaces.
pub(super) fn read(routes: &Routes) -> Vec<Interface> {
    read_from(Path::new(SYSFS), &addresses(), routes)
}

/// An interface's flags and addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Addresses {
    up: bool,
    running: bool,
    addresses: Vec<(IpAddr, u32)>,
}

fn addresses() -> BTreeMap<String, Addresses> {
    let mut found: BTreeMap<String, Addresses> = BTreeMap::new();
    let Ok(all) = getifaddrs() else {
        tracing::warn!("the interfaces' addresses cannot be read");
        return found;
    };
    for entry in all {
        let interface = found.entry(entry.interface_name).or_default();
        interface.up |= entry.flags.contains(InterfaceFlags::IFF_UP);
        interface.running |= entry.flags.contains(InterfaceFlags::IFF_RUNNING);
        let address = |storage: nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
            let v4 = storage.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
        };
        if let (Some(ip), Some(mask)) = (entry.address.and_then(address), entry.netmask.and_then(address)) {
            interface.addresses.push((ip, prefix(mask)));
        }
    }
    found
}

fn prefix(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    }
}

fn read_from(sysfs: &Path, addresses: &BTreeMap<String, Addresses>, routes: &Routes) -> Vec<Interface> {
    let Ok(entries) = fs::read_dir(sysfs) else {
        tracing::warn!("{} cannot be read: no interfaces are known", sysfs.display());
        return vec![];
    };
    let wireless = fs::read_to_string("/proc/net/wireless").unwrap_or_default();
    let mut interfaces: Vec<Interface> = entries
        .flatten()
        // Beside interfaces there may be plain files (`bonding_masters`).
        .filter(|entry| entry.path().join("ifindex").exists())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let found = addresses.get(&name).cloned().unwrap_or_default();
            let signal = wifi_signal(&wireless, &name);
            interface(name, &entry.path(), &found, routes, signal)
        })
        .collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

fn interface(name: String, folder: &Path, found: &Addresses, routes: &Routes, signal_dbm: Option<i16>) -> Interface {
    let device = Device::read(folder);
    let kind = device.kind();
    let carrier = text(&folder.join("carrier")).is_some_and(|carrier| carrier == "1");
    // Link-local addresses lead to no relay.
    let usable = found.addresses.iter().any(|(ip, _)| !is_link_local(*ip));
    let routed = kind == InterfaceKind::Loopback || routes.has_route(&name);
    let state = match (found.up && found.running, usable, routed) {
        (false, ..) => InterfaceState::Down,
        (true, false, _) => InterfaceState::Connecting,
        (true, true, false) => InterfaceState::NoRoute,
        (true, true, true) => InterfaceState::Connected,
    };
    Interface {
        kind,
        driver: device.driver,
        bus: device.bus,
        product: device.product,
        state,
        enabled: true,
        addresses: found.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect(),
        gateway: routes.gateway(&name).map(|gateway| gateway.to_string()),
        default_route: routes.default_interface() == Some(&name),
        carrier,
        technology: None,
        band: None,
        network: None,
        signal_dbm,
        name,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// What sysfs says of an interface's hardware.
#[derive(Debug, Default)]
struct Device {
    driver: Option<String>,
    bus: Option<String>,
    product: Option<String>,
    vendor: Option<String>,
    /// `DEVTYPE` of the interface's uevent: `wlan`, `wwan`, `bridge` …
    devtype: Option<String>,
    wireless: bool,
    loopback: bool,
}

impl Device {
    fn read(folder: &Path) -> Self {
        let device = folder.join("device");
        let link_name = |link: PathBuf| {
            fs::read_link(link).ok().and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()))
        };
        let uevent = text(&folder.join("uevent")).unwrap_or_default();
        let bus = link_name(device.join("subsystem"));
        let usb = usb_device(&device);
        let from_usb = |file| usb.as_ref().and_then(|usb| text(&usb.join(file)));
        let product = from_usb("product").map(|product| match from_usb("manufacturer") {
            Some(maker) if !product.starts_with(&maker) => format!("{maker} {product}"),
            _ => product,
        });
        Self {
            driver: link_name(device.join("driver")),
            bus: Some(bus.unwrap_or_else(|| "virtual".to_owned())),
            product,
            vendor: from_usb("idVendor"),
            devtype: uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")).map(str::to_owned),
            wireless: folder.join("phy80211").exists() || folder.join("wireless").exists(),
            loopback: text(&folder.join("type")).is_some_and(|number| number == TYPE_LOOPBACK),
        }
    }

    fn kind(&self) -> InterfaceKind {
        let driver = self.driver.as_deref().unwrap_or_default();
        let from_modem_vendor = || self.vendor.as_deref().is_some_and(|vendor| MODEM_VENDORS.contains(&vendor));
        if self.loopback {
            InterfaceKind::Loopback
        } else if self.devtype.as_deref() == Some("wwan")
            || MODEM_DRIVERS.contains(&driver)
            || self.bus.as_deref() == Some("wwan")
            || (SHARED_DRIVERS.contains(&driver) && from_modem_vendor())
        {
            InterfaceKind::Modem
        } else if self.wireless || self.devtype.as_deref() == Some("wlan") {
            InterfaceKind::Wifi
        } else if self.driver.is_none() {
            InterfaceKind::Virtual
        } else {
            InterfaceKind::Ethernet
        }
    }
}

/// The USB device of an interface: the nearest folder above that knows its vendor.
fn usb_device(device: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(device).ok()?;
    folder.ancestors().take(4).find(|folder| folder.join("idVendor").exists()).map(Path::to_owned)
}

fn text(file: &Path) -> Option<String> {
    // `carrier` of an interface that is down cannot be read: that is no news.
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

/// The signal in dBm from `/proc/net/wireless`: `name: status quality. level. noise. …`.
fn wifi_signal(table: &str, name: &str) -> Option<i16> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().nth(2)?.trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(driver: &str, bus: &str, vendor: &str, devtype: &str, wireless: bool) -> Device {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Device {
            driver: some(driver),
            bus: some(bus),
            product: None,
            vendor: some(vendor),
            devtype: some(devtype),
            wireless,
            loopback: false,
        }
    }

    #[test]
    fn the_kind_comes_from_driver_bus_and_device() {
        for (device, kind) in [
            (device("r8169", "pci", "", "", false), InterfaceKind::Ethernet),
            (device("r8152", "usb", "0bda", "", false), InterfaceKind::Ethernet),
            (device("cdc_ether", "usb", "0bda", "", false), InterfaceKind::Ethernet),
            (device("cdc_ether", "usb", "12d1", "", false), InterfaceKind::Modem),
            (device("rndis_host", "usb", "19d2", "", false), InterfaceKind::Modem),
            (device("qmi_wwan", "usb", "2c7c", "wwan", false), InterfaceKind::Modem),
            (device("", "wwan", "", "", false), InterfaceKind::Modem),
            (device("rtw89_8852be", "pci", "", "wlan", true), InterfaceKind::Wifi),
            (device("", "virtual", "", "bridge", false), InterfaceKind::Virtual),
        ] {
            assert_eq!(device.kind(), kind, "{device:?}");
        }
    }

    #[test]
    fn wifi_signals_are_read() {
        let table = "Inter-| sta-|   Quality        |   Discarded packets\n face | tus | link level noise |\n\
                     wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n";
        assert_eq!(wifi_signal(table, "wlan0"), Some(-56));
        assert_eq!(wifi_signal(table, "wlan1"), None);
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let interfaces = read(&Routes::read());
        let loopback = interfaces.iter().find(|interface| interface.kind == InterfaceKind::Loopback).unwrap();
        assert_eq!(loopback.state, InterfaceState::Connected);
        assert!(loopback.addresses.iter().any(|address| address == "127.0.0.1/8"), "{loopback:?}");
    }
}
