//! `personview dead-letters`: list the records that could not be used and why, and send them again.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use strum::VariantNames;

use super::{help, produce};
use crate::config::Config;
use crate::ingest::dead_letters::{self, Letter, Origin};
use crate::ingest::produce::Producer;
use crate::person::event::Rejection;

/// The maximum number of characters shown of a key.
const MAX_KEY: usize = 60;

/// What to do with the dead letters.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show each dead letter with its offset, time, reason, origin and key, then their number by reason
    #[command(after_help = help::DEAD_LETTERS_LIST_EXAMPLES)]
    List(ListArguments),
    /// Send the records to their original topics again
    #[command(after_help = help::DEAD_LETTERS_REPLAY_HELP)]
    Replay(Selection),
}

/// Which dead letters to list or send.
#[derive(Debug, Args)]
pub struct Selection {
    /// Only dead letters with one of these reasons
    #[arg(long = "reason", value_name = "R", num_args = 1.., value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(reasons()))]
    reasons: Vec<String>,
    /// Only dead letters from this offset of the dead letter topic on
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// Only dead letters before this offset
    #[arg(long, value_name = "OFFSET", default_value_t = u64::MAX, hide_default_value = true)]
    until: u64,
}

/// The arguments of `personview dead-letters list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    selection: Selection,
    /// Print only the values of the records, one per line, as `personview produce` reads them
    #[arg(long)]
    values: bool,
}

/// Returns every reason a dead letter can have. Any other is refused: with a mistyped reason the
/// list would only look empty.
fn reasons() -> impl Iterator<Item = &'static str> {
    let no_letter = Rejection::UnknownToken.reason();
    Rejection::VARIANTS.iter().copied().filter(move |reason| *reason != no_letter)
}

impl Selection {
    fn has(&self, letter: &Letter) -> bool {
        let wanted = self.reasons.is_empty() || self.reasons.contains(&letter.reason);
        wanted && (self.from..self.until).contains(&letter.offset)
    }

    /// Visits every selected dead letter; returns their number for each reason.
    fn each(
        &self,
        config: &Config,
        mut visit: impl FnMut(&Letter) -> anyhow::Result<()>,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut reasons = BTreeMap::new();
        let topic = config.kafka.dead_letter_topic();
        dead_letters::read(&config.kafka_connection(), &topic, self.from, |letter| {
            if self.has(&letter) {
                visit(&letter)?;
                *reasons.entry(letter.reason).or_default() += 1;
            }
            anyhow::Ok(())
        })
        .map_err(|error| produce::with_address(config, error))
        .with_context(|| format!("the dead letters in {topic} cannot be read"))?;
        Ok(reasons)
    }
}

/// Runs one of the subcommands.
///
/// # Errors
///
/// Those of the subcommand.
pub fn run(config: &Config, command: &Command, output: &mut impl Write) -> anyhow::Result<()> {
    config.check_kafka()?;
    match command {
        Command::List(listing) => list(config, listing, output),
        Command::Replay(selection) => replay(config, selection, output),
    }
}

/// Prints a line for each selected dead letter, and their number by reason.
///
/// # Errors
///
/// If Kafka does not answer, or there is no dead letter topic.
fn list(config: &Config, listing: &ListArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let reasons = listing.selection.each(config, |letter| {
        if listing.values {
            let value = letter.value.as_deref().unwrap_or_default();
            // In JSON a line break is white space, but here it would end the event.
            let value: Vec<u8> =
                value.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
            output.write_all(&value)?;
            return Ok(output.write_all(b"\n")?);
        }
        let Origin { topic, partition, offset } = &letter.origin;
        let truncated = if letter.truncated { "  (value too large to be kept)" } else { "" };
        let (number, rejected, reason) = (letter.offset, letter.rejected, reason_text(letter));
        let key = key_text(letter);
        Ok(writeln!(
            output,
            "{number:>8}  {rejected}  {reason:<26}  {topic}:{partition}:{offset}  {key}{truncated}"
        )?)
    })?;
    if !listing.values {
        writeln!(output, "{}", summary(&reasons))?;
    }
    Ok(())
}

/// Sends the records of the selected dead letters to their original topics.
///
/// # Errors
///
/// If Kafka does not answer or refuses records, or if the values of some records were not kept.
fn replay(config: &Config, selection: &Selection, output: &mut impl Write) -> anyhow::Result<()> {
    let producer = Producer::connect(&config.kafka_connection())?;
    let (mut last_sent, mut lost) = (None, Vec::new());
    let ended = selection.each(config, |letter| {
        if letter.truncated {
            let Origin { topic, partition, offset } = &letter.origin;
            lost.push(format!("{topic}:{partition}:{offset}"));
        } else {
            dead_letters::replay(&producer, letter)?;
            last_sent = Some(letter.offset);
        }
        Ok(())
    });
    // However it ended, what was sent until then is in Kafka and must be reported.
    let (delivered, finished) = produce::finish(&producer, config, "records");
    let refused = produce::tell_refused(&delivered, "records");
    writeln!(output, "{} records were sent once more", delivered.count)?;
    if !lost.is_empty() {
        eprintln!(
            "these were too large to be kept; read them where they came from: {}",
            lost.join(" ")
        );
    }
    ended?;
    finished?;
    if refused > 0 || !lost.is_empty() {
        bail!("{} records were not sent", refused + lost.len() as u64);
    }
    let topic = config.kafka.dead_letter_topic();
    // If Kafka does not tell, the records were sent all the same.
    let is_one = producer.has_partition(&topic, 1).is_ok_and(|has_more| !has_more);
    if let Some(next) = next_from(selection, last_sent, is_one) {
        writeln!(output, "--from {next} leaves them out next time")?;
    }
    Ok(())
}

/// Returns the reason, with the field that is wrong if the letter names one.
fn reason_text(letter: &Letter) -> String {
    match letter.detail.as_str() {
        "" => letter.reason.clone(),
        detail => format!("{} ({})", letter.reason, detail.escape_debug()),
    }
}

/// Returns the offset from which on no dead letter was sent, if all before it were: none was left out for its
/// reason, and the topic has one partition, since an offset is for all of them alike.
fn next_from(selection: &Selection, last_sent: Option<u64>, is_one: bool) -> Option<u64> {
    let next = last_sent? + 1;
    (is_one && selection.reasons.is_empty()).then_some(next)
}

fn key_text(letter: &Letter) -> String {
    let Some(key) = &letter.key else { return "-".to_owned() };
    let text = String::from_utf8_lossy(key);
    let mut shown: String = text.escape_debug().take(MAX_KEY).collect();
    if text.escape_debug().nth(MAX_KEY).is_some() {
        shown.push('…');
    }
    shown
}

fn summary(reasons: &BTreeMap<String, u64>) -> String {
    let each: Vec<_> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let sum: u64 = reasons.values().sum();
    if each.is_empty() {
        "no dead letters".to_owned()
    } else {
        format!("{sum} dead letters: {}", each.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let selection = Selection { reasons: vec!["not_json".to_owned()], from: 3, until: 5 };
        let letter = |offset, reason: &str| Letter {
            offset,
            reason: reason.to_owned(),
            ..Letter::default()
        };
        assert!(selection.has(&letter(3, "not_json")) && selection.has(&letter(4, "not_json")));
        for other in [letter(2, "not_json"), letter(5, "not_json"), letter(4, "invalid_uuid")] {
            assert!(!selection.has(&other), "{other:?}");
        }
    }

    #[test]
    fn a_replay_that_left_nothing_out_says_where_the_next_one_may_begin() {
        let all = Selection { reasons: Vec::new(), from: 3, until: 12 };
        assert_eq!(next_from(&all, Some(9), true), Some(10));
        assert_eq!(next_from(&all, None, true), None, "nothing was sent");
        assert_eq!(next_from(&all, Some(9), false), None, "other partitions have other offsets");
        let some = Selection { reasons: vec!["not_json".to_owned()], ..all };
        assert_eq!(
            next_from(&some, Some(9), true),
            None,
            "letters with other reasons were left out"
        );
    }

    #[test]
    fn a_reason_names_the_field() {
        let reason = "wrong_type".to_owned();
        let letter = Letter { reason, detail: "$set".to_owned(), ..Letter::default() };
        assert_eq!(reason_text(&letter), "wrong_type ($set)");
        assert_eq!(reason_text(&Letter { detail: String::new(), ..letter }), "wrong_type");
    }

    #[test]
    fn a_key_breaks_no_line() {
        let letter = |key: &[u8]| Letter { key: Some(key.to_vec()), ..Letter::default() };
        assert_eq!(key_text(&letter(b"a\nb\x1b[2J")), "a\\nb\\u{1b}[2J");
        assert_eq!(key_text(&letter(&[b'x'; 61])), format!("{}…", "x".repeat(60)));
        assert_eq!(key_text(&Letter::default()), "-");
    }
}
