//! Who makes a request: by session cookie or access token, and the proof that a cookie's owner meant it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, OriginalUri, Request};
use axum::http::header::{AUTHORIZATION, HeaderName, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum_extra::extract::CookieJar;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use sha2::{Digest, Sha256};
use strata_fleet::{Actor, SessionCookie};
use subtle::ConstantTimeEq;

use super::error::{ApiError, PageError, Refusal, see_other};
use super::fields::Fields;
use super::{AppState, HttpSettings};

/// What scripts send the CSRF token in.
pub(super) const CSRF_HEADER: &str = "x-csrf-token";
/// Separates the CSRF token from whatever else could be derived of a session.
const CSRF_CONTEXT: &str = "strata csrf v1";
/// How long a login form may lie open, in seconds.
const LOGIN_FORM_S: i64 = 24 * 3600;

/// A cookie on its way to the browser.
pub(super) type SetCookie = AppendHeaders<[(HeaderName, String); 1]>;

/// Where a request came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remote(pub(super) Option<IpAddr>);

impl Remote {
    pub(super) fn of(parts: &Parts, settings: &HttpSettings) -> Self {
        if settings.trust_forwarded
            && let Some(address) = forwarded(&parts.headers)
        {
            return Self(Some(address));
        }
        Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical()))
    }

    /// Whether it is a program on this machine that no proxy stands before.
    pub(super) fn is_this_machine(self, headers: &HeaderMap) -> bool {
        let proxied = ["x-forwarded-for", "forwarded", "x-real-ip"].iter().any(|name| headers.contains_key(*name));
        !proxied && self.0.is_some_and(|address| address.is_loopback())
    }
}

/// The address that the nearest proxy saw; those before it are whatever the client claimed.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

impl FromRequestParts<AppState> for Remote {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts, &state.settings))
    }
}

/// Who asks, and how it was proved.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) proof: Proof,
}

/// What the request carried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// A browser's cookie: sent along with whatever request another site provokes, so it needs the CSRF token too.
    Cookie(String),
    /// An access token, which no browser adds by itself.
    Bearer(String),
}

impl Caller {
    pub(super) async fn find(parts: &Parts, state: &AppState) -> Result<Option<Self>, Refusal> {
        let remote = Remote::of(parts, &state.settings).0;
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let Some(token) = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")) else {
                return Ok(None);
            };
            let actor = state.fleet.api_actor(token, remote).await?;
            return Ok(actor.map(|actor| Self { actor, proof: Proof::Bearer(token.to_owned()) }));
        }
        let Some(token) = session_cookie(&parts.headers, &state.settings) else { return Ok(None) };
        let actor = state.fleet.session(&token, remote).await?;
        Ok(actor.map(|actor| Self { actor, proof: Proof::Cookie(token) }))
    }

    /// The token for this caller's forms.
    pub(super) fn csrf(&self) -> String {
        match &self.proof {
            Proof::Cookie(token) => csrf_of(token),
            Proof::Bearer(_) => String::new(),
        }
    }
}

/// The CSRF token of a session: known to whoever knows the session, derivable by nobody else, stored nowhere.
pub(super) fn csrf_of(session: &str) -> String {
    hex::encode(Sha256::new().chain_update(CSRF_CONTEXT).chain_update([0]).chain_update(session).finalize())
}

pub(super) fn csrf_fits(session: &str, presented: &str) -> bool {
    csrf_of(session).as_bytes().ct_eq(presented.as_bytes()).into()
}

/// A page's caller; who is not logged in is sent to the login and back.
pub(super) struct PageCaller(pub(super) Caller);

impl FromRequestParts<AppState> for PageCaller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        match Caller::find(parts, state).await {
            Ok(Some(caller)) => Ok(Self(caller)),
            Ok(None) => Err(see_other(&login_address(parts))),
            Err(refusal) => Err(PageError(refusal).into_response()),
        }
    }
}

fn login_address(parts: &Parts) -> String {
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    if parts.method != Method::GET || uri.path() == "/" {
        return "/login".to_owned();
    }
    format!("/login?next={}", uri.path())
}

/// A REST caller; one with a cookie that changes something must show the CSRF token.
pub(super) struct ApiCaller(pub(super) Caller);

impl FromRequestParts<AppState> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::find(parts, state).await?.ok_or_else(Refusal::not_logged_in)?;
        if let Proof::Cookie(session) = &caller.proof
            && !matches!(parts.method, Method::GET | Method::HEAD)
        {
            let presented = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !csrf_fits(session, presented) {
                return Err(Refusal::forged().into());
            }
        }
        Ok(Self(caller))
    }
}

/// A form that a logged-in person sent from one of our pages.
pub(super) struct Posted {
    pub(super) caller: Caller,
    pub(super) fields: Fields,
}

impl FromRequest<AppState> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let PageCaller(caller) = PageCaller::from_request_parts(&mut parts, state).await?;
        let fields = Fields::from_request(Request::from_parts(parts, body), state).await?;
        let meant = match &caller.proof {
            Proof::Cookie(session) => csrf_fits(session, fields.get("csrf")),
            Proof::Bearer(_) => true,
        };
        if meant { Ok(Self { caller, fields }) } else { Err(PageError(Refusal::forged()).into_response()) }
    }
}

/// The cookie's name: the `__Host-` prefix makes browsers refuse it without TLS or from another host.
fn cookie_name(settings: &HttpSettings) -> &'static str {
    if settings.tls { "__Host-strata" } else { "strata" }
}

fn login_cookie_name(settings: &HttpSettings) -> &'static str {
    if settings.tls { "__Host-strata-login" } else { "strata-login" }
}

fn set_cookie(name: &str, value: &str, max_age_s: i64, settings: &HttpSettings) -> SetCookie {
    let secure = if settings.tls { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}");
    AppendHeaders([(SET_COOKIE, text)])
}

pub(super) fn session_cookie(headers: &HeaderMap, settings: &HttpSettings) -> Option<String> {
    CookieJar::from_headers(headers).get(cookie_name(settings)).map(|cookie| cookie.value().to_owned())
}

/// The cookie that ties a login form to the browser that asked for it.
pub(super) fn login_cookie(headers: &HeaderMap, settings: &HttpSettings) -> Option<String> {
    CookieJar::from_headers(headers).get(login_cookie_name(settings)).map(|cookie| cookie.value().to_owned())
}

pub(super) fn new_login_cookie(value: &str, settings: &HttpSettings) -> SetCookie {
    set_cookie(login_cookie_name(settings), value, LOGIN_FORM_S, settings)
}

pub(super) fn new_session_cookie(session: &SessionCookie, settings: &HttpSettings) -> SetCookie {
    let life = session.expires_at.as_second() - Timestamp::now().as_second();
    set_cookie(cookie_name(settings), session.token.expose_secret(), life.max(0), settings)
}

pub(super) fn no_session_cookie(settings: &HttpSettings) -> SetCookie {
    set_cookie(cookie_name(settings), "", 0, settings)
}
