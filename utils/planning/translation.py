"""What translating a data folder's queries will cost."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from utils.models.zoo import ZOO
from utils.planning.cost import Cost
from utils.planning.devices import Device
from utils.planning.sampling import SAMPLE, Texts, open_tokenizer
from utils.planning.schedule import Step
from utils.profiles.base import Profile

DECODING = 0.10  # share of the peak that a translator reaches, as it writes one token at a time


def plan_translation(
    profile: Profile, texts: dict[str, Texts], device: Device, folder: str, download: Callable[[str], float]
) -> list[Step]:
    """The step that translates the distinct non-English queries; none where the profile translates with a word list.

    `download` gives the bytes to fetch for a model.
    """
    name = profile.translation
    if name not in ZOO:
        return []
    tables = [table for own in texts.values() for table in (own.train, *own.splits.values())]
    parts = [table[["language", "query"]] for table in tables]
    distinct = pd.concat(parts).query("language != 'en'").drop_duplicates()
    tokenizer, _ = open_tokenizer(name, folder)
    sample = distinct.sample(min(len(distinct), SAMPLE), random_state=0)["query"].tolist()
    mean = np.mean([len(ids) for ids in tokenizer(sample)["input_ids"]])
    tokens = 2 * mean * len(distinct)  # read, and written
    # Two operations per weight of the encoder or of the decoder, half of the network.
    flops = tokens * ZOO[name].parameters
    cost = Cost(int(ZOO[name].parameters), 0, 2 * ZOO[name].parameters, 0, 0, 1e9, flops)
    hours = flops / (device.peak * DECODING * device.count) / 3600  # all GPUs or cores share it
    queries, disk = len(distinct), sum(map(download, filter(None, (name, profile.retranslation))))
    return [Step("02", name, "all", 0, queries, queries, tokens, flops, cost, (hours,), 1, True, disk, peak=cost.peak)]
