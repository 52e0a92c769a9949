"""The command `harness`. Each command is one module here, imported only when it is called."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import NoReturn

import click

from harness import __version__, console
from harness.errors import HarnessError

_COMMANDS = {
    "generate": "one pass: prompt, completion, candidate, archived",
    "run": "prune in the sandbox, check, score",
    "export": "prune, and write the model as a Hugging Face folder",
    "evaluate": "zero-shot tasks of lm-eval on a model folder",
    "study": "a whole study, resumable",
    "report": "leaderboard, tables, figure of a study",
    "data": "results as CSV or Parquet, to MLflow or to W&B",
    "pack": "a study in one file, for others",
    "verify": "check every byte of a pack",
    "replay": "run a study again offline and compare",
    "verify-literature": "measure published figures again and compare",
    "ideas": "list the pruning ideas",
    "pruners": "list reference pruners and archived candidates",
    "targets": "list the models that can be pruned",
    "doctor": "what this machine has, what is missing, what to do",
    "sandbox": "build the sandbox image",
    "completion": "print the shell completion script",
}


class _LazyGroup(click.Group):
    """A group whose commands are modules of this package, loaded on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"harness.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        _accept_quiet(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _be_quiet(_ctx: click.Context, _parameter: click.Parameter, quiet: bool) -> None:
    if quiet:
        console.set_quiet(True)


def _accept_quiet(command: click.Command) -> None:
    """Let `--quiet` stand behind a command as well as before it."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _accept_quiet(inner)
    elif not any(parameter.name == "quiet" for parameter in command.params):
        words = "No progress bars and no notices."
        option = click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_be_quiet, help=words)
        command.params.append(option)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
@click.option("-q", "--quiet", is_flag=True, help="No progress bars and no notices.")
def cli(quiet: bool) -> None:
    """Benchmark pruning algorithms that language models write, beside those that people wrote."""
    console.set_quiet(quiet)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; every error of the harness is one line and an exit status of 2 or 3."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while they wait slow a shared machine down
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: nothing that was started is left behind
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        status = cli.main(arguments, prog_name="harness", standalone_mode=False)
        sys.stdout.flush()
    except HarnessError as error:
        _fail(str(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(f"{error.format_message()}; see --help", 2)
    except click.Abort:
        _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; the exit flushes once more
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}; make room, or write elsewhere", 3)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    print("harness: " + console.plain(message).replace("\n", " "), file=sys.stderr)
    sys.exit(status)
