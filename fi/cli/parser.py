"""The parser of the commands: errors are one line, a network's arguments are options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from fi.base.errors import UserError, first_line
from fi.base.user_code import report_user_code
from fi.base.user_makers import Maker, list_required
from fi.cli.argv import find_value, put_config_first
from fi.cli.error_text import summarise_parser_error
from fi.cli.option_names import ARGUMENTS, TRACEBACK, format_option, spell_as_typed


class HelpFormatter(argparse.HelpFormatter):
    """Options with their defaults, where these say something."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        shown = action.default not in (None, False, argparse.SUPPRESS) and action.option_strings
        return f"{text} [%(default)s]" if shown and "%(default)s" not in text else text


class CommandParser(ArgumentParser):
    """jsonargparse's parser; errors are one line, ``--model.x`` are arguments of the network.

    Args:
        command: the command, ``python -m fi.test``.
        description: what it does.
        classes: for ``model`` and ``data``, the class or function whose arguments are options.
        usage: the first line of the help.
    """

    def __init__(
        self,
        command: str,
        description: str,
        classes: Mapping[str, Maker],
        usage: str = "%(prog)s --model MODEL [options]",
    ) -> None:
        super().__init__(
            prog=command,
            description=description,
            usage=usage,
            formatter_class=HelpFormatter,
            exit_on_error=False,
            allow_abbrev=False,
            print_config=None,
        )
        self.classes = classes
        self.add_argument(  # run_command takes it: it is no option of what is run
            f"--{TRACEBACK}",
            action="store_true",
            default=argparse.SUPPRESS,
            help="after an error, show where in the code it was raised",
        )

    def add_constructors(self) -> None:
        """Add the constructor arguments of the classes, the last groups of the help."""
        for option, cls in self.classes.items():
            key = ARGUMENTS[option]
            self._add_signature(cls, key)
            for group in self._action_groups:
                if any(action.dest.startswith(f"{key}.") for action in group._group_actions):
                    group.title = f"Arguments of {cls.__name__}"
            for action in self._actions:
                if action.dest == key:  # a file for these arguments alone
                    action.help = argparse.SUPPRESS
                elif action.dest.startswith(f"{key}."):
                    action.metavar = action.dest.rpartition(".")[2].upper()

    def _add_signature(self, maker: Maker, key: str) -> None:
        """Add its arguments; ``UserError`` where jsonargparse cannot read them."""
        try:
            if isinstance(maker, type):
                self.add_class_arguments(maker, key, fail_untyped=False)
            else:
                self.add_function_arguments(maker, key, fail_untyped=False)
        except Exception as error:  # of any kind, of signatures of any kind
            raise UserError(
                f"the arguments of {maker.__name__} cannot be read: {first_line(error)}"
            ) from error

    def accept_any(self, option: str) -> None:
        """Take whatever arguments are given to a class that is not known here, unchecked."""
        self.add_argument(f"--{ARGUMENTS[option]}", type=dict[str, Any], help=argparse.SUPPRESS)

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        return spell_as_typed(super().format_help())

    def parse(self, argv: Sequence[str]) -> Namespace:
        """The options in ``argv``; ``UserError`` says in one line what is wrong."""
        try:
            found: Namespace = self.parse_args(put_config_first(argv))
        except (argparse.ArgumentError, TypeError, ValueError, OSError, RecursionError) as error:
            text = summarise_parser_error(str(error))
            config = find_value(argv, "config")
            where = "" if "--" in text or config is None else f"--config {config}: "
            raise UserError(where + text) from error
        self._check_values(found)
        return found

    def _check_values(self, found: Namespace) -> None:
        """Raise ``UserError`` for an option without a value (``null``) that cannot be without.

        Arguments of constructors are left to the types that these declare.
        """
        for action in self._actions:
            if action.dest.partition(".")[0] in ARGUMENTS.values():
                continue
            usual = action.default not in (None, argparse.SUPPRESS)
            if usual and action.dest in found and found[action.dest] is None:
                raise UserError(
                    f"{format_option(action.dest)} has no value; default: {action.default}"
                )

    def build(self, options: Namespace, which: str) -> Any:
        """The network or the datamodule that ``options`` describe."""
        cls, key = self.classes[which], ARGUMENTS[which]
        self._check_required(options, which)
        with report_user_code(f"--{which} {options[which] or cls.__name__}"):
            arguments = Namespace({key: options[key]}) if key in options else Namespace()
            made = self.instantiate(arguments).get(key)
            if isinstance(cls, type) and isinstance(made, cls):
                return made
            return cls(**vars(made)) if isinstance(made, Namespace) else cls()

    def _check_required(self, options: Namespace, which: str) -> None:
        """Raise ``UserError`` for an argument of the constructor that it cannot be without."""
        cls, given = self.classes[which], options.get(ARGUMENTS[which])
        for name in list_required(cls):
            if given is None or given.get(name) is None:
                option = f"--{which}.{name}"
                raise UserError(
                    f"--{which} {options[which] or cls.__name__} wants an argument {name!r}: give "
                    f"{option} VALUE, or name a function that makes one and needs no argument"
                )

    def dump_replayable(self, options: Namespace, without: Sequence[str]) -> str:
        """The options as YAML that ``--config`` reads."""
        kept = options.clone()
        for name in ("config", *without):
            kept.pop(name, None)
        text: str = self.dump(kept, skip_validation=True, skip_unset=False)
        return text
