//! How the device is: `device.status`, put together and sent when it is due, and what the way in is told.

use strata_control::{DeviceMessage, DeviceStatus, MediaInputStatus, Source};
use tokio::time::Instant;

use super::{Agent, STATUS_GAP};
use crate::links::is_enabled;
use crate::onboarding::Standing;

impl Agent {
    /// Something changed: the relay is to know soon, but not more often than it is good for.
    pub(super) fn status_is_due(&mut self) {
        let soonest = (self.status_sent + STATUS_GAP).max(Instant::now());
        self.status_due = self.status_due.min(soonest);
    }

    pub(super) fn send_status(&mut self) {
        let status = self.status();
        self.status_sent = Instant::now();
        self.status_due = self.status_sent + self.context.config.status_interval();
        self.say(DeviceMessage::DeviceStatus(status));
    }

    fn status(&mut self) -> DeviceStatus {
        let system = self.probe.look();
        let policies = self.surroundings.borrow().policies.clone();
        let mut interfaces = self.told.interfaces.clone();
        for interface in &mut interfaces {
            interface.enabled = is_enabled(&interface.name, &[], &policies);
        }
        let mut media_inputs = self.told.media_inputs.clone();
        for input in &mut media_inputs {
            let used = |source: &Source| matches!(source, Source::Camera { input: id } if *id == input.id);
            if self.streams.values().any(|stream| used(&stream.status.source)) {
                input.status = MediaInputStatus::Busy;
            }
        }
        let (slots, update) = self.image.slots_and_update();
        DeviceStatus {
            interfaces,
            media_inputs,
            saved_media: self.told.saved_media.clone(),
            running_streams: self.streams.values().map(|stream| stream.status.clone()).collect(),
            cpu_percent: system.cpu_percent,
            memory: system.memory,
            temperature_c: system.temperature_c,
            disk: system.disk,
            uptime_s: system.uptime_s,
            slots,
            update,
            problems: self.image.problems(),
            simulated: self.context.simulate,
        }
    }

    /// The way in follows what it hears here.
    pub(super) fn tell_onboarding(&self) {
        let enrolled = self.enrolled.as_ref();
        let told = Standing {
            name: enrolled.map(|enrolled| enrolled.config.name.clone()).filter(|name| !name.is_empty()),
            enrolled: enrolled.is_some(),
            at_relay: self.relay.outgoing.is_some(),
            relay: self.relay.url.as_ref().map(|url| url.as_str().to_owned()),
            attempts: self.relay.failures,
            problem: self.relay.last_error.as_ref().map(|error| error.kind),
            policy: enrolled.map_or(self.context.config.ap_policy, |enrolled| enrolled.config.ap_policy),
            streaming: self.streams.values().any(|stream| stream.moves),
            inputs: self.told.media_inputs.iter().map(|input| input.label.clone()).collect(),
            cameras: self.free_cameras(),
        };
        self.standing.send_if_modified(|standing| {
            let modified = *standing != told;
            *standing = told;
            modified
        });
    }

    /// The nodes of what gives pictures that no stream needs.
    fn free_cameras(&self) -> Vec<String> {
        if !self.streams.is_empty() {
            return Vec::new();
        }
        let ready = self.told.media_inputs.iter().filter(|input| input.status == MediaInputStatus::Ready);
        ready.filter_map(|input| input.id.strip_prefix("v4l2:").map(str::to_owned)).collect()
    }
}
