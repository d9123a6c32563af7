//! The newest state of a person: what "current properties" means.

use litemap::LiteMap;
use uuid::Uuid;

use super::history::State;
use super::{FIRST_PROPERTY, Life, Merged, PersonId, PropertyId, Time, Value};

/// What a person is now, and what the next operation needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The person's uuid.
    pub uuid: Uuid,
    /// The least event time of its events, and of the persons merged into it.
    pub created_at: Time,
    /// Its own first event.
    pub began: Fact,
    /// Its first identifying event.
    pub identified: Option<Fact>,
    /// 0 at creation, one more for every recorded operation.
    pub version: u64,
    /// The newest time in its timeline: what comes after cannot be a duplicate.
    pub newest: Option<Time>,
    /// How much later than it was learned, at most, an operation stands in its timeline, in
    /// microseconds: a merge or a command may be moved there, an event is not.
    pub ahead: i64,
    /// When it last took a distinct id over from another person, or gave one up.
    pub ownership_changed: Option<Time>,
    /// The number of its newest life.
    pub life: u32,
    /// The number of its oldest life: those before it were deleted.
    pub first_life: u32,
    /// When its newest life began, where that was by a split.
    pub lives_on: Option<Time>,
    /// How many distinct ids ever joined its newest life.
    pub distinct_ids: u32,
    /// The merge that ended its newest life, if one did.
    pub merged: Option<Merged>,
    /// Length of its current properties as JSON, in bytes, and of the names of those that it no longer
    /// has, since they are kept.
    pub json_bytes: u64,
    /// Every property that it ever had, by number.
    pub entries: Entries,
}

/// Properties by number, in one piece of memory: heads are read and copied far more often than a
/// property is added.
pub type Entries = LiteMap<PropertyId, Entry>;

/// From when on something holds of a person, and when that was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// From this event time on.
    pub time: Time,
    /// When it was learned.
    pub known: Time,
}

impl Fact {
    /// Whether this one says all that the other would: it holds as early and was known as early.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.time <= other.time && self.known <= other.known
    }
}

/// One property of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The event time of the property's newest row, merges that bring nothing aside.
    pub newest: Option<Time>,
    /// What the property is.
    pub state: State,
}

/// What stays of a deleted person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The person's uuid.
    pub uuid: Uuid,
    /// Its version: one born anew goes on above it.
    pub version: u64,
    /// The number of its last life.
    pub life: u32,
    /// When it was deleted: events up to that time are dropped.
    pub deleted: Fact,
}

/// What a store has of a person by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonRow {
    /// It is there, be it merged into another.
    Head(Head),
    /// What stays of one that was deleted.
    Tombstone(Tombstone),
}

impl PersonRow {
    /// The person's uuid, which it keeps when it is deleted.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        match self {
            Self::Head(head) => head.uuid,
            Self::Tombstone(tombstone) => tombstone.uuid,
        }
    }
}

impl Head {
    /// A person that begins.
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

    /// A person that is born anew after it was deleted.
    #[must_use]
    pub fn anew(tombstone: &Tombstone, began: Fact) -> Self {
        let life = tombstone.life + 1;
        let version = tombstone.version + 1;
        Self { version, life, first_life: life, ..Self::new(tombstone.uuid, began) }
    }

    /// What stays of the person when it is deleted.
    #[must_use]
    pub fn tombstone(&self, deleted: Fact) -> Tombstone {
        Tombstone { uuid: self.uuid, version: self.version, life: self.life, deleted }
    }

    /// Notes where an operation stands that was learned at `known`.
    pub fn note_ahead(&mut self, time: Time, known: Time) {
        self.ahead = self.ahead.max(time.0.saturating_sub(known.0));
    }

    /// Until when a read at `time` has to look by what was known at `known`: what stands later was
    /// learned later.
    #[must_use]
    pub fn known_until(&self, time: Time, known: Time) -> Time {
        time.min(known.plus(self.ahead))
    }

    /// The newest life of the person `id`, whose head this is.
    #[must_use]
    pub fn newest_life(&self, id: PersonId) -> Life {
        Life { person: id, number: self.life }
    }

    /// The entries that are properties: those before them are facts of the person.
    pub fn properties(&self) -> impl Iterator<Item = (PropertyId, &Entry)> {
        let properties =
            self.entries.iter().skip_while(|(property, _)| **property < FIRST_PROPERTY);
        properties.map(|(property, entry)| (*property, entry))
    }

    /// The length of the properties as JSON after one of them, whose name takes `name_bytes`, is
    /// replaced.
    #[must_use]
    pub fn json_bytes_with(&self, property: PropertyId, name_bytes: usize, entry: &Entry) -> u64 {
        let bytes = |entry: &Entry| entry_bytes(name_bytes, entry.state.current.as_ref());
        let old = self.entries.get(&property).map_or(0, bytes);
        self.json_bytes + bytes(entry) - old
    }

    /// Replaces one property, whose name takes `name_bytes`.
    pub fn put(&mut self, property: PropertyId, name_bytes: usize, entry: Entry) {
        self.json_bytes = self.json_bytes_with(property, name_bytes, &entry);
        self.entries.insert(property, entry);
    }
}

/// What one property adds to the length of the properties as JSON: key, colon, value, comma.
#[must_use]
pub fn entry_bytes(name_bytes: usize, value: Option<&Value>) -> u64 {
    let value_bytes = value.map_or(0, |value| value.as_json().len());
    (name_bytes + value_bytes + 4) as u64
}

/// The name under which a person is shown: the first truthy one of the display properties, else
/// the first distinct id, else the uuid.
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
