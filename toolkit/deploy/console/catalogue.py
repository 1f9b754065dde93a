"""The calls about the market, which need no key and are asked without one."""

from collections.abc import Sequence

from toolkit.deploy.console.calls import SCREEN, checked_id, get
from toolkit.deploy.console.market import (
    GpuPrices,
    PlacementOptions,
    Provider,
    Screened,
    Screening,
)
from toolkit.deploy.console.wire import Wire


class Catalogue:
    """What there is to rent, as one Console knows it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def providers(self, addresses: Sequence[str] = ()) -> tuple[Provider, ...]:
        """All providers, or those; also those that are offline."""
        params = {"addresses": ",".join(map(checked_id, addresses))} if addresses else {}
        call = get("/v1/providers", is_keyed=False)
        return await self._wire.send(call, tuple[Provider, ...], params=params)

    async def provider(self, address: str) -> Provider:
        """One provider. `RequestRefused` 404 if unknown."""
        call = get(f"/v1/providers/{checked_id(address)}", is_keyed=False)
        return await self._wire.send(call, Provider)

    async def gpu_prices(self) -> GpuPrices:
        """What GPUs cost lately, per GPU and hour."""
        return await self._wire.send(get("/v1/gpu-prices", is_keyed=False), GpuPrices)

    async def placement_options(self) -> PlacementOptions:
        """What is free now. Not on an older Console."""
        call = get("/v1/placement-options", is_keyed=False)
        return await self._wire.send(call, PlacementOptions)

    async def screen(self, question: Screening) -> Screened:
        """Who could take an order now. Changes nothing."""
        return await self._wire.send(SCREEN, Screened, body=question)
