//! Events on their way out: the broker, subscriptions and notifications.

pub(crate) mod bus;
pub(crate) mod notifier;
pub(crate) mod subscription;
