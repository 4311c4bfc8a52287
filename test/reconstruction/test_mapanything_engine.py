"""Engine ``mapanything`` with a stand-in at the import seam: it checks what it is given as the package does, and knows
the truth. The package itself and its weights: docs/pointmap_engines.md."""

import builtins
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from exact_pointmaps import SKY, Street, cast, ego, frame, mount, number_of, relative_errors
from single_thread import one_thread

from img2three_ros.config import Config, MapAnythingConfig
from img2three_ros.geometry.transforms import from_xyz_rpy, inverse
from img2three_ros.reconstruction.choose import choose_engine
from img2three_ros.structures import InputError

__all__ = ["one_thread"]
CPU = torch.device("cpu")
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
RIG = {"left": mount(y=0.5, yaw=25), "front": mount(), "rear": mount(x=-2.0, yaw=180)}
SECOND = 10 ** 9
ALLOWED = {"img", "data_norm_type", "depth_z", "ray_directions", "intrinsics", "camera_poses", "is_metric_scale",
           "true_shape", "idx", "instance"}


class Network(torch.nn.Module):
    """What ``mapanything.models.MapAnything`` documents of ``infer``. metre: its idea of one, of the true ones."""

    def __init__(self, street, metre=1.0, confidence=8.0):
        super().__init__()
        self.street, self.metre, self.confidence = street, metre, confidence
        self.encoder = SimpleNamespace(data_norm_type="dinov2")
        self.views, self.options = [], {}

    def infer(self, views, memory_efficient_inference=True, use_amp=True, apply_mask=True, mask_edges=True):
        self.views = views
        self.options = {"use_amp": use_amp, "memory_efficient_inference": memory_efficient_inference}
        assert len({view["img"].shape for view in views}) == 1, "images are joined: one size"
        for view in views:
            assert set(view) <= ALLOWED and view["data_norm_type"] == ["dinov2"]
            assert view["img"].shape[:2] == (1, 3) and not view["img"].shape[2] % 14 and not view["img"].shape[3] % 14
            assert view["intrinsics"].shape == (1, 3, 3)
            if "camera_poses" in view:
                assert view["camera_poses"].shape == (1, 4, 4) and view["is_metric_scale"].tolist() == [True]
        return [self._answer(view) for view in views]

    def _answer(self, view):
        image = view["img"][0] * DEVIATION[:, None, None] + MEAN[:, None, None]
        pose, _ = self.street.truth[number_of(2 * image - 1)]
        depth = cast(pose, view["intrinsics"][0].double().numpy(), image.shape[1:])
        sky = ~np.isfinite(depth)
        depth = torch.from_numpy(np.where(sky, SKY, depth) * self.metre).float()
        reference = self.street.truth[number_of(2 * self._first() - 1)][0]
        told = inverse(reference) @ pose  # the world is the first camera
        told[:3, 3] *= self.metre
        mask = torch.from_numpy(~sky)
        return {"depth_z": (depth * mask)[None, ..., None], "mask": mask[None, ..., None],
                "conf": torch.full((1, *depth.shape), self.confidence), "camera_poses": torch.from_numpy(told)[None]}

    def _first(self):
        return self.views[0]["img"][0] * DEVIATION[:, None, None] + MEAN[:, None, None]


@pytest.fixture
def package(monkeypatch):
    """Puts a network where ``mapanything`` would be; gives a list of the names it was asked for."""
    asked = []

    def install(network, failure=None):
        def from_pretrained(name):
            asked.append(name)
            if failure is not None:
                raise failure
            return network

        models, normalisations = ModuleType("mapanything.models"), ModuleType("image_normalizations")
        models.MapAnything = SimpleNamespace(from_pretrained=from_pretrained)
        normalisations.IMAGE_NORMALIZATION_DICT = {"dinov2": SimpleNamespace(mean=MEAN, std=DEVIATION)}
        for name, module in (("mapanything", ModuleType("mapanything")), ("mapanything.models", models),
                             ("uniception", ModuleType("uniception")),
                             ("uniception.models", ModuleType("uniception.models")),
                             ("uniception.models.encoders", ModuleType("uniception.models.encoders")),
                             ("uniception.models.encoders.image_normalizations", normalisations)):
            monkeypatch.setitem(sys.modules, name, module)
        return asked

    return install


def chosen(package, network, **settings):
    package(network)
    return choose_engine(Config(engine="mapanything", mapanything=MapAnythingConfig(size=112, **settings)), CPU)


def instant(street, number, x, cameras=tuple(RIG), **options):
    return frame(number * SECOND // 10, [street.view(name, RIG[name], ego(x), **options) for name in cameras], ego(x))


def test_views_reach_the_network_in_its_terms_and_come_back_metric(package):
    street = Street()
    network = Network(street)
    engine = chosen(package, network)
    frames = [instant(street, 0, 0.0), instant(street, 1, 0.6)]
    geometry = engine.reconstruct(frames[1], frames[:1])
    for depth in geometry.depths:
        error, given = relative_errors(depth, street.depth(depth.view))
        # 48 x 80 becomes 70 x 112 and back.
        assert given > 0.95 and np.median(error) < 0.005 and np.quantile(error, 0.9) < 0.03
        assert float(depth.confidence[depth.valid].median()) > 0.8
        sky = torch.from_numpy(np.isinf(street.depth(depth.view)))
        assert not sky.any() or float(depth.valid[sky].float().mean()) < 0.05, "but for its border"
    assert geometry.notes == () and network.options == {"use_amp": False, "memory_efficient_inference": False}


def test_poses_are_camera_into_world_of_the_present(package):
    street = Street()
    network = Network(street)
    engine = chosen(package, network)
    frames = [instant(street, 0, 0.0), instant(street, 1, 0.6)]
    engine.reconstruct(frames[1], frames[:1])
    present, earlier = network.views[:3], network.views[3:]
    for view, name in zip(present, RIG, strict=True):
        assert np.allclose(view["camera_poses"][0], RIG[name], atol=1e-6)
    assert earlier and all(any(np.allclose(view["camera_poses"][0], from_xyz_rpy([-0.6, 0, 0]) @ place, atol=1e-5)
                               for place in RIG.values()) for view in earlier)
    # A ray of the given K through the centre of the image is the optical axis, at any size.
    K = network.views[0]["intrinsics"][0].numpy()
    assert K[0, 0] == pytest.approx(60 * 112 / 80) and K[1, 1] == pytest.approx(60 * 70 / 48)
    assert (K[0, 2], K[1, 2]) == pytest.approx((55.5, 34.5))


def test_a_network_with_another_metre_is_doubted(package):
    street = Street()
    frames = [instant(street, 0, 0.0), instant(street, 1, 0.6)]
    right = chosen(package, Network(street)).reconstruct(frames[1], frames[:1])
    wrong = chosen(package, Network(street, metre=1.3)).reconstruct(frames[1], frames[:1])
    assert any("metre is in doubt by 26 %" in note for note in wrong.notes)  # log(1.3)
    for good, bad in zip(right.depths, wrong.depths, strict=True):
        assert float(bad.confidence.max()) < 0.65 < float(good.confidence.max())


def test_a_network_that_contradicts_the_rig_gives_nothing(package):
    street = Street()
    frames = [instant(street, 0, 0.0), instant(street, 1, 0.6)]
    network = Network(street)
    engine = chosen(package, network)
    told = network.infer

    def mirrored(views, **options):
        answers = told(views, **options)
        for answer in answers:
            answer["camera_poses"][:, :3, 3] *= -1.0
        return answers

    network.infer = mirrored
    geometry = engine.reconstruct(frames[1], frames[:1])
    assert not any(depth.valid.any() for depth in geometry.depths)
    assert any(note.startswith("no depth") for note in geometry.notes)


def test_a_metre_that_only_looks_tell_frees_no_space(package):
    street = Street()
    engine = chosen(package, Network(street))
    geometry = engine.reconstruct(instant(street, 0, 0.0, cameras=("front",)), [])
    assert geometry.depths[0].valid.any() and float(geometry.depths[0].confidence.max()) < 0.7
    assert any("guesses" in note for note in geometry.notes)
    beside = engine.reconstruct(instant(street, 1, 0.0), [])
    assert float(beside.depths[2].confidence.max()) < 0.7 < float(beside.depths[1].confidence.max())


def test_poses_can_be_kept_back(package):
    street = Street()
    network = Network(street)
    geometry = chosen(package, network, poses=False).reconstruct(instant(street, 0, 0.0), [])
    assert all("camera_poses" not in view and "is_metric_scale" not in view for view in network.views)
    assert all(float(depth.confidence.max()) < 0.7 for depth in geometry.depths)


def test_the_window_bounds_what_the_network_gets(package):
    street = Street()
    network = Network(street)
    engine = chosen(package, network, window=2)
    frames = [instant(street, number, 0.6 * number) for number in range(5)]
    engine.reconstruct(frames[-1], frames[:-1])
    assert len(network.views) == 3 + 2
    engine.reset()


def test_what_is_hidden_or_unsure_is_not_given(package):
    street = Street()
    unsure = chosen(package, Network(street, confidence=1.0)).reconstruct(instant(street, 0, 0.0), [])
    assert not any(depth.valid.any() for depth in unsure.depths)


def test_without_the_package_one_message_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mapanything"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def no_package(name, *arguments, **options):
        if name.split(".")[0] == "mapanything":
            raise ImportError("No module named 'mapanything'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", no_package)
    with pytest.raises(InputError, match=r"pip install git\+https://github.com/facebookresearch/") as caught:
        choose_engine(Config(engine="mapanything"), CPU)
    assert caught.value.reason == "package" and "Apache-2.0" in str(caught.value)


def test_weights_that_cannot_be_read_are_named(package):
    asked = package(None, OSError("no connection"))
    with pytest.raises(InputError, match=r"facebook/map-anything-apache.*no connection") as caught:
        choose_engine(Config(engine="mapanything"), CPU)
    assert caught.value.reason == "checkpoint" and asked == ["facebook/map-anything-apache"]


def test_nothing_of_it_is_imported_before_it_is_chosen():
    from img2three_ros.reconstruction import mapanything_engine

    assert not {"mapanything", "uniception"} & set(vars(mapanything_engine))
