"""Which scans a row's networks were trained on, whatever they are called now."""

from __future__ import annotations

import warnings
from pathlib import Path

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.run.settings_file import kept_settings
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.splits import plan


def seen_in_training(context: Context, method: str) -> dict[str, str]:
    """Scans that at least one network of a row was trained on.

    With several folds or seeds, whose networks are averaged, that is a test scan of one of them too
    if it trained another.

    Args:
        context: The run.
        method: The row.

    Returns:
        ``NAME (ROLE)`` by the checksum of a scan's voxels; names and roles are those of the run.
        Of a run whose prepared scans are no longer there nothing is known, which is warned of.
    """
    config = context.config
    seen: dict[str, str] = {}
    if config.teacher_from is not None:
        other = Path(config.teacher_from)
        seen |= _with_roles(other / "prepare", kept_settings(other), ("teacher",))
    if ROWS[method].recipe is not None:
        roles: tuple[str, ...] = ("teacher", "trusted", "unlabelled")
        seen |= _with_roles(context.prepared, config, roles)
    elif config.teacher_from is None:
        seen |= _with_roles(context.prepared, config, ("teacher",))
    return seen


def _with_roles(prepared: Path, config: Config, roles: tuple[str, ...]) -> dict[str, str]:
    try:
        entries = read_manifest(prepared)
        replicates = plan(entries, config)
    except (OSError, UserError) as error:
        warnings.warn(
            f"whether scans took part in the training cannot be told: {prepared} has no list of "
            f"its scans that can be read ({error})",
            stacklevel=2,
        )
        return {}
    named = {
        name: role for one in replicates for role in reversed(roles) for name in one.roles[role]
    }
    return {
        entry.voxels_sha256: f"{entry.name} ({named[entry.name]})"
        for entry in entries
        if entry.name in named
    }
