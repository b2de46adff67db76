//! What a device is told to do with itself, over REST: update, roll back, reboot, factory reset; its updates and its log.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use strata_control::DeviceId;
use strata_fleet::{DeviceUpdateView, UpdateDevice};

use super::Answer;
use crate::http::AppState;
use crate::http::caller::ApiCaller;
use crate::http::fields::{Id, JsonBody, OptionalJson};

#[derive(Serialize)]
pub(crate) struct Updates {
    updates: Vec<DeviceUpdateView>,
}

/// What may be said to a command that a live stream stands against.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvenIfLive {
    #[serde(default)]
    even_if_live: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reset {
    keep_identity: bool,
}

impl Default for Reset {
    /// Who wants a device that has to be enrolled anew says so.
    fn default() -> Self {
        Self { keep_identity: true }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logs {
    #[serde(default)]
    lines: Option<u32>,
}

pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
    JsonBody(update): JsonBody<UpdateDevice>,
) -> Answer<StatusCode> {
    state.fleet.update_device(&caller.actor, id, update).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn updates(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
) -> Answer<Json<Updates>> {
    Ok(Json(Updates { updates: state.fleet.device_updates(&caller.actor, id, None).await? }))
}

pub(crate) async fn roll_back(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
    OptionalJson(how): OptionalJson<EvenIfLive>,
) -> Answer<StatusCode> {
    state.fleet.roll_back_device(&caller.actor, id, how.even_if_live).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn reboot(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
    OptionalJson(how): OptionalJson<EvenIfLive>,
) -> Answer<StatusCode> {
    state.fleet.reboot_device(&caller.actor, id, how.even_if_live).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn reset(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
    OptionalJson(reset): OptionalJson<Reset>,
) -> Answer<StatusCode> {
    state.fleet.reset_device(&caller.actor, id, reset.keep_identity).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn logs(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
    OptionalJson(wanted): OptionalJson<Logs>,
) -> Answer<impl IntoResponse> {
    let lines = state.fleet.device_log(&caller.actor, id, wanted.lines).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text(&lines)))
}

/// A log as a file holds it.
pub(in crate::http) fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
