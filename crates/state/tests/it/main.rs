//! The checkpoint store from outside: whole life cycles on a local folder (and S3, if one is at hand).

mod cycle;
mod support;
