"""Options that say what a study is: one field of :class:`SpecOptions` each, for every command that takes it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from gloss_tune.finetune.config import CLASS_WEIGHTS, LOSSES, METRICS, TRAIN_FIELDS

if TYPE_CHECKING:
    from gloss_tune.spec.spec import StudySpec

BENCHMARKS = ("mr", "r8", "r52", "ohsumed", "20ng")
Command = Callable[..., None]


@dataclass(frozen=True)
class SpecOptions:
    """What the user said of a study on the command line; None or False where nothing.

    To add an option, add a field: of the name that the specification, or its ``train``, has for it.
    """

    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME|PATH",
            autocompletion=lambda: [*BENCHMARKS, "stdlib"],
            help="mr, r8, r52, ohsumed, 20ng, stdlib, your own files (a path), hf:OWNER/NAME, hf:OWNER/NAME/CONFIG.",
        ),
    ] = None
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            metavar="FILE.toml",
            autocompletion=lambda: [*BENCHMARKS, "demo", *(f"paper/{name}" for name in BENCHMARKS)],
            help="Specification file, or the name of a shipped one (mr, r8, r52, ohsumed, 20ng, demo). "
            "Options and --set override it.",
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME|PATH", help="Sentence encoder: a Hub name or a local folder."),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEXT|NAME",
            help="Goes before each text, here and in the models made: a text such as 'query: ', or the name of one of "
            "the encoder's own prompts; '' for none. By default what the encoder's folder says.",
        ),
    ] = None
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Run Python code that comes with the encoder, in every worker. Read it first.",
        ),
    ] = False
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            metavar="gloss|ce|scl|triplet|cosine",
            autocompletion=lambda: LOSSES,
            help="What is tuned.",
        ),
    ] = None
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="integrated|standalone",
            help="Encoder and head together, or the encoder by the loss alone and then a linear probe.",
        ),
    ] = None
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Budget: exactly this many trials.")
    ] = None
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="|".join(METRICS), autocompletion=lambda: METRICS, help="What is maximised."
        ),
    ] = None
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            metavar="tpe|gp|random|qmc|grid|hub:NAME",
            help="How trials are drawn; hub:NAME is a sampler of an OptunaHub registry on this machine.",
        ),
    ] = None
    pruner: Annotated[
        str | None,
        typer.Option(
            "--pruner", metavar="median|hyperband|asha|none", help="How poor trials are stopped early."
        ),
    ] = None
    priors: Annotated[
        bool | None,
        typer.Option(
            "--priors/--no-priors",
            show_default=False,
            help="Begin with the customary setting and draw the first trials around the learning rate usual for the "
            "encoder's size (the default), or draw evenly from the whole space.",
        ),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Epochs of a trial at most.")
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="Documents a step: the nodes of the graph."),
    ] = None
    max_length: Annotated[
        int | None, typer.Option("--max-length", metavar="N", help="Tokens of a document at most.")
    ] = None
    class_weights: Annotated[
        str | None,
        typer.Option(
            "--class-weights",
            metavar="none|balanced",
            autocompletion=lambda: CLASS_WEIGHTS,
            help="balanced: rare classes count as much as frequent ones in the losses.",
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed of everything random in the study.")
    ] = None
    max_train_docs: Annotated[
        int | None,
        typer.Option(
            "--max-train-docs",
            metavar="N",
            help="Train on a seeded stratified sample; val and test stay whole.",
        ),
    ] = None
    max_val_docs: Annotated[
        int | None,
        typer.Option(
            "--max-val-docs",
            metavar="N",
            help="Judge trials by a seeded stratified sample of val; by default 5000 of what is held out of train, and "
            "all of a val that is given.",
        ),
    ] = None
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column", metavar="NAME", help="Column of the texts; title,body joins those of two."
        ),
    ] = None
    label_column: Annotated[
        str | None, typer.Option("--label-column", metavar="NAME", help="Column of the labels.")
    ] = None
    separator: Annotated[
        str | None,
        typer.Option(
            "--separator", metavar="CHARACTER", help="Between the fields of a CSV, such as ';' or tab."
        ),
    ] = None
    no_header: Annotated[
        bool,
        typer.Option("--no-header", help="The first line of CSV or TSV is a record and names no columns."),
    ] = False
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding", metavar="NAME", help="Encoding of the files, such as cp1252; by default UTF-8."
        ),
    ] = None
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Simulate the trials: train nothing, to try out a set-up.")
    ] = False
    rehearse_seconds: Annotated[
        float | None, typer.Option("--rehearse-seconds", metavar="S", help="Length of a simulated trial.")
    ] = None
    lease: Annotated[
        float | None,
        typer.Option(
            "--lease", metavar="SECONDS", help="A trial whose worker is silent for this long is requeued."
        ),
    ] = None
    max_failures: Annotated[
        int | None,
        typer.Option(
            "--max-failures",
            metavar="N",
            help="Stop the study when N trials have failed; ten in a row always stop it (max_failures_in_a_row).",
        ),
    ] = None
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="K",
            help="Keep the model weights of the K best trials in the artifacts folder; by default none.",
        ),
    ] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any field of the specification; may be repeated. Examples: space.temperature.high=1.0 moves a bound, "
            "space.temperature=0.1 fixes it, space.gloss_weight.low=0.5 searches one more, train.patience=2.",
        ),
    ] = None

    def layer(self) -> dict[str, Any]:
        """As a layer of the specification; what the user left out is not in it."""
        options = [field for field in fields(self) if field.name not in ("spec", "assignments")]
        said = {field.name: getattr(self, field.name) for field in options}
        said = {field.name: said[field.name] for field in options if said[field.name] is not field.default}
        train = {name: said.pop(name) for name in TRAIN_FIELDS if name in said}
        return {**said, "train": train} if train else said

    def resolve(self) -> StudySpec:
        """The validated specification, see :func:`resolve`."""
        return resolve(self.spec, self.layer(), self.assignments or [])

    def layers(self) -> list[dict[str, Any]]:
        """The layers that :meth:`resolve` lays over each other, see :func:`layers`."""
        return layers(self.spec, self.layer(), self.assignments or [])


def with_spec_options(*names: str) -> Callable[[Command], Command]:
    """Give a command options of :class:`SpecOptions` in place of its parameter of that type.

    ``--dataset`` becomes its first option, the others stand where the parameter does.

    Args:
        names: of the fields to offer, in this order; all of them by default.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        (place,) = (name for name, hint in hints.items() if hint is SpecOptions)
        types, defaults = get_type_hints(SpecOptions, globals(), include_extras=True), SpecOptions()
        offered = [
            inspect.Parameter(name, _KEYWORD, default=getattr(defaults, name), annotation=types[name])
            for name in names or (field.name for field in fields(SpecOptions))
        ]
        parameters = []
        for name, parameter in inspect.signature(command).parameters.items():
            own = [parameter.replace(kind=_KEYWORD, annotation=hints[name])]
            parameters += offered if name == place else own
        parameters.sort(key=lambda parameter: parameter.name != "dataset")

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            said = {option.name: given.pop(option.name) for option in offered if option.name in given}
            command(**given, **{place: SpecOptions(**said)})

        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorate


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def resolve(spec: str | None, flags: dict[str, Any], assignments: list[str]) -> StudySpec:
    """The validated specification from a file, options and ``--set`` pairs, each over the one before."""
    from gloss_tune.spec.build import build_spec

    return build_spec(*layers(spec, flags, assignments))


def layers(spec: str | None, flags: dict[str, Any], assignments: list[str]) -> list[dict[str, Any]]:
    """A file, options and ``--set`` pairs as layers of a specification.

    Where these change the file's loss or mode, hyperparameters of the file that have no effect then are left out.
    """
    from gloss_tune.spec.build import fitted_to
    from gloss_tune.spec.layers import parse_assignments, read_toml
    from gloss_tune.spec.shipped import find_spec

    file = {} if spec is None else read_toml(find_spec(spec))
    assigned = parse_assignments(assignments)
    kind = {"loss": "gloss", "mode": "integrated"}
    asked = {key: {**file, **flags, **assigned}.get(key, default) for key, default in kind.items()}
    if any(asked[key] != file.get(key, default) for key, default in kind.items()):
        file = fitted_to(file, str(asked["loss"]), str(asked["mode"]))
    return [file, flags, assigned]
