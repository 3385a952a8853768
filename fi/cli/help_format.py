"""How the help of a command is written."""

from __future__ import annotations

import argparse


class HelpFormatter(argparse.HelpFormatter):
    """Options with their defaults, where these say something."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        shown = action.default not in (None, False, argparse.SUPPRESS) and action.option_strings
        return f"{text} [%(default)s]" if shown and "%(default)s" not in text else text
