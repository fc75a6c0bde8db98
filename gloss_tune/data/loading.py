"""From a name or a path to a checked data set."""

from __future__ import annotations

import difflib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gloss_tune.data.class_folders import class_folders, read_class_folder
from gloss_tune.data.dataset import (
    SPLITS,
    Document,
    Reading,
    TextDataset,
    build_dataset,
    canonical,
    fingerprint,
    quoted,
)
from gloss_tune.data.download import fetch, locate
from gloss_tune.data.folders import split_files, split_named, what_lies_in
from gloss_tune.data.hub import fetched, pin
from gloss_tune.data.hub_folder import is_hub_folder, read_hub_folder
from gloss_tune.data.hub_name import is_hub_name
from gloss_tune.data.opening import unreadable
from gloss_tune.data.reader import SUFFIXES
from gloss_tune.data.reading import LabelledTexts, read_documents, read_labelled
from gloss_tune.data.records import Layout
from gloss_tune.data.registry import DATASETS, DatasetInfo
from gloss_tune.data.splits import hold_out
from gloss_tune.data.stdlib import stdlib_documents
from gloss_tune.errors import DataError
from gloss_tune.filesystem import expanded, is_there
from gloss_tune.wording import count

_log = logging.getLogger(__name__)


def load_dataset(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    text_column: str = "text",
    label_column: str = "label",
    layout: Layout | None = None,
    seed: int = 0,
    download: bool = True,
    as_before: bool = False,
) -> TextDataset:
    """Loads a data set and checks that it is fit for classification.

    Args:
        name_or_path: a name in ``DATASETS``, which wins over a path of that name (``./r8`` is a path, and so is every
            :class:`pathlib.Path`); or a folder with train and, where there are, val and test, in any format; or one
            file; or the name of a folder in ``data_dir``; or ``hf:OWNER/NAME[/CONFIG][@REVISION]`` of the Hub.
        data_dir: a folder of ``NAME/{train,val,test}.csv``, looked at before the cache and the network.
        text_column: column of the texts in the user's own files; ``title,body`` joins those of two.
        label_column: column of the labels there.
        layout: how the user's own files are to be read where they do not say it.
        seed: for the tenth of train that is held out where the user's own data have no val split; with
            another seed, the split and so the fingerprint differ.
        download: whether a published data set that is not on this machine may be downloaded.
        as_before: read the user's own files by the rules of release 0.1, for studies that were made by it.

    Returns:
        The data set, its documents in canonical order.

    Raises:
        DataError: it cannot be found or downloaded, or its content is unfit; the message says what and where.
    """
    if is_hub_name(name_or_path):
        return _load_hub(
            str(name_or_path), _Columns(text_column, label_column, layout, as_before), seed, download
        )
    path = _own_path(name_or_path, data_dir)
    if path is None:
        return _load_known(DATASETS[str(name_or_path)], data_dir, download)
    try:
        return _load_own(path, _Columns(text_column, label_column, layout, as_before), seed)
    except OSError as error:  # a folder that may not be looked into
        raise unreadable(str(error.filename or path), error) from None


def _own_path(asked: str | Path, data_dir: Path | None) -> Path | None:
    """The user's own file or folder; None for a data set known by name."""
    if isinstance(asked, str) and asked in DATASETS:
        published = None if data_dir is None else (data_dir / asked).resolve()
        if Path(asked).exists() and Path(asked).resolve() != published:
            _log.warning(
                "Data set %r is the one known by that name, not %s; write ./%s to have your own.",
                asked,
                Path(asked).resolve(),
                asked,
            )
        return None
    candidates = [expanded(asked)]
    inside = Path(asked)
    if data_dir is not None and not inside.is_absolute() and not {".", ".."} & set(str(asked).split("/")):
        candidates.append(data_dir / asked)
    for path in candidates:
        if str(asked) and is_there(path):
            if not path.is_file() and not path.is_dir():
                raise DataError(
                    f"A data set is a file or a folder, to be read by each worker anew; {str(asked)!r} is a pipe or a "
                    "device. Save what it gives in a file, and name that."
                )
            return path
    raise _unknown(str(asked), data_dir)


def _unknown(asked: str, data_dir: Path | None) -> DataError:
    near = difflib.get_close_matches(asked.lower(), DATASETS, n=3, cutoff=0.4)
    advice = f"Did you mean {' or '.join(near)}?" if near else "Check the name or the path."
    folder = expanded(asked).absolute().parent
    if re.match(r"\w+://", asked):
        advice = "Download it, and name the file."
    elif "\\" in asked and is_there(Path(asked.replace("\\", "/"))):
        advice = f"Did you mean {asked.replace(chr(92), '/')!r}?"
    elif asked and len(Path(asked).parts) > 1:  # a path: say where it breaks off
        try:
            alike = [path.name for path in folder.iterdir()]
        except OSError:
            alike = []
        near = difflib.get_close_matches(Path(asked).name, alike, n=3, cutoff=0.6)
        there = next(place for place in [folder, *folder.parents] if is_there(place))
        advice = (
            f"Did you mean {quoted([str(Path(asked).parent / name) for name in near])}?"
            if near
            else f"There is {there}, and nothing of that name in it. Check the path."
        )
    if any(sign in asked for sign in "*?[") and "://" not in asked:
        advice = "A pattern is not expanded: name a folder, or a file."
    return DataError(
        f"A data set is one of {', '.join(DATASETS)}, or the path of a folder or file; {asked!r} is neither. {advice}"
    )


def _load_known(info: DatasetInfo, data_dir: Path | None, may_download: bool) -> TextDataset:
    folder = locate(info, data_dir)
    if folder is None and not info.files:
        splits, warnings = stdlib_documents()
        return build_dataset(
            info.name,
            "the standard library of this Python",
            {split: canonical(documents) for split, documents in splits.items()},
            warnings,
        )
    if folder is None and not may_download:
        raise DataError(
            f"Data set {info.name!r} is not on this machine. Fetch it with `gloss-tune datasets fetch "
            f"{info.name}`, or name a folder that holds {info.name}/train.csv, val.csv and test.csv with "
            "--data-dir."
        )
    folder = folder or fetch(info)
    files = split_files(folder).files
    if missing := [split for split in SPLITS if split not in files]:
        raise DataError(
            f"{folder} lacks {' and '.join(missing)} of data set {info.name!r}. Add what is missing, or name "
            f"another folder with --data-dir."
        )
    splits = {
        split: canonical(_with_names([d for file in files[split] for d in read_documents(file)], info))
        for split in SPLITS
    }
    warnings = []
    if (found := fingerprint(splits)) != info.fingerprint and info.fingerprint is not None:
        warnings.append(
            f"{folder} differs from the published {info.name} (fingerprint {found} and not "
            f"{info.fingerprint}): its results cannot be compared with published ones."
        )
    return build_dataset(
        info.name, str(folder), splits, warnings, Reading(("text", "label"), _names(files), known=True)
    )


def _with_names(documents: Sequence[Document], info: DatasetInfo) -> list[Document]:
    """Label numbers, which the upstream files of most data sets have, as names."""
    names = {str(number): name for number, name in enumerate(info.classes)}
    return [(text, names.get(label, label)) for text, label in documents]


@dataclass(frozen=True)
class _Columns:
    """What the user says of files."""

    text: str
    label: str
    layout: Layout | None
    as_before: bool

    def read(self, files: Sequence[Path]) -> LabelledTexts:
        """One split."""
        parts = [
            read_labelled(file, self.text, self.label, self.layout, as_before=self.as_before)
            for file in files
        ]
        return LabelledTexts(
            [document for part in parts for document in part.documents],
            parts[0].columns,
            tuple(note for part in parts for note in part.notes),
            tuple(split for part in parts for split in part.splits),
        )


def _load_hub(asked: str, columns: _Columns, seed: int, download: bool) -> TextDataset:
    name = pin(asked, download=download)
    read, others = read_hub_folder(fetched(name), columns.text, columns.label, called=str(name))
    title = name.repository + ("" if name.config is None else f"/{name.config}")
    return _built(title, str(name), read, {split: split for split in read}, others, seed)


def _load_own(path: Path, columns: _Columns, seed: int) -> TextDataset:
    unread: tuple[str, ...] = ()
    by_class = class_folders(path) if path.is_dir() and not columns.as_before else {}
    if by_class:
        encoding = columns.layout.encoding if columns.layout is not None else None
        read = {split: read_class_folder(folder, encoding) for split, folder in by_class.items()}
        names = {split: f"{folder.name}/" for split, folder in by_class.items()}
    elif path.is_dir() and is_hub_folder(path):
        read, unread = read_hub_folder(path, columns.text, columns.label, as_before=columns.as_before)
        names = {split: split for split in read}
    else:
        read, names, unread = _read_files(path, columns)
    if "train" not in read:
        raise DataError(
            f"A data folder holds train with one of the endings {', '.join(SUFFIXES)}, but {path} does not; it has "
            f"{what_lies_in(path)}. Rename the training file, or name one file instead of the folder."
        )
    name = path.resolve().stem if path.is_file() else path.resolve().name
    each_class = not columns.as_before
    return _built(
        name, str(path.absolute()), read, names, unread, seed, each_class=each_class, called=str(path)
    )


def _built(
    name: str,
    source: str,
    read: dict[str, LabelledTexts],
    names: dict[str, str],
    unread: Sequence[str],
    seed: int,
    *,
    each_class: bool = True,
    called: str | None = None,
) -> TextDataset:
    """A data set of what was read, with a val held out of train where there is none; empties ``read``."""
    called = called or source
    notes = [note for part in read.values() for note in part.notes]
    read_from = read["train"].columns
    # one after the other, so that at most one of them is there twice
    splits = {split: canonical(read.pop(split).documents) for split in SPLITS if split in read}
    held_out = "val" not in splits
    if held_out:
        train, val = hold_out(splits["train"], seed, called, each_class=each_class)
        splits = {"train": train, "val": val, **{s: splits[s] for s in ("test",) if s in splits}}
    if unread:
        notes.append(f"Only train, val and test are read; {called} also has {quoted(unread)}.")
    return build_dataset(name, source, splits, notes, Reading(read_from, names, held_out=held_out))


def _read_files(
    path: Path, columns: _Columns
) -> tuple[dict[str, LabelledTexts], dict[str, str], tuple[str, ...]]:
    if not path.is_dir():
        whole = columns.read([path])
        if not columns.as_before and (parts := _by_split(whole, path.name)):
            return parts, dict.fromkeys(parts, f"{path.name}, column split"), ()
        return {"train": whole}, {"train": path.name}, ()
    found = split_files(path, as_before=columns.as_before)
    read = {split: columns.read(files) for split, files in found.files.items() if "train" in found.files}
    return read, _names(found.files), found.others


def _by_split(whole: LabelledTexts, name: str) -> dict[str, LabelledTexts]:
    """The splits of a file whose column ``split`` names them; none where it says something else."""
    meant = {said: split_named(said) for said in dict.fromkeys(whole.splits)}
    if "train" not in meant.values():
        return {}
    parts: dict[str, list[Document]] = {split: [] for split in SPLITS if split in meant.values()}
    left_out: Counter[str] = Counter()
    for document, said in zip(whole.documents, whole.splits, strict=True):
        split = meant[said]
        if split is None:
            left_out[said] += 1
        else:
            parts[split].append(document)
    notes = [
        f"{name}: {count(number, 'document')} of the split {said!r} {'is' if number == 1 else 'are'} left out."
        for said, number in left_out.items()
    ]
    return {
        split: LabelledTexts(documents, whole.columns, (*whole.notes, *notes) if split == "train" else ())
        for split, documents in parts.items()
    }


def _names(files: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    return {
        split: paths[0].name if len(paths) == 1 else f"{len(paths)} files such as {paths[0].name}"
        for split, paths in files.items()
    }
