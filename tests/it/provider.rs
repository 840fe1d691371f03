//! Providers through the running program: faults, pools, gateway, budgets, usage.

pub mod budgets;
pub mod echoed_key;
pub mod fault_paths;
pub mod fault_table;
pub mod gateway;
pub mod limits;
pub mod pool;
pub mod sockets;
pub mod tls;
pub mod usage;
