//! The control connection: enrolment, login, what a relay may send, and coming back.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use strata_control::{
    AgentRollback, AgentUpdate, AuthLoginResponse, AuthSession, CommandResult, Credential, DeviceDiagnose,
    DeviceMessage, DeviceReboot, DeviceReset, DiagnoseCheck, DiagnoseResult, EndReason, ErrorCode, LogRequest,
    NetworkApply, Refusal, RefusedCode, RelayMessage, StreamId, StreamStop, UpdateSchedule,
};
use support::{Device, Relay, TOKEN, login_answer, wait_for};
use tokio_tungstenite::tungstenite::Message as Frame;
use uuid::Uuid;

#[tokio::test]
async fn a_token_enrols_once_and_the_key_logs_in_from_then_on() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    let mut connection = relay.accept_login().await;
    let status = connection.status("this machine's numbers", |_| true).await;
    assert!(status.memory.total_bytes > 0 && !status.simulated && status.running_streams.is_empty());
    assert!(!device.path("state/enrolment-token").exists(), "a used token is removed");
    let state = device.state().unwrap();
    assert_eq!((&state["state"], &state["device_id"]), (&"idle".into(), &relay.device_id.to_string().into()));
    assert_eq!(state["name"], "Test device");

    device.kill();
    device.start();
    let mut connection = relay.accept_login().await;
    connection.status("anything", |_| true).await;
    assert!(device.terminate().await.success());
    assert!(!device.path("run/state.json").exists());
}

#[tokio::test]
async fn a_token_typed_while_the_agent_waits_is_used() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.start();
    let error = device.last_error("not enrolled").await;
    assert_eq!(error["kind"], "not_enrolled");
    let (done, said) = device.enrol(&[], TOKEN);
    assert!(done, "{said}");
    relay.accept_login().await.status("anything", |_| true).await;
    assert!(device.state().unwrap()["last_error"].is_null());
}

#[tokio::test]
async fn a_wrong_token_is_explained_and_another_one_used_at_once() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token("wrong");
    device.start();
    let mut connection = relay.accept().await;
    let (id, login) = connection.login().await;
    let Credential::EnrolmentToken { token, .. } = login.credential else { panic!("no token") };
    assert_eq!(token.reveal(), "wrong");
    let message = "ask for a new one".to_owned();
    connection.answer(id, login_answer(AuthLoginResponse::Refused { reason: Refusal::TokenUsed, message })).await;
    let error = device.last_error("ask for a new one").await;
    assert_eq!(error["kind"], "token_used");
    assert!(error["message"].as_str().unwrap().contains("used before"));
    assert!(device.log().contains("used before"));
    assert!(!device.log().contains("wrong"), "a token is never logged");
    device.write_token(TOKEN);
    relay.accept_login().await.status("anything", |_| true).await;
}

#[tokio::test]
async fn a_revoked_device_says_so() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    drop(relay.accept_login().await);
    let mut connection = relay.accept().await;
    let (id, _) = connection.login().await;
    let refused = AuthLoginResponse::Refused { reason: Refusal::KeyRevoked, message: "by Kim".into() };
    connection.answer(id, login_answer(refused)).await;
    let error = device.last_error("revoked").await;
    assert_eq!(error["kind"], "revoked");
    // A new token makes it a device again.
    device.write_token(TOKEN);
    let mut connection = relay.accept().await;
    let (id, login) = connection.login().await;
    assert!(matches!(login.credential, Credential::Hello { .. }));
    let refused = AuthLoginResponse::Refused { reason: Refusal::KeyRevoked, message: "by Kim".into() };
    connection.answer(id, login_answer(refused)).await;
    relay.accept_login().await.status("anything", |_| true).await;
}

#[tokio::test]
async fn whatever_a_relay_sends_is_answered_and_the_connection_stays() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    let mut connection = relay.accept_login().await;
    let id = Uuid::now_v7();
    let typed = |name: &str, version: u32, payload: &str| {
        format!(
            "{{\"id\":\"{id}\",\"type\":\"{name}\",\"ts\":\"2026-01-01T00:00:00Z\",\"version\":{version},\"payload\":{payload}}}"
        )
    };
    for (frame, code, answers) in [
        (Frame::text("garbage"), ErrorCode::Malformed, false),
        (Frame::text(""), ErrorCode::Malformed, false),
        (Frame::binary(vec![0xff; 10]), ErrorCode::Malformed, false),
        (Frame::text(typed("stream.teleport", 1, "{}")), ErrorCode::UnknownType, true),
        (Frame::text(typed("stream.stop", 1, "{\"stream_id\":7}")), ErrorCode::BadPayload, true),
        (Frame::text(typed("stream.stop", 99, "{}")), ErrorCode::VersionUnsupported, true),
    ] {
        connection.raw(frame.clone()).await;
        let (answered, error) = connection
            .expect("an error", |message| match &message.message {
                DeviceMessage::Error(error) => Some((message.id, error.clone())),
                _ => None,
            })
            .await;
        assert_eq!(error.code, code, "{frame:?}: {}", error.message);
        assert_eq!(answered.0 == id, answers, "{frame:?}");
    }
    connection.forget();
    connection.status("signs of life", |_| true).await;

    // After an oversized frame the bytes cannot be followed any more: it says so and comes back.
    connection.raw(Frame::text(support::oversized())).await;
    let code = connection
        .expect("an error", |message| match &message.message {
            DeviceMessage::Error(error) => Some(error.code),
            _ => None,
        })
        .await;
    assert_eq!(code, ErrorCode::TooLarge);
    relay.accept_login().await.status("anything", |_| true).await;
}

#[tokio::test]
async fn commands_that_this_machine_cannot_do_are_refused_with_a_reason() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    let mut connection = relay.accept_login().await;
    let network = NetworkApply { wifi: None, modem: None, ip: None, confirm_within_s: 60 };
    let update = AgentUpdate {
        bundle_url: "https://relay.example.net/b".into(),
        version: "2.0".into(),
        manifest_sha256: None,
        over_metered: false,
        install: UpdateSchedule::WhenIdle,
        reboot: UpdateSchedule::WhenIdle,
    };
    for command in [
        RelayMessage::NetworkApply(network),
        RelayMessage::AgentUpdate(update),
        RelayMessage::AgentRollback(AgentRollback { even_if_live: false }),
        RelayMessage::DeviceReboot(DeviceReboot { even_if_live: false }),
        RelayMessage::DeviceReset(DeviceReset { keep_identity: true }),
    ] {
        let answer = connection.command(command).await;
        let (DeviceMessage::NetworkApplyResponse(result)
        | DeviceMessage::AgentUpdateResponse(result)
        | DeviceMessage::AgentRollbackResponse(result)
        | DeviceMessage::DeviceRebootResponse(result)
        | DeviceMessage::DeviceResetResponse(result)) = answer
        else {
            panic!("{answer:?}")
        };
        let CommandResult::Refused { code, message } = result else { panic!("{result:?}") };
        assert_eq!(code, RefusedCode::Unsupported);
        assert!(message.len() > 20, "{message}");
    }
    let stop = StreamStop { stream_id: StreamId(Uuid::now_v7()), reason: EndReason::Other, detail: String::new() };
    let answer = connection.command(RelayMessage::StreamStop(stop)).await;
    assert_eq!(answer, DeviceMessage::StreamStopResponse(CommandResult::Done));
}

#[tokio::test]
async fn a_device_diagnoses_itself_and_sends_its_log() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    let mut connection = relay.accept_login().await;
    let answer = connection.command(RelayMessage::DeviceDiagnose(DeviceDiagnose { checks: vec![] })).await;
    let DeviceMessage::DeviceDiagnoseResponse(DiagnoseResult::Done { report }) = answer else { panic!("{answer:?}") };
    let found = |check| report.checks.iter().find(|result| result.check == check).unwrap();
    assert_eq!(report.checks.len(), 5);
    for check in [DiagnoseCheck::Links, DiagnoseCheck::Encoder, DiagnoseCheck::Clock] {
        assert!(found(check).passed, "{:?}", found(check));
    }
    assert!(found(DiagnoseCheck::Links).detail.contains("reaches the relay"), "{:?}", found(DiagnoseCheck::Links));

    let request = LogRequest { stream_id: None, lines: 3 };
    let id = connection.say(RelayMessage::LogRequest(request)).await;
    let lines = connection
        .expect("log.chunk", |message| match &message.message {
            DeviceMessage::LogChunk(chunk) if chunk.request_id == id && chunk.last => Some(chunk.lines.clone()),
            _ => None,
        })
        .await;
    assert_eq!(lines.len(), 3);
    let answer = connection.expect("an answer", |message| (message.id == id).then(|| message.message.clone())).await;
    assert_eq!(answer, DeviceMessage::LogRequestResponse(CommandResult::Done));

    let request = LogRequest { stream_id: Some(StreamId(Uuid::nil())), lines: 3 };
    let answer = connection.command(RelayMessage::LogRequest(request)).await;
    assert!(matches!(answer, DeviceMessage::LogRequestResponse(CommandResult::Refused { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_lost_relay_is_looked_for_with_growing_patience() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    relay.accept_login().await.status("anything", |_| true).await;
    // Three connections in vain: closed before the login. The waits grow: 1 s, 2 s, 4 s, each by at least 0.8 of it.
    let began = std::time::Instant::now();
    for _ in 0..3 {
        drop(relay.accept().await);
    }
    relay.accept_login().await.status("anything", |_| true).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(7_000 * 8 / 10), "{took:?}");
    wait_for("the state", || device.state().is_some_and(|state| state["state"] == "idle")).await;
}

#[tokio::test]
async fn a_session_is_renewed_or_begun_anew() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    let mut connection = relay.accept_login().await;
    connection.say(RelayMessage::AuthSession(AuthSession { session: relay.session() })).await;
    wait_for("the renewal in the log", || device.log().contains("new session token")).await;
}

#[tokio::test]
async fn a_second_agent_in_the_same_folder_is_refused() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    relay.accept_login().await.status("anything", |_| true).await;
    let second = device.command().output().unwrap();
    let message = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(message.contains("another agent") && message.contains(&device.pid().to_string()), "{message}");
}

#[test]
fn a_configuration_is_checked_without_running() {
    let device = Device::new("ws://127.0.0.1:1");
    let checked = device.command().arg("--check-config").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let device = Device::with("ws://relay.example.net", "", &[]);
    let checked = device.command().arg("--check-config").output().unwrap();
    let message = String::from_utf8_lossy(&checked.stderr);
    assert!(!checked.status.success() && message.contains("wss://"), "{message}");
}

#[tokio::test]
async fn a_token_is_not_used_up_while_its_outcome_could_not_be_kept() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    // A folder in the probe's way: no write there succeeds, for root neither.
    std::fs::create_dir(device.path("state/enrolment.probe")).unwrap();
    device.start();
    let error = device.last_error("enrolment.json").await;
    assert!(error["message"].as_str().unwrap().contains("not used yet"), "{error}");
    std::fs::remove_dir(device.path("state/enrolment.probe")).unwrap();
    relay.accept_login().await.status("anything", |_| true).await;
}
