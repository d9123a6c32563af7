//! Tests of filters given as JSON: what holds, what is refused, and which column drives the scan.

use super::*;

const NOW: &str = "2026-03-10T12:00:00Z";

fn now() -> Time {
    Time::parse(NOW).unwrap()
}

fn one(operator: &str, value: &str) -> Result<Filter, Error> {
    let json = format!(r#"[{{"key":"k","operator":"{operator}","value":{value}}}]"#);
    let filter = Filter::parse(&json, now())?;
    filter.compile(|| Ok::<_, Error>(()))?;
    Ok(filter)
}

/// Returns whether an operator with a value holds for the value of a property; `-` is a missing one.
#[track_caller]
fn holds(operator: &str, value: &str, property: &str) -> bool {
    let filter = one(operator, value).unwrap();
    let property = (property != "-").then(|| Value::from_json(property));
    filter.holds(&|_| property.as_ref())
}

#[test]
fn every_operator_does_what_its_name_says() {
    for (operator, value, yes, no) in [
        ("exact", "\"pro\"", vec!["\"pro\""], vec!["\"Pro\"", "\"prod\"", "-", "null"]),
        ("exact", "[\"a\", 1]", vec!["\"a\"", "1", "1.0", "\"1\""], vec!["\"b\"", "11", "-"]),
        ("exact", "\"true\"", vec!["true", "\"true\""], vec!["false", "-"]),
        ("exact", "{\"a\":1}", vec!["{\"a\":1.0}"], vec!["{}", "-"]),
        ("is_not", "[\"a\", 1]", vec!["\"b\"", "-", "null"], vec!["\"a\"", "1"]),
        ("icontains", "\"ÄB\"", vec!["\"xäbx\"", "[\"äb\"]"], vec!["\"ab\"", "-", "null"]),
        ("icontains", "\"café\"", vec!["[\"caf\\u00e9\"]"], vec!["[\"caf\\\\u00e9\"]"]),
        ("regex", "\"^.{2}a/b\"", vec!["[\"a\\/b\"]"], vec![]),
        ("not_icontains", "1", vec!["\"x\"", "-", "null"], vec!["21", "\"a1\""]),
        ("regex", "\"^a+$\"", vec!["\"aa\""], vec!["\"ab\"", "-", "null"]),
        ("not_regex", "\"^a+$\"", vec!["\"ab\"", "-", "null"], vec!["\"aa\""]),
        ("gt", "9", vec!["10", "\"10\"", "9.5", "\"a\""], vec!["9", "9.0", "-1", "-", "null"]),
        ("gte", "9", vec!["9.0", "\"9\"", "10"], vec!["8.9", "-"]),
        ("min", "9007199254740993", vec!["9007199254740993"], vec!["9007199254740992"]),
        ("lt", "\"b\"", vec!["\"a\"", "7"], vec!["\"b\"", "\"c\"", "-", "null"]),
        ("lte", "-1", vec!["-1", "-1.5"], vec!["0", "-0.5", "-"]),
        ("max", "3", vec!["3", "-4"], vec!["3.1", "null"]),
        ("between", "[1, \"3\"]", vec!["1", "2.5", "\"3\""], vec!["0", "3.1", "\"x\"", "-"]),
        ("not_between", "[1, 3]", vec!["0", "4", "\"x\""], vec!["1", "3", "-", "null"]),
        ("is_set", "null", vec!["0", "\"\"", "false"], vec!["null", "-"]),
        ("is_not_set", "\"x\"", vec!["null", "-"], vec!["0"]),
        ("in", "[\"a\", 2]", vec!["\"a\"", "2"], vec!["\"b\"", "-", "null"]),
        ("not_in", "[\"a\"]", vec!["\"b\"", "-", "null"], vec!["\"a\""]),
        (
            "is_date_exact",
            "\"2026-03-01\"",
            vec!["\"2026-03-01T23:59:59Z\"", "1772323200", "1772323200000"],
            vec!["\"2026-03-02\"", "\"x\"", "-", "true"],
        ),
        ("is_date_before", "\"2026-03-01\"", vec!["\"2026-02-28\""], vec!["\"2026-03-01\"", "-"]),
        ("is_date_after", "\"2026-03-01\"", vec!["\"2026-03-02\""], vec!["\"2026-03-01T05:00\""]),
        ("is_date_after", "\"-7d\"", vec!["\"2026-03-03T12:00:01Z\""], vec!["\"2026-03-03\""]),
        ("is_date_exact", "\"-7d\"", vec!["\"2026-03-03\""], vec!["\"2026-03-04\"", "1"]),
        ("is_date_exact", "\"-2h\"", vec!["\"2026-03-10T10:00\""], vec!["\"2026-03-10T10:01\""]),
        ("in", "[null, 1]", vec!["1"], vec!["\"null\"", "-"]),
        ("is_date_before", "\"-2h\"", vec!["\"2026-03-10T09:00\""], vec!["\"2026-03-10T10:00\""]),
        ("is_date_after", "\"-1m\"", vec!["\"2026-02-11\""], vec!["\"2026-02-10\""]),
        ("is_date_after", "\"-1y\"", vec!["\"2025-03-11\""], vec!["\"2025-03-10\""]),
        ("is_date_before", "\"2026-03-01\"", vec!["1"], vec!["-9223372036854775808"]),
        ("is_date_before", "\"-2w\"", vec!["\"2026-02-24\""], vec!["\"2026-02-25\""]),
        ("semver_eq", "\"1.2\"", vec!["\"v1.2.0\"", "\"1.2\""], vec!["\"1.2.1\"", "\"x\"", "-"]),
        ("semver_neq", "\"1.2.0\"", vec!["\"1.2.1\""], vec!["\"1.2\"", "-"]),
        ("semver_gt", "\"1.9.0\"", vec!["\"1.10.0\"", "2"], vec!["\"1.9.0\"", "\"1.9.0-rc.1\""]),
        ("semver_gte", "\"1.9.0\"", vec!["\"1.9.0\""], vec!["\"1.8.9\"", "null"]),
        ("semver_lt", "\"1.9.0\"", vec!["\"1.9.0-rc.1\"", "1"], vec!["\"1.9\"", "-"]),
        ("semver_lte", "\"1.9.0\"", vec!["\"1.9.0\""], vec!["\"1.9.1\""]),
        ("semver_tilde", "\"1.2.3\"", vec!["\"1.2.9\""], vec!["\"1.3.0\"", "\"1.2.2\"", "-"]),
        // Build metadata does not affect the order of versions.
        ("semver_lte", "\"1.2.3\"", vec!["\"1.2.3+45\""], vec!["\"1.2.4+1\""]),
        ("semver_neq", "\"1.2.3\"", vec!["\"1.2.4\""], vec!["\"1.2.3+45\""]),
        ("semver_wildcard", "\"1.2\"", vec!["\"1.2.9\""], vec!["\"1.3.0\"", "\"1.1.9\""]),
        ("semver_wildcard", "\"1.2.3\"", vec!["\"1.2.3\""], vec!["\"1.2.4\"", "\"1.9.9\""]),
        ("semver_wildcard", "\"*\"", vec!["\"7.0.0\""], vec!["-"]),
        ("semver_tilde", "\"v1.2\"", vec!["\"v1.2.9\""], vec!["\"1.3.0\""]),
        ("semver_wildcard", "\"v1.*\"", vec!["\"1.2.0\""], vec!["\"2.0.0\""]),
        ("semver_caret", "\"1.2.3\"", vec!["\"1.9.0\""], vec!["\"2.0.0\"", "\"1.2.2\"", "-"]),
        ("semver_wildcard", "\"1.2.*\"", vec!["\"1.2.0\"", "\"1.2.7\""], vec!["\"1.3.0\"", "-"]),
    ] {
        for property in yes {
            assert!(holds(operator, value, property), "{property} {operator} {value}");
        }
        for property in no {
            assert!(!holds(operator, value, property), "not: {property} {operator} {value}");
        }
    }
}

#[test]
fn the_plus_of_a_filters_offset_may_have_become_a_blank() {
    for value in ["12:00:00 02:00", "12:00 0200", "12:00 02"] {
        let value = format!("\"2026-03-01T{value}\"");
        assert!(holds("is_date_after", &value, "\"2026-03-01T10:00:01Z\""), "{value}");
        assert!(!holds("is_date_after", &value, "\"2026-03-01T10:00:00Z\""), "{value}");
        assert!(!holds("is_date_before", "\"2027-01-01\"", &value), "of a property it is no date");
    }
}

#[test]
fn groups_are_joined_to_any_depth() {
    let json = r#"{"type": "OR", "values": [
        {"key": "a", "value": "1"},
        {"type": "AND", "values": [
            {"key": "b", "value": 2, "type": "person"},
            {"key": "c", "operator": "is_not_set", "value": ""}]}]}"#;
    let filter = Filter::parse(json, now()).unwrap();
    let with = |values: &[(&str, &str)]| {
        let values: Vec<_> =
            values.iter().map(|(key, json)| (*key, Value::from_json(json))).collect();
        filter.holds(&|key| values.iter().find(|(name, _)| *name == key).map(|(_, value)| value))
    };
    assert!(with(&[("a", "1")]));
    assert!(with(&[("b", "2")]));
    assert!(!with(&[("b", "2"), ("c", "0")]));
    assert!(!with(&[]));
    let empty = r#"{"type": "OR", "values": []}"#;
    for nothing in
        ["[]", empty, &format!("[{empty}]"), &format!(r#"{{"type": "OR", "values": [{empty}]}}"#)]
    {
        let nothing = Filter::parse(nothing, now()).unwrap();
        assert!(nothing.is_empty() && nothing.holds(&|_| None), "no condition leaves nobody out");
    }
    let one = format!(r#"{{"type": "OR", "values": [{empty}, {{"key": "a", "value": 1}}]}}"#);
    assert!(!Filter::parse(&one, now()).unwrap().holds(&|_| None), "an empty group is left out");
}

#[test]
fn a_hundred_conditions_are_enough_in_a_group_too() {
    let group = |count: usize| {
        let conditions = vec![r#"{"key": "k", "value": 1}"#; count].join(",");
        Filter::parse(&format!(r#"{{"type": "AND", "values": [{conditions}]}}"#), now())
    };
    assert!(group(MAX_CONDITIONS).is_ok());
    assert_eq!(group(MAX_CONDITIONS + 1).unwrap_err(), Error::TooLarge);
    let groups = vec![r#"{"type": "OR", "values": []}"#; MAX_CONDITIONS + 1].join(",");
    assert_eq!(Filter::parse(&format!("[{groups}]"), now()).unwrap_err(), Error::TooLarge);
}

#[test]
fn groups_have_so_many_levels_and_no_more() {
    let nested = |levels: usize| {
        let (begin, end) = (r#"{"type": "AND", "values": ["#.repeat(levels), "]}".repeat(levels));
        Filter::parse(&format!(r#"{begin}{{"key": "a", "value": 1}}{end}"#), now())
    };
    assert!(nested(MAX_DEPTH).is_ok());
    assert_eq!(nested(MAX_DEPTH + 1).unwrap_err(), Error::TooLarge);
}

#[test]
fn an_invalid_filter_says_why() {
    for json in ["", "x", "7", "[7]", "{}", r#"[{"value": 1}]"#, r#"{"type":"X","values":[]}"#] {
        let error = Filter::parse(json, now()).unwrap_err();
        assert_eq!(error.to_string(), "Properties are unparsable!", "{json}");
    }
    let error = |operator: &str, value: &str| one(operator, value).unwrap_err().to_string();
    assert_eq!(error("likes", "1"), "The operator 'likes' is not known.");
    assert_eq!(
        error("in", "1"),
        "The value of 'k' cannot be used by the operator in: it must be an array."
    );
    for (operator, value) in [
        ("exact", "null"),
        ("gt", "[]"),
        ("between", "[1]"),
        ("between", "[1, \"x\"]"),
        ("regex", "\"(\""),
        ("regex", "\"(?=a)\""),
        ("regex", "\"(((a{1000}){1000}){1000})\""),
        ("icontains", "{}"),
        ("is_date_before", "\"soon\""),
        ("is_date_before", "\"-7x\""),
        ("is_date_before", "\"-99999999999y\""),
        ("semver_gt", "\"one\""),
        ("semver_tilde", "\"x\""),
        ("semver_tilde", "\"1.2.3, <9\""),
        ("semver_caret", "\"1.2.3, <9\""),
        ("semver_wildcard", "\">=1, <5\""),
        ("semver_wildcard", "\"1.*.2\""),
    ] {
        assert!(matches!(one(operator, value), Err(Error::Value { .. })), "{operator} {value}");
    }
    for operator in ["not_exact", "not_gt", "not_is_set", "is_date_", "semver_", "semver_near"] {
        assert!(one(operator, "\"1\"").is_err(), "{operator}");
    }
    for (name, meant) in [("op", "operator"), ("Operator", "operator"), ("vaule", "value")] {
        let error = Filter::parse(&format!(r#"[{{"key": "a", "{name}": "1"}}]"#), now());
        assert_eq!(error.unwrap_err(), Error::Field { name: name.to_owned(), meant });
    }
    let more = r#"[{"key": "a", "value": 1, "label": "A", "group_type_index": null, "v": 1}]"#;
    assert!(Filter::parse(more, now()).is_ok(), "clients send more than is needed");
    let cohort = Filter::parse(r#"[{"key":"id","value":7,"type":"cohort"}]"#, now());
    assert_eq!(cohort.unwrap_err(), Error::Type("cohort".to_owned()));
    let many = format!("[{}]", vec![r#"{"key":"a","value":1}"#; 101].join(","));
    assert_eq!(Filter::parse(&many, now()).unwrap_err(), Error::TooLarge);
    let deep = format!("{}[]{}", r#"{"type":"AND","values":["#.repeat(12), "]}".repeat(12));
    assert!(Filter::parse(&deep, now()).is_err());
}

#[test]
fn compiling_can_be_ended_before_each_pattern() {
    let pattern = |key: &str| format!(r#"{{"key": "{key}", "operator": "regex", "value": "x"}}"#);
    let json = format!(
        r#"{{"type": "OR", "values": [{}, {{"type": "AND", "values": [{}, {}]}}]}}"#,
        pattern("a"),
        pattern("b"),
        pattern("c")
    );
    let filter = Filter::parse(&json, now()).unwrap();
    let checks = std::cell::Cell::new(0);
    let check = |allowed| {
        checks.set(checks.get() + 1);
        if checks.get() <= allowed { Ok(()) } else { Err(Error::Unparsable) }
    };
    assert_eq!(filter.compile(|| check(2)), Err(Error::Unparsable));
    assert_eq!(checks.take(), 3);
    assert_eq!(filter.compile(|| check(3)), Ok(()));
    let (found, missed) = (Value::from_json("\"x\""), Value::from_json("\"y\""));
    assert!(filter.holds(&|key| Some(if key == "a" { &found } else { &missed })));
    assert!(!filter.holds(&|key| Some(if key == "b" { &found } else { &missed })));
}
