//! Text from a request never ends up in a header, or in a link to another host.

use std::io::{Read, Write};
use std::net::TcpStream;

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use super::contract::{DOCUMENT, resolve};
use super::openapi::operations;
use super::*;

/// May do everything in project 1.
const OWNER: &str = "phx_owner";

/// Texts that would end a header or a name in one, percent-encoded: line ends, characters that some programs
/// turn into line ends, quotes, path separators, bytes that are not UTF-8.
const ODD: [&str; 14] = [
    "%0D%0AX-Planted:%20yes",
    "%0d%0a%0d%0aplanted",
    "x%0DX-Planted:%20yes",
    "x%0AX-Planted:%20yes%0A",
    "%00planted",
    // Their low bytes are CR and LF.
    "%C4%8D%C4%8AX-Planted:%20yes",
    "%E5%98%8D%E5%98%8AX-Planted:%20yes",
    "%C2%85X-Planted:%20yes",
    "%E2%80%A8X-Planted:%20yes",
    "%22;%20filename=%22planted.exe",
    "..%2F..%2Fplanted",
    "%5C%22planted%5C",
    "%7Fplanted",
    "%FF%FEplanted",
];

fn world() -> World {
    let world = World::with_people(&Settings { trust_forwarded: true, ..settings() });
    let owner = ApiKey {
        label: OWNER.to_owned(),
        sha256: hash(OWNER),
        scopes: Scopes::parse(["*"]).unwrap(),
        projects: BTreeSet::from([1]),
        requests_per_minute: None,
    };
    world.state.replace_access(Access { keys: Keys::new(vec![owner]), ..access() });
    world
}

/// Returns the URLs of a path that have the text in one place each: in a part of the path, in a parameter
/// that the document names, or in an unknown one.
fn urls(path: &str, item: &Json, operation: &Json, odd: &str) -> Vec<String> {
    let filled = |path: &str| {
        path.replace("{project_id}", "1").replace("{id}", ANN).replace("{file}", "index.css")
    };
    let braces = ["{project_id}", "{id}", "{file}"].into_iter().filter(|part| path.contains(part));
    let in_path = braces.map(|part| filled(&path.replace(part, odd)));
    let all = [&item["parameters"], &operation["parameters"]].into_iter();
    let all = all.filter_map(Json::as_array).flatten();
    let all = all.map(|parameter| resolve(&DOCUMENT, parameter));
    let in_query = all.filter(|parameter| parameter["in"] == "query").map(|parameter| {
        let name = parameter["name"].as_str().unwrap();
        // The other parameters are given, so that the request gets that far.
        let with = "distinct_id=ann&key=plan&timestamp=2026-03-02&from=2026-03-01&to=2026-03-02";
        let others = with.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
        let others: Vec<_> = others.collect();
        format!("{}?{}&{name}={odd}", filled(path), others.join("&"))
    });
    let unknown = [format!("{}?planted{odd}={odd}", filled(path))];
    in_path.chain(in_query).chain(unknown).collect()
}

/// Request headers with odd values that HTTP allows.
const HEADERS: [(&str, &str); 8] = [
    ("x-forwarded-proto", "https\tplanted"),
    ("x-request-id", "planted"),
    ("idempotency-key", "planted \"key\""),
    ("if-none-match", "\"planted\", W/\"planted"),
    ("accept", "text/csv;planted=\"\\\""),
    ("origin", "http://planted.example"),
    ("access-control-request-headers", "x-planted"),
    ("range", "bytes=0-planted"),
];

#[track_caller]
fn holds_nothing_planted(headers: &HeaderMap, about: &str) {
    for (name, value) in headers {
        let text = value.to_str().unwrap_or_else(|_| panic!("{name} has odd bytes: {about}"));
        let both = format!("{name}: {text}").to_lowercase();
        assert!(!both.contains("planted"), "{both}: {about}");
    }
}

/// `World::send` checks each answer, and so its headers, against the document.
#[tokio::test]
async fn no_header_repeats_the_text_of_a_request() {
    let world = world();
    let mut asked = 0;
    // The other prefix has the same handlers.
    let all = operations(&DOCUMENT).filter(|(path, ..)| !path.starts_with("/api/environments/"));
    for (path, method, operation) in all {
        for odd in ODD {
            let text = percent_encoding::percent_decode_str(odd).decode_utf8_lossy().into_owned();
            let fields = json!({
                "distinct_ids": [text], "uuids": [text], "distinct_id": text, "$unset": [text],
                "key": text, "value": text, "properties": {(text.as_str()): text},
            });
            for url in urls(path, &DOCUMENT["paths"][path], operation, odd) {
                for kind in ["format=csv", "format=json"] {
                    let sign = if url.contains('?') { '&' } else { '?' };
                    let url = format!("{url}{sign}{kind}");
                    let as_owner =
                        world.request_with(OWNER, method.clone(), &url, &HEADERS, &fields);
                    let reply = as_owner.await;
                    let about = format!("{method} {url}: {}", reply.body);
                    assert_ne!(reply.status, 500, "{about}");
                    holds_nothing_planted(&reply.headers, &about);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 3_000, "{asked}");
}

/// Checks what goes over the wire, rather than what the program means to send.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_line_of_an_answer_comes_from_the_request() {
    let world = world();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, None, world.state.clone(), std::future::pending()));
    let list = LIST;
    let mut targets: Vec<_> = ODD.iter().map(|odd| format!("{list}?format=csv&x={odd}")).collect();
    targets.extend(ODD.iter().map(|odd| format!("{list}/{odd}/activity?format=csv")));
    targets.extend(ODD.iter().map(|odd| format!("/docs/{odd}")));
    let mut requests: Vec<_> = targets
        .into_iter()
        .map(|target| format!("GET {target} HTTP/1.1\r\nHost: x\r\n").into_bytes())
        .collect();
    // What no client sends, in the request line and in headers.
    for raw in [
        &b"GET /docs\xff\xfeplanted HTTP/1.1\r\nHost: x\r\n"[..],
        b"GET /docs HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\rX-Planted: yes\r\n",
        b"GET /docs HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\nX-Planted: yes\r\n",
        b"GET /docs HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n X-Planted: yes\r\n",
        b"GET /docs HTTP/1.1\r\nHost: x\r\nX-Planted\x00: yes\r\n",
        b"GET http://planted.example/docs HTTP/1.1\r\nHost: planted.example\r\n",
        b"PLANTED / HTTP/1.1\r\nHost: x\r\n",
    ] {
        requests.push(raw.to_vec());
    }
    let answered = spawn_blocking(move || {
        for mut request in requests {
            let authorization = format!("Authorization: Bearer {OWNER}\r\n");
            request.extend(authorization.as_bytes());
            request.extend(b"Connection: close\r\n\r\n");
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&request).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let about = String::from_utf8_lossy(&request).into_owned();
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect(&about);
            let head = String::from_utf8(answer[..end].to_vec()).expect(&about).to_lowercase();
            assert!(head.starts_with("http/1.1 ") && !head.contains("planted"), "{head}\n{about}");
            assert!(!head.starts_with("http/1.1 500"), "{about}");
        }
    });
    answered.await.unwrap();
}

/// A link is for the caller: it names the host that the caller used, and nothing that is not a host.
#[tokio::test]
async fn links_name_the_host_that_was_asked_and_nothing_else() {
    let mut trusting = world();
    let mut world = World::new();
    for world in [&mut trusting, &mut world] {
        world.ingest(&[event("10:00", "eve"), event("10:00", "joe")]);
    }
    let url = "/api/projects/1/persons?limit=1&offset=1";
    let of = async |world: &World, key: &str, headers: &[(&str, &str)]| {
        world.request_with(key, Method::GET, url, headers, &Json::Null).await
    };
    for (host, is_one) in [
        ("people.example", true),
        ("people.example:8000", true),
        ("127.0.0.1:8000", true),
        ("[::1]:8000", true),
        ("xn--bcher-kva.example", true),
        ("people.example@planted.example", false),
        ("@planted.example", false),
        ("people.example/planted", false),
        ("people.example?planted", false),
        ("people.example#planted", false),
        ("people.example\\planted", false),
        ("people.example\tplanted", false),
        ("people%0d%0aplanted", false),
        ("\"planted\"", false),
        ("<planted>", false),
        ("a b", false),
        ("\u{fc}.example", false),
        ("", false),
    ] {
        let told = [
            of(&world, READER, &[("host", host)]).await,
            // A trusted proxy's header replaces the host.
            of(&trusting, OWNER, &[("host", "inner"), ("x-forwarded-host", host)]).await,
        ];
        for reply in told {
            if !is_one {
                let (status, body) = reply.error();
                assert_eq!(status, 400, "{host}: {body}");
                assert!(body.contains(r#""attr":"host""#), "{host}: {body}");
                continue;
            }
            // The answer is for this caller only: no shared cache may keep it.
            assert_eq!(reply.header("cache-control"), "private, no-cache");
            let list = reply.json();
            for link in ["next", "previous"] {
                let link = list[link].as_str().unwrap();
                let start = format!("http://{host}/api/projects/1/persons?limit=1&offset=");
                assert!(link.starts_with(&start), "{link}");
            }
        }
    }
    let planted =
        [("host", "own"), ("x-forwarded-host", "planted"), ("x-forwarded-proto", "https")];
    assert!(of(&world, READER, &planted).await.ok().contains(r#""next":"http://own/"#));
    assert!(of(&trusting, OWNER, &planted).await.ok().contains(r#""next":"https://planted/"#));
    let script = [("host", "own"), ("x-forwarded-proto", "javascript")];
    assert!(of(&trusting, OWNER, &script).await.ok().contains(r#""next":"http://own/"#));
}
