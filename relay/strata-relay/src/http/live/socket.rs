//! The WebSocket of pages and programs: subscriptions in, what changed out, for one owner.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strata_control::{DeviceId, MediaInput, StreamId};
use strata_fleet::{FleetEvent, Role, StreamEventView, StreamFilter, StreamView};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::parts::{self, Parts};
use super::point::Point;
use super::topic::{Effect, Topic, UnknownTopic};
use crate::http::AppState;
use crate::http::api::streams::StreamBody;
use crate::http::caller::{ApiCaller, Caller, Proof};
use crate::http::error::Refusal;
use crate::http::view::device::{Device, FleetList, inputs};
use crate::http::view::go_live::sources;
use crate::http::view::stream::{Given, Stream, StreamRow};
use crate::http::view::system::UpdateRow;

/// The largest message that a client sends: a subscription to [`MAX_TOPICS`] topics has room in it.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// No page needs more.
const MAX_TOPICS: usize = 32;
/// Several changes at once become one message.
const SETTLE: Duration = Duration::from_millis(80);
/// How soon a session that ended loses its sockets.
const SESSION_CHECK: Duration = Duration::from_secs(10);
/// How many streams a device's page lists.
pub(in crate::http) const LISTED_STREAMS: u32 = 20;
/// How many updates a device's page lists.
pub(in crate::http) const LISTED_UPDATES: u32 = 10;

const CLOSE_NOT_UNDERSTOOD: u16 = 4400;
const CLOSE_SESSION_OVER: u16 = 4401;
const CLOSE_GOING_AWAY: u16 = 1001;

pub(in crate::http) async fn upgrade(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| Connection::new(state, caller).serve(socket))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    subscribe: Vec<String>,
    #[serde(default, rename = "as")]
    form: Form,
}

/// What the subscriber wants to be told in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// Objects as REST gives them.
    #[default]
    Json,
    /// Parts of our own pages.
    Page,
}

/// What is known of a subscribed topic.
#[derive(Default)]
struct Watched {
    changed: bool,
    /// A stream's newest second, not yet sent.
    point: Option<Point>,
    /// A stream's device.
    device: Option<DeviceId>,
    /// What stays the same while only numbers come.
    around: Option<Around>,
    sent: Parts,
}

/// A stream's surroundings.
#[derive(Clone)]
struct Around {
    events: Vec<StreamEventView>,
    device: strata_fleet::DeviceView,
}

/// Why a connection is closed.
struct Close(u16, String);

struct Connection {
    state: AppState,
    caller: Caller,
    form: Form,
    topics: BTreeMap<Topic, Watched>,
    /// When what has changed is sent.
    due: Option<Instant>,
}

impl Connection {
    fn new(state: AppState, caller: Caller) -> Self {
        Self { state, caller, form: Form::default(), topics: BTreeMap::new(), due: None }
    }

    async fn serve(mut self, mut socket: WebSocket) {
        let Close(code, reason) = self.run(&mut socket).await;
        let frame = CloseFrame { code, reason: reason.into() };
        if let Err(error) = socket.send(Message::Close(Some(frame))).await {
            tracing::debug!(%error, "a page's WebSocket was gone before it could be closed");
        }
    }

    async fn run(&mut self, socket: &mut WebSocket) -> Close {
        let mut events = self.state.fleet.subscribe(&self.caller.actor);
        let mut check = interval(SESSION_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due.unwrap_or_else(|| Instant::now() + SESSION_CHECK);
            let outcome = tokio::select! {
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => self.subscribe(&text),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                    Some(Ok(Message::Binary(_))) => Err(Close(CLOSE_NOT_UNDERSTOOD, "text expected".into())),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Close(1000, String::new())),
                },
                event = events.next() => match event {
                    Some(event) => { self.note(&event); Ok(()) }
                    None => Err(Close(CLOSE_GOING_AWAY, "the relay shuts down".into())),
                },
                () = sleep_until(due), if self.due.is_some() => self.send_changes(socket).await,
                _ = check.tick() => self.check_session().await,
            };
            if let Err(close) = outcome {
                return close;
            }
        }
    }

    fn subscribe(&mut self, text: &str) -> Result<(), Close> {
        let not_understood = |why: String| {
            // A close frame has room for 123 bytes.
            Close(CLOSE_NOT_UNDERSTOOD, why.chars().take(60).collect())
        };
        let request: Subscribe = serde_json::from_str(text).map_err(|error| not_understood(error.to_string()))?;
        if request.subscribe.len() > MAX_TOPICS {
            return Err(not_understood(format!("at most {MAX_TOPICS} topics")));
        }
        let topics: Result<Vec<Topic>, UnknownTopic> = request.subscribe.iter().map(|text| text.parse()).collect();
        let topics = topics.map_err(|error| not_understood(error.to_string()))?;
        self.form = request.form;
        self.topics =
            topics.into_iter().map(|topic| (topic, Watched { changed: true, ..Watched::default() })).collect();
        self.due = Some(Instant::now());
        Ok(())
    }

    fn note(&mut self, event: &FleetEvent) {
        for (topic, watched) in &mut self.topics {
            let effect = topic.effect(event, watched.device);
            if effect == Effect::None {
                continue;
            }
            if effect == Effect::Everything {
                watched.around = None;
            }
            if let FleetEvent::StreamNumbers { point: Some(point), .. } = event {
                watched.point = Some(Point::from(point));
            }
            watched.changed = true;
            self.due.get_or_insert_with(|| Instant::now() + SETTLE);
        }
    }

    async fn check_session(&self) -> Result<(), Close> {
        let over = || Close(CLOSE_SESSION_OVER, "the session is over: log in again".into());
        let remote = self.caller.actor.remote;
        let actor = match &self.caller.proof {
            Proof::Cookie(token) => self.state.fleet.session(token, remote).await,
            Proof::Bearer(token) => self.state.fleet.api_actor(token, remote).await,
        };
        match actor {
            Ok(Some(actor)) if actor.owner_id == self.caller.actor.owner_id => Ok(()),
            Ok(_) => Err(over()),
            Err(error) => {
                // The database may be back at the next check; until then nothing is told that was not allowed before.
                tracing::warn!(error = &error as &dyn std::error::Error, "a page's session could not be checked");
                Ok(())
            }
        }
    }

    async fn send_changes(&mut self, socket: &mut WebSocket) -> Result<(), Close> {
        self.due = None;
        let changed: Vec<Topic> =
            self.topics.iter().filter(|(_, watched)| watched.changed).map(|(topic, _)| *topic).collect();
        for topic in changed {
            let Some(mut watched) = self.topics.remove(&topic) else { continue };
            watched.changed = false;
            let body = match self.describe(topic, &mut watched).await {
                Ok(body) => {
                    self.topics.insert(topic, watched);
                    body
                }
                // Deleted, or never this owner's: said once, then forgotten.
                Err(refusal) => refusal.into_body(),
            };
            let Value::Object(mut message) = body else { continue };
            message.insert("topic".into(), json!(topic.to_string()));
            message.insert("now_ms".into(), json!(Timestamp::now().as_millisecond()));
            let text = Value::Object(message).to_string();
            socket.send(Message::Text(text.into())).await.map_err(|_| Close(1000, String::new()))?;
        }
        Ok(())
    }

    async fn describe(&self, topic: Topic, watched: &mut Watched) -> Result<Value, Refusal> {
        match topic {
            Topic::Fleet => self.describe_fleet(watched).await,
            Topic::Device(id) => self.describe_device(id, watched).await,
            Topic::Stream(id) => self.describe_stream(id, watched).await,
        }
    }

    async fn describe_fleet(&self, watched: &mut Watched) -> Result<Value, Refusal> {
        let actor = &self.caller.actor;
        let devices = self.state.fleet.devices(actor).await?;
        if self.form == Form::Json {
            return Ok(json!({ "devices": devices }));
        }
        let filter = StreamFilter { over: Some(false), ..StreamFilter::default() };
        let streams = self.state.fleet.streams(actor, filter).await?;
        let list = FleetList::new(&devices, &streams, actor.role, Timestamp::now());
        html(watched, parts::fleet(&list))
    }

    async fn describe_device(&self, id: DeviceId, watched: &mut Watched) -> Result<Value, Refusal> {
        let actor = &self.caller.actor;
        let device = self.state.fleet.device(actor, id).await?;
        if self.form == Form::Json {
            return Ok(json!({ "device": device }));
        }
        let now = Timestamp::now();
        let filter = StreamFilter { device: Some(id), limit: Some(LISTED_STREAMS), ..StreamFilter::default() };
        let streams = self.state.fleet.streams(actor, filter).await?;
        let current = streams.iter().find(|stream| Some(stream.id) == device.live_stream);
        let view = Device::new(&device, current, actor.role, now);
        let rows: Vec<StreamRow> = streams.iter().map(|stream| StreamRow::new(stream, inputs(&device), now)).collect();
        let updates = self.state.fleet.device_updates(actor, id, Some(LISTED_UPDATES)).await?;
        let updates: Vec<UpdateRow> = updates.iter().map(UpdateRow::new).collect();
        html(watched, parts::device(&view, &updates, &rows))
    }

    async fn describe_stream(&self, id: StreamId, watched: &mut Watched) -> Result<Value, Refusal> {
        let actor = &self.caller.actor;
        let stream = self.state.fleet.stream(actor, id).await?;
        watched.device = Some(stream.device_id);
        let point = watched.point.take();
        if self.form == Form::Json {
            return with_point(json!({ "stream": without_history(stream) }), point);
        }
        let around = match watched.around.take() {
            Some(around) => around,
            None => Around {
                events: self.state.fleet.stream_events(actor, id).await?,
                device: self.state.fleet.device(actor, stream.device_id).await?,
            },
        };
        let known: &[MediaInput] = inputs(&around.device);
        let simulated = around.device.simulated;
        let given = Given { stream: &stream, events: &around.events, inputs: known, simulated, now: Timestamp::now() };
        let choice = sources(around.device.status.as_ref(), "");
        let may_operate = actor.role >= Role::Operator;
        let parts = parts::stream(&Stream::new(&given), &choice, may_operate, &self.caller.csrf());
        watched.around = Some(around);
        with_point(html(watched, parts)?, point)
    }
}

/// The history was given at the page's start; what comes now is one point a second.
fn without_history(mut stream: StreamView) -> StreamBody {
    if let Some(live) = &mut stream.live {
        live.history.clear();
    }
    stream.into()
}

fn with_point(mut message: Value, point: Option<Point>) -> Result<Value, Refusal> {
    if let Some(point) = point {
        message["point"] = to_json(&point)?;
    }
    Ok(message)
}

fn to_json(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Refusal::internal(format!("a message has no JSON form: {error}")))
}

/// Only the parts that differ from what the page already shows.
fn html(watched: &mut Watched, parts: askama::Result<Parts>) -> Result<Value, Refusal> {
    let parts = parts.map_err(|error| Refusal::internal(format!("a part of a page could not be rendered: {error}")))?;
    let fresh: BTreeMap<_, _> = parts.iter().filter(|(id, html)| watched.sent.get(*id) != Some(html)).collect();
    let message = json!({ "html": fresh });
    watched.sent = parts;
    Ok(message)
}
