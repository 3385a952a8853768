"""``python -m fi.coverage RUN``: which few samples of a test set detect its critical faults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from fi.base.errors import UserError
from fi.base.garbage import end_process
from fi.base.text_files import write_text
from fi.cli.execution import run_command
from fi.cli.parser import CommandParser
from fi.detection.critical_coverage import UNMASKED, Rule
from fi.detection.monitor_table import measure_monitors
from fi.detection.set_choice import RANDOM_SETS, ChosenSet, FaultSet, choose_set
from fi.detection.stored_pairs import DETECTORS, StoredPairs
from fi.detection.subset_file import write_subset
from fi.detection.test_sets import count_detected
from fi.report.terminal.monitor_view import show_monitors
from fi.store.campaign_reader import PastCampaign

if TYPE_CHECKING:
    from torch import Tensor

    from fi.report.picture import Picture

COMMAND = "python -m fi.coverage"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """The command with these arguments; ``UserError`` says what is wrong."""
    options = _parser().parse(argv)
    if options.samples < 1:
        raise UserError(f"--samples {options.samples}: at least 1 is needed")
    if not 0 < options.confidence < 1:
        raise UserError(f"--confidence {options.confidence}: allowed is above 0 and below 1")
    rule = Rule.parse(options.critical)
    folder = _check_folder(options.campaign)
    if options.monitors:
        _show_monitors(folder, options.confidence)
        return
    first = FaultSet.read(StoredPairs(folder), options.detect)
    if options.second is None:
        first, second = first.split(options.seed)
    else:
        second = _read_second(folder, _check_folder(options.second), options.detect)
    if options.samples > (there := first.detected.shape[1]):
        raise UserError(f"--samples {options.samples}: the test set has {there}")
    found = choose_set(first, second, rule, options.samples, options.seed, options.confidence)
    _show(found, options.detect, options.confidence)
    if len(found.samples) < options.samples:
        print(f"{len(found.samples)} of {options.samples} samples: no other one detects more")
    _write(found, options, folder)


def _check_folder(given: str) -> Path:
    folder = Path(given)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of a campaign")
    return folder


def _show_monitors(folder: Path, confidence: float) -> None:
    """The table of the campaign's monitors; ``UserError`` where it has none."""
    pairs = StoredPairs(folder)
    if not pairs.head.monitors:
        raise UserError(f"{folder}: the campaign was run without --monitor")
    show_monitors(measure_monitors(pairs, confidence), confidence)


def _read_second(first: Path, folder: Path, detect: str) -> FaultSet:
    """The faults of another campaign; ``UserError`` where its network or test set is another."""
    mine, other = (PastCampaign(path).entries()["hashes"] for path in (first, folder))
    wrong = [key for key in ("network", "weights", "data", "golden") if mine[key] != other[key]]
    if wrong:
        raise UserError(f"{folder} does not belong to {first}: other {', '.join(wrong)}")
    if mine["faults"] == other["faults"]:
        raise UserError(f"{folder} has the fault list of {first}: a second one has other faults")
    return FaultSet.read(StoredPairs(folder), detect)


def _show(found: ChosenSet, detect: str, confidence: float) -> None:
    size, faults = len(found.samples), found.measured_on
    everything = np.arange(faults.detected.shape[1])
    table = Table(title=f"Faults detected by {detect}, % [{100 * confidence:g} % interval] of")
    table.add_column("samples")
    table.add_column(f"critical ({found.rule.text})", justify="right")
    table.add_column("all that are not masked", justify="right")
    for name, samples, critical in (
        (f"all {len(everything):,}", everything, str(found.whole)),
        (f"{size} chosen", found.samples, str(found.chosen)),
    ):
        table.add_row(name, critical, str(faults.measure(UNMASKED, samples, confidence)))
    table.add_row(f"{size} at random", f"{100 * found.random:.1f}", "")
    console = Console()
    console.print(table)
    console.print(
        f"Chosen on {found.chosen_on.name} ({len(found.chosen_on.results):,} faults), measured on "
        f"{faults.name} ({len(faults.results):,}). {found.guarantee}.\n"
        f"At random: the mean of {RANDOM_SETS} sets. "
        "Intervals hold over faults, for these samples.",
        highlight=False,
    )


def _write(found: ChosenSet, options: Namespace, folder: Path) -> None:
    from fi.report.figures.coverage_curve import draw_coverage  # matplotlib takes a second
    from fi.report.test_sets.coverage_page import COVERAGE_PAGE, write_coverage_page

    output = folder if options.output is None else Path(options.output)
    name = f"samples_{options.samples}.csv"

    stands_on = (
        f"{found.chosen.critical:,} critical faults of {len(found.measured_on.results):,}, "
        f"{found.measured_on.detected.shape[1]:,} samples"
    )
    figure = draw_coverage(found.curve, found.whole.rate, stands_on)
    samples = _draw_samples(found, folder)
    subset = output / name
    try:
        write_text(output / "coverage.csv", found.curve.to_csv(index=False, lineterminator="\n"))
        write_subset(subset, found.samples.tolist())
        figure.save(output / "coverage.svg")
        if samples is not None:
            samples.save(output / "samples.svg")
        pictures = [figure] if samples is None else [figure, samples]
        page = output / COVERAGE_PAGE
        write_coverage_page(page, found, options.detect, options.confidence, pictures)
    except OSError as problem:
        raise UserError(f"{output} cannot be written: {problem.strerror}") from problem
    print(f"Curve in {output / 'coverage.csv'}, figure in {output / 'coverage.svg'}")
    print(f"Page in {page}")
    print(f"Samples in {subset} (python -m fi.test ... --subset {subset})")


def _draw_samples(found: ChosenSet, folder: Path) -> Picture | None:
    """What the samples look like; ``None``, and a line says why, where the data are not there."""
    from fi.report.test_sets.sample_frames import SampleFrame, draw_samples, sum_events

    try:
        loaded = load_samples(folder, found.samples.tolist())
    except UserError as reason:
        print(f"no pictures of the samples: {reason}")
        return None
    own = found.chosen_on.critical(found.rule)
    gains = np.diff(count_detected(own, found.samples))
    frames = [
        SampleFrame(place, label, int(gain), sum_events(events.numpy()))
        for place, gain, (events, label) in zip(found.samples.tolist(), gains, loaded, strict=True)
    ]
    stands_on = f"{own.shape[0]:,} critical faults of {found.chosen_on.name}"
    return draw_samples(frames, stands_on)


def load_samples(folder: Path, places: Sequence[int]) -> list[tuple[Tensor, int]]:
    """Events ``[time, ...]`` and label of some samples of a campaign's test set.

    Raises:
        UserError: the data are not there, or no longer those of the campaign.
    """
    from fi.cli.subject_options import load_campaign_subject

    batches = load_campaign_subject(folder).batches
    samples: dict[int, tuple[Tensor, int]] = {}
    first = 0
    for events, labels in batches:
        for place in places:
            if first <= place < first + len(labels):
                own = place - first
                samples[place] = events[:, own].clone(), int(labels[own])
        first += len(labels)
    if batches.digest != PastCampaign(folder).entries()["hashes"]["data"]:
        raise UserError(f"the data of {folder} are not what they were")
    return [samples[place] for place in places]


def _parser() -> CommandParser:
    parser = CommandParser(
        COMMAND,
        "Which few samples of a test set detect the critical faults of a campaign that was run "
        "with --save-pairs. They are chosen on one half of its faults and measured on the other, "
        "or on those of a second campaign.",
        {},
        usage="%(prog)s CAMPAIGN [options]",
    )
    parser.add_argument(
        "campaign", metavar="CAMPAIGN", type=str, help="its folder, output/MODEL/LIST-HASH"
    )
    parser.add_argument(
        "--second", metavar="CAMPAIGN", type=str, help="measure on its faults, of another list"
    )
    parser.add_argument("--samples", metavar="K", type=int, default=10, help="size of the set")
    parser.add_argument(
        "--detect", default="class", type=str, help=f"what is compared: {', '.join(DETECTORS)}"
    )
    parser.add_argument(
        "--critical",
        metavar="RULE",
        default="sdc_1>0",
        type=str,
        help="which faults matter, as sdc_1>0, facc_loss>1%%",
    )
    parser.add_argument(
        "--monitors", action="store_true", help="show what the campaign's monitors report, only"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=51196, help="of halves and sets")
    parser.add_argument("--confidence", metavar="C", type=float, default=0.99, help="of intervals")
    parser.add_argument("--output", metavar="DIR", type=str, help="default: the campaign's folder")
    return parser


if __name__ == "__main__":
    end_process(main())
