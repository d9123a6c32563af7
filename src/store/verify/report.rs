//! What a verification found.

use std::fmt;

use strum::VariantArray;

use crate::person::{PersonId, ProjectId};

/// The most differences that are kept; all are counted.
const KEPT: usize = 20;

/// A law that is verified.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Law {
    /// A head is the fold over its history.
    Heads,
    /// What a merge brought is the state of its source at that time.
    Merges,
    /// Lists, counts and look-ups agree with the heads.
    Indexes,
    /// Every distinct id is listed where its owners' entries say.
    Ownership,
    /// The lives of persons are a forest.
    Lives,
    /// Every operation has its rows, and every row its operation.
    Timeline,
    /// The activity log has no gap, and names only persons that exist or were deleted.
    Activity,
    /// No row is from a record that was not applied.
    Positions,
    /// Nothing is left of deleted persons.
    Deletion,
    /// The outcomes of commands are kept, and deleted in time.
    Commands,
}

impl Law {
    /// Every law, in the order in which they are reported.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The kinds of things that are counted for the law.
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Heads => &["persons", "properties", "rows"],
            Self::Merges => &["merged values", "of deleted persons"],
            Self::Indexes => {
                &["created", "last seen", "changes", "emails", "uuids", "column rows", "projects"]
            }
            Self::Ownership => &["distinct ids", "owners", "members"],
            Self::Lives => &["lives", "merges"],
            Self::Timeline => &["operations", "effects", "recorded events"],
            Self::Activity => &["entries"],
            Self::Positions => &["partitions", "places"],
            Self::Deletion => &["tombstones", "drop rules"],
            Self::Commands => &["outcomes"],
        }
    }
}

/// Something that violates a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The law.
    pub law: Law,
    /// The project; 0 if it is of none.
    pub project: ProjectId,
    /// The person, if it is of one.
    pub person: Option<PersonId>,
    /// What was found, and what should have been.
    pub text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.project, self.person) {
            (0, _) => {}
            (project, None) => write!(f, "project {project}: ")?,
            (project, Some(person)) => write!(f, "project {project}, person {person}: ")?,
        }
        write!(f, "{}: {}", self.law.name(), self.text)
    }
}

/// The result for one law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The law.
    pub law: Law,
    /// How many things of each kind were checked.
    pub counts: Vec<(&'static str, u64)>,
    /// How many differences.
    pub differences: u64,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.law.name())?;
        for (index, (kind, count)) in self.counts.iter().enumerate() {
            write!(f, "{}{count} {kind}", if index == 0 { "" } else { ", " })?;
        }
        match self.differences {
            0 => f.write_str(": ok"),
            1 => f.write_str(": 1 difference"),
            many => write!(f, ": {many} differences"),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every law, with what was checked.
    pub laws: Vec<Checked>,
    /// The first differences.
    pub first: Vec<Difference>,
}

impl Default for Report {
    fn default() -> Self {
        let laws = Law::ALL.iter().map(|&law| {
            let counts = law.kinds().iter().map(|kind| (*kind, 0)).collect();
            Checked { law, counts, differences: 0 }
        });
        Self { laws: laws.collect(), first: Vec::new() }
    }
}

impl Report {
    /// How many differences there are.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.laws.iter().map(|checked| checked.differences).sum()
    }

    pub(super) fn count(&mut self, law: Law, kind: &'static str) {
        self.add(law, kind, 1);
    }

    pub(super) fn add(&mut self, law: Law, kind: &'static str, number: u64) {
        let counts = &mut self.laws[law as usize].counts;
        let count = counts.iter_mut().find(|(of, _)| *of == kind);
        debug_assert!(count.is_some(), "{law:?} does not count {kind}");
        if let Some((_, count)) = count {
            *count += number;
        }
    }

    pub(super) fn differs(
        &mut self,
        law: Law,
        project: ProjectId,
        person: Option<PersonId>,
        text: String,
    ) {
        self.laws[law as usize].differences += 1;
        if self.first.len() < KEPT {
            self.first.push(Difference { law, project, person, text });
        }
    }
}
