"""A run's files: plan.json, metrics.jsonl, a folder for each model, and at its end card.json."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..core import RunError
from ..core.atomic_files import append_line, write_text
from ..core.case_names import file_stem
from ..core.cohort_layout import CARD_FILE, OLD_PLAN_FILE, PLAN_FILE, run_plan_path
from ..core.errors import BadInputError
from ..core.messages import _
from ..core.strict_json import read_json, to_text, write_json
from .cards import ModelCard, RunCard
from .plan import RUN_FORMAT, Role, RunPlan

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_LINES_BYTES = 4096


class RunFolder:
    """The folder of one run, existing or not."""

    def __init__(self, path: Path):
        self.path = path
        self.card_path = path / CARD_FILE
        self.metrics_path = path / "metrics.jsonl"
        self.labels_folder = path / "labels"

    @property
    def plan_path(self) -> Path:
        """The file of the run's plan; of a run written by an older version, settings.json."""
        return run_plan_path(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_started(self) -> bool:
        return self.plan_path.is_file()

    @property
    def is_finished(self) -> bool:
        return self.card_path.is_file()

    def weights_path(self, role: Role) -> Path:
        return self.path / role / "weights.safetensors"

    def checkpoint_path(self, role: Role) -> Path:
        return self.path / role / "checkpoint.safetensors"

    def model_card_path(self, role: Role) -> Path:
        return self.path / role / "card.json"

    def pseudo_labels_path(self, case: str) -> Path:
        """Compressed class indices by every base model, (V, S, A, R)."""
        return self.path / "pseudo_labels" / f"{file_stem(case)}.npz"

    def agreement_path(self, case: str) -> Path:
        """Percent of the base models that agree with the majority, on the grid of the case's image."""
        return self.path / "agreement" / f"{file_stem(case)}.nrrd"

    def plan(self) -> RunPlan:
        """The run's plan. Raises RunError when it is missing, damaged or of another version."""
        return self._read(self.plan_path, RunPlan)

    def require_unfinished(self) -> None:
        """Raise RunError when the run has been trained already."""
        if self.is_finished:
            raise RunError(
                _("The run '{run}' has finished already. Choose another name to train again.").format(run=self.name)
            )

    def card(self) -> RunCard:
        """The card of a finished run. Raises RunError when the run is not finished, damaged or of another version."""
        if not self.is_finished:
            sentence = (
                _("The run '{run}' has not finished training ('{path}'). Train it, or choose another run.")
                if self.is_started
                else _("The run '{run}' does not exist ('{path}'). Train it, or choose another run.")
            )
            raise RunError(sentence.format(run=self.name, path=self.path))
        return self._read(self.card_path, RunCard)

    def model_card(self, role: Role) -> ModelCard | None:
        """The card of a model that has been trained, or None."""
        path = self.model_card_path(role)
        return self._read(path, ModelCard) if path.is_file() else None

    def write_plan(self, plan: RunPlan, to_edit: bool = False) -> None:
        """Write plan.json: as a plan that people may edit, or, once training has started, with a checksum.

        It replaces the settings.json of an older version.
        """
        write_json(self.path / PLAN_FILE, plan, checksum=not to_edit)
        (self.path / OLD_PLAN_FILE).unlink(missing_ok=True)

    def write_card(self, card: RunCard) -> None:
        write_json(self.card_path, card)

    def write_model_card(self, card: ModelCard) -> None:
        write_json(self.model_card_path(card.plan.role), card)

    def add_metrics(self, role: Role, iteration: int, **figures: float) -> None:
        """Append one line to metrics.jsonl."""
        append_line(self.metrics_path, to_text({"model": role, "iteration": iteration, **figures}))

    def metrics(self, role: Role | None = None) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl, or those of one model; lines from the first unreadable one on are left out."""
        text = self.metrics_path.read_text(encoding="utf-8", errors="replace") if self.metrics_path.is_file() else ""
        found = []
        for line in text.splitlines():
            try:
                figures = json.loads(line)
                known = figures["model"], int(figures["iteration"])
            except (ValueError, KeyError, TypeError):
                break
            if role is None or known[0] == role:
                found.append(figures)
        return found

    def last_metrics(self) -> dict[str, Any] | None:
        """The last whole line of metrics.jsonl; None before there is one."""
        try:
            with open(self.metrics_path, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LINES_BYTES))
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return None
        for line in reversed(lines):
            with suppress(ValueError):
                found = json.loads(line)
                return found if isinstance(found, dict) else None
        return None

    def keep_metrics_until(self, role: Role, iteration: int) -> None:
        """Drop the lines written after the checkpoint that training resumes from: they will be written again."""
        if self.metrics_path.is_file():
            kept = [m for m in self.metrics() if m["model"] != role or m["iteration"] <= iteration]
            write_text(self.metrics_path, "".join(to_text(m) + "\n" for m in kept))

    def _read(self, path: Path, cls: type[T]) -> T:
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
            version = content.get("version", RUN_FORMAT) if isinstance(content, dict) else RUN_FORMAT
        except (OSError, ValueError):
            version = RUN_FORMAT
        if version != RUN_FORMAT:
            raise RunError(
                _(
                    "The run '{run}' was made by another version of SparseAnnotate (its format is {version}, this "
                    "one reads {own}). Update SparseAnnotate, or train again under another name."
                ).format(run=self.name, version=version, own=RUN_FORMAT)
            )
        try:
            return read_json(path, cls)
        except BadInputError as error:
            raise RunError(
                _("The run '{run}' cannot be used. {error}").format(run=self.name, error=error.message)
            ) from error
