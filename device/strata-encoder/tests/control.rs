//! The agent's side: commands, bad input, ends and their reports.

mod rig;

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rig::{Rig, media};
use strata_control::{BitrateBounds, EncoderState, EndReason, Source};
use strata_encoder_protocol::{EncoderCommand, EncoderEvent, EncoderLink, MAX_LINE_BYTES};

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_socket_disturbs_nothing() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let mut agent = rig.run().await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&rig.config.socket), mode(rig.config.socket.parent().unwrap())), (0o600, 0o700));

    for garbage in ["no json\n", "{\"command\":\"fly\"}\n", "[]\n", "\n\n", "\u{0}\u{1}\n", "{\"command\":\"stop\"}\n"]
    {
        agent.send_raw(garbage).await;
    }
    // The connection still works.
    agent.send(&EncoderCommand::ForceKeyFrame).await;
    agent.stats(|_| true).await;
    // An endless line ends the connection, not the stream.
    let long = "x".repeat(MAX_LINE_BYTES + 100);
    let sent = tokio::io::AsyncWriteExt::write_all(&mut agent.write, long.as_bytes()).await;
    while agent.next().await.is_some() {}
    drop(sent);
    let mut second = rig.connect().await;
    second.state(EncoderState::Running).await;
    let log = rig.log();
    assert!(log.contains("not a command") && log.contains("longer than"), "{log}");
    rig.stop(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_agent_is_greeted_with_what_was_changed_and_replaces_the_older() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let mut agent = rig.run().await;
    let camera = Source::Camera { input: "simulated:rear".to_owned() };
    agent.switch(camera.clone()).await;
    let bitrate = BitrateBounds { floor_bps: 200_000, target_bps: 300_000, ceiling_bps: 400_000 };
    agent.send(&EncoderCommand::SetBitrate { bitrate }).await;
    agent.send(&EncoderCommand::SetLatency { latency_ms: 700 }).await;
    agent.stats(|stats| stats.encoder.bitrate_bps <= 400_000).await;

    let mut second = rig.connect().await;
    let Some(EncoderEvent::Hello { start, state, pid, .. }) = second.next().await else { panic!("no hello") };
    assert_eq!((start.source, state), (camera, EncoderState::Running));
    assert_eq!((start.encoder.bitrate, start.encoder.latency_ms), (bitrate, 700));
    assert_eq!(Some(pid), rig.child.as_ref().unwrap().id());
    while agent.next().await.is_some() {}
    rig.stop(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bitrate_and_links_change_while_it_streams() {
    let mut rig = Rig::new(Source::Camera { input: "simulated:front".to_owned() }).await;
    let mut agent = rig.run().await;
    agent.stats(|stats| stats.encoder.output_bps > 600_000).await;
    let bitrate = BitrateBounds { floor_bps: 100_000, target_bps: 150_000, ceiling_bps: 200_000 };
    agent.send(&EncoderCommand::SetBitrate { bitrate }).await;
    agent.stats(|stats| stats.encoder.output_bps < 500_000).await;
    // Out of bounds: refused, nothing changed.
    let wrong = BitrateBounds { floor_bps: 1, ..bitrate };
    agent.send(&EncoderCommand::SetBitrate { bitrate: wrong }).await;
    let refused = agent.wait(refusal).await;
    assert!(refused.contains("bitrate floor"), "{refused}");

    let link = |id: u8, interface: &str| EncoderLink {
        id,
        interface: interface.to_owned(),
        bind: false,
        remote: rig.worker.receiver.local_addr(),
    };
    let links = vec![link(0, "simulated0"), link(4, "simulated4")];
    agent.send(&EncoderCommand::SetLinks { links }).await;
    let up = |stats: &strata_control::StreamStats| {
        stats.links.len() == 2 && stats.links.iter().all(|link| link.state == strata_control::LinkState::Up)
    };
    let stats = agent.stats(up).await;
    assert_eq!((stats.links[1].id, stats.links[1].interface.as_str()), (4, "simulated4"));
    agent.send(&EncoderCommand::SetLinks { links: vec![link(0, "a"), link(0, "b")] }).await;
    let refused = agent.wait(refusal).await;
    assert!(refused.contains("a and b"), "{refused}");
    agent.send(&EncoderCommand::SetLinks { links: vec![link(4, "simulated4")] }).await;
    agent.stats(|stats| stats.links.len() == 1).await;
    rig.receive_more(50_000).await;
    rig.stop(&mut agent).await;
    assert_eq!(media::decoding_errors(&rig.received().await), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_whose_interface_is_not_there_stops_nothing_and_is_told() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let gone = EncoderLink { id: 1, interface: "nosuch9".to_owned(), bind: true, ..rig.config.links[0].clone() };
    rig.config.links.insert(0, gone);
    rig.spawn().await;
    let mut agent = rig.connect().await;
    let about_link = |event: &EncoderEvent| match event {
        EncoderEvent::State { detail, .. } if detail.contains("nosuch9") => Some(detail.clone()),
        _ => None,
    };
    let detail = agent.wait(about_link).await;
    assert!(detail.contains("interface"), "{detail}");
    let stats = agent.stats(|stats| stats.links.len() == 2).await;
    let gone = stats.links.iter().find(|link| link.interface == "nosuch9").expect("it is shown");
    assert_ne!(gone.state, strata_control::LinkState::Up);
    rig.receive_more(100_000).await;
    rig.stop(&mut agent).await;
}

fn refusal(event: &EncoderEvent) -> Option<String> {
    match event {
        EncoderEvent::State { detail, .. } if detail.starts_with("refused") => Some(detail.clone()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_used_ends_the_stream_with_the_reason() {
    for (name, content, reason, part) in [
        ("nothing.mp4", None, EndReason::SourceMissing, "copy it"),
        ("text.mp4", Some("this is no film\n".repeat(100)), EndReason::SourceUnreadable, "not a media file"),
        ("empty.mp4", Some(String::new()), EndReason::SourceUnreadable, "empty"),
    ] {
        let mut rig = Rig::new(Source::TestPattern).await;
        let path = rig.path(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        rig.config.source = Source::File { path: path.to_str().unwrap().to_owned() };
        rig.spawn().await;
        let ended = rig.connect().await.ended().await;
        assert_eq!(ended.reason, reason, "{}", ended.detail);
        assert!(ended.detail.contains(name) && ended.detail.contains(part), "{}", ended.detail);
        assert_eq!(rig.exit_code().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_cannot_be_used_ends_the_stream_with_the_reason() {
    for (input, reason, part) in [
        ("v4l2:/dev/video99", EndReason::SourceMissing, "plug it in"),
        ("v4l2:/dev/null", EndReason::SourceUnreadable, "not a camera"),
        ("v4l2:/etc/hostname", EndReason::SourceUnreadable, "not a camera"),
        ("webcam", EndReason::SourceMissing, "v4l2:/dev/videoN"),
    ] {
        let mut rig = Rig::new(Source::Camera { input: input.to_owned() }).await;
        rig.spawn().await;
        let ended = rig.connect().await.ended().await;
        assert_eq!(ended.reason, reason, "{input}: {}", ended.detail);
        assert!(ended.detail.contains(part), "{input}: {}", ended.detail);
        assert_eq!(rig.exit_code().await, Some(0), "{input}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_plugin_is_named_with_its_package() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let nothing = rig.path("no-plugins");
    std::fs::create_dir(&nothing).unwrap();
    let registry = rig.path("registry.bin");
    for variable in ["GST_PLUGIN_SYSTEM_PATH", "GST_PLUGIN_SYSTEM_PATH_1_0", "GST_PLUGIN_PATH", "GST_PLUGIN_PATH_1_0"] {
        rig.environment(variable, &nothing);
    }
    rig.environment("GST_REGISTRY", &registry);
    rig.environment("GST_REGISTRY_1_0", &registry);
    rig.spawn().await;
    let ended = rig.connect().await.ended().await;
    assert_eq!(ended.reason, EndReason::PluginMissing, "{}", ended.detail);
    assert!(ended.detail.contains("appsrc") && ended.detail.contains("gstreamer1.0-plugins-base"), "{}", ended.detail);
    assert_eq!(rig.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_cleanly_on_sigterm_and_alone() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let mut agent = rig.run().await;
    let pid = i32::try_from(rig.child.as_ref().unwrap().id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let ended = agent.ended().await;
    assert_eq!(ended.reason, EndReason::DeviceShutdown);
    assert_eq!(rig.exit_code().await, Some(0));

    let mut alone = Rig::new(Source::TestPattern).await;
    alone.config.orphan_timeout_s = 2;
    alone.spawn().await;
    assert_eq!(alone.exit_code().await, Some(0));
    assert!(alone.log().contains("no agent was connected for 2 s"), "{}", alone.log());
    assert!(!alone.config.socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_what_was_sent_and_its_failure_stops_nothing() {
    let mut rig = Rig::new(Source::TestPattern).await;
    rig.config.record_to = Some(rig.path("recordings/copy.ts"));
    let mut agent = rig.run().await;
    rig.receive_more(200_000).await;
    rig.stop(&mut agent).await;
    let received = std::fs::read(rig.received().await).unwrap();
    let recorded = std::fs::read(rig.path("recordings/copy.ts")).unwrap();
    assert!(recorded.len() >= received.len() && received.len() > 200_000);
    assert!(recorded.starts_with(&received) || recorded == received, "{} and {}", recorded.len(), received.len());

    let mut full = Rig::new(Source::TestPattern).await;
    full.config.record_to = Some("/dev/full".into());
    full.spawn().await;
    let mut agent = full.connect().await;
    let about_disk = |event: &EncoderEvent| match event {
        EncoderEvent::State { state, detail } if detail.contains("/dev/full") => Some((*state, detail.clone())),
        _ => None,
    };
    let (state, detail) = agent.wait(about_disk).await;
    assert!(state != EncoderState::Stopping && detail.contains("the stream goes on"), "{detail}");
    full.receive_more(100_000).await;
    full.stop(&mut agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_refused_in_words() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let mut wrong = serde_json::to_value(&rig.config).unwrap();
    wrong["settings"]["width"] = 641.into();
    for (input, part) in [
        (String::new(), "one line of JSON"),
        ("{}\n".to_owned(), "missing field"),
        (wrong.to_string() + "\n", "641x360"),
    ] {
        rig.spawn_with(input.as_bytes()).await;
        assert_eq!(rig.exit_code().await, Some(2));
        assert!(rig.log().contains(part), "{}", rig.log());
    }
    // A key that is not there is the device's trouble, and told to the agent.
    rig.config.key_file = rig.path("nothing.key");
    rig.spawn().await;
    let ended = rig.connect().await.ended().await;
    assert!(ended.detail.contains("nothing.key"), "{}", ended.detail);
    assert_eq!(rig.exit_code().await, Some(1));
}
