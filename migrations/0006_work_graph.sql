-- What bead files know and we had no place for, and what keeps work from running in circles.

-- Why a bead is no work whatever its status: `pinned`, `ephemeral`.
ALTER TABLE beads ADD COLUMN shelved TEXT;
-- The agents that handed it on since it last made progress, as a JSON array.
ALTER TABLE beads ADD COLUMN handed_on_by TEXT NOT NULL DEFAULT '[]';
-- The digest of the answer with which the last attempt failed.
ALTER TABLE beads ADD COLUMN last_answer TEXT;

-- What of a bead's children `waits-for` waits for; none: all of them.
ALTER TABLE bead_dependencies ADD COLUMN gate TEXT;
-- What the file that a dependency or a comment comes from knows besides, as a JSON object.
ALTER TABLE bead_dependencies ADD COLUMN kept TEXT;

-- Comments of different beads may have the same id.
CREATE TABLE comments_of_beads (
    id TEXT NOT NULL,
    bead_id TEXT NOT NULL REFERENCES beads (id) ON DELETE CASCADE,
    author_id TEXT NOT NULL,
    comment TEXT NOT NULL,
    created_at TEXT NOT NULL,
    kept TEXT,
    PRIMARY KEY (bead_id, id)
) STRICT;
INSERT INTO comments_of_beads SELECT id, bead_id, author_id, comment, created_at, NULL FROM bead_comments;
DROP TABLE bead_comments;
ALTER TABLE comments_of_beads RENAME TO bead_comments;
CREATE INDEX bead_comments_by_bead ON bead_comments (bead_id, created_at, id);

-- What a project's file last said of a bead: when it changed by the file's word, and what of its line has to be written
-- as it came. `revision` is that of the row at that moment.
CREATE TABLE bead_files (
    bead_id TEXT PRIMARY KEY REFERENCES beads (id) ON DELETE CASCADE,
    updated_at TEXT NOT NULL,
    revision INTEGER NOT NULL,
    -- Its labels and dependencies, as JSON; none: it had none.
    seen TEXT,
    kept TEXT
) STRICT;
-- Lines of a project's file that are no beads, as they came.
CREATE TABLE bead_file_lines (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    line TEXT NOT NULL,
    PRIMARY KEY (project_id, line)
) STRICT, WITHOUT ROWID;

-- Rules that a stored column was computed by, so that another setting is noticed.
CREATE TABLE rules (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- What stands before the ids of a project's new beads.
ALTER TABLE projects ADD COLUMN bead_prefix TEXT;
-- How many of a project's beads are worked on at once at most.
ALTER TABLE projects ADD COLUMN max_parallel INTEGER;

-- Texts of beads, for search.
CREATE VIRTUAL TABLE bead_texts USING fts5 (
    title, description, acceptance_criteria, content = 'beads', content_rowid = 'rowid', tokenize = 'unicode61'
);
INSERT INTO bead_texts (rowid, title, description, acceptance_criteria)
SELECT rowid, title, description, acceptance_criteria FROM beads;

-- The digest of a project's file as it was last read or written.
CREATE TABLE bead_file_states (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    digest TEXT NOT NULL
) STRICT;
