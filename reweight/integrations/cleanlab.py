"""cleanlab: the label issues that a training found, beside those that Datalab finds.

Importing this registers the issue type ``"reweight"`` with ``cleanlab.Datalab``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from cleanlab.datalab.internal.issue_manager import IssueManager
from cleanlab.datalab.internal.issue_manager_factory import register

from reweight.dynamics import LabelIssues, TrainingDynamics

__all__ = ["ReweightIssueManager"]


class ReweightIssueManager(IssueManager):  # type: ignore[misc]
    """Shows in a ``Datalab`` which labels looked wrong while a model trained on them.

    Not built by hand, but by ``lab.find_issues(issue_types={"reweight": {...}})``; the dictionary
    holds the arguments. ``lab.get_issues("reweight")`` has a row for each of the data, with

    - ``is_reweight_issue``, whether the label looks wrong;
    - ``reweight_score``, its quality, 0 to 1, below 0.5 exactly for issues; NaN where the
      training never saw the sample;
    - ``reweight_given_label`` and ``reweight_predicted_label``, the latter for an issue always
      another, by the names of the classes; missing where they are not known.

    ``lab.get_info("reweight")`` has ``given_label`` and ``predicted_label`` besides, and every
    measure of :class:`~reweight.LabelIssues`, in the order of the data.

    Args:
        datalab: The ``Datalab``.
        dynamics: What learnt of the training; it is asked for its issues.
        issues: What ``dynamics.find_label_issues()`` returned, in its place.
        ids: Which id each row of the data had in training; by default its place.
        class_names: The name of each class that the model was trained on, in the words of the data.
            By default those of the issues, else those of the ``Datalab``: numbers are what the
            model was trained on, names are numbered in alphabetical order (a ``ClassLabel``'s in
            its own).

    Raises:
        TypeError: If there is not one of ``dynamics`` and ``issues``.
        ValueError: If there are more or fewer rows than ids, or the labels of the data are not
            those of the training.

    Example::

        import reweight.integrations.cleanlab
        from cleanlab import Datalab

        lab = Datalab({"text": texts, "label": labels}, label_name="label")
        lab.find_issues(issue_types={"reweight": {"dynamics": dynamics}})
        lab.report()
    """

    description: ClassVar[str] = (
        "Examples whose label did not hold while a model trained on it: the model predicted "
        "another class for long,\n    or the loss stayed high (reweight.TrainingDynamics)."
    )
    issue_name: ClassVar[str] = "reweight"
    verbosity_levels: ClassVar[dict[int, list[str]]] = {
        0: [],
        1: ["num_unseen"],
        2: ["mean_loss"],
        3: ["mean_margin", "mean_weight", "times_seen"],
    }

    def __init__(
        self,
        datalab: Any,
        dynamics: TrainingDynamics | None = None,
        issues: LabelIssues | None = None,
        ids: Any = None,
        class_names: Sequence[Any] | None = None,
        **_: Any,
    ) -> None:
        super().__init__(datalab)
        # All is refused here: what find_issues() raises, Datalab prints and goes on.
        self._columns: dict[str, Any] = in_order_of_the_data(_found(dynamics, issues), ids, datalab)
        names = class_names
        if names is None and issues is not None:
            names = issues.class_names
        self._names: list[Any] | None = _names(names, datalab)
        self._check_labels()

    def find_issues(self, **_: Any) -> None:
        """Fill ``issues``, ``summary`` and ``info``; called by ``Datalab``."""
        found, score = self._columns, self._columns["label_quality"]
        self.issues = pd.DataFrame(
            {
                "is_reweight_issue": found["is_label_issue"],
                "reweight_score": score,
                "reweight_given_label": self._named(found["given_label"]),
                "reweight_predicted_label": self._named(found["suggested_label"]),
            }
        )
        seen = score[~np.isnan(score)]
        self.summary = self.make_summary(float(seen.mean()) if len(seen) else 1.0)
        self.info = self.collect_info()

    def collect_info(self) -> dict[str, Any]:
        """Return every measure of the issues, in the order of the data."""
        own = ("id", "given_label", "suggested_label", "label_quality", "is_label_issue")
        parts = {name: values for name, values in self._columns.items() if name not in own}
        return {
            "given_label": self.issues["reweight_given_label"].to_numpy(),
            "predicted_label": self.issues["reweight_predicted_label"].to_numpy(),
            "num_unseen": int((parts["times_seen"] == 0).sum()),
            **parts,
        }

    def _named(self, classes: Any) -> Any:
        """Return the words of the data for classes, ``None`` where there is none."""
        names = self._names
        known = [None if c < 0 else c if names is None else names[c] for c in classes.tolist()]
        return pd.Series(known, dtype=object)

    def _check_labels(self) -> None:
        lab, given = self.datalab, self._columns["given_label"]
        largest = max(given.max(initial=-1), self._columns["suggested_label"].max(initial=-1))
        if self._names is not None and largest >= len(self._names):
            raise ValueError(
                f"the model was trained on a class {largest}, and there are names for "
                f"{len(self._names)}: {self._names}. Give class_names= in the issue type's options."
            )
        if not lab.class_names or np.ndim(lab.labels) != 1:
            return  # a regression, several labels a row, or none
        words = dict(enumerate(lab.class_names))
        for row, (ours, theirs) in enumerate(zip(self._named(given), lab.labels, strict=True)):
            if ours is not None and str(ours) != str(words[int(theirs)]):
                raise ValueError(
                    f"the labels of the data are not those that the model was trained on: row "
                    f"{row} is {words[int(theirs)]}, and was {ours} in training. Give ids=, "
                    f"the id that each row had in training, or class_names=, the name of each "
                    f"class in the words of the data."
                )


def _found(dynamics: Any, issues: Any) -> LabelIssues:
    if isinstance(issues, LabelIssues) and dynamics is None:
        return issues
    if isinstance(dynamics, TrainingDynamics) and issues is None:
        return dynamics.find_label_issues()
    raise TypeError(
        'the issue type "reweight" needs one of dynamics, a TrainingDynamics, and issues, what '
        f'its find_label_issues() returned: find_issues(issue_types={{"reweight": {{"dynamics": '
        f"dynamics}}}}); got {type(dynamics).__name__} and {type(issues).__name__}."
    )


def in_order_of_the_data(issues: LabelIssues, ids: Any, datalab: Any) -> dict[str, Any]:
    """Return the columns of the issues as arrays, a row of the data each.

    Raises:
        ValueError: If there are more or fewer rows than ids, or an id is no such.
    """
    rows = int(datalab.get_info("statistics")["num_examples"])
    known = issues.id.numpy()
    wanted = np.arange(rows) if ids is None else np.asarray(ids)
    place = {int(each): number for number, each in enumerate(known)}
    missing = [int(each) for each in wanted if int(each) not in place]
    if len(wanted) != rows or missing or (ids is None and len(known) != rows):
        raise ValueError(
            f"the data has {rows} rows and the training knew {len(known)} ids"
            + (f", not {missing[0]}" if missing else "")
            + ": give ids=, the id that each row had in training, in the issue type's options."
        )
    order = [place[int(each)] for each in wanted]
    return {name: values.numpy()[order] for name, values in issues.columns().items()}


def _names(given: Sequence[Any] | None, datalab: Any) -> list[Any] | None:
    """Return the word of the data for each class; ``None``: its number."""
    if given is not None:
        return list(given)
    words = list(datalab.class_names)
    return words if any(isinstance(word, str) for word in words) else None


for _task in ("classification", "regression", "multilabel"):
    register(ReweightIssueManager, task=_task)
