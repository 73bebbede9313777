"""Runs a command and writes the most memory that it held at once, in bytes, to a file.

    python tasks/bench/peak_memory.py FILE COMMAND ARGUMENT …
"""

import resource
import subprocess
import sys

code = subprocess.run(sys.argv[2:]).returncode
unit = 1 if sys.platform == "darwin" else 1024
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit))
sys.exit(code)
