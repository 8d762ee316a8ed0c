//! Connectors through their public face: options in, rows and files out.
#![allow(clippy::disallowed_methods, reason = "tests bound their patience by the clock")]

mod bad_input;
mod docs;
mod harness;
mod object_store;
mod sink;
mod source;
mod watch;
