//! Destinations: where streams go besides the relay's own player. Keys are written, never read.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use strata_fleet::{DestinationId, DestinationInput, DestinationView, ErrorKind, FleetError, Role};
use strata_web::Page;

use super::{Answer, Section, frame, may_operate, need};
use crate::http::AppState;
use crate::http::caller::{Caller, PageCaller, Posted};
use crate::http::error::{PageError, html, see_other};
use crate::http::fields::{Fields, Id};

#[derive(Template)]
#[template(path = "destinations.html")]
struct ListPage {
    page: Page,
    destinations: Vec<Row>,
    form: Form,
    may_operate: bool,
}

#[derive(Template)]
#[template(path = "destination.html")]
struct OnePage {
    page: Page,
    form: Form,
}

struct Row {
    id: String,
    name: String,
    url: String,
    key: &'static str,
}

struct Form {
    action: String,
    name: String,
    url: String,
    key_hint: &'static str,
    submit: &'static str,
    wrong: Option<String>,
}

impl Form {
    fn add() -> Self {
        Self {
            action: "/destinations".to_owned(),
            name: String::new(),
            url: String::new(),
            key_hint: "Stored encrypted, shown to nobody.",
            submit: "Add",
            wrong: None,
        }
    }

    fn change(destination: &DestinationView) -> Self {
        let key_hint = if destination.has_key {
            "One is stored and shown to nobody. Leave this empty to keep it."
        } else {
            "None is stored. It will be kept encrypted and shown to nobody."
        };
        Self {
            action: format!("/destinations/{}", destination.id),
            name: destination.name.clone(),
            url: destination.url.clone(),
            key_hint,
            submit: "Save",
            wrong: None,
        }
    }

    fn again(self, fields: &Fields, error: &FleetError) -> Self {
        Self {
            name: fields.get("name").to_owned(),
            url: fields.get("url").to_owned(),
            wrong: Some(error.to_string()),
            ..self
        }
    }
}

/// An empty key field keeps the stored key: the form cannot show it to be sent back.
fn input(fields: &Fields) -> DestinationInput {
    let key = fields.get("key");
    DestinationInput {
        name: fields.get("name").to_owned(),
        url: fields.get("url").to_owned(),
        key: (!key.is_empty()).then(|| SecretString::from(key)),
    }
}

fn is_the_forms_fault(error: &FleetError) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Conflict)
}

pub(crate) async fn list(State(state): State<AppState>, PageCaller(caller): PageCaller) -> Answer {
    list_page(&state, &caller, Form::add()).await
}

async fn list_page(state: &AppState, caller: &Caller, form: Form) -> Result<Response, PageError> {
    let destinations = state.fleet.destinations(&caller.actor).await?;
    let rows = destinations.into_iter().map(|destination| Row {
        id: destination.id.to_string(),
        name: destination.name,
        url: destination.url,
        key: if destination.has_key { "stored" } else { "none" },
    });
    Ok(html(&ListPage {
        page: frame(caller, Section::Destinations, "Destinations"),
        destinations: rows.collect(),
        form,
        may_operate: may_operate(caller),
    }))
}

pub(crate) async fn create(State(state): State<AppState>, Posted { caller, fields }: Posted) -> Answer {
    match state.fleet.create_destination(&caller.actor, input(&fields)).await {
        Ok(_) => Ok(see_other("/destinations")),
        Err(error) if is_the_forms_fault(&error) => {
            let page = list_page(&state, &caller, Form::add().again(&fields, &error)).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn show(
    State(state): State<AppState>,
    PageCaller(caller): PageCaller,
    Id(id): Id<DestinationId>,
) -> Answer {
    let destination = state.fleet.destination(&caller.actor, id).await?;
    need(&caller, Role::Operator)?;
    Ok(one_page(&caller, Form::change(&destination)))
}

fn one_page(caller: &Caller, form: Form) -> Response {
    html(&OnePage { page: frame(caller, Section::Destinations, form.name.clone()), form })
}

pub(crate) async fn update(
    State(state): State<AppState>,
    Id(id): Id<DestinationId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    match state.fleet.update_destination(&caller.actor, id, input(&fields)).await {
        Ok(()) => Ok(see_other("/destinations")),
        Err(error) if is_the_forms_fault(&error) => {
            let destination = state.fleet.destination(&caller.actor, id).await?;
            let page = one_page(&caller, Form::change(&destination).again(&fields, &error));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn delete(
    State(state): State<AppState>,
    Id(id): Id<DestinationId>,
    Posted { caller, .. }: Posted,
) -> Answer {
    state.fleet.delete_destination(&caller.actor, id).await?;
    Ok(see_other("/destinations"))
}
