"""`python -m linear_agentics` is the command `lar`."""

from ._command import main

if __name__ == "__main__":
    main()
