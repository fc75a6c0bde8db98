"""A Postgres database that answers with whatever SQLSTATE it is told to, in whatever way it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

# The function looks at a table of one row: what to fail with, or nothing. A read meets it through a view that has
# taken a table's name, a write through a trigger.
_MAKE = """
CREATE TABLE mood (code text, reads boolean);
INSERT INTO mood VALUES (NULL, false);
CREATE FUNCTION fails(reading boolean) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE wanted text;
BEGIN
    SELECT code INTO wanted FROM public.mood WHERE reads OR NOT reading;
    IF wanted IS NOT NULL THEN RAISE EXCEPTION 'as told' USING ERRCODE = wanted; END IF;
    RETURN true;
END $$;
CREATE FUNCTION fails_writing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.fails(false); RETURN NULL; END $$;
"""
_READ = "study_user_attributes"
_WRITTEN = (
    "studies",
    "kept",
    "study_system_attributes",
    "trials",
    "trial_heartbeats",
    "trial_system_attributes",
)


def execute(url: str, *statements: str) -> None:
    """Run statements on a database, each for itself."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


class FailingDatabase:
    """Hooks in a database with Optuna's tables; harmless until :meth:`answers_with`.

    Args:
        url: of the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        execute(
            url,
            _MAKE,
            f"ALTER TABLE {_READ} RENAME TO kept",
            f"CREATE VIEW {_READ} AS SELECT * FROM kept WHERE public.fails(true)",
            *(
                f"CREATE TRIGGER fails BEFORE INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION public.fails_writing()"
                for table in _WRITTEN
            ),
        )

    def set(self, code: str | None, *, reads: bool = True) -> None:
        """From now on fail with this code; None to work again."""
        with psycopg.connect(self._url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(sql.SQL("UPDATE mood SET code = {}, reads = {}").format(code, reads))

    @contextmanager
    def answers_with(self, code: str, *, reads: bool = True) -> Iterator[None]:
        """Within the block, every write fails, and what reads a study does unless ``reads`` is false."""
        self.set(code, reads=reads)
        try:
            yield
        finally:
            self.set(None)
