"""What an update takes, by what the chain fixes when a deployment is made."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolkit.sdl.real import OWN, VALID
from toolkit.sdl import Effect, diff, group_specs, manifest, parse
from toolkit.sdl.diff import Diff

FULL = (OWN / "full.yaml").read_text()
LEASED_IP = (OWN / "leased-ip.yaml").read_text()
HTTP = "          max_body_size: 104857600\n"
UPDATES = [
    (":1.4.2", ":1.4.3", "/services/chat/image"),
    ('["/bin/chat"]', '["/bin/chat2"]', "/services/chat/command/0"),
    ("HF_HOME=/data", "HF_HOME=/other", "/services/model/env/HF_HOME"),
    ('- "HF_HOME=/data"', '- "HF_HOME=/data"\n      - "B=1"', "/services/model/env/B"),
    ("password: not-a-real-one", "password: another-one", "/services/chat/credentials/password"),
    ("mount: /data", "mount: /cache", "/services/model/params/storage/data/mount"),
    ("read: [logs]", "read: [logs, events]", "/services/model/params/permissions/read"),
    ("chat.example.com", "talk.example.com", "/services/chat/expose/0/accept/0"),
    (HTTP, "", "/services/model/expose/0/http_options/max_body_size"),
    ("port: 3000", "port: 3001", "/services/chat/expose/0/port"),
    ("          - service: chat\n", "", "/services/model/expose/0/to"),
]
GPU = "/profiles/compute/model/resources/gpu/attributes/vendor/nvidia/1/model"
NEW_LEASES = [
    ("units: 8", "units: 9", "/profiles/compute/model/resources/cpu/units"),
    ("size: 512Mi", "size: 1Gi", "/profiles/compute/chat/resources/memory/size"),
    ("size: 100Gi", "size: 200Gi", "/profiles/compute/model/resources/storage/2/size"),
    ("model: h100", "model: h200", GPU),
    ("amount: 1000\n", "amount: 2000\n", "/profiles/placement/akash/pricing/chat/amount"),
    ("region: us-west", "region: eu", "/profiles/placement/akash/attributes/region"),
    ("count: 2", "count: 3", "/deployment/chat/akash/count"),
    (
        "        as: 80\n        proto",
        "        as: 81\n        proto",
        "/services/chat/expose/0/as",
    ),
]


def changed(old: str, new: str, text: str = FULL) -> Diff:
    assert text.count(old) == 1
    return diff(parse(text).sdl, parse(text.replace(old, new)).sdl)


@pytest.mark.parametrize(("old", "new", "path"), UPDATES)
def test_what_only_the_manifest_says_is_an_update(old: str, new: str, path: str) -> None:
    found = changed(old, new)
    assert found.effect is Effect.UPDATE
    assert [(each.path, each.effect) for each in found.changes] == [(path, Effect.UPDATE)]


@pytest.mark.parametrize(("old", "new", "path"), NEW_LEASES)
def test_what_the_chain_holds_needs_a_new_lease(old: str, new: str, path: str) -> None:
    found = changed(old, new)
    assert found.effect is Effect.NEW_LEASE
    assert [(each.path, each.effect) for each in found.changes] == [(path, Effect.NEW_LEASE)]


def test_the_same_in_other_words_is_nothing() -> None:
    found = changed("size: 64Gi", "size: 65536Mi")
    assert found.effect is Effect.NONE
    assert [each.effect for each in found.changes] == [Effect.NONE]


def test_another_name_of_a_profile_is_nothing() -> None:
    renamed = FULL.replace("    model:\n      resources", "    big:\n      resources")
    renamed = renamed.replace("        model:\n          denom", "        big:\n          denom")
    renamed = renamed.replace("profile: model", "profile: big")
    found = diff(parse(FULL).sdl, parse(renamed).sdl)
    assert found.effect is Effect.NONE
    assert {each.effect for each in found.changes} == {Effect.NONE}


def test_an_update_beside_a_new_lease_is_told_from_it() -> None:
    text = FULL.replace("units: 8", "units: 9").replace(":1.4.2", ":1.4.3")
    found = diff(parse(FULL).sdl, parse(text).sdl)
    assert found.effect is Effect.NEW_LEASE
    assert {each.path.rpartition("/")[2]: each.effect for each in found.changes} == {
        "image": Effect.UPDATE,
        "units": Effect.NEW_LEASE,
    }


def test_the_order_of_variables_is_an_update() -> None:
    two = FULL.replace('- "HF_HOME=/data"', '- "HF_HOME=/data"\n      - "B=1"')
    swapped = FULL.replace('- "HF_HOME=/data"', '- "B=1"\n      - "HF_HOME=/data"')
    found = diff(parse(two).sdl, parse(swapped).sdl)
    assert found.effect is Effect.UPDATE
    assert [each.path for each in found.changes] == ["/services/model/env"]


def test_reclamation_is_agreed_on_with_the_lease() -> None:
    found = changed("min_window: 24h", "min_window: 48h", LEASED_IP)
    assert found.effect is Effect.NEW_LEASE
    assert [each.path for each in found.changes] == ["/reclamation/min_window"]


def test_values_are_shown_and_secrets_are_not() -> None:
    (shown,) = changed("units: 8", "units: 9").changes
    assert (shown.old, shown.new) == ("8", "9")
    for old, new, _ in UPDATES:
        if "/data" in old or "password" in old or "/bin" in old:
            (hidden,) = changed(old, new).changes[:1]
            assert (hidden.old, hidden.new) in {("", ""), ('"/data"', '"/cache"')}
    added = FULL.replace("services:\n", "services:\n  new:\n    image: a:1\n    env: [S=secret]\n")
    added = added.replace(
        "deployment:\n", "deployment:\n  new: {akash: {profile: chat, count: 1}}\n"
    )
    found = diff(parse(FULL).sdl, parse(added).sdl)
    assert "secret" not in str(found)
    assert any(each.path == "/services/new" and each.new for each in found.changes)


@pytest.mark.parametrize("file", VALID, ids=lambda file: str(file.stem))
def test_a_file_does_not_differ_from_itself(file: Path) -> None:
    sdl = parse(file.read_bytes()).sdl
    assert diff(sdl, sdl) == Diff(Effect.NONE, ())


@given(st.sampled_from(VALID), st.sampled_from(VALID))
def test_the_whole_takes_what_its_parts_take(first: Path, second: Path) -> None:
    old, new = parse(first.read_bytes()).sdl, parse(second.read_bytes()).sdl
    found = diff(old, new)
    effects = list(Effect)
    most = max((effects.index(each.effect) for each in found.changes), default=0)
    assert effects[most] is found.effect
    is_same_group = group_specs(old) == group_specs(new) and old.min_window == new.min_window
    assert (found.effect is Effect.NEW_LEASE) == (not is_same_group)
    assert (found.effect is Effect.NONE) == (is_same_group and manifest(old) == manifest(new))
