//! The receiver of notifications, as configured.

use crate::app::StartError;
use crate::config::Settings;
use crate::key_file::{self, KeyFileError};
use arbiter_actors::{Notify, NotifySecret};
use arbiter_core::kernel::ids::KeyId;
use arbiter_providers::{EndpointError, EndpointPolicy, HttpPolicy, Webhook};

/// An error in the configuration of notifications.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The URL cannot be used.
    #[error("notify.url cannot be used")]
    Url(#[source] EndpointError),
    /// The file of the secret cannot be used.
    #[error("notify.secret_file cannot be used")]
    File(#[source] KeyFileError),
}

/// Reads the receiver and, if it is in a file, its secret; `None` if no URL is configured.
///
/// # Errors
/// [`StartError::Notify`].
pub fn load(settings: &Settings) -> Result<Option<Notify>, StartError> {
    let wanted = &settings.notify;
    if wanted.url.is_empty() {
        return Ok(None);
    }
    let allow_public_http = match settings.providers.allow_public_http {
        true => HttpPolicy::Anywhere,
        false => HttpPolicy::LocalOnly,
    };
    let policy = EndpointPolicy { allow_public_http, ..EndpointPolicy::default() };
    Webhook::check(&wanted.url, policy).map_err(NotifyError::Url)?;
    let secret = if wanted.key_id.is_empty() {
        NotifySecret::Given(key_file::read_text(&wanted.secret_file).map_err(NotifyError::File)?)
    } else {
        NotifySecret::Key(KeyId::from_trusted(wanted.key_id.clone()))
    };
    Ok(Some(Notify { url: wanted.url.clone(), secret }))
}
