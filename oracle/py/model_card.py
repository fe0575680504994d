"""Reads model cards as the hub's library reads them, and prints what it found as JSON.

Usage: model_card.py CARD...
"""

import json
import sys

from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import metadata_load


def read(path):
    card = ModelCard.load(path, ignore_metadata_errors=False)
    assert isinstance(card.data, ModelCardData)
    data = card.data.to_dict()
    assert data == metadata_load(path), "two readers of one library differ"
    # Written again, it says the same.
    assert ModelCard(str(card)).data.to_dict() == data
    return {"data": data, "text": card.text}


print(json.dumps([read(path) for path in sys.argv[1:]], default=str))
