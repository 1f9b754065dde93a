"""stub"""

from toolkit.deploy.base import Intent, Plan
from toolkit.deploy.console.client import ConsoleClient


async def planned(intent: Intent, console: ConsoleClient) -> Plan:
    raise NotImplementedError
