"""The one-slot mailbox and its worker: the newest wins, everything adds up, nothing ends the thread."""

import threading
import time

import pytest
from fake_reconstruction import fake_result
from hypothesis import given
from hypothesis import strategies as st

from img2three_ros.nodes.complaints import Complaints
from img2three_ros.nodes.mailbox import Mailbox
from img2three_ros.nodes.worker import ReconstructionWorker
from img2three_ros.structures import Frame, InputError


@given(st.lists(st.sampled_from(["put", "take", "ok", "bad", "clear"]), max_size=40))
def test_counts_add_up_whatever_happens(steps):
    mailbox, held, number, waiting = Mailbox(), False, 0, None
    for step in steps:
        if step == "put":
            number += 1
            assert mailbox.put(number) == waiting
            waiting = number
        elif step == "take" and not held:
            taken = mailbox.take(timeout=0.0)
            assert taken == waiting  # the newest, or nothing
            held, waiting = taken is not None, None
        elif step in ("ok", "bad") and held:
            mailbox.finish("" if step == "ok" else "bad")
            held = False
        elif step == "clear":
            assert mailbox.clear("reset") == waiting
            waiting = None
        counts = mailbox.counts()
        assert counts.received == counts.processed + counts.replaced + counts.rejected + counts.pending
    assert counts.received == number if steps else True


def test_close_wakes_the_consumer():
    mailbox = Mailbox()
    got = []
    thread = threading.Thread(target=lambda: got.append(mailbox.take(timeout=30.0)))
    thread.start()
    mailbox.close()
    thread.join(5.0)
    assert got == [None] and not thread.is_alive()


def test_finish_without_take_is_a_bug():
    with pytest.raises(RuntimeError):
        Mailbox().finish()


class Recorder:
    """An observer whose items are stamps; negative ones are bad input, zero breaks the pipeline."""

    def __init__(self):
        self.delivered, self.rejections, self.failures, self.stones = [], [], [], {}
        self.thrown_away, self.unchanged = [], []

    def assemble(self, item):
        if item < 0:
            raise InputError("bad", "negative")
        return Frame(item, (), ("front",))

    def deliver(self, item, frame, result):
        self.delivered.append(item)

    def rejected(self, item, error):
        self.rejections.append(item)

    def done(self, item):
        pass

    def dropped(self, item):
        self.thrown_away.append(item)

    def not_changed(self, error):
        self.unchanged.append(error)

    def failed(self, item, error):
        self.failures.append(item)

    def earlier(self, item):
        return self.stones.pop(item, ())


class Pipeline:
    def __init__(self):
        self.resets, self.gate, self.entered, self.observed = 0, threading.Event(), threading.Event(), []
        self.gate.set()

    def process(self, frame):
        self.entered.set()
        assert self.gate.wait(5.0)
        if frame.stamp == 0:
            raise ZeroDivisionError("broken")
        return fake_result(frame)

    def observe(self, frame):
        self.observed.append(frame)

    def reset(self):
        self.resets += 1


@pytest.fixture
def parts():
    mailbox, pipeline, recorder = Mailbox(), Pipeline(), Recorder()
    worker = ReconstructionWorker(mailbox, pipeline, recorder)
    worker.start()
    yield mailbox, pipeline, recorder, worker
    pipeline.gate.set()
    assert worker.stop(5.0)


def settle(mailbox):
    end = time.monotonic() + 5.0
    while mailbox.counts().pending:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_bad_input_and_failures_cost_one_item_each(parts):
    mailbox, pipeline, recorder, _ = parts
    for item in (1, -1, 0, 2):
        mailbox.put(item)
        settle(mailbox)
    assert (recorder.delivered, recorder.rejections, recorder.failures) == ([1, 2], [-1], [0])
    counts = mailbox.counts()
    assert (counts.processed, counts.rejected_by) == (2, {"bad": 1, "failure": 1})
    assert pipeline.resets == 1  # what a failed frame left behind is forgotten


def test_frames_in_between_are_shown_to_the_pipeline_first(parts):
    mailbox, pipeline, recorder, _ = parts
    recorder.stones[9] = ("frame 7", "frame 8")
    mailbox.put(9)
    settle(mailbox)
    assert pipeline.observed == ["frame 7", "frame 8"] and recorder.delivered == [9]


def test_newest_wins_while_the_worker_is_busy(parts):
    mailbox, pipeline, recorder, _ = parts
    pipeline.gate.clear()
    mailbox.put(1)
    assert pipeline.entered.wait(5.0)
    assert [mailbox.put(item) for item in (2, 3, 4)] == [None, 2, 3]
    pipeline.gate.set()
    settle(mailbox)
    assert recorder.delivered == [1, 4] and mailbox.counts().replaced == 2


def test_reset_drops_what_waits_and_what_is_under_way(parts):
    mailbox, pipeline, recorder, worker = parts
    pipeline.gate.clear()
    mailbox.put(1)
    assert pipeline.entered.wait(5.0)
    mailbox.put(2)
    assert worker.reset() == 2
    mailbox.put(3)
    pipeline.gate.set()
    settle(mailbox)
    assert recorder.delivered == [3] and mailbox.counts().rejected_by == {"reset": 2}
    assert pipeline.resets == 1


def test_changes_reach_the_pipeline_on_the_worker_thread(parts):
    mailbox, _, _, worker = parts
    threads = []
    worker.apply(lambda pipeline: threads.append(threading.current_thread().name))
    mailbox.put(1)
    settle(mailbox)
    assert threads == ["reconstruction"]


def test_complaints_are_throttled_by_key_and_counted():
    said, now = [], [0.0]
    complaints = Complaints(said.append, period=5.0, clock=lambda: now[0])
    for moment in (0.0, 1.0, 2.0, 6.0):
        now[0] = moment
        complaints.add("front", "encoding", "bad")
    complaints.add("left", "encoding", "bad left")
    assert said == ["bad", "bad (2 more like this since the last message)", "bad left"]
    now[0] = 15.9  # the pause has doubled to 10 s
    complaints.add("front", "encoding", "bad")
    now[0] = 16.1
    complaints.add("front", "encoding", "bad")
    assert said[3:] == ["bad (1 more like this since the last message)"]
    assert complaints.counts() == {("front", "encoding"): 6, ("left", "encoding"): 1}


def test_an_item_taken_just_before_a_reset_is_dropped_unseen(parts):
    """The moment between taking an item and working on it: the pipeline is reset, and must not see it afterwards."""
    mailbox, pipeline, recorder, worker = parts
    take, taken, go_on = mailbox.take, threading.Event(), threading.Event()

    def slow_take(timeout):
        item = take(timeout)
        if item == 1:
            taken.set()
            assert go_on.wait(5.0)
        return item

    mailbox.take = slow_take
    mailbox.put(-1)  # the worker comes round to the slow one
    settle(mailbox)
    mailbox.put(1)
    assert taken.wait(5.0)
    assert worker.reset() is None
    go_on.set()
    settle(mailbox)
    assert recorder.delivered == [] and not pipeline.entered.is_set() and recorder.thrown_away == [1]
    assert mailbox.counts().rejected_by == {"bad": 1, "reset": 1} and pipeline.resets == 1
    mailbox.put(2)
    settle(mailbox)
    assert recorder.delivered == [2]


def test_a_change_that_fails_costs_neither_the_others_nor_the_frame(parts):
    mailbox, _, recorder, worker = parts
    done = []

    def too_large(pipeline):
        raise MemoryError("no room for the grid")

    worker.apply(lambda pipeline: done.append("first"))
    worker.apply(too_large)
    worker.apply(lambda pipeline: done.append("last"))
    mailbox.put(1)
    settle(mailbox)
    assert done == ["first", "last"] and recorder.delivered == [1]
    assert [str(error) for error in recorder.unchanged] == ["no room for the grid"]
