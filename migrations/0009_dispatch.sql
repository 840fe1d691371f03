-- What decides who gets work, and since when it waits.

-- Why none of a project's work is handed out at present; none: it is.
ALTER TABLE projects ADD COLUMN parked TEXT;
-- Since when a bead is ready.
ALTER TABLE beads ADD COLUMN ready_since TEXT;
UPDATE beads SET ready_since = updated_at WHERE ready = 1;
