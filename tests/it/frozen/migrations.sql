-- The applied migrations with their checksums.
SELECT id || ' ' || name || ' ' || sha256 FROM schema_migrations ORDER BY id
