"""A table of labels, the one that looks most wrong first."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from reweight.dynamics.text_table import as_html, as_text
from reweight.dynamics.whole_files import written_whole

COLUMNS = ("id", "given_label", "suggested_label", "label_quality", "is_label_issue")


class LabelIssue(NamedTuple):
    """One row of :class:`LabelIssues`.

    Attributes:
        id: The row of the data set.
        given_label: The class given, -1 where it is not one class.
        suggested_label: The likeliest class, for an issue always another than the one given,
            where one is known.
        label_quality: 0 to 1, below 0.5 for an issue; NaN if never seen.
        is_label_issue: Whether the label looks wrong.
        parts: What that is made of, by name.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, TrainingDynamics
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> dynamics = TrainingDynamics(len(x))
        >>> reweighter = MetaReweighter(model, loss, dynamics=dynamics)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> for _ in range(10):
        ...     optimizer.zero_grad()
        ...     reweighter((x, y), trusted, ids=torch.arange(4)).loss.backward()
        ...     optimizer.step()
        >>> worst = next(iter(dynamics.find_label_issues()))
        >>> worst.id, worst.given_label, worst.suggested_label, worst.parts["times_seen"]
        (1, 0, 1, 10)
    """

    id: int
    given_label: int
    suggested_label: int
    label_quality: float
    is_label_issue: bool
    parts: Mapping[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class LabelIssues:
    """One row an id, worst first. All columns are tensors on the CPU, in the order of the rows.

    The names of the columns are those of cleanlab.

    Attributes:
        id: ``(M,)`` int64.
        given_label: ``(M,)`` int64, -1 where it is not one class.
        suggested_label: ``(M,)`` int64: the likeliest class, for an issue always another than the
            one given, where one is known.
        label_quality: ``(M,)`` float32, 0 to 1, below 0.5 exactly for issues; NaN if never seen.
        is_label_issue: ``(M,)`` bool.
        parts: By name, ``(M,)`` each: what that is made of.
        class_names: The names of the classes, to be shown; files hold numbers.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, TrainingDynamics
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> dynamics = TrainingDynamics(len(x))
        >>> reweighter = MetaReweighter(model, loss, dynamics=dynamics)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> for _ in range(10):
        ...     optimizer.zero_grad()
        ...     reweighter((x, y), trusted, ids=torch.arange(4)).loss.backward()
        ...     optimizer.step()
        >>> issues = dynamics.find_label_issues()
        >>> issues.num_issues, issues.id[issues.is_label_issue]
        (1, tensor([1]))
        >>> mended = y.clone()
        >>> mended[issues.id] = issues.suggested_label
        >>> mended
        tensor([1, 1, 0, 0])
        >>> issues.to_csv("issues.csv").name
        'issues.csv'
    """

    id: Tensor
    given_label: Tensor
    suggested_label: Tensor
    label_quality: Tensor
    is_label_issue: Tensor
    parts: Mapping[str, Tensor]
    class_names: tuple[str, ...] | None = None

    def columns(self) -> dict[str, Tensor]:
        """Return every column by name."""
        return {**{name: getattr(self, name) for name in COLUMNS}, **self.parts}

    @property
    def num_issues(self) -> int:
        """How many labels look wrong."""
        return int(self.is_label_issue.sum())

    @property
    def num_unseen(self) -> int:
        """How many ids the training never saw."""
        return int((self.parts["times_seen"] == 0).sum())

    def head(self, count: int = 10) -> LabelIssues:
        """Return the worst ``count`` rows, a table that prints itself."""
        return self[:count]

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, rows: slice) -> LabelIssues:
        columns = {name: values[rows] for name, values in self.columns().items()}
        own = {name: columns.pop(name) for name in COLUMNS}
        return LabelIssues(**own, parts=columns, class_names=self.class_names)

    def __iter__(self) -> Iterator[LabelIssue]:
        columns = {name: values.tolist() for name, values in self.columns().items()}
        own = {name: columns.pop(name) for name in COLUMNS}
        for number in range(len(self)):
            parts = {name: values[number] for name, values in columns.items()}
            yield LabelIssue(**{name: own[name][number] for name in COLUMNS}, parts=parts)

    def name_of(self, label: int) -> str:
        """Return the name of a class, its number where it has none, and a dash for -1."""
        if label < 0:
            return "–"
        return str(label) if self.class_names is None else self.class_names[label]

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with every column, indexed by id.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_pandas() needs pandas: pip install pandas. to_csv(path) and columns() do "
                "without it."
            ) from error
        columns = {name: values.tolist() for name, values in self.columns().items()}
        return pd.DataFrame(columns).set_index("id")

    def to_csv(self, path: str | Path) -> Path:
        """Write every column, and return the path; a file that is there is replaced whole.

        Numbers that are not known are left empty.
        """
        columns = self.columns()
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        with written_whole(Path(path)) as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([_cell(value) for value in row] for row in rows)
        return Path(path)

    def _shown(self, count: int) -> tuple[list[str], list[list[str]]]:
        rows: list[list[str]] = []
        for row in self[:count]:
            loss, seen = row.parts["mean_loss"], row.parts["times_seen"]
            labels = [self.name_of(row.given_label), self.name_of(row.suggested_label)]
            issue = "yes" if row.is_label_issue else "no"
            numbers = [f"{row.label_quality:.3f}", issue, f"{loss:.3f}", f"{seen:d}"]
            rows.append([str(row.id), *labels, *numbers])
        return [*COLUMNS, "mean_loss", "times_seen"], rows

    def _summary(self, shown: int) -> str:
        more = f", the worst {shown} shown" if shown < len(self) else ""
        return f"{len(self)} labels, {self.num_issues} of them issues{more}"

    def __repr__(self) -> str:
        header, rows = self._shown(20)
        return f"{as_text(header, rows)}\n{self._summary(len(rows))}"

    def _repr_html_(self) -> str:
        header, rows = self._shown(20)
        return as_html(header, rows, self._summary(len(rows)))


def _cell(value: Any) -> Any:
    return "" if value != value else value
