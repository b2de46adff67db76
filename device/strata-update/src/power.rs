//! Reboots, by logind: services are stopped in order, file systems unmounted.

use anyhow::Context;

use crate::bus::Bus;

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    async fn reboot(&self, interactive: bool) -> zbus::Result<()>;
}

/// Orders a reboot; returns before it comes.
///
/// # Errors
/// When logind is not reached or refuses.
pub async fn reboot(bus: &Bus) -> anyhow::Result<()> {
    let connection = bus.connect().await?;
    let manager = ManagerProxy::new(&connection).await.context("logind is not reached")?;
    manager.reboot(false).await.context("logind refuses to reboot")
}
