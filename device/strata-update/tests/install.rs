//! Orders to the whole daemon, in one boot: what is refused and why, what is waited for, what follows an install.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use std::fs;

use jiff::Timestamp;
use strata_control::{DeviceProblem, DeviceProblemKind, SlotName, SlotState, UpdateSchedule, UpdateStep};
use strata_update_protocol::{Answer, Install, Request};

use support::services::{Behaviour, hash};
use support::{COMPATIBLE, Device, URL, order, slot};

/// A device whose system is good.
async fn device() -> Device {
    let mut device = Device::new().await;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device
}

/// Orders it and waits until it is refused: why.
async fn refusal(device: &Device, install: Install) -> String {
    device.order(Request::Install(install)).await.unwrap();
    device.wait_step(UpdateStep::Refused).await.error.unwrap()
}

#[tokio::test]
async fn an_install_is_followed_by_the_reboot() {
    let device = device().await;
    let before = device.status().await;
    assert_eq!((before.version.as_str(), before.booted, before.update), ("0.1.0", SlotName::A, None));
    let asked = Install { version: Some("0.2.0".into()), manifest_sha256: Some(hash("0.2.0")), ..order(URL) };
    device.order(Request::Install(asked)).await.unwrap();
    device.wait_reboots(1).await;
    let status = device.status().await;
    let update = status.update.as_ref().unwrap();
    assert_eq!((update.step, update.slot, update.percent), (UpdateStep::RebootPending, SlotName::B, 100));
    assert_eq!((update.version.as_str(), &update.error), ("0.2.0", &None));
    let status = device.wait(|status| slot(status, SlotName::B).version.is_some()).await;
    assert_eq!(slot(&status, SlotName::B).state, SlotState::Untested);
    assert_eq!(slot(&status, SlotName::A).state, SlotState::Good);
    let error = device.order(Request::Install(order("/data/0.2.0.raucb"))).await.unwrap_err().to_string();
    assert!(error.contains("Another update is under way"), "{error}");
    // The relay may say the same again after a lost connection.
    let asked = Install { version: Some("0.2.0".into()), manifest_sha256: Some(hash("0.2.0")), ..order(URL) };
    device.order(Request::Install(asked)).await.unwrap();
}

#[tokio::test]
async fn each_bundle_that_cannot_be_is_refused_in_a_sentence() {
    let device = device().await;
    let bundles = [
        ("/bad", Err("signature verification failed: error:1700009E:CMS routines::verification failure"), "signature"),
        ("/expired", Err("signature verification failed: Verify error: certificate has expired"), "has expired"),
        ("/truncated", Err("Invalid bundle format: Signature size (99999999999) exceeds bundle size"), "cut off"),
        ("/plain", Err("Bundle format 'plain' not allowed"), "format=verity"),
        ("/other", Ok(("0.2.0", "strata-rock-5b")), "for “strata-rock-5b”, but this device is a “strata-virtual”"),
        ("/old", Ok(("0.0.9", COMPATIBLE)), "Version 0.0.9 is older than 0.1.0"),
        ("/odd", Ok(("newest", COMPATIBLE)), "“newest”, which is no version number"),
    ];
    for (source, bundle, part) in bundles {
        let bundle = bundle.map(|(version, kind)| (version.to_owned(), kind.to_owned(), hash(version)));
        device.world().bundles.insert(source.to_owned(), bundle.map_err(str::to_owned));
        let reason = refusal(&device, order(source)).await;
        assert!(reason.contains(part), "{source}: {reason}");
        assert!(!reason.trim_end_matches('.').contains(". "), "one sentence: {reason}");
    }
    let reason = refusal(&device, order("http://relay.example/none")).await;
    assert!(reason.contains("no file at http://relay.example/none (HTTP 404)"), "{reason}");
    let reason = refusal(&device, Install { version: Some("0.3.0".into()), ..order(URL) }).await;
    assert!(reason.contains("holds version 0.2.0, but 0.3.0"), "{reason}");
    let reason = refusal(&device, Install { manifest_sha256: Some(hash("0.3.0")), ..order(URL) }).await;
    assert!(reason.contains("another build"), "{reason}");
    // What cannot be at all is refused at once, and kept as well.
    let error = device.order(Request::Install(order("relative.raucb"))).await.unwrap_err().to_string();
    assert!(error.contains("“relative.raucb”"), "{error}");
    assert_eq!(device.wait_step(UpdateStep::Refused).await.error, Some(error));
    let world = device.world();
    assert_eq!((world.reboots, world.first, world.b.version.clone()), (0, SlotName::A, None));
}

#[tokio::test]
async fn a_link_that_costs_money_is_left_alone_unless_allowed() {
    let device = device().await;
    device.world().metered = 1;
    let reason = refusal(&device, order(URL)).await;
    assert!(reason.contains("costs money"), "{reason}");
    // A file on the device costs nothing.
    device.order(Request::Install(order("/data/0.2.0.raucb"))).await.unwrap();
    device.wait_reboots(1).await;
}

#[tokio::test]
async fn a_link_that_costs_money_is_used_where_that_is_allowed() {
    let device = device().await;
    device.world().metered = 3;
    device.order(Request::Install(Install { over_metered: true, ..order(URL) })).await.unwrap();
    device.wait_reboots(1).await;
}

#[tokio::test]
async fn a_live_stream_is_waited_for_before_the_install_and_before_the_reboot() {
    let device = device().await;
    device.agent("streaming", true, 1);
    device.order(Request::Install(order(URL))).await.unwrap();
    tokio::time::sleep(support::PACE.look * 10).await;
    assert_eq!(device.status().await.update.unwrap().step, UpdateStep::Waiting);
    // A newer order takes the place of one that waits.
    let now = Install { install: UpdateSchedule::Now, ..order(URL) };
    device.order(Request::Install(now)).await.unwrap();
    device.wait_step(UpdateStep::Installed).await;
    tokio::time::sleep(support::PACE.look * 10).await;
    assert_eq!(device.world().reboots, 0);
    // The agent is started again; the encoder lives on.
    device.agent("boot", false, 0);
    tokio::time::sleep(support::PACE.look * 10).await;
    assert_eq!(device.world().reboots, 0);
    let error = device.order(Request::Reboot { even_if_live: false }).await.unwrap_err().to_string();
    assert!(error.contains("does not tell whether a stream is live"), "{error}");
    device.agent("idle", true, 0);
    device.wait_reboots(1).await;
}

#[tokio::test]
async fn what_was_found_out_for_an_order_that_was_replaced_does_not_count_for_the_newer_one() {
    let device = device().await;
    let old = ("0.0.1".to_owned(), COMPATIBLE.to_owned(), hash("0.0.1"));
    device.world().bundles.insert("/old".to_owned(), Ok(old));
    for _ in 0..20 {
        let mut client = device.client().await;
        let now = |source| Request::Install(Install { install: UpdateSchedule::Now, ..order(source) });
        client.send(&now("/data/0.2.0.raucb")).await.unwrap();
        client.send(&now("/old")).await.unwrap();
        let (first, second) = (client.next().await.unwrap().unwrap(), client.next().await.unwrap().unwrap());
        assert_eq!(first, Answer::Accepted);
        if second != Answer::Accepted {
            // The first one was so quick that nothing takes its place any more.
            break;
        }
        let reason = device.wait_step(UpdateStep::Refused).await.error.unwrap();
        assert!(reason.contains("0.0.1 is older"), "{reason}");
        assert_eq!(device.world().b.version, None);
    }
}

#[tokio::test]
async fn now_means_now_and_a_time_means_not_before() {
    let device = device().await;
    device.agent("streaming", true, 1);
    let later = UpdateSchedule::NotBefore { at: Timestamp::now() + jiff::SignedDuration::from_hours(1) };
    device.order(Request::Install(Install { install: later, ..order(URL) })).await.unwrap();
    tokio::time::sleep(support::PACE.look * 10).await;
    assert_eq!(device.status().await.update.unwrap().step, UpdateStep::Waiting);
    let now = Install { install: UpdateSchedule::Now, reboot: UpdateSchedule::Now, ..order(URL) };
    device.order(Request::Install(now)).await.unwrap();
    device.wait_reboots(1).await;
}

#[tokio::test]
async fn an_install_waits_until_the_running_system_is_good() {
    let mut device = Device::new().await;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.order(Request::Install(Install { install: UpdateSchedule::Now, ..order(URL) })).await.unwrap();
    tokio::time::sleep(support::PACE.look * 10).await;
    assert_eq!(device.status().await.update.unwrap().step, UpdateStep::Waiting);
    device.wait_good().await;
    device.wait_reboots(1).await;
    assert_eq!(device.world().take_marks(), ["booted good"]);
}

#[tokio::test]
async fn an_install_that_breaks_off_leaves_the_device_as_it_was() {
    let device = device().await;
    let error = "Installation error: Failed updating slot rootfs.1: Failed to copy data: Error reading from file: Input/output error";
    device.world().behaviour = Behaviour::Fails { error: error.to_owned(), spoils: true };
    let reason = refusal(&device, order(URL)).await;
    assert!(reason.contains("stopped answering in the middle"), "{reason}");
    let status = device.status().await;
    let spoiled = slot(&status, SlotName::B);
    assert_eq!(spoiled.state, SlotState::Bad);
    assert!(spoiled.reason.as_ref().unwrap().contains("0.2.0 was not written to its end"), "{spoiled:?}");
    assert_eq!(device.world().reboots, 0);
    device.world().behaviour = Behaviour::Installs;
    device.order(Request::Install(order(URL))).await.unwrap();
    device.wait_reboots(1).await;
    let status = device.wait(|status| slot(status, SlotName::B).state == SlotState::Untested).await;
    assert_eq!(slot(&status, SlotName::B).reason, None);
}

#[tokio::test]
async fn another_build_that_got_in_is_thrown_out_again() {
    let device = device().await;
    let asked = Install { manifest_sha256: Some(hash("0.2.0")), ..order(URL) };
    device.agent("streaming", true, 1);
    device.order(Request::Install(asked)).await.unwrap();
    // Looked into as asked for, then swapped: RAUC 1.13 has no way to tell.
    device.world().behaviour = Behaviour::Hangs;
    device.agent("idle", true, 0);
    device.wait_step(UpdateStep::Downloading).await;
    let status = device.wait(|status| status.update.as_ref().is_some_and(|update| update.percent == 40)).await;
    assert_eq!(status.update.unwrap().step, UpdateStep::Downloading);
    let reset = Request::Reset { keep_identity: true, even_if_live: true };
    let rollback = Request::Rollback { even_if_live: true };
    let reboot = Request::Reboot { even_if_live: true };
    for request in [reset, rollback, reboot] {
        let error = device.order(request.clone()).await.unwrap_err().to_string();
        assert!(error.contains("wait until it is"), "{request:?}: {error}");
    }
    let bundle = ("0.2.0".to_owned(), COMPATIBLE.to_owned(), hash("0.2.9"));
    {
        let mut world = device.world();
        world.b = support::services::WorldSlot { bootable: true, version: Some(bundle.0), hash: Some(bundle.2) };
        world.first = SlotName::B;
    }
    device.complete_install().await;
    let reason = device.wait_step(UpdateStep::Refused).await.error.unwrap();
    assert!(reason.contains("another build"), "{reason}");
    let mut world = device.world();
    assert_eq!(world.take_marks(), ["booted good", "other bad", "booted active"]);
    assert_eq!((world.first, world.b.bootable, world.reboots), (SlotName::A, false, 0));
}

#[tokio::test]
async fn without_a_place_for_its_state_no_update_begins() {
    let mut device = Device::new().await;
    // A file where the folder should be: nothing can be written there, whoever runs the test.
    fs::write(device.path("identity"), "").unwrap();
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    let error = device.order(Request::Install(order(URL))).await.unwrap_err().to_string();
    assert!(error.contains("identity partition may be damaged"), "{error}");
    let status = device.status().await;
    assert_eq!(status.update.as_ref().unwrap().step, UpdateStep::Refused);
    let unwritten = |problem: &DeviceProblem| {
        problem.kind == DeviceProblemKind::Identity && problem.message.contains("cannot be written down")
    };
    assert!(status.problems.iter().any(unwritten), "{status:?}");
    assert_eq!(device.world().take_marks(), ["booted good"]);
    // Repaired: the next thing that is written down ends the problem.
    fs::remove_file(device.path("identity")).unwrap();
    device.order(Request::Install(order(URL))).await.unwrap();
    device.wait_reboots(1).await;
    let problems = device.status().await.problems;
    assert!(!problems.iter().any(unwritten), "{problems:?}");
}

#[tokio::test]
async fn an_install_whose_end_was_not_heard_is_taken_back_before_it_is_refused() {
    let device = device().await;
    device.world().behaviour = Behaviour::Unheard;
    device.world().refuse_marks = true;
    device.order(Request::Install(order(URL))).await.unwrap();
    let told = |message: &str| message.contains("could not be told yet which slot to boot");
    let status = device.wait(|status| status.problems.iter().any(|problem| told(&problem.message))).await;
    assert_eq!(status.update.unwrap().step, UpdateStep::Downloading, "not refused while it would boot");
    assert_eq!(device.world().first, SlotName::B);
    device.world().refuse_marks = false;
    let reason = device.wait_step(UpdateStep::Refused).await.error.unwrap();
    assert!(reason.contains("broke off in the middle"), "{reason}");
    let status = device.status().await;
    assert_eq!((status.problems.as_slice(), slot(&status, SlotName::B).state), ([].as_slice(), SlotState::Bad));
    let mut world = device.world();
    assert_eq!(world.take_marks(), ["booted good", "other bad", "booted active"]);
    assert_eq!((world.first, world.b.bootable, world.reboots), (SlotName::A, false, 0));
}

#[tokio::test]
async fn a_factory_reset_is_written_down_and_rebooted_for() {
    let device = device().await;
    device.agent("streaming", true, 1);
    let reset = |even_if_live| Request::Reset { keep_identity: true, even_if_live };
    let error = device.order(reset(false)).await.unwrap_err().to_string();
    assert!(error.contains("A stream is live"), "{error}");
    assert!(!device.config.reset_file.exists());
    device.order(reset(true)).await.unwrap();
    device.wait_reboots(1).await;
    let text = fs::read_to_string(&device.config.reset_file).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), serde_json::json!({"keep_identity": true}));
}

#[tokio::test]
async fn a_reboot_that_does_not_come_is_said() {
    let device = device().await;
    device.world().refuse_reboot = true;
    device.order(Request::Reboot { even_if_live: false }).await.unwrap();
    let status = device.wait(|status| !status.problems.is_empty()).await;
    assert!(status.problems[0].message.contains("Operation inhibited"), "{status:?}");
    device.world().refuse_reboot = false;
    device.wait_reboots(1).await;
}

#[tokio::test]
async fn going_back_needs_a_slot_that_ran_well() {
    let device = device().await;
    let rollback = Request::Rollback { even_if_live: false };
    let error = device.order(rollback.clone()).await.unwrap_err().to_string();
    assert!(error.contains("slot B: its system never ran well"), "{error}");
    let error = "Installation error: Failed updating slot rootfs.1: Device or resource busy";
    device.world().behaviour = Behaviour::Fails { error: error.to_owned(), spoils: true };
    refusal(&device, order(URL)).await;
    let error = device.order(rollback).await.unwrap_err().to_string();
    assert!(error.contains("slot B: it is bad: An update to 0.2.0 was not written to its end"), "{error}");
    assert_eq!(device.world().reboots, 0);
}
