"""One fine-tune: a generator of epoch reports that ends with the best epoch's weights in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gloss_tune.data import TokenizedSplit, epoch_batches
from gloss_tune.encoder import Encoder
from gloss_tune.errors import DeviceLostError
from gloss_tune.faults import lost_device_told
from gloss_tune.finetune.chunking import ChunkLimit
from gloss_tune.finetune.config import EpochReport, FinetuneConfig
from gloss_tune.finetune.embedding import embed_split, head_input
from gloss_tune.finetune.evaluation import evaluate
from gloss_tune.finetune.finite import check_embeddings_finite, check_finite
from gloss_tune.finetune.gradients import BatchGradients
from gloss_tune.finetune.memory import (
    device_memory_guard,
    free_memory,
    peak_memory_mb,
    reset_peak_memory,
    return_free_memory,
)
from gloss_tune.finetune.optimizer import build_optimizer, copied_state, rate_factor, set_rate
from gloss_tune.finetune.precision import autocast, choose
from gloss_tune.finetune.probe import fit_probe
from gloss_tune.finetune.stopping import EarlyStopping
from gloss_tune.finetune.tables import TokenTables
from gloss_tune.finetune.totals import StepTotals
from gloss_tune.finetune.training_loss import TrainingLoss
from gloss_tune.finetune.weights import copied_weights, kept_weights, load_weights, on_cpu
from gloss_tune.metrics import balanced_weights
from gloss_tune.seeding import derive_seed


class Finetune:
    """One fine-tune of an encoder and a linear head, epoch by epoch.

    Every random draw (order, masks, dropout) comes from the configuration's seed and the number of the
    epoch, never from what ran before; torch's global generators are left as they were. An encoder serves one
    run at a time: starting another one resets its weights.

    Where the device runs out of memory, the run goes on in smaller chunks (see
    :class:`~gloss_tune.finetune.gradients.BatchGradients`). Its own states keep how large they are; another run
    starts anew, so that its result depends on nothing that ran before.

    Args:
        config: validated here.
        train: documents to learn from.
        val: documents that decide which epoch is the best.
        num_classes: C ≥ 2.
        encoder: loaded; its weights are reset when the first epoch starts.
        on_step: called after every training step and evaluation batch; may raise, which ends the run.
        precision: that ``config.precision`` came to where results are compared with each other; None to find out.

    Raises:
        SpecError: the configuration is not valid.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        train: TokenizedSplit,
        val: TokenizedSplit,
        num_classes: int,
        encoder: Encoder,
        *,
        on_step: Callable[[], None] | None = None,
        precision: str | None = None,
    ) -> None:
        config.validate()
        self.config = config
        self.encoder = encoder
        # without torch's own first weights, which would draw from the global generator
        self.head = nn.Linear(encoder.dimension, num_classes, device="meta").to_empty(device=encoder.device)
        self._train = train
        self._val = val
        self._on_step = on_step or (lambda: None)
        #: what the encoder computes in; a state brings its own
        self.precision = precision or choose(config.precision, encoder).precision
        self._class_weights = _class_weights(config, train, num_classes, encoder.device)
        self._loss = TrainingLoss(config, num_classes, self.head, self._class_weights)
        self._inside_epoch = False
        self._begin()

    def _begin(self) -> None:
        """A fresh head, optimizer and count of epochs; the encoder's weights are left to the caller."""
        self._stopping = EarlyStopping(self.config.metric, self.config.patience)
        self._best_weights: dict[str, Tensor] | None = None
        #: (N,) int64, the classes that the best epoch so far predicts for the documents of ``val``
        self.best_predictions: Tensor | None = None
        # zeros are a maximum-entropy start: no random direction pulls at the encoder in the first steps
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._optimizer = build_optimizer(self.config, self.encoder.model, self.head)
        self._trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._tables = TokenTables(self.encoder.model)
        self._limits = {name: ChunkLimit(self.encoder) for name in ("training", "evaluation")}
        self._gradients = BatchGradients(
            self.encoder,
            self._train,
            self._trained,
            context=self._autocast(),
            limit=self._limits["training"],
            setting=self._memory_setting(),
        )

    @property
    def best(self) -> EpochReport | None:
        """The best epoch so far: the first with the highest ``config.metric``."""
        return self._stopping.best

    def epochs(self) -> Iterator[EpochReport]:
        """Train and evaluate one epoch for each report, from where the run stands.

        Ends after ``config.epochs``, or when patience runs out; then encoder and head hold the best epoch's
        weights. Closing the generator earlier leaves the weights of the last epoch (see
        :meth:`restore_best`).

        Raises:
            NonFiniteLossError: a loss, a gradient or an embedding became NaN or infinite.
            DeviceMemoryError: the device has too little memory, even for one document at a time.
            DeviceLostError: the device computes nothing more for this process.
            RuntimeError: an earlier epoch was broken off, so its weights are no epoch's weights.
        """
        if self._stopping.epoch == 0:
            self.encoder.reset()
            self._begin()
        elif self._inside_epoch:
            raise RuntimeError("A run that broke off inside an epoch cannot go on; load a state_dict first")
        while self._stopping.epoch < self.config.epochs and not self._stopping.exhausted:
            yield self._run_epoch()
        self.restore_best()

    def evaluate(self, split: TokenizedSplit) -> dict[str, float]:
        """Those of :data:`~gloss_tune.finetune.evaluation.SCORES` of a split under the weights in place."""
        with device_memory_guard(self.encoder.device, self._memory_setting()):
            return self._evaluate(split)[0]

    def restore_best(self) -> None:
        """Put the best epoch's weights into encoder and head; without a finished epoch, do nothing."""
        if self._best_weights is not None:
            load_weights(self.encoder, self.head, self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that decides the remaining epochs, on the CPU.

        Raises:
            RuntimeError: the last epoch was broken off.
        """
        if self._inside_epoch:
            raise RuntimeError(
                "A state can be taken between epochs only; use the one taken before this epoch"
            )
        weights = copied_weights(self.encoder, self.head)
        best = self.best
        # the same tensors twice in a state are stored once
        best_weights: dict[str, Tensor] | None = weights
        if best is None or best.epoch != self._stopping.epoch:
            best_weights = None if self._best_weights is None else on_cpu(self._best_weights)
        return {
            "config": asdict(self.config),
            "precision": self.precision,
            "stopping": self._stopping.state_dict(),
            "weights": weights,
            "best_weights": best_weights,
            "best_predictions": self.best_predictions,
            "chunk_tokens": {name: limit.lowered for name, limit in self._limits.items()},
            "optimizer": copied_state(self._optimizer),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the rest of the run equals that of the uninterrupted one.

        Reports and weights are equal to the last bit on the same kind of CPU with as many threads.

        Raises:
            ValueError: the state is of a run with another configuration.
        """
        ours = asdict(self.config)
        different = sorted(
            name for name in ours if state["config"].get(name, getattr(FinetuneConfig, name)) != ours[name]
        )
        if different:
            raise ValueError(
                f"A state must be of a run with the same configuration, got another {', '.join(different)}; "
                "start over without it"
            )
        self.precision = state.get("precision", self.precision)
        self._begin()
        self._stopping.load_state_dict(state["stopping"])
        self._best_weights = state["best_weights"]
        self.best_predictions = state.get("best_predictions")
        for name, lowered in state.get("chunk_tokens", {}).items():
            self._limits[name].lowered = lowered
        load_weights(self.encoder, self.head, state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._inside_epoch = False

    def _run_epoch(self) -> EpochReport:
        self._inside_epoch = True
        try:
            with lost_device_told(), device_memory_guard(self.encoder.device, self._memory_setting()):
                report = self._report_epoch()
        except DeviceLostError:
            raise  # its memory is nobody's any more
        except BaseException:
            self._free()
            raise
        self._inside_epoch = False
        return report

    def _free(self) -> None:
        """Let go of what only a run that goes on needs: its encoder may serve others for days."""
        for parameter in self._trained:
            parameter.grad = None
        self._optimizer.state.clear()
        self._tables.free()
        free_memory(self.encoder.device)

    def _report_epoch(self) -> EpochReport:
        epoch = self._stopping.epoch + 1
        device = self.encoder.device
        reset_peak_memory(device)
        # Apple's GPUs have one generator, which torch does not fork
        own = (
            {"devices": [device], "device_type": device.type}
            if device.type in ("cuda", "xpu")
            else {"devices": []}
        )
        with torch.random.fork_rng(**own):
            torch.manual_seed(derive_seed(self.config.seed, "dropout", epoch))
            metrics = self._train_epoch(epoch)
        started = time.perf_counter()
        if self.config.mode == "standalone":
            metrics["train_ce"] = self._fit_probe()
        scores, predictions = self._evaluate(self._val)
        check_embeddings_finite(scores["loss"], self.config, epoch)
        metrics.update({f"val_{name}": value for name, value in scores.items()})
        metrics["eval_seconds"] = time.perf_counter() - started
        metrics["peak_memory_mb"] = peak_memory_mb(device)
        return_free_memory()
        report = self._stopping.update(metrics)
        if report.is_best:
            self._best_weights = kept_weights(self.encoder, self.head)
            self.best_predictions = predictions
        return report

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        config, device = self.config, self.encoder.device
        masks = torch.Generator().manual_seed(derive_seed(config.seed, "masks", epoch))
        lengths = self._train.lengths
        batches = epoch_batches(self._train.labels, lengths, config.batch_size, seed=config.seed, epoch=epoch)
        totals = StepTotals(self._loss.names, device)
        self.encoder.model.train()
        started = time.perf_counter()
        for index, documents in enumerate(batches):
            # the middle of the step: neither the first nor the last one has a rate of 0
            progress = (epoch - 1 + (index + 0.5) / len(batches)) / config.epochs
            set_rate(self._optimizer, rate_factor(progress, config.warmup_ratio))
            parts, gradient_norm = self._step(documents, masks)
            totals.add(parts, gradient_norm, len(documents))
            if device.type == "cpu":
                check_finite(totals, self.config, epoch, len(batches))
            self._on_step()
        self.encoder.model.eval()
        check_finite(totals, self.config, epoch, len(batches))  # on a GPU the one wait of the epoch
        metrics = {f"train_{name}": value for name, value in totals.means().items()}
        seconds = time.perf_counter() - started
        return {
            **metrics,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "train_docs_per_second": len(self._train) / seconds,
            "train_tokens_per_second": int(lengths.sum()) / seconds,
            "train_seconds": seconds,
        }

    def _step(self, documents: NDArray[np.int64], masks: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """One batch, one loss, one update."""
        with self._tables.as_rows():
            parts = self._gradients.add(documents, self._loss, masks)
        with self._tables.whole(self._trained, self.config.clip_norm) as gradient_norm:
            self._optimizer.step()
        return parts, gradient_norm

    def _fit_probe(self) -> float:
        """Fit a probe to train's embeddings as they are now: one more pass over train, without gradients."""
        embeddings = embed_split(
            self.encoder, self._train, self._autocast(), self._on_step, self._limits["evaluation"]
        )
        labels = torch.from_numpy(self._train.labels.copy()).to(embeddings.device)
        return fit_probe(self.head, head_input(embeddings), labels, self._class_weights)

    def _evaluate(self, split: TokenizedSplit) -> tuple[dict[str, float], Tensor]:
        return evaluate(
            self.encoder,
            self.head,
            split,
            context=self._autocast(),
            on_step=self._on_step,
            limit=self._limits["evaluation"],
        )

    def _autocast(self) -> torch.autocast:
        return autocast(self.precision, self.encoder.device)

    def _memory_setting(self) -> str:
        return f"batch_size {self.config.batch_size} and max_length {self.config.max_length}"


def _class_weights(
    config: FinetuneConfig, train: TokenizedSplit, num_classes: int, device: torch.device
) -> Tensor | None:
    if config.class_weights == "none":
        return None
    return torch.from_numpy(balanced_weights(train.labels, num_classes)).float().to(device)
