//! What NetworkManager knows: whether data costs money, whether an access point is up.

use std::collections::HashMap;

use anyhow::Context;
use zbus::proxy::CacheProperties;
use zbus::{OwnedObjectPath, OwnedVariant, Proxy};

use crate::bus::Bus;

const SERVICE: &str = "org.freedesktop.NetworkManager";
/// `NM_METERED_YES` and `NM_METERED_GUESS_YES`.
const METERED: [u32; 2] = [1, 3];
/// `NM_ACTIVE_CONNECTION_STATE_ACTIVATED`.
const ACTIVATED: u32 = 2;
const WIRELESS: &str = "802-11-wireless";

type Settings = HashMap<String, HashMap<String, OwnedVariant>>;

async fn proxy(
    connection: &zbus::Connection,
    path: OwnedObjectPath,
    interface: &'static str,
) -> zbus::Result<Proxy<'static>> {
    zbus::proxy::Builder::new(connection)
        .destination(SERVICE)
        .path(path)
        .interface(interface)
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

async fn manager(connection: &zbus::Connection) -> zbus::Result<Proxy<'static>> {
    let path = OwnedObjectPath::try_from("/org/freedesktop/NetworkManager")?;
    proxy(connection, path, SERVICE).await
}

/// Whether data over the default connection costs money.
///
/// # Errors
/// When NetworkManager is not reached.
pub async fn is_metered(bus: &Bus) -> anyhow::Result<bool> {
    let connection = bus.connect().await?;
    let ask = async { manager(&connection).await?.get_property::<u32>("Metered").await };
    let metered = ask.await.context("NetworkManager does not say whether the link is metered")?;
    Ok(METERED.contains(&metered))
}

/// Whether the device's access point is up.
///
/// # Errors
/// When NetworkManager is not reached.
pub async fn has_access_point(bus: &Bus) -> anyhow::Result<bool> {
    let connection = bus.connect().await?;
    let ask = async {
        let active: Vec<OwnedObjectPath> = manager(&connection).await?.get_property("ActiveConnections").await?;
        for path in active {
            if is_access_point(&connection, path).await? {
                return Ok(true);
            }
        }
        Ok::<_, zbus::Error>(false)
    };
    ask.await.context("NetworkManager does not say whether an access point is up")
}

async fn is_access_point(connection: &zbus::Connection, path: OwnedObjectPath) -> zbus::Result<bool> {
    let active = proxy(connection, path, "org.freedesktop.NetworkManager.Connection.Active").await?;
    let kind: String = active.get_property("Type").await?;
    let state: u32 = active.get_property("State").await?;
    if kind != WIRELESS || state != ACTIVATED {
        return Ok(false);
    }
    let settings: OwnedObjectPath = active.get_property("Connection").await?;
    let settings = proxy(connection, settings, "org.freedesktop.NetworkManager.Settings.Connection").await?;
    let settings: Settings = settings.call("GetSettings", &()).await?;
    let mode = settings.get(WIRELESS).and_then(|wireless| wireless.get("mode"));
    Ok(mode.and_then(|mode| <&str>::try_from(mode).ok()) == Some("ap"))
}
