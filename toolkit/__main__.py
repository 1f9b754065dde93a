"""`python -m toolkit` and the `akash-llm` command."""

from toolkit.cli import main

if __name__ == "__main__":
    main()
