"""Where a gateway is, by what a provider's record says."""

import pytest

from toolkit.deploy.provider.address import Address
from toolkit.errors import ConfigError


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://p.example:8443", ("p.example", 8443)),
        (" https://p.example/ ", ("p.example", 443)),
        ("https://p.example:443", ("p.example", 443)),
    ],
)
def test_an_address_is_read_as_urls_are(uri: str, address: tuple[str, int]) -> None:
    assert Address.parse(uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        "http://p.example:8443",
        "p.example:8443",
        "https://",
        "https://me@p.example",
        "https://p.example/path",
        "https://p.example?x=1",
        "https://p ex\x1b[0m.example",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Address.parse(uri)
    assert "\x1b" not in str(refused.value)
