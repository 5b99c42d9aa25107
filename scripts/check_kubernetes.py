#!/usr/bin/env python3
"""Checks the manifests in packaging/kubernetes, and runs their command lines on this machine.

    python3 scripts/check_kubernetes.py --program target/release/nst-stream
    python3 scripts/check_kubernetes.py --program ... --only manifests|film|live

* manifests: against the schemas of a current Kubernetes, unknown fields refused; the PodMonitor, a custom resource,
  against podmonitor.schema.json; also with the GPU patch; and what no schema knows: names that refer to each other,
  and that pods do without root and write to their volumes only.
* film: the command lines of split, parts and join, as they are written, on a film of two scenes. The joined film must
  have the frames, times and sound of a single run.
* live: the command line of the live feed. Its probes, metrics and picture must be there.

A command line is run with the environment that its pod would have. Folders that are mounted (/job) become folders of a
temporary one, and ports become free ones; nothing else is changed. The validator is fetched from PyPI into
target/kubernetes.
"""
import argparse
import copy
import fcntl
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "packaging" / "kubernetes"
PACKAGES = ["kubernetes-validate==1.37.0", "jsonschema==4.26.0", "PyYAML==6.0.3"]
VERSION = "1.37"
# A container's environment is its own; this much is that of its image.
IMAGE = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
PATIENCE = 300


def environment():
    """A Python with the packages, made when it is missing or has other versions."""
    folder = ROOT / "target" / "kubernetes"
    mark = folder / "packages.txt"
    folder.parent.mkdir(exist_ok=True)
    lock = open(folder.with_suffix(".lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # two tests may run at once
    if not mark.exists() or mark.read_text() != "\n".join(PACKAGES):
        print(f"getting {', '.join(PACKAGES)} into {folder}", file=sys.stderr)
        try:
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
        except subprocess.CalledProcessError as error:
            sys.exit(f"cannot fill {folder} ({error}): is python3-venv installed, and PyPI reachable?")
        mark.write_text("\n".join(PACKAGES))
    lock.close()
    return folder / "bin" / "python"


def fail(text):
    sys.exit(f"check_kubernetes: {text}")


def check(holds, text):
    if not holds:
        fail(text)


# Manifests.


def load():
    """All objects by kind and name, and the GPU patch."""
    import yaml
    objects, patch = {}, None
    for path in sorted(MANIFESTS.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if path.name == "gpu.yaml":
                patch = document
            else:
                key = (document["kind"], document["metadata"]["name"])
                check(key not in objects, f"{key} is there twice")
                objects[key] = document
    return objects, patch


def fault(document):
    """What its schema says against it."""
    import jsonschema
    import kubernetes_validate
    if document.get("kind") == "PodMonitor":
        schema = json.loads((MANIFESTS / "podmonitor.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        error = next(jsonschema.Draft202012Validator(schema).iter_errors(document), None)
        return error and f"{error.json_path}: {error.message}"
    try:
        used = kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{list(error.path)}: {error.message}"
    check(str(used).startswith(VERSION), f"validated against {used}, not {VERSION}")
    return None


def with_gpu(document, patch):
    """As a strategic merge patch does it: containers are merged by name, other lists replaced."""
    def merge(into, other):
        for key, value in other.items():
            if key == "containers":
                for one in value:
                    merge(next(c for c in into[key] if c["name"] == one["name"]), one)
            elif isinstance(value, dict):
                merge(into.setdefault(key, {}), value)
            else:
                into[key] = value
        return into
    return merge(copy.deepcopy(document), patch)


def pod_of(document):
    return document["spec"]["template"]["spec"]


def container_of(document):
    (container,) = pod_of(document)["containers"]
    return container


def check_manifests(objects, patch):
    workloads = {key: d for key, d in objects.items() if key[0] in ("Job", "Deployment")}
    check(len(workloads) == 4, f"other jobs than expected: {list(workloads)}")
    for key, document in objects.items():
        check(fault(document) is None, f"{key}: {fault(document)}")
        # That the check sees anything at all.
        wrong = copy.deepcopy(document)
        wrong.setdefault("spec", {})["selektor"] = {}
        check(fault(wrong) is not None, f"{key}: a misspelt field is not seen")
    for key, document in workloads.items():
        patched = with_gpu(document, patch)
        check(fault(patched) is None, f"{key} with the GPU patch: {fault(patched)}")
        check(container_of(patched)["resources"]["limits"].get("nvidia.com/gpu") == "1", f"{key}: no GPU")

    for (kind, name), document in workloads.items():
        pod, container = pod_of(document), container_of(document)
        security, own = pod["securityContext"], container["securityContext"]
        check(security["runAsNonRoot"] and security["runAsUser"] > 0, f"{name}: runs as root")
        check(own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"], f"{name}: may do too much")
        check(own["capabilities"]["drop"] == ["ALL"], f"{name}: has capabilities")
        check(pod["automountServiceAccountToken"] is False, f"{name}: gets a token of the cluster")
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        check(set(volumes) == mounted, f"{name}: volumes {set(volumes)}, mounted {mounted}")
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            check(claim is None or ("PersistentVolumeClaim", claim) in objects, f"{name}: no claim {claim}")
        for source in container.get("envFrom", []):
            source = source["configMapRef"]["name"]
            check(("ConfigMap", source) in objects, f"{name}: no ConfigMap {source}")
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if kind == "Deployment":
                check(container[probe]["httpGet"]["port"] in ports, f"{name}: {probe} asks at no port of its")
        if kind == "Job":
            check(pod["restartPolicy"] == "Never", f"{name}: restartPolicy")

    parts = objects["Job", "nst-parts"]["spec"]
    check(parts["completionMode"] == "Indexed", "nst-parts has no index")
    check(parts["maxFailedIndexes"] <= parts["completions"] and parts["backoffLimitPerIndex"] > 0, "nst-parts: limits")
    live = objects["Deployment", "nst-live"]["spec"]
    labels = live["template"]["metadata"]["labels"]
    ports = {port["name"] for port in container_of(objects["Deployment", "nst-live"])["ports"]}
    service, monitor = objects["Service", "nst-live"]["spec"], objects["PodMonitor", "nst-live"]["spec"]
    for selector in (live["selector"]["matchLabels"], service["selector"], monitor["selector"]["matchLabels"]):
        check(selector.items() <= labels.items(), f"{selector} selects no pod of nst-live")
    asked = [port["targetPort"] for port in service["ports"]] + [e["port"] for e in monitor["podMetricsEndpoints"]]
    check(set(asked) <= ports, f"{asked}: nst-live has {ports}")
    print(f"{len(objects)} objects are valid for Kubernetes {VERSION}")


# Command lines.


class Machine:
    """What a node gives its pods, in a temporary folder."""

    def __init__(self, objects, program, folder):
        self.objects, self.program, self.folder = objects, program, folder
        self.ports = {}

    def path(self, mounted):
        return self.folder / mounted.lstrip("/")

    def pod(self, key, given=None):
        """Command line, environment and working folder of the pod of this object."""
        container = container_of(self.objects[key])
        variables = {}
        for source in container.get("envFrom", []):
            variables.update(self.objects["ConfigMap", source["configMapRef"]["name"]]["data"])
        unknown = {name for name in given or {} if name not in variables and name != "JOB_COMPLETION_INDEX"}
        check(not unknown, f"{key} has no {unknown}")
        variables.update(given or {})
        for entry in container.get("env", []):
            if "value" in entry:
                variables[entry["name"]] = entry["value"]
                continue
            field = entry["valueFrom"]["resourceFieldRef"]
            check(field["containerName"] == container["name"], f"{key}: {field}")
            kind, resource = field["resource"].split(".")
            variables[entry["name"]] = str(math.ceil(float(container["resources"][kind][resource])))

        mounts = sorted((mount["mountPath"] for mount in container["volumeMounts"]), key=len, reverse=True)
        mounts = re.compile(r"(?<![\w/.-])(" + "|".join(map(re.escape, mounts)) + r")(?=/|\W|$)")
        for port in container.get("ports", []):
            self.ports.setdefault(port["containerPort"], free_port())

        def here(text):
            text = mounts.sub(lambda found: str(self.path(found[1])), text)
            return re.sub(r"(?<=:)\d+(?=/|$)", lambda found: str(self.ports.get(int(found[0]), found[0])), text)

        def expand(text):
            def value(found):
                if found[0] == "$$":
                    return "$"
                check(found[1] in variables, f"{key}: {text}: there is no {found[1]}")
                return variables[found[1]]
            return re.sub(r"\$\$|\$\(([A-Za-z_]\w*)\)", value, text)

        words = [here(expand(word)) for word in container["command"] + container["args"]]
        check(words[0] == "nst-stream", f"{key}: runs {words[0]}")
        for mount in container["volumeMounts"]:
            self.path(mount["mountPath"]).mkdir(parents=True, exist_ok=True)
        return {
            "args": [str(self.program), *words[1:]],
            "env": IMAGE | {name: here(value) for name, value in variables.items()},
            "cwd": here(container["workingDir"]),
        }

    def run(self, key, given=None, code=0):
        pod = self.pod(key, given)
        print("$", "nst-stream", *pod["args"][1:], flush=True)
        ran = subprocess.run(**pod, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        check(ran.returncode == code, f"{key} {given}: code {ran.returncode}, not {code}:\n{ran.stdout}{ran.stderr}")
        return ran.stderr


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ffmpeg(*args):
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


def make_film(path):
    """Two scenes of 15 frames, small, with a tone."""
    data, same = ROOT / "tests" / "data", "scale=160:96,setsar=1,fps=25,format=yuv420p"
    scenes = ["-t", "0.6", "-i", data / "carphone_pristine.mp4", "-t", "0.6", "-i", data / "bikes.mp4"]
    ffmpeg(*scenes, "-f", "lavfi", "-t", "1.2", "-i", "sine", "-filter_complex",
           f"[0:v]{same}[a];[1:v]{same}[b];[a][b]concat[v]", "-map", "[v]", "-map", "2:a",
           "-c:v", "libx264", "-c:a", "aac", path)


def frames(path):
    """Time, duration and hash of every decoded frame and of all packets of the sound."""
    return ffmpeg("-i", path, "-map", "0", "-c:a", "copy", "-f", "framemd5", "-")


def check_film(machine):
    film = machine.path("/job/film.mp4")
    film.parent.mkdir(parents=True)
    make_film(film)
    # Values of the ConfigMap that make it fast, and its pictures comparable.
    given = {"MODEL": "mosaic-lite", "SCALE": "0.5", "QUALITY": "100", "PART_LENGTH": "0.3"}
    machine.run(("Job", "nst-split"), given)
    parts = len(json.loads(machine.path("/job/parts/plan.json").read_text())["parts"])
    check(parts == 2, f"two scenes became {parts} parts")
    paint = lambda index, code=0: machine.run(("Job", "nst-parts"), {"JOB_COMPLETION_INDEX": str(index)}, code)
    machine.run(("Job", "nst-join"), code=1)
    for index in range(parts):
        paint(index)
    check("painted already" in paint(0), "a pod that is started again paints again")
    # More pods than parts: the Job must not try them again.
    paint(parts, 2)
    rules = machine.objects["Job", "nst-parts"]["spec"]["podFailurePolicy"]["rules"]
    check(any(rule["action"] == "FailIndex" and 2 in rule["onExitCodes"]["values"] for rule in rules
              if "onExitCodes" in rule), "nst-parts tries again after code 2")
    machine.run(("Job", "nst-join"))
    one = machine.folder / "one.mp4"
    subprocess.run([machine.program, "-i", film, "-o", one, "-m", given["MODEL"], "--scale", given["SCALE"],
                    "--quality", given["QUALITY"], "--quiet"], check=True, timeout=PATIENCE)
    joined, single = frames(machine.path("/job/film.art.mp4")), frames(one)
    check(sum(line.startswith("0,") for line in single.splitlines()) == 30, f"not 30 frames:\n{single}")
    check(joined == single, f"the joined film is not that of a single run:\n{joined}\n{single}")
    print("the joined film has the frames, times and sound of a single run")


def check_live(machine):
    key = ("Deployment", "nst-live")
    container = container_of(machine.objects[key])
    token = "a-token-for-this-check-only"
    pod = machine.pod(key, {"SOURCE": "test:160x96@15"})  # a small one, for slow machines
    machine.path("/etc/nst-stream/token").write_text(token + "\n")
    ports = {port["name"]: machine.ports[port["containerPort"]] for port in container["ports"]}
    # The kubelet and Prometheus ask by the pod's address.
    host = f"127.0.0.1:{ports['http']}"

    def ask(path, **headers):
        request = urllib.request.Request(f"http://{host}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)

    print("$", "nst-stream", *pod["args"][1:], flush=True)
    said = open(machine.folder / "live.log", "w+")
    process = subprocess.Popen(**pod, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
    log = lambda: pathlib.Path(said.name).read_text()
    try:
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            path, end = container[name]["httpGet"]["path"], time.monotonic() + PATIENCE
            while ask(path)[0] != 200:
                check(process.poll() is None, f"the live feed has ended, code {process.returncode}:\n{log()}")
                check(time.monotonic() < end, f"{name}: {path}: {ask(path)}\n{log()}")
                time.sleep(0.2)
            print(f"{name}: {path} answers")
        (endpoint,) = machine.objects["PodMonitor", "nst-live"]["spec"]["podMetricsEndpoints"]
        credentials = endpoint["authorization"]["credentials"]
        secret = next(v["secret"]["secretName"] for v in pod_of(machine.objects[key])["volumes"] if "secret" in v)
        check(credentials == {"name": secret, "key": "token"}, f"the PodMonitor has other credentials: {credentials}")
        status, metrics = ask(endpoint["path"], Authorization=f"{endpoint['authorization']['type']} {token}")
        check(status == 200 and re.search(r"^nst_stream_\w+ \d", metrics, re.M), f"metrics: {status} {metrics[:2000]}")
        for headers in ({}, {"Authorization": "Bearer another-token-than-this-one"}):
            check(ask(endpoint["path"], **headers)[0] == 401, f"metrics without the token: {ask(endpoint['path'])}")
        name = machine.objects["Service", "nst-live"]["metadata"]["name"]
        check(ask("/", Host=f"{name}:8080")[0] == 200, f"the page is not served as {name}")
        hashes = ffmpeg("-rtsp_transport", "tcp", "-i", f"rtsp://127.0.0.1:{ports['rtsp']}/live", "-map", "0:v",
                        "-frames:v", "5", "-f", "framemd5", "-")
        check(sum(line.startswith("0,") for line in hashes.splitlines()) == 5, f"no picture by RTSP:\n{hashes}")
        check(token not in log(), f"the log shows the token:\n{log()}")
        # As a pod is ended.
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(pod_of(machine.objects[key]).get("terminationGracePeriodSeconds", 30) + PATIENCE)
        except subprocess.TimeoutExpired:
            fail(f"it does not end when it is told to:\n{log()}")
        check(code == 130, f"ended with code {code}:\n{log()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        said.close()
    print("the live feed has its probes, metrics and picture")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target" / "release" / "nst-stream")
    parser.add_argument("--only", choices=["manifests", "film", "live"])
    args = parser.parse_args()
    python = environment()
    if pathlib.Path(sys.prefix) != python.parent.parent:
        os.execv(python, [python, __file__, *sys.argv[1:]])
    program = args.program.resolve()
    check(program.is_file(), f"there is no program {program}; build it, or name it with --program")
    objects, patch = load()
    if args.only in (None, "manifests"):
        check_manifests(objects, patch)
    for name, run in (("film", check_film), ("live", check_live)):
        if args.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                run(Machine(objects, program, pathlib.Path(folder)))


if __name__ == "__main__":
    main()
