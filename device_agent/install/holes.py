"""Makes a range of a file or of a block device read as zeros without writing them."""

import ctypes
import errno
import os

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def punch(descriptor: int, offset: int, length: int) -> bool:
    """Return whether the range reads as zeros now. False: the filesystem or the device cannot.

    A file gets a hole; of a device the kernel asks WRITE ZEROES, and nothing is transferred to it
    (fallocate(2), FALLOC_FL_PUNCH_HOLE). Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate64", None) or libc.fallocate  # 64-bit offsets everywhere
    arguments = (ctypes.c_int(descriptor), ctypes.c_int(_KEEP_SIZE | _PUNCH_HOLE))
    if fallocate(*arguments, ctypes.c_int64(offset), ctypes.c_int64(length)) == 0:
        return True
    error = ctypes.get_errno()
    if error in _CANNOT:
        return False
    raise OSError(error, os.strerror(error))
