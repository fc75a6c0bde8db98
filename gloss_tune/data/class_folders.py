"""Data in folders of classes, each with a text a file: ``train/pos/0_9.txt``, as the film reviews of aclImdb lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gloss_tune.data.dataset import SPLITS, Document, quoted
from gloss_tune.data.encoding import encoding_of
from gloss_tune.data.folders import split_files, split_of_name
from gloss_tune.data.labels import label_of
from gloss_tune.data.opening import unreadable
from gloss_tune.data.reading import LabelledTexts
from gloss_tune.errors import DataError
from gloss_tune.wording import count

_WITHOUT_LABELS = ("unsup", "unsupervised", "unlabeled", "unlabelled")
_SHOWN = 5


def class_folders(folder: Path) -> dict[str, Path]:
    """The folders of each split that hold folders of classes; the folder itself as train, if it holds them.

    Raises:
        DataError: other splits lie there in another form, or one twice.
    """
    found: dict[str, Path] = {}
    for path in _folders(folder):
        split = split_of_name(path.name)
        if split is None or len(_classes(path)) < 2:
            continue
        if split in found:
            raise DataError(
                f"A split is one folder, but {folder} has {quoted([found[split].name, path.name])}. Keep one of them."
            )
        found[split] = path
    if "train" in found:
        beside = [
            path.name
            for path in folder.iterdir()
            if path.is_file() and split_of_name(path.name.partition(".")[0])
        ]
        if beside:
            raise DataError(
                f"Splits lie all in files or all in folders, but {folder} has {quoted(sorted(beside))} beside "
                f"{quoted([f'{path.name}/' for path in found.values()])}. Move one or the other away."
            )
        return {split: found[split] for split in SPLITS if split in found}
    if len(_classes(folder)) < 2 or split_files(folder).files:
        return {}
    return {"train": folder}


def read_class_folder(folder: Path, encoding: str | None) -> LabelledTexts:
    """The texts of a folder's folders, which are their labels.

    Args:
        folder: with folders of classes.
        encoding: of all files; by default UTF-8, or what a byte order mark says.

    Raises:
        DataError: files are not text of this encoding, or empty.
    """
    documents: list[Document] = []
    foreign, empty, left_out = [], [], []
    for path, files in _classes(folder).items():
        label = label_of(path.name)
        if label.lower() in _WITHOUT_LABELS:
            left_out.append(
                f"{folder.name}: {path.name!r} has no labels and is left out ({count(len(files), 'text')})."
            )
            continue
        for file in files:
            try:
                content = file.read_bytes()
            except OSError as error:
                raise unreadable(str(file), error) from None
            try:
                text = content.decode(encoding_of(content[: 1 << 16], encoding)).removeprefix("\ufeff")
            except UnicodeDecodeError:
                foreign.append(file)
                continue
            if not text.strip():
                empty.append(file)
            documents.append((text, label))
    _refuse(foreign, "not text of its encoding (UTF-8, unless --encoding says otherwise)",
            "Name the encoding of all of them, such as --encoding cp1252, or convert them to UTF-8.")  # fmt: skip
    _refuse(empty, "empty", "Every document needs a text: remove what has none.")
    return LabelledTexts(documents, (), tuple(left_out))


def _folders(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("."))


def _classes(folder: Path) -> Mapping[Path, Sequence[Path]]:
    """Folders that hold texts, each with these."""
    return {path: files for path in _folders(folder) if (files := _texts(path))}


def _texts(folder: Path) -> list[Path]:
    """Files called ``.txt``, or by a number alone as in 20 Newsgroups."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name[0] != "." and (path.suffix.lower() == ".txt" or path.name.isdigit()) and path.is_file()
    ]


def _refuse(files: Sequence[Path], what: str, next_step: str) -> None:
    if files:
        named = quoted([str(file) for file in files], _SHOWN)
        raise DataError(
            f"Each file is a text, but {count(len(files), 'file')} {'is' if len(files) == 1 else 'are'} {what}: "
            f"{named}. {next_step}"
        )
