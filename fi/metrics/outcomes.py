"""What one pair (fault, sample) can do, and the columns in which these outcomes are counted.

Nothing here needs PyTorch: tables and reports read outcomes from files.
"""

from __future__ import annotations

#: Outcomes in the order of severity of the published table; a pair has exactly one.
OUTCOMES = ("fully_masked", "sdc_1", "sdc_0_5", "sdc_5_10", "sdc_10_20", "sdc_20")
FULLY_MASKED, SDC_1, SDC_0_5, SDC_5_10, SDC_10_20, SDC_20 = range(len(OUTCOMES))
#: The rates that are estimated: columns of the results, as parts of the samples.
RATES = (*OUTCOMES, "non_finite", "correct", "golden_correct")
#: Count of the pairs of a trial that is not run, as a memory's code has reported its errors: an
#: outcome of campaigns with ``--ecc`` only.
DETECTED = "detected"
#: Ends of the bands, in per cent of the golden top score; a band contains its lower end.
BAND_ENDS = (5.0, 10.0, 20.0)
