//! Drives the real binary: what a person types, what comes back on stdout and stderr, and the exit code.

mod basics;
mod pages;
mod support;
