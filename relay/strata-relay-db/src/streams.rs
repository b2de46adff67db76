//! Streams and their timelines. Which change may follow which is `strata-fleet`'s to know; here a change is
//! stored only if the stream is still in the state it was made for, together with its line and its audit entry.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strata_control::{DeviceId, EncoderSettings, EndReason, LinkPolicy, OwnerId, Source, StreamId};

use crate::convert::{counter, from_json, optional_time, parse, stored_counter, time, to_json};
use crate::error::{failed, failed_or_taken};
use crate::{AuditEntry, Database, DbError, DestinationId, StreamState, audit};

/// What a stream was started with; hot changes are written back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamConfig {
    /// The source in use.
    pub source: Source,
    /// How it is encoded.
    pub settings: EncoderSettings,
    /// What was set per link.
    pub links: Vec<LinkPolicy>,
    /// Where else it goes.
    pub destinations: Vec<ChosenDestination>,
    /// Whether the device keeps a copy.
    pub record_locally: bool,
}

/// A destination as it was called when it was chosen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChosenDestination {
    /// Its identifier; the destination may be gone since.
    pub id: DestinationId,
    /// Its name then.
    pub name: String,
}

/// What a stream should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Desired {
    /// Run.
    Run,
    /// Not run.
    Stop,
}

impl Desired {
    fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Stop => "stop",
        }
    }
}

/// A stream as stored.
#[derive(Clone, PartialEq, Debug)]
pub struct StreamRecord {
    /// Its identifier.
    pub id: StreamId,
    /// Whose.
    pub owner: OwnerId,
    /// Its device.
    pub device: DeviceId,
    /// The device's name now.
    pub device_name: String,
    /// Where it is in its life.
    pub state: StreamState,
    /// What it should do.
    pub desired: Desired,
    /// Why it is over.
    pub reason: Option<EndReason>,
    /// Why, for people.
    pub detail: Option<String>,
    /// What it was started with.
    pub config: StreamConfig,
    /// The unguessable part of its player page.
    pub play_key: String,
    /// Its worker's UDP port.
    pub port: Option<u16>,
    /// Bytes the device handed to the transport.
    pub bytes: u64,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When media first arrived.
    pub live_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Who started it.
    pub started_by: String,
    /// Who stopped it.
    pub stopped_by: Option<String>,
}

/// A stream to be added, in the state `requested`.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// Its identifier.
    pub id: StreamId,
    /// Its device; has to be the audit entry's owner's.
    pub device: DeviceId,
    /// What it is started with.
    pub config: StreamConfig,
    /// The unguessable part of its player page.
    pub play_key: String,
    /// Who started it.
    pub started_by: String,
}

/// A change of a stream's state; what is none stays.
#[derive(Clone, Debug)]
pub struct StreamChange {
    /// The state it is made for.
    pub from: StreamState,
    /// The state from now on.
    pub to: StreamState,
    /// What it should do from now on.
    pub desired: Option<Desired>,
    /// Why it is over.
    pub end: Option<StreamEnd>,
    /// Who stopped it.
    pub stopped_by: Option<String>,
    /// Bytes so far; a smaller number than the stored one is ignored.
    pub bytes: u64,
    /// When.
    pub at: Timestamp,
    /// The line in the timeline.
    pub line: String,
}

/// Why a stream is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamEnd {
    /// Why, for programs.
    pub reason: EndReason,
    /// Why, for people.
    pub detail: String,
    /// The last log lines of what failed, oldest first.
    pub log: Vec<String>,
}

/// A line of a stream's timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamEventRecord {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What sort.
    pub kind: String,
    /// What happened.
    pub text: String,
}

/// Which streams to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamSelection {
    /// Of this device only.
    pub device: Option<DeviceId>,
    /// Only those that are (or are not) over.
    pub over: Option<bool>,
    /// At most this many.
    pub limit: u32,
}

#[derive(sqlx::FromRow)]
struct StreamRow {
    id: String,
    owner_id: String,
    device_id: String,
    device_name: String,
    state: String,
    desired: String,
    reason: Option<String>,
    detail: Option<String>,
    config: String,
    play_key: String,
    port: Option<i64>,
    bytes: i64,
    requested_at: i64,
    live_at: Option<i64>,
    ended_at: Option<i64>,
    started_by: String,
    stopped_by: Option<String>,
}

impl StreamRow {
    fn read(self) -> Result<StreamRecord, DbError> {
        Ok(StreamRecord {
            id: parse("stream id", &self.id)?,
            owner: parse("owner id", &self.owner_id)?,
            device: parse("device id", &self.device_id)?,
            device_name: self.device_name,
            state: parse("stream state", &self.state)?,
            desired: if self.desired == "run" { Desired::Run } else { Desired::Stop },
            reason: self.reason.map(|text| from_json("end reason", &text)).transpose()?,
            detail: self.detail,
            config: from_json("stream configuration", &self.config)?,
            play_key: self.play_key,
            port: self.port.and_then(|port| u16::try_from(port).ok()),
            bytes: counter(self.bytes),
            requested_at: time(self.requested_at)?,
            live_at: optional_time(self.live_at)?,
            ended_at: optional_time(self.ended_at)?,
            started_by: self.started_by,
            stopped_by: self.stopped_by,
        })
    }
}

macro_rules! select_streams {
    ($rest:literal) => {
        concat!(
            "SELECT streams.id, streams.owner_id, device_id, devices.name AS device_name, state, desired, reason, \
             detail, config, play_key, port, bytes, requested_at, live_at, ended_at, started_by, stopped_by \
             FROM streams JOIN devices ON devices.id = device_id ",
            $rest
        )
    };
}

type Tx = sqlx::Transaction<'static, sqlx::Sqlite>;

impl Database {
    /// Adds a stream with the first line of its timeline. False when the owner has no such device.
    ///
    /// # Errors
    /// [`DbError::Taken`] when the device has a stream that is not over.
    pub async fn add_stream(&self, stream: &NewStream, line: &str, entry: &AuditEntry) -> Result<bool, DbError> {
        const WHAT: &str = "add a stream";
        let mut tx = self.write(WHAT).await?;
        let done = sqlx::query(
            "INSERT INTO streams (id, owner_id, device_id, state, desired, config, play_key, requested_at, started_by) \
             SELECT ?, owner_id, id, 'requested', 'run', ?, ?, ?, ? FROM devices WHERE id = ? AND owner_id = ?",
        )
        .bind(stream.id.to_string())
        .bind(to_json("stream configuration", &stream.config)?)
        .bind(&stream.play_key)
        .bind(entry.at.as_millisecond())
        .bind(&stream.started_by)
        .bind(stream.device.to_string())
        .bind(entry.owner.to_string())
        .execute(&mut *tx)
        .await
        .map_err(failed_or_taken(WHAT, "live stream of device", &stream.device.to_string()))?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        insert_event(&mut tx, stream.id, "state", line, entry.at).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(true)
    }

    /// Stores a change of state. None when the stream is in another state than the change was made for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_stream(
        &self,
        id: StreamId,
        change: &StreamChange,
        entry: Option<&AuditEntry>,
    ) -> Result<Option<StreamEventRecord>, DbError> {
        const WHAT: &str = "change a stream's state";
        let mut tx = self.write(WHAT).await?;
        let reason = change.end.as_ref().map(|end| to_json("end reason", &end.reason)).transpose()?;
        let log = change.end.as_ref().map(|end| to_json("log lines", &end.log)).transpose()?;
        let now = change.at.as_millisecond();
        let done = sqlx::query(
            "UPDATE streams SET state = ?, desired = COALESCE(?, desired), reason = COALESCE(?, reason), \
             detail = COALESCE(?, detail), log = COALESCE(?, log), stopped_by = COALESCE(stopped_by, ?), bytes = MAX(bytes, ?), \
             live_at = COALESCE(live_at, ?), ended_at = COALESCE(ended_at, ?) WHERE id = ? AND state = ?",
        )
        .bind(change.to.as_str())
        .bind(change.desired.map(Desired::as_str))
        .bind(reason)
        .bind(change.end.as_ref().map(|end| end.detail.as_str()))
        .bind(log)
        .bind(&change.stopped_by)
        .bind(stored_counter(change.bytes))
        .bind((change.to == StreamState::Live).then_some(now))
        .bind(change.to.is_over().then_some(now))
        .bind(id.to_string())
        .bind(change.from.as_str())
        .execute(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        let event = insert_event(&mut tx, id, "state", &change.line, change.at).await?;
        if let Some(entry) = entry {
            audit::write(&mut tx, entry).await?;
        }
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(Some(event))
    }

    /// Stores a stream's configuration after a hot change, with its line and its audit entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_stream_config(
        &self,
        id: StreamId,
        config: &StreamConfig,
        line: &str,
        entry: &AuditEntry,
    ) -> Result<StreamEventRecord, DbError> {
        const WHAT: &str = "change a stream's settings";
        let mut tx = self.write(WHAT).await?;
        sqlx::query("UPDATE streams SET config = ? WHERE id = ? AND owner_id = ?")
            .bind(to_json("stream configuration", config)?)
            .bind(id.to_string())
            .bind(entry.owner.to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        let event = insert_event(&mut tx, id, "source", line, entry.at).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(event)
    }

    /// Adds a line to a stream's timeline.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_stream_event(
        &self,
        id: StreamId,
        kind: &str,
        text: &str,
        at: Timestamp,
    ) -> Result<StreamEventRecord, DbError> {
        const WHAT: &str = "write a stream's timeline";
        let mut tx = self.write(WHAT).await?;
        let event = insert_event(&mut tx, id, kind, text, at).await?;
        tx.commit().await.map_err(failed(WHAT))?;
        Ok(event)
    }

    /// Stores the worker's port.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_stream_port(&self, id: StreamId, port: u16) -> Result<(), DbError> {
        sqlx::query("UPDATE streams SET port = ? WHERE id = ?")
            .bind(port)
            .bind(id.to_string())
            .execute(self.pool())
            .await
            .map_err(failed("store a stream's port"))?;
        Ok(())
    }

    /// Stores the bytes so far; a smaller number than the stored one is ignored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_stream_bytes(&self, id: StreamId, bytes: u64) -> Result<(), DbError> {
        sqlx::query("UPDATE streams SET bytes = MAX(bytes, ?) WHERE id = ?")
            .bind(stored_counter(bytes))
            .bind(id.to_string())
            .execute(self.pool())
            .await
            .map_err(failed("store a stream's bytes"))?;
        Ok(())
    }

    /// A stream of an owner.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stream(&self, owner: OwnerId, id: StreamId) -> Result<Option<StreamRecord>, DbError> {
        let row: Option<StreamRow> = sqlx::query_as(select_streams!("WHERE streams.id = ? AND streams.owner_id = ?"))
            .bind(id.to_string())
            .bind(owner.to_string())
            .fetch_optional(self.pool())
            .await
            .map_err(failed("look up a stream"))?;
        row.map(StreamRow::read).transpose()
    }

    /// The last log lines of what failed in an owner's stream, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stream_log(&self, owner: OwnerId, id: StreamId) -> Result<Vec<String>, DbError> {
        let row: Option<(Option<String>,)> = sqlx::query_as("SELECT log FROM streams WHERE id = ? AND owner_id = ?")
            .bind(id.to_string())
            .bind(owner.to_string())
            .fetch_optional(self.pool())
            .await
            .map_err(failed("read a stream's log"))?;
        row.and_then(|(log,)| log).map_or_else(|| Ok(Vec::new()), |log| from_json("log lines", &log))
    }

    /// Streams of an owner, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn streams(&self, owner: OwnerId, selection: StreamSelection) -> Result<Vec<StreamRecord>, DbError> {
        let rows: Vec<StreamRow> = sqlx::query_as(select_streams!(
            "WHERE streams.owner_id = ?1 AND (?2 IS NULL OR device_id = ?2) \
             AND (?3 IS NULL OR (state IN ('ended', 'failed')) = ?3) ORDER BY requested_at DESC, streams.id DESC LIMIT ?4"
        ))
        .bind(owner.to_string())
        .bind(selection.device.map(|id| id.to_string()))
        .bind(selection.over)
        .bind(selection.limit)
        .fetch_all(self.pool())
        .await
        .map_err(failed("list the streams"))?;
        rows.into_iter().map(StreamRow::read).collect()
    }

    /// The stream of a player page; the key is the permission, hence of any owner.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stream_by_play_key(&self, play_key: &str) -> Result<Option<StreamRecord>, DbError> {
        let row: Option<StreamRow> = sqlx::query_as(select_streams!("WHERE play_key = ?"))
            .bind(play_key)
            .fetch_optional(self.pool())
            .await
            .map_err(failed("look up a stream"))?;
        row.map(StreamRow::read).transpose()
    }

    /// Every stream of every owner that is not over: for the relay's own start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unfinished_streams(&self) -> Result<Vec<StreamRecord>, DbError> {
        let rows: Vec<StreamRow> = sqlx::query_as(select_streams!("WHERE state NOT IN ('ended', 'failed')"))
            .fetch_all(self.pool())
            .await
            .map_err(failed("list the unfinished streams"))?;
        rows.into_iter().map(StreamRow::read).collect()
    }

    /// Whether a stream's HLS files may go: it is unknown, or was over before `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stream_was_over(&self, id: StreamId, before: Timestamp) -> Result<bool, DbError> {
        let row: Option<(String, Option<i64>)> = sqlx::query_as("SELECT state, ended_at FROM streams WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(self.pool())
            .await
            .map_err(failed("look up a stream"))?;
        let Some((state, ended_at)) = row else { return Ok(true) };
        let over = parse::<StreamState>("stream state", &state)?.is_over();
        Ok(over && ended_at.is_none_or(|at| at < before.as_millisecond()))
    }

    /// The timeline of an owner's stream, oldest first; the newest `limit` lines.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stream_events(
        &self,
        owner: OwnerId,
        id: StreamId,
        limit: u32,
    ) -> Result<Vec<StreamEventRecord>, DbError> {
        let rows: Vec<(i64, i64, String, String)> = sqlx::query_as(
            "SELECT stream_events.id, at, kind, text FROM stream_events JOIN streams ON streams.id = stream_id \
             WHERE stream_id = ? AND owner_id = ? ORDER BY stream_events.id DESC LIMIT ?",
        )
        .bind(id.to_string())
        .bind(owner.to_string())
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .map_err(failed("read a stream's timeline"))?;
        rows.into_iter()
            .rev()
            .map(|(id, at, kind, text)| Ok(StreamEventRecord { id, at: time(at)?, kind, text }))
            .collect()
    }
}

async fn insert_event(
    tx: &mut Tx,
    stream: StreamId,
    kind: &str,
    text: &str,
    at: Timestamp,
) -> Result<StreamEventRecord, DbError> {
    let done = sqlx::query("INSERT INTO stream_events (stream_id, at, kind, text) VALUES (?, ?, ?, ?)")
        .bind(stream.to_string())
        .bind(at.as_millisecond())
        .bind(kind)
        .bind(text)
        .execute(&mut **tx)
        .await
        .map_err(failed("write a stream's timeline"))?;
    Ok(StreamEventRecord { id: done.last_insert_rowid(), at, kind: kind.to_owned(), text: text.to_owned() })
}
