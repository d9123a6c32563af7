//! The newest state of a person: what "current properties" means.

use litemap::LiteMap;
use uuid::Uuid;

use super::history::State;
use super::{FIRST_PROPERTY, Life, Merged, PersonId, PropertyId, Time, Value};

/// The current state of a person, with everything needed to apply the next operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The person's uuid.
    pub uuid: Uuid,
    /// The earliest event time of its events and of those of the persons merged into it.
    pub created_at: Time,
    /// Its own first event.
    pub began: Fact,
    /// Its first identifying event; `None` if it is not identified.
    pub identified: Option<Fact>,
    /// 0 at creation, plus one for every recorded operation.
    pub version: u64,
    /// The newest time noted on its timeline; an event after it cannot be a duplicate.
    pub newest: Option<Time>,
    /// By how much, at most, an operation on its timeline is later than the time at which it was learned, in
    /// microseconds. Merges and commands may be moved there; events are not.
    pub ahead: i64,
    /// When it last took over a distinct id from another person, or gave one up.
    pub ownership_changed: Option<Time>,
    /// The number of its newest life.
    pub life: u32,
    /// The number of its oldest life that was not deleted.
    pub first_life: u32,
    /// When its newest life began, if it began by a split.
    pub lives_on: Option<Time>,
    /// How many members ever joined its newest life: distinct ids, and bundles of them as one each.
    pub distinct_ids: u32,
    /// The merge that ended its newest life, if one did.
    pub merged: Option<Merged>,
    /// The length of its current properties as JSON, in bytes. Includes the names of properties that were
    /// removed, since their entries are kept.
    pub json_bytes: u64,
    /// Every property that it ever had, by number.
    pub entries: Entries,
}

/// Properties by number, stored contiguously: heads are read and copied far more often
/// than a property is added.
pub type Entries = LiteMap<PropertyId, Entry>;

/// Since when something holds for a person, and when that was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// From this event time on.
    pub time: Time,
    /// When it was learned.
    pub known: Time,
}

impl Fact {
    /// Returns whether this fact implies the other: it holds as early and was known as early.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.time <= other.time && self.known <= other.known
    }
}

/// One property of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The time of the property's newest row, ignoring merges that bring nothing.
    pub newest: Option<Time>,
    /// The property's current value under each mode.
    pub state: State,
}

/// What remains of a deleted person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The person's uuid.
    pub uuid: Uuid,
    /// The person's version. If the person is created again, its version continues above this.
    pub version: u64,
    /// The number of the person's last life.
    pub life: u32,
    /// When it was deleted; events up to that time are dropped.
    pub deleted: Fact,
}

/// What the store holds under a person's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonRow {
    /// The person exists, possibly merged into another.
    Head(Head),
    /// The person was deleted.
    Tombstone(Tombstone),
}

impl PersonRow {
    /// Returns the person's uuid, which it keeps when it is deleted.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        match self {
            Self::Head(head) => head.uuid,
            Self::Tombstone(tombstone) => tombstone.uuid,
        }
    }
}

impl Head {
    /// Creates the head of a new person.
    #[must_use]
    pub fn new(uuid: Uuid, began: Fact) -> Self {
        Self {
            uuid,
            created_at: began.time,
            began,
            identified: None,
            version: 0,
            newest: None,
            ahead: 0,
            ownership_changed: None,
            life: 0,
            first_life: 0,
            lives_on: None,
            distinct_ids: 0,
            merged: None,
            json_bytes: 2,
            entries: Entries::new(),
        }
    }

    /// Creates the head of a person that is created again after it was deleted.
    #[must_use]
    pub fn anew(tombstone: &Tombstone, began: Fact) -> Self {
        let life = tombstone.life + 1;
        let version = tombstone.version + 1;
        Self { version, life, first_life: life, ..Self::new(tombstone.uuid, began) }
    }

    /// Returns what remains of the person when it is deleted.
    #[must_use]
    pub fn tombstone(&self, deleted: Fact) -> Tombstone {
        Tombstone { uuid: self.uuid, version: self.version, life: self.life, deleted }
    }

    /// Updates [`Head::ahead`] for an operation at `time` that was learned at `known`.
    pub fn note_ahead(&mut self, time: Time, known: Time) {
        self.ahead = self.ahead.max(time.0.saturating_sub(known.0));
    }

    /// Returns the time up to which a read at `time`, by what was known at `known`, has to look: every later
    /// operation was learned after `known`.
    #[must_use]
    pub fn known_until(&self, time: Time, known: Time) -> Time {
        time.min(known.plus(self.ahead))
    }

    /// Returns the newest life of the person, which has the id `id`.
    #[must_use]
    pub fn newest_life(&self, id: PersonId) -> Life {
        Life { person: id, number: self.life }
    }

    /// Returns the entries that are properties. Entries with smaller numbers are facts of the person.
    pub fn properties(&self) -> impl Iterator<Item = (PropertyId, &Entry)> {
        let properties =
            self.entries.iter().skip_while(|(property, _)| **property < FIRST_PROPERTY);
        properties.map(|(property, entry)| (*property, entry))
    }

    /// Returns the length of the properties as JSON after one of them is replaced; its
    /// name has `name_bytes` bytes.
    #[must_use]
    pub fn json_bytes_with(&self, property: PropertyId, name_bytes: usize, entry: &Entry) -> u64 {
        let bytes = |entry: &Entry| entry_bytes(name_bytes, entry.state.current.as_ref());
        let old = self.entries.get(&property).map_or(0, bytes);
        self.json_bytes + bytes(entry) - old
    }

    /// Replaces one property, whose name has `name_bytes` bytes.
    pub fn put(&mut self, property: PropertyId, name_bytes: usize, entry: Entry) {
        self.json_bytes = self.json_bytes_with(property, name_bytes, &entry);
        self.entries.insert(property, entry);
    }
}

/// Returns how many bytes one property adds to the properties as JSON: quoted key, colon, value, comma.
#[must_use]
pub fn entry_bytes(name_bytes: usize, value: Option<&Value>) -> u64 {
    let value_bytes = value.map_or(0, |value| value.as_json().len());
    (name_bytes + value_bytes + 4) as u64
}

/// Returns the name under which a person is shown: the first truthy display property, else the first
/// distinct id, else the uuid.
#[must_use]
pub fn display_name<'a>(
    display: impl IntoIterator<Item = Option<&'a Value>>,
    distinct_ids: &[String],
    uuid: Uuid,
) -> String {
    let truthy = display.into_iter().flatten().find(|value| value.is_truthy());
    truthy
        .map(|value| value.text().into_owned())
        .or_else(|| distinct_ids.first().cloned())
        .unwrap_or_else(|| uuid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: Option<&str>) -> Entry {
        let current = json.map(Value::from_json);
        Entry { newest: Some(Time(0)), state: State { current, set_only: None } }
    }

    #[test]
    fn the_size_is_that_of_the_json_but_for_the_last_comma() {
        let mut head = Head::new(Uuid::nil(), Fact { time: Time(0), known: Time(0) });
        head.put(16, 4, entry(Some("\"free\"")));
        head.put(16, 4, entry(Some("\"pro\"")));
        head.put(17, 1, entry(Some("1")));
        assert_eq!(head.json_bytes, r#"{"plan":"pro","a":1,}"#.len() as u64);
        head.put(16, 4, entry(None));
        assert_eq!(head.json_bytes, r#"{"plan":,"a":1,}"#.len() as u64, "a kept name counts");
    }

    #[test]
    fn the_name_is_the_first_truthy_one() {
        let (empty, name) = (Value::string(""), Value::string("Ann"));
        let ids = ["u1".to_owned()];
        assert_eq!(display_name([Some(&empty), None, Some(&name)], &ids, Uuid::nil()), "Ann");
        assert_eq!(display_name([Some(&empty)], &ids, Uuid::nil()), "u1");
        assert_eq!(display_name([None], &[], Uuid::nil()), Uuid::nil().to_string());
    }
}
