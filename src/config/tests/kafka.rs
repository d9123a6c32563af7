//! Tests of `kafka.client`: settings that librdkafka refuses, secrets, and files.

use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn settings_that_only_a_producer_refuses_are_reported_too() {
    let projects = "[[projects]]\nid = 1\nname = \"One\"\ntokens = [\"t\"]\n";
    let config = load(&format!("{projects}[kafka.client]\nacks = \"1\""), &[]).unwrap();
    let refused = config.check_start().unwrap_err().to_string();
    assert!(refused.contains("acks"), "{refused}");
    assert!(load(projects, &[]).unwrap().check_start().is_ok());
    let neither = load("[kafka.client]\nacks = \"1\"", &[]).unwrap();
    let refused = neither.check_start().unwrap_err().to_string();
    assert!(refused.contains("acks") && refused.contains("[[projects]]"), "{refused}");
}

#[test]
fn a_password_comes_from_its_file_and_is_never_shown() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(secret.path(), "hunter2\n").expect("written");
    let path = secret.path().to_str().expect("a path in UTF-8");
    let variables = [("PERSONVIEW_KAFKA__CLIENT__SASL_PASSWORD_FILE", path)];
    let config = load("", &variables).expect("all right");
    assert_eq!(config.kafka.client.iter().next(), Some(("sasl.password", "hunter2")));
    assert!(!config.show().contains("hunter2") && config.show().contains("***"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_misspelt_password_is_refused_and_not_shown() {
    let projects = "[[projects]]\nid = 1\nname = \"One\"\ntokens = [\"t\"]\n";
    let config = load(&format!("{projects}[kafka.client]\nsasl.pasword = \"hunter2\""), &[]);
    let refused = config.unwrap_err();
    assert!(refused.to_string().contains("\"sasl.pasword\""), "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
}

#[test]
fn settings_that_librdkafka_refuses_are_told_all_at_once_with_their_origin() {
    let file = "[kafka.client]\nfoo.bar = 1\nlinger.ms = \"abc\"\n";
    let error = load(file, &[("PERSONVIEW_KAFKA__CLIENT__FOO_BAZ", "2")]).unwrap_err();
    let found: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    let refused = "is not accepted by librdkafka:";
    let expected = [
        (format!("`kafka.client.\"foo.bar\"` {refused}"), "test.toml)"),
        (format!("`kafka.client.\"foo.baz\"` {refused}"), "PERSONVIEW_KAFKA__CLIENT__FOO_BAZ)"),
        (format!("`kafka.client.\"linger.ms\"` {refused}"), "test.toml)"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (begin, end)) in found.iter().zip(expected) {
        assert!(found.starts_with(&begin) && found.ends_with(end), "{found}");
    }
}

#[test]
fn only_what_uses_kafka_needs_its_files() {
    let folder = tempfile::tempdir().unwrap();
    // It is there and cannot be opened, whoever the user is.
    let socket = folder.path().join("socket");
    let _socket = UnixListener::bind(&socket).unwrap();
    let file = format!(
        "[kafka.client]\nssl.ca.location = \"/not/here.pem\"\nssl.key.location = {socket:?}\n\
         ssl.crl.location = \"/dev/null\"\n"
    );
    let config = load(&file, &[]).expect("no command but those that use Kafka refuses this");
    let error = config.check_kafka().unwrap_err();
    let found: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    let cannot = |name: &str, file: &Path| {
        let file = file.display();
        format!("`kafka.client.\"ssl.{name}.location\"` names {file}, which cannot be read: ")
    };
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with(&cannot("ca", Path::new("/not/here.pem"))), "{found:#?}");
    assert!(found[1].starts_with(&cannot("key", &socket)), "{found:#?}");
    let probe = load("[kafka.client]\nssl.ca.location = \"probe\"\n", &[]).unwrap();
    probe.check_kafka().expect("librdkafka looks for the certificates itself");
}
