//! The one table of routes: the router is made from it, and so is the test that tries every route with a stranger.

use axum::Router;
use axum::routing::MethodRouter;

use super::{AppState, api, assets, hls, live, pages};

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everyone: it shows nothing of an owner.
    Public,
    /// Everyone who has the play key in the address: it is the permission.
    PlayKey,
    /// Who is logged in sees the own owner's objects; what is another owner's looks like what is not there.
    Owner,
}

/// A route of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteInfo {
    /// Its path; `{id}` stands for an identifier.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// Its methods, in lower case.
    pub methods: &'static [&'static str],
}

macro_rules! routes {
    ($($path:literal $access:ident { $($method:ident: $handler:path),+ $(,)? })+) => {
        /// Every route of the router.
        pub const ROUTES: &[RouteInfo] = &[$(
            RouteInfo { path: $path, access: Access::$access, methods: &[$(stringify!($method)),+] },
        )+];

        pub(super) fn build() -> Router<AppState> {
            Router::new()$(.route($path, MethodRouter::new()$(.$method($handler))+))+
        }
    };
}

routes! {
    "/assets/{name}" Public { get: assets::file }
    "/healthz" Public { get: api::monitor::healthz }
    "/readyz" Public { get: api::monitor::readyz }
    "/metrics" Public { get: api::monitor::metrics }
    "/api/openapi.json" Public { get: api::openapi::document }

    "/login" Public { get: pages::login::form, post: pages::login::submit }
    "/logout" Public { post: pages::login::logout }
    "/" Owner { get: pages::fleet::show }
    "/devices" Owner { post: pages::fleet::create }
    "/devices/new" Owner { get: pages::fleet::new }
    "/devices/{id}" Owner { get: pages::device::show }
    "/devices/{id}/rename" Owner { post: pages::device::rename }
    "/devices/{id}/token" Owner { post: pages::device::token }
    "/devices/{id}/revoke" Owner { post: pages::device::revoke }
    "/devices/{id}/delete" Owner { post: pages::device::delete }
    "/devices/{id}/update" Owner { post: pages::maintenance::update }
    "/devices/{id}/rollback" Owner { post: pages::maintenance::roll_back }
    "/devices/{id}/reboot" Owner { post: pages::maintenance::reboot }
    "/devices/{id}/reset" Owner { post: pages::maintenance::reset }
    "/devices/{id}/log" Owner { post: pages::maintenance::log }
    "/devices/{id}/live" Owner { get: pages::go_live::form, post: pages::go_live::submit }
    "/streams" Owner { get: pages::stream::list }
    "/streams/{id}" Owner { get: pages::stream::show }
    "/streams/{id}/stop" Owner { post: pages::stream::stop }
    "/streams/{id}/source" Owner { post: pages::stream::switch_source }
    "/destinations" Owner { get: pages::destinations::list, post: pages::destinations::create }
    "/destinations/{id}" Owner { get: pages::destinations::show, post: pages::destinations::update }
    "/destinations/{id}/delete" Owner { post: pages::destinations::delete }
    "/users" Owner { get: pages::users::users, post: pages::users::add }
    "/audit" Owner { get: pages::users::audit }

    "/api/auth/login" Public { post: api::auth::login }
    "/api/auth/refresh" Public { post: api::auth::refresh }
    "/api/auth/logout" Public { post: api::auth::logout }
    "/api/devices" Owner { get: api::devices::list, post: api::devices::create }
    "/api/devices/{id}" Owner { get: api::devices::show, delete: api::devices::delete }
    "/api/devices/{id}/status" Owner { get: api::devices::status }
    "/api/devices/{id}/stats" Owner { get: api::devices::stats }
    "/api/devices/{id}/token" Owner { post: api::devices::token }
    "/api/devices/{id}/revoke" Owner { post: api::devices::revoke }
    "/api/devices/{id}/update" Owner { post: api::maintenance::update }
    "/api/devices/{id}/updates" Owner { get: api::maintenance::updates }
    "/api/devices/{id}/rollback" Owner { post: api::maintenance::roll_back }
    "/api/devices/{id}/reboot" Owner { post: api::maintenance::reboot }
    "/api/devices/{id}/reset" Owner { post: api::maintenance::reset }
    "/api/devices/{id}/logs" Owner { post: api::maintenance::logs }
    "/api/devices/{id}/stream/start" Owner { post: api::devices::start }
    "/api/devices/{id}/stream/stop" Owner { post: api::devices::stop }
    "/api/streams" Owner { get: api::streams::list }
    "/api/streams/{id}" Owner { get: api::streams::show, patch: api::streams::update }
    "/api/streams/{id}/stop" Owner { post: api::streams::stop }
    "/api/streams/{id}/source" Owner { post: api::streams::source }
    "/api/streams/{id}/events" Owner { get: api::streams::events }
    "/api/streams/{id}/history" Owner { get: api::streams::history }
    "/api/destinations" Owner { get: api::destinations::list, post: api::destinations::create }
    "/api/destinations/{id}" Owner {
        get: api::destinations::show,
        put: api::destinations::update,
        delete: api::destinations::delete,
    }
    "/api/users" Owner { get: api::users::list, post: api::users::add }
    "/api/audit" Owner { get: api::users::audit }
    "/api/ws" Owner { get: live::socket::upgrade }

    "/play/{key}" PlayKey { get: hls::page }
    "/play/{key}/state" PlayKey { get: hls::state }
    "/hls/{key}/{file}" PlayKey { get: hls::file }
}
