//! Streams: the list, and one stream with everything that is known of it.

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use strata_control::StreamId;
use strata_fleet::StreamFilter;
use strata_web::Page;

use super::{Answer, Section, frame, live_frame, may_operate};
use crate::http::AppState;
use crate::http::caller::{PageCaller, Posted};
use crate::http::error::{Refusal, html, see_other};
use crate::http::fields::Id;
use crate::http::view::device::inputs;
use crate::http::view::go_live::{SourceGroup, read_source, sources};
use crate::http::view::stream::{Given, Player, Stream, StreamRow};

#[derive(Template)]
#[template(path = "streams.html")]
pub(super) struct StreamsPage {
    pub(super) page: Page,
    pub(super) streams: Vec<StreamRow>,
    pub(super) with_device: bool,
}

pub(crate) async fn list(State(state): State<AppState>, PageCaller(caller): PageCaller) -> Answer {
    let now = Timestamp::now();
    let streams = state.fleet.streams(&caller.actor, StreamFilter::default()).await?;
    let page = frame(&caller, Section::Streams, "Streams");
    let streams = streams.iter().map(|stream| StreamRow::new(stream, &[], now)).collect();
    Ok(html(&StreamsPage { page, streams, with_device: true }))
}

#[derive(Template)]
#[template(path = "stream.html")]
pub(super) struct StreamPage {
    pub(super) page: Page,
    pub(super) stream: Stream,
    pub(super) player: Player,
    pub(super) sources: Vec<SourceGroup>,
    pub(super) csrf: String,
    pub(super) may_operate: bool,
}

pub(crate) async fn show(
    State(state): State<AppState>,
    PageCaller(caller): PageCaller,
    Id(id): Id<StreamId>,
) -> Answer {
    let actor = &caller.actor;
    let stream = state.fleet.stream(actor, id).await?;
    let events = state.fleet.stream_events(actor, id).await?;
    let device = state.fleet.device(actor, stream.device_id).await?;
    let title = format!("Stream of {}", stream.device_name);
    let mut page = live_frame(&caller, Section::Streams, title, format!("stream:{id}"));
    page.scripts = vec!["hls.light.min.js", "player.js", "plots.js"];
    let given = Given {
        stream: &stream,
        events: &events,
        inputs: inputs(&device),
        simulated: device.simulated,
        now: Timestamp::now(),
    };
    Ok(html(&StreamPage {
        stream: Stream::new(&given),
        player: Player::of(&stream),
        sources: sources(device.status.as_ref(), ""),
        csrf: page.csrf.clone(),
        may_operate: may_operate(&caller),
        page,
    }))
}

pub(crate) async fn stop(State(state): State<AppState>, Id(id): Id<StreamId>, Posted { caller, .. }: Posted) -> Answer {
    state.fleet.stop_stream(&caller.actor, id).await?;
    Ok(see_other(&format!("/streams/{id}")))
}

pub(crate) async fn switch_source(
    State(state): State<AppState>,
    Id(id): Id<StreamId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    // Another owner's stream is unknown before anything is said of the form.
    state.fleet.stream(&caller.actor, id).await?;
    let source = read_source(fields.get("source"))
        .ok_or_else(|| Refusal::invalid("choose the new source: a camera, saved media, or the test pattern"))?;
    state.fleet.switch_source(&caller.actor, id, source).await?;
    Ok(see_other(&format!("/streams/{id}")))
}
