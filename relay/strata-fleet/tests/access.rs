//! Who gets in, and who sees what: people, devices, and two owners who know nothing of each other.

mod common;

use std::time::Duration;

use common::{
    Bench, Device, LOCALHOST, PASSWORD, bundle, everything, go_live, present_token, reach, refusal, test_pattern,
};
use secrecy::{ExposeSecret, SecretString};
use strata_control::{AuthLoginResponse, Refusal, RelayMessage, Source};
use strata_fleet::{DestinationInput, ErrorKind, FleetError, FleetEvent, Role, StreamState};
use strata_identity::KeyPair;

#[tokio::test]
async fn an_enrolment_token_works_once_and_each_refusal_says_which_it_is() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let (id, first) = fleet.create_device(&admin, "Camera car").await.unwrap();
    let key = KeyPair::generate();
    let present = async |token: &SecretString| present_token(&fleet, token.expose_secret(), &key, &key).await;

    let unknown = SecretString::from("0123456789-0123456789abcdefghjkmnpqrs");
    assert_eq!(refusal(present(&unknown).await), Refusal::TokenUnknown);
    assert_eq!(refusal(present(&SecretString::from("rubbish")).await), Refusal::TokenUnknown);
    let stranger = KeyPair::generate();
    let forged = present_token(&fleet, first.token.expose_secret(), &key, &stranger).await;
    assert_eq!(refusal(forged), Refusal::SignatureWrong);

    // A wrong secret with a right lookup part neither enrols nor uses the token up.
    let mut guess = first.token.expose_secret().to_owned();
    let last = if guess.pop() == Some('0') { '1' } else { '0' };
    guess.push(last);
    assert_eq!(refusal(present(&guess.into()).await), Refusal::TokenUnknown);

    assert!(matches!(present(&first.token).await, AuthLoginResponse::Enrolled { device_id, .. } if device_id == id));
    // A device whose power went before it stored the answer asks again; nobody else gets in by that.
    assert!(matches!(present(&first.token).await, AuthLoginResponse::Enrolled { device_id, .. } if device_id == id));
    let other = present_token(&fleet, first.token.expose_secret(), &stranger, &stranger).await;
    assert_eq!(refusal(other), Refusal::TokenUsed);

    let second = fleet.new_enrolment_token(&admin, id).await.unwrap();
    let third = fleet.new_enrolment_token(&admin, id).await.unwrap();
    assert_eq!(refusal(present(&second.token).await), Refusal::TokenExpired, "a newer one replaced it");
    assert!(matches!(present(&third.token).await, AuthLoginResponse::Enrolled { .. }));

    let fourth = fleet.new_enrolment_token(&admin, id).await.unwrap();
    fleet.revoke_device(&admin, id).await.unwrap();
    assert_eq!(refusal(present(&fourth.token).await), Refusal::TokenExpired, "a revocation ends it");
    assert_eq!(refusal(present(&third.token).await), Refusal::TokenUsed, "a revoked key gets in by no used token");
    let fifth = fleet.new_enrolment_token(&admin, id).await.unwrap();
    assert!(matches!(present(&fifth.token).await, AuthLoginResponse::Enrolled { .. }), "an admin lets it in again");
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_token_whose_time_is_over_is_refused_as_expired() {
    let mut bench = Bench::new();
    bench.config.enrolment_token_life = Duration::ZERO;
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let (_, token) = fleet.create_device(&admin, "Camera car").await.unwrap();
    let key = KeyPair::generate();
    let answer = present_token(&fleet, token.token.expose_secret(), &key, &key).await;
    assert_eq!(refusal(answer), Refusal::TokenExpired);
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_device_logs_in_with_its_own_key_alone_and_the_newest_connection_wins() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let wrong = KeyPair::generate();
    assert_eq!(device.connect_with(&fleet, &wrong).await, Err(Refusal::SignatureWrong));

    let seen = device.seen.clone();
    let mut twin = Device::with(device.id, device.key.clone());
    twin.connect(&fleet).await.unwrap();
    common::eventually("the former connection is closed", || async { seen.lock().unwrap().closed.clone() }).await;
    assert!(fleet.device(&admin, device.id).await.unwrap().online);
    device.disconnect().await;
    assert!(fleet.device(&admin, device.id).await.unwrap().online, "the newer connection stays");

    let mut unknown = Device::with(strata_control::DeviceId(uuid::Uuid::now_v7()), device.key.clone());
    assert_eq!(unknown.connect(&fleet).await, Err(Refusal::DeviceUnknown));
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_session_token_is_renewed_on_the_connection_before_it_ends() {
    let mut bench = Bench::new();
    bench.config.timing.device_session = Duration::from_secs(60);
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let renewed = common::eventually("a new token comes", || async {
        device.commands().into_iter().find_map(|command| match command {
            RelayMessage::AuthSession(renewed) => Some(renewed.session),
            _ => None,
        })
    })
    .await;
    assert!(renewed.expires_at > jiff::Timestamp::now());
    // A device's token is no user's.
    assert_eq!(fleet.api_actor(renewed.token.reveal(), None).await.unwrap(), None);
    fleet.shutdown().await;
}

#[tokio::test]
async fn another_owners_things_look_exactly_like_nothing() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let one = bench.person(&fleet, Role::Admin, "one").await;
    let two = bench.person(&fleet, Role::Admin, "two").await;
    let device = Device::enrolled(&fleet, &one, "Camera car").await;
    let destination = fleet.create_destination(&one, destination("rtmp://1.1.1.1/live")).await.unwrap();
    let mut events = fleet.subscribe(&two);
    let live = go_live(&fleet, &one, &device).await;

    assert!(fleet.devices(&two).await.unwrap().is_empty());
    assert!(fleet.streams(&two, everything()).await.unwrap().is_empty());
    assert!(fleet.destinations(&two).await.unwrap().is_empty());
    assert_eq!(fleet.users(&two).await.unwrap().len(), 1);
    assert!(fleet.audit(&two, None).await.unwrap().iter().all(|line| line.who != one.name && line.target != one.name));

    let update = serde_json::from_value(serde_json::json!({"latency_ms": 2000})).unwrap();
    let mut borrowed = test_pattern();
    borrowed.destinations = vec![destination];
    let own = Device::enrolled(&fleet, &two, "Own").await;
    let refused: Vec<(&str, FleetError)> = vec![
        ("device", fleet.device(&two, device.id).await.unwrap_err()),
        ("token", fleet.new_enrolment_token(&two, device.id).await.unwrap_err()),
        ("rename", fleet.rename_device(&two, device.id, "Mine").await.unwrap_err()),
        ("revoke", fleet.revoke_device(&two, device.id).await.unwrap_err()),
        ("delete", fleet.delete_device(&two, device.id).await.unwrap_err()),
        ("update", fleet.update_device(&two, device.id, bundle("nonsense")).await.unwrap_err()),
        ("roll back", fleet.roll_back_device(&two, device.id, false).await.unwrap_err()),
        ("reboot", fleet.reboot_device(&two, device.id, false).await.unwrap_err()),
        ("reset", fleet.reset_device(&two, device.id, true).await.unwrap_err()),
        ("updates", fleet.device_updates(&two, device.id, None).await.unwrap_err()),
        ("log", fleet.device_log(&two, device.id, None).await.unwrap_err()),
        ("start", fleet.start_stream(&two, device.id, test_pattern()).await.unwrap_err()),
        ("borrow", fleet.start_stream(&two, own.id, borrowed).await.unwrap_err()),
        ("stop", fleet.stop_stream(&two, live.id).await.unwrap_err()),
        ("stream", fleet.stream(&two, live.id).await.unwrap_err()),
        ("events", fleet.stream_events(&two, live.id).await.unwrap_err()),
        ("switch", fleet.switch_source(&two, live.id, Source::TestPattern).await.unwrap_err()),
        ("update", fleet.update_stream(&two, live.id, update).await.unwrap_err()),
        ("destination", fleet.destination(&two, destination).await.unwrap_err()),
        ("change", fleet.update_destination(&two, destination, self::destination("bad")).await.unwrap_err()),
        ("remove", fleet.delete_destination(&two, destination).await.unwrap_err()),
    ];
    for (what, error) in refused {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error}");
    }
    let told = |message: &RelayMessage| !matches!(message, RelayMessage::StreamStart(_) | RelayMessage::AuthSession(_));
    assert!(!device.commands().iter().any(told), "{:?}", device.commands());
    assert_eq!(fleet.stream(&one, live.id).await.unwrap().state, StreamState::Live);

    fleet.stop_stream(&one, live.id).await.unwrap();
    reach(&fleet, &one, live.id, StreamState::Ended).await;
    fleet.shutdown().await;
    while let Some(event) = events.next().await {
        assert_eq!(event.device_id(), Some(own.id), "{event:?}");
        assert!(!matches!(event, FleetEvent::Reload));
    }
}

fn destination(url: &str) -> DestinationInput {
    DestinationInput { name: "Platform".to_owned(), url: url.to_owned(), key: Some("live_secret_key_1".into()) }
}

#[tokio::test]
async fn each_role_may_what_it_says_and_no_more() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let operator = bench.person(&fleet, Role::Operator, "one").await;
    let viewer = bench.person(&fleet, Role::Viewer, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let forbidden = |result: Result<(), FleetError>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Forbidden);
    for actor in [&viewer, &operator] {
        forbidden(fleet.create_device(actor, "New").await.map(drop));
        forbidden(fleet.new_enrolment_token(actor, device.id).await.map(drop));
        forbidden(fleet.rename_device(actor, device.id, "New").await);
        forbidden(fleet.revoke_device(actor, device.id).await);
        forbidden(fleet.delete_device(actor, device.id).await);
        forbidden(fleet.update_device(actor, device.id, bundle("1.4.0")).await);
        forbidden(fleet.roll_back_device(actor, device.id, true).await);
        forbidden(fleet.reboot_device(actor, device.id, true).await);
        forbidden(fleet.reset_device(actor, device.id, true).await);
        forbidden(fleet.audit(actor, None).await.map(drop));
        forbidden(fleet.users(actor).await.map(drop));
        forbidden(fleet.add_user(actor, "x@one.example", &PASSWORD.into(), Role::Admin).await.map(drop));
    }
    forbidden(fleet.device_log(&viewer, device.id, None).await.map(drop));
    forbidden(fleet.start_stream(&viewer, device.id, test_pattern()).await.map(drop));
    forbidden(fleet.create_destination(&viewer, destination("rtmp://1.1.1.1/live")).await.map(drop));

    let live = go_live(&fleet, &operator, &device).await;
    forbidden(fleet.stop_stream(&viewer, live.id).await);
    forbidden(fleet.switch_source(&viewer, live.id, Source::TestPattern).await);
    assert_eq!(fleet.devices(&viewer).await.unwrap().len(), 1);
    assert_eq!(fleet.stream(&viewer, live.id).await.unwrap().state, StreamState::Live);
    fleet.stop_stream(&operator, live.id).await.unwrap();
    reach(&fleet, &operator, live.id, StreamState::Ended).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn failed_logins_lock_an_account_for_a_while_and_nobody_learns_who_exists() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    for email in [admin.name.as_str(), "nobody@one.example"] {
        for _ in 0..5 {
            let error = fleet.login(email, &"wrong password".into(), Some(LOCALHOST)).await.unwrap_err();
            assert!(matches!(error, FleetError::WrongCredentials), "{error}");
        }
        let error = fleet.login(email, &PASSWORD.into(), Some(LOCALHOST)).await.unwrap_err();
        assert!(matches!(error, FleetError::TooManyAttempts { .. }), "{error}");
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn sessions_end_and_a_refresh_token_that_comes_twice_revokes_its_family() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let cookie = fleet.login(&admin.name, &PASSWORD.into(), Some(LOCALHOST)).await.unwrap();
    let token = cookie.token.expose_secret();
    assert_eq!(fleet.session(token, Some(LOCALHOST)).await.unwrap(), Some(admin.clone()));
    fleet.logout(token, Some(LOCALHOST)).await.unwrap();
    assert_eq!(fleet.session(token, Some(LOCALHOST)).await.unwrap(), None);
    assert_eq!(fleet.session("made up", Some(LOCALHOST)).await.unwrap(), None);

    let first = fleet.api_login(&admin.name, &PASSWORD.into(), Some(LOCALHOST)).await.unwrap();
    let actor = fleet.api_actor(first.access_token.expose_secret(), Some(LOCALHOST)).await.unwrap();
    assert_eq!(actor, Some(admin));
    assert_eq!(fleet.api_actor("a.b.c", None).await.unwrap(), None);
    let second = fleet.api_refresh(first.refresh_token.expose_secret(), None).await.unwrap();
    let over = |result: Result<_, FleetError>| assert!(matches!(result.map(drop), Err(FleetError::SessionOver)));
    over(fleet.api_refresh(first.refresh_token.expose_secret(), None).await);
    over(fleet.api_refresh(second.refresh_token.expose_secret(), None).await);
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_stream_key_is_neither_shown_nor_stored_readable_and_destinations_stay_outside() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let id = fleet.create_destination(&admin, destination("rtmp://1.1.1.1/live")).await.unwrap();
    let view = fleet.destination(&admin, id).await.unwrap();
    assert!(view.has_key && !format!("{view:?}").contains("live_secret"));
    let keep = DestinationInput { name: "Renamed".into(), url: view.url, key: None };
    fleet.update_destination(&admin, id, keep.clone()).await.unwrap();
    assert!(fleet.destination(&admin, id).await.unwrap().has_key);
    for url in
        ["http://1.1.1.1/", "rtmp://127.0.0.1/live", "rtmp://localhost/live", "rtmp://[::1]/live", "rtmp://10.0.0.7/"]
    {
        let error = fleet.create_destination(&admin, destination(url)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {error}");
    }
    fleet.update_destination(&admin, id, DestinationInput { key: Some("".into()), ..keep }).await.unwrap();
    assert!(!fleet.destination(&admin, id).await.unwrap().has_key);
    fleet.shutdown().await;
    for file in std::fs::read_dir(&bench.config.data_dir).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!bytes.windows(11).any(|part| part == b"live_secret"), "{:?}", file.path());
        }
    }
}
