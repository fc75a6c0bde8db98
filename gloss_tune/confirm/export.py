"""What to use of a study: the parameters of its confirmation's winner, or else of its best trial."""

from __future__ import annotations

from typing import Any

from gloss_tune.confirm.confirmation import confirmation_of, confirmed_best
from gloss_tune.errors import InputError
from gloss_tune.logging import logger
from gloss_tune.study import status as reading
from gloss_tune.study.study import OpenStudy


def export(opened: OpenStudy, number: int | None = None, *, unconfirmed: bool = False) -> dict[str, Any]:
    """The parameters to use, with all that is needed to trust and to rerun them. Says where they come from.

    Those of the confirmation's winner where there is a finished confirmation, with what it measured under
    ``confirmed``; else those of the best trial.

    Args:
        number: export this trial instead.
        unconfirmed: leave the confirmation aside.

    Raises:
        InputError: if the study is a confirmation, or has no such complete trial.
        GlossTuneError: if no trial is complete yet.
    """
    if opened.confirms is not None:
        raise InputError(
            f"Study {opened.name!r} is the confirmation of {opened.confirms['study']!r}; export that one, "
            "and the winner comes with it"
        )
    plain = unconfirmed or number is not None
    confirmed = None if plain else confirmed_best(opened)
    exported = reading.export(opened, number if confirmed is None else confirmed["number"])
    if confirmed is not None:
        logger.info("Exported is the winner of confirmation %s. %s", confirmed["study"], confirmed["verdict"])
        if not confirmed["is_current"]:
            logger.warning(
                "Study %s has a better trial since its confirmation; 'gloss-tune confirm' adds it.",
                opened.name,
            )
    elif not plain and confirmation_of(opened) is not None:
        logger.warning(
            "The confirmation of study %s has no result yet: exported is the best trial of the search.",
            opened.name,
        )
    return {**exported, "confirmed": confirmed}
