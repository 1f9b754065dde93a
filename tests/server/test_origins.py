"""Origin and Host: the rule as a table."""

import pytest

from server.origins import Origins

LOCAL = Origins(["https://*.example.org", "https://one.test"], is_loopback=True)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("http://localhost:3000", True),
        ("https://127.0.0.1:8888", True),
        ("http://0.0.0.0:1", True),
        ("app://x", True),
        ("tauri://localhost", True),
        ("vscode-webview://abc", True),
        ("chrome-extension://abc", True),
        ("https://a.example.org", True),
        ("https://ONE.test", True),
        ("http://same.test:11434", True),
        ("https://example.org", False),
        ("http://evil.test", False),
        ("http://localhost.evil.test", False),
        ("http://evil.test/localhost", False),
        ("http://localhost@evil.test", False),
        ("https://one.test.evil", False),
        ("null", False),
        ("http://[", False),
        ("ftp://localhost", False),
    ],
)
def test_origins(origin: str, allowed: bool) -> None:
    assert LOCAL.allows_origin(origin, "same.test:11434") is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:11434", True),
        ("LOCALHOST", True),
        ("127.0.0.1:11434", True),
        ("[::1]:11434", True),
        ("192.168.1.5", True),
        ("0.0.0.0:1", True),
        ("llm.localhost", True),
        ("host.docker.internal:11434", True),
        ("", True),
        ("evil.test", False),
        ("evil.test:11434", False),
        ("8.8.8.8", False),
        ("localhost.evil.test", False),
        ("127.0.0.1.evil.test", False),
    ],
)
def test_hosts_on_loopback(host: str, allowed: bool) -> None:
    assert LOCAL.allows_host(host) is allowed
    assert Origins([], is_loopback=False).allows_host(host)
