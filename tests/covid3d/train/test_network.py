import pytest
import torch
from monai.networks.blocks import Convolution, ResidualUnit

from examples.covid3d.train.network import channels_of, initial_network
from support.unet import TABLE_1 as CHANNELS
from support.unet import build_network

# Table 1 of the paper row by row, without the identity and residual rows of 0, and with its two
# typos (110,720 and 110,621) corrected.
TABLE_1 = (
    897, 6_929, 27_713, 27_681, 110_721, 110_657, 442_625, 442_497, 918_017, 1_769_729, 663_617,
    110_657, 110_625, 27_681, 27_665, 6_929, 1_731, 110,
)  # fmt: skip


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_has_the_parameters_of_table_1():
    assert parameters(build_network()) == 4_806_481


def test_layers_are_the_rows_of_table_1():
    rows = []
    for name, module in build_network().named_modules():
        if isinstance(module, ResidualUnit):
            # The table counts the residual convolution with the first layer it bridges.
            first, *others = (parameters(unit) for unit in module.conv)
            rows += [first + parameters(module.residual), *others]
        elif isinstance(module, Convolution) and ".conv." not in f".{name}.":
            rows.append(parameters(module))
    assert tuple(rows) == TABLE_1
    assert sum(TABLE_1) == 4_806_481


def test_batch_normalisation_has_no_scales_or_shifts():
    norms = [m for m in build_network().modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert norms
    assert not any(m.affine for m in norms)


@pytest.mark.parametrize("side", [32, 48])
def test_logits_have_two_classes_and_the_shape_of_the_image(side):
    network = build_network().eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 32, side, 32)).shape == (1, 2, 32, side, 32)


def test_initial_state_depends_on_the_seed_alone_and_leaves_the_random_stream():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    a = initial_network(3, torch.device("cpu")).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    b = initial_network(3, torch.device("cpu")).state_dict()
    c = initial_network(4, torch.device("cpu")).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)


@pytest.mark.parametrize("channels", [CHANNELS, (4, 8), (3, 5, 7), (16, 32, 64)])
def test_channels_are_read_off_the_weights(channels):
    state = build_network(channels).state_dict()
    assert channels_of(state) == channels
    build_network(channels_of(state)).load_state_dict(state)
