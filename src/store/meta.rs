//! Metadata of the store: its secret, its identity, the share of the log that fills it, and how far
//! each partition is applied.

use uuid::Uuid;

use super::keys::Meta;
use super::{Error, Family, Result, Store, corrupt};
use crate::person::Time;

/// How far a partition was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The first offset that is not applied yet.
    pub next_offset: u64,
    /// The offset of the last record applied.
    pub last_offset: u64,
    /// Kafka's timestamp of that record.
    pub last_timestamp: Time,
    /// A hash of that record's value. Together with offset and timestamp it shows whether a topic is
    /// still the one that was read.
    pub last_hash: u64,
}

impl Store {
    pub(super) fn load_secret(&mut self) -> Result<()> {
        let key = Meta::Secret.key();
        if let Some(secret) = self.get(Family::Meta, &key)? {
            self.secret = secret;
            return Ok(());
        }
        let random = [Uuid::new_v4(), Uuid::new_v4()];
        self.secret = random.iter().flat_map(Uuid::as_bytes).copied().collect();
        Ok(self.db.put_cf(self.family(Family::Meta), key, &self.secret)?)
    }

    /// Returns the id that distinguishes this store from every other one, even if built from the same log.
    #[must_use]
    pub fn identity(&self) -> Uuid {
        self.identity
    }

    /// Records which share of the log fills this store, or checks `share` against the recorded one.
    ///
    /// # Errors
    /// [`Error::Share`] if another share is recorded; nothing is changed then.
    pub fn claim_share(&self, share: &str) -> Result<()> {
        let key = Meta::Share.key();
        match self.get(Family::Meta, &key)? {
            None => Ok(self.db.put_cf(self.family(Family::Meta), key, share)?),
            Some(found) if found == share.as_bytes() => Ok(()),
            Some(found) => Err(Error::Share {
                path: self.db.path().to_owned(),
                found: String::from_utf8_lossy(&found).into_owned(),
                wanted: share.to_owned(),
            }),
        }
    }

    pub(super) fn load_identity(&mut self) -> Result<()> {
        let key = Meta::Identity.key();
        self.identity = if let Some(found) = self.get(Family::Meta, &key)? {
            Uuid::from_slice(&found).map_err(|_| corrupt(Family::Meta))?
        } else {
            let new = Uuid::new_v4();
            self.db.put_cf(self.family(Family::Meta), key, new.as_bytes())?;
            new
        };
        Ok(())
    }
}
