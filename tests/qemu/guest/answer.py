"""What a test's board is there for: answers over TCP with what lies on its disk.

`answer.py FILE PORT`. Asked `read OFFSET`, it answers the SHA-256 of 4 KiB of the file, from the
disk and not from memory. Asked `system`, it answers how many bytes wait to be written, how many
processes have the nice value of the agent's background, and how long it has waited for the CPU.
"""

import hashlib
import os
import re
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PIECE = 4096  # bytes
LIGHT = 10  # device_agent/background.py
PATIENCE = 60.0  # seconds in which a customer asks something, or is gone


def main(path: str, port: str) -> None:
    os.setsid()  # as what runs services does
    descriptor = os.open(path, os.O_RDONLY)
    with socket.create_server(("", int(port))) as server:
        while True:
            connection, _ = server.accept()
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError), connection, connection.makefile("r", encoding="ascii") as asked:
                serve(connection, asked, descriptor)


def serve(connection: socket.socket, asked: Iterable[str], descriptor: int) -> None:
    for line in asked:
        match line.split():
            case ["read", offset]:
                answer = read(descriptor, int(offset))
            case _:
                answer = f"{dirty()} {light()} {waited()}"
        connection.sendall(f"{answer}\n".encode())


def read(descriptor: int, offset: int) -> str:
    os.posix_fadvise(descriptor, offset, PIECE, os.POSIX_FADV_DONTNEED)
    return hashlib.sha256(os.pread(descriptor, PIECE, offset)).hexdigest()


def dirty() -> int:
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.findall(r"^(?:Dirty|Writeback): *(\d+) kB$", meminfo, re.MULTILINE)
    return sum(map(int, found)) * 1024


def light() -> int:
    return sum(nice_of(process) == LIGHT for process in Path("/proc").iterdir())


def nice_of(process: Path) -> int | None:
    """Return the nice value of a process (proc_pid_stat(5)), None when there is none."""
    try:
        text = (process / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[16])


def waited() -> int:
    """Return the nanoseconds in which this process could have run, and another did."""
    return int(Path("/proc/self/schedstat").read_text(encoding="ascii").split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
