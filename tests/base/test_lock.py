"""Locks: one writer a folder, and no lock outlives its holder."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import Run

from fi.base.folder_lock import FolderInUse, lock_folder
from fi.campaign.callback_api import CampaignCallback
from fi.campaign.subject import Subject
from fi.faults.fault import Fault

HOLD = """
import sys, time
from pathlib import Path
from fi.base.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_lock_is_held_by_one_and_released(tmp_path: Path) -> None:
    held = f"process {os.getpid()} on {platform.node()}"
    with lock_folder(tmp_path / "a"):
        with pytest.raises(FolderInUse, match=held), lock_folder(tmp_path / "a"):
            pass
        with lock_folder(tmp_path / "b"):
            pass
    with lock_folder(tmp_path / "a"):
        pass


def test_a_kill_releases_the_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    held = f"in use: process {holder.pid} on .* since 2"
    with pytest.raises(FolderInUse, match=held), lock_folder(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with lock_folder(tmp_path):
        pass


class RunsAnother(CampaignCallback):
    """Starts the same campaign in the middle of a campaign."""

    def __init__(self, other: Run, arguments: tuple[Subject, list[Fault]]) -> None:
        self.other, self.arguments = other, arguments
        self.error: FolderInUse | None = None

    def on_results(self, *args: object) -> None:
        with pytest.raises(FolderInUse) as found:
            self.other(*self.arguments).run()
        self.error = found.value


def test_two_campaigns_do_not_write_to_one_folder(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    second = RunsAnother(campaign, (subject, faults))
    results = campaign(subject, faults, callbacks=[second]).run()
    assert "is in use: process" in str(second.error)
    assert len(results) == len(faults)
