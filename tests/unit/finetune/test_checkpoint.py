import errno
import pickle
from pathlib import Path

import pytest
import torch

from gloss_tune.errors import CheckpointError
from gloss_tune.finetune.checkpoint import load_checkpoint, save_checkpoint
from tests.disks import no_file_larger_than

STATE = {
    "weights": {"a": torch.arange(500, dtype=torch.float32), "b": torch.zeros(2, 3, dtype=torch.bfloat16)},
    "groups": [{"lr": 0.1, "betas": (0.9, 0.999), "fused": True, "params": [0, 1]}],
    "best": None,
    "state": {0: {"step": torch.tensor(3.0)}},
}
PLAIN = {
    "epoch": 3,
    "best": {"epoch": 2, "metrics": {"f1": 0.1 + 0.2}},
    "names": ["x"],
    "done": False,
    "none": None,
}


def test_tensors_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "checkpoint"
    save_checkpoint(path, STATE)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["weights"]["a"], STATE["weights"]["a"])
    assert loaded["weights"]["b"].dtype == torch.bfloat16
    assert loaded["groups"] == STATE["groups"]
    assert loaded["state"][0]["step"] == 3.0
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint"], "nothing else may be left"


def test_plain_values_come_back_to_the_last_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", PLAIN)
    assert load_checkpoint(tmp_path / "checkpoint") == PLAIN


@pytest.mark.parametrize("state", [STATE, PLAIN], ids=["tensors", "plain"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_a_checkpoint_error(
    tmp_path: Path, state: dict[str, object], kept: float
) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, state)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(CheckpointError, match="start this trial over"):
        load_checkpoint(path)


def test_a_flipped_bit_in_a_tensor_is_a_checkpoint_error(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, STATE)
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(100, 104, dtype=torch.float32).numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_a_missing_file_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing-here"):
        load_checkpoint(tmp_path / "nothing-here")


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)

    for write in (
        lambda file: torch.save({"x": Evil()}, file),
        lambda file: file.write_bytes(pickle.dumps(Evil())),
    ):
        path = tmp_path / "checkpoint"
        write(path)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PLAIN)

    def no_space(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, STATE)
    assert load_checkpoint(path) == PLAIN
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, part: float) -> None:
    """Wherever in the file: torch's own writer turns some of these errors into others."""
    state = {"weights": {str(number): torch.full((20_000,), float(number)) for number in range(10)}}
    save_checkpoint(tmp_path / "checkpoint", state)
    size = (tmp_path / "checkpoint").stat().st_size
    newer = {"weights": {name: value + 1 for name, value in state["weights"].items()}}
    with no_file_larger_than(int(part * size)), pytest.raises(OSError, match="too large") as caught:
        save_checkpoint(tmp_path / "checkpoint", newer)
    assert caught.value.errno == errno.EFBIG
    assert torch.equal(load_checkpoint(tmp_path / "checkpoint")["weights"]["9"], state["weights"]["9"])
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_a_state_that_torch_refuses_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle") as caught:
        save_checkpoint(tmp_path / "checkpoint", {"tensor": torch.zeros(2), "code": lambda: None})
    assert not isinstance(caught.value, OSError)
    assert list(tmp_path.iterdir()) == []
