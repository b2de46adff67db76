//! What a request's body holds: a form's fields, or JSON; each refusal says what is wrong with it.

use axum::Form;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, FormRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use std::str::FromStr;

use super::AppState;
use super::error::{ApiError, PageError, Refusal, refuse};

/// A form's fields in their order; a name may come more than once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The field's text without the spaces around it; empty when it was not sent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.untrimmed(name).trim()
    }

    /// The field's text as it was typed: spaces belong to a password.
    pub(super) fn untrimmed(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.trim())
    }
}

impl FromRequest<AppState> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        match Form::<Vec<(String, String)>>::from_request(request, state).await {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(FormRejection::BytesRejection(rejection)) => Err(PageError(unread(&rejection)).into_response()),
            Err(_) => {
                let refusal = Refusal::bad_request("the body is not a form (application/x-www-form-urlencoded)");
                Err(PageError(refusal).into_response())
            }
        }
    }
}

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| ApiError(unread(&rejection)))?;
        Ok(Self(read_json(&body)?))
    }
}

/// A JSON body that may be left away.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| ApiError(unread(&rejection)))?;
        if body.is_empty() { Ok(Self(T::default())) } else { Ok(Self(read_json(&body)?)) }
    }
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Refusal::invalid(format!("the body does not fit: {error}"))
        } else {
            Refusal::bad_request(format!("the body is not JSON: {error}"))
        }
    })
}

fn unread(rejection: &BytesRejection) -> Refusal {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Refusal::too_large(),
        _ => Refusal::bad_request("the request's body broke off"),
    }
}

/// The identifier in the path. A text that is none is as unknown as one that nobody has.
pub(super) struct Id<T>(pub(super) T);

impl<T: FromStr> FromRequestParts<AppState> for Id<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text);
        let id = text.ok().and_then(|text| text.parse().ok());
        id.map(Self).ok_or_else(|| {
            let path = parts.uri.path();
            let what =
                ["device", "stream", "destination"].into_iter().find(|what| path.contains(&format!("/{what}s/")));
            refuse(path, Refusal::not_found(what.unwrap_or("page")))
        })
    }
}
