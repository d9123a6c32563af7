//! What hot persons cost: one person with very many operations, distinct ids or merges.
//!
//! `cargo bench --bench hot` prints a table for each question. The ratios to the first row, in brackets, are
//! what matters: a cost that does not depend on the size of a person stays near 1. `-- --json` prints one
//! JSON object per row, `-- curve` (or `ids`, `merges`, `chains`, `odd`) measures only one question, and
//! `-- --million` takes timelines to a million operations. Without `--bench`, or with `--test`, everything is
//! small and only checked to work.

mod table;
mod world;

use serde_json::json;

use self::table::Table;
use self::world::{Ask, Named, SECOND, World, peak_megabytes, percentiles, reset_peak};

/// Which questions are measured, and at which sizes.
struct Plan {
    json: bool,
    small: bool,
    million: bool,
    questions: Vec<String>,
}

impl Plan {
    fn asks(&self, question: &str) -> bool {
        self.questions.is_empty() || self.questions.iter().any(|asked| asked == question)
    }

    /// Returns the sizes to measure, or two small ones.
    fn sizes(&self, sizes: &[u32]) -> Vec<u32> {
        if self.small { vec![20, 100] } else { sizes.to_vec() }
    }

    fn times(&self, times: u32) -> u32 {
        if self.small { times.min(10) } else { times }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let plan = Plan {
        json: has("--json"),
        small: has("--test") || !has("--bench"),
        million: has("--million"),
        questions: arguments.iter().filter(|it| !it.starts_with("--")).cloned().collect(),
    };
    for (question, answer) in [
        ("curve", curve as fn(&Plan)),
        ("ids", distinct_ids),
        ("merges", merges),
        ("chains", chains),
        ("odd", odd),
    ] {
        if plan.asks(question) {
            answer(&plan);
        }
    }
}

/// How many properties an event of the curve sets.
const SET_AT_ONCE: u32 = 2;

/// Grows the timeline of one person, and measures every step at every size.
fn curve(plan: &Plan) {
    let mut sizes = plan.sizes(&[1_000, 10_000, 100_000]);
    if plan.million && !plan.small {
        sizes.push(1_000_000);
    }
    for properties in [1, 20] {
        let title = format!("one person's timeline on {properties} properties; µs but for bytes");
        let columns = [
            "in order",
            "late",
            "now",
            "as of p50",
            "as of p99",
            "known p50",
            "known p99",
            "known early",
            "bytes/op",
        ];
        let mut table = Table::new(plan.json, &title, &columns);
        let mut world = World::new();
        let mut operations = 0;
        for &size in &sizes {
            let more = size - operations;
            world.grow("hot", more, properties);
            operations = size;
            world = world.reopened();
            let bytes = world.bytes() / f64::from(operations);
            let few = plan.times(500);
            let in_order = world.grow("hot", few, properties);
            let late = world.late("hot", few, properties);
            operations += 2 * few;
            let ask = Ask { world: &world, id: "hot" };
            let now = percentiles(plan.times(500), |_| ask.now(usize::MAX)).0;
            let as_of = percentiles(plan.times(1_000), |random| {
                let time = ask.world.past(random);
                ask.as_of(time, None);
            });
            let known = percentiles(plan.times(1_000), |random| {
                let (a, b) = (ask.world.past(random), ask.world.past(random));
                ask.as_of(a.min(b), Some(a.max(b)));
            });
            let early = world.past_at(0.1);
            let known_early = percentiles(plan.times(20), |_| ask.as_of(world.end(), Some(early)));
            let cells =
                [in_order, late, now, as_of.0, as_of.1, known.0, known.1, known_early.0, bytes];
            table.row(&size.to_string(), &cells);
        }
    }
}

/// Merges visitors of one event each into a person, one by one, like a user that signs in on many devices.
fn distinct_ids(plan: &Plan) {
    let columns = [
        "merge",
        "event",
        "late event",
        "now, all",
        "now, 1000",
        "as of p50",
        "as of p99",
        "known p50",
        "bytes/id",
    ];
    for (title, older) in [("", false), (", each older than those before", true)] {
        let title = format!("one person's distinct ids{title}; µs but for bytes");
        let mut table = Table::new(plan.json, &title, &columns);
        let mut world = World::new();
        let mut ids = 0;
        let most = if older { 30_000 } else { 150_000 };
        for size in plan.sizes(&[1_000, 10_000, most]) {
            let merge = world.take_over("hot", ids..size, older);
            ids = size;
            world = world.reopened();
            let bytes = world.bytes() / f64::from(ids);
            let few = plan.times(1_000);
            let event = world.by_some("hot", ids, few, false);
            let late = world.by_some("hot", ids, few, true);
            let ask = Ask { world: &world, id: "hot" };
            let now = percentiles(plan.times(10), |_| ask.now(usize::MAX)).0;
            let list = percentiles(plan.times(100), |_| ask.now(1_001)).0;
            let past =
                percentiles(plan.times(50), |random| ask.as_of(ask.world.past(random), None));
            let known = percentiles(plan.times(20), |random| {
                let time = ask.world.past(random);
                ask.as_of(time, Some(time));
            });
            let cells = [merge, event, late, now, list, past.0, past.1, known.0, bytes];
            table.row(&size.to_string(), &cells);
        }
    }
}

/// Merges two hot persons, each time in one transaction.
fn merges(plan: &Plan) {
    let columns = ["ms", "staged MB", "peak MB", "late µs", "event µs", "now, 1000 µs", "as of µs"];
    let mut table = Table::new(plan.json, "two hot persons become one", &columns);
    for ids in plan.sizes(&[1_000, 150_000]) {
        let mut world = World::new();
        world.take_over("target", 0..ids, false);
        world.take_over("source", 0..ids, false);
        merge_row(plan, &mut table, &mut world, 0, &format!("{ids} ids into {ids}"));
    }
    let most = if plan.million { 1_000_000 } else { 200_000 };
    for operations in plan.sizes(&[1_000, most]) {
        for (name, back) in [("all before", 0), ("half after", operations / 2)] {
            let mut world = World::new();
            world.grow("target", 100, 20);
            world.grow("source", operations, 20);
            let name = format!("{operations} operations, {name}");
            merge_row(plan, &mut table, &mut world, back, &name);
        }
    }
}

/// Merges `source` into `target` by an event that happened `back` seconds ago.
fn merge_row(plan: &Plan, table: &mut Table, world: &mut World, back: u32, name: &str) {
    let before = reset_peak();
    let at = world.end() - i64::from(back) * SECOND;
    let (micros, staged) = world.merge("target", "source", at);
    let peak = peak_megabytes() - before;
    let few = plan.times(300);
    let late = world.late("source", few, 20);
    let event = world.grow("source", few, 20);
    let ask = Ask { world, id: "source" };
    let now = percentiles(plan.times(50), |_| ask.now(1_001)).0;
    let past = percentiles(plan.times(50), |random| ask.as_of(ask.world.past(random), None)).0;
    table.row(name, &[micros / 1e3, staged, peak, late, event, now, past]);
}

/// Merges each person into the next one. A read by the first id follows the whole chain.
fn chains(plan: &Plan) {
    let columns = [
        "merge",
        "event",
        "late event",
        "now by first",
        "list by first",
        "as of p50",
        "as of p99",
        "known p50",
    ];
    let mut table = Table::new(plan.json, "a chain of merges, by its first id; µs", &columns);
    for size in plan.sizes(&[1_000, 4_000, 16_000]) {
        let mut world = World::new();
        let merge = world.chain(size);
        let few = plan.times(100);
        let event = world.grow("chain-0", few, 20);
        let late = world.late("chain-0", few, 20);
        let ask = Ask { world: &world, id: "chain-0" };
        let now = percentiles(plan.times(5), |_| ask.now(usize::MAX)).0;
        let list = percentiles(plan.times(20), |_| ask.now(1_001)).0;
        let past = percentiles(plan.times(20), |random| ask.as_of(ask.world.past(random), None));
        let known = percentiles(plan.times(20), |random| {
            let time = ask.world.past(random);
            ask.as_of(time, Some(time));
        });
        let cells = [merge, event, late, now, list, past.0, past.1, known.0];
        table.row(&size.to_string(), &cells);
    }
}

/// Measures rows of one property whose effect depends on the rows before them.
fn odd(plan: &Plan) {
    let columns = ["in order", "late", "now", "as of p50", "as of p99", "known p50"];
    let toggle = |number: u32| Named {
        name: "$set",
        properties: json!({"$set": {"odd": number}, "$unset": ["odd"]}),
    };
    let mut table =
        Table::new(plan.json, "$set and $unset of one property in one event; µs", &columns);
    for size in plan.sizes(&[1_000, 10_000, 100_000]) {
        let mut world = World::new();
        let in_order = world.in_order("hot", size, toggle);
        odd_row(plan, &mut table, &mut world, size, in_order);
    }
    let once =
        |number: u32| Named { name: "$set", properties: json!({"$set_once": {"odd": number}}) };
    let mut table = Table::new(plan.json, "$set_once of one property, newest first; µs", &columns);
    for size in plan.sizes(&[1_000, 10_000, 100_000]) {
        let mut world = World::new();
        let newest_first = world.newest_first("hot", size, once);
        odd_row(plan, &mut table, &mut world, size, newest_first);
    }
}

fn odd_row(plan: &Plan, table: &mut Table, world: &mut World, size: u32, in_order: f64) {
    let late = world.late_with("hot", plan.times(20), |number| Named {
        name: "$set",
        properties: json!({"$set_once": {"odd": number}, "$set": {"other": number}}),
    });
    let ask = Ask { world, id: "hot" };
    let now = percentiles(plan.times(100), |_| ask.now(usize::MAX)).0;
    let past = percentiles(plan.times(20), |random| ask.as_of(ask.world.past(random), None));
    let known = percentiles(plan.times(20), |random| {
        let time = ask.world.past(random);
        ask.as_of(time, Some(time));
    });
    table.row(&size.to_string(), &[in_order, late, now, past.0, past.1, known.0]);
}
