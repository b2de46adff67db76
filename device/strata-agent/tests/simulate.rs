//! `--simulate`: made-up modems and a camera, links through a real emulator process.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use strata_control::{
    CommandResult, ConfigUpdate, DeviceMessage, EncoderState, InterfaceKind, LinkPolicy, RelayMessage, StreamStats,
};
use strata_netem::control::Client;
use support::{Connection, Device, LIMIT, Relay, TOKEN, stream, wait_for};

async fn simulated() -> (Relay, Device, Connection) {
    let mut relay = Relay::start().await;
    let mut device = Device::with(&relay.url(), "", &["--simulate"]);
    device.write_token(TOKEN);
    device.start();
    let connection = relay.accept_login().await;
    (relay, device, connection)
}

async fn stats(connection: &mut Connection, what: &str, holds: impl Fn(&StreamStats) -> bool) -> StreamStats {
    connection.forget();
    connection
        .expect(what, |message| match &message.message {
            DeviceMessage::StreamStats(stats) if holds(stats) => Some(stats.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn what_is_made_up_says_so() {
    let (_relay, device, mut connection) = simulated().await;
    // The agent makes the folder, too, but not before it is ready.
    std::fs::create_dir_all(device.path("media")).unwrap();
    std::fs::write(device.path("media/clip.mp4"), "not really").unwrap();
    let status = connection.status("saved media", |status| !status.saved_media.is_empty()).await;
    assert!(status.simulated);
    assert_eq!(status.interfaces.len(), 3);
    for interface in &status.interfaces {
        assert_eq!(interface.kind, InterfaceKind::Modem);
        assert!(interface.network.is_some() && interface.technology.is_some() && interface.signal_dbm.is_some());
    }
    assert_eq!(status.media_inputs.iter().map(|input| &*input.id).collect::<Vec<_>>(), ["simulated:camera"]);
    assert_eq!(status.saved_media[0].name, "clip.mp4");
}

#[tokio::test]
async fn three_links_go_through_one_emulator_that_survives_the_agent_and_ends_with_the_stream() {
    let (mut relay, mut device, mut connection) = simulated().await;
    let start = stream();
    assert_eq!(connection.start(&start).await, CommandResult::Done);
    let numbers = stats(&mut connection, "three links", |stats| stats.links.len() == 3).await;
    let names: Vec<&str> = numbers.links.iter().map(|link| &*link.interface).collect();
    assert_eq!(names, ["sim-modem0", "sim-modem1", "sim-modem2"]);
    assert!(numbers.links.iter().all(|link| link.signal_dbm.is_some()));

    let socket = device.path(&format!("run/netem-{}.sock", start.stream_id));
    let mut emulator = Client::connect(&socket).await.unwrap();
    let links = emulator.list().await.unwrap();
    assert!(links.iter().all(|link| link.target.port() == 9 && link.listen.port() != 0), "{links:?}");
    let lossy = links.iter().filter(|link| link.shape.loss_percent > 0.0).count();
    assert_eq!(lossy, 1, "{links:?}");
    emulator.cut(1).await.unwrap();

    // Killed and back: the same emulator, the cut still holds, the same encoder.
    let encoder = device.encoder_pid(start.stream_id);
    device.kill();
    device.start();
    let mut connection = relay.accept_login().await;
    stats(&mut connection, "numbers again", |stats| stats.links.len() == 3).await;
    assert_eq!(device.encoder_pid(start.stream_id), encoder);
    let again = emulator.list().await.unwrap();
    assert_eq!(
        again.iter().map(|link| (link.listen, link.cut)).collect::<Vec<_>>(),
        [(links[0].listen, false), (links[1].listen, true), (links[2].listen, false)]
    );

    assert_eq!(connection.stop(start.stream_id).await, CommandResult::Done);
    wait_for("the emulator's end", || !socket.exists()).await;
    assert!(tokio::time::timeout(LIMIT, emulator.list()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_lost_emulator_comes_back_at_the_same_addresses() {
    let (_relay, device, mut connection) = simulated().await;
    let start = stream();
    assert_eq!(connection.start(&start).await, CommandResult::Done);
    connection
        .status("the stream running", |status| {
            status.running_streams.iter().any(|stream| stream.state == EncoderState::Running)
        })
        .await;
    let socket = device.path(&format!("run/netem-{}.sock", start.stream_id));
    let mut emulator = Client::connect(&socket).await.unwrap();
    let before = emulator.list().await.unwrap();
    emulator.stop().await.unwrap();
    drop(emulator);
    let deadline = tokio::time::Instant::now() + LIMIT;
    let after = loop {
        assert!(tokio::time::Instant::now() < deadline, "the emulator did not come back");
        if let Ok(mut emulator) = Client::connect(&socket).await
            && let Ok(links) = emulator.list().await
        {
            break links;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let addresses = |links: &[strata_netem::protocol::LinkInfo]| links.iter().map(|l| l.listen).collect::<Vec<_>>();
    assert_eq!(addresses(&before), addresses(&after));
}

#[tokio::test]
async fn a_link_that_the_operator_forbids_is_left_out_and_taken_back() {
    let (_relay, device, mut connection) = simulated().await;
    let start = stream();
    assert_eq!(connection.start(&start).await, CommandResult::Done);
    connection
        .status("the stream running", |status| {
            status.running_streams.iter().any(|stream| stream.state == EncoderState::Running)
        })
        .await;
    for (enabled, count, of) in
        [(false, 2, None), (true, 3, None), (false, 2, Some(start.stream_id)), (true, 3, Some(start.stream_id))]
    {
        let policy = LinkPolicy { interface: "sim-modem1".into(), enabled, priority: 0, metered: false };
        let update = ConfigUpdate { stream_id: of, links: vec![policy], ..ConfigUpdate::default() };
        let answer = connection.command(RelayMessage::ConfigUpdate(update)).await;
        assert_eq!(answer, DeviceMessage::ConfigUpdateResponse(CommandResult::Done));
        if of.is_none() {
            connection.forget();
            let status = connection.status("the new policy", |_| true).await;
            assert_eq!(status.interfaces[1].enabled, enabled);
        }
        let links = || {
            let record = std::fs::read_to_string(device.path(&format!("state/streams/{}.json", start.stream_id)));
            let record: serde_json::Value = serde_json::from_str(&record.unwrap_or_default()).unwrap_or_default();
            let links: Vec<u64> =
                record["links"].as_array().into_iter().flatten().filter_map(|l| l["id"].as_u64()).collect();
            links
        };
        wait_for("the links", || links().len() == count).await;
        assert_eq!(links(), if enabled { vec![0, 1, 2] } else { vec![0, 2] });
    }
}
