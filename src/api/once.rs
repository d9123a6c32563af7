//! A write of one command: done once per idempotency key, and answered by its outcome.

use axum::response::Response;
use serde_json::Value as Tree;
use uuid::Uuid;

use super::error::Error;
use super::person_ref::PersonRef;
use super::read::View;
use super::write::{Write, Written, to_person};
use crate::person::Act;
use crate::store::CommandOutcome;

/// A uuid that no person has. With an idempotency key, a write to nobody is remembered by a deletion of this
/// uuid: the same request again must not change a person that has the name by then.
pub const NOBODY: Uuid = Uuid::nil();

/// Describes a write to a person, with the same text for the same request: the order of an
/// object's keys does not matter.
pub fn describe(doing: &str, person_ref: PersonRef, with: &Tree) -> String {
    format!("{doing} {person_ref} {with}")
}

/// How far a command got.
pub enum Done {
    /// It was applied.
    Applied,
    /// It is in the log and not yet applied; this is the answer.
    Accepted(Response),
}

/// Writes a command for the person that the path names. For `what`, see [`once`].
pub async fn of_one(
    write: &Write,
    what: &str,
    person_ref: PersonRef,
    act: impl FnOnce(Uuid) -> Act + Send + 'static,
) -> Result<Done, Error> {
    write.wait().await?;
    let remembers = write.has_idempotency_key();
    let read = move |view: &View<'_>| match view.find(person_ref)? {
        Some((person, head)) => to_person(view, (person, &head), act),
        None if remembers => Ok((Act::Delete(NOBODY), Vec::new())),
        None => Err(Error::no_person()),
    };
    once(write, what, async || write.view(read).await).await
}

/// Writes a command, unless the same one was written before under the same idempotency key. `what` describes
/// all that is requested, so that another write under the same key is not taken for this one.
pub async fn once(
    write: &Write,
    what: &str,
    act: impl AsyncFnOnce() -> Result<(Act, Vec<Uuid>), Error>,
) -> Result<Done, Error> {
    let mut outcome = write.repeated(what).await?;
    if outcome.is_none() {
        match write.write(vec![write.keyed(what, act().await?)]).await? {
            Written::Accepted(positions) => {
                return Ok(Done::Accepted(write.accepted(&positions)?));
            }
            Written::Applied(outcomes) => outcome = outcomes.first().copied(),
        }
    }
    judge(outcome.ok_or_else(Error::internal)?).map(|()| Done::Applied)
}

/// Returns the error for a command that was not done.
fn judge(outcome: CommandOutcome) -> Result<(), Error> {
    match outcome {
        CommandOutcome::Done => Ok(()),
        CommandOutcome::NotFound => Err(Error::no_person()),
        CommandOutcome::TooLarge => {
            let detail = "The person's properties would be larger than allowed.";
            Err(Error::invalid("properties", detail))
        }
        CommandOutcome::NothingToSplit => Err(nothing_to_split()),
        CommandOutcome::TooManyMerges => {
            let detail =
                "The distinct ids went through too many merges to leave at once; split fewer.";
            Err(Error::invalid("distinct_ids_to_split", detail))
        }
    }
}

pub fn nothing_to_split() -> Error {
    let detail = "A split must leave the person at least one distinct id and take at least one.";
    Error::invalid("distinct_ids_to_split", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_says_nothing_and_all_else_does() {
        let of = |json| describe("set", PersonRef::Id(7), &serde_json::from_str(json).unwrap());
        let one = of(r#"{"a": {"b": 1.0, "c": [1, 2]}, "d": null}"#);
        assert_eq!(one, of(r#"{"d": null, "a": {"c": [1, 2], "b": 1.0}}"#));
        assert_ne!(one, of(r#"{"a": {"b": 1.0, "c": [2, 1]}, "d": null}"#));
        assert_ne!(one, of(r#"{"a": {"b": 1.0, "c": [1, 2]}}"#));
    }
}
