"""Any row, with the moving average of its weights in their place."""

from __future__ import annotations

from typing import Any

from torch import nn

from examples.covid3d.methods.rivals.mean_teacher import MeanTeacher
from examples.covid3d.train.training import Logged, Outcome, Recipe


class Averaged(Recipe):
    """Trains as another recipe does; what is evaluated is the moving average of the weights.

    That of the last hundred steps or so, running statistics of batch normalisation included: in a
    short training those of the last batches alone make one network draw larger than the next.

    Args:
        recipe: How to train.
        model: What it trains.
        decay: Of the average.
    """

    def __init__(self, recipe: Recipe, model: nn.Module, decay: float = 0.98) -> None:
        self._recipe, self._model = recipe, model
        self._average = MeanTeacher(model, decay)

    def __call__(self, step: int) -> Outcome:
        """Takes the recipe's step."""
        outcome = self._recipe(step)
        self.waited, self.final = self._recipe.waited, self._recipe.final
        return outcome

    def after_step(self, step: int) -> None:
        """The average follows."""
        self._recipe.after_step(step)
        self._average.update(self._model)

    def evaluated(self) -> nn.Module:
        """The average."""
        return self._average.module

    def tables(self) -> dict[str, list[Logged]]:
        """Those of the recipe."""
        return self._recipe.tables()

    def state_dict(self) -> dict[str, Any]:
        """The recipe's, and the average."""
        return {"recipe": self._recipe.state_dict(), "average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes both back."""
        self._recipe.load_state_dict(state["recipe"])
        self._average.load_state_dict(state["average"])
