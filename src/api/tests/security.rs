//! Authorization: every route of the OpenAPI document, for every kind of caller and every place of the key.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::contract::DOCUMENT;
use super::openapi::operations;
use super::*;
use crate::api::access::KEY_PARAMETER;
use crate::api::key::{SCOPE_NAMES, Scope};

/// Where a key may be given, in the order in which the places are tried, and where it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    Json,
    Form,
    Query,
    /// In headers, parameters and fields where other servers look for a key.
    Elsewhere,
}

impl Place {
    const ALL: [Self; 5] = [Self::Header, Self::Json, Self::Form, Self::Query, Self::Elsewhere];
}

/// The caller of a route of project 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// No key has the secret.
    Stranger,
    /// May do everything, in project 2.
    Neighbour,
    /// May do everything except what the route requires.
    Lacking,
    /// May do what the route requires, and nothing else.
    Allowed,
}

impl Who {
    const ALL: [Self; 4] = [Self::Stranger, Self::Neighbour, Self::Lacking, Self::Allowed];

    fn secret(self, scope: &str) -> String {
        match self {
            Self::Stranger => "phx_stranger".to_owned(),
            Self::Neighbour => "phx_neighbour".to_owned(),
            Self::Lacking => format!("phx_all-but-{scope}"),
            Self::Allowed => format!("phx_only-{scope}"),
        }
    }
}

/// The keys of all callers in the table.
fn keys() -> Access {
    let key = |secret: String, scopes: &[&str], project: u32| ApiKey {
        label: secret.clone(),
        sha256: hash(&secret),
        scopes: Scopes::parse(scopes.iter().copied()).unwrap(),
        projects: BTreeSet::from([project]),
        requests_per_minute: None,
    };
    let mut keys = vec![
        key(Who::Neighbour.secret(""), &["*"], 2),
        // If any key will do, a key without scopes will do.
        key(Who::Allowed.secret("any"), &[], 1),
    ];
    for scope in Scope::ALL {
        let brings = |name: &str| Scopes::parse([name]).unwrap().allows(scope);
        let others: Vec<_> = SCOPE_NAMES.into_iter().filter(|name| !brings(name)).collect();
        keys.push(key(Who::Lacking.secret(scope.name()), &others, 1));
        keys.push(key(Who::Allowed.secret(scope.name()), &[scope.name()], 1));
    }
    Access { keys: Keys::new(keys), ..access() }
}

/// A method of a path, and what the document requires of its callers.
struct Route {
    method: Method,
    path: &'static str,
    /// The scope that it requires; `any` if any key will do, `None` if no key is needed.
    scope: Option<&'static str>,
    /// Whether its fields, and the key among them, may come in a body.
    takes_fields: bool,
}

impl Route {
    fn all() -> Vec<Self> {
        let all = operations(&DOCUMENT).map(|(path, method, operation)| Self {
            takes_fields: method != Method::GET
                && operation["requestBody"]["content"]["application/x-ndjson"].is_null(),
            scope: operation["x-required-scope"].as_str(),
            method,
            path,
        });
        all.collect()
    }

    fn takes_key_in(&self, place: Place) -> bool {
        match place {
            Place::Header | Place::Query => true,
            Place::Json | Place::Form => self.takes_fields,
            Place::Elsewhere => false,
        }
    }

    /// Builds a request, about the person of a distinct id, that succeeds for an authorized caller. It has a
    /// body if the route takes one or a key is in it.
    fn request(&self, id: &str, keys: &[(Place, &str)]) -> Request<Body> {
        let uuid = person_uuid(1, id);
        let path = self.path.replace("{project_id}", "1").replace("{id}", &uuid);
        let mut url = path.replace("{file}", "index.css");
        url += "?key=plan&timestamp=2026-03-02&from=2026-03-01&to=2026-03-02";
        write!(url, "&distinct_id={id}").unwrap();
        let mut fields = json!({
            "distinct_ids": [id], "uuids": [uuid], "distinct_id": id, "timestamp": "2026-03-02",
            "key": "plan", "value": "x", "$unset": "plan", "properties": {"plan": "x"},
            "main_distinct_id": id,
        });
        let mut request = Request::builder().method(self.method.clone());
        let (mut has_body, mut is_form) = (self.method == Method::POST, false);
        for &(place, secret) in keys {
            match place {
                Place::Header => {
                    request = request.header("authorization", format!("Bearer {secret}"));
                }
                Place::Query => write!(url, "&{KEY_PARAMETER}={secret}").unwrap(),
                Place::Json | Place::Form => {
                    fields[KEY_PARAMETER] = secret.into();
                    (has_body, is_form) = (true, place == Place::Form);
                }
                Place::Elsewhere => {
                    request = request.header("authorization", format!("Basic {secret}"));
                    request = request.header("cookie", format!("{KEY_PARAMETER}={secret}"));
                    request = request.header("x-api-key", secret);
                    write!(url, "&api_key={secret}&token={secret}").unwrap();
                    fields["api_key"] = secret.into();
                }
            }
        }
        has_body |= self.takes_fields && self.method != Method::DELETE;
        let kind = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
        let body = match (has_body, is_form) {
            (false, _) => Body::empty(),
            (true, true) => Body::from(form(&fields)),
            (true, false) => Body::from(fields.to_string()),
        };
        request.uri(url).header("content-type", kind).body(body).unwrap()
    }

    /// Returns what the table expects: `None` for a success, else the whole error.
    fn refusal(&self, who: Who, place: Place) -> Option<(u16, String)> {
        let scope = self.scope?;
        let error = |status, code: &str, detail: &str| {
            let kind = "authentication_error";
            let fields = format!(r#""type":"{kind}","code":"{code}","detail":"{detail}""#);
            Some((status, format!("{{{fields},\"attr\":null}}")))
        };
        if !self.takes_key_in(place) {
            let detail = "Authentication credentials were not provided.";
            return error(401, "not_authenticated", detail);
        }
        match who {
            Who::Stranger => {
                error(401, "authentication_failed", "The personal API key is invalid.")
            }
            // This lists the caller's own projects.
            Who::Neighbour if !self.path.contains("{project_id}") => None,
            Who::Neighbour => {
                let detail = "API key does not have access to the requested project: ID 1.";
                error(403, "permission_denied", detail)
            }
            Who::Lacking => {
                let detail = format!("API key missing required scope '{scope}'");
                error(403, "permission_denied", &detail)
            }
            Who::Allowed => None,
        }
    }
}

/// Encodes fields as a form, with values that are not strings as JSON.
fn form(fields: &Json) -> String {
    let pairs = fields.as_object().unwrap().iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("{}={}", encoded(name), encoded(&text))
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// A world in which each row of the table has a person of its own, since some rows delete theirs.
struct Table {
    world: World,
    rows: usize,
}

impl Table {
    fn new() -> Self {
        let world = World::empty();
        world.state.replace_access(keys());
        Self { world, rows: 0 }
    }

    /// Adds a person with two distinct ids.
    fn somebody(&mut self) -> String {
        let id = format!("row-{}", self.rows);
        let other = json!({"$anon_distinct_id": format!("{id}-too")});
        self.world.ingest(&[
            event("10:00", &id).with(json!({"$set": {"plan": "free"}})),
            event("11:00", &id).named("$identify", other),
        ]);
        id
    }

    /// Sends a request, checks the answer against the table, and returns the body if it is a success.
    async fn row(
        &mut self,
        route: &Route,
        keys: &[(Place, &str)],
        refusal: Option<(u16, String)>,
    ) -> Option<String> {
        let id = if refusal.is_none() { self.somebody() } else { "row-0".to_owned() };
        self.rows += 1;
        let about = format!("{} {} {keys:?}", route.method, route.path);
        let written = self.world.log.appended.load(Ordering::SeqCst);
        let reply = self.world.send(route.request(&id, keys)).await;
        if route.method == Method::GET {
            let mut request = route.request(&id, keys);
            *request.method_mut() = Method::HEAD;
            let head = self.world.router.clone().oneshot(request).await.unwrap();
            assert_eq!(head.status(), reply.status, "HEAD: {about}");
        }
        let Some(refusal) = refusal else {
            assert!(reply.status.is_success(), "{about}: {} {}", reply.status, reply.body);
            return Some(reply.body);
        };
        let asks_for_key = if refusal.0 == 401 { "Bearer" } else { "" };
        assert_eq!(reply.header("www-authenticate"), asks_for_key, "{about}");
        assert_eq!(reply.header("x-personview-position"), "", "{about}");
        assert_eq!(reply.error(), refusal, "{about}");
        assert_eq!(self.world.log.appended.load(Ordering::SeqCst), written, "{about}");
        None
    }
}

#[tokio::test]
async fn every_route_admits_only_keys_with_its_scope_in_places_for_keys() {
    let mut table = Table::new();
    for route in &Route::all() {
        let Some(scope) = route.scope else {
            // Every caller gets the same answer, with any key.
            let open = table.world.send(route.request("row-0", &[])).await;
            assert_ne!(open.status, 401, "{}", route.path);
            for place in Place::ALL {
                let secret = Who::Stranger.secret("");
                let reply = table.world.send(route.request("row-0", &[(place, &secret)])).await;
                assert_eq!(reply.status, open.status, "{} {place:?}", route.path);
            }
            continue;
        };
        // Without a key the answer is the same as with one in a place where it is ignored.
        table.row(route, &[], route.refusal(Who::Stranger, Place::Elsewhere)).await;
        for place in Place::ALL {
            for who in Who::ALL {
                // If any key will do, no key lacks a scope.
                if who == Who::Lacking && scope == "any" {
                    continue;
                }
                let secret = who.secret(scope);
                let answer = table.row(route, &[(place, &secret)], route.refusal(who, place)).await;
                if let Some(answer) = answer.filter(|_| scope == "any") {
                    let (own, other) = if who == Who::Neighbour { (2, 1) } else { (1, 2) };
                    assert!(answer.contains(&format!("Project {own}")), "{answer}");
                    assert!(!answer.contains(&format!("Project {other}")), "{answer}");
                }
            }
        }
    }
    assert!(table.rows > 800, "{}", table.rows);
}

#[tokio::test]
async fn only_the_first_key_present_is_tried() {
    let mut table = Table::new();
    for route in &Route::all() {
        let Some(scope) = route.scope else { continue };
        let (good, bad) = (Who::Allowed.secret(scope), Who::Stranger.secret(scope));
        for (at, first) in Place::ALL.into_iter().enumerate() {
            for second in Place::ALL.into_iter().skip(at + 1) {
                let takes = route.takes_key_in(first) && route.takes_key_in(second);
                // A body is either JSON or a form.
                if !takes || (first, second) == (Place::Json, Place::Form) {
                    continue;
                }
                let keys = [(first, &*bad), (second, &*good)];
                table.row(route, &keys, route.refusal(Who::Stranger, first)).await;
                table.row(route, &[(first, &*good), (second, &*bad)], None).await;
            }
        }
    }
    assert!(table.rows > 200, "{}", table.rows);
}

#[tokio::test]
async fn a_header_holds_a_key_where_it_says_so() {
    let world = World::new();
    for (query, header, expected) in [
        ("personal_api_key=", None, Err("not_authenticated")),
        ("", Some("Basic eDp5"), Err("not_authenticated")),
        ("", Some("phx_reader"), Err("not_authenticated")),
        ("", Some("Bearer "), Err("authentication_failed")),
        ("", Some("Bearer"), Err("authentication_failed")),
        ("", Some("Bearer phx_reader x"), Err("authentication_failed")),
        ("personal_api_key=phx_reader", Some("Bearer "), Err("authentication_failed")),
        ("personal_api_key=phx_reader", Some("Bearer \u{fc}"), Err("authentication_failed")),
        ("personal_api_key=phx_other", Some("bearer  phx_reader"), Ok(())),
        ("personal_api_key=phx_reader", Some("Basic eDp5"), Ok(())),
        ("personal_api_key=phx_other&personal_api_key=phx_reader", None, Ok(())),
    ] {
        let headers: Vec<_> = header.iter().map(|value| ("authorization", *value)).collect();
        let url = format!("{LIST}?{query}");
        let reply = world.ask(Method::GET, &url, &headers).await;
        match expected {
            Ok(()) => drop(reply.ok()),
            Err(code) => {
                let (status, body) = reply.error();
                assert_eq!(status, 401, "{query} {header:?}");
                assert!(body.contains(code), "{query} {header:?}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn a_project_is_called_by_its_number_or_is_the_only_one_of_the_key() {
    let world = World::new();
    for (project, key, status, told) in [
        ("x", READER, 404, "Project not found."),
        ("-1", READER, 404, "Project not found."),
        ("99999999999", READER, 404, "Project not found."),
        ("3", READER, 403, "the requested project: ID 3."),
        ("@current", OF_TWO, 400, r#""attr":"project_id""#),
        ("@CURRENT", READER, 404, "Project not found."),
    ] {
        let url = format!("/api/environments/{project}/persons?personal_api_key={key}");
        let (found, body) = world.ask(Method::GET, &url, &[]).await.error();
        assert_eq!(found, status, "{url}: {body}");
        assert!(body.contains(told), "{url}: {body}");
    }
    world.get("/api/projects/@current/persons").await.ok();
}
