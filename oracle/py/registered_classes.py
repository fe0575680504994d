"""The classes that the stock converter registers, one a line: "text" or "encoder" and the class, as its own tables
of classes by module have them.

    python registered_classes.py LLAMA_CPP_SOURCES

Reads conversion/__init__.py as text, so that none of the converter's packages is needed.
"""

import ast
import sys
from pathlib import Path

KINDS = dict(TEXT_MODEL_MAP="text", MMPROJ_MODEL_MAP="encoder")


def main():
    source = Path(sys.argv[1]) / "conversion/__init__.py"
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.AnnAssign) and (kind := KINDS.get(getattr(node.target, "id", ""))):
            for name in sorted(ast.literal_eval(node.value)):
                print(kind, name)


main()
