-- Times are unix milliseconds (UTC). Identifiers are UUID texts. Secrets are hashed (tokens, passwords) or sealed
-- (stream keys); see the modules of strata-relay-db that own each table.

CREATE TABLE owners (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id            TEXT    PRIMARY KEY,
    owner_id      TEXT    NOT NULL REFERENCES owners (id),
    email         TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    password_hash TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at    INTEGER NOT NULL,
    last_login_at INTEGER
) STRICT;
CREATE INDEX users_by_owner ON users (owner_id);

CREATE TABLE sessions (
    token_hash BLOB    PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- A family is what one login grew into; a token that is presented twice revokes its family.
CREATE TABLE refresh_tokens (
    token_hash BLOB    PRIMARY KEY,
    family     TEXT    NOT NULL,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

CREATE TABLE devices (
    id           TEXT    PRIMARY KEY,
    owner_id     TEXT    NOT NULL REFERENCES owners (id),
    name         TEXT    NOT NULL,
    public_key   TEXT,
    created_at   INTEGER NOT NULL,
    enrolled_at  INTEGER,
    revoked_at   INTEGER,
    last_seen_at INTEGER,
    agent        TEXT,
    status       TEXT,
    status_at    INTEGER
) STRICT;
CREATE INDEX devices_by_owner ON devices (owner_id, name);

CREATE TABLE enrolment_tokens (
    lookup      TEXT    PRIMARY KEY,
    secret_hash BLOB    NOT NULL,
    device_id   TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER
) STRICT;
CREATE INDEX enrolment_tokens_by_device ON enrolment_tokens (device_id);

CREATE TABLE destinations (
    id         TEXT    PRIMARY KEY,
    owner_id   TEXT    NOT NULL REFERENCES owners (id),
    name       TEXT    NOT NULL,
    url        TEXT    NOT NULL,
    sealed_key BLOB,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX destinations_by_owner ON destinations (owner_id, name);

CREATE TABLE streams (
    id           TEXT    PRIMARY KEY,
    owner_id     TEXT    NOT NULL REFERENCES owners (id),
    device_id    TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    state        TEXT    NOT NULL CHECK (state IN ('requested', 'starting', 'live', 'stopping', 'ended', 'failed')),
    desired      TEXT    NOT NULL CHECK (desired IN ('run', 'stop')),
    reason       TEXT,
    detail       TEXT,
    log          TEXT,
    config       TEXT    NOT NULL,
    play_key     TEXT    NOT NULL UNIQUE,
    port         INTEGER,
    bytes        INTEGER NOT NULL DEFAULT 0,
    requested_at INTEGER NOT NULL,
    live_at      INTEGER,
    ended_at     INTEGER,
    started_by   TEXT    NOT NULL,
    stopped_by   TEXT
) STRICT;
CREATE INDEX streams_by_owner ON streams (owner_id, requested_at DESC);
CREATE INDEX streams_by_device ON streams (device_id, requested_at DESC);
-- A device runs one stream at a time.
CREATE UNIQUE INDEX streams_one_per_device ON streams (device_id) WHERE state NOT IN ('ended', 'failed');

CREATE TABLE stream_events (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id TEXT    NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    text      TEXT    NOT NULL
) STRICT;
CREATE INDEX stream_events_by_stream ON stream_events (stream_id, id);

CREATE TABLE audit_log (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    owner_id TEXT    NOT NULL REFERENCES owners (id),
    at       INTEGER NOT NULL,
    who      TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    remote   TEXT
) STRICT;
CREATE INDEX audit_log_by_owner ON audit_log (owner_id, id);
