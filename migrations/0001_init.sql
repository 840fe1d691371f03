-- Providers and agents keep the names and declared types of the published schema, so these two tables are
-- not STRICT and carry CHECKs instead.
CREATE TABLE providers (
    id TEXT PRIMARY KEY CHECK (typeof(id) = 'text'),
    name TEXT NOT NULL CHECK (typeof(name) = 'text'),
    type TEXT NOT NULL CHECK (typeof(type) = 'text'),
    endpoint TEXT NOT NULL CHECK (typeof(endpoint) = 'text'),
    model TEXT,
    configured_model TEXT,
    selected_model TEXT,
    selection_reason TEXT,
    model_score REAL,
    selected_gpu TEXT,
    description TEXT,
    requires_key BOOLEAN NOT NULL CHECK (requires_key IN (0, 1)),
    key_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'active', 'degraded', 'unhealthy', 'disabled')),
    status_reason TEXT,
    max_concurrency INTEGER,
    context_window INTEGER,
    price_input_per_mtok REAL,
    price_output_per_mtok REAL,
    tags TEXT NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    last_heartbeat_at DATETIME,
    last_heartbeat_latency_ms INTEGER,
    last_heartbeat_error TEXT,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    CHECK (requires_key = 0 OR key_id IS NOT NULL)
);
CREATE INDEX providers_by_age ON providers (created_at, id);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    git_repo TEXT,
    branch TEXT,
    beads_path TEXT,
    context TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'closed', 'reopened')),
    is_perpetual INTEGER NOT NULL CHECK (is_perpetual IN (0, 1)),
    is_sticky INTEGER NOT NULL CHECK (is_sticky IN (0, 1)),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    closed_at TEXT,
    revision INTEGER NOT NULL CHECK (revision > 0)
) STRICT;
CREATE INDEX projects_by_age ON projects (created_at, id);

CREATE TABLE agents (
    id TEXT PRIMARY KEY CHECK (typeof(id) = 'text'),
    name TEXT NOT NULL CHECK (typeof(name) = 'text'),
    description TEXT,
    provider_id TEXT REFERENCES providers (id) ON DELETE CASCADE,
    status TEXT NOT NULL
        CHECK (status IN ('inactive', 'spawned', 'idle', 'working', 'blocked', 'shutdown')),
    config TEXT CHECK (config IS NULL OR json_valid(config)),
    kind TEXT NOT NULL CHECK (kind IN ('llm', 'external')),
    persona_name TEXT,
    role TEXT,
    project_id TEXT REFERENCES projects (id),
    status_reason TEXT,
    current_bead TEXT,
    last_active DATETIME,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    CHECK (kind = 'external' OR provider_id IS NOT NULL)
);
CREATE INDEX agents_by_age ON agents (created_at, id);
CREATE INDEX agents_by_provider ON agents (provider_id);
CREATE INDEX agents_by_project ON agents (project_id);

CREATE TABLE beads (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'in_progress', 'blocked', 'closed')),
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 4),
    project_id TEXT NOT NULL REFERENCES projects (id),
    assigned_to TEXT,
    tags TEXT NOT NULL,
    context TEXT NOT NULL,
    acceptance_criteria TEXT NOT NULL,
    due_at TEXT,
    defer_until TEXT,
    close_reason TEXT,
    block_reason TEXT,
    approval TEXT NOT NULL CHECK (approval IN ('missing', 'given')),
    attempts INTEGER NOT NULL,
    next_attempt_at TEXT,
    last_error TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    closed_at TEXT,
    revision INTEGER NOT NULL CHECK (revision > 0),
    -- Kept by the writer in the transaction of every change that bears on them.
    waits INTEGER NOT NULL DEFAULT 0 CHECK (waits IN (0, 1)),
    ready INTEGER NOT NULL DEFAULT 0 CHECK (ready IN (0, 1)),
    -- The latest of its own and its parents' defer_until.
    not_before TEXT
) STRICT;
CREATE INDEX beads_by_age ON beads (created_at, id);
CREATE INDEX beads_by_project ON beads (project_id, status, created_at, id);
-- With all that has to be looked at to count ready beads, and to pass over those without an approval.
CREATE INDEX beads_ready ON beads (priority, created_at, id, not_before, approval, ready) WHERE ready = 1;
CREATE INDEX beads_ready_by_project
    ON beads (project_id, priority, created_at, id, not_before, approval, ready) WHERE ready = 1;
CREATE INDEX beads_unapproved ON beads (project_id, created_at, id)
    WHERE ready = 1 AND priority = 0 AND approval = 'missing';
CREATE INDEX beads_deferred ON beads (not_before) WHERE ready = 1 AND not_before IS NOT NULL;
CREATE INDEX beads_retried ON beads (next_attempt_at) WHERE ready = 1 AND next_attempt_at IS NOT NULL;
CREATE INDEX beads_held ON beads (assigned_to) WHERE assigned_to IS NOT NULL;

CREATE TABLE bead_tags (
    bead_id TEXT NOT NULL REFERENCES beads (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (tag, bead_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX bead_tags_by_bead ON bead_tags (bead_id);

CREATE TABLE bead_dependencies (
    bead_id TEXT NOT NULL REFERENCES beads (id) ON DELETE CASCADE,
    depends_on TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (bead_id, depends_on)
) STRICT, WITHOUT ROWID;
CREATE INDEX bead_dependents ON bead_dependencies (depends_on, type);

CREATE TABLE bead_comments (
    id TEXT PRIMARY KEY,
    bead_id TEXT NOT NULL REFERENCES beads (id) ON DELETE CASCADE,
    author_id TEXT NOT NULL,
    comment TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX bead_comments_by_bead ON bead_comments (bead_id, created_at, id);

CREATE TABLE project_comments (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    author_id TEXT NOT NULL,
    comment TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX project_comments_by_project ON project_comments (project_id, created_at, id);

CREATE TABLE leases (
    bead_id TEXT PRIMARY KEY REFERENCES beads (id) ON DELETE CASCADE,
    agent_id TEXT NOT NULL,
    token_digest TEXT NOT NULL,
    ttl_sec INTEGER NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;

CREATE TABLE decisions (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    bead_id TEXT,
    purpose TEXT NOT NULL,
    question TEXT NOT NULL,
    options TEXT NOT NULL,
    recommendation TEXT,
    requester_id TEXT,
    decider_id TEXT,
    decision TEXT,
    rationale TEXT,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 4),
    status TEXT NOT NULL CHECK (status IN ('pending', 'resolved', 'timeout', 'cancelled')),
    deadline TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    decided_at TEXT,
    revision INTEGER NOT NULL CHECK (revision > 0)
) STRICT;
CREATE INDEX decisions_by_age ON decisions (created_at, id);
CREATE INDEX decisions_by_bead ON decisions (bead_id) WHERE bead_id IS NOT NULL;
CREATE INDEX decisions_pending ON decisions (deadline) WHERE status = 'pending';

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    bead_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    provider_id TEXT,
    model TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'cancelled')),
    outcome TEXT,
    prompt TEXT NOT NULL,
    answer TEXT,
    error TEXT,
    messages TEXT NOT NULL,
    steps INTEGER NOT NULL,
    key_uses INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    latency_ms INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
CREATE INDEX runs_by_age ON runs (started_at, id);
CREATE INDEX runs_by_bead ON runs (bead_id, started_at);
CREATE INDEX runs_by_agent ON runs (agent_id, started_at);
CREATE INDEX runs_running ON runs (id) WHERE status = 'running';

CREATE TABLE heartbeats (
    provider_id TEXT NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    at TEXT NOT NULL,
    latency_ms INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (provider_id, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'agent', 'viewer')),
    user TEXT,
    agent_id TEXT,
    digest TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    expires_at TEXT
) STRICT;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    source TEXT NOT NULL,
    project_id TEXT,
    subject TEXT NOT NULL,
    actor TEXT NOT NULL,
    data TEXT NOT NULL,
    prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX events_by_project ON events (project_id, seq);
CREATE INDEX events_by_type ON events (type, seq);
CREATE INDEX events_by_subject ON events (subject, seq);

-- Where the chain of events was cut or begun anew: verification starts from the newest of these.
CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    reason TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- Ids of beads and decisions that were deleted; they are never given again.
CREATE TABLE retired_ids (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Answers to requests that carried an Idempotency-Key.
CREATE TABLE idempotency (
    token_id TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    body_digest TEXT NOT NULL,
    status INTEGER NOT NULL,
    location TEXT,
    answer TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (token_id, route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Whether work is handed out: one row for the system.
CREATE TABLE operation (
    scope TEXT PRIMARY KEY,
    parked_reason TEXT,
    updated_at TEXT NOT NULL
) STRICT;
