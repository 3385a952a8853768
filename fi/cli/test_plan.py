"""What the options of ``python -m fi.test`` ask for: settings, and a plan of which faults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from fi.base.errors import UserError, report_errors
from fi.campaign.cluster.cluster_place import check_cluster
from fi.campaign.settings import LEVELS, Hardware, Settings
from fi.cli.option_values import parse_bit_sets, parse_size, parse_times, read_method, split_words
from fi.faults.formats.state_formats import find_state_format
from fi.faults.groups.user_maps import load_map
from fi.faults.protection.codes import parse_code
from fi.faults.protection.protection_plan import ProtectionPlan
from fi.faults.user_models import load_model
from fi.faults.word_formats import check_format
from fi.sampling.plan import SamplingPlan
from fi.sampling.prior import read_prior
from fi.sampling.sequential_plan import TRACKED, IterativePlan
from fi.sampling.shards import parse_shard
from fi.statistics.sample_size import quantile

if TYPE_CHECKING:
    from fi.sampling.pilot import PilotPlan


def make_settings(options: Namespace) -> Settings:
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
        if (options[name] or 0) < 0:
            raise UserError(f"--{name} {options[name]}: allowed is 0 or more")
    return Settings(
        output=Path(options.output),
        engine=options.engine,
        memory=None if options.memory is None else parse_size(options.memory),
        threads=options.threads or None,
        hardware=hardware,
        save_scores=options.save_scores,
        save_pairs=read_level(options.save_pairs),
        progress=None if options.quiet else options.progress,
        overwrite=options.overwrite,
        figures=not options.no_figures,
        shard=None if options.shard is None else parse_shard(options.shard),
        check_first=options.verify != 0,
        ecc=read_code(options.ecc),
        protection=None if options.protect is None else ProtectionPlan.read(Path(options.protect)),
        cluster=None if options.cluster is None else check_cluster(options.cluster),
    )


def read_level(given: str | None) -> str:
    """What of pairs is kept by ``--save-pairs``; empty for nothing."""
    if given not in (None, *LEVELS):
        raise UserError(f"--save-pairs {given}: allowed are {', '.join(LEVELS)}")
    return given or ""


def read_code(given: str | None) -> str:
    """The code of ``--ecc``; empty where there is none."""
    if given is None:
        return ""
    with report_errors(ValueError, prefix="--ecc: "):
        return parse_code(given).name


def make_plan(options: Namespace) -> SamplingPlan:
    """Which faults are drawn."""
    faults = options.faults
    with report_errors(ValueError, prefix="--format: "):
        check_format(options.format)
    with report_errors(ValueError, prefix="--state-format: "):
        find_state_format(options.state_format)
    if options.prior and options.scheme != "data-aware":
        raise UserError(f"--prior is for --scheme data-aware, not {options.scheme}")
    read_method(options.interval)
    if faults.within not in ("network", "layer"):
        raise UserError(f"--faults.within {faults.within}: allowed are network, layer")
    with report_errors(ValueError):
        return SamplingPlan(
            scheme=options.scheme,
            margin=options.margin,
            t=quantile(options.confidence) if options.t is None else options.t,
            p=options.p,
            rounding=options.rounding,
            seed=options.seed,
            minimum=options.minimum_per_stratum,
            prior=read_prior(options.prior) if options.prior else (),
            models=tuple(map(load_model, split_words(faults.models))),
            bits=parse_bit_sets(faults.bits, faults.burst),
            sites=split_words(faults.layers),
            together=faults.together,
            within_layer=faults.within == "layer",
            state_format=options.state_format,
            group=load_map(faults.group) if faults.group else "",
            **parse_times(faults.steps),
        )


def make_pilot_plan(options: Namespace, plan: SamplingPlan) -> PilotPlan | None:
    """The plan with the sizes that an earlier campaign asks for, where ``--pilot`` names one."""
    if options.pilot is None:
        return None
    _refuse_formula(options, "pilot", "which takes the spread that was seen")
    if options.iterative:
        raise UserError("--pilot: not with --iterative, which has a pilot of its own")
    from fi.sampling.pilot import PilotPlan  # these read results, with pandas
    from fi.store.campaign_reader import PastCampaign

    campaign = PastCampaign(Path(options.pilot))
    summary, results = campaign.summary(), campaign.results.load(whole=False)
    if results.empty:
        raise UserError(f"--pilot {options.pilot}: no fault of it is finished")
    with report_errors(ValueError):
        return PilotPlan(plan, results, summary.design, options.confidence, options.interval)


def _refuse_formula(options: Namespace, name: str, why: str) -> None:
    """``UserError`` for an option of the sample size formula, or a list that is given."""
    default = SamplingPlan()
    formula = {"t": None, "p": default.p, "rounding": default.rounding, "prior": None}
    for other in ("fault_list", *formula):
        if options[other] != formula.get(other):
            raise UserError(
                f"--{other.replace('_', '-')} {options[other]}: not with --{name}, {why}"
            )


def make_iterative_plan(options: Namespace, plan: SamplingPlan) -> IterativePlan | None:
    """The plan as one that is drawn step by step, where ``--iterative`` asks for that."""
    rates = split_words(options.iterative_rates)
    if not options.iterative:
        if rates != TRACKED:
            raise UserError(f"--iterative-rates {options.iterative_rates}: --iterative is missing")
        return None
    _refuse_formula(options, "iterative", "which draws the list from what it sees")
    with report_errors(ValueError):
        return IterativePlan(plan, options.confidence, rates, options.interval)
