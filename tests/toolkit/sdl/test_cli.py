"""`akash-llm sdl …` as a person runs it."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.keys import KeyRing

DATA = Path(__file__).parents[2] / "data" / "sdl"
FULL = DATA / "full.yaml"
KEYS = f"me:inference:{'a' * 64}"
IMAGE = ("--image", "ghcr.io/me/akash-llm-server:1")


def run(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
    """The exit code, standard output and standard error of one command."""
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "sdl", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def rows(text: str) -> list[Any]:
    """Each line as JSON."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A file with one problem of each level."""
    text = FULL.read_text().replace("size: 64Gi", "size: 64 Gi").replace(":1.4.2", "")
    file = tmp_path / "broken.yaml"
    file.write_text(text.replace("amount: 1000\n", "amount: 0\n"))
    return file


def test_a_good_file_is_said_to_be_ok() -> None:
    assert run("validate", FULL) == (0, f"{FULL}: ok\n", "")


@pytest.mark.goal(9)
def test_problems_read_like_a_compilers(broken: Path) -> None:
    code, out, err = run("validate", broken)
    assert (code, out) == (3, "")
    lines = broken.read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "64 Gi" in text)
    assert err.splitlines()[:4] == [
        f"{broken}:{line}:17: invalid: `64 Gi` is no size: a number and a unit, without a space",
        "  |           size: 64 Gi",
        "  |                 ^",
        '  = write for example "512Mi" or "10Gi"',
    ]
    assert [text.split(": ")[1] for text in err.splitlines() if text.startswith(str(broken))] == [
        "invalid",
        "rejected",
        "warning",
    ]


@pytest.mark.goal(9)
def test_json_is_one_object_per_file(broken: Path, tmp_path: Path) -> None:
    code, out, err = run("validate", "--json", FULL, broken, tmp_path / "none.yaml")
    good, bad, missing = rows(out)
    assert (code, err) == (3, "")
    assert good["file"] == str(FULL)
    assert good["ok"] is True
    assert len(good["hash"]) == 64
    assert good["problems"] == []
    assert bad["ok"] is False
    assert "hash" not in bad
    assert set(bad["problems"][0]) == {"level", "path", "line", "column", "message", "hint"}
    assert [each["level"] for each in bad["problems"]] == ["invalid", "rejected", "warning"]
    assert missing["problems"][0]["message"] == "no such file or directory"


def test_standard_input_is_a_file() -> None:
    code, out, _ = run("validate", "-", "--json", stdin=FULL.read_bytes())
    assert code == 0
    assert rows(out)[0]["file"] == "-"


@pytest.mark.parametrize("junk", [b"", b"\xff" * 2_000_000, b"[" * 1_000_000, b"\0\1\2"])
def test_junk_is_one_problem(junk: bytes) -> None:
    code, out, _ = run("validate", "-", "--json", stdin=junk)
    assert code == 3
    assert len(rows(out)[0]["problems"]) == 1


def test_a_secret_line_is_not_repeated() -> None:
    text = FULL.read_text().replace("password: not-a-real-one", "password: [canary]")
    for flag in ((), ("--json",)):
        code, out, err = run("validate", "-", *flag, stdin=text.encode())
        assert code == 3
        assert "canary" not in out + err


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = FULL.read_text().replace("count: 2", 'count: "\x9b31m"')
    _, _, err = run("validate", "-", stdin=text.encode())
    assert "\x9b" not in err


def test_hash_and_manifest_belong_together() -> None:
    _, hashed, _ = run("hash", FULL)
    _, out, _ = run("validate", "--json", FULL)
    _, manifest, _ = run("manifest", FULL)
    assert hashed == f"{rows(out)[0]['hash']}  {FULL}\n"
    assert [each["name"] for each in json.loads(manifest)[0]["services"]] == ["chat", "model"]


def test_what_is_rendered_validates() -> None:
    code, text, _ = run("render", *IMAGE, "--keys", KEYS, "--gpu", 1, "--gpu-model", "a100/80Gi")
    assert code == 0
    _, out, _ = run("validate", "-", "--json", stdin=text.encode())
    assert rows(out)[0]["problems"] == []


def test_rendered_as_json() -> None:
    code, out, _ = run("render", *IMAGE, "--keys", KEYS, "--env", "A=b=c", "--json")
    (row,) = rows(out)
    assert code == 0
    assert row["ok"] is True
    assert '- "A=b=c"' in row["sdl"]


def test_a_key_file_is_made_and_only_its_digest_rendered(tmp_path: Path) -> None:
    file = tmp_path / "api.key"
    code, text, _ = run("render", *IMAGE, "--key-file", file)
    assert code == 0
    key = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in text
    digests = next(line for line in text.splitlines() if "AKASH_LLM_KEYS=" in line)
    assert KeyRing.from_text(digests.partition("=")[2].rstrip('"')).find(key)
    assert run("render", *IMAGE, "--key-file", file)[1] == text


GATEWAY = ("--image", "ghcr.io/me/akash-llm-gateway:1", "--keys", KEYS)
VLLM = (*GATEWAY, "--template", "vllm", "--model", "Qwen/Qwen2.5-0.5B-Instruct", "--gpu", "1")
OLLAMA = (*GATEWAY, "--template", "ollama")


def test_vllm_behind_our_gateway_by_options() -> None:
    code, text, err = run(
        "render",
        *(*VLLM, "--gpu-model", "h100/80Gi", "--count", 2, "--domain", "llm.example.com"),
        *("--engine-image", "ghcr.io/team/vllm-openai:1", "--engine-arg=--dtype=half"),
        *("--engine-registry", "ghcr.io", "team", "ac-secret://team"),
        *("--gateway-cpu", "500m", "--gateway-memory", "768Mi", "--gateway-price", "5"),
        *("--env", "HF_TOKEN=ac-secret://hf_token", "--env", "AKASH_LLM_MAX_QUEUE=9"),
    )
    assert (code, err) == (0, "")
    found = yaml.safe_load(text)
    gateway, engine = found["services"]["gateway"], found["services"]["llm"]
    assert "AKASH_LLM_UPSTREAM=http://llm:8000" in gateway["env"]
    assert "AKASH_LLM_MAX_QUEUE=9" in gateway["env"]
    assert "HF_TOKEN=ac-secret://hf_token" in engine["env"]
    assert engine["image"] == "ghcr.io/team/vllm-openai:1"
    assert engine["credentials"]["username"] == "team" and "credentials" not in gateway
    assert engine["args"][-1] == "--dtype=half"
    small = found["profiles"]["compute"]["gateway"]["resources"]
    assert (small["cpu"]["units"], small["memory"]["size"]) == ("500m", "768Mi")
    assert found["profiles"]["placement"]["akash"]["pricing"]["gateway"]["amount"] == "5"
    assert [found["deployment"][name]["akash"]["count"] for name in ("gateway", "llm")] == [2, 2]
    _, out, _ = run("validate", "-", "--json", stdin=text.encode())
    assert rows(out)[0]["problems"] == []
    _, manifest, _ = run("manifest", "-", stdin=text.encode())
    assert [each["name"] for each in json.loads(manifest)[0]["services"]] == ["gateway", "llm"]


def test_ollama_behind_our_gateway_as_json_and_for_compose() -> None:
    code, out, err = run("render", *OLLAMA, "--json")
    (row,) = rows(out)
    assert (code, err, row["ok"], row["problems"]) == (0, "", True, [])
    assert '- "AKASH_LLM_ENGINE=ollama"' in row["sdl"]
    code, out, err = run("render", *OLLAMA, "--compose", "--json")
    (row,) = rows(out)
    services = yaml.safe_load(row["compose"])["services"]
    assert (code, err, sorted(services)) == (0, "", ["gateway", "llm"])
    assert "ports" in services["gateway"] and "ports" not in services["llm"]


def test_the_inputs_of_a_gateway_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text(
        f"image: {GATEWAY[1]}\nkeys_text: {KEYS}\nmodel: Qwen/Qwen2.5-0.5B-Instruct\ngpu: {{}}\n"
        "gateway_memory: 2Gi\nengine_registry: {host: ghcr.io, username: me, "
        "password: ac-secret://p}\n"
    )
    code, text, err = run("render", "--template", "vllm", file)
    assert (code, err) == (0, "")
    found = yaml.safe_load(text)
    assert found["services"]["llm"]["credentials"]["host"] == "ghcr.io"
    assert found["profiles"]["compute"]["gateway"]["resources"]["memory"]["size"] == "2Gi"


def test_a_difference_between_two_services_and_their_images(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(run("render", *OLLAMA)[1])
    new.write_text(run("render", *OLLAMA, "--engine-image", "ollama/ollama:0.33.3")[1])
    code, out, err = run("diff", old, new)
    assert (code, err) == (0, "")
    assert "can be updated in place" in out and "/services/llm/image" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 3, "there is no server image to deploy"),
        (IMAGE, 3, "needs a key"),
        ((*IMAGE, "--keys", "me"), 2, "the key digests cannot be read"),
        ((*IMAGE, "--keys", KEYS, "--env", "A"), 2, "write --env A=VALUE"),
        ((*IMAGE, "--keys", KEYS, "--gpu-model", "a100"), 2, "add --gpu 1"),
        ((*IMAGE, "--keys", KEYS, "--template", "x"), 2, "is not one of 'llama-cpp'"),
        ((*IMAGE, "--keys", KEYS, "--memory", "2GB"), 2, "write it as 2Gi"),
        ((*IMAGE, "--keys", KEYS, "--context", "many"), 2, "not a valid integer"),
        (("--template", "vllm"), 3, "make image IMAGE=REGISTRY/akash-llm-gateway:VERSION"),
        (("--template", "plain-ollama"), 2, "use the template ollama"),
        ((*VLLM, "--leased-ip"), 2, "use the template plain-vllm"),
        ((*VLLM, "--tee", "cpu-gpu"), 2, "write --tee cpu"),
        ((*OLLAMA, "--count", "2"), 2, "leave --count out"),
        ((*OLLAMA, "--engine-arg=--x"), 2, "write --env OLLAMA_NAME=VALUE"),
        ((*IMAGE, "--keys", KEYS, "--engine-image", "a:1"), 2, "one image only"),
        ((*VLLM, "--engine-registry", "ghcr.io", "me", "canary"), 2, "ac-secret://"),
    ],
)
def test_rendering_refuses_with_the_next_step(
    arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, out, err = run("render", *arguments)
    assert (found, out) == (code, "")
    assert message in err and "canary" not in err


def test_the_templates_there_are_are_listed() -> None:
    code, out, _ = run("render", "--help")
    assert code == 0
    assert "[llama-cpp|ollama|plain-llama-cpp|plain-ollama|plain-vllm|vllm]" in "".join(out.split())


def test_a_difference_says_what_it_takes(tmp_path: Path) -> None:
    update, lease = tmp_path / "update.yaml", tmp_path / "lease.yaml"
    update.write_text(FULL.read_text().replace(":1.4.2", ":1.4.3"))
    lease.write_text(FULL.read_text().replace("units: 8", "units: 16"))
    code, out, err = run("diff", FULL, update, lease, FULL)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{update}: can be updated in place; the containers restart",
        '  update  /services/chat/image  "registry.example.com/team/chat:1.4.2" -> '
        '"registry.example.com/team/chat:1.4.3"',
        f"{lease}: needs a new lease; what its volumes hold is lost with the old one",
        "  new-lease  /profiles/compute/model/resources/cpu/units  8 -> 16",
        f"{FULL}: the same deployment, nothing to do",
    ]


def test_a_difference_as_json(tmp_path: Path, broken: Path) -> None:
    update = tmp_path / "update.yaml"
    update.write_text(FULL.read_text().replace("HF_HOME=/data", "HF_HOME=/secret"))
    code, out, _ = run("diff", "--json", FULL, update, broken)
    good, bad = rows(out)
    assert code == 3
    assert (good["file"], good["ok"], good["effect"]) == (str(update), True, "update")
    assert good["changes"] == [
        {"path": "/services/model/env/HF_HOME", "effect": "update", "old": "", "new": ""}
    ]
    assert not bad["ok"] and "effect" not in bad
    code, out, _ = run("diff", "--json", broken, update)
    assert code == 3
    assert [row["file"] for row in rows(out)] == [str(broken)]


def test_a_formatted_file_is_the_same_deployment() -> None:
    code, out, err = run("format", FULL)
    assert (code, err) == (0, "")
    _, hashed, _ = run("hash", "-", stdin=out.encode())
    assert hashed.split()[0] == rows(run("hash", "--json", FULL)[1])[0]["hash"]


def test_units_can_be_those_of_the_go_tools() -> None:
    shared = DATA / "agreed" / "shared-profile.yaml"
    hashes = {
        units: rows(run("hash", "--json", "--units", units, shared)[1])[0]["hash"]
        for units in ("profile", "service")
    }
    assert hashes["profile"] == rows(run("hash", "--json", shared)[1])[0]["hash"]
    assert hashes["service"] != hashes["profile"]
    (row,) = rows(run("groups", "--json", "--units", "service", shared)[1])
    assert [unit["count"] for unit in row["groups"][0]["resources"]] == [2, 1]
    (row,) = rows(run("manifest", "--json", shared)[1])
    assert [service["name"] for service in row["manifest"][0]["services"]] == ["db", "web"]


def test_inputs_come_from_files_and_options_win(tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text(
        f"image: {IMAGE[1]}\nkeys_text: {KEYS}\nmodel: qwen2.5:7b\ncontext: 4096\n"
        "domains: [llm.example.com]\nstorage: 20Gi\ngpu: {units: 1, models: [{model: h100}]}\n"
    )
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"image": IMAGE[1], "keys_text": KEYS}))
    code, out, err = run("render", "--context", 8192, "--json", file, other)
    assert (code, err) == (0, "")
    first, second = (yaml.safe_load(row["sdl"]) for row in rows(out))
    env = first["services"]["llm"]["env"]
    assert {"AKASH_LLM_PRELOAD=qwen2.5:7b", "AKASH_LLM_CONTEXT=8192"} <= set(env)
    assert first["services"]["llm"]["expose"][0]["accept"] == ["llm.example.com"]
    assert first["profiles"]["compute"]["llm"]["resources"]["gpu"]["units"] == 1
    assert "AKASH_LLM_PRELOAD=smollm2:135m" in second["services"]["llm"]["env"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("modle: x", "no input 'modle'"),
        ("context: many", "context"),
        ("- a", "holds no inputs"),
        ("a: [", "not valid YAML"),
    ],
)
def test_inputs_that_are_none(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text(text)
    code, out, err = run("render", file)
    assert (code, out) == (2, "")
    assert why in err and str(file) in err


def test_the_same_for_compose() -> None:
    code, out, err = run("render", *IMAGE, "--keys", KEYS, "--compose")
    assert (code, err) == (0, "")
    assert yaml.safe_load(out)["services"]["llm"]["image"] == IMAGE[1]


def test_providers_and_private_images_are_said_by_options() -> None:
    access = ("--registry", "ghcr.io", "me", "ac-secret://password")
    where = ("--attribute", "tier=community", "--signed-by", "akash1a", "--signed-by", "akash1b")
    code, out, err = run("render", *IMAGE, "--keys", KEYS, *access, *where)
    assert (code, err) == (0, "")
    made = yaml.safe_load(out)
    credentials = made["services"]["llm"]["credentials"]
    assert credentials["password"] == "ac-secret://password"
    placement = made["profiles"]["placement"]["akash"]
    assert placement["attributes"] == {"tier": "community"}
    assert placement["signedBy"] == {"anyOf": ["akash1a", "akash1b"]}
    code, out, err = run("render", *IMAGE, "--keys", KEYS, *access[:-1], "canary-password")
    assert (code, out) == (2, "")
    assert "ac-secret://" in err and "canary" not in err
