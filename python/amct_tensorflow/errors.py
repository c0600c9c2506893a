# SPDX-License-Identifier: Apache-2.0
"""Exceptions of the package: one class for each status of the core.

Every class is a RuntimeError, through AmctError; those that a caller would look for
under another name (ValueError, OSError) are that as well.
"""


class AmctError(RuntimeError):
    """Something the core reported.

    Attributes:
      status: str, name of the status in amct/status.h, such as "BAD_GRAPH".
      node: str, the offending node, layer or key; "" where there is none.
      byte_offset: int, position in the file; 0 where there is none.
    """

    status = ""
    node = ""
    byte_offset = 0


class ArgumentError(AmctError, ValueError):
    """An argument has a value that is not allowed."""

    status = "INVALID_ARGUMENT"


class FileError(AmctError, OSError):
    """A file could not be read or written."""

    status = "IO"


class FormatError(AmctError):
    """A file is not a well-formed file of its kind."""

    status = "BAD_FORMAT"


class GraphError(AmctError):
    """A graph is not as a graph must be, or cannot be changed."""

    status = "BAD_GRAPH"


class UnsupportedError(AmctError):
    """A well-formed input that this version does not handle."""

    status = "UNSUPPORTED"


class ConfigError(AmctError, ValueError):
    """A configuration does not fit the graph, or enables nothing."""

    status = "BAD_CONFIG"


class RecordError(AmctError):
    """A record of factors does not fit the graph, or cannot be read."""

    status = "BAD_RECORD"


class NotReadyError(AmctError):
    """Calibration has not produced what is asked for."""

    status = "NOT_READY"
