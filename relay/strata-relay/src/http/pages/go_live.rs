//! Going live: source, destinations, settings.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use strata_control::DeviceId;
use strata_fleet::{DestinationView, DeviceView, ErrorKind, Role};
use strata_web::Page;

use super::{Answer, Section, frame, need};
use crate::http::AppState;
use crate::http::caller::{Caller, PageCaller, Posted};
use crate::http::error::{PageError, html, see_other};
use crate::http::fields::{Fields, Id};
use crate::http::view::device::Device;
use crate::http::view::go_live::{GoLiveForm, SourceGroup, Wrong, read, sources};
use crate::http::view::minute;

#[derive(Template)]
#[template(path = "go_live.html")]
pub(super) struct GoLivePage {
    pub(super) page: Page,
    pub(super) device: Device,
    pub(super) cannot: Option<String>,
    pub(super) sources: Vec<SourceGroup>,
    pub(super) destinations: Vec<DestinationChoice>,
    pub(super) form: GoLiveForm,
}

pub(super) struct DestinationChoice {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) chosen: bool,
}

impl DestinationChoice {
    fn new(destination: &DestinationView, fields: Option<&Fields>) -> Self {
        let id = destination.id.to_string();
        let chosen = fields.is_some_and(|fields| fields.all("destination").any(|chosen| chosen == id));
        Self { id, name: destination.name.clone(), url: destination.url.clone(), chosen }
    }
}

pub(crate) async fn form(
    State(state): State<AppState>,
    PageCaller(caller): PageCaller,
    Id(id): Id<DeviceId>,
) -> Answer {
    let device = state.fleet.device(&caller.actor, id).await?;
    need(&caller, Role::Operator)?;
    page(&state, &caller, &device, None).await
}

pub(crate) async fn submit(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    let device = state.fleet.device(&caller.actor, id).await?;
    need(&caller, Role::Operator)?;
    let wrong = match read(&fields, device.status.as_ref()) {
        Err(wrong) => wrong,
        Ok(start) => match state.fleet.start_stream(&caller.actor, id, start).await {
            Ok(stream) => return Ok(see_other(&format!("/streams/{stream}"))),
            Err(error) => match error.kind() {
                // The device was there a moment ago: it is a destination that is not.
                ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Device | ErrorKind::NotFound => {
                    Wrong::refused(error.to_string())
                }
                _ => return Err(error.into()),
            },
        },
    };
    let again = page(&state, &caller, &device, Some((&fields, &wrong))).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, again).into_response())
}

async fn page(
    state: &AppState,
    caller: &Caller,
    device: &DeviceView,
    sent: Option<(&Fields, &Wrong)>,
) -> Result<Response, PageError> {
    let fields = sent.map(|(fields, _)| fields);
    let destinations = state.fleet.destinations(&caller.actor).await?;
    Ok(html(&GoLivePage {
        page: frame(caller, Section::Fleet, format!("Go live with {}", device.name)),
        cannot: cannot(device),
        sources: sources(device.status.as_ref(), fields.map_or("", |fields| fields.get("source"))),
        destinations: destinations.iter().map(|known| DestinationChoice::new(known, fields)).collect(),
        form: sent.map_or_else(GoLiveForm::new, |(fields, wrong)| GoLiveForm::again(fields, wrong)),
        device: Device::new(device, None, caller.actor.role, Timestamp::now()),
    }))
}

/// Why this device cannot go live now, and what to do.
fn cannot(device: &DeviceView) -> Option<String> {
    if device.revoked_at.is_some() {
        return Some("Its key was revoked: enrol it anew first.".to_owned());
    }
    if !device.enrolled {
        return Some("It is not enrolled yet: make an enrolment token on its page.".to_owned());
    }
    if !device.online {
        let seen = device.last_seen.map(|at| format!(", last seen {} UTC", minute(at))).unwrap_or_default();
        return Some(format!(
            "It is offline{seen}. Look at its power and its links; load this page again when it is back."
        ));
    }
    device
        .live_stream
        .map(|_| "It is live already: stop that stream first, or switch its source on the stream’s page.".to_owned())
}
