"""What a training has found out about each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from reweight.dynamics import LabelIssues
from reweight.labels import MendedLabels, RememberedLabels
from reweight.meta_reweighter import MetaReweighter
from reweight.weightings import SampleWeights

Array = np.ndarray[Any, Any]


def sample_weights(reweighter: MetaReweighter, trusted: Array | None) -> Array:
    """Return how much the label given to each row counts, ``(N,)``, as it is remembered at the end.

    A share, 1 for what is believed wholly, where labels are mended or ``SampleWeights`` are used;
    with another weighting a mean weight over the training, 1 for the average row. The trusted rows
    count 1, and so do those never seen.
    """
    dynamics, labels, weighting = reweighter.dynamics, reweighter.labels, reweighter.weighting
    assert dynamics is not None
    weighed = weighting.weights if isinstance(weighting, SampleWeights) else dynamics.mean_weight
    weights = weighed.detach().cpu().double()
    if isinstance(labels, RememberedLabels):
        weights = weights * _belief(labels).detach().cpu().double()
    unseen = dynamics.times_seen.cpu() == 0
    found = torch.where(unseen, torch.ones_like(weights), weights).numpy()
    if trusted is not None:
        found[trusted] = 1.0
    return np.asarray(found)


def _belief(labels: RememberedLabels) -> torch.Tensor:
    if isinstance(labels, MendedLabels):
        return labels.trust
    given = labels.state_dict()["given"].to(labels.probabilities.device)
    share: torch.Tensor = labels.probabilities.gather(1, given.clamp(min=0).unsqueeze(1)).squeeze(1)
    return share


def qualities(table: LabelIssues, trusted: Array | None) -> Array:
    """Return the label quality of each row, ``(N,)``: 1 of a trusted one, NaN if never seen."""
    found = np.full(len(table), np.nan)
    found[table.id.numpy()] = table.label_quality.double().numpy()
    if trusted is not None:
        found[trusted] = 1.0
    return found


def issues_of(table: LabelIssues, classes: Array, index: Any) -> Any:
    """Return the rows whose label looks wrong, worst first.

    Args:
        table: All rows.
        classes: The classes by number.
        index: The index of a frame, ``None`` where X was none.

    Returns:
        ``index`` (the place in X), ``given``, ``suggested`` and ``quality``; a frame with the
        index of X where X was a frame, else a structured array.
    """
    rows = table.is_label_issue
    at = table.id[rows].numpy()
    columns = {
        "index": at,
        "given": classes[table.given_label[rows].numpy()],
        "suggested": classes[table.suggested_label[rows].numpy()],
        "quality": table.label_quality[rows].double().numpy(),
    }
    if index is not None:
        import pandas as pd

        return pd.DataFrame(columns, index=index[at])
    found = np.empty(len(at), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        found[name] = values
    return found
