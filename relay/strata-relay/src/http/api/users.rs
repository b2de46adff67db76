//! Users and audit log over REST, for admins.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use strata_fleet::{AuditView, Role, UserId, UserView};

use super::Answer;
use crate::http::AppState;
use crate::http::caller::ApiCaller;
use crate::http::error::Refusal;
use crate::http::fields::JsonBody;

#[derive(Serialize)]
pub(crate) struct Users {
    users: Vec<UserView>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    email: String,
    password: SecretString,
    role: Role,
}

#[derive(Serialize)]
pub(crate) struct Added {
    id: UserId,
}

#[derive(Deserialize)]
pub(crate) struct Before {
    before: Option<i64>,
}

#[derive(Serialize)]
pub(crate) struct Audit {
    entries: Vec<AuditView>,
}

pub(crate) async fn list(State(state): State<AppState>, ApiCaller(caller): ApiCaller) -> Answer<Json<Users>> {
    Ok(Json(Users { users: state.fleet.users(&caller.actor).await? }))
}

pub(crate) async fn add(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    JsonBody(new): JsonBody<NewUser>,
) -> Answer<(StatusCode, Json<Added>)> {
    let id = state.fleet.add_user(&caller.actor, &new.email, &new.password, new.role).await?;
    Ok((StatusCode::CREATED, Json(Added { id })))
}

pub(crate) async fn audit(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    before: Result<Query<Before>, axum::extract::rejection::QueryRejection>,
) -> Answer<Json<Audit>> {
    let Query(Before { before }) = before.map_err(|error| Refusal::invalid(error.body_text()))?;
    Ok(Json(Audit { entries: state.fleet.audit(&caller.actor, before).await? }))
}
