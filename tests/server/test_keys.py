"""Keys and what is kept of them."""

import hashlib
import stat
from pathlib import Path

import pytest

from server.keys import (
    KeyDigest,
    KeyRing,
    Scope,
    digest,
    generate_key,
    read_key_file,
    write_key_file,
)

SHA = "a" * 64


def test_keys_are_long_different_and_safe_in_urls_and_headers() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith("ak-")
        assert len(key) >= 3 + 43  # 256 bits
        assert key.isascii()
        assert key.replace("-", "").replace("_", "").isalnum()


def test_digest_is_plain_sha256() -> None:
    assert digest("ak-x") == hashlib.sha256(b"ak-x").hexdigest()


def test_ring_finds_the_key_it_knows_and_no_other() -> None:
    keys = {name: generate_key() for name in ("me", "you")}
    ring = KeyRing(KeyDigest(name, Scope.READ, digest(key)) for name, key in keys.items())
    for name, key in keys.items():
        found = ring.find(key)
        assert found is not None
        assert found.name == name
    for guess in (
        "",
        "ak-",
        keys["me"] + "x",
        keys["me"].upper(),
        digest(keys["me"]),
        "é",
        "\ud800",
    ):
        assert ring.find(guess) is None


def test_ring_goes_through_its_text() -> None:
    text = f"me:inference:{SHA},ops:admin:{'b' * 64}"
    ring = KeyRing.from_text(text)
    assert [(key.name, key.scope) for key in ring.keys] == [
        ("me", Scope.INFERENCE),
        ("ops", Scope.ADMIN),
    ]
    assert ring.to_text() == text
    assert ring


def test_spaces_and_empty_entries_and_upper_case_do_not_matter() -> None:
    ring = KeyRing.from_text(f" me:read:{SHA.upper()} ,, ")
    assert ring.to_text() == f"me:read:{SHA}"


@pytest.mark.parametrize("text", ["", " ", ","])
def test_no_keys(text: str) -> None:
    ring = KeyRing.from_text(text)
    assert not ring
    assert ring.find("") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("me", "entry 1: expected name:scope:sha256hex, got 1 field"),
        (f"me:inference:{SHA}:x", "got 4 field"),
        (f"me:{SHA}", "got 2 field"),
        (f":read:{SHA}", "a name is made of"),
        (f"a b:read:{SHA}", "a name is made of"),
        (f"me:root:{SHA}", "one of inference, read, admin"),
        ("me:read:abc", "64 hex digits"),
        (f"me:read:{SHA}0", "64 hex digits"),
        (f"me:read:{SHA},me:admin:{SHA}", "'me' is used twice"),
    ],
)
def test_entry_that_is_wrong_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        KeyRing.from_text(text)


def test_all_wrong_entries_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="entry 1") as caught:
        KeyRing.from_text(f"x,me:read:{SHA},you:what:{SHA}")
    assert "entry 3 (you)" in str(caught.value)


def test_a_key_in_the_place_of_its_digest_is_never_repeated() -> None:
    key = generate_key()
    with pytest.raises(ValueError, match="SHA-256") as caught:
        KeyRing.from_text(f"me:read:{key}")
    assert key not in str(caught.value)


def test_ring_shows_names_only() -> None:
    assert repr(KeyRing.from_text(f"me:read:{SHA}")) == "KeyRing(['me'])"


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        (Scope.READ, {Scope.READ}),
        (Scope.INFERENCE, {Scope.READ, Scope.INFERENCE}),
        (Scope.ADMIN, {Scope.READ, Scope.INFERENCE, Scope.ADMIN}),
    ],
)
def test_scopes_include_the_smaller_ones(scope: Scope, allowed: set[Scope]) -> None:
    assert {needed for needed in Scope if scope.allows(needed)} == allowed


def test_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "api.key"
    write_key_file(path, "ak-1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == "ak-1"
    path.chmod(0o644)
    write_key_file(path, "ak-2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == "ak-2"
    assert [one.name for one in path.parent.iterdir()] == ["api.key"]


@pytest.mark.parametrize("text", ["", "\n", "ak-1\nak-2\n", "two words"])
def test_file_without_one_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "api.key"
    path.write_text(text)
    with pytest.raises(ValueError, match="one key") as caught:
        read_key_file(path)
    assert "ak-1" not in str(caught.value)


def test_key_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "api.key"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_key_file(path, "ak-1")
    assert [one.name for one in tmp_path.iterdir()] == ["api.key"]
