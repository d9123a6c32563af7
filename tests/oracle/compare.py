"""Puts the oracle's queries to a running personview, and prints every difference.

    fold.py records.jsonl --sample-queries 10 > queries.jsonl
    fold.py records.jsonl --queries queries.jsonl --out answers.jsonl
    compare.py --url http://127.0.0.1:8000 --key phx_local queries.jsonl answers.jsonl
"""
import argparse
import decimal
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

COMPARED = ["uuid", "properties", "distinct_ids", "created_at", "is_identified", "last_seen_at"]


def ask(arguments, path, parameters):
    url = f"{arguments.url}/api/projects/{arguments.project}/persons{path}?" + urllib.parse.urlencode(parameters)
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {arguments.key}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer, parse_float=decimal.Decimal)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {"error": "not_found"}
        raise SystemExit(f"{url}: {error.code} {error.read().decode()}")


def answer_of(arguments, query):
    """The server's answer in the oracle's form."""
    if query["timestamp"] is None and query["include_set_once"]:
        results = ask(arguments, "", {"distinct_id": query["distinct_id"]})["results"]
        return dict(results[0], existed=True) if results else {"error": "not_found"}
    parameters = {
        "distinct_id": query["distinct_id"],
        "timestamp": query["timestamp"] or "9999-12-31",
        "include_set_once": str(query["include_set_once"]).lower(),
    }
    if query.get("known_at"):
        parameters["known_at"] = query["known_at"]
    person = ask(arguments, "/properties_at_time", parameters)
    if "error" not in person:
        person["existed"] = person["point_in_time_metadata"]["existed"]
    return person


def differences(query, expected, found):
    if "error" in expected or "error" in found:
        return [] if expected.get("error") == found.get("error") else [("error", expected, found)]
    fields = ["existed"] + (COMPARED if expected["existed"] else [])
    if query["timestamp"] is None and not query["include_set_once"]:
        # Asked as of a time after everything, so only recorded operations count as seen.
        fields.remove("last_seen_at")
    pairs = [(field, expected[field], found[field]) for field in fields]
    return [pair for pair in pairs if pair[1] != pair[2]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--project", default="1")
    parser.add_argument("queries")
    parser.add_argument("answers")
    arguments = parser.parse_args()
    compared = different = 0
    with open(arguments.queries) as queries, open(arguments.answers) as answers:
        for query, answer in zip(queries, answers):
            query, answer = json.loads(query), json.loads(answer, parse_float=decimal.Decimal)
            compared += 1
            found = differences(query, answer, answer_of(arguments, query))
            different += bool(found)
            for field, expected, got in found:
                print(f"{json.dumps(query)}\n  {field}: oracle {expected}\n  {field}: server {got}")
    print(f"{compared} reads compared, {different} different")
    sys.exit(1 if different or not compared else 0)


if __name__ == "__main__":
    main()
