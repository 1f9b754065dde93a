"""What the panel asks of an endpoint besides replies: price, models, whether one sees."""

from toolkit.client import Endpoint
from toolkit.errors import ToolkitError
from toolkit.safetext import cleaned


class EndpointFacts:
    """Facts of `endpoint`; `usd_per_hour` is the price as last known, None where there is none.

    A price that is given counts, whatever the books say.
    """

    def __init__(self, endpoint: Endpoint, given_usd_per_hour: float | None = None) -> None:
        self._endpoint = endpoint
        self._given = given_usd_per_hour
        self.usd_per_hour = given_usd_per_hour

    async def price(self) -> float | None:
        """US dollars an hour as they are now: a lease may have been replaced by another."""
        if self._given is None:
            try:
                usd = await self._endpoint.usd_per_hour()
            except ToolkitError:
                return self.usd_per_hour
            self.usd_per_hour = None if usd is None else float(usd)
        return self.usd_per_hour

    async def models(self) -> list[str]:
        """The names of its models, newest first."""
        names = [cleaned(str(model.get("name", ""))) for model in await self._endpoint.tags()]
        return [name for name in names if name]

    async def can_see(self, model: str) -> bool:
        """Whether a model takes pictures; not, where the endpoint does not say."""
        try:
            capabilities = (await self._endpoint.show(model)).get("capabilities")
        except ToolkitError:
            return False
        return isinstance(capabilities, list) and "vision" in capabilities
