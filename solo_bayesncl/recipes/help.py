"""The help of the commands that take a recipe; to print it, Hydra need not be imported."""

HELP = """usage: solo-bayesncl COMMAND --config-path DIR --config-name NAME [key=value ...]

DIR holds YAML recipes, e.g. scripts/pretrain/cifar; NAME is one of them, e.g. bayesncl.
Any value of the recipe can be overridden: optimizer.lr=0.2. Hydra's other flags work too:
--cfg job prints the recipe as composed, --multirun runs every combination of values.

--debug adds the traceback to an error."""
