"""What a model shares, freezes, hooks, caches and writes into, in sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from torch import nn

from reweight._isolation.objective import Objective
from reweight._torch_internals import gradient_hooks, has_hooks, uses_compiler


def facts_of(objective: Objective, changed: tuple[int, int]) -> Iterator[str]:
    """Yield a sentence for everything about the model that scores had to take care of.

    Args:
        objective: The model, after some passes.
        changed: How many tensors and how many containers a training pass changed.
    """
    module = objective.module
    verdicts = objective.verdicts
    named = objective.named_parameters()
    yield f"{_trainable(named)} of {len({id(p) for _, p in named})} parameters are trained."
    if objective.model is not module:
        yield f"It is wrapped: {type(objective.model).__name__}."
    if shared := _several_names(list(module.named_modules(remove_duplicate=False))):
        yield f"Modules under several names: {_listed(shared)}."
    elif tied := _several_names(named):
        yield f"Parameters under several names: {_listed(tied)}."
    parts = objective.beside.items()
    if beside := [name for name, part in parts if any(True for _ in part.parameters())]:
        yield f"The loss or forward function brings modules along: {_listed(beside)}."
    if hooks := [name or "the model" for name, part in module.named_modules() if has_hooks(part)]:
        yield f"Hooks on {_listed(hooks)}; they run in scoring passes too."
    if seen := [name for name, p in named if gradient_hooks(p)]:
        yield f"Gradient hooks on {_listed(seen)}."
    if objective.hooks.change:
        yield "Gradient hooks change gradients: both halves of a score honour them."
    if verdicts.autocast_inside:
        yield "Autocast is entered inside the model; scores are taken without it."
    if verdicts.reentrant_inside:
        yield "Parts are checkpointed with use_reentrant=True; scores need a pass of their own."
    if verdicts.needs_compiler:
        yield "It does not run without PyTorch's compiler (torch.cond, perhaps)."
    if uses_compiler(objective.model) or verdicts.compiled_inside:
        yield "Parts of it are compiled; scores are taken eagerly."
    if written := [name for name, p in dict(named).items() if objective.writes_into(p)]:
        yield f"Its forward pass writes into {_listed(written)}; scoring passes into copies."
    if any(changed):
        yield (
            f"A forward pass changes {changed[0]} tensors (running statistics, say) and "
            f"{changed[1]} attributes, lists or dicts; a scoring pass puts them back."
        )


def _trainable(named: list[tuple[str, nn.Parameter]]) -> int:
    return len({id(p) for _, p in named if p.requires_grad})


def _several_names(
    named: list[tuple[str, nn.Module]] | list[tuple[str, nn.Parameter]],
) -> list[str]:
    names: dict[int, list[str]] = defaultdict(list)
    for name, thing in named:
        names[id(thing)].append(name)
    return [" = ".join(same) for same in names.values() if len(same) > 1]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
