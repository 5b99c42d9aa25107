#!/usr/bin/env python3
"""The network on this CPU: the program against ONNX Runtime, OpenVINO and PyTorch.

    python3 scripts/bench_peers.py [--write BENCHMARKS.md] [--rounds 5] [--seconds 2] [--sizes 640x360 ...]

All run the same weights (`nst-stream models export`), one picture at a time, float RGB in and out, with
the same number of threads, each in a process of its own and each at its best (the program also with two
pictures at a time, as it paints videos):

    ONNX Runtime   all graph optimizations, size fixed beforehand
    OpenVINO       size fixed beforehand; with the LATENCY hint one request after another, with the THROUGHPUT
                   hint as many at once as it wants; the better of the two counts
    PyTorch        channels last, no gradients; bf16 by autocast

They take turns, `--rounds` times, so that other work on the machine hits all; the median counts. bf16 is
measured where the CPU has it (avx512_bf16 or amx_bf16). The packages come from PyPI, in these versions,
into a virtual environment of their own (target/bench-peers); `--python` names one that has them already.

`--write` puts the table between the marks of that page, and the chart beside it (docs/bench-cpu.svg).
"""
import argparse
import datetime
import html
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv

PACKAGES = ["torch==2.11.0", "onnxruntime==1.32.0", "openvino==2026.4.1", "numpy==2.4.6", "safetensors==0.8.0"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- peers:begin -->\n", "<!-- peers:end -->\n"
CHART = "docs/bench-cpu.svg"
OURS, PAIR = "nst-stream", "nst-stream (two at a time)"
WARM = 2
LEAST = 3


# What runs inside the virtual environment: one engine, one size, one process.


def repeat(run, seconds):
    """Median seconds of a call, warm: three calls at least."""
    for _ in range(WARM):
        run()
    times, since = [], time.perf_counter()
    while len(times) < LEAST or time.perf_counter() - since < seconds:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def picture(width, height):
    import numpy

    return (numpy.random.default_rng(1).random((1, 3, height, width), dtype=numpy.float32) * 255).round()


def run_onnxruntime(files, width, height, threads, seconds, precision):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for name, length in [("batch", 1), ("height", height), ("width", width)]:
        options.add_free_dimension_override_by_name(name, length)
    session = onnxruntime.InferenceSession(files["onnx"], options, providers=["CPUExecutionProvider"])
    feed = {"input": picture(width, height)}
    return 1 / repeat(lambda: session.run(None, feed), seconds), onnxruntime.__version__


def run_openvino(files, width, height, threads, seconds, precision, hint):
    import openvino

    core = openvino.Core()
    model = core.read_model(files["onnx"])
    model.reshape([1, 3, height, width])
    settings = {
        "PERFORMANCE_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
    }
    compiled = core.compile_model(model, "CPU", settings)
    version = openvino.__version__.split("-")[0]
    x = picture(width, height)
    if hint == "LATENCY":
        request = compiled.create_infer_request()
        return 1 / repeat(lambda: request.infer({0: x}), seconds), version
    queue = openvino.AsyncInferQueue(compiled)
    requests = len(queue)

    def all_at_once():
        for _ in range(requests):
            queue.start_async({0: x})
        queue.wait_all()

    for _ in range(WARM):
        all_at_once()
    frames, since = 0, time.perf_counter()
    # The queue stays full until the end, so that no request waits for another.
    while frames < LEAST * requests or time.perf_counter() - since < seconds:
        queue.start_async({0: x})
        frames += 1
    queue.wait_all()
    return frames / (time.perf_counter() - since), version


def run_pytorch(files, width, height, threads, seconds, precision):
    import torch
    from safetensors.torch import load_file

    sys.path.insert(0, str(ROOT / "scripts"))
    import reference

    torch.set_num_threads(threads)
    weights = load_file(files["safetensors"])
    blocks = len({name.split(".")[0] for name in weights if name.startswith("res")})
    network = reference.Network([weights[f"conv{n}.conv2d.weight"].shape[0] for n in (1, 2, 3)], blocks)
    network.load_state_dict(weights)
    network = network.eval().to(memory_format=torch.channels_last)
    x = torch.from_numpy(picture(width, height)).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return 1 / repeat(lambda: network(x).float().clamp(0, 255), seconds), torch.__version__


PEERS = {
    "ONNX Runtime": run_onnxruntime,
    "OpenVINO (LATENCY)": lambda *a: run_openvino(*a, "LATENCY"),
    "OpenVINO (THROUGHPUT)": lambda *a: run_openvino(*a, "THROUGHPUT"),
    "PyTorch": run_pytorch,
}


def worker(task):
    fps, version = PEERS[task["engine"]](
        task["files"], *task["size"], task["threads"], task["seconds"], task["precision"]
    )
    print(json.dumps({"fps": fps, "version": version}))


# What drives them; nothing but Python's own library.


def environment():
    """A Python with the packages, made when it is missing or has other versions."""
    folder = ROOT / "target" / "bench-peers"
    mark = folder / "packages.txt"
    if not mark.exists() or mark.read_text() != "\n".join(PACKAGES):
        print(f"getting {', '.join(PACKAGES)} into {folder}", file=sys.stderr)
        try:
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
        except subprocess.CalledProcessError as error:
            sys.exit(f"cannot fill {folder} ({error}): is python3-venv installed, and PyPI reachable? "
                     "--python names a Python that has the packages")
        mark.write_text("\n".join(PACKAGES))
    return folder / "bin" / "python"


def flags():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return line.split(":")[1].split()
    return []


def engines(precision):
    """ONNX Runtime computes convolutions on a CPU in fp32 only."""
    return [OURS, PAIR] + [name for name in PEERS if precision == "fp32" or name != "ONNX Runtime"]


def measure(arguments, python, files, engine, precision, size):
    """Frames a second, version, and for ours frames a second from I420 to I420."""
    if engine in (OURS, PAIR):
        command = [arguments.program, "bench", "--model", arguments.model, "--size", "{}x{}".format(*size), "--json",
                   "--precision", precision, "--threads", str(arguments.threads), "--device", "cpu", "--batch", "2" if engine == PAIR else "1"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return found["fps"], None, (found["i420"] or {}).get("fps")
    task = {"engine": engine, "precision": precision, "size": size, "files": files,
            "threads": arguments.threads, "seconds": arguments.seconds}
    # Whatever counts threads by the environment gets the same number.
    variables = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run([python, __file__, "--worker", json.dumps(task)], capture_output=True, text=True, env=variables)
    if done.returncode != 0:
        sys.exit(f"{engine} in {precision} failed:\n{done.stderr.strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["fps"], found["version"], None


def busy():
    """CPU seconds spent on anything since the machine started."""
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(fields[i] for i in (0, 1, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")


def own():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    known = set(flags())
    vectors = next((v for v in ["amx_bf16", "avx512_bf16", "avx512f", "avx2"] if v in known), "no AVX2")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {vectors}, {memory:.0f} GiB"


def best_rows(results, size, precision):
    """Engines with their frames a second; of OpenVINO's two hints the better one."""
    rows = {}
    for engine in engines(precision):
        fps = statistics.median(results[engine, precision, size])
        name = engine.split(" (")[0]
        if fps > rows.get(name, (0, ""))[0]:
            rows[name] = (fps, engine)
    return rows


def report(arguments, results, frames, versions, precisions, others):
    lines = ["| | |", "|---|---|", f"| Date | {datetime.date.today()} |",
             f"| Commit | {said('git', 'describe', '--always', '--dirty')} |", f"| CPU | {machine()} |",
             f"| System | {platform.system()} {platform.release()}, Python {platform.python_version()} |",
             f"| Versions | {', '.join(f'{k} {v}' for k, v in sorted(versions.items()))} |",
             f"| Model | {arguments.model}, batch 1, {arguments.threads} threads, median of {arguments.rounds} rounds |",
             f"| Other work while it ran | {others:.1f} % of all cores |", ""]
    for precision in precisions:
        lines += [f"Frames a second in {precision} (our figure over theirs):", "",
                  "| | " + " | ".join("×".join(map(str, size)) for size in arguments.sizes) + " |",
                  "|---|" + "---|" * len(arguments.sizes)]
        for engine in engines(precision):
            cells = []
            for size in arguments.sizes:
                fps = statistics.median(results[engine, precision, size])
                ours = statistics.median(results[OURS, precision, size])
                cells.append(f"**{fps:.2f}**" if engine == OURS else f"{fps:.2f}" if engine == PAIR else
                             f"{fps:.2f} (× {ours / fps:.2f})")
            lines.append(f"| {engine} | " + " | ".join(cells) + " |")
        cells = [f"{statistics.median(frames[precision, size]):.2f}" if frames[precision, size] else "" for size in arguments.sizes]
        lines += [f"| {OURS}, I420 to I420 | " + " | ".join(cells) + " |", ""]
    if "bf16" not in precisions:
        lines += ["This CPU has no bf16 (neither avx512_bf16 nor amx_bf16), so bf16 was not measured.", ""]
    return "\n".join(lines)


def chart(arguments, results, precisions, title):
    """Bars, one group for each precision and size, each against the fastest of its group."""
    colors = {OURS: "#d62728", "OpenVINO": "#1f77b4", "ONNX Runtime": "#2ca02c", "PyTorch": "#ff7f0e"}
    left, right, bar, gap = 150, 90, 22, 40
    width = 720
    body, y = [], 48
    for precision in precisions:
        for size in arguments.sizes:
            body.append(f'<text x="16" y="{y + 4}" class="head">{size[0]}×{size[1]}, {precision}</text>')
            y += 14
            rows = best_rows(results, size, precision)
            most = max(fps for fps, _ in rows.values())
            for name, (fps, _) in sorted(rows.items(), key=lambda row: -row[1][0]):
                length = (width - left - right) * fps / most
                body.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{name}</text>')
                body.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{bar - 4}" fill="{colors[name]}"/>')
                body.append(f'<text x="{left + length + 6:.1f}" y="{y + 16}">{fps:.2f} fps</text>')
                y += bar
            y += gap
    style = "text{font:14px sans-serif;fill:#333}.head{font-weight:bold}"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y - 10}" width="{width}" height="{y - 10}">\n'
            f'<style>{style}</style>\n<rect width="100%" height="100%" fill="white"/>\n'
            f'<text x="16" y="22">{html.escape(title)}</text>\n' + "\n".join(body) + "\n</svg>\n")


def write(page, text):
    old = page.read_text()
    if BEGIN not in old or END not in old:
        sys.exit(f"'{page}' has lost its marks {BEGIN.strip()} and {END.strip()}")
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    beside = page.with_suffix(".part")
    beside.write_text(f"{before}{BEGIN}{text}{END}{after}")
    beside.replace(page)


def size_of(text):
    width, height = text.split("x")
    return int(width), int(height)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mosaic")
    parser.add_argument("--sizes", nargs="+", type=size_of, default=[(640, 360), (1280, 720)], metavar="WxH")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="for one measurement, of three runs at least")
    parser.add_argument("--program", default=str(ROOT / "target" / "release" / "nst-stream"))
    parser.add_argument("--python", help="a Python that has the packages")
    parser.add_argument("--write", type=pathlib.Path, metavar="PAGE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(json.loads(arguments.worker))
    if not pathlib.Path(arguments.program).exists():
        sys.exit(f"'{arguments.program}' is missing: `make build` makes it")
    python = arguments.python or environment()
    bf16 = bool({"avx512_bf16", "amx_bf16"} & set(flags()))
    precisions = ["fp32", "bf16"] if bf16 else ["fp32"]
    results, frames, versions = {}, {}, {OURS: said(arguments.program, "--version").split(" ")[-1]}
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: f"{folder}/model.{kind}" for kind in ["onnx", "safetensors"]}
        for kind, path in files.items():
            command = [arguments.program, "models", "export", arguments.model, "--to", kind, "--output", path]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        began, busy_then, own_then = time.time(), busy(), own()
        for number in range(1, arguments.rounds + 1):
            for precision in precisions:
                for size in arguments.sizes:
                    for engine in engines(precision):
                        fps, version, i420 = measure(arguments, python, files, engine, precision, size)
                        results.setdefault((engine, precision, size), []).append(fps)
                        frames.setdefault((precision, size), []).extend([i420] if i420 and engine == OURS else [])
                        if version:
                            versions[engine.split(" (")[0]] = version
                        print(f"round {number}, {size[0]}x{size[1]}, {precision}, {engine}: {fps:.2f} fps", file=sys.stderr)
        cores = (time.time() - began) * len(os.sched_getaffinity(0))
        others = 100 * max(0, (busy() - busy_then - own() + own_then) / cores)
    text = report(arguments, results, frames, versions, precisions, others)
    print(text)
    if arguments.write:
        picture_file = arguments.write.resolve().parent / CHART
        picture_file.parent.mkdir(exist_ok=True)
        title = f"{arguments.model}, {arguments.threads} threads, {machine()}"
        picture_file.write_text(chart(arguments, results, precisions, title))
        write(arguments.write, f"\n{text}\n![Frames a second, the longer the better]({CHART})\n\n")


if __name__ == "__main__":
    main()
