-- The projects that the facts of an answer came from, as a JSON list; none: all of them, or not known.
ALTER TABLE console_turns ADD COLUMN within TEXT;
