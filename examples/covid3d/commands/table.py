"""The commands: a new one is an entry here. Nothing that computes is imported to list them."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass

from examples.covid3d.audit.trial.settings import Settings
from examples.covid3d.commands.options import a_path, annotated_scan_options
from examples.covid3d.methods.names import ROW_NAMES
from examples.covid3d.run.settings_file import AUDIT, CONFIG

PICTURES = 50
"""So many scans of an audit get one, where nothing else is asked for."""


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        name: What is typed.
        help: One line.
        work: ``module:function`` below ``examples.covid3d.commands``, imported when the command is
            given; the function takes the parsed arguments.
        add_options: Adds the command's own arguments to its parser.
        settings: Whether it takes the options that make the settings of a run.
        kept: The file of ``--out`` with the settings that suffice to go on with it, if it has one.
        out: What its ``--out`` is, in words.
    """

    name: str
    help: str
    work: str
    add_options: Callable[[argparse.ArgumentParser], None] | None = None
    settings: bool = False
    kept: str = ""
    out: str = "folder of a finished run (default: runs/small)"

    def run(self, parsed: argparse.Namespace) -> int:
        """Does the work, and gives the exit status: what the function returns, 0 for nothing."""
        name, function = self.work.split(":")
        module = importlib.import_module(f"examples.covid3d.commands.{name}")
        return getattr(module, function)(parsed) or 0


_RUN = "run folder (default: runs/PRESET); its settings are kept there"


def _stage(name: str, text: str) -> Command:
    return Command(name, text, "stages:run_command", settings=True, out=_RUN, kept=CONFIG)


def _for_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", type=a_path, help="a NIfTI file, or a folder or CSV of scans")
    add(
        "--method", required=True, choices=ROW_NAMES, metavar="ROW", help="row whose weights to use"
    )
    add("--masks", type=a_path, help="where to write, in a folder ROW (default: OUT/predicted)")
    add("--probabilities", action="store_true", help="foreground probabilities too, as NIfTI")
    add("--dicom-seg", action="store_true", help="masks of DICOM series as DICOM SEG too")
    add("--flip-average", action="store_true", help="average over the flips")
    add("--overlap", type=float, metavar="SHARE", help="overlap of windows")


def _for_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=a_path, help="file to write, NAME.pt2")
    parser.add_argument(
        "--method", required=True, choices=ROW_NAMES, metavar="ROW", help="row whose weights to use"
    )


def _for_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("raw", type=a_path, help="folder nnUNet_raw")
    parser.add_argument(
        "--dataset-id", type=int, default=501, help="number of fold 1 (default: 501)"
    )


def _for_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=a_path, help="folder of NAME.nii.gz")
    parser.add_argument("--fold", type=int, default=1, help="which fold (default: 1)")


def _for_audit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--redo", action="store_true", help="train again what is finished under other settings")
    add("--seed", type=_whole, metavar="N", help="of all that chance decides")
    add(
        "--pictures",
        type=_whole,
        default=PICTURES,
        metavar="N",
        help="of the N worst (default: 50)",
    )
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--trusted", type=_whole, metavar="N", help="trust N scans drawn by chance")
    trust.add_argument(
        "--trusted-scans", type=a_path, metavar="FILE", help="trust those it names, one a line"
    )
    annotated_scan_options(parser.add_argument_group("data"))
    add = parser.add_argument_group("training").add_argument
    # Its long name is that of the setting, by which a refusal calls it.
    add(
        *("--steps", "--student-steps"),
        type=_positive,
        metavar="N",
        help="of each of the two trainings (default: 200)",
    )
    add("--channels", type=int, nargs="+", metavar="N", help="channels of each level")
    add("--patch", type=int, nargs=3, metavar=("X", "Y", "Z"), help="patch size, voxels")
    add("--batch-size", type=int, metavar="C", help="patches in a batch")
    add("--learning-rate", type=float, metavar="LR", help="initial learning rate of Adam")
    add("--flip-axes", type=int, nargs="*", metavar="A", help="axes of random flips, of 0 1 2")
    add("--checkpoint-every", type=int, metavar="N", help="steps between checkpoints")


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if _whole(text) == 0:
        raise argparse.ArgumentTypeError("0 is less than 1")
    return int(text)


def _for_inspect(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", nargs="?", type=a_path, help="a folder or CSV of scans; the same as --data")
    add("--every", action="store_true", help="read the voxels of every scan, however many")


def _for_trial(parser: argparse.ArgumentParser) -> None:
    default = Settings()
    add = parser.add_argument
    add(
        "--data",
        type=a_path,
        required=True,
        metavar="DIR",
        help="Task04_Hippocampus, in nnU-Net's layout",
    )
    add("--jobs", type=int, default=1, metavar="N", help="trainings at the same time")
    add("--seeds", default="0,1,2", metavar="A,B", help="seeds (default: 0,1,2)")
    add("--trusted", default="8,24", metavar="A,B", help="numbers of trusted scans (default: 8,24)")
    add("--rows", default=",".join(default.rows), metavar="A,B", help="which rows (default: all)")
    add("--steps", type=int, default=default.steps, help="steps of a row")
    add("--audit-steps", type=int, default=default.audit_steps, help="of each student it asks")
    add("--validation", action="store_true", help="test on others than the tested patients")


COMMANDS = (
    Command(
        "inspect",
        "show what a folder would be taken for, and what rejected; nothing is written",
        "inspect:inspect_command",
        _for_inspect,
        settings=True,
        out="run folder, to start from the settings kept there",
    ),
    _stage("run", "all the stages; what is complete is skipped"),
    _stage("prepare", "resample and window the scans (draw the phantoms first, without --data)"),
    _stage("teacher", "train the teacher on a few expert-annotated scans"),
    _stage("pseudo-label", "label the unlabelled scans with the teacher"),
    _stage("student", "train a student for each row"),
    _stage("evaluate", "segment the test scans and measure"),
    _stage("report", "write report.html, the tables and the figures"),
    Command(
        "audit",
        "find the masks that look wrong",
        "audit:audit_command",
        _for_audit,
        kept=AUDIT,
        out="folder of the audit (default: runs/audit); its settings are kept there",
    ),
    Command(
        "audit-trial",
        "try the audit on Task04 Hippocampus: experts' masks, of which many are made faulty",
        "audit_trial:audit_trial_command",
        _for_trial,
        out="folder of the trial (default: runs/hippocampus-audit)",
    ),
    Command(
        "predict",
        "segment new scans, each on its own grid",
        "finished_run:predict_command",
        _for_predict,
    ),
    Command(
        "export-model",
        "write a row's networks as one file that PyTorch alone loads",
        "export_model:export_model_command",
        _for_model,
    ),
    Command(
        "export-nnunet",
        "write the folds in nnU-Net's raw format",
        "finished_run:export_command",
        _for_export,
    ),
    Command(
        "import-nnunet",
        "measure nnU-Net's predictions as the row `nnunet`",
        "finished_run:import_command",
        _for_import,
    ),
)
"""In the order in which help lists them."""
