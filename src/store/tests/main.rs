//! The store from outside: what it promises about units, events, readiness, replay, full disks, failing
//! disks and kills.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the allowance of clippy.toml reaches #[test] functions only

mod again;
mod events;
mod failing_disk;
mod file_locks;
mod full_disk;
mod home;
mod kill;
mod migrations;
mod money;
mod outcomes;
mod readers;
mod readiness;
mod reading;
mod reference;
mod replay;
mod rows;
mod tampering;
mod units;
mod unreadable;
mod world;
mod writing;
