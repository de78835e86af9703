"""Packaging. solo-learn is not a dependency: see "Install" in the README."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "solo_bayesncl/__init__.py").read_text())[1]
RECIPES = "solo_bayesncl.yaml"


class BuildWithRecipes(build_py):
    """Ships the recipes of `scripts/` inside the package.

    `package_dir` would do the same. But with it, the packages of an editable install can be
    imported but not listed, and Hydra lists `hydra_plugins` to find plugins.
    """

    def get_package_dir(self, package: str) -> str:
        return "scripts" if package == RECIPES else super().get_package_dir(package)


setup(
    name="solo-bayesncl",
    version=VERSION,
    description="NCL and BayesNCL for solo-learn: interpretable contrastive learning",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["solo_bayesncl", "solo_bayesncl.*"]),
        "hydra_plugins.solo_bayesncl",
        RECIPES,
    ],
    package_dir={"": "."},
    cmdclass={"build_py": BuildWithRecipes},
    package_data={
        RECIPES: ["*/*.yaml", "*/*/*.yaml", "*/*/*/*.yaml"],
        "solo_bayesncl.data": ["imagenet100.txt"],
        "solo_bayesncl.report": ["*.html.j2", "*.css", "*.js"],
    },
    entry_points={"console_scripts": ["solo-bayesncl = solo_bayesncl.__main__:main"]},
    install_requires=[
        "torch>=2.6",  # before 2.6, torch.load(weights_only=True) can execute code
        "torchvision>=0.21",
        "torchmetrics>=0.11",
        "timm>=1.0.9",  # before, its ResNets have fixed widths
        "hydra-core>=1.3",
        "omegaconf>=2.3",
        "pydantic>=2.9",
        "rich>=12",
        "tensorboard",
        "numpy",
        "pillow>=9",
        "psutil",
        "matplotlib>=3.6",
        "joblib>=1.4",
        "scikit-learn>=1.1",
        "scipy>=1.10",
        "jinja2>=3",
        "safetensors",
        "filelock",
        "lazy_loader",
        "packaging",
        "tabulate>=0.9",
    ],
    extras_require={
        # dependencies of solo-learn 1.0.2 that work with a current torch, instead of its pins
        "host": [
            "pytorch-lightning==1.9.5",
            "torchmetrics==0.11.4",
            "setuptools<81",
            "einops",
            "tqdm",
            "wandb",
        ],
        # for the CUDA version of PyPI's torch; `solo-bayesncl doctor` names the one for yours
        "dali": ["nvidia-dali-cuda130"],
        "dali-cuda12": ["nvidia-dali-cuda120"],
        "wandb": ["wandb"],
        "h5": ["h5py"],
        # for `export --format onnx`; torch needs onnxscript to write the file
        "onnx": ["onnx", "onnxscript", "onnxruntime"],
        # for sparse autoencoders as controls of a comparison
        "controls": ["sae-lens>=6,<7"],
        # for `compare --multirun`: processes on one machine, SLURM jobs
        "launchers": ["hydra-joblib-launcher", "hydra-submitit-launcher"],
        "test": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "import-linter",
            "check-jsonschema",
            "build",
            "twine",
            "selenium",
            "nbclient",
            "ipykernel",
            "hydra-joblib-launcher",
            "onnx",
            "onnxscript",
            "onnxruntime",
            "sae-lens>=6,<7",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
