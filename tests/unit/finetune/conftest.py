from pathlib import Path

import pytest

from gloss_tune.encoder import Encoder, resolve_encoder
from tests.unit.finetune.tiny import write_encoder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def encoder(folder: Path) -> Encoder:
    return Encoder.load(resolve_encoder(str(folder)), max_length=16)
