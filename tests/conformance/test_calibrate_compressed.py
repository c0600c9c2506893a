# SPDX-License-Identifier: Apache-2.0
"""`amct calibrate` on what numpy.savez_compressed writes, whole, damaged or lying about itself."""

import os
import struct
import zipfile
import zlib

import numpy as np
import pytest

from models import OUTPUT, images
from test_calibrate import ENGINES, WRITTEN, calibrate, done, same_files, write_models

COUNT = 40


def arguments(source, engine, *more):
    return ("--model", "net.pb", "--outputs", OUTPUT, "--data", source, "--save_path", "c", "--engine", engine) + more


@pytest.mark.parametrize("preset", ["none", "accurate"])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_record(engine, preset):
    """As of the same samples in a .npy; also read in parts, and again from the beginning."""
    write_models()
    x = images(COUNT)
    np.save("x.npy", x)
    np.savez_compressed("named.npz", other=np.zeros(3), **{"input": x})
    os.mkdir("folder")
    np.savez_compressed("folder/1.npz", x[:7])
    np.savez("folder/2.npz", x[7:19])
    np.savez_compressed("folder/10.npz", x[19:])
    more = ("--batch_size", "8", "--preset", preset)
    done(*arguments("x.npy", engine, *more))
    for name in WRITTEN:
        os.rename("c" + name, "good" + name)
    for source in ("input=named.npz", "folder"):
        out = done(*arguments(source, engine, *more))
        assert out.startswith("{} samples found".format(COUNT))
        same_files("good", "c", WRITTEN[:3])


def archive(values, change=None, **fields):
    """An archive of one entry, of which `fields` are not what they should be."""
    np.savez_compressed("x.npz", input=values)
    with open("x.npz", "rb") as file:
        data = bytearray(file.read())
    entry = data.rindex(b"PK\x01\x02")
    places = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<I"), "packed": (20, "<I"), "size": (24, "<I")}
    for name, value in fields.items():
        offset, form = places[name]
        if callable(value):
            value = value(struct.unpack_from(form, data, entry + offset)[0])
        struct.pack_into(form, data, entry + offset, value)
    if change:
        change(data)
    with open("x.npz", "wb") as file:
        file.write(data)


def stream_of(data):
    """Where the deflated bytes begin."""
    return 30 + sum(struct.unpack_from("<HH", data, 26))


def spoil(data):
    data[stream_of(data)] |= 6  # a kind of block that there is not


def shorter(data):
    """The stream of fewer values, in the place of the whole one."""
    with zipfile.ZipFile("x.npz") as file:
        content = file.read("input.npy")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(content[:-1000]) + packer.flush()
    start = stream_of(data)
    data[start : start + len(packed)] = packed


DAMAGED = {
    "checksum": (dict(crc=lambda crc: crc ^ 1), "x.npz: input: damaged: its checksum is "),
    "spoilt": (dict(change=spoil), "x.npz: input: damaged: invalid block type\n"),
    "cut": (dict(packed=lambda size: size - 100), "x.npz: input: damaged: its compressed bytes are cut off"),
    "shorter": (dict(change=shorter), "x.npz: input: ends after 29848 bytes where the archive speaks of 30848"),
    "longer": (dict(size=30848 - 128), "x.npz: input: 30592 bytes of values where its head speaks of 30720"),
    "bomb": (dict(size=0xFFFFFFF0), "compressed bytes cannot hold 4294967280"),
    "encrypted": (dict(flags=1), "x.npz: input: encrypted\n"),
    "bzip2": (dict(method=12), "x.npz: input: compressed in a way (12) that is not numpy's: write it with numpy.savez or savez_compressed\n"),
    "beyond": (dict(packed=0x7FFFFFFF), "x.npz: not an archive of NumPy, or cut off\n"),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", sorted(DAMAGED))
def test_damaged(case, engine):
    """One line that names the file and the array, and no model."""
    write_models()
    changes, said = DAMAGED[case]
    archive(images(COUNT), **changes)
    code, _, err = calibrate(*arguments("x.npz", engine))
    assert code == 1 and err.count("\n") == 1, err
    assert err.startswith("amct: x.npz: ") and said in err, err
    assert not os.path.exists("c_quantized.pb")


@pytest.mark.parametrize("engine", ENGINES)
def test_goes_on(engine):
    """More than the archive speaks of, in its size and in the head of the array."""
    write_models()
    archive(images(COUNT))
    with zipfile.ZipFile("x.npz") as file:
        content = file.read("input.npy")
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("input.npy", content + b"more")
    with open("x.npz", "rb") as file:
        data = bytearray(file.read())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, len(content))
    with open("x.npz", "wb") as file:
        file.write(data)
    code, _, err = calibrate(*arguments("x.npz", engine))
    assert code == 1
    assert err == "amct: x.npz: input: goes on after the {} bytes that the archive speaks of\n".format(len(content))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bomb_that_is_none(engine):
    """As well compressed as can be: as many values as the head says, and no more memory than they take."""
    write_models()
    np.savez_compressed("x.npz", input=np.zeros((3000, 8, 8, 3), np.float32))
    assert os.path.getsize("x.npz") < 4000
    assert "3000 samples found" in done(*arguments("x.npz", engine, "--batch_size", "100"))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_zlib(engine, monkeypatch):
    write_models()
    np.savez_compressed("x.npz", input=images(COUNT))
    os.mkdir("lib")
    with open("lib/libz.so.1", "w") as file:
        file.write("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", os.path.abspath("lib"))
    code, _, err = calibrate(*arguments("x.npz", engine))
    assert code == 1
    assert err == (
        "amct: x.npz: input: compressed, and zlib cannot be loaded: {}/lib/libz.so.1: file too short: install it "
        "(zlib1g, in Debian), or write the file with numpy.savez\n".format(os.getcwd())
    )
