"""A retrained model's folder to the Hugging Face Hub: rights are looked at before training, so that none is in vain."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gloss_tune.errors import GlossTuneError, InputError
from gloss_tune.logging import logger

_LOG_IN = "log in by 'hf auth login', or set HF_TOKEN"


@dataclass(frozen=True)
class PushTarget:
    """Where a model goes.

    Attributes:
        repository: ``owner/name``.
        private: whether a new repository is for its owner only; one that exists stays as it is.
    """

    repository: str
    private: bool = True


def check_push(name: str, *, private: bool = True) -> PushTarget:
    """Ask the Hub who this is, and whether they may write there; nothing is written.

    Args:
        name: ``owner/name``, or ``name`` for one of the user's own.
        private: for a new repository.

    Raises:
        InputError: the name is none, there is no token or one that may not write, or the Hub does not answer.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise InputError(f"A model's name on the Hub is OWNER/NAME, got {name!r}; correct --push") from None
    if get_token() is None:
        raise InputError(f"Pushing to {name} needs a token of the Hub, and there is none; {_LOG_IN}")
    try:
        me = HfApi().whoami()
    # the Hub client raises its own, the HTTP library's and the operating system's errors
    except Exception as error:
        if isinstance(error, HfHubHTTPError) and getattr(error.response, "status_code", None) in (401, 403):
            raise InputError(f"The Hub does not accept this machine's token; {_LOG_IN}") from None
        raise InputError(
            f"Pushing to {name} needs the Hub, which does not answer ({_short(error)}); check the network, or leave "
            "--push out and push the folder later by 'hf upload'"
        ) from None
    repository = name if "/" in name else f"{me['name']}/{name}"
    _check_rights(repository, me)
    return PushTarget(repository, private)


def push(folder: Path, target: PushTarget) -> str:
    """Upload a model's folder in one commit, its card with it.

    Returns:
        The address of its page.

    Raises:
        GlossTuneError: it failed; the folder is untouched.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        url = api.create_repo(target.repository, private=target.private, exist_ok=True)
        api.upload_folder(
            repo_id=target.repository, folder_path=folder, commit_message="Model retrained by gloss-tune"
        )
    # the Hub client raises its own, the HTTP library's and the operating system's errors
    except Exception as error:
        raise GlossTuneError(
            f"The model is whole in {folder}, but was not pushed to {target.repository} ({_short(error)}); push it by "
            f"'hf upload {target.repository} {folder}'"
        ) from error
    logger.info("Pushed to %s.", url)
    return str(url)


def _check_rights(repository: str, me: Mapping[str, Any]) -> None:
    role = (me.get("auth") or {}).get("accessToken", {}).get("role")
    if role == "read":
        raise InputError(
            f"Pushing to {repository} needs a token that may write, and this one may only read; {_LOG_IN}"
        )
    owner = repository.partition("/")[0]
    roles = {str(org["name"]): org.get("roleInOrg") for org in me.get("orgs") or ()}
    if owner != me["name"] and (owner not in roles or roles[owner] == "read"):
        may = ", ".join([str(me["name"]), *(org for org, role in roles.items() if role != "read")])
        raise InputError(
            f"--push {repository}: this token may write to {may}, and not to {owner}; name one of these"
        )


def _short(error: Exception) -> str:
    return textwrap.shorten(str(error) or type(error).__name__, 200)
