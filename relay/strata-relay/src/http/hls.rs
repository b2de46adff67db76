//! The public side of a stream: player page, its state, playlist and segments. The play key is the permission.

use std::path::PathBuf;

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use strata_fleet::PlayTarget;
use strata_web::Page;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::AppState;
use super::error::{ApiError, PageError, Refusal, html};
use super::view::stream::{Player, phase};
use super::view::words;

const PLAYLIST: &str = "index.m3u8";
const SEGMENT_SUFFIX: &str = ".ts";
const PLAYLIST_MIME: &str = "application/vnd.apple.mpegurl";
const SEGMENT_MIME: &str = "video/mp2t";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Longer names are no worker's.
const MAX_SEGMENT_NAME: usize = 64;
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

async fn target(state: &AppState, key: &str) -> Result<PlayTarget, Refusal> {
    // Whatever could not be a key is not worth a question to the database.
    let plausible = !key.is_empty()
        && key.len() <= 128
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !plausible {
        return Err(Refusal::not_found("stream"));
    }
    state.fleet.play(key).await?.ok_or_else(|| Refusal::not_found("stream"))
}

#[derive(Template)]
#[template(path = "play.html")]
struct PlayPage<'a> {
    page: &'a Page,
    player: Player,
}

pub(super) async fn page(State(state): State<AppState>, Path(key): Path<String>) -> Result<Response, PageError> {
    let target = target(&state, &key).await?;
    let phase = phase(target.state, target.stalled);
    let player = Player::new(&key, &target.device_name, phase, target.reason, target.is_test_pattern);
    Ok(html(&PlayPage { page: &Page::default(), player }))
}

/// What the player's script asks every few seconds.
#[derive(Serialize)]
pub(super) struct PlayState {
    /// `starting`, `live`, `stalled` or `ended`.
    phase: &'static str,
    /// Why it ended, in words for everybody.
    reason: Option<&'static str>,
    test_pattern: bool,
    /// Whether there is a playlist to open.
    playable: bool,
}

pub(super) async fn state(State(state): State<AppState>, Path(key): Path<String>) -> Result<Json<PlayState>, ApiError> {
    let target = target(&state, &key).await?;
    let playable = tokio::fs::try_exists(target.hls_folder.join(PLAYLIST)).await.unwrap_or(false);
    Ok(Json(PlayState {
        playable,
        phase: phase(target.state, target.stalled),
        reason: target.reason.map(words::end_reason),
        test_pattern: target.is_test_pattern,
    }))
}

pub(super) async fn file(
    State(state): State<AppState>,
    Path((key, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let mut response = match find(&state, &key, &name).await {
        Ok(file) => serve(file, &name, request).await,
        Err(refusal) => refusal.into_json(),
    };
    // Players on other sites may fetch it: the address itself is the permission, no cookie is looked at.
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    response
}

async fn find(state: &AppState, key: &str, name: &str) -> Result<PathBuf, Refusal> {
    if name != PLAYLIST && !is_segment(name) {
        return Err(Refusal::not_found("file"));
    }
    Ok(target(state, key).await?.hls_folder.join(name))
}

/// Letters, digits, `-` and `_` before `.ts`: nothing that could name another folder.
fn is_segment(name: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.len() <= MAX_SEGMENT_NAME
        && name.strip_suffix(SEGMENT_SUFFIX).is_some_and(|stem| !stem.is_empty() && stem.bytes().all(harmless))
}

async fn serve(file: PathBuf, name: &str, request: Request) -> Response {
    let mut response = match ServeFile::new(&file).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    if response.status() == StatusCode::NOT_FOUND {
        return Refusal::not_found("file").into_json();
    }
    let (mime, caching) = if name == PLAYLIST { (PLAYLIST_MIME, "no-cache") } else { (SEGMENT_MIME, FOR_EVER) };
    if response.status().is_success() {
        set(response.headers_mut(), CONTENT_TYPE, mime);
        set(response.headers_mut(), CACHE_CONTROL, caching);
    }
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_worker_writes_are_served() {
        for name in ["seg-000001.ts", "segment_1_00042.ts", "1.ts"] {
            assert!(is_segment(name), "{name}");
        }
        for name in ["", ".ts", "..ts", "../x.ts", "a/b.ts", "a\\b.ts", "x.ts.part", "x.m3u8", ".x.ts", "x.ts/", "ä.ts"]
        {
            assert!(!is_segment(name), "{name}");
        }
        assert!(!is_segment(&format!("{}.ts", "a".repeat(70))));
    }
}
