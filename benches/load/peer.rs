//! `PostgreSQL` with the same persons: what a team would otherwise use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use futures_util::SinkExt as _;
use hyper::body::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::harness::Service;

const SCHEMA: &str = "
    CREATE EXTENSION pg_trgm;
    CREATE TABLE person (uuid uuid PRIMARY KEY, created_at timestamptz NOT NULL, properties jsonb NOT NULL);";
const INDEXES: &str = "
    CREATE INDEX ON person (created_at DESC, uuid);
    CREATE INDEX ON person USING gin (properties jsonb_path_ops);
    CREATE INDEX ON person USING gin ((properties->>'email') gin_trgm_ops);
    CREATE INDEX ON person USING gin ((properties->>'name') gin_trgm_ops);
    VACUUM ANALYZE person;";

/// Returns the questions that both are asked: name, personview's path, and the SQL statements.
pub fn questions(number: usize) -> [(&'static str, String, Vec<String>); 5] {
    const PAGE: &str = "SELECT uuid, created_at, properties::text FROM person";
    const COUNT: &str = "SELECT count(*) FROM person";
    const NEWEST: &str = "ORDER BY created_at DESC, uuid LIMIT 100";
    let counted = |condition: &str| {
        vec![format!("{PAGE} {condition} {NEWEST}"), format!("{COUNT} {condition}")]
    };
    let exact = "%5B%7B%22key%22%3A%22plan%22%2C%22value%22%3A%22team%22%2C%22operator%22%3A%22exact%22%2C%22type%22%3A%22person%22%7D%5D";
    let email = format!("user{number}@example.com");
    let search = format!(
        "WHERE properties->>'email' ILIKE '%ser {number}%' OR properties->>'name' ILIKE '%ser {number}%'"
    );
    [
        ("newest page with count", "persons".to_owned(), counted("")),
        (
            "exact property filter with count",
            format!("persons?properties={exact}"),
            counted("WHERE properties @> '{\"plan\": \"team\"}'"),
        ),
        (
            "email exact",
            format!("persons?email={}", email.replace('@', "%40")),
            counted(&format!("WHERE properties @> '{{\"email\": \"{email}\"}}'")),
        ),
        (
            "search in email and name, with count",
            format!("persons?search=ser%20{number}"),
            counted(&search),
        ),
        (
            "values of a key",
            "persons/values?key=plan".to_owned(),
            vec![
                "SELECT properties->>'plan', count(*) FROM person WHERE properties ? 'plan' \
                  GROUP BY 1 ORDER BY 2 DESC LIMIT 100"
                    .to_owned(),
            ],
        ),
    ]
}

/// A server of its own, stopped on drop.
pub struct Postgres {
    binaries: PathBuf,
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
    client: Option<Client>,
}

impl Postgres {
    /// Starts a server from Debian's binaries; returns the reason if there are none.
    pub fn start() -> Result<Self, String> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").map_err(|_| {
            "SKIPPED: the rows against PostgreSQL, as there is none: apt-get install postgresql"
                .to_owned()
        })?;
        let newest =
            versions.filter_map(Result::ok).map(|version| version.path().join("bin")).max();
        let binaries = newest.ok_or("/usr/lib/postgresql is empty")?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut server =
            Self { binaries, folder, runtime: runtime.expect("a runtime"), client: None };
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(server.folder.path()))?;
        }
        let (data, socket) = (server.data(), server.folder.path().display().to_string());
        run(server.command("initdb").args([
            "-D",
            &data,
            "-A",
            "trust",
            "-U",
            "bench",
            "--no-sync",
        ]))?;
        // The defaults, except for memory: a server of this size would be given this much.
        let options =
            format!("-c listen_addresses='' -k {socket} -c shared_buffers=512MB -c work_mem=64MB");
        let log = format!("{socket}/log");
        run(server
            .command("pg_ctl")
            .args(["-D", &data, "-l", &log, "-o", &options, "-w", "start"]))?;
        let client = server.runtime.block_on(async {
            let config = format!("host={socket} user=bench dbname=postgres");
            let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, tokio_postgres::Error>(client)
        });
        server.client = Some(client.map_err(|error| error.to_string())?);
        Ok(server)
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    /// Returns a command that runs as a user other than root, since `initdb` refuses root.
    fn command(&self, name: &str) -> Command {
        let path = self.binaries.join(name);
        if !nix::unistd::geteuid().is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path);
        command
    }

    /// Copies every person of the program, page by page, and returns how many there are.
    pub fn load(&self, service: &Service) -> usize {
        let client = self.client.as_ref().expect("connected");
        let (mut persons, mut next) =
            (0, Some("/api/projects/1/persons?limit=5000&cursor=&count=false".to_owned()));
        self.runtime.block_on(client.batch_execute(SCHEMA)).expect("the schema");
        let copy =
            client.copy_in::<_, Bytes>("COPY person (uuid, created_at, properties) FROM STDIN");
        let mut copy = Box::pin(self.runtime.block_on(copy).expect("COPY"));
        while let Some(path) = next {
            let (status, page) = service.get(&path);
            assert_eq!(status, 200, "{page}");
            let rows = page["results"].as_array().expect("a page");
            persons += rows.len();
            let lines: String = rows.iter().map(line).collect();
            self.runtime.block_on(copy.send(Bytes::from(lines))).expect("rows");
            next = page["next"].as_str().map(|url| url.trim_start_matches(&service.url).to_owned());
        }
        self.runtime.block_on(copy.as_mut().finish()).expect("all rows");
        for statement in INDEXES.split(';').filter(|it| !it.trim().is_empty()) {
            self.runtime.block_on(client.batch_execute(statement)).expect(statement);
        }
        persons
    }

    /// Runs statements one after the other.
    pub fn ask(&self, statements: &[String]) {
        let client = self.client.as_ref().expect("connected");
        for statement in statements {
            let rows = self.runtime.block_on(client.query(statement, &[])).expect("an answer");
            std::hint::black_box(rows.len());
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        let stop = run(self.command("pg_ctl").args(["-D", &data, "-m", "immediate", "stop"]));
        if let Err(error) = stop {
            eprintln!("# {error}");
        }
    }
}

/// Returns the median of `times` runs, in seconds.
pub fn median(times: usize, mut run: impl FnMut()) -> f64 {
    let each = (0..times).map(|_| {
        let began = Instant::now();
        run();
        began.elapsed().as_secs_f64()
    });
    let mut seconds: Vec<_> = each.collect();
    seconds.sort_by(f64::total_cmp);
    seconds[times / 2]
}

/// Returns a person as a line for COPY.
fn line(person: &Value) -> String {
    let text = |name: &str| person[name].as_str().expect(name).to_owned();
    let properties =
        person["properties"].to_string().replace('\\', "\\\\").replace("\\\\u0000", "");
    format!("{}\t{}\t{properties}\n", text("uuid"), text("created_at"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).current_dir(Path::new("/"));
    let status = output.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    match status {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
