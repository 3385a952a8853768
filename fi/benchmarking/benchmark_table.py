"""The measurements for a reader."""

from __future__ import annotations

from rich.table import Table

from fi.benchmarking.measure import Report


def make_table(report: Report) -> Table:
    """The report as a table of two columns."""
    table = Table(title=f"{report.model}: {report.faults} faults x {report.samples} samples")
    table.add_column("what")
    table.add_column("value", justify="right")
    plain = f"plain forward, {report.full_order}, batches of {report.full_batch_size}"
    plain += f", threads: {report.full_threads}"
    rows = {
        plain: f"{report.full_us_per_pair:,.2f} us/pair",
        "plain forward, the other order": f"{report.full_other_order_us_per_pair:,.2f} us/pair",
        "differential engine": f"{report.differential_us_per_pair:.4f} us/pair",
        "speedup": f"{report.speedup:,.0f}",
        "agreement": f"{report.agreement:.6%} of {report.checked_pairs:,} pairs",
        "not masked among these": f"{report.checked_unmasked:,}",
        "masked without simulation": f"{report.masked_without_simulation:.2%}",
        "diverged in their own stage": f"{report.diverged:.2%}",
        "peak memory": f"{report.peak_memory_mb:,.0f} MB",
        "steps, device, threads": f"{report.steps}, {report.device}, {report.threads}",
    }
    for what, value in rows.items():
        table.add_row(what, value)
    return table
