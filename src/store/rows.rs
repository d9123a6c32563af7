//! The histories of one project's persons, as the fold reads them.

use std::cell::{Ref, RefCell};
use std::sync::Arc;

use super::history_cache::HistoryCache;
use super::lives::LivesOf;
use super::person_history::PersonHistory;
use super::staged::{Ordered, Span};
use super::{Error, Family, Result, codec, corrupt, keys};
use crate::person::{Class, Histories, Life, PersonId, Place, PropertyId, Stored};

/// A property with at most this many rows is read whole, which is cheaper than seeking in it. Tests have
/// short histories and must cover both ways.
const FEW: usize = if cfg!(test) { 2 } else { 8 };

/// If a person has more operations than this, its changed properties are assumed to have too
/// many rows to be read whole.
const MANY: u64 = if cfg!(test) { 4 } else { 16 };

/// A reader of family `history`. It does not show rows that are staged later: create a new one for those.
pub struct Rows<'a, 'db> {
    lives: LivesOf<'a>,
    ordered: Ordered<'a, 'db>,
    /// The history cache, if this is a transaction's view.
    cache: Option<&'a RefCell<HistoryCache>>,
    /// The person read last, if all of its rows are in memory.
    whole: RefCell<Option<(PersonId, Arc<PersonHistory>)>>,
    /// Whether properties with few rows are read whole.
    reads_whole: bool,
    /// The property read last, and where its rows are. They stay encoded, as most are only compared by key.
    read: RefCell<Option<((PersonId, PropertyId), Span)>>,
}

impl<'a, 'db> Rows<'a, 'db> {
    /// Creates a reader of the project whose lives these are.
    #[must_use]
    pub fn new(lives: LivesOf<'a>, ordered: Ordered<'a, 'db>) -> Self {
        let (cache, whole, read) = (None, RefCell::default(), RefCell::default());
        Self { lives, ordered, cache, whole, reads_whole: true, read }
    }

    /// Reads persons through a history cache, which must show what the rows do.
    #[must_use]
    pub fn with_cache(self, cache: &'a RefCell<HistoryCache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// Creates a reader for the changed properties of one person. If it has many `operations`,
    /// properties are not read whole.
    #[must_use]
    pub fn of_changed(lives: LivesOf<'a>, ordered: Ordered<'a, 'db>, operations: u64) -> Self {
        Self { reads_whole: operations <= MANY, ..Self::new(lives, ordered) }
    }

    /// Returns all rows of a person of which a property is to be read, if they are in memory.
    fn whole(
        &self,
        person: PersonId,
        property: PropertyId,
    ) -> Result<Option<Ref<'_, PersonHistory>>> {
        let Some(cache) = self.cache else { return Ok(None) };
        let is_there = self.whole.borrow().as_ref().is_some_and(|(read, _)| *read == person);
        if !is_there {
            let is_of = |read: &((PersonId, PropertyId), Span)| read.0 == (person, property);
            if self.read.borrow().as_ref().is_some_and(is_of) {
                return Ok(None);
            }
            let of_person = keys::person(self.lives.project, person);
            let load = |most| self.ordered.history(&of_person, most);
            let history = cache.borrow_mut().history((self.lives.project, person), load)?;
            let Some(history) = history else { return Ok(None) };
            self.whole.replace(Some((person, history)));
        }
        let whole = Ref::filter_map(self.whole.borrow(), |whole| Some(&*whole.as_ref()?.1));
        Ok(whole.ok())
    }

    /// Returns where the rows of a property are.
    fn span(&self, person: PersonId, property: PropertyId) -> Result<Span> {
        let of = (person, property);
        let read = self.read.borrow();
        let before = match &*read {
            Some((read, span)) if *read == of => return Ok(span.clone()),
            Some(((read, earlier), span)) if *read == person && *earlier < property => Some(span),
            _ => None,
        };
        let prefix = keys::property(self.lives.project, person, property);
        let span = match before {
            Some(before) => self.ordered.span_after(&prefix, before)?,
            None => self.ordered.span(&prefix)?,
        };
        drop(read);
        let span =
            if self.reads_whole { self.ordered.span_of_few(span, &prefix, FEW)? } else { span };
        self.read.replace(Some((of, span.clone())));
        Ok(span)
    }
}

impl Histories for Rows<'_, '_> {
    type Error = Error;

    fn last(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        until: Place,
    ) -> Result<Option<Stored>> {
        if let Some(history) = self.whole(person, property)? {
            return history.last(property, class, until).map(decode_at).transpose();
        }
        let class = keys::class(self.lives.project, person, property, class);
        let length = class.len();
        let key = keys::at(class, until);
        self.ordered.last_of(&self.span(person, property)?, &key[..length], &key, decode)
    }

    fn first(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>> {
        if let Some(history) = self.whole(person, property)? {
            return history.first(property, class, after).map(decode_at).transpose();
        }
        let mut key = keys::class(self.lives.project, person, property, class);
        let length = key.len();
        if let Some(after) = after {
            // The smallest key after that of `after`.
            key = keys::at(key, after);
            key.push(0);
        }
        self.ordered.first_of(&self.span(person, property)?, &key[..length], &key, decode)
    }

    fn lives_on(&self, life: Life) -> Result<Option<Place>> {
        self.lives.lives_on(life)
    }
}

/// Decodes a row of family `history`.
pub fn decode((key, value): (&[u8], &[u8])) -> Result<Stored> {
    let place = keys::place_of(key).ok_or(corrupt(Family::History))?;
    decode_at((place, value))
}

fn decode_at((place, value): (Place, &[u8])) -> Result<Stored> {
    super::decode(|value| codec::decode_row(place, value), value, Family::History)
}
