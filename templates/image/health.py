"""Whether the server of this container answers: exit code 0 or 1. Needs no curl."""

import http.client
import os
import sys

TIMEOUT_S = 4
HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    """Ask /health/live, which needs no key and answers while models still load."""
    host = os.environ["AKASH_LLM_HOST"]
    port = int(os.environ["AKASH_LLM_PORT"])
    connection = http.client.HTTPConnection(HOSTS.get(host, host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer: {error}\n")
        return 1
    finally:
        connection.close()
    return 0 if status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
