"""From a name or a path to a checked data set."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

from gloss_tune.data.dataset import (
    SPLITS,
    Document,
    TextDataset,
    build_dataset,
    canonical,
    fingerprint,
    quoted,
)
from gloss_tune.data.download import fetch, locate
from gloss_tune.data.reading import SUFFIXES, read_documents
from gloss_tune.data.registry import DATASETS, DatasetInfo
from gloss_tune.data.splits import hold_out
from gloss_tune.data.stdlib import stdlib_documents
from gloss_tune.errors import DataError


def load_dataset(
    name_or_path: str,
    *,
    data_dir: Path | None = None,
    text_column: str = "text",
    label_column: str = "label",
    seed: int = 0,
    download: bool = True,
) -> TextDataset:
    """Loads a data set and checks that it is fit for classification.

    Args:
        name_or_path: a name in ``DATASETS``, which wins over a path of that name; or a folder with
            ``train[,val,test].csv|tsv|jsonl|parquet``; or one such file; or the name of a folder in
            ``data_dir``.
        data_dir: a folder of ``NAME/{train,val,test}.csv``, looked at before the cache and the network.
        text_column: column of the texts in the user's own files.
        label_column: column of the labels there.
        seed: for the tenth of train that is held out where the user's own data have no val split; with
            another seed, the split and so the fingerprint differ.
        download: whether a published data set that is not on this machine may be downloaded.

    Returns:
        The data set, its documents in canonical order.

    Raises:
        DataError: it cannot be found or downloaded, or its content is unfit; the message says what and where.
    """
    if name_or_path in DATASETS:
        return _load_known(DATASETS[name_or_path], data_dir, download)
    candidates = [Path(name_or_path).expanduser()]
    if data_dir is not None:
        candidates.append(data_dir / name_or_path)
    for path in candidates:
        if name_or_path and path.exists():
            return _load_own(path, text_column, label_column, seed)
    near = difflib.get_close_matches(name_or_path.lower(), DATASETS, n=3, cutoff=0.4)
    raise DataError(
        f"A data set is one of {', '.join(DATASETS)}, or the path of a folder or file; {name_or_path!r} is "
        "neither. " + (f"Did you mean {' or '.join(near)}?" if near else "Check the name or the path.")
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
    files = _split_files(folder)
    if missing := [split for split in SPLITS if split not in files]:
        raise DataError(
            f"{folder} lacks {' and '.join(missing)} of data set {info.name!r}. Add what is missing, or name "
            f"another folder with --data-dir."
        )
    splits = {split: canonical(_with_names(read_documents(files[split]), info)) for split in SPLITS}
    warnings = []
    if (found := fingerprint(splits)) != info.fingerprint and info.fingerprint is not None:
        warnings.append(
            f"{folder} differs from the published {info.name} (fingerprint {found} and not "
            f"{info.fingerprint}): its results cannot be compared with published ones."
        )
    return build_dataset(info.name, str(folder), splits, warnings)


def _with_names(documents: Sequence[Document], info: DatasetInfo) -> list[Document]:
    """Label numbers, which the upstream files of most data sets have, as names."""
    names = {str(number): name for number, name in enumerate(info.classes)}
    return [(text, names.get(label, label)) for text, label in documents]


def _load_own(path: Path, text_column: str, label_column: str, seed: int) -> TextDataset:
    files = _split_files(path) if path.is_dir() else {"train": path}
    if "train" not in files:
        raise DataError(
            f"A data folder holds train with one of the endings {', '.join(SUFFIXES)}, but {path} does not. "
            f"Rename the training file, or name one file instead of the folder."
        )
    splits = {
        split: canonical(read_documents(file, text_column, label_column))
        for split, file in sorted(files.items())
    }
    if "val" not in splits:
        splits["train"], splits["val"] = hold_out(splits["train"], seed, str(path))
    name = path.resolve().stem if path.is_file() else path.resolve().name
    in_order = {split: splits[split] for split in SPLITS if split in splits}
    return build_dataset(name, str(path.absolute()), in_order, _unread(path, files.values()))


def _split_files(folder: Path) -> dict[str, Path]:
    """The one file of each split that the folder has."""
    found: dict[str, Path] = {}
    for split in SPLITS:
        files = [
            folder / f"{split}{suffix}" for suffix in SUFFIXES if (folder / f"{split}{suffix}").is_file()
        ]
        if len(files) > 1:
            raise DataError(
                f"A split is one file, but {folder} has {quoted([file.name for file in files])}. Keep one of "
                "them."
            )
        if files:
            found[split] = files[0]
    return found


def _unread(folder: Path, used: Collection[Path]) -> list[str]:
    """A warning if the folder has data files under names that mean nothing here, such as ``dev.csv``."""
    if not folder.is_dir():
        return []
    others = sorted(
        file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file not in used
    )
    return [f"Only train, val and test are read; {folder} also has {quoted(others)}."] if others else []
