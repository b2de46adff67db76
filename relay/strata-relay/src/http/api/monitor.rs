//! What monitoring asks: alive, ready, numbers. Nothing of an owner is in it.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use strata_fleet::Health;

use super::Answer;
use crate::http::AppState;
use crate::http::caller::{Caller, Remote};
use crate::http::error::Refusal;

pub(crate) async fn healthz() -> Json<Value> {
    Json(json!({ "alive": true }))
}

pub(crate) async fn readyz(State(state): State<AppState>) -> (StatusCode, Json<Value>) {
    let health = state.fleet.health().await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // What is wrong names paths and addresses: that is in the log, not for everyone.
    for problem in &health.problems {
        tracing::warn!(%problem, "the relay has a problem");
    }
    (status, Json(json!({ "ready": health.ready })))
}

/// For programs on this machine and for whoever is logged in.
pub(crate) async fn metrics(
    State(state): State<AppState>,
    remote: Remote,
    headers: HeaderMap,
    parts: Parts,
) -> Answer<Response> {
    if !remote.is_this_machine(&headers) && Caller::find(&parts, &state).await?.is_none() {
        return Err(Refusal::not_logged_in().into());
    }
    let text = prometheus(&state.fleet.health().await);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn prometheus(health: &Health) -> String {
    let rows: [(&str, &str, &str, u64); 6] = [
        ("strata_ready", "gauge", "Whether requests can be served.", u64::from(health.ready)),
        ("strata_devices_online", "gauge", "Devices whose control connection is open.", health.devices_online as u64),
        ("strata_streams", "gauge", "Streams that are not over.", health.streams as u64),
        (
            "strata_lost_datagrams_total",
            "counter",
            "Datagrams that viewers of those streams lost, after repair.",
            health.lost_datagrams,
        ),
        (
            "strata_delivered_datagrams_total",
            "counter",
            "Datagrams handed on in time to those streams' outputs.",
            health.delivered_datagrams,
        ),
        ("strata_uptime_seconds", "gauge", "Since the relay started.", health.uptime_s),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("writing to a String cannot fail");
    }
    writeln!(
        text,
        "# HELP strata_info The relay's version.\n# TYPE strata_info gauge\nstrata_info{{version=\"{}\"}} 1",
        health.version
    )
    .expect("writing to a String cannot fail");
    text
}
