//! Beads through the running program: files, pulls, dispatch, decisions, the work graph.

pub mod answers;
pub mod decisions;
pub mod dispatch;
pub mod end_to_end;
pub mod files;
pub mod files_model;
pub mod files_random;
pub mod files_shared;
pub mod hostile_files;
pub mod patch_status;
pub mod pulls;
pub mod pulls_lost;
pub mod work_graph;
