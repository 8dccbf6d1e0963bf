"""A trusted data set that TRL prepares when it prepares its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TRUSTED = "reweight_trusted"


def with_trusted(given: Any, trusted: Any, settings: Any) -> dict[str, Any]:
    """Return the data sets to evaluate on, the trusted one among them.

    Args:
        given: The ``eval_dataset`` of the user: one, several by name, or ``None``.
        trusted: The trusted data set, as it was given.
        settings: The trainer's arguments, if they are known.

    Raises:
        ValueError: If there is to be an evaluation, and nothing to evaluate on.
    """
    strategy = str(getattr(settings, "eval_strategy", "no")).split(".")[-1].lower()
    if given is None and strategy != "no":  # the trainer would find the trusted one
        raise ValueError("eval_strategy is set, and there is no eval_dataset to evaluate on.")
    beside = given if isinstance(given, dict) else {} if given is None else {"eval": given}
    return {**beside, _TRUSTED: trusted}


def taken_out(prepared: Mapping[str, Any], given: Any) -> tuple[Any, Any]:
    """Return the trusted data set of those prepared, and the others in the form of ``given``."""
    others = dict(prepared)
    trusted = others.pop(_TRUSTED)
    return trusted, others if isinstance(given, dict) else others.get("eval")
