-- Every object of a database, ordered by type and name.
SELECT coalesce(sql, type || ' ' || name || ' on ' || tbl_name) FROM sqlite_master
ORDER BY type, name
