//! Measuring: Nexmark queries over a corpus or made-up rows, with what the process used.

pub mod corpus;
pub mod nexmark;
pub mod usage;
