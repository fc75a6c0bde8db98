"""Trainings of one setting with several seeds, and how the best of them does on the test documents."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gloss_tune.data import TextDataset
from gloss_tune.encoder import ResolvedEncoder
from gloss_tune.errors import GlossTuneError
from gloss_tune.finetune.config import FinetuneConfig
from gloss_tune.finetune.model_folder import write_model
from gloss_tune.finetune.session import Session
from gloss_tune.logging import logger
from gloss_tune.retrain.scores import SeedResult, by_class, finite

if TYPE_CHECKING:
    from torch import Tensor

    from gloss_tune.finetune.classifier import Classifier
    from gloss_tune.finetune.loop import Finetune


class FinalTraining:
    """Trains one model for each seed and keeps the one that does best in validation.

    Args:
        dataset: what to train, validate and test on.
        encoder: whose weights to start from.
        device: ``cpu``, ``cuda:0`` …
        config: of all trainings, whose seeds differ.
        check: called after every step; may raise.
        precision: that the parameters were found with; None where nobody knows.
        deadline: by ``time.monotonic``; no epoch is begun that would end later, but the first of all. None for none.
    """

    def __init__(
        self,
        dataset: TextDataset,
        encoder: ResolvedEncoder,
        device: str,
        config: FinetuneConfig,
        check: Callable[[], None],
        precision: str | None = None,
        deadline: float | None = None,
    ) -> None:
        self.dataset = dataset
        self.device = device
        self.check = check
        self.trusts_code = encoder.trust_remote_code
        self.results: list[SeedResult] = []
        self.best = 0  # its place in the results
        self._config = config
        self._recorded = precision
        self._deadline = deadline
        self._session = Session(dataset, encoder, device, config.max_length)
        self._latest: Finetune | None = None
        self._best_weights: dict[str, Tensor] = {}

    @property
    def precision(self) -> str:
        """What the encoder computes in: ``bfloat16`` or ``float32``."""
        return self._run.precision

    def fits_another(self) -> bool:
        """Whether half of a training such as the longest so far ends before the deadline, and two epochs at least."""
        if self._deadline is None:
            return False
        longest = max(result.seconds for result in self.results)
        epoch = max(result.seconds / result.epochs for result in self.results)
        return max(0.5 * longest, 2 * epoch) <= self._deadline - time.monotonic()

    def run(self, seed: int, name: str) -> None:
        """Train with one seed; encoder and head then hold the best epoch's weights.

        Raises:
            GlossTuneError: the training failed, or its metric is not finite.
        """
        from gloss_tune.finetune.weights import copied_weights

        config = dataclasses.replace(self._config, seed=seed)
        metric = config.metric
        started = time.monotonic()
        precision = None if self._recorded is None else self._session.usable(self._recorded)
        self._latest = run = self._session.run(config, self.check, precision)
        if precision != self._recorded:
            logger.warning(
                "The parameters were found in %s, which this torch cannot do on %s: training in %s.",
                self._recorded,
                self.device,
                precision,
            )
        epochs = 0
        for report in run.epochs():
            epochs += 1
            logger.info(
                "%s: epoch %d, %s %.4f%s, %.0f documents/s",
                name,
                report.epoch,
                metric,
                report.metrics[metric],
                ", best so far" if report.is_best else "",
                report.metrics["train_docs_per_second"],
            )
            if self._is_late((time.monotonic() - started) / epochs) and epochs < config.epochs:
                logger.info("%s: ends after epoch %d, since its time is over.", name, epochs)
                run.restore_best()
                break
        seconds = time.monotonic() - started
        assert run.best is not None
        value = run.best.metrics[metric]
        if not math.isfinite(value):
            raise GlossTuneError(f"{name}: {metric} is {value} in the best epoch; choose another trial")
        self.results.append(
            SeedResult(seed, run.best.epoch, epochs, round(seconds, 3), value, finite(run.best.metrics), None)
        )
        if len(self.results) == 1 or value > self.results[self.best].value:
            self.best = len(self.results) - 1
            self._best_weights = copied_weights(run.encoder, run.head)

    def write(self, folder: Path, description: dict[str, Any]) -> None:
        """Fill a folder with the best model.

        Raises:
            OSError: it cannot be written.
        """
        from safetensors import SafetensorError

        from gloss_tune.finetune.weights import load_weights

        load_weights(self._run.encoder, self._run.head, self._best_weights)
        try:
            write_model(folder, self._run.encoder, self._run.head, description)
        except (RuntimeError, SafetensorError) as error:  # what the libraries say of a full disk
            raise OSError(str(error)) from error

    def measure(self, classifier: Classifier) -> tuple[dict[str, float | None], dict[str, Any]]:
        """Metrics on the test documents, and those of each class."""
        from gloss_tune.finetune.evaluation import score

        test = self.dataset.test
        assert test is not None
        embeddings, logits = classifier.outputs(test.texts, self.check)
        predictions = logits.argmax(dim=1).cpu().numpy()
        scores = finite(score(embeddings, logits, test.labels))
        return scores, by_class(test.labels, predictions, self.dataset.classes)

    def measure_latest(self) -> None:
        """Measure the latest model as it is in memory."""
        from gloss_tune.finetune.classifier import Classifier

        run, config = self._run, self._config
        classifier = Classifier(
            run.encoder,
            run.head,
            self.dataset.classes,
            max_length=config.max_length,
            precision=self.precision,
        )
        self.results[-1] = dataclasses.replace(self.results[-1], test=self.measure(classifier)[0])

    def _is_late(self, epoch: float) -> bool:
        """Whether one more epoch of so many seconds ends after the deadline."""
        return self._deadline is not None and time.monotonic() + epoch > self._deadline

    @property
    def _run(self) -> Finetune:
        assert self._latest is not None
        return self._latest
