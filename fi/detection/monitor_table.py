"""What the monitors of a campaign would have noticed: silent corruptions, and alarms without."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fi.base.text_files import write_text
from fi.detection.critical_coverage import estimate_part
from fi.detection.stored_pairs import StoredPairs
from fi.statistics.group_estimates import estimate_groups
from fi.store.campaign_reader import PastCampaign

#: Of the table, in the folder of the campaign.
MONITORS_NAME = "monitors.csv"
#: Rates over pairs and what stands in for them where intervals are made: columns of results.
_RATES = {"detected": "sdc_1", "undetected": "sdc_20", "needless": "sdc_0_5"}


def measure_monitors(pairs: StoredPairs, confidence: float = 0.99) -> pd.DataFrame:
    """The table, a row a monitor.

    Returns:
        ``monitor``; ``share``, the part of the pairs with SDC-1 that it reports; of all pairs
        ``detected`` (SDC-1 that it reports), ``undetected`` (SDC-1 that it does not) and
        ``needless`` (no SDC-1, and reported); ``false_alarms``, the part of the samples that it
        reports without a fault; each with ``low`` and ``high``; ``time``, how many times longer an
        inference takes with it. The intervals hold over faults, for these samples; those of
        ``false_alarms`` are Clopper and Pearson's, over samples.
    """
    from scipy.stats import binomtest  # all of scipy.stats, for campaigns with monitors only

    campaign = PastCampaign(pairs.folder)
    summary = campaign.summary()
    design = summary.design.by_trial()
    times = campaign.entries().get("monitors", {}).get("time", {})
    rows = []
    for name, alarms in pairs.head.monitors.items():
        counts = pairs.count_alarms(name)
        results = pairs.results.assign(samples=counts["samples"])
        detected, missed = (counts[key].to_numpy() for key in ("detected", "missed"))
        share = estimate_part(results, detected, missed, design, confidence)
        marks = results.assign(sdc_1=detected, sdc_20=missed, sdc_0_5=counts["needless"])
        columns = list(_RATES.values())
        (found,) = estimate_groups(marks, design, [], confidence, columns).to_dict("records")
        row = {"monitor": name, "share": share.rate, "share low": share.low}
        row |= {"share high": share.high}
        for rate, column in _RATES.items():
            row |= {f"{rate}{end}": found[f"{column}{end}"] for end in ("", " low", " high")}
        own = binomtest(len(alarms), pairs.samples).proportion_ci(confidence, "exact")
        row |= {"false_alarms": len(alarms) / pairs.samples}
        row |= {"false_alarms low": float(own.low), "false_alarms high": float(own.high)}
        rows.append({**row, "time": times.get(name, float("nan"))})
    return pd.DataFrame(rows)


def write_monitors(folder: Path) -> pd.DataFrame | None:
    """Write the table into the folder of a campaign; ``None`` where it has no monitors."""
    campaign = PastCampaign(folder)
    if "monitors" not in campaign.entries():
        return None
    table = measure_monitors(StoredPairs(folder), campaign.summary().confidence)
    write_text(folder / MONITORS_NAME, table.to_csv(index=False, lineterminator="\n"))
    return table
