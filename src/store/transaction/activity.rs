//! The activity log: what was done to persons, and by whom.

use std::collections::hash_map::Entry;

use super::Transaction;
use crate::person::ProjectId;
use crate::store::{Activity, Deed, Family, Result, codec, keys};

impl Transaction<'_> {
    /// Adds to the log of a project, and to that of the person; what merged another one to that one's
    /// log as well.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn log(&mut self, project: ProjectId, activity: &Activity) -> Result<()> {
        let next = match self.next_activity.entry(project) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let last = self.store.last_key(Family::Activity, &keys::activities(project))?;
                let last = last.as_deref().and_then(keys::number_at_end);
                entry.insert(last.map_or(0, |last| last + 1))
            }
        };
        let ordinal = *next;
        *next += 1;
        let row = codec::encode_activity(activity);
        self.set_point(Family::Activity, keys::activity(project, ordinal), Some(row));
        let source = match activity.deed {
            Deed::Merged(source) => Some(source),
            _ => None,
        };
        for person in source.into_iter().chain([activity.person]) {
            let key = keys::activity_of(project, person, ordinal);
            self.set_point(Family::Activity, key, Some(Vec::new()));
        }
        Ok(())
    }
}
