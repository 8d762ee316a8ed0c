//! Sources that live in this process: rows handed out by a test or a demonstration, at a pace or one by one.

pub mod paced;
pub mod scripted;
