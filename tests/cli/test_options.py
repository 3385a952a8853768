"""Options that are undone, warnings and what a config file replays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace

from fi.base.errors import UserError
from fi.cli.chosen_classes import find_chosen_classes
from fi.cli.execution import shorten_warnings
from fi.cli.overridden import warn_of_overridden
from fi.cli.parser import CommandParser
from fi.cli.test_options import make_parser
from fi.models import NMNIST

EVENTS = ["--data", "RandomEvents", "--data.samples", "4"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A state dict of NMNIST, whose betas are 0.9."""
    path = tmp_path / "weights.pt"
    torch.save(NMNIST().state_dict(), path)
    return path


def parsed(*argv: str) -> tuple[CommandParser, Namespace]:
    """The parser of fi.test and what it makes of these options."""
    arguments = ["--model", "NMNIST", *EVENTS, *argv]
    parser = make_parser(find_chosen_classes(arguments, ("model", "data")))
    return parser, parser.parse(arguments)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--model.beta", "0.5"), r"--model.beta 0.5 has no effect: .*\.pt brings lif1.beta, lif2"),
        (("--model.threshold", "2"), r"--model.threshold 2.0 has no effect: .* lif1.threshold"),
    ],
)
def test_an_option_that_the_weights_undo_is_told(
    option: tuple[str, str], words: str, weights: Path
) -> None:
    with pytest.warns(UserWarning, match=words) as told:
        warn_of_overridden(*parsed(*option), weights)
    assert len(told) == 1


@pytest.mark.parametrize(
    "option", [(), ("--model.beta", "0.9"), ("--model.softmax", "false"), ("--model.hidden", "30")]
)
def test_other_options_are_not(option: tuple[str, ...], weights: Path) -> None:
    state = torch.random.get_rng_state()
    warn_of_overridden(*parsed(*option), weights)  # a warning is an error here
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_option_of_none_is_replayed(tmp_path: Path) -> None:
    parser, options = parsed("--model.resize", "null", "--p", "0.1")
    file = tmp_path / "config.yaml"
    file.write_text(parser.dump_replayable(options, ("dry_run",)))
    again = parser.parse(["--config", str(file)])
    assert again.model_args.resize is None
    assert again.p == 0.1
    assert parser.dump_replayable(again, ("dry_run",)) == file.read_text()


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Warnings are printed, as they are without pytest."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *a: print(warnings.formatwarning(*a[:4]), end="")
        yield capsys


def test_warnings_for_the_user_are_one_line(shown: pytest.CaptureFixture[str]) -> None:
    with shorten_warnings():
        warnings.warn("part of the data", stacklevel=1)
        warnings.warn("old", FutureWarning, stacklevel=1)
    told = shown.readouterr().out.splitlines()
    assert told[0] == "warning: part of the data"
    assert told[1].startswith(__file__)
    assert "FutureWarning: old" in told[1]
    assert "part" in warnings.formatwarning("part", UserWarning, "x.py", 3)
    assert "x.py:3" in warnings.formatwarning("part", UserWarning, "x.py", 3)


def test_a_config_by_hand_may_have_numbers_and_lists(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("faults: {rate: [1e-4, 1e-3], bits: 30, steps: 3}\n")
    parser, options = parsed("--config", str(config))
    assert options.faults.rate == "0.0001,0.001"
    assert (options.faults.bits, options.faults.steps) == ("30", "3")
    replayed = tmp_path / "replayed.yaml"
    replayed.write_text(parser.dump_replayable(parsed("--faults.rate", "1e-4")[1], ()))
    assert parsed("--config", str(replayed))[1].faults.rate == "0.0001"


def test_a_config_by_hand_with_no_words_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("faults: {rate: true}\n")
    with pytest.raises(UserError, match=r"--faults\.rate True: wanted are"):
        parsed("--config", str(config))
