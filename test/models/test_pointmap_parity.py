"""The published architectures against outputs of upstream's networks, with weights made from their names.

Each case writes a checkpoint of more than 2 GB, loads it by the ordinary loader and runs one pair: half a minute of
CPU time and 6 GB of memory. Skipped where ../shared is absent.
"""

import argparse
import ast
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from img2three_ros.models.pointmap_network import PointmapNetwork, load_pointmap_network

PUBLISHED = ("enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12, "
             "pos_embed='RoPE100', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf)")
LINEAR = f"AsymmetricCroCo3DStereo({PUBLISHED}, img_size=(224, 224), head_type='linear', output_mode='pts3d')"
DESCRIPTORS = (f"AsymmetricMASt3R({PUBLISHED}, img_size=(512, 512), head_type='catmlp+dpt', output_mode='pts3d+desc24'"
               ", patch_embed_cls='ManyAR_PatchEmbed', two_confs=True, desc_conf_mode=('exp', 0, inf))")
DENSE = {"head_type": "dpt", "output_mode": "pts3d", "depth_mode": ["exp", -float("inf"), float("inf")],
         "conf_mode": ["exp", 1, float("inf")], "pos_embed": "RoPE100", "img_size": [512, 512], "landscape_only": True,
         "enc_embed_dim": 1024, "enc_depth": 24, "enc_num_heads": 16, "dec_depth": 12, "dec_num_heads": 12}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def keyed_weights(shared_dir: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("keyed_weights", shared_dir / "parity/keyed_weights.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder whose large files are gone after the test."""
    yield tmp_path
    for file in tmp_path.rglob("*"):
        if file.is_file():
            file.unlink()


def published_tensors(shared_dir: Path, keyed_weights: ModuleType, layout: str, *,
                      tied: bool) -> dict[str, torch.Tensor]:
    """tied: with the second name of the tensors that have two."""
    lines = (shared_dir / f"reference/keys/{layout}.txt").read_text().splitlines()
    shapes = {key: ast.literal_eval(shape) for key, shape in (line.split("\t") for line in lines)}
    tensors = {key: torch.from_numpy(np.asarray(keyed_weights.keyed_tensor(key, shape), np.float32))
               for key, shape in shapes.items() if "layer_rn." not in key}
    if tied:
        tensors |= {f"{head}layer_rn.{level}.weight": tensors[f"{head}layer{level + 1}_rn.weight"]
                    for head in ("downstream_head1.dpt.scratch.", "downstream_head2.dpt.scratch.")
                    for level in range(4)}
    return tensors


def check(network: PointmapNetwork, case: Path) -> None:
    truth = np.load(case)
    maps = network(torch.from_numpy(truth["img1"]), torch.from_numpy(truth["img2"]))
    found = {"pts3d": maps.points1, "conf1": maps.confidence1, "pts3d_in_other_view": maps.points2_in_1,
             "conf2": maps.confidence2}
    if "desc1" in truth:
        assert maps.descriptors1 is not None and maps.descriptors2 is not None
        found |= {"desc1": maps.descriptors1[:, ::3, ::3], "desc2": maps.descriptors2[:, ::3, ::3],
                  "desc_conf1": maps.descriptor_confidence1, "desc_conf2": maps.descriptor_confidence2}
    else:
        assert maps.descriptors1 is None
    assert set(found) == set(truth.files) - {"seed", "img1", "img2"}
    for name, tensor in found.items():
        assert tensor.shape == truth[name].shape
        error = np.linalg.norm(tensor.numpy() - truth[name]) / np.linalg.norm(truth[name])
        print(f"{case.stem} {name}: relative L2 error {error:.2e}")
        assert error <= 1e-4, name


def test_dust3r_224_linear_from_a_pickle(shared_dir: Path, keyed_weights: ModuleType, scratch: Path) -> None:
    torch.save({"args": argparse.Namespace(model=LINEAR), "epoch": 100, "model":
                published_tensors(shared_dir, keyed_weights, "dust3r_224_linear", tied=False)}, scratch / "linear.pth")
    check(load_pointmap_network(scratch / "linear.pth"), shared_dir / "parity/dust3r_224_linear.npz")


def test_dust3r_512_dpt_from_a_hugging_face_folder(shared_dir: Path, keyed_weights: ModuleType, scratch: Path) -> None:
    save_file(published_tensors(shared_dir, keyed_weights, "dust3r_512_dpt", tied=False), scratch / "model.safetensors")
    (scratch / "config.json").write_text(json.dumps(DENSE))
    check(load_pointmap_network(scratch), shared_dir / "parity/dust3r_512_dpt.npz")


def test_mast3r_from_a_pickle_with_tied_tensors(shared_dir: Path, keyed_weights: ModuleType, scratch: Path) -> None:
    torch.save({"args": argparse.Namespace(model=DESCRIPTORS), "epoch": 100, "model":
                published_tensors(shared_dir, keyed_weights, "mast3r", tied=True)}, scratch / "mast3r.pth")
    check(load_pointmap_network(scratch / "mast3r.pth"), shared_dir / "parity/dust3r_mast3r.npz")
