//! Events on their way out: the bus, subscriptions and notices.
//!
//! The store's writer hands committed events to the bus (`bus`), which keeps the newest for subscribers. A slow
//! subscriber reads what it missed from the log (`subscription`). `notifier` sends notices to a webhook.

pub(crate) mod bus;
pub(crate) mod notifier;
pub(crate) mod subscription;
