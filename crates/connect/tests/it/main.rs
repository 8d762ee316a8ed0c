//! Connectors through their public face: options in, rows and files out.

mod bad_input;
mod harness;
mod object_store;
mod sink;
mod source;
mod watch;
