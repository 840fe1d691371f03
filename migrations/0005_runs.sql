-- Runs that no agent does at a bead: prompts to an agent, and chats of other programs through the gateway.
CREATE TABLE runs_of_all_kinds (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('run', 'gateway', 'repl', 'work')),
    bead_id TEXT,
    agent_id TEXT,
    project_id TEXT,
    token_id TEXT,
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
    finished_at TEXT,
    CHECK (kind <> 'run' OR (bead_id IS NOT NULL AND agent_id IS NOT NULL AND project_id IS NOT NULL))
) STRICT;
INSERT INTO runs_of_all_kinds
SELECT id, 'run', bead_id, agent_id, project_id, NULL, provider_id, model, status, outcome, prompt, answer, error,
    messages, steps, key_uses, input_tokens, output_tokens, cost_usd, latency_ms, started_at, finished_at
FROM runs;
DROP TABLE runs;
ALTER TABLE runs_of_all_kinds RENAME TO runs;
CREATE INDEX runs_by_age ON runs (started_at, id);
CREATE INDEX runs_by_bead ON runs (bead_id, started_at) WHERE bead_id IS NOT NULL;
CREATE INDEX runs_by_agent ON runs (agent_id, started_at) WHERE agent_id IS NOT NULL;
CREATE INDEX runs_running ON runs (id) WHERE status = 'running';

-- Why the provider that was asked before did not serve a call.
ALTER TABLE calls ADD COLUMN failover_reason TEXT;
