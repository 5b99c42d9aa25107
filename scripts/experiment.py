#!/usr/bin/env python3
"""Runs one of experiments/*.toml: the steps that lead to a picture of the docs.

    python3 scripts/experiment.py                      what there is
    python3 scripts/experiment.py evolution            run it (make experiment NAME=evolution)
    python3 scripts/experiment.py evolution --dry-run  only print the commands

A step is a command line of nst-stream (`run`; with `stdout`, what it prints becomes that file),
pictures side by side (`tiles`, by ImageMagick), the middle of a picture, half as high and wide
(`middle`, likewise) or videos side by side as a picture that moves, one row after another (`moving`, by FFmpeg), and names what it `makes`. A step whose file is there already is skipped, unless
--force. Placeholders: {out}, the folder of all results, and the names under `needs`, which are
environment variables of the user's folders. Experiments named under `after` come first: this one
uses what they made.
"""
import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

try:
    import tomllib
except ImportError:
    sys.exit("experiment: Python 3.11 or newer is needed, which reads TOML by itself")

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "experiments"
OUT = pathlib.Path("out/experiments")


class Failed(Exception):
    """One line for the user."""


def read(name):
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise Failed(f"no experiment '{name}'; there are {names}")
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Failed(f"experiments/{name}.toml: {error}") from error


def tiles_command(step, target):
    """Pictures of one size beside each other, named below, as a JPEG for the docs."""
    if not shutil.which("montage"):
        raise Failed("montage is missing; sudo apt install imagemagick (or scripts/setup.sh test)")
    command = ["montage", "-background", "white", "-font", "DejaVu-Sans", "-pointsize", "14"]
    for label, picture in step["tiles"]:
        command += ["-label", label, picture] if label else ["+label", picture]
    size = f"{step.get('width', '')}x{step.get('height', '')}"
    return command + ["-tile", f"{step.get('columns', len(step['tiles']))}x", "-geometry",
                      f"{size}+3+3", "-strip", "-quality", "82", f"jpg:{target}"]


def middle_command(picture, target):
    if not shutil.which("convert"):
        raise Failed("convert is missing; sudo apt install imagemagick (or scripts/setup.sh test)")
    return ["convert", picture, "-gravity", "center", "-crop", "50%x50%+0+0", "+repage", "-quality", "95",
            f"jpg:{target}"]


def moving_command(step, target):
    """Rows of videos: those of a row beside each other, one row after another, as an animated WebP without end."""
    if not shutil.which("ffmpeg"):
        raise Failed("ffmpeg is missing; sudo apt install ffmpeg (or scripts/setup.sh test)")
    command, graph, rows = ["ffmpeg", "-v", "error", "-y"], [], ""
    for number, row in enumerate(step["moving"]):
        beside = ""
        for video in row["videos"]:
            index = command.count("-i")
            command += ["-ss", str(row["start"]), "-t", str(row["duration"]), "-i", video]
            graph.append(f"[{index}:v]fps={step['rate']},scale={step['width']}:-2:flags=lanczos,setsar=1[v{index}]")
            beside += f"[v{index}]"
        graph.append(f"{beside}hstack=inputs={len(row['videos'])}[r{number}]")
        rows += f"[r{number}]"
    graph.append(f"{rows}concat=n={len(step['moving'])}")
    return command + ["-filter_complex", ";".join(graph), "-an", "-c:v", "libwebp_anim", "-quality", str(step["quality"]),
                      "-compression_level", "6", "-loop", "0", "-f", "webp", target]


def filled(value, variables):
    """Placeholders replaced, in texts and lists of them."""
    if isinstance(value, list):
        return [filled(part, variables) for part in value]
    if isinstance(value, dict):
        return {key: filled(part, variables) for key, part in value.items()}
    return value.format_map(variables) if isinstance(value, str) else value


def execute(command, made, to_stdout):
    """Runs a command; `made` gets what it prints, or is what it writes, when all went well."""
    made.parent.mkdir(parents=True, exist_ok=True)
    partial = made.with_name(f"{made.name}.partial")
    with open(partial if to_stdout else os.devnull, "w") as stdout:
        code = subprocess.run(command, stdout=stdout if to_stdout else None, check=False).returncode
    if code == 0 and partial.exists():
        partial.replace(made)
    partial.unlink(missing_ok=True)
    if code != 0:
        raise Failed(f"exit code {code}: {shlex.join(command)}")
    if not made.exists():
        raise Failed(f"'{made}' was not made by: {shlex.join(command)}")


def run(name, options, done):
    experiment = read(name)
    for earlier in experiment.get("after", []):
        if earlier not in done:
            run(earlier, argparse.Namespace(**{**vars(options), "force": False}), done)
    done.add(name)
    variables = {"out": str(OUT)}
    for variable, what in experiment.get("needs", {}).items():
        variables[variable] = os.environ.get(variable, "")
        if not variables[variable] and options.dry_run:
            variables[variable] = variable
        if not variables[variable]:
            raise Failed(f"{name} needs {variable}=<folder>: {what}")
    for step in experiment["step"]:
        step = filled(step, variables)
        made = pathlib.Path(step["makes"])
        if "run" in step:
            command = [options.program, *step["run"]]
            # Whoever gets here wants it made anew: it is missing, or --force was given.
            command += ["--overwrite"] if "--output" in step["run"] else []
        elif "moving" in step:
            command = moving_command(step, f"{made}.partial")
        elif "middle" in step:
            command = middle_command(step["middle"], f"{made}.partial")
        else:
            command = tiles_command(step, f"{made}.partial")
        if options.dry_run:
            print(shlex.join(command))
        elif made.exists() and not options.force:
            print(f"{name}: '{made}' is there already", flush=True)
        else:
            print(f"{name}: making '{made}'", flush=True)
            execute(command, made, step.get("stdout", False))


def main():
    parser = argparse.ArgumentParser(description="Runs an experiment of experiments/*.toml.")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--program", default="target/release/nst-stream")
    parser.add_argument("--force", action="store_true", help="make anew what is there already")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    options = parser.parse_args()
    os.chdir(ROOT)
    if not options.name:
        for path in sorted(FOLDER.glob("*.toml")):
            needs = "".join(f" {name}=<folder>" for name in read(path.stem).get("needs", {}))
            print(f"make experiment NAME={path.stem}{needs}\n    {read(path.stem)['title']}")
        return
    run(options.name, options, set())


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"experiment: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
