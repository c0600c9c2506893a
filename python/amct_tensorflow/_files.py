# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

import os
import tempfile

from . import errors


def write(path: str, data: bytes) -> None:
    """Missing folders are made, a file there is replaced; FileError names the path."""
    try:
        folder = os.path.dirname(os.path.abspath(path))
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(data)
        try:
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
    except OSError as error:
        raise errors.FileError("{}: {}".format(path, error.strerror)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
