//! Checks every answer of these tests against the OpenAPI document: a status, a field or a header that is
//! not documented is an error.

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonschema::{Draft, Validator};

use super::*;

/// The document with closed objects: a field that is not documented matches no schema.
pub static DOCUMENT: LazyLock<Json> = LazyLock::new(|| {
    let mut document = serde_json::to_value(router::document()).unwrap();
    close(&mut document);
    document
});

/// Compiled schemas, by the operation and status that they belong to.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Headers that HTTP itself defines, and that every answer may have.
const PLAIN: [&str; 7] = [
    "content-type",
    "content-length",
    "cache-control",
    "allow",
    "location",
    "vary",
    "content-security-policy",
];

fn close(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            let is_object = fields.get("properties").is_some_and(Json::is_object);
            if is_object && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), Json::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Json::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Resolves a reference.
pub fn resolve<'d>(document: &'d Json, json: &'d Json) -> &'d Json {
    match json.get("$ref").and_then(Json::as_str) {
        Some(to) => document.pointer(to.trim_start_matches('#')).unwrap_or_else(|| panic!("{to}")),
        None => json,
    }
}

/// Returns the path of the document that a request's path matches; a literal path wins
/// over one with parameters.
pub fn template<'d>(document: &'d Json, path: &str) -> Option<(&'d str, &'d Json)> {
    let asked: Vec<_> = path.trim_end_matches('/').split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<_> = template.split('/').collect();
        parts.len() == asked.len()
            && parts.iter().zip(&asked).all(|(part, asked)| part.starts_with('{') || part == asked)
    };
    let paths = document["paths"].as_object().unwrap().iter();
    let found = paths.filter(|(template, _)| fits(template));
    let found = found.min_by_key(|(template, _)| template.matches('{').count());
    found.map(|(template, item)| (template.as_str(), item))
}

/// Checks an answer against the document.
#[track_caller]
pub fn check(method: &Method, path: &str, reply: &Reply) {
    let method = if method == Method::HEAD { "get" } else { &method.as_str().to_lowercase() };
    let about = format!("{method} {path} {}: {}", reply.status, reply.body);
    let found = template(&DOCUMENT, path);
    let operation = found.and_then(|(template, item)| Some((template, item.get(method)?)));
    let Some((template, operation)) = operation else {
        assert!(reply.status.is_client_error() || reply.status.is_server_error(), "{about}");
        return fits_any_error(reply, &about);
    };
    let response = operation["responses"].get(reply.status.as_str());
    let response = response.unwrap_or_else(|| panic!("not documented: {about}"));
    let response = resolve(&DOCUMENT, response);
    let place = format!("{method} {template} {}", reply.status);
    body_fits(&place, response, reply, &about);
    headers_fit(response, &reply.headers, &about);
}

/// Checks an answer to a request that matches no operation: it has the shape of all errors.
fn fits_any_error(reply: &Reply, about: &str) {
    let error: Json = serde_json::from_str(&reply.body).expect(about);
    let names: Vec<_> = error.as_object().expect(about).keys().map(String::as_str).collect();
    assert_eq!(names, ["attr", "code", "detail", "type"], "{about}");
    assert_eq!(reply.headers["content-type"], "application/json", "{about}");
}

fn body_fits(place: &str, response: &Json, reply: &Reply, about: &str) {
    let Some(content) = response.get("content") else {
        return assert_eq!(reply.body, "", "no body is documented: {about}");
    };
    let kind = reply.header("content-type");
    let essence = |kind: &str| kind.split(';').next().unwrap().trim().to_owned();
    let found =
        content.as_object().unwrap().iter().find(|(name, _)| essence(name) == essence(kind));
    let (_, media) = found.unwrap_or_else(|| panic!("{kind} is not documented: {about}"));
    let schema = &media["schema"];
    match essence(kind).as_str() {
        "application/json" => fits(place, schema, &reply.body, about),
        "application/x-ndjson" => {
            let line = &schema["contentSchema"];
            reply.body.lines().for_each(|text| fits(place, line, text, about));
        }
        _ => assert_eq!(schema["type"], "string", "{about}"),
    }
}

fn fits(place: &str, schema: &Json, text: &str, about: &str) {
    let value: Json = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {about}"));
    let mut validators = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let validator = validators.entry(place.to_owned()).or_insert_with(|| {
        let mut schema = schema.clone();
        schema["components"] = DOCUMENT["components"].clone();
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        Arc::new(options.should_validate_formats(true).build(&schema).expect(place))
    });
    let validator = validator.clone();
    drop(validators);
    let faults: Vec<_> = validator.iter_errors(&value).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}\n{about}");
}

fn headers_fit(response: &Json, headers: &HeaderMap, about: &str) {
    let none = serde_json::Map::new();
    let documented = response.get("headers").and_then(Json::as_object).unwrap_or(&none);
    for (name, header) in documented {
        let is_there = headers.contains_key(name.as_str());
        assert!(is_there || header["required"] != true, "no {name}: {about}");
    }
    for name in headers.keys().map(axum::http::HeaderName::as_str) {
        let is_known = documented.keys().any(|known| known.eq_ignore_ascii_case(name));
        assert!(is_known || PLAIN.contains(&name), "{name} is not documented: {about}");
    }
}

#[tokio::test]
async fn an_answer_that_the_document_does_not_describe_is_found() {
    let world = World::new();
    let url = format!("{LIST}/{ANN}");
    let fitting = async || world.get(&url).await;
    let spoil = [
        |reply: &mut Reply| reply.body = reply.body.replacen('{', "{\"more\":1,", 1),
        |reply: &mut Reply| reply.body = reply.body.replace("\"id\":", "\"id\":-"),
        |reply: &mut Reply| reply.body = reply.body.replace("2026-03-01T10", "yesterday"),
        |reply: &mut Reply| reply.status = StatusCode::IM_A_TEAPOT,
        |reply: &mut Reply| drop(reply.headers.remove("etag")),
        |reply: &mut Reply| drop(reply.headers.insert("x-more", "1".parse().unwrap())),
        |reply: &mut Reply| {
            drop(reply.headers.insert("content-type", "text/html".parse().unwrap()));
        },
    ];
    for (index, spoil) in spoil.into_iter().enumerate() {
        let mut reply = fitting().await;
        spoil(&mut reply);
        let checked = std::panic::catch_unwind(|| check(&Method::GET, &url, &reply));
        assert!(checked.is_err(), "{index}: {}", reply.body);
    }
}
