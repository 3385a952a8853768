"""Scores that do not say what one may think: told after the golden run, before the first fault."""

from __future__ import annotations

import torch

from fi.campaign.golden_run import GoldenRun
from fi.campaign.subject import Subject

#: How unlikely it must be that classes without a label are missing by chance.
_CHANCE = 0.001
_MEMBRANES = "--readout membrane-last or membrane-max reads membranes that the forward returns"


def find_score_warnings(subject: Subject, golden: GoldenRun) -> list[str]:
    """What makes the numbers of a campaign misleading, a sentence each; usually none."""
    adapter = subject.adapter
    found = [] if adapter is None else adapter.warn()
    return [*found, *_check_classes(golden), *_check_ties(golden, adapter is not None)]


def _check_classes(golden: GoldenRun) -> list[str]:
    """Scores and labels that do not fit each other."""
    labels = torch.cat(golden.labels)
    classes, low, high = golden.scores[0].shape[1], int(labels.min()), int(labels.max())
    outside = int(((labels < 0) | (labels >= classes)).sum())
    if classes == 1:
        return [
            "there is one score for each sample: its class is always 0, and no fault can change "
            "it; --decision-threshold X makes two classes of it"
        ]
    if outside:
        return [
            f"labels go from {low} to {high}, but there are {classes} scores, of classes 0 to "
            f"{classes - 1}: {outside} of {len(labels)} samples can never be right"
        ]
    labelled = high + 1
    if labelled == classes or (labelled / classes) ** len(labels) > _CHANCE:
        return []
    text = f"there are {classes} scores, but no label is above {high}"
    if labelled > 1 and classes % labelled == 0:
        text += (
            f": if {classes // labelled} outputs stand for a class (population code), "
            f"--readout population:{labelled} adds them up"
        )
    return [text]


def _check_ties(golden: GoldenRun, is_adapted: bool) -> list[str]:
    """Samples whose class is the first of several with the same score."""
    scores = torch.cat(golden.scores)
    samples, classes = scores.shape
    if classes == 1:
        return []
    hint = f"; {_MEMBRANES}" if is_adapted else ""
    if not scores.any():
        return [f"all scores are 0, as of an output layer that never fires{hint}"]
    top = scores.amax(dim=1, keepdim=True)
    sharing = (scores == top).sum(dim=1)
    all_tied, tied = int((sharing == classes).sum()), int((sharing > 1).sum())
    if 2 * all_tied >= samples:
        return [f"in {all_tied} of {samples} samples all classes have the same score{hint}"]
    if 2 * tied >= samples:
        return [
            f"in {tied} of {samples} samples classes share the top score in a tie: the first of "
            f"them is taken{hint}"
        ]
    return []
