"""Carrying out what an operator's control file says: promise, feedback, exits that are off."""

from __future__ import annotations

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.hosting.control import Control


def apply_control(controller: Controller, control: Control) -> None:
    """Change a controller as an operator's control says; what the control leaves open goes back to the settings.

    Args:
        controller: the caller holds its lock.
        control: checked against the bag.
    """
    settings, changes = controller.settings, controller.decisions.changes
    losses = dict(settings.service_classes) | (control.service_classes or {})
    first = settings.max_loss if control.max_loss is None else control.max_loss
    class_losses = (first, *(losses[name] for name in settings.service_classes))
    if class_losses != controller.tuner.class_losses:
        changes.set_class_losses(class_losses)
    feedback = settings.feedback if control.feedback is None else control.feedback
    if feedback != controller.decisions.coins.feedback:
        changes.set_feedback(feedback)
    off = [control.is_off(exit_) for exit_ in range(len(controller.manifest.exits))]
    changes.set_exits_off(np.array(off, dtype=bool))
