"""What is known of an endpoint that is measured, besides what it says."""

from toolkit.client import Endpoint
from toolkit.lease_facts import facts_of


async def test_an_endpoint_of_nobodys_is_here_or_anywhere() -> None:
    async with Endpoint.open(url="http://127.0.0.1:9", name="unknown") as here:
        facts = await facts_of(here)
    assert "cores" in facts.hardware and facts.usd_per_hour is None
    async with Endpoint.open(url="https://203.0.113.7") as there:
        assert (await facts_of(there)).hardware == ""
