"""The README.md of a model's folder, with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gloss_tune.markdown import escaped, table
from gloss_tune.wording import exact

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_DATASET = re.compile(r"([A-Za-z0-9_][\w.-]*/[\w.-]+)(/[\w.-]+)?")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_MOST_CLASSES = 20  # beyond, a matrix in text is no help
_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews' correlation",
    "auc": "macro AUC, one against rest",
    "silhouette": "silhouette",
    "loss": "cross-entropy",
}
_LOSSES = {
    "gloss": "G-Loss",
    "ce": "cross-entropy",
    "scl": "supervised contrastive loss",
    "triplet": "batch-all triplet loss",
    "cosine": "cosine loss",
}


def model_card(description: Mapping[str, Any], name: str) -> str:
    """The card of a model.

    Args:
        description: what :func:`gloss_tune.retrain.retrain.retrain` returns of it.
        name: of its folder.
    """
    sections = [
        _introduction(description, name),
        _usage(name),
        _results(description),
        _training(description),
        _provenance(description),
    ]
    return f"---\n{_front_matter(description, name)}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(description: Mapping[str, Any], name: str) -> str:
    import yaml

    dataset, encoder = description["dataset"]["name"], description["encoder"]["name"]
    data: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "text-classification",
        "tags": ["sentence-transformers", "text-classification", "gloss-tune", "g-loss"],
        "metrics": ["accuracy", "f1"],
    }
    if description["loss"] != "gloss":
        data["tags"].remove("g-loss")
    # names of the user's own folders would be broken links
    if _HUB_NAME.fullmatch(encoder):
        data["base_model"] = encoder
    if _NAME.fullmatch(dataset):
        data["datasets"] = [dataset]
    elif on_hub := _HUB_DATASET.fullmatch(dataset):
        data["datasets"] = [on_hub[1]]
    if description["test"] is not None:
        scores = [("accuracy", "Accuracy", "accuracy"), ("f1", "Macro-F1", "macro_f1")]
        data["model-index"] = [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "text-classification", "name": "Text Classification"},
                        "dataset": {"name": dataset, "type": dataset, "split": "test"},
                        "metrics": [
                            {"type": kind, "name": title, "value": description["test"][key]}
                            for kind, title, key in scores
                        ],
                    }
                ],
            }
        ]
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _introduction(description: Mapping[str, Any], name: str) -> str:
    dataset = description["dataset"]
    classes = description["classes"]
    listed = ", ".join(f"`{label}`" for label in classes[:_MOST_CLASSES])
    more = f" and {len(classes) - _MOST_CLASSES} more" if len(classes) > _MOST_CLASSES else ""
    return (
        f"# {name}\n\n"
        f"A sentence encoder with a linear head that classifies texts into {len(classes)} classes: {listed}{more}. "
        f"It is {description['encoder']['name']}, fine-tuned on {dataset['name']} with "
        f"{_LOSSES[description['loss']]} under the hyperparameters that a gloss-tune study found."
    )


def _usage(name: str) -> str:
    return f"""## Use

```python
import gloss_tune  # pip install gloss-tune

classifier = gloss_tune.load_classifier("{name}")
classifier.predict(["A text.", "Another one."])  # class names
classifier.predict_proba(["A text."])  # (N, C), in the order of classifier.classes
```

```console
$ gloss-tune predict --model {name} texts.csv
```

The embeddings alone: `SentenceTransformer("{name}").encode(texts)`. The head lies in `head.safetensors` and takes
embeddings of length 1; `gloss_tune.json` says all that this card says, for programs."""


def _results(description: Mapping[str, Any]) -> str:
    over, seeds = description["over_seeds"], description["seeds"]
    dataset = description["dataset"]
    if description["test"] is None:
        text = ["## Results", "The data set has no test documents. In validation, the model reached:"]
    elif over["n"] == 1:
        text = ["## Results", f"On the {dataset['n_test']:,} test documents, which nothing was chosen by:"]
    else:
        text = [
            "## Results",
            f"On the {dataset['n_test']:,} test documents, which nothing was chosen by. Trained with {over['n']} "
            f"seeds; this model is the best of them in validation (seed {description['seed']}):",
        ]
    text.append(_metrics_table(description))
    if over["n"] > 1:
        metric = description["metric"]
        rows = [[s["seed"], s["epoch"], s["value"], *_of_test(s["test"]), _mark(s["saved"])] for s in seeds]
        columns = ["seed", "epoch", metric, "test accuracy", "test macro-F1", "this model"]
        text.append(table(columns, [_told(row) for row in rows]))
    if description["per_class"] is not None:
        columns = ["class", "precision", "recall", "F1", "documents"]
        text += ["Each class, of the test documents:"]
        text.append(table(columns, [_told(list(row.values())) for row in description["per_class"]]))
    if description["confusion_matrix"] is not None and len(description["classes"]) <= _MOST_CLASSES:
        rows = [
            [name, *row]
            for name, row in zip(description["classes"], description["confusion_matrix"], strict=True)
        ]
        text += ["Confusion matrix; rows are the true classes, columns the predicted ones:"]
        text.append(table(["", *map(escaped, description["classes"])], rows))
    return "\n\n".join(text)


def _metrics_table(description: Mapping[str, Any]) -> str:
    split = "val" if description["test"] is None else "test"
    over, several = description["over_seeds"], description["over_seeds"]["n"] > 1
    rows = []
    for key, title in _METRICS.items():
        name = key if split == "test" else f"val_{key}"
        if name not in over[split]:  # of an earlier release
            continue
        own = description["test"] if split == "test" else description["metrics"]
        whole = over[split][name]
        rows.append(_told([title, own[name], *([whole["mean"], whole["sd"]] if several else [])]))
    return table([f"{split} metric", "this model", *(["mean of seeds", "sd"] if several else [])], rows)


def _training(description: Mapping[str, Any]) -> str:
    dataset = description["dataset"]
    n_train, n_train_of, studied = (dataset[key] for key in ("n_train", "n_train_of", "n_train_in_study"))
    of = "all" if n_train == n_train_of else f"a stratified sample of {n_train:,} of the"
    sample = "" if studied == n_train else f" The study's trials were trained on {studied:,}."
    searched = description["searched"]
    params = sorted(description["params"].items(), key=lambda item: item[0] not in searched)
    rows = [[name, _setting(value), "searched" if name in searched else "fixed"] for name, value in params]
    seeds = ", ".join(str(result["seed"]) for result in description["seeds"])
    return (
        f"## Training\n\nTrained on {of} {n_train_of:,} training documents of {dataset['name']} (fingerprint "
        f"`{dataset['fingerprint']}`), stopped early on its {dataset['n_val']:,} validation documents; the weights are "
        f"those of epoch {description['epoch']}, the best.{sample}\n\n"
        + table(["hyperparameter", "value", ""], rows)
        + f"\n\nLoss {description['loss']}, mode {description['mode']}, chosen by {description['metric']}; "
        f"seed{'s' if len(description['seeds']) > 1 else ''} {seeds}. The head sees embeddings of length 1; longer "
        f"texts are cut at {description['max_length']} tokens."
    )


def _provenance(description: Mapping[str, Any]) -> str:
    confirmed = description["confirmed"]
    reached = f"trial {description['trial']}, which reached {exact(description['trial_value'])}"
    if confirmed is not None:
        sd = "" if confirmed["sd"] is None else f" ± {exact(confirmed['sd'])}"
        reached += f" in the search and {exact(confirmed['mean'])}{sd} with {confirmed['n']} fresh seeds"
    versions = ", ".join(f"{package} {version}" for package, version in description["versions"].items())
    threads = description["threads"]
    return (
        f"## Provenance\n\n"
        f"- Study `{description['study']}` (fingerprint `{description['study_fingerprint']}`), {reached} "
        f"({description['metric']}).\n"
        f"- Encoder {description['encoder']['name']}, fingerprint `{description['encoder']['fingerprint']}`.\n"
        f"- Measured on {description['device']} in {description['precision']} with {threads} "
        f"thread{'' if threads == 1 else 's'}. There, this folder and the same texts give the same metrics exactly; "
        "elsewhere they may differ in rounding.\n"
        f"- {versions}."
    )


def _of_test(test: Mapping[str, Any] | None) -> list[Any]:
    return [None, None] if test is None else [test["accuracy"], test["macro_f1"]]


def _mark(saved: bool) -> str:
    return "yes" if saved else ""


def _told(row: Sequence[Any]) -> list[Any]:
    """A row of metrics, which are told in four decimals."""
    return [exact(cell) if isinstance(cell, float) else cell for cell in row]


def _setting(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
