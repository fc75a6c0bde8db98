"""``gloss-tune trials``: every trial with what it drew and what it reached."""

from __future__ import annotations

import io
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Storage, Study, emit, rows_to_json
from gloss_tune.cli.tables import print_trials


class TrialsFormat(str, Enum):
    """How trials are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def trials(
    storage: Storage = DEFAULT_STORAGE,
    study: Study = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION,…",
            help="List only trials that meet all of these, such as 'state=complete, value>0.8, temperature<0.1'; "
            "may be repeated.",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="NAME,…",
            help="Order by these; a minus before a name for falling: -value,number.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, metavar="N", help="At most so many.")] = None,
    format: Annotated[
        TrialsFormat, typer.Option("--format", help="parquet needs --output.")
    ] = TrialsFormat.table,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """List trials: parameters, metrics, epochs, seconds, state, worker, attempts.

    Names are those of --format json; a parameter or metric needs no 'params.' or 'metrics.' before it.
    Example: gloss-tune trials --where 'state=complete, learning_rate<1e-4' --sort -value --limit 10
    """
    from gloss_tune.cli.trial_filter import select
    from gloss_tune.errors import InputError
    from gloss_tune.study.status import trials as read_trials
    from gloss_tune.study.study import open_study

    if format is TrialsFormat.parquet and output is None:
        raise InputError("Parquet is not text; name a file by --output")
    if format is TrialsFormat.table and output is not None:
        raise InputError("A table is for reading; choose --format json, csv or parquet with --output")
    rows = select(read_trials(open_study(storage, study, read_only=True)), where or [], sort, limit)
    if format is TrialsFormat.json:
        emit(rows_to_json(rows), output)
    elif format is TrialsFormat.table:
        print_trials(rows)
    else:
        _write_flat(rows, format, output)


def _write_flat(rows: list[dict[str, Any]], format: TrialsFormat, output: Path | None) -> None:
    import pandas as pd

    from gloss_tune.cli.writing import write_whole
    from gloss_tune.errors import InputError
    from gloss_tune.study.status import flat_row

    frame = pd.DataFrame(map(flat_row, rows))
    if format is TrialsFormat.csv:
        emit(frame.to_csv(index=False), output)
        return
    assert output is not None
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer, index=False)
    except ImportError:
        raise InputError("Parquet needs pyarrow; pip install 'gloss-tune[parquet]'") from None
    write_whole(output, buffer.getvalue())
