"""Which way a reweighter takes its scores, what was measured for that, and what it falls back to.

In sentences, from what has been found out about the model; nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reweight._derivative.ways import WAYS
from reweight._isolation.verdicts import Verdicts
from reweight._step.choice import FIRST, LAST, cheapest, medians


def explain(
    verdicts: Verdicts, methods: Sequence[str], modes: Sequence[str], *, timed: bool = True
) -> str:
    """Return the text.

    Args:
        verdicts: What has been found out about the model.
        methods: Of the scorers that take directional derivatives.
        modes: A sentence each of how scores are computed.
        timed: Whether ways are told apart by the time they take.
    """
    lines = list(modes)
    for method in dict.fromkeys(methods):
        lines += (
            _of_auto(verdicts, timed=timed)
            if method == "auto"
            else [f'method="{method}" was asked for.']
        )
    if methods:
        lines += _of_the_passes(verdicts)
    return "\n".join(lines)


def _of_auto(verdicts: Verdicts, *, timed: bool) -> Iterator[str]:
    if verdicts.way:
        yield f"auto takes {verdicts.way}, and went on to it because: {verdicts.reason}."
    elif verdicts.chosen:
        yield f"auto stays with {verdicts.chosen}, of the ways timed in steps {FIRST} to {LAST}:"
    elif not timed:
        yield f"auto takes {WAYS[0]}, and times no other (timed=False)."
    elif verdicts.turns == 0:
        yield f"auto begins with {WAYS[0]}; no training step has been timed."
    elif verdicts.turns < LAST:
        yield (
            f"auto takes the ways that go in turn, in steps {FIRST} to {LAST}; "
            f"{verdicts.turns} made so far:"
        )
    else:
        yield f"auto stays with {cheapest(verdicts)} until all times of steps to {LAST} are known:"
    for way, (seconds, steps) in medians(verdicts).items():
        yield f"  {way}: {1e3 * seconds:.3g} ms, median of {steps} step(s)"
    for way, reason in verdicts.refused.items():
        yield f"  {way}: left out: {reason}"
    behind = WAYS[WAYS.index(verdicts.way) + 1 :] if verdicts.way in WAYS else WAYS
    now = verdicts.way or verdicts.chosen or WAYS[0]
    following = [way for way in behind if way != now and way not in verdicts.refused]
    if following:
        yield f"Where that does not go or add up it falls back to {', then '.join(following)}."


def _of_the_passes(verdicts: Verdicts) -> Iterator[str]:
    apart = {
        "autocast is entered inside the model": verdicts.autocast_inside,
        "a part is checkpointed with use_reentrant=True": verdicts.reentrant_inside,
        "a part of it is compiled": verdicts.compiled_inside,
        f"the training pass cannot be followed: {verdicts.not_followed}": bool(
            verdicts.not_followed
        ),
    }
    for reason, holds in apart.items():
        if holds:
            yield f"Forward mode needs a pass of its own, for {reason.rstrip('.')}."
    if verdicts.hooks_change:
        yield "Gradient hooks change gradients, so that forward mode does not go."
