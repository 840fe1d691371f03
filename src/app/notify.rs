//! Who is told outside of what somebody has to act on, as the configuration has it.

use crate::app::StartError;
use crate::config::Settings;
use crate::key_file::{self, KeyFileError};
use arbiter_actors::{Notify, NotifySecret};
use arbiter_core::kernel::ids::KeyId;
use arbiter_providers::{EndpointError, EndpointPolicy, HttpPolicy, Webhook};

/// Why nobody can be told as the configuration wants it.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The URL cannot be used.
    #[error("notify.url cannot be used")]
    Url(#[source] EndpointError),
    /// The file of the secret cannot be used.
    #[error("notify.secret_file cannot be used")]
    File(#[source] KeyFileError),
}

/// The receiver, with its secret where that is in a file; none: nobody is told.
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
