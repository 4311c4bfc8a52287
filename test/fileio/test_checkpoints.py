"""Weights on disk: what goes in comes out, and what is damaged is named."""

import json
import struct

import pytest
import torch

from img2three_ros.fileio.checkpoints import read_checkpoint, write_checkpoint
from img2three_ros.structures import InputError

TENSORS = {"a.weight": torch.tensor([[1.5, -2.0], [0.1, 3e4]]), "steps": torch.tensor(7)}


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "new folder" / "weights.safetensors"
    write_checkpoint(path, TENSORS, {"note": "süß"})
    found = read_checkpoint(path)
    assert found.metadata == {"note": "süß"}
    assert set(found.tensors) == set(TENSORS)
    assert torch.equal(found.tensors["a.weight"], TENSORS["a.weight"])
    assert found.tensors["steps"].dtype == torch.int64 and int(found.tensors["steps"]) == 7


def test_the_file_is_laid_out_as_the_format_says(tmp_path):
    """Length of the header (8 bytes, little endian), JSON header, then the bytes of the tensors."""
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, {"x": torch.tensor([1.0, 2.0])}, {"k": "v"})
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    assert header["__metadata__"] == {"k": "v"}
    assert header["x"]["dtype"] == "F32" and header["x"]["shape"] == [2]
    first, last = header["x"]["data_offsets"]
    assert struct.unpack("<2f", data[8 + length + first:8 + length + last]) == (1.0, 2.0)


def test_half_keeps_whole_numbers_and_rounds_the_rest_to_eleven_bits(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, TENSORS, {}, half=True)
    found = read_checkpoint(path).tensors
    assert found["a.weight"].dtype == torch.float16 and found["steps"].dtype == torch.int64
    assert torch.allclose(found["a.weight"].float(), TENSORS["a.weight"], rtol=2.0 ** -11, atol=0.0)


def test_what_float16_cannot_hold_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"'big' has values up to 1e\+05"):
        write_checkpoint(tmp_path / "weights.safetensors", {"big": torch.tensor([1e5])}, {}, half=True)
    assert list(tmp_path.iterdir()) == []


def test_shared_and_strided_tensors_are_stored_one_by_one(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    write_checkpoint(tmp_path / "weights.safetensors", {"base": base, "turned": base.T}, {})
    found = read_checkpoint(tmp_path / "weights.safetensors").tensors
    assert torch.equal(found["turned"], found["base"].T)


def test_a_rewritten_file_is_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "weights.safetensors"
    for value in (1.0, 2.0):
        write_checkpoint(path, {"x": torch.tensor([value])}, {})
    assert float(read_checkpoint(path).tensors["x"]) == 2.0
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no weights at '.*absent.safetensors'"):
        read_checkpoint(tmp_path / "absent.safetensors")
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="not a whole safetensors file") as error:
        read_checkpoint(path)
    assert error.value.reason == "checkpoint"
    path.write_bytes(b"PK\x03\x04 a pickle")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_checkpoint(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_checkpoint(tmp_path / "file" / "weights.safetensors", TENSORS, {})
