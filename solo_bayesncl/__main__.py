"""The command `solo-bayesncl`: an `InputError` becomes a message and exit status 2."""

import importlib
import sys
import traceback
import warnings
from types import ModuleType

from solo_bayesncl import __version__
from solo_bayesncl.arguments import DEBUG, ArgumentParser
from solo_bayesncl.console import console_output, log, results
from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.recipes.help import HELP
from solo_bayesncl.signals import Terminated, sigterm_raises
from solo_bayesncl.text import any_encoding

# name -> one line of help. solo_bayesncl.commands.<name> has `add_arguments` and `run`, or `run`
# alone where Hydra parses the command line.
COMMANDS = {
    "demo": "generate data, pretrain SimCLR, NCL and BayesNCL on it, evaluate and compare them",
    "pretrain": "pretrain a method from a YAML recipe",
    "linear": "train a linear classifier on a pretrained backbone from a YAML recipe",
    "evaluate": "measure the interpretability and accuracy of a pretrained model",
    "explain": "describe what single dimensions of a pretrained model mean: a page, or per image",
    "compare": "pretrain, evaluate and probe methods over seeds; tables, figures and a page",
    "export": "write a pretrained model for torchvision, timm, safetensors or ONNX",
    "import": "turn a checkpoint of the official code into a run",
    "data": "generate the demo data sets, or make ImageNet-100 from a download of ImageNet",
    "doctor": "list what is installed, what it allows and how to install the rest",
}
TAKE_RECIPES = ("pretrain", "linear", "compare")  # with Hydra's command line
PARSE_THEMSELVES = (*TAKE_RECIPES, "import")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; by default this process's.

    Returns:
        Exit status: 0, or 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM, 1 for what nobody
        foresaw.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    # raised by torchmetrics 0.11 at import
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    debug, arguments = _split_debug(arguments)
    results.restart()
    with any_encoding(), console_output(), sigterm_raises():
        try:
            status = _run(arguments)
            if results.error is not None and not isinstance(results.error, BrokenPipeError):
                raise InputError(f"standard output cannot be written: {results.error.strerror}.")
            return status
        except ArgumentError as error:
            return _report(error.as_flag, debug, status=2)
        except InputError as error:
            return _report(str(error), debug, status=2)
        except KeyboardInterrupt:
            log("interrupted")
            return 130
        except Terminated as error:
            log("terminated")
            return error.STATUS
        except Exception as error:
            if _is_script(arguments):
                raise  # its own error, for its author
            what = f"{type(error).__name__}: {error}".removesuffix(": ")
            return _report(f"unexpected {what} (--debug shows where)", debug, status=1)


def _report(message: str, debug: bool, status: int) -> int:
    """Prints the message of the exception that is handled, with --debug behind its traceback."""
    if debug:
        traceback.print_exc()
    log(message, all_ranks=True)
    return status


def _split_debug(arguments: list[str]) -> tuple[bool, list[str]]:
    """(whether --debug is given, the other arguments); what follows a script's name is its own."""
    ours = len(arguments)
    if _is_script([argument for argument in arguments if argument != DEBUG]):
        ours = next(i for i, argument in enumerate(arguments) if argument != DEBUG)
    others = [argument for argument in arguments[:ours] if argument != DEBUG]
    return len(others) < ours, others + arguments[ours:]


def _is_script(arguments: list[str]) -> bool:
    return bool(arguments) and arguments[0].endswith(".py")


def _run(arguments: list[str]) -> int:
    if _is_script(arguments):
        return _command("script").run(arguments)
    if not arguments or arguments[0] not in COMMANDS:
        _parser().parse_args(arguments)  # --help, --version or an error
    name, *arguments = arguments
    if name in TAKE_RECIPES and {"-h", "--help"}.intersection(arguments):
        results.print(HELP)
        return 0
    command = _command(name)
    if name in PARSE_THEMSELVES:
        return command.run(arguments)
    parser = ArgumentParser(prog=f"solo-bayesncl {name}", description=COMMANDS[name])
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def _command(name: str) -> ModuleType:
    """The command's module; `import` is a keyword of Python, so its module has a longer name."""
    module = "import_official" if name == "import" else name
    return importlib.import_module(f"solo_bayesncl.commands.{module}")


def _parser() -> ArgumentParser:
    """Parses what precedes a command; `_run` parses the rest, as it imports the command."""
    parser = ArgumentParser(
        prog="solo-bayesncl",
        description="NCL and BayesNCL for solo-learn.",
        epilog="solo-bayesncl SCRIPT.py ... runs a script such as solo-learn's main_knn.py with "
        "the methods of this package. With --debug, an error is printed with its traceback.",
    )
    parser.add_argument("--version", action="version", version=f"solo-bayesncl {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


if __name__ == "__main__":
    sys.exit(main())
