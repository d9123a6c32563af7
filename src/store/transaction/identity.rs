//! Distinct ids: who owns them, in which order they joined, where lives led, and which are under a drop rule.

use std::collections::HashSet;

use hashbrown::hash_map::Entry;

use super::Transaction;
use super::working_set::Loaded;
use crate::person::identity::is_anonymous;
use crate::person::{Head, Life, Merged, Ownership, PersonId, PersonRow, Place, ProjectId, Time};
use crate::store::lives::{LivesOf, Spans};
use crate::store::{Above, Family, Joined, LifeSpan, Member, Result, codec, corrupt, decode, keys};

impl Transaction<'_> {
    /// Returns who owns a distinct id; `None` if it was never seen, or its person was deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn owner(&mut self, project: ProjectId, distinct_id: &str) -> Result<Option<&Ownership>> {
        let before = self.before.as_deref();
        let loaded = match self.working.owners.entry(keys::distinct_id(project, distinct_id)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                if let Some(carried) = before.and_then(|before| before.owners.get(entry.key())) {
                    return Ok(entry.insert(carried.carried()).value.as_ref());
                }
                let found = self.store.get(Family::DistinctId, entry.key())?;
                let value =
                    found.map(|bytes| decode(codec::decode_ownership, &bytes, Family::DistinctId));
                entry.insert(Loaded { value: value.transpose()?, dirty: false })
            }
        };
        Ok(loaded.value.as_ref())
    }

    /// Changes who owns a distinct id; with `None` it has no owner any more.
    pub fn set_owner(
        &mut self,
        project: ProjectId,
        distinct_id: &str,
        ownership: Option<Ownership>,
    ) {
        let key = keys::distinct_id(project, distinct_id);
        self.working.owners.insert(key, Loaded { value: ownership, dirty: true });
    }

    /// The lives of a project's persons.
    #[must_use]
    pub fn lives(&self, project: ProjectId) -> LivesOf<'_> {
        LivesOf { project, spans: self }
    }

    /// Every merge that ended a life of a person, the newest one last.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn merges(&mut self, project: ProjectId, person: PersonId) -> Result<Vec<(Life, Merged)>> {
        let head = self.head(project, person)?;
        let (first, last, newest) = (head.first_life, head.life, head.merged);
        let mut merges = Vec::new();
        for number in first..last {
            let life = Life { person, number };
            merges.extend(self.span(project, life)?.merged.map(|merged| (life, merged)));
        }
        merges.extend(newest.map(|merged| (Life { person, number: last }, merged)));
        Ok(merges)
    }

    /// Ends the newest life of a person by a merge.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn end_life(&mut self, project: ProjectId, life: Life, merged: Merged) -> Result<()> {
        let span = self.span(project, life)?;
        self.working.lives.insert((project, life), LifeSpan { merged: Some(merged), ..span });
        self.join_groups(project, life, merged)?;
        let key = keys::source(project, merged.into.person, life);
        self.working.put(Family::Life, key, Some(Vec::new()));
        let head = self.head_mut(project, life.person)?;
        head.merged = Some(merged);
        head.ownership_changed = Some(merged.place.time);
        Ok(())
    }

    /// Joins the groups of two lives: the smaller one is hung under the top of the larger one.
    fn join_groups(&mut self, project: ProjectId, source: Life, merged: Merged) -> Result<()> {
        let (source, target) = (self.top(project, source)?, self.top(project, merged.into)?);
        let (mut of_source, mut of_target) =
            (self.span(project, source)?, self.span(project, target)?);
        let from = merged.place.time;
        let lives = of_source.group.lives + of_target.group.lives + 1;
        if of_source.group.lives <= of_target.group.lives {
            let after = of_target.group.moves;
            let above = Above { life: target, from, after, merged: Some(merged) };
            of_source.group.above = Some(above);
            of_target.group.lives = lives;
        } else {
            let key = keys::at(keys::moves(project, source), merged.place);
            let moved = codec::encode_move(of_source.group.moves, &merged);
            self.working.put(Family::Life, key, Some(moved));
            of_source.group.moves += 1;
            of_source.group.lives = lives;
            let after = of_source.group.moves;
            of_target.group.above = Some(Above { life: source, from, after, merged: None });
        }
        self.working.lives.insert((project, source), of_source);
        self.working.lives.insert((project, target), of_target);
        Ok(())
    }

    /// The top of a life's group.
    fn top(&self, project: ProjectId, life: Life) -> Result<Life> {
        let mut top = life;
        while let Some(above) = self.span(project, top)?.group.above {
            top = above.life;
        }
        Ok(top)
    }

    /// The lives that were merged into a person.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn sources(&self, project: ProjectId, target: PersonId) -> Result<Vec<Life>> {
        let prefix = keys::sources(project, target);
        let mut sources = Vec::new();
        let mut key = prefix.clone();
        // Erasing a person keeps these rows.
        let rows = self.kept(&self.sources, |changes| &changes.sources);
        while let Some((found, _)) = rows.first(&prefix, &key)? {
            sources.push(keys::source_of(&found).ok_or(corrupt(Family::Life))?);
            key = found;
            key.push(0);
        }
        Ok(sources)
    }

    /// Deletes the rows that list lives of deleted persons as merged into a person.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn forget_sources(
        &mut self,
        project: ProjectId,
        target: PersonId,
        deleted: &HashSet<PersonId>,
    ) -> Result<()> {
        let sources = self.sources(project, target)?.into_iter();
        for source in sources.filter(|source| deleted.contains(&source.person)) {
            self.working.put(Family::Life, keys::source(project, target, source), None);
        }
        Ok(())
    }

    /// Writes what joined a life at an ordinal. A bundle may hold both ids that look anonymous and others,
    /// so it is listed among both.
    pub fn put_member(&mut self, project: ProjectId, life: Life, ordinal: u32, member: &Member) {
        for anonymous in kinds(&member.joined) {
            let key = keys::member(project, life, *anonymous, ordinal);
            self.working.put(Family::PersonDistinctId, key, Some(codec::encode_member(member)));
        }
    }

    /// Removes what joined a life at an ordinal.
    pub fn remove_member(&mut self, project: ProjectId, life: Life, ordinal: u32, joined: &Joined) {
        for anonymous in kinds(joined) {
            self.working.put(
                Family::PersonDistinctId,
                keys::member(project, life, *anonymous, ordinal),
                None,
            );
        }
    }

    /// Returns the first member of a life at or after an ordinal, with its ordinal: among the ids that look
    /// anonymous, or among the others.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn member(
        &self,
        project: ProjectId,
        life: Life,
        anonymous: bool,
        from_ordinal: u32,
    ) -> Result<Option<(u32, Member)>> {
        let prefix = keys::members(project, life, anonymous);
        let key = keys::member(project, life, anonymous, from_ordinal);
        // Erasing a person keeps these rows, as others may have some of its ids in bundles.
        // They are removed one by one.
        let found = self.kept(&self.members, |changes| &changes.members).first(&prefix, &key)?;
        found
            .map(|(key, value)| {
                let (_, _, ordinal) =
                    keys::member_of(&key).ok_or(corrupt(Family::PersonDistinctId))?;
                Ok((ordinal, decode(codec::decode_member, &value, Family::PersonDistinctId)?))
            })
            .transpose()
    }

    /// Returns everything that joined a life, bundles only once.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn members(&self, project: ProjectId, life: Life) -> Result<Vec<(u32, Member)>> {
        let mut members = Vec::new();
        for anonymous in [false, true] {
            let mut next = Some(0);
            while let Some(from) = next {
                let Some((ordinal, member)) = self.member(project, life, anonymous, from)? else {
                    break;
                };
                next = ordinal.checked_add(1);
                if !anonymous || matches!(member.joined, Joined::Id(_)) {
                    members.push((ordinal, member));
                }
            }
        }
        Ok(members)
    }

    /// Returns the time up to which events of a distinct id are dropped because its person was deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn dropped(&self, project: ProjectId, distinct_id: &str) -> Result<Option<Time>> {
        let key = keys::dropped(project, self.store.hash(distinct_id));
        let bytes = self.point(Family::Dropped, &key)?;
        bytes
            .map(|bytes| keys::KeyReader(&bytes).time().ok_or(corrupt(Family::Dropped)))
            .transpose()
    }

    /// Drops events of a distinct id up to a time; `None` removes that rule.
    pub fn set_dropped(&mut self, project: ProjectId, distinct_id: &str, until: Option<Time>) {
        let key = keys::dropped(project, self.store.hash(distinct_id));
        let value = until.map(|until| keys::time_bytes(until).to_vec());
        self.working.put(Family::Dropped, key, value);
    }
}

impl Spans for Transaction<'_> {
    fn span(&self, project: ProjectId, life: Life) -> Result<LifeSpan> {
        let of = (project, life);
        let staged = self.working.lives.get(&of);
        if let Some(span) = staged.or_else(|| self.before.as_ref()?.lives.get(&of)) {
            return Ok(*span);
        }
        let bytes = self.store.get(Family::Life, &keys::life(project, life))?;
        let span = bytes.map(|bytes| decode(codec::decode_life_span, &bytes, Family::Life));
        Ok(span.transpose()?.unwrap_or_default())
    }

    fn moved(&self, project: ProjectId, top: Life, until: Place) -> Result<Option<(u32, Merged)>> {
        let prefix = keys::moves(project, top);
        let key = keys::at(prefix.clone(), until);
        // Erasing a person keeps these rows: other lives of the group are found by them.
        let found = self.kept(&self.sources, |changes| &changes.sources).last(&prefix, &key)?;
        found.map(|(_, value)| decode(codec::decode_move, &value, Family::Life)).transpose()
    }

    fn is_known_unmerged(&self, project: ProjectId, life: Life) -> bool {
        self.working.persons.get(&(project, life.person)).is_some_and(|loaded| {
            matches!(&*loaded.row, PersonRow::Head(Head { life: newest, merged: None, .. }) if *newest == life.number)
        })
    }
}

/// Returns among which ids something is listed: those that look anonymous (`true`) or the others.
fn kinds(joined: &Joined) -> &'static [bool] {
    match joined {
        Joined::Bundle(_) => &[false, true],
        Joined::Id(id) if is_anonymous(id) => &[true],
        Joined::Id(_) => &[false],
    }
}
