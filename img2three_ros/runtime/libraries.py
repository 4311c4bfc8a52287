"""Optional libraries, imported when first needed, with an error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from ..structures import InputError


def onnx_library() -> Any:
    """The package onnx. Raises InputError('backend') if it is not installed."""
    return _library("onnx", "onnx")


def onnxscript_library() -> Any:
    """The package onnxscript, which torch exports with. Raises InputError('backend') if it is not installed."""
    return _library("onnxscript", "onnxscript")


def onnxruntime_library() -> Any:
    """The package onnxruntime. Raises InputError('backend') if it is not installed."""
    return _library("onnxruntime", "onnxruntime")


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError("backend", f"{module} cannot be imported ({error}): pip install {package}") from error
