"""What stays in memory from one fine-tune to the next: texts, tokens, the encoder's first weights, the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gloss_tune.finetune.config import FinetuneConfig

if TYPE_CHECKING:
    from gloss_tune.data import Split, TextDataset
    from gloss_tune.data.tokens import TokenizedSplit
    from gloss_tune.encoder import Encoder, ResolvedEncoder
    from gloss_tune.finetune.loop import Finetune
    from gloss_tune.finetune.precision import Choice


class Session:
    """Starts fine-tunes of one encoder on one data set; nothing is loaded twice.

    Args:
        dataset: the texts.
        encoder: which weights to start from.
        device: ``cpu``, ``cuda:0`` …
        longest: the highest ``max_length`` of any fine-tune to come.
    """

    def __init__(self, dataset: TextDataset, encoder: ResolvedEncoder, device: str, longest: int) -> None:
        self._dataset = dataset
        self._resolved = encoder
        self._device = device
        self._longest = longest
        self._encoder: Encoder | None = None
        self._tokens: dict[tuple[str, int], TokenizedSplit] = {}

    @property
    def loaded(self) -> bool:
        """Whether the encoder is on its device."""
        return self._encoder is not None

    def load(self) -> None:
        """Put the encoder on its device, unless it is there."""
        self._loaded()

    def run(
        self,
        config: FinetuneConfig,
        on_step: Callable[[], None] | None = None,
        precision: str | None = None,
    ) -> Finetune:
        """A fine-tune from the encoder's first weights, which its first epoch restores from memory.

        Args:
            config: of the fine-tune.
            on_step: see :class:`~gloss_tune.finetune.loop.Finetune`.
            precision: likewise.
        """
        from gloss_tune.finetune.loop import Finetune
        from gloss_tune.finetune.memory import return_free_memory

        encoder = self._loaded()
        return_free_memory()
        return Finetune(
            config,
            self.tokens("train", config.max_length),
            self.tokens("val", config.max_length),
            len(self._dataset.classes),
            encoder,
            on_step=on_step,
            precision=precision,
        )

    def choice(self, precision: str) -> Choice:
        """What a precision comes to here; ``auto`` is measured, for torch's threads as they are now."""
        from gloss_tune.finetune.precision import choose

        return choose(precision, self._loaded())

    def usable(self, precision: str) -> str:
        """The precision, or ``float32`` where the device does not compute in it."""
        from gloss_tune.finetune.precision import computes_in

        return precision if computes_in(precision, self._loaded().device) else "float32"

    def tokens(self, split_name: str, max_length: int) -> TokenizedSplit:
        """One split as tokens, from the cache shared by all workers of this machine."""
        key = (split_name, max_length)
        if key not in self._tokens:
            from gloss_tune.data.cache import cache_dir
            from gloss_tune.data.tokens import tokenize_split

            split: Split = getattr(self._dataset, split_name)
            self._tokens[key] = tokenize_split(
                split,
                self._loaded().preprocessor,
                dataset_fingerprint=self._dataset.fingerprint,
                split_name=split_name,
                max_length=max_length,
                cache_dir=cache_dir(),
            )
        return self._tokens[key]

    def _loaded(self) -> Encoder:
        from gloss_tune.encoder import Encoder

        if self._encoder is None:
            self._encoder = Encoder.load(self._resolved, device=self._device, max_length=self._longest)
        return self._encoder
