"""The provider's gateway of an order: where its logs, events and status are."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from toolkit.deploy.akash.orders import Order
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.provider.chain import CHAIN_URL, Chain
from toolkit.deploy.provider.gateway import Gateway, Lease
from toolkit.deploy.provider.messages import Event
from toolkit.deploy.provider.stream import Patience
from toolkit.deploy.provider.token import Scope, Token
from toolkit.errors import UsageError

# Long enough to follow logs for a while; renewed before it ends.
TOKEN_TTL_S = 900
# Another node of the chain's REST API, where the Console's own is not reached.
CHAIN_VARIABLE = "AKASH_LLM_CHAIN"


@asynccontextmanager
async def gateway_of(
    console: ConsoleClient, order: Order, patience: Patience | None = None
) -> AsyncIterator[Gateway]:
    """The client of the provider that has the order. `UsageError` without a lease."""
    if order.provider is None or order.dseq is None:
        raise UsageError("there is no lease yet", hint="See how far it is: akash-llm status")
    provider = await console.market.provider(order.provider)

    async def token(scopes: frozenset[Scope]) -> Token:
        made = await console.access_token(TOKEN_TTL_S, sorted(scopes))
        return Token(made.token, time.time() + TOKEN_TTL_S)

    chain = Chain(os.environ.get(CHAIN_VARIABLE, "").strip() or CHAIN_URL)
    lease = Lease(
        provider=order.provider, host_uri=provider.host_uri, dseq=int(order.dseq), gseq=1, oseq=1
    )
    try:
        yield Gateway(lease, token=token, published=chain.published, patience=patience)
    finally:
        await chain.aclose()


async def events_of(console: ConsoleClient, order: Order) -> AsyncIterator[Event]:
    """What Kubernetes says about the lease, as it happens."""
    async with gateway_of(console, order) as gateway, aclosing(gateway.events(follow=True)) as told:
        async for event in told:
            yield event
