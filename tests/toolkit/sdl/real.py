"""SDL files to work with: our own, and the network's test data where it lies beside the project."""

from pathlib import Path

from toolkit.sdl import validate

OWN = Path(__file__).parents[2] / "data" / "sdl"
REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "sdl" / "inputs"

FILES = sorted(OWN.rglob("*.yaml")) + sorted(REFERENCE.glob("*.yaml"))
VALID = [file for file in FILES if validate(file.read_bytes()).hash is not None]
SMALLEST = OWN / "agreed" / "smallest.yaml"
