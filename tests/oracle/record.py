"""Turns one Kafka record into one event: parsing, coercion, times, promotion. Keeps no state.

A record is what `kcat -C -J` prints, an event is what a person's timeline is made of.
Times are integers: microseconds since 1970-01-01 UTC.
"""
import json
import re
import uuid
from datetime import date
from decimal import Decimal

NAMESPACE = uuid.UUID("932979b4-65c3-4424-8467-0b66ec27bc22")
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MAX_DEPTH = 128
MAX_DISTINCT_ID = 200

MERGE_EVENTS = {"$identify": "$anon_distinct_id", "$create_alias": "alias", "$merge_dangerously": "alias"}
NO_PROPERTIES = {"$groupidentify", "$exception", "$$heatmap"}
ALWAYS_RECORDED = {"$identify", "$create_alias", "$merge_dangerously", "$set", "$set_once"}

PROMOTED = frozenset("""
    $app_build $app_name $app_namespace $app_version $browser $browser_version $device_type $current_url $pathname
    $os $os_name $os_version $referring_domain $referrer $screen_height $screen_width $viewport_height $viewport_width
    $raw_user_agent
    utm_source utm_medium utm_campaign utm_content utm_name utm_term gclid gad_source gclsrc dclid gbraid wbraid fbclid
    msclkid twclid li_fat_id mc_cid igshid ttclid rdt_cid irclid _kx epik qclid sccid""".split())
SERVER_HIDES = frozenset(["$os", "$os_name", "$os_version"])
VOLATILE = frozenset("""
    $current_url $pathname $referring_domain $referrer $screen_height $screen_width $viewport_height $viewport_width
    $browser $browser_version $device_type $raw_user_agent $os $os_name $os_version $geoip_postal_code $geoip_time_zone
    $geoip_latitude $geoip_longitude $geoip_accuracy_radius $geoip_subdivision_1_code $geoip_subdivision_1_name
    $geoip_subdivision_2_code $geoip_subdivision_2_name $geoip_subdivision_3_code $geoip_subdivision_3_name
    $geoip_city_confidence $geoip_country_confidence $geoip_postal_code_confidence $geoip_subdivision_1_confidence
    $geoip_subdivision_2_confidence""".split())

# The kinds of operation on one property. The last two are pairs within one event.
SET, SET_ONCE, UNSET, SET_UNSET, ONCE_UNSET = "set", "set_once", "unset", "set+unset", "set_once+unset"


class Drop(Exception):
    """The record yields no event; `dead_letter` says whether it goes to the dead letter topic."""

    def __init__(self, reason, dead_letter=True):
        super().__init__(reason)
        self.reason, self.dead_letter = reason, dead_letter


class Event:
    """One event, ready to be applied."""
    __slots__ = ("project", "uuid", "name", "distinct_id", "raw_distinct_id", "other", "set", "set_once", "unset",
                 "promoted", "promoted_once", "personless", "time", "known", "unparsable_time", "position")


# --- JSON ---------------------------------------------------------------------------------------------------------

class Number(Decimal):
    """A JSON number that compares exactly and remembers how it was written."""
    __slots__ = ("text",)

    def __new__(cls, text):
        try:
            number = super().__new__(cls, text)
        except ArithmeticError:  # an exponent beyond any arithmetic
            number = super().__new__(cls, "-Infinity" if text.startswith("-") else "Infinity")
        number.text = text
        return number


def integer(text):
    return int(text) if len(text) < 19 and text != "-0" else Number(text)


def no_constant(text):
    raise ValueError(f"{text} is not JSON")


DECODER = json.JSONDecoder(parse_float=Number, parse_int=integer, parse_constant=no_constant)
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.S)


def depth(text):
    deepest = level = 0
    for token in TOKENS.findall(text):
        if token in "[{":
            level += 1
            deepest = max(deepest, level)
        elif token in "]}":
            level -= 1
    return deepest


def parse_json(text, reason):
    if text.count("[") + text.count("{") > MAX_DEPTH and depth(text) > MAX_DEPTH:
        raise Drop("too_deep")
    try:
        value = DECODER.decode(text)
        if "\\u" in text:
            to_json(value).encode()  # half a surrogate pair is not text
        return value
    except ValueError:
        raise Drop(reason) from None


def to_json(value):
    """Compact JSON; numbers keep the form in which they came."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{to_json(k)}:{to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, Number):
        return value.text
    return json.dumps(value, ensure_ascii=False)


def same(a, b):
    """Structural equality: 1 equals 1.0, true does not equal 1, the order of keys does not matter."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def without_nul(value):
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {without_nul(k): without_nul(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_nul(v) for v in value]
    return value


def text_of(value):
    """The value as a string; None if it is missing or blank."""
    if value is None:
        return None
    text = value if isinstance(value, str) else to_json(value)
    return text if text.strip() else None


def cut(distinct_id):
    return distinct_id[:MAX_DISTINCT_ID].replace("\0", "\ufffd")


# --- times --------------------------------------------------------------------------------------------------------

TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
                  r" ?(?:([Zz])|([+-])(\d\d):?(\d\d)?)?)?", re.ASCII)
FOUR_CENTURIES = 146_097  # days
UNIX_EPOCH = date(1970, 1, 1).toordinal()


def midnight(year, month, day):
    """Python's calendar begins with the year 1, ours with the year 0."""
    days = date(year or 400, month, day).toordinal() - UNIX_EPOCH
    return (days if year else days - FOUR_CENTURIES) * DAY


YEAR_0, YEAR_10000 = midnight(0, 1, 1), midnight(9999, 12, 31) + DAY


LONG_YEAR = re.compile(r"([+-]?\d{5,})(-.*)", re.ASCII)
NEVER = 10 ** 20  # beyond every year that can be written, even after a clock is corrected


def parse_event_time(text):
    """Like parse_time, but a year may have a sign and more than four digits, as JavaScript writes it."""
    match = LONG_YEAR.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return parse_time(text)
    year, rest = int(match[1]), match[2]
    if 0 <= year <= 9999:
        return parse_time(f"{year:04}{rest}")
    return None if parse_time("2000" + rest) is None else NEVER * (1 if year > 0 else -1)


def parse_time(text):
    """RFC 3339 or ISO 8601 (no offset: UTC; a date alone: midnight) → microseconds; None if it is neither."""
    match = TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, off_hour, off_minute = match.groups()
    hour, minute, second = int(hour or 0), int(minute or 0), int(second or 0)
    off_hour, off_minute = int(off_hour or 0), int(off_minute or 0)
    if hour > 23 or minute > 59 or second > 59 or off_hour > 23 or off_minute > 59:
        return None
    try:
        start = midnight(int(year), int(month), int(day))
    except ValueError:
        return None
    offset = (off_hour * 60 + off_minute) * 60 * (-1 if sign == "-" else 1)
    return start + (hour * 3600 + minute * 60 + second - offset) * SECOND + int((fraction or "0")[:6].ljust(6, "0"))


def format_time(time):
    """RFC 3339 in UTC, microseconds only when not zero."""
    if time is None:
        return None
    days, rest = divmod(time, DAY)
    ordinal = days + UNIX_EPOCH
    day = date.fromordinal(ordinal if ordinal > 0 else ordinal + FOUR_CENTURIES)
    year = day.year if ordinal > 0 else day.year - 400
    seconds, micros = divmod(rest, SECOND)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{year:04}-{day.month:02}-{day.day:02}T{clock}" + (f".{micros:06}Z" if micros else "Z")


def derived_time(data, properties, now, sent_at):
    """(event time from what the SDK sent, whether its timestamp was unparsable)."""
    time, unparsable = now, False
    if data.get("timestamp") is not None:
        stated = parse_event_time(data["timestamp"])
        if stated is None:
            unparsable = True
        elif sent_at is not None and properties.get("$ignore_sent_at") is not True:
            time = stated - (sent_at - now)
        else:
            time = stated
    offset = data.get("offset")
    if isinstance(offset, (int, Decimal)) and not isinstance(offset, bool) and abs(offset) < 10 ** 18:
        time = now - int(offset * 1000)
    return (time if YEAR_0 <= time < YEAR_10000 else 0), unparsable


def header_time(headers):
    text = headers.get("timestamp") or ""
    time = int(text) * 1000 if re.fullmatch(r"-?\d{1,17}", text, re.ASCII) else None
    return time if time is not None and YEAR_0 <= time < YEAR_10000 else None


def set_times(event, value, data, properties, headers, kafka_time, wrapped):
    stated = [t for t in (parse_time(value.get("now")), parse_time(headers.get("now"))) if t is not None]
    now = stated[0] if stated else kafka_time
    event.known = now if now <= kafka_time + DAY else kafka_time
    event.unparsable_time = False
    time = parse_time(value.get("timestamp")) if wrapped else None
    if time is None:
        time = header_time(headers)
    if time is None:
        time, event.unparsable_time = derived_time(data, properties, now, parse_time(value.get("sent_at")))
    event.time = min(time, event.known)


# --- the record ---------------------------------------------------------------------------------------------------

def headers_of(record):
    """kcat prints headers as a flat array of names and values (or, asked so, as a map of arrays)."""
    headers = record.get("headers") or []
    pairs = zip(headers[::2], headers[1::2]) if isinstance(headers, list) else \
        ((name, values[-1] if isinstance(values, list) else values) for name, values in headers.items())
    return {name: value for name, value in pairs if value is not None}


def an_object(container, key):
    value = container.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Drop("wrong_type")
    return value


def event_uuid(value, wrapped, record):
    text = text_of(value.get("uuid"))
    if text is None:
        if wrapped:
            raise Drop("missing_uuid")
        return str(uuid.uuid5(NAMESPACE, f"{record['topic']}:{record['partition']}:{record['offset']}"))
    if not re.fullmatch(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise Drop("invalid_uuid")
    return str(uuid.UUID(text))


def first_text(*candidates):
    return next((text for text in map(text_of, candidates) if text is not None), None)


def other_id(name, properties):
    """The other id that a merge event names, as raw text; None if it names none."""
    if name not in MERGE_EVENTS:
        return None
    value = properties.get(MERGE_EVENTS[name])
    if isinstance(value, (dict, list)):
        raise Drop("invalid_anon_distinct_id" if name == "$identify" else "invalid_alias")
    if value is None or isinstance(value, str):
        return value
    return to_json(value)


def parse(record, projects, topic_number):
    """One record as kcat prints it → Event, or Drop."""
    payload, headers = record.get("payload"), headers_of(record)
    if not payload:
        raise Drop("empty_value")
    try:
        payload.encode()
    except UnicodeEncodeError:  # bytes that were not UTF-8
        raise Drop("not_json") from None
    value = parse_json(payload, "not_json")
    if not isinstance(value, dict):
        raise Drop("wrong_type")
    wrapped = value.get("data") is not None
    data = value["data"] if wrapped else value
    if isinstance(data, str):
        data = parse_json(data, "data_not_json")
    if not isinstance(data, dict):
        raise Drop("wrong_type")
    properties = an_object(data, "properties")
    own_set, own_once = an_object(properties, "$set"), an_object(properties, "$set_once")
    top_set, top_once = an_object(data, "$set"), an_object(data, "$set_once")

    token = first_text(value.get("token"), None if wrapped else value.get("api_key"), data.get("token"),
                       headers.get("token"), properties.get("token"))
    if token not in projects:
        raise Drop("unknown_token", dead_letter=False)
    event = Event()
    event.project = projects[token]
    event.uuid = event_uuid(value, wrapped, record)
    raw = first_text(value.get("distinct_id"), value.get("$distinct_id") if not wrapped else None,
                     data.get("distinct_id"), data.get("$distinct_id"), headers.get("distinct_id"),
                     properties.get("distinct_id"))
    if raw is None:
        raise Drop("missing_distinct_id")
    event.raw_distinct_id, event.distinct_id = raw, cut(raw)
    event.name = first_text(value.get("event"), data.get("event")) or ""
    event.position = (topic_number, record["partition"], record["offset"])
    set_times(event, value, data, properties, headers, record.get("ts", 0) * 1000, wrapped)
    event.personless = properties.get("$process_person_profile") is False \
        or headers.get("force_disable_person_processing") == "true"
    event.other = None if event.personless else other_id(event.name, properties)
    if "u0000" in payload:
        properties, own_set, own_once, top_set, top_once = map(
            without_nul, (properties, own_set, own_once, top_set, top_once))
    event.set, event.set_once = {**own_set, **top_set}, {**own_once, **top_once}
    unset = properties.get("$unset")
    event.unset = [key for key in unset if isinstance(key, str)] if isinstance(unset, (list, dict)) else []
    promote(event, properties)
    return event


def promote(event, properties):
    """Adds the event properties that become person properties, beside the explicit $set and $set_once."""
    hidden = SERVER_HIDES if properties.get("$is_server") is True else ()
    keys = [key for key in properties if key in PROMOTED and key not in hidden]
    found = {key: properties[key] for key in keys if key != "$os_name"}
    once = {"$initial_" + (key[1:] if key[0] == "$" else key): value for key, value in found.items()
            if value is not None}
    if "$os_name" in keys:
        found.setdefault("$os", properties["$os_name"])
        if properties["$os_name"] is not None:
            once.setdefault("$initial_os", properties["$os_name"])
    event.promoted = {key: value for key, value in found.items() if key not in event.set}
    event.promoted_once = {key: value for key, value in once.items() if key not in event.set_once}


def operations(event):
    """{key: (kind, value, explicit)}: what the event would do to its person's properties."""
    if event.name in NO_PROPERTIES:
        return {}
    found = {key: (SET_ONCE, value, False) for key, value in event.promoted_once.items()}
    found.update((key, (SET_ONCE, value, True)) for key, value in event.set_once.items() if value is not None)
    found.update((key, (SET, value, False)) for key, value in event.promoted.items())
    found.update((key, (SET, value, True)) for key, value in event.set.items())
    for key in event.unset:
        kind, value, _ = found.get(key, (UNSET, None, True))
        found[key] = ({SET: SET_UNSET, SET_ONCE: ONCE_UNSET}.get(kind, kind), value, True)
    return found
