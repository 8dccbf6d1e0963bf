"""A trainer of transformers, or one derived from it, whose training samples are weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

from reweight.errors import check_whole
from reweight.integrations.transformers.building import Forward, Options, check_options
from reweight.integrations.transformers.checkpoint import SaveReweighter, read
from reweight.integrations.transformers.export import exported
from reweight.integrations.transformers.rows import GROUP, ROW, RowCollator, numbered
from reweight.integrations.transformers.skipping import SkipEmptySteps
from reweight.integrations.transformers.weighing import Weighing
from reweight.meta_reweighter import MetaReweighter
from reweight.step import ReweightedStep

if TYPE_CHECKING:
    _Trainer = Trainer
else:
    _Trainer = object

_TRUSTED = "reweight_trusted"


class ReweightMixin(_Trainer):
    """Weighs the training samples of a ``transformers.Trainer``, or of TRL's SFT or DPO trainer.

    Write it first: ``class Weighted(ReweightMixin, SFTTrainer): pass``. The noisy batches are the
    trainer's own; trusted ones are drawn without end from ``trusted_dataset``, prepared and
    collated as the trainer does it. Each micro-batch of an accumulated step has an equal share.
    Evaluation and prediction are the trainer's. Each checkpoint holds what was remembered
    (``reweighter.pt``), and ``train(resume_from_checkpoint=...)`` goes on from it.

    Args:
        *args: As the trainer takes them; data sets by name.
        train_dataset: The samples to be weighed. Its rows are numbered, and what remembers samples
            is told their numbers.
        trusted_dataset: The samples that judge them, in the same form.
        reweighter: A dict of settings of :class:`~reweight.MetaReweighter`, or a function
            ``model -> MetaReweighter``, called with the model that the trainer has prepared in the
            first training step; ``forward=trainer.sample_losses`` is then what a dict has by
            itself.
        trusted_batch_size: ``per_device_train_batch_size`` if not given.
        group_column: The column that says which source a row is from: strings, integers or class
            labels.
        eval_dataset: As the trainer takes it.
        **kwargs: As the trainer takes them.

    Raises:
        TypeError: If ``reweighter`` is neither, or ``train_dataset`` is not given by name.
        ValueError: If a setting has no such value.

    Example::

        class Weighted(ReweightMixin, SFTTrainer):
            pass


        trainer = Weighted(
            model,
            args=SFTConfig("out"),
            train_dataset=noisy,
            trusted_dataset=trusted,
            reweighter={"granularity": "element", "trusted_coefficient": 0.1},
        )
        trainer.train()
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if Trainer in order and order.index(ReweightMixin) > order.index(Trainer):
            raise TypeError(
                f"ReweightMixin must stand before the trainer, or that one's methods are found "
                f"first: class {cls.__name__}(ReweightMixin, ...)."
            )

    def __init__(
        self,
        *args: Any,
        train_dataset: Any = None,
        trusted_dataset: Any = None,
        reweighter: Options = None,
        trusted_batch_size: int | None = None,
        group_column: str | None = None,
        eval_dataset: Any = None,
        **kwargs: Any,
    ) -> None:
        check_options(reweighter)
        if trusted_batch_size is not None:
            check_whole("trusted_batch_size", trusted_batch_size)
        if trusted_dataset is not None and not hasattr(trusted_dataset, "__len__"):
            raise TypeError(
                f"trusted_dataset must have a length, so that it can be shuffled and begun again; "
                f"got {type(trusted_dataset).__name__}."
            )
        order = type(self).__mro__
        behind = order[order.index(ReweightMixin) + 1 :]
        owner = next((c for c in behind if "compute_loss" in vars(c)), Trainer)
        self._weighing = Weighing(reweighter, owner, train_dataset, trusted_batch_size)
        if train_dataset is not None:
            kwargs["train_dataset"], names = numbered(train_dataset, group_column)
            self._weighing.names = names
        # TRL prepares data sets when it is made. As one more to evaluate on the trusted one is
        # prepared as it prepares any.
        beside = trusted_dataset is not None and any(c.__module__.startswith("trl.") for c in order)
        if beside:
            kwargs["eval_dataset"] = _with_trusted(eval_dataset, trusted_dataset, args, kwargs)
        elif eval_dataset is not None:
            kwargs["eval_dataset"] = eval_dataset
        super().__init__(*args, **kwargs)
        if beside:
            prepared: dict[str, Any] = {**self.eval_dataset}  # type: ignore[dict-item]
            trusted_dataset = prepared.pop(_TRUSTED)
            alone = None if eval_dataset is None else prepared.get("eval")
            self.eval_dataset = prepared if isinstance(eval_dataset, dict) else alone
        if train_dataset is None and self.train_dataset is not None:
            raise TypeError("give train_dataset= by name, so that its rows can be numbered.")
        self._weighing.trusted = trusted_dataset
        self._weighing.loss_function = self.compute_loss_func
        self.add_callback(SaveReweighter(self._weighing.state_dict))
        self.add_callback(SkipEmptySteps(self._weighing.empty))

    @property
    def reweighter(self) -> MetaReweighter | None:
        """The reweighter, which is built in the first training step; ``None`` before."""
        return self._weighing.reweighter

    @property
    def last_step(self) -> ReweightedStep | None:
        """The last training step, its loss without a graph; ``None`` before the first."""
        return self._weighing.last

    @property
    def sample_losses(self) -> Forward:
        """The losses, one a sample or token, that this trainer takes the mean of: a ``forward=``.

        Raises:
            ValueError: If they are not known.
        """
        return self._weighing.losses(self)

    def export_weights(self, column: str = "weight") -> Any:
        """Return the train_dataset as it was given, with a column of weights.

        Of ``SampleWeights`` that is what is remembered of each row, of ``MendedLabels`` how far
        its label is trusted; else the mean weight that it had in training, as a multiple of the
        mean of its batch: 1 is what equal weights give, ``None`` a row that was never seen. Where
        tokens are weighed each row has a list, one weight a token. Under several processes the
        mean is of what this one saw.

        Args:
            column: What it is called.

        Returns:
            A ``datasets.Dataset``; of another data set one whose items have one key more.

        Raises:
            RuntimeError: If nothing was trained yet.
            ValueError: If the rows are not known (packing), or there is such a column already.
        """
        return exported(self._weighing, column)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train, as the trainer does; what was remembered is resumed with the model.

        Raises:
            ValueError: If the checkpoint was saved by a trainer without a reweighter.
        """
        folder = resume_from_checkpoint
        if folder is True:
            latest: Any = get_last_checkpoint
            folder = latest(self.args.output_dir)
        self._weighing.loaded = read(folder, self.args) if folder else None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def get_train_dataloader(self) -> Any:
        """Return the trainer's loader, whose batches carry row numbers and groups besides."""
        trainer: Any = self
        collator, columns = trainer.data_collator, None
        if trainer.args.remove_unused_columns:  # ours would be among them
            trainer._set_signature_columns_if_needed()
            columns = trainer._signature_columns
            trainer._signature_columns = [*columns, ROW, GROUP]
        trainer.data_collator = RowCollator(collator)
        try:
            return super().get_train_dataloader()
        finally:
            trainer.data_collator = collator
            if columns is not None:
                trainer._signature_columns = columns

    def training_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG002
        """Do the trainer's step with the weighted loss.

        Raises:
            RuntimeError: If a ``compute_loss`` of the subclass leaves out the weights.
        """
        weighing = self._weighing
        function, self.compute_loss_func = self.compute_loss_func, None
        weighing.loss_function = function
        weighing.weighs, weighing.done = True, False
        # The weights of a batch sum to 1, whatever it holds: it is left to the trainer to divide
        # by the number of batches accumulated, as it does where no number of items is given.
        self.loss_is_scaled_for_ga = False
        try:
            loss: Tensor = super().training_step(model, inputs)
        finally:
            self.compute_loss_func = function
            weighing.weighs = False
        if not weighing.done:
            raise RuntimeError(
                f"the loss of this training step was not weighed: {type(self).__name__} has a "
                f"compute_loss of its own that does not call ReweightMixin's. Put what it computes "
                f'into compute_loss_func=, or into reweighter={{"forward": ...}}.'
            )
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return the weighted loss in a training step, the trainer's own anywhere else.

        Raises:
            ValueError: If outputs are asked for in a training step.
        """
        if not self._weighing.weighs:
            return super().compute_loss(
                model,
                inputs,
                return_outputs=return_outputs,
                num_items_in_batch=num_items_in_batch,
                **kwargs,
            )
        if return_outputs:
            raise ValueError(
                "compute_loss(return_outputs=True) in a training step: the weighted loss comes "
                "of several passes, of which none is the output."
            )
        return self._weighing.loss(self, model, inputs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as the trainer does, and with the training loss the summary of the last step."""
        last = self._weighing.last
        if "loss" in logs and last is not None:
            logs = {**logs, **last.summary()}
        super().log(logs, *args, **kwargs)


def _with_trusted(
    given: Any, trusted: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    settings = next((a for a in (kwargs.get("args"), *args) if hasattr(a, "eval_strategy")), None)
    if (
        given is None
        and str(getattr(settings, "eval_strategy", "no")).split(".")[-1].lower() != "no"
    ):
        raise ValueError("eval_strategy is set, and there is no eval_dataset to evaluate on.")
    beside = given if isinstance(given, dict) else {} if given is None else {"eval": given}
    return {**beside, _TRUSTED: trusted}
