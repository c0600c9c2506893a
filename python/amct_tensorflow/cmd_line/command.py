# SPDX-License-Identifier: Apache-2.0
"""Entry point of `amct_tensorflow` and `python -m amct_tensorflow`."""

import contextlib
import signal
import sys
import threading
import traceback
from typing import Dict, Iterator, List, Optional

from .. import _core, convert_qat_model
from .._ops import error_line, tf
from ..errors import AmctError, ArgumentError
from . import calibration, options


def _convert(values: Dict[str, str]) -> None:
    with calibration.frozen(values, "convert") as (model, _, nodes):
        convert_qat_model(model, nodes, values["save_path"], values.get("record_file"))


_RUN = {"calibration": calibration.run, "convert": _convert}


def _say(text: str) -> None:
    sys.stderr.write("{}: {}\n".format(options.PROGRAM, text))


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt too, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():  # which alone may ask for it
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _attempt(name: str, values: Dict[str, str]) -> int:
    try:
        with _ended_as_by_ctrl_c():
            _RUN[name](values)
    except KeyboardInterrupt:
        _say("interrupted: nothing was written")
        return options.INTERRUPTED
    except options.UsageError:
        raise
    except (AmctError, OSError, TypeError, ValueError, MemoryError) as error:
        if "evaluator" in values and not isinstance(error, AmctError):
            traceback.print_exc()
        _say(str(error) or "out of memory")
        return options.USAGE if isinstance(error, ArgumentError) else options.FAILED
    except tf.errors.OpError as error:
        _say("TensorFlow: {}".format(error_line(error)))
    except Exception:  # of the user's evaluator, or ours: then it is worth a report
        traceback.print_exc()
        _say("the error above ended it")
    else:
        return options.DONE
    return options.FAILED


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs a command line; its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        sys.stderr.write(options.help_text(None))
        return options.USAGE
    if given[0] in ("--help", "--h", "-h", "help"):
        sys.stdout.write(options.help_text(options.find_command("".join(given[1:2]))))
        return options.DONE
    if given[0] == "--version":
        sys.stdout.write("{} {}\n".format(options.PROGRAM, _core.version()))
        return options.DONE
    command = options.find_command(given[0])
    try:
        if command is None:
            raise options.UsageError("", '"{}" is no command'.format(given[0]))
        values = options.parse(command.name, given[1:])
        if values is not None:
            return _attempt(command.name, values)
        sys.stdout.write(options.help_text(command))
        return options.DONE
    except options.UsageError as error:
        _say(str(error))
        return options.USAGE
