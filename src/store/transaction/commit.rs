//! Everything that a transaction staged, as one atomic batch.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use rocksdb::WriteOptions;

use super::Transaction;
use crate::person::ProjectId;
use crate::store::keys::Meta;
use crate::store::list::Listed;
use crate::store::{Applied, Error, Family, Result, codec, keys};

impl Transaction<'_> {
    /// Writes how far a partition is applied.
    pub fn set_applied(&mut self, topic: u16, partition: u32, applied: &Applied) {
        let key = Meta::Position(topic, partition).key();
        let family = self.store.family(Family::Meta);
        self.batch.put_cf(family, key, codec::encode_applied(applied));
    }

    /// Writes everything at once.
    ///
    /// # Errors
    /// Where RocksDB fails: the store is poisoned then, and refuses every later commit.
    pub fn commit(self) -> Result<()> {
        let store = self.store;
        if store.is_poisoned() {
            return Err(Error::Poisoned);
        }
        self.write().inspect_err(|_| store.poisoned.store(true, Ordering::Release))
    }

    fn write(mut self) -> Result<()> {
        self.stage_names();
        self.stage_points();
        self.stage_heads()?;
        let overlays = [
            (Family::History, self.history.staged),
            (Family::Timeline, self.timeline.staged),
            (Family::PersonDistinctId, self.members.staged),
        ];
        for (family, staged) in overlays {
            let family = self.store.family(family);
            for (key, value) in staged {
                match value {
                    Some(value) => self.batch.put_cf(family, key, value),
                    None => self.batch.delete_cf(family, key),
                }
            }
        }
        let family = self.store.family(Family::Recorded);
        for key in self.recorded {
            self.batch.put_cf(family, key, []);
        }
        let mut options = WriteOptions::default();
        options.set_sync(self.store.sync_writes);
        Ok(self.store.db.write_opt(self.batch, &options)?)
    }

    fn stage_names(&mut self) {
        let family = self.store.family(Family::Meta);
        for (project, name, number) in self.names.properties() {
            self.batch.put_cf(family, Meta::Property(project, number).key(), name);
        }
        for (name, number) in self.names.topics() {
            self.batch.put_cf(family, Meta::Topic(name).key(), number.to_be_bytes());
        }
        // Known before they are committed, so that no reader meets a number without a name.
        // Where the commit fails the store is poisoned and nobody else will use them.
        self.store.dictionary().add(std::mem::take(&mut self.names));
    }

    fn stage_points(&mut self) {
        let family = self.store.family(Family::DistinctId);
        for (key, loaded) in &self.owners {
            if let (true, Some(ownership)) = (loaded.dirty, &loaded.value) {
                self.batch.put_cf(family, key, codec::encode_ownership(ownership));
            }
        }
        let family = self.store.family(Family::LastSeen);
        for (&(project, person), loaded) in &self.last_seen {
            if let (true, Some(time)) = (loaded.dirty, loaded.value) {
                self.batch.put_cf(family, keys::person(project, person), time.0.to_be_bytes());
            }
        }
    }

    fn stage_heads(&mut self) -> Result<()> {
        let mut live: HashMap<ProjectId, i64> = HashMap::new();
        for (&(project, person), loaded) in self.heads.iter().filter(|(_, loaded)| loaded.dirty) {
            let key = keys::person(project, person);
            let email = self.store.dictionary().property(project, "email");
            self.batch.put_cf(
                self.store.family(Family::Person),
                key,
                codec::encode_head(&loaded.head),
            );
            let (before, after) = (&loaded.listed, Listed::of(&loaded.head, email));
            *live.entry(project).or_default() +=
                i64::from(after.is_some()) - i64::from(before.is_some());
            Listed::stage(
                &mut self.batch,
                self.store,
                (project, person),
                before.as_ref(),
                after.as_ref(),
            );
        }
        for (project, change) in live.into_iter().filter(|(_, change)| *change != 0) {
            let count = self.store.count(project)?.saturating_add_signed(change);
            let family = self.store.family(Family::Meta);
            self.batch.put_cf(family, Meta::Count(project).key(), count.to_be_bytes());
        }
        Ok(())
    }
}
