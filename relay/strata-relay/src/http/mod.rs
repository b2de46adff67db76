//! Everything the relay says over HTTP: pages, REST, the pages' WebSocket, players and HLS.
//!
//! Owns the routes (one table, [`ROUTES`]), who may use each, the forms'
//! checks, the pages' words, and the headers that keep browsers safe. Builds on
//! [`strata_fleet::Fleet`], which scopes everything by owner. Does not own:
//! the agents' socket, listening, TLS.

mod api;
mod assets;
mod caller;
mod error;
mod fields;
mod hls;
mod live;
mod origin;
mod pages;
mod patience;
mod routes;
mod security;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use strata_fleet::Fleet;

pub use routes::{Access, ROUTES, RouteInfo};

/// The largest body of a request: forms and JSON are small.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the pages need to know about where they are served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpSettings {
    /// The relay's address for people and devices (`https://relay.example`), shown with enrolment tokens;
    /// none shows the address that the browser used.
    pub public_url: Option<String>,
    /// Whether browsers reach the relay over TLS: cookies are `Secure` then, and browsers are told to insist on it.
    pub tls: bool,
    /// Host names that requests may be for; empty allows any.
    pub allowed_hosts: Vec<String>,
    /// Whether the client's address is the last one in `X-Forwarded-For`: only behind a proxy of one's own.
    pub trust_forwarded: bool,
}

/// What every handler gets.
#[derive(Clone)]
pub struct AppState {
    /// The application under the pages.
    pub fleet: Fleet,
    /// Where the pages are served.
    pub settings: Arc<HttpSettings>,
}

impl AppState {
    /// Puts both together.
    #[must_use]
    pub fn new(fleet: Fleet, settings: HttpSettings) -> Self {
        Self { fleet, settings: Arc::new(settings) }
    }
}

/// All routes with the checks around them. Serve it with
/// [`connect info`](axum::Router::into_make_service_with_connect_info) of `SocketAddr`.
pub fn router(state: AppState) -> Router {
    routes::build()
        .fallback(error::no_such_page)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(patience::limit))
        .layer(middleware::from_fn_with_state(state.clone(), origin::check))
        .layer(middleware::from_fn_with_state(state.clone(), security::headers))
        .with_state(state)
}
