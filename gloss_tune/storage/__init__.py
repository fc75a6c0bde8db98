"""Optuna's tables as a study's workers need them: connect, wait for, fence, read fast. Knows no study's meaning."""
