"""The options of ``python -m fi.test``, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from fi.base.errors import UserError, reported
from fi.campaign.settings import PRECISIONS, Hardware, Settings
from fi.cli.parser import CommandParser
from fi.engine.base import ENGINES
from fi.faults.bits import WORD_BITS
from fi.faults.csv_row import parse_steps
from fi.faults.fault import Bits
from fi.faults.user_models import load_model
from fi.faults.word_formats import FORMATS
from fi.network.foreign import READOUTS
from fi.sampling.plan import DEFAULT_SEED, SCHEMES, SamplingPlan
from fi.sampling.prior import read_prior
from fi.sampling.sequential_plan import TRACKABLE, TRACKED, IterativePlan
from fi.sampling.shards import parse_shard
from fi.statistics.sample_size import CONFIDENCE, quantile

COMMAND = "python -m fi.test"
#: Options that are no part of what a config file replays.
NOT_REPLAYED = ("dry_run", "overwrite", "quiet", "verify")


def command_parser(classes: dict[str, type]) -> CommandParser:
    """The parser; ``classes`` are the network and the datamodule where these are known."""
    more = "" if classes else " Name a network to see its arguments: --model MODEL --help."
    parser = CommandParser(
        COMMAND,
        "Inject the faults of a list into a spiking network, one campaign, and print what they did."
        + more,
        classes,
    )
    parser.add_argument("--config", action="config", help="a YAML file of options, as runs write")
    _subject_options(parser)
    _fault_options(parser)
    _run_options(parser)
    _output_options(parser)
    parser.add_constructors()
    return parser


def early_options(argv: Sequence[str], classes: dict[str, type]) -> Namespace:
    """The options in ``argv``, before the datamodule is known: its arguments are not checked.

    Datamodules import Lightning, which takes three times as long as PyTorch; an option that is
    wrong whatever the data are is told before that.
    """
    parser = command_parser(classes)
    if "data" not in classes:
        parser.accept_any("data")
    return parser.parse(argv)


def _subject_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("What to test").add_argument
    add("--model", type=str, help="a network of models/, my_package.MyNet or ./my_file.py:MyNet")
    add("--data", type=str, help="a datamodule, named likewise; default: the network's own")
    add("--checkpoint", metavar="FILE", type=str, help="weights, or 'none'; default: the network's")
    add("--limit-samples", metavar="N", type=int, help="take the first N test samples")
    add(
        "--format",
        default=FORMATS[0],
        type=str,
        help=f"of stored words: {', '.join(FORMATS)}; computing stays in float32",
    )
    add(
        "--readout",
        default="auto",
        type=str,
        help=f"what a forward of its own returns: {', '.join(READOUTS)}",
    )
    add("--time-axis", default=0, metavar="N", type=int, help="where such a forward wants time")


def _fault_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("Which faults").add_argument
    plan = SamplingPlan()
    add("--fault-list", metavar="LIST", type=str, help="replay a list, by name or path")
    add("--scheme", default=plan.scheme, type=str, help=", ".join(SCHEMES))
    add("--margin", default=plan.margin, metavar="E", type=float, help="margin of error")
    add(
        "--confidence",
        default=CONFIDENCE,
        metavar="C",
        type=float,
        help="of the intervals, and of the sample size",
    )
    add(
        "--t",
        "--confidence-t",
        metavar="T",
        type=float,
        help="quantile for the sample size; default: of the confidence, 2.58 for 0.99",
    )
    add("--rounding", default=plan.rounding, type=str, help="of the sample size: floor, nearest")
    add(
        "--minimum-per-stratum",
        default=plan.minimum,
        metavar="N",
        type=int,
        help="faults of every stratum, at least",
    )
    add(
        "--prior",
        metavar="FILE",
        type=str,
        help="expected rates of a data-aware draw, CSV Layer,Bit,P; default: from the weights",
    )
    add(
        "--iterative",
        action="store_true",
        help="draw look after look, until the intervals are as narrow as the margin",
    )
    add(
        "--iterative-rates",
        default=",".join(TRACKED),
        metavar="R,R",
        type=str,
        help=f"whose intervals these are, of {', '.join(TRACKABLE)}",
    )
    add("--p", default=plan.p, type=float, help="expected rate, 0.5 is the worst case")
    add("--seed", default=DEFAULT_SEED, metavar="N", type=int, help="of the draw")
    add(
        "--faults.models",
        default="bit-flip",
        metavar="M,M",
        type=str,
        help="fault models, or ./my_file.py:MyModel",
    )
    add(
        "--faults.bits",
        default="0-31",
        metavar="B,B-B",
        type=str,
        help="bits that may be hit, one a fault; B+B hits both at once",
    )
    add("--faults.burst", default=1, metavar="N", type=int, help="hit N adjacent bits at once")
    add(
        "--faults.layers",
        default="*",
        metavar="L,L",
        type=str,
        help="site families, such as fc1.*,*.potential",
    )
    add(
        "--faults.steps",
        default="permanent",
        metavar="WHEN",
        type=str,
        help="permanent, transient (any one time step), window:N (any N steps), 5, or 3-7",
    )
    add("--faults.together", default=1, metavar="K", type=int, help="faults of each trial")
    add("--faults.within", default="network", metavar="WHAT", type=str, help="network or layer")


def _run_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("How to run").add_argument
    default = Hardware()
    add("--engine", default="auto", type=str, help=", ".join(ENGINES))
    add("--accelerator", default=default.accelerator, type=str, help="auto, cpu, gpu, ...")
    add("--devices", default=str(default.devices), type=str, help="how many, or which: 0,2")
    add("--num_nodes", default=default.num_nodes, metavar="N", type=int, help="machines")
    add("--strategy", default=default.strategy, type=str, help="Lightning's strategy, as ddp")
    add("--precision", default=default.precision, type=str, help=" or ".join(PRECISIONS))
    add("--memory", metavar="SIZE", type=str, help="for the differential engine, as 4GB")
    add("--shard", metavar="I/N", type=str, help="run part I of N of the list; fi.merge joins them")
    add("--threads", default=0, metavar="N", type=int, help="CPU threads; 0: all")
    add(
        "--dry-run", action="store_true", help="show fault space, sample size and time; run nothing"
    )
    add("--overwrite", action="store_true", help="run a finished campaign again")
    add(
        "--verify",
        default=0,
        metavar="K",
        type=int,
        help="in the end compare K random faults with the full engine",
    )


def _output_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("Output").add_argument
    add("--output", default="output", metavar="DIR", type=str, help="folder of all results")
    add("--save-scores", action="store_true", help="keep every faulty score tensor")
    add("--progress", default="predictions", type=str, help="changed predictions or scores")
    add("--no-figures", action="store_true", help="no report.html, no figures in TensorBoard")
    add("--quiet", action="store_true", help="print the table only")


def settings_of(options: Namespace) -> Settings:
    """How the campaign is run."""
    if options.progress not in ("predictions", "scores"):
        raise UserError(f"--progress {options.progress}: allowed are predictions, scores")
    devices = options.devices
    hardware = Hardware(
        options.accelerator,
        int(devices) if devices.lstrip("-").isdigit() else devices,
        options.num_nodes,
        options.strategy,
        options.precision,
    )
    for name in ("threads", "verify"):
        if options[name] < 0:
            raise UserError(f"--{name} {options[name]}: allowed is 0 or more")
    return Settings(
        output=Path(options.output),
        engine=options.engine,
        memory=None if options.memory is None else bytes_of(options.memory),
        threads=options.threads or None,
        hardware=hardware,
        save_scores=options.save_scores,
        progress=None if options.quiet else options.progress,
        overwrite=options.overwrite,
        figures=not options.no_figures,
        shard=None if options.shard is None else parse_shard(options.shard),
    )


def plan_of(options: Namespace) -> SamplingPlan:
    """Which faults are drawn."""
    faults = options.faults
    if options.format not in FORMATS:
        raise UserError(f"--format {options.format}: allowed are {', '.join(FORMATS)}")
    if options.prior and options.scheme != "data-aware":
        raise UserError(f"--prior is for --scheme data-aware, not {options.scheme}")
    if faults.within not in ("network", "layer"):
        raise UserError(f"--faults.within {faults.within}: allowed are network, layer")
    with reported(ValueError):
        return SamplingPlan(
            scheme=options.scheme,
            margin=options.margin,
            t=quantile(options.confidence) if options.t is None else options.t,
            p=options.p,
            rounding=options.rounding,
            seed=options.seed,
            minimum=options.minimum_per_stratum,
            prior=read_prior(options.prior) if options.prior else (),
            models=tuple(map(load_model, _words(faults.models))),
            bits=bits_of(faults.bits, faults.burst),
            sites=_words(faults.layers),
            together=faults.together,
            within_layer=faults.within == "layer",
            **times_of(faults.steps),
        )


def iterative_of(options: Namespace, plan: SamplingPlan) -> IterativePlan | None:
    """The plan as one that is drawn look after look, where ``--iterative`` asks for that."""
    rates = _words(options.iterative_rates)
    if not options.iterative:
        if rates != TRACKED:
            raise UserError(f"--iterative-rates {options.iterative_rates}: --iterative is missing")
        return None
    default = SamplingPlan()
    formula = {"t": None, "p": default.p, "rounding": default.rounding, "prior": None}
    for name in ("fault_list", *formula):
        if options[name] != formula.get(name):
            raise UserError(
                f"--{name.replace('_', '-')} {options[name]}: not with --iterative, which draws "
                "the list from what it sees"
            )
    with reported(ValueError):
        return IterativePlan(plan, options.confidence, rates)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def bytes_of(text: str) -> int:
    """The bytes in ``4GB``, ``512 MiB`` or ``100000000``; at least 1 MB."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) *([kmgt]?)(i?)b?", text.strip().lower())
    size = 0.0
    if found:
        base = 1024 if found[3] else 1000
        size = float(found[1]) * base ** " kmgt".index(found[2] or " ")
    if size < 10**6:
        raise UserError(f"--memory {text}: allowed are sizes from 1MB on, as 512MB or 4GB")
    return int(size)


def times_of(text: str) -> dict[str, Any]:
    """The part of a plan that says when faults are active."""
    if text in ("permanent", "transient"):
        return {"transient": text == "transient"}
    length = re.fullmatch("window:([1-9][0-9]{0,8})", text)
    if length:
        return {"transient": True, "window": int(length[1])}
    try:
        window = parse_steps(text)
    except ValueError:
        window = None
    if window is None:
        raise UserError(
            f"--faults.steps {text}: allowed are permanent, transient, window:N, a step, or a "
            "window as 3-7"
        )
    return {"during": (window[0], window[-1])}


def bits_of(text: str, burst: int = 1) -> tuple[int | Bits, ...]:
    """The bits in ``0,23-31,3+7``: numbers in ascending order, then sets of several.

    With a ``burst`` each number is the lowest of so many adjacent bits.
    """
    bits: set[int] = set()
    sets: dict[Bits, None] = {}
    for part in _words(text):
        if not re.fullmatch("[0-9]{1,3}(-[0-9]{1,3}|([+][0-9]{1,3})+)?", part):
            raise UserError(
                f"--faults.bits {text}: allowed are numbers, ranges and sets, as 0,23-31,3+7"
            )
        if "+" in part:
            sets[tuple(sorted({int(bit) for bit in part.split("+")}))] = None
        else:
            first, _, last = part.partition("-")
            bits.update(range(int(first), int(last or first) + 1))
    if not 1 <= burst <= WORD_BITS:
        raise UserError(f"--faults.burst {burst}: allowed is 1 to {WORD_BITS}")
    if burst == 1:
        return (*sorted(bits), *sets)
    starts = (bit for bit in sorted(bits) if bit + burst <= WORD_BITS)
    return (*(tuple(range(bit, bit + burst)) for bit in starts), *sets)
