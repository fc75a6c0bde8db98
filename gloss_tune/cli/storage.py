"""``gloss-tune storage``: a Postgres for those without one, and studies moved between storages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gloss_tune.cli.options import DEFAULT_STORAGE, Force, Storage, emit
from gloss_tune.wording import count

if TYPE_CHECKING:
    from gloss_tune.catalog.backup import Backup
    from gloss_tune.server.serve import Server

storage = typer.Typer(
    help="Serve a Postgres for a cluster without one, and move studies between storages.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PLACE = "sqlite:///FILE, postgresql://USER@HOST/DATABASE, or @FILE to read that from a file."


@storage.command()
def serve(
    folder: Annotated[
        Path,
        typer.Option("--dir", metavar="DIR", help="Its folder, new or a server's already, on a local disk."),
    ] = Path("gloss-tune-server"),
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS|auto",
            help="This machine's address for other machines, auto to find it; by default nobody else gets in.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="By default one that is free when DIR is made."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="NETWORK",
            help="With --listen: a network to let in, such as 10.1.0.0/16, may be repeated; by default those that this "
            "machine is part of.",
        ),
    ] = None,
    url_file: Annotated[
        Path | None,
        typer.Option("--url-file", metavar="FILE", help="Write the URL there too, such as on a shared disk."),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option(
            "--max-connections", min=10, max=5000, help="How many at once; 200 if it was never said."
        ),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Return once it answers; --stop ends it.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Keep a dump in DIR/backups, and end it.")] = False,
    force: Force = False,
) -> None:
    """Start a Postgres on this machine for all workers, and print the file with its URL: give them --storage @FILE.

    It stays until Ctrl-C, SIGTERM or --stop, and then keeps a dump (the last five); a second signal ends it at once.
    Started again it is as it was, studies, port and password. One role gets in, by its password (scram-sha-256), over
    TLS where the server knows it (channel binding proves who is there); not from everywhere, and never as root.
    Example: gloss-tune storage serve --listen auto --background
    """
    from gloss_tune.errors import InputError
    from gloss_tune.server.serve import serve as stay
    from gloss_tune.server.serve import start_server, stop_server
    from gloss_tune.server.wish import Wish
    from gloss_tune.signals import stop_on_signal

    if stop:
        if listen or port or allow or url_file or connections or background:
            raise InputError("--stop ends a server as it is; leave out everything but --dir")
        with stop_on_signal() as flag:
            flag.served = True
            dump = stop_server(folder, lambda: flag.signum is not None)
        kept = f"a dump is in {dump}" if dump else "there is no dump"
        sys.stderr.write(f"Stopped; {kept}. Workers wait for its return.\n")
        return
    wish = Wish(listen, port, tuple(allow or ()), url_file, connections)
    with stop_on_signal(last=True) as flag:
        if not background:
            raise typer.Exit(stay(folder, wish, flag, _say_ready))
        flag.served = True
        _say_ready(start_server(folder, wish, lambda: flag.signum is not None))


def _say_ready(server: Server) -> None:
    emit(str(server.url_file))
    how = f"TLS by a certificate of its own ({server.settings.tls})" if server.settings.tls else "no TLS"
    state = "runs" if server.is_new else "runs already"
    who = (
        "this machine"
        if server.settings.address is None
        else "the networks " + ", ".join(server.settings.allow or ("of this machine",))
    )
    sys.stderr.write(
        f"Postgres {state} on {server.address}, for {who}, scram-sha-256, {how}. "
        f"Give every command --storage @{server.url_file}.\n"
    )


Place = Storage  # the group has the name of the option
File = Annotated[
    Path, typer.Argument(metavar="FILE", help="The backup: an SQLite file, or a dump of pg_dump.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@storage.command()
def backup(file: File, place: Place = DEFAULT_STORAGE, overwrite: Overwrite = False) -> None:
    """Keep a storage with all its studies in a file, as it is at one moment; nobody has to stop for it.

    Of SQLite, and where FILE ends in .db, it is an SQLite file, of Postgres a dump by pg_dump, which must be on this
    machine and as new as the server. Files in the artifacts folder are not in it.
    Example: gloss-tune storage backup monday.db
    """
    from gloss_tune.catalog.backup import backup_storage

    made = backup_storage(place, file, overwrite=overwrite)
    emit(str(made.file))
    sys.stderr.write(f"Kept and read through: {_contents(made)}.\n")


@storage.command()
def restore(file: File, place: Place = DEFAULT_STORAGE, overwrite: Overwrite = False) -> None:
    """Put a backup into a storage that holds no study, whole or not at all, and compare it.

    An SQLite file goes into a storage of either kind, a dump into a Postgres. Trials that ran at the time of the backup
    are requeued when their leases end, or at once by 'gloss-tune reap --all'.
    Example: gloss-tune storage restore monday.db --storage @URLFILE
    """
    from gloss_tune.catalog.backup import restore_storage

    restored = restore_storage(place, file, overwrite=overwrite)
    running = (
        f" {count(restored.running, 'trial')} ran then: 'gloss-tune reap --all' requeues."
        if restored.running
        else ""
    )
    sys.stderr.write(f"Restored and compared: {_contents(restored)}.{running}\n")


def _contents(made: Backup) -> str:
    studies = count(made.studies, "study", "studies")
    return f"{studies} with {count(made.trials, 'trial')}, {made.kind}"


@storage.command()
def move(
    source: Annotated[str, typer.Argument(metavar="FROM", help=f"The storage to leave: {_PLACE}")],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="The storage to go to, likewise; made if need be.")
    ],
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            envvar="GLOSS_TUNE_STUDY",
            metavar="NAME",
            help="This study with its confirmation; by default all studies.",
        ),
    ] = None,
    delete_source: Annotated[
        bool,
        typer.Option("--delete-source", help="Leave nothing of them in FROM; files stay where they are."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Even while workers are at work: they end, and what they have begun waits in TO."
        ),
    ] = False,
) -> None:
    """Move studies to another storage with nothing lost: trials, attempts, reports, attributes, notes, times.

    It happens whole or not at all, and is compared before it counts. FROM keeps what was there, marked: commands that
    look show it and say where it went, workers refuse it, moving back replaces it. Files stay where they are.
    Example: gloss-tune storage move sqlite:///gloss-tune.db @URLFILE
    """
    from gloss_tune.catalog.move import move_studies
    from gloss_tune.workers.artifacts.store import artifacts_folder

    moved = move_studies(source, target, study, delete_source=delete_source, force=force)
    left = (
        "holds them no more"
        if moved.deleted
        else "keeps them, marked ('gloss-tune studies delete' removes that)"
    )
    lines = [
        f"Moved to {moved.target}, and compared: {count(len(moved.studies), 'study', 'studies')} "
        f"({', '.join(moved.studies)}) with {count(moved.trials, 'trial')}. {moved.source} {left}."
    ]
    if moved.requeued:
        lines.append(f"{count(moved.requeued, 'trial')} ran, and waits there now.")
    if moved.steered:
        lines.append(
            f"Paused or stopped there as here: {', '.join(moved.steered)}; 'gloss-tune resume' undoes it."
        )
    files = artifacts_folder(source).absolute()
    if files.is_dir() and any(files.iterdir()):
        lines.append(f"Their files are in {files}: give workers there --artifacts {files}.")
    sys.stderr.write("\n".join(lines) + "\n")
