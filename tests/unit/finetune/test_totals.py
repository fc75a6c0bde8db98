import math

import pytest
import torch

from gloss_tune.finetune.totals import StepTotals

CPU = torch.device("cpu")


def add(totals: StepTotals, loss: float, norm: float = 1.0, documents: int = 1) -> None:
    totals.add({"loss": torch.tensor(loss)}, torch.tensor(norm), documents)


def test_means_are_over_documents_not_steps() -> None:
    totals = StepTotals(("loss",), CPU)
    add(totals, 1.0, documents=3)
    add(totals, 2.0, documents=1)
    assert totals.means() == {"loss": 1.25}
    assert totals.first_broken() is None


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf)]
)
def test_names_the_first_step_that_broke(loss: float, norm: float) -> None:
    totals = StepTotals(("loss",), CPU)
    add(totals, 1.0)
    add(totals, loss, norm)
    add(totals, 3.0)
    add(totals, math.nan)
    broken = totals.first_broken()
    assert broken is not None
    step, values = broken
    assert step == 2
    assert values == pytest.approx({"loss": loss, "gradient_norm": norm}, nan_ok=True)


def test_apples_gpus_get_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.dtype] = []
    zeros = torch.zeros

    def on_cpu(*size: object, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        made.append(dtype)
        return zeros(*size, dtype=dtype)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros", on_cpu)
        patch.setattr(torch, "ones", lambda *size, dtype, device: zeros(*size, dtype=dtype) + True)
        totals = StepTotals(("loss",), torch.device("mps"))
    add(totals, 1.0, documents=3)
    assert torch.float64 not in made
    assert totals.means() == {"loss": 1.0}
