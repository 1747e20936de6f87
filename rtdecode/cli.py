"""The one executable. A command's module is imported only when that command is named."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import NoReturn

import click

from rtdecode.errors import UserError

_COMMANDS = {
    "serve": "rtdecode.serve:serve",
    "control": "rtdecode.control_cli:control",
    "retrieve": "rtdecode.workers.retrieve:retrieve",
    "outlet": "rtdecode.workers.outlet:outlet",
    "inspect": "rtdecode.inspect:inspect",
    "keys": "rtdecode.keys:keys",
    "doctor": "rtdecode.doctor:doctor",
}
"""Commands of this floor; the upper floors announce theirs as entry points."""

_GROUP = "rtdecode.commands"


class _LazyGroup(click.Group):
    """Finds commands by name without importing the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted({*_COMMANDS, *entry_points(group=_GROUP).names})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name in _COMMANDS:
            module, attribute = _COMMANDS[name].split(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        found = entry_points(group=_GROUP, name=name)
        return found[name].load() if found else None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rtdecode")
def cli() -> None:
    """Decode what a person is looking at from EEG, MEG or fMRI, live and offline.

    Add --debug to any command to see the full traceback of an error.
    """


def main() -> NoReturn:
    """Run the command line; errors are one line, bad input exits with code 2."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        cli.main([argument for argument in arguments if argument != "--debug"], standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("rtdecode: stopped", err=True)
        sys.exit(130)
    except UserError as error:
        if debug:
            raise
        click.echo(f"rtdecode: {error}", err=True)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"rtdecode: unexpected {type(error).__name__}: {error} (run again with --debug and report it)",
            err=True,
        )
        sys.exit(1)
    sys.exit(0)
