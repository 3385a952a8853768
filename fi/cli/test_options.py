"""The options of ``python -m fi.test``; ``test_plan`` has what they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jsonargparse import Namespace

from fi.base.user_makers import Maker
from fi.campaign.settings import LEVELS, PRECISIONS, Hardware
from fi.cli.ignored_options import check_heeded
from fi.cli.nir_options import add_nir_options
from fi.cli.option_names import TEST
from fi.cli.option_values import read_words
from fi.cli.parser import CommandParser
from fi.cli.rate_options import add_rate_options
from fi.engine.base import ENGINES
from fi.faults.formats.state_formats import STATE_FORMATS
from fi.faults.groups.element_maps import list_maps
from fi.faults.protection.codes import CODES
from fi.faults.word_formats import FORMATS
from fi.network.adapting.forms import FORWARDS
from fi.network.adapting.outputs import READOUTS
from fi.sampling.plan import DEFAULT_SEED, SCHEMES, SamplingPlan
from fi.sampling.sequential_plan import TRACKABLE, TRACKED
from fi.statistics.intervals import DEFAULT_METHOD, METHODS
from fi.statistics.sample_size import CONFIDENCE

#: Options that are no part of what a config file replays.
NOT_REPLAYED = ("cluster", "dry_run", "overwrite", "quiet", "verify", "write_faults")


def make_parser(classes: Mapping[str, Maker]) -> CommandParser:
    """The parser; ``classes`` are the network and the datamodule where these are known."""
    more = "" if classes else " Name a network to see its arguments: --model MODEL --help."
    parser = CommandParser(
        TEST,
        "Inject the faults of a list into a spiking network, one campaign, and print what they did."
        + more,
        classes,
    )
    parser.add_argument("--config", action="config", help="a YAML file of options, as runs write")
    add_network_options(parser, "What to test", nir=True)
    _add_fault_options(parser)
    _add_run_options(parser)
    _add_output_options(parser)
    parser.add_constructors()
    return parser


def parse_early_options(argv: Sequence[str], classes: Mapping[str, Maker]) -> Namespace:
    """The options in ``argv``, before the datamodule is known: its arguments are not checked.

    Datamodules import Lightning, which takes three times as long as PyTorch; an option that is
    wrong whatever the data are is told before that.
    """
    parser = make_parser(classes)
    if "data" not in classes:
        parser.accept_any("data")
    options = parser.parse(argv)
    check_heeded(options, parser.get_defaults())
    return options


def add_network_options(parser: CommandParser, title: str, nir: bool = False) -> None:
    """Options on a network, its weights and its data; ``nir``: also on how a NIR file is read."""
    add = parser.add_argument_group(title).add_argument
    add(
        "--model",
        type=str,
        help="a network of models/, or a class, function or network: ./my_file.py:MyNet"
        + (", or a NIR file: net.nir" if nir else ""),
    )
    add("--data", type=str, help="a datamodule, named likewise; default: the network's own")
    add("--checkpoint", metavar="FILE", type=str, help="weights, or 'none'; default: the network's")
    add("--limit-samples", metavar="N", type=int, help="take the first N test samples")
    add("--subset", metavar="FILE", type=str, help="take the test samples of a file of fi.coverage")
    add(
        "--format",
        default=FORMATS[0],
        type=str,
        help=f"of stored words: {', '.join(FORMATS)}; computing stays in float32",
    )
    add(
        "--state-format",
        default="float32",
        metavar="FORMAT",
        type=str,
        help=f"of membranes and synaptic currents, rounded after each update: {STATE_FORMATS}",
    )
    add(
        "--model-seed",
        default=DEFAULT_SEED,
        metavar="N",
        type=int,
        help="of random weights, for --checkpoint none",
    )
    if nir:
        add_nir_options(parser.add_argument_group("A network from a NIR file").add_argument)
    _add_form_options(parser)


def _add_form_options(parser: CommandParser) -> None:
    """Options on a forward that is a network's own; most is found out by a trial."""
    add = parser.add_argument_group("A network with its own forward").add_argument
    add(
        "--forward",
        default="auto",
        type=str,
        help=f"what it takes in one call: {', '.join(FORWARDS)}",
    )
    add(
        "--readout",
        default="auto",
        type=str,
        help=f"how what it returns becomes scores: {', '.join(READOUTS)}",
    )
    add(
        "--time-axis",
        default="auto",
        metavar="N",
        type=int | str,
        help="where it wants time; none: images",
    )
    add(
        "--batch-axis",
        default="auto",
        metavar="N",
        type=int | str,
        help="where the samples are in the loader's events: 1, or 0",
    )
    add(
        "--decision-threshold",
        metavar="X",
        type=float,
        help="of one output for two classes: above it is class 1",
    )
    add(
        "--forward-seed",
        metavar="N",
        type=int,
        help="of random numbers that it draws, anew for each batch",
    )


def _add_fault_options(parser: CommandParser) -> None:
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
        "--interval",
        default=DEFAULT_METHOD,
        metavar="METHOD",
        type=str,
        help=f"how intervals are found: {', '.join(METHODS)}; betting has a proof",
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
        "--pilot",
        metavar="RUN",
        type=str,
        help="folder of an earlier campaign: as many faults as the spread of its rates asks for",
    )
    add(
        "--iterative",
        action="store_true",
        help="draw step by step, with an interim analysis after each, until the intervals are as "
        "narrow as the margin",
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
        type=read_words,
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
        type=read_words,
        help="permanent, transient (any one time step), window:N (any N steps), 5, or 3-7",
    )
    add(
        "--ecc",
        metavar="CODE",
        type=str,
        help=f"of the memory of weights and parameters, {CODES}: what it corrects or detects does "
        "not act",
    )
    add(
        "--clamp",
        metavar="FILE",
        type=str,
        help="bounds of words and neurons, as fi.harden writes them: beyond them they read 0",
    )
    add(
        "--protect",
        metavar="FILE",
        type=str,
        help="a plan of fi.protect: which bits of which words are protected, and how",
    )
    add_rate_options(add)
    add(
        "--faults.group",
        default="",
        metavar="MAP",
        type=str,
        help=f"hit all words of a group at once: {list_maps()}, or ./my_file.py:MyMap",
    )
    add("--faults.together", default=1, metavar="K", type=int, help="faults of each trial")
    add("--faults.within", default="network", metavar="WHAT", type=str, help="network or layer")


def _add_run_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("How to run").add_argument
    default = Hardware()
    add("--engine", default="auto", type=str, help=", ".join(ENGINES))
    add("--accelerator", default=default.accelerator, type=str, help="auto (the CPU), cpu, gpu")
    add("--devices", default=str(default.devices), type=str, help="how many, or which: 0,2")
    add("--num_nodes", default=default.num_nodes, metavar="N", type=int, help="machines")
    add("--strategy", default=default.strategy, type=str, help="Lightning's strategy, as ddp")
    add("--precision", default=default.precision, type=str, help=" or ".join(PRECISIONS))
    add("--memory", metavar="SIZE", type=str, help="for the differential engine, as 4GB")
    add("--shard", metavar="I/N", type=str, help="run part I of N of the list; fi.merge joins them")
    add(
        "--cluster",
        metavar="WHERE",
        type=str,
        help="run the trials on a Dask cluster: local:N, tcp://host:port, a scheduler file, or a "
        "YAML file of a cluster's class",
    )
    add("--threads", default=0, metavar="N", type=int, help="CPU threads; 0: all")
    add(
        "--dry-run", action="store_true", help="show fault space, sample size and time; run nothing"
    )
    add("--overwrite", action="store_true", help="run a finished campaign again")
    add(
        "--verify",
        metavar="K",
        type=int,
        help="also compare K random faults with the full engine in the end; 0: none at all",
    )


def _add_output_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("Output").add_argument
    add("--output", default="output", metavar="DIR", type=str, help="folder of all results")
    add("--save-scores", action="store_true", help="keep every faulty score tensor")
    add(
        "--save-pairs",
        nargs="?",
        const=LEVELS[0],
        metavar="LEVEL",
        type=str,
        help="keep the outcome of every pair, for fi.coverage: scores, or spikes too",
    )
    add(
        "--monitor",
        metavar="NAMES",
        type=str,
        help="which pairs these would report: output-counts, membranes, rates, or a class of yours",
    )
    add("--progress", default="predictions", type=str, help="changed predictions or scores")
    add("--no-figures", action="store_true", help="no report.html, no figures in TensorBoard")
    add("--quiet", action="store_true", help="print the table only")
