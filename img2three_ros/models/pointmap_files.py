"""Files of published pointmap weights, opened without running anything that is in them.

A pickle (``.pth``) with an argparse Namespace, whose ``model`` is the text of a constructor call; a Hugging Face folder
with config.json and model.safetensors; a safetensors file.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import pathlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..fileio.checkpoints import read_checkpoint
from ..structures import InputError

_WEIGHTS, _OPTIONS = "model.safetensors", "config.json"
_LONGEST_CALL = 20_000  # characters of a constructor call
# Plain values that training scripts leave beside the weights. numpy renamed the function that makes its scalars.
_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS = [
    argparse.Namespace, pathlib.PosixPath, np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType,
    np.dtypes.Int64DType, (_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"),
]


def has_metadata(path: Path, key: str) -> bool:
    """Whether the path is a safetensors file with this metadata."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            return key in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False  # whoever reads it next says what is wrong


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, on the CPU as stored, and the options that the file gives for its network, {} if none.

    Raises InputError('checkpoint') for a file that is missing, not whole, of no known layout, or that wants code run.
    """
    if path.is_dir():
        if not (path / _WEIGHTS).is_file():
            raise InputError("checkpoint", f"the folder '{path}' has no {_WEIGHTS}")
        path = path / _WEIGHTS
    if path.suffix == ".safetensors":
        return dict(read_checkpoint(path).tensors), _json_options(path.with_name(_OPTIONS))
    if not path.is_file():
        raise InputError("checkpoint", f"no weights at '{path}'")
    return _pickled(path)


def _json_options(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("checkpoint", f"'{path}' is no JSON: {error}") from error
    if not isinstance(options, dict):
        raise InputError("checkpoint", f"'{path}' holds no options by name")
    return options


def _pickled(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        found = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it wants code run ('{found[1]}'), which is refused" if found else str(error).partition("\n")[0]
        raise InputError("checkpoint", f"'{path}' cannot be read as weights: {why or type(error).__name__}") from error
    state = content
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            state = content[key]
            break
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError("checkpoint", f"'{path}' holds no tensors by name, alone or under 'model'")
    options = {}
    if state is not content:
        described = getattr(content.get("args"), "model", None)
        if isinstance(content.get("croco_kwargs"), Mapping):
            options = dict(content["croco_kwargs"])
        elif isinstance(described, str):
            options = constructor_options(described, path)
    return {str(name): value for name, value in state.items()}, options


def constructor_options(text: str, path: Path) -> dict[str, Any]:
    """Keyword arguments of a constructor call given as text; those that are no plain values are left out.

    Nothing is evaluated. Plain are numbers, texts, True, False, None, inf, and tuples or lists of them.
    Raises InputError('checkpoint') if the text is no call.
    """
    try:
        call = ast.parse(text[:_LONGEST_CALL].strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call):
        raise InputError("checkpoint", f"'{path}' describes its network by '{text[:60]}', which is no constructor call")
    options = {}
    for keyword in call.keywords:
        try:
            options[str(keyword.arg)] = _plain(keyword.value)
        except ValueError:
            continue
    return options


def _plain(node: ast.expr) -> Any:
    """ValueError for what is no plain value."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_plain(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _plain(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float" \
            and len(node.args) == 1:
        return float(_plain(node.args[0]))
    raise ValueError("no plain value")
