//! What the daemon tells systemd (`sd_notify(3)`): ready, alive, stopping. Silent where there is no systemd.

use std::time::Duration;

use sd_notify::NotifyState;

/// The socket is there, and it is known what the time before left.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// The main loop turns.
pub(crate) fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// The daemon ends.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often [`alive`] must be said: half of what systemd allows; none where nobody watches.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd could not be notified: {error}");
    }
}
