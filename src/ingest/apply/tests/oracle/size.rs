//! The limit on the size of a person's properties.

use super::{Oracle, Recorded, Step};
use crate::person::history::{Mode, Row};
use crate::person::{Place, Time};

impl Oracle {
    /// Adds rows to a person, unless they make its properties larger than allowed.
    pub(super) fn add(
        &mut self,
        person: usize,
        place: Place,
        known: Time,
        kept: Vec<(String, Row)>,
    ) -> bool {
        let before = self.size(person);
        let keys: Vec<_> = kept.iter().map(|(key, _)| key.clone()).collect();
        for (key, row) in kept {
            let row = Recorded { place, known, step: Step::Own(row) };
            self.persons[person].rows.entry(key).or_default().push(row);
        }
        let after = self.size(person);
        let is_newest = self.life_at(person, place, Time::MAX) == self.newest_life(person);
        let fits = after <= self.limit || after < before || keys.is_empty() || !is_newest;
        for key in keys.into_iter().filter(|_| !fits) {
            self.persons[person].rows.get_mut(&key).and_then(Vec::pop).unwrap();
        }
        fits
    }

    /// Returns the length of a person's properties as JSON, with a comma after each.
    fn size(&self, person: usize) -> u64 {
        let life = self.newest_life(person);
        let properties = self.properties(life, Place::MAX, Time::MAX, Mode::WithOnce);
        let each = properties.iter().map(|(key, value)| key.len() + value.as_json().len() + 4);
        2 + each.sum::<usize>() as u64
    }
}
