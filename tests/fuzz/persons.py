"""Prints capture events that create 400 persons, with values of every kind; one in four is merged."""

import json


def event(name, distinct_id, timestamp, properties):
    print(json.dumps({
        "token": "phc_fuzz", "event": name, "distinct_id": distinct_id,
        "timestamp": timestamp, "properties": properties,
    }))


for n in range(400):
    user, day = f"user-{n}", n % 28 + 1
    event("$set", user, f"2026-02-{day:02}T10:00:00Z", {"$set": {
        "email": f"{user}@example.com", "plan": f"plan-{n % 5}", "seats": n,
        "tags": ["a", n], "nested": {"deep": None}, "none": None,
    }})
    event("plan changed", user, f"2026-02-{day:02}T11:00:00Z", {"$set": {"plan": "team"}})
    if n % 4 == 0:
        event("$identify", user, f"2026-03-{day:02}T10:00:00Z", {
            "$anon_distinct_id": f"anonymous-{n}", "$set_once": {"from": "ad"},
        })
