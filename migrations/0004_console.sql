-- Questions to the console and their answers.
CREATE TABLE console_turns (
    id TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    user TEXT NOT NULL,
    project_id TEXT,
    message TEXT NOT NULL,
    response TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    model TEXT NOT NULL,
    reason TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    latency_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX console_turns_by_user ON console_turns (user, at, id);
