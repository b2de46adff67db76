//! Refusals: one table from failure to status and code, shown as page or JSON.

use askama::Template;
use axum::Json;
use axum::extract::OriginalUri;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};
use strata_fleet::{ErrorKind, FleetError};
use strata_web::Page;

/// A request that was refused or failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_s: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }

    pub(super) fn not_logged_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_logged_in", "log in first: this needs a session or an access token")
    }

    pub(super) fn forged() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "csrf",
            "the request does not carry this session's CSRF token: load the page again, then repeat",
        )
    }

    pub(super) fn wrong_origin(said: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "wrong_origin", format!("requests from {said} are not accepted here"))
    }

    pub(super) fn wrong_host(host: &str) -> Self {
        let message = format!("this relay does not answer for the host {host:?}: add it to its allowed hosts");
        Self::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the request's body is over 64 KiB")
    }

    pub(super) fn timeout(seconds: u64) -> Self {
        let message = format!("the request was not complete and answered within {seconds} s: send it again");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn into_body(self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }

    pub(super) fn into_json(self) -> Response {
        let body = Json(self.clone().into_body());
        self.with_headers((self.status, body).into_response())
    }

    pub(super) fn into_page(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Refused").to_owned();
        let page = Page { title: title.clone(), ..Page::default() };
        let body = ErrorPage { page: &page, title: &title, message: &self.message };
        self.with_headers((self.status, html(&body)).into_response())
    }

    fn with_headers(&self, mut response: Response) -> Response {
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The one table from the fleet's failures to what HTTP says.
impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            ErrorKind::TooManyAttempts => (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"),
            ErrorKind::Device => (StatusCode::CONFLICT, device_code(&error)),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let retry_after_s = match &error {
            FleetError::TooManyAttempts { retry_after } => Some(retry_after.as_secs().max(1)),
            _ => None,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
        }
        Self { status, code, message: error.to_string(), retry_after_s }
    }
}

fn device_code(error: &FleetError) -> &'static str {
    match error {
        FleetError::DeviceOffline { .. } => "device_offline",
        FleetError::DeviceSilent { .. } => "device_silent",
        _ => "device_refused",
    }
}

/// A refusal of the REST API: `{"error":{"code","message"}}`.
#[derive(Debug)]
pub(super) struct ApiError(pub(super) Refusal);

/// A refusal of a page: a page that says it; who is not logged in is sent to the login.
#[derive(Debug)]
pub(super) struct PageError(pub(super) Refusal);

impl<E: Into<Refusal>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<E: Into<Refusal>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.0.into_json()
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        self.0.into_page()
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    page: &'a Page,
    title: &'a str,
    message: &'a str,
}

/// Renders a template. The templates write to memory, so only a faulty `Display` could fail.
pub(super) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered; the relay's log says why")
                .into_response()
        }
    }
}

/// Sends the browser on after a form was accepted.
pub(super) fn see_other(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => Refusal::internal("the next page's address cannot be written").into_page(),
    }
}

/// Page or JSON, by where the request went.
pub(super) fn refuse(path: &str, refusal: Refusal) -> Response {
    if path.starts_with("/api/") { refusal.into_json() } else { refusal.into_page() }
}

pub(super) async fn no_such_page(OriginalUri(uri): OriginalUri) -> Response {
    refuse(uri.path(), Refusal::not_found("page"))
}

pub(super) async fn wrong_method(OriginalUri(uri): OriginalUri) -> Response {
    let refusal =
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this address does not take that method");
    refuse(uri.path(), refusal)
}
