-- What calls cost, what may be spent, which models are offered, and what a provider is limited to.

-- Members of a pool stand in for each other: lower priorities first, by weight among equals.
ALTER TABLE providers ADD COLUMN pool TEXT;
ALTER TABLE providers ADD COLUMN priority INTEGER NOT NULL DEFAULT 100;
ALTER TABLE providers ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
ALTER TABLE providers ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE providers ADD COLUMN tokens_per_minute INTEGER;
-- What is known of the selected model, beside what the operator set.
ALTER TABLE providers ADD COLUMN selected_context_window INTEGER;
ALTER TABLE providers ADD COLUMN selected_price_input REAL;
ALTER TABLE providers ADD COLUMN selected_price_output REAL;
ALTER TABLE providers ADD COLUMN latency_ewma_ms REAL;

-- What a provider offered at its last beat, as a JSON array.
CREATE TABLE offers (
    provider_id TEXT PRIMARY KEY REFERENCES providers (id) ON DELETE CASCADE,
    models TEXT NOT NULL
) STRICT;

-- The ledger: one line for each call to a provider. Lines outlive what they name.
CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    agent_id TEXT,
    project_id TEXT,
    bead_id TEXT,
    run_id TEXT,
    token_id TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('run', 'gateway', 'repl', 'work')),
    outcome TEXT NOT NULL CHECK (outcome IN ('answered', 'failed', 'cancelled')),
    error_kind TEXT,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    latency_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failover_from TEXT
) STRICT;
CREATE INDEX calls_by_age ON calls (at);
CREATE INDEX calls_by_project ON calls (project_id, at) WHERE project_id IS NOT NULL;
CREATE INDEX calls_by_agent ON calls (agent_id, at) WHERE agent_id IS NOT NULL;
CREATE INDEX calls_by_run ON calls (run_id) WHERE run_id IS NOT NULL;

-- Runs from before there was a ledger are one line each.
INSERT INTO calls
SELECT 'call-' || id, started_at, coalesce(provider_id, ''), coalesce(model, ''), agent_id, project_id, bead_id, id,
       NULL, 'run',
       CASE status WHEN 'succeeded' THEN 'answered' WHEN 'failed' THEN 'failed' ELSE 'cancelled' END,
       NULL, input_tokens, output_tokens, cost_usd, latency_ms, max(steps, 1), NULL
FROM runs WHERE status <> 'running' AND (steps > 0 OR input_tokens > 0);

-- What may be spent: `total`, `project:<id>` or `agent:<id>`, in a day or a month.
CREATE TABLE budgets (
    scope TEXT NOT NULL,
    period TEXT NOT NULL CHECK (period IN ('day', 'month')),
    cap_usd REAL NOT NULL CHECK (cap_usd >= 0),
    -- What is known for certain: in the window that began then so much was spent, and so much was told of.
    marked_window TEXT,
    marked_usd REAL NOT NULL DEFAULT 0,
    warned INTEGER NOT NULL DEFAULT 0 CHECK (warned BETWEEN 0 AND 100),
    PRIMARY KEY (scope, period)
) STRICT, WITHOUT ROWID;
