//! Destinations over REST. Keys go in and never come out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use strata_fleet::{DestinationId, DestinationInput, DestinationView};

use super::Answer;
use crate::http::AppState;
use crate::http::caller::ApiCaller;
use crate::http::fields::{Id, JsonBody};

#[derive(Serialize)]
pub(crate) struct Destinations {
    destinations: Vec<DestinationView>,
}

pub(crate) async fn list(State(state): State<AppState>, ApiCaller(caller): ApiCaller) -> Answer<Json<Destinations>> {
    Ok(Json(Destinations { destinations: state.fleet.destinations(&caller.actor).await? }))
}

pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    JsonBody(input): JsonBody<DestinationInput>,
) -> Answer<(StatusCode, Json<DestinationView>)> {
    let id = state.fleet.create_destination(&caller.actor, input).await?;
    Ok((StatusCode::CREATED, Json(state.fleet.destination(&caller.actor, id).await?)))
}

pub(crate) async fn show(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DestinationId>,
) -> Answer<Json<DestinationView>> {
    Ok(Json(state.fleet.destination(&caller.actor, id).await?))
}

pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DestinationId>,
    JsonBody(input): JsonBody<DestinationInput>,
) -> Answer<Json<DestinationView>> {
    state.fleet.update_destination(&caller.actor, id, input).await?;
    Ok(Json(state.fleet.destination(&caller.actor, id).await?))
}

pub(crate) async fn delete(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    Id(id): Id<DestinationId>,
) -> Answer<StatusCode> {
    state.fleet.delete_destination(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
