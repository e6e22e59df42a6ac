"""What onnxruntime raises: its own exceptions share no base class but Exception."""

from __future__ import annotations

from functools import cache


@cache
def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """For `except`; needs onnxruntime."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors = [member for member in vars(state).values() if isinstance(member, type) and issubclass(member, Exception)]
    return (*errors, RuntimeError, ValueError, TypeError, MemoryError)
