"""Which frames of a recording are reconstructed to show one instant of it."""

from dataclasses import dataclass, field

import pytest
from ingest_samples import PERIOD, START, write_bag

from img2three_ros.config import Config, with_overrides
from img2three_ros.reconstruction import instant
from img2three_ros.reconstruction.instant import Choice, check_has_scene, instant_of
from img2three_ros.structures import InputError

SCENE = with_overrides(Config(), {"engine": "scene"})


@dataclass
class Result:
    stamp: int
    notes: tuple[str, ...] = ()


@dataclass
class Watcher:
    """Stands in for the pipeline: writes down the numbers of the frames it is given; refuses some."""

    refuse: tuple[int, ...] = ()
    processed: list[int] = field(default_factory=list)
    observed: list[int] = field(default_factory=list)
    space: object = None

    def __call__(self, config: Config) -> "Watcher":
        return self

    def process(self, frame) -> Result:
        number = (frame.stamp - START) // PERIOD
        if number in self.refuse:
            raise InputError("no_images", f"frame {number} is refused")
        self.processed.append(number)
        self.space = f"space {number}"
        return Result(frame.stamp)

    def observe(self, frame) -> None:
        number = (frame.stamp - START) // PERIOD
        if number in self.refuse:
            raise InputError("no_images", f"frame {number} is refused")
        self.observed.append(number)


@pytest.fixture
def watcher(monkeypatch) -> Watcher:
    made = Watcher()
    monkeypatch.setattr(instant, "ReconstructionPipeline", made)
    return made


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """3 s with ten instants a second."""
    return write_bag(tmp_path_factory.mktemp("bags") / "drive", instants=30, lidar=False)


def test_the_last_frame_after_two_seconds_before_it(watcher, drive):
    told = []
    found = instant_of(drive, SCENE, progress=lambda done, of: told.append((done, of)))
    assert watcher.processed == list(range(9, 30)) and watcher.observed == []
    assert (found.number, found.seconds, found.space, found.reconstructed) == (29, pytest.approx(2.9), "space 29", 21)
    assert found.reconstruction.stamp == START + 29 * PERIOD and told == [(done, 21) for done in range(1, 22)]


@pytest.mark.parametrize(("choice", "number"), [(Choice(frame=0), 0), (Choice(frame=4), 4), (Choice(at=0.0), 0),
                                                (Choice(at=0.72), 7), (Choice(at=0.78), 8), (Choice(at=2.9), 29)])
def test_the_frame_that_was_asked_for(watcher, drive, choice, number):
    found = instant_of(drive, SCENE, choice)
    assert found.number == number and watcher.processed == list(range(max(0, number - 20), number + 1))


def test_the_others_are_remembered_as_keyframes(watcher, drive):
    found = instant_of(drive, SCENE, Choice(frame=10, every=4))
    assert watcher.processed == [2, 6, 10] and watcher.observed == [0, 1, 3, 4, 5, 7, 8, 9]
    assert found.reconstructed == 3


def test_frames_that_are_no_use_are_left_out_but_not_the_instant(watcher, drive):
    watcher.refuse = (1, 2)
    assert instant_of(drive, SCENE, Choice(frame=4, every=2)).reconstructed == 2
    assert watcher.processed == [0, 4] and watcher.observed == [3]
    watcher.refuse = (4,)
    with pytest.raises(InputError, match="frame 4 is refused"):
        instant_of(drive, SCENE, Choice(frame=4))


def test_what_the_bag_lacks_is_told(watcher, drive):
    assert instant_of(drive, SCENE, cameras=("front",)).bag.cameras.keys() == {"front"}
    with pytest.raises(InputError, match="side"):
        instant_of(drive, SCENE, cameras=("side",))


@pytest.mark.parametrize(("choice", "message"), [(Choice(frame=30), "has 30 frames, 0 to 29"),
                                                 (Choice(at=3.5), r"3\.5 s.*2\.9 s after the first")])
def test_an_instant_that_is_not_there(watcher, drive, choice, message):
    with pytest.raises(InputError, match=message) as caught:
        instant_of(drive, SCENE, choice)
    assert caught.value.reason == "parameter" and watcher.processed == []


@pytest.mark.parametrize("values", [{"frame": 1, "at": 1.0}, {"frame": -1}, {"at": -0.5}, {"at": float("nan")},
                                    {"every": 0}])
def test_choices_that_make_no_sense(values):
    with pytest.raises(InputError):
        Choice(**values)


def test_a_lead_ends_at_a_time_jump():
    second = 1_000_000_000
    assert instant._lead([5 * second, 6 * second, 1 * second, 2 * second, 3 * second], 4) == 2
    assert instant._lead([0, second, 2 * second, 3 * second], 3) == 1


@pytest.mark.parametrize(("settings", "message"), [({"engine": "sweep"}, "--engine scene"),
                                                   ({"engine": "scene", "scene.space": False}, "scene.space=true")])
def test_without_a_scene_there_is_nothing_to_show(watcher, settings, message):
    with pytest.raises(InputError, match=message) as caught:
        instant_of("no bag is looked at", with_overrides(Config(), settings))
    assert caught.value.reason == "parameter"
    check_has_scene(SCENE)
