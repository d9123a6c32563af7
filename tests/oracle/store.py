"""Persons, their identity and the naive fold over their recorded operations.

Everything is held in memory: per person and property a plain list of recorded operations, in the order of
(event time, position). Every state is that list folded from its beginning. A merge is one row that holds no value:
what it brings is computed from the source's own rows whenever the row is folded, so a late event needs no repair.
The one shortcut is `Person.heads`, the state after a key's last row, dropped whenever anything below it changes.

Left out: commands (set, unset, split, delete through the API), the size limit and the limit of 100,000 copied
operations of a merge.
"""
import bisect
import re
import sys
import uuid
from collections import Counter

from record import (ALWAYS_RECORDED, HOUR, NAMESPACE, ONCE_UNSET, SET, SET_ONCE, SET_UNSET, UNSET, VOLATILE, Drop, cut,
                    format_time, operations, parse, parse_time, same)

MERGE = "merge"  # the kind of a row whose value is the source person
ABSENT = type("Absent", (), {"__repr__": lambda self: "absent"})()
NOTHING = (ABSENT, ABSENT, None)  # a property's state with $set_once, without it, and the time of its newest row
FOREVER = 1 << 62
MERGE_ROW, OWN_ROW = 0, 1  # at one place, what a merge brings comes before the event's own operations

ILLEGAL_ANY_CASE = "anonymous guest distinctid distinct_id id not_authenticated email undefined true false".split()
ILLEGAL_EXACT = ["[object Object]", "NaN", "None", "none", "null", "0", "undefined"]
ANONYMOUS = re.compile(r"[a-z0-9]+(-[a-z0-9]+){4}")


def illegal(distinct_id):
    bare = distinct_id
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        bare = bare[1:-1]
    return any(not text.strip() or text.lower() in ILLEGAL_ANY_CASE or text in ILLEGAL_EXACT
               for text in (distinct_id, bare)) or "\0" in distinct_id or len(distinct_id) > 400


def known_by(known, at):
    return at is None or known <= at


class Entry:
    """One entry of a distinct id's ownership."""
    __slots__ = ("since", "known", "person")

    def __init__(self, since, known, person):
        self.since, self.known, self.person = since, known, person


class Person:
    __slots__ = ("uuid", "joined", "rows", "heads", "made", "marks", "seen", "version", "operations", "recorded",
                 "merges", "into")

    def __init__(self, name):
        self.uuid = str(uuid.uuid5(NAMESPACE, name))
        self.joined = []      # distinct ids in the order in which they joined
        self.rows = {}        # key → [(place, kind, value, known)], place = (time, topic, partition, offset, rank)
        self.heads = {}       # key → state after the last row: only a cache
        self.made = []        # (event time, known) of its events, without those that cannot be the earliest
        self.marks = []       # (event time, known) of its identifying events
        self.seen = None      # newest event time of its own events
        self.version = 0
        self.operations = []  # (time of its place, event time, known) of recorded operations
        self.recorded = set()  # (event time, uuid) of them
        self.merges = []      # (effective time, known, source)
        self.into = None      # the person it was merged into


# --- the fold -----------------------------------------------------------------------------------------------------

def step(state, row, key, known):
    """One operation applied to the state of one property, in both modes."""
    with_once, without, newest = state
    (time, *_), kind, value, _ = row
    if kind is SET:
        return value, value, time
    if kind is SET_ONCE:
        return (value if with_once is ABSENT else with_once), without, time
    if kind is UNSET:
        return ABSENT, ABSENT, time
    if kind is SET_UNSET:
        return (value if with_once is ABSENT else ABSENT), (value if without is ABSENT else ABSENT), time
    if kind is ONCE_UNSET:
        return (value if with_once is ABSENT else ABSENT), ABSENT, time
    # A merge, whose value is the source: where the target has nothing, it brings what the source had at the
    # effective time, operations of that time included. A source without the key leaves no row.
    brought, brought_without, _ = fold(value.rows.get(key, ()), key, (time + 1,), known)
    if brought is ABSENT and brought_without is ABSENT:
        return state
    return (brought if with_once is ABSENT else with_once), (brought_without if without is ABSENT else without), time


def fold(rows, key, until=(FOREVER,), known=None):
    """The state after the rows placed before `until` and known by `known`."""
    state = NOTHING
    for row in rows:
        if row[0] >= until:
            break
        if known_by(row[3], known):
            state = step(state, row, key, known)
    return state


def state_before(person, key, place):
    """The fold up to a place, from the cache if the place is after all rows of the key."""
    rows = person.rows.get(key)
    if rows is None:
        return NOTHING
    if place <= rows[-1][0]:
        return fold(rows, key, place)
    if key not in person.heads:
        person.heads[key] = fold(rows, key)
    return person.heads[key]


def insert(person, key, row):
    rows = person.rows.get(key)
    if rows is None:
        rows = person.rows[sys.intern(key)] = []
        if person.into is not None:  # a key that the source did not have when it was merged
            target, place, known = person.into
            insert(target, key, (place, MERGE, person, known))
    head = person.heads.pop(key, None)
    if head is not None and row[0] > rows[-1][0]:
        person.heads[key] = step(head, row, key, None)
    bisect.insort(rows, row)
    while person.into is not None:  # the persons that this one was merged into fold the key again
        person = person.into[0]
        person.heads.pop(key, None)


# --- identity -----------------------------------------------------------------------------------------------------

def resolve(entries, time, known=None):
    """The entry that owns the id at a time; the first one also owns all time before it. None: not known by then."""
    for entry in reversed(entries):
        if entry.since <= time and known_by(entry.known, known):
            return entry
    return entries[0] if known_by(entries[0].known, known) else None


class Store:
    def __init__(self, projects, wanted=None):
        self.projects, self.wanted = projects, wanted
        self.owners = {}   # (project, distinct id) → [Entry], in the order in which they were applied
        self.persons = []
        self.counts, self.dead_letters, self.dropped = Counter(), Counter(), Counter()
        self.strings = {}

    def apply_record(self, record, topic_number):
        self.counts["records"] += 1
        try:
            event = parse(record, self.projects, topic_number)
        except Drop as drop:
            (self.dead_letters if drop.dead_letter else self.dropped)[drop.reason] += 1
            return
        self.counts["unparsable_time"] += event.unparsable_time
        self.apply(event)

    def apply(self, event):
        if event.personless:
            self.counts["personless"] += 1
            return
        other = self.mergeable(event)
        if other is None:
            self.apply_ordinary(event)
            return
        target, source = self.owner(event, event.distinct_id), self.owner(event, other)
        if source is not None and target is not source and source.marks and event.name != "$merge_dangerously":
            self.counts["refused_merges"] += 1
            applied = self.apply_ordinary(event)
        elif source is not None and target is not None and target is not source:
            applied = self.merge(event, target, source)
        else:
            applied = self.attach(event, other, target, source)
        if applied:
            self.owner(event, event.distinct_id).marks.append((event.time, event.known))
            # Even if nothing was recorded, so that a repeat is not decided again.
            entries = self.owners[event.project, event.distinct_id]
            resolve(entries, event.time).person.recorded.add((event.time, event.uuid))

    def mergeable(self, event):
        """The other id of a merge event that passes the guards."""
        if event.other is None:
            return None
        reason = "equal_ids" if event.other == event.raw_distinct_id or cut(event.other) == event.distinct_id else \
            "illegal_id" if illegal(event.other) or illegal(event.raw_distinct_id) else None
        if reason:
            self.counts[f"guard_{reason}"] += 1
            return None
        return cut(event.other)

    def owner(self, event, distinct_id):
        """The current owner."""
        entries = self.owners.get((event.project, distinct_id))
        return entries[-1].person if entries else None

    def own(self, event, distinct_id, person, since):
        self.owners.setdefault((event.project, distinct_id), []).append(Entry(since, event.known, person))
        person.joined.append(distinct_id)

    def create(self, event):
        person = Person(f"{event.project}:{event.distinct_id}")
        self.persons.append((event.project, person))
        self.own(event, event.distinct_id, person, event.time)
        return person

    def duplicate(self, event, person):
        entries = self.owners.get((event.project, event.distinct_id))
        # The id may have changed its owner at exactly that time.
        before = resolve(entries, event.time - 1).person if entries else person
        found = any((event.time, event.uuid) in whose.recorded for whose in (person, before))
        self.counts["duplicates"] += found
        return found

    def apply_ordinary(self, event):
        entries = self.owners.get((event.project, event.distinct_id))
        if entries is None:
            self.create(event)
            entries = self.owners[event.project, event.distinct_id]
        entry = resolve(entries, event.time)
        if self.duplicate(event, entry.person):
            return False
        entries[0].since = min(entries[0].since, event.time)
        self.touch(entry.person, event)
        self.record(entry.person, event, event.time)
        return True

    def attach(self, event, other, target, source):
        """Applies a merge event that merges no two persons: an id is new, or both are one person already."""
        entries = self.owners.get((event.project, event.distinct_id))
        home = resolve(entries, event.time).person if entries else source
        if home is not None and self.duplicate(event, home):
            return False
        self.counts["attached_ids"] += target is None or source is None
        if target is None and source is None:
            target = self.create(event)
        elif target is None:
            self.own(event, event.distinct_id, source, event.time)
        if source is None:
            self.own(event, other, target, event.time)
        return self.apply_ordinary(event)

    def merge(self, event, target, source):
        if self.duplicate(event, target):
            return False
        self.counts["merges"] += 1
        time = self.effective_time(event, source)
        place = (time, *event.position, MERGE_ROW)
        entries = self.owners[event.project, event.distinct_id]
        entries[0].since = min(entries[0].since, event.time)
        # If it took effect later, a duplicate of the event is looked for with the owner at the event's own
        # time.
        resolve(entries, event.time).person.recorded.add((event.time, event.uuid))
        for distinct_id in source.joined:
            self.own(event, distinct_id, target, time)
        target.merges.append((time, event.known, source))
        source.into = (target, place, event.known)
        for key, rows in source.rows.items():
            insert(target, key, (place, MERGE, source, event.known))
            for row in rows[bisect.bisect_left(rows, ((time + 1,),)):]:
                insert(target, key, row)
        target.operations += [operation for operation in source.operations if operation[0] > time]
        target.recorded |= {(when, of) for when, of in source.recorded if when > time}
        self.touch(target, event)
        self.record(target, event, time, merged=True)
        return True

    def effective_time(self, event, source):
        """Not before the event, and after the target id and the source's ids last changed their owner."""
        changes = [self.owners[event.project, distinct_id] for distinct_id in (event.distinct_id, *source.joined)]
        return max([event.time] + [entries[-1].since + 1 for entries in changes if len(entries) > 1])

    # --- recording ------------------------------------------------------------------------------------------------

    def touch(self, person, event):
        person.seen = event.time if person.seen is None else max(person.seen, event.time)
        if not any(time <= event.time and known <= event.known for time, known in person.made):
            person.made.append((event.time, event.known))

    def record(self, person, event, time, merged=False):
        if self.wanted is not None and (event.project, event.distinct_id) not in self.wanted:
            return
        place = (time, *event.position, OWN_ROW)
        changes = self.changes(person, event, place)
        for key, kind, value in changes:
            if isinstance(value, str):
                value = self.strings.setdefault(value, value)
            insert(person, key, (place, kind, value, event.known))
        if changes or merged:
            person.operations.append((time, event.time, event.known))
            person.recorded.add((event.time, event.uuid))
            person.version += 1
            self.counts["operations"] += 1
            self.counts["rows"] += len(changes)

    def changes(self, person, event, place):
        """The operations of the event that leave a row, judged against the state at its own place."""
        kept, only_volatile = [], event.name not in ALWAYS_RECORDED
        for key, (kind, value, explicit) in operations(event).items():
            with_once, without, newest = state_before(person, key, place)
            if kind is SET_ONCE and with_once is not ABSENT:
                continue
            if kind is SET and with_once is not ABSENT and without is not ABSENT \
                    and same(with_once, value) and same(without, value) \
                    and not (explicit and newest // HOUR != place[0] // HOUR):
                continue
            kept.append((key, kind, value))
            rides = kind is SET_ONCE or kind is SET and with_once is not ABSENT
            only_volatile = only_volatile and rides and key in VOLATILE
        return [] if only_volatile else kept

    # --- reading --------------------------------------------------------------------------------------------------

    def answer(self, query):
        """The answer of properties_at_time; with timestamp null, the person now."""
        project = query.get("project", min(self.projects.values()))
        entries = self.owners.get((project, query["distinct_id"]))
        if entries is None:
            return {"error": "not_found"}
        time, known = moment(query.get("timestamp")), moment(query.get("known_at"))
        now = time is None
        time = FOREVER if now else time
        entry = resolve(entries, time, known)
        person = entry.person if entry else None
        created = created_at(person, time, known) if person else None
        existed = created is not None and created <= time
        mode = 0 if query.get("include_set_once") else 1
        seen = (last_seen(person) if now else last_operation(person, time, known)) if existed else None
        answer = {
            "existed": existed,
            "uuid": person.uuid if person else None,
            "properties": properties_of(person, time, known, mode) if existed else {},
            "distinct_ids": self.distinct_ids(project, person, time, known) if existed else [],
            "created_at": format_time(created) if existed else None,
            "is_identified": existed and any(m <= time and known_by(k, known) for m, k in person.marks),
            "last_seen_at": format_time(seen - seen % HOUR) if seen is not None else None}
        return {**answer, "version": person.version} if now and person else answer

    def distinct_ids(self, project, person, time, known):
        ids = []
        for distinct_id in person.joined:
            entries = self.owners[project, distinct_id]
            listed = any(entry.since <= time and known_by(entry.known, known) for entry in entries)
            if listed and resolve(entries, time, known).person is person:
                ids.append(distinct_id)
        return sorted(ids, key=lambda distinct_id: ANONYMOUS.fullmatch(distinct_id) is not None)

    def summary(self):
        return {"persons": len(self.persons), "merged_away": sum(person.into is not None for _, person in self.persons),
                "distinct_ids": len(self.owners), **dict(sorted(self.counts.items())),
                "dead_letters": dict(sorted(self.dead_letters.items())), "dropped": dict(sorted(self.dropped.items())),
                "complete": self.wanted is None}


def moment(value):
    return parse_time(value) if isinstance(value, str) else value


def properties_of(person, time, known, mode):
    states = ((key, fold(rows, key, (time + 1,), known)[mode]) for key, rows in sorted(person.rows.items()))
    return {key: state for key, state in states if state is not ABSENT}


def merged_by(person, time, known):
    return [source for effective, learned, source in person.merges if effective <= time and known_by(learned, known)]


def created_at(person, time, known):
    times = [made for made, learned in person.made if known_by(learned, known)]
    times += [created_at(source, time, known) for source in merged_by(person, time, known)]
    return min((made for made in times if made is not None), default=None)


def last_seen(person):
    return max(seen for seen in [person.seen] + [last_seen(source) for _, _, source in person.merges]
               if seen is not None)


def last_operation(person, time, known):
    """The newest event time among the recorded operations up to a time."""
    times = [when for place, when, learned in person.operations if place <= time and known_by(learned, known)]
    times += [last_operation(source, effective, known) for effective, learned, source in person.merges
              if effective <= time and known_by(learned, known)]
    return max((when for when in times if when is not None), default=None)
