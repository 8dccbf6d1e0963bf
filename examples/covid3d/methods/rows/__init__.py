"""Every row of the tables, by the name that ``--methods`` takes. A new one is an entry here."""

from __future__ import annotations

from typing import Any

from torch import nn

from examples.covid3d.methods.rows.contoured import contoured
from examples.covid3d.methods.rows.following import Following, agreeing
from examples.covid3d.methods.rows.progressive import Progressive
from examples.covid3d.methods.rows.remembering import Remembering, minus_loss
from examples.covid3d.methods.rows.reweighted import Reweighted
from examples.covid3d.methods.rows.row import Family, Row
from examples.covid3d.methods.rows.self_training import SelfTraining
from examples.covid3d.methods.rows.supervised import Supervised
from examples.covid3d.methods.rows.told import Told
from examples.covid3d.methods.rows.uncertainty_aware import UncertaintyAware
from examples.covid3d.train.lesson import EXPERT, PSEUDO, TRUSTED, Lesson
from examples.covid3d.train.loss import voxel_loss
from examples.covid3d.train.training import Length, Recipe
from reweight import GradientSimilarity, KeepAll, LastLayerGradient, Rectify, Uniform

# `best` takes three times the steps of other rows. In 60 % of them it is plain training, in the
# others two passes and the teacher's forward pass: 1.53 times the time of as many plain steps.
_BEST = 3.0
# A constant rate is lower than one that falls to zero.
_RATE = 0.3
_LONG = 1.55
_PAPER: Family = "Noisy teacher"
_SEMI: Family = "Semi-supervised"
_CONTROL: Family = "Control"
_BEYOND: Family = "Beyond"


def _similarity() -> GradientSimilarity:
    """By a named method: ``auto`` goes by the clock, and a run that resumes is the same bits."""
    return GradientSimilarity("forward")


def _both(lesson: Lesson) -> Any:
    """Both scores, mixed at λ (Eq. 8)."""
    mixing = lesson.config.mixing
    return mixing * _similarity() + (1 - mixing) * LastLayerGradient()


def _rgs(lesson: Lesson, model: nn.Module) -> Recipe:
    return Reweighted(lesson, model, {"scorer": _similarity(), "selector": KeepAll()})


def _rgm(lesson: Lesson, model: nn.Module) -> Recipe:
    return Reweighted(lesson, model, {"scorer": LastLayerGradient(), "selector": KeepAll()})


def _rgsm(lesson: Lesson, model: nn.Module) -> Recipe:
    return Reweighted(lesson, model, {"scorer": _both(lesson), "selector": KeepAll()})


def _rgs_al(lesson: Lesson, model: nn.Module) -> Recipe:
    return Reweighted(lesson, model, {"scorer": _similarity(), "selector": Rectify()})


def _rgsm_al(lesson: Lesson, model: nn.Module) -> Recipe:
    return Reweighted(lesson, model, {"scorer": _both(lesson), "selector": Rectify()})


def _rgsm_al_trusted(lesson: Lesson, model: nn.Module) -> Recipe:
    options = {"scorer": _both(lesson), "selector": Rectify(), "trusted_coefficient": 1.0}
    return Reweighted(lesson, model, options)


def _rgs_voxel(lesson: Lesson, model: nn.Module) -> Recipe:
    options = {"scorer": _similarity(), "selector": KeepAll(), "granularity": "element"}
    return Reweighted(lesson, model, options, voxel_loss)


def _random(lesson: Lesson, model: nn.Module) -> Recipe:
    return Reweighted(lesson, model, {"scorer": "random", "selector": KeepAll()})


def _equal(lesson: Lesson, model: nn.Module) -> Recipe:
    return Supervised(model, lesson.device, lesson.sampler(lesson.pseudo_scans(), PSEUDO))


def _equal_trusted(lesson: Lesson, model: nn.Module) -> Recipe:
    # The code of the weighted rows, so that nothing but the weights differs: batch statistics too.
    options = {"scorer": Uniform(), "selector": KeepAll(), "trusted_coefficient": 1.0}
    return Reweighted(lesson, model, options)


def _random_trusted(lesson: Lesson, model: nn.Module) -> Recipe:
    options = {"scorer": "random", "selector": KeepAll(), "trusted_coefficient": 1.0}
    return Reweighted(lesson, model, options)


def _remembering(scorer: Any = None) -> dict[str, Any]:
    """What rows that remember have in common."""
    return {
        "scorer": scorer or _similarity(),
        "selector": KeepAll(),
        "trusted_coefficient": 1.0,
        "timed": False,
    }


def _rgs_scan(lesson: Lesson, model: nn.Module) -> Recipe:
    return Remembering(lesson, model, _remembering())


def _rgs_scan_loss(lesson: Lesson, model: nn.Module) -> Recipe:
    return Remembering(lesson, model, _remembering(minus_loss))


def _rgs_source(lesson: Lesson, model: nn.Module) -> Recipe:
    return Remembering(lesson, model, _remembering(), by="source")


def _soft_voxel(lesson: Lesson, model: nn.Module) -> Recipe:
    return Remembering(lesson, model, _remembering(), weighted=False, mended=True)


def _best_remembering(lesson: Lesson, model: nn.Module) -> Recipe:
    return Remembering(lesson, model, _remembering(), mended=True)


def _supervised_all(lesson: Lesson, model: nn.Module) -> Recipe:
    return Supervised(model, lesson.device, lesson.sampler(lesson.expert_scans(), EXPERT))


def _supervised_trusted(lesson: Lesson, model: nn.Module) -> Recipe:
    return Supervised(model, lesson.device, lesson.sampler(lesson.trusted_scans(), TRUSTED))


def _best_length(lesson: Lesson) -> Length:
    return lesson.whole_length().times(_BEST)


def _long_length(lesson: Lesson) -> Length:
    """As many steps as fit into the time of `best`."""
    return _best_length(lesson).times(_LONG)


def _best(lesson: Lesson, model: nn.Module) -> Recipe:
    options = {"scorer": Uniform(), "selector": KeepAll()}
    return Following(lesson, model, _best_length(lesson).steps, options)


def _best_agreeing(lesson: Lesson, model: nn.Module) -> Recipe:
    options = {
        "scorer": _similarity(),
        "selector": agreeing,
        "granularity": "element",
    }
    return Following(lesson, model, _best_length(lesson).steps, options)


def _supervised_all_long(lesson: Lesson, model: nn.Module) -> Recipe:
    return Following(lesson, model, _long_length(lesson).steps, None)


ROWS = {
    "supervised": Row(
        "Fully supervised (teacher)",
        "the teacher: trained on the teacher's scans alone",
        "Fully supervised",
        None,
    ),
    "supervised-trusted": Row(
        "Supervised, trusted scans",
        "trained from scratch on the trusted scans alone",
        _CONTROL,
        _supervised_trusted,
        start="scratch",
        length=Lesson.whole_length,
    ),
    "supervised-all": Row(
        "Supervised, all experts' scans",
        "trained from scratch on the teacher's and the trusted scans",
        _CONTROL,
        _supervised_all,
        start="scratch",
        length=Lesson.whole_length,
    ),
    "equal": Row(
        "Equal weights",
        "mean loss over the pseudo-labelled batch",
        _CONTROL,
        _equal,
    ),
    "equal-trusted": Row(
        "Equal weights + trusted",
        "mean loss over the pseudo-labelled batch, plus that over the trusted batch",
        _CONTROL,
        _equal_trusted,
    ),
    "random": Row(
        "Random weights",
        "rectified normal weights, the control for any reweighting",
        _CONTROL,
        _random,
    ),
    "semi-supervised": Row(
        "Semi-supervised (Fan et al.)",
        "unlabelled scans in groups, labelled one after the other and added",
        _SEMI,
        Progressive,
        start="teacher",
    ),
    "rgs": Row("RGS", "gradient similarity, all samples kept", _PAPER, _rgs),
    "rgm": Row("RGM", "last-layer gradient magnitude, all samples kept", _PAPER, _rgm),
    "rgsm": Row("RGS&M", "both scores, all samples kept", _PAPER, _rgsm),
    "rgs-al": Row("RGS+AL", "gradient similarity, weights below 1/C dropped", _PAPER, _rgs_al),
    "rgsm-al": Row(
        "RGS&M+AL",
        "the paper's method: both scores, weights below 1/C dropped",
        _PAPER,
        _rgsm_al,
    ),
    "rgsm-al-trusted": Row(
        "RGS&M+AL + trusted",
        "beyond the paper: the mean trusted loss is added to the loss",
        _BEYOND,
        _rgsm_al_trusted,
    ),
    "rgs-voxel": Row(
        "RGS per voxel",
        "beyond the paper: gradient similarity of each voxel's cross-entropy, all voxels kept",
        _BEYOND,
        _rgs_voxel,
    ),
    "random-trusted": Row(
        "Random weights + trusted",
        "rectified normal weights and the trusted term: the control of rows that remember",
        _CONTROL,
        _random_trusted,
    ),
    "rgs-scan": Row(
        "RGS, remembered by scan",
        "beyond the paper: weights from what a scan's patches say together over the training",
        _BEYOND,
        _rgs_scan,
    ),
    "rgs-scan-loss": Row(
        "Loss, remembered by scan",
        "the same memory fed with the loss instead: what it learns without trust",
        _CONTROL,
        _rgs_scan_loss,
    ),
    "rgs-source": Row(
        "RGS, remembered by source",
        "beyond the paper: one weight for each scanner, reader or teacher that scans are from",
        _BEYOND,
        _rgs_source,
    ),
    "soft-voxel": Row(
        "Masks mended by memory",
        "beyond the paper: the mean teacher's mask as far as memory disbelieves the given one",
        _BEYOND,
        _soft_voxel,
    ),
    "best-remembering": Row(
        "Remembered and mended",
        "beyond the paper: scans weigh what memory says, and what they lack is mended",
        _BEYOND,
        _best_remembering,
    ),
    "ua-mt": Row(
        "UA-MT (Yu et al.)",
        "uncertainty-aware mean teacher, on all experts' scans and the unlabelled ones",
        _SEMI,
        UncertaintyAware,
        start="scratch",
        length=Lesson.whole_length,
    ),
    "self-training": Row(
        "Self-training (Chen et al.)",
        "all experts' scans and the network's own confident labels, in rounds",
        _SEMI,
        SelfTraining,
        start="teacher",
    ),
    "active-contour": Row(
        "Active contour (Ma et al.)",
        "all experts' scans and pseudo-labels refined by an active contour",
        _SEMI,
        contoured,
    ),
    "supervised-all-long": Row(
        "Supervised, all experts', long",
        "all experts' scans for as long a time as `best`, its moving average evaluated",
        _CONTROL,
        _supervised_all_long,
        start="scratch",
        length=_long_length,
        schedule="constant",
        rate=_RATE,
    ),
    "best": Row(
        "Best",
        "beyond the paper: all experts' scans, and soft labels of a teacher that follows",
        _BEYOND,
        _best,
        start="scratch",
        length=_best_length,
        schedule="constant",
        rate=_RATE,
    ),
    "best-agreeing": Row(
        "Best, agreeing voxels",
        "as `best`, but only voxels whose gradient agrees with that of the experts' scans count",
        _BEYOND,
        _best_agreeing,
        start="scratch",
        length=_best_length,
        schedule="constant",
        rate=_RATE,
    ),
    "oracle": Row(
        "Told which labels are good",
        "the bound: as equal weights + trusted, but pseudo-labels of true Dice below 0.5 left out",
        _CONTROL,
        Told,
        told=True,
    ),
    "nnunet": Row(
        "nnU-Net (Isensee et al.)",
        "predictions of nnU-Net, trained by itself on the exported folds",
        "Fully supervised",
        None,
        external=True,
    ),
}
"""Rows by name, in the order of the tables."""
