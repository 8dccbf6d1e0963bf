"""A small network from features of a sample to its weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from reweight._isolation.default_device import counted_on_the_cpu
from reweight.errors import check_number
from reweight.weightings.context import WeightingContext
from reweight.weightings.features import Feature, Features
from reweight.weightings.weighting import LogitWeighting

HIDDEN = 16


class WeightNet(LogitWeighting):
    """Weigh by a function V of features of the sample that is learnt beside the model: w ∝ σ(V).

    After Meta-Weight-Net (Shu et al. 2019), CMW-Net and DataRater (2025). With weights w_i = V_i
    the gradient of the trusted loss by the network's parameters is ``−α Σ s_i ∂V_i``, first-order
    in the scores of the step. Each training step takes one step of Adam on

        mean of −z_i V_i + (pull / 2) V_i²

    with the standardised scores z. The second term keeps V from growing for ever, as it would
    without; V then tends to (mean z of samples like this) / pull.

    Numbers are put on one scale first: less their mean, by their spread, clipped to ±3.

    Args:
        module: From ``(N, F)`` float32 to ``(N,)`` or ``(N, 1)``; it is moved to the device of the
            losses. By default two layers with 16 hidden units, the last of them zero, so that all
            weights are equal at first.
        features: Names, or functions ``(WeightingContext) -> (N,)`` or ``(N, F)``. ``"loss"`` and
            ``"margin"`` (the logit of the class given less the largest other) are those of the
            step, ``"remembered_loss"`` and ``"remembered_margin"`` running means of the sample's;
            ``"class"`` and ``"group"`` are coded as one column each (all zero if unknown). F
            counts numbers first, then classes, then groups.
        num_samples: How many ids there are, where something is remembered of each.
        num_classes: How many classes there are, for ``"class"``.
        num_groups: How many groups there are, for ``"group"``.
        rate: The learning rate of the network's Adam.
        pull: How strongly V is drawn to zero.
        seed: Of the default module's first weights.

    Raises:
        TypeError: If ``module`` is no module, or a feature neither name nor function.
        ValueError: If a setting is out of range or missing, or ``module`` has nothing to train.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, WeightNet
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> weighting = WeightNet(features=["loss", "class"], num_classes=2)
        >>> reweighter = MetaReweighter(model, loss, weighting=weighting)
        >>> for _ in range(3):
        ...     reweighter((x, y), trusted).loss.backward()
        >>> sum(p.numel() for p in weighting.module.parameters())  # two layers, of three features
        81
    """

    def __init__(
        self,
        module: nn.Module | None = None,
        features: Sequence[Feature] | Feature = ("remembered_loss",),
        *,
        num_samples: int | None = None,
        num_classes: int | None = None,
        num_groups: int | None = None,
        rate: float = 0.01,
        pull: float = 0.1,
        seed: int = 0,
    ) -> None:
        if module is not None and not isinstance(module, nn.Module):
            raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}.")
        check_number("rate", rate, above=True)
        check_number("pull", pull, above=True)
        self.rate: float = rate
        self.pull: float = pull
        self.seed: int = seed
        self._features = Features(features, num_samples, num_classes, num_groups)
        self.needs: Mapping[str, int | None] = self._features.needs
        self._own = module is None
        self.module: nn.Module | None = None
        if module is not None:
            self._take(module)

    @override
    def learn(self, context: WeightingContext) -> None:
        """Take one step of Adam on what this step says."""
        if context.losses.numel() == 0:
            return
        self._features.learn(context)
        with torch.enable_grad(), torch.autocast(context.losses.device.type, enabled=False):
            features = self._features(context)
            module = self._ready(features).train()
            values = self._values(module, features)
            module.eval()
            score = context.score.to(values)
            objective = (0.5 * self.pull * values.square() - score * values).mean()
            parameters = _trained(module)
            found = torch.autograd.grad(objective, parameters, materialize_grads=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        with counted_on_the_cpu():
            self._optimizer.step()
        self._optimizer.zero_grad()

    @override
    def logits(self, context: WeightingContext) -> Tensor:
        """Return V, ``(N,)``; zeros before anything was learnt."""
        if self.module is None:
            return torch.zeros_like(context.losses, dtype=torch.float32)
        with torch.no_grad(), torch.autocast(context.losses.device.type, enabled=False):
            features = self._features(context)
            return self._values(self._ready(features), features).to(torch.float32)

    def _values(self, module: nn.Module, features: Tensor) -> Tensor:
        values: Tensor = module(features.to(_trained(module)[0].dtype))
        count = len(features)
        if not isinstance(values, Tensor) or values.shape not in ((count,), (count, 1)):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"the module of a WeightNet must return ({count},) or ({count}, 1), one number for "
                f"each row of its input {tuple(features.shape)}; got {got}."
            )
        return values.reshape(count)

    def _ready(self, features: Tensor) -> nn.Module:
        module = self.module
        if module is None:
            module = self._take(_two_layers(features.shape[1], self.seed))
        if _trained(module)[0].device != features.device:
            module.to(features.device)
            self._optimizer.load_state_dict(self._optimizer.state_dict())  # which follows
        return module

    def _take(self, module: nn.Module) -> nn.Module:
        if not _trained(module):
            raise ValueError("module has no parameter that requires a gradient: nothing to train.")
        self._optimizer = torch.optim.Adam(_trained(module), lr=self.rate)
        self.module = module.eval()
        return module

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return network, optimiser, and what is remembered of samples and scales."""
        built = self.module is not None
        return {
            "module": dict(self.module.state_dict()) if self.module is not None else None,
            "optimizer": self._optimizer.state_dict() if built else None,
            "features": self._features.state_dict(),
        }

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another network, or of another data set.
        """
        if set(state) != {"module", "optimizer", "features"}:
            raise ValueError("the state is not of a WeightNet. Build the weighting as it was then.")
        self._features.load_state_dict(state["features"])
        weights = state["module"]
        if self._own:  # built when it is known how many features there are
            self.module = None
            if weights is not None:
                self._take(_two_layers(weights["0.weight"].shape[1], self.seed))
        if weights is None or self.module is None:
            return
        try:
            self.module.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"the state is of another network: {error}") from error
        self._optimizer.load_state_dict(state["optimizer"])

    def __repr__(self) -> str:
        own = "" if self._own else f"{type(self.module).__name__}, "
        return f"WeightNet({own}features={self._features!r}, rate={self.rate:g})"


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _two_layers(width: int, seed: int) -> nn.Module:
    # By a stream of its own: what the user draws elsewhere does not change.
    stream = torch.Generator(device="cpu").manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream, device="cpu", dtype=torch.float32)

    first = nn.Linear(width, HIDDEN, device="meta", dtype=torch.float32).to_empty(device="cpu")
    last = nn.Linear(HIDDEN, 1, device="meta", dtype=torch.float32).to_empty(device="cpu")
    with torch.no_grad():
        first.weight.copy_(drawn(HIDDEN, width) / width**0.5)
        first.bias.copy_(0.5 * drawn(HIDDEN))
        last.weight.zero_()
        last.bias.zero_()
    return nn.Sequential(first, nn.Tanh(), last)
