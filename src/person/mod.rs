//! The model: pure functions on values.
//!
//! Defines who a person is and what a record does to it. No I/O, no clock, no async, no randomness and no
//! logging, so that every rule can be read and tested in isolation.
//!
//! Reading order: [`event`] what a record says → [`operation`] what that does to properties → [`history`] the
//! fold → [`ownership`] which person owns a distinct id → [`identity`] which persons merge → [`head`] the
//! newest state of a person → [`command`] what the API writes → [`filter`] which persons a list selects.

pub mod command;
pub mod event;
pub mod filter;
pub mod head;
pub mod history;
pub mod identity;
pub mod json;
pub mod needle;
pub mod operation;
pub mod ownership;
pub mod promotion;
pub mod record;
pub mod time;
pub mod value;

pub use command::{Act, Command, Leaving};
pub use event::{Event, Rejection, Rules};
pub use filter::Filter;
pub use head::{Entries, Entry, Fact, Head, PersonRow, Tombstone, entry_bytes};
pub use history::{Class, Histories, Mode, Row, State, Stored};
pub use needle::{Needle, lowercase};
pub use operation::{Action, Update};
pub use ownership::{Life, Lives, Merged, Owned, Ownership, Seat};
pub use record::{Place, Position, Record};
pub use time::Time;
pub use value::Value;

/// A tenant: the `:project_id` of the API.
pub type ProjectId = u32;

/// A person's integer id within its project: at most 53 bits, safe in JavaScript.
pub type PersonId = u64;

/// The number of a property's name in its project's dictionary. Numbers below [`FIRST_PROPERTY`] are not
/// properties but facts of a person that have a history as well.
pub type PropertyId = u32;

/// The fact that a person exists, and since when: its first event, or the beginning
/// of a person merged into it.
pub const CREATED: PropertyId = 0;

/// The fact that a person is identified, and since when.
pub const IDENTIFIED: PropertyId = 1;

/// The smallest number of a real property; smaller ones are reserved.
pub const FIRST_PROPERTY: PropertyId = 16;
