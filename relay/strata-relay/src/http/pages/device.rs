//! One device: what it is, what it does, and taking it out of service.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Uri};
use jiff::Timestamp;
use strata_control::DeviceId;
use strata_fleet::{DeviceView, StreamFilter};
use strata_web::Page;

use super::fleet::{relay_url, show_token};
use super::maintenance::{Deed, Forms};
use super::{Answer, Section, live_frame, may_admin};
use crate::http::AppState;
use crate::http::caller::{Caller, PageCaller, Posted};
use crate::http::error::{html, see_other};
use crate::http::fields::Id;
use crate::http::live::socket::{LISTED_STREAMS, LISTED_UPDATES};
use crate::http::view::device::{Device, inputs};
use crate::http::view::stream::StreamRow;
use crate::http::view::system::UpdateRow;

#[derive(Template)]
#[template(path = "device.html")]
pub(super) struct DevicePage {
    pub(super) page: Page,
    pub(super) device: Device,
    pub(super) enrolment: Option<&'static str>,
    pub(super) streams: Vec<StreamRow>,
    pub(super) with_device: bool,
    pub(super) may_admin: bool,
    pub(super) updates: Vec<UpdateRow>,
    pub(super) forms: Forms,
}

pub(crate) async fn show(
    State(state): State<AppState>,
    PageCaller(caller): PageCaller,
    Id(id): Id<DeviceId>,
    RawQuery(query): RawQuery,
) -> Answer {
    device_page(&state, &caller, id, Forms::after(query.as_deref())).await
}

/// The page with what came of a form.
pub(super) async fn device_page(state: &AppState, caller: &Caller, id: DeviceId, forms: Forms) -> Answer {
    let now = Timestamp::now();
    let device = state.fleet.device(&caller.actor, id).await?;
    let filter = StreamFilter { device: Some(id), limit: Some(LISTED_STREAMS), ..StreamFilter::default() };
    let streams = state.fleet.streams(&caller.actor, filter).await?;
    let current = streams.iter().find(|stream| Some(stream.id) == device.live_stream);
    let updates = state.fleet.device_updates(&caller.actor, id, Some(LISTED_UPDATES)).await?;
    let page = live_frame(caller, Section::Fleet, device.name.clone(), format!("device:{id}"));
    Ok(html(&DevicePage {
        page,
        enrolment: enrolment(&device, now),
        streams: streams.iter().map(|stream| StreamRow::new(stream, inputs(&device), now)).collect(),
        device: Device::new(&device, current, caller.actor.role, now),
        with_device: false,
        may_admin: may_admin(caller),
        updates: updates.iter().map(UpdateRow::new).collect(),
        forms,
    }))
}

fn enrolment(device: &DeviceView, now: Timestamp) -> Option<&'static str> {
    if device.enrolled && device.revoked_at.is_none() {
        return None;
    }
    Some(match device.enrolment_expires_at {
        Some(ends) if ends > now => "Its token still works; a new one makes that void.",
        _ => "It has no token that works.",
    })
}

fn back(id: DeviceId) -> Answer {
    Ok(see_other(&format!("/devices/{id}")))
}

pub(crate) async fn rename(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    state.fleet.rename_device(&caller.actor, id, fields.get("name")).await?;
    back(id)
}

pub(crate) async fn token(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    uri: Uri,
    headers: HeaderMap,
    Posted { caller, .. }: Posted,
) -> Answer {
    let device = state.fleet.device(&caller.actor, id).await?;
    let token = state.fleet.new_enrolment_token(&caller.actor, id).await?;
    show_token(&caller, id, &device.name, &token, &relay_url(&state, &uri, &headers))
}

pub(crate) async fn revoke(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, .. }: Posted,
) -> Answer {
    state.fleet.revoke_device(&caller.actor, id).await?;
    back(id)
}

pub(crate) async fn delete(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, .. }: Posted,
) -> Answer {
    state.fleet.delete_device(&caller.actor, id).await?;
    Ok(see_other("/"))
}
