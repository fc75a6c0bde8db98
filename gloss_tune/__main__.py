"""``python -m gloss_tune`` is the command ``gloss-tune``."""

from __future__ import annotations

from gloss_tune.cli import main

if __name__ == "__main__":
    main()
