from __future__ import annotations

import subprocess
import sys

import gloss_tune.losses


def test_every_public_name_exists_once_and_in_order() -> None:
    names = gloss_tune.losses.__all__
    assert all(hasattr(gloss_tune.losses, name) for name in names)
    assert len(set(names)) == len(names)


def test_import_costs_no_more_than_torch() -> None:
    heavy = ("sentence_transformers", "transformers", "sklearn", "optuna", "pandas")
    code = f"""
import sys
import gloss_tune.losses, gloss_tune.metrics
print([name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
