"""Many simulated deployments with random faults, kills and dying providers in one account."""

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from unittest import mock

import msgspec
import stamina

from tests.support.console import renting
from tests.support.console.chaos import CALLS, KINDS, Chaos, Kill, fault
from tests.support.console.states import Generation
from toolkit import paths
from toolkit.deploy.console.amounts import UACT_PER_USD

NAMES = ("one", "two", "three")
MOST_FAULTS = 4
DOCTOR_EVERY = 5


class Settled(msgspec.Struct, frozen=True):
    """How it ended: the deployments that the account ever had, what they cost by the books and by
    the account in US dollars, and what became of the steps."""

    deployments: int
    spent_usd: Decimal
    paid_usd: Decimal
    outcomes: Counter[str]


def rented(
    wanted: int, seed: int, *, generation: Generation = Generation.NEWER, say: Callable[[str], None]
) -> Settled:
    """Go on until the account has had so many deployments. `AssertionError` for the first thing
    that is wrong."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        home = {paths.HOME_VARIABLE: str(Path(folder) / "home")}
        with (
            mock.patch.dict(os.environ, home),
            stamina.set_testing(True, attempts=2),
            Chaos(Path(folder), generation) as chaos,
        ):
            number = 0
            while len(chaos.world.deployments) < wanted:
                number += 1
                _step(chaos, dice, number)
                if number % 100 == 0:
                    say(f"{len(chaos.world.deployments)} deployments after {number} steps")
            chaos.settle()
            return _summary(chaos)


def _step(chaos: Chaos, dice: random.Random, number: int) -> None:
    """A few faults, something that a person does, and time that goes by."""
    world = chaos.world
    for _ in range(dice.randrange(MOST_FAULTS)):
        made = fault(dice.choice(CALLS), dice.choice(KINDS), after=dice.random() < 0.5)
        chaos.server.script.add(made)
    for moods, share in ((world.silent, 0.1), (world.deaf, 0.1), (world.crashing, 0.05)):
        moods.clear()
        moods |= {host for host in world.hosts if dice.random() < share}
    kill = None
    if dice.random() < 0.3:
        kill = Kill(dice.randint(1, 25), dice.random() < 0.5, dice.random() < 0.5)
    name = dice.choice(NAMES)
    if number % DOCTOR_EVERY == 0:
        chaos.doctor(kill=kill)
    elif dice.random() < 0.6:
        chaos.deploy(name, image=dice.randint(1, 2), cpu=dice.choice((2, 4)), kill=kill)
    else:
        chaos.close(name, kill=kill)
    chaos.server.script.clear()
    if dice.random() < 0.2:
        active = [each for each in world.deployments.values() if each.active_leases]
        if active:
            world.lose_lease(dice.choice(active).dseq)
    world.advance(dice.randrange(200))


def _summary(chaos: Chaos) -> Settled:
    orders = renting.orders(chaos.keeper).all()
    spent = sum((order.spent or Decimal(0) for order in orders), Decimal(0))
    paid = sum((each.purse.paid for each in chaos.world.deployments.values()), Decimal(0))
    return Settled(
        len(chaos.world.deployments), spent / UACT_PER_USD, paid / UACT_PER_USD, chaos.outcomes
    )
