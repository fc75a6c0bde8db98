"""A Postgres of one's own for a cluster without a database server: made, started, backed up and stopped."""
