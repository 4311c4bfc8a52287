"""Windows along surfaces: which candidate agrees, what is not seen, and that exposure does not matter."""

import numpy as np
import pytest
import torch
from torch import Tensor

from img2three_ros.models.matching import MatchGeometry, pair_warps
from img2three_ros.models.windows import WindowScores, grey_half, match_windows, sweep_windows, usable_half

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
HEIGHT, WIDTH, FOCAL, BASELINE = 96, 160, 120.0, 0.5
OFFSETS = torch.tensor([-0.2, -0.1, 0.0, 0.1, 0.2]).reshape(1, -1, 1, 1)


def pattern(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A picture without repetition, smooth at two pixels, 0..1."""
    rng = np.random.default_rng(4)
    waves = rng.uniform(-0.45, 0.45, (40, 2))
    phases = rng.uniform(0, 2 * np.pi, 40)
    total = sum(np.sin(a * u + b * v + phase) for (a, b), phase in zip(waves, phases, strict=True))
    return 0.5 + 0.1 * total / np.sqrt(len(waves) / 2)


def seen_from(x: float, slope: float) -> Tensor:
    """(3, H, W) image of the surface 1 / depth = (1 + slope * u') / 8 m, u' = (u - centre) / FOCAL of the reference,
    from a camera ``x`` metres to the right: each pixel's place in the reference is solved for by iteration."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    reference_u = u.copy()
    for _ in range(50):
        reference_u = u + FOCAL * x * (1 + slope * (reference_u - WIDTH / 2) / FOCAL) / 8.0
    return torch.from_numpy(pattern(reference_u, v)).float().expand(3, -1, -1)


def geometry(sources: list[int], mask: Tensor | None = None) -> MatchGeometry:
    """One reference; source 0 half a metre to the right, source 1 as far to the left."""
    intrinsics = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
    poses = torch.eye(4).repeat(1, len(sources), 1, 1)
    for slot, source in enumerate(sources):
        poses[0, slot, 0, 3] = -BASELINE if source == 0 else BASELINE
    everything = torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    return MatchGeometry(intrinsics[None], intrinsics.expand(2, 3, 3), torch.tensor([sources]), poses,
                         torch.eye(4)[None], everything[:1], everything if mask is None else mask)


def scores(slope: float, sources: list[int], images: Tensor | None = None, mask: Tensor | None = None,
           surface: Tensor | None = None) -> WindowScores:
    views = torch.stack((seen_from(BASELINE, slope), seen_from(-BASELINE, slope))) if images is None else images
    matching = geometry(sources, mask)
    along = (torch.arange(WIDTH // 4) * 4 + 1.5 - WIDTH / 2) / FOCAL
    true = torch.log(8.0 / (1 + slope * along)).expand(1, HEIGHT // 4, WIDTH // 4)
    known = torch.cat((grey_half(views), usable_half(matching.source_mask)), 1)
    return match_windows(grey_half(seen_from(0.0, slope)[None]), known, pair_warps(matching, 2, 2),
                         (true if surface is None else surface)[:, None] + OFFSETS)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_true_surface_agrees_best_slanted_or_not(slope: float) -> None:
    alike = scores(slope, [0, 1]).alike[0, :, 3:-3, 8:-8]
    assert float((alike.argmax(0) == 2).float().mean()) > 0.97
    assert float(alike[2].mean()) > 0.97


def test_a_slanted_surface_agrees_less_when_windows_lie_parallel_to_the_image() -> None:
    """Why windows follow the surface: the same depths, each window at the depth of its centre, on a steep slope."""
    slope, centre = 4.0, 20
    along = (centre * 4 + 1.5 - WIDTH / 2) / FOCAL
    flat = torch.log(torch.tensor(8.0 / (1 + slope * along))).expand(1, HEIGHT // 4, WIDTH // 4)
    column = slice(centre, centre + 1)
    followed = scores(slope, [0, 1]).alike[0, 2, 3:-3, column].mean()
    parallel = scores(slope, [0, 1], surface=flat).alike[0, 2, 3:-3, column].mean()
    assert float(parallel) < float(followed) - 0.01


def test_exposure_and_contrast_do_not_matter() -> None:
    views = torch.stack((0.5 * seen_from(BASELINE, 0.0) + 0.2, 0.7 * seen_from(-BASELINE, 0.0)))
    other, same = (scores(0.0, [0, 1], *given).alike[..., 3:-3, 8:-8] for given in ((views,), ()))
    torch.testing.assert_close(other, same, atol=0.02, rtol=0)


def test_what_one_source_does_not_show_the_other_decides() -> None:
    views = torch.stack((seen_from(BASELINE, 0.0), torch.rand(3, HEIGHT, WIDTH)))
    mask = torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    mask[1] = False
    both = scores(0.0, [0, 1], views, mask).alike
    torch.testing.assert_close(both, scores(0.0, [0]).alike)


def test_unseen_is_zero_and_said() -> None:
    mask = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    none = scores(0.0, [0, 1], mask=mask)
    assert not bool(none.alike.any()) and not bool(none.seen.any())
    assert float(scores(0.0, [0]).seen[0, 0, 12, 20]) == 1.0
    without = scores(0.0, [-1])
    assert not bool(without.alike.any()) and bool((without.moved < 0).all())


def test_movement_by_hand() -> None:
    """Disparity is focal * baseline / depth pixels of the image."""
    near, far = (FOCAL * BASELINE / (8.0 * np.exp(offset)) for offset in (-0.2, 0.2))
    assert float(scores(0.0, [0]).moved[0, 0, 10, 20].exp()) == pytest.approx(near - far, rel=1e-3)


def test_windows_keep_off_the_ego_vehicle_and_the_border() -> None:
    """A window reaches three pixels at 1/2: of 16 x 16, 10 x 10 are left, less 7 x 7 around the masked one."""
    mask = torch.ones(1, 32, 32, dtype=torch.bool)
    mask[0, 16, 17] = False
    usable = usable_half(mask)[0, 0]
    assert not bool(usable[5:12, 5:12].any()) and not bool(usable[:3].any()) and not bool(usable[:, 13:].any())
    assert float(usable.sum()) == 100 - 49


def test_sweeping_finds_the_plane() -> None:
    """A wall 8 m ahead, among hypotheses 20 % apart."""
    views = torch.stack((seen_from(BASELINE, 0.0), seen_from(-BASELINE, 0.0)))
    matching = geometry([0, 1])
    known = torch.cat((grey_half(views), usable_half(matching.source_mask)), 1)
    depths = 8.0 * 1.2 ** torch.arange(-3.0, 4.0)
    alike = sweep_windows(grey_half(seen_from(0.0, 0.0)[None]), known, pair_warps(matching, 2, 2), 1.0 / depths)
    assert alike.shape == (1, 7, HEIGHT // 8, WIDTH // 8)
    inner = alike[0, :, 2:-2, 4:-4]
    assert bool((inner.argmax(0) == 3).all()) and float(inner[3].min()) > 0.9
