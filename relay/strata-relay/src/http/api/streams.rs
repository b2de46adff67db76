//! Streams over REST: list, look, stop, switch the source, change hot settings.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use strata_control::{Source, StreamId};
use strata_fleet::{StreamEventView, StreamFilter, StreamUpdate, StreamView};

use super::Answer;
use crate::http::AppState;
use crate::http::caller::ApiCaller;
use crate::http::error::Refusal;
use crate::http::fields::{Id, JsonBody};
use crate::http::live::point::Point;

/// A stream and where it can be watched.
#[derive(Serialize)]
pub(crate) struct StreamBody {
    #[serde(flatten)]
    stream: StreamView,
    /// The player page, on this relay.
    play_url: String,
    /// The playlist, on this relay.
    hls_url: String,
}

impl From<StreamView> for StreamBody {
    fn from(stream: StreamView) -> Self {
        let play_url = format!("/play/{}", stream.play_key);
        let hls_url = format!("/hls/{}/index.m3u8", stream.play_key);
        Self { stream, play_url, hls_url }
    }
}

#[derive(Serialize)]
pub(crate) struct Streams {
    streams: Vec<StreamBody>,
}

#[derive(Serialize)]
pub(crate) struct Events {
    events: Vec<StreamEventView>,
}

#[derive(Serialize)]
pub(crate) struct History {
    points: Vec<Point>,
}

pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    filter: Result<Query<StreamFilter>, axum::extract::rejection::QueryRejection>,
) -> Answer<Json<Streams>> {
    let Query(filter) = filter.map_err(|error| Refusal::invalid(error.body_text()))?;
    let streams = state.fleet.streams(&caller.actor, filter).await?;
    Ok(Json(Streams { streams: streams.into_iter().map(StreamBody::from).collect() }))
}

pub(crate) async fn show(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<StreamId>,
) -> Answer<Json<StreamBody>> {
    Ok(Json(state.fleet.stream(&caller.actor, id).await?.into()))
}

pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<StreamId>,
    JsonBody(update): JsonBody<StreamUpdate>,
) -> Answer<Json<StreamBody>> {
    state.fleet.update_stream(&caller.actor, id, update).await?;
    Ok(Json(state.fleet.stream(&caller.actor, id).await?.into()))
}

pub(crate) async fn stop(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<StreamId>,
) -> Answer<Json<StreamBody>> {
    state.fleet.stop_stream(&caller.actor, id).await?;
    Ok(Json(state.fleet.stream(&caller.actor, id).await?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSource {
    source: Source,
}

pub(crate) async fn source(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<StreamId>,
    JsonBody(new): JsonBody<NewSource>,
) -> Answer<StatusCode> {
    state.fleet.switch_source(&caller.actor, id, new.source).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn events(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<StreamId>,
) -> Answer<Json<Events>> {
    Ok(Json(Events { events: state.fleet.stream_events(&caller.actor, id).await? }))
}

pub(crate) async fn history(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<StreamId>,
) -> Answer<Json<History>> {
    let stream = state.fleet.stream(&caller.actor, id).await?;
    let history = stream.live.map(|live| live.history).unwrap_or_default();
    Ok(Json(History { points: history.iter().map(Point::from).collect() }))
}
