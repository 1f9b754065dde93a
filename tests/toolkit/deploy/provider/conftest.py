"""A gateway with the provider's own certificate, listed on a chain, and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certificates import KeyPair, authority, self_signed, signed_by
from tests.support.chain_api import ChainApi
from tests.support.provider_gateway import HOST, ProviderGateway
from tests.support.provider_tokens import Issuer
from toolkit.deploy.provider.chain import Chain
from toolkit.deploy.provider.gateway import Gateway, Lease
from toolkit.deploy.provider.stream import Patience, Tell
from toolkit.deploy.provider.token import TokenSource

PROVIDER = "akash1" + "p" * 38
SERIAL = 7

# No pause, and never quiet by chance on a busy machine.
EAGER = Patience(first_s=0, most_s=0, attempts=4, quiet_s=60, settle_s=60)


class Certificates(NamedTuple):
    """Made once; `folder` has room for more."""

    folder: Path
    authority: KeyPair
    web: KeyPair
    own: KeyPair


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    root = authority(folder)
    own = self_signed(folder, PROVIDER, serial=SERIAL)
    return Certificates(folder, root, signed_by(root, folder, HOST), own)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def chain(certificates: Certificates) -> AsyncIterator[ChainApi]:
    async with ChainApi().serve() as api:
        api.publish(PROVIDER, SERIAL, certificates.own)
        yield api


@pytest.fixture
async def provider(certificates: Certificates, issuer: Issuer) -> AsyncIterator[ProviderGateway]:
    async with ProviderGateway(certificates.own, issuer).serve() as gateway:
        yield gateway


class MakeGateway:
    """Makes clients of the provider's gateway."""

    def __init__(self, provider: ProviderGateway, published: Chain) -> None:
        self._provider = provider
        self._published = published

    def __call__(
        self,
        *,
        token: TokenSource | None = None,
        dseq: int = 1234,
        margin_s: float = 30,
        patience: Patience = EAGER,
        tell: Tell | None = None,
    ) -> Gateway:
        return Gateway(
            Lease(provider=PROVIDER, host_uri=self._provider.uri, dseq=dseq),
            token=token or self._provider.issuer.token,
            published=self._published.published,
            margin_s=margin_s,
            patience=patience,
            tell=tell,
        )


@pytest.fixture
async def make_gateway(provider: ProviderGateway, chain: ChainApi) -> AsyncIterator[MakeGateway]:
    published = Chain(chain.url)
    yield MakeGateway(provider, published)
    await published.aclose()


@pytest.fixture
def gateway(make_gateway: MakeGateway) -> Gateway:
    return make_gateway()
