"""A study as something to read: Markdown with pictures, one HTML page, and notes in optuna-dashboard."""

from __future__ import annotations

from gloss_tune.report.writing import ReportOptions, write_report

__all__ = ["ReportOptions", "write_report"]
