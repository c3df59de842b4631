"""``python -m recipes.eval.sets FOLDER``."""

import sys
from pathlib import Path

from . import write

if len(sys.argv) != 2:
    sys.exit("sets: error: give the folder to write to")
for path in write(Path(sys.argv[1])).values():
    print(path)
