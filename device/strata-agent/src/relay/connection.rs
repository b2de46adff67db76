//! One task that keeps a connection to the relay, for as long as the agent lives.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use strata_control::{
    AgentInfo, AuthLoginResponse, DecodeError, DeviceMessage, Envelope, ErrorCode, MAX_FRAME_BYTES, ProtocolError,
    Refusal, RelayMessage, Sensitive, SessionToken,
};
use strata_identity::KeyPair;
use tokio::io::AsyncReadExt;
use tokio::net::{self, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame, error::CapacityError};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::login::{self, LoggedIn, Proof, Step};
use super::{Outgoing, Problem, ProblemKind, RelayEvent, delay, new_id, tls};
use crate::config::{Config, RelayUrl};
use crate::enrolment::{Enrolment, EnrolmentFile, TokenFile};
use crate::relay_address::{RelayAddress, Target, Version};

/// For the connection, and again for each answer of the login.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the connection is probed.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A relay that says nothing for so long, answers to pings included, is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(35);
/// A frame that the network does not take for so long: the relay is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// After a refusal the relay has so long to read why.
const READ_AWAY_LIMIT: Duration = Duration::from_secs(1);
/// Between two attempts that will most likely be refused again.
const SLOW_RETRY: Duration = Duration::from_secs(60);
/// How often a device that waits, or is connected, looks whether `strata-agent enrol` left something new.
const NEWS_INTERVAL: Duration = Duration::from_secs(1);
/// How long after its session's end the device waits for a new token before it logs in again.
const SESSION_GRACE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a connection needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The agent's configuration.
    pub config: Config,
    /// The device's key.
    pub key: KeyPair,
    /// What runs here.
    pub agent: AgentInfo,
    /// Ends the wait before the next attempt: there is a new way to the relay.
    pub now: Arc<Notify>,
}

/// Connects, logs in, serves, and begins again.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    address: RelayAddress,
    enrolment: EnrolmentFile,
    token: TokenFile,
    events: mpsc::Sender<RelayEvent>,
}

/// The relay of one attempt, and the state of the files that named it.
struct At {
    target: Target,
    version: Version,
}

/// A connection that is logged in.
struct Online {
    socket: Socket,
    enrolment: Enrolment,
    /// How long its session lives.
    lifetime: Duration,
}

/// How an attempt ended.
enum Ended {
    /// Tried again with backoff; whether it had logged in.
    Lost { problem: Problem, logged_in: bool },
    /// Tried again slowly, or as soon as there is another token.
    Refused { problem: Problem, token: Option<String> },
}

/// Why the login failed.
enum LoginError {
    Refused(Refusal, Problem),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for LoginError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// What keeps the relay from being reached, where it is known well enough to say what to do.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error("no address is known by that name: it is mistyped, or the network's DNS does not work")]
    Name,
    #[error("the relay's certificate is not valid yet: this device's clock is wrong")]
    Clock,
}

/// The agent ended: there is nobody left to tell.
struct AgentGone;

impl Connection {
    /// Prepares; nothing happens before [`run`](Self::run).
    #[must_use]
    pub fn new(settings: Settings, events: mpsc::Sender<RelayEvent>) -> Self {
        let config = &settings.config;
        let token = TokenFile::new(config.token_file(), config.token_file.is_none());
        let address = RelayAddress::new(config);
        Self { address, enrolment: EnrolmentFile::new(&config.state_dir), token, settings, events }
    }

    /// Keeps a connection until the agent no longer listens.
    pub async fn run(self) {
        let mut failures = 0;
        loop {
            let version = self.address.version();
            let (relay, ended) = match self.address.read() {
                Ok(Some(target)) => (Some(target.url.clone()), self.attempt(&At { target, version }).await),
                Ok(None) => (None, Ok(self.no_relay())),
                Err(error) => (None, Ok(cannot_enrol(&error))),
            };
            let Ok(ended) = ended else { return };
            let (problem, wait, refused) = match ended {
                Ended::Lost { problem, logged_in } => {
                    failures = if logged_in { 1 } else { failures + 1 };
                    (problem, delay(failures, rand::random()), None)
                }
                Ended::Refused { problem, token } => {
                    failures = 0;
                    (problem, SLOW_RETRY.mul_f64(0.8 + 0.4 * rand::random::<f64>()), Some(token))
                }
            };
            tracing::warn!(retry_in_s = wait.as_secs_f32(), "no relay: {}", problem.message);
            if self.events.send(RelayEvent::Down { relay, problem }).await.is_err() {
                return;
            }
            self.wait(wait, version, refused.as_ref().map(Option::as_deref)).await;
        }
    }

    /// Waits, but no longer than until another relay was named, there is a token other than `refused`, or a new way.
    async fn wait(&self, wait: Duration, version: Version, refused: Option<Option<&str>>) {
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline && self.address.version() == version {
            if let Some(refused) = refused
                && let Ok(Some(token)) = self.token.read()
                && Some(token.reveal()) != refused
            {
                return;
            }
            let look = time::sleep_until(deadline.min(Instant::now() + NEWS_INTERVAL));
            tokio::select! {
                () = look => {}
                () = self.settings.now.notified() => return,
            }
        }
    }

    /// By which proof to log in; the key's, where the device is enrolled.
    fn proof(&self, at: &At) -> anyhow::Result<Option<Proof>> {
        if let Some(enrolment) = self.enrolment.read()? {
            let relay = at.target.url.as_str();
            if enrolment.relay_url != relay {
                tracing::info!("enrolled at {}, trying the same enrolment at {relay}", enrolment.relay_url);
            }
            return Ok(Some(Proof::Key(enrolment.device_id)));
        }
        let token = self.token_for(at)?;
        if token.is_some() {
            self.enrolment.check_writable().context("the enrolment token is not used yet")?;
        }
        Ok(token.map(Proof::Token))
    }

    /// The token, unless it is for another relay than this one, which was named meanwhile.
    fn token_for(&self, at: &At) -> anyhow::Result<Option<Sensitive>> {
        let token = self.token.read()?;
        // Looked at after the token, which is written after the relay's address.
        Ok(token.filter(|_| self.address.version() == at.version))
    }

    fn no_relay(&self) -> Ended {
        let message = "this device is not enrolled and knows no relay: run `strata-agent enrol --relay wss://…` \
                       and give it the token that the relay shows"
            .to_owned();
        let token = self.token.read().ok().flatten().map(|token| token.reveal().to_owned());
        Ended::Refused { problem: Problem { kind: ProblemKind::NotEnrolled, message }, token }
    }

    async fn attempt(&self, at: &At) -> Result<Ended, AgentGone> {
        let proof = match self.proof(at) {
            Ok(Some(proof)) => proof,
            Ok(None) => return Ok(not_enrolled(&self.token)),
            Err(error) => return Ok(cannot_enrol(&error)),
        };
        match self.connect_and_log_in(at, &proof).await {
            Ok(online) => self.serve(at, online).await,
            Err(LoginError::Failed(error)) => Ok(Ended::Lost { problem: unreachable_relay(&error), logged_in: false }),
            Err(LoginError::Refused(reason, problem)) => Ok(self.refused(at, &proof, reason, problem).await?),
        }
    }

    /// After a refusal: a device whose key the relay does not take enrols again, where there is a token.
    async fn refused(&self, at: &At, proof: &Proof, reason: Refusal, problem: Problem) -> Result<Ended, AgentGone> {
        let token = match proof {
            Proof::Token(token) => Some(token.clone()),
            Proof::Key(_) => self.token_for(at).ok().flatten(),
        };
        let Some(token) = token else { return Ok(Ended::Refused { problem, token: None }) };
        if matches!(proof, Proof::Token(_)) || !login::may_enrol_again(reason) {
            return Ok(Ended::Refused { problem, token: Some(token.reveal().to_owned()) });
        }
        if let Err(error) = self.enrolment.check_writable() {
            return Ok(cannot_enrol(&error.context("the enrolment token is not used yet")));
        }
        tracing::info!("{}: enrolling again", problem.message);
        match self.connect_and_log_in(at, &Proof::Token(token.clone())).await {
            Ok(online) => self.serve(at, online).await,
            Err(LoginError::Failed(error)) => Ok(Ended::Lost { problem: unreachable_relay(&error), logged_in: false }),
            Err(LoginError::Refused(_, problem)) => {
                Ok(Ended::Refused { problem, token: Some(token.reveal().to_owned()) })
            }
        }
    }

    async fn connect_and_log_in(&self, at: &At, proof: &Proof) -> Result<Online, LoginError> {
        let url = &at.target.url;
        let mut socket = time::timeout(STEP_TIMEOUT, connect(&at.target))
            .await
            .with_context(|| format!("{} did not answer within {} s", url.as_str(), STEP_TIMEOUT.as_secs()))??;
        let mut credential = proof.credential(&self.settings.key);
        let mut challenged = false;
        loop {
            let message = DeviceMessage::AuthLogin(login::message(credential, self.settings.agent.clone()));
            send(&mut socket, &Envelope::new(new_id(), Timestamp::now(), message)).await?;
            let (answer, ts) = time::timeout(STEP_TIMEOUT, login_answer(&mut socket))
                .await
                .with_context(|| format!("the relay did not answer the login within {} s", STEP_TIMEOUT.as_secs()))??;
            match login::next(proof, &self.settings.key, challenged, answer) {
                Step::Send(next) => (credential, challenged) = (next, true),
                Step::Done(logged_in) => {
                    let lifetime = lifetime(&logged_in.session, ts);
                    let enrolment = self.keep(url, logged_in)?;
                    return Ok(Online { socket, enrolment, lifetime });
                }
                Step::Refused(reason, problem) => return Err(LoginError::Refused(reason, problem)),
                Step::Nonsense(what) => return Err(anyhow::anyhow!("the relay's login makes no sense: {what}").into()),
            }
        }
    }

    /// Keeps what the login gave, before anything else can happen.
    fn keep(&self, relay: &RelayUrl, logged_in: LoggedIn) -> anyhow::Result<Enrolment> {
        let LoggedIn { device_id, owner, config, enrolled, .. } = logged_in;
        let enrolment = Enrolment { device_id, owner, relay_url: relay.as_str().to_owned(), config };
        if self.enrolment.read()?.as_ref() != Some(&enrolment) {
            match self.enrolment.write(&enrolment) {
                // What the relay knows it says again at the next login; who the device is it must be told only once.
                Err(error) if !enrolled => tracing::error!("the relay's settings hold until the agent ends: {error:#}"),
                written => written?,
            }
        }
        if enrolled {
            tracing::info!(%device_id, "enrolled");
            self.token.consumed();
        }
        Ok(enrolment)
    }

    /// Serves one logged-in connection until it ends.
    async fn serve(&self, at: &At, online: Online) -> Result<Ended, AgentGone> {
        let Online { mut socket, enrolment, lifetime } = online;
        let (outgoing, mut messages) = Outgoing::channel();
        let relay = at.target.url.clone();
        tracing::info!(device_id = %enrolment.device_id, relay = relay.as_str(), "logged in");
        self.events.send(RelayEvent::Up { relay, outgoing, enrolment }).await.map_err(|_| AgentGone)?;

        let mut news = time::interval(NEWS_INTERVAL);
        news.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = time::interval(PING_INTERVAL);
        let mut heard = Instant::now();
        let mut session_end = pin!(time::sleep(lifetime + SESSION_GRACE));
        let lost = loop {
            tokio::select! {
                frame = socket.next() => {
                    heard = Instant::now();
                    match self.frame(&mut socket, frame).await? {
                        Handled::Nothing => {}
                        Handled::Session(lifetime) => {
                            tracing::debug!("a new session token");
                            session_end.as_mut().reset(Instant::now() + lifetime + SESSION_GRACE);
                        }
                        Handled::Lost(error) => break error,
                    }
                }
                message = messages.recv() => {
                    let Some(message) = message else { break anyhow::anyhow!("the connection took no more messages") };
                    if let Err(error) = send(&mut socket, &message).await {
                        break error;
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_LIMIT {
                        break anyhow::anyhow!("the relay has been silent for {} s", heard.elapsed().as_secs());
                    }
                    if let Err(error) = send_frame(&mut socket, Frame::Ping(Vec::new().into())).await {
                        break error;
                    }
                }
                _ = news.tick() => {
                    if self.address.version() != at.version {
                        break anyhow::anyhow!("the relay's address was given anew: connecting to it");
                    }
                }
                () = &mut session_end => break anyhow::anyhow!("the session ended and the relay sent no new token"),
            }
        };
        Ok(Ended::Lost { problem: unreachable_relay(&lost), logged_in: true })
    }

    async fn frame(&self, socket: &mut Socket, frame: Option<Result<Frame, WsError>>) -> Result<Handled, AgentGone> {
        let text = match frame {
            None => return Ok(Handled::Lost(anyhow::anyhow!("the relay closed the connection"))),
            Some(Ok(Frame::Text(text))) => text,
            Some(Ok(Frame::Close(close))) => return Ok(Handled::Lost(closed(close.as_ref()))),
            Some(Ok(Frame::Binary(bytes))) => {
                let detail = format!("a binary frame of {} bytes", bytes.len());
                return Ok(answer_error(socket, &DecodeError::Malformed { detail }).await);
            }
            Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => return Ok(Handled::Nothing),
            Some(Err(WsError::Capacity(CapacityError::MessageTooLong { size, .. }))) => {
                return Ok(refuse_oversized(socket, size).await);
            }
            Some(Err(error)) => return Ok(Handled::Lost(anyhow::Error::new(error).context("the connection broke"))),
        };
        let envelope = match Envelope::<RelayMessage>::decode(text.as_str()) {
            Ok(envelope) => envelope,
            Err(error) => return Ok(answer_error(socket, &error).await),
        };
        if let RelayMessage::AuthSession(session) = &envelope.message {
            return Ok(Handled::Session(lifetime(&session.session, envelope.ts)));
        }
        let clock_offset_ms = envelope.ts.as_millisecond() - Timestamp::now().as_millisecond();
        self.events.send(RelayEvent::Message { envelope, clock_offset_ms }).await.map_err(|_| AgentGone)?;
        Ok(Handled::Nothing)
    }
}

async fn connect(target: &Target) -> anyhow::Result<Socket> {
    let url = &target.url;
    let cannot = || format!("{}:{} cannot be reached", url.host, url.port);
    let addresses = net::lookup_host((url.host.as_str(), url.port)).await;
    let addresses: Vec<_> = addresses.context(Hindrance::Name).with_context(cannot)?.collect();
    let tcp = TcpStream::connect(addresses.as_slice()).await.with_context(cannot)?;
    tcp.set_nodelay(true).context("TCP_NODELAY cannot be set")?;
    let connector = match url.tls {
        true => Connector::Rustls(tls::client_config(target.ca_file.as_deref(), target.ca.as_deref())?),
        false => Connector::Plain,
    };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .max_write_buffer_size(4 * MAX_FRAME_BYTES);
    let (socket, _) = client_async_tls_with_config(url.as_str(), tcp, Some(limits), Some(connector))
        .await
        .map_err(|error| explain(error, url.as_str()))?;
    Ok(socket)
}

/// What became of a frame.
enum Handled {
    Nothing,
    /// A new session token came; it lives so long.
    Session(Duration),
    Lost(anyhow::Error),
}

fn not_enrolled(token: &TokenFile) -> Ended {
    let message =
        format!("this device is not enrolled: put its token into {} (by `strata-agent enrol`)", token.path().display());
    Ended::Refused { problem: Problem { kind: ProblemKind::NotEnrolled, message }, token: None }
}

/// Something on the device itself keeps it from logging in.
fn cannot_enrol(error: &anyhow::Error) -> Ended {
    let problem = Problem { kind: ProblemKind::NotEnrolled, message: format!("{error:#}") };
    Ended::Lost { problem, logged_in: false }
}

fn unreachable_relay(error: &anyhow::Error) -> Problem {
    let kind = match error.downcast_ref() {
        Some(Hindrance::Name) => ProblemKind::NameUnknown,
        Some(Hindrance::Clock) => ProblemKind::ClockWrong,
        None => ProblemKind::Unreachable,
    };
    Problem { kind, message: format!("{error:#}") }
}

/// How long a session lives, by the relay's own clock: the device's may be wrong.
fn lifetime(session: &SessionToken, now: Timestamp) -> Duration {
    session.expires_at.duration_since(now).try_into().unwrap_or(Duration::ZERO)
}

fn closed(close: Option<&CloseFrame>) -> anyhow::Error {
    match close {
        Some(frame) if !frame.reason.is_empty() => {
            anyhow::anyhow!("the relay closed the connection: {} ({})", frame.reason, u16::from(frame.code))
        }
        _ => anyhow::anyhow!("the relay closed the connection"),
    }
}

/// What went wrong at the handshake, with what to do where that is known.
fn explain(error: WsError, url: &str) -> anyhow::Error {
    use rustls::CertificateError::{NotValidYet, NotValidYetContext};
    let told = if let WsError::Io(io) = &error { io.get_ref().and_then(|inner| inner.downcast_ref()) } else { None };
    if let Some(rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. })) = told {
        return anyhow::Error::new(error).context(Hindrance::Clock).context(format!("no connection to {url}"));
    }
    let hint = match &error {
        WsError::Http(response) => {
            return anyhow::anyhow!(
                "{url} answered HTTP {}: is there a Strata relay at this address?",
                response.status()
            );
        }
        WsError::Io(_) if told.is_some() => {
            "; check the address and this device's clock; a relay with a certificate of its own needs `enrol --ca`, \
             or extra_ca_file in the configuration"
        }
        _ => "",
    };
    anyhow::Error::new(error).context(format!("no connection to {url}{hint}"))
}

/// The next login answer; what else comes before it is passed over.
async fn login_answer(socket: &mut Socket) -> anyhow::Result<(AuthLoginResponse, Timestamp)> {
    loop {
        match socket.next().await {
            None => anyhow::bail!("the relay closed the connection during the login"),
            Some(Ok(Frame::Close(close))) => return Err(closed(close.as_ref()).context("during the login")),
            Some(Ok(Frame::Text(text))) => {
                let envelope = Envelope::<RelayMessage>::decode(text.as_str())
                    .context("the relay's answer to the login cannot be read")?;
                match envelope.message {
                    RelayMessage::AuthLoginResponse(answer) => return Ok((answer, envelope.ts)),
                    RelayMessage::Error(error) => anyhow::bail!("the relay refused the login: {}", error.message),
                    _ => tracing::debug!("a message before the login was passed over"),
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error).context("the connection broke during the login"),
        }
    }
}

async fn send_frame(socket: &mut Socket, frame: Frame) -> anyhow::Result<()> {
    time::timeout(SEND_TIMEOUT, socket.send(frame))
        .await
        .with_context(|| format!("the network took nothing for {} s", SEND_TIMEOUT.as_secs()))?
        .context("the connection broke")
}

/// Sends a message; one that has no frame (too large) is left out and logged, as the connection is not to blame.
async fn send(socket: &mut Socket, envelope: &Envelope<DeviceMessage>) -> anyhow::Result<()> {
    match envelope.encode() {
        Ok(text) => send_frame(socket, Frame::text(text)).await,
        Err(error) => {
            tracing::error!("a message could not be sent: {error}");
            let answer = ProtocolError { code: ErrorCode::TooLarge, message: error.to_string() };
            let envelope = Envelope::new(envelope.id, Timestamp::now(), DeviceMessage::Error(answer));
            let text = envelope.encode().context("an error message has a frame")?;
            send_frame(socket, Frame::text(text)).await
        }
    }
}

async fn answer_error(socket: &mut Socket, error: &DecodeError) -> Handled {
    tracing::warn!("the relay's message was not understood: {error}");
    let id = error.id().unwrap_or_else(new_id);
    match send(socket, &Envelope::new(id, Timestamp::now(), DeviceMessage::Error(error.answer()))).await {
        Ok(()) => Handled::Nothing,
        Err(error) => Handled::Lost(error),
    }
}

/// After an oversized frame the stream of bytes cannot be followed any more: say why, then close.
async fn refuse_oversized(socket: &mut Socket, bytes: usize) -> Handled {
    let error = DecodeError::TooLarge { bytes };
    if let Handled::Lost(error) = answer_error(socket, &error).await {
        return Handled::Lost(error);
    }
    let close = CloseFrame { code: CloseCode::Size, reason: "frame too large".into() };
    if let Err(error) = send_frame(socket, Frame::Close(Some(close))).await {
        tracing::debug!("the connection was closed: {error:#}");
    }
    read_away(socket).await;
    Handled::Lost(anyhow::anyhow!("the relay sent {error}"))
}

/// Bytes that nobody reads would turn the close into a reset, which eats what was just said.
async fn read_away(socket: &mut Socket) {
    let mut scrap = [0; 4096];
    let to_the_end = async { while socket.get_mut().read(&mut scrap).await.is_ok_and(|bytes| bytes > 0) {} };
    if time::timeout(READ_AWAY_LIMIT, to_the_end).await.is_err() {
        tracing::debug!("the relay did not close its end");
    }
}
