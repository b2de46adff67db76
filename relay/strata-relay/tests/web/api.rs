//! REST from login to a stream's reason, and its description.

use std::collections::BTreeSet;

use crate::support::{Answer, Browser, Site};
use serde_json::{Value, json};
use strata_fleet::Role;
use strata_relay::http::ROUTES;

/// A program with an access token.
struct Program {
    browser: Browser,
    bearer: String,
}

impl Program {
    async fn log_in(site: &Site, email: &str) -> Self {
        let login = json!({ "email": email, "password": crate::support::PASSWORD }).to_string();
        let answer = site.browser().send("POST", "/api/auth/login", &[], &login).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let bearer = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
        Self { browser: site.browser(), bearer }
    }

    async fn call(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let bearer = self.bearer.clone();
        self.browser.send(method, path, &[("Authorization", &bearer)], &body).await
    }
}

#[tokio::test]
async fn a_program_goes_from_login_to_a_streams_reason() {
    let site = Site::start().await;
    site.user("kim@example.org", Role::Admin, "Club").await;
    let mut program = Program::log_in(&site, "kim@example.org").await;

    let made = program.call("POST", "/api/devices", json!({ "name": "Van 2" })).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(made.json()["token"].as_str().is_some_and(|token| token.len() >= 20));
    let device = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/devices/{device}");
    assert_eq!(program.call("GET", &path, Value::Null).await.json()["enrolled"], false);
    let body = json!({ "source": { "kind": "test_pattern" } });
    let refused = program.call("POST", &format!("{path}/stream/start"), body.clone()).await;
    assert!(matches!(refused.status, 409 | 422), "a device that is not enrolled cannot go live: {}", refused.body);

    let (online, _agent) = site.online_device(&site.actor("kim@example.org").await, "Van 3").await;
    let path = format!("/api/devices/{online}");
    let missing = program.call("POST", &format!("{path}/stream/start"), json!({})).await;
    assert_eq!(missing.status, 422);
    assert!(missing.json()["error"]["message"].as_str().unwrap().contains("source"), "{}", missing.body);
    let bounds = json!({ "source": { "kind": "test_pattern" }, "settings": { "latency_ms": 20 } });
    let bounds = program.call("POST", &format!("{path}/stream/start"), bounds).await;
    assert_eq!(bounds.status, 422);
    assert!(bounds.json()["error"]["message"].as_str().unwrap().contains("latency"), "{}", bounds.body);

    let started = program.call("POST", &format!("{path}/stream/start"), body).await;
    assert_eq!(started.status, 201, "{}", started.body);
    let stream = started.json();
    assert_eq!((&stream["is_test_pattern"], &stream["device_name"]), (&json!(true), &json!("Van 3")));
    assert_eq!(stream["hls_url"], format!("/hls/{}/index.m3u8", stream["play_key"].as_str().unwrap()));

    let stream_path = format!("/api/streams/{}", stream["id"].as_str().unwrap());
    let mut over = Value::Null;
    for _ in 0..300 {
        over = program.call("GET", &stream_path, Value::Null).await.json();
        if over["ended_at"].is_string() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!((&over["state"], &over["reason"]), (&json!("failed"), &json!("worker_failed")), "{over}");
    assert!(over["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{over}");
    let events = program.call("GET", &format!("{stream_path}/events"), Value::Null).await.json();
    assert!(events["events"].as_array().is_some_and(|events| events.len() >= 2), "{events}");
    let listed = program.call("GET", &format!("/api/streams?device={online}&over=true"), Value::Null).await.json();
    assert_eq!(listed["streams"].as_array().map(Vec::len), Some(1));
    assert_eq!(program.call("GET", "/api/streams?over=maybe", Value::Null).await.status, 422);
    let page = site.browser().get("/").await;
    assert_eq!(page.status, 303, "a token is no session");
}

#[tokio::test]
async fn a_refresh_token_works_once() {
    let site = Site::start().await;
    site.user("kim@example.org", Role::Viewer, "Club").await;
    let login = json!({ "email": "kim@example.org", "password": crate::support::PASSWORD }).to_string();
    let mut browser = site.browser();
    let first = browser.send("POST", "/api/auth/login", &[], &login).await.json();
    let refresh = json!({ "refresh_token": first["refresh_token"] }).to_string();
    let second = browser.send("POST", "/api/auth/refresh", &[], &refresh).await;
    assert_eq!(second.status, 200, "{}", second.body);
    let again = browser.send("POST", "/api/auth/refresh", &[], &refresh).await;
    assert_eq!((again.status, again.json()["error"]["code"].as_str()), (401, Some("unauthenticated")));
    let second = json!({ "refresh_token": second.json()["refresh_token"] }).to_string();
    assert_eq!(browser.send("POST", "/api/auth/logout", &[], &second).await.status, 204);
    assert_eq!(browser.send("POST", "/api/auth/refresh", &[], &second).await.status, 401);
}

#[tokio::test]
async fn monitoring_gets_its_numbers() {
    let site = Site::start().await;
    let mut browser = site.browser();
    assert_eq!(browser.get("/healthz").await.json()["alive"], true);
    assert_eq!(browser.get("/readyz").await.json()["ready"], true);
    let text = browser.get("/metrics").await;
    assert_eq!(text.status, 200);
    assert!(text.header("content-type").starts_with("text/plain"));
    for line in
        ["strata_devices_online 0", "strata_streams 0", "strata_lost_datagrams_total 0", "# TYPE strata_info gauge"]
    {
        assert!(text.body.lines().any(|said| said == line), "{line} is missing:\n{}", text.body);
    }
    let proxied = browser.send("GET", "/metrics", &[("X-Forwarded-For", "203.0.113.9")], "").await;
    assert_eq!(proxied.status, 401, "what a proxy passes on is not from this machine");
}

/// Every route but the pages and assets is described, with its methods, and nothing else is.
#[tokio::test]
async fn the_description_names_every_route() {
    let site = Site::start().await;
    let document = site.browser().get("/api/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            described.insert(format!("{method} {path}"));
        }
    }
    let programs = |path: &str| {
        ["/api/", "/hls/", "/play/", "/healthz", "/readyz", "/metrics"].iter().any(|start| path.starts_with(start))
    };
    let served: BTreeSet<String> = ROUTES
        .iter()
        .filter(|route| programs(route.path))
        .flat_map(|route| route.methods.iter().map(|method| format!("{method} {}", route.path)))
        .collect();
    assert_eq!(described, served);
    assert_references(&document, &document);
}

/// Every `$ref` points at something.
fn assert_references(document: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{target} points at nothing");
            }
            fields.values().for_each(|value| assert_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|item| assert_references(document, item)),
        _ => {}
    }
}
