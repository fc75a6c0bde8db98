"""Sessions as other people set them up: what libpq reads from the environment, and what a role's settings come to.

pytest --hostile-session "time zone" tests/integration -m postgres     every storage test in such a session
"""

from __future__ import annotations

SESSIONS = {
    "time zone": {"PGTZ": "America/St_Johns"},
    "date style": {"PGDATESTYLE": "SQL, DMY"},
    "another date style": {"PGDATESTYLE": "Postgres, DMY"},
    "serializable": {"PGOPTIONS": "-c default_transaction_isolation=serializable"},
    "repeatable read": {"PGOPTIONS": "-c default_transaction_isolation=repeatable\\ read"},
    "statement timeout": {"PGOPTIONS": "-c statement_timeout=150ms -c lock_timeout=100ms"},
    "search path": {"PGOPTIONS": "-c search_path=elsewhere,public"},
    "few digits": {"PGOPTIONS": "-c extra_float_digits=-10"},
    "encoding": {"PGCLIENTENCODING": "LATIN1"},
    "all of them": {
        "PGTZ": "Pacific/Chatham",
        "PGDATESTYLE": "German, DMY",
        "PGCLIENTENCODING": "LATIN1",
        "PGOPTIONS": "-c default_transaction_isolation=serializable -c statement_timeout=150ms -c lock_timeout=100ms "
        "-c extra_float_digits=-10 -c search_path=elsewhere,public",
    },
}
