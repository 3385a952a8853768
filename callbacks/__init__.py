"""Lightning callbacks that follow a campaign."""

from __future__ import annotations

import pytorch_lightning as pl

from fi.campaign.settings import Settings


def standard_callbacks(settings: Settings, of_rates: bool = False) -> list[pl.Callback]:
    """The callbacks that every command gives to its campaign: score files, TensorBoard, progress.

    Args:
        settings: of the campaign; ``save_scores`` and ``progress`` are for them.
        of_rates: whether it is a campaign of rates, which has scalars and a figure of its own.
    """
    # each is imported when it is wanted: TensorBoard takes long
    from fi.callbacks.progress import CampaignProgress
    from fi.callbacks.scores import ScoreFiles
    from fi.callbacks.tensorboard import CampaignBoard

    board: pl.Callback = CampaignBoard()
    if of_rates:
        from fi.callbacks.rate_board import RateBoard

        board = RateBoard()
    callbacks: list[pl.Callback] = [ScoreFiles(settings.save_scores), board]
    if settings.progress is not None:
        callbacks.append(CampaignProgress(settings.progress))
    return callbacks
