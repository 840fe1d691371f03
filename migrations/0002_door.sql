-- Who came from where, who may come at all, and what of the vault was seen.

-- The address and the token of the request that an event comes from; neither for the server's own doings.
ALTER TABLE events ADD COLUMN address TEXT;
ALTER TABLE events ADD COLUMN token_id TEXT;

-- The projects a token is limited to, as a JSON array; none: all of them.
ALTER TABLE tokens ADD COLUMN projects TEXT;
ALTER TABLE tokens ADD COLUMN last_used_at TEXT;
-- What proves it: a secret text, or a client certificate whose fingerprint the digest is.
ALTER TABLE tokens ADD COLUMN proof TEXT NOT NULL DEFAULT 'text' CHECK (proof IN ('text', 'certificate'));

-- A browser that signed in with a token; it ends with the token.
CREATE TABLE sessions (
    digest TEXT PRIMARY KEY,
    token_id TEXT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_token ON sessions (token_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- The newest generation of the key file that was seen; an older file was put back from somewhere.
CREATE TABLE vault_seen (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL
) STRICT;

-- Certificates in PEM: ours for this provider, with its key in the vault, and whom we trust as its issuer.
ALTER TABLE providers ADD COLUMN client_cert TEXT;
ALTER TABLE providers ADD COLUMN client_key_id TEXT;
ALTER TABLE providers ADD COLUMN ca_cert TEXT;
