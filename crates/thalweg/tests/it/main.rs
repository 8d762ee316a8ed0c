//! Drives the real binary: what a person types, what comes back on stdout and stderr, and the exit code.

mod basics;
mod bench;
mod pages;
mod pipeline_tests;
mod run;
mod sql;
mod support;
mod validate;
