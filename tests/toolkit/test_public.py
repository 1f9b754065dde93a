"""What `import toolkit` offers: few names, each of them there, none of them slow."""

import subprocess
import sys

import toolkit
from toolkit.deploy.lifecycle import Deployment


def test_there_are_few_names_and_all_are_there() -> None:
    assert len(toolkit.__all__) <= 15
    assert [name for name in toolkit.__all__ if getattr(toolkit, name, None) is None] == []
    assert set(toolkit.__all__) <= set(dir(toolkit))


def test_the_package_is_also_the_function() -> None:
    deploy = vars(toolkit)["deploy"]
    assert isinstance(deploy("smollm2:135m"), Deployment)


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, toolkit; sys.exit(len([m for m in sys.modules if m[:8] == 'toolkit.']))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
