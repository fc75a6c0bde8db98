"""Which files of a folder are its train, val and test: what is clear is read, what is not is refused by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from gloss_tune.data.dataset import SPLITS, quoted
from gloss_tune.data.opening import PACKED, bare_suffix, refuse_workbook
from gloss_tune.data.reader import DATA_SUFFIXES, SUFFIXES
from gloss_tune.errors import DataError

WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of splits, in any capitals."""

_EITHER = ("eval", "evaluation")  # to some val, to others test
_EXCEL = (".xlsx", ".xls", ".xlsm", ".ods")
# Tables and documents of other kinds: one that is called as a split is one that the user counts on.
_OTHER_KINDS = frozenset((
    ".orc", ".avro", ".pkl", ".pickle", ".npy", ".npz", ".h5", ".hdf5", ".tar", ".tgz", ".7z", ".rar", ".lz4", ".lzma",
    ".z", ".xml", ".dat", ".data", ".arff", ".dta", ".sav", ".rds", ".rdata", ".svm", ".libsvm", ".conll", "",
))  # fmt: skip
_SHARD = re.compile(r"(?P<stem>.*?)-(?P<at>\d+)-of-(?P<of>\d+)(?:-[0-9a-f]+)?")
_NUMBERED = re.compile(r"(?:part|data|shard|chunk)?[-_.]?\d+.*")


@dataclass(frozen=True)
class SplitFiles:
    """What a folder holds.

    Attributes:
        files: of each split there is, one file or all its shards in their order.
        others: names of data files that mean nothing here.
        folder: that they are in, the one asked for or the only one below it that has them.
    """

    files: Mapping[str, tuple[Path, ...]]
    others: tuple[str, ...]
    folder: Path


def split_files(folder: Path, *, as_before: bool = False) -> SplitFiles:
    """The files of each split in a folder, or in the only folder below it that has any.

    Args:
        folder: to look into.
        as_before: only under the names that release 0.1 knew.

    Raises:
        DataError: it is unclear which file is meant; with what lies there.
    """
    words = {split: (split,) for split in SPLITS} if as_before else WORDS
    found = _in_folder(folder, words)
    if found.files or as_before:
        return found
    below = [
        inner
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
        if (inner := _in_folder(path, words)).files
    ]
    if len(below) > 1:
        raise DataError(
            f"A data folder holds one data set, but below {folder} there are "
            f"{quoted([inner.folder.name for inner in below])}. Name one of these folders."
        )
    return below[0] if below else found


def split_named(name: str) -> str | None:
    """The split of this name, in any capitals."""
    return _split_of(name.lower(), WORDS)


def split_of_name(name: str) -> str | None:
    """The split that a file without its endings, or a folder, is called after, as a whole or at its end."""
    name = name.lower()
    return _split_of(name, WORDS) or _split_of(re.split(r"[^a-z0-9]+", name)[-1], WORDS)


def what_lies_in(folder: Path) -> str:
    """The first names in a folder, for a message."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return quoted(names) or "nothing"


def _in_folder(folder: Path, words: Mapping[str, tuple[str, ...]]) -> SplitFiles:
    exact: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    ending: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    others: list[Path] = []
    unread: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        broken = path.is_symlink() and not path.exists()  # said when it is opened
        if path.name.startswith(".") or not (path.is_file() or broken):
            continue
        if not _is_data(path):
            if bare_suffix(path) in _OTHER_KINDS and (split := _split_of(_first_word(path), words)):
                unread[split] = path
            continue
        stem, kind = _stem(path)
        split, last = _split_of(stem, words), _split_of(re.split(r"[^a-z0-9]+", stem)[-1], words)
        if split:
            exact[split][kind].append(path)
        elif last and len(words["val"]) > 1:  # imdb_train.csv
            ending[last][kind].append(path)
        elif bare_suffix(path) in DATA_SUFFIXES:
            others.append(path)
    for path in sorted(folder.iterdir()):
        split = _split_of(path.name.lower(), words)
        beside = path.is_dir() and split and split not in exact and len(words["val"]) > 1
        if split and beside:
            if inner := _shards_of_folder(path):
                exact[split][f"{path.name}/"] = inner
            elif any(path.iterdir()):
                others.append(path)
    files = {}
    for split in SPLITS:
        groups = exact.get(split) or ending.get(split)
        if groups:
            files[split] = _only(folder, groups)
        if exact.get(split):
            others += [path for group in ending.get(split, {}).values() for path in group]
    if len(words["val"]) > 1:
        _refuse_unread(files, unread)
    _refuse_unclear(folder, files, others)
    return SplitFiles(files, tuple(sorted(path.name for path in others)), folder)


def _is_data(path: Path) -> bool:
    suffix = bare_suffix(path)
    return suffix in DATA_SUFFIXES or suffix in (*_EXCEL, ".txt")


def _stem(path: Path) -> tuple[str, str]:
    """A file's name without its endings, in small letters, and what its shards have in common."""
    name = PurePath(path.name.lower())
    if name.suffix in PACKED:
        name = PurePath(name.stem)
    shard = _SHARD.fullmatch(name.stem)
    return (
        (shard.group("stem"), f"{shard.group('stem')}-of-{shard.group('of')}{name.suffix}")
        if shard
        else (
            name.stem,
            path.name,
        )
    )


def _first_word(path: Path) -> str:
    return path.name.lower().partition(".")[0]


def _split_of(word: str, words: Mapping[str, tuple[str, ...]]) -> str | None:
    return next((split for split, names in words.items() if word in names), None)


def _only(folder: Path, groups: Mapping[str, list[Path]]) -> tuple[Path, ...]:
    """The one file, or all the shards."""
    if len(groups) > 1:
        names = [path.name for group in groups.values() for path in group]
        raise DataError(f"A split is one file, but {folder} has {quoted(names)}. Keep one of them.")
    (files,) = groups.values()
    shards = [_SHARD.fullmatch(PurePath(_without_endings(path)).name) for path in files]
    numbered = [(int(shard.group("at")), int(shard.group("of"))) for shard in shards if shard]
    if numbered and len(numbered) == len(files):
        of = numbered[0][1]
        at = [number for number, _ in numbered]
        if sorted(at) != list(range(of)):
            missing = sorted(set(range(of)) - set(at))
            what = (
                f"number {', '.join(map(str, missing[:10]))} is missing" if missing else "one is there twice"
            )
            raise DataError(
                f"A split is complete with all its files, but of the {of} files like {folder / files[0].name} "
                f"(numbered from 0), {what}. Copy them anew."
            )
        files = [path for _, path in sorted(zip(at, files, strict=True))]
    if bare_suffix(files[0]) in _EXCEL:
        raise refuse_workbook(str(files[0]))
    return tuple(files)


def _without_endings(path: Path) -> str:
    name = PurePath(path.name)
    return PurePath(name.stem).stem if name.suffix.lower() in PACKED else name.stem


def _shards_of_folder(folder: Path) -> list[Path]:
    """All data files of a folder that is named after a split, if they are one file or parts of one."""
    files = sorted(
        path for path in folder.iterdir() if path.is_file() and path.name[0] != "." and _is_data(path)
    )
    alike = len({bare_suffix(path) for path in files}) == 1 and all(
        _NUMBERED.fullmatch(path.name.lower()) or _SHARD.fullmatch(_without_endings(path)) for path in files
    )
    if len(files) > 1 and not alike:
        raise DataError(
            f"A split is one file, but {folder} has {quoted([path.name for path in files])}. Keep one of them, or "
            "number the parts of one."
        )
    return files


def _refuse_unread(files: Mapping[str, tuple[Path, ...]], unread: Mapping[str, Path]) -> None:
    """Files of another kind, called after a split of which there is no file that is read."""
    missing = [path for split, path in unread.items() if split not in files]
    if "train" in files and missing:
        raise DataError(
            f"A split has one of the endings {', '.join(SUFFIXES)}, but {quoted([str(path) for path in missing])} "
            f"{'has' if len(missing) == 1 else 'have'} not. Save what is in it so, or move it away."
        )


def _refuse_unclear(folder: Path, files: Mapping[str, tuple[Path, ...]], others: list[Path]) -> None:
    """Files that may be a split that is missing."""
    missing = [split for split in ("val", "test") if split not in files]
    unclear = [path.name for path in others if _stem(path)[0] in _EITHER]
    if "train" in files and missing and unclear:
        raise DataError(
            f"Splits are called train, val and test; {quoted(unclear)} in {folder} may mean val or test. Rename it, or "
            "move it away."
        )
    if "train" not in files and (files or others):
        first = [path.name for path in others if re.split(r"[^a-z]+", _stem(path)[0])[0] in WORDS["train"]]
        if first or files:
            raise DataError(
                f"A data folder holds train with one of the endings {', '.join(SUFFIXES)}, but {folder} does not; it "
                f"has {what_lies_in(folder)}. Rename the training file, or name one file instead of the folder."
            )
