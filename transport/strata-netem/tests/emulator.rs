//! The emulator as its users meet it: packets through sockets, commands through the control socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use strata_netem::Emulator;
use strata_netem::control::{Client, ControlError};
use strata_netem::protocol::{Config, LinkSpec, Ready, Shape, ShapeChange};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

fn config(target: SocketAddr, shape: Shape, control: Option<&Path>) -> Config {
    let link = LinkSpec { listen: "127.0.0.1:0".parse().unwrap(), target, shape, down: None, trace: None };
    Config { seed: 1, links: vec![link], control: control.map(Into::into), exit_idle_s: None }
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (bytes, from) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("a packet comes").unwrap();
    (buffer[..bytes].to_vec(), from)
}

#[tokio::test]
async fn packets_pass_both_ways_and_each_client_gets_its_own_answers() {
    let server = socket().await;
    let shape = Shape { delay_ms: 30.0, ..Shape::default() };
    let emulator = Emulator::start(&config(server.local_addr().unwrap(), shape, None)).await.unwrap();
    let (first, second) = (socket().await, socket().await);
    let start = Instant::now();
    for (client, text) in [(&first, b"first"), (&second, b"secon")] {
        client.send_to(text, emulator.addresses()[0]).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (packet, from) = receive(&server).await;
        server.send_to(&packet, from).await.unwrap();
        seen.push(from);
    }
    assert_ne!(seen[0], seen[1], "one address per client, as a translator would give");
    assert_eq!(receive(&first).await.0, b"first");
    assert_eq!(receive(&second).await.0, b"secon");
    assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cut_is_silent_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netem.sock");
    let server = socket().await;
    let emulator = Emulator::start(&config(server.local_addr().unwrap(), Shape::default(), Some(&path))).await.unwrap();
    let mut client = Client::connect(&path).await.unwrap();
    let source = socket().await;
    client.cut(0).await.unwrap();
    source.send_to(b"swallowed", emulator.addresses()[0]).await.unwrap();
    let start = Instant::now();
    while client.stats().await.unwrap()[0].up.cut_packets == 0 {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(5)).await;
    }
    client.restore(0).await.unwrap();
    source.send_to(b"passes", emulator.addresses()[0]).await.unwrap();
    assert_eq!(receive(&server).await.0, b"passes");
    let stats = client.stats().await.unwrap()[0];
    assert_eq!((stats.up.in_packets, stats.up.out_packets, stats.up.cut_packets), (2, 1, 1));
}

#[tokio::test]
async fn a_link_is_changed_live_and_bad_commands_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netem.sock");
    let server = socket().await;
    let config = config(server.local_addr().unwrap(), Shape::default(), Some(&path));
    let _emulator = Emulator::start(&config).await.unwrap();
    let mut client = Client::connect(&path).await.unwrap();
    client.set(0, ShapeChange { loss_percent: Some(50.0), ..ShapeChange::default() }).await.unwrap();
    let bad = client.set(0, ShapeChange { loss_percent: Some(-1.0), ..ShapeChange::default() }).await;
    assert!(matches!(&bad, Err(ControlError::Refused(why)) if why.contains("loss_percent")), "{bad:?}");
    let nowhere = client.cut(7).await;
    assert!(matches!(&nowhere, Err(ControlError::Refused(why)) if why.contains("no link 7")), "{nowhere:?}");
    let link = &client.list().await.unwrap()[0];
    assert!((link.shape.loss_percent - 50.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn the_program_prints_its_addresses_obeys_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netem.sock");
    let server = socket().await;
    let config = config(server.local_addr().unwrap(), Shape::default(), Some(&path));
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_strata-netem"))
        .args(["run", "--config", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = serde_json::to_string(&config).unwrap();
    line.push('\n');
    let mut input = child.stdin.take().unwrap();
    input.write_all(line.as_bytes()).await.unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = timeout(PATIENCE, output.next_line()).await.unwrap().unwrap().unwrap();
    let ready: Ready = serde_json::from_str(&ready).unwrap();
    socket().await.send_to(b"through", ready.links[0]).await.unwrap();
    assert_eq!(receive(&server).await.0, b"through");
    Client::connect(&path).await.unwrap().stop().await.unwrap();
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success());
    assert!(!path.exists(), "the control socket is gone");
}

#[tokio::test]
async fn an_idle_emulator_without_a_master_ends_by_itself() {
    let server = socket().await;
    let config = Config { exit_idle_s: Some(1), ..config(server.local_addr().unwrap(), Shape::default(), None) };
    let mut emulator = Emulator::start(&config).await.unwrap();
    timeout(PATIENCE, emulator.stopped()).await.expect("it ends");
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_value() {
    for (config, named) in [
        ("", "empty"),
        ("{\"links\":[]}\n", "0 links"),
        ("{\"links\":[{\"listen\":\"127.0.0.1:0\",\"target\":\"127.0.0.1:1\",\"loss_percent\":200}]}\n", "200"),
        ("{\"links\":[{\"listen\":\"127.0.0.1:0\",\"target\":\"127.0.0.1:1\",\"los_percent\":2}]}\n", "los_percent"),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_strata-netem"))
            .args(["run", "--config", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(named), "{config}: {said}");
    }
}
