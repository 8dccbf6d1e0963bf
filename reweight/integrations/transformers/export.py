"""The training data with a column of weights."""

from __future__ import annotations

import math
from typing import Any

from reweight.integrations.transformers.rows import WithColumns, has_columns
from reweight.integrations.transformers.weighing import Weighing
from reweight.labels import MendedLabels
from reweight.weightings import SampleWeights


def exported(weighing: Weighing, column: str) -> Any:
    """Return the data set as it was given, with ``column`` added.

    Raises:
        RuntimeError: If nothing was trained yet.
        ValueError: If rows are not known, weights are of no rows or tokens, or there is such a
            column already.
    """
    reweighter, seen, given = weighing.reweighter, weighing.seen, weighing.given
    if reweighter is None:
        raise RuntimeError("there are no weights yet: call train() before export_weights().")
    if seen is None:
        raise ValueError(
            "which rows of the train_dataset were trained on is not known (it has no length, or "
            "packing made new rows of it), so its rows have no weights."
        )
    values: list[Any]
    if reweighter.granularity == "element":
        values = list(seen.by_token())
        if all(value is None for value in values):
            raise ValueError(
                "the weights are of elements that are no tokens of a row, or the batches have no "
                "attention_mask, so there is no list a row to export. Weigh samples "
                '(granularity="sample").'
            )
    elif isinstance(reweighter.weighting, SampleWeights):
        values = reweighter.weighting.weights.tolist()
    elif isinstance(reweighter.labels, MendedLabels) and not reweighter.labels.shape:
        values = [None if math.isnan(w) else w for w in reweighter.labels.trust.tolist()]
    else:
        values = list(seen.by_row())
    if not has_columns(given):
        return WithColumns(given, {column: values})
    if column in given.column_names:
        raise ValueError(
            f"the train_dataset has a column {column!r} already. Name another: "
            f"export_weights(column=...)."
        )
    return given.add_column(column, values)
