"""What the simulated vehicle and its street can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..config import setting
from ..structures import InputError
from .appearance import OpticsConfig, WeatherConfig

SCENES = ("street", "junction", "highway", "car_park", "narrow", "country")
RIGS = ("nuscenes", "ddad", "waymo", "kitti", "random")


@dataclass(frozen=True)
class SimulationConfig:
    """The simulated vehicle: equal configurations give equal worlds, drives and pixels on the same device."""

    seed: int = setting(0, "seed of the street, the drive and the sensor noise", low=0)
    scene: str = setting("street", "what the vehicle drives through", choices=SCENES)
    terrain: float = setting(0.0, "0 = flat; 1 = slopes up to 6 %, cross slopes, bumps, banks and ditches", low=0.0,
                             high=2.0)
    variety: float = setting(0.0, "0 = the plain street (scene street only); 1 = widths, lanes, markings, pavements "
                             "and what stands where vary with the seed", low=0.0, high=1.0)
    turning: float = setting(0.0, "0 = gentle bends; 1 = bends down to a radius of 25 m; from 0.5 the vehicle turns "
                             "off at a junction", low=0.0, high=1.0)
    rig: str = setting("nuscenes", "layout of the cameras; random = another for every seed", choices=RIGS)
    width: int = setting(640, "width of the images", unit="px", low=32, high=4096)
    height: int = setting(384, "height of the images", unit="px", low=32, high=4096)
    rate: float = setting(10.0, "camera and LiDAR rate", unit="Hz", low=0.5, high=100.0)
    odometry_rate: float = setting(50.0, "odometry and TF rate", unit="Hz", low=1.0, high=1000.0)
    start: float = setting(1_700_000_000.0, "stamp of the first instant, seconds since 1970", unit="s", low=1.0)
    period: float = setting(60.0, "street and traffic repeat after this drive: a drive of exactly this length can "
                            "be played in an endless loop", unit="s", low=4.0, high=600.0)
    speed: float = setting(8.0, "mean speed of the vehicle; 0 = it stands, the traffic does not", unit="m/s", low=0.0,
                           high=40.0)
    traffic: float = setting(1.0, "density of moving vehicles and people; 0 = nothing moves", low=0.0, high=3.0)
    parked: float = setting(0.6, "share of parking places that are taken", low=0.0, high=1.0)
    view_range: float = setting(180.0, "objects farther along the street are not rendered", unit="m", low=20.0,
                                high=600.0)
    shadows: bool = setting(True, "cast shadows of the sun")
    noise: float = setting(1.2, "standard deviation of the camera noise", unit="grey levels", low=0.0, high=50.0)
    exposure_spread: float = setting(0.12, "cameras differ in exposure by up to this share", low=0.0, high=0.8)
    distortion: float = setting(0.0, "plumb_bob k1 of the cameras (k2 = -0.3 k1); 0 = ideal pinhole", low=-0.4,
                                high=0.4)
    jitter: float = setting(0.0015, "standard deviation of a camera's stamp around its phase", unit="s", low=0.0,
                            high=0.05)
    phase: float = setting(0.008, "cameras are triggered within this of the nominal instant", unit="s", low=0.0,
                           high=0.05)
    lidar_rings: int = setting(48, "rings of the LiDAR", low=4, high=128)
    lidar_step: float = setting(0.4, "azimuth step of the LiDAR", unit="deg", low=0.05, high=5.0)
    lidar_noise: float = setting(0.02, "standard deviation of a LiDAR range", unit="m", low=0.0, high=1.0)
    lidar_range: float = setting(100.0, "largest LiDAR range", unit="m", low=5.0, high=300.0)
    ego_body: float = setting(0.0, "share of the cameras that see a part of the vehicle itself", low=0.0, high=1.0)
    weather: WeatherConfig = field(default_factory=WeatherConfig)
    optics: OpticsConfig = field(default_factory=OpticsConfig)
    device: str = setting("cpu", "torch device of the ray casting", choices=("cpu", "cuda"))

    def __post_init__(self) -> None:
        if self.phase + 4.0 * self.jitter >= 0.5 / self.rate:
            raise InputError("parameter", f"phase = {self.phase} s and jitter = {self.jitter} s do not fit into half a "
                             f"period of rate = {self.rate} Hz; reduce them or the rate")

    @property
    def start_ns(self) -> int:
        """Stamp of the first instant, ns."""
        return round(self.start) * 1_000_000_000

    @property
    def plain(self) -> bool:
        """Whether this is the one street that looks alike for every seed."""
        return self.scene == "street" and self.variety == 0.0

    @property
    def length(self) -> float:
        """Length of the street before it repeats along x, metres: what the vehicle (or, where it stands, its
        traffic at 8 m/s) drives in a period, at least 60 m (other scenes than the plain street: 320 m)."""
        return max(round((self.speed or 8.0) * self.period, 3), 60.0 if self.plain else 320.0)

    def seconds(self, stamp: int) -> float:
        """Seconds since the first instant."""
        return (stamp - self.start_ns) * 1e-9
