//! Results of a running query while it runs: a sink that shows only complete epochs, the table that is kept up to date
//! from it, and the screen it is drawn on.

pub mod follow;
pub mod screen;
pub mod sink;
pub mod view;
