//! Logging in and out, and what protects a session.

use crate::support::{PASSWORD, Site};
use strata_fleet::Role;
use strata_relay::http::{HttpSettings, ROUTES};

#[tokio::test]
async fn a_person_logs_in_sees_the_fleet_and_logs_out() {
    let site = Site::start().await;
    let mut kim = site.browser();
    site.user("kim@example.org", Role::Admin, "Club").await;
    let sent_to = kim.get("/streams").await;
    assert_eq!((sent_to.status, sent_to.header("location")), (303, "/login?next=/streams"));
    let login = kim.get("/login?next=/streams").await;
    assert!(login.body.contains(r#"name="next" value="/streams""#));

    assert_eq!(kim.log_in("kim@example.org", PASSWORD).await.status, 303);
    let fleet = kim.get("/").await;
    assert_eq!(fleet.status, 200);
    assert!(fleet.body.contains("No device yet") && fleet.body.contains("kim@example.org"), "{}", fleet.body);
    let session = kim.cookies.clone();

    assert_eq!(kim.post("/logout", &[]).await.header("location"), "/login");
    assert_eq!(kim.get("/").await.status, 303);
    kim.cookies = session;
    assert_eq!(kim.get("/").await.status, 303, "the session is over on the relay too");
}

#[tokio::test]
async fn the_session_cookie_is_kept_from_scripts_and_other_sites() {
    for (tls, name) in [(false, "strata="), (true, "__Host-strata=")] {
        let site = Site::with(HttpSettings { tls, ..HttpSettings::default() }).await;
        site.user("kim@example.org", Role::Viewer, "Club").await;
        let mut kim = site.browser();
        let answer = kim.log_in("kim@example.org", PASSWORD).await;
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with(name), "{cookie}");
        assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        assert_eq!(cookie.contains("; Secure"), tls);
        assert_eq!(!answer.header("strict-transport-security").is_empty(), tls);
    }
}

#[tokio::test]
async fn wrong_passwords_are_told_alike_and_lock_out_after_a_while() {
    let site = Site::start().await;
    site.user("kim@example.org", Role::Admin, "Club").await;
    let mut stranger = site.browser();
    let known = stranger.log_in("kim@example.org", "not this one").await;
    let unknown = stranger.log_in("nobody@example.org", "not this one").await;
    assert_eq!((known.status, unknown.status), (401, 401));
    let told = |answer: &crate::support::Answer| {
        answer.body.split(r#"role="alert">"#).nth(1).unwrap().split("</div>").next().unwrap().to_owned()
    };
    assert_eq!(told(&known), told(&unknown), "nobody learns which addresses have a login");

    let mut status = 401;
    for _ in 0..20 {
        status = stranger.log_in("kim@example.org", "not this one").await.status;
        if status == 429 {
            break;
        }
    }
    assert_eq!(status, 429);
    let right = stranger.log_in("kim@example.org", PASSWORD).await;
    assert_eq!(right.status, 429);
    assert!(right.body.contains("Too many failed attempts: try again in"), "{}", right.body);
    let api = stranger
        .send("POST", "/api/auth/login", &[], r#"{"email":"kim@example.org","password":"correct horse battery"}"#)
        .await;
    assert_eq!(api.status, 429);
    assert!(api.header("retry-after").parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_form_without_the_sessions_token_changes_nothing() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let mut other = site.person("pat@example.org", Role::Admin, "Club").await;
    let stolen = other.csrf().await;
    for csrf in ["", "0", stolen.as_str()] {
        let answer = kim.post_bare("/devices", &[("csrf", csrf), ("name", "Van 2")]).await;
        assert_eq!(answer.status, 403, "{csrf:?}");
        let answer = kim.send("POST", "/api/devices", &[("X-CSRF-Token", csrf)], r#"{"name":"Van 2"}"#).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (403, Some("csrf")), "{csrf:?}");
        assert_eq!(kim.post_bare("/login", &[("csrf", csrf)]).await.status, 403);
    }
    assert!(kim.get("/").await.body.contains("No device yet"));
    let csrf = kim.csrf().await;
    let answer = kim.send("POST", "/api/devices", &[("X-CSRF-Token", &csrf)], r#"{"name":"Van 2"}"#).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

#[tokio::test]
async fn another_sites_request_is_refused_though_it_carries_the_cookie() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let csrf = kim.csrf().await;
    let headers = [("Origin", "https://evil.example"), ("X-CSRF-Token", csrf.as_str())];
    let answer = kim.send("POST", "/api/devices", &headers, r#"{"name":"Van 2"}"#).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (403, Some("wrong_origin")));
}

#[tokio::test]
async fn only_the_hosts_that_were_allowed_are_answered() {
    let settings = HttpSettings { allowed_hosts: vec!["relay.example".into()], ..HttpSettings::default() };
    let site = Site::with(settings).await;
    let mut browser = site.browser();
    assert_eq!(browser.get("/healthz").await.status, 421);
    assert_eq!(browser.send("GET", "/healthz", &[("Host", "relay.example:8443")], "").await.status, 200);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_protect_browsers() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let belongings = site.belongings(&site.actor("kim@example.org").await).await;
    for route in ROUTES.iter().filter(|route| route.methods.contains(&"get")) {
        let path = route
            .path
            .replace("/api/ws", "/api/devices")
            .replace("{key}", &belongings.play_key)
            .replace("{file}", "index.m3u8")
            .replace("{name}", "strata.css");
        let path = if path.contains("/destinations/") {
            path.replace("{id}", &belongings.destination)
        } else if path.contains("/streams/") {
            path.replace("{id}", &belongings.stream.to_string())
        } else {
            path.replace("{id}", &belongings.device.to_string())
        };
        for browser in [&mut kim, &mut site.browser()] {
            let answer = browser.get(&path).await;
            assert!(answer.status < 500, "{path}: {}", answer.body);
            let policy = answer.header("content-security-policy");
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
            if answer.header("content-type").starts_with("text/html") {
                assert_eq!(answer.header("cache-control"), "no-store", "{path}");
                assert!(!answer.body.contains(" style=") && !answer.body.contains(" onclick="), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn large_and_strange_bodies_are_refused_with_a_reason() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let csrf = kim.csrf().await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(100_000));
    for (body, status, code) in [
        (large.as_str(), 413, "too_large"),
        ("{", 400, "bad_request"),
        ("[]", 422, "invalid"),
        (r#"{"nome":"Van"}"#, 422, "invalid"),
        (r#"{"name":""}"#, 422, "invalid"),
    ] {
        let answer = kim.send("POST", "/api/devices", &[("X-CSRF-Token", &csrf)], body).await;
        let said = answer.json();
        assert_eq!((answer.status, said["error"]["code"].as_str()), (status, Some(code)), "{said}");
        assert!(said["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{said}");
    }
    let answer = kim.send("PUT", "/api/devices", &[("X-CSRF-Token", &csrf)], "").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (405, Some("wrong_method")));
    assert_eq!(kim.get("/api/nothing").await.json()["error"]["code"], "not_found");
    assert!(kim.get("/nothing").await.body.contains("no such page"));
}
