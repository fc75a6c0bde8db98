"""Data sets: by name or from the user's files, checked, fingerprinted, tokenised once, dealt into batches."""

from gloss_tune.data.batches import concatenate, epoch_batches
from gloss_tune.data.cache import cache_dir
from gloss_tune.data.dataset import Split, TextDataset, tidy
from gloss_tune.data.download import fetch, locate
from gloss_tune.data.folds import Fold, check_folds, pooled, stratified_folds
from gloss_tune.data.loading import load_dataset
from gloss_tune.data.records import Layout
from gloss_tune.data.registry import DATASETS, DatasetInfo
from gloss_tune.data.splits import subsample, subsample_val
from gloss_tune.data.tokens import TokenizedSplit, tokenize_split, tokenize_texts

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "Fold",
    "Layout",
    "Split",
    "TextDataset",
    "TokenizedSplit",
    "cache_dir",
    "check_folds",
    "concatenate",
    "epoch_batches",
    "fetch",
    "load_dataset",
    "locate",
    "pooled",
    "stratified_folds",
    "subsample",
    "subsample_val",
    "tidy",
    "tokenize_split",
    "tokenize_texts",
]
