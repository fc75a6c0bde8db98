"""A study as read from its storage: name and URL are all that a worker or a reader needs."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import optuna
from optuna.storages import get_storage

from gloss_tune.errors import GlossTuneError, InputError, SpecError, StudyMismatchError
from gloss_tune.logging import logger
from gloss_tune.queue.claims import reopenings, study_name
from gloss_tune.queue.recovery import Recovered, requeue_lost
from gloss_tune.spec.space import complete
from gloss_tune.spec.spec import StudySpec
from gloss_tune.storage.connect import open_storage
from gloss_tune.storage.shared_storage import SharedStorage
from gloss_tune.study.samplers import build_pruner, build_sampler
from gloss_tune.study.versions import current_versions

#: Raised whenever a worker of one release must not run a study made by another.
FORMAT = 1
_KEY = "gloss_tune:"
#: The user attributes that hold a study's specification, and what a confirmation confirms.
SPEC, CONFIRMS = f"{_KEY}spec", f"{_KEY}confirms"
#: The user attribute that lists what was added to a study's budget since it was made.
EXTENSIONS = f"{_KEY}extensions"
#: The user attribute of a study that was moved to another storage: ``to`` and ``at``.
MOVED = f"{_KEY}moved"
#: The user attributes that tell a study from others of its name, name its files, and say when it was made.
IDENTIFIER, FILES, CREATED = f"{_KEY}id", f"{_KEY}files", f"{_KEY}created"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class OpenStudy:
    """One study and its storage.

    Args:
        name: the study's name.
        study_id: the database's key.
        storage: where it lives.
        spec: its specification, as frozen at creation.
        dataset: ``name``, ``fingerprint``, ``n_train``, ``n_val``, ``n_classes``; None each where a
            rehearsal was made without the data.
        encoder: ``name`` and ``fingerprint`` (None in a rehearsal).
        versions: of gloss-tune and what it computes with, at creation.
        files: what its files are called in the artifacts folder, where a study of another storage may have its name.
        extensions: what was added to its budget since it was made.
        created: when it was made, ISO 8601 in UTC; None in studies of the first release.
        confirms: of a confirmation, the study that it confirms and how (see :mod:`gloss_tune.confirm.confirmation`).
        moved: of what a move left behind, the storage where the study is now (``to``), and since when (``at``).
    """

    name: str
    study_id: int
    storage: SharedStorage
    spec: StudySpec
    dataset: Mapping[str, Any]
    encoder: Mapping[str, Any]
    versions: Mapping[str, str]
    files: str
    confirms: Mapping[str, Any] | None = None
    extensions: Sequence[Mapping[str, Any]] = ()
    created: str | None = None
    moved: Mapping[str, str] | None = None

    @property
    def first_budget(self) -> int:
        """How many trials it was made with."""
        return self.spec.trials - sum(int(extension["trials"]) for extension in self.extensions)

    def optuna_study(self, trial_number: int = 0) -> optuna.Study:
        """The study with its own sampler and pruner, the sampler seeded for one trial."""
        study = copy.copy(self._loaded())
        study.sampler = build_sampler(self.spec, trial_number)
        return study

    def check_still_there(self) -> None:
        """Whether the storage still holds this very study: someone may delete it, or put another file in its place.

        Raises:
            GlossTuneError: it does not; nothing can be told there any more.
        """
        self.storage.check_same_file()
        found = study_name(self.storage, self.study_id)
        if found != self.name:
            raise GlossTuneError(
                f"Study {self.name!r} is no longer on storage {self.storage.redacted_url}: it was deleted or "
                "renamed, or the database was replaced. Restore it, or make the study again"
            )

    def requeue_lost(
        self, *, all_running: bool = False, only_gone: bool = False, children: Collection[int] = ()
    ) -> Recovered:
        """Requeue the trials whose workers are gone, see :func:`gloss_tune.queue.recovery.requeue_lost`."""
        return requeue_lost(
            self.storage,
            self.study_id,
            lease=self.spec.lease,
            max_attempts=self.spec.max_attempts,
            all_running=all_running,
            only_gone=only_gone,
            children=children,
        )

    def _loaded(self) -> optuna.Study:
        """With Optuna's cache, which takes ended trials to be final: loaded anew after some were requeued."""
        count = reopenings(self.storage, self.study_id)
        if count not in self._studies:
            self._studies.clear()
            cache = get_storage(self.storage)
            self._studies[count] = optuna.load_study(
                study_name=self.name, storage=cache, pruner=build_pruner(self.spec)
            )
        return self._studies[count]

    @cached_property
    def _studies(self) -> dict[int, optuna.Study]:
        return {}


def check_name(name: str) -> str:
    """The name, if it can also name files.

    Raises:
        InputError: if it cannot.
    """
    if _NAME.fullmatch(name):
        return name
    raise InputError(
        f"A study's name is made of letters, digits, '.', '_' and '-', opens with a letter or digit and has at most "
        f"200 characters; got {name!r}"
    )


def open_study(
    url: str, name: str | None = None, *, read_only: bool = False, moved_too: bool = False
) -> OpenStudy:
    """Find a study.

    Args:
        url: its storage.
        name: its name; may be None where the storage holds one study, confirmations not counted.
        read_only: for commands that only look.
        moved_too: what a move left behind will do as well; without this, it will for a look alone.

    Raises:
        InputError: if there is no such study, or several and none was named, or it was moved to another storage.
    """
    storage = open_storage(url, read_only=read_only)
    frozen = {s.study_name: s for s in storage.get_all_studies()}
    ours = sorted(n for n, s in frozen.items() if SPEC in s.user_attrs)
    here = [n for n in ours if MOVED not in frozen[n].user_attrs] or ours
    searches = [n for n in here if CONFIRMS not in frozen[n].user_attrs] or ours
    if name is None and len(searches) != 1:
        what = "holds no study of gloss-tune" if not ours else f"holds {len(ours)} studies: {', '.join(ours)}"
        hint = "make one by 'gloss-tune create'" if not ours else "name one by --study"
        raise InputError(f"Storage {storage.redacted_url} {what}; {hint}")
    chosen = searches[0] if name is None else name
    check_name(chosen)
    if chosen not in frozen:
        known = (
            f"it holds {', '.join(ours)}; name one by --study"
            if ours
            else "it holds none; make one by 'gloss-tune create'"
        )
        raise InputError(f"There is no study {chosen!r} on storage {storage.redacted_url}; {known}")
    if chosen not in ours:
        raise InputError(f"Study {chosen!r} on storage {storage.redacted_url} was not made by gloss-tune")
    opened = _from_attributes(
        chosen, storage.get_study_id_from_name(chosen), storage, frozen[chosen].user_attrs
    )
    if opened.moved is not None and not moved_too:
        where = (
            f"was moved from storage {storage.redacted_url} to {opened.moved['to']} ({opened.moved['at']})"
        )
        if not read_only:
            raise InputError(f"Study {chosen!r} {where}; name that one by --storage")
        logger.warning("Study %s %s; this is how it was then.", chosen, where)
    return opened


def searches(url: str) -> list[str]:
    """Names of a storage's studies, confirmations not counted, in alphabetical order.

    Raises:
        InputError: if there is none.
    """
    storage = open_storage(url, read_only=True)
    attributes = {study.study_name: study.user_attrs for study in storage.get_all_studies()}
    found = sorted(name for name, own in attributes.items() if SPEC in own and CONFIRMS not in own)
    if not found:
        raise InputError(
            f"Storage {storage.redacted_url} holds no study of gloss-tune; make one by 'gloss-tune create'"
        )
    return found


def all_studies(storage: SharedStorage) -> list[OpenStudy]:
    """Every study of gloss-tune on a storage that this release can read, confirmations too."""
    found = []
    for study in storage.get_all_studies():
        if SPEC in study.user_attrs:
            try:
                found.append(_from_attributes(study.study_name, study._study_id, storage, study.user_attrs))
            except InputError as error:
                logger.warning("Study %s is left out: %s", study.study_name, error)
    return found


def open_beside(opened: OpenStudy, name: str) -> OpenStudy | None:
    """Another study of gloss-tune on the same storage and over the same connections; None if there is none."""
    found = next((s for s in opened.storage.get_all_studies() if s.study_name == name), None)
    if found is None or SPEC not in found.user_attrs:
        return None
    study_id = opened.storage.get_study_id_from_name(name)
    return _from_attributes(name, study_id, opened.storage, found.user_attrs)


def to_attributes(spec: StudySpec, dataset: Mapping[str, Any], encoder: Mapping[str, Any]) -> dict[str, Any]:
    """What a new study remembers, as user attributes."""
    values = {
        "format": FORMAT,
        "spec": spec.to_dict(),
        "dataset": dict(dataset),
        "encoder": dict(encoder),
        "versions": current_versions(),
        "id": new_identifier(),
        "created": created_now(),
    }
    return {f"{_KEY}{key}": value for key, value in values.items()}


def new_identifier() -> str:
    """Tells a new study's files from those of another storage's study of the same name."""
    return secrets.token_hex(4)


def created_now() -> str:
    """The time, as a new study remembers it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def files_name(name: str, identifier: object) -> str:
    """What a study's files are called."""
    # read from a shared database: it must not lead out of the artifacts folder
    harmless = re.sub(r"[^0-9a-f]", "", str(identifier))[:16]
    return f"{name}.{harmless}" if harmless else name  # the first release gave none


def _checked_files(stored: object) -> str | None:
    """Of a study that was renamed or copied; as it may name a file, or nothing."""
    return stored if isinstance(stored, str) and _NAME.fullmatch(stored) and ".." not in stored else None


def _checked_move(stored: object) -> dict[str, str] | None:
    return None if not isinstance(stored, dict) else {key: str(stored.get(key, "?")) for key in ("to", "at")}


def _from_attributes(
    name: str, study_id: int, storage: SharedStorage, attributes: Mapping[str, Any]
) -> OpenStudy:
    stored = attributes.get(f"{_KEY}format")
    if stored != FORMAT:
        raise StudyMismatchError(
            name,
            [f"format: the study has {stored!r}, this gloss-tune writes {FORMAT}"],
            "Use the same release for all.",
        )
    try:
        values = complete(attributes[SPEC])
        dataset, encoder, versions = (
            dict(attributes[f"{_KEY}{key}"]) for key in ("dataset", "encoder", "versions")
        )
        spec = StudySpec.model_validate(values)
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError([f"study {name!r}: what is stored of it cannot be read: {error!r}"]) from None
    return OpenStudy(
        name=name,
        study_id=study_id,
        storage=storage,
        spec=spec,
        dataset=dataset,
        encoder=encoder,
        versions=versions,
        files=_checked_files(attributes.get(FILES)) or files_name(name, attributes.get(IDENTIFIER, "")),
        confirms=attributes.get(CONFIRMS),
        extensions=tuple(attributes.get(EXTENSIONS, ())),
        created=attributes.get(CREATED),
        moved=_checked_move(attributes.get(MOVED)),
    )
