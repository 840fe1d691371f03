//! The cast in one process: real store, real vault, real HTTP to a scripted provider.

mod decisions;
mod stage;
mod supervision;
mod work;
