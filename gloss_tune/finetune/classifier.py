"""A fine-tuned encoder and its head as a classifier of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gloss_tune.data import tidy, tokenize_texts
from gloss_tune.encoder import Encoder, resolve_encoder
from gloss_tune.errors import InputError
from gloss_tune.faults import full_device_told, lost_device_told
from gloss_tune.finetune.device import pick_device
from gloss_tune.finetune.embedding import embed_split
from gloss_tune.finetune.evaluation import classify
from gloss_tune.finetune.model_folder import HEAD, ModelDescription, read_description
from gloss_tune.finetune.precision import autocast, choose, computes_in


class Classifier:
    """Classifies texts; build it with :func:`load_classifier`.

    Args:
        encoder: its weights and those of the head are used as they are at each call.
        head: (D → C).
        classes: C label names in the order of the head's outputs.
        max_length: tokens a text at most, special tokens included.
        precision: of the encoder's pass, ``bfloat16`` or ``float32``.
    """

    def __init__(
        self, encoder: Encoder, head: nn.Linear, classes: Sequence[str], *, max_length: int, precision: str
    ) -> None:
        self.classes = tuple(classes)
        self._encoder = encoder
        self._head = head
        self._max_length = max_length
        self.precision = precision

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The most probable class of each text, by name.

        Raises:
            InputError: as :meth:`outputs` does.
        """
        return self.classify(texts)[0]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each class for each text, (N, C), in the order of ``classes``; rows sum to 1.

        Raises:
            InputError: as :meth:`outputs` does.
        """
        return self.classify(texts)[1]

    def classify(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """What :meth:`predict` and :meth:`predict_proba` return, for the price of one."""
        _, logits = self.outputs(texts)
        labels = [self.classes[index] for index in logits.argmax(dim=1).tolist()]
        return labels, logits.double().softmax(dim=1).cpu().numpy()

    @lost_device_told()
    @torch.no_grad()
    def outputs(
        self, texts: Sequence[str], on_step: Callable[[], None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D), not normalised, and logits (N, C), on the device.

        The last bits of an embedding depend on which texts go through the encoder together. That is decided by the
        texts alone and not by their order, so the same texts always give the same result (on the same device, with as
        many threads).

        Args:
            texts: none of them blank.
            on_step: called once a batch; may raise.

        Raises:
            InputError: a text is blank or no string.
            DeviceMemoryError: memory does not suffice for one text.
            DeviceLostError: the device computes nothing more for this process.
        """
        tidied = _tidied(texts)
        device = self._encoder.device
        if not tidied:
            return torch.empty(0, self._encoder.dimension, device=device), torch.empty(
                0, len(self.classes), device=device
            )
        order = sorted(range(len(tidied)), key=tidied.__getitem__)
        tokens = tokenize_texts([tidied[i] for i in order], self._encoder.preprocessor, self._max_length)
        embeddings = embed_split(
            self._encoder, tokens, autocast(self.precision, device), on_step or (lambda: None)
        )
        logits = classify(self._head, embeddings)
        place = torch.tensor(order, device=device).argsort()
        return embeddings[place], logits[place]


@lost_device_told()
def load_classifier(
    folder: str | Path, device: str = "auto", *, trust_remote_code: bool = False
) -> Classifier:
    """Load what ``gloss-tune retrain`` wrote, or a model that a study kept.

    A model that was measured in bfloat16 computes in float32 where another kind of device would only emulate it.

    Args:
        folder: the model's.
        device: ``auto``, ``cpu``, ``cuda:0`` ….
        trust_remote_code: run code that came with the encoder it was made of, and now lies in the folder.

    Raises:
        InputError: the folder is no such model, needs code that is not trusted, or there is no such device.
        MachineError: the device is full, or computes nothing for this process.
    """
    folder = Path(folder).expanduser()
    description = read_description(folder)
    chosen = torch.device(pick_device(device))
    resolved = resolve_encoder(str(folder.absolute()), trust_remote_code=trust_remote_code)
    with full_device_told(str(chosen)):
        encoder = Encoder.load(resolved, device=str(chosen), max_length=description.max_length)
    return Classifier(
        encoder,
        _read_head(folder / HEAD, encoder.dimension, len(description.classes)).to(chosen),
        description.classes,
        max_length=description.max_length,
        precision=_precision(description, encoder),
    )


def _tidied(texts: Sequence[str]) -> list[str]:
    """The texts as those of a data set are, with which the model was trained."""
    if isinstance(texts, str):
        raise InputError(f"Texts are a list of strings, got one string {texts!r:.60}; put it in a list")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"A text is a string, but number {position} is {text!r:.60}; convert it")
        if not text.strip():
            raise InputError(f"A text must not be blank, but number {position} is; leave it out")
    return [tidy(text) for text in texts]


def _read_head(path: Path, dimension: int, num_classes: int) -> nn.Linear:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"A model's folder must hold {HEAD}, {path} cannot be read ({error}); retrain the model"
        ) from None
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if found != {"weight": (num_classes, dimension), "bias": (num_classes,)}:
        raise InputError(
            f"{path} must hold weight ({num_classes}, {dimension}) and bias ({num_classes},), it holds {found}; "
            "retrain the model"
        )
    # without torch's own first weights, which would draw from the global generator
    head = nn.Linear(dimension, num_classes, device="meta").to_empty(device="cpu")
    head.load_state_dict(weights)
    return head


def _precision(description: ModelDescription, encoder: Encoder) -> str:
    """As it was measured; on another kind of device less than float32 only where that is faster there, too."""
    there = description.precision
    if there != "float32" and description.measured_on not in ("", encoder.device.type):
        here = choose("auto", encoder).precision
        return there if here != "float32" and computes_in(there, encoder.device) else "float32"
    return choose(there, encoder).precision
