//! The agents' WebSocket, `/agent/ws`: the socket itself. What is said on it is `strata-fleet`'s.
//!
//! Owns: limits (size of a message, time to log in, silence, sockets without a
//! login), pings, and how a connection is closed. A device that breaks them is
//! told why in the close frame.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use strata_control::MAX_FRAME_BYTES;
use strata_fleet::{AgentConnection, AgentOutbox, Fleet, Outgoing};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a device may take to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the relay asks whether the device is there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Without a word for so long, the connection is dead: three pings and their answers.
const SILENCE: Duration = Duration::from_secs(35);
/// How long a frame may take into the socket.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a device may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Sockets without a login at the same time; a fleet that comes back at once logs in well within its time.
const UNKNOWN_SOCKETS: usize = 256;
/// How much of one message is read, in bytes. More than it may have: a connection dropped with bytes unread is
/// reset, and the close frame that says why is lost with it.
const READ_LIMIT: usize = 4 * MAX_FRAME_BYTES;
/// The longest reason in a close frame (RFC 6455), in bytes.
const MAX_REASON: usize = 123;

#[derive(Clone)]
struct AgentState {
    fleet: Fleet,
    trust_forwarded: bool,
    unknown: Arc<Semaphore>,
}

/// The route of the agents' socket.
pub fn router(fleet: Fleet, trust_forwarded: bool) -> Router {
    let state = AgentState { fleet, trust_forwarded, unknown: Arc::new(Semaphore::new(UNKNOWN_SOCKETS)) };
    Router::new().route("/agent/ws", any(upgrade)).with_state(state)
}

async fn upgrade(
    State(state): State<AgentState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    socket: WebSocketUpgrade,
) -> Response {
    let forwarded = if state.trust_forwarded { forwarded(&headers) } else { None };
    let remote = forwarded.unwrap_or_else(|| peer.ip().to_canonical());
    let Ok(permit) = state.unknown.clone().try_acquire_owned() else {
        tracing::warn!(%remote, "too many sockets without a login");
        return (StatusCode::SERVICE_UNAVAILABLE, "too many devices log in at the same time: try again")
            .into_response();
    };
    socket.max_message_size(READ_LIMIT).max_frame_size(READ_LIMIT).on_upgrade(move |socket| async move {
        let (connection, outbox) = state.fleet.accept_agent(remote);
        Agent { socket, connection, outbox, remote, permit: Some(permit) }.run().await;
    })
}

/// The address that the nearest proxy saw.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

struct Agent {
    socket: WebSocket,
    connection: AgentConnection,
    outbox: AgentOutbox,
    remote: IpAddr,
    /// Held until the login.
    permit: Option<OwnedSemaphorePermit>,
}

/// Why a connection ends here.
enum End {
    /// The device closed it, or it broke.
    Gone,
    /// It is closed, with this code and reason.
    Close(u16, String),
}

impl Agent {
    async fn run(mut self) {
        if let End::Close(code, reason) = self.talk().await {
            tracing::debug!(remote = %self.remote, code, reason, "closing an agent's socket");
            close(&mut self.socket, code, reason).await;
        }
        self.connection.closed().await;
    }

    async fn talk(&mut self) -> End {
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let login = tokio::time::sleep(LOGIN_TIMEOUT);
        tokio::pin!(login);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = self.socket.recv() => {
                    heard = Instant::now();
                    match message {
                        None | Some(Ok(Message::Close(_))) => return End::Gone,
                        Some(Ok(Message::Text(text))) if text.len() > MAX_FRAME_BYTES => return too_big(),
                        Some(Ok(Message::Binary(bytes))) if bytes.len() > MAX_FRAME_BYTES => return too_big(),
                        Some(Ok(Message::Text(text))) => self.connection.receive(&text).await,
                        Some(Ok(Message::Binary(_))) => self.connection.receive_binary(),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Err(error)) => return self.broken(&error),
                    }
                    if self.connection.is_logged_in() {
                        self.permit = None;
                    }
                }
                outgoing = self.outbox.next() => match outgoing {
                    Outgoing::Text(text) => {
                        if !send(&mut self.socket, Message::Text(text.into())).await {
                            return End::Gone;
                        }
                    }
                    Outgoing::Close { reason } => return End::Close(close_code::POLICY, reason),
                },
                _ = pings.tick() => {
                    if heard.elapsed() > SILENCE {
                        let reason = format!("no word from the device for {} s", SILENCE.as_secs());
                        return End::Close(close_code::AWAY, reason);
                    }
                    self.connection.tick();
                    if !send(&mut self.socket, Message::Ping(Vec::new().into())).await {
                        return End::Gone;
                    }
                }
                () = &mut login, if !self.connection.is_logged_in() => {
                    let reason = format!("no login within {} s", LOGIN_TIMEOUT.as_secs());
                    return End::Close(close_code::POLICY, reason);
                }
            }
        }
    }

    fn broken(&self, error: &axum::Error) -> End {
        let text = error.to_string();
        tracing::debug!(remote = %self.remote, error = text, "an agent's socket broke");
        // The WebSocket library tells sizes from everything else in its text only.
        if text.contains("too long") || text.contains("too big") {
            return too_big();
        }
        if text.contains("UTF-8") || text.contains("utf-8") {
            return End::Close(close_code::INVALID, "text frames hold UTF-8".to_owned());
        }
        End::Gone
    }
}

fn too_big() -> End {
    End::Close(close_code::SIZE, format!("a message may have {MAX_FRAME_BYTES} bytes at most"))
}

/// False when the device takes nothing any more.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(SEND_TIMEOUT, socket.send(message)).await, Ok(Ok(())))
}

/// Tells why, then waits for the other side, so that what was sent before is not lost with the connection.
async fn close(socket: &mut WebSocket, code: u16, mut reason: String) {
    while reason.len() > MAX_REASON {
        reason.pop();
    }
    if !send(socket, Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await {
        return;
    }
    let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
    // Whether it answered or not: the connection ends now.
    tokio::time::timeout(CLOSE_TIMEOUT, answered).await.ok();
}
