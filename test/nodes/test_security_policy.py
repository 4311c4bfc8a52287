"""The SROS2 policy names exactly what the real node has in the graph; files of parameters are confined to folders."""

import itertools
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from vehicle import Process, Vehicle, node_command

from img2three_ros.config import with_overrides
from img2three_ros.ingest.camera_rig import CameraRig, RigCamera
from img2three_ros.nodes.allowed_files import check_files, files_of
from img2three_ros.nodes.parameters import NodeConfig
from img2three_ros.nodes.security_policy import CAMERAS, access, policy
from img2three_ros.structures import InputError

POLICY = Path(__file__).resolve().parents[2] / "security" / "policy.xml"


def names(tree, rule, private):
    """Names that the policy allows, with private ones written out."""
    kind = "service" if rule == "reply" else "topic"
    (listed,) = [node for node in tree.iter(f"{kind}s") if node.get(rule) == "ALLOW"]
    return {node.text.replace("~", private, 1) for node in listed}


def test_the_shipped_policy_is_current():
    assert POLICY.read_text() == policy(access()), "run: python -m img2three_ros.nodes.security_policy > " \
        "security/policy.xml"


def test_the_policy_is_exactly_the_graph_of_the_node(namespace, tmp_path):
    tree, private = ElementTree.parse(POLICY), f"{namespace}/img2three"
    vehicles = [Vehicle(namespace, CAMERAS), Vehicle(namespace + "b", CAMERAS, compressed=True)]
    ours = f"cameras:=[{', '.join(CAMERAS)}]"
    vehicles[0].place_cameras()
    commands = [node_command(namespace, ours, "use_sim_time:=true"),
                node_command(namespace + "b", ours, "image_transport:=compressed")]
    commands[0].remove("--disable-rosout-logs")
    octomap = {f"{private}/output/octomap_binary"}  # only where octomap_msgs is installed
    graph = {rule: set() for rule in ("publish", "subscribe", "reply")}
    with Process(commands[0], tmp_path / "raw.log"), Process(commands[1], tmp_path / "compressed.log"):
        for vehicle in vehicles:
            vehicle.wait_active()
        looks = {"publish": vehicles[0].get_publisher_names_and_types_by_node,
                 "subscribe": vehicles[0].get_subscriber_names_and_types_by_node,
                 "reply": vehicles[0].get_service_names_and_types_by_node}

        def discovered():  # one endpoint after the other
            for vehicle, (rule, look) in itertools.product(vehicles, looks.items()):
                there = vehicle.get_namespace()
                graph[rule] |= {name.replace(f"{there}/img2three", private) for name, _ in look("img2three", there)}
            return all(graph[rule] | octomap >= names(tree, rule, private) for rule in graph)

        vehicles[0].wait(discovered)
    for vehicle in vehicles:
        vehicle.destroy_node()
    assert graph["publish"] | octomap == names(tree, "publish", private)
    assert graph["subscribe"] == names(tree, "subscribe", private)
    assert graph["reply"] == names(tree, "reply", private)


def test_a_policy_for_a_rig_names_its_topics():
    rig = CameraRig((RigCamera("front", "/cam/front/image_raw/compressed", "/cam/front/camera_info"),),
                    odometry_topic="/odom")
    needed = access(rig=rig)
    assert {"/cam/front/image_raw", "/cam/front/image_raw/compressed", "/cam/front/camera_info", "/odom"} \
        < set(needed.subscribe)
    assert not any("input" in name for name in needed.subscribe)


def config(**values):
    return NodeConfig(cameras=("front",), **values)


def test_files_outside_the_declared_folders_are_refused(tmp_path, monkeypatch):
    inside, outside = tmp_path / "models", tmp_path / "elsewhere"
    monkeypatch.setenv("XDG_CACHE_HOME", str(inside))
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "rig.yaml").touch()
    (inside / "link.yaml").symlink_to(outside / "rig.yaml")
    check_files(config(rig_file=str(inside / "rig.yaml")), (str(inside),))
    check_files(config(rig_file=str(outside / "rig.yaml")), ())  # no folders declared: the operator's choice
    for path in (outside / "rig.yaml", inside / ".." / "elsewhere" / "rig.yaml", inside / "link.yaml", "/etc/passwd",
                 "bad\0name"):
        with pytest.raises(InputError, match="rig_file"):
            check_files(config(rig_file=str(path)), (str(inside),))
    rig = CameraRig((RigCamera("front", "/image", mask_file=outside / "mask.png"),))
    with pytest.raises(InputError, match="mask of camera 'front'"):
        check_files(config(), (str(inside),), rig)


def test_every_setting_that_names_a_file_is_confined():
    """A new setting of a file must be found by its name: whoever adds one under another name is told here."""
    from img2three_ros.config import settings, with_overrides

    given = {leaf.path: "/somewhere" for leaf in settings(NodeConfig()) if isinstance(leaf.value, str)
             and not leaf.choices and not leaf.path.startswith("mapanything.") and leaf.path != "pointmap.checkpoint"}
    found = {name for name, _ in files_of(with_overrides(NodeConfig(), given))}
    assert set(given) - found == {"sync.reference", "base_frame", "odom_frame"}
    assert dict(files_of(NodeConfig(engine="pointmap"))).keys().isdisjoint({"scene.weights"})


def test_links_inside_folders_and_the_default_cache_are_confined(tmp_path, monkeypatch):
    inside, outside = tmp_path / "models", tmp_path / "elsewhere"
    (inside / "checkpoint").mkdir(parents=True)
    outside.mkdir()
    (outside / "weights.pth").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(outside))
    with pytest.raises(InputError, match="cache_folder"):
        check_files(config(), (str(inside),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(inside))
    check_files(config(), (str(inside),))
    checked = with_overrides(config(), {"runtime.cache_folder": str(inside / "checkpoint")})
    check_files(checked, (str(inside),))
    (inside / "checkpoint" / "model.safetensors").symlink_to(outside / "weights.pth")
    with pytest.raises(InputError, match=r"runtime.cache_folder.*weights\.pth"):
        check_files(checked, (str(inside),))


def test_a_rig_file_outside_is_refused_before_it_is_read(namespace, tmp_path):
    """The message would show what is in the file."""
    (tmp_path / "models").mkdir()
    (tmp_path / "secret.yaml").write_text("password: hunter2\n")
    command = node_command(namespace, f"rig_file:={tmp_path}/secret.yaml", f"allowed_folders:=[{tmp_path}/models]",
                           "runtime.backend:=torch")
    with Process(command, tmp_path / "node.log") as process:
        assert process.popen.wait(60) != 0
        assert "outside the folders" in process.text and "password" not in process.text, process.text
