//! A relay's pages on port 0 with a database of their own, and a browser small enough to see through.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use strata_control::{
    AgentInfo, AuthLogin, Credential, DeviceId, DeviceMessage, DeviceStatus, ENROL_CONTEXT, Envelope, Message,
    MessageId, Sensitive, Source, StreamId,
};
use strata_fleet::{Actor, AgentConnection, AgentOutbox, Fleet, FleetConfig, Role, StartStream, admin};
use strata_identity::KeyPair;
use strata_relay::http::{AppState, HttpSettings, router};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A running relay without agents' socket.
pub(crate) struct Site {
    pub(crate) fleet: Fleet,
    pub(crate) config: FleetConfig,
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
    _folder: TempDir,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with(HttpSettings::default()).await
    }

    pub(crate) async fn with(settings: HttpSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // No worker can be started: a stream that is asked for fails and says so.
        let mut config = FleetConfig::local(folder.path(), Path::new("/nonexistent/strata-egress"));
        config.allow_private_destinations = true;
        let fleet = Fleet::open(config.clone()).await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(AppState::new(fleet.clone(), settings));
        let service = service.into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { fleet, config, address, server, _folder: folder }
    }

    pub(crate) async fn user(&self, email: &str, role: Role, owner: &str) {
        let add = admin::AddUser { email: email.into(), password: PASSWORD.into(), role, owner: owner.into() };
        admin::add_user(&self.config, add).await.unwrap();
    }

    /// A new user in a browser that is logged in.
    pub(crate) async fn person(&self, email: &str, role: Role, owner: &str) -> Browser {
        self.user(email, role, owner).await;
        let mut browser = self.browser();
        let answer = browser.log_in(email, PASSWORD).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        browser
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser { address: self.address, cookies: BTreeMap::new() }
    }

    pub(crate) async fn actor(&self, email: &str) -> Actor {
        self.fleet.login(email, &SecretString::from(PASSWORD), None).await.unwrap().actor
    }

    /// A device with a stream that failed for want of a worker, and a destination.
    pub(crate) async fn belongings(&self, actor: &Actor) -> Belongings {
        let (device, _agent) = self.online_device(actor, "Truck 7").await;
        let start = StartStream {
            source: Source::TestPattern,
            settings: strata_control::EncoderSettings::default(),
            destinations: Vec::new(),
            record_locally: false,
            links: Vec::new(),
        };
        let stream = self.fleet.start_stream(actor, device, start).await.unwrap();
        let input = strata_fleet::DestinationInput {
            name: "Secret club".into(),
            url: "rtmps://127.0.0.1/live".into(),
            key: Some("hidden-stream-key".into()),
        };
        let destination = self.fleet.create_destination(actor, input).await.unwrap();
        let play_key = self.fleet.stream(actor, stream).await.unwrap().play_key;
        Belongings { device, stream, destination: destination.to_string(), play_key }
    }

    /// An enrolled device whose connection stays open while the agent is kept.
    pub(crate) async fn online_device(&self, actor: &Actor, name: &str) -> (DeviceId, Agent) {
        let (device, token) = self.fleet.create_device(actor, name).await.unwrap();
        let token = token.token.expose_secret().to_owned();
        let key = KeyPair::generate();
        let (connection, outbox) = self.fleet.accept_agent(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut agent = Agent { connection, outbox };
        let login = AuthLogin {
            credential: Credential::EnrolmentToken {
                token: Sensitive::new(token.clone()),
                public_key: key.public(),
                proof: key.sign(ENROL_CONTEXT, token.as_bytes()),
            },
            agent: AgentInfo {
                agent_version: "0.1.0".into(),
                hostname: "bench".into(),
                arch: "x86_64".into(),
                image_version: None,
                booted_slot: None,
            },
        };
        agent.say(DeviceMessage::AuthLogin(login)).await;
        assert!(agent.connection.is_logged_in());
        agent.say(DeviceMessage::DeviceStatus(DeviceStatus { simulated: true, ..DeviceStatus::default() })).await;
        (device, agent)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What an owner has.
pub(crate) struct Belongings {
    pub(crate) device: DeviceId,
    pub(crate) stream: StreamId,
    pub(crate) destination: String,
    pub(crate) play_key: String,
}

/// A device's end of its connection.
pub(crate) struct Agent {
    pub(crate) connection: AgentConnection,
    pub(crate) outbox: AgentOutbox,
}

impl Agent {
    pub(crate) async fn say(&mut self, message: DeviceMessage) {
        let envelope = Envelope::new(MessageId(Uuid::now_v7()), Timestamp::now(), message);
        self.connection.receive(&encode(&envelope)).await;
    }
}

fn encode<M: Message>(envelope: &Envelope<M>) -> String {
    envelope.encode().unwrap()
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case; those that come twice are joined by a line break.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Keeps cookies, sends forms with the token of the page before.
pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// A form with this session's CSRF token.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf().await;
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend_from_slice(fields);
        self.post_bare(path, &all).await
    }

    /// A form as it is.
    pub(crate) async fn post_bare(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        self.send("POST", path, &[form], &pairs.join("&")).await
    }

    /// The token of this browser's forms; of the login form when nobody is logged in.
    pub(crate) async fn csrf(&mut self) -> String {
        let mut page = self.get("/").await;
        if page.status == 303 {
            page = self.get("/login").await;
        }
        let (_, rest) = page.body.split_once(r#"name="csrf" value=""#).expect("each page has a form");
        rest.split('"').next().unwrap().to_owned()
    }

    pub(crate) async fn log_in(&mut self, email: &str, password: &str) -> Answer {
        self.post("/login", &[("email", email), ("password", password), ("next", "/")]).await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request.push_str(&format!("Host: {}\r\n", self.address));
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request.push_str(&format!("Cookie: {}\r\n", pairs.join("; ")));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let answer = exchange(self.address, request.as_bytes()).await;
        for line in answer.header("set-cookie").lines() {
            let (pair, attributes) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }
}

async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    // A server that refuses a large body may reset the connection after its answer.
    let _ended = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let slot = headers.entry(name.to_ascii_lowercase()).or_default();
        if !slot.is_empty() {
            slot.push('\n');
        }
        slot.push_str(value);
    }
    let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
    Answer { status, headers, body: if chunked { unchunk(body) } else { body.to_owned() } }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
