"""The networks that come with trained weights, and these weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from places import ROOT
from torch import Tensor, nn
from torch.nn import functional

from fi.campaign.subject import Subject
from fi.datamodules import SaccadeMNIST
from fi.models import CSNN, NMNIST, SEWResNet, SpikingVGG
from fi.models.parts import resized
from fi.network.checkpoint import load_checkpoint
from fi.network.stages import SpikingNetwork

PRETRAINED = ROOT / "models" / "pretrained"
PUBLISHED = ROOT.parent / "shared" / "data" / "spikingjet"
NETWORKS = [NMNIST, CSNN, SpikingVGG, SEWResNet]
#: What the weights reach, less one per cent or more.
GOLDEN_ACCURACY = {NMNIST: 0.92, CSNN: 0.96, SpikingVGG: 0.95, SEWResNet: 0.95}
#: Part of a layer's neurons that fires: padded convolutions see corners where no event ever is.
FIRING = {NMNIST: 0.85, CSNN: 0.85, SpikingVGG: 0.75, SEWResNet: 0.75}
#: Stages of each network.
STAGES = {NMNIST: 2, CSNN: 3, SpikingVGG: 7, SEWResNet: 9}


def events(*shape: int) -> Tensor:
    """Sparse event counts of this shape."""
    torch.manual_seed(0)
    return torch.poisson(torch.full(shape, 0.15))


@pytest.fixture(scope="module")
def digits(saccade_events: Path) -> SaccadeMNIST:
    data = SaccadeMNIST(root=saccade_events)
    data.setup("test")
    return data


def pretrained(cls: type[SpikingNetwork]) -> SpikingNetwork:
    network = cls().eval()
    load_checkpoint(network, PRETRAINED / str(cls.default_checkpoint))
    return network


def test_nmnist_has_the_published_words_in_the_published_shapes() -> None:
    subject = Subject(NMNIST(), [(events(3, 2, 2, 34, 34), torch.tensor([0, 1]))])
    shapes = {family.name: family.shape for family in subject.families}
    assert shapes == {
        "fc1.weight": (20, 578),
        "fc1.bias": (20,),
        **{f"lif1.{word}": (20,) for word in ("threshold", "beta", "potential", "spike")},
        "fc2.weight": (10, 20),
        "fc2.bias": (10,),
        **{f"lif2.{word}": (10,) for word in ("threshold", "beta", "potential", "spike")},
    }
    assert sum(family.words for family in subject.families) == 11_910


def test_csnn_has_the_published_names_and_shapes() -> None:
    subject = Subject(CSNN(), [(events(3, 1, 2, 34, 34), torch.tensor([0]))])
    shapes = {family.name: family.shape for family in subject.families}
    maps = {"lif1": (12, 14, 14), "lif2": (32, 5, 5), "lif3": (10,)}
    assert shapes == {
        "conv1.weight": (12, 2, 5, 5),
        "conv1.bias": (12,),
        "conv2.weight": (32, 12, 5, 5),
        "conv2.bias": (32,),
        "fc1.weight": (10, 800),
        "fc1.bias": (10,),
        **{f"{lif}.{word}": maps[lif] for lif in maps for word in ("potential", "spike")},
        **{f"{lif}.{word}": maps[lif][-1:] for lif in maps for word in ("beta", "threshold")},
    }


@pytest.mark.parametrize("cls", [SpikingVGG, SEWResNet])
def test_the_norms_and_all_they_store_are_fault_sites(cls: type[SpikingNetwork]) -> None:
    network = cls()
    subject = Subject(network, [(events(3, 1, 2, 34, 34), torch.tensor([0]))])
    shapes = {family.name: family.shape for family in subject.families}
    maps = {
        name: module.num_features
        for name, module in network.named_modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
    }
    assert len(maps) == {SpikingVGG: 6, SEWResNet: 9}[cls]
    for name, channels in maps.items():
        for word in ("weight", "bias", "running_mean", "running_var"):
            assert shapes[f"{name}.{word}"] == (channels,)


def test_sew_resnet_adds_up_the_spikes_of_all_blocks_before() -> None:
    network = SEWResNet()
    numbers = {stage.neuron: number for number, stage in enumerate(network.stages(), start=1)}
    sources = [[numbers[n] for n in stage.sources] for stage in network.stages()]
    assert sources == [[], [], [2], [], [2, 4], [], [2, 4, 6], [], [2, 4, 6, 8]]
    assert all(stage.merge == "add" for stage in network.stages())


@pytest.mark.parametrize("cls", NETWORKS)
def test_scores_add_up_to_one(cls: type[SpikingNetwork]) -> None:
    scores = cls()(events(5, 3, 2, 34, 34))
    assert scores.shape == (3, 10)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(3))


def test_events_are_resized_to_the_nearest_pixel() -> None:
    frames = events(2, 3, 2, 34, 34)
    seen = NMNIST().encode(frames)
    torch.testing.assert_close(seen, frames[..., ::2, ::2].flatten(2))
    assert CSNN().encode(frames).shape == (2, 3, 2, 32, 32)
    assert CSNN(resize=None).encode(frames) is frames


@pytest.mark.parametrize(
    ("pixels", "size"), [(34, 17), (128, 32), (34, 32), (9, 40), (7, 1), (5, 3)]
)
def test_the_nearest_pixels_are_those_of_interpolate(pixels: int, size: int) -> None:
    frames = torch.randn(2, 3, 2, pixels, pixels)
    wanted = functional.interpolate(frames.flatten(0, 1), size=(size, size), mode="nearest")
    assert torch.equal(resized(frames, size).flatten(0, 1), wanted)


@pytest.mark.parametrize("cls", NETWORKS)
def test_layer_by_layer_equals_step_by_step(cls: type[SpikingNetwork]) -> None:
    network = pretrained(cls)
    frames = events(10, 4, 2, 34, 34)
    assert len(network.stages()) == STAGES[cls]
    counts = network.statistic(frames)
    network.layer_by_layer = False
    torch.testing.assert_close(network.statistic(frames), counts)
    assert counts.unique().numel() > 3


@pytest.mark.parametrize(
    ("sharing", "first", "last"),
    [
        ("column", [14], [10]),
        ("channel", [12, 1, 1], [10]),
        ("neuron", [12, 14, 14], [10]),
        ("layer", [], []),
    ],
)
def test_sharing_says_which_neurons_have_a_beta_in_common(
    sharing: str, first: list[int], last: list[int]
) -> None:
    network = CSNN(sharing=sharing)  # type: ignore[arg-type]
    for name in ("beta", "threshold"):
        assert list(getattr(network.lif1, name).shape) == first
        assert list(getattr(network.lif3, name).shape) == last
    assert network(events(3, 2, 2, 34, 34)).shape == (2, 10)


def test_sizes_are_arguments() -> None:
    convolutional = CSNN((1, 20, 24), 4, channels=(3, 5), kernel=3, resize=None)
    assert convolutional.fc1.weight.shape == (4, 5 * 3 * 4)
    assert convolutional(events(3, 2, 1, 20, 24)).shape == (2, 4)
    fully_connected = NMNIST((1, 20, 24), 4, hidden=7, resize=None, softmax=False)
    assert fully_connected.fc1.weight.shape == (7, 480)
    counts = fully_connected(events(3, 2, 1, 20, 24))
    assert counts.shape == (2, 4)
    assert torch.equal(counts, counts.round())
    vgg = SpikingVGG((1, 20, 24), 4, channels=(3, 5), pools=(2, 1), hidden=6, resize=None)
    assert vgg.fc1.weight.shape == (6, 5 * 10 * 12)
    assert vgg(events(3, 2, 1, 20, 24)).shape == (2, 4)
    residual = SEWResNet((1, 20, 24), 4, channels=(3, 5), blocks=1, last_pool=5, resize=None)
    assert residual.fc1.weight.shape == (4, 5 * 1 * 1)
    assert residual(events(3, 2, 1, 20, 24)).shape == (2, 4)


@pytest.mark.parametrize("cls", NETWORKS)
def test_other_frames_are_an_error_that_names_both_shapes(cls: type[SpikingNetwork]) -> None:
    with pytest.raises(ValueError, match=r"\[2, (17, 17|32, 32)\].*\[1, (17, 17|32, 32)\]"):
        cls()(events(3, 2, 1, 34, 34))
    with pytest.raises(ValueError, match=r"\[3, 2, 700\]"):
        cls()(events(3, 2, 700))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": 1.5}, r"beta must lie in 0\.\.1, got 1\.5"),
        ({"threshold": 0.0}, "threshold must be above 0, got 0"),
        ({"input_shape": (2, 34)}, "input_shape must be"),
        ({"resize": 0}, "resize must be"),
        ({"resize": 9}, "2x2 are too small for two convolutions"),
        ({"sharing": "row"}, "sharing must be one of column, channel, neuron, layer, got 'row'"),
    ],
)
def test_arguments_out_of_range_are_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CSNN(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (SpikingVGG, {"pools": (2, 2)}, r"pools must be one for each of channels .*, got \(2, 2\)"),
        (SpikingVGG, {"channels": (), "pools": ()}, "pools must be one for each of channels"),
        (SpikingVGG, {"pools": (2, 0, 1, 1, 1)}, "a mean pool must be at least 1, got 0"),
        (SpikingVGG, {"resize": 4}, "maps of 1x1 are too small for a mean pool of 2"),
        (SEWResNet, {"blocks": 0}, "blocks must be at least 1, got 0"),
        (SEWResNet, {"last_pool": 9}, "maps of 8x8 are too small for a mean pool of 9"),
        (SEWResNet, {"pool": 0}, "a mean pool must be at least 1, got 0"),
        (SEWResNet, {"beta": 1.5}, r"beta must lie in 0\.\.1, got 1\.5"),
    ],
)
def test_arguments_of_the_deeper_networks_out_of_range_are_errors(
    cls: type[SpikingNetwork], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", NETWORKS)
def test_shipped_weights_are_small_plain_and_physical(cls: type[SpikingNetwork]) -> None:
    path = PRETRAINED / str(cls.default_checkpoint)
    assert path.stat().st_size < 1_000_000
    state = torch.load(path, weights_only=True)
    assert list(state) == list(cls().state_dict())
    for name, value in state.items():
        whole = name.endswith(("_val", ".num_batches_tracked"))
        assert value.dtype == (torch.int64 if whole else torch.float32)
        if name.endswith(".beta"):
            assert ((value > 0) & (value < 1)).all()
        if name.endswith(".threshold"):
            assert (value > 0).all()


@pytest.mark.parametrize("cls", NETWORKS)
@torch.no_grad()
def test_shipped_weights_on_all_test_digits(
    cls: type[SpikingNetwork], digits: SaccadeMNIST
) -> None:
    network = pretrained(cls)
    right = [network(x).argmax(dim=1) == y for x, y in digits.test_dataloader()]
    assert sum(map(len, right)) == 1000
    assert torch.cat(right).float().mean() >= GOLDEN_ACCURACY[cls]


@pytest.mark.parametrize("cls", NETWORKS)
@torch.no_grad()
def test_shipped_networks_fire_sparsely_and_no_layer_is_dead(
    cls: type[SpikingNetwork], digits: SaccadeMNIST
) -> None:
    x, _ = next(iter(digits.test_dataloader()))
    for activity in pretrained(cls).activities(x):
        assert 0.02 < activity.spikes.mean() < 0.35
        fires = activity.spikes.sum(dim=(0, 1)) > 0
        assert fires.float().mean() > FIRING[cls]


@pytest.mark.parametrize("cls", [SpikingVGG, SEWResNet])
@torch.no_grad()
def test_every_feature_map_of_the_deeper_networks_fires(
    cls: type[SpikingNetwork], digits: SaccadeMNIST
) -> None:
    x, _ = next(iter(digits.test_dataloader()))
    for activity in pretrained(cls).activities(x):
        counts = activity.spikes.sum(dim=(0, 1))  # [maps, height, width] or [neurons]
        assert (counts.reshape(len(counts), -1).sum(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("network", "file"),
    [(NMNIST(), "NMNIST.th"), (CSNN(input_shape=(2, 128, 128), num_classes=11), "CSNN.th")],
)
def test_spikingjets_state_dicts_fit(network: SpikingNetwork, file: str) -> None:
    path = PUBLISHED / file
    if not path.exists():
        pytest.skip(f"SpikingJET's {file} is not here")
    state = torch.load(path, weights_only=True, map_location="cpu")
    assert list(state) == list(network.state_dict())
    network.load_state_dict(state, strict=True)
    scores = network(events(25, 2, *network.seen))  # type: ignore[misc]
    assert scores.isfinite().all()
    assert network.statistic(events(25, 2, *network.seen)).sum() > 0  # type: ignore[misc]


@torch.no_grad()
def test_spikingjets_own_weights_read_our_digits(digits: SaccadeMNIST) -> None:
    """Trained on the real N-MNIST: polarity, size and time of the emulation must be alike."""
    path = PUBLISHED / "NMNIST.th"
    if not path.exists():
        pytest.skip("SpikingJET's NMNIST.th is not here")
    network = NMNIST()
    load_checkpoint(network, path)
    right = [network(x).argmax(dim=1) == y for x, y in digits.test_dataloader()]
    assert torch.cat(right).float().mean() > 0.5
