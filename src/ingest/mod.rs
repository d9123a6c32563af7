//! The write path.
pub mod apply;
