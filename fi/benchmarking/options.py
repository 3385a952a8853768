"""The options of ``python -m fi.benchmark``."""

from __future__ import annotations

from collections.abc import Mapping

from fi.base.user_makers import Maker
from fi.cli.nir_options import add_nir_options
from fi.cli.parser import CommandParser
from fi.faults.word_formats import FORMATS
from fi.sampling.plan import DEFAULT_SEED

COMMAND = "python -m fi.benchmark"


def make_parser(classes: Mapping[str, Maker]) -> CommandParser:
    """The parser; ``classes`` are the network and the datamodule where these are known."""
    parser = CommandParser(COMMAND, "Time both engines on the same faults.", classes)
    parser.add_argument("--config", action="config", help="a YAML file of options, or one of ours")
    add = parser.add_argument_group("What to measure").add_argument
    add("--model", type=str, help="a network, as in fi.test")
    add("--data", type=str, help="a datamodule; default: the network's own")
    add("--checkpoint", metavar="FILE", type=str, help="weights, or 'none'; default: the network's")
    add(
        "--model-seed",
        default=DEFAULT_SEED,
        metavar="N",
        type=int,
        help="of random weights, for --checkpoint none",
    )
    add_nir_options(add)
    add("--faults", default=16000, metavar="K", type=int, help="faults, drawn network-wise")
    add("--samples", default=1000, metavar="S", type=int, help="the first test samples")
    add(
        "--check",
        default=50,
        metavar="K",
        type=int,
        help="faults compared pair by pair, evenly from all site families",
    )
    add("--models", default="bit-flip", metavar="M,M", type=str, help="fault models")
    add("--layers", default="*", metavar="L,L", type=str, help="site families, as fc1.*")
    add("--transient", action="store_true", help="faults of one time step each")
    add("--steps", default="permanent", metavar="WHEN", type=str, help="as --faults.steps")
    add("--bits", default="0-31", metavar="B,B-B", type=str, help="as --faults.bits")
    add("--burst", default=1, metavar="N", type=int, help="as --faults.burst")
    add("--together", default=1, metavar="K", type=int, help="faults of each trial")
    add("--format", default=FORMATS[0], type=str, help=f"of stored words: {', '.join(FORMATS)}")
    add("--seed", default=DEFAULT_SEED, metavar="N", type=int, help="of the draw")
    add("--scaling", action="store_true", help="time and memory over two decades of pairs instead")
    add("--device", default="cpu", type=str, help="cpu, cuda, ...")
    add("--threads", default=0, metavar="N", type=int, help="CPU threads; 0: all")
    add("--precision", default="32-true", type=str, help="32-true or 64-true")
    parser.add_constructors()
    return parser
