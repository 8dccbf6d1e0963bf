"""``dataset.json``: what a dataset in nnU-Net's layout says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.common.errors import problem

NAME = "dataset.json"

_CT = re.compile(r"\bct\b|computed tomography", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(mri?|magnetic resonance|t1\w*|t2\w*|flair|adc|dwi|pd|pet|spect|us|ultrasound)\b",
    re.IGNORECASE,
)
_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Description:
    """A dataset in its own words.

    Attributes:
        path: The file.
        channels: Names of the channels, for instance ``("CT",)``.
        labels: Values of each label that is not background, by its name; a region has several.
        ignored: The value that nnU-Net ignores, or None.
    """

    path: Path
    channels: tuple[str, ...]
    labels: Mapping[str, tuple[int, ...]]
    ignored: int | None

    @property
    def is_ct(self) -> bool | None:
        """Whether the first channel is CT; None where its name does not tell."""
        name = self.channels[0].replace("_", " ") if self.channels else ""
        if _CT.search(name):
            return True
        return False if _OTHER.search(name) else None

    @property
    def foreground(self) -> tuple[int, ...]:
        """All values that are labels, but for the ignored one."""
        return tuple(sorted({value for values in self.labels.values() for value in values}))

    @property
    def known(self) -> tuple[int, ...]:
        """All values that a mask may hold."""
        return (0, *self.foreground, *(() if self.ignored is None else (self.ignored,)))


def read_description(folder: Path) -> Description | None:
    """Reads ``dataset.json``, of nnU-Net v1 and the Decathlon or of v2; None if there is none.

    Raises:
        UserError: If it cannot be read, or its files are no NIfTI.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        channels = content.get("channel_names", content.get("modality", {}))
        names = [name for _, name in sorted(channels.items(), key=lambda item: int(item[0]))]
        labels = _labels(content.get("labels", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise problem(
            path,
            f"cannot be read ({error})",
            "nnU-Net's channel_names (v1: modality) and labels",
            "correct it, or remove it and give --intensity and --foreground-labels",
        ) from error
    ending = str(content.get("file_ending", _ENDINGS[0]))
    if ending not in _ENDINGS:
        raise problem(
            path,
            f"files of ending {ending}",
            f"NIfTI: {' or '.join(_ENDINGS)}",
            "convert the scans and masks, and set file_ending",
        )
    ignored = labels.pop("ignore", ())
    return Description(
        path, tuple(str(name) for name in names), labels, ignored[0] if ignored else None
    )


def _labels(content: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Values by name: v1 has names by value, v2 values by name, of regions several."""
    by_value = bool(content) and all(key.strip().isdigit() for key in content)
    pairs = (
        [(str(name), int(key)) for key, name in content.items()] if by_value else content.items()
    )
    found: dict[str, tuple[int, ...]] = {}
    for name, value in pairs:
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, bool) or int(one) != one or int(one) < 0 for one in values):
            raise ValueError(f"label {name!r} with the value {value!r}")
        found[name] = tuple(int(one) for one in values if int(one) != 0)
    return {name: values for name, values in found.items() if values}


def check_channels(description: Description) -> None:
    """Refuses a dataset of several channels: one is read.

    Raises:
        UserError: If there are more than one.
    """
    if len(description.channels) > 1:
        raise problem(
            description.path,
            f"{len(description.channels)} channels ({', '.join(description.channels)})",
            "images of one channel",
            "make a dataset of one of them, its files NAME_0000.nii.gz",
        )
