-- The org charts that somebody has changed; a project without a row has the one that every project begins with.
CREATE TABLE org_charts (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    positions TEXT NOT NULL CHECK (json_valid(positions)),
    updated_at TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 1)
) STRICT, WITHOUT ROWID;
