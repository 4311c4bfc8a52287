"""The executor that rests: nothing is lost, forgotten or kept waiting, over the real middleware."""

import threading
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import UInt64
from std_srvs.srv import Trigger

from img2three_ros.nodes import frugal_executor
from img2three_ros.nodes.frugal_executor import FrugalExecutor

PATIENCE = 10.0


class Rig:
    """A node spun by the executor in a thread, and a peer that talks to it."""

    def __init__(self, namespace: str) -> None:
        self.free = threading.Event()
        self.free.set()
        self.node = Node("frugal", namespace=namespace)
        self.peer = Node("peer", namespace=namespace)
        self.heard: list[int] = []
        self.node.create_subscription(UInt64, "numbers", lambda message: self.heard.append(message.data), 100)
        self.node.create_service(Trigger, "ask", lambda request, response: response)
        self.numbers = self.peer.create_publisher(UInt64, "numbers", 100)
        self.asking = self.peer.create_client(Trigger, "ask")
        self.executor = FrugalExecutor(self.free)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()
        self.peers = SingleThreadedExecutor()
        self.peers.add_node(self.peer)
        assert self.wait(lambda: self.numbers.get_subscription_count() == 1)
        assert self.asking.wait_for_service(PATIENCE)

    def wait(self, condition, seconds=PATIENCE) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self.peers.spin_once(timeout_sec=0.01)
        return condition()

    def answered(self, seconds=PATIENCE) -> bool:
        return self.wait(self.asking.call_async(Trigger.Request()).done, seconds)

    def take_without_turns(self, monkeypatch) -> None:
        """Busy, and no turn is due for a minute."""
        monkeypatch.setattr(frugal_executor, "SELDOM", 60.0)
        self.free.clear()
        assert self.answered()  # whatever turn was under way ends with this, or the next
        self.wait(lambda: time.monotonic() - self.executor._looked < 30.0)
        self.wait(lambda: False, 0.2)

    def close(self) -> None:
        self.free.set()
        self.executor.shutdown()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.node.destroy_node()
        self.peer.destroy_node()


@pytest.fixture
def rig(namespace):
    made = Rig(namespace)
    yield made
    made.close()


@pytest.mark.parametrize("busy", [False, True])
def test_every_message_is_handled_in_order_and_services_answer(rig, busy):
    if busy:
        rig.free.clear()
    for number in range(60):  # at once: a turn of rclpy takes one message of a topic
        rig.numbers.publish(UInt64(data=number))
    assert rig.wait(lambda: len(rig.heard) == 60)
    assert rig.heard == list(range(60))
    assert rig.answered()
    assert rig.answered()


def test_services_answer_while_messages_keep_coming(rig):
    numbers = iter(range(10**6))
    stop = threading.Event()

    def talk():
        while not stop.wait(0.002):
            rig.numbers.publish(UInt64(data=next(numbers)))

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        assert rig.wait(lambda: len(rig.heard) > 20)
        assert rig.answered()
        rig.free.clear()
        assert rig.answered()
    finally:
        stop.set()
        talking.join()


def test_many_calls_do_not_wait_for_one_look_each(rig, monkeypatch):
    monkeypatch.setattr(frugal_executor, "RARELY", 3.0)
    calls = [rig.asking.call_async(Trigger.Request()) for _ in range(8)]
    assert rig.wait(lambda: all(call.done() for call in calls))  # within 10 s, not 24


def test_what_comes_faster_than_turns_does_not_pile_up(rig):
    """A turn takes one message of a topic, and rests before: at 600 Hz that would be too slow."""
    late = []
    rig.node.create_subscription(UInt64, "stamped",
                                 lambda message: late.append(time.monotonic_ns() - message.data), 1000)
    stamped = rig.peer.create_publisher(UInt64, "stamped", 1000)
    assert rig.wait(lambda: stamped.get_subscription_count() == 1)
    begun = time.monotonic()
    for number in range(900):
        time.sleep(max(0.0, begun + number / 600 - time.monotonic()))
        stamped.publish(UInt64(data=time.monotonic_ns()))
    assert rig.wait(lambda: len(late) == 900)
    assert sorted(late)[450] < 0.2e9  # it would be behind by half a second in the middle


def test_while_the_worker_is_busy_messages_need_no_turn(rig, monkeypatch):
    """A turn builds a wait set of all a node has; here there is none for a minute."""
    rig.take_without_turns(monkeypatch)
    for number in range(20):
        rig.numbers.publish(UInt64(data=number))
    assert rig.wait(lambda: rig.heard == list(range(20)), 5.0)
    assert not rig.answered(0.3)
    rig.free.set()
    assert rig.answered()


def test_a_subscription_that_a_callback_destroys_is_left_out(rig, monkeypatch):
    heard = []
    other = rig.node.create_subscription(UInt64, "others", heard.append, 100)
    others = rig.peer.create_publisher(UInt64, "others", 100)
    assert rig.wait(lambda: others.get_subscription_count() == 1)

    def destroy(message):
        rig.heard.append(message.data)
        time.sleep(0.2)  # until the other topic has something too
        rig.node.destroy_subscription(other)

    next(one for one in rig.node.subscriptions if one.topic_name.endswith("/numbers")).callback = destroy
    rig.take_without_turns(monkeypatch)
    rig.numbers.publish(UInt64(data=1))
    others.publish(UInt64(data=2))
    assert rig.wait(lambda: rig.heard == [1])
    assert rig.wait(lambda: others.get_subscription_count() == 0)
    rig.numbers.publish(UInt64(data=3))
    assert rig.wait(lambda: rig.heard == [1, 3])
    rig.free.set()
    assert rig.answered()


def test_more_than_can_be_handled_keeps_neither_services_nor_the_end_waiting(rig):
    stop = threading.Event()

    def talk():
        while not stop.is_set():
            rig.numbers.publish(UInt64(data=1))

    next(one for one in rig.node.subscriptions if one.topic_name.endswith("/numbers")).callback = (
        lambda message: time.sleep(0.02))
    rig.free.clear()
    talking = threading.Thread(target=talk)
    talking.start()
    try:
        assert rig.answered()
        rig.executor.shutdown()
        rig.thread.join(2.0)
        assert not rig.thread.is_alive()
    finally:
        stop.set()
        talking.join()


def test_the_rest_ends_when_the_worker_is_free(rig, monkeypatch):
    monkeypatch.setattr(frugal_executor, "LONG_REST", 60.0)
    rig.free.clear()
    rig.numbers.publish(UInt64(data=1))  # may still be handled: the turn had begun
    rig.wait(lambda: bool(rig.heard), 1.0)
    before = len(rig.heard)
    rig.numbers.publish(UInt64(data=2))
    assert not rig.wait(lambda: len(rig.heard) > before, 0.5)
    rig.free.set()
    assert rig.wait(lambda: rig.heard[-1:] == [2])


def test_shutdown_of_ros_ends_it():
    context = rclpy.Context()
    context.init()
    assert rclpy.get_default_context() is not context
    node = Node("ends", context=context)
    executor = FrugalExecutor(threading.Event(), context=context)
    executor.add_node(node)
    raised = []

    def spin():
        try:
            executor.spin()
        except Exception as error:
            raised.append(type(error))

    thread = threading.Thread(target=spin)
    thread.start()
    time.sleep(0.2)
    context.try_shutdown()
    thread.join(PATIENCE)
    assert not thread.is_alive() and set(raised) <= {rclpy.executors.ExternalShutdownException}
    with pytest.raises(rclpy.executors.ExternalShutdownException):
        next(executor._wait_for_ready_callbacks())
