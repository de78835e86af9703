"""The command `solo-bayesncl`: an `InputError` becomes a message and exit status 2."""

import importlib
import sys
import warnings
from types import ModuleType

from solo_bayesncl import __version__
from solo_bayesncl.commands.arguments import ArgumentParser
from solo_bayesncl.console import console_output, log, results
from solo_bayesncl.errors import ArgumentError, InputError
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
    "data": "generate the demo data sets",
    "doctor": "list what is installed, what it allows and how to install the rest",
}
PARSE_THEMSELVES = ("pretrain", "linear", "compare", "import")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; by default this process's.

    Returns:
        Exit status: 0, or 2 for bad input, 130 for an interrupt.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    # raised by torchmetrics 0.11 at import
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    results.restart()
    with any_encoding(), console_output():
        try:
            status = _run(arguments)
            if results.error is not None and not isinstance(results.error, BrokenPipeError):
                log(f"standard output cannot be written: {results.error.strerror}.")
                return 2
            return status
        except ArgumentError as error:
            log(error.as_flag, all_ranks=True)
            return 2
        except InputError as error:
            log(str(error), all_ranks=True)
            return 2
        except KeyboardInterrupt:
            log("interrupted")
            return 130


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in PARSE_THEMSELVES:
        return _command(arguments[0]).run(arguments[1:])
    if arguments and arguments[0].endswith(".py"):
        return _command("script").run(arguments)
    args = _parser(arguments).parse_args(arguments)
    return _command(args.command).run(args)


def _command(name: str) -> ModuleType:
    """The command's module; `import` is a keyword of Python, so its module has a longer name."""
    module = "import_official" if name == "import" else name
    return importlib.import_module(f"solo_bayesncl.commands.{module}")


def _parser(arguments: list[str]) -> ArgumentParser:
    parser = ArgumentParser(
        prog="solo-bayesncl",
        description="NCL and BayesNCL for solo-learn.",
        epilog="solo-bayesncl SCRIPT.py ... runs a script such as solo-learn's main_knn.py with "
        "the methods of this package.",
    )
    parser.add_argument("--version", action="version", version=f"solo-bayesncl {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        # only the chosen command is imported: `--help` must not wait for torch
        if name in arguments[:1] and name not in PARSE_THEMSELVES:
            _command(name).add_arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
