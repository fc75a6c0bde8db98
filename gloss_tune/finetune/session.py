"""What stays in memory from one fine-tune to the next: texts, tokens, the encoder's first weights, the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from gloss_tune.faults import full_device_told, lost_device_told
from gloss_tune.finetune.config import FinetuneConfig

if TYPE_CHECKING:
    from gloss_tune.data import Fold, Split, TextDataset
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
        most_pooled: documents that folds are made of; None for all of train and val.
    """

    def __init__(
        self,
        dataset: TextDataset,
        encoder: ResolvedEncoder,
        device: str,
        longest: int,
        most_pooled: int | None = None,
    ) -> None:
        self._dataset = dataset
        self._resolved = encoder
        self._device = device
        self._longest = longest
        self._most_pooled = most_pooled
        self._encoder: Encoder | None = None
        self._tokens: dict[tuple[str, int], TokenizedSplit] = {}

    @cached_property
    def pool(self) -> Split:
        """The documents that folds are made of."""
        from gloss_tune.data import pooled

        return pooled(self._dataset, self._most_pooled)

    def fold(self, config: FinetuneConfig, number: int, folds: int) -> Fold:
        """One of so many folds, as the fine-tune's seed splits them."""
        from gloss_tune.data import stratified_folds

        return stratified_folds(self.pool.labels, folds, config.seed)[number]

    @property
    def loaded(self) -> bool:
        """Whether the encoder is on its device."""
        return self._encoder is not None

    def load(self) -> None:
        """Put the encoder on its device, unless it is there.

        Raises:
            DeviceFullError: others leave too little of the device's memory.
            DeviceLostError: the device computes nothing more for this process.
        """
        self._loaded()

    def run(
        self,
        config: FinetuneConfig,
        on_step: Callable[[], None] | None = None,
        precision: str | None = None,
        fold: Fold | None = None,
    ) -> Finetune:
        """A fine-tune from the encoder's first weights, which its first epoch restores from memory.

        Args:
            config: of the fine-tune.
            on_step: see :class:`~gloss_tune.finetune.loop.Finetune`.
            precision: likewise.
            fold: what to train and validate on; None for train and val as they are.
        """
        from gloss_tune.finetune.loop import Finetune
        from gloss_tune.finetune.memory import return_free_memory

        encoder = self._loaded()
        return_free_memory()
        train, val = self.parts(config.max_length, fold)
        return Finetune(
            config,
            train,
            val,
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

    def parts(self, max_length: int, fold: Fold | None = None) -> tuple[TokenizedSplit, TokenizedSplit]:
        """What a fine-tune trains on, and what it validates on."""
        if fold is None:
            return self.tokens("train", max_length), self.tokens("val", max_length)
        pool = self.tokens("pool", max_length)
        return pool.take(fold.train), pool.take(fold.val)

    def tokens(self, split_name: str, max_length: int) -> TokenizedSplit:
        """One split as tokens, from the cache shared by all workers of this machine."""
        key = (split_name, max_length)
        if key not in self._tokens:
            from gloss_tune.data.cache import cache_dir
            from gloss_tune.data.tokens import tokenize_split

            split: Split = self.pool if split_name == "pool" else getattr(self._dataset, split_name)
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
            with lost_device_told(), full_device_told(self._device):
                self._encoder = Encoder.load(self._resolved, device=self._device, max_length=self._longest)
        return self._encoder
