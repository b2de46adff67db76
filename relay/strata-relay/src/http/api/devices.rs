//! Devices over REST: list, add, look, start and stop their streams.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strata_control::{DeviceId, DeviceStatus, EncoderSettings, StreamId};
use strata_fleet::{DeviceView, EnrolmentToken, LiveNumbers, StartStream};

use super::Answer;
use super::streams::StreamBody;
use crate::http::AppState;
use crate::http::caller::{ApiCaller, Caller};
use crate::http::error::Refusal;
use crate::http::fields::{Id, JsonBody, OptionalJson};

#[derive(Serialize)]
pub(crate) struct Devices {
    devices: Vec<DeviceView>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDevice {
    name: String,
}

/// A token's text leaves the relay in this answer and never again.
#[derive(Serialize)]
pub(crate) struct Enrolment {
    id: DeviceId,
    token: String,
    expires_at: Timestamp,
}

impl Enrolment {
    fn new(id: DeviceId, token: &EnrolmentToken) -> Self {
        Self { id, token: token.token.expose_secret().to_owned(), expires_at: token.expires_at }
    }
}

#[derive(Serialize)]
pub(crate) struct Status {
    online: bool,
    last_seen: Option<Timestamp>,
    /// When the status came.
    received_at: Option<Timestamp>,
    /// How long ago that was.
    age_ms: Option<i64>,
    status: Option<DeviceStatus>,
}

#[derive(Serialize)]
pub(crate) struct Stats {
    stream_id: Option<StreamId>,
    live: Option<LiveNumbers>,
}

pub(crate) async fn list(State(state): State<AppState>, ApiCaller(caller): ApiCaller) -> Answer<Json<Devices>> {
    Ok(Json(Devices { devices: state.fleet.devices(&caller.actor).await? }))
}

pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    JsonBody(new): JsonBody<NewDevice>,
) -> Answer<(StatusCode, Json<Enrolment>)> {
    let (id, token) = state.fleet.create_device(&caller.actor, &new.name).await?;
    Ok((StatusCode::CREATED, Json(Enrolment::new(id, &token))))
}

pub(crate) async fn show(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
) -> Answer<Json<DeviceView>> {
    Ok(Json(state.fleet.device(&caller.actor, id).await?))
}

pub(crate) async fn delete(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
) -> Answer<StatusCode> {
    state.fleet.delete_device(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn token(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
) -> Answer<(StatusCode, Json<Enrolment>)> {
    let token = state.fleet.new_enrolment_token(&caller.actor, id).await?;
    Ok((StatusCode::CREATED, Json(Enrolment::new(id, &token))))
}

pub(crate) async fn revoke(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
) -> Answer<StatusCode> {
    state.fleet.revoke_device(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn status(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
) -> Answer<Json<Status>> {
    let device = state.fleet.device(&caller.actor, id).await?;
    let age_ms = device.status_at.map(|at| Timestamp::now().as_millisecond() - at.as_millisecond());
    Ok(Json(Status {
        online: device.online,
        last_seen: device.last_seen,
        received_at: device.status_at,
        age_ms,
        status: device.status,
    }))
}

pub(crate) async fn stats(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
) -> Answer<Json<Stats>> {
    let device = state.fleet.device(&caller.actor, id).await?;
    let Some(stream_id) = device.live_stream else { return Ok(Json(Stats { stream_id: None, live: None })) };
    let stream = state.fleet.stream(&caller.actor, stream_id).await?;
    Ok(Json(Stats { stream_id: Some(stream_id), live: stream.live }))
}

pub(crate) async fn start(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
    JsonBody(body): JsonBody<Value>,
) -> Answer<(StatusCode, Json<StreamBody>)> {
    let start = start_of(body)?;
    let stream = state.fleet.start_stream(&caller.actor, id, start).await?;
    let stream = state.fleet.stream(&caller.actor, stream).await?;
    Ok((StatusCode::CREATED, Json(stream.into())))
}

/// Reads a start request; settings that are not named keep their defaults, unknown ones are refused by name.
fn start_of(mut body: Value) -> Result<StartStream, Refusal> {
    let said = body.get_mut("settings").map(Value::take);
    let settings = match said {
        None | Some(Value::Null) => EncoderSettings::default(),
        Some(said) => {
            let mut whole = serde_json::to_value(EncoderSettings::default())
                .map_err(|error| Refusal::internal(format!("the default settings have no JSON form: {error}")))?;
            overlay(&mut whole, said, "settings")?;
            serde_json::from_value(whole).map_err(|error| Refusal::invalid(format!("settings: {error}")))?
        }
    };
    if let Some(fields) = body.as_object_mut() {
        fields.remove("settings");
    }
    let start: StartStream =
        serde_json::from_value(body).map_err(|error| Refusal::invalid(format!("the body does not fit: {error}")))?;
    Ok(StartStream { settings, ..start })
}

fn overlay(whole: &mut Value, said: Value, path: &str) -> Result<(), Refusal> {
    match (whole, said) {
        (Value::Object(whole), Value::Object(said)) => {
            for (name, value) in said {
                let path = format!("{path}.{name}");
                let slot = whole
                    .get_mut(&name)
                    .ok_or_else(|| Refusal::invalid(format!("{path}: there is no such setting")))?;
                overlay(slot, value, &path)?;
            }
            Ok(())
        }
        (slot, value) => {
            *slot = value;
            Ok(())
        }
    }
}

/// Which stream to stop; the device's only one when none is named.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stop {
    #[serde(default)]
    stream_id: Option<StreamId>,
}

pub(crate) async fn stop(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DeviceId>,
    OptionalJson(stop): OptionalJson<Stop>,
) -> Answer<Json<StreamBody>> {
    let stream = stream_of(&state, &caller, id, stop.stream_id).await?;
    state.fleet.stop_stream(&caller.actor, stream).await?;
    Ok(Json(state.fleet.stream(&caller.actor, stream).await?.into()))
}

async fn stream_of(
    state: &AppState,
    caller: &Caller,
    device: DeviceId,
    named: Option<StreamId>,
) -> Result<StreamId, Refusal> {
    let device = state.fleet.device(&caller.actor, device).await?;
    let Some(named) = named else {
        return device.live_stream.ok_or_else(|| Refusal::conflict(format!("{} has no stream to stop", device.name)));
    };
    let stream = state.fleet.stream(&caller.actor, named).await?;
    if stream.device_id == device.id { Ok(named) } else { Err(Refusal::not_found("stream")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_start_names_its_source_and_only_the_settings_it_changes() {
        let start = start_of(json!({
            "source": { "kind": "test_pattern" },
            "settings": { "bitrate": { "target_bps": 2_000_000 }, "latency_ms": 2_000 },
        }));
        let settings = start.unwrap().settings;
        assert_eq!((settings.bitrate.target_bps, settings.latency_ms), (2_000_000, 2_000));
        assert_eq!(settings.width, EncoderSettings::default().width);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |body| start_of(body).unwrap_err().message().to_owned();
        assert!(message(json!({})).contains("source"));
        assert!(message(json!("start")).contains("does not fit"));
        let source = json!({ "kind": "test_pattern" });
        let unknown = json!({ "source": source, "settings": { "bitrate": { "max": 1 } } });
        assert_eq!(message(unknown), "settings.bitrate.max: there is no such setting");
        assert!(message(json!({ "source": source, "settings": { "width": "wide" } })).contains("settings"));
        assert!(message(json!({ "source": source, "sauce": 1 })).contains("sauce"));
    }
}
