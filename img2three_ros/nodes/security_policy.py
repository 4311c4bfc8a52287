"""The SROS2 policy of the node: exactly the topics and services it has, nothing else.

``python -m img2three_ros.nodes.security_policy [CAMERA ...] > security/policy.xml`` writes it for cameras on their
private topics; ``--rig FILE`` takes cameras and topics of a rig file. A policy holds for one set of cameras.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ..ingest.camera_rig import CameraRig
from ..ingest.rig import load_rig

CAMERAS = ("front", "front_left", "front_right", "back", "back_left", "back_right")
"""Cameras of the shipped policy: those of the demo."""
OUTPUTS = ("points", "obstacle_points", "occupied_voxels", "observed_voxels", "occupancy_grid", "voxel_bounds",
           "octomap_binary")
SERVICES = ("reset", "change_state", "get_state", "get_available_states", "get_available_transitions",
            "get_transition_graph", "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters",
            "set_parameters", "set_parameters_atomically", "get_type_description")


@dataclass(frozen=True)
class Access:
    """What the node may do: names of topics and services, private ones with ``~/``."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    reply: tuple[str, ...]


def access(cameras: Sequence[str] = CAMERAS, rig: CameraRig | None = None) -> Access:
    """The access the node needs for these cameras, or for those of a rig file."""
    images: list[str] = []
    for name in cameras if rig is None else rig.names:
        known = rig.camera(name) if rig is not None else None
        image = (known.image_topic if known else "") or f"~/input/{name}/image"
        base = image.removesuffix("/compressed")
        info = (known.camera_info_topic if known else "") or f"~/input/{name}/camera_info"
        images += [base, f"{base}/compressed", info]
    odometry = (rig.odometry_topic if rig is not None else None) or "~/input/odometry"
    return Access(
        publish=("/diagnostics", "/parameter_events", "/rosout", "~/status", "~/transition_event",
                 *(f"~/output/{name}" for name in OUTPUTS)),
        subscribe=("/clock", "/tf", "/tf_static", odometry, *images),
        reply=tuple(f"~/{name}" for name in SERVICES))


def policy(needed: Access) -> str:
    """The policy file (SROS2 policy 0.2.0), for the enclave /img2three and the node's default name."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>',
             "<!-- Made by: python -m img2three_ros.nodes.security_policy -->", '<policy version="0.2.0">',
             "  <enclaves>", '    <enclave path="/img2three">', "      <profiles>",
             '        <profile ns="/" node="img2three">']
    for kind, rule, names in (("topic", "publish", needed.publish), ("topic", "subscribe", needed.subscribe),
                              ("service", "reply", needed.reply)):
        lines.append(f'          <{kind}s {rule}="ALLOW">')
        lines += [f"            <{kind}>{escape(name)}</{kind}>" for name in names]
        lines.append(f"          </{kind}s>")
    lines += ["        </profile>", "      </profiles>", "    </enclave>", "  </enclaves>", "</policy>"]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cameras", nargs="*", default=CAMERAS, help="names of the cameras")
    parser.add_argument("--rig", help="rig file")
    options = parser.parse_args(arguments)
    print(policy(access(options.cameras, load_rig(options.rig) if options.rig else None)), end="")


if __name__ == "__main__":
    main()
