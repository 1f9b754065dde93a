"""The first program of a container: gives the server its folders, and stops being root.

Providers mount volumes that belong to root, and an SDL cannot name another user. So the
container starts as root, and the server runs without. Started as anybody else, as
`docker run --user` does, it changes nothing.
"""

import os
import sys
from pathlib import Path

USER_ID = 10001
FOLDERS = ("AKASH_LLM_MODELS", "AKASH_LLM_STATE")


def main() -> None:
    """Become the server, with these arguments."""
    if os.geteuid() == 0:
        for variable in FOLDERS:
            hand_over(os.environ[variable])
        stop_being_root()
    os.execv(sys.executable, [sys.executable, "-m", "server", *sys.argv[1:]])


def hand_over(folder: str) -> None:
    """Make the folder, which may be one inside a volume, and all in it the server's, unless it
    is already. One that is mounted to be read stays as it is."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        # Asked of a link itself: what the server has put there does not get it what it leads to.
        if Path(folder).lstat().st_uid == USER_ID:
            return
        for _, folders, files, inside in os.fwalk(folder):
            for name in (*folders, *files):
                os.chown(name, USER_ID, USER_ID, dir_fd=inside, follow_symlinks=False)
        os.chown(folder, USER_ID, USER_ID)  # the last: who is interrupted begins anew
    except OSError as error:
        sys.stderr.write(f"{folder} stays as it is: {error.strerror}\n")


def stop_being_root() -> None:
    """For good, and for all children. Ends the program if that is not allowed."""
    try:
        os.setgroups([])
        os.setgid(USER_ID)
        os.setuid(USER_ID)
    except OSError as error:
        sys.exit(
            f"error: cannot stop being root: {error.strerror}. "
            f"Start the container as the user {USER_ID}:{USER_ID}"
        )
    os.environ["HOME"] = os.environ[FOLDERS[-1]]


if __name__ == "__main__":
    main()
