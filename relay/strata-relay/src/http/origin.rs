//! Requests that another site makes in a user's browser are refused before any handler sees them.

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::AppState;
use super::error::{Refusal, refuse};

pub(super) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let allowed = &state.settings.allowed_hosts;
    match refusal(request.method(), request.uri(), request.headers(), allowed) {
        Some(refusal) => refuse(request.uri().path(), refusal),
        None => next.run(request).await,
    }
}

/// The host with port that the request is for (HTTP/2 has it in the URI).
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority().map(|authority| authority.as_str()).or_else(|| headers.get(HOST)?.to_str().ok())
}

fn refusal(method: &Method, uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> Option<Refusal> {
    let host = host(uri, headers).unwrap_or_default();
    if !allowed.is_empty() && !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(without_port(host))) {
        return Some(Refusal::wrong_host(host));
    }
    // A WebSocket is opened by GET, needs no preflight and carries the cookie: it is checked like a post.
    let harmless = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && uri.path() != "/api/ws";
    if harmless {
        return None;
    }
    let origin = headers.get(ORIGIN)?;
    let said = origin.to_str().unwrap_or("an unreadable origin");
    let same = said.split_once("://").is_some_and(|(_, origin_host)| origin_host.eq_ignore_ascii_case(host));
    (!same).then(|| Refusal::wrong_origin(said))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(method: Method, path: &str, pairs: &[(&'static str, &str)], allowed: &[&str]) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let allowed: Vec<String> = allowed.iter().map(|&host| host.to_owned()).collect();
        refusal(&method, &path.parse().unwrap(), &headers, &allowed).map(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn a_post_from_another_site_is_refused_and_a_programs_is_not() {
        let host = ("host", "relay.example:8443");
        let own = ("origin", "https://relay.example:8443");
        let other = ("origin", "https://evil.example");
        assert_eq!(outcome(Method::POST, "/login", &[host], &[]), None);
        assert_eq!(outcome(Method::POST, "/login", &[host, own], &[]), None);
        assert_eq!(outcome(Method::POST, "/login", &[host, other], &[]), Some(403));
        assert_eq!(outcome(Method::POST, "/login", &[host, ("origin", "null")], &[]), Some(403));
        assert_eq!(outcome(Method::GET, "/", &[host, other], &[]), None);
    }

    #[test]
    fn a_websocket_is_checked_although_it_is_a_get() {
        let host = ("host", "relay.example");
        assert_eq!(outcome(Method::GET, "/api/ws", &[host, ("origin", "https://evil.example")], &[]), Some(403));
        assert_eq!(outcome(Method::GET, "/api/ws", &[host, ("origin", "https://relay.example")], &[]), None);
    }

    #[test]
    fn only_the_allowed_hosts_are_answered() {
        let allowed = ["relay.example", "[::1]"];
        for (host, expected) in
            [("relay.example", None), ("RELAY.example:8443", None), ("[::1]:80", None), ("10.0.0.1", Some(421))]
        {
            assert_eq!(outcome(Method::GET, "/", &[("host", host)], &allowed), expected, "{host}");
        }
    }
}
