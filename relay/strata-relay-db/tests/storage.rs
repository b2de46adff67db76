//! What the rest relies on of the storage: changes come with their audit line or not at all, states are changed only
//! from where they are, owners do not meet, secrets are sealed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::{Timestamp, ToSpan};
use secrecy::ExposeSecret;
use strata_control::{
    AgentInfo, DeviceId, EncoderSettings, EndReason, OwnerId, SlotName, Source, StreamId, UpdateProgress, UpdateStep,
};
use strata_identity::KeyPair;
use strata_relay_db::{
    AuditEntry, Database, DbError, DestinationId, DestinationValues, EnrolOutcome, Enrolment, KeyChange, NewDevice,
    NewEnrolmentToken, NewRefreshToken, NewStream, NewUser, RefreshOutcome, Role, SealKey, StreamChange, StreamConfig,
    StreamEnd, StreamSelection, StreamState, UserId,
};
use tempfile::TempDir;
use uuid::Uuid;

struct Bench {
    db: Database,
    folder: TempDir,
    owner: OwnerId,
}

async fn open(folder: &TempDir, seal: u8) -> Result<Database, DbError> {
    Database::open(&folder.path().join("relay.db"), SealKey::new([seal; 32])).await
}

async fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder, 1).await.unwrap();
    let owner = db.ensure_owner("one", Timestamp::now()).await.unwrap();
    Bench { db, folder, owner }
}

fn entry(owner: OwnerId, action: &'static str) -> AuditEntry {
    AuditEntry {
        owner,
        at: Timestamp::now(),
        who: "someone".to_owned(),
        action,
        target: "something".to_owned(),
        detail: String::new(),
        remote: None,
    }
}

impl Bench {
    async fn actions(&self) -> Vec<String> {
        self.db.audit(self.owner, None, 100).await.unwrap().into_iter().map(|line| line.action).collect()
    }

    async fn user(&self, email: &str) -> Result<UserId, DbError> {
        let id = UserId::generate();
        let owner = self.owner;
        let user = NewUser { id, owner, email: email.to_owned(), password_hash: "hash".into(), role: Role::Admin };
        self.db.add_user(&user, &entry(owner, "user.add")).await.map(|()| id)
    }

    async fn device(&self) -> DeviceId {
        let device = NewDevice { id: DeviceId(Uuid::now_v7()), owner: self.owner, name: "Camera car".to_owned() };
        self.db.add_device(&device, &token("first", 1), &entry(self.owner, "device.create")).await.unwrap();
        device.id
    }

    async fn stream(&self, device: DeviceId) -> Result<Option<StreamId>, DbError> {
        let id = StreamId(Uuid::now_v7());
        let config = StreamConfig {
            source: Source::TestPattern,
            settings: EncoderSettings::default(),
            links: Vec::new(),
            destinations: Vec::new(),
            record_locally: false,
        };
        let stream = NewStream { id, device, config, play_key: id.to_string(), started_by: "someone".to_owned() };
        let added = self.db.add_stream(&stream, "asked for", &entry(self.owner, "stream.start")).await?;
        Ok(added.then_some(id))
    }
}

fn token(lookup: &str, hours: i64) -> NewEnrolmentToken {
    let expires_at = Timestamp::now() + hours.hours();
    NewEnrolmentToken { lookup: lookup.to_owned(), secret_hash: [7; 32], expires_at }
}

fn change(from: StreamState, to: StreamState) -> StreamChange {
    StreamChange {
        from,
        to,
        desired: None,
        end: None,
        stopped_by: None,
        bytes: 0,
        at: Timestamp::now(),
        line: format!("{from} to {to}"),
    }
}

#[tokio::test]
async fn a_change_that_fails_leaves_no_audit_line() {
    let bench = bench().await;
    bench.user("a@one.example").await.unwrap();
    let error = bench.user("A@ONE.example").await.unwrap_err();
    assert!(matches!(error, DbError::Taken { .. }), "{error}");
    assert_eq!(bench.actions().await, ["user.add"]);
    let gone = bench.db.rename_device(DeviceId(Uuid::now_v7()), "x", &entry(bench.owner, "device.rename")).await;
    assert!(!gone.unwrap());
    assert_eq!(bench.actions().await, ["user.add"]);
}

#[tokio::test]
async fn a_token_is_consumed_by_the_right_secret_once() {
    let bench = bench().await;
    let id = bench.device().await;
    let enrol = async |secret: u8| {
        let enrolment = Enrolment {
            lookup: "first".to_owned(),
            secret_hash: [secret; 32],
            public_key: KeyPair::generate().public(),
            agent: AgentInfo {
                agent_version: String::new(),
                hostname: String::new(),
                arch: String::new(),
                image_version: None,
                booted_slot: None,
            },
            remote: None,
        };
        bench.db.enrol(&enrolment, Timestamp::now()).await.unwrap()
    };
    assert_eq!(enrol(8).await, EnrolOutcome::Unknown);
    // Two at the same time: one wins.
    let outcomes = tokio::join!(enrol(7), enrol(7));
    let enrolled = |outcome: &EnrolOutcome| matches!(outcome, EnrolOutcome::Enrolled(device) if device.id == id);
    assert!(enrolled(&outcomes.0) != enrolled(&outcomes.1), "{outcomes:?}");
    assert_eq!(enrol(7).await, EnrolOutcome::Used);
    assert_eq!(bench.actions().await, ["device.enrol", "device.create"]);
}

#[tokio::test]
async fn a_state_is_changed_only_from_where_it_is_and_with_its_line() {
    let bench = bench().await;
    let device = bench.device().await;
    let id = bench.stream(device).await.unwrap().unwrap();
    let twice = bench.stream(device).await.unwrap_err();
    assert!(matches!(twice, DbError::Taken { .. }), "{twice}");

    let wrong = change(StreamState::Live, StreamState::Stopping);
    assert_eq!(bench.db.change_stream(id, &wrong, None).await.unwrap(), None);
    let right = change(StreamState::Requested, StreamState::Starting);
    assert!(bench.db.change_stream(id, &right, None).await.unwrap().is_some());
    let end = StreamEnd { reason: EndReason::NoPort, detail: "none free".to_owned(), log: vec!["last".to_owned()] };
    let over = StreamChange { end: Some(end), bytes: 10, ..change(StreamState::Starting, StreamState::Failed) };
    assert!(bench.db.change_stream(id, &over, Some(&entry(bench.owner, "stream.end"))).await.unwrap().is_some());

    let stored = bench.db.stream(bench.owner, id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.reason, stored.bytes), (StreamState::Failed, Some(EndReason::NoPort), 10));
    assert!(stored.ended_at.is_some() && stored.live_at.is_none());
    assert_eq!(bench.db.stream_log(bench.owner, id).await.unwrap(), ["last"]);
    let lines = bench.db.stream_events(bench.owner, id, 100).await.unwrap();
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["asked for", "requested to starting", "starting to failed"]);
    assert!(bench.db.unfinished_streams().await.unwrap().is_empty());
    assert!(bench.stream(device).await.unwrap().is_some(), "the device may run another one now");
}

#[tokio::test]
async fn nothing_of_another_owner_is_found_or_changed() {
    let bench = bench().await;
    let two = bench.db.ensure_owner("two", Timestamp::now()).await.unwrap();
    let device = bench.device().await;
    let stream = bench.stream(device).await.unwrap().unwrap();
    let db = &bench.db;
    assert!(db.device(two, device).await.unwrap().is_none() && db.devices(two).await.unwrap().is_empty());
    assert!(!db.rename_device(device, "mine", &entry(two, "device.rename")).await.unwrap());
    assert!(!db.revoke_device(device, &entry(two, "device.revoke")).await.unwrap());
    assert!(!db.delete_device(device, &entry(two, "device.delete")).await.unwrap());
    assert!(!db.replace_enrolment_token(device, &token("other", 1), &entry(two, "x")).await.unwrap());
    assert!(db.stream(two, stream).await.unwrap().is_none());
    assert!(db.stream_events(two, stream, 10).await.unwrap().is_empty());
    assert!(db.stream_log(two, stream).await.unwrap().is_empty());
    let all = StreamSelection { limit: 10, ..StreamSelection::default() };
    assert!(db.streams(two, all).await.unwrap().is_empty());
    assert_eq!(db.streams(bench.owner, all).await.unwrap().len(), 1);
    assert!(db.audit(two, None, 10).await.unwrap().is_empty());
    db.begin_device_update(device, &told("1.1.0", UpdateStep::Waiting), Timestamp::now()).await.unwrap();
    assert!(db.device_updates(two, device, 10).await.unwrap().is_empty());
    assert_eq!(db.device_updates(bench.owner, device, 10).await.unwrap().len(), 1);
}

fn told(version: &str, step: UpdateStep) -> UpdateProgress {
    UpdateProgress { version: version.to_owned(), slot: SlotName::B, percent: 7, step, error: None }
}

#[tokio::test]
async fn the_history_of_updates_keeps_each_outcome_newest_first_and_goes_with_its_device() {
    let bench = bench().await;
    let (db, device, other) = (&bench.db, bench.device().await, DeviceId(Uuid::now_v7()));
    assert_eq!(db.newest_device_update(device).await.unwrap(), None);
    let (began, ended) = (Timestamp::from_second(1_000).unwrap(), Timestamp::from_second(1_060).unwrap());
    db.begin_device_update(device, &told("unknown", UpdateStep::Downloading), began).await.unwrap();
    let first = db.newest_device_update(device).await.unwrap().unwrap();
    assert_eq!((first.step, first.slot, first.error.as_deref()), (UpdateStep::Downloading, SlotName::B, None));
    assert_eq!(first.version, "unknown", "until the device has looked into the bundle");
    let reason = "the encoder gave no frame within 60 s";
    let back = UpdateProgress { error: Some(reason.to_owned()), ..told("1.1.0", UpdateStep::RolledBack) };
    db.change_device_update(first.id, &back, ended).await.unwrap();
    db.begin_device_update(device, &told("1.2.0", UpdateStep::Waiting), ended).await.unwrap();

    let all = db.device_updates(bench.owner, device, 10).await.unwrap();
    let short: Vec<(&str, UpdateStep)> = all.iter().map(|update| (update.version.as_str(), update.step)).collect();
    assert_eq!(short, [("1.2.0", UpdateStep::Waiting), ("1.1.0", UpdateStep::RolledBack)]);
    assert_eq!((all[1].started_at, all[1].changed_at, all[1].error.as_deref()), (began, ended, Some(reason)));
    assert_eq!(db.device_updates(bench.owner, device, 1).await.unwrap().len(), 1);

    db.begin_device_update(other, &told("1.1.0", UpdateStep::Waiting), began).await.unwrap();
    assert_eq!(db.newest_device_update(other).await.unwrap(), None, "nobody's updates are not kept");
    for number in 0..120 {
        db.begin_device_update(device, &told(&format!("2.0.{number}"), UpdateStep::Good), ended).await.unwrap();
    }
    let kept = db.device_updates(bench.owner, device, 1_000).await.unwrap();
    assert_eq!((kept.len(), kept[99].version.as_str()), (100, "2.0.20"));
    assert!(db.delete_device(device, &entry(bench.owner, "device.delete")).await.unwrap());
    assert_eq!(db.newest_device_update(device).await.unwrap(), None);
}

#[tokio::test]
async fn a_database_of_the_first_version_gets_the_new_table_and_keeps_what_it_has() {
    let bench = bench().await;
    let device = bench.device().await;
    bench.db.close().await;
    // As it was before the second migration.
    let path = bench.folder.path().join("relay.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for sql in ["DROP TABLE device_updates", "DELETE FROM _sqlx_migrations WHERE version = 2"] {
        assert!(sqlx::query(sql).execute(&pool).await.is_ok(), "{sql}");
    }
    pool.close().await;

    let db = open(&bench.folder, 1).await.unwrap();
    assert!(db.device(bench.owner, device).await.unwrap().is_some());
    db.begin_device_update(device, &told("1.1.0", UpdateStep::Good), Timestamp::now()).await.unwrap();
    assert_eq!(db.device_updates(bench.owner, device, 10).await.unwrap().len(), 1);
    db.close().await;
}

#[tokio::test]
async fn a_refresh_token_that_comes_twice_revokes_its_family() {
    let bench = bench().await;
    let user = bench.user("a@one.example").await.unwrap();
    let expires_at = Timestamp::now() + 1.hours();
    let new = |number: u8| NewRefreshToken { hash: [number; 32], expires_at };
    bench.db.add_refresh_token(&new(1), user, &entry(bench.owner, "api.login")).await.unwrap();
    let present = async |old: u8, next: u8| {
        bench.db.rotate_refresh_token(&[old; 32], &new(next), Timestamp::now()).await.unwrap()
    };
    assert!(matches!(present(1, 2).await, RefreshOutcome::Rotated(_)));
    assert!(matches!(present(1, 3).await, RefreshOutcome::Reused(_)));
    assert_eq!(present(2, 4).await, RefreshOutcome::Refused);
    assert_eq!(present(9, 5).await, RefreshOutcome::Refused);
    let later = Timestamp::now() + 2.hours();
    bench.db.add_refresh_token(&new(6), user, &entry(bench.owner, "api.login")).await.unwrap();
    let over = bench.db.rotate_refresh_token(&[6; 32], &new(7), later).await.unwrap();
    assert_eq!(over, RefreshOutcome::Refused);
}

#[tokio::test]
async fn a_stream_key_opens_with_this_relays_seal_key_alone() {
    let bench = bench().await;
    let id = DestinationId::generate();
    let values = DestinationValues {
        id,
        name: "Platform".to_owned(),
        url: "rtmp://a.example/live".to_owned(),
        key: KeyChange::Set("live_secret".into()),
    };
    bench.db.add_destination(&values, &entry(bench.owner, "destination.create")).await.unwrap();
    let keep = DestinationValues { name: "Renamed".to_owned(), key: KeyChange::Keep, ..values };
    assert!(bench.db.change_destination(&keep, &entry(bench.owner, "destination.update")).await.unwrap());
    let open_now = bench.db.open_destination(bench.owner, id).await.unwrap().unwrap();
    assert_eq!(open_now.key.unwrap().expose_secret(), "live_secret");
    bench.db.close().await;

    let other = open(&bench.folder, 2).await.unwrap();
    let error = other.open_destination(bench.owner, id).await.unwrap_err();
    assert!(matches!(error, DbError::Unseal { .. }) && error.to_string().contains("set it again"), "{error}");
    other.close().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("relay.db"), "this is no database, only some text in its place").unwrap();
    let error = open(&folder, 1).await.unwrap_err();
    assert!(error.to_string().contains("relay.db"), "{error}");
}
