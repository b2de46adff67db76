//! One connection of an agent: who it says it is, and the proof.
//!
//! Takes text frames in and gives text frames out; the socket itself is the
//! caller's. Owns the login: enrolment by token, challenge and answer, session
//! tokens. What a logged-in device says is `handler`'s.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use strata_control::{
    AgentInfo, AuthLogin, AuthLoginResponse, AuthSession, Credential, DeviceConfig, DeviceId, DeviceMessage,
    ENROL_CONTEXT, Envelope, ErrorCode, LOGIN_CONTEXT, MessageId, OwnerId, ProtocolError, Refusal, RelayMessage,
    Sensitive, SessionToken,
};
use strata_identity::{PublicKey, Signature};
use strata_relay_db::{DbError, DeviceRecord, EnrolOutcome, Enrolment};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::inner::{Inner, lock};
use crate::token::EnrolmentTokenParts;
use crate::{Fleet, FleetEvent, jwt, token};

/// Frames that wait for a slow device: a few commands and their neighbours.
const OUTBOX: usize = 64;
/// A session token is renewed when less than this is left of it.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(10);

/// What goes to the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outgoing {
    /// A text frame.
    Text(String),
    /// Close the socket, after the frames before.
    Close {
        /// Why, for the close frame.
        reason: String,
    },
}

/// Frames on their way to one device.
pub struct AgentOutbox(mpsc::Receiver<Outgoing>);

impl AgentOutbox {
    /// The next one. May be cancelled without losing one.
    pub async fn next(&mut self) -> Outgoing {
        self.0.recv().await.unwrap_or(Outgoing::Close { reason: "the relay is done with this connection".into() })
    }
}

/// One connection of an agent. Call [`closed`](Self::closed) when the socket is gone.
pub struct AgentConnection {
    pub(super) inner: Arc<Inner>,
    remote: IpAddr,
    state: State,
    outgoing: mpsc::Sender<Outgoing>,
}

enum State {
    /// Nothing is proven.
    Fresh,
    /// It says it is this device and has to sign the challenge.
    Challenged { device: DeviceId, challenge: String },
    /// It proved it.
    LoggedIn(Session),
    /// Refused; nothing is answered any more.
    Closed,
}

/// Who is on the other end.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) device: DeviceId,
    pub(super) owner: OwnerId,
    pub(super) name: String,
    number: u64,
    expires_at: Timestamp,
}

impl Fleet {
    /// A new connection to the agents' socket.
    #[must_use]
    pub fn accept_agent(&self, remote: IpAddr) -> (AgentConnection, AgentOutbox) {
        let (outgoing, outbox) = mpsc::channel(OUTBOX);
        let connection = AgentConnection { inner: self.inner.clone(), remote, state: State::Fresh, outgoing };
        (connection, AgentOutbox(outbox))
    }
}

impl AgentConnection {
    /// Whether the device has proven who it is.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        matches!(self.state, State::LoggedIn(_))
    }

    /// A text frame came in.
    pub async fn receive(&mut self, text: &str) {
        let envelope = match Envelope::<DeviceMessage>::decode(text) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::debug!(remote = %self.remote, %error, "a frame from an agent cannot be read");
                let id = error.id().unwrap_or(MessageId(Uuid::nil()));
                self.send(id, RelayMessage::Error(error.answer()));
                return;
            }
        };
        match (&self.state, envelope.message) {
            (State::Closed, _) => {}
            // Revoked or replaced while this frame was on its way: nothing it says counts any more.
            (State::LoggedIn(session), _) if !self.inner.devices.is_current(session.device, session.number) => {}
            (State::LoggedIn(_), DeviceMessage::AuthLogin(_)) => {
                let message = "this connection is logged in already".to_owned();
                self.send(envelope.id, RelayMessage::Error(ProtocolError { code: ErrorCode::BadPayload, message }));
            }
            (State::LoggedIn(session), message) => {
                let session = session.clone();
                self.handle(&session, envelope.id, message).await;
            }
            (State::Fresh | State::Challenged { .. }, DeviceMessage::AuthLogin(login)) => {
                self.login(envelope.id, login).await;
            }
            (State::Fresh | State::Challenged { .. }, _) => {
                let message = "log in first (auth.login)".to_owned();
                self.send(envelope.id, RelayMessage::Error(ProtocolError { code: ErrorCode::NotLoggedIn, message }));
            }
        }
    }

    /// A frame came in that is not text.
    pub fn receive_binary(&mut self) {
        let message = "binary frames are not part of this protocol: JSON text frames expected".to_owned();
        let error = ProtocolError { code: ErrorCode::Malformed, message };
        self.send(MessageId(Uuid::nil()), RelayMessage::Error(error));
    }

    /// To be called every few seconds: renews the session token before it ends.
    pub fn tick(&mut self) {
        let now = Timestamp::now();
        let State::LoggedIn(session) = &self.state else { return };
        if session.expires_at.duration_since(now) > RENEW_BEFORE {
            return;
        }
        let token = self.inner.session_token(session.device, session.owner, now);
        let expires_at = token.expires_at;
        self.send(MessageId(Uuid::now_v7()), RelayMessage::AuthSession(AuthSession { session: token }));
        if let State::LoggedIn(session) = &mut self.state {
            session.expires_at = expires_at;
        }
    }

    /// The socket is gone. Media is not concerned: the stream is unobserved from now on, not dead.
    pub async fn closed(mut self) {
        let State::LoggedIn(session) = std::mem::replace(&mut self.state, State::Closed) else { return };
        if !self.inner.devices.disconnect(session.device, session.number) {
            return;
        }
        tracing::info!(device = session.name, "device disconnected");
        if let Err(error) = self.inner.db.note_device_seen(session.device, Timestamp::now()).await {
            tracing::error!(%error, device = session.name, "cannot store when a device was last seen");
        }
        let event = FleetEvent::DeviceChanged { device_id: session.device, online: false };
        self.inner.events.tell(session.owner, event);
        self.inner.streams.device_left(session.device);
    }

    pub(super) fn send(&self, id: MessageId, message: RelayMessage) {
        match Envelope::new(id, Timestamp::now(), message).encode() {
            // A full queue means that the device takes nothing: its silence will close the connection.
            Ok(text) => drop(self.outgoing.try_send(Outgoing::Text(text))),
            Err(error) => tracing::error!(%error, "a message to a device cannot be sent"),
        }
    }

    async fn login(&mut self, id: MessageId, login: AuthLogin) {
        let address = self.remote.to_string();
        // A greeting proves nothing yet and costs nothing: only proofs count as attempts.
        if !matches!(login.credential, Credential::Hello { .. }) {
            let attempt = lock(&self.inner.agents_by_address).attempt(&address, Instant::now());
            if let Err(wait) = attempt {
                let message = format!("too many failed logins from {address}: wait {} s", wait.as_secs().max(1));
                return self.refuse(id, Refusal::TooManyAttempts, message);
            }
        }
        let outcome = match login.credential {
            Credential::EnrolmentToken { token, public_key, proof } => {
                self.enrol(&token, public_key, &proof, login.agent).await
            }
            Credential::Hello { device_id } => return self.challenge(id, device_id).await,
            Credential::ChallengeAnswer { device_id, signature } => {
                self.check_answer(device_id, &signature, &login.agent).await
            }
        };
        match outcome {
            Ok((device, enrolled)) => {
                lock(&self.inner.agents_by_address).succeeded(&address);
                let device_id = device.id;
                self.accept(id, device, enrolled);
                // Revoked between the look at its record and its registration: now it is found by either side.
                if let Err((_, message)) = self.known(device_id).await {
                    self.inner.devices.close(device_id, &message);
                }
            }
            Err((reason, message)) => self.refuse(id, reason, message),
        }
    }

    async fn enrol(
        &self,
        text: &Sensitive,
        public_key: PublicKey,
        proof: &Signature,
        agent: AgentInfo,
    ) -> Result<(DeviceRecord, bool), (Refusal, String)> {
        if !public_key.verify(ENROL_CONTEXT, text.reveal().as_bytes(), proof) {
            return Err((Refusal::SignatureWrong, "the proof does not belong to the key that was sent with it".into()));
        }
        let unknown = || {
            (Refusal::TokenUnknown, "the relay does not know this enrolment token: check it for typing errors".into())
        };
        let parts = EnrolmentTokenParts::parse(text.reveal()).ok_or_else(unknown)?;
        let enrolment = Enrolment {
            secret_hash: parts.secret_hash(),
            lookup: parts.lookup,
            public_key,
            agent,
            remote: Some(self.remote),
        };
        match self.inner.db.enrol(&enrolment, Timestamp::now()).await {
            Ok(EnrolOutcome::Enrolled(device)) => Ok((device, true)),
            Ok(EnrolOutcome::Unknown) => Err(unknown()),
            Ok(EnrolOutcome::Used) => Err((
                Refusal::TokenUsed,
                "this enrolment token was used before: ask for a new one on the device's page of the relay".into(),
            )),
            Ok(EnrolOutcome::Expired) => Err((
                Refusal::TokenExpired,
                "this enrolment token's time is over, or a newer one replaced it: ask for a new one on the device's \
                 page of the relay"
                    .into(),
            )),
            Err(error) => Err(storage_failed(&error)),
        }
    }

    async fn challenge(&mut self, id: MessageId, device: DeviceId) {
        match self.known(device).await {
            Ok(_) => {
                let challenge = hex::encode(token::random::<32>());
                self.state = State::Challenged { device, challenge: challenge.clone() };
                self.send(id, RelayMessage::AuthLoginResponse(AuthLoginResponse::Challenge { challenge }));
            }
            Err((reason, message)) => self.refuse(id, reason, message),
        }
    }

    /// The device's record and key, if it may log in.
    async fn known(&self, id: DeviceId) -> Result<(DeviceRecord, PublicKey), (Refusal, String)> {
        let record = self.inner.db.device_itself(id).await.map_err(|error| storage_failed(&error))?;
        let unknown = || {
            let message = "the relay does not know this device: enrol it again with a new token".to_owned();
            (Refusal::DeviceUnknown, message)
        };
        let record = record.ok_or_else(unknown)?;
        if record.revoked_at.is_some() {
            let message = format!("the key of {} was revoked: enrol it again with a new token", record.name);
            return Err((Refusal::KeyRevoked, message));
        }
        let key = record.public_key.ok_or_else(unknown)?;
        Ok((record, key))
    }

    async fn check_answer(
        &mut self,
        device: DeviceId,
        signature: &Signature,
        agent: &AgentInfo,
    ) -> Result<(DeviceRecord, bool), (Refusal, String)> {
        // Whatever comes of it, the challenge is used up.
        let State::Challenged { device: challenged, challenge } = std::mem::replace(&mut self.state, State::Fresh)
        else {
            return Err((Refusal::SignatureWrong, "there is no open challenge on this connection".into()));
        };
        let (record, key) = self.known(device).await?;
        let signed = format!("{challenge}{device}");
        if challenged != device || !key.verify(LOGIN_CONTEXT, signed.as_bytes(), signature) {
            let message = format!("the answer was not signed by the key that {} enrolled with", record.name);
            return Err((Refusal::SignatureWrong, message));
        }
        self.inner
            .db
            .note_device_login(device, agent, Timestamp::now())
            .await
            .map_err(|error| storage_failed(&error))?;
        Ok((record, false))
    }

    fn accept(&mut self, id: MessageId, device: DeviceRecord, enrolled: bool) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::now();
        let (device_id, owner) = (device.id, device.owner);
        let session = self.inner.session_token(device_id, owner, now);
        let expires_at = session.expires_at;
        let config = DeviceConfig { name: device.name.clone(), ..DeviceConfig::default() };
        let response = if enrolled {
            AuthLoginResponse::Enrolled { device_id, owner, session, config }
        } else {
            AuthLoginResponse::Accepted { device_id, owner, session, config }
        };
        // The answer before the registration: no command may overtake it.
        self.send(id, RelayMessage::AuthLoginResponse(response));
        self.inner.devices.connect(device_id, number, self.outgoing.clone());
        self.inner.devices.heard(device_id, now);
        tracing::info!(device = device.name, remote = %self.remote, enrolled, "device connected");
        self.state = State::LoggedIn(Session { device: device_id, owner, name: device.name, number, expires_at });
        self.inner.events.tell(owner, FleetEvent::DeviceChanged { device_id, online: true });
        self.inner.streams.device_came(device_id);
    }

    fn refuse(&mut self, id: MessageId, reason: Refusal, message: String) {
        tracing::info!(remote = %self.remote, ?reason, message, "a device's login was refused");
        let close = Outgoing::Close { reason: "login refused".to_owned() };
        self.send(id, RelayMessage::AuthLoginResponse(AuthLoginResponse::Refused { reason, message }));
        self.state = State::Closed;
        drop(self.outgoing.try_send(close));
    }
}

fn storage_failed(error: &DbError) -> (Refusal, String) {
    tracing::error!(%error, "the storage failed during a device's login");
    (Refusal::Other, "the relay's storage failed: try again".to_owned())
}

impl Inner {
    fn session_token(&self, device: DeviceId, owner: OwnerId, now: Timestamp) -> SessionToken {
        let key = &self.secrets.token_key;
        let (token, expires_at): (SecretString, Timestamp) =
            jwt::issue(key, device.to_string(), "device", owner, (now, self.config.timing.device_session));
        SessionToken { token: Sensitive::new(token.expose_secret()), expires_at }
    }
}
