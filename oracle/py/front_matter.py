"""Front matter of model cards as PyYAML reads it, after the stock converter's own preparation.

    python front_matter.py CARDS.json

CARDS.json is a list of texts. Prints a list: for each its values (null where PyYAML refuses it), numbers, booleans and
dates as {"other": true}.
"""

import json
import sys
import tempfile
from pathlib import Path

import gguf


def plain(value):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else "": plain(item) for key, item in value.items()}
    return {"other": True}


found = []
for text in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "README.md").write_text(text, encoding="utf-8")
        try:
            found.append(plain(gguf.Metadata.load_model_card(Path(folder))))
        except Exception:
            found.append(None)
print(json.dumps(found))
