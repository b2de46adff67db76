//! REST: thin handlers from JSON to the fleet and back. The document is `docs/relay/openapi.json`.

pub(super) mod auth;
pub(super) mod destinations;
pub(super) mod devices;
pub(super) mod maintenance;
pub(super) mod monitor;
pub(super) mod openapi;
pub(super) mod streams;
pub(super) mod users;

use super::error::ApiError;

/// What a REST handler answers.
type Answer<T> = Result<T, ApiError>;
