"""All that an audit found, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from examples.covid3d.audit.doubt import SOUND
from examples.covid3d.audit.quality import Assessment

_BELIEVED = 0.5


def worst_first(assessments: Sequence[Assessment]) -> list[Assessment]:
    """Sorts by quality, and then by what it is made of: many far ones have a quality of 0."""
    return sorted(assessments, key=lambda one: (one.quality, -one.distance, one.scan))


@dataclass(frozen=True)
class Verdict:
    """All assessments, and what is known of the judge.

    Attributes:
        judged: Of every scan that was not trusted, the worst first.
        trusted: Of the trusted scans, the worst first.
        belief: Sentences on how far the judge can be believed.
        planted: How many faults were planted in copies of trusted masks.
        found: How many of them were found.
    """

    judged: Sequence[Assessment]
    trusted: Sequence[Assessment]
    belief: Sequence[str] = field(default=())
    planted: int = 0
    found: int = 0

    @property
    def doubtful(self) -> list[Assessment]:
        """Those that something seems wrong with, the worst first."""
        return [one for one in self.judged if one.doubt != SOUND]

    def sentence(self) -> str:
        """The verdict in one sentence."""
        if self.found < _BELIEVED * self.planted:
            return (
                f"No verdict: of {self.planted} faults planted in trusted masks {self.found} are "
                "found. Train longer (--steps), or trust more scans."
            )
        found, judged = len(self.doubtful), len(self.judged)
        if judged == 1:
            return f"The one mask is {'doubtful; look at it' if found else 'not doubtful'}."
        if not found:
            return f"None of {judged} masks is doubtful."
        if found == 1:
            return f"1 of {judged} masks is doubtful; look at it first."
        return f"{found} of {judged} masks are doubtful; look at these first."
