//! CSV: which requests get it, and what it contains.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::api::table;

const KIND: &str = "text/csv; charset=utf-8; header=present";

/// Returns the body of a successful answer in CSV.
#[track_caller]
fn ok(reply: Reply) -> String {
    assert!(reply.status.is_success(), "{}", reply.body);
    assert_eq!(reply.header("content-type"), KIND);
    reply.body
}

/// Parses CSV into its header and rows, as another program would.
fn parsed(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = ::csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let owned = |record: &::csv::StringRecord| record.iter().map(str::to_owned).collect();
    let header = owned(reader.headers().unwrap());
    (header, reader.records().map(|record| owned(&record.unwrap())).collect())
}

/// Returns the cells of a row by the names of their columns; null is an empty cell.
fn flat(json: &Json) -> BTreeMap<String, String> {
    fn cells(name: &str, json: &Json, found: &mut BTreeMap<String, String>) {
        let within = |key: &str| if name.is_empty() { key.into() } else { format!("{name}.{key}") };
        match json {
            Json::Object(object) => {
                object.iter().for_each(|(key, json)| cells(&within(key), json, found));
            }
            Json::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, json)| cells(&within(&index.to_string()), json, found)),
            Json::Null => _ = found.insert(name.into(), String::new()),
            Json::String(text) => _ = found.insert(name.into(), text.clone()),
            other => _ = found.insert(name.into(), other.to_string()),
        }
    }
    let mut found = BTreeMap::new();
    cells("", json, &mut found);
    found
}

/// Returns the table that JSON rows must become, if no text in them is one that a spreadsheet runs.
pub fn expected<'j>(rows: impl Iterator<Item = &'j Json>) -> (Vec<String>, Vec<Vec<String>>) {
    let rows: Vec<_> = rows.map(flat).collect();
    let header: BTreeSet<_> = rows.iter().flat_map(BTreeMap::keys).cloned().collect();
    let cell = |row: &BTreeMap<_, _>, name| row.get(name).cloned().unwrap_or_default();
    let lines = rows.iter().map(|row| header.iter().map(|name| cell(row, name)).collect());
    let lines = lines.collect();
    (header.into_iter().collect(), lines)
}

/// Parses an answer in CSV.
#[track_caller]
pub fn read(reply: Reply) -> (Vec<String>, Vec<Vec<String>>) {
    parsed(&ok(reply))
}

#[tokio::test]
async fn a_list_has_a_row_for_each_person() {
    let world = World::new();
    let reply = world.get(&format!("{LIST}?format=csv")).await;
    assert_eq!(reply.header("content-disposition"), "attachment; filename=\"persons.csv\"");
    assert_eq!(reply.header("cache-control"), "private, no-cache");
    let position = world.get(LIST).await.header("x-personview-position").to_owned();
    assert_eq!(reply.header("x-personview-position"), position);
    let ann = world.get(&format!("{LIST}/{ANN}")).await.json();
    assert_eq!(
        ok(reply),
        format!(
            "created_at,distinct_ids.0,distinct_ids.1,id,is_identified,last_seen_at,name,\
             properties.email,properties.from,properties.n,properties.n.0,properties.plan,\
             properties.theme,uuid\r\n\
             2026-03-01T15:00:00Z,bob,,120747818924389,false,2026-03-01T16:00:00Z,bob,\
             ,,,1,,,7d15b82a-df57-5ed7-b9e0-6dd1cadab965\r\n\
             2026-03-01T10:00:00Z,ann,a-b-c-d-e,{},true,2026-03-01T13:00:00Z,ann@x.org,\
             ann@x.org,ad,1.0,,pro,dark,{ANN}\r\n",
            ann["id"]
        )
    );
}

#[tokio::test]
async fn the_parameter_decides_and_else_the_header() {
    let world = World::new();
    for path in ["", &format!("/{ANN}"), "/values?key=plan"] {
        let url = format!("{LIST}{path}");
        let and = if path.contains('?') { '&' } else { '?' };
        for (parameter, accept, csv) in [
            ("", "text/csv", true),
            ("format=csv", "application/json", true),
            ("format=json", "text/csv", false),
            ("format=", "text/csv;q=0.9, application/json;q=0.1", true),
            ("", "text/csv;q=0.1, application/json;q=0.9", false),
            ("", "*/*", false),
        ] {
            let url = format!("{url}{and}{parameter}");
            let reply = world.get_with(&url, &[("accept", accept)]).await;
            let kind = if csv { KIND } else { "application/json" };
            assert_eq!(reply.header("content-type"), kind, "{path} {parameter} {accept}");
            let varies = !parameter.contains("=c") && !parameter.contains("=j");
            assert_eq!(reply.header("vary"), if varies { "Accept" } else { "" }, "{parameter}");
            let is_file = csv && !path.contains(ANN);
            assert_eq!(reply.headers.contains_key("content-disposition"), is_file, "{path}");
        }
        let (status, body) = world.get(&format!("{url}{and}format=xml")).await.error();
        assert!(status == 400 && body.contains("format must be json or csv"), "{body}");
        assert!(body.contains(r#""attr":"format""#), "{body}");
    }
}

#[tokio::test]
async fn errors_stay_json() {
    let world = World::new();
    for (url, status) in [
        ("/1?format=csv", 404),
        ("/1/history?format=csv", 404),
        ("/x?format=csv", 400),
        ("?format=csv&order_by=x", 400),
        ("?format=csv&limit=0", 400),
        ("?format=csv&min_position=events:0:99", 503),
    ] {
        assert_eq!(world.get(&format!("{LIST}{url}")).await.error().0, status, "{url}");
    }
    let reply = world.ask(Method::GET, &format!("{LIST}?format=xml"), &[]).await;
    assert_eq!(reply.error().0, 401, "the key is judged first");
}

#[tokio::test]
async fn one_person_is_one_row_with_a_tag_of_its_own() {
    let world = World::new();
    let url = format!("{LIST}/{ANN}");
    let json = world.get(&url).await;
    let reply = world.get(&format!("{url}?format=csv")).await;
    let tag = reply.header("etag").to_owned();
    assert_ne!(tag, json.header("etag"));
    assert_eq!(read(reply), expected([json.json()].iter()));
    let known = [("accept", "text/csv"), ("if-none-match", tag.as_str())];
    let known = world.get_with(&url, &known).await;
    assert_eq!((known.status.as_u16(), known.body.as_str()), (304, ""));
    assert_eq!((known.header("etag"), known.header("vary")), (tag.as_str(), "Accept"));
    let accept = [("accept", "text/csv")];
    let head = world.request_with(READER, Method::HEAD, &url, &accept, &Json::Null).await;
    assert_eq!((head.header("etag"), head.header("content-type")), (tag.as_str(), KIND));
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_write_is_answered_as_a_row() {
    let world = World::new();
    let set = json!({"properties": {"plan": "team"}, "format": "any, as a person may have it"});
    let url = format!("{LIST}/{ANN}?format=csv");
    let (header, rows) = read(world.request(WRITER, Method::PATCH, &url, &set).await);
    let plan = header.iter().position(|name| name == "properties.plan").unwrap();
    assert_eq!((rows.len(), rows[0][plan].as_str()), (1, "team"));
    let unset = json!({"$unset": "plan"});
    let url = format!("{LIST}/{ANN}/delete_property?format=csv");
    assert_eq!(ok(world.request(WRITER, Method::POST, &url, &unset).await), "success\r\ntrue\r\n");
    *world.log.kafka.lock().unwrap() = Kafka::Slow;
    let reply = world.request(WRITER, Method::POST, &url, &unset).await;
    assert_eq!(reply.status, 202);
    assert!(ok(reply).starts_with("accepted,position\r\ntrue,"));
}

#[tokio::test]
async fn an_unknown_format_is_refused_before_anything_is_written() {
    let world = World::new();
    let url = format!("{LIST}/{ANN}?format=xml");
    let set = json!({"properties": {"plan": "team"}});
    assert_eq!(world.request(WRITER, Method::PATCH, &url, &set).await.error().0, 400);
    assert_eq!(world.log.appended.load(Ordering::SeqCst), 0);
    let reply = world.ask(Method::PATCH, &url, &[]).await;
    assert_eq!(reply.error().0, 401, "the key is judged first");
}

#[tokio::test]
async fn every_answer_is_a_table() {
    let world = World::roomy();
    for (url, results) in [
        ("/api/projects/?", Some("/results")),
        ("/api/projects/1?", None),
        (
            "/api/projects/1/persons/properties_at_time?distinct_id=ann&timestamp=2026-03-01T11:00:00Z&debug=true&",
            None,
        ),
        (
            "/api/projects/1/persons/fe27503b-3771-5a01-819d-96bf829dfb35/diff?from=2026-02-01&to=2026-03-02&",
            None,
        ),
        ("/api/projects/1/persons/fe27503b-3771-5a01-819d-96bf829dfb35/history?", Some("/results")),
        (
            "/api/projects/1/persons/fe27503b-3771-5a01-819d-96bf829dfb35/history?key=plan&limit=2&",
            Some("/results"),
        ),
        (
            "/api/projects/1/persons/fe27503b-3771-5a01-819d-96bf829dfb35/history?key=nothing&",
            Some("/results"),
        ),
        ("/api/projects/1/persons/values?key=distinct_id&", Some("/results")),
        ("/api/projects/1/persons/values?key=distinct_id&value=A-&limit=1&", Some("/results")),
        ("/api/projects/1/persons/values?key=email&", Some("/results")),
        ("/api/projects/1/persons?email=ann@x.org&", Some("/results")),
        ("/api/projects/1/persons?limit=1&offset=1&", Some("/results")),
    ] {
        let json = world.get_as(OF_TWO, &format!("{url}format=json")).await.json();
        let rows = match results {
            Some(path) => json.pointer(path).unwrap().as_array().unwrap().clone(),
            None => vec![json],
        };
        let csv = world.get_as(OF_TWO, &format!("{url}format=csv")).await;
        assert_eq!(read(csv), expected(rows.iter()), "{url}");
    }
}

#[tokio::test]
async fn the_id_that_was_asked_for_is_a_column() {
    let world = World::roomy();
    let url = format!("{LIST}/batch_by_distinct_ids?format=csv");
    let ids = json!({"distinct_ids": ["bob", "nobody", "a-b-c-d-e"]});
    let (header, rows) = read(world.request(WRITER, Method::POST, &url, &ids).await);
    assert_eq!(header[0], "asked");
    let uuid = header.iter().position(|name| name == "uuid").unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[uuid].clone())).collect();
    assert_eq!(told, [("bob", person_uuid(1, "bob")), ("a-b-c-d-e", ANN.to_owned())]);
}

#[tokio::test]
async fn lines_are_answered_with_lines() {
    let world = World::new();
    let line = "{\"distinct_id\":\"ann\",\"timestamp\":\"2026-03-02\"}";
    let ask = async |query: &str| {
        let headers = [("authorization", "Bearer phx_reader"), ("accept", "text/csv")];
        let url = format!("{LIST}/properties_at_time{query}");
        world.send_with(Method::POST, &url, &headers, line).await
    };
    let (status, body) = ask("?format=csv").await.error();
    assert!(status == 400 && body.contains("lines of JSON"), "{body}");
    let reply = ask("").await;
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
}

#[test]
fn nested_values_become_columns() {
    for (json, csv) in [
        ("{}", ""),
        (r#"{"results":[]}"#, ""),
        (r#"{"a":{},"b":[],"c":null}"#, "c\r\n\"\"\r\n"),
        (
            r#"{"b":{"$os":"x","z":[true,{"y":false}]},"a":1}"#,
            "a,b.$os,b.z.0,b.z.1.y\r\n1,x,true,false\r\n",
        ),
        (
            r#"{"n":[-5,1.0,1e5,-0.10,123456789012345678901234567890]}"#,
            "n.0,n.1,n.2,n.3,n.4\r\n-5,1.0,1e5,-0.10,123456789012345678901234567890\r\n",
        ),
        (r#"{"t":"a,\"b\"\r\nü\u00e9"}"#, "t\r\n\"a,\"\"b\"\"\r\nüé\"\r\n"),
        (
            r#"{"results":[{"a":1},{"b":{"c":2}},{"a":null}],"next":"x"}"#,
            "a,b.c\r\n1,\r\n,2\r\n,\r\n",
        ),
        (r#"{"results":{"=x":{"a":1},"y":{}}}"#, "a,asked\r\n1,'=x\r\n,y\r\n"),
        // A dot in a key is not a step of a path: both columns have that name.
        (
            r#"{"results":[{"a":{"b":1}},{"a.b":2},{"a":{"b":3},"a.b":4}]}"#,
            "a.b,a.b\r\n1,\r\n,2\r\n3,4\r\n",
        ),
    ] {
        let made = table::of_answer(json.as_bytes(), usize::MAX).unwrap();
        assert_eq!(String::from_utf8(made).unwrap(), csv, "{json}");
    }
    assert!(table::of_answer(b"{\"a\":", usize::MAX).is_err());
}

#[test]
fn text_that_a_spreadsheet_would_run_is_made_inert() {
    for text in [
        "=1+1",
        "+1",
        "-5",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        " =1",
        "\u{a0}-1",
        "\u{feff}=1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        " \t＝1",
        "=",
        "-",
    ] {
        let json = json!({"=x": text, "y": [text]}).to_string();
        let made =
            String::from_utf8(table::of_answer(json.as_bytes(), usize::MAX).unwrap()).unwrap();
        let (header, rows) = parsed(&made);
        assert_eq!(header, ["'=x", "y.0"]);
        assert_eq!(rows, [[format!("'{text}"), format!("'{text}")]]);
    }
    for text in ["a=1", "1-1", "'=1", "", " ", "x@y.z", "#=1"] {
        let json = json!({"y": text}).to_string();
        let made =
            String::from_utf8(table::of_answer(json.as_bytes(), usize::MAX).unwrap()).unwrap();
        assert_eq!(parsed(&made).1, [[text]], "{text} is left as it is");
    }
}

fn values() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1e9..1e9).prop_map(Json::from),
        "\\PC*".prop_map(Json::from),
        "[-=+@＝ \t\r\n\",;a]{0,4}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-z$=-]{1,3}", inner, 0..4)
                .prop_map(|map| Json::from(map.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn a_table_reads_back_as_what_it_was_made_of(
        rows in prop::collection::vec(prop::collection::btree_map("[a-z]", values(), 1..5), 1..5)
    ) {
        let rows: Vec<_> = rows.into_iter().map(|row| json!(row)).collect();
        let (header, cells) = expected(rows.iter());
        prop_assume!(!header.is_empty());
        let json = json!({"results": rows}).to_string();
        let made = String::from_utf8(table::of_answer(json.as_bytes(), usize::MAX).unwrap()).unwrap();
        let (found_header, found) = parsed(&made);
        prop_assert_eq!(found_header, header);
        prop_assert_eq!(found.len(), cells.len());
        for (found, cell) in found.iter().flatten().zip(cells.iter().flatten()) {
            let is_number = cell.parse::<f64>().is_ok();
            let runs = found.trim_start().starts_with(['=', '+', '-', '@', '＝']) || found.starts_with(['\t', '\r']);
            prop_assert!(is_number || !runs, "{:?}", found);
            prop_assert!(found == cell || *found == format!("'{cell}"), "{:?} of {:?}", found, cell);
        }
    }
}
