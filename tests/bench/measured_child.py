"""Runs a command and prints JSON: its status, wall and CPU seconds, peak memory in bytes.

`python -I -S measured_child.py ARGV...`, a process of its own and a small one: the kernel counts
what the parent holds at that moment as the child's peak, so nothing below `floor`, the most that
this process held, can be measured. CPU seconds are those of all processes that the command started
and waited for, the peak is that of the largest one.
"""

import json
import os
import sys
import time

began = time.perf_counter()
pid = os.posix_spawnp(
    sys.argv[1],
    sys.argv[1:],
    os.environ,
    file_actions=[
        (os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in range(3)
    ],
)
_, ended, used = os.wait4(pid, 0)
with open("/proc/self/status") as file:  # noqa: PTH123 - pathlib would make this process larger
    own = file.read()
found = {
    "status": os.waitstatus_to_exitcode(ended),
    "wall": time.perf_counter() - began,
    "cpu": used.ru_utime + used.ru_stime,
    "peak": used.ru_maxrss * 1024,
    "floor": int(own.split("VmHWM:")[1].split()[0]) * 1024,
}
print(json.dumps(found))
