//! The interactive SQL shell.

pub mod complete;
pub mod editor;
pub mod meta;
pub mod split;
