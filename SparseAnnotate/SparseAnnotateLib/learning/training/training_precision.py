"""The precision that a model is trained in: the planned one, until it proves unsound; then fp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...core.messages import _
from ...runs.plan import Precision
from .cpu_bf16 import gradients_are_sound
from .distributed import Ranks

_UNUSABLE_STEPS, _UNUSABLE_STEPS_IN_BF16 = 10, 3  # in a row


class TrainingPrecision:
    """Which precision the steps are computed in, and the gradient scaler that fp16 needs.

    Args:
        planned: of the run. role: of the model. device: that the steps are computed on.
        note: called with a sentence for the user when the precision changes.

    Attributes:
        value: the present precision.
        scaler: of the gradients; it does nothing but for fp16 on a GPU.
    """

    def __init__(self, planned: Precision, role: str, device: str, note: Callable[[str], None]):
        self.value, self._planned, self._role, self._device, self._note = planned, planned, role, device, note
        self.scaler = torch.amp.GradScaler(enabled=planned == "fp16" and device.startswith("cuda"))
        self._failed: str | None = None
        self._wants_trial = True

    @property
    def unusable_steps_at_most(self) -> int:
        """So many in a row are left out; then fp32 is used, or training fails if it is used already.

        fp16 overflows now and then by design, and its scale is lowered.
        """
        has_other_means = self.value == "fp32" or self.scaler.is_enabled()
        return _UNUSABLE_STEPS if has_other_means else _UNUSABLE_STEPS_IN_BF16

    def try_bf16(self, loss: Callable[[], torch.Tensor], network: torch.nn.Module, ranks: Ranks) -> None:
        """Use fp32 when bf16 gives other gradients on this CPU; once, and again after `try_again`.

        In every process, as the checkpoint may be from a GPU or from another computer.

        Args:
            loss: gives the loss of always the same batch, a scalar, in the present precision.
            network: that is trained; running averages are as before afterwards, gradients None.
        """
        if not self._wants_trial or self._device != "cpu" or self.value != "bf16":
            return

        def loss_in(precision: Precision) -> torch.Tensor:
            self.value = precision
            return loss()

        buffers = [buffer.clone() for buffer in network.buffers()]
        try:
            is_sound = ranks.shared(gradients_are_sound(loss_in, network.parameters()))
        finally:
            self.value = "bf16"
            for buffer, before in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self._wants_trial = False
        if not is_sound:
            self._use_fp32(
                _(
                    "The '{role}' model is trained in fp32, which is slower: on this processor bf16 gives wrong "
                    "gradients for its patches."
                ).format(role=self._role)
            )

    def try_again(self) -> None:
        """When patches have changed: what bf16 gives depends on their size."""
        self._wants_trial = True

    def lower_scale(self) -> None:
        """After a step that was not finite."""
        if self.scaler.is_enabled():
            self.scaler.update(self.scaler.get_scale() / 2)

    def forget_step(self) -> None:
        """After a step that was not finished: a scaler counts gradients as unscaled until the optimizer's step."""
        if self.scaler.is_enabled():
            scale = self.scaler.state_dict()
            self.scaler = torch.amp.GradScaler()
            self.scaler.load_state_dict(scale)

    def give_up_on_it(self, step: int, count: int) -> None:
        """Continue in fp32 from a step on, after so many steps in a row that were not finite."""
        self._use_fp32(
            _(
                "The '{role}' model continues in fp32 from step {step} on, which is slower: in {precision} the loss "
                "was not a number in {count} steps in a row."
            ).format(role=self._role, step=step, precision=self.value, count=count)
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "precision": self.value,
            "planned_precision": self._planned,
            "failed_precision": self._failed,
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """As in a checkpoint; a precision that has failed on another kind of device is used. Raises KeyError."""
        self._failed = state["failed_precision"] if "failed_precision" in state else self._failed_before(state)
        if self._failed == self._attempt:
            self.value = "fp32"
        if self.value == "fp32":
            self.scaler = torch.amp.GradScaler(enabled=False)
        elif state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    @property
    def _attempt(self) -> str:
        """The present precision and the kind of the device, such as 'bf16 cpu'."""
        return f"{self.value} {torch.device(self._device).type}"

    def _failed_before(self, state: dict[str, Any]) -> str | None:
        """Of a checkpoint of an earlier version, which does not have the device: taken to be the present one."""
        return self._attempt if state["precision"] != state.get("planned_precision", self._planned) else None

    def _use_fp32(self, sentence: str) -> None:
        self._failed = self._attempt
        self.value, self.scaler = "fp32", torch.amp.GradScaler(enabled=False)
        self._note(sentence)
