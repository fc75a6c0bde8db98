"""``gloss-tune paper``: the G-Loss paper's protocol, as small or as large as wanted, beside the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gloss_tune.cli.options import (
    DEFAULT_STORAGE,
    Artifacts,
    DataDir,
    Force,
    Format,
    OutputFormat,
    Storage,
    Test,
    Threads,
    emit,
    to_json,
)
from gloss_tune.cli.spec_options import SpecOptions, with_spec_options
from gloss_tune.cli.tables import print_table
from gloss_tune.cli.worker_options import Devices, Grace, PerDevice, Track, Workers
from gloss_tune.wording import count

if TYPE_CHECKING:
    from gloss_tune.paper.cells import Cell

_DATASETS, _LOSSES, _ENCODERS = "mr,r8,r52,20ng,ohsumed", "ce,scl,gloss", "bert-base-uncased"


@with_spec_options(
    *("trials", "epochs", "batch_size", "max_length", "max_train_docs", "seed", "pruner", "rehearse", "lease")
)
def paper(
    storage: Storage = DEFAULT_STORAGE,
    datasets: Annotated[
        str, typer.Option("--datasets", metavar="NAME,…", help="Data sets, with commas between.")
    ] = _DATASETS,
    losses: Annotated[
        str, typer.Option("--losses", metavar="NAME,…", help="Losses; all are compared with the first.")
    ] = _LOSSES,
    encoders: Annotated[
        str, typer.Option("--encoders", metavar="NAME,…", help="Encoders: Hub names or folders.")
    ] = _ENCODERS,
    modes: Annotated[
        str, typer.Option("--modes", metavar="NAME,…", help="integrated, standalone, or both.")
    ] = "integrated",
    *,
    options: SpecOptions,
    top: Annotated[
        int, typer.Option("--top", min=1, metavar="K", help="Confirm the K best settings of each study.")
    ] = 1,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", min=2, metavar="S", help="Confirm with S fresh seeds each, the same for all."
        ),
    ] = 3,
    test: Test = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print which studies there would be, and write nothing.")
    ] = False,
    workers: Workers = None,
    per_device: PerDevice = None,
    device: Devices = "auto",
    threads: Threads = None,
    grace: Grace = 5.0,
    track: Track = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    force: Force = False,
    format: OutputFormat = Format.table,
) -> None:
    """Run the paper's protocol: a study for each data set, encoder and loss at equal budgets, each confirmed.

    Every step goes on where it stood: after a stop, the same command finishes what is left, and workers started
    elsewhere help. The specifications are studies/paper/*.toml; options make all of them smaller or larger.
    Example: gloss-tune paper --datasets mr,r8 --encoders all-MiniLM-L6-v2 --trials 6 --epochs 3 --max-train-docs 512
    """
    from gloss_tune.launch.group import choose_workers
    from gloss_tune.paper.cells import plan
    from gloss_tune.paper.run import run_protocol
    from gloss_tune.signals import stop_on_signal
    from gloss_tune.workers.options import worker_options

    cells = plan(_listed(datasets), _listed(losses), _listed(encoders), _listed(modes), options.layer())
    if dry_run:
        _print_plan(cells, top, seeds)
        return
    each_worker = worker_options(
        storage, artifacts, threads=threads, data_dir=data_dir, grace=grace, track=track
    )
    with stop_on_signal(last=True) as stop:
        group = choose_workers(device, workers, per_device, rehearsal=options.rehearse, threads=threads)
        results = run_protocol(cells, storage, each_worker, group, stop, top=top, seeds=seeds, test=test)
    emit(to_json(results)) if format is Format.json else _print(results, cells)


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _print_plan(cells: Sequence[Cell], top: int, seeds: int) -> None:
    rows = [
        [
            cell.name,
            cell.spec.trials,
            cell.spec.train.get("epochs"),
            cell.spec.max_train_docs or "all",
            top * seeds,
        ]
        for cell in cells
    ]
    print_table(["study", "trials", "epochs at most", "documents", "confirming runs"], rows)
    trainings = sum(cell.spec.trials + top * seeds for cell in cells)
    emit(f"{count(len(cells), 'study', 'studies')}, {count(trainings, 'training')}; nothing was written.")


def _print(results: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    from gloss_tune.paper.run import deviations

    tested = any("test_accuracy" in cell for cell in results["cells"])
    kind = "test_accuracy" if tested else "val"
    name = "test accuracy" if tested else f"validation ({results['metric']})"
    datasets = list(dict.fromkeys(cell["dataset"] for cell in results["cells"]))
    for mode in dict.fromkeys(cell["mode"] for cell in results["cells"]):
        own = [cell for cell in results["cells"] if cell["mode"] == mode]
        rows = []
        for encoder, loss in dict.fromkeys((cell["encoder"], cell["loss"]) for cell in own):
            of_row = {c["dataset"]: c for c in own if (c["encoder"], c["loss"]) == (encoder, loss)}
            rows.append([encoder, loss, "measured", *(_measured(of_row.get(d), kind) for d in datasets)])
            rows.append(["", "", "published", *(_published(of_row.get(d)) for d in datasets)])
        title = f"{mode}: {name} in percent, mean ± sd (n seeds); published: test accuracy over 3 seeds"
        print_table(["encoder", "loss", "", *datasets], rows, title=title)
        emit("")
    for verdict in results["verdicts"]:
        emit(verdict)
    for line in deviations(cells, tested):
        emit(line)


def _measured(cell: Mapping[str, Any] | None, kind: str) -> str | None:
    if cell is None or kind not in cell or cell[kind]["mean"] is None:
        return None
    own = cell[kind]
    spread = "" if own["sd"] is None else f" ± {100 * own['sd']:.2f}"
    return f"{100 * own['mean']:.2f}{spread} ({own['n']})"


def _published(cell: Mapping[str, Any] | None) -> str | None:
    if cell is None or cell["published"] is None:
        return None
    mean, sd = cell["published"]["mean"], cell["published"]["sd"]
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"
