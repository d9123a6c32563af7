//! The activity log: what was done to persons, and by whom.

use hashbrown::hash_map::Entry;

use super::Transaction;
use crate::person::ProjectId;
use crate::store::{Activity, Family, Result, codec, keys};

impl Transaction<'_> {
    /// Adds an entry to the log of a project and to that of the person; for a merge, also to the log of
    /// the person merged into it.
    ///
    /// # Errors
    /// If the store fails.
    pub fn put_activity(&mut self, project: ProjectId, activity: &Activity) -> Result<()> {
        let carried = self.before.as_ref().and_then(|before| before.next_activity.get(&project));
        let next = match self.working.next_activity.entry(project) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(match carried {
                Some(next) => *next,
                None => self.store.snapshot().activity(project, 0, 0)?.count,
            }),
        };
        let ordinal = *next;
        *next += 1;
        let row = codec::encode_activity(activity);
        self.working.put(Family::Activity, keys::activity(project, ordinal), Some(row));
        for person in activity.persons() {
            let key = keys::activity_of(project, person, ordinal);
            self.working.put(Family::Activity, key, Some(Vec::new()));
        }
        Ok(())
    }
}
