"""Parameters with a prefix, as skorch has them: ``module__hidden=32``."""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from sklearn.base import BaseEstimator

PREFIXES = ("module", "criterion", "optimizer", "labels", "weighting", "reweighter")


def prefix_of(name: str) -> str:
    """Return the prefix of a parameter such as ``module__hidden``, empty where it has none."""
    prefix, separator, rest = name.partition("__")
    return prefix if separator and rest and prefix in PREFIXES else ""


def check_names(names: Iterable[str], owner: object) -> None:
    """Raise a ``TypeError`` if one of the names has none of the prefixes."""
    unknown = [name for name in names if not prefix_of(name)]
    if unknown:
        known = ", ".join(f"{prefix}__" for prefix in PREFIXES)
        raise TypeError(
            f"{type(owner).__name__} got unexpected argument(s) {', '.join(unknown)}. What is "
            f"handed on begins with one of {known}."
        )


def options_of(owner: object, prefix: str) -> dict[str, Any]:
    """Return the values of the parameters with ``prefix``, by the name without it."""
    start = f"{prefix}__"
    found = vars(owner).items()
    return {name.removeprefix(start): value for name, value in found if name.startswith(start)}


class PrefixedParams(BaseEstimator):  # type: ignore[misc]
    """Base of an estimator that keeps such parameters as attributes, beside its own."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all parameters by name, those with a prefix among them."""
        more = {name: value for name, value in vars(self).items() if prefix_of(name)}
        return {**super().get_params(deep=deep), **more}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name, such as ``module__hidden``; what is learnt stays.

        Raises:
            ValueError: If one is not known.
        """
        more = {name: parameters[name] for name in parameters if prefix_of(name)}
        super().set_params(**{k: v for k, v in parameters.items() if k not in more})
        for name, value in more.items():
            setattr(self, name, value)
        return self

    def __sklearn_clone__(self) -> Self:
        clone: Self = super().__sklearn_clone__()
        clone._is_clone = True  # as cross-validation makes them, which give it a part of X
        return clone
