//! Who is told outside of what somebody has to act on, as the configuration has it.

use crate::app::StartError;
use crate::config::Settings;
use crate::key_file::{self, KeyFileError};
use arbiter_actors::{Notify, NotifySecret};
use arbiter_core::ids::KeyId;
use arbiter_providers::{EndpointError, EndpointPolicy, HttpPolicy, Webhook};
use secrecy::SecretString;

/// Why nobody can be told as the configuration wants it.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The URL cannot be used.
    #[error("notify.url cannot be used")]
    Url(#[source] EndpointError),
    /// The file of the secret cannot be used.
    #[error("notify.secret_file cannot be used")]
    File(#[source] KeyFileError),
    /// There is nothing to sign with.
    #[error("notify.secret_file holds no secret: it is empty, or no text")]
    Empty,
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
        let bytes = key_file::read(&wanted.secret_file).map_err(NotifyError::File)?;
        let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if text.is_empty() {
            return Err(NotifyError::Empty.into());
        }
        NotifySecret::Given(SecretString::from(text.to_owned()))
    } else {
        NotifySecret::Key(KeyId::known(wanted.key_id.clone()))
    };
    Ok(Some(Notify { url: wanted.url.clone(), secret }))
}
