#!/usr/bin/env python3
"""The naive fold: an oracle for personview, written from its specification and sharing no code with it.

    kcat -C -J -e -b ADDR -t events_plugin_ingestion > records.jsonl
    fold.py records.jsonl --summary --sample-queries 100 > queries.jsonl     # queries to put to both
    fold.py records.jsonl --queries queries.jsonl --out answers.jsonl        # one answer a line, in the same order

A query is {"distinct_id", "timestamp": time or null (now), "include_set_once": bool, "known_at": time or null}, times
as RFC 3339 text or integer microseconds, and with several projects "project". Answers are those of properties_at_time.
--only-file LIST (distinct ids, one a line) records operations only for these and whatever is ever merged with them.

record.py turns records into events, store.py holds persons and folds; here are input, queries and the command line.
"""
import argparse
import heapq
import json
import os
import random
import re
import sys
import tempfile
from array import array

from record import HOUR, ONCE_UNSET, SET_UNSET, UNSET, Drop, cut, format_time, parse, to_json
from store import Store, created_at, last_seen

# --- input: the order in which records are applied ----------------------------------------------------------------

HEAD = re.compile(rb'\{"topic":"([^"\\]+)","partition":(\d+),"offset":(\d+),"tstype":"[a-z]+","ts":(-?\d+),')


class Records:
    """Lines of files by partition; only their positions are held in memory."""

    def __init__(self, paths, topics):
        self.topics = list(topics)
        self.files, self.partitions = [], {}
        for path in paths:
            self.read(spooled_stdin() if path == "-" else open(path, "rb"))

    def read(self, file):
        start = 0
        for line in file:
            if line.strip():
                match = HEAD.match(line)
                if match:
                    topic, partition, offset, ts = match[1].decode(), int(match[2]), int(match[3]), int(match[4])
                else:
                    record = decode(line)
                    topic, partition = record["topic"], record["partition"]
                    offset, ts = record["offset"], record.get("ts", 0)
                if topic not in self.topics:
                    self.topics.append(topic)
                rows = self.partitions.setdefault((self.topics.index(topic), partition), array("q"))
                rows.extend((offset, ts, len(self.files), start, len(line)))
            start += len(line)
        self.files.append(file)

    def in_order(self):
        """Yields (record, topic number) by least Kafka timestamp of the heads, then topic and partition."""
        streams = [self.partition(*key) for key in sorted(self.partitions)]
        for _, topic, _, line in merged_heads(streams):
            file, start, length = line
            yield decode(os.pread(self.files[file].fileno(), length, start)), topic

    def partition(self, topic, partition):
        flat = self.partitions[topic, partition]
        rows = sorted(tuple(flat[i:i + 5]) for i in range(0, len(flat), 5))
        last = None
        for offset, ts, *line in rows:
            if offset != last:  # the same record printed twice is one record
                yield ts, topic, partition, line
            last = offset


def merged_heads(streams):
    heads = []
    for stream in streams:
        push(heads, stream)
    while heads:
        head, stream = heapq.heappop(heads)
        yield head
        push(heads, stream)


def push(heads, stream):
    head = next(stream, None)
    if head is not None:
        heapq.heappush(heads, (head, stream))


def decode(line):
    return json.loads(line.decode("utf-8", "surrogateescape"))


def spooled_stdin():
    file = tempfile.TemporaryFile()
    for line in sys.stdin.buffer:
        file.write(line)
    file.seek(0)
    return file


def linked_ids(records, projects, asked):
    """The asked distinct ids and all that merge events ever join to them, as (project, distinct id)."""
    parent = {}

    def root(node):
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    for record, topic in records.in_order():
        try:
            event = parse(record, projects, topic)
        except Drop:
            continue
        if event.other is not None:
            parent[root((event.project, cut(event.other)))] = root((event.project, event.distinct_id))
    roots = {root((project, distinct_id)) for distinct_id in asked for project in projects.values()}
    return {node for node in list(parent) if root(node) in roots}


# --- sample queries -----------------------------------------------------------------------------------------------

def family(person):
    """The person and all that were merged into it."""
    return [person] + [member for _, _, source in person.merges for member in family(source)]


def has_unset(person):
    return any(row[1] in (UNSET, SET_UNSET, ONCE_UNSET) for rows in person.rows.values() for row in rows)


def sample_people(store, number, rng):
    """Picks living people in turn: hot, merged, with unset properties, with several ids, any."""
    living = [(project, person) for project, person in store.persons if person.into is None and person.operations]
    rng.shuffle(living)
    groups = [sorted(living, key=lambda one: -len(one[1].operations)), [one for one in living if one[1].merges],
              [one for one in living if has_unset(one[1])], [one for one in living if len(one[1].joined) > 1], living]
    turns, chosen = [iter(group) for group in groups], {}
    while len(chosen) < min(number, len(living)):
        for turn in turns:
            one = next((one for one in turn if one[1].uuid not in chosen), None)
            if one is not None and len(chosen) < number:
                chosen[one[1].uuid] = one
    return list(chosen.values())


def sample_times(person, rng):
    """Picks five times: at an operation, just before one, any, at a merge or operation, just before that."""
    members = family(person)
    operations = [place for member in members for place, _, _ in member.operations]
    merges = [time for member in members for time, _, _ in member.merges]
    edge = rng.choice(merges or operations)
    return [rng.choice(operations), rng.choice(operations) - 1,
            rng.randint(created_at(person, max(operations), None) - HOUR, last_seen(person) + HOUR), edge, edge - 1]


def sample_queries(store, number, seed, known):
    rng = random.Random(seed)
    for project, person in sample_people(store, number, rng):
        learned = [at for member in family(person) for _, _, at in member.operations]
        for time in [None] + sample_times(person, rng):
            query = {"distinct_id": rng.choice(person.joined), "timestamp": format_time(time)}
            if len(set(store.projects.values())) > 1:
                query["project"] = project
            at = format_time(rng.choice(learned)) if known and time is not None else None
            for mode in (True, False):
                yield {**query, "include_set_once": mode, "known_at": at}


# --- the command line ---------------------------------------------------------------------------------------------

def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="*", default=["-"], help="files as `kcat -C -J` prints them (default: stdin)")
    parser.add_argument("--topics", default="", help="comma-separated, in their order (default: as they appear)")
    parser.add_argument("--project", action="append", metavar="TOKEN=ID", help="repeatable; default phc_example=1")
    parser.add_argument("--queries", metavar="FILE")
    parser.add_argument("--out", metavar="FILE", help="answers to --queries (default: stdout)")
    parser.add_argument("--summary", action="store_true", help="a line of counts on stderr")
    parser.add_argument("--sample-queries", type=int, metavar="N", help="queries about N people on stdout")
    parser.add_argument("--sample-known", action="store_true", help="with known_at in the sampled queries")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only-file", metavar="LIST")
    return parser.parse_args()


def main():
    options = arguments()
    sys.setrecursionlimit(100_000)  # chains of merges
    pairs = [pair.rpartition("=") for pair in options.project or ["phc_example=1"]]
    projects = {token: int(number) for token, _, number in pairs}
    records = Records(options.records, filter(None, options.topics.split(",")))
    wanted = None
    if options.only_file:
        with open(options.only_file, encoding="utf-8") as file:
            wanted = linked_ids(records, projects, {line.rstrip("\n") for line in file})
    store = Store(projects, wanted)
    for record, topic in records.in_order():
        store.apply_record(record, topic)
    if options.summary:
        print(json.dumps(store.summary()), file=sys.stderr)
    if options.sample_queries:
        for query in sample_queries(store, options.sample_queries, options.seed, options.sample_known):
            print(json.dumps(query))
    if options.queries:
        with open(options.queries, encoding="utf-8") as queries, \
                open(options.out or sys.stdout.fileno(), "w", encoding="utf-8", closefd=bool(options.out)) as out:
            for line in queries:
                out.write(to_json(store.answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
