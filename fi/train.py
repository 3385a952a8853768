"""``python -m fi.train``: train a spiking network and write its weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fi.base.errors import UserError
from fi.base.garbage import end_process
from fi.cli.chosen_classes import find_chosen_classes
from fi.cli.execution import run_command
from fi.cli.nir_options import is_nir_file
from fi.training.train_options import (
    COMMAND,
    NOT_REPLAYED,
    find_map,
    find_schedule,
    make_parser,
    recipe_of,
    trainer_options,
    training_folder,
)

if TYPE_CHECKING:
    from torch import nn


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """Parse, train, write the weights, and print how good they are."""
    parser = make_parser(find_chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    # Lightning is slow to load: only once there is something to train.
    from fi.base.text_files import write_text
    from fi.faults.formats.clamps import Clamps
    from fi.training.drawn_faults import DrawnFaults
    from fi.training.evaluation import describe_training
    from fi.training.fault_map import FaultMap
    from fi.training.faulty_words import FaultyWords
    from fi.training.fitting import fit, save_weights, seed_all
    from fi.training.ignored import check_heeded
    from fi.training.module import Training

    seed_all(options.seed)  # the first weights, too
    network = _checked_network(parser.build(options, "model"), options.model)
    check_heeded(options, parser.get_defaults(), network)
    data = parser.build(options, "data")
    folder = training_folder(options, type(network).__name__)
    load_weights(network, options.checkpoint)
    path, schedule, faulty = find_map(options), find_schedule(options), None
    chip = None if path is None else FaultMap(network, path)
    faults = chip if schedule is None else DrawnFaults(network, schedule)
    clamps = None if options.clamp is None else Clamps.read(Path(options.clamp))
    if faults is not None:
        faulty = FaultyWords(network, faults, clamps)
    elif clamps is not None:
        raise UserError(
            f"--clamp {options.clamp}: for a training under faults, --faults.rate, --faults.group "
            "or --faults.map"
        )
    given = (network, recipe_of(options), options.readout, options.time_axis)
    module = Training(*given, under_faults=faults is not None)
    followers = [] if faulty is None else [faulty]
    running = {"progress": not options.quiet, "callbacks": followers, "resume": options.resume}
    running["keep_last"] = schedule is not None
    try:
        metrics = fit(module, data, folder, **running, **trainer_options(options))
    except KeyboardInterrupt:
        print(f"interrupted; {_describe_best(folder)}", file=sys.stderr)
        raise SystemExit(130) from None
    if module.global_rank == 0:
        path = Path(options.save) if options.save else folder / "weights.pt"
        save_weights(network, path)
        write_text(folder / "config.yaml", parser.dump_replayable(options, NOT_REPLAYED))
        print("\n".join(describe_training(module, data, metrics, chip)))
        if faulty is not None:
            print(faulty.describe())
        print(f"Weights in {path}")


def _checked_network(network: object, name: str) -> nn.Module:
    """What ``--model`` names; ``UserError`` where it is no network."""
    from torch import nn

    if is_nir_file(name):
        raise UserError(f"--model {name}: networks from NIR files are tested, not trained")
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {name} is no torch.nn.Module")
    return network


def load_weights(network: nn.Module, given: str) -> None:
    """Weights to begin with: of a file, the network's own, or as its constructor made them."""
    from fi.network.checkpoint import checkpoint_of, load_checkpoint

    path = checkpoint_of(network, None if given == "own" else given)
    if path is not None:
        load_checkpoint(network, path)
    elif given == "own":
        raise UserError(f"--checkpoint own: {type(network).__name__} comes without weights")


def _describe_best(folder: Path) -> str:
    """Where the best weights of an interrupted training are."""
    path = folder / "best.ckpt"
    kept = f"the best weights so far are in {path}; --resume goes on"
    return kept if path.exists() else "nothing is kept"


if __name__ == "__main__":
    end_process(main())
