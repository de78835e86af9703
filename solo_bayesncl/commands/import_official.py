"""Turns a checkpoint of the official code into a run.

solo-bayesncl import OFFICIAL.ckpt --out DIR [--config-path DIR --config-name NAME] [key=value ...]
"""

from solo_bayesncl.arguments import ArgumentParser
from solo_bayesncl.console import log
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home


def run(arguments: list[str]) -> int:
    """Runs the command; overrides come last and apply to the recipe or the record."""
    args = _parser().parse_intermixed_args(arguments)
    if (args.config_path is None) != (args.config_name is None):
        raise InputError("--config-path and --config-name belong together: give both or neither.")
    if not args.checkpoint.is_file():
        raise InputError(
            f"{args.checkpoint} is not a file. Give a .ckpt file of the official code."
        )

    from solo_bayesncl.sharing.import_official import import_official  # not needed for --help

    recipe = None if args.config_name is None else (args.config_path, args.config_name)
    folder = import_official(args.checkpoint, args.out, args.overrides, recipe)
    log(f"the run is in {folder}; evaluate it with: solo-bayesncl evaluate {folder}")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="solo-bayesncl import",
        description="Turn a checkpoint of the official code into a run. Its settings are those of "
        "the args.json beside it, or of a recipe completed from the weights.",
    )
    parser.add_argument("checkpoint", type=expand_home, metavar="OFFICIAL.ckpt")
    parser.add_argument(
        "--out", type=expand_home, required=True, metavar="DIR", help="for DIR/<method>/<version>/"
    )
    parser.add_argument("--config-path", "-cp", metavar="DIR", help="folder of the recipe")
    parser.add_argument("--config-name", "-cn", metavar="NAME", help="the recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the settings")
    return parser
