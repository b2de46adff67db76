//! Tokens for programs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use strata_fleet::ApiTokens;

use super::Answer;
use crate::http::AppState;
use crate::http::caller::Remote;
use crate::http::fields::JsonBody;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    email: String,
    password: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    refresh_token: SecretString,
}

#[derive(Serialize)]
pub(crate) struct Tokens {
    access_token: String,
    access_expires_at: Timestamp,
    refresh_token: String,
    refresh_expires_at: Timestamp,
    token_type: &'static str,
}

impl From<ApiTokens> for Tokens {
    fn from(tokens: ApiTokens) -> Self {
        Self {
            access_token: tokens.access_token.expose_secret().to_owned(),
            access_expires_at: tokens.access_expires_at,
            refresh_token: tokens.refresh_token.expose_secret().to_owned(),
            refresh_expires_at: tokens.refresh_expires_at,
            token_type: "Bearer",
        }
    }
}

pub(crate) async fn login(
    State(state): State<AppState>,
    remote: Remote,
    JsonBody(login): JsonBody<Login>,
) -> Answer<Json<Tokens>> {
    let tokens = state.fleet.api_login(&login.email, &login.password, remote.0).await?;
    Ok(Json(tokens.into()))
}

pub(crate) async fn refresh(
    State(state): State<AppState>,
    remote: Remote,
    JsonBody(refresh): JsonBody<Refresh>,
) -> Answer<Json<Tokens>> {
    let tokens = state.fleet.api_refresh(refresh.refresh_token.expose_secret(), remote.0).await?;
    Ok(Json(tokens.into()))
}

pub(crate) async fn logout(
    State(state): State<AppState>,
    remote: Remote,
    JsonBody(refresh): JsonBody<Refresh>,
) -> Answer<StatusCode> {
    state.fleet.api_logout(refresh.refresh_token.expose_secret(), remote.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
