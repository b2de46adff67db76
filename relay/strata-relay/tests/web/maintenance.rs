//! Updates and their kin by form and by REST: what the device says to them is what people and programs are told.

use std::time::Duration;

use crate::support::{Agent, Browser, Site};
use jiff::Timestamp;
use serde_json::json;
use strata_control::{
    AgentRollback, CommandResult, DeviceMessage, DeviceProblem, DeviceProblemKind, DeviceReboot, DeviceReset,
    DeviceStatus, Envelope, LogChunk, MessageId, RefusedCode, RelayMessage, SlotName, SlotState, SlotStatus,
    UpdateProgress, UpdateSchedule, UpdateStep,
};
use strata_fleet::{Outgoing, Role};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(30);

fn slot(name: SlotName, booted: bool, version: &str) -> SlotStatus {
    SlotStatus { name, booted, state: SlotState::Good, version: Some(version.into()), reason: None }
}

/// With an image of ours.
fn status() -> DeviceStatus {
    let slots = vec![slot(SlotName::A, true, "1.3.0"), slot(SlotName::B, false, "1.2.0")];
    DeviceStatus { slots, ..DeviceStatus::default() }
}

/// Answers every command with `result`, and tells which they were.
fn obey(mut agent: Agent, result: CommandResult) -> (mpsc::UnboundedReceiver<RelayMessage>, JoinHandle<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Outgoing::Text(text) = agent.outbox.next().await {
            let Envelope { id, message, .. } = Envelope::<RelayMessage>::decode(&text).unwrap();
            let result = result.clone();
            let reply = match &message {
                RelayMessage::AgentUpdate(_) => DeviceMessage::AgentUpdateResponse(result),
                RelayMessage::AgentRollback(_) => DeviceMessage::AgentRollbackResponse(result),
                RelayMessage::DeviceReboot(_) => DeviceMessage::DeviceRebootResponse(result),
                RelayMessage::DeviceReset(_) => DeviceMessage::DeviceResetResponse(result),
                RelayMessage::LogRequest(_) => DeviceMessage::LogRequestResponse(result),
                _ => continue,
            };
            hand_in(&mut agent, id, reply).await;
            if matches!(message, RelayMessage::LogRequest(_)) {
                let lines = vec!["first <line>".to_owned(), "last line".to_owned()];
                let chunk = LogChunk { request_id: id, index: 0, lines, last: true };
                agent.say(DeviceMessage::LogChunk(chunk)).await;
            }
            tell.send(message).unwrap();
        }
    });
    (told, task)
}

async fn hand_in(agent: &mut Agent, id: MessageId, message: DeviceMessage) {
    let text = Envelope::new(id, Timestamp::now(), message).encode().unwrap();
    agent.connection.receive(&text).await;
}

async fn next(told: &mut mpsc::UnboundedReceiver<RelayMessage>) -> RelayMessage {
    tokio::time::timeout(LIMIT, told.recv()).await.expect("a command comes").unwrap()
}

fn refusal() -> CommandResult {
    let message = "a stream is live: stop it <first>".to_owned();
    CommandResult::Refused { code: RefusedCode::Busy, message }
}

async fn post_json(browser: &mut Browser, path: &str, body: serde_json::Value) -> crate::support::Answer {
    let csrf = browser.csrf().await;
    browser.send("POST", path, &[("X-CSRF-Token", &csrf)], &body.to_string()).await
}

#[tokio::test]
async fn a_form_becomes_a_command_and_the_page_says_what_the_device_answered() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let (device, mut agent) = site.online_device(&site.actor("kim@example.org").await, "Van 2").await;
    agent.say(DeviceMessage::DeviceStatus(status())).await;
    let (mut told, _task) = obey(agent, CommandResult::Done);
    let path = format!("/devices/{device}");

    let url = "https://updates.example/strata-1.4.0.raucb";
    let fields = [("bundle_url", url), ("version", "1.4.0"), ("when", "now"), ("over_metered", "yes")];
    let answer = kim.post(&format!("{path}/update"), &fields).await;
    assert_eq!((answer.status, answer.header("location")), (303, format!("{path}?done=update").as_str()));
    let RelayMessage::AgentUpdate(update) = next(&mut told).await else { panic!("another command") };
    assert_eq!((update.bundle_url.as_str(), update.version.as_str(), update.over_metered), (url, "1.4.0", true));
    assert_eq!((update.install, update.reboot), (UpdateSchedule::Now, UpdateSchedule::Now));
    let page = kim.get(&format!("{path}?done=update")).await;
    assert!(page.body.contains("The device accepted the update."), "{}", page.body);

    for (deed, fields, expected) in [
        ("rollback", vec![], json!({"even_if_live": false})),
        ("rollback", vec![("even_if_live", "yes")], json!({"even_if_live": true})),
        ("reboot", vec![], json!({"even_if_live": false})),
        ("reset", vec![], json!({"keep_identity": true})),
        ("reset", vec![("forget_identity", "yes")], json!({"keep_identity": false})),
    ] {
        assert_eq!(kim.post(&format!("{path}/{deed}"), &fields).await.status, 303, "{deed}");
        let said = match next(&mut told).await {
            RelayMessage::AgentRollback(command) if deed == "rollback" => serde_json::to_value(command),
            RelayMessage::DeviceReboot(command) if deed == "reboot" => serde_json::to_value(command),
            RelayMessage::DeviceReset(command) if deed == "reset" => serde_json::to_value(command),
            other => panic!("{deed} became {other:?}"),
        };
        assert_eq!(said.unwrap(), expected, "{deed}");
    }
    let log = kim.post(&format!("{path}/log"), &[]).await;
    assert_eq!((log.status, log.body.as_str()), (200, "first <line>\nlast line\n"));
    assert!(log.header("content-type").starts_with("text/plain"));
    assert!(log.header("content-disposition").starts_with("attachment; filename=\"van-2-"), "{log:?}");
    let audit = kim.get("/audit").await.body;
    for action in ["device.update", "device.roll_back", "device.reboot", "device.reset", "device.log"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
}

#[tokio::test]
async fn a_form_that_is_refused_is_shown_again_with_the_reason_and_what_was_typed() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let (device, mut agent) = site.online_device(&site.actor("kim@example.org").await, "Van 2").await;
    agent.say(DeviceMessage::DeviceStatus(status())).await;
    let (_told, task) = obey(agent, refusal());
    let path = format!("/devices/{device}");
    let fields = [("bundle_url", "https://a.example/\"b"), ("version", "1.4.0"), ("when", "now")];
    let answer = kim.post(&format!("{path}/update"), &fields).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    for words in [
        "The update was not begun.",
        "a stream is live: stop it &#60;first&#62;",
        r#"value="https://a.example/&#34;b""#,
        r#"<option value="now" selected>"#,
        "<details open>\n      <summary>Update</summary>",
    ] {
        assert!(answer.body.contains(words), "{words}: {}", answer.body);
    }
    let odd = kim.post(&format!("{path}/update"), &[("bundle_url", "ftp://a.example/b"), ("version", "1.4.0")]).await;
    assert_eq!(odd.status, 422);
    assert!(odd.body.contains("http:// or https:// expected"), "{}", odd.body);
    for (deed, title) in [("rollback", "rolled back"), ("reboot", "rebooted"), ("reset", "reset")] {
        let answer = kim.post(&format!("{path}/{deed}"), &[]).await;
        assert_eq!(answer.status, 409);
        assert!(answer.body.contains(&format!("The device was not {title}.")), "{}", answer.body);
    }
    task.abort();
    assert!(task.await.is_err(), "the agent is gone");
    let offline = kim.post(&format!("{path}/reboot"), &[]).await;
    assert_eq!(offline.status, 409);
    assert!(offline.body.contains("Van 2 is offline"), "{}", offline.body);
}

#[tokio::test]
async fn programs_get_the_same_answers_as_codes() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let actor = site.actor("kim@example.org").await;
    let (device, agent) = site.online_device(&actor, "Van 2").await;
    let path = format!("/api/devices/{device}");
    let (mut told, task) = obey(agent, CommandResult::Done);
    let at = "2026-12-01T03:00:00Z";
    let body = json!({
        "bundle_url": "http://10.0.0.7/b.raucb", "version": "1.4.0", "manifest_sha256": "ab".repeat(32),
        "reboot": {"when": "not_before", "at": at},
    });
    let answer = post_json(&mut kim, &format!("{path}/update"), body).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let RelayMessage::AgentUpdate(update) = next(&mut told).await else { panic!("another command") };
    assert_eq!((update.install, update.manifest_sha256), (UpdateSchedule::WhenIdle, Some("ab".repeat(32))));
    assert_eq!(update.reboot, UpdateSchedule::NotBefore { at: at.parse().unwrap() });
    assert_eq!(post_json(&mut kim, &format!("{path}/rollback"), json!({"even_if_live": true})).await.status, 204);
    assert_eq!(next(&mut told).await, RelayMessage::AgentRollback(AgentRollback { even_if_live: true }));
    assert_eq!(post_json(&mut kim, &format!("{path}/reboot"), json!({})).await.status, 204);
    assert_eq!(next(&mut told).await, RelayMessage::DeviceReboot(DeviceReboot { even_if_live: false }));
    assert_eq!(post_json(&mut kim, &format!("{path}/reset"), json!({"keep_identity": false})).await.status, 204);
    assert_eq!(next(&mut told).await, RelayMessage::DeviceReset(DeviceReset { keep_identity: false }));
    let log = post_json(&mut kim, &format!("{path}/logs"), json!({"lines": 2})).await;
    assert_eq!((log.status, log.body.as_str()), (200, "first <line>\nlast line\n"));
    task.abort();
    assert!(task.await.is_err(), "the agent is gone");

    let (device, agent) = site.online_device(&actor, "Van 3").await;
    let path = format!("/api/devices/{device}");
    let (_told, task) = obey(agent, refusal());
    let code = |answer: &crate::support::Answer| answer.json()["error"]["code"].as_str().map(str::to_owned);
    let refused = post_json(&mut kim, &format!("{path}/reboot"), json!({})).await;
    assert_eq!((refused.status, code(&refused).as_deref()), (409, Some("device_refused")));
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("stop it <first>"));
    for (deed, body) in [
        ("update", json!({"bundle_url": "http://10.0.0.7/b.raucb", "version": "newest"})),
        ("update", json!({"bundle_url": "http://10.0.0.7/b.raucb"})),
        ("update", json!({"bundle_url": "http://10.0.0.7/b", "version": "1.4.0", "install": {"when": "soon"}})),
        ("rollback", json!({"force": true})),
        ("reset", json!({"keep_identity": "yes"})),
        ("logs", json!({"lines": 0})),
    ] {
        let answer = post_json(&mut kim, &format!("{path}/{deed}"), body.clone()).await;
        assert_eq!((answer.status, code(&answer).as_deref()), (422, Some("invalid")), "{deed} {body}");
    }
    task.abort();
    assert!(task.await.is_err(), "the agent is gone");
    let offline = post_json(&mut kim, &format!("{path}/logs"), json!({"lines": 10})).await;
    assert_eq!((offline.status, code(&offline).as_deref()), (409, Some("device_offline")));
}

#[tokio::test]
async fn a_factory_reset_keeps_the_identity_unless_it_is_told_otherwise() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let (device, agent) = site.online_device(&site.actor("kim@example.org").await, "Van 2").await;
    let (mut told, _task) = obey(agent, CommandResult::Done);
    let path = format!("/api/devices/{device}/reset");
    let csrf = kim.csrf().await;
    for body in ["", "{}", r#"{"keep_identity":true}"#] {
        assert_eq!(kim.send("POST", &path, &[("X-CSRF-Token", &csrf)], body).await.status, 204, "{body}");
        let RelayMessage::DeviceReset(reset) = next(&mut told).await else { panic!("another command") };
        assert!(reset.keep_identity, "{body}");
    }
}

#[tokio::test]
async fn what_a_device_tells_of_its_update_shows_on_its_page_in_the_fleet_and_in_rest() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Viewer, "Club").await;
    site.user("ada@example.org", Role::Admin, "Club").await;
    let (device, mut agent) = site.online_device(&site.actor("ada@example.org").await, "Van 2").await;
    let progress = |step, percent, error: Option<&str>| UpdateProgress {
        version: "1.4.0".into(),
        slot: SlotName::B,
        percent,
        step,
        error: error.map(Into::into),
    };
    agent.say(DeviceMessage::DeviceStatus(status())).await;
    agent.say(DeviceMessage::UpdateProgress(progress(UpdateStep::Downloading, 43, None))).await;
    let page = kim.get(&format!("/devices/{device}")).await.body;
    for words in ["Update to 1.4.0, slot B", "downloading", r#"<progress max="100" value="43""#, "1.3.0"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(kim.get("/").await.body.contains("Updating, 43 %"));

    agent.say(DeviceMessage::UpdateProgress(progress(UpdateStep::Refused, 43, Some("the server went away")))).await;
    let fleet = kim.get("/").await.body;
    assert!(fleet.contains("Update refused") && !fleet.contains("to look at"), "nothing on it has changed: {fleet}");
    assert!(kim.get(&format!("/devices/{device}")).await.body.contains("The server went away."));

    let error = "slot B did not boot: kernel panic";
    let problem = DeviceProblem { kind: DeviceProblemKind::Data, message: "the data partition is full".into() };
    let back = progress(UpdateStep::RolledBack, 100, Some(error));
    let told = DeviceStatus { update: Some(back), problems: vec![problem], ..status() };
    agent.say(DeviceMessage::DeviceStatus(told)).await;
    for path in ["/".to_owned(), format!("/devices/{device}")] {
        let page = kim.get(&path).await.body;
        for words in ["Update rolled back", "Slot B did not boot: kernel panic.", "The data partition is full."] {
            assert!(page.contains(words), "{path} {words}: {page}");
        }
    }
    let updates = kim.get(&format!("/api/devices/{device}/updates")).await.json();
    let [newest, before] = updates["updates"].as_array().unwrap().as_slice() else { panic!("{updates}") };
    assert_eq!((&before["step"], &before["error"]), (&json!("refused"), &json!("the server went away")));
    assert_eq!(
        (&newest["version"], &newest["step"], &newest["slot"]),
        (&json!("1.4.0"), &json!("rolled_back"), &json!("b"))
    );
    assert_eq!(newest["error"], error);
    let status = kim.get(&format!("/api/devices/{device}/status")).await.json();
    assert_eq!(status["status"]["update"]["step"], "rolled_back");
}
