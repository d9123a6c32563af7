//! Texts that `--help` shows below the options: examples and details.

pub const EXAMPLES: &str = "\
Examples:
  personview demo                                     a first look, with nothing to install
  personview serve --config config/local.toml         with Kafka on 127.0.0.1:9092
  personview produce events.ndjson                    capture events to the topic
  personview key create --label dashboard --scope person:read --project 1
  personview inspect person --project 1 --distinct-id ann
  personview backup /backups                          a copy, while the server runs
  personview verify                                   whether the store is consistent
  personview config check --config /etc/personview/personview.toml

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad configuration (nothing was opened or bound).
Every setting can come from the environment too: PERSONVIEW_STORE__PATH is store.path.
RUST_LOG says what is logged, such as RUST_LOG=debug.";

pub const PRODUCE_EXAMPLES: &str = "\
Each line is one event, as an SDK sends it or wrapped as the capture service wraps it:
  {\"token\":\"phc_example\",\"event\":\"$set\",\"distinct_id\":\"ann\",\"properties\":{\"$set\":{\"plan\":\"pro\"}}}

Lines of one distinct id keep their order, as they go to one partition. The server orders partitions by the
times at which events were sent, so those of the same millisecond may be taken in any order.

Examples:
  personview produce events.ndjson
  zcat events.ndjson.gz | personview produce -";

pub const KEY_CREATE_EXAMPLES: &str = "\
Prints the key, once, to standard error, and to standard output the [[api_keys]] table for the
configuration file, which contains only the key's hash.

Examples:
  personview key create --label dashboard --scope person:read --project 1
  personview key create --label dashboard --scope person:read --project 1 >>personview.toml
  personview key create --label sync --scope person:write activity_log:read --project 1 2";

pub const VERIFY_HELP: &str = "\
Reads the whole store, as it is at this moment, and compares heads, histories, timelines, merges,
lists, distinct ids and positions with each other. Writes nothing; a server may run on the store.
Prints a line for each law and the first 20 differences, and exits with 1 if there is any.";

pub const BACKUP_HELP: &str = "\
Copies the files that no earlier backup in the folder has: files of the store never change. Then compares
every file of the new backup with its checksum. If a server runs on the store, it is asked over a socket
in store.path, so run this as its user, where it runs.

Examples:
  personview backup /backups --keep 7";

pub const RESTORE_HELP: &str = "\
Every file is compared with the checksum that it had when it was copied. The server then continues where
the backup ends, if Kafka still has the records.

Examples:
  personview restore --list /backups
  personview restore --list --verify /backups
  personview restore /backups";

pub const DEAD_LETTERS_LIST_EXAMPLES: &str = "\
Examples:
  personview dead-letters list --reason invalid_uuid,missing_uuid
  personview dead-letters list --reason not_json --values > broken.ndjson
  personview produce broken.ndjson        after correcting it";

pub const DEAD_LETTERS_REPLAY_HELP: &str = "\
Useful once the reason is gone, for instance after ingest.person_properties_limit was raised. A record that
still cannot be used becomes a dead letter again; one that was already used changes nothing. The dead
letters stay on their topic, so without a filter every run sends all of them, those that earlier runs have
added included. A run without `--reason` that has sent everything says with which `--from` the next one leaves
it out, if the topic has one partition.

Examples:
  personview dead-letters replay --reason person_properties_size
  personview dead-letters replay --from 120 --until 125";

pub const INSPECT_EXAMPLES: &str = "\
Reads the store as it is at this moment. Writes nothing; a server may run on the store.

Examples:
  personview inspect person --project 1 --distinct-id ann
  personview inspect person --project 1 --id 6931a681-6e90-500d-8294-14582dcc2e3f --limit 20";

pub const KEY_HASH_EXAMPLES: &str = "\
Examples:
  printf %s \"$KEY\" | personview key hash";
