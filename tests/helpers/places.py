"""Where the repository is, and the data that are shared beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Recordings, and SpikingJET's weights and fault lists; a test that needs them skips without.
SHARED = ROOT.parent / "shared" / "data"
