"""A classifier in scikit-learn's style: ``ReweightedClassifier().fit(X, y, trusted=mask)``."""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from reweight.dynamics import TrainingDynamics
from reweight.errors import check_number, check_whole
from reweight.integrations._sklearn import results
from reweight.integrations._sklearn.fitting import begun, taken_up
from reweight.integrations._sklearn.given import given_rows
from reweight.integrations._sklearn.network import MLP
from reweight.integrations._sklearn.params import PrefixedParams, check_names
from reweight.integrations._sklearn.rows import as_inputs, on_the_cpu
from reweight.integrations._sklearn.training import Training
from reweight.meta_reweighter import MetaReweighter

__all__ = ["MLP", "ReweightedClassifier"]


class ReweightedClassifier(ClassifierMixin, PrefixedParams):  # type: ignore[misc]
    """Train a module on labels of which some are wrong, judged by a few rows that are right.

    With skorch's conventions: a module class, and its arguments as ``module__hidden=32``. What
    labels count, and what they should be, is learnt while it trains, by default as the README
    does: ``MendedLabels`` and a trusted coefficient of 0.1. Fit without trusted rows is plain
    training, with a warning; it lists label issues too.

    Args:
        module: A class or function that returns an ``nn.Module`` with one logit a class, called
            with ``module__...``, and with ``num_features`` and ``num_classes`` if it has
            parameters of that name; or a module, of which each fit trains a copy. By default
            :class:`MLP`.
        criterion: A loss class, called with ``criterion__...``; ``reduction="none"`` is set. Or
            an instance, or a function of outputs and labels, one value a row.
        optimizer: An optimiser class, called with the parameters, ``lr`` and ``optimizer__...``.
        lr: Its learning rate.
        max_epochs: How many passes over the rows a fit makes.
        batch_size: The most rows of a batch; batches are of equal size, but for one row.
        trusted_batch_size: The most trusted rows of a batch; ``None``: ``batch_size``.
        labels: ``"mended"`` (:class:`~reweight.MendedLabels`), ``"soft"``
            (:class:`~reweight.SoftLabels`), their class, called with ``labels__...``, or ``None``:
            train on the labels given. ``"auto"``: ``"mended"``, if no weighting is given.
        weighting: ``"sample"`` (:class:`~reweight.SampleWeights`), ``"per_batch"``, a class,
            called with ``weighting__...``, or anything that :class:`~reweight.MetaReweighter`
            takes; ``None``: none beside the labels.
        trusted_coefficient: How much the loss of the trusted rows counts beside that of the others.
        device: Where to train and predict.
        random_state: As everywhere in scikit-learn. PyTorch's global streams are left as found.
        warm_start: Whether a further fit, to the same rows, goes on where the last one ended.
        verbose: Whether to print a line an epoch.
        **options: ``module__...``, ``criterion__...``, ``optimizer__...``, ``labels__...``,
            ``weighting__...``, and ``reweighter__...`` for any other argument of
            :class:`~reweight.MetaReweighter`.

    Attributes:
        classes_: The classes, sorted.
        sample_weight_: ``(N,)``, one a row of X, as it is remembered at the end: how far the label
            given is believed, between 0 and 1, and 1 for a trusted row. With a weighting other
            than ``SampleWeights`` also times its mean weight, 1 for the average row.
        quality_: ``(N,)``, the label quality, below 0.5 for an issue; 1 for a trusted row.
        label_issues_: The rows whose label looks wrong, worst first: ``index`` (the place in X),
            ``given``, ``suggested``, ``quality``. A frame with the index of X where X is a frame,
            else a structured array.
        module_: The trained module.
        reweighter_: The :class:`~reweight.MetaReweighter`.
        dynamics_: The :class:`~reweight.TrainingDynamics`, by row of X, for a report.
        history_: One dict an epoch: ``loss``, ``trusted_loss``, ``seconds``.

    Raises:
        TypeError: If an argument is not known.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(300, 4))
        >>> y = np.where(X[:, 0] > 0, "yes", "no")
        >>> trusted = np.arange(300) < 40
        >>> wrong = np.arange(300) >= 240
        >>> y[wrong] = np.where(y[wrong] == "yes", "no", "yes")
        >>> clf = ReweightedClassifier(lr=0.01, random_state=0).fit(X, y, trusted=trusted)
        >>> bool(clf.sample_weight_[wrong].mean() < clf.sample_weight_[~wrong].mean())
        True
    """

    classes_: np.ndarray[Any, Any]
    sample_weight_: np.ndarray[Any, Any]
    quality_: np.ndarray[Any, Any]
    label_issues_: Any
    module_: nn.Module
    optimizer_: torch.optim.Optimizer
    reweighter_: MetaReweighter
    dynamics_: TrainingDynamics
    history_: list[dict[str, float]]

    def __init__(
        self,
        module: Any = None,
        *,
        criterion: Any = nn.CrossEntropyLoss,
        optimizer: Any = torch.optim.Adam,
        lr: float = 0.003,
        max_epochs: int = 20,
        batch_size: int = 64,
        trusted_batch_size: int | None = None,
        labels: Any = "auto",
        weighting: Any = None,
        trusted_coefficient: float = 0.1,
        device: str | torch.device = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        **options: Any,
    ) -> None:
        self.module: Any = module
        self.criterion: Any = criterion
        self.optimizer: Any = optimizer
        self.lr: float = lr
        self.max_epochs: int = max_epochs
        self.batch_size: int = batch_size
        self.trusted_batch_size: int | None = trusted_batch_size
        self.labels: Any = labels
        self.weighting: Any = weighting
        self.trusted_coefficient: float = trusted_coefficient
        self.device: str | torch.device = device
        self.random_state: Any = random_state
        self.warm_start: bool = warm_start
        self.verbose: int = verbose
        check_names(options, self)
        for name, value in options.items():
            setattr(self, name, value)

    def fit(
        self,
        X: Any,  # noqa: N803 - as scikit-learn has it
        y: Any,
        X_trusted: Any = None,  # noqa: N803
        y_trusted: Any = None,
        *,
        trusted: Any = None,
    ) -> Self:
        """Train. Give the trusted rows beside X, or say which rows of X they are.

        Args:
            X: ``(N, ...)`` numbers: an array, a frame or a tensor.
            y: ``(N,)`` classes of any kind, some of them wrong.
            X_trusted: Rows that are rightly labelled, like those of X. A ``Pipeline`` does not
                transform them: give ``trusted`` there.
            y_trusted: Their classes.
            trusted: Which rows of X are rightly labelled: a mask, ``(N,)`` bool, or their places.
                In cross-validation it must be a mask, which is cut as X is.

        Returns:
            This classifier. Stopped by hand (Ctrl+C), it keeps what was learnt, with a warning.

        Raises:
            TypeError: If a parameter is of the wrong kind.
            ValueError: If rows, classes or a parameter do not fit.
            NonFiniteError: If a loss is not finite, with the rows at fault.
        """
        check_whole("max_epochs", self.max_epochs)
        check_whole("batch_size", self.batch_size)
        if self.trusted_batch_size is not None:
            check_whole("trusted_batch_size", self.trusted_batch_size)
        check_number("lr", self.lr)
        index = X.index if hasattr(X, "iloc") else None  # of a frame
        given = given_rows(self, X, y, X_trusted, y_trusted, trusted)
        training: Training | None = getattr(self, "_training", None)
        if self.warm_start and training is not None:
            training = taken_up(self, training, given)
        else:
            training = begun(self, given)
        training.run(
            given,
            sizes=(self.batch_size, self.trusted_batch_size or self.batch_size),
            epochs=self.max_epochs,
            say=print if self.verbose else lambda _: None,
        )
        self._tell(training, index)
        return self

    def _tell(self, training: Training, index: Any) -> None:
        dynamics = training.reweighter.dynamics
        assert dynamics is not None
        self._training = training
        self.classes_ = training.classes
        self.module_ = training.module
        self.optimizer_ = training.optimizer
        self.reweighter_ = training.reweighter
        self.dynamics_ = dynamics
        self.history_ = list(training.history)
        table = dynamics.find_label_issues(training.labels)
        self.quality_ = results.qualities(table, training.trusted)
        self.label_issues_ = results.issues_of(table, self.classes_, index)
        self.sample_weight_ = results.sample_weights(training.reweighter, training.trusted)

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the probability of each class, ``(N, K)``: the softmax of the module's logits."""
        check_is_fitted(self, "module_")
        x = validate_data(self, on_the_cpu(X), reset=False, allow_nd=True)
        device = next((p.device for p in self.module_.parameters()), torch.device(self.device))
        self.module_.eval()
        with torch.no_grad():
            parts = [
                self.module_(part.to(device)).cpu().double().softmax(dim=1)
                for part in torch.split(as_inputs(x, self.module_), self.batch_size)
            ]
        return torch.cat(parts).numpy()

    def predict(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the likeliest class of each row, ``(N,)``."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        found: np.ndarray[Any, Any] = self.classes_[likeliest]
        return found

    def report(
        self,
        path: str | Path,
        *,
        images: Any = None,
        texts: Any = None,
        title: str = "Label issues",
        worst: int = 24,
    ) -> Path:
        """Write one HTML file that shows the labels that look wrong.

        Args:
            path: The file; it is replaced whole.
            images: The picture of each row of X, as for :meth:`~reweight.TrainingDynamics.report`.
            texts: The text of each row, likewise.
            title: The heading.
            worst: How many rows are shown.

        Returns:
            The path.
        """
        check_is_fitted(self, "module_")
        names = [str(name) for name in self.classes_.tolist()]
        table = self.dynamics_.find_label_issues(self._training.labels, class_names=names)
        return self.dynamics_.report(
            path, table, images=images, texts=texts, title=title, worst=worst
        )
