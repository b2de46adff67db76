//! Stands in for `strata-egress` in the tests of the supervision: it speaks the same protocol on the same socket and
//! takes the same port, but receives no media; it says that some arrives. What it tests is the relay's side; the real
//! worker is tested by its own package and by the tests of the whole.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use strata_worker_protocol::{WorkerCommand, WorkerConfig, WorkerEvent, WorkerStats};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Longer than any test.
const LONGEST_LIFE: Duration = Duration::from_secs(180);

fn main() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let config: WorkerConfig = serde_json::from_str(&line)?;
    let _port = UdpSocket::bind(config.listen)?;
    if config.socket.exists() {
        std::fs::remove_file(&config.socket)?;
    }
    // A test that failed half-way leaves nobody who would end this process.
    std::thread::spawn(|| {
        std::thread::sleep(LONGEST_LIFE);
        std::process::exit(1);
    });
    let listener = UnixListener::bind(&config.socket)?;
    for stream in listener.incoming() {
        // One relay at a time; when it goes, the next one is waited for.
        if let Err(error) = serve(&config, stream?) {
            writeln!(std::io::stderr(), "the relay is gone: {error}")?;
        }
    }
    Ok(())
}

fn serve(config: &WorkerConfig, stream: UnixStream) -> Result<()> {
    let key = config.key.key_pair().ok_or("the key is no key")?.public();
    let ready = WorkerEvent::Ready { stream_id: config.stream_id, pid: std::process::id(), listen: config.listen, key };
    say(&stream, &ready)?;
    let commands = BufReader::new(stream.try_clone()?);
    let (socket, answers) = (config.socket.clone(), stream.try_clone()?);
    std::thread::spawn(move || {
        for line in commands.lines().map_while(std::io::Result::ok) {
            if matches!(serde_json::from_str(&line), Ok(WorkerCommand::Stop)) {
                say(&answers, &WorkerEvent::Stopped).ok();
                std::fs::remove_file(&socket).ok();
                std::process::exit(0);
            }
        }
    });
    let mut stats = WorkerStats { input_bps: 3_000_000, input_age_ms: Some(5), ..WorkerStats::default() };
    loop {
        stats.receiver.delivered += 60;
        say(&stream, &WorkerEvent::Stats { stats: stats.clone() })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn say(mut stream: &UnixStream, event: &WorkerEvent) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    stream.write_all(&line)
}
