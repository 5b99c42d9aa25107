#!/usr/bin/env python3
"""Compares the program with FFmpeg over a matrix of containers, codecs and properties.

    python3 scripts/check_formats.py --program target/release/nst-stream
    python3 scripts/check_formats.py --program ... --only flv       cases whose name has this in it
    python3 scripts/check_formats.py --program ... --subset         the few that `make test` runs
    python3 scripts/check_formats.py --program ... --write docs/formats.md

Each case is a clip that ffmpeg makes, the program run on it with --strength 0 (every frame goes through
unchanged), and a comparison of what comes out with what FFmpeg decodes of the clip:

* number of frames, and when each is shown, from the first one on, to 1 ms;
* pictures: per plane and frame, the mean difference is at most 2 levels, and in no part of 16×16 samples
  more than 6 (a torn line, a block of garbage, a column that is missing would be lost in the mean);
* sound: tracks, sample rate, channels; level of each channel within 0.5 dB, in each half of the clip;
  beginning (seen from the first frame) and length within one packet and 20 ms;
* tags, languages, track flags, pixel aspect, range and matrix of the colours, chroma site.

A case may carry the reason why it differs (`known`). It then must differ. Exit status: 0 when every case
is as FFmpeg or differs for a reason that is known, else 1.
"""
import argparse
import array
import concurrent.futures
import json
import math
import operator
import os
import pathlib
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import format_cases  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests/data/reference-small.pth"
# Longer than any case takes on a busy machine; a hang takes for ever.
PATIENCE = 90
LEVELS = 2.0
PART, PART_LEVELS = 16, 6.0
DECIBEL = 0.5
FFMPEG = ["ffmpeg", "-v", "error", "-y", "-nostdin"]


class Broken(Exception):
    """A clip that cannot be made or read: the check itself is at fault."""


def run(command, timeout=PATIENCE, **more):
    return subprocess.run([str(part) for part in command], capture_output=True, timeout=timeout, **more)


def checked(command, **more):
    done = run(command, **more)
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        raise Broken(f"{shlex.join(map(str, command))}: {text[-1] if text else done.returncode}")
    return done.stdout


# What is compared


def probe(path):
    """Streams, container and the times of all frames of a file, as ffprobe says."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", "-show_chapters",
               "-show_frames", "-show_entries",
               "frame=media_type,stream_index,pts_time,best_effort_timestamp_time,pkt_pts_time,nb_samples"]
    return json.loads(checked([*command, path]).decode(errors="replace"))


def streams(of, kind):
    return [s for s in of["streams"] if s.get("codec_type") == kind]


def is_cover(stream):
    return stream.get("disposition", {}).get("attached_pic") == 1


def times(of, stream):
    """When each frame or packet is presented (none where nothing says that), and its samples."""
    frames = [f for f in of.get("frames", []) if f.get("stream_index") == stream["index"]]
    found = []
    for frame in frames:
        at = frame.get("best_effort_timestamp_time", frame.get("pts_time"))
        at = None if at in (None, "N/A") else float(at)
        if at is not None or stream.get("codec_type") == "video":
            found.append((at, int(frame.get("nb_samples", 0))))
    return found


def shown_in(case, seen, of, picture):
    """First and last frame of those that are on the screen in the span of a case, and when each appears,
    counted from the start of the span. A frame is on the screen until the next one. The file begins where
    FFmpeg says; a transport or program stream where its picture does."""
    if not case.span:
        return 0, len(seen), seen
    begins = of["format"].get("start_time")
    if begins is None or case.container in ("TS", "M2TS", "MPG", "VOB"):
        begins = seen[0]
    if case.container in ("MKV", "WebM"):
        # FFmpeg counts what is not to be heard, too: that of Opus, FFmpeg 7 that of AAC as well (CodecDelay).
        begins = min(float(s["start_time"]) + int(s.get("initial_padding", 0)) / int(s.get("sample_rate", 1))
                     for s in of["streams"] if "start_time" in s)
    begins = max(float(begins), 0.0)
    start, end = (begins + at for at in case.span)
    # Containers round times to milliseconds.
    early = [n for n, at in enumerate(seen) if at <= start + 0.0006]
    first = early[-1] if early else 0
    last = sum(at < end - 0.0006 for at in seen)
    return first, last, [max(at - start, 0) for at in seen[first:last]]


def decoded(path, stream, form, filters=(), start=None, length=None, frames=None):
    """Pictures of a stream in a raw format, as bytes."""
    # With several threads FFmpeg 5.1 decodes Theora differently each time (11 of 40 times, other pictures).
    threads = ["-threads", 1] if stream.get("codec_name") == "theora" else []
    command = [*FFMPEG, *threads, "-i", path, "-map", f"0:{stream['index']}"]
    if filters:
        command += ["-vf", ",".join(filters)]
    command += ["-sws_flags", "accurate_rnd+full_chroma_int+bicubic", "-fps_mode", "passthrough"]
    if frames:
        command += ["-frames:v", frames]
    return checked([*command, "-pix_fmt", form, "-f", "rawvideo", "-"])


def samples(path, stream):
    """Sound of a stream: one list of samples a channel."""
    # FFmpeg's own decoder (7.1) gives Speex of Ogg 3 dB too low: a tone of -11.0 dB at -14.0 dB, which libspeex
    # (`-c:a libspeex`) decodes at -11.0 dB.
    decoder = ["-c:a", "libspeex"] if stream.get("codec_name") == "speex" else []
    command = [*FFMPEG, *decoder, "-i", path, "-map", f"0:{stream['index']}", "-f", "f32le", "-"]
    values = array.array("f")
    raw = checked(command)
    values.frombytes(raw[:len(raw) // 4 * 4])
    channels = stream["channels"]
    return [values[n::channels] for n in range(channels)]


def level(values):
    """In dB of full scale."""
    if not values:
        return -120.0
    mean = sum(map(operator.mul, values, values)) / len(values)
    return 10 * math.log10(max(mean, 1e-12))


def mean_difference(a, b):
    return sum(map(abs, map(operator.sub, a, b))) / max(len(a), 1)


def worst_part(a, b, width):
    """The mean difference of the part of a plane, a square of 16×16 samples, in which it is largest."""
    differences = bytes(map(abs, map(operator.sub, a, b)))
    rows = [differences[n:n + width] for n in range(0, len(differences), width)]
    worst = 0.0
    for top in range(0, len(rows) - PART + 1, PART):
        for left in range(0, width - PART + 1, PART):
            total = sum(sum(row[left:left + PART]) for row in rows[top:top + PART])
            worst = max(worst, total / PART ** 2)
    return worst


def planes(form, width, height):
    """Size and width of the planes of a frame."""
    if form == "rgb24":
        return [(width * height * 3, width * 3)]
    half = (width + 1) // 2
    chroma = (half * ((height + 1) // 2), half)
    return [(width * height, width)] + ([(width * height, width)] * 2 if "444" in form else [chroma] * 2)


def shown_size(stream):
    width, height = stream["width"], stream["height"]
    turned = 0
    for data in stream.get("side_data_list", []):
        turned = int(data.get("rotation", 0))
    return (height, width) if turned % 180 else (width, height)


def range_of(stream):
    said = stream.get("color_range")
    if said in (None, "unknown"):
        return "pc" if stream.get("pix_fmt", "").startswith("yuvj") else "tv"
    return said


def form_of(stream):
    """The raw format in which pictures are compared: their own numbers, where these are YUV."""
    if not stream.get("pix_fmt", "").startswith(("yuv", "nv", "uyvy", "yuyv", "p01", "gray")):
        return "rgb24"
    return "yuvj420p" if range_of(stream) == "pc" else "yuv420p"


def compare_pictures(case, source, target, before, after, first, last):
    differences = []
    form, form_after = form_of(before), form_of(after)
    if "rgb24" in (form, form_after):
        form = form_after = "rgb24"
    size = shown_size(before)
    if case.size_after:
        size = case.size_after
    if shown_size(after) != size:
        return [f"size {after['width']}×{after['height']}, not {size[0]}×{size[1]}"]
    filters = list(case.reference)
    a, b = decoded(source, before, form, filters), decoded(target, after, form_after)
    step = sum(size for size, _ in planes(form, *size))
    count_a, count_b = len(a) // step, len(b) // step
    if case.span:
        a, count_a = a[first * step:last * step], max(last - first, 0)
    if count_a != count_b:
        differences.append(f"{count_b} frames, not {count_a}")
    worst, at, part, part_at = 0.0, 0, 0.0, 0
    for frame in range(min(count_a, count_b)):
        begin = frame * step
        for size, width in planes(form, *shown_size(after)):
            end = begin + size
            x, y = a[begin:end], b[begin:end]
            difference = mean_difference(x, y)
            if difference > worst:
                worst, at = difference, frame
            # Every third frame: the deeper look takes longer. A deinterlacer lacks a frame before the first
            # one and behind the last, and each makes up for that in its own way.
            ends = frame in (0, count_a - 1)
            if not ends and frame % 3 == 0 or ends and "interlaced" not in case.says:
                local = worst_part(x, y, width)
                if local > part:
                    part, part_at = local, frame
            begin = end
    if worst > case.levels:
        differences.append(f"frame {at} is {worst:.1f} levels off")
    elif part > case.part_levels:
        differences.append(f"a part of frame {part_at} is {part:.1f} levels off")
    if os.environ.get("NST_FORMATS_DEBUG"):
        print(f"part {part:.1f} mean {worst:.2f} {case.name}", file=sys.stderr)
    return differences


def compare_times(case, before, after):
    if len(before) != len(after):
        return [f"{len(after)} times, not {len(before)}"]
    if not before:
        return ["no frame"]
    if None in before:
        return ["FFmpeg does not say when each frame is shown"]
    off = [abs((b - before[0]) - (a - after[0])) for b, a in zip(before, after)]
    most = max(off)
    # Matroska counts in milliseconds.
    if most > case.time_tolerance:
        return [f"frame {off.index(most)} is {most * 1000:.1f} ms off"]
    return []


def first_sample(values, hz, begin, end):
    """When the first decoded sample is heard: some of what comes before the picture is decoded, some is not
    (the priming of a codec)."""
    whole = len(values) / hz > end - begin - 0.002
    return begin if whole else max(begin, 0)


def compare_sound(case, source, target, before, after, number, begin_before, begin_after):
    name = f"sound {number}: " if number else "sound: "
    differences = []
    one, two = before["stream"], after["stream"]
    rate = case.rate_after or one.get("sample_rate")
    if two.get("codec_name") == "opus":
        rate = two.get("sample_rate")
    if two.get("sample_rate") != rate:
        differences.append(f"{name}{two.get('sample_rate')} Hz, not {rate}")
    if two.get("channels") != one.get("channels"):
        return differences + [f"{name}{two.get('channels')} channels, not {one.get('channels')}"]
    if not before["times"] or not after["times"]:
        if before["times"]:
            differences.append(f"{name}nothing in it")
        return differences
    hz, hz_after = int(one["sample_rate"]), int(two["sample_rate"])
    packet = max(n for _, n in before["times"]) / hz
    packet = max(packet, max(n for _, n in after["times"]) / hz_after)
    # PCM and lossless codecs have packets of any length. Of the others those of AAC at 8000 Hz are the longest.
    packet = min(packet, 0.128)

    def span(of, hz):
        return of[0][0], of[-1][0] + of[-1][1] / hz
    (begin, end), (begin2, end2) = span(before["times"], hz), span(after["times"], hz_after)
    begin, end = begin - begin_before, end - begin_before
    begin2, end2 = begin2 - begin_after, end2 - begin_after
    if case.span:
        begin, end = max(begin, case.span[0]) - case.span[0], min(end, case.span[1]) - case.span[0]
    if abs(begin - begin2) > packet + 0.02:
        differences.append(f"{name}begins {(begin2 - begin) * 1000:+.0f} ms")
    if abs((end - begin) - (end2 - begin2)) > packet + 0.02:
        differences.append(f"{name}{end2 - begin2:.2f} s long, not {end - begin:.2f}")
    if case.span:
        return differences
    a, b = samples(source, one), samples(target, two)
    heard, heard2 = first_sample(a[0], hz, begin, end), first_sample(b[0], hz_after, begin2, end2)
    for channel, (x, y) in enumerate(zip(a, b)):
        for half, (p, q) in enumerate(((0.05, 0.45), (0.55, 0.9))):
            cut = lambda values, hz, begin: values[int((p - begin) * hz):int((q - begin) * hz)]
            loud, loud2 = level(cut(x, hz, heard)), level(cut(y, hz_after, heard2))
            # Silence is silence, however deep.
            if abs(max(loud, -60) - max(loud2, -60)) > DECIBEL:
                text = f"{name}channel {channel} at {loud2:.1f} dB, not {loud:.1f}"
                return differences + [text]
    return differences


def tag(of, name):
    for key, value in of.get("tags", {}).items():
        if key.lower() == name.lower():
            return value
    return None


def unknown(value):
    return None if value in (None, "unknown", "unspecified", "reserved", "gbr") else value


def compare_flags(case, before, after):
    differences = []
    one, two = before.get("sample_aspect_ratio", "1:1"), after.get("sample_aspect_ratio", "1:1")
    one, two = ("1:1" if s in ("0:1", "N/A") else s for s in (one, two))
    if shown_size(before) != (before["width"], before["height"]) and one != "1:1":
        one = ":".join(reversed(one.split(":")))
    if one != two:
        differences.append(f"pixel aspect {two}, not {one}")
    if form_of(before) != "rgb24":
        if range_of(before) != range_of(after):
            differences.append(f"range {range_of(after)}, not {range_of(before)}")
        for field in ("color_space", "color_primaries", "color_transfer"):
            said = unknown(before.get(field))
            if said and not case.colours_lost and unknown(after.get(field)) != said:
                # The same numbers by two names.
                same = {"bt470bg", "smpte170m"}
                if not {said, after.get(field)} <= same:
                    differences.append(f"{field} {after.get(field)}, not {said}")
        site = unknown(before.get("chroma_location"))
        left = {None, "left"}
        if site and unknown(after.get("chroma_location")) not in ({site} | (left if site == "left" else set())):
            differences.append(f"chroma {after.get('chroma_location')}, not {site}")
    if after.get("field_order", "progressive") not in ("progressive", "unknown"):
        differences.append(f"field order {after.get('field_order')}")
    return differences


DISPOSITIONS = ("default", "forced", "hearing_impaired", "visual_impaired", "comment")


def compare_tracks(case, before, after):
    """Languages, titles and flags of tracks of sound and subtitles."""
    differences = []
    for kind in ("audio", "subtitle"):
        for n, (one, two) in enumerate(zip(streams(before, kind), streams(after, kind))):
            for name in ("language", "title"):
                said = tag(one, name)
                # Two codes for one language.
                if {said, tag(two, name)} == {"deu", "ger"}:
                    continue
                if said and said != "und" and case.check_tags and tag(two, name) != said:
                    differences.append(f"{kind} {n}: {name} {tag(two, name)}, not {said}")
            if case.check_flags:
                for flag in DISPOSITIONS:
                    said, now = one["disposition"].get(flag, 0), two["disposition"].get(flag, 0)
                    if said != now:
                        differences.append(f"{kind} {n}: {flag} {now}, not {said}")
    return differences


def compare(case, source, target):
    before, after = probe(source), probe(target)
    pictures = [s for s in streams(before, "video") if not is_cover(s)] or streams(before, "video")
    picture = pictures[case.picture]
    if not streams(after, "video"):
        return ["no picture"]
    made = streams(after, "video")[0]
    seen = [at for at, _ in times(before, picture)]
    shown = [at for at, _ in times(after, made)]
    if callable(case.times):
        seen = case.times(seen)
    first, last, wanted = shown_in(case, seen, before, picture)
    differences = compare_pictures(case, source, target, picture, made, first, last)
    if case.times:
        differences += compare_times(case, wanted, shown)
    differences += compare_flags(case, picture, made)
    sound, sound2 = streams(before, "audio"), streams(after, "audio")
    wanted = case.sounds if case.sounds is not None else len(sound)
    if len(sound2) != wanted:
        differences.append(f"{len(sound2)} tracks of sound, not {wanted}")
    else:
        for n, (one, two) in enumerate(zip(sound, sound2)):
            pack = lambda of, stream: {"stream": stream, "times": times(of, stream)}
            number = n + 1 if len(sound) > 1 else 0
            differences += compare_sound(case, source, target, pack(before, one), pack(after, two), number,
                                         (seen or [0])[0] or 0, shown[0] if shown else 0)
    if case.subtitles is not None and len(streams(after, "subtitle")) != case.subtitles:
        differences.append(f"{len(streams(after, 'subtitle'))} subtitle tracks, not {case.subtitles}")
    if case.attachments is not None:
        found = len(streams(after, "attachment")) + sum(map(is_cover, streams(after, "video")))
        if found != case.attachments:
            differences.append(f"{found} attachments, not {case.attachments}")
    if case.chapters is not None and len(after.get("chapters", [])) != case.chapters:
        differences.append(f"{len(after.get('chapters', []))} chapters, not {case.chapters}")
    differences += compare_tracks(case, before, after)
    for name, value in case.tags.items():
        names = name.split("|")
        found = next((tag(after["format"], n) for n in names if tag(after["format"], n)), None)
        if not found or not found.startswith(value):
            differences.append(f"tag {names[0]}: {found}, not {value}")
    return differences


# One case


def where_it_crashed(program, here):
    """The threads of a program that a signal ended, as gdb reads them from its core file."""
    core = next(here.glob("core*"), None)
    if core is None or shutil.which("gdb") is None:
        return "crashed (no core file, or no gdb to read it)"
    said = run(["gdb", "-q", "-batch", "-ex", "bt 20", "-ex", "thread apply all bt 8", program, core]).stdout
    return "crashed\n" + said.decode(errors="replace")[-20_000:]


def check(case, folder, program):
    """What differs, and what the program said."""
    here = folder / re.sub(r"[^\w.-]+", "_", case.name)
    here.mkdir()
    try:
        source = case.make(here, folder)
    except Broken as error:
        return [f"the clip cannot be made: {error}"], "", True
    target = here / f"out.{case.to}"
    command = [program, "--model", MODEL, "--input", source, "--output", target, "--strength", "0",
               "--preset", "ultrafast", "--quality", "100", "--threads", "1", "--hwaccel", "off", *case.args]
    try:
        done = run(command, env={**os.environ, "DISPLAY": ""}, cwd=here)
    except subprocess.TimeoutExpired:
        return [f"no end within {PATIENCE} s"], "", False
    said = done.stderr.decode(errors="replace")
    if done.returncode < 0:
        return [f"exit {done.returncode}: {where_it_crashed(program, here)}"], said, False
    if done.returncode:
        lines = said.strip().splitlines()
        return [f"exit {done.returncode}: {lines[-1] if lines else ''}".replace(str(here) + "/", "")], said, False
    try:
        differences = compare(case, case.as_reference(source), target)
    except (Broken, KeyError, IndexError, ValueError, subprocess.TimeoutExpired) as error:
        return [f"cannot be compared: {error!r}"], said, True
    for words in case.says:
        if words not in said:
            differences.append(f"it does not say '{words}'")
    if case.silent:
        notes = [line for line in said.splitlines()
                 if not line.startswith(("no CUDA", str(target))) and "frames" not in line]
        if notes:
            differences.append(f"it says: {notes[0].replace(str(here) + '/', '')}")
    for path in here.iterdir():
        path.unlink(missing_ok=True)
    return differences, said, False


def version(tool):
    """The version that a tool of FFmpeg or GStreamer states, as far as it is a number."""
    flag = "-version" if tool == "ffmpeg" else "--version"
    try:
        text = checked([tool, flag]).decode()
    except OSError:
        return "of an unknown version"
    return re.search(r"version (\d+(?:\.\d+)*)", text)[1]


def report(results):
    containers = {c.container for c, *_ in results}
    codecs = {c.codec for c, *_ in results if c.codec}
    sounds = {c.sound for c, *_ in results if c.sound}
    properties = {c.about for c, *_ in results if c.about}
    lines = [
        "# Formats",
        "",
        "Made by `make check-formats`: each line is a clip that FFmpeg made, run through the program with",
        "`--strength 0` and compared with what FFmpeg decodes of it: number of frames, their times to 1 ms,",
        f"pictures within {LEVELS:.0f} levels (mean of a plane of a frame), sound within {DECIBEL} dB a channel, its",
        "beginning and length within one packet and 20 ms, tags, flags, pixel aspect and colours. What is",
        "bold differs, and is to be mended or explained.",
        "",
        f"{len(results)} combinations: {len(containers)} containers, {len(codecs)} video codecs, "
        f"{len(sounds)} sound codecs, {len(properties)} properties. Made with FFmpeg {version('ffmpeg')} and "
        f"GStreamer {version('gst-inspect-1.0')}.",
        "",
    ]
    group = None
    for case, differences, _, _ in results:
        if case.group != group:
            group = case.group
            lines += ["", f"## {group}", "", "| container | picture | sound | property | to | result |",
                      "|---|---|---|---|---|---|"]
        if not differences:
            result = "as FFmpeg"
        elif differences[0].startswith("the clip cannot be made"):
            result = "FFmpeg makes no such clip" # why, the run has said
        elif case.known:
            result = f"{'; '.join(differences)}. {case.known}"
        else:
            result = f"**{'; '.join(differences)}**"
        result = result.replace("|", "\\|")
        lines.append(f"| {case.container} | {case.codec or ''} | {case.sound or ''} | {case.about or ''} "
                     f"| {case.to} | {result} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, type=pathlib.Path)
    parser.add_argument("--only", help="cases whose name has this in it (a regular expression)")
    parser.add_argument("--subset", action="store_true", help="the cases that `make test` runs")
    parser.add_argument("--write", type=pathlib.Path, help="write the table into this file")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--keep", type=pathlib.Path, help="make clips and outputs in this folder, and keep them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    cases = format_cases.all_cases(checked, FFMPEG)
    if options.subset:
        cases = [c for c in cases if c.subset]
    if options.only:
        cases = [c for c in cases if re.search(options.only, c.name, re.IGNORECASE)]
    if options.list:
        print(*(c.name for c in cases), sep="\n")
        return 0
    if not cases:
        print("check_formats: no such case", file=sys.stderr)
        return 1
    program = options.program.resolve()
    # A program that crashes leaves a core file in its working folder.
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    began, lock, results, bad = time.monotonic(), threading.Lock(), {}, 0
    with tempfile.TemporaryDirectory(prefix="nst-formats-") as name:
        folder = pathlib.Path(name)
        if options.keep:
            folder = options.keep.resolve()
            folder.mkdir(parents=True)
        format_cases.prepare(folder, checked, FFMPEG)

        def one(number, case):
            differences, said, broken = check(case, folder, program)
            ok = bool(differences) == bool(case.known) and not broken
            with lock:
                results[number] = (case, differences, said, ok)
                word = "ok   " if ok and not differences else "known" if ok else "DIFF "
                print(word, case.name, "·", "; ".join(differences) or ("no longer differs" if not ok else ""),
                      flush=True)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for done in [pool.submit(one, n, c) for n, c in enumerate(cases)]:
                done.result()
    ordered = [results[n] for n in sorted(results)]
    bad = sum(not ok for *_, ok in ordered)
    seconds = time.monotonic() - began
    print(f"{len(ordered)} combinations in {seconds:.0f} s: {len(ordered) - bad} as they should be, "
          f"{sum(1 for c, d, _, ok in ordered if ok and d)} of them with a known difference; {bad} are not")
    if options.write:
        options.write.write_text(report(ordered))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
