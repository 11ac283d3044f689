"""How much memory a process has needed."""

import re


def peak_mib(pid: int | str = "self") -> float:
    """Returns the peak of a process's own memory so far, MiB; on Linux.

    What `getrusage` says begins with the peak of the process that started it.

    Args:
      pid: Of the process; by default this one.

    Raises:
      OSError: where there is none.
    """
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", file.read(), re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"A process must be alive. Received: pid={pid}.")
    return int(found[1]) / 1024
