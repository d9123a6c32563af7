//! The model: values in, values out.
//!
//! Who a person is and what a record does to one, as functions of values. No I/O, no clock, no
//! async, no randomness, no logging, so that every rule can be read and tested by itself.
//!
//! Reading order: [`event`] what a record says → [`operation`] what that does to properties →
//! [`history`] the fold → [`ownership`] who owns a distinct id → [`identity`] who merges →
//! [`head`] the newest state of a person → [`command`] what the API writes → [`filter`] which persons
//! a list asks for.

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

/// The number of a property's name in its project's dictionary. Numbers below
/// [`FIRST_PROPERTY`] are no properties but facts of a person that have a history as well.
pub type PropertyId = u32;

/// When a person began: its first event, and the beginnings of persons merged into it.
pub const CREATED: PropertyId = 0;

/// Since when a person is identified.
pub const IDENTIFIED: PropertyId = 1;

/// The least number of a real property; those below are reserved.
pub const FIRST_PROPERTY: PropertyId = 16;
