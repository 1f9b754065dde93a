"""A small stand-in for `docker` with Compose: the calls that we make, and no others.

State lies in the folder FAKE_DOCKER: `containers.json`, `networks.json`, `volumes.json`, every
call in `calls.jsonl`, and faults that a test puts there as files:
    down            the daemon does not answer
    no-compose      the plugin is missing
    elsewhere       the context is another machine
    hang            a call of the verb that stands in the file does not end
    die             a call of the verb that stands in it ends in the middle: it is killed
    restarts        at each look the service that stands there was started once more
    port-taken      so often as stands there `up` finds the port taken
    says            what every failing call writes

A container is a process of this machine: the stand-in of our server, in the manner that the
tag of its image names, or a web server in the place of an engine.
"""

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import yaml

STATE = Path(os.environ["FAKE_DOCKER"])
STAND_IN = Path(__file__).with_name("stand_in.py")
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+):\?(?P<why>[^}]*)\})")


def main() -> None:
    words = sys.argv[1:]
    with (STATE / "calls.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\n")
    match words:
        case ["compose", "version", "--short"]:
            if (STATE / "no-compose").exists():
                fail("docker: 'compose' is not a docker command.", 1)
            print("2.26.1")
        case ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]:
            is_here = not (STATE / "elsewhere").exists()
            print("unix:///var/run/docker.sock" if is_here else "ssh://me@h.example")
        case ["info", "--format", "{{json .}}"]:
            print(json.dumps(info()))
        case ["ps", *rest]:
            need_daemon()
            listed(rest)
        case ["inspect", "--type", "container", "--format", template, *ids]:
            need_daemon()
            inspected(template, ids)
        case ["compose", *rest]:
            need_daemon()
            compose(rest)
        case _:
            fail(f"unknown command: {words}", 125)


def info() -> dict[str, Any]:
    if (STATE / "down").exists():  # as the real one, which ends with 0
        said = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
        return {"NCPU": 0, "MemTotal": 0, "ServerErrors": [said]}
    return {"NCPU": 2, "MemTotal": 8 << 30}


def need_daemon() -> None:
    if (STATE / "down").exists():
        fail("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", 1)


# -- docker ps ----------------------------------------------------------------------


def listed(words: list[str]) -> None:
    parser = Strict("ps")
    parser.add_argument("--all", action="store_true", required=True)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--no-trunc", action="store_true")
    parser.add_argument("--filter", required=True)
    parser.add_argument("--format")
    given = parser.parse_args(words)
    kind, key, value = re.fullmatch(r"(\w+)=([^=]+)=(.*)", given.filter, re.DOTALL).groups()  # type: ignore[union-attr]
    assert kind == "label"
    for each in load("containers"):
        if each["labels"].get(key) != value:
            continue
        if given.quiet:
            print(each["name"])
        else:
            print(formatted(given.format, each))


def formatted(template: str, container: dict[str, Any]) -> str:
    labels = container["labels"]
    line = re.sub(r'\{\{\.Label "([^"]+)"\}\}', lambda found: labels.get(found[1], ""), template)
    return line.replace("{{.Names}}", container["name"])


def inspected(template: str, ids: list[str]) -> None:
    words = '{{.RestartCount}} {{index .Config.Labels "com.docker.compose.service"}}'
    if template != words:
        fail(f"unknown template: {template}", 125)
    looks = load("looks")
    save("looks", [*looks, 1])
    path = STATE / "restarts"
    for each in load("containers"):
        if id_of(each) in ids:
            is_again = path.exists() and path.read_text() == service_of(each)
            print(len(looks) if is_again else 0, service_of(each))


# -- docker compose -----------------------------------------------------------------


def compose(words: list[str]) -> None:
    parser = Strict("compose")
    parser.add_argument("--project-name", required=True)
    parser.add_argument("--ansi", choices=["never"])
    parser.add_argument("--env-file", choices=["/dev/null"])
    parser.add_argument("--file", type=Path)
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=Strict)
    up = verbs.add_parser("up", allow_abbrev=False)
    up.add_argument("--detach", action="store_true", required=True)
    up.add_argument("--quiet-pull", action="store_true")
    ps = verbs.add_parser("ps", allow_abbrev=False)
    ps.add_argument("--all", action="store_true", required=True)
    ps.add_argument("--format", choices=["json"], required=True)
    logs = verbs.add_parser("logs", allow_abbrev=False)
    logs.add_argument("--no-color", action="store_true", required=True)
    logs.add_argument("--tail", type=int, required=True)
    logs.add_argument("--follow", action="store_true")
    logs.add_argument("service", nargs="?")
    stop = verbs.add_parser("stop", allow_abbrev=False)
    stop.add_argument("--timeout", type=int, required=True)
    rm = verbs.add_parser("rm", allow_abbrev=False)
    rm.add_argument("--force", action="store_true", required=True)
    rm.add_argument("--volumes", action="store_true", required=True)
    down = verbs.add_parser("down", allow_abbrev=False)
    down.add_argument("--remove-orphans", action="store_true")
    down.add_argument("--timeout", type=int, required=True)
    given = parser.parse_args(words)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", given.project_name):
        fail(f"invalid project name {given.project_name!r}", 14)
    if (STATE / "hang").exists() and (STATE / "hang").read_text() == given.verb:
        time.sleep(3600)
    VERBS[given.verb](given)


def up(given: argparse.Namespace) -> None:
    read = yaml.safe_load(given.file.read_text())
    services = resolved(read["services"])
    save("networks", [*load("networks"), f"{given.project_name}_default"])
    volumes = [each.get("name") or name for name, each in read.get("volumes", {}).items()]
    save("volumes", sorted({*load("volumes"), *volumes}))
    ports: dict[str, int] = {}
    for name in sorted(services, key=lambda name: len(services[name].get("depends_on", ()))):
        start(given.project_name, name, services[name], ports)
        if (STATE / "die").exists() and (STATE / "die").read_text() == "up":
            os.killpg(0, signal.SIGKILL)


def start(project: str, name: str, service: dict[str, Any], ports: dict[str, int]) -> None:
    environment = service["environment"]
    container = int(environment.get("AKASH_LLM_PORT", 11434))
    published = service.get("ports", [])
    if published:
        host, outside, inside = published[0].split(":")
        assert (host, int(inside), len(published)) == ("127.0.0.1", container, 1)
        port = int(outside)
        if take("port-taken"):
            save("networks", [n for n in load("networks") if n != f"{project}_default"])
            fail(f"listen tcp4 127.0.0.1:{port}: bind: address already in use", 1)
    else:
        port = int(os.environ["FAKE_DOCKER_ENGINE_PORT"])
    ports[name] = port
    tag = service["image"].rpartition(":")[2]
    argv = [sys.executable, str(STAND_IN), tag]
    if tag == "engine":
        argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    environment |= {"AKASH_LLM_HOST": "127.0.0.1", "AKASH_LLM_PORT": str(port)}
    if "AKASH_LLM_UPSTREAM" in environment:
        (engine,) = [other for other in ports if other != name]
        environment["AKASH_LLM_UPSTREAM"] = f"http://127.0.0.1:{ports[engine]}"
    log = STATE / f"{project}-{name}.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            argv,
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    mine = {"com.docker.compose.project": project, "com.docker.compose.service": name}
    made = {
        "name": f"{project}-{name}-1",
        "labels": {**service.get("labels", {}), **mine},
        "pid": process.pid,
        "log": str(log),
    }
    save("containers", [*load("containers"), made])


def ps(given: argparse.Namespace) -> None:
    for each in of_project(given):
        running = is_running(each["pid"])
        state = "running" if running else "restarting"
        row = {
            "Service": each["labels"]["com.docker.compose.service"],
            "State": state,
            "ExitCode": 0 if running else 3,
            "Name": each["name"],
            "ID": id_of(each),
        }
        print(json.dumps(row))


def logs(given: argparse.Namespace) -> None:
    found = [each for each in of_project(given) if given.service in (None, service_of(each))]
    seen = {}
    for each in found:
        lines = Path(each["log"]).read_text(errors="replace").splitlines()
        seen[each["name"]] = len(lines)
        show(each, lines[-given.tail :] if given.tail else [])
    while given.follow and any(is_running(each["pid"]) for each in found):
        time.sleep(0.02)
        for each in found:
            lines = Path(each["log"]).read_text(errors="replace").splitlines()
            show(each, lines[seen[each["name"]] :])
            seen[each["name"]] = len(lines)


def show(container: dict[str, Any], lines: list[str]) -> None:
    for line in lines:
        print(f"{service_of(container)}-1  | {line}", flush=True)


def stop(given: argparse.Namespace) -> None:
    for each in of_project(given):
        end(each["pid"], given.timeout)


def rm(given: argparse.Namespace) -> None:
    stopped = [each for each in of_project(given) if not is_running(each["pid"])]
    save("containers", [each for each in load("containers") if each not in stopped])


def down(given: argparse.Namespace) -> None:
    stop(given)
    rm(given)
    network = f"{given.project_name}_default"
    save("networks", [name for name in load("networks") if name != network])


VERBS = {"up": up, "ps": ps, "logs": logs, "stop": stop, "rm": rm, "down": down}


# -- what they share ----------------------------------------------------------------


class Strict(argparse.ArgumentParser):
    """A parser that takes no word it was not told of."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, add_help=False, **{"allow_abbrev": False, **more})

    def error(self, message: str) -> NoReturn:
        fail(message, 125)


def resolved(value: Any) -> Any:
    """With the variables of the environment in their places."""
    if isinstance(value, dict):
        return {key: resolved(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner) for inner in value]
    return _VARIABLE.sub(_value, value) if isinstance(value, str) else value


def _value(found: re.Match[str]) -> str:
    if found[0] == "$$":
        return "$"
    if not os.environ.get(found["name"]):
        fail(f"required variable {found['name']} is missing a value: {found['why']}", 1)
    return os.environ[found["name"]]


def of_project(given: argparse.Namespace) -> list[dict[str, Any]]:
    return [
        each
        for each in load("containers")
        if each["labels"]["com.docker.compose.project"] == given.project_name
    ]


def service_of(container: dict[str, Any]) -> str:
    return str(container["labels"]["com.docker.compose.service"])


def id_of(container: dict[str, Any]) -> str:
    return hashlib.sha256(container["name"].encode()).hexdigest()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def end(pid: int, grace_s: int) -> None:
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10)):
        if not is_running(pid):
            return
        os.killpg(pid, number)
        deadline = time.monotonic() + wait_s
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.02)


def take(fault: str) -> bool:
    """Whether the fault happens once more."""
    path = STATE / fault
    left = int(path.read_text()) if path.exists() else 0
    if left:
        path.write_text(str(left - 1))
    return left > 0


def load(name: str) -> list[Any]:
    path = STATE / f"{name}.json"
    found: list[Any] = json.loads(path.read_text()) if path.exists() else []
    return found


def save(name: str, rows: list[Any]) -> None:
    made = STATE / f"{name}.json.new"
    made.write_text(json.dumps(rows))
    made.replace(STATE / f"{name}.json")


def fail(text: str, code: int) -> NoReturn:
    says = STATE / "says"
    print(says.read_text() if says.exists() else "", text, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
