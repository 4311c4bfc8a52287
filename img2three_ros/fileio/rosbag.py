"""rosbag2 (MCAP or sqlite3) without ROS, through ``rosbags``.

A recording that was cut off (power loss, full disk) has no index: its readable beginning is still read, and
``BagReader.warnings`` says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from ..structures import InputError
from .folders import make_folder
from .mcap_recovery import recover_mcap
from .messages import typestore

_FOREVER = QosTime(sec=2147483647, nsec=4294967295)
LATCHED = Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
              _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)
"""Quality of service of /tf_static: players publish it to late subscribers too."""


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a bag: type such as ``sensor_msgs/msg/Image`` and number of messages."""

    name: str
    message_type: str
    count: int
    latched: bool = False


@dataclass(frozen=True)
class RawMessage:
    """One message as recorded: time of recording (ns) and CDR bytes (rclpy's deserialize_message reads them)."""

    topic: str
    time: int
    message_type: str
    data: bytes


class BagReader:
    """A rosbag2 folder, or a single ``.mcap`` / ``.db3`` file, open for reading; a context manager.

    Raises InputError: ``missing_bag``, ``empty_bag`` (no messages) or ``unreadable_bag``.

    warnings: sentences on what could not be read; grows while messages are read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []
        if not self.path.exists():
            raise InputError("missing_bag", f"no bag at '{self.path}'; give a rosbag2 folder, .mcap or .db3 file")
        if self.path.is_dir() and not any(self.path.iterdir()):
            raise InputError("unreadable_bag", f"bag '{self.path}' cannot be read: the folder is empty; give a rosbag2 "
                             "folder, .mcap or .db3 file")
        self._types = get_typestore(Stores.ROS2_KILTED)
        self._recovered: dict[str, TopicInfo] | None = None
        self._reader: Reader | None = None
        try:
            self._reader = Reader(_storage(self.path))
            self._reader.open()
        except Exception as error:  # rosbags raises many kinds on damaged files; all mean "no index"
            self._reader = None
            self._recover(error)
        if not any(info.count for info in self.topics().values()):
            raise InputError("empty_bag", f"bag '{self.path}' holds no messages; record it again")
        self._register_types()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        if self._reader is not None:
            with suppress(Exception):
                self._reader.close()

    @property
    def truncated(self) -> bool:
        """True where only the beginning of a damaged recording could be read."""
        return self._recovered is not None

    def topics(self) -> dict[str, TopicInfo]:
        """Topics by name, sorted."""
        found: dict[str, TopicInfo] = dict(self._recovered or {})
        for connection in self._connections():
            count = connection.msgcount + (found[connection.topic].count if connection.topic in found else 0)
            found[connection.topic] = TopicInfo(connection.topic, connection.msgtype, count,
                                                _is_latched(connection))
        return dict(sorted(found.items()))

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Messages of the given topics (None = all) in the order of recording, not decoded."""
        if self._recovered is not None:
            yield from (raw for raw in self._walk() if topics is None or raw.topic in topics)
            return
        wanted = [c for c in self._connections() if topics is None or c.topic in topics]
        if not wanted or self._reader is None:
            return
        given, recorded = 0, sum(connection.msgcount for connection in wanted)
        try:
            for connection, time, data in self._reader.messages(wanted):
                given += 1
                yield RawMessage(connection.topic, time, connection.msgtype, data)
        except Exception as error:  # damaged chunks and pages surface as any kind of error; the rest is unreadable
            self.warnings.append(f"bag '{self.path}' is damaged, reading stopped after {given} of {recorded} "
                                 f"messages: {error}")
            return
        if given < recorded:
            self.warnings.append(f"bag '{self.path}' is damaged: {given} of {recorded} messages could be read")

    def messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[str, int, Any]]:
        """(topic, time of recording in ns, message) in the order of recording.

        A message that cannot be decoded is left out and named in ``warnings``.
        """
        for raw in self.raw_messages(topics):
            try:
                message = self._types.deserialize_cdr(raw.data, raw.message_type)
            except Exception as error:  # damaged bytes surface as any kind of error
                self.warnings.append(f"topic '{raw.topic}' at {raw.time} ns: cannot decode {raw.message_type} "
                                     f"({type(error).__name__}: {error})")
                continue
            yield raw.topic, raw.time, message

    def _connections(self) -> list[Connection]:
        return [] if self._reader is None else list(self._reader.connections)

    def _recover(self, error: Exception) -> None:
        found: dict[str, TopicInfo] = {}
        for raw in self._walk():
            before = found.get(raw.topic)
            found[raw.topic] = TopicInfo(raw.topic, raw.message_type, 1 + (before.count if before else 0),
                                         raw.topic == "/tf_static")
        if not found:
            raise InputError("unreadable_bag", f"bag '{self.path}' cannot be read: {error}; expected a rosbag2 "
                             "folder with metadata.yaml, or an .mcap or .db3 file") from error
        self._recovered = found
        self.warnings.append(f"bag '{self.path}' is damaged ({error}); its first "
                             f"{sum(info.count for info in found.values())} messages were recovered")

    def _walk(self) -> Iterator[RawMessage]:
        """Messages of the MCAP files without using their index; nothing is kept in memory."""
        files = sorted(self.path.glob("*.mcap")) if self.path.is_dir() else [self.path]
        for file in files:
            if file.suffix == ".mcap":
                yield from (RawMessage(*found) for found in recover_mcap(file))

    def _register_types(self) -> None:
        """Types that are not in the standard store come from the definitions inside the bag."""
        for connection in self._connections():
            if connection.msgtype in self._types.types or not connection.msgdef.data:
                continue
            parse = (get_types_from_idl if connection.msgdef.format == MessageDefinitionFormat.IDL
                     else lambda text, name=connection.msgtype: get_types_from_msg(text, name))
            try:
                found = parse(connection.msgdef.data)
                self._types.register({name: fields for name, fields in found.items()
                                      if name not in self._types.types})
            except Exception as error:  # only that topic is lost, and only if it is asked for
                self.warnings.append(f"topic '{connection.topic}': definition of {connection.msgtype} cannot be "
                                     f"read ({error})")


class BagWriter:
    """A new rosbag2 folder; a context manager.

    storage: ``mcap`` or ``sqlite3``. Raises InputError: ``output_exists``, or ``output`` where nothing can be written.
    """

    def __init__(self, path: Path | str, storage: str = "mcap") -> None:
        self.path = Path(path)
        if self.path.exists():
            raise InputError("output_exists", f"'{self.path}' exists already; choose another output or remove it")
        make_folder(self.path.parent)
        self._writer = Writer(self.path, version=9, storage_plugin=StoragePlugin[storage.upper()])
        try:
            self._writer.open()
        except OSError as error:
            raise InputError("output", f"'{self.path}' cannot be written: {error}; choose another output") from error
        self._topics: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write the index and close."""
        if self._writer.storage is not None:
            self._writer.close()

    def add_topic(self, topic: str, message_type: str, latched: bool = False) -> None:
        """Declare a topic (otherwise done by its first message; /tf_static is always latched)."""
        if topic not in self._topics:
            latched = latched or topic == "/tf_static"
            self._topics[topic] = self._writer.add_connection(
                topic, message_type, typestore=typestore(), offered_qos_profiles=[LATCHED] if latched else [])

    def write(self, topic: str, message: Any, stamp: int, message_type: str | None = None) -> None:
        """Write a message object of ``fileio.messages`` (or CDR bytes with ``message_type``) at a time (ns)."""
        if isinstance(message, (bytes, memoryview)):
            if message_type is None:
                raise ValueError(f"bytes written to '{topic}' need message_type")
            data: bytes | memoryview = message
        else:
            message_type = message_type or message.__msgtype__
            data = typestore().serialize_cdr(message, message_type)
        self.add_topic(topic, message_type)
        self._writer.write(self._topics[topic], stamp, data)


def _storage(path: Path) -> Path:
    """The bag itself, or its only file where the recorder did not get to write metadata.yaml."""
    if path.is_dir() and not (path / "metadata.yaml").exists():
        files = [*path.glob("*.mcap"), *path.glob("*.db3")]
        return files[0] if len(files) == 1 else path
    return path


def _is_latched(connection: Connection) -> bool:
    profiles = getattr(connection.ext, "offered_qos_profiles", ())
    return connection.topic == "/tf_static" or any(
        profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)
