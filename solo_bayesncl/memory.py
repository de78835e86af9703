"""How much memory is left?"""

from contextlib import suppress
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Bytes that can be used without swapping, within the limit of a container or job (cgroup 2).

    What files are cached in counts as free.
    """
    left = psutil.virtual_memory().available
    with suppress(OSError):
        own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
        for group in {_CGROUP, _CGROUP / own}:
            with suppress(OSError, ValueError):  # `max`: no limit
                left = min(left, _left_in(group))
    return max(left, 0)


def _left_in(group: Path) -> int:
    limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
    statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return limit - used + int(statistics["inactive_file"])
