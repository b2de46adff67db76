//! The connection to one encoder's Unix socket: lines out, lines in.

use std::path::Path;

use anyhow::Context;
use futures_util::StreamExt;
use jiff::Timestamp;
use strata_control::{EncoderState, StreamStart};
use strata_encoder_protocol::{EncoderCommand, EncoderEvent, MAX_LINE_BYTES};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{self, Duration};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

/// For the first line, and for a command to be taken.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection whose encoder has said hello.
#[derive(Debug)]
pub struct EncoderConnection {
    /// The encoder's process.
    pub pid: i32,
    /// What it was started with, as changed since.
    pub start: StreamStart,
    /// What it did when it said hello.
    pub state: EncoderState,
    /// When it was started.
    pub started_at: Timestamp,
    lines: FramedRead<OwnedReadHalf, LinesCodec>,
    writer: OwnedWriteHalf,
}

impl EncoderConnection {
    /// Connects and waits for the hello.
    ///
    /// # Errors
    /// When nobody listens, or who listens is no encoder.
    pub async fn open(socket: &Path) -> anyhow::Result<Self> {
        let stream =
            UnixStream::connect(socket).await.with_context(|| format!("cannot connect to {}", socket.display()))?;
        let (reader, writer) = stream.into_split();
        let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
        let event = time::timeout(TIMEOUT, next_event(&mut lines))
            .await
            .with_context(|| format!("the encoder at {} did not say hello", socket.display()))?;
        match event {
            Some(EncoderEvent::Hello { pid, start, state, started_at_unix_s }) => {
                let started_at = Timestamp::from_second(started_at_unix_s).unwrap_or_else(|_| Timestamp::now());
                Ok(Self { pid: pid.cast_signed(), start, state, started_at, lines, writer })
            }
            Some(_) => anyhow::bail!("the encoder at {} did not begin with hello", socket.display()),
            None => anyhow::bail!("the encoder at {} closed the connection", socket.display()),
        }
    }

    /// The next event; none when the encoder is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<EncoderEvent> {
        next_event(&mut self.lines).await
    }

    /// Hands a command over.
    ///
    /// # Errors
    /// When the encoder is gone or takes nothing.
    pub async fn send(&mut self, command: &EncoderCommand) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(command).context("a command has a JSON form")?;
        line.push(b'\n');
        time::timeout(TIMEOUT, self.writer.write_all(&line))
            .await
            .context("the encoder takes no command")?
            .context("the encoder is gone")
    }
}

/// Lines that make no sense are logged and passed over: the pictures matter more.
async fn next_event(lines: &mut FramedRead<OwnedReadHalf, LinesCodec>) -> Option<EncoderEvent> {
    loop {
        match lines.next().await? {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(event) => return Some(event),
                Err(error) => tracing::warn!("the encoder said something that cannot be read: {error}"),
            },
            Err(LinesCodecError::MaxLineLengthExceeded) => {
                tracing::warn!("the encoder said a line of more than {MAX_LINE_BYTES} bytes");
                return None;
            }
            Err(LinesCodecError::Io(error)) => {
                tracing::debug!("the connection to the encoder broke: {error}");
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use strata_control::{EncoderSettings, ReceiveAddress, Source, StreamId};
    use strata_identity::KeyPair;
    use tokio::net::UnixListener;
    use uuid::Uuid;

    use super::*;

    /// Listens, says `lines` to who connects, and hangs up.
    async fn say(folder: &tempfile::TempDir, lines: Vec<u8>) -> PathBuf {
        let socket = folder.path().join("encoder.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Who has heard enough hangs up first.
            stream.write_all(&lines).await.ok();
        });
        socket
    }

    fn hello() -> Vec<u8> {
        let start = StreamStart {
            stream_id: StreamId(Uuid::nil()),
            source: Source::TestPattern,
            encoder: EncoderSettings::default(),
            receive: ReceiveAddress { host: "192.0.2.1".into(), ports: vec![15_000] },
            worker_key: KeyPair::from_seed(&[1; 32]).public(),
            links: vec![],
            record_locally: false,
        };
        let hello = EncoderEvent::Hello { pid: 7, start, state: EncoderState::Running, started_at_unix_s: 0 };
        let mut line = serde_json::to_vec(&hello).unwrap();
        line.push(b'\n');
        line
    }

    fn state() -> Vec<u8> {
        b"{\"event\":\"state\",\"state\":\"no_input\",\"detail\":\"\"}\n".to_vec()
    }

    #[tokio::test]
    async fn garbage_between_events_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let lines = [hello(), b"garbage\n{\"event\":\"dance\"}\n\n".to_vec(), state()].concat();
        let mut connection = EncoderConnection::open(&say(&folder, lines).await).await.unwrap();
        assert_eq!((connection.pid, connection.state), (7, EncoderState::Running));
        assert!(matches!(connection.next().await, Some(EncoderEvent::State { state: EncoderState::NoInput, .. })));
        assert!(connection.next().await.is_none());
    }

    #[tokio::test]
    async fn an_endless_line_ends_the_connection() {
        let folder = tempfile::tempdir().unwrap();
        let lines = [hello(), vec![b'x'; 2 * MAX_LINE_BYTES], state()].concat();
        let mut connection = EncoderConnection::open(&say(&folder, lines).await).await.unwrap();
        assert!(connection.next().await.is_none());
    }

    #[tokio::test]
    async fn who_does_not_say_hello_is_no_encoder() {
        for lines in [vec![], state(), vec![0xff; 100]] {
            let folder = tempfile::tempdir().unwrap();
            EncoderConnection::open(&say(&folder, lines).await).await.unwrap_err();
        }
        let error = EncoderConnection::open(Path::new("/nonexistent.sock")).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent.sock"));
    }
}
