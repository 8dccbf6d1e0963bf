"""Segmentation on masks in which lesions are missing: a weight for each mask, or each pixel.

An image has a bright lesion and a dim one, which most masks leave out; 24 masks are right. MONAI's
UNet is trained on its `DiceCELoss`, of which `per_sample` makes one value a mask, or on
cross-entropy with `granularity="element"`. A weight a mask can but drop the mask, and gains
little; a weight a pixel drops what is wrong in it, as the picture shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import PIXELS, lesions, save
from reweight import GradientSimilarity, MetaReweighter, SampleWeights, Uniform, paired
from reweight.integrations.monai import per_sample


def cross_entropy(output: Tensor, mask: Tensor) -> Tensor:
    """Return a loss a pixel, ``(C, 32, 32)``."""
    return nn.functional.cross_entropy(output, mask[:, 0], reduction="none")


def main(folder: str = "runs/noisy_masks", count: int = 300, epochs: int = 10) -> dict[str, float]:
    """Train four ways, print the Dice of each, draw a mask and its weights; return the table."""
    random, found = torch.Generator().manual_seed(0), {}
    (image, truth, given), (good, right, _), test = (lesions(n, random) for n in (count, 24, 200))
    noisy, trusted = TensorDataset(image, given, torch.arange(count)), TensorDataset(good, right)
    pixels = SampleWeights(count * 32 * 32)
    by_pixel = {"granularity": "element", "scorer": GradientSimilarity(), "weighting": pixels}
    dice = per_sample(DiceCELoss(to_onehot_y=True, softmax=True))
    ways: list[tuple[str, Any, dict[str, Any]]] = [
        ("DiceCE, plain", dice, {"scorer": Uniform()}),
        ("DiceCE, a weight a mask", dice, {"weighting": SampleWeights(count)}),
        ("cross-entropy, plain", cross_entropy, {"scorer": Uniform()}),
        ("cross-entropy, a weight a pixel", cross_entropy, by_pixel),
    ]
    for name, loss, settings in ways:
        torch.manual_seed(0)
        network = UNet(2, 1, 2, (8, 16, 32), (2, 2), num_res_units=1)
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        reweighter = MetaReweighter(network, loss, trusted_coefficient=0.1, **settings)
        batches = paired(DataLoader(noisy, 20, shuffle=True), DataLoader(trusted, 12, shuffle=True))
        for _ in range(epochs):
            for (x, y, ids), trusted_batch in batches:
                optimizer.zero_grad()
                rows = ids.view(-1, 1, 1) * 32 * 32 + PIXELS[0] if settings is by_pixel else ids
                step = reweighter((x, y), trusted_batch, ids=rows)
                step.loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        with torch.no_grad():
            seen = network.eval()(test[0]).argmax(1, keepdim=True)
        overlap = 2 * (seen * test[1]).sum((1, 2, 3)) / (seen + test[1]).sum((1, 2, 3))
        found[name] = float(overlap.mean())
        print(f"{name:32} Dice {found[name]:.3f}")
    weight = pixels.weights.view(given.shape)
    wrong, figure = given != truth, Figure(figsize=(8, 2.3), layout="constrained")
    found["right"], found["wrong"] = float(weight[~wrong].mean()), float(weight[wrong].mean())
    print("weight of right pixels {right:.2f}, of wrong ones {wrong:.2f}".format(**found))
    case = wrong.sum((1, 2, 3)).argmax()
    shown = {"image": image, "right mask": truth, "mask given": given, "weights": weight}
    for place, (title, of) in enumerate(shown.items()):
        axes = figure.add_subplot(1, 4, place + 1, title=title)
        axes.imshow(of[case, 0], "grey")
        axes.axis("off")
    save(figure, Path(folder) / "noisy_masks.png")
    return found


if __name__ == "__main__":
    main()
