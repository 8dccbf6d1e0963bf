"""From what scikit-learn's users have to tensors, and what is wrong with it."""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from torch import Tensor, nn

from reweight._warnings import warn


def on_the_cpu(values: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def as_inputs(x: np.ndarray[Any, Any], module: nn.Module) -> Tensor:
    """Return an array as a module wants it.

    Floating-point numbers get the type of the module's parameters. So do integers and booleans,
    unless the module looks them up (``nn.Embedding``).
    """
    if x.dtype.kind not in "biuf":
        x = x.astype(np.float64)
    tensor = torch.from_numpy(x.copy())
    looked_up = any(isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in module.modules())
    if looked_up and not tensor.is_floating_point():
        return tensor.long()
    types = [p.dtype for p in module.parameters() if p.is_floating_point()]
    return tensor.to(types[0] if types else torch.get_default_dtype())


def as_classes(y: Any, name: str) -> np.ndarray[Any, Any]:
    """Return classes, one a row.

    Raises:
        ValueError: If they are no classes.
    """
    values = column_or_1d(on_the_cpu(y), warn=True)
    check_classification_targets(values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinity among its classes.")
    return np.asarray(values)


def encoded(
    y: np.ndarray[Any, Any], y_trusted: np.ndarray[Any, Any] | None
) -> tuple[np.ndarray[Any, Any], Tensor, Tensor]:
    """Return the classes of both, sorted, and the number of each label.

    Raises:
        ValueError: If one has numbers and the other strings, or there is but one class.
    """
    both = [y] if y_trusted is None else [y, y_trusted]
    try:
        classes = unique_labels(*both)
    except ValueError as error:
        if y_trusted is None:
            raise
        raise ValueError(
            f"y and y_trusted must name the classes alike, all by numbers or all by strings; y has "
            f"{y[:1].tolist()[0]!r}, y_trusted {y_trusted[:1].tolist()[0]!r}."
        ) from error
    if len(classes) < 2:
        raise ValueError(
            f"Classifier can't train when only one class is present: {classes.tolist()[0]!r}."
        )
    codes = [torch.from_numpy(np.searchsorted(classes, values)) for values in both]
    return classes, codes[0], codes[-1][:0] if y_trusted is None else codes[1]


def marked(trusted: Any, count: int, *, cloned: bool) -> np.ndarray[Any, Any]:
    """Return which rows are trusted, ``(count,)`` bool.

    Args:
        trusted: A mask, or places in X.
        count: How many rows X has.
        cloned: Whether the estimator is a copy that scikit-learn made.

    Raises:
        TypeError: If it is neither.
        ValueError: If it does not fit X, or marks no row, or all.
    """
    values = np.asarray(on_the_cpu(trusted))
    if values.ndim != 1 or (values.dtype.kind not in "biu" and len(values)):
        raise TypeError(
            f"trusted must be a mask, one bool a row of X, or the places of the trusted rows, "
            f"integers; got {values.dtype} of shape {values.shape}."
        )
    if values.dtype.kind == "b":
        if len(values) != count:
            raise ValueError(f"trusted is a mask of {len(values)} rows, and X has {count}.")
        mask = values
    else:
        mask = _at(values, count, cloned=cloned)
    if not mask.any():
        raise ValueError(
            "trusted marks no row of X, so nothing can judge the others. In cross-validation let "
            "every part have some: cv=StratifiedKFold(5, shuffle=True)."
        )
    if mask.all():
        raise ValueError(
            "trusted marks every row of X, so there is none to weigh: train on them as ever."
        )
    return mask


def _at(places: np.ndarray[Any, Any], count: int, *, cloned: bool) -> np.ndarray[Any, Any]:
    if cloned:
        raise ValueError(
            "trusted= holds places in X, and this is a clone, as cross-validation and grid search "
            "make them, which give it a part of X with other places. Pass a mask, one bool a row, "
            "which is cut as X is: mask = numpy.zeros(len(X), bool); mask[places] = True."
        )
    if len(np.unique(places)) != len(places):
        raise ValueError(
            "trusted has the same place twice. If it is a mask of zeros and ones, make it bool: "
            "trusted.astype(bool)."
        )
    if len(places) and (places.min() < 0 or places.max() >= count):
        raise ValueError(
            f"trusted has places from {places.min()} to {places.max()}, and X has rows 0 to "
            f"{count - 1}."
        )
    mask = np.zeros(count, dtype=bool)
    mask[places.astype(np.int64)] = True
    return mask


def warn_of_classes(classes: np.ndarray[Any, Any], y: Tensor, y_trusted: Tensor) -> None:
    """Warn of classes that no trusted row has."""
    missing = sorted(set(y.tolist()) - set(y_trusted.tolist()))
    if missing:
        names = ", ".join(repr(name) for name in classes[missing][:5].tolist())
        warn(
            f"no trusted row is of class {names}{', …' if len(missing) > 5 else ''}: labels of "
            f"that class will seem to harm the trusted rows. Trust a few rows of every class."
        )


def warn_of_scale(x: np.ndarray[Any, Any], x_trusted: np.ndarray[Any, Any]) -> None:
    """Warn where the trusted rows have been left out of a scaling that the others went through."""
    if x.ndim != 2 or len(x) < 2 or x.dtype.kind != "f":
        return
    centre = x_trusted.mean(axis=0)
    outside = (centre < x.min(axis=0)) | (centre > x.max(axis=0))
    if outside.any():
        column = int(outside.argmax())
        warn(
            f"X_trusted looks as if it were on another scale than X: the mean of feature {column} "
            f"is {centre[column]:.4g}, outside all that X has. A Pipeline transforms X alone: mark "
            f"the trusted rows in X, trusted=mask, or transform X_trusted likewise."
        )
