"""A classifier in scikit-learn's style: ``ReweightedClassifier().fit(X, y, trusted=mask)``."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from reweight._warnings import warn
from reweight.errors import check_number, check_whole
from reweight.integrations._sklearn import building, params, results
from reweight.integrations._sklearn import rows as given
from reweight.integrations._sklearn.network import MLP
from reweight.integrations._sklearn.outputs import check_outputs
from reweight.integrations._sklearn.random import OwnRandom
from reweight.integrations._sklearn.training import Training

__all__ = ["MLP", "ReweightedClassifier"]


class ReweightedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train a module on labels of which some are wrong, judged by a few rows that are right.

    With skorch's conventions: a module class, and its arguments as ``module__hidden=32``. What
    labels count, and what they should be, is learnt while it trains, by default as the README
    does: ``MendedLabels`` and a trusted coefficient of 0.1. Fit without trusted rows is plain
    training, with a warning; it lists label issues too, less well.

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
        >>> clf.sample_weight_[wrong].mean() < clf.sample_weight_[~wrong].mean()
        True
    """

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
        self.module = module
        self.criterion = criterion
        self.optimizer = optimizer
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.trusted_batch_size = trusted_batch_size
        self.labels = labels
        self.weighting = weighting
        self.trusted_coefficient = trusted_coefficient
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        params.check_names(options, self)
        vars(self).update(options)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all parameters by name, those with a prefix among them."""
        more = {name: value for name, value in vars(self).items() if params.prefix_of(name)}
        return {**super().get_params(deep=deep), **more}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name, such as ``module__hidden``; what is learnt stays.

        Raises:
            ValueError: If one is not known.
        """
        more = {name: parameters[name] for name in parameters if params.prefix_of(name)}
        super().set_params(**{k: v for k, v in parameters.items() if k not in more})
        vars(self).update(more)
        return self

    def __sklearn_clone__(self) -> Self:
        clone: Self = super().__sklearn_clone__()
        clone._is_clone = True
        return clone

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
            trusted: A mask, ``(N,)`` bool, or the places in X of the rows that are rightly labelled.
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
        check_number("lr", self.lr)
        index = getattr(X, "index", None) if hasattr(X, "iloc") else None
        x, labels_given = self._validated(X, y)
        mask = x_judges = y_judges = None
        if (X_trusted is None) != (y_trusted is None):
            raise ValueError("X_trusted and y_trusted must be given together.")
        if X_trusted is not None:
            if trusted is not None:
                raise ValueError("give either X_trusted and y_trusted, or trusted, not both.")
            x_judges, y_judges = self._validated(X_trusted, y_trusted, trusted=True)
            given.warn_of_scale(x, x_judges)
        elif trusted is not None:
            mask = given.marked(trusted, len(x), cloned=getattr(self, "_is_clone", False))
        self.classes_, codes, codes_judges = given.encoded(labels_given, y_judges)
        if mask is not None:
            codes_judges = codes[torch.as_tensor(mask)]
        judged = mask is not None or x_judges is not None
        if judged:
            weighed = codes if mask is None else codes[torch.as_tensor(~mask)]
            given.warn_of_classes(self.classes_, weighed, codes_judges)
        else:
            warn(
                "no trusted rows were given, so all rows count alike: this is plain training. Say "
                "which rows are surely right by trusted=mask, or X_trusted= and y_trusted=."
            )
        training = self._continued(codes, mask) or self._begun(x, codes, mask, judged=judged)
        with training.random():
            inputs = given.as_inputs(x, training.module)
            judges = None
            if mask is not None:
                judges = (inputs, codes, torch.as_tensor(np.flatnonzero(mask)))
            elif x_judges is not None:
                own = given.as_inputs(x_judges, training.module)
                judges = (own, codes_judges, torch.arange(len(own)))
            training.run(
                inputs,
                judges,
                sizes=(self.batch_size, self.trusted_batch_size or self.batch_size),
                epochs=self.max_epochs,
                say=print if self.verbose else lambda _: None,
            )
        self._tell(training, index)
        return self

    def _validated(self, x: Any, y: Any, *, trusted: bool = False) -> tuple[Any, Any]:
        name = "y_trusted" if trusted else "y"
        x = validate_data(self, given.on_the_cpu(x), reset=not trusted, allow_nd=True)
        if y is None:
            raise ValueError(
                "This ReweightedClassifier estimator requires y to be passed, but the target y is "
                "None."
            )
        classes = given.as_classes(y, name)
        if len(classes) != len(x):
            raise ValueError(f"{name} has {len(classes)} rows, and its inputs {len(x)}.")
        return x, classes

    def _begun(
        self, x: Any, codes: Tensor, mask: np.ndarray[Any, Any] | None, *, judged: bool
    ) -> Training:
        def options(prefix: str) -> dict[str, Any]:
            return params.options_of(self, prefix)

        device = torch.device(self.device)
        count = len(self.classes_)
        seed = int(check_random_state(self.random_state).randint(2**31 - 4))
        random = OwnRandom(seed, device)
        with random():
            module = building.build_module(
                self.module, options("module"), int(np.prod(x.shape[1:])), count
            ).to(device)
            criterion = building.build_criterion(self.criterion, options("criterion"))
            if isinstance(criterion, nn.Module):
                criterion.to(device)
            few = given.as_inputs(x[:4], module).to(device)
            check_outputs(module, criterion, few, count)
            optimizer = building.build_optimizer(
                self.optimizer, options("optimizer"), self.lr, [module, criterion]
            )
            reweighter = building.build_reweighter(
                self, options, module, criterion, (len(x), count), judged=judged
            )
        return Training(random, module, optimizer, reweighter, codes, mask)

    def _continued(self, codes: Tensor, mask: np.ndarray[Any, Any] | None) -> Training | None:
        training: Training | None = getattr(self, "_training", None)
        if not self.warm_start or training is None:
            return None
        same = torch.equal(codes, training.labels) and (
            mask is training.trusted is None
            or (mask is not None and np.array_equal(mask, training.trusted))
        )
        if not same:
            raise ValueError(
                "warm_start=True goes on with the rows of the last fit, of which something is "
                "remembered each; these have other labels or other trusted rows. Give the same, "
                "or set warm_start=False to begin anew."
            )
        return training

    def _tell(self, training: Training, index: Any) -> None:
        dynamics = training.reweighter.dynamics
        assert dynamics is not None
        self._training = training
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
        check_is_fitted(self)
        x = validate_data(self, given.on_the_cpu(X), reset=False, allow_nd=True)
        device = next((p.device for p in self.module_.parameters()), torch.device(self.device))
        self.module_.eval()
        with torch.no_grad():
            parts = [
                self.module_(part.to(device)).cpu().double().softmax(dim=1)
                for part in given.as_inputs(x, self.module_).split(self.batch_size)
            ]
        return torch.cat(parts).numpy()

    def predict(self, X: Any) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the likeliest class of each row, ``(N,)``."""
        found: np.ndarray[Any, Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found
