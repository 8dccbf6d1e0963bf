"""Deals the scans of an audit out to its two networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.covid3d.scans.manifest import Entry

Roles = dict[str, tuple[str, ...]]
_ROLES = ("trusted", "unlabelled")


def deal(roles: Mapping[str, Sequence[str]], entries: Sequence[Entry]) -> tuple[Roles, Roles]:
    """Deals trusted and audited scans out to two halves, no patient to both.

    A network that has seen another scan of a patient is not as strange to that patient's masks as
    it is to others. Where so few patients would leave a half without a trusted or an audited scan,
    every other scan goes to each.

    Args:
        roles: Names of the scans ``trusted`` and ``unlabelled``, the audited ones; two or more of
            either.
        entries: The prepared scans.

    Returns:
        Names of each half, by role.
    """
    patient = {entry.name: entry.patient for entry in entries}
    side: dict[str, int] = {}
    halves: tuple[Roles, Roles] = ({}, {})
    for role in _ROLES:
        names: tuple[list[str], list[str]] = ([], [])
        # Those whose side is settled first, so that the others can even it out.
        for name in sorted(roles[role], key=lambda name: patient[name] not in side):
            fewer = int(len(names[0]) > len(names[1]))
            names[side.setdefault(patient[name], fewer)].append(name)
        if not all(names):
            first, second = ({one: tuple(roles[one][half::2]) for one in _ROLES} for half in (0, 1))
            return first, second
        for half, found in zip(halves, names, strict=True):
            half[role] = tuple(sorted(found))
    return halves
