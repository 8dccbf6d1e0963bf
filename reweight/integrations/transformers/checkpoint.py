"""What is remembered of the samples, beside the model in each checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


class SaveReweighter(TrainerCallback):
    """Write a state into the folder of each checkpoint, when the Trainer has written its own.

    Args:
        state: Returns what is to be written, ``None``: nothing yet.
    """

    def __init__(self, state: Callable[[], dict[str, Any] | None]) -> None:
        self._state = state

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 - as the Trainer calls it
        **others: Any,  # noqa: ARG002
    ) -> None:
        """Write it, under a temporary name first, so that no half of a file is ever found."""
        folder = Path(args.output_dir or ".") / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        # A search over hyperparameters has folders of its own, and resumes from none of them.
        if args.save_only_model or not folder.is_dir():
            return
        found = self._state()
        if found is None:
            return
        file = folder / name_of(args)
        unfinished = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        try:
            torch.save(found, unfinished)
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)


def name_of(args: TrainingArguments) -> str:
    """Return the file's name: of several ranks each has its own, as of random numbers."""
    return "reweighter.pt" if args.world_size <= 1 else f"reweighter_{args.process_index}.pt"


def read(folder: str | os.PathLike[str], args: TrainingArguments) -> dict[str, Any]:
    """Return what was written.

    Raises:
        ValueError: If the checkpoint holds no such file.
    """
    file = Path(folder) / name_of(args)
    if not file.is_file():
        raise ValueError(
            f"the checkpoint {folder} holds no {file.name}: it was saved by a trainer without a "
            f"reweighter, or by another number of processes, and what was learnt of the samples "
            f"is not in it. To begin weighing from its model, load the model from it "
            f"(from_pretrained) and call train() without resume_from_checkpoint."
        )
    found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return found
