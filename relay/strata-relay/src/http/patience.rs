//! How much of a request, and how long, the relay waits for.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::Response;

use super::MAX_BODY_BYTES;
use super::error::{Refusal, refuse};

/// How long a request may take until its answer begins, its own body included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Refuses a body that says it is too large before any of it is read, and a request that does not come to its end.
pub(super) async fn limit(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if declared(&request).is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return refuse(&path, Refusal::too_large());
    }
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(&path, Refusal::timeout(ANSWER_WITHIN.as_secs())),
    }
}

fn declared(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
