-- What decisions do by themselves, locks on files, and how far what leaves the process has got.

-- What the deadline does: expire, escalate, or choose:OPTION.
ALTER TABLE decisions ADD COLUMN on_timeout TEXT NOT NULL DEFAULT 'expire';
-- When the first deadline passed, if that gave the decision another one.
ALTER TABLE decisions ADD COLUMN escalated_at TEXT;
-- How much of the time had passed at the last reminder, in percent.
ALTER TABLE decisions ADD COLUMN reminded INTEGER NOT NULL DEFAULT 0;
-- The digest of what the question is about, as that was when it was asked.
ALTER TABLE decisions ADD COLUMN subject_digest TEXT;
CREATE INDEX decisions_by_requester ON decisions (requester_id, decided_at) WHERE requester_id IS NOT NULL;

-- Who works on which file of a project.
CREATE TABLE file_locks (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    bead_id TEXT,
    ttl_sec INTEGER NOT NULL CHECK (ttl_sec > 0),
    acquired_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (project_id, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_locks_by_bead ON file_locks (bead_id) WHERE bead_id IS NOT NULL;

-- The last event that each reader of the log outside of the process was told of.
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL CHECK (seq >= 0)
) STRICT, WITHOUT ROWID;
