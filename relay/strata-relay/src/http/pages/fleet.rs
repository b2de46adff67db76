//! The fleet: all devices, and adding one.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use qrcode::QrCode;
use qrcode::render::svg;
use secrecy::ExposeSecret as _;
use strata_control::{DeviceId, EnrolmentLink, Sensitive};
use strata_fleet::{EnrolmentToken, ErrorKind, Role, StreamFilter};
use strata_web::Page;

use super::{Answer, Section, frame, live_frame, may_admin, need};
use crate::http::AppState;
use crate::http::caller::{Caller, PageCaller, Posted};
use crate::http::error::{Refusal, html};
use crate::http::origin;
use crate::http::view::device::FleetList;
use crate::http::view::minute;

/// The QR code's size in the page, in pixels before scaling.
const QR_SIZE: u32 = 212;

#[derive(Template)]
#[template(path = "fleet.html")]
pub(super) struct FleetPage {
    pub(super) page: Page,
    pub(super) fleet: FleetList,
    pub(super) may_enrol: bool,
}

pub(crate) async fn show(State(state): State<AppState>, PageCaller(caller): PageCaller) -> Answer {
    let devices = state.fleet.devices(&caller.actor).await?;
    let filter = StreamFilter { over: Some(false), ..StreamFilter::default() };
    let streams = state.fleet.streams(&caller.actor, filter).await?;
    let fleet = FleetList::new(&devices, &streams, caller.actor.role, Timestamp::now());
    let page = live_frame(&caller, Section::Fleet, "Fleet", "fleet".to_owned());
    Ok(html(&FleetPage { page, fleet, may_enrol: may_admin(&caller) }))
}

#[derive(Template)]
#[template(path = "device_new.html")]
struct NewPage<'a> {
    page: Page,
    name: &'a str,
    wrong: Option<&'a str>,
}

pub(crate) async fn new(PageCaller(caller): PageCaller) -> Answer {
    need(&caller, Role::Admin)?;
    Ok(html(&NewPage { page: frame(&caller, Section::Fleet, "Add a device"), name: "", wrong: None }))
}

pub(crate) async fn create(
    State(state): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
    Posted { caller, fields }: Posted,
) -> Answer {
    let name = fields.get("name");
    match state.fleet.create_device(&caller.actor, name).await {
        Ok((id, token)) => show_token(&caller, id, name, &token, &relay_url(&state, &uri, &headers)),
        Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Conflict) => {
            let wrong = error.to_string();
            let page = frame(&caller, Section::Fleet, "Add a device");
            let body = html(&NewPage { page, name, wrong: Some(&wrong) });
            Ok((StatusCode::UNPROCESSABLE_ENTITY, body).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "device_token.html")]
struct TokenPage<'a> {
    page: Page,
    id: DeviceId,
    name: &'a str,
    token: &'a str,
    expires: String,
    qr: String,
    relay: String,
}

/// The one page that shows a token: an answer to a post, kept by no cache.
pub(super) fn show_token(
    caller: &Caller,
    id: DeviceId,
    name: &str,
    token: &EnrolmentToken,
    relay: &str,
) -> Result<Response, crate::http::error::PageError> {
    let text = token.token.expose_secret();
    let page = frame(caller, Section::Fleet, format!("Enrolment token for {name}"));
    let expires = format!("{} UTC", minute(token.expires_at));
    // `https` becomes `wss`, `http` becomes `ws`: what the device takes.
    let relay = relay.replacen("http", "ws", 1);
    let link = EnrolmentLink { relay: relay.clone(), token: Sensitive::new(text.to_owned()) };
    Ok(html(&TokenPage { page, id, name, token: text, expires, qr: qr(&link.text())?, relay }))
}

fn qr(text: &str) -> Result<String, Refusal> {
    let code = QrCode::new(text.as_bytes())
        .map_err(|error| Refusal::internal(format!("the token does not fit into a QR code: {error}")))?;
    let image = code.render::<svg::Color<'_>>().min_dimensions(QR_SIZE, QR_SIZE).quiet_zone(false).build();
    // Inside a page the XML declaration would be text.
    Ok(image.split_once("?>").map_or(image.as_str(), |(_, svg)| svg).to_owned())
}

/// The relay's address as devices reach it.
pub(super) fn relay_url(state: &AppState, uri: &Uri, headers: &HeaderMap) -> String {
    if let Some(url) = &state.settings.public_url {
        return url.clone();
    }
    let scheme = if state.settings.tls { "https" } else { "http" };
    format!("{scheme}://{}", origin::host(uri, headers).unwrap_or("localhost"))
}
