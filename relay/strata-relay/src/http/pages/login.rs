//! Login and logout.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use strata_web::Page;

use super::Answer;
use crate::http::AppState;
use crate::http::caller::{
    Remote, SetCookie, csrf_fits, csrf_of, login_cookie, new_login_cookie, new_session_cookie, no_session_cookie,
    session_cookie,
};
use crate::http::error::{PageError, Refusal, html, see_other};
use crate::http::fields::Fields;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    page: Page,
    email: &'a str,
    next: &'a str,
    wrong: Option<&'a str>,
}

#[derive(Deserialize)]
pub(crate) struct Next {
    #[serde(default)]
    next: String,
}

pub(crate) async fn form(
    State(state): State<AppState>,
    headers: HeaderMap,
    next: Result<Query<Next>, QueryRejection>,
) -> Answer {
    let next = next.map(|Query(next)| next.next).unwrap_or_default();
    let (ticket, cookie) = ticket(&headers, &state)?;
    Ok((cookie, page(&ticket, "", own_path(&next), None)).into_response())
}

/// The secret behind this browser's login forms: several tabs share one.
fn ticket(headers: &HeaderMap, state: &AppState) -> Result<(String, SetCookie), Refusal> {
    let ticket = match login_cookie(headers, &state.settings) {
        Some(known) if known.len() == 32 && known.bytes().all(|byte| byte.is_ascii_hexdigit()) => known,
        _ => {
            let mut random = [0u8; 16];
            getrandom::fill(&mut random)
                .map_err(|error| Refusal::internal(format!("the system gives no random numbers: {error}")))?;
            hex::encode(random)
        }
    };
    let cookie = new_login_cookie(&ticket, &state.settings);
    Ok((ticket, cookie))
}

fn page(ticket: &str, email: &str, next: &str, wrong: Option<&str>) -> Response {
    let page = Page { title: "Log in".to_owned(), csrf: csrf_of(ticket), ..Page::default() };
    html(&LoginPage { page, email, next, wrong })
}

/// Where to go after the login: a page of ours or the fleet, never another site.
fn own_path(next: &str) -> &str {
    let own = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if own { next } else { "/" }
}

pub(crate) async fn submit(
    State(state): State<AppState>,
    remote: Remote,
    headers: HeaderMap,
    fields: Fields,
) -> Response {
    let next = own_path(fields.get("next"));
    let email = fields.get("email");
    let (ticket, cookie) = match ticket(&headers, &state) {
        Ok(found) => found,
        Err(refusal) => return PageError(refusal).into_response(),
    };
    if !csrf_fits(&ticket, fields.get("csrf")) {
        let wrong = "This form was too old, or the browser keeps no cookies. Try once more.";
        return (StatusCode::FORBIDDEN, cookie, page(&ticket, email, next, Some(wrong))).into_response();
    }
    let password = SecretString::from(fields.untrimmed("password"));
    match state.fleet.login(email, &password, remote.0).await {
        Ok(session) => (new_session_cookie(&session, &state.settings), see_other(next)).into_response(),
        Err(error) => {
            let refusal = Refusal::from(error);
            let wrong = sentence(refusal.message());
            let status = refusal.status();
            (status, cookie, page(&ticket, email, next, Some(&wrong))).into_response()
        }
    }
}

fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

pub(crate) async fn logout(
    State(state): State<AppState>,
    remote: Remote,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, PageError> {
    if let Some(session) = session_cookie(&headers, &state.settings) {
        if !csrf_fits(&session, fields.get("csrf")) {
            return Err(Refusal::forged().into());
        }
        state.fleet.logout(&session, remote.0).await?;
    }
    Ok((no_session_cookie(&state.settings), see_other("/login")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (next, expected) in [
            ("/devices/1", "/devices/1"),
            ("", "/"),
            ("https://evil.example", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/a\r\nset-cookie: x", "/"),
        ] {
            assert_eq!(own_path(next), expected, "{next:?}");
        }
    }
}
