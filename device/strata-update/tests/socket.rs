//! The socket and the command line, against a whole daemon.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use std::path::Path;
use std::process::Output;

use strata_control::SlotName;
use strata_update_protocol::{MAX_LINE_BYTES, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

use support::{Device, URL};

async fn device() -> Device {
    let mut device = Device::new().await;
    device.boot(SlotName::A, "0.1.0", "").await;
    device.wait_good().await;
    device
}

async fn command(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata-update"));
    command.arg("--socket").arg(socket).args(arguments).kill_on_drop(true);
    tokio::time::timeout(support::LIMIT, command.output()).await.unwrap().unwrap()
}

fn text(output: &Output) -> (bool, String, String) {
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.success(), string(&output.stdout), string(&output.stderr))
}

#[tokio::test]
async fn bad_lines_are_answered_and_endless_ones_end_the_connection() {
    let device = device().await;
    let mut stream = UnixStream::connect(device.config.socket()).await.unwrap();
    stream.write_all(b"garbage\n\n{\"request\":\"dance\"}\n{\"request\":\"status\"}\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[0].contains("refused") && lines[1].contains("dance") && lines[2].contains("\"answer\":\"status\""),
        "{said}"
    );
    let mut stream = UnixStream::connect(device.config.socket()).await.unwrap();
    // The daemon may hang up before all of it is written.
    stream.write_all(&vec![b'x'; 2 * MAX_LINE_BYTES]).await.ok();
    assert!(matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    assert_eq!(device.status().await.version, "0.1.0");
}

#[tokio::test]
async fn watchers_that_do_not_read_disturb_nobody() {
    let device = device().await;
    let mut sleepers = vec![];
    for _ in 0..10 {
        let mut client = device.client().await;
        client.send(&Request::Watch).await.unwrap();
        sleepers.push(client);
    }
    for number in 0..200 {
        let error = device.order(Request::Install(support::order(&format!("nonsense-{number}")))).await.unwrap_err();
        assert!(error.to_string().contains("no bundle's address"));
    }
    // Each hears the newest, not all there was.
    for sleeper in &mut sleepers {
        sleeper.status().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_command_tells_how_an_install_goes_and_fails_with_the_reason() {
    let device = device().await;
    let socket = device.config.socket();
    let (ok, out, _) = text(&command(&socket, &["status"]).await);
    assert!(ok && out.contains("Runs:    0.1.0 from slot A") && out.contains("Update:  none so far"), "{out}");
    let (ok, out, error) = text(&command(&socket, &["install", "http://relay.example/none"]).await);
    assert!(!ok && error.contains("was not installed: The server has no file at"), "{out}{error}");
    let (ok, out, error) = text(&command(&socket, &["install", URL, "--expect-version", "0.2.0"]).await);
    assert!(ok && out.contains("0.2.0") && out.contains("slot B"), "{out}{error}");
    let (ok, out, _) = text(&command(&socket, &["status", "--json"]).await);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(ok && status["update"]["version"] == "0.2.0", "{out}");
    let (ok, _, error) = text(&command(&socket, &["rollback"]).await);
    assert!(!ok && error.contains("An update is under way"), "{error}");
}

#[tokio::test]
async fn without_a_daemon_the_command_says_what_to_do() {
    let (ok, _, error) = text(&command(Path::new("/nonexistent/update.sock"), &["status"]).await);
    assert!(!ok && error.contains("the update daemon does not run") && error.contains("systemctl status"), "{error}");
}
