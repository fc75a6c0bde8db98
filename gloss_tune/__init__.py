"""Tune the hyperparameters of graph-driven (G-Loss) fine-tuning of sentence encoders for text classification."""

from __future__ import annotations

__version__ = "0.1.0"
