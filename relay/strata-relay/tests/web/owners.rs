//! Two owners over every route: what is one's looks to the other exactly like what is not there.

use crate::support::{Answer, Belongings, Browser, Site};
use strata_fleet::Role;
use strata_relay::http::{Access, ROUTES, RouteInfo};
use uuid::Uuid;

/// What must not reach the other owner in any form.
const SECRETS: [&str; 3] = ["Truck 7", "Secret club", "hidden-stream-key"];

/// The route with an identifier that fits its kind, and one that nobody has.
fn paths(route: &RouteInfo, owned: &Belongings) -> (String, String) {
    let id = if route.path.contains("/devices/") {
        owned.device.to_string()
    } else if route.path.contains("/streams/") {
        owned.stream.to_string()
    } else if route.path.contains("/destinations/") {
        owned.destination.clone()
    } else {
        assert!(!route.path.contains("{id}"), "{}: say here which identifier it takes", route.path);
        String::new()
    };
    let unknown = Uuid::now_v7().to_string();
    (route.path.replace("{id}", &id), route.path.replace("{id}", &unknown))
}

async fn ask(browser: &mut Browser, method: &str, path: &str, csrf: &str) -> Answer {
    let method = method.to_uppercase();
    if path.starts_with("/api/") {
        let body = match (method.as_str(), path) {
            ("GET" | "DELETE", _) => "",
            (_, path) if path.ends_with("/start") || path.ends_with("/source") => {
                r#"{"source":{"kind":"test_pattern"}}"#
            }
            (_, path) if path.ends_with("/update") => r#"{"bundle_url":"https://a.example/b","version":"1.4.0"}"#,
            (_, path) if path.contains("destinations") => r#"{"name":"x","url":"rtmps://127.0.0.1/live"}"#,
            _ => "{}",
        };
        return browser.send(&method, path, &[("X-CSRF-Token", csrf)], body).await;
    }
    if method == "POST" {
        return browser
            .post_bare(path, &[("csrf", csrf), ("source", "test-pattern"), ("name", "x"), ("url", "x")])
            .await;
    }
    browser.get(path).await
}

#[tokio::test]
async fn no_route_shows_or_changes_another_owners_things() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let mut eve = site.person("eve@example.net", Role::Admin, "Rival").await;
    let kims = site.actor("kim@example.org").await;
    let owned = site.belongings(&kims).await;
    let csrf = eve.csrf().await;

    let mut with_id = 0;
    for route in ROUTES.iter().filter(|route| route.access == Access::Owner && route.path != "/api/ws") {
        let (owned_path, unknown_path) = paths(route, &owned);
        for method in route.methods {
            let answer = ask(&mut eve, method, &owned_path, &csrf).await;
            for secret in SECRETS {
                assert!(!answer.body.contains(secret), "{method} {owned_path} shows {secret:?}: {}", answer.body);
            }
            if !route.path.contains("{id}") {
                continue;
            }
            with_id += 1;
            let unknown = ask(&mut eve, method, &unknown_path, &csrf).await;
            assert_eq!(answer.status, 404, "{method} {owned_path}: {}", answer.body);
            assert_eq!((answer.status, &answer.body), (unknown.status, &unknown.body), "{method} {owned_path}");
        }
    }
    assert!(with_id >= 36, "only {with_id} routes take an identifier");

    let device = site.fleet.device(&kims, owned.device).await.unwrap();
    assert!(device.enrolled && device.revoked_at.is_none() && device.name == "Truck 7");
    assert!(site.fleet.destination(&kims, owned.destination.parse().unwrap()).await.is_ok());
    assert!(kim.get("/").await.body.contains("Truck 7"));
    assert!(kim.get("/destinations").await.body.contains("Secret club"));
}

#[tokio::test]
async fn nobody_gets_anything_without_a_login() {
    let site = Site::start().await;
    site.user("kim@example.org", Role::Admin, "Club").await;
    let owned = site.belongings(&site.actor("kim@example.org").await).await;
    for route in ROUTES.iter().filter(|route| route.access == Access::Owner) {
        let (path, _) = paths(route, &owned);
        for method in route.methods {
            for header in [("X-Nothing", ""), ("Authorization", "Bearer abc.def.ghi"), ("Authorization", "Basic eDp5")]
            {
                let answer = site.browser().send(&method.to_uppercase(), &path, &[header], "").await;
                let expected = if path.starts_with("/api/") { 401 } else { 303 };
                assert_eq!(answer.status, expected, "{method} {path}: {}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn roles_are_held_on_every_page() {
    let site = Site::start().await;
    site.user("kim@example.org", Role::Admin, "Club").await;
    let owned = site.belongings(&site.actor("kim@example.org").await).await;
    let mut viewer = site.person("vic@example.org", Role::Viewer, "Club").await;
    let mut operator = site.person("ola@example.org", Role::Operator, "Club").await;
    let device = owned.device;
    assert!(viewer.get("/").await.body.contains("Truck 7"));
    for path in [format!("/devices/{device}/live"), "/devices/new".into(), "/users".into(), "/audit".into()] {
        let answer = viewer.get(&path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("yours is viewer"), "{}", answer.body);
    }
    let page = viewer.get(&format!("/devices/{device}")).await;
    assert!(!page.body.contains("Go live") && !page.body.contains("Revoke"), "{}", page.body);
    assert_eq!(viewer.post(&format!("/streams/{}/stop", owned.stream), &[]).await.status, 403);
    assert_eq!(operator.get(&format!("/devices/{device}/live")).await.status, 200);
    assert_eq!(operator.post(&format!("/devices/{device}/delete"), &[]).await.status, 403);
    assert_eq!(operator.post("/devices", &[("name", "Mine")]).await.status, 403);
    let bundle = [("bundle_url", "https://a.example/b"), ("version", "1.4.0")];
    for deed in ["update", "rollback", "reboot", "reset"] {
        assert_eq!(operator.post(&format!("/devices/{device}/{deed}"), &bundle).await.status, 403, "{deed}");
    }
    let page = operator.get(&format!("/devices/{device}")).await;
    assert!(page.body.contains("Download the log") && !page.body.contains("Reboot"), "{}", page.body);
    assert_eq!(viewer.post(&format!("/devices/{device}/log"), &[]).await.status, 403);
}

#[tokio::test]
async fn a_stream_key_is_written_and_never_read() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let owned = site.belongings(&site.actor("kim@example.org").await).await;
    let one = format!("/destinations/{}", owned.destination);
    let fields = [("name", "Secret club"), ("url", "rtmps://127.0.0.1/live"), ("key", "another-stream-key")];
    assert_eq!(kim.post(&one, &fields).await.status, 303);
    for path in ["/destinations", &one, "/api/destinations", &format!("/api{one}"), "/audit", "/api/audit"] {
        let answer = kim.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.contains("stream-key"), "{path}: {}", answer.body);
    }
    let wrong = [("name", "Odd"), ("url", "ftp://127.0.0.1/x"), ("key", "a-third-stream-key")];
    let answer = kim.post("/destinations", &wrong).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("rtmp") && !answer.body.contains("a-third-stream-key"), "{}", answer.body);
}
