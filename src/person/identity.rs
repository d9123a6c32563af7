//! How persons are identified, whether and whom a record merges, and when a merge takes effect.

use uuid::{Uuid, uuid};

use super::{PersonId, ProjectId, Time};

/// The namespace of every uuid that the product derives.
pub const NAMESPACE: Uuid = uuid!("932979b4-65c3-4424-8467-0b66ec27bc22");

/// Returns the uuid of an event that has none, derived from the position of its record.
#[must_use]
pub fn origin_uuid(topic: &str, partition: u32, offset: u64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{topic}:{partition}:{offset}").as_bytes())
}

/// Returns the uuid under which an event is recorded if only its merge was applied and its properties were
/// refused. If the event comes again, only its properties are applied.
#[must_use]
pub fn identity_only_uuid(event: Uuid) -> Uuid {
    Uuid::new_v5(&event, b"identity")
}

/// The maximum length of a stored distinct id, in characters; longer ones are truncated.
pub const MAX_DISTINCT_ID: usize = 200;

/// The maximum length of an id that may take part in a merge, in characters, before truncation.
const MAX_MERGED_ID: usize = 400;

/// The maximum number of operations of the source that a merge copies. If there are more, the merge takes
/// effect as much later as needed. Small in tests.
pub const MAX_COPIED: usize = if cfg!(test) { 4 } else { 100_000 };

/// The maximum size of the values of these operations, in bytes of JSON. A merge is a single transaction, which
/// has to fit into memory.
pub const MAX_COPIED_BYTES: usize = if cfg!(test) { 40 } else { 32 << 20 };

/// Returns the uuid of a person created with this distinct id.
#[must_use]
pub fn person_uuid(project: ProjectId, distinct_id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{project}:{distinct_id}").as_bytes())
}

/// Returns the integer id for a uuid: its low 53 bits. If that is taken within the project, the
/// next free one upward is used.
#[must_use]
pub fn person_id(uuid: Uuid) -> PersonId {
    const LOW_53_BITS: u128 = (1 << 53) - 1;
    PersonId::try_from(uuid.as_u128() & LOW_53_BITS).unwrap_or_default()
}

/// Returns the id after this one, wrapping around at 53 bits.
#[must_use]
pub fn next_person_id(id: PersonId) -> PersonId {
    (id + 1) & ((1 << 53) - 1)
}

/// Truncates a distinct id to [`MAX_DISTINCT_ID`].
#[must_use]
pub fn cut(mut distinct_id: String) -> String {
    if let Some((end, _)) = distinct_id.char_indices().nth(MAX_DISTINCT_ID) {
        distinct_id.truncate(end);
    }
    distinct_id
}

/// Returns whether a distinct id looks like one that an SDK generated for an unknown visitor: five lowercase
/// alphanumeric groups joined by `-`.
#[must_use]
pub fn is_anonymous(distinct_id: &str) -> bool {
    let group = |group: &str| {
        !group.is_empty() && group.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    distinct_id.split('-').all(group) && distinct_id.split('-').count() == 5
}

const ILLEGAL: [&str; 7] = ["[object Object]", "NaN", "None", "none", "null", "0", "undefined"];

const ILLEGAL_IN_ANY_CASE: [&str; 10] = [
    "anonymous",
    "guest",
    "distinctid",
    "distinct_id",
    "id",
    "not_authenticated",
    "email",
    "undefined",
    "true",
    "false",
];

/// Returns whether an id may not take part in a merge because many people would share it by mistake.
#[must_use]
pub fn is_illegal(id: &str) -> bool {
    let quoted = |quote: char| id.strip_prefix(quote)?.strip_suffix(quote);
    let bare = quoted('"').or_else(|| quoted('\'')).unwrap_or(id);
    bare.trim().is_empty()
        || ILLEGAL.contains(&bare)
        || ILLEGAL_IN_ANY_CASE.iter().any(|illegal| bare.eq_ignore_ascii_case(illegal))
        || id.contains('\0')
        || id.chars().nth(MAX_MERGED_ID).is_some()
}

/// What a merge event asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRequest {
    /// The other id; its person is the source.
    pub other: String,
    /// Whether to merge an identified source too: `$merge_dangerously`.
    pub dangerously: bool,
}

/// One side of a merge, as it is when the event is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The person that owns the id now.
    pub person: PersonId,
    /// Whether that person is identified by now.
    pub identified: bool,
}

/// What a merge event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Both ids already belong to one person.
    SamePerson,
    /// The source is identified, so the merge is refused.
    Refused,
    /// Neither person exists: one person is created with both ids.
    CreateBoth,
    /// The event's distinct id is attached to the source's person.
    AttachTarget(PersonId),
    /// The other id is attached to the target's person.
    AttachSource(PersonId),
    /// The source's person is merged into the target's.
    Merge {
        /// The person merged away.
        source: PersonId,
        /// The person that stays.
        target: PersonId,
    },
}

/// Decides what a merge event does, from the owners at the moment it is applied.
#[must_use]
pub fn decide(target: Option<Side>, source: Option<Side>, dangerously: bool) -> Decision {
    match (target, source) {
        (Some(target), Some(source)) if target.person == source.person => Decision::SamePerson,
        (_, Some(source)) if source.identified && !dangerously => Decision::Refused,
        (None, None) => Decision::CreateBoth,
        (None, Some(source)) => Decision::AttachTarget(source.person),
        (Some(target), None) => Decision::AttachSource(target.person),
        (Some(target), Some(source)) => {
            Decision::Merge { source: source.person, target: target.person }
        }
    }
}

/// Returns when a merge takes effect: at the event, but at least 1 µs after every bound. The bounds are
/// when the target id joined its owner, when the target began to live on after a split, and the
/// source's newest change of ownership, so that identity at any time is a forest. First owners own all
/// time before and set no bound.
#[must_use]
pub fn effective_time(event: Time, bounds: impl IntoIterator<Item = Option<Time>>) -> Time {
    bounds.into_iter().flatten().fold(event, |time, bound| time.max(bound.plus(1)))
}

/// Returns the uuids that a person created for this distinct id may have, in the order in which they are
/// tried. One that another person uses is skipped.
pub fn person_uuids(project: ProjectId, distinct_id: &str) -> impl Iterator<Item = Uuid> {
    (0_u64..).map(move |number| match number {
        0 => person_uuid(project, distinct_id),
        1 => person_uuid(project, &format!("{distinct_id}:split")),
        _ => person_uuid(project, &format!("{distinct_id}:split:{number}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_follow_the_published_vectors() {
        for (project, distinct_id, uuid) in [
            (1, "user-1", "6931a681-6e90-500d-8294-14582dcc2e3f"),
            (2, "anonymous_id", "42b09c80-0e9c-5498-863c-3611dc976f83"),
            (7, "Ünïcødé 🦔", "07939375-391e-5950-bfdd-38c876e4c147"),
        ] {
            assert_eq!(person_uuid(project, distinct_id).to_string(), uuid);
        }
        let id = person_id(person_uuid(1, "user-1"));
        assert_eq!(id, 0x14_1458_2dcc_2e3f);
        assert_eq!(next_person_id((1 << 53) - 1), 0);
    }

    #[test]
    fn ids_that_many_share_are_illegal() {
        for id in ["", " ", "' '", "Anonymous", "'guest'", "\"null\"", "0", "NaN", "TRUE", "a\0"] {
            assert!(is_illegal(id), "{id:?}");
        }
        assert!(is_illegal(&"x".repeat(401)));
        for id in ["nan", "NULL", "00", "user-1", "'", " undefined ", "[object object]"] {
            assert!(!is_illegal(id), "{id:?}");
        }
        assert!(!is_illegal(&"ü".repeat(400)));
    }

    #[test]
    fn the_cut_counts_characters() {
        assert_eq!(cut("ü".repeat(201)), "ü".repeat(200));
        assert_eq!(cut("ü".repeat(200)), "ü".repeat(200));
    }

    #[test]
    fn anonymous_ids_are_five_groups() {
        assert!(is_anonymous("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"));
        assert!(!is_anonymous("0190A1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"));
        assert!(!is_anonymous("a-b-c-d"));
        assert!(!is_anonymous("a-b-c-d-e-f"));
        assert!(!is_anonymous("a-b-c--e"));
    }

    #[test]
    fn the_merge_table() {
        let side = |person, identified| Some(Side { person, identified });
        for (target, source, dangerously, expected) in [
            (side(1, true), side(1, true), false, Decision::SamePerson),
            (side(1, false), side(2, true), false, Decision::Refused),
            (None, side(2, true), false, Decision::Refused),
            (None, side(2, true), true, Decision::AttachTarget(2)),
            (side(1, true), side(2, true), true, Decision::Merge { source: 2, target: 1 }),
            (None, None, false, Decision::CreateBoth),
            (None, side(2, false), false, Decision::AttachTarget(2)),
            (side(1, true), None, false, Decision::AttachSource(1)),
            (side(1, true), side(2, false), false, Decision::Merge { source: 2, target: 1 }),
        ] {
            assert_eq!(decide(target, source, dangerously), expected);
        }
    }

    #[test]
    fn a_merge_never_takes_effect_before_what_it_builds_on() {
        assert_eq!(effective_time(Time(5), [None, None]), Time(5));
        assert_eq!(effective_time(Time(100), [None, Some(Time(10))]), Time(100));
        assert_eq!(effective_time(Time(5), [None, Some(Time(10))]), Time(11));
        assert_eq!(effective_time(Time(5), [Some(Time(30)), Some(Time(10))]), Time(31));
    }
}
