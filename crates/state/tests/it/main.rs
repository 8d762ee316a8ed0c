//! The checkpoint store from outside: whole life cycles on a local folder (and S3, if one is at hand).

mod cycle;
mod damage;
mod garbage;
mod merge;
mod s3;
mod savepoint;
mod support;
