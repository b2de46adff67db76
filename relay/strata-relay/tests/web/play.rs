//! Player page and HLS files: open to whoever has the key, and to nothing else.

use crate::support::{Browser, Site};
use strata_fleet::Role;

const PLAYLIST: &str =
    "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nseg-000001.ts\n#EXT-X-ENDLIST\n";

async fn ended_stream(site: &Site) -> String {
    site.user("kim@example.org", Role::Admin, "Club").await;
    let owned = site.belongings(&site.actor("kim@example.org").await).await;
    let target = site.fleet.play(&owned.play_key).await.unwrap().unwrap();
    std::fs::create_dir_all(&target.hls_folder).unwrap();
    std::fs::write(target.hls_folder.join("index.m3u8"), PLAYLIST).unwrap();
    std::fs::write(target.hls_folder.join("seg-000001.ts"), "G".repeat(188)).unwrap();
    std::fs::write(target.hls_folder.join("notes.txt"), "not for viewers").unwrap();
    std::fs::write(target.hls_folder.parent().unwrap().join("outside.ts"), "not for viewers").unwrap();
    owned.play_key
}

async fn path_as_it_is(browser: &mut Browser, path: &str) -> u16 {
    browser.get(path).await.status
}

#[tokio::test]
async fn playlist_and_segments_come_with_their_types_and_caching() {
    let site = Site::start().await;
    let key = ended_stream(&site).await;
    let mut viewer = site.browser();
    let playlist = viewer.get(&format!("/hls/{key}/index.m3u8")).await;
    assert_eq!((playlist.status, playlist.body.as_str()), (200, PLAYLIST));
    assert_eq!(playlist.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(playlist.header("cache-control"), "no-cache");
    assert_eq!(playlist.header("access-control-allow-origin"), "*");
    let segment = viewer.get(&format!("/hls/{key}/seg-000001.ts")).await;
    assert_eq!((segment.status, segment.body.len()), (200, 188));
    assert_eq!(segment.header("content-type"), "video/mp2t");
    assert!(segment.header("cache-control").contains("immutable"));
    let part = viewer.send("GET", &format!("/hls/{key}/seg-000001.ts"), &[("Range", "bytes=0-9")], "").await;
    assert_eq!((part.status, part.body.len()), (206, 10));
}

#[tokio::test]
async fn nothing_but_what_the_worker_wrote_is_served() {
    let site = Site::start().await;
    let key = ended_stream(&site).await;
    let mut viewer = site.browser();
    for name in [
        "notes.txt",
        "outside.ts",
        "../outside.ts",
        "..%2Foutside.ts",
        "%2e%2e%2foutside.ts",
        "..%5Coutside.ts",
        "seg-000002.ts",
        "seg-000001.ts%00",
        "index.m3u8/..",
        "",
        ".",
    ] {
        let status = path_as_it_is(&mut viewer, &format!("/hls/{key}/{name}")).await;
        assert_eq!(status, 404, "{name}");
    }
    for key in ["", "x", "..", "%2e%2e", &"a".repeat(500), "\u{e4}"] {
        for path in [format!("/hls/{key}/index.m3u8"), format!("/play/{key}"), format!("/play/{key}/state")] {
            assert_eq!(path_as_it_is(&mut viewer, &path).await, 404, "{path}");
        }
    }
}

#[tokio::test]
async fn the_player_says_why_a_stream_ended_and_nothing_private() {
    let site = Site::start().await;
    let key = ended_stream(&site).await;
    let mut viewer = site.browser();
    for _ in 0..200 {
        if viewer.get(&format!("/play/{key}/state")).await.json()["phase"] == "ended" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let state = viewer.get(&format!("/play/{key}/state")).await.json();
    assert_eq!((&state["phase"], &state["playable"]), (&"ended".into(), &true.into()));
    assert_eq!(state["test_pattern"], true);
    assert!(state["reason"].as_str().is_some_and(|reason| reason.contains("worker")), "{state}");
    let page = viewer.get(&format!("/play/{key}")).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Stream ended") && page.body.contains("TEST PATTERN"), "{}", page.body);
    for private in ["kim@example.org", "/nonexistent", "strata-egress"] {
        assert!(!page.body.contains(private), "{private}");
    }
}
