"""Parameters that a loss depends on and nobody knows of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from reweight._isolation.graph_leaves import leaves_of
from reweight.errors import UnknownParametersError


class KnownLeaves:
    """Looks at what the graphs of scoring passes lead back to.

    A scoring pass puts other tensors in the place of parameters. Where its graph leads to a
    parameter itself, something was computed from it earlier and kept; where it leads to a leaf
    that another pass leads to as well, and that is nowhere in the modules, that is a parameter too,
    and no score would know of it.
    """

    def __init__(self) -> None:
        self._strangers: dict[int, Tensor] = {}
        self._given: dict[int, Tensor] = {}

    def forget(self) -> None:
        """Forget the leaves of earlier passes, at the beginning of a step."""
        self._strangers.clear()
        self._given.clear()

    def look(
        self, losses: Tensor, given: Iterable[Tensor], own: Mapping[str, nn.Parameter]
    ) -> None:
        """Look at the graph of ``losses``.

        Args:
            losses: Of a scoring pass.
            given: What they are to be differentiated by.
            own: The parameters in whose place tensors were put, by name.

        Raises:
            UnknownParametersError: If it leads to parameters that no score would take into account.
        """
        known = {id(tensor): tensor for tensor in given}
        strangers = [leaf for leaf in leaves_of(losses) if id(leaf) not in known]
        earlier = [leaf for leaf in strangers if id(leaf) in self._given]
        self._given.update(known)
        if earlier:
            raise UnknownParametersError(
                f"a pass used what another pass had computed from a parameter of shape "
                f"{tuple(earlier[0].shape)} and kept where it cannot be told from the user's own "
                f"(an object of another library, a generator). Keep it in an attribute of a "
                f"module, in a dict or a list, or compute it anew in every forward pass."
            )
        if not strangers:
            return
        names = {id(p): name for name, p in own.items()}
        kept = [names[id(leaf)] for leaf in strangers if id(leaf) in names]
        if kept:
            raise UnknownParametersError(
                f"the losses depend on the parameter {kept[0]} through something that was "
                f"computed from it before this step and kept (in a dict, a list, a closure, or by "
                f"a layer in front of the model), where no score can follow. Compute it anew in "
                f"every forward pass, inside the model or in forward=."
            )
        again = [leaf for leaf in strangers if id(leaf) in self._strangers]
        if again:
            shapes = ", ".join(str(tuple(leaf.shape)) for leaf in again[:4])
            raise UnknownParametersError(
                f"the losses depend on trainable tensors that neither the model nor the loss "
                f"holds, of shape {shapes}: no score would know of them. Make them parameters of "
                f"the model, or of a loss that is an nn.Module; what stands in front of the model "
                f"(an encoder) belongs into the model, or into forward= as a module that the "
                f"function mentions; or detach what is not to be trained."
            )
        self._strangers.update((id(leaf), leaf) for leaf in strangers)
