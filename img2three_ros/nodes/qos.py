"""Quality of service, and being told when it does not fit. Imports that moved between ROS releases are hidden here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

OnIncompatible = Callable[[str, str], None]
"""Called with the topic and the name of the policy that does not fit."""


def sensor_qos(depth: int = 5) -> QoSProfile:
    """Best effort, which every publisher can serve. Depth 1 loses images when six callbacks share a thread."""
    return _profile(depth, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def reliable_qos(depth: int = 2) -> QoSProfile:
    """Reliable and volatile: for outputs, serves every volatile subscriber."""
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def output_qos(deadline: float, lease: float, depth: int = 2) -> QoSProfile:
    """``reliable_qos`` that offers a deadline and automatic liveliness (s, 0 = none): matches who asks for neither."""
    profile = reliable_qos(depth)
    if deadline > 0.0:
        profile.deadline = Duration(seconds=deadline)
    if lease > 0.0:
        profile.liveliness, profile.liveliness_lease_duration = LivelinessPolicy.AUTOMATIC, Duration(seconds=lease)
    return profile


def latched_qos(depth: int = 1) -> QoSProfile:
    """Reliable and kept for late subscribers."""
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def subscribe(node: Node, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile,
              on_incompatible: OnIncompatible) -> Any:
    """A subscription whose QoS can be overridden by parameters, and that reports publishers it cannot hear."""
    events, _ = _event_callbacks()
    return node.create_subscription(
        kind, topic, callback, qos,
        event_callbacks=events(incompatible_qos=lambda event: on_incompatible(
            topic, qos_policy_name_from_kind(event.last_policy_kind))),
        qos_overriding_options=QoSOverridingOptions.with_default_policies())


def incompatible(node: Node, topic: str) -> bool:
    """Whether some publisher and subscription of ``topic``, one of them this node's, still do not fit."""
    name, namespace = node.get_name(), node.get_namespace()
    full = node.resolve_topic_name(topic)
    pairs = itertools.product(node.get_publishers_info_by_topic(full), node.get_subscriptions_info_by_topic(full))
    return any(qos_check_compatible(publisher.qos_profile, subscription.qos_profile)[0] == QoSCompatibility.ERROR
               for publisher, subscription in pairs
               if (name, namespace) in ((publisher.node_name, publisher.node_namespace),
                                        (subscription.node_name, subscription.node_namespace)))


def publisher_options(topic: str, on_incompatible: OnIncompatible) -> dict[str, Any]:
    """Keyword arguments for ``create_publisher`` to the same effect."""
    _, events = _event_callbacks()
    return {"event_callbacks": events(incompatible_qos=lambda event: on_incompatible(
                topic, qos_policy_name_from_kind(event.last_policy_kind))),
            "qos_overriding_options": QoSOverridingOptions.with_default_policies()}


def _profile(depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


def _event_callbacks() -> tuple[Any, Any]:
    try:
        from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
    except ImportError:  # Humble
        from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks
    return SubscriptionEventCallbacks, PublisherEventCallbacks
