"""Lightning callbacks that follow a campaign."""

from __future__ import annotations

import pytorch_lightning as pl

from fi.campaign.settings import Settings


def standard_callbacks(settings: Settings) -> list[pl.Callback]:
    """The callbacks that every command gives to its campaign: score files, TensorBoard, progress.

    Args:
        settings: of the campaign; ``save_scores`` and ``progress`` are for them.
    """
    # each is imported when it is wanted: TensorBoard takes long
    from fi.callbacks.progress import CampaignProgress
    from fi.callbacks.scores import ScoreFiles
    from fi.callbacks.tensorboard import CampaignBoard

    callbacks: list[pl.Callback] = [ScoreFiles(settings.save_scores), CampaignBoard()]
    if settings.progress is not None:
        callbacks.append(CampaignProgress(settings.progress))
    return callbacks
