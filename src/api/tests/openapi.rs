//! The OpenAPI document: complete, consistent, and in line with the router.

use std::collections::BTreeMap;

use super::contract::{DOCUMENT, resolve, template};
use super::*;

const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Yields every operation: its path, its method, and its description.
pub fn operations(document: &Json) -> impl Iterator<Item = (&str, Method, &Json)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        METHODS.into_iter().filter_map(move |method| {
            let operation = item.get(method.as_str().to_lowercase())?;
            Some((path.as_str(), method, operation))
        })
    })
}

/// Fills in the parameters of a path.
fn filled(path: &str) -> String {
    path.replace("{project_id}", "1").replace("{id}", ANN).replace("{file}", "index.css")
}

#[tokio::test]
async fn a_method_is_in_the_router_where_it_is_in_the_document() {
    let world = World::new();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    assert!(paths.len() > 30);
    for (path, item) in paths {
        for method in METHODS {
            let is_told = item.get(method.as_str().to_lowercase()).is_some();
            for slash in ["", "/"] {
                let url = format!("{}{slash}", filled(path));
                let reply = world.ask(method.clone(), &url, &[]).await;
                assert_eq!(reply.status == 405, !is_told, "{method} {url}: {}", reply.body);
                assert!(!reply.body.contains("Endpoint not found"), "{method} {url}");
            }
        }
    }
}

#[test]
fn the_description_beside_a_handler_is_of_its_own_route() {
    for (path, told) in router::told() {
        assert!(path == told || path == "/api/environments", "{path} is told of as {told}");
    }
}

#[test]
fn both_prefixes_have_the_same_routes() {
    let of = |prefix: &str| -> BTreeMap<_, _> {
        let all = operations(&DOCUMENT);
        let mut found = BTreeMap::new();
        for (path, method, operation) in all {
            if let Some(rest) = path.strip_prefix(prefix) {
                let mut operation = operation.clone();
                operation["operationId"] = Json::Null;
                found.insert(format!("{method} {rest}"), operation);
            }
        }
        found
    };
    let projects = of("/api/projects");
    assert!(projects.len() > 15);
    assert_eq!(projects, of("/api/environments"));
}

#[test]
fn operations_have_a_name_of_their_own_and_words() {
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&DOCUMENT) {
        let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
        assert!(names.insert(text("operationId")), "{} is there twice", text("operationId"));
        assert!(!text("summary").is_empty(), "{method} {path}");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolve(&DOCUMENT, parameter);
            assert!(parameter["description"].is_string(), "{method} {path} {parameter}");
        }
    }
    for name in ["persons_list", "environments_persons_partial_update", "persons_update"] {
        assert!(names.contains(name), "{names:#?}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_referred_to() {
    fn collect(json: &Json, found: &mut BTreeSet<String>) {
        match json {
            Json::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Json::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, found));
            }
            Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(&DOCUMENT, &mut found);
    let mut there = BTreeSet::new();
    for kind in ["schemas", "responses", "parameters"] {
        let named = DOCUMENT["components"][kind].as_object().unwrap().keys();
        there.extend(named.map(|name| format!("#/components/{kind}/{name}")));
    }
    assert_eq!(found, there);
}

/// Asks by uuid, by integer id and by distinct id: in the path, in the query and in the body.
#[tokio::test]
async fn no_route_tells_a_project_of_another_ones_persons() {
    const PLANTED: &str = "planted-in-two";
    let mut world = World::new();
    world.ingest(&[
        event("10:00", "of-one").with(json!({"$set": {"plan": "one"}})),
        event("10:00", "of-two").with(json!({"$set": {"plan": PLANTED}})).of_project_2(),
    ]);
    let url = "/api/projects/2/persons";
    let list = world.get_as(OF_TWO, url).await.ok();
    assert!(list.contains(PLANTED));
    let uuid = person_uuid(2, "of-two");
    let id = serde_json::from_str::<Json>(&list).unwrap()["results"][0]["id"].to_string();
    let body = json!({
        "distinct_ids": ["of-two"], "uuids": [uuid], "ids": [uuid], "distinct_id": "of-two",
        "timestamp": "2026-03-02", "key": "plan", "value": "x", "$unset": "plan",
        "properties": {"plan": "x"},
    });
    let mut asked = 0;
    for (path, method, operation) in operations(&DOCUMENT) {
        if operation["x-required-scope"].is_null() {
            continue;
        }
        for person_ref in [&uuid, &id] {
            for query in [
                "distinct_id=of-two".to_owned(),
                format!("person_id={person_ref}"),
                "key=plan&search=two".to_owned(),
                format!("email={PLANTED}"),
            ] {
                let path = path.replace("{project_id}", "1").replace("{id}", person_ref);
                let url = format!(
                    "{path}?{query}&timestamp=2026-03-02&from=2026-03-01&to=2026-03-02&debug=true"
                );
                let reply = world.request(WRITER, method.clone(), &url, &body).await;
                // An answer may repeat what was asked for.
                let tells = |text: &str| reply.body.contains(text) && !url.contains(text);
                assert!(!tells(PLANTED) && !tells(&uuid), "{method} {url}: {}", reply.body);
                asked += 1;
            }
        }
    }
    assert!(asked > 200, "{asked}");
    assert_eq!(world.get_as(OF_TWO, url).await.ok(), list, "nothing was written");
}

#[tokio::test]
async fn the_document_is_served_with_a_tag() {
    let world = World::new();
    let reply = world.ask(Method::GET, "/openapi.json", &[]).await;
    let tag = reply.header("etag").to_owned();
    let served: Json = serde_json::from_str(&reply.ok()).unwrap();
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served, serde_json::from_str::<Json>(&openapi()).unwrap());
    let reply = world.ask(Method::GET, "/openapi.json/", &[("if-none-match", &tag)]).await;
    assert_eq!(reply.status, 304);
}

#[tokio::test]
async fn the_page_asks_nobody_else() {
    let world = World::new();
    let reply = world.ask(Method::GET, "/docs", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.header("location")), (308, "docs/"));
    let page = world.ask(Method::GET, "/docs/", &[]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
    let named = page.body.split('"').filter(|text| text.contains(".css") || text.contains(".js"));
    let named: Vec<_> = named.collect();
    assert!(named.len() >= 4, "{named:?}");
    for name in named {
        let url = format!("/docs/{}", name.strip_prefix("./").unwrap_or(name));
        let reply = world.ask(Method::GET, &url, &[]).await;
        assert_eq!(reply.status, 200, "{url}");
    }
    let script = world.ask(Method::GET, "/docs/swagger-initializer.js", &[]).await;
    assert!(script.body.contains("../openapi.json"), "{}", script.body);
    assert!(script.body.contains(r#""validatorUrl": "none""#), "{}", script.body);
    assert_eq!(world.ask(Method::GET, "/docs/nothing.js", &[]).await.status, 404);
}

#[test]
fn the_document_is_the_one_that_was_reviewed() {
    insta::assert_snapshot!("document", openapi());
}

/// The commands of a page's `sh` blocks, each on one line.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1);
    let lines = blocks.map(|block| block.split("```").next().unwrap().replace("\\\n", " "));
    let lines: Vec<_> = lines.collect();
    let lines = lines.iter().flat_map(|block| block.lines());
    lines.filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

#[test]
fn every_route_has_an_example_in_the_reference() {
    let page = include_str!("../../../docs/api.md");
    let mut shown = BTreeSet::new();
    for command in commands(page) {
        let words: Vec<_> = command.split_whitespace().collect();
        let given = words.iter().position(|word| *word == "-X").map(|index| words[index + 1]);
        let is_post = words.iter().any(|word| matches!(*word, "-d" | "--data-binary"));
        let method = given.unwrap_or(if is_post { "POST" } else { "GET" });
        let url =
            command.split("http://127.0.0.1:8000").nth(1).unwrap_or_else(|| panic!("{command}"));
        let path = url.split(['\'', '?', ' ']).next().unwrap();
        let (path, _) = template(&DOCUMENT, path).unwrap_or_else(|| panic!("{command}"));
        shown.insert(format!("{method} {path}"));
    }
    let of_project =
        operations(&DOCUMENT).filter(|(path, ..)| !path.starts_with("/api/environments"));
    let all = of_project.map(|(path, method, _)| format!("{method} {path}"));
    let missing: Vec<_> = all.filter(|route| !shown.contains(route)).collect();
    assert!(missing.is_empty(), "no example for {missing:#?}");
}
