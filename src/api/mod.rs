//! The read path.
pub mod key;
