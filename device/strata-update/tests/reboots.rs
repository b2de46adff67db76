//! The whole daemon over several boots: good ones, bad ones, and power cuts in between.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use std::fs;

use semver::Version;
use strata_control::{DeviceProblemKind, SlotName, SlotState, UpdateStep};
use strata_update_protocol::Request;

use support::services::Behaviour;
use support::{Device, URL, order, real_encoder, slot};

/// A device with 0.2.0 installed in slot B, about to reboot into it.
async fn installed() -> Device {
    let mut device = Device::new().await;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device.order(Request::Install(order(URL))).await.unwrap();
    device.wait_reboots(1).await;
    assert_eq!(device.world().take_marks(), ["booted good"]);
    device
}

/// A device that runs 0.2.0 from slot B, checked by the real encoder.
async fn updated() -> Device {
    let mut device = installed().await;
    device.config.encoder_program = real_encoder();
    (device.config.verify_limit_s, device.config.encoder_try_s) = (120, 60);
    device.image.floor = Version::new(0, 1, 0);
    device.boot(SlotName::B, "0.2.0", "").await;
    device.agent("idle", true, 0);
    device.wait_step(UpdateStep::Good).await;
    device.wait_mark().await;
    device
}

#[tokio::test]
async fn a_new_system_that_passes_its_check_is_good() {
    let device = updated().await;
    let status = device.wait(|status| slot(status, SlotName::B).state == SlotState::Good).await;
    assert_eq!((status.version.as_str(), status.booted), ("0.2.0", SlotName::B));
    assert_eq!(slot(&status, SlotName::A).state, SlotState::Good);
    assert_eq!(device.world().take_marks(), ["booted good"]);
    assert_eq!(fs::read_to_string(device.config.state_dir.join("floor")).unwrap(), "0.1.0\n");
    assert!(device.rejected().is_empty());
}

#[tokio::test]
async fn going_back_by_order_is_an_update_without_a_bundle() {
    let mut device = updated().await;
    device.order(Request::Rollback { even_if_live: false }).await.unwrap();
    device.wait_reboots(2).await;
    assert_eq!(device.world().take_marks(), ["booted good", "other active"]);
    device.boot(SlotName::A, "0.1.0", "").await;
    device.agent("connecting", false, 0);
    // No relay here, but the access point.
    device.world().access_point = true;
    let update = device.wait_step(UpdateStep::Good).await;
    assert_eq!((update.version.as_str(), update.slot), ("0.1.0", SlotName::A));
}

#[tokio::test]
async fn going_back_below_the_floor_is_refused() {
    let mut device = updated().await;
    device.cut().await;
    device.image.floor = Version::new(0, 2, 0);
    device.boot(SlotName::B, "0.2.0", "").await;
    device.wait_good().await;
    let error = device.order(Request::Rollback { even_if_live: false }).await.unwrap_err().to_string();
    assert!(error.contains("its version 0.1.0 is older than 0.2.0"), "{error}");
}

#[tokio::test]
async fn a_system_whose_agent_never_gets_ready_rejects_itself() {
    let mut device = installed().await;
    device.boot(SlotName::B, "0.2.0", "").await;
    device.wait_reboots(2).await;
    assert_eq!(device.world().take_marks(), ["booted bad", "other active"]);
    assert!(!device.config.good_mark().exists());
    let reason = device.wait_step(UpdateStep::RolledBack).await.error.unwrap();
    assert!(reason.contains("waiting for the agent to start up: the agent does not run"), "{reason}");

    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    let status = device.wait(|status| slot(status, SlotName::B).state == SlotState::Bad).await;
    assert_eq!(slot(&status, SlotName::B).reason.as_ref(), Some(&reason));
    assert_eq!(status.update.unwrap().error, Some(reason));
    device.until(|| device.rejected().first().is_some_and(|kept| kept.join("journal.txt").exists())).await;
    let kept = device.rejected();
    let text = fs::read_to_string(kept[0].join("reason.json")).unwrap();
    assert!(kept.len() == 1 && text.contains("\"agent\"") && text.contains("0.2.0"), "{kept:?} {text}");
    let journal = fs::read_to_string(kept[0].join("journal.txt")).unwrap();
    assert_eq!(journal, "-- boot b2\na line of --boot=b2\n");
    // It is kept once.
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    assert_eq!(device.rejected().len(), 1);
}

#[tokio::test]
async fn a_system_whose_encoder_fails_rejects_itself_in_the_encoders_words() {
    let mut device = installed().await;
    device.boot(SlotName::B, "0.2.0", "").await;
    device.agent("idle", true, 0);
    let reason = device.wait_step(UpdateStep::RolledBack).await.error.unwrap();
    assert!(
        reason.contains("real pictures from the encoder over a loopback bond: /nonexistent/strata-encoder"),
        "{reason}"
    );
    device.wait_reboots(2).await;
}

#[tokio::test]
async fn a_system_that_the_boot_loader_could_not_start_is_left_with_its_word_for_why() {
    let mut device = installed().await;
    device.world().b.bootable = false;
    device.boot(SlotName::A, "0.1.0", "strata.skipped=B:kernel-missing,").await;
    device.wait_good().await;
    let update = device.wait_step(UpdateStep::RolledBack).await;
    assert!(
        update.error.as_ref().unwrap().contains("slot B could not be started: its kernel is missing"),
        "{update:?}"
    );
    let status = device.wait(|status| slot(status, SlotName::B).state == SlotState::Bad).await;
    assert!(status.problems.iter().any(|problem| problem.kind == DeviceProblemKind::Boot), "{status:?}");
    // The slot that runs is the first to boot again.
    device.until(|| device.world().first == SlotName::A).await;
}

#[tokio::test]
async fn a_system_that_crashed_each_time_is_left_with_its_journal() {
    let mut device = installed().await;
    device.silent_boots(3);
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    let update = device.wait_step(UpdateStep::RolledBack).await;
    assert!(update.error.unwrap().contains("started 3 times and never reported back"));
    device.until(|| device.rejected().first().is_some_and(|kept| kept.join("journal.txt").exists())).await;
    let journal = fs::read_to_string(device.rejected()[0].join("journal.txt")).unwrap();
    assert_eq!(journal.matches("-- boot ").count(), 3, "{journal}");
}

#[tokio::test]
async fn a_check_that_hung_is_named() {
    let mut device = installed().await;
    device.config.verify_limit_s = 600;
    device.boot(SlotName::B, "0.2.0", "").await;
    device.wait_step(UpdateStep::Verifying).await;
    // Cut off while it waited for its agent; then it hung again and again.
    device.silent_boots(2);
    device.boot(SlotName::A, "0.1.0", "").await;
    let update = device.wait_step(UpdateStep::RolledBack).await;
    assert!(update.error.as_ref().unwrap().contains("while its check waited for the agent to start up"), "{update:?}");
}

#[tokio::test]
async fn the_power_may_be_cut_while_a_rejection_is_carried_out() {
    let mut device = installed().await;
    // RAUC does not answer: written down, but not marked.
    device.world().operation = "installing".to_owned();
    device.boot(SlotName::B, "0.2.0", "").await;
    device.wait_step(UpdateStep::RolledBack).await;
    device.cut().await;
    assert!(device.world().take_marks().is_empty());
    device.world().operation = "idle".to_owned();
    device.boot(SlotName::B, "0.2.0", "").await;
    // Not checked again, though all is well now: it had been rejected.
    device.agent("idle", true, 0);
    device.wait_reboots(2).await;
    assert_eq!(device.world().take_marks(), ["booted bad", "other active"]);
}

#[tokio::test]
async fn two_systems_that_do_not_do_are_not_changed_for_ever() {
    let mut device = installed().await;
    device.boot(SlotName::B, "0.2.0", "").await;
    device.wait_reboots(2).await;
    // The former system does not boot: a round later the rejected one runs again, and stays.
    device.silent_boots(3);
    device.boot(SlotName::B, "0.2.0", "strata.rounds=1").await;
    device.wait_good().await;
    let status = device.wait(|status| slot(status, SlotName::B).state == SlotState::Good).await;
    let messages: Vec<_> = status.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert!(
        messages.iter().any(|message| message.starts_with("Both slots had used up their attempts; ")),
        "{messages:?}"
    );
    assert!(messages.iter().any(|message| message.contains("slot B, which had been rejected")), "{messages:?}");
    assert_eq!(device.world().reboots, 2);
    // The next boot has no new round to tell of.
    device.boot(SlotName::B, "0.2.0", "strata.rounds=1").await;
    let status = device.status().await;
    assert!(!status.problems.iter().any(|problem| problem.message.starts_with("Both slots")), "{status:?}");
}

#[tokio::test]
async fn an_install_that_the_power_cut_off_is_done_again_and_given_up_at_last() {
    let mut device = Device::new().await;
    device.world().behaviour = Behaviour::Hangs;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device.order(Request::Install(order(URL))).await.unwrap();
    for _ in 0..3 {
        device.wait_step(UpdateStep::Downloading).await;
        device.cut().await;
        device.world().operation = "idle".to_owned();
        device.boot(SlotName::A, "0.1.0", "").await;
        device.wait_good().await;
    }
    device.until(|| device.world().operation == "installing").await;
    device.stop().await;
    device.world().take_marks();
    // Only the daemon ended: RAUC is still at work, and makes the slot the next to boot at last.
    device.daemon("rauc.slot=A").await;
    let told = |message: &str| message.contains("RAUC is busy");
    let status = device.wait(|status| status.problems.iter().any(|problem| told(&problem.message))).await;
    assert_eq!(status.update.unwrap().step, UpdateStep::Downloading);
    {
        let mut world = device.world();
        assert_eq!(world.take_marks(), [""; 0]);
        (world.first, world.b.bootable, world.operation) = (SlotName::B, true, "idle".to_owned());
    }
    let update = device.wait_step(UpdateStep::Refused).await;
    assert_eq!(device.world().take_marks(), ["other bad", "booted active"]);
    assert_eq!(device.world().first, SlotName::A);
    assert!(
        update.error.as_ref().unwrap().contains("The power went away while the update to 0.2.0 was written, 4 times"),
        "{update:?}"
    );
    device.wait_good().await;
    assert_eq!(device.world().reboots, 0);
}

#[tokio::test]
async fn the_power_may_go_between_raucs_end_and_ours() {
    let mut device = Device::new().await;
    device.world().behaviour = Behaviour::Hangs;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device.order(Request::Install(order(URL))).await.unwrap();
    device.wait_step(UpdateStep::Downloading).await;
    // RAUC had just made slot B the next to boot.
    device.cut().await;
    device.world().operation = "idle".to_owned();
    device.config.verify_limit_s = 600;
    device.boot(SlotName::B, "0.2.0", "").await;
    device.wait_step(UpdateStep::Verifying).await;
}

#[tokio::test]
async fn an_update_that_was_refused_and_boots_all_the_same_is_checked() {
    let mut device = Device::new().await;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device.world().behaviour = Behaviour::Dies;
    device.order(Request::Install(order(URL))).await.unwrap();
    device.wait_step(UpdateStep::Refused).await;
    device.world().take_marks();
    device.config.verify_limit_s = 600;
    device.boot(SlotName::B, "0.2.0", "").await;
    device.agent("idle", true, 0);
    let update = device.wait_step(UpdateStep::Verifying).await;
    assert_eq!((update.version.as_str(), update.error), ("0.2.0", None));
    assert_eq!(device.world().take_marks(), [""; 0], "neither is the old system bad nor the new one good");
    assert!(!device.config.good_mark().exists() && device.rejected().is_empty());
    // The former system runs again: the new one never came through.
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_step(UpdateStep::RolledBack).await;
}

#[tokio::test]
async fn an_install_that_ended_while_nobody_asked_for_it_is_checked_at_its_boot() {
    let mut device = Device::new().await;
    device.world().behaviour = Behaviour::Hangs;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device.order(Request::Install(order(URL))).await.unwrap();
    device.until(|| device.world().operation == "installing").await;
    // Begun anew, but a stream is live; RAUC comes to its end meanwhile, and the power goes.
    device.stop().await;
    device.agent("streaming", true, 1);
    device.daemon("rauc.slot=A").await;
    device.wait_step(UpdateStep::Waiting).await;
    device.cut().await;
    device.world().operation = "idle".to_owned();
    device.world().take_marks();
    device.config.verify_limit_s = 600;
    device.boot(SlotName::B, "0.2.0", "").await;
    device.wait_step(UpdateStep::Verifying).await;
    assert_eq!(device.world().take_marks(), [""; 0]);
}

#[tokio::test]
async fn a_fall_back_that_cannot_be_settled_is_a_problem_until_it_can() {
    let mut device = installed().await;
    device.world().refuse_marks = true;
    device.boot(SlotName::A, "0.1.0", "strata.skipped=B:kernel-missing,").await;
    let told = |message: &str| message.contains("could not be told yet which slot to boot");
    let is_told = |status: &strata_update_protocol::Status| {
        status.problems.iter().any(|problem| problem.kind == DeviceProblemKind::Boot && told(&problem.message))
    };
    device.wait(is_told).await;
    let error = device.order(Request::Install(order("/data/0.2.0.raucb"))).await.unwrap_err().to_string();
    assert!(error.contains("under way"), "{error}");
    device.world().refuse_marks = false;
    device.wait(|status| !is_told(status)).await;
    assert_eq!(device.world().first, SlotName::A);
    device.wait_good().await;
    device.order(Request::Install(order(URL))).await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_is_started_again_in_the_same_boot_goes_on() {
    let mut device = installed().await;
    device.stop().await;
    device.daemon("rauc.slot=A").await;
    device.wait_reboots(2).await;
    assert_eq!(device.wait_step(UpdateStep::RebootPending).await.error, None);
    assert_eq!(device.world().take_marks(), [""; 0]);
}

#[tokio::test]
async fn a_good_slot_that_no_longer_boots_is_left_like_any_other() {
    let mut device = updated().await;
    device.silent_boots(3);
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    let update = device.wait_step(UpdateStep::RolledBack).await;
    assert!(update.error.as_ref().unwrap().contains("0.2.0 in slot B, which had run well before"), "{update:?}");
}

#[tokio::test]
async fn a_device_never_updated_that_falls_back_says_why_and_settles() {
    let mut device = Device::new().await;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device.silent_boots(3);
    device.boot(SlotName::B, "0.1.0", "strata.skipped=A:initrd-missing,").await;
    device.wait_good().await;
    let status = device.wait(|status| slot(status, SlotName::A).state == SlotState::Bad).await;
    assert!(slot(&status, SlotName::A).reason.as_ref().unwrap().contains("initial RAM disk is missing"), "{status:?}");
    device.wait(|status| slot(status, SlotName::B).state == SlotState::Good).await;
    // It is settled: the next boot is an ordinary one.
    device.world().take_marks();
    device.boot(SlotName::B, "0.1.0", "").await;
    device.wait_good().await;
    assert_eq!(device.world().take_marks(), ["booted good"]);
}
