"""What an audit says of one mask, and of how far it can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Judgement:
    """One line of the audit.

    Attributes:
        scan: The scan's name.
        quality: How good its mask is thought to be, 0 to 1.
        doubt: What seems wrong with it, in a word or two; empty where nothing does.
        parts: The numbers behind it, by name.
        trusted: Whether it was taken on trust.
    """

    scan: str
    quality: float
    doubt: str
    parts: Mapping[str, float]
    trusted: bool = False


@dataclass(frozen=True)
class Verdict:
    """All judgements, the worst first, and what is known of the judge.

    Attributes:
        judgements: Of every scan with a mask, trusted ones included.
        belief: Sentences on how far the judge can be believed.
    """

    judgements: Sequence[Judgement]
    belief: Sequence[str] = field(default=())

    @property
    def judged(self) -> list[Judgement]:
        """Those of scans that were not trusted, the worst first."""
        return [one for one in self.judgements if not one.trusted]

    @property
    def doubtful(self) -> list[Judgement]:
        """Those that something seems wrong with, the worst first."""
        return [one for one in self.judged if one.doubt]

    @property
    def trusted(self) -> list[Judgement]:
        """Those of trusted scans, the worst first."""
        return [one for one in self.judgements if one.trusted]

    def sentence(self) -> str:
        """The verdict in one sentence."""
        found, judged = len(self.doubtful), len(self.judged)
        if judged == 1:
            return f"The one mask is {'doubtful; look at it' if found else 'not doubtful'}."
        if not found:
            return f"None of {judged} masks is doubtful."
        if found == 1:
            return f"1 of {judged} masks is doubtful; look at it first."
        return f"{found} of {judged} masks are doubtful; look at these first."
