-- The last text of each bead's lines in a project's file, and what the bead was here at that moment: the base of a merge.
CREATE TABLE bead_file_bases (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    line TEXT NOT NULL,
    -- Fields of the bead that a file carries, and how many comments it had, as JSON.
    fields TEXT NOT NULL,
    PRIMARY KEY (project_id, id)
) STRICT, WITHOUT ROWID;

-- What is to be known of a project's file: why it is not written, and which lines are kept, as JSON.
CREATE TABLE bead_file_reports (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    report TEXT NOT NULL
) STRICT;
