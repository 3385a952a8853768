"""One fault list on one network and one test set, as Lightning test runs.

Public names: a campaign and what it needs, and what a callback of your own is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fi.base.public_names import load_lazily

if TYPE_CHECKING:
    from fi.campaign.callback_api import CampaignCallback, CampaignRecord
    from fi.campaign.runner import Campaign
    from fi.campaign.settings import Hardware, Settings
    from fi.campaign.subject import Subject

__all__ = [
    "Campaign",
    "CampaignCallback",
    "CampaignRecord",
    "Hardware",
    "Settings",
    "Subject",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = load_lazily(
        __name__,
        {
            "callback_api": ("CampaignCallback", "CampaignRecord"),
            "runner": ("Campaign",),
            "settings": ("Hardware", "Settings"),
            "subject": ("Subject",),
        },
    )
