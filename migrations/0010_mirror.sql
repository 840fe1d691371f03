-- What is mirrored at a Temporal server, and what still has to be.

CREATE TABLE mirrored (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    -- Which life of the entity: a reopened bead and a restarted agent begin another.
    run_no INTEGER NOT NULL,
    -- The newest event about it that the mirror has read.
    seq INTEGER NOT NULL,
    -- The newest one whose outcome the server has.
    sent_seq INTEGER NOT NULL,
    -- The workflow's run that has it, and which life that is.
    run_id TEXT,
    run_of INTEGER,
    -- What goes first: 0 live traffic, 1 what came in from a file.
    rank INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX mirrored_due ON mirrored (rank, seq) WHERE seq > sent_seq;

-- The workflow through which a question was answered; none: the provider was called directly.
ALTER TABLE console_turns ADD COLUMN workflow_id TEXT;
