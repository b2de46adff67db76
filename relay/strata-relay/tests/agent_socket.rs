//! The agents' socket as a device meets it: a real server on a free port, a real WebSocket, good and bad behaviour.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use strata_control::{
    AgentInfo, AuthLogin, AuthLoginResponse, Credential, DeviceMessage, DeviceStatus, ENROL_CONTEXT, Envelope,
    ErrorCode, MAX_FRAME_BYTES, MessageId, Refusal, RelayMessage, Sensitive,
};
use strata_fleet::admin::{AddUser, add_user};
use strata_fleet::{Actor, Fleet, FleetConfig, Role};
use strata_identity::KeyPair;
use strata_relay::agent_socket;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

/// Generous: the machine may be busy with everything else.
const LIMIT: Duration = Duration::from_secs(60);

struct Relay {
    fleet: Fleet,
    admin: Actor,
    address: SocketAddr,
    _folder: TempDir,
}

impl Relay {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // No stream is started here, so no worker is.
        let config = FleetConfig::local(folder.path(), Path::new("/bin/false"));
        let fleet = Fleet::open(config.clone()).await.unwrap();
        let (email, password) = ("admin@one.example", "correct horse battery");
        let add =
            AddUser { email: email.to_owned(), password: password.into(), role: Role::Admin, owner: "one".to_owned() };
        add_user(&config, add).await.unwrap();
        let admin = fleet.login(email, &password.into(), None).await.unwrap().actor;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = agent_socket::router(fleet.clone(), false).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { fleet, admin, address, _folder: folder }
    }

    async fn connect(&self) -> Device {
        let (socket, _) = connect_async(format!("ws://{}/agent/ws", self.address)).await.unwrap();
        Device { socket }
    }
}

struct Device {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What comes from the relay.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few and short-lived")]
enum Heard {
    Said(Envelope<RelayMessage>),
    Closed(Option<CloseFrame>),
}

impl Device {
    async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    async fn say(&mut self, message: DeviceMessage) -> MessageId {
        let id = MessageId(Uuid::now_v7());
        let text = Envelope::new(id, Timestamp::now(), message).encode().unwrap();
        self.send(Message::text(text)).await;
        id
    }

    async fn hear(&mut self) -> Heard {
        loop {
            match tokio::time::timeout(LIMIT, self.socket.next()).await.expect("the relay says something") {
                Some(Ok(Message::Text(text))) => return Heard::Said(Envelope::decode(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Heard::Closed(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }

    async fn error(&mut self) -> (MessageId, ErrorCode) {
        match self.hear().await {
            Heard::Said(Envelope { id, message: RelayMessage::Error(error), .. }) => (id, error.code),
            other => panic!("{other:?} instead of an error"),
        }
    }

    async fn present(&mut self, token: &str, key: &KeyPair) -> AuthLoginResponse {
        let credential = Credential::EnrolmentToken {
            token: Sensitive::new(token),
            public_key: key.public(),
            proof: key.sign(ENROL_CONTEXT, token.as_bytes()),
        };
        let agent = AgentInfo {
            agent_version: "test".to_owned(),
            hostname: "test".to_owned(),
            arch: "x86_64".to_owned(),
            image_version: None,
            booted_slot: None,
        };
        let id = self.say(DeviceMessage::AuthLogin(AuthLogin { credential, agent })).await;
        match self.hear().await {
            Heard::Said(Envelope { id: answered, message: RelayMessage::AuthLoginResponse(answer), .. }) => {
                assert_eq!(answered, id);
                answer
            }
            other => panic!("{other:?} instead of an answer to the login"),
        }
    }

    async fn closed(&mut self) -> CloseFrame {
        match self.hear().await {
            Heard::Closed(Some(frame)) => frame,
            other => panic!("{other:?} instead of a close frame"),
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_and_the_connection_stays_good() {
    let relay = Relay::start().await;
    let (id, token) = relay.fleet.create_device(&relay.admin, "Camera car").await.unwrap();
    let mut device = relay.connect().await;
    for garbage in ["", "{", "[1, 2]", "{\"id\": 7}", "null", "\u{0}"] {
        device.send(Message::text(garbage)).await;
        assert_eq!(device.error().await.1, ErrorCode::Malformed, "{garbage:?}");
    }
    device.send(Message::binary(vec![0u8; 64])).await;
    assert_eq!(device.error().await.1, ErrorCode::Malformed);
    let unknown = MessageId(Uuid::now_v7());
    let ts = Timestamp::now();
    let text = format!(r#"{{"id":"{unknown}","type":"device.dance","ts":"{ts}","version":1,"payload":{{}}}}"#);
    device.send(Message::text(text)).await;
    assert_eq!(device.error().await, (unknown, ErrorCode::UnknownType));
    let early = device.say(DeviceMessage::DeviceStatus(DeviceStatus::default())).await;
    assert_eq!(device.error().await, (early, ErrorCode::NotLoggedIn));

    let answer = device.present(token.token.expose_secret(), &KeyPair::generate()).await;
    assert!(matches!(answer, AuthLoginResponse::Enrolled { device_id, .. } if device_id == id), "{answer:?}");
    device.send(Message::text("still garbage")).await;
    assert_eq!(device.error().await.1, ErrorCode::Malformed);
    assert!(relay.fleet.device(&relay.admin, id).await.unwrap().online);
    relay.fleet.shutdown().await;
}

#[tokio::test]
async fn an_oversized_message_closes_the_connection_with_the_limit() {
    let relay = Relay::start().await;
    let mut device = relay.connect().await;
    device.send(Message::text("x".repeat(MAX_FRAME_BYTES + 1))).await;
    let frame = device.closed().await;
    assert_eq!(u16::from(frame.code), 1009);
    assert!(frame.reason.contains("262144"), "{}", frame.reason);
    relay.fleet.shutdown().await;
}

#[tokio::test]
async fn a_refused_login_is_told_why_and_closed_and_guessing_is_slowed_down() {
    let relay = Relay::start().await;
    let key = KeyPair::generate();
    let mut refusals = Vec::new();
    for _ in 0..25 {
        let mut device = relay.connect().await;
        match device.present("0123456789-0123456789abcdefghjkmnpqrs", &key).await {
            AuthLoginResponse::Refused { reason, message } => {
                assert!(!message.is_empty());
                refusals.push(reason);
            }
            other => panic!("{other:?} instead of a refusal"),
        }
        assert_eq!(u16::from(device.closed().await.code), 1008);
    }
    assert_eq!(refusals.first(), Some(&Refusal::TokenUnknown));
    assert_eq!(refusals.last(), Some(&Refusal::TooManyAttempts));
    relay.fleet.shutdown().await;
}

#[tokio::test]
async fn a_revocation_closes_the_live_socket_at_once_and_says_so() {
    let relay = Relay::start().await;
    let (id, token) = relay.fleet.create_device(&relay.admin, "Camera car").await.unwrap();
    let mut device = relay.connect().await;
    let answer = device.present(token.token.expose_secret(), &KeyPair::generate()).await;
    assert!(matches!(answer, AuthLoginResponse::Enrolled { .. }), "{answer:?}");
    relay.fleet.revoke_device(&relay.admin, id).await.unwrap();
    let frame = device.closed().await;
    assert!(frame.reason.contains("revoked"), "{}", frame.reason);
    assert!(!relay.fleet.device(&relay.admin, id).await.unwrap().online);
    relay.fleet.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_with_the_reason() {
    let relay = Relay::start().await;
    let mut device = relay.connect().await;
    let frame = device.closed().await;
    assert!(frame.reason.contains("no login within"), "{}", frame.reason);
    relay.fleet.shutdown().await;
}
