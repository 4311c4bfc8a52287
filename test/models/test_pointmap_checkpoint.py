"""Published layouts made from a small network, and files that are damaged, foreign or hostile."""

import argparse
import ast
import json
import math
import os
from collections.abc import Callable
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from single_thread import one_thread
from torch import Tensor

from img2three_ros.models.pointmap_checkpoint import published_name
from img2three_ros.models.pointmap_config import PointmapConfig
from img2three_ros.models.pointmap_files import constructor_options
from img2three_ros.models.pointmap_network import PointmapNetwork, load_pointmap_network
from img2three_ros.structures import InputError

__all__ = ["one_thread"]
SIZES = {"encoder_width": 32, "encoder_depth": 2, "encoder_heads": 2, "decoder_width": 24, "decoder_depth": 4,
         "decoder_heads": 3, "dense_widths": (8, 12, 16, 20), "dense_width": 16, "descriptor_hidden": 224}
CALL = ("AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(64, 64), "
        "head_type='{head}', output_mode='pts3d', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), "
        "enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=24, dec_depth=4, dec_num_heads=3)")
OPTIONS = {"head_type": "dpt", "enc_depth": 2, "enc_num_heads": 2, "dec_depth": 4, "dec_num_heads": 3,
           "pos_embed": "RoPE100", "depth_mode": ["exp", -math.inf, math.inf], "conf_mode": ["exp", 1, math.inf]}
SCRATCH = ("downstream_head1.dpt.scratch.", "downstream_head2.dpt.scratch.")


def small_network(head: str = "dpt", descriptor_width: int = 0) -> PointmapNetwork:
    torch.manual_seed(7)
    config = PointmapConfig(head=head, descriptor_width=descriptor_width, **SIZES)
    return PointmapNetwork(config).eval().requires_grad_(False)


def published(network: PointmapNetwork) -> dict[str, Tensor]:
    """With what the files hold besides: a mask, and a unit that nothing runs through."""
    tensors = {published_name(name): tensor.clone() for name, tensor in network.state_dict().items()}
    tensors["mask_token"] = torch.zeros(1, 1, 24)
    if network.config.head == "dpt":
        tensors |= {f"{head}refinenet4.resConfUnit1.conv{number}.weight": torch.zeros(16, 16, 3, 3)
                    for head in SCRATCH for number in (1, 2)}
    return tensors


def renamed(tensors: dict[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Tied tensors under their second name; keep: under both."""
    second = {f"{head}layer_rn.{level}.weight": tensors[f"{head}layer{level + 1}_rn.weight"]
              for head in SCRATCH for level in range(4)}
    return second | {name: tensor for name, tensor in tensors.items() if keep or "_rn.weight" not in name}


def pickled(path: Path, tensors: dict[str, Tensor], head: str = "dpt", **more: object) -> Path:
    torch.save({"args": argparse.Namespace(model=CALL.format(head=head), lr=1e-4, output_dir=PosixPath("out")),
                "model": tensors, "epoch": 7, "best_so_far": np.float64(0.25), **more}, path)
    return path


def folder(path: Path, tensors: dict[str, Tensor], options: dict[str, object] | None = None) -> Path:
    path.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / "model.safetensors",
              {"format": "pt"})
    (path / "config.json").write_text(json.dumps(OPTIONS if options is None else options))
    return path


def assert_loaded(path: Path, network: PointmapNetwork) -> None:
    loaded = load_pointmap_network(path)
    assert loaded.config == network.config and not loaded.training
    expected, found = network.state_dict(), loaded.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, expected[name], atol=0, rtol=0)


def test_names_are_the_published_ones(shared_dir: Path) -> None:
    for layout, config in (("dust3r_224_linear", PointmapConfig(head="linear")), ("dust3r_512_dpt", PointmapConfig()),
                           ("mast3r", PointmapConfig(descriptor_width=24))):
        lines = (shared_dir / f"reference/keys/{layout}.txt").read_text().splitlines()
        shapes = {key: ast.literal_eval(shape) for key, shape in (line.split("\t") for line in lines)}
        with torch.device("meta"):
            own = {published_name(name): tuple(tensor.shape)
                   for name, tensor in PointmapNetwork(config).state_dict().items()}
        assert own.items() <= shapes.items()
        assert all("mask_token" in name or "layer_rn" in name or "refinenet4.resConfUnit1" in name
                   for name in shapes.keys() - own.keys())


def test_some_names_by_hand() -> None:
    assert [published_name(name) for name in (
        "encoder.patches.bias", "decoder.second.3.cross.key.weight", "decoder.first.0.norm_other.bias",
        "head2.points.unify.2.weight", "head1.points.fuse.3.refine.second.bias", "head1.points.project.weight",
        "head2.points.after.2.bias", "head1.descriptors.second.weight")] == [
        "patch_embed.proj.bias", "dec_blocks2.3.cross_attn.projk.weight", "dec_blocks.0.norm_y.bias",
        "downstream_head2.dpt.scratch.layer3_rn.weight",
        "downstream_head1.dpt.scratch.refinenet4.resConfUnit2.conv2.bias", "downstream_head1.proj.weight",
        "downstream_head2.dpt.head.4.bias", "downstream_head1.head_local_features.fc2.weight"]


@pytest.mark.parametrize("head", ["linear", "dpt"])
def test_pickle_with_namespace(tmp_path: Path, head: str) -> None:
    network = small_network(head)
    loaded = load_pointmap_network(pickled(tmp_path / "a.pth", published(network), head))
    assert loaded.config.head == head and loaded.config.decoder_heads == 3
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, network.state_dict()[name], atol=0, rtol=0)
    image = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(loaded(image, image).points1, network(image, image).points1)


@pytest.mark.parametrize("keep", [False, True])
def test_tied_tensors_under_either_name(tmp_path: Path, keep: bool) -> None:
    network = small_network()
    assert_loaded(pickled(tmp_path / "a.pth", renamed(published(network), keep=keep)), network)
    if not keep:
        assert_loaded(folder(tmp_path / "folder", renamed(published(network), keep=keep)), network)


def test_hugging_face_folder_and_the_file_in_it(tmp_path: Path) -> None:
    network = small_network()
    path = folder(tmp_path / "folder", published(network))
    assert_loaded(path, network)
    assert_loaded(path / "model.safetensors", network)


def test_descriptors_and_half_precision(tmp_path: Path) -> None:
    network = small_network(descriptor_width=24).half().float()
    options = OPTIONS | {"head_type": "catmlp+dpt", "two_confs": True, "desc_conf_mode": ["exp", 0, math.inf]}
    half = {name: tensor.half() for name, tensor in published(network).items()}
    assert_loaded(folder(tmp_path / "folder", half, options), network)
    assert load_pointmap_network(tmp_path / "folder").config.metric  # MASt3R is, DUSt3R is not
    assert not load_pointmap_network(folder(tmp_path / "other", published(small_network()))).config.metric


def test_weights_without_a_word_are_counted(tmp_path: Path) -> None:
    """No description: depth counted, 64 channels to a head."""
    torch.manual_seed(8)
    network = PointmapNetwork(PointmapConfig(**{**SIZES, "encoder_width": 64, "encoder_heads": 1,
                                                "decoder_width": 128, "decoder_heads": 2, "descriptor_hidden": 768}))
    torch.save(published(network), tmp_path / "bare.pth")
    assert_loaded(tmp_path / "bare.pth", network.eval())


@pytest.mark.parametrize("described", [True, False])
def test_pretraining_gets_a_second_decoder_and_new_heads(tmp_path: Path, described: bool) -> None:
    network = small_network()
    tensors = {name: tensor for name, tensor in published(network).items()
               if not name.startswith(("dec_blocks2.", "downstream_head"))}
    tensors |= {"prediction_head.weight": torch.zeros(768, 24), "prediction_head.bias": torch.zeros(768)}
    plain = {"enc_num_heads": 2, "dec_num_heads": 3, "enc_depth": 2, "dec_depth": 4, "pos_embed": "RoPE100"}
    if described:
        torch.save({"model": tensors, "croco_kwargs": plain}, tmp_path / "croco.pth")
    else:
        call = f"CroCoNet({', '.join(f'{name}={value!r}' for name, value in plain.items())})"
        torch.save({"model": tensors, "args": argparse.Namespace(model=call)}, tmp_path / "croco.pth")
    for head in ("linear", "dpt"):
        loaded = load_pointmap_network(tmp_path / "croco.pth", new_head=head)
        assert loaded.config.head == head
        own, source = loaded.state_dict(), network.state_dict()
        for name in source:
            if name.startswith("decoder.first"):
                second = name.replace("first", "second", 1)
                torch.testing.assert_close(own[name], source[name], atol=0, rtol=0)
                torch.testing.assert_close(own[second], source[name], atol=0, rtol=0)
                assert own[second].data_ptr() != own[name].data_ptr()  # they learn apart
        maps = loaded(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
        assert torch.isfinite(maps.points2_in_1).all() and maps.points2_in_1.abs().max() > 0


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        load_pointmap_network(path)
    assert error.value.reason == "checkpoint"
    return str(error.value)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = published(small_network())
    del tensors["enc_blocks.1.mlp.fc2.bias"]
    tensors["dec_blocks.2.norm3.weight"] = torch.zeros(23)
    tensors["classifier.weight"] = torch.zeros(10, 4)
    said = refused(pickled(tmp_path / "a.pth", tensors))
    assert "'enc_blocks.1.mlp.fc2.bias' is missing, (32,) expected" in said
    assert "'dec_blocks.2.norm3.weight' is (23,), (24,) expected" in said
    assert "'classifier.weight' (10, 4) is not part of it" in said
    assert "more" not in said


@pytest.mark.parametrize("lost", ["dec_blocks2.", "downstream_head", "enc_blocks.1.", "dec_blocks.3."])
def test_whole_parts_that_are_lost_are_missed(tmp_path: Path, lost: str) -> None:
    tensors = {name: tensor for name, tensor in published(small_network()).items() if not name.startswith(lost)}
    said = refused(pickled(tmp_path / "a.pth", tensors))
    assert f"'{lost}" in said and "is missing" in said and "more" in said


def test_foreign_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(3, 4).state_dict()}, tmp_path / "foreign.pth")
    assert "'patch_embed.proj.weight' is missing, (1024, 3, 16, 16) expected" in refused(tmp_path / "foreign.pth")
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    assert "'patch_embed.proj.weight' is missing" in refused(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_cut_files_are_refused(tmp_path: Path, share: float) -> None:
    whole = pickled(tmp_path / "a.pth", published(small_network())).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[:int(len(whole) * share)])
    assert "cannot be read as weights" in refused(tmp_path / "cut.pth")
    path = folder(tmp_path / "folder", published(small_network())) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])
    assert "not a whole safetensors file" in refused(path.parent)


@pytest.mark.parametrize(("make", "words"), [
    (lambda path: None, "no weights at"),
    (lambda path: path.mkdir(), "has no model.safetensors"),
    (lambda path: path.write_text("a page, not a file"), "cannot be read as weights"),
    (lambda path: torch.save([1, 2], path), "holds no tensors by name"),
    (lambda path: torch.save({"model": {"a": 3}}, path), "holds no tensors by name"),
])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "it.pth")
    assert words in refused(tmp_path / "it.pth")


class Hostile:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("hostile-was-here",)


def test_code_in_files_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = published(small_network())
    assert "mkdir" in refused(pickled(tmp_path / "a.pth", tensors, extra=Hostile()))
    call = "__import__('os').mkdir('hostile-was-here')"
    for text in (call, f"AsymmetricCroCo3DStereo(head_type={call})", "x" * 100_000, "(" * 10_000, "A; B()"):
        torch.save({"model": tensors, "args": argparse.Namespace(model=text)}, tmp_path / "b.pth")
        try:
            load_pointmap_network(tmp_path / "b.pth")
        except InputError as error:
            assert error.reason == "checkpoint"
    assert not (tmp_path / "hostile-was-here").exists()


def test_constructor_calls_are_parsed() -> None:
    text = "Net(a=('exp', -inf, inf), b=[1, -2.5], c=True, d=f(3), e=float('inf'), **f)"
    assert constructor_options(text, Path("x")) == {
        "a": ("exp", -math.inf, math.inf), "b": (1, -2.5), "c": True, "e": math.inf}
    with pytest.raises(InputError, match="no constructor call"):
        constructor_options("3 + 4", Path("x"))


@pytest.mark.parametrize(("changed", "words"), [
    ({"depth_mode": ["linear", -math.inf, math.inf]}, "depth_mode"), ({"conf_mode": ["exp", 0, math.inf]}, "conf_mode"),
    ({"pos_embed": "cosine"}, "rotary"), ({"head_type": "mlp"}, "'mlp'"), ({"enc_depth": "many"}, "no number"),
    ({"enc_depth": float("inf")}, "no number"), ({"enc_depth": 3000}, "256 at most"),
    ({"enc_num_heads": 5}, "multiple of 4"),
])
def test_networks_of_another_kind_are_refused(tmp_path: Path, changed: dict[str, object], words: str) -> None:
    assert words in refused(folder(tmp_path / "folder", published(small_network()), OPTIONS | changed))


def test_the_size_of_image_of_training_is_kept(tmp_path: Path) -> None:
    network = small_network()
    assert load_pointmap_network(pickled(tmp_path / "said.pth", published(network))).config.image_side == 64
    assert load_pointmap_network(folder(tmp_path / "unsaid", published(network))).config.image_side == 512
