# SPDX-License-Identifier: Apache-2.0
"""What calibrating, quantizing and saving cost, as ratios.

    python bench/bench.py [--out build/bench] [--csv bench/results.csv] [STEP ...]

Each step runs in processes of its own, so that memory is its own too; what is compared runs in turn in one
process, and a ratio is the median over the turns. AMCT_BENCH_KERNELS names the program bench_kernels of a
CMake build, AMCT_BENCH_CLI the program amct (else: beside this Python, or on PATH). Rows go to the CSV with the machine's description.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = Path(__file__).resolve().parent
THREADS = 2
BATCH = 32
TRAINING_BATCH, TRAINING_SIZE = 16, 96
FIELDS = ["date", "machine", "tensorflow", "step", "what", "value", "unit", "limit"]


# What runs in a process of its own


def peak_mib():
    """Greatest resident memory of this process, MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def reset_peak():
    """Lets peak_mib start again at what is resident now. False where the kernel does not let it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def session_of(graph, optimized=True):
    """A session on THREADS threads, with TensorFlow's graph optimizer or without."""
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto(intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimized
    return tf.Session(graph=graph, config=config)


def load_graph(path):
    """The graph of a pb."""
    import tensorflow.compat.v1 as tf

    definition = tf.GraphDef.FromString(Path(path).read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    return graph


def start_amct(folder):
    """The package, with a log of errors only."""
    os.chdir(folder)
    import amct_tensorflow as amct

    amct.set_logging_level("error", "error")
    return amct


def calibrating(amct, pb, batches, name, preset=None):
    """A graph that observes."""
    graph = load_graph(pb)
    amct.create_quant_config(name + ".json", graph, batch_num=batches, preset=preset)
    amct.quantize_model(graph, name + ".json", name + ".txt")
    return graph


def in_turn(runs, turns):
    """Medians of seconds, one a run, and of the ratio of each to the first."""
    seconds = [[] for _ in runs]
    for _ in range(turns):
        for i, run in enumerate(runs):
            started = time.perf_counter()
            run()
            seconds[i].append(time.perf_counter() - started)
    ratios = [statistics.median(b / a for a, b in zip(seconds[0], s)) for s in seconds]
    return [statistics.median(s) for s in seconds], ratios


def run_of(session, feed):
    import networks

    return lambda: session.run(networks.OUTPUT + ":0", {networks.INPUT: feed})


def work_overhead(folder, turns):
    """Seconds a batch and ratio of calibrating, quantized and unfused to plain session.run."""
    import networks

    amct = start_amct(folder)
    x = networks.pictures(BATCH)
    sessions = [
        session_of(load_graph("model.pb")),
        session_of(calibrating(amct, "model.pb", turns + 1, "overhead")),
        session_of(load_graph("model_quantized.pb")),
        session_of(load_graph("model.pb"), optimized=False),
        session_of(calibrating(amct, "model.pb", turns + 1, "accurate", "accurate")),
    ]
    runs = [run_of(session, x) for session in sessions]
    for run in runs:
        run()
    seconds, ratios = in_turn(runs, turns)
    for session in sessions:
        session.close()
    return {"seconds": seconds, "ratios": ratios}


def work_infer(folder, observe, batches):
    """Wall time and peak memory of inference, observed or not."""
    import networks

    amct = start_amct(folder)
    graph = calibrating(amct, "model.pb", batches, "infer") if observe else load_graph("model.pb")
    with session_of(graph) as session:
        for i in range(batches):
            run_of(session, networks.pictures(BATCH, seed=i))()
    return {"peak_mib": peak_mib()}


def work_scenario(folder, pictures):
    """The whole of scenario 1."""
    import networks

    amct = start_amct(folder)
    graph = calibrating(amct, "model.pb", pictures // BATCH, "scenario")
    with session_of(graph) as session:
        for i in range(pictures // BATCH):
            run_of(session, networks.pictures(BATCH, seed=i))()
    amct.save_model("model.pb", [networks.OUTPUT], "scenario.txt", "scenario")
    return {"peak_mib": peak_mib()}


def work_save(folder, turns):
    """save_model of a large pb beside a copy of the file."""
    import networks

    amct = start_amct(folder)
    arguments = "large.pb", [networks.OUTPUT], "large.txt", "saved"

    def copy():
        shutil.copyfile("large.pb", "copy.pb")

    copy()
    can_reset = reset_peak()
    before = peak_mib()
    amct.save_model(*arguments)
    above = peak_mib() - before if can_reset else None
    seconds, ratios = in_turn([copy, lambda: amct._core.save_model(*arguments), lambda: amct.save_model(*arguments)], turns)
    size = os.path.getsize("large.pb")
    return {"seconds": seconds, "ratios": ratios, "mib": size / 2**20, "above_mib": above}


def work_cli(folder, program, turns):
    """Seconds of the command line's processes, in turn; peak memory of inspect."""
    os.chdir(folder)

    def run(*command):
        return lambda: subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    inspect = run(program, "inspect", "--model", "large.pb")
    inspect()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    import networks  # and TensorFlow, whose memory counts for a child until it runs its program

    convert = ("convert", "--model", "large.pb", "--outputs", networks.OUTPUT, "--record", "large.txt", "--save_path", "cli")
    runs = [run("cp", "large.pb", "copied.pb"), run(program, "version"), inspect, run(program, *convert)]
    runs[0]()
    seconds, ratios = in_turn(runs, turns)
    return {"seconds": seconds, "ratios": ratios, "peak_mib": peak}


def work_prepare(folder):
    """Models, a record of the large one, the quantized small one."""
    import networks

    amct = start_amct(folder)
    Path("model.pb").write_bytes(networks.mobilenet_v2().SerializeToString())
    Path("large.pb").write_bytes(networks.mobilenet_v2(width=2.9, size=32).SerializeToString())
    for name, size in (("model", 224), ("large", 32)):
        with session_of(calibrating(amct, name + ".pb", 1, name)) as session:
            run_of(session, networks.pictures(BATCH, size))()
        amct.save_model(name + ".pb", [networks.OUTPUT], name + ".txt", name)
    return {name: os.path.getsize(name + ".pb") / 2**20 for name in ("model", "large")}


def work_fusion(folder, layers):
    """Seconds of fusing a chain of layers, eight nodes each, one in eight a batch norm."""
    import networks

    amct = start_amct(folder)
    definition, last = networks.chain(layers)
    Path("chain.pb").write_bytes(definition.SerializeToString())

    def fuse():
        amct._core.fuse_model("chain.pb", [last], "chain")

    return {"nodes": len(definition.node), "seconds": min(in_turn([fuse], 5)[0])}


def work_training(folder, turns):
    """A training step: float, with TensorFlow's fake_quant ops, with retraining ops."""
    import networks

    amct = start_amct(folder)

    def retrained(graph):
        amct.create_quant_retrain_config("retrain.json", graph)
        amct.create_quant_retrain_model(graph, "retrain.json", "retrained.txt")

    made = [
        networks.training(TRAINING_BATCH, TRAINING_SIZE),
        networks.training(TRAINING_BATCH, TRAINING_SIZE, fake_quant=True),
        networks.training(TRAINING_BATCH, TRAINING_SIZE, retrained),
    ]
    feed = {networks.INPUT: networks.pictures(TRAINING_BATCH, TRAINING_SIZE)}
    runs = []
    for graph, step, initializer in made:
        session = session_of(graph)
        session.run(initializer)
        runs.append(lambda session=session, step=step: session.run(step, feed))
    in_turn(runs, 3)  # the clips are found
    seconds, ratios = in_turn(runs, turns)
    return {"seconds": seconds, "ratios": ratios, "to_fake_quant": in_turn(runs[1:], turns)[1][1]}


def measure(command, folder, turns=3):
    """Of whole processes: median seconds, processor time of the last, peak memory.

    A small Python starts them: what the kernel reports as peak memory is at least that of who did.
    """
    program = (
        "import json, os, resource, subprocess, sys, time\n"
        "started = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))"
    )
    starter = [sys.executable, "-S", "-E", "-c", program]
    runs = [json.loads(subprocess.check_output(starter + command, cwd=str(folder))) for _ in range(turns)]
    return statistics.median(run[0] for run in runs), runs[-1][1], max(run[2] for run in runs)


def work_pictures(folder, count):
    """The pictures of the scenario as a file; and as files of bytes, value / 128 - 1, in a folder."""
    import networks
    import numpy as np
    import tensorflow as tf

    pictures = networks.pictures(count)
    path = os.path.join(folder, "pictures{}".format(count))
    np.save(path + ".npy", pictures)
    os.makedirs(path, exist_ok=True)
    for i, picture in enumerate(((pictures + 1) * 128).astype(np.uint8)):
        Path(path, "{:03}.png".format(i)).write_bytes(tf.io.encode_png(picture, compression=1).numpy())
    return {}


WORK = {
    "pictures": work_pictures,
    "training": work_training,
    "fusion": work_fusion,
    "overhead": work_overhead,
    "infer": work_infer,
    "scenario": work_scenario,
    "save": work_save,
    "cli": work_cli,
    "prepare": work_prepare,
}


def in_process(folder, work, *arguments):
    """What a work function returns in a process of its own, with `wall_s` of the whole process."""
    command = [sys.executable, str(HERE / "bench.py"), "--work", work, json.dumps([str(folder)] + list(arguments))]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, universal_newlines=True)
    wall = time.perf_counter() - started
    result = json.loads(done.stdout.splitlines()[-1])
    result["wall_s"] = wall
    return result


# The steps: rows (what, value, unit, limit)


def step_overhead(folder):
    r = in_process(folder, "overhead", 7)
    yield "plain session.run, batch 32", r["seconds"][0], "s", None
    yield "calibrating / plain session.run", r["ratios"][1], "x", 1.25
    yield "calibrating with the preset accurate / plain session.run", r["ratios"][4], "x", None
    yield "plain without the graph optimizer / plain", r["ratios"][3], "x", None
    yield "quantized / float session.run", r["ratios"][2], "x", 1.5


def step_memory(folder):
    peaks = {}
    for batches in (1, 4):
        for observe in (False, True):
            r = in_process(folder, "infer", observe, batches)
            peaks[observe, batches] = r["peak_mib"]
    for batches in (1, 4):
        above = peaks[True, batches] - peaks[False, batches]
        yield "memory of calibration above plain, {} batches".format(batches), above, "MiB", 64


def step_scenario(folder):
    for pictures in (32, 128):
        plain = in_process(folder, "infer", False, pictures // BATCH)
        whole = in_process(folder, "scenario", pictures)
        label = ", {} pictures".format(pictures)
        yield "plain inference, whole process" + label, plain["wall_s"], "s", None
        yield "scenario 1, whole process" + label, whole["wall_s"], "s", None
        yield "scenario 1 / plain inference" + label, whole["wall_s"] / plain["wall_s"], "x", None
        yield "peak memory of plain inference" + label, plain["peak_mib"], "MiB", None
        yield "peak memory of scenario 1" + label, whole["peak_mib"], "MiB", None


def step_save(folder):
    r = in_process(folder, "save", 9)
    yield "size of the pb", r["mib"], "MiB", None
    yield "copy of the pb", r["seconds"][0], "s", None
    yield "save_model in C / copy", r["ratios"][1], "x", 5
    yield "save_model in Python / copy", r["ratios"][2], "x", None
    if r["above_mib"] is not None:
        yield "memory of save_model / size of the pb", r["above_mib"] / r["mib"], "x", 1.5


def step_cli(folder):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    program = os.environ.get("AMCT_BENCH_CLI") or shutil.which("amct", path=path)
    if not program:
        raise SystemExit("no program amct: install the wheel, or name one in AMCT_BENCH_CLI")
    r = in_process(folder, "cli", os.path.abspath(program), 15)
    yield "amct version, whole process", r["seconds"][1], "s", None
    yield "amct inspect of the large pb, whole process", r["seconds"][2], "s", 0.1
    yield "peak memory of amct inspect of the large pb", r["peak_mib"], "MiB", 50
    yield "amct convert of the large pb / cp, whole processes", r["ratios"][3], "x", 5


def step_calibrate(folder):
    import calibrating

    for pictures in (32, 128):
        in_process(folder, "pictures", pictures)
        yield from calibrating.rows(measure, folder, pictures, BATCH)
    yield from calibrating.accurate_rows(measure, folder)


def step_fusion(folder):
    for layers in (1250, 5000, 12500):
        r = in_process(folder, "fusion", layers)
        limit = 0.2 if layers == 1250 else None
        yield "fusing a graph of {:,} nodes".format(r["nodes"]), r["seconds"], "s", limit


def step_training(folder):
    r = in_process(folder, "training", 15)
    yield "float training step, batch 16 at 96x96", r["seconds"][0], "s", None
    yield "training step with fake_quant ops / float", r["ratios"][1], "x", None
    yield "training step with retraining ops / float", r["ratios"][2], "x", 1.3
    yield "training step, retraining ops / fake_quant ops", r["to_fake_quant"], "x", 1


def step_kernels(folder):
    program = os.environ.get("AMCT_BENCH_KERNELS")
    if not program:
        raise SystemExit("AMCT_BENCH_KERNELS names no program: build with AMCT_BENCH=ON")
    for threads in (1, 2):
        environment = dict(os.environ, AMCT_THREADS=str(threads))
        text = subprocess.run(
            [program], env=environment, stdout=subprocess.PIPE, check=True, universal_newlines=True
        ).stdout
        for line in text.splitlines():
            name, value = line.rsplit(" ", 1)
            yield "{}, {} thread{}".format(name, threads, "s"[: threads > 1]), float(value), "GB/s", None


def step_search(folder):
    """The program beside bench_kernels."""
    program = Path(os.environ.get("AMCT_BENCH_KERNELS", "")).parent / "bench_search"
    text = subprocess.run([str(program)], stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    for line in text.splitlines():
        name, value = line.rsplit(" ", 1)
        yield name, float(value), "us", None


STEPS = {
    "fusion": step_fusion,
    "kernels": step_kernels,
    "search": step_search,
    "overhead": step_overhead,
    "training": step_training,
    "memory": step_memory,
    "scenario": step_scenario,
    "save": step_save,
    "calibrate": step_calibrate,
    "cli": step_cli,
}


def machine():
    """Processor, cores, memory."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = " ".join(line.split(":", 1)[1].split())
            break
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    return "{}, {} cores, {:.0f} GiB, {}".format(model, os.cpu_count(), memory, platform.system())


def report(step, row, writer, common):
    what, value, unit, limit = row
    verdict = "" if limit is None else "at most {:g}: {}".format(limit, "yes" if value <= limit else "NO")
    print("{:<52} {:>9.3f} {:<5} {}".format(what, value, unit, verdict), flush=True)
    writer.writerow(common + [step, what, "{:.4g}".format(value), unit, "" if limit is None else limit])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for the models")
    parser.add_argument("--csv", type=Path, default=HERE / "results.csv", help="rows are appended")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(WORK[arguments.work[0]](*json.loads(arguments.work[1]))))
        return
    import tensorflow as tf

    folder = arguments.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sizes = in_process(folder, "prepare")
    print("{}\nTensorFlow {}, Python {}".format(machine(), tf.__version__, platform.python_version()))
    print("models of {:.1f} and {:.1f} MiB\n".format(sizes["model"], sizes["large"]))
    common = [datetime.date.today().isoformat(), machine(), tf.__version__]
    new = not arguments.csv.exists()
    with arguments.csv.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(FIELDS)
        for step in arguments.steps or STEPS:
            for row in STEPS[step](folder):
                report(step, row, writer, common)


if __name__ == "__main__":
    main()
