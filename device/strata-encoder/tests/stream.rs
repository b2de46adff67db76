//! What the viewer gets: the test pattern, a file in a loop, switches, a lost source.

mod rig;

use rig::{Rig, media, settings};
use strata_control::{EncoderState, EndReason, Source};
use strata_encoder_protocol::EncoderEvent;

/// A second and more of the rig's settings, in bytes.
const SECOND: usize = 150_000;

fn file(path: &std::path::Path) -> Source {
    Source::File { path: path.display().to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_pattern_arrives_with_picture_clock_and_tone() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let mut agent = rig.run().await;
    let stats =
        agent.stats(|stats| stats.encoder.frames > 150 && stats.receiver.is_some_and(|r| r.delivered > 300)).await;
    assert_eq!(stats.encoder.state, EncoderState::Running);
    assert_eq!(stats.source, Source::TestPattern);
    assert!(stats.encoder.element.ends_with("264enc"), "{}", stats.encoder.element);
    assert_eq!((stats.encoder.width, stats.encoder.height), (640, 360));
    assert!(stats.encoder.bytes > 300_000, "{stats:?}");
    assert_eq!((stats.links.len(), stats.links[0].interface.as_str()), (1, "simulated0"));
    assert!(stats.links[0].sent_bytes > 300_000, "{stats:?}");

    let ended = rig.stop(&mut agent).await;
    assert_eq!((ended.reason, ended.detail.as_str()), (EndReason::StoppedByUser, "stopped by ann"));
    assert!(!ended.log.is_empty() && ended.duration_ms > 1_000 && ended.bytes > 300_000, "{ended:?}");
    assert!(!rig.config.socket.exists(), "the socket file is gone");

    let received = rig.received().await;
    let streams = media::streams(&received);
    assert!(streams.contains("codec_name=h264|width=640|height=360|r_frame_rate=25/1"), "{streams}");
    assert!(streams.contains("codec_name=aac|sample_rate=48000|channels=2"), "{streams}");
    assert_eq!(media::decoding_errors(&received), "");
    let video = media::packets(&received, "v");
    media::assert_even(&video, 0.04, "video");
    media::assert_even(&media::packets(&received, "a"), 1_024.0 / 48_000.0, "audio");
    let keys: Vec<f64> = video.iter().filter(|packet| packet.key).map(|packet| packet.pts).collect();
    assert!(keys.windows(2).all(|pair| pair[1] - pair[0] < 1.01), "a key frame each second: {keys:?}");
    let loudness = media::loudness(&received);
    assert!(loudness[3..loudness.len() - 2].iter().all(|&level| level > 1_000), "{loudness:?}");
    check_timecodes(&media::timecodes(&received, 640, 360));
}

fn check_timecodes(read: &[Option<strata_encoder::timecode::Timecode>]) {
    let timecodes: Vec<_> = read.iter().flatten().collect();
    assert_eq!(timecodes.len(), read.len(), "every frame's strip is readable after encoding at 1 Mbit/s");
    assert!(timecodes.windows(2).all(|pair| pair[1].counter >= pair[0].counter && pair[1].unix_ms >= pair[0].unix_ms));
    let made = timecodes[timecodes.len() - 1].counter - timecodes[0].counter + 1;
    assert!(made as usize * 10 >= timecodes.len() * 9, "{made} different of {}", timecodes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_sources_leaves_no_trace_in_the_timestamps() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let clip = rig.path("clip.mp4");
    media::make_file(&clip, 2, &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]);
    let mut agent = rig.run().await;
    rig.receive_more(SECOND).await;
    let camera = Source::Camera { input: "simulated:front".to_owned() };
    let nothing = file(&rig.path("nothing.mp4"));
    for (wanted, used, error) in [
        (camera.clone(), camera.clone(), None),
        (nothing, camera, Some((EndReason::SourceMissing, "nothing.mp4"))),
        (file(&clip), file(&clip), None),
        (Source::TestPattern, Source::TestPattern, None),
        (Source::TestPattern, Source::TestPattern, None),
    ] {
        let EncoderEvent::SourceSwitched { source, error: told } = agent.switch(wanted).await else { unreachable!() };
        assert_eq!(source, used);
        match (told, error) {
            (None, None) => {}
            (Some(told), Some((reason, part))) => {
                assert_eq!(told.reason, reason);
                assert!(told.message.contains(part), "{}", told.message);
            }
            (told, error) => panic!("{told:?} instead of {error:?}"),
        }
        rig.receive_more(SECOND).await;
        let stats = agent.stats(|_| true).await;
        assert_eq!(stats.encoder.state, EncoderState::Running);
    }
    agent.stats(|stats| stats.source == Source::TestPattern).await;
    rig.stop(&mut agent).await;
    let received = rig.received().await;
    assert_eq!(media::decoding_errors(&received), "");
    media::assert_even(&media::packets(&received, "v"), 0.04, "video");
    media::assert_even(&media::packets(&received, "a"), 1_024.0 / 48_000.0, "audio");
    // Pattern, camera (no strip), file (no strip), pattern: two runs of timecodes.
    let strips: Vec<bool> = media::timecodes(&received, 640, 360).iter().map(Option::is_some).collect();
    let changes = strips.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((strips[0], changes, strips[strips.len() - 1]), (true, 2, true), "{strips:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_plays_in_a_loop_without_a_seam() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let clip = rig.path("clip.mkv");
    media::make_file(&clip, 1, &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]);
    rig.config.source = file(&clip);
    let mut agent = rig.run().await;
    agent.stats(|stats| stats.encoder.frames > 25 * 6).await;
    assert!(!agent.seen.iter().any(|event| matches!(event, EncoderEvent::State { state: EncoderState::NoInput, .. })));
    rig.stop(&mut agent).await;
    let received = rig.received().await;
    assert_eq!(media::decoding_errors(&received), "");
    media::assert_even(&media::packets(&received, "v"), 0.04, "video");
    media::assert_even(&media::packets(&received, "a"), 1_024.0 / 48_000.0, "audio");
    let loudness = media::loudness(&received);
    let silent = loudness[3..loudness.len() - 2].iter().filter(|&&level| level < 500).count();
    assert!(silent * 10 < loudness.len(), "its sound goes on over the loop: {loudness:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_sound_comes_with_silence() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let clip = rig.path("silent.ts");
    media::make_file(&clip, 1, &["-an", "-c:v", "mpeg2video"]);
    rig.config.source = file(&clip);
    let mut agent = rig.run().await;
    agent.stats(|stats| stats.encoder.frames > 60).await;
    rig.stop(&mut agent).await;
    let received = rig.received().await;
    media::assert_even(&media::packets(&received, "v"), 0.04, "video");
    media::assert_even(&media::packets(&received, "a"), 1_024.0 / 48_000.0, "audio");
    assert!(media::loudness(&received).iter().all(|&level| level < 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_source_shows_a_slate_and_comes_back() {
    let mut rig = Rig::new(Source::TestPattern).await;
    let (clip, away) = (rig.path("clip.mp4"), rig.path("away.mp4"));
    media::make_file(&clip, 1, &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]);
    rig.config.source = file(&clip);
    let mut agent = rig.run().await;
    std::fs::rename(&clip, &away).unwrap();
    let detail = agent.state(EncoderState::NoInput).await;
    assert!(detail.contains("clip.mp4"), "{detail}");
    rig.receive_more(SECOND / 10).await;
    std::fs::rename(&away, &clip).unwrap();
    agent.state(EncoderState::Running).await;
    rig.receive_more(SECOND).await;
    rig.stop(&mut agent).await;
    let received = rig.received().await;
    assert_eq!(media::decoding_errors(&received), "");
    media::assert_even(&media::packets(&received, "v"), 0.04, "video");
    media::assert_even(&media::packets(&received, "a"), 1_024.0 / 48_000.0, "audio");
}

#[tokio::test(flavor = "multi_thread")]
async fn h265_and_opus_arrive_too() {
    let mut settings = settings();
    (settings.width, settings.height) = (320, 180);
    settings.codec = strata_control::VideoCodec::H265;
    settings.audio.codec = strata_control::AudioCodec::Opus;
    let mut rig = Rig::with_settings(Source::TestPattern, settings).await;
    let mut agent = rig.run().await;
    agent.stats(|stats| stats.encoder.frames > 60).await;
    rig.stop(&mut agent).await;
    let received = rig.received().await;
    let streams = media::streams(&received);
    assert!(streams.contains("codec_name=hevc") && streams.contains("codec_name=opus"), "{streams}");
    media::assert_even(&media::packets(&received, "v"), 0.04, "video");
}
