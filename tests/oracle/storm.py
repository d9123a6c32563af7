#!/usr/bin/env python3
"""A stream made to be difficult: few people, properties and moments, and everything that may happen to them.

    storm.py --events 100000 --ids 3000 --seed 1 | kcat -P -b ADDR -t events_plugin_ingestion -K $'\\t'

One record a line, KEY<TAB>VALUE. Merges of all kinds (chains, refused, late, of strangers), late events, equal times,
duplicates, set and unset in one event, nulls, 1 and 1.0, volatile and promoted keys, personless events, illegal ids,
dead letters. The ids of a neighbourhood meet each other, so that chains grow; the same arguments give the same bytes.
"""
import argparse
import json
import random
import sys
import uuid

from record import HOUR, SECOND, format_time, parse_time

START = parse_time("2026-01-01T00:00:00Z")
VALUES = [0, 1, 1.0, 2, "a", "b", True, False, None, [1, {"x": None}], [1.0, {"x": None}], {"p": 1, "q": 2}, 10 ** 25]
KEYS = ["plan", "seats", "name", "email", "tags", "$browser", "$initial_browser", "$current_url", "$geoip_time_zone"]
PROMOTED = ["$browser", "$current_url", "$os", "$os_name", "utm_source", "_kx"]
MERGES = ["$identify", "$identify", "$create_alias", "$merge_dangerously"]
PLAIN = ["custom", "custom", "$pageview", "$set", "$exception", "$groupidentify", "$identify"]
ILLEGAL = ["", "null", "'Guest'", " ", "x" * 401, [], 0]
BROKEN = ["", "{", "[]", '{"token":"%s","distinct_id":"id0","properties":1}', '{"token":"%s","distinct_id":" "}',
          '{"token":"%s","uuid":"","distinct_id":"id0","data":"{}"}', '{"token":"nobody","distinct_id":"id0"}']


def values(rng, most):
    return {key: rng.choice(VALUES) for key in rng.sample(KEYS, rng.randint(0, most))}


def properties_of(rng):
    properties = {}
    if rng.random() < .6:
        properties["$set"] = values(rng, 3)
    if rng.random() < .4:
        properties["$set_once"] = values(rng, 3)
    if rng.random() < .2:
        unset = rng.sample(KEYS, rng.randint(1, 2))
        properties["$unset"] = unset if rng.random() < .5 else dict.fromkeys(unset, "")
    for key in PROMOTED:
        if rng.random() < .15:
            properties[key] = rng.choice(["x", "y", "z", None])
    if rng.random() < .03:
        properties["$process_person_profile"] = rng.choice([False, False, "false"])
    return properties


def event_of(rng, distinct_id, other, merges):
    """(name, properties)"""
    properties = properties_of(rng)
    if rng.random() >= merges:
        return rng.choice(PLAIN), properties
    name = rng.choice(MERGES)
    properties["$anon_distinct_id" if name == "$identify" else "alias"] = \
        rng.choice(ILLEGAL + [distinct_id]) if rng.random() < .03 else other
    return name, properties


def time_of(rng, arrived):
    """Mostly just now, often late, sometimes equal to another one or ahead of the clock."""
    roll = rng.random()
    if roll < .5:
        return arrived - rng.randrange(5 * SECOND)
    if roll < .7:
        return arrived - arrived % HOUR
    return arrived + 60 * SECOND if roll < .72 else arrived - int(rng.random() ** 3 * (arrived - START + HOUR))


def records(events, ids, seed, days, merges=.1, token="phc_example"):
    rng = random.Random(seed)
    line = None
    for index in range(events):
        if line is not None and rng.random() < .02:
            yield line
        if rng.random() < .002:
            yield "id0", rng.choice(BROKEN).replace("%s", token)
        arrived = START + index * days * 24 * HOUR // events
        number = rng.randrange(ids)
        distinct_id, other = f"id{number}", f"id{max(number + rng.randint(-4, 4), 0)}"
        if number % 3 == 0:
            distinct_id = f"{number}-a-b-c-d"
        name, properties = event_of(rng, distinct_id, other, merges)
        time = format_time(time_of(rng, arrived))
        value = {"uuid": str(uuid.UUID(int=rng.getrandbits(128), version=4)), "distinct_id": distinct_id,
                 "token": token, "now": format_time(arrived)}
        data = {"event": name, "properties": properties}
        (value if rng.random() < .7 else data)["timestamp"] = time
        value["data"] = json.dumps(data) if rng.random() < .8 else data
        line = distinct_id, json.dumps(value)
        yield line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--ids", type=int, default=300)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--merges", type=float, default=.1, help="share of merge events")
    parser.add_argument("--token", default="phc_example")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for key, value in records(**vars(options)):
        print(key, value, sep="\t")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.stderr.close()
