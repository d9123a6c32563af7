//! A Kafka that accepts only clients with TLS and a password.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::harness::{Home, personview, wait_for};

const PASSWORD: &str = "planted-kafka-password";

/// Creates a certificate for 127.0.0.1, and a file with its key and the certificate.
fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", "key.pem", "-out", "ca.pem"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
    std::fs::write(folder.join("server.pem"), read("key.pem") + &read("ca.pem")).unwrap();
}

/// The rights that docs/security.md gives the server, with the names of these tests, and those of `produce`.
const RIGHTS: [&[&str]; 4] = [
    &[
        "--topic",
        "secure",
        "--operation",
        "Read",
        "--operation",
        "DescribeConfigs",
        "--operation",
        "Write",
    ],
    &[
        "--topic",
        "secure-commands",
        "--operation",
        "Read",
        "--operation",
        "Write",
        "--operation",
        "Create",
        "--operation",
        "DescribeConfigs",
    ],
    &["--topic", "secure_dlq", "--operation", "Write", "--operation", "Create"],
    &["--group", "secure", "--operation", "Read"],
];

/// Adds or removes a right of the server.
fn rights(broker: &Broker, address: &str, verb: &str, right: &[&str]) {
    let client = broker.folder().join("client.properties");
    let server = ["--bootstrap-server", address, "--command-config", client.to_str().unwrap()];
    let whom = [verb, "--allow-principal", "User:personview", "--force"];
    Broker::tool(&[&["acls"], &server[..], &whom, right].concat());
}

/// Starts a broker that speaks only SASL over TLS and knows one SCRAM user, with the rights that the server
/// needs.
fn broker() -> (Broker, String) {
    let folder = TempDir::new().unwrap();
    certificate(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    // The user that sets up the other one; PLAIN is only for this.
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 username=\"admin\" password=\"admin\"";
    let properties = format!(
        "listener.security.protocol.map=PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT\n\
         ssl.keystore.type=PEM\nssl.keystore.location={}\n\
         ssl.truststore.type=PEM\nssl.truststore.location={}\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:admin;User:ANONYMOUS\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\nsasl.mechanism.inter.broker.protocol=PLAIN\n\
         listener.name.plaintext.plain.sasl.jaas.config={login} user_admin=\"admin\";\n\
         listener.name.plaintext.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
        at("server.pem"),
        at("ca.pem"),
    );
    let client = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={login};\n\
         ssl.truststore.type=PEM\nssl.truststore.location={}\n",
        at("ca.pem"),
    );
    std::fs::write(folder.path().join("client.properties"), client).unwrap();
    let (broker, address) = Broker::start_in(folder, &properties);
    let client = broker.folder().join("client.properties");
    let scram = format!("SCRAM-SHA-512=[password={PASSWORD}]");
    let server = ["--bootstrap-server", &address, "--command-config", client.to_str().unwrap()];
    let user = ["--alter", "--entity-type", "users", "--entity-name", "personview"];
    Broker::tool(&[&["configs"], &server[..], &user, &["--add-config", &scram]].concat());
    let topic = ["--create", "--topic", "secure", "--partitions", "1"];
    Broker::tool(&[&["topics"], &server[..], &topic].concat());
    for right in RIGHTS {
        rights(&broker, &address, "--add", right);
    }
    (broker, address)
}

/// Returns the settings with which the server logs in as that user.
fn client(broker: &Broker) -> String {
    let password = broker.folder().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    format!(
        "[kafka.client]\n\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\
         \"sasl.username\" = \"personview\"\n\"sasl.password_file\" = \"{}\"\n\
         \"ssl.ca.location\" = \"{}\"",
        password.display(),
        broker.folder().join("ca.pem").display(),
    )
}

#[test]
fn a_topic_that_may_not_be_read_is_reported_until_it_may() {
    let (broker, address) = broker();
    let service = Home::at(&address, "secure", &client(&broker)).serve();
    service.wait_for_readiness(200);
    let not_read = || service.metric("personview_ingest_topics_not_read");
    assert_eq!(not_read().to_string(), "0");
    // The topic can still be described, which alone must not count as being read.
    let read = ["--topic", "secure", "--operation", "Read"];
    rights(&broker, &address, "--add", &["--topic", "secure", "--operation", "Describe"]);
    rights(&broker, &address, "--remove", &read);
    wait_for(|| if not_read() > 0.0 { Ok(()) } else { Err("it can still be read") });
    // The broker answers, and reports the error only once; statistics come every second and must not clear
    // it.
    let received = || service.metric("personview_kafka_received_bytes_total");
    for _ in 0..3 {
        let before = received();
        wait_for(|| if received() > before { Ok(()) } else { Err("no statistics") });
        assert_eq!(not_read().to_string(), "1");
    }
    let (_, body) = service.get("/_readiness");
    let reason = body["components"]["kafka"]["reason"].as_str().unwrap();
    assert!(reason.contains("uthoriz"), "{reason}");
    assert_eq!(service.metric("personview_kafka_reachable").to_string(), "1");
    rights(&broker, &address, "--add", &read);
    wait_for(|| if not_read() > 0.0 { Err("it cannot be read") } else { Ok(()) });
}

#[test]
fn kafka_is_reached_by_sasl_over_tls_and_the_password_stays_secret() {
    let (broker, address) = broker();
    let home = Home::at(&address, "secure", &client(&broker));
    let config = home.config();
    let config = config.to_str().unwrap();
    let shown = personview(&["config", "show", "--config", config]).output().unwrap().stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("SCRAM-SHA-512") && !shown.contains(PASSWORD), "{shown}");

    let events = broker.folder().join("events.ndjson");
    std::fs::write(&events, json!({"token": "t", "event": "x", "distinct_id": "ann"}).to_string())
        .unwrap();
    let produced = personview(&["produce", events.to_str().unwrap(), "--config", config]).output();
    let produced = produced.unwrap();
    assert!(produced.status.success(), "{}", String::from_utf8_lossy(&produced.stderr));
    let service = home.serve();
    service.wait_for_readiness(200);
    assert_eq!(service.persons("?min_position=secure:0:0")["count"], 1);
    let ann = service.persons("")["results"][0]["id"].clone();
    let (status, _) = service.send("DELETE", &format!("/api/projects/1/persons/{ann}"), None);
    assert_eq!(status, 202, "commands go the same way");
    assert_eq!(service.get("/metrics").0, 200);
    let broker_up = format!("personview_kafka_broker_up{{broker=\"{address}\"}}");
    wait_for(|| if service.metric(&broker_up) > 0.0 { Ok(()) } else { Err("no statistics yet") });
    let lines: Vec<String> = service.log.try_iter().collect();
    assert!(lines.iter().all(|line| !line.contains(PASSWORD)), "{lines:?}");
    // The server may write dead letters and not read them.
    std::fs::write(&events, json!({"token": "t", "event": "no id"}).to_string()).unwrap();
    let produced = personview(&["produce", events.to_str().unwrap(), "--config", config]).output();
    assert!(produced.unwrap().status.success());
    service.persons("?min_position=secure:0:1");
    service.terminate();

    let began = std::time::Instant::now();
    let listed = personview(&["dead-letters", "list", "--config", config]).output().unwrap();
    let told = String::from_utf8_lossy(&listed.stderr);
    assert!(told.contains("may not read topic secure_dlq"), "{told}");
    assert!(began.elapsed().as_secs() < 20, "it does not wait for a right");
    let read = ["--topic", "secure_dlq", "--operation", "Read"];
    rights(&broker, &address, "--add", &read);
    rights(&broker, &address, "--remove", &["--group", "secure", "--operation", "Read"]);
    let listed = personview(&["dead-letters", "list", "--config", config]).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));

    std::fs::write(broker.folder().join("password"), "wrong").unwrap();
    let service = home.serve();
    let told = service.wait_for_reason("kafka", "uthentication");
    assert!(!told.contains("wrong"), "{told}");
    assert_eq!(service.persons("")["count"], 0, "reads go on");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (_broker, address) = broker();
    let client = "[kafka.client]\n\"security.protocol\" = \"SASL_SSL\"\n\
                  \"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\"sasl.username\" = \"personview\"\n\
                  \"sasl.password\" = \"x\"";
    let service = Home::at(&address, "secure", client).serve();
    service.wait_for_reason("kafka", "certificate verify failed");
}
