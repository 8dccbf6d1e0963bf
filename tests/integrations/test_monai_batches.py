"""``ReweightedTrainer``: ids, groups, crops and classes from the batch, and what goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, GroupWeights, SampleWeights, TrainingDynamics
from tests.integrations.medical import NOISY, TRUSTED, Scans, loaders

pytest.importorskip("monai", reason="monai is in the extra monai")
pytest.importorskip("ignite", reason="ignite is in the extra monai")

from monai.losses import DiceLoss

from reweight.integrations.monai import ReweightedTrainer
from tests.integrations.monai_runs import trainer


def test_several_crops_of_a_scan_have_its_id():
    from monai.data import list_data_collate

    class Crops(Scans):
        def __getitem__(self, place: int) -> Any:
            item = super().__getitem__(place)
            return [
                item,
                {**item, "image": item["image"].flip(-1), "label": item["label"].flip(-1)},
            ]

    noisy, _ = loaders()
    noisy.dataset.__class__ = Crops
    assert noisy.collate_fn is list_data_collate
    engine = trainer(1)
    engine.data_loader = noisy
    engine.run()
    assert len(engine.state.reweighted_step.weights) == 8
    assert (engine.reweighter.weighting.remembered != 0).all()


def test_trusted_batches_are_shuffled_anew_and_have_no_end():
    engine = trainer(4)
    engine.run()
    assert len(engine.seen) == 12 > 2 * -(-TRUSTED // 3)
    assert len({float(step.trusted_loss) for step in engine.seen}) == 12


def test_classification_with_cross_entropy_has_label_issues_and_mended_labels():
    from reweight import MendedLabels

    class Cases(Scans):
        def __getitem__(self, place: int) -> Any:
            return {**super().__getitem__(place), "label": place % 2}

    noisy, trusted = loaders()
    noisy.dataset.__class__ = trusted.dataset.__class__ = Cases
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    dynamics = TrainingDynamics(NOISY)
    engine = ReweightedTrainer(
        torch.device("cpu"),
        3,
        noisy,
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        nn.CrossEntropyLoss(),
        trusted_data_loader=trusted,
        reweighter={"labels": MendedLabels(NOISY, 2), "dynamics": dynamics},
    )
    engine.run()
    issues = dynamics.find_label_issues([place % 2 for place in range(NOISY)])
    assert not issues.parts["mean_margin"].isnan().any()
    assert issues.parts["times_seen"].tolist() == [3] * NOISY


def test_voxels_are_weighed_one_by_one_with_a_loss_of_voxels():
    def each(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target[:, 0].long(), reduction="none")

    each.reduction = "none"  # type: ignore[attr-defined]
    engine = trainer(
        1,
        loss=each,
        options={"granularity": "element", "scorer": GradientSimilarity("forward")},
    )
    engine.run()
    assert engine.state.output[0]["weights"].shape == (8, 8)


def test_what_goes_wrong_is_said():
    with pytest.raises(TypeError, match="iteration_update would take the place"):
        trainer(iteration_update=print)
    with pytest.raises(TypeError, match="reweighter options hold 'loss'"):
        trainer(options={"loss": nn.MSELoss()})
    with pytest.raises(TypeError, match=r"reweighter must be a dict of what .* got SampleW"):
        trainer(options=SampleWeights(NOISY))
    with pytest.raises(ValueError, match="one Dice of all samples together"):
        trainer(loss=DiceLoss(batch=True))
    with pytest.raises(TypeError, match="trusted_loader is an iterator"):
        trainer(trusted_data_loader=iter([1]))
    engine = trainer(1, ids_key="row")
    with pytest.raises(ValueError, match=r"no 'row' to take ids from; it has the keys \['id', 'im"):
        engine.run()


def test_a_batch_without_ids_is_refused_where_something_remembers():
    engine = trainer(1)
    engine.data_loader.dataset.ids = False
    with pytest.raises(ValueError, match=r"no 'id' to take ids from; it has the keys \['image'"):
        engine.run()
    with pytest.raises(ValueError, match="remembers something by ids: say where"):
        trainer(ids_key=None)
    with pytest.raises(ValueError, match="remembers something by groups: say where"):
        trainer(options={"weighting": GroupWeights(["a", "b"])})


def test_a_batch_without_ids_will_do_where_nothing_is_remembered():
    engine = trainer(1, options={})
    engine.data_loader.dataset.ids = False
    engine.run()
    assert len(engine.seen) == 3


def test_groups_are_taken_from_the_batch():
    options = {"weighting": GroupWeights(["even", "odd"])}
    engine = trainer(1, options=options, groups_key=lambda batch: batch["id"] % 2)
    engine.run()
    assert set(engine.reweighter.weighting.by_name()) == {"even", "odd"}
    assert (engine.reweighter.weighting.remembered != 0).all()
