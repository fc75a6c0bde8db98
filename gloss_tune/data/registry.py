"""The data sets known by name.

The train/test splits are TextGCN's (Yao, Mao & Luo, "Graph Convolutional Networks for Text Classification",
AAAI 2019); the val splits are those that the G-Loss authors publish. The texts are research data of their own
owners and are not part of this package: only their checksums are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

UPSTREAM = (
    "https://raw.githubusercontent.com/saditya13/G-Loss-LoG/0d21b812b817f9f2230f690e3560aa0a3462470b/data"
)


@dataclass(frozen=True)
class UpstreamFile:
    """One file of a published data set.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        url: pinned to a commit.
        blob: git's id of the content, ``sha1(b"blob <size>" + one zero byte + content)``.
    """

    split: str
    url: str
    blob: str


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded.

    Attributes:
        name: what the user types.
        description: one line.
        classes: label names, sorted; where the upstream files have numbers, they are indices into these.
            Empty where they depend on the machine.
        sizes: documents of train, val and test; None where they depend on the machine.
        fingerprint: of the published content; None where it depends on the machine.
        files: what to download; empty where nothing is.
    """

    name: str
    description: str
    classes: tuple[str, ...] = ()
    sizes: tuple[int, int, int] | None = None
    fingerprint: str | None = None
    files: tuple[UpstreamFile, ...] = ()


def _published(
    name: str,
    folder: str,
    description: str,
    classes: str,
    sizes: tuple[int, int, int],
    blobs: str,
    fingerprint: str,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        description=description,
        classes=tuple(classes.split()),
        sizes=sizes,
        fingerprint=fingerprint,
        files=tuple(
            UpstreamFile(split, f"{UPSTREAM}/{folder}/{split}.csv", blob)
            for split, blob in zip(("train", "val", "test"), blobs.split(), strict=True)
        ),
    )


_INFOS = (
    _published(
        "mr",
        "MR",
        "Movie Review sentiment: one sentence, positive or negative",
        "negative positive",
        (6397, 711, 3554),
        "006bd96ad1679316eacc81e8a1127a87467ed0f5 23701c409b193190d51c73afc89b7a2a56a00488 "
        "39515f6f025b0f518e2cfaf0db1906fa8526549b",
        "3c17e125b38242b9",
    ),
    _published(
        "r8",
        "R8",
        "Reuters-21578 news, its 8 largest single-label topics",
        "acq crude earn grain interest money-fx ship trade",
        (4936, 549, 2189),
        "c97338587de63e04a34d28e0700cb754ab2a129e cbeb67162f496991b69f20c7a18e361703b3d43a "
        "8788b9b015e22b2b775e47a7b49f74a4a25566eb",
        "011d006be3963264",
    ),
    _published(
        "r52",
        "R52",
        "Reuters-21578 news, 52 single-label topics, some with one training document",
        "acq alum bop carcass cocoa coffee copper cotton cpi cpu crude dlr earn fuel gas gnp gold grain heat "
        "housing income instal-debt interest ipi iron-steel jet jobs lead lei livestock lumber meal-feed "
        "money-fx money-supply nat-gas nickel orange pet-chem platinum potato reserves retail rubber ship "
        "strategic-metal sugar tea tin trade veg-oil wpi zinc",
        (5865, 667, 2568),
        "9c97099052eae85b1021112a8b4100b257c4b0e7 92aa982212609f911cbc09b4e7909d498468b370 "
        "2acd79acfb3c9581d9f369626dddee2facf9ecc3",
        "f099345a5f1171dd",
    ),
    _published(
        "ohsumed",
        "ohsumed",
        "Medical abstracts on cardiovascular diseases, 23 disease categories (MeSH C01 to C23)",
        " ".join(f"C{number:02d}" for number in range(1, 24)),
        (3021, 336, 4043),
        "d0b635049bb0425c08c007a6d5ac54c505c562c1 be1f3f8796449ddbb06dd10f92db5fff7a16300e "
        "2b4842350abd76e2eb0e82decb1af1a12304854e",
        "3e75c1424385d7f1",
    ),
    _published(
        "20ng",
        "20ng",
        "20 Newsgroups, split by date, headers kept",
        "alt.atheism comp.graphics comp.os.ms-windows.misc comp.sys.ibm.pc.hardware comp.sys.mac.hardware "
        "comp.windows.x misc.forsale rec.autos rec.motorcycles rec.sport.baseball rec.sport.hockey sci.crypt "
        "sci.electronics sci.med sci.space soc.religion.christian talk.politics.guns talk.politics.mideast "
        "talk.politics.misc talk.religion.misc",
        (10182, 1132, 7532),
        "44a28bbe2566c9acee66932f28775e477a2ce4db 38b74f5680c819ed1a7435c50efbffae9a25e3c6 "
        "ae67d2abe6aaf55126d92343bfcd84b7ae3a101b",
        "98050318990a25d1",
    ),
    DatasetInfo(
        "stdlib",
        "Documentation strings of this Python's standard library, by chapter of the library reference; no "
        "download",
    ),
)

DATASETS: Mapping[str, DatasetInfo] = MappingProxyType({info.name: info for info in _INFOS})
