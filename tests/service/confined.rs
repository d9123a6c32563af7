//! The program as its image and its units run it: as nobody, without capabilities, on a read-only root.

use std::process::Command;

use serde_json::json;

use crate::harness::{Home, KEY, Topic};

/// The folder of the store stays writable, the rest of the root is read-only, and all capabilities are
/// dropped. A user other than root needs a user namespace for this, and has no privileges outside of it.
const CONFINE: &str = r#"
set -e
folder=$1 user=$2 program=$3
shift 3
touch "$folder/personview"
nobody=
if [ "$user" = root ]; then
  chown -R 65534:65534 "$folder"
  nobody='--reuid=65534 --regid=65534 --clear-groups'
fi
mount --bind "$folder" "$folder"
mount --bind "$program" "$folder/personview"
mount -o remount,bind,ro /
if touch "/personview-$$" 2>/dev/null; then exit 99; fi
cd /
exec setpriv $nobody --no-new-privs --inh-caps=-all --bounding-set=-all "$folder/personview" "$@"
"#;

/// Returns the command that runs a program so; `None` if this system does not allow mounts of one's own.
fn confined(home: &Home) -> Option<Vec<String>> {
    let is_root = nix::unistd::getuid().is_root();
    let namespaces: &[&str] =
        if is_root { &["--mount"] } else { &["--mount", "--user", "--map-root-user"] };
    let probe = Command::new("unshare").args(namespaces).arg("true").output().ok()?;
    let folder = home.config().parent()?.to_str()?.to_owned();
    let user = if is_root { "root" } else { "user" };
    let command = ["unshare"].iter().chain(namespaces).copied();
    let command = command.chain(["sh", "-c", CONFINE, "sh", &folder, user]);
    let command = command.map(str::to_owned).collect();
    probe.status.success().then_some(command)
}

#[test]
fn it_needs_no_rights_and_writes_nowhere_but_in_its_folder() {
    let topic = Topic::create("confined", 1);
    let home = Home::new(&topic);
    let Some(command) = confined(&home) else {
        eprintln!("NOT TRIED: this system does not let one have mounts of one's own");
        return;
    };
    let service = home.under(command).serve();
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(line("CapEff:").trim(), "0000000000000000", "{status}");
    assert_ne!(line("Uid:").split_whitespace().next(), Some("0"), "{status}");

    topic.events(0, [&json!({"token": "t", "event": "x", "distinct_id": "ann"})]);
    let list = service.persons(&topic.position(0, 0));
    let ann = list["results"][0]["id"].clone();
    let (body, path) = (json!({"properties": {"a": 1}}), format!("/api/projects/1/persons/{ann}"));
    assert_eq!(service.send("PATCH", &path, Some(&body)).0, 200);
    // The server keeps the lines of a join in a file.
    let url = format!("{}/api/projects/1/persons/properties_at_time", service.url);
    let line = r#"{"distinct_id":"ann","timestamp":"2099-01-01T00:00:00Z"}"#;
    let mut joined = ureq::post(url)
        .header("Authorization", format!("Bearer {KEY}"))
        .header("Content-Type", "application/x-ndjson")
        .send(line)
        .unwrap();
    let joined = joined.body_mut().read_to_string().unwrap();
    assert!(joined.contains(r#""a":1"#), "{joined}");
    service.terminate();
}
