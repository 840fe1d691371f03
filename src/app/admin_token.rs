//! The first token: created once and readable by the owner of the data directory.

use crate::app::error::StartError;
use crate::app::server_file::write_private;
use arbiter_actors::{Caller, Handles, NewToken};
use arbiter_core::kernel::token::Role;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};

/// The file that holds it.
pub const FILE: &str = "admin-token";

/// Creates the admin token if there is no token at all. The file is written first: an admin token that cannot
/// be read would lock out every client, while a file without its token is written again by the next start.
pub async fn ensure(
    handles: &Handles,
    directory: &Path,
) -> Result<Option<(PathBuf, SecretString)>, StartError> {
    let tokens = handles.store.tokens().await.map_err(|error| StartError::Token(error.into()))?;
    if !tokens.is_empty() {
        return Ok(None);
    }
    let text = handles.tokens.generate_text();
    let path = directory.join(FILE);
    write_private(&path, text.expose_secret().as_bytes())?;
    let new = NewToken::of_person("admin", Role::Admin);
    handles.tokens.create_with_text(&Caller::system(), new, &text).await.map_err(StartError::Token)?;
    Ok(Some((path, text)))
}
