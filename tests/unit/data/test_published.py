"""The published data sets themselves, where this machine has them (GLOSS_TUNE_DATA)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gloss_tune.data import DATASETS, load_dataset

FOLDER = os.environ.get("GLOSS_TUNE_DATA")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="GLOSS_TUNE_DATA names no folder with the published data sets"
)

# Distinct texts that train shares with val and with test, as the reference notes have them.
SHARED = {"mr": (0, 0), "r8": (12, 4), "r52": (19, 4), "ohsumed": (0, 0), "20ng": (0, 0)}


@pytest.mark.parametrize("name", SHARED)
def test_it_is_the_published_one(name):
    info = DATASETS[name]
    dataset = load_dataset(name, data_dir=Path(str(FOLDER)), download=False)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == info.sizes
    assert dataset.classes == info.classes
    assert dataset.fingerprint == info.fingerprint
    said = [int(warning.split()[0]) for warning in dataset.warnings if " of train also " in warning]
    assert said == [count for count in SHARED[name] if count]


def test_rare_classes_of_r52():
    dataset = load_dataset("r52", data_dir=Path(str(FOLDER)), download=False)
    assert np.bincount(dataset.train.labels).min() == 1
    assert len(np.unique(dataset.val.labels)) == 51
