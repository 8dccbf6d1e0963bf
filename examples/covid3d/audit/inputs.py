"""Of what the units of an audit's folder are made, so that a changed mask is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.covid3d.audit.dealing import deal
from examples.covid3d.audit.trusted import divide
from examples.covid3d.common.config import Config
from examples.covid3d.run.checksums import checksum_of_file
from examples.covid3d.run.inputs import Inputs, of_entry, settings_for
from examples.covid3d.scans.manifest import MANIFEST, read_manifest
from examples.covid3d.train.training import WEIGHTS

HALVES = ("half-1", "half-2")
"""Units of the stage ``student``."""

JUDGED = ("audit",)
"""The unit of the stage ``evaluate``."""

# Who is trusted is told by the scans' roles.
_TOLD_BY_ROLES = {"trusted", "trusted_scans"}


def inputs_of(out: Path, config: Config, stage: str, unit: Sequence[str], prepared: Path) -> Inputs:
    """What a unit would be made of now: settings, scans with masks, networks.

    Args:
        out: The audit's folder.
        config: Settings.
        stage: ``prepare``, ``student`` or ``evaluate``.
        unit: Names of the unit's folder within it.
        prepared: Folder of the prepared scans.

    Returns:
        Plain JSON types, as :func:`examples.covid3d.run.inputs.inputs_of` gives.
    """
    settings = settings_for(config, stage)
    found: Inputs = {"settings": {k: v for k, v in settings.items() if k not in _TOLD_BY_ROLES}}
    if stage != "prepare" and (prepared / MANIFEST).is_file():
        entries = read_manifest(prepared)
        roles: Mapping[str, Sequence[str]] = divide(entries, config).roles
        if stage == "student":
            roles = deal(roles, entries)[HALVES.index(unit[-1])]
        role_of = {name: role for role, names in roles.items() for name in names}
        found["scans"] = {
            entry.name: of_entry(role_of[entry.name], entry, mask=True, patient=True)
            for entry in entries
            if entry.name in role_of
        }
    if stage == "evaluate":
        found["network"] = [checksum_of_file(out / "student" / half / WEIGHTS) for half in HALVES]
    return found
