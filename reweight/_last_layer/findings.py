"""What was found out about a model in earlier steps, and said about it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from reweight._warnings import warn

# Models whose graph changes from step to step must not fill the memory.
_MOST_ENTRIES = 256
_MOST_MAPS = 8
_FULL_TESTS = 2


class Findings:
    """Which graphs were tested in full, and what is a help the next time.

    None of it is relied on alone: it decides how a step tests, not whether.
    """

    def __init__(self) -> None:
        self.owners: dict[str, Tensor] = {}  # guesses, each step's test looks at them anew
        self.gates: dict[str, int] = {}  # the same
        self._passed: dict[str, int] = {}
        self._tests = 0
        self._said: dict[str, int] = {}

    def trusts(self, graph: str) -> bool:
        """Whether ``graph`` has passed as many full tests as are asked of it."""
        return self._passed.get(graph, 0) >= _FULL_TESTS

    def passed(self, graph: str) -> None:
        """Count a full test that found nothing coupled."""
        self._passed[graph] = self._passed.pop(graph, 0) + 1
        while len(self._passed) > _MOST_ENTRIES:
            del self._passed[next(iter(self._passed))]

    def next_seed(self) -> int:
        """Return another seed for every test."""
        self._tests += 1
        return self._tests

    def remember(self, graph: str, owners: Tensor) -> None:
        """Keep ``owners`` as the guess for ``graph``."""
        self.owners.pop(graph, None)
        self.owners[graph] = owners
        while len(self.owners) > _MOST_MAPS:
            del self.owners[next(iter(self.owners))]

    def note_gate(self, graph: str, number: int) -> None:
        """Keep which place of ``graph`` was found to be passed by all that is learnt."""
        self.gates[graph] = number
        while len(self.gates) > _MOST_ENTRIES:
            del self.gates[next(iter(self.gates))]

    def times(self, what: str) -> int:
        """Return how often this was called for ``what`` before."""
        self._said[what] = self._said.get(what, 0) + 1
        return self._said[what] - 1

    def say_once(self, cause: str, message: str) -> None:
        """Give a ``UserWarning``, once for each cause."""
        if self.times(cause) == 0:
            warn(message)

    def state_dict(self) -> dict[str, Any]:
        """Return all that decides how later steps test and what they say."""
        return {"passed": dict(self._passed), "tests": self._tests, "said": dict(self._said)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self._passed = dict(state["passed"])
        self._tests = int(state["tests"])
        self._said = dict(state["said"])
        self.owners, self.gates = {}, {}
