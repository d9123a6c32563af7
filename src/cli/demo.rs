//! `personview demo`: the whole pipeline on sample events, with nothing to install.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::net::TcpListener;

use super::serve;
use crate::Start;
use crate::api::key;
use crate::config::{ApiKey, Config, Project};
use crate::ingest::embedded::Broker;
use crate::ingest::produce::Producer;
use crate::progress::{Positions, Progress};

/// Sample events of a few people over half a year.
const EVENTS: &str = include_str!("../../config/sample-events.ndjson");

/// The API key that the demo accepts. It protects nothing but the sample events.
const KEY: &str = "phx_demo";

const PATIENCE: Duration = Duration::from_secs(30);

/// The reads that are shown: a title and a path each.
const READS: [(&str, &str); 5] = [
    ("Ann now", "/api/projects/1/persons?distinct_id=ann"),
    (
        "Ann on 10 March: a late event, learned in May, says she was on trial",
        "/api/projects/1/persons/properties_at_time?distinct_id=ann&timestamp=2026-03-10T00:00:00Z",
    ),
    (
        "the same moment, by what was known on 10 March: the second clock",
        "/api/projects/1/persons/properties_at_time?distinct_id=ann&timestamp=2026-03-10T00:00:00Z&known_at=2026-03-10T00:00:00Z",
    ),
    (
        "before she signed up: an anonymous visitor",
        "/api/projects/1/persons/properties_at_time?distinct_id=ann&timestamp=2026-01-20T00:00:00Z&include_set_once=true",
    ),
    ("everybody, newest first", "/api/projects/1/persons"),
];

/// Runs the service on an in-memory broker, shows some reads, and keeps serving.
pub fn run(mut config: Config) -> anyhow::Result<()> {
    let topic = config.kafka.topics.first().context("kafka.topics is empty")?.clone();
    let dead_letters = config.kafka.dead_letter_topic();
    let topics = [(topic.as_str(), 1), (&config.kafka.command_topic, 1), (&dead_letters, 1)];
    let broker = Broker::start(&topics).context("the broker in memory cannot be started")?;
    let folder = tempfile::tempdir().context("a folder for the store cannot be made")?;
    config.kafka.bootstrap_servers = broker.bootstrap_servers();
    config.kafka.topics = vec![topic.clone()];
    config.store.path = folder.path().join("store");
    config.projects =
        vec![Project { id: 1, name: "Demo".to_owned(), tokens: vec!["phc_example".to_owned()] }];
    config.api_keys = vec![ApiKey {
        label: "demo".to_owned(),
        sha256: key::to_hex(&key::hash(KEY)),
        scopes: vec!["*".to_owned()],
        projects: vec![1],
        requests_per_minute: None,
    }];
    serve::runtime()?.block_on(async {
        let listener = bind_near(config.api.listen).await?;
        let address = listener.local_addr()?;
        // The demo never reloads its configuration.
        let (_, reloads) = tokio::sync::mpsc::channel(1);
        let start = Start {
            listener,
            metrics_listener: None,
            accept_gap: false,
            refuse_compacted: false,
            reloads,
        };
        config.api.metrics_listen = None;
        let progress = Arc::<Progress>::default();
        let shutdown = serve::signalled()?;
        let connection = config.kafka_connection();
        let running = crate::run(config, start, progress.clone(), shutdown);
        let showing = async {
            let producer = Producer::connect(&connection)?;
            for event in EVENTS.lines() {
                producer.send(&topic, "sample", event)?;
            }
            producer.finish(PATIENCE)?;
            let sent = producer
                .delivered()
                .next_offsets
                .into_iter()
                .map(|(partition, next)| ((topic.clone(), partition), next));
            if !progress.reached(&sent.collect::<Positions>(), PATIENCE).await {
                bail!("the sample events were not applied in {} s", PATIENCE.as_secs());
            }
            tokio::task::spawn_blocking(move || show(address)).await?
        };
        let mut running = std::pin::pin!(running);
        tokio::select! {
            ended = &mut running => return Ok(ended?),
            shown = showing => shown?,
        }
        Ok(running.await?)
    })
}

/// Binds the configured address, or any free local port if that address is in use.
async fn bind_near(address: SocketAddr) -> anyhow::Result<TcpListener> {
    if let Ok(listener) = TcpListener::bind(address).await {
        return Ok(listener);
    }
    eprintln!("{address} is in use; taking a free port");
    serve::bind("api.listen", (Ipv4Addr::LOCALHOST, 0).into()).await
}

fn show(address: SocketAddr) -> anyhow::Result<()> {
    println!();
    println!(
        "personview demo: {} events went through a Kafka broker inside this process.",
        EVENTS.lines().count()
    );
    println!(
        "That broker and the store live in memory and in a temporary folder: all is gone at the end."
    );
    for (about, path) in READS {
        let url = format!("http://{address}{path}");
        let mut answer = ureq::get(&url).header("Authorization", format!("Bearer {KEY}")).call()?;
        let answer: Value = answer.body_mut().read_json()?;
        println!("\n# {about}");
        println!("curl -H 'Authorization: Bearer {KEY}' '{url}'");
        print_answer(&answer);
    }
    println!(
        "\nServing at http://{address} until Ctrl-C. Your own events: personview serve, with Kafka."
    );
    Ok(())
}

/// Prints the part of an answer that matters for the demo. The `curl` line fetches the rest.
fn print_answer(answer: &Value) {
    let persons = answer["results"].as_array().map_or(std::slice::from_ref(answer), Vec::as_slice);
    for person in persons {
        let mut properties = person["properties"].clone();
        let mut others = String::new();
        if let Some(properties) = properties.as_object_mut() {
            // Properties that begin with `$` are many and not needed to follow the example, so
            // only their number is shown.
            let all = properties.len();
            properties.retain(|name, _| !name.starts_with('$'));
            if properties.len() < all {
                others = format!("  and {} that begin with $", all - properties.len());
            }
        }
        println!("  name {}  distinct_ids {}", person["name"], person["distinct_ids"]);
        println!("  properties {properties}{others}");
    }
}
