"""What a fit is given, checked."""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from reweight._warnings import warn
from reweight.integrations._sklearn import rows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Given:
    """The rows of a fit.

    Attributes:
        x: ``(N, ...)``.
        codes: The number of the class of each.
        classes: The classes.
        mask: Which rows of x are trusted, if it is some of them.
        judges: The trusted rows beside x and the numbers of their classes, if it is those.
    """

    x: Array
    codes: Tensor
    classes: Array
    mask: Array | None
    judges: tuple[Array, Tensor] | None

    @property
    def judged(self) -> bool:
        """Whether there are trusted rows."""
        return self.mask is not None or self.judges is not None

    def trusted(self, inputs: Tensor, module: nn.Module) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return inputs, numbers and places of the trusted rows; ``inputs`` are those of x."""
        if self.mask is not None:
            return inputs, self.codes, torch.from_numpy(np.flatnonzero(self.mask))
        if self.judges is None:
            return None
        x, codes = self.judges
        return rows.as_inputs(x, module), codes, torch.arange(len(x), device="cpu")


def given_rows(
    classifier: Any, x: Any, y: Any, x_trusted: Any, y_trusted: Any, trusted: Any
) -> Given:
    """Check what a fit is given, and warn of what is likely wrong.

    Raises:
        TypeError: If something is of the wrong kind.
        ValueError: If rows and classes do not fit.
    """
    if (x_trusted is None) != (y_trusted is None):
        raise ValueError("X_trusted and y_trusted must be given together.")
    if x_trusted is not None and trusted is not None:
        raise ValueError("give either X_trusted and y_trusted, or trusted, not both.")
    x, labels = _validated(classifier, x, y, "X", "y")
    mask = x_judges = y_judges = None
    if x_trusted is not None:
        x_judges, y_judges = _validated(classifier, x_trusted, y_trusted, "X_trusted", "y_trusted")
        rows.warn_of_scale(x, x_judges)
    elif trusted is not None:
        mask = rows.marked(trusted, len(x), cloned=getattr(classifier, "_is_clone", False))
    classes, codes, judging = rows.encoded(labels, y_judges)
    if mask is not None:
        marked = torch.tensor(mask, device="cpu")
        rows.warn_of_classes(classes, codes[~marked], codes[marked])
    elif x_judges is not None:
        rows.warn_of_classes(classes, codes, judging)
    else:
        warn(
            "no trusted rows were given, so all rows count alike: this is plain training. Say "
            "which rows are surely right by trusted=mask, or X_trusted= and y_trusted=."
        )
    return Given(x, codes, classes, mask, None if x_judges is None else (x_judges, judging))


def _validated(classifier: Any, x: Any, y: Any, x_name: str, y_name: str) -> tuple[Array, Array]:
    if y is None:
        raise ValueError(
            f"This {type(classifier).__name__} estimator requires y to be passed, but the target y "
            f"is None."
        )
    x = validate_data(classifier, rows.on_the_cpu(x), reset=x_name == "X", allow_nd=True)
    classes = rows.as_classes(y, y_name)
    if len(classes) != len(x):
        raise ValueError(f"{y_name} has {len(classes)} rows, and {x_name} has {len(x)}.")
    return x, classes
