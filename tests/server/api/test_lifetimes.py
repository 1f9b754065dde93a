"""Who says how long a model stays."""

from pathlib import Path

from server.api.lifetimes import IN_USE_S, Lifetimes
from server.caller import Caller
from server.keys import Scope
from server.models.model_files import ModelFiles

MODEL = ModelFiles(Path("a.gguf"))
ANN, BOB = (Caller(name=name, scope=Scope.INFERENCE) for name in ("ann", "bob"))
ADMIN = Caller(name="root", scope=Scope.ADMIN)


def test_who_has_a_model_to_themselves_says_how_long_it_stays() -> None:
    lifetimes = Lifetimes()
    assert lifetimes.may_set(MODEL, ANN)
    lifetimes.used(MODEL, ANN)
    assert lifetimes.may_set(MODEL, ANN)


def test_what_another_key_has_used_lately_is_left_to_administrators() -> None:
    now = [0.0]
    lifetimes = Lifetimes(lambda: now[0])
    lifetimes.used(MODEL, BOB)
    assert not lifetimes.may_set(MODEL, ANN)
    assert lifetimes.may_set(MODEL, ADMIN)
    assert lifetimes.may_set(ModelFiles(Path("b.gguf")), ANN)
    now[0] = IN_USE_S + 1
    assert lifetimes.may_set(MODEL, ANN)


def test_what_the_server_keeps_is_left_to_administrators() -> None:
    lifetimes = Lifetimes()
    lifetimes.keep(MODEL)
    assert not lifetimes.may_set(MODEL, ANN)
    assert lifetimes.may_set(MODEL, ADMIN)
