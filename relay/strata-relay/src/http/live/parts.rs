//! The parts of pages that change, by the id of the element that holds them.

use std::collections::BTreeMap;

use askama::Template;

use crate::http::view::device::{Device, FleetList};
use crate::http::view::go_live::SourceGroup;
use crate::http::view::stream::{Stream, StreamRow};
use crate::http::view::system::UpdateRow;

/// The inner HTML of each element.
pub(super) type Parts = BTreeMap<&'static str, String>;

macro_rules! part {
    ($name:ident, $path:literal, { $($field:ident: $type:ty),+ }) => {
        #[derive(Template)]
        #[template(path = $path)]
        struct $name<'a> { $($field: $type),+ }
    };
}

part!(FleetSum, "_fleet_sum.html", { fleet: &'a FleetList });
part!(FleetDevices, "_fleet_devices.html", { fleet: &'a FleetList });
part!(DeviceHead, "_device_head.html", { device: &'a Device });
part!(DeviceNow, "_device_now.html", { device: &'a Device });
part!(DeviceSystem, "_device_system.html", { device: &'a Device, updates: &'a [UpdateRow] });
part!(DeviceStatus, "_device_status.html", { device: &'a Device });
part!(StreamsTable, "_streams_table.html", { streams: &'a [StreamRow], with_device: bool });
part!(StreamHead, "_stream_head.html", { stream: &'a Stream });
part!(StreamActions, "_stream_actions.html", { stream: &'a Stream, may_operate: bool, csrf: &'a str });
part!(StreamAlert, "_stream_alert.html", { stream: &'a Stream });
part!(StreamTruth, "_stream_truth.html", { stream: &'a Stream });
part!(StreamLinks, "_stream_links.html", { stream: &'a Stream });
part!(StreamSwitch, "_stream_switch.html", {
    stream: &'a Stream,
    may_operate: bool,
    csrf: &'a str,
    sources: &'a [SourceGroup]
});
part!(StreamDestinations, "_stream_destinations.html", { stream: &'a Stream });
part!(StreamEvents, "_stream_events.html", { stream: &'a Stream });

pub(super) fn fleet(fleet: &FleetList) -> askama::Result<Parts> {
    Ok(Parts::from([("fleet-sum", FleetSum { fleet }.render()?), ("fleet-devices", FleetDevices { fleet }.render()?)]))
}

pub(super) fn device(device: &Device, updates: &[UpdateRow], streams: &[StreamRow]) -> askama::Result<Parts> {
    Ok(Parts::from([
        ("device-head", DeviceHead { device }.render()?),
        ("device-now", DeviceNow { device }.render()?),
        ("device-status", DeviceStatus { device }.render()?),
        ("device-system", DeviceSystem { device, updates }.render()?),
        ("device-streams", StreamsTable { streams, with_device: false }.render()?),
    ]))
}

/// A stream's parts, for somebody who may or may not operate it.
pub(super) fn stream(stream: &Stream, sources: &[SourceGroup], may_operate: bool, csrf: &str) -> askama::Result<Parts> {
    Ok(Parts::from([
        ("stream-head", StreamHead { stream }.render()?),
        ("stream-actions", StreamActions { stream, may_operate, csrf }.render()?),
        ("stream-alert", StreamAlert { stream }.render()?),
        ("stream-truth", StreamTruth { stream }.render()?),
        ("stream-links", StreamLinks { stream }.render()?),
        ("stream-switch", StreamSwitch { stream, may_operate, csrf, sources }.render()?),
        ("stream-destinations", StreamDestinations { stream }.render()?),
        ("stream-events", StreamEvents { stream }.render()?),
    ]))
}
