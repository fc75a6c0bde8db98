"""The final training of what a study found, its result on the test documents, and the model as a folder.

Test documents are looked at here and nowhere before: validation has chosen the parameters, chooses each training's
epoch, and of several seeds the model that is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gloss_tune.atomic import whole_folder, write_whole
from gloss_tune.confirm.export import export
from gloss_tune.cores import CoreShare
from gloss_tune.data import TextDataset, subsample
from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.errors import GlossTuneError, InputError, Interrupted
from gloss_tune.faults import lost_device_told
from gloss_tune.filesystem import why_not_writable
from gloss_tune.finetune.device import pick_device
from gloss_tune.finetune.model_folder import write_description
from gloss_tune.idle import IdleCores
from gloss_tune.logging import logger
from gloss_tune.retrain.model_card import model_card
from gloss_tune.retrain.push import check_push, push
from gloss_tune.retrain.scores import spread
from gloss_tune.retrain.training import FinalTraining
from gloss_tune.seeding import derive_seed
from gloss_tune.signals import StopFlag
from gloss_tune.spec.space import SEED_RANGE
from gloss_tune.study.encoder import study_encoder
from gloss_tune.study.inputs import check_same_inputs, study_dataset
from gloss_tune.study.study import OpenStudy
from gloss_tune.study.versions import current_versions
from gloss_tune.wording import count, settings

CARD = "README.md"

# beside the folder's name, the unfinished folder's has a dot, eight digits and an ending
_LONGEST_NAME = 200
# trainings for which there is time beyond those that were asked for
_MOST_FURTHER = 10


@dataclass(frozen=True)
class RetrainOptions:
    """What to train finally, and where.

    Args:
        output: the folder to write; it does not exist yet, or is empty.
        trial: number of the trial whose parameters to take; None for those that ``export`` gives.
        confirmed: insist on the winner of a confirmation.
        seeds: how many trainings, the first with the study's own seed.
        max_train_docs: train on a sample of so many documents, None for all.
        device: ``auto``, ``cpu``, ``cuda:0`` …
        threads: CPU threads of torch, None for as many as other processes leave.
        data_dir: folder of ``NAME/{train,val,test}.csv``.
        push: name of a repository on the Hugging Face Hub to upload the folder to; None for nowhere.
        private: whether that one is for its owner only, where it is new.
        deadline: by ``time.monotonic``: until then further seeds are trained, as long as half of a training fits, and
            no epoch is begun that would end later, but the very first. None to train ``seeds`` and whole ones.
    """

    output: Path
    trial: int | None = None
    confirmed: bool = False
    seeds: int = 1
    max_train_docs: int | None = None
    device: str = "auto"
    threads: int | None = None
    data_dir: Path | None = None
    push: str | None = None
    private: bool = True
    deadline: float | None = None


@lost_device_told()
def retrain(opened: OpenStudy, options: RetrainOptions, stop: StopFlag) -> dict[str, Any]:
    """Train with a study's parameters, measure on the test documents, and write the model.

    Args:
        stop: looked at after every step; a signal ends the training, and nothing is written.

    Returns:
        What the model's description says (plain values, fit for JSON), ``output``, the folder, and where it was pushed,
        ``pushed``, the address.

    Raises:
        InputError: the study, the trial, the data, the encoder or the folder is wrong; nothing was trained.
        Interrupted: a signal came; nothing was written.
        GlossTuneError: a training failed, the model could not be written, or not be pushed; then the folder is there.
    """

    def check() -> None:
        if stop.signum is not None:
            raise Interrupted(f"{stop.name}: the training was stopped; nothing was written")

    idle = IdleCores()  # looks on while the data is read
    chosen = _chosen(opened, options)
    output = _free_folder(options.output)
    target = None if options.push is None else check_push(options.push, private=options.private)
    encoder = study_encoder(opened.spec, opened.encoder)
    dataset, described = _data(opened, options, encoder)
    device = pick_device(options.device)
    threads = CoreShare(device, options.threads, idle).share_cores()
    check()
    config = opened.spec.config(chosen["best"]["params"])
    training = FinalTraining(
        dataset, encoder, device, config, check, chosen["best"]["precision"], options.deadline
    )
    most = options.seeds if options.deadline is None else max(options.seeds, _MOST_FURTHER)
    for number, seed in enumerate(_seeds(opened.spec.seed, most), start=1):
        if number > options.seeds and not training.fits_another():
            break
        of = f" of {options.seeds}" if number <= options.seeds else ": there is time for another"
        training.run(seed, f"Seed {seed} ({number}{of})")
        if dataset.test is not None and (options.seeds > 1 or options.deadline is not None):
            training.measure_latest()
    description = {
        **_provenance(opened, chosen),
        "dataset": described,
        "encoder": {**opened.encoder, "name": _public_name(opened.encoder["name"])},
        "classes": list(dataset.classes),
        "max_length": config.max_length,
        "precision": training.precision,
        "device": device,
        "threads": threads,
        "versions": current_versions(),
    }
    stop.served = True  # a second signal must not end the process while the folder is half-written
    result = {"output": str(options.output), **_write(output, training, description)}
    return result if target is None else {**result, "pushed": push(options.output.expanduser(), target)}


def _write(output: Path, training: FinalTraining, description: dict[str, Any]) -> dict[str, Any]:
    """Write the model whole. What is told of it on the test documents was measured with the folder as written."""
    from gloss_tune.finetune.classifier import load_classifier

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(output) as folder:
            training.write(folder, description)
            classes: dict[str, Any] = {"per_class": None, "confusion_matrix": None}
            if training.dataset.test is not None:
                logger.info("Measuring on %s.", count(len(training.dataset.test), "test document"))
                test, classes = training.measure(
                    load_classifier(folder, training.device, trust_remote_code=training.trusts_code)
                )
                best = training.best
                training.results[best] = dataclasses.replace(training.results[best], test=test)
            description = {**description, **_results(training), **classes}
            write_description(folder, description)
            write_whole(folder / CARD, model_card(description, output.name))
            training.check()
    except OSError as error:
        raise GlossTuneError(
            f"The model cannot be written to {output} ({error}); fix that or choose another --output, and repeat"
        ) from error
    return description


def _results(training: FinalTraining) -> dict[str, Any]:
    results, saved = training.results, training.results[training.best]
    tested = [result.test for result in results if result.test is not None]
    return {
        "seed": saved.seed,
        "epoch": saved.epoch,
        "value": saved.value,
        "metrics": dict(saved.val),
        "test": None if saved.test is None else dict(saved.test),
        "seeds": [{**dataclasses.asdict(result), "saved": result is saved} for result in results],
        "over_seeds": {
            "n": len(results),
            "val": spread([result.val for result in results]),
            "test": spread(tested) if len(tested) == len(results) else None,
        },
    }


def _chosen(opened: OpenStudy, options: RetrainOptions) -> dict[str, Any]:
    """What ``export`` gives for the parameters to train with."""
    if opened.spec.rehearse:
        raise InputError(
            f"Study {opened.name!r} is a rehearsal, whose results mean nothing; make a real one by 'gloss-tune create'"
        )
    if options.confirmed:
        from gloss_tune.confirm.confirmation import confirmed_best

        if options.trial is not None:
            raise InputError("--trial and --confirmed name different settings; give one of the two")
        if confirmed_best(opened) is None:
            raise InputError(f"Study {opened.name!r} has no confirmed setting; run 'gloss-tune confirm'")
    exported = export(opened, options.trial)
    best = exported["best"]
    shown = settings({name: best["params"][name] for name in best["searched"]})
    logger.info("Training with the parameters of trial %d: %s", best["number"], shown or "none was searched")
    return exported


def _free_folder(output: Path) -> Path:
    """The folder's place, where it can be made once the model is there."""
    place = output.expanduser().resolve()
    if place.is_dir():
        if any(place.iterdir()):
            raise InputError(f"{output} is not empty; name a new folder by --output, or remove this one")
        if place.is_mount():
            raise InputError(f"{output} is a mount point, which cannot be replaced; name a folder in it")
    elif place.exists():
        raise InputError(f"{output} is a file; name a new folder by --output")
    why = why_not_writable(place.parent)
    if why is None and len(os.fsencode(place.name)) > _LONGEST_NAME:
        why = f"its name is longer than {_LONGEST_NAME} bytes"
    if why is not None or not place.name:
        raise InputError(f"{output} cannot be written ({why}); choose another --output")
    return place


def _data(
    opened: OpenStudy, options: RetrainOptions, encoder: ResolvedEncoder
) -> tuple[TextDataset, dict[str, Any]]:
    """The study's data set as it is trained on here, and what the model's description says of it."""
    spec = opened.spec
    of_all = spec.model_copy(update={"max_train_docs": None})
    whole = study_dataset(of_all, options.data_dir, made_with=opened.dataset)
    studied = whole if spec.max_train_docs is None else subsample(whole, spec.max_train_docs, spec.seed)
    check_same_inputs(opened, studied, encoder)
    limit = options.max_train_docs
    dataset = whole if limit is None else subsample(whole, limit, spec.seed)
    if len(dataset.train) != len(studied.train):
        logger.info(
            "Training on %s; the study's trials had %d.",
            count(len(dataset.train), "document"),
            len(studied.train),
        )
    if dataset.test is None:
        logger.warning("Data set %s has no test documents: there will be no final result.", dataset.name)
    return dataset, {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "n_train": len(dataset.train),
        "n_train_of": len(whole.train),
        "n_train_in_study": len(studied.train),
        "n_val": len(dataset.val),
        "n_test": 0 if dataset.test is None else len(dataset.test),
        "n_classes": len(dataset.classes),
    }


def _provenance(opened: OpenStudy, exported: dict[str, Any]) -> dict[str, Any]:
    spec, best = opened.spec, exported["best"]
    study = {"spec": spec.to_dict(), "dataset": dict(opened.dataset), "encoder": dict(opened.encoder)}
    digest = hashlib.sha256(json.dumps(study, sort_keys=True).encode())
    confirmed = exported["confirmed"]
    return {
        "study": opened.name,
        "study_fingerprint": digest.hexdigest()[:16],
        "trial": best["number"],
        "trial_value": best["value"],
        "confirmed": None if confirmed is None else {key: confirmed[key] for key in ("n", "mean", "sd")},
        "loss": spec.loss,
        "mode": spec.mode,
        "metric": spec.metric,
        "params": best["params"],
        "searched": best["searched"],
    }


def _public_name(encoder: str) -> str:
    """A name on the Hub as it is, of a folder the last part: a model that is passed on should name no paths."""
    return Path(encoder).name if Path(encoder).is_absolute() else encoder


def _seeds(seed: int, number: int) -> list[int]:
    """The study's own seed, and fresh ones: the same at every call, no two alike."""
    found = [seed]
    index = 0
    while len(found) < number:
        drawn = derive_seed(seed, "retrain", index) % (SEED_RANGE["high"] + 1)
        if drawn not in found:
            found.append(drawn)
        index += 1
    return found
