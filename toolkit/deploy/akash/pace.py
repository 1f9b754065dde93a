"""How often is asked, and how long is waited: one struct, so that tests can be quick."""

import os

import msgspec

from toolkit.errors import ConfigError

VARIABLE = "AKASH_LLM_PACE"


class Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds, but where it says otherwise. Sources: the clocks of the Console and of the
    providers; the Console asks for 3 s between two looks at bids."""

    bid_poll_s: float = 4.0
    first_bid_s: float = 120.0  # mostly within a minute
    more_bids_s: float = 15.0  # from the first that will do
    enough_bids: int = 3
    status_poll_s: float = 5.0
    services_s: float = 1200.0  # an image of some gigabytes
    blind_s: float = 300.0  # the Console may fail so long before a lease is lost from view
    lease_tries: int = 3
    settle_poll_s: float = 3.0
    settle_s: float = 90.0  # for a deployment whose answer was lost to turn up
    never_after_s: float = 720.0  # the Console closes what nobody leased after ten minutes
    close_tries: int = 8
    attempts: int = 3

    @classmethod
    def of_environment(cls) -> "Pace":
        """The usual pace, changed by the fields that `AKASH_LLM_PACE` has as a JSON object:
        for a Console or a network that is slower, or quicker, than Akash's."""
        text = os.environ.get(VARIABLE, "").strip()
        try:
            return msgspec.json.decode(text or "{}", type=cls)
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{VARIABLE} is not an object of its fields: {error}",
                hint=f"For example: {VARIABLE}='{{\"first_bid_s\": 300}}'",
            ) from None
