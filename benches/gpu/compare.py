#!/usr/bin/env python3
"""The network on a GPU: the program against PyTorch, eager and compiled. Started by run.sh.

First what it paints: photos in each precision, against PyTorch's own layers in fp32 on the CPU (PSNR, dB).
fp32 below 60 dB, or a half precision more than 1 dB worse than PyTorch in that precision, is an error.

Then how fast: frames a second of the network alone, float RGB in and out, on the device already, the same
weights, in fp16, channels last; and from I420 to I420 in memory. Each in a process of its own, by turns;
the median of the rounds counts.

    nst-stream               the program with kernels of its own (--gpu-kernels on)
    nst-stream in libtorch   the program without them (--gpu-kernels off, as it paints by default)
    PyTorch                  eager, no gradients
    PyTorch, compiled        torch.compile(mode="max-autotune"): a minute or two for each size

That the program paints without its kernels (it says why) is an error, too.

What does not fit into the GPU's memory is left out of the table. `--results FILE` keeps what was measured, so
that a table of many sizes can be made in several calls: sizes and batches that are in the file already are
measured again only when they are asked for.
"""
import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BEGIN, END = "<!-- gpu:begin -->\n", "<!-- gpu:end -->\n"
OURS, PLAIN, EAGER, COMPILED = "nst-stream", "nst-stream in libtorch", "PyTorch", "PyTorch, compiled"
PHOTOS = ROOT / "experiments" / "photos"
PASSES, LEAST = 10, 3
EXACT, WORSE = 60.0, 1.0


# What runs in a process of its own: PyTorch.


def network(weights, device, dtype, compiled=False):
    import torch
    from safetensors.torch import load_file

    sys.path.insert(0, str(ROOT / "scripts"))
    import reference

    state = load_file(weights)
    blocks = len({name.split(".")[0] for name in state if name.startswith("res")})
    net = reference.Network([state[f"conv{n}.conv2d.weight"].shape[0] for n in (1, 2, 3)], blocks)
    net.load_state_dict(state)
    net = net.eval().to(device, dtype, memory_format=torch.channels_last)
    return torch.compile(net, mode="max-autotune") if compiled else net


def time_pytorch(task):
    import torch

    device, (width, height) = task["device"], task["size"]
    torch.backends.cudnn.benchmark = True
    net = network(task["weights"], device, torch.float16 if device != "cpu" else torch.bfloat16, task["engine"] == COMPILED)
    dtype = next(net.parameters()).dtype
    x = torch.rand(task["batch"], 3, height, width, device=device) * 255
    wait = torch.cuda.synchronize if device != "cpu" else lambda: None

    def paint():
        return net(x.to(dtype).contiguous(memory_format=torch.channels_last)).float()

    times = []
    with torch.inference_mode():
        for _ in range(3):
            paint()
        wait()
        since = time.perf_counter()
        while len(times) < LEAST or time.perf_counter() - since < task["seconds"]:
            begin = time.perf_counter()
            for _ in range(PASSES):
                paint()
            wait()
            times.append((time.perf_counter() - begin) / PASSES)
    return {"fps": task["batch"] / statistics.median(times)}


def paint_pytorch(task):
    """Photos as PyTorch paints them, in fp32 on the CPU and in each type on the device: 8-bit files."""
    import numpy
    import torch
    from PIL import Image

    for name in task["photos"]:
        picture = Image.open(PHOTOS / name).convert("RGB")
        # The program gets what was decoded: decoders of JPEG differ by some levels.
        picture.save(f"{task['folder']}/{pathlib.Path(name).stem}.png")
        photo = torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)[None]
        for kind, device, autocast in task["kinds"]:
            net = network(task["weights"], device, torch.float32)
            half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(autocast)
            with torch.inference_mode(), torch.autocast(device.split(":")[0], half, enabled=half is not None):
                y = net(photo.to(device, torch.float32)).float().clamp(0, 255).round()
            pixels = y[0].permute(1, 2, 0).byte().cpu().numpy()
            Image.fromarray(pixels).save(f"{task['folder']}/{pathlib.Path(name).stem}.{kind}.png")
    return {}


def worker(task):
    import torch

    try:
        print(json.dumps({"paint": paint_pytorch, "time": time_pytorch}[task["job"]](task)))
    except torch.OutOfMemoryError:
        print(json.dumps({"fps": None}))


# What drives them.


def call(task):
    done = subprocess.run([sys.executable, __file__, "--worker", json.dumps(task)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"PyTorch failed at {task}:\n{done.stderr.strip()[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def psnr(a, b):
    import numpy
    from PIL import Image

    a, b = (numpy.array(Image.open(p).convert("RGB"), dtype=numpy.float64) for p in (a, b))
    error = ((a - b) ** 2).mean()
    return 10 * numpy.log10(255**2 / error) if error else 99.0


def check(arguments, weights, folder):
    """PSNR by photo and precision, and the faults."""
    photos = sorted(p.name for p in PHOTOS.glob("*.jpg"))
    halves = ["fp16", "bf16"] if arguments.device != "cpu" else ["bf16"]
    kinds = [("exact", "cpu", None)] + [(half, arguments.device, half) for half in halves]
    call({"job": "paint", "weights": weights, "photos": photos, "kinds": kinds, "folder": folder})
    rows, faults = [], []
    for name in photos:
        stem = pathlib.Path(name).stem
        for precision in ["fp32", *halves]:
            painted = f"{folder}/{stem}.ours.{precision}.png"
            command = [arguments.program, "--model", arguments.model, "--input", f"{folder}/{stem}.png", "--output", painted,
                       "--precision", precision, "--device", arguments.device, "--gpu-kernels", "on", "--overwrite"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0 or "without nst-stream's own kernels" in done.stderr:
                sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr.strip()}")
            ours = psnr(painted, f"{folder}/{stem}.exact.png")
            theirs = psnr(f"{folder}/{stem}.{precision}.png", f"{folder}/{stem}.exact.png") if precision in halves else None
            rows.append((stem, precision, ours, theirs))
            if theirs is None and ours < EXACT or theirs is not None and ours < theirs - WORSE:
                faults.append(f"{stem} in {precision}: {ours:.1f} dB, PyTorch {theirs and round(theirs, 1)}")
    return rows, faults


def measure(arguments, weights, engine, size, batch):
    if engine not in (OURS, PLAIN):
        task = {"job": "time", "engine": engine, "size": size, "batch": batch, "weights": weights,
                "device": arguments.device, "seconds": arguments.seconds}
        return call(task)["fps"], None
    command = [arguments.program, "bench", "--model", arguments.model, "--size", "{}x{}".format(*size), "--json",
               "--batch", str(batch), "--device", arguments.device, "--gpu-kernels", "off" if engine == PLAIN else "on"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "without nst-stream's own kernels" in done.stderr:
        sys.exit(done.stderr.strip())
    if done.returncode != 0 and "not enough memory" in done.stderr:
        return None, None
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr.strip()}")
    found = json.loads(done.stdout)
    return found["fps"], (found["i420"] or {}).get("fps")


def engines_of(arguments):
    # On the CPU there is nothing to switch off.
    plain = [PLAIN] if arguments.device != "cpu" else []
    return [OURS, *plain, EAGER] + ([] if arguments.no_compile else [COMPILED])


def machine(device):
    import torch

    if device == "cpu":
        return "the CPU (a trial of this script)"
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                            capture_output=True, text=True).stdout.split("\n")[0]
    return f"{torch.cuda.get_device_name(device)}, driver {driver or 'unknown'}, PyTorch {torch.__version__}"


def report(arguments, rows, results):
    lines = ["| | |", "|---|---|", f"| Date | {datetime.date.today()} |", f"| GPU | {machine(arguments.device)} |",
             f"| Model | {arguments.model}, fp16, median of {arguments.rounds} rounds |", ""]
    if rows:
        lines += ["What it paints, PSNR against PyTorch in fp32 on the CPU, dB (PyTorch's own autocast on the GPU):", "",
                  "| photo | precision | nst-stream | PyTorch |", "|---|---|---|---|"]
        lines += [f"| {p} | {k} | {ours:.1f} | {'' if theirs is None else f'{theirs:.1f}'} |" for p, k, ours, theirs in rows]
        lines.append("")
    engines = engines_of(arguments)
    lines += ["Frames a second (our figure over theirs):", "",
              f"| size | batch | {' | '.join(engines)} | nst-stream, I420 to I420 |",
              "|" + "---|" * (len(engines) + 3)]
    for key in sorted(results, key=lambda key: [int(n) for n in key.replace("x", " ").split()]):
        size, batch = key.split()
        found = results[key]
        middle = lambda name: statistics.median(found[name]) if found.get(name) else None
        ours = middle(OURS)
        cells = []
        for engine in engines:
            fps = middle(engine)
            cells.append("no memory" if fps is None else f"**{fps:.1f}**" if engine == OURS else
                         f"{fps:.1f}" + (f" (× {ours / fps:.2f})" if ours else ""))
        i420 = middle("i420")
        cells.append("" if i420 is None else f"{i420:.1f}")
        lines.append(f"| {size.replace('x', '×')} | {batch} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(page, text):
    old = page.read_text()
    if BEGIN not in old or END not in old:
        sys.exit(f"'{page}' has lost its marks {BEGIN.strip()} and {END.strip()}")
    before, rest = old.split(BEGIN, 1)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")


def size_of(text):
    width, height = text.split("x")
    return int(width), int(height)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", help=argparse.SUPPRESS)
    parser.add_argument("--model", default="mosaic")
    parser.add_argument("--sizes", nargs="+", type=size_of, metavar="WxH",
                        default=[(640, 360), (1280, 720), (1920, 1080), (3840, 2160)])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="for one measurement of PyTorch's")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--no-check", action="store_true", help="leave out what it paints")
    parser.add_argument("--results", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--write", type=pathlib.Path, metavar="PAGE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(json.loads(arguments.worker))
    kept = arguments.results and arguments.results.exists()
    results = json.loads(arguments.results.read_text()) if kept else {}
    with tempfile.TemporaryDirectory() as folder:
        weights = f"{folder}/model.safetensors"
        export = [arguments.program, "models", "export", arguments.model, "--to", "safetensors", "--output", weights]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        rows, faults = ([], []) if arguments.no_check else check(arguments, weights, folder)
        for size in arguments.sizes:
            for batch in arguments.batches:
                found = results["{}x{} {}".format(*size, batch)] = {}
                for number in range(1, arguments.rounds + 1):
                    for engine in engines_of(arguments):
                        fps, i420 = measure(arguments, weights, engine, size, batch)
                        if fps:
                            found.setdefault(engine, []).append(fps)
                        if i420 and engine == OURS:
                            found.setdefault("i420", []).append(i420)
                        name = f"{size[0]}x{size[1]}, batch {batch}, {engine}"
                        print(f"round {number}, {name}: {fps or 'no memory'}", file=sys.stderr)
                if arguments.results:
                    arguments.results.write_text(json.dumps(results))
    text = report(arguments, rows, results)
    print(text)
    if arguments.write:
        write(arguments.write, text)
    if faults:
        sys.exit("\n".join(["what it paints is wrong:", *faults]))


if __name__ == "__main__":
    main()
