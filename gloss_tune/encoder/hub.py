"""Encoders on the Hugging Face Hub: what is in the local cache, and what sentence-transformers fetches into it."""

from __future__ import annotations

from pathlib import Path

from gloss_tune.encoder.fingerprint import files_read
from gloss_tune.errors import EncoderError

_TIMEOUT_SECONDS = 5.0


def cached_folder(name: str, revision: str | None) -> Path | None:
    """The snapshot of an encoder in the local cache, if it is whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for candidate in _names(name):
        try:
            folder = Path(snapshot_download(candidate, revision=revision, local_files_only=True))
            files_read(folder)
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError):
            continue
        except EncoderError:  # a broken-off download leaves a snapshot without its weights
            continue
        return folder
    return None


def first_line(error: Exception) -> str:
    """Of an error's message, or its kind where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def downloaded_folder(name: str, revision: str | None, trust_remote_code: bool) -> Path:
    """Fetch an encoder at one commit; sentence-transformers decides which files, by loading it once.

    Raises:
        EncoderError: the Hub does not answer, has no such encoder, or one that cannot be loaded.
    """
    reasons = []
    for candidate in _names(name):
        try:
            return _fetched(candidate, revision, trust_remote_code)
        # the Hub client raises its own, the HTTP library's and the operating system's errors
        except Exception as error:
            reasons.append(f"{candidate}: {first_line(error)}")
    raise EncoderError(
        f"An encoder must be a folder, in the local Hub cache, or on a Hub that can be reached, got '{name}' "
        f"({'; '.join(reasons)}); name a local folder, or use a machine that reaches the Hub"
    )


def _fetched(name: str, revision: str | None, trust_remote_code: bool) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # asked before anything heavy is imported: one commit for all files, whatever is pushed meanwhile
    commit = HfApi().model_info(name, revision=revision, timeout=_TIMEOUT_SECONDS).sha

    from gloss_tune.encoder.loading import quiet_loading

    with quiet_loading():
        from sentence_transformers import SentenceTransformer

        SentenceTransformer(name, device="cpu", revision=commit, trust_remote_code=trust_remote_code)
    folder = Path(snapshot_download(name, revision=commit, local_files_only=True))
    first = files_read(folder)[0].relative_to(folder).as_posix()
    if (
        revision is None
    ):  # lets the cache know which commit the branch is at, for machines that are offline by then
        hf_hub_download(name, first)
    return folder


def commit_of(name: str) -> str:
    """The commit of a repository with code: the one in the local cache, or else the latest.

    Raises:
        EncoderError: it is not in the cache, and the Hub does not answer.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True)).name
    except LocalEntryNotFoundError:
        pass
    try:
        return str(HfApi().model_info(name, timeout=_TIMEOUT_SECONDS).sha)
    # the Hub client raises its own, the HTTP library's and the operating system's errors
    except Exception as error:
        raise EncoderError(
            f"An encoder's code must be in the local Hub cache, or on a Hub that can be reached, got '{name}' "
            f"({first_line(error)}); use a machine that reaches the Hub"
        ) from None


def _names(name: str) -> list[str]:
    return [name] if "/" in name else [f"sentence-transformers/{name}", name]
