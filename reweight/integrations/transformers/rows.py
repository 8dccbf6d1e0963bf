"""Which row of the data set a sample is, and of which group, from the data set to the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from torch.utils.data import Dataset, IterableDataset

ROW = "reweight_row"
GROUP = "reweight_group"


class WithColumns(Dataset[dict[str, Any]]):
    """A data set of dicts, each with something more in it.

    Args:
        dataset: The data set; its items are dicts.
        columns: By key, one value a row.
        copies: By key, the key of the item that it is a copy of.
    """

    def __init__(
        self,
        dataset: Any,
        columns: Mapping[str, Sequence[Any]],
        copies: Mapping[str, str] | None = None,
    ) -> None:
        self.dataset = dataset
        self.columns = columns
        self.copies = dict(copies or {})

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> dict[str, Any]:
        item = self.dataset[row]
        if not isinstance(item, Mapping):
            raise TypeError(
                f"the train_dataset must have dicts as items, as the Trainer's collators take "
                f"them, so that each can carry its row number; item {row} is a "
                f"{type(item).__name__}."
            )
        more = {key: values[row] for key, values in self.columns.items()}
        for key, column in self.copies.items():
            if column not in item:
                raise ValueError(
                    f"group_column={column!r} is not in item {row}, which has {sorted(item)}."
                )
            more[key] = item[column]
        return {**item, **more}


def numbered(dataset: Any, group_column: str | None) -> tuple[Any, list[str] | None]:
    """Return the data set with row numbers, and groups, as columns, and the groups' names.

    Args:
        dataset: What the Trainer is given as ``train_dataset``.
        group_column: The column that says which source a row is from.

    Returns:
        The data set, as it was if it is iterable only, and the names of the groups in the order of
        their numbers where the column holds strings, else ``None``.

    Raises:
        ValueError: If a column has the name of ours, or there is no such group column.
        TypeError: If groups are wanted of an iterable data set.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        if group_column is not None:
            raise TypeError(
                "group_column= needs a train_dataset with a length, and this one can only be "
                "iterated over."
            )
        return dataset, None
    if not has_columns(dataset):
        copies = {} if group_column is None else {GROUP: group_column}
        return WithColumns(dataset, {ROW: range(len(dataset))}, copies), None
    taken = {ROW, GROUP} & set(dataset.column_names)
    if taken:
        raise ValueError(
            f"the train_dataset has a column {min(taken)!r}, a name this integration needs for "
            f"itself. Rename it, or remove it if it is left from an earlier trainer."
        )
    names = None
    if group_column is not None:
        numbers, names = _groups_of(dataset, group_column)
        dataset = dataset.add_column(GROUP, numbers)
    return dataset.add_column(ROW, list(range(len(dataset)))), names


def has_columns(dataset: Any) -> bool:
    """Return whether it is one of the package datasets, to which columns can be added.

    Not where a transform replaces what its columns hold: ours would not be in what it returns.
    """
    named = all(hasattr(dataset, name) for name in ("add_column", "column_names", "features"))
    return named and dataset.format["type"] != "custom"


def _groups_of(dataset: Any, column: str) -> tuple[list[int], list[str] | None]:
    if column not in dataset.column_names:
        raise ValueError(
            f"group_column={column!r} is no column of the train_dataset, which has "
            f"{dataset.column_names}."
        )
    values = list(dataset.with_format(None)[column])
    feature = dataset.features[column]
    if type(feature).__name__ == "ClassLabel":
        return values, list(feature.names)
    if all(isinstance(value, str) for value in values):
        names = list(dict.fromkeys(values))
        place = {name: number for number, name in enumerate(names)}
        return [place[value] for value in values], names
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return values, None
    raise TypeError(
        f"group_column={column!r} must hold strings or integers, one a row; it holds {feature!r}."
    )


class RowCollator:
    """A collator beside which row numbers and groups go past, as lists of integers.

    As lists they stay on the CPU, where the reweighter reads them without a wait for the device.

    Args:
        collator: The Trainer's, which may drop what it does not know, or choke on it.
    """

    def __init__(self, collator: Callable[[list[Any]], Any]) -> None:
        self.collator = collator

    def __call__(self, features: list[Any]) -> Any:
        """Collate, and add what was set aside."""
        aside: dict[str, list[int]] = {}
        for key in (ROW, GROUP):
            if isinstance(features[0], Mapping) and key in features[0]:
                aside[key] = _whole(key, [feature[key] for feature in features])
        if aside:
            features = [{k: v for k, v in f.items() if k not in aside} for f in features]
        batch = self.collator(features)
        if aside and not isinstance(batch, MutableMapping):
            raise TypeError(
                f"the data collator must return a dict, to which row numbers can be added; got "
                f"{type(batch).__name__}."
            )
        for key, values in aside.items():
            batch[key] = values
        return batch


def _whole(key: str, values: list[Any]) -> list[int]:
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"group_column= must hold integers where the train_dataset is not one of the package "
            f"datasets; it holds {values[0]!r}. Number the groups, as GroupWeights does."
            if key == GROUP
            else f"{key} must hold integers; it holds {values[0]!r}."
        ) from error
