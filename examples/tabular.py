"""A table with wrong labels, in scikit-learn's style.

The breast cancer table of scikit-learn, a fifth of its labels flipped, 40 rows checked. Like any
classifier `ReweightedClassifier` stands in a pipeline; it lists the rows that look wrong too. Five
cuts into training and test rows: a network and trees learn the errors by heart, and learnt labels
mend that; a linear model, which cannot, does nearly as well.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reweight import Uniform
from reweight.integrations.sklearn import ReweightedClassifier


def main(cuts: int = 5) -> dict[str, float]:
    """Print accuracies, and how many of the rows listed are wrong; return them."""
    x, truth = load_breast_cancer(return_X_y=True)
    ways = {
        "logistic regression": LogisticRegression(),
        "gradient boosting": HistGradientBoostingClassifier(random_state=0),
        "plain network": ReweightedClassifier(
            labels=None, reweighter__scorer=Uniform(), trusted_coefficient=0.0, random_state=0
        ),
        "ReweightedClassifier": ReweightedClassifier(random_state=0),
    }
    found = dict.fromkeys(ways, 0.0)
    listed = hits = total = 0
    split = StratifiedShuffleSplit(cuts, test_size=150, random_state=0)
    for cut, (train, test) in enumerate(split.split(x, truth)):
        random = np.random.default_rng(cut)
        trusted = np.arange(len(train)) < 40
        wrong = (random.random(len(train)) < 0.2) & ~trusted
        labels = np.where(wrong, 1 - truth[train], truth[train])
        for name, way in ways.items():
            pipeline = make_pipeline(StandardScaler(), way)
            judged = (
                {"reweightedclassifier__trusted": trusted} if hasattr(way, "max_epochs") else {}
            )
            pipeline.fit(x[train], labels, **judged)
            found[name] += pipeline.score(x[test], truth[test]) / cuts
        issues = pipeline[-1].label_issues_["index"]
        listed, hits, total = listed + len(issues), hits + wrong[issues].sum(), total + wrong.sum()
    for name, accuracy in found.items():
        print(f"{name:22} {accuracy:6.1%}")
    print(f"{listed} labels look wrong; {hits} of them are, of {total} that are wrong in all")
    return {**found, "right": hits / listed, "found": hits / total}


if __name__ == "__main__":
    main()
