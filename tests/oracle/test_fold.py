"""The oracle's own tests: python3 -m unittest discover tests/oracle"""
import json
import os
import sys
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import storm  # noqa: E402
from record import NAMESPACE, Drop, Number, format_time, parse, parse_time, same, to_json  # noqa: E402
from store import ABSENT, FOREVER, Person, Store, fold, illegal, state_before  # noqa: E402

TOKEN, PROJECTS = "phc_example", {"phc_example": 1}
NOON = parse_time("2026-01-01T12:00:00Z")


def at(text):
    """Noon of a day in 2026 ("02-15"), or a time of that year ("02-15T10:00")."""
    return f"2026-{text}" + ("" if "T" in text else "T12:00") + ":00Z"


class Stream:
    """Feeds a store with records as kcat prints them; known times are late enough for every event time."""

    def __init__(self):
        self.store, self.offset = Store(PROJECTS), 0

    def send(self, payload, headers=None, ts=None):
        self.store.apply_record(self.record(payload, headers, ts), 0)
        return self

    def record(self, payload, headers=None, ts=None):
        self.offset += 1
        ts = parse_time("2027-01-01T00:00:00Z") // 1000 + self.offset if ts is None else ts
        return {"topic": "t", "partition": 0, "offset": self.offset, "tstype": "create", "ts": ts, "broker": 1,
                "headers": headers or [], "key": None,
                "payload": payload if isinstance(payload, (str, type(None))) else json.dumps(payload)}

    def event(self, when, distinct_id, name="custom", now=None, of=None, **properties):
        properties = {key.replace("S_", "$", 1): value for key, value in properties.items()}
        data = {"event": name, "properties": properties}
        return self.send({"uuid": of or str(uuid.UUID(int=self.offset + 1)), "distinct_id": distinct_id, "token": TOKEN,
                          "data": json.dumps(data), "timestamp": at(when), **({"now": at(now)} if now else {})})

    def identify(self, when, distinct_id, other, name="$identify", **properties):
        key = "S_anon_distinct_id" if name == "$identify" else "alias"
        return self.event(when, distinct_id, name, **{key: other}, **properties)

    def read(self, distinct_id, when=None, known=None, once=True):
        return self.store.answer({"distinct_id": distinct_id, "timestamp": when and at(when), "include_set_once": once,
                                  "known_at": known and at(known)})

    def properties(self, *arguments, **options):
        return self.read(*arguments, **options)["properties"]

    def rows(self, distinct_id, key):
        return len(self.store.owners[1, distinct_id][-1].person.rows.get(key, ()))


class Times(unittest.TestCase):
    def parse(self, ts=None, headers=None, data=(), **outer):
        value = {"uuid": str(uuid.UUID(int=1)), "distinct_id": "a", "token": TOKEN,
                 "data": json.dumps({"event": "e", **dict(data)}), **outer}
        ts = NOON // 1000 if ts is None else ts
        record = {"topic": "t", "partition": 0, "offset": 1, "ts": ts, "headers": headers, "payload": json.dumps(value)}
        return parse(record, PROJECTS, 0)

    def time(self, **given):
        return format_time(self.parse(**given).time)[11:]

    def test_clock_skew(self):
        data = {"timestamp": at("01-01T11:00")}
        skewed = {"now": "2026-01-01T12:00:00Z", "sent_at": "2026-01-01T12:00:10Z"}
        self.assertEqual(self.time(data=data, **skewed), "10:59:50Z")
        self.assertEqual(self.time(data=data, now=skewed["now"], sent_at="2026-01-01T11:59:50Z"), "11:00:10Z")
        self.assertEqual(self.time(data=data, now=skewed["now"], sent_at=""), "11:00:00Z")
        ignoring = {**data, "properties": {"$ignore_sent_at": True}}
        self.assertEqual(self.time(data=ignoring, **skewed), "11:00:00Z")

    def test_sources_of_the_time(self):
        self.assertEqual(self.time(timestamp=at("01-01T10:00"), data={"timestamp": at("01-01T11:00")}), "10:00:00Z")
        headers = ["timestamp", str(parse_time(at("01-01T09:00")) // 1000)]
        self.assertEqual(self.time(headers=headers, data={"timestamp": at("01-01T11:00")}), "09:00:00Z")
        self.assertEqual(self.time(timestamp="soon", data={"timestamp": at("01-01T11:00")}), "11:00:00Z")
        self.assertEqual(self.time(data={"timestamp": at("01-01T11:00"), "offset": 60_000}), "11:59:00Z")
        self.assertEqual(self.time(), "12:00:00Z")
        self.assertEqual(self.time(now=at("01-01T11:30")), "11:30:00Z")

    def test_limits(self):
        self.assertEqual(self.time(timestamp=at("01-01T13:00")), "12:00:00Z")
        unparsable = self.parse(data={"timestamp": "yesterday"})
        self.assertEqual((unparsable.time, unparsable.unparsable_time), (NOON, True))
        before_time = {"timestamp": "0000-01-01T00:00:00Z"}
        self.assertEqual(self.parse(data=before_time, now=at("01-01"), sent_at=at("01-02")).time, 0)
        self.assertEqual(format_time(self.parse(data=before_time).time), "0000-01-01T00:00:00Z")

    def test_known_time(self):
        self.assertEqual(self.parse(now=at("01-02T12:00")).known, parse_time(at("01-02")))
        self.assertEqual(self.parse(now="2026-01-02T12:00:00.000001Z").known, NOON)
        self.assertEqual(self.parse().known, NOON)

    def test_formats(self):
        for text in ("2026-01-01T12:00:00+00:00", "2026-01-01 12:00", "2026-01-01T14:30:00.000+02:30"):
            self.assertEqual(parse_time(text), NOON)
        self.assertEqual(parse_time("2026-01-01"), NOON - 12 * 3600 * 10 ** 6)
        self.assertEqual(format_time(parse_time("2026-01-01T12:00:00.1234567Z")), "2026-01-01T12:00:00.123456Z")
        for text in ("2026-02-30", "2026-01-01T24:00:00Z", "", "1767268800", None):
            self.assertIsNone(parse_time(text))


class Records(unittest.TestCase):
    def letters(self, payload, **options):
        store = Stream().send(payload, **options).store
        return dict(store.dead_letters) or dict(store.dropped) or store.summary()["persons"]

    def test_dead_letters(self):
        flat = {"token": TOKEN, "distinct_id": "a", "event": "e"}
        wrapped = {**flat, "uuid": str(uuid.UUID(int=1)), "data": "{}"}
        for payload, expected in [
                (None, "empty_value"), ("", "empty_value"), ("{", "not_json"), ("NaN", "not_json"),
                ("[]", "wrong_type"),
                ({**wrapped, "data": "{"}, "data_not_json"), ({**wrapped, "data": "[]"}, "wrong_type"),
                ({**wrapped, "data": 1}, "wrong_type"), ({**flat, "properties": []}, "wrong_type"),
                ({**flat, "$set": "x"}, "wrong_type"), ({**flat, "properties": {"$set_once": 1}}, "wrong_type"),
                ({**wrapped, "uuid": ""}, "missing_uuid"), ({**wrapped, "uuid": "x"}, "invalid_uuid"),
                ({**flat, "distinct_id": " "}, "missing_distinct_id"),
                ({**flat, "token": "other"}, "unknown_token"), ({**flat, "token": None}, "unknown_token"),
                ({**flat, "event": "$identify", "properties": {"$anon_distinct_id": []}}, "invalid_anon_distinct_id"),
                ({**flat, "event": "$create_alias", "properties": {"alias": {}}}, "invalid_alias")]:
            self.assertEqual(self.letters(payload), {expected: 1}, payload)
        deep = '{"token":"phc_example","distinct_id":"a","x":%s1%s}'
        self.assertEqual(self.letters(deep % ("[" * 128, "]" * 128)), {"too_deep": 1})
        self.assertEqual(self.letters(deep % ("[" * 127, "]" * 127)), 1)

    def test_accepted_forms(self):
        inner = {"distinct_id": "a", "event": "e"}
        outer = {"uuid": str(uuid.UUID(int=1)), "token": TOKEN}
        self.assertEqual(self.letters({**outer, "data": inner}), 1)
        self.assertEqual(self.letters({**outer, "data": json.dumps(inner)}), 1)
        self.assertEqual(self.letters({**inner, "api_key": TOKEN}), 1)
        self.assertEqual(self.letters({"event": "e"}, headers=["token", TOKEN, "distinct_id", "a"]), 1)
        self.assertEqual(self.letters({"properties": {"token": TOKEN, "distinct_id": "a"}}), 1)
        self.assertEqual(self.letters({"token": TOKEN, "$distinct_id": "a"}), 1)

    def test_coercion(self):
        stream = Stream()
        for distinct_id in (23, True, ["x", {"k": 1.50}], "é" * 250, "a\0b", " c "):
            stream.send({"token": TOKEN, "distinct_id": distinct_id, "$set": {"k\0": ["v\0"]}})
        ids = [distinct_id for _, distinct_id in stream.store.owners]
        self.assertEqual(ids, ["23", "true", '["x",{"k":1.5}]', "é" * 200, "a\ufffdb", " c "])
        self.assertEqual(stream.properties("23"), {"k\ufffd": ["v\ufffd"]})

    def test_top_level_set_wins(self):
        stream = Stream().send({"token": TOKEN, "distinct_id": "a", "$set": {"k": 1}, "$unset": ["l"],
                                "properties": {"$set": {"k": 2, "l": 3}, "$unset": [5, None]}})
        self.assertEqual(stream.properties("a"), {"k": 1, "l": 3})

    def test_numbers(self):
        loads = lambda text: parse({"topic": "t", "partition": 0, "offset": 0, "payload":  # noqa: E731
                                    '{"token":"phc_example","distinct_id":"a","$set":{"k":%s}}' % text},
                                   PROJECTS, 0).set["k"]
        for text in ("1", "1.0", "1e400", "12345678901234567890.123456789", "-0", "[1.50]"):
            self.assertEqual(to_json(loads(text)), text)
        self.assertTrue(same(loads("1"), loads("1.0")) and same(loads('{"a":1,"b":2}'), loads('{"b":2.0,"a":1}')))
        self.assertFalse(same(loads("9007199254740993"), loads("9007199254740992.0")) or same(True, 1) or same(0, False)
                         or same([True], [1]) or same("1", 1) or same(None, 0) or same({"a": None}, {}))
        self.assertEqual(Number("1e1"), 10)

    def test_promotion(self):
        stream = Stream().event("01-01", "a", **{"$os_name": "Linux", "$browser": None, "utm_source": "x", "_kx": 1},
                                S_set={"utm_source": "own"})
        self.assertEqual(stream.properties("a"), {"$os": "Linux", "$initial_os": "Linux", "$browser": None,
                                                  "utm_source": "own", "$initial_utm_source": "x", "_kx": 1,
                                                  "$initial__kx": 1})
        server = Stream().event("01-01", "a", **{"$os": "Linux", "$os_version": "6", "$is_server": True, "gclid": 1})
        self.assertEqual(server.properties("a", once=False), {"gclid": 1})


class Properties(unittest.TestCase):
    def test_january_february_march(self):
        stream = Stream().event("01-01", "a", S_set={"plan": "pro"}).event("03-01", "a", S_set={"plan": "pro"})
        stream.event("02-01", "a", S_set={"plan": "free"})
        self.assertEqual(stream.properties("a"), {"plan": "pro"})
        self.assertEqual(stream.properties("a", "02-28"), {"plan": "free"})
        self.assertEqual(stream.properties("a", "01-31"), {"plan": "pro"})
        self.assertFalse(stream.read("a", "01-01T11:59")["existed"])

    def test_set_once_and_null(self):
        stream = Stream().event("01-01", "a", S_set={"n": None}, S_set_once={"n": 1, "o": 1, "z": None})
        stream.event("01-02", "a", S_set_once={"n": 2, "o": 2}).event("01-03", "a", S_unset={"o": ""})
        self.assertEqual(stream.properties("a", "01-02"), {"n": None, "o": 1})
        self.assertEqual(stream.properties("a", "01-02", once=False), {"n": None})
        self.assertEqual(stream.event("01-04", "a", S_set_once={"o": 3}).properties("a"), {"n": None, "o": 3})

    def test_pairs(self):
        for kind in ("S_set", "S_set_once"):
            stream = Stream().event("01-02", "a", **{kind: {"k": 1}}, S_unset=["k"])
            self.assertEqual(stream.properties("a"), {"k": 1})
            self.assertEqual(stream.properties("a", once=False), {"k": 1} if kind == "S_set" else {})
            stream.event("01-01", "a", S_set={"k": 0})  # late: the pair now removes
            self.assertEqual(stream.properties("a", "01-01"), {"k": 0})
            self.assertEqual((stream.properties("a"), stream.properties("a", once=False)), ({}, {}))

    def test_set_once_unset_removes_without_set_once(self):
        stream = Stream().event("01-01", "a", S_set={"k": 0}).event("01-02", "a", S_set_once={"k": 1}, S_unset=["k"])
        self.assertEqual((stream.properties("a"), stream.properties("a", once=False)), ({}, {}))

    def test_unchanged_values(self):
        stream = Stream().event("01-01T12:10", "a", S_set={"k": 1}, utm_source="x")
        stream.event("01-01T12:50", "a", S_set={"k": 1.0}, utm_source="x")
        self.assertEqual((stream.rows("a", "k"), stream.rows("a", "utm_source")), (1, 1))
        stream.event("01-01T13:00", "a", S_set={"k": 1}, utm_source="x", S_set_once={"k2": 1})
        self.assertEqual((stream.rows("a", "k"), stream.rows("a", "utm_source")), (2, 1))
        stream.event("01-01T11:00", "a", utm_source="x")
        self.assertEqual((stream.rows("a", "utm_source"), stream.rows("a", "$initial_utm_source")), (2, 2))
        self.assertEqual(stream.event("01-02", "a", S_set_once={"k": 2}).rows("a", "k"), 2)
        self.assertEqual(stream.event("01-02", "a", S_unset=["none"]).rows("a", "none"), 1)

    def test_a_set_equal_only_with_set_once_is_recorded(self):
        stream = Stream().event("01-01", "a", S_set_once={"k": 1}).event("01-01T12:01", "a", S_set={"k": 1})
        self.assertEqual((stream.rows("a", "k"), stream.properties("a", once=False)), (2, {"k": 1}))

    def test_volatile(self):
        stream = Stream().event("01-01", "a", **{"$current_url": "/1"})
        stream.event("01-02", "a", **{"$current_url": "/2"}).event("01-03", "a", S_set={"$current_url": "/3"})
        self.assertEqual(stream.properties("a"), {"$current_url": "/1", "$initial_current_url": "/1"})
        stream.event("01-04", "a", "$set", S_set={"$current_url": "/4"})
        stream.event("01-05", "a", S_set={"k": 1}, **{"$current_url": "/5"})
        self.assertEqual(stream.properties("a", "01-04")["$current_url"], "/4")
        self.assertEqual(stream.properties("a")["$current_url"], "/5")
        stream.event("01-06", "a", S_set_once={"$geoip_latitude": 1})
        self.assertEqual(stream.rows("a", "$geoip_latitude"), 0)
        stream.event("01-07", "a", S_unset=["$current_url"])
        self.assertNotIn("$current_url", stream.properties("a"))

    def test_duplicates(self):
        stream = Stream()
        for value in (1, 2):
            stream.event("01-01", "a", S_set={"k": value}, of=str(uuid.UUID(int=77)))
        self.assertEqual((stream.properties("a"), stream.store.counts["duplicates"]), ({"k": 1}, 1))

    def test_no_properties_and_personless(self):
        stream = Stream().event("01-01T12:30", "a", "$exception", S_set={"k": 1})
        answer = stream.read("a")
        self.assertEqual((answer["properties"], answer["last_seen_at"], answer["version"]), ({}, at("01-01"), 0))
        stream.event("01-05", "a", S_process_person_profile=False).event("01-05", "b", S_process_person_profile=False)
        self.assertEqual(stream.read("a")["last_seen_at"], at("01-01"))
        self.assertEqual(stream.read("b"), {"error": "not_found"})

    def test_known_at(self):
        stream = Stream().event("01-01", "a", S_set={"k": 1}, now="01-01")
        stream.event("01-02", "a", S_set={"k": 2}, now="02-01")
        self.assertEqual(stream.properties("a", "01-03"), {"k": 2})
        self.assertEqual(stream.properties("a", "01-03", known="01-31"), {"k": 1})
        self.assertFalse(stream.read("a", "01-03", known="01-01T11:00")["existed"])


class Merging(unittest.TestCase):
    def uuid(self, distinct_id):
        return str(uuid.uuid5(NAMESPACE, "1:" + distinct_id))

    def test_uuids(self):
        for name, expected in [("1:user-1", "6931a681-6e90-500d-8294-14582dcc2e3f"),
                               ("2:anonymous_id", "42b09c80-0e9c-5498-863c-3611dc976f83"),
                               ("7:Ünïcødé 🦔", "07939375-391e-5950-bfdd-38c876e4c147")]:
            self.assertEqual(Person(name).uuid, expected)

    def test_neither_exists(self):
        answer = Stream().identify("01-01", "user", "anon", S_set={"k": 1}).read("anon")
        self.assertEqual((answer["uuid"], answer["distinct_ids"]), (self.uuid("user"), ["user", "anon"]))
        self.assertTrue(answer["is_identified"])
        self.assertEqual(answer["properties"], {"k": 1})

    def test_one_exists(self):
        stream = Stream().event("01-01", "anon", S_set={"k": 1}).identify("01-02", "user", "anon", S_set={"l": 2})
        answer = stream.read("user")
        self.assertEqual((answer["uuid"], answer["distinct_ids"]), (self.uuid("anon"), ["anon", "user"]))
        self.assertEqual(answer["properties"], {"k": 1, "l": 2})
        self.assertEqual(stream.read("user", "01-01")["distinct_ids"], ["anon"])
        self.assertFalse(stream.read("user", "01-01")["is_identified"])
        other_way = Stream().event("01-01", "user").identify("01-02", "user", "anon")
        self.assertEqual(other_way.read("anon")["uuid"], self.uuid("user"))

    def test_both_exist(self):
        stream = Stream().event("01-01", "anon", S_set={"k": 1, "own": 1, "n": 1}, S_set_once={"o": 1})
        stream.event("01-02", "user", S_set={"k": 2, "n": None}).identify("01-03", "user", "anon", S_set={"own": 3})
        self.assertEqual(stream.properties("anon"), {"k": 2, "own": 3, "n": None, "o": 1})
        self.assertEqual(stream.properties("anon", once=False), {"k": 2, "own": 3, "n": None})
        self.assertEqual(stream.properties("anon", "01-02T23:59"), {"k": 1, "own": 1, "n": 1, "o": 1})
        self.assertEqual(stream.properties("user", "01-02T23:59"), {"k": 2, "n": None})
        now, before = stream.read("user"), stream.read("user", "01-02")
        self.assertEqual((now["created_at"], before["created_at"]), (at("01-01"), at("01-02")))
        self.assertEqual((now["distinct_ids"], before["distinct_ids"]), (["user", "anon"], ["user"]))
        self.assertEqual((now["is_identified"], before["is_identified"]), (True, False))

    def test_refused(self):
        stream = Stream().identify("01-01", "one", "anon").identify("01-02", "two", "one", S_set={"k": 1})
        self.assertEqual(stream.store.counts["refused_merges"], 1)
        self.assertEqual((stream.read("two")["uuid"], stream.read("two")["is_identified"]), (self.uuid("two"), True))
        stream.identify("01-03", "two", "one", name="$merge_dangerously")
        self.assertEqual(stream.read("one")["uuid"], self.uuid("two"))
        self.assertEqual(stream.read("two")["distinct_ids"], ["two", "one", "anon"])

    def test_same_person_and_guards(self):
        stream = Stream().event("01-01", "a").identify("01-02", "a", "a").identify("01-03", "a", "'null'")
        self.assertFalse(stream.read("a")["is_identified"])
        self.assertEqual((stream.store.counts["guard_equal_ids"], stream.store.counts["guard_illegal_id"]), (1, 1))
        stream.identify("01-04", "a", "b").identify("01-02", "b", "a", S_set={"k": 1})
        self.assertEqual((stream.read("a")["distinct_ids"], stream.store.counts["merges"]), (["a", "b"], 0))
        self.assertTrue(stream.read("a", "01-02")["is_identified"])
        self.assertEqual(stream.properties("a", "01-02"), {"k": 1})

    def test_illegal_ids(self):
        for text in ("", "  ", "GUEST", '"Email"', "'None'", "[object Object]", "0", "a\0", "x" * 401):
            self.assertTrue(illegal(text), text)
        for text in ("NULL", "nan", "00", "x" * 400, "guest1", "'guest", "'"):
            self.assertFalse(illegal(text), text)

    def test_late_event_into_a_merged_source(self):
        stream = Stream().event("01-01", "a", S_set={"k": 1}).event("01-01", "b").event("01-01", "c")
        stream.identify("02-01", "b", "a").identify("03-01", "c", "b", name="$merge_dangerously")
        self.assertEqual(stream.properties("c"), {"k": 1})
        stream.event("01-15", "a", S_set={"k": 2, "new": 1})
        self.assertEqual(stream.properties("c"), {"k": 2, "new": 1})
        self.assertEqual(stream.properties("b", "02-15"), {"k": 2, "new": 1})
        self.assertEqual(stream.properties("b", "01-31"), {})
        self.assertEqual(stream.properties("a", "01-10"), {"k": 1})

    def test_operations_after_the_merge_are_copied(self):
        stream = Stream().event("01-01", "a", S_set={"k": 1}, now="01-01").event("01-01", "b", now="01-01")
        stream.event("01-10", "a", S_set={"k": 2, "l": 2}, now="01-10")
        stream.event("01-05", "b", "$identify", now="01-20", S_anon_distinct_id="a", S_set={"l": 0})
        self.assertEqual(stream.properties("b", "01-05"), {"k": 1, "l": 0})
        self.assertEqual(stream.properties("a", "01-05"), {"k": 1, "l": 0})
        self.assertEqual(stream.properties("a"), {"k": 2, "l": 2})
        self.assertEqual(stream.read("a", "01-15", known="01-15")["uuid"], self.uuid("a"))
        self.assertEqual(stream.properties("a", "01-15", known="01-15"), {"k": 2, "l": 2})

    def test_effective_time_after_a_later_change(self):
        stream = Stream().event("01-01", "a").event("01-01", "b").event("01-01", "c", S_set={"k": 1})
        stream.identify("03-01", "b", "a").identify("02-01", "c", "a", name="$merge_dangerously", S_set={"l": 1})
        just_after = parse_time(at("03-01")) + 1
        person = stream.store.owners[1, "c"][-1].person
        self.assertEqual([time for time, _, _ in person.merges], [just_after])
        self.assertEqual(stream.properties("c", "03-01"), {"k": 1})
        self.assertEqual(stream.properties("a"), {"k": 1, "l": 1})
        self.assertEqual(stream.read("a", "02-15")["uuid"], self.uuid("a"))
        self.assertTrue(stream.read("c", "02-15")["is_identified"])

    def test_first_entry_moves_back(self):
        stream = Stream().event("02-01", "a").identify("03-01", "a", "b").event("01-01", "b")
        self.assertEqual(stream.read("a", "01-15")["distinct_ids"], ["b"])
        self.assertEqual(stream.read("a", "02-15")["distinct_ids"], ["a", "b"])

    def test_anonymous_ids_come_last(self):
        anonymous = "0191-a-b-c-d"
        self.assertEqual(Stream().identify("01-01", anonymous, "user").read("user")["distinct_ids"],
                         ["user", anonymous])


class Storm(unittest.TestCase):
    """What must hold for many random events on few ids and times."""

    def storm(self, seed):
        stream = Stream()
        for _, value in storm.records(events=400, ids=12, seed=seed, days=30):
            stream.send(value)
        return stream

    def test_invariants(self):
        for seed in range(20):
            stream = self.storm(seed)
            self.assertGreater(stream.store.counts["merges"], 0)
            for _, person in stream.store.persons:
                for key, rows in person.rows.items():
                    self.assertEqual(rows, sorted(rows, key=lambda row: row[0]))
                    self.assertEqual(state_before(person, key, (FOREVER,)), fold(rows, key))
                    self.assertTrue(all(row[2] is not ABSENT for row in rows))
            for (_, distinct_id), entries in stream.store.owners.items():
                self.assertEqual(sorted(e.since for e in entries[1:]), [e.since for e in entries[1:]])
                self.assertIn(distinct_id, stream.read(distinct_id)["distinct_ids"])
                for day in range(1, 28):
                    answer = stream.read(distinct_id, f"01-{day:02}")
                    for member in answer["distinct_ids"]:  # identity is a partition at every moment
                        self.assertEqual(stream.read(member, f"01-{day:02}")["uuid"], answer["uuid"])


if __name__ == "__main__":
    unittest.main()
