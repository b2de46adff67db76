-- Attempts to update a device, as it told of them: one row each, kept after the device has moved on. Slot and step are
-- the control protocol's words as JSON texts.
CREATE TABLE device_updates (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id  TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    version    TEXT    NOT NULL,
    slot       TEXT    NOT NULL,
    step       TEXT    NOT NULL,
    error      TEXT,
    started_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX device_updates_by_device ON device_updates (device_id, id);
