import dataclasses
import math
import subprocess
import sys

import pytest

from gloss_tune.errors import SpecError
from gloss_tune.finetune.config import LOSSES, NORMALIZATIONS, FinetuneConfig


def test_the_defaults_are_valid() -> None:
    assert FinetuneConfig().faults() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", "nll"),
        ("mode", "both"),
        ("metric", "train_loss"),
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("patience", 0),
        ("batch_size", 1),
        ("max_length", 2),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", "1e-4"),
        ("head_learning_rate", math.inf),
        ("weight_decay", -0.1),
        ("warmup_ratio", 1.0),
        ("clip_norm", 0),
        ("mask_ratio", 0.0),
        ("mask_ratio", 1.0),
        ("lpa_iterations", 0),
        ("propagation", "exact"),
        ("temperature", 0.0),
        ("normalization", "none"),
        ("gloss_weight", 1.1),
        ("gloss_weight", 1.0),
        ("margin", 0.0),
        ("precision", "float16"),
        ("seed", -1),
    ],
)
def test_a_fault_names_its_field_and_value(field: str, value: object) -> None:
    (fault,) = dataclasses.replace(FinetuneConfig(), **{field: value}).faults()
    assert fault.startswith(f"{field}: ")
    assert "got " in fault
    assert "; " in fault, "the next step is missing"


@pytest.mark.parametrize(
    "changes",
    [
        {"warmup_ratio": 0.0, "weight_decay": 0, "gloss_weight": 0.0},
        {"gloss_weight": 1.0, "mode": "standalone"},
        {"gloss_weight": 1.0, "loss": "ce"},
        {"temperature": 1, "learning_rate": 1},
    ],
)
def test_the_edges_are_valid(changes: dict[str, object]) -> None:
    dataclasses.replace(FinetuneConfig(), **changes).validate()


def test_all_faults_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        FinetuneConfig(loss="x", epochs=0, temperature=-1).validate()
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["loss", "epochs", "temperature"]


def test_standalone_needs_a_loss_of_its_own() -> None:
    (fault,) = FinetuneConfig(loss="ce", mode="standalone").faults()
    assert fault.startswith("mode: ")


def test_the_names_are_those_of_the_losses() -> None:
    from gloss_tune import losses

    assert losses.LOSSES == LOSSES
    assert losses.NORMALIZATIONS == NORMALIZATIONS


def test_configuration_rehearsal_and_their_checkpoints_import_nothing_heavy() -> None:
    script = """
import sys, tempfile, pathlib
from gloss_tune.finetune import FinetuneConfig, Rehearsal, load_checkpoint, save_checkpoint
run = Rehearsal(FinetuneConfig())
next(run.epochs())
path = pathlib.Path(tempfile.mkdtemp()) / "checkpoint"
save_checkpoint(path, run.state_dict())
run.load_state_dict(load_checkpoint(path))
print(*{"torch", "numpy", "pandas", "sklearn", "optuna", "transformers"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
