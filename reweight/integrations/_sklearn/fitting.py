"""A training, begun or taken up again."""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from reweight.integrations._sklearn import building, params, rows
from reweight.integrations._sklearn.given import Given
from reweight.integrations._sklearn.outputs import check_outputs
from reweight.integrations._sklearn.random import OwnRandom
from reweight.integrations._sklearn.training import Training

_EACH_FIT = {"max_epochs", "lr", "verbose", "warm_start"}
"""What may change from one fit to the next that goes on with it."""


def begun(classifier: Any, given: Given) -> Training:
    """Build all that learns, with the random numbers of the fit."""

    def options(prefix: str) -> dict[str, Any]:
        return params.options_of(classifier, prefix)

    device = torch.device(classifier.device)
    count = len(given.classes)
    seed = int(check_random_state(classifier.random_state).randint(2**31 - 4))
    random = OwnRandom(seed, device)
    with random():
        features = int(np.prod(given.x.shape[1:]))
        with torch.device("cpu"):  # whichever is the default, so that weights begin alike
            module = building.build_module(classifier.module, options("module"), features, count)
        module = module.to(device)
        criterion = building.build_criterion(classifier.criterion, options("criterion"))
        if isinstance(criterion, nn.Module):
            criterion.to(device)
        few = rows.as_inputs(given.x[:4], module).to(device)
        check_outputs(module, criterion, few, count)  # and lazy layers learn their size
        optimizer = building.build_optimizer(
            classifier.optimizer, options("optimizer"), classifier.lr, [module, criterion]
        )
        reweighter = building.build_reweighter(
            classifier, options, module, criterion, (len(given.x), count), judged=given.judged
        )
    settings = classifier.get_params(deep=False)
    return Training(random, module, optimizer, reweighter, given, settings)


def taken_up(classifier: Any, training: Training, given: Given) -> Training:
    """Let a training go on, if it is of the same rows and settings.

    Raises:
        ValueError: If it is not.
    """
    now, before = given.mask, training.trusted
    same = now is before if now is None or before is None else np.array_equal(now, before)
    same = same and np.array_equal(given.classes, training.classes)
    same = same and torch.equal(given.codes, training.labels)
    judging = None if given.judges is None else given.judges[1]
    if judging is None or training.judging is None:
        same = same and judging is training.judging and given.judged == training.judged
    else:
        same = same and torch.equal(judging, training.judging)
    if not same:
        raise ValueError(
            "warm_start=True goes on with the rows of the last fit, of which something is "
            "remembered each; these have other labels or other trusted rows. Give the same, or set "
            "warm_start=False to begin anew."
        )
    settings, built = classifier.get_params(deep=False), training.settings
    names = (settings.keys() | built.keys()) - _EACH_FIT
    changed = sorted(n for n in names if not _alike(settings.get(n), built.get(n)))
    if changed:
        raise ValueError(
            f"{', '.join(changed)} changed since the last fit, and warm_start=True goes on with "
            f"what was built then. Set warm_start=False to begin anew."
        )
    if settings["lr"] != built["lr"]:
        for group in training.optimizer.param_groups:
            group["lr"] = settings["lr"]
    training.settings = settings
    return training


def _alike(one: Any, other: Any) -> bool:
    plain = (bool, int, float, str, np.generic)
    return one is other or (
        isinstance(one, plain) and isinstance(other, plain) and bool(one == other)
    )
