# SPDX-License-Identifier: Apache-2.0
"""The command line as a table: parsing, help and the guide come from these rows.

Imports nothing of the package, so that the guide can be made without TensorFlow.
"""

import textwrap
from typing import Dict, List, NamedTuple, Optional, Tuple

PROGRAM = "amct_tensorflow"
COLUMNS = 80

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
EXITS = (
    (DONE, "done"),
    (FAILED, "failed: a line on standard error says why; nothing was written"),
    (USAGE, "the command line cannot be"),
    (INTERRUPTED, "interrupted: nothing was written"),
)


class Command(NamedTuple):
    """A command, and what its help says first."""

    name: str
    summary: str
    about: str
    example: str


class Option(NamedTuple):
    """An option of a command; `choices` are the values that it may have."""

    command: str
    name: str
    need: str  # "needed", "data" (needed without --evaluator) or "optional"
    value: str
    help: str
    choices: Tuple[str, ...] = ()


COMMANDS = (
    Command(
        "calibration",
        "quantize a frozen model on calibration data",
        "Runs the model on batches of data, finds the factors, and writes P_quantized.pb and "
        'P_quant.json. Lists are separated by ";"; types and folders stand in the order of the '
        "inputs.",
        'amct_tensorflow calibration --model m.pb --outputs "prob:0" --save_path out/m '
        '--input_shape "input:32,224,224,3" --data_types float32 --data_dir ./pictures',
    ),
    Command(
        "convert",
        "quantize a frozen model that was trained with fake quantization",
        "Takes the ranges of FakeQuantWithMinMaxVars, ...VarsPerChannel and ...Args as factors, and "
        "writes P_quantized.pb and P_quant.json.",
        'amct_tensorflow convert --model qat.pb --outputs "prob:0" --save_path out/m',
    ),
)

_MODEL = (
    "model",
    "needed",
    "M.pb",
    "the frozen model; or a SavedModel's folder, a .keras or .h5 file, a checkpoint with .meta",
)
_SAVE = ("save_path", "needed", "P", "the first part of the names to write")
_OUTPUTS = ("outputs", "needed", '"a:0;b:0"', "its output tensors")
_RECORD = ("record_file", "optional", "R.txt", "keep the record of factors there")

OPTIONS = (
    Option("calibration", *_MODEL),
    Option("calibration", *_SAVE),
    Option("calibration", *_OUTPUTS),
    Option("calibration", "input_shape", "data", '"x:N,H,W,C"', "inputs, and the shape of a batch"),
    Option(
        "calibration",
        "data_dir",
        "data",
        "DIR",
        "folder or file: .bin, .npy, .npz, TFRecord, pictures",
    ),
    Option("calibration", "data_types", "data", "float32", "types of the inputs"),
    Option(
        "calibration",
        "evaluator",
        "optional",
        "E.py",
        "instead of these three: Python that runs the batches",
    ),
    Option("calibration", "calibration_config", "optional", "X.cfg", "a simplified configuration"),
    Option("calibration", "batch_num", "optional", "N", "how many batches; 1 without it"),
    Option("calibration", *_RECORD),
    Option("calibration", "picture_mean", "optional", "0,0,0", "value = (byte - mean) * scale"),
    Option("calibration", "picture_scale", "optional", "1,1,1", "one value, or one a channel"),
    Option(
        "calibration",
        "picture_order",
        "optional",
        "RGB",
        "or BGR; mean and scale are in this order",
        ("RGB", "BGR"),
    ),
    Option(
        "calibration",
        "picture_resize",
        "optional",
        "stretch",
        "to H x W; or crop: cover it, cut out the middle",
        ("stretch", "crop"),
    ),
    Option(
        "calibration",
        "tfrecord_key",
        "optional",
        "K",
        "the feature that holds the input, if not its name",
    ),
    Option("calibration", "feature", "optional", "F", "taken for old scripts; changes nothing"),
    Option("convert", *_MODEL),
    Option("convert", *_SAVE),
    Option("convert", *_OUTPUTS),
    Option("convert", *_RECORD),
)


class UsageError(Exception):
    """The command line cannot be."""

    def __init__(self, command: str, text: str) -> None:
        """`command` is the one whose help shows how; "" for that of the program."""
        super().__init__("{}; see '{} {}--help'".format(text, PROGRAM, command and command + " "))


def find_command(name: str) -> Optional[Command]:
    """The command of that name."""
    return next((command for command in COMMANDS if command.name == name), None)


def of_command(command: str) -> List[Option]:
    """The options of a command."""
    return [option for option in OPTIONS if option.command == command]


def parse(command: str, arguments: List[str]) -> Optional[Dict[str, str]]:
    """Values by option: `--opt value`, `--opt=value` and `opt=value`, shortened or not.

    None if help is asked for.
    """
    values: Dict[str, str] = {}
    at = 0
    while at < len(arguments):
        word, equals, value = arguments[at].partition("=")
        at += 1
        if word == "-h" or (word in ("--help", "--hel", "--he", "--h") and not equals):
            return None
        if not word.startswith("--") and not equals:
            raise UsageError(command, '"{}" is no option'.format(word))
        option = _find(command, word)
        if not equals:
            if at == len(arguments):
                raise UsageError(command, "--{}: {} is missing".format(option.name, option.value))
            value = arguments[at]
            at += 1
        _keep(values, option, value)
    _check_needs(command, values)
    return values


def _find(command: str, word: str) -> Option:
    given = (word[2:] if word.startswith("--") else word).replace("-", "_")
    options = of_command(command)
    found = [option for option in options if option.name == given] or [
        option for option in options if given and option.name.startswith(given)
    ]
    if not found:
        raise UsageError(command, "{}: no such option".format(word or "="))
    if len(found) > 1:
        names = " and ".join("--" + option.name for option in found[:2])
        raise UsageError(command, "{} may mean {}".format(word, names))
    return found[0]


def _keep(values: Dict[str, str], option: Option, value: str) -> None:
    if option.name in values:
        raise UsageError(option.command, "--{} is given twice".format(option.name))
    if not value:
        raise UsageError(option.command, "--{}: the value is empty".format(option.name))
    if option.choices and value not in option.choices:
        text = '--{}: "{}" is neither {}'.format(option.name, value, " nor ".join(option.choices))
        raise UsageError(option.command, text)
    values[option.name] = value


def _check_needs(command: str, values: Dict[str, str]) -> None:
    for option in of_command(command):
        if option.need == "data" and "evaluator" in values:
            if option.name in values:
                text = "--evaluator stands instead of --{}: give one".format(option.name)
                raise UsageError(command, text)
        elif option.need != "optional" and option.name not in values:
            other = ", or --evaluator," if option.need == "data" else ""
            text = "--{} {}{} is missing".format(option.name, option.value, other)
            raise UsageError(command, text)


def texts(values: Dict[str, str], command: str, name: str) -> List[str]:
    """The parts of "a;b"."""
    parts = [part.strip() for part in values[name].split(";")]
    if not all(parts):
        raise UsageError(command, "--{}: an empty name".format(name))
    return parts


def _wrapped(text: str, indent: int = 0) -> str:
    lines = textwrap.wrap(text, COLUMNS - indent, break_on_hyphens=False, break_long_words=False)
    return ("\n" + " " * indent).join(lines)


def help_text(command: Optional[Command]) -> str:
    """The help of a command, or of the program; ends in a line break."""
    if command is None:
        rows = [(row.name, row.summary) for row in COMMANDS]
        exits = [(str(code), text) for code, text in EXITS]
        return "usage: {} COMMAND [options]\n\ncommands\n{}\nexit codes\n{}\n{}\n".format(
            PROGRAM,
            _table(rows),
            _table(exits),
            _wrapped(
                "Options are written --name value, --name=value or name=value, and may be "
                "shortened while they stay unambiguous. '{} COMMAND --help' lists them.".format(
                    PROGRAM
                )
            ),
        )
    options = of_command(command.name)
    return "usage: {} {} [options]\n\n{}\n\noptions\n{}\nfor example\n  {}\n".format(
        PROGRAM,
        command.name,
        _wrapped(command.about),
        _table([("--{} {}".format(row.name, row.value), _need(row)) for row in options]),
        command.example.replace(" --save_path", " \\\n    --save_path").replace(
            " --data_types", " \\\n    --data_types"
        ),
    )


def _need(option: Option) -> str:
    words = {"needed": " (needed)", "data": " (needed)", "optional": ""}
    return option.help + words[option.need]


def _table(rows: List[Tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows) + 4
    return "".join(
        "  {:{}}{}\n".format(left, width - 2, _wrapped(text, width)) for left, text in rows
    )
