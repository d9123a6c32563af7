//! `personview inspect person`: shows one person and its timeline to the engineer on call.

use std::collections::HashMap;
use std::io::Write;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use uuid::Uuid;

use crate::config::Config;
use crate::person::{Head, Lives, PersonId, PersonRow, ProjectId, PropertyId, Tombstone, Value};
use crate::store::{Effect, Moment, NewestOperations, OperationWithValues, Snapshot, Store};

/// The maximum number of distinct ids shown; all are counted.
const MAX_IDS: usize = 50;

/// The maximum number of characters shown of a value.
const MAX_VALUE: usize = 100;

/// An operation learned more than this long after its event time is shown as late, in microseconds.
const LATE: i64 = 60_000_000;

/// Which person to show.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).args(["distinct_id", "id"]))]
pub struct Arguments {
    /// Id of the project
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    project: ProjectId,
    /// One of the person's distinct ids
    #[arg(long, value_name = "D")]
    distinct_id: Option<String>,
    /// The person's integer id or uuid; also of a person that was merged into another or deleted
    #[arg(long, value_name = "P", value_parser = parse_name)]
    id: Option<Name>,
    /// How many of the newest operations to show
    #[arg(long, default_value_t = 200)]
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
enum Name {
    Id(PersonId),
    Uuid(Uuid),
}

fn parse_name(text: &str) -> Result<Name, String> {
    let id = text.parse().map(Name::Id);
    id.or_else(|_| text.parse().map(Name::Uuid))
        .map_err(|_| "it is neither an integer nor a uuid".to_owned())
}

/// Prints a person's identity, its distinct ids and properties, and its timeline.
///
/// # Errors
///
/// If there is no such person, or the store cannot be read.
pub fn person(config: &Config, asked: &Arguments, output: &mut impl Write) -> anyhow::Result<()> {
    let store = Store::open_to_read(&config.store_config())?;
    let snapshot = store.snapshot();
    let view = View { store: &store, snapshot: &snapshot, project: asked.project };
    let person = view.find(asked)?;
    match snapshot.person_row(asked.project, person)? {
        Some(PersonRow::Head(head)) => {
            view.who((person, &head), output)?;
            view.distinct_ids((person, &head), output)?;
            view.properties(&head, output)?;
            view.timeline(person, asked.limit, output)
        }
        Some(PersonRow::Tombstone(tombstone)) => view.deleted(person, &tombstone, output),
        None => bail!("project {} has no person {person}", asked.project),
    }
}

struct View<'a> {
    store: &'a Store,
    snapshot: &'a Snapshot<'a>,
    project: ProjectId,
}

impl View<'_> {
    fn find(&self, asked: &Arguments) -> anyhow::Result<PersonId> {
        let project = asked.project;
        if let Some(id) = &asked.distinct_id {
            if let Some(person) = self.snapshot.person_of_distinct_id(project, id)? {
                return Ok(person);
            }
            if let Some(until) = self.snapshot.dropped(project, id)? {
                bail!(
                    "the person of distinct id {id:?} in project {project} was deleted; its events \
                     up to {until} are dropped"
                );
            }
            bail!("project {project} has never seen the distinct id {id:?}");
        }
        match asked.id.context("give a distinct id or an id")? {
            Name::Id(id) => Ok(id),
            Name::Uuid(uuid) => {
                let person = self.snapshot.person_of_uuid(project, uuid)?;
                person.with_context(|| format!("project {project} has no person {uuid}"))
            }
        }
    }

    fn who(&self, (id, head): (PersonId, &Head), output: &mut impl Write) -> anyhow::Result<()> {
        let person = self.snapshot.current(self.project, (id, head), 0)?;
        writeln!(output, "Person {} of project {}", head.uuid, self.project)?;
        let mut line = |name: &str, value: String| writeln!(output, "  {name:<17} {value}");
        line("id", id.to_string())?;
        line("version", head.version.to_string())?;
        line("created", head.created_at.to_string())?;
        let identified = head.identified.map(|identified| identified.time.to_string());
        line("identified since", identified.unwrap_or_else(|| "not identified".to_owned()))?;
        let seen = person.last_seen_at.map(|hour| format!("in the hour of {hour}"));
        line("last seen", seen.unwrap_or_else(|| "never".to_owned()))?;
        if let Some(lives_on) = head.lives_on {
            line("lives on since", format!("{lives_on}, by a split after it was merged"))?;
        }
        if let Some(merged) = head.merged {
            let time = merged.place.time;
            line("merged into", format!("{} at {time}", self.name_of(merged.into.person)?))?;
            let now = self.snapshot.lives(self.project).now(merged.into)?;
            if now != merged.into {
                line("which is by now", self.name_of(now.person)?)?;
            }
            writeln!(output, "  What follows is its own; what came after is with the other.")?;
        }
        Ok(())
    }

    fn deleted(
        &self,
        id: PersonId,
        tombstone: &Tombstone,
        output: &mut impl Write,
    ) -> anyhow::Result<()> {
        writeln!(output, "Person {} of project {}", tombstone.uuid, self.project)?;
        writeln!(output, "  {:<17} {id}", "id")?;
        writeln!(output, "  {:<17} {}", "version", tombstone.version)?;
        let deleted = tombstone.deleted;
        writeln!(output, "  {:<17} {}; nothing else is left", "deleted", deleted.time)?;
        Ok(())
    }

    /// Returns a one-line description of a person, including one that was deleted.
    fn name_of(&self, id: PersonId) -> anyhow::Result<String> {
        Ok(match self.snapshot.person_row(self.project, id)? {
            Some(PersonRow::Head(head)) => format!("{} (id {id})", head.uuid),
            Some(PersonRow::Tombstone(deleted)) => {
                format!("{} (id {id}, deleted {})", deleted.uuid, deleted.deleted.time)
            }
            None => format!("id {id}"),
        })
    }

    fn distinct_ids(
        &self,
        person: (PersonId, &Head),
        output: &mut impl Write,
    ) -> anyhow::Result<()> {
        let ids = self.snapshot.had_distinct_ids(self.project, person, MAX_IDS)?;
        writeln!(output, "\nDistinct ids ({})", ids.count)?;
        let rows = ids.first.iter().map(|had| {
            let until = had.until.map_or_else(String::new, |until| format!("until {until}"));
            [clean(&had.id), format!("from {}", had.from), until]
        });
        table(&rows.collect::<Vec<_>>(), output)?;
        let more = ids.count - ids.first.len() as u64;
        if more > 0 {
            writeln!(output, "  … and {more} more")?;
        }
        Ok(())
    }

    fn properties(&self, head: &Head, output: &mut impl Write) -> anyhow::Result<()> {
        let values = head.entries.iter().filter_map(|(&property, entry)| {
            Some([self.property(property), cut(entry.state.current.as_ref()?)])
        });
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        writeln!(output, "\nProperties ({})", values.len())?;
        table(&values, output)
    }

    fn property(&self, property: PropertyId) -> String {
        let name = self.store.dictionary().property_name(self.project, property);
        name.map_or_else(|| format!("number {property}"), |name| clean(&name))
    }

    fn timeline(
        &self,
        person: PersonId,
        limit: usize,
        output: &mut impl Write,
    ) -> anyhow::Result<()> {
        let NewestOperations { count, shown, .. } =
            self.snapshot.operations(self.project, person, Moment::NOW, limit, usize::MAX)?;
        writeln!(output, "\nOperations ({count}), oldest first")?;
        let older = count - shown.len() as u64;
        if older > 0 {
            writeln!(output, "  … {older} older ones are not shown; --limit shows more")?;
        }
        let mut topics = HashMap::new();
        for operation in shown.iter().rev() {
            self.operation(operation, &mut topics, output)?;
        }
        Ok(())
    }

    fn operation(
        &self,
        OperationWithValues { place, operation, effects }: &OperationWithValues,
        topics: &mut HashMap<u16, String>,
        output: &mut impl Write,
    ) -> anyhow::Result<()> {
        let position = place.position;
        let topic = topics.entry(position.topic).or_insert_with(|| {
            let name = self.store.dictionary().topic_name(position.topic);
            name.unwrap_or_else(|| format!("topic {}", position.topic))
        });
        let by = operation.author.as_ref().map(|label| format!("API key {:?}", clean(label)));
        let by = by.unwrap_or_else(|| clean(&operation.distinct_id));
        let (partition, offset) = (position.partition, position.offset);
        let (time, event) = (operation.event_time, clean(&operation.event));
        writeln!(
            output,
            "  {:<27}  {event}  {by}  {topic}:{partition}:{offset}",
            time.to_string()
        )?;
        let mut rows = Vec::new();
        if operation.known.0.saturating_sub(time.0) > LATE {
            rows.push(["late".to_owned(), format!("known {}", operation.known), String::new()]);
        }
        if let Some(source) = operation.merged {
            let source = self.name_of(source)?;
            let effective = if place.time == time {
                String::new()
            } else {
                format!("in effect from {}", place.time)
            };
            rows.push(["merged".to_owned(), source, effective]);
        }
        if let Some(split) = operation.split {
            let ids = if split == 1 { "distinct id" } else { "distinct ids" };
            rows.push(["split off".to_owned(), format!("{split} {ids}"), String::new()]);
        }
        for (property, effect, value) in effects {
            let value = value.as_ref().map(cut).unwrap_or_default();
            rows.push([word(*effect).to_owned(), self.property(*property), value]);
        }
        for row in rows {
            let [what, of, value] = row;
            let line = format!("{:<31}{what:<16} {of:<28} {value}", "");
            writeln!(output, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Returns the word for what an operation did to a property.
fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Set => "set",
        Effect::Once => "set once",
        Effect::Unset => "unset",
        Effect::SetUnset => "set and unset",
        Effect::OnceUnset => "once and unset",
    }
}

/// Prints rows as a table with aligned columns.
fn table<const N: usize>(rows: &[[String; N]], output: &mut impl Write) -> anyhow::Result<()> {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        // Bounded, so that one long name does not push the other columns far to the right.
        widths.max().unwrap_or(0).min(40)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(output, "  {}", line.trim_end())?;
    }
    Ok(())
}

fn cut(value: &Value) -> String {
    let text = value.as_json();
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}… ({} bytes)", clean(&text[..end]), text.len()),
        None => clean(text),
    }
}

/// Replaces control characters in text from events, which a terminal would act on.
fn clean(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { '\u{fffd}' } else { each }).collect()
}

#[cfg(test)]
mod tests;
