"""Options that say what a study is, shared by ``create`` and ``run``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gloss_tune.finetune.config import LOSSES

BENCHMARKS = ("mr", "r8", "r52", "ohsumed", "20ng")

SpecFile = Annotated[
    str | None,
    typer.Option(
        "--spec",
        metavar="FILE.toml",
        autocompletion=lambda: [*BENCHMARKS, "demo", *(f"paper/{name}" for name in BENCHMARKS)],
        help="Specification file, or the name of a shipped one (mr, r8, r52, ohsumed, 20ng, demo). "
        "Options and --set override it.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME|PATH",
        autocompletion=lambda: [*BENCHMARKS, "stdlib"],
        help="mr, r8, r52, ohsumed, 20ng, stdlib, or the path of your own files.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|PATH", help="Sentence encoder: a Hub name or a local folder."),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss", metavar="gloss|ce|scl|triplet|cosine", autocompletion=lambda: LOSSES, help="What is tuned."
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="integrated|standalone",
        help="Encoder and head together, or the encoder by the loss alone and then a linear probe.",
    ),
]
Trials = Annotated[
    int | None, typer.Option("--trials", metavar="N", help="Budget: exactly this many trials.")
]
Metric = Annotated[
    str | None,
    typer.Option("--metric", metavar="val_macro_f1|val_accuracy|val_silhouette", help="What is maximised."),
]
Sampler = Annotated[
    str | None, typer.Option("--sampler", metavar="tpe|gp|random|qmc|grid", help="How trials are drawn.")
]
Pruner = Annotated[
    str | None,
    typer.Option("--pruner", metavar="median|hyperband|none", help="How poor trials are stopped early."),
]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Epochs of a trial at most.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Documents a step: the nodes of the graph.")
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="N", help="Tokens of a document at most.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of everything random in the study.")
]
MaxTrainDocs = Annotated[
    int | None,
    typer.Option(
        "--max-train-docs", metavar="N", help="Train on a seeded stratified sample; val and test stay whole."
    ),
]
TextColumn = Annotated[str | None, typer.Option("--text-column", metavar="NAME", help="Column of the texts.")]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", metavar="NAME", help="Column of the labels.")
]
Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="Simulate the trials: train nothing, to try out a set-up.")
]
RehearseSeconds = Annotated[
    float | None, typer.Option("--rehearse-seconds", metavar="S", help="Length of a simulated trial.")
]
Lease = Annotated[
    float | None,
    typer.Option(
        "--lease", metavar="SECONDS", help="A trial whose worker is silent for this long is requeued."
    ),
]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        "--max-failures",
        metavar="N",
        help="Stop the study when N trials have failed; ten in a row always stop it (max_failures_in_a_row).",
    ),
]
Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        metavar="K",
        help="Keep the model weights of the K best trials in the artifacts folder; by default none.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any field of the specification; may be repeated. Examples: space.temperature.high=1.0 moves a bound, "
        "space.temperature=0.1 fixes it, space.gloss_weight.low=0.5 searches one more, train.patience=2.",
    ),
]


_TOP_LEVEL = (
    "dataset",
    "model",
    "loss",
    "mode",
    "trials",
    "metric",
    "sampler",
    "pruner",
    "seed",
    "max_train_docs",
    "text_column",
    "label_column",
    "rehearse_seconds",
    "lease",
    "max_failures",
    "keep",
)
_TRAIN = ("epochs", "batch_size", "max_length")


def to_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """A command's arguments as a layer of the specification; what the user left out is not in it."""
    flags = {name: given[name] for name in _TOP_LEVEL if given[name] is not None}
    if given["rehearse"]:
        flags["rehearse"] = True
    train = {name: given[name] for name in _TRAIN if given[name] is not None}
    return {**flags, "train": train} if train else flags


def resolve(spec: str | None, flags: dict[str, Any], assignments: list[str]) -> Any:
    """The validated specification from a file, options and ``--set`` pairs, each over the one before.

    Where these change the file's loss or mode, hyperparameters of the file that have no effect then are left out.
    """
    from gloss_tune.spec.build import build_spec, fitted_to
    from gloss_tune.spec.layers import parse_assignments, read_toml
    from gloss_tune.spec.shipped import find_spec

    file = {} if spec is None else read_toml(find_spec(spec))
    assigned = parse_assignments(assignments)
    kind = {"loss": "gloss", "mode": "integrated"}
    asked = {key: {**file, **flags, **assigned}.get(key, default) for key, default in kind.items()}
    if any(asked[key] != file.get(key, default) for key, default in kind.items()):
        file = fitted_to(file, str(asked["loss"]), str(asked["mode"]))
    return build_spec(file, flags, assigned)
