"""The workers of one run: who they are, and how they meet before TensorFlow starts.

TensorFlow waits for absent workers without a limit, without a word, and deaf to signals. So the
workers meet here first: every one calls the first one, which compares their settings and lets all
of them go on, or tells all of them why not.
"""

import contextlib
import dataclasses
import json
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from absl import logging

_JOBS = ("chief", "worker")
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)
_ONE_CALL_S = 5.0
_BETWEEN_CALLS_S = 0.5
_BETWEEN_REMINDERS_S = 30.0
_LONGEST_MESSAGE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run and which of them this process is.

    Args:
      addresses: `host:port` of every worker; the first is the chief, which writes the files.
      index: Of this process among them, from 0.
      num_chiefs: 1 where TF_CONFIG names the first one chief instead of worker, else 0.
    """

    addresses: tuple[str, ...]
    index: int
    num_chiefs: int = 0

    @classmethod
    def from_environment(cls) -> "Cluster":
        """Reads the environment variable TF_CONFIG, as TensorFlow does.

        Raises:
          ValueError: where it is missing, or describes no cluster of equal workers.
        """
        text = os.environ.get("TF_CONFIG", "")
        try:
            config = json.loads(text)
            cluster, task = config["cluster"], config["task"]
            jobs = {job: list(addresses) for job, addresses in cluster.items()}
            kind, index = task["type"], int(task["index"])
            jobs[kind][index]
            known = set(jobs) <= set(_JOBS) and len(jobs.get("chief", [])) <= 1
            addresses = tuple(address for job in _JOBS for address in jobs.get(job, ()))
            ports = [int(address.rpartition(":")[2]) for address in addresses]
            hosts = [address.rpartition(":")[0] for address in addresses]
            sound = index >= 0 and all(hosts) and all(0 < port < 65536 for port in ports)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            known = sound = False
        if not known or not sound or len(set(addresses)) < len(addresses):
            raise ValueError(
                "--strategy=multi_worker takes the addresses of all workers, and which of them "
                f"this process is, from the environment variable TF_CONFIG, such as {_EXAMPLE}; "
                "every address is another host:port, the index counts from 0, and the only jobs "
                f"are worker and at most one chief. Received: TF_CONFIG={text!r}."
            )
        num_chiefs = len(jobs.get("chief", ()))
        return cls(addresses, index + (kind == "worker") * num_chiefs, num_chiefs)

    def name(self, index: int) -> str:
        """Returns a worker's name for people."""
        return f"worker {index} ({self.addresses[index]})"

    def meet(self, settings: Mapping[str, Any], timeout_s: float) -> None:
        """Returns once every worker of the cluster is up, with the same settings.

        Args:
          settings: What must be equal on all workers, of values that JSON holds.
          timeout_s: Seconds after which absent workers are given up, > 0.

        Raises:
          RuntimeError: where a worker did not come; it is named.
          ValueError: where settings or cluster differ; the first setting that does is named.
          OSError: where this worker's port is taken.
        """
        mine = json.loads(json.dumps({"cluster": self.addresses, **settings}))
        with self._own_port() as server:
            if self.index == 0:
                _receive_all(self, server, mine, timeout_s)
        if self.index > 0:
            _call_first(self, mine, timeout_s)

    @contextlib.contextmanager
    def _own_port(self) -> Iterator[socket.socket]:
        """Holds this worker's port, which TensorFlow would share with another process."""
        host, _, port = self.addresses[self.index].rpartition(":")
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        try:
            server = socket.create_server(("", int(port)), family=family, dualstack_ipv6=dual)
        except OSError as error:
            raise OSError(
                f"A worker needs its port to itself; does {host} run this worker already? "
                f"Received: {self.name(self.index)}, {error.strerror}."
            ) from error
        with server:
            yield server


def _receive_all(
    cluster: Cluster, server: socket.socket, mine: Mapping[str, Any], timeout_s: float
) -> None:
    """Takes the calls of all others, and tells all of them the outcome."""
    deadline = time.monotonic() + timeout_s
    calls: dict[int, socket.socket] = {}
    everyone = set(range(1, len(cluster.addresses)))
    reminder = time.monotonic() + 2
    error = None
    with contextlib.ExitStack() as stack:
        while error is None and calls.keys() != everyone:
            missing = [cluster.name(index) for index in sorted(everyone - calls.keys())]
            if time.monotonic() > deadline:
                error = RuntimeError(
                    f"{_absence_rule(cluster, timeout_s)} Received: no call from "
                    f"{', '.join(missing)}."
                )
                break
            if time.monotonic() > reminder:
                logging.info("Waiting for %s.", ", ".join(missing))
                reminder = time.monotonic() + _BETWEEN_REMINDERS_S
            server.settimeout(_BETWEEN_CALLS_S)
            try:
                call = stack.enter_context(server.accept()[0])
                index, theirs = _read(call)
                error = _difference(cluster, mine, dict(theirs), int(index))
            except (OSError, ValueError, TypeError):
                # Nobody called, or somebody who is none of us.
                pass
            else:
                # A worker that was started again takes its own place.
                calls[index] = call
            for index in [index for index, call in calls.items() if _hung_up(call)]:
                del calls[index]
        for call in calls.values():
            with contextlib.suppress(OSError):
                _write(call, [type(error).__name__, str(error)])
    if error:
        raise error


def _call_first(cluster: Cluster, mine: Mapping[str, Any], timeout_s: float) -> None:
    """Calls the first worker until it answers, and does what it says."""
    host, _, port = cluster.addresses[0].rpartition(":")
    deadline = time.monotonic() + timeout_s
    reminder = time.monotonic() + 2
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _ONE_CALL_S) as call:
                _write(call, [cluster.index, mine])
                # The answer comes once all are there.
                kind, message = _read(call, left + _ONE_CALL_S)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error) or type(error).__name__
        else:
            if kind == "NoneType":
                return
            raise {"ValueError": ValueError}.get(kind, RuntimeError)(message)
        if time.monotonic() > reminder:
            logging.info("Waiting for %s: %s.", cluster.name(0), reason)
            reminder = time.monotonic() + _BETWEEN_REMINDERS_S
        time.sleep(_BETWEEN_CALLS_S)
    raise RuntimeError(
        f"{_absence_rule(cluster, timeout_s)} Received: no answer from {cluster.name(0)}, {reason}."
    )


def _absence_rule(cluster: Cluster, timeout_s: float) -> str:
    return (
        f"All workers must be started within {timeout_s:g} s of each other, and reach "
        f"{cluster.addresses[0]}."
    )


def _difference(
    cluster: Cluster, mine: Mapping[str, Any], theirs: Mapping[str, Any], index: int
) -> ValueError | None:
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            return ValueError(
                "All workers must be started with the same settings. Received: "
                f"{name}={mine.get(name)!r} on {cluster.name(0)} and {theirs.get(name)!r} on "
                f"worker {index}."
            )
    if not 0 < index < len(cluster.addresses):
        return ValueError(f"Every worker needs an index of its own. Received: index={index} twice.")
    return None


def _hung_up(call: socket.socket) -> bool:
    """Returns whether a caller, who has said all it has to say, is gone."""
    return bool(select.select([call], [], [], 0)[0])


def _write(call: socket.socket, message: Any) -> None:
    call.sendall(json.dumps(message).encode() + b"\n")


def _read(call: socket.socket, timeout_s: float = _ONE_CALL_S) -> Any:
    """Reads a pair; ValueError where it is none of ours."""
    call.settimeout(timeout_s)
    with call.makefile("rb") as lines:
        first, second = json.loads(lines.readline(_LONGEST_MESSAGE_BYTES))
    return first, second
