//! The WebSocket of pages and programs: who may open it, what it tells, and to whom.

use std::time::Duration;

use crate::support::{Browser, Site};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use strata_control::{DeviceMessage, DeviceStatus, SlotName, UpdateProgress, UpdateStep};
use strata_fleet::Role;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(browser: &Browser, headers: &[(&'static str, String)]) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/api/ws", browser.address).into_client_request().unwrap();
    let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    request.headers_mut().insert("cookie", cookies.join("; ").parse().unwrap());
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// The next message that holds; those before are passed over.
async fn hear(socket: &mut Socket, holds: impl Fn(&Value) -> bool) -> Value {
    let wanted = async {
        loop {
            let message = socket.next().await.expect("the socket is open").unwrap();
            if let Message::Text(text) = message {
                let value: Value = serde_json::from_str(&text).unwrap();
                if holds(&value) {
                    return value;
                }
            }
        }
    };
    timeout(LIMIT, wanted).await.expect("the message comes")
}

async fn closed_with(socket: &mut Socket) -> u16 {
    let wanted = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                return frame.map_or(1005, |frame| frame.code.into());
            }
        }
        1006
    };
    timeout(LIMIT, wanted).await.expect("the socket is closed")
}

#[tokio::test]
async fn only_who_is_logged_in_and_on_the_relays_own_pages_may_open_it() {
    let site = Site::start().await;
    let kim = site.person("kim@example.org", Role::Viewer, "Club").await;
    assert_eq!(open(&site.browser(), &[]).await.err(), Some(401));
    assert_eq!(open(&kim, &[("origin", "https://evil.example".into())]).await.err(), Some(403));
    assert!(open(&kim, &[("origin", format!("http://{}", site.address))]).await.is_ok());
    let login = r#"{"email":"kim@example.org","password":"correct horse battery"}"#;
    let tokens = site.browser().send("POST", "/api/auth/login", &[], login).await.json();
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    assert!(open(&site.browser(), &[("authorization", bearer)]).await.is_ok());
}

#[tokio::test]
async fn a_page_gets_its_parts_and_a_program_gets_objects() {
    let site = Site::start().await;
    let kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let actor = site.actor("kim@example.org").await;
    let mut page = open(&kim, &[]).await.unwrap();
    let mut program = open(&kim, &[]).await.unwrap();
    say(&mut page, json!({ "subscribe": ["fleet"], "as": "page" })).await;
    say(&mut program, json!({ "subscribe": ["fleet"] })).await;
    hear(&mut page, |message| message["html"]["fleet-devices"].as_str().is_some_and(|html| html.contains("No device")))
        .await;
    hear(&mut program, |message| message["devices"] == json!([])).await;

    let (device, mut agent) = site.online_device(&actor, "Van 2").await;
    let shown = |message: &Value| {
        message["html"]["fleet-devices"].as_str().is_some_and(|html| html.contains("Van 2") && html.contains("Online"))
    };
    hear(&mut page, shown).await;
    hear(&mut program, |message| message["devices"][0]["online"] == true).await;

    say(&mut program, json!({ "subscribe": [format!("device:{device}")] })).await;
    hear(&mut program, |message| message["device"]["status"]["uptime_s"] == 0).await;
    agent.say(DeviceMessage::DeviceStatus(DeviceStatus { uptime_s: 77, ..DeviceStatus::default() })).await;
    let told = hear(&mut program, |message| message["device"]["status"]["uptime_s"] == 77).await;
    assert_eq!(told["topic"], format!("device:{device}"));
    assert!(told["now_ms"].as_i64().is_some_and(|now| now > 1_700_000_000_000));
}

#[tokio::test]
async fn an_updates_progress_moves_on_the_pages_that_show_it() {
    let site = Site::start().await;
    let kim = site.person("kim@example.org", Role::Viewer, "Club").await;
    site.user("ada@example.org", Role::Admin, "Club").await;
    let (device, mut agent) = site.online_device(&site.actor("ada@example.org").await, "Van 2").await;
    let mut page = open(&kim, &[]).await.unwrap();
    say(&mut page, json!({ "subscribe": [format!("device:{device}"), "fleet"], "as": "page" })).await;
    hear(&mut page, |message| message["html"]["device-system"].is_string()).await;
    for (percent, step) in [(12, UpdateStep::Downloading), (71, UpdateStep::Downloading), (100, UpdateStep::Verifying)]
    {
        let progress = UpdateProgress { version: "1.4.0".into(), slot: SlotName::B, percent, step, error: None };
        agent.say(DeviceMessage::UpdateProgress(progress)).await;
        let bar = format!(r#"<progress max="100" value="{percent}""#);
        let holds = |message: &Value, part: &str, words: &str| {
            message["html"][part].as_str().is_some_and(|html| html.contains(words))
        };
        let (mut on_page, mut in_fleet) = (false, false);
        let mark = if step == UpdateStep::Downloading { format!("Updating, {percent} %") } else { "Updating<".into() };
        while !(on_page && in_fleet) {
            let message = hear(&mut page, |message| message["html"].is_object()).await;
            on_page |= holds(&message, "device-system", &bar);
            in_fleet |= holds(&message, "fleet-devices", &mark);
        }
    }
}

#[tokio::test]
async fn another_owners_topics_are_as_unknown_as_ones_that_nobody_has() {
    let site = Site::start().await;
    let eve = site.person("eve@example.net", Role::Admin, "Rival").await;
    site.user("kim@example.org", Role::Admin, "Club").await;
    let actor = site.actor("kim@example.org").await;
    let owned = site.belongings(&actor).await;
    let mut socket = open(&eve, &[]).await.unwrap();
    for (owned, what) in
        [(format!("device:{}", owned.device), "device"), (format!("stream:{}", owned.stream), "stream")]
    {
        let unknown = format!("{what}:0192f0a0-0000-7000-8000-00000000dead");
        for topic in [&owned, &unknown] {
            say(&mut socket, json!({ "subscribe": [topic] })).await;
            let answer = hear(&mut socket, |message| message["topic"] == topic.as_str()).await;
            assert_eq!(answer["error"], json!({ "code": "not_found", "message": format!("no such {what}") }));
        }
    }
    // Whatever happens to Kim's things, Eve's fleet stays silent about it.
    say(&mut socket, json!({ "subscribe": ["fleet", format!("device:{}", owned.device)] })).await;
    hear(&mut socket, |message| message["devices"] == json!([])).await;
    site.fleet.rename_device(&actor, owned.device, "Renamed").await.unwrap();
    site.fleet.revoke_device(&actor, owned.device).await.unwrap();
    let (_own, _agent) = site.online_device(&site.actor("eve@example.net").await, "Eve's own").await;
    let told = hear(&mut socket, |message| {
        assert!(!message.to_string().contains("Renamed"), "{message}");
        message["devices"].as_array().is_some_and(|devices| !devices.is_empty())
    });
    assert_eq!(told.await["devices"][0]["name"], "Eve's own");
}

#[tokio::test]
async fn what_is_not_understood_ends_the_connection_with_a_reason() {
    let site = Site::start().await;
    let kim = site.person("kim@example.org", Role::Viewer, "Club").await;
    let many: Vec<String> = (0..33).map(|_| "fleet".to_owned()).collect();
    for message in ["hello", "{}", r#"{"subscribe":["all"]}"#, &json!({ "subscribe": many }).to_string()] {
        let mut socket = open(&kim, &[]).await.unwrap();
        socket.send(Message::text(message)).await.unwrap();
        assert_eq!(closed_with(&mut socket).await, 4400, "{message}");
    }
    let mut socket = open(&kim, &[]).await.unwrap();
    // Whether the close or the reset comes first is the network's choice; the connection ends in any case.
    let _sent = socket.send(Message::text("x".repeat(100_000))).await;
    closed_with(&mut socket).await;
}

#[tokio::test]
async fn a_session_that_ended_loses_its_sockets() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Viewer, "Club").await;
    let mut socket = open(&kim, &[]).await.unwrap();
    say(&mut socket, json!({ "subscribe": ["fleet"] })).await;
    hear(&mut socket, |message| message["topic"] == "fleet").await;
    kim.post("/logout", &[]).await;
    let code = timeout(LIMIT * 2, closed_with(&mut socket)).await.unwrap();
    assert_eq!(code, 4401);
}
