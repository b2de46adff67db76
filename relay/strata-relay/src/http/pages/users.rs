//! Users and audit log, for admins.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use strata_fleet::{ErrorKind, FleetError, Role};
use strata_web::{Page, format};

use super::{Answer, Section, frame};
use crate::http::AppState;
use crate::http::caller::{Caller, PageCaller, Posted};
use crate::http::error::{PageError, html, see_other};
use crate::http::view::minute;

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage<'a> {
    page: Page,
    users: Vec<UserRow>,
    email: &'a str,
    role: &'a str,
    wrong: Option<String>,
}

struct UserRow {
    email: String,
    role: Role,
    since: String,
    last_login: String,
}

pub(crate) async fn users(State(state): State<AppState>, PageCaller(caller): PageCaller) -> Answer {
    users_page(&state, &caller, ("", "operator"), None).await
}

async fn users_page(
    state: &AppState,
    caller: &Caller,
    (email, role): (&str, &str),
    wrong: Option<String>,
) -> Result<Response, PageError> {
    let users = state.fleet.users(&caller.actor).await?;
    let rows = users.into_iter().map(|user| UserRow {
        email: user.email,
        role: user.role,
        since: minute(user.created_at),
        last_login: user.last_login_at.map_or_else(|| "never".into(), minute),
    });
    let page = frame(caller, Section::Users, "Users");
    Ok(html(&UsersPage { page, users: rows.collect(), email, role, wrong }))
}

pub(crate) async fn add(State(state): State<AppState>, Posted { caller, fields }: Posted) -> Answer {
    let (email, role) = (fields.get("email"), fields.get("role"));
    let password = SecretString::from(fields.untrimmed("password"));
    let added = match role.parse::<Role>() {
        Ok(role) => state.fleet.add_user(&caller.actor, email, &password, role).await,
        Err(error) => Err(FleetError::Invalid { message: error.to_string() }),
    };
    match added {
        Ok(_) => Ok(see_other("/users")),
        Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Conflict) => {
            let page = users_page(&state, &caller, (email, role), Some(error.to_string())).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    page: Page,
    entries: Vec<AuditRow>,
    older: Option<i64>,
}

struct AuditRow {
    at: String,
    who: String,
    what: String,
    on: String,
    detail: String,
    from: String,
}

#[derive(Deserialize)]
pub(crate) struct Before {
    before: Option<i64>,
}

pub(crate) async fn audit(
    State(state): State<AppState>,
    PageCaller(caller): PageCaller,
    before: Result<Query<Before>, QueryRejection>,
) -> Answer {
    let before = before.ok().and_then(|Query(query)| query.before);
    let entries = state.fleet.audit(&caller.actor, before).await?;
    let last = entries.last().map(|entry| entry.id);
    let older = match last {
        Some(last) if !state.fleet.audit(&caller.actor, Some(last)).await?.is_empty() => Some(last),
        _ => None,
    };
    let rows = entries.into_iter().map(|entry| AuditRow {
        at: minute(entry.at),
        who: entry.who,
        what: entry.action,
        on: entry.target,
        detail: entry.detail,
        from: entry.remote.unwrap_or_else(|| format::UNKNOWN.into()),
    });
    Ok(html(&AuditPage { page: frame(&caller, Section::Audit, "Audit log"), entries: rows.collect(), older }))
}
