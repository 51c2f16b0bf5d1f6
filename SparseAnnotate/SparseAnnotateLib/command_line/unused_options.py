"""Warnings about options that have no effect in combination with others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..core import SparseAnnotateError
from ..interpolation import INTERPOLATORS, methods_with
from ..runs import DEFAULT_PRESET, PRESETS
from ..runs.live_settings import LIVE_PRESET
from ..selection import FEATURES, STRATEGIES
from ..worker.recommend_request import NO_FEATURES
from .shared_options import quoted

_FILL_OPTIONS = ("steps", "device", "time_limit")


def unused_options(options: argparse.Namespace, arguments: Sequence[str]) -> list[str]:
    """A sentence for each group of given options that the command does not use together with the others."""
    words = [word.partition("=")[0].removeprefix("--").replace("-", "_") for word in arguments if word[:2] == "--"]
    options.given = {name for word in words if word for name in _meant(options, word)}
    rules = {
        "fill": _of_fill,
        "recommend": _of_recommend,
        "picture": _of_features,
        "import-drawn": _of_import_drawn,
        "train": _of_training,
    }
    of_command = rules.get(options.command)
    return of_command(options) if of_command else []


def _meant(options: argparse.Namespace, word: str) -> list[str]:
    """The options that a word means: the one of this name, or those that begin with it."""
    return [word] if hasattr(options, word) else [name for name in vars(options) if name.startswith(word)]


def _of_fill(options: argparse.Namespace) -> list[str]:
    method = INTERPOLATORS.get(options.method)
    if method is None:
        return []  # reported as an error later
    methods = set(options.methods or ()) if method.chooses else {options.method}
    found = []
    if not method.chooses:
        found += _sentence(options, ["methods"], f"--method {options.method}")
    # A run is predicted on the device.
    by_option = {option: methods_with(option) for option in _FILL_OPTIONS if not (option == "device" and options.run)}
    for takers in dict.fromkeys(by_option.values()):
        # 'auto' without --methods chooses from methods that take no options.
        if not methods & set(takers):
            names = [option for option in by_option if by_option[option] == takers]
            found += _sentence(options, names, f"any method but {quoted(takers)}")
    return found


def _of_recommend(options: argparse.Namespace) -> list[str]:
    try:
        entry = STRATEGIES.named(options.strategy)
    except SparseAnnotateError:
        return []  # reported as an error later
    where = f"--strategy {options.strategy}"
    found = []
    uses_models = entry.asks_models
    compares = entry.compares_slices and not (uses_models and options.features == NO_FEATURES)
    compares = compares or bool(options.picture)
    if not uses_models:
        found += _sentence(options, ["runs", "samples"], where)
    if not compares:
        found += _sentence(options, ["features", "from_scratch", "download_weights", "feature_steps"], where)
        if not uses_models:
            found += _sentence(options, ["device"], where)
    elif not uses_models or options.features != NO_FEATURES:
        found += _of_features(options)
    if options.minutes is None:
        found += _sentence(options, ["seconds_per_slice"], "any budget but --minutes")
    return found


def _of_training(options: argparse.Namespace) -> list[str]:
    if options.settings or (options.recipe and options.preset):
        return []  # what is trained is not known here
    preset = options.preset or (LIVE_PRESET if options.live else DEFAULT_PRESET)
    recipe = options.recipe or PRESETS[preset].recipe
    names = {"2d": ["network", "patch"], "3d": ["network_2d"]}.get(recipe, [])
    return _sentence(options, names, f"--recipe {recipe}" if options.recipe else f"--preset {preset}")


def _of_import_drawn(options: argparse.Namespace) -> list[str]:
    return _sentence(options, ["planes"], "--slices-from") if options.slices_from else []


def _of_features(options: argparse.Namespace) -> list[str]:
    where = f"--features {options.features}"
    features = FEATURES.get(options.features)
    found = []
    if features is None or not features.has_weights:
        found += _sentence(options, ["from_scratch", "download_weights"], where)
    if features is None or not features.is_learned:
        found += _sentence(options, ["feature_steps"], where)
    return found


def _sentence(options: argparse.Namespace, names: list[str], where: str) -> list[str]:
    given = [name for name in names if name in getattr(options, "given", ())]
    if not given:
        return []
    shown = " and ".join(f"--{name.replace('_', '-')}" for name in given)
    return [f"{shown} {'has' if len(given) == 1 else 'have'} no effect with {where}."]
