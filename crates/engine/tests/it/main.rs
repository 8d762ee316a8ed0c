//! Runs of whole plans: simulated (one thread, one seed) and threaded, with crashes and rescaling, against an oracle.

mod doubles;
mod exactly_once;
