//! The client of RAUC against a stand-in for it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use std::sync::{Arc, Mutex};

use strata_control::SlotName;
use strata_update::bus::Bus;
use strata_update::messages::FailureKind;
use strata_update::network;
use strata_update::rauc::{Mark, Rauc, Which};

use support::services::{Behaviour, World, hash};
use support::{COMPATIBLE, URL, connect};

/// RAUC, and the world that it is in.
async fn rauc() -> (Rauc, Arc<Mutex<World>>, [zbus::Connection; 2], Bus) {
    let world = Arc::new(Mutex::new(World::new()));
    let (client, server) = connect(&world).await;
    let bus = Bus::Peer(client.clone());
    (Rauc::connect(&bus).await.unwrap(), world, [client, server], bus)
}

#[tokio::test]
async fn bundles_are_looked_into_and_errors_translated() {
    let (rauc, world, _open, _) = rauc().await;
    let bundle = rauc.inspect(URL).await.unwrap();
    assert_eq!((bundle.version.as_str(), bundle.compatible.as_str()), ("0.2.0", COMPATIBLE));
    assert_eq!(bundle.manifest_sha256, Some(hash("0.2.0")));
    let failure = rauc.inspect("http://relay.example/nothing").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(failure.raw.contains("404") && failure.sentence.contains("http://relay.example/nothing"), "{failure:?}");
    world.lock().unwrap().operation = "installing".to_owned();
    assert_eq!(rauc.inspect(URL).await.unwrap_err().kind, FailureKind::Busy);
    assert_eq!(rauc.slots().await.unwrap_err().kind, FailureKind::Busy);
}

#[tokio::test]
async fn an_install_ends_with_its_completion_and_fails_in_raucs_words() {
    let (rauc, world, _open, _) = rauc().await;
    let mut percent = 0;
    rauc.install(URL, None, |now| percent = percent.max(now)).await.unwrap();
    let slots = rauc.slots().await.unwrap();
    assert_eq!(slots.len(), 2, "a slot that nothing boots from is none of ours: {slots:?}");
    assert_eq!((slots[1].name, slots[1].bootable, slots[1].version.as_deref()), (SlotName::B, true, Some("0.2.0")));
    assert_eq!(slots[1].manifest_sha256, Some(hash("0.2.0")));
    let error = "Installation error: Failed updating slot rootfs.1: Failed to copy data: Error reading from file: Input/output error";
    world.lock().unwrap().behaviour = Behaviour::Fails { error: error.to_owned(), spoils: true };
    let failure = rauc.install(URL, None, |_| {}).await.unwrap_err();
    assert_eq!((failure.kind, failure.raw.as_str()), (FailureKind::ConnectionLost, error));
    world.lock().unwrap().behaviour = Behaviour::Dies;
    let failure = rauc.install(URL, None, |_| {}).await.unwrap_err();
    assert!(failure.kind == FailureKind::Lost && failure.sentence.contains("in the middle"), "{failure:?}");
}

#[tokio::test]
async fn a_manifests_hash_is_required_where_rauc_knows_how() {
    for knows_hash in [false, true] {
        let (rauc, world, _open, _) = rauc().await;
        world.lock().unwrap().knows_hash = knows_hash;
        rauc.install(URL, Some(&hash("0.2.0")), |_| {}).await.unwrap();
        assert_eq!(rauc.slots().await.unwrap()[1].manifest_sha256, Some(hash("0.2.0")));
    }
}

#[tokio::test]
async fn slots_are_marked() {
    let (rauc, world, _open, _) = rauc().await;
    rauc.mark(Mark::Good, Which::Booted).await.unwrap();
    rauc.mark(Mark::Bad, Which::Booted).await.unwrap();
    rauc.mark(Mark::Active, Which::Other).await.unwrap();
    let mut world = world.lock().unwrap();
    assert_eq!(world.take_marks(), ["booted good", "booted bad", "other active"]);
    assert_eq!((world.first, world.a.bootable, world.b.bootable), (SlotName::B, false, true));
}

#[tokio::test]
async fn a_service_that_is_gone_is_said_in_a_sentence() {
    let (rauc, _, [_client, server], _) = rauc().await;
    server.close().await.unwrap();
    assert_eq!(rauc.install(URL, None, |_| {}).await.unwrap_err().kind, FailureKind::NoRauc, "it was never ordered");
    for failure in [rauc.slots().await.unwrap_err(), rauc.mark(Mark::Good, Which::Booted).await.unwrap_err()] {
        assert!(failure.kind == FailureKind::NoRauc && failure.sentence.contains("does not answer"), "{failure:?}");
    }
}

#[tokio::test]
async fn the_network_is_asked() {
    let (_, world, _open, bus) = rauc().await;
    for (metered, expected) in [(0, false), (1, true), (2, false), (3, true), (4, false)] {
        world.lock().unwrap().metered = metered;
        assert_eq!(network::is_metered(&bus).await.unwrap(), expected, "{metered}");
    }
    assert!(!network::has_access_point(&bus).await.unwrap());
    world.lock().unwrap().access_point = true;
    assert!(network::has_access_point(&bus).await.unwrap());
}
