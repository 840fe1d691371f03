//! Files of private keys: regular files that no other user can read or write.
//!
//! Owns what such a file must be. Knows neither what the key is for nor how it is written.

use arbiter_files::{Directory, ForeignError, open_foreign};
use secrecy::SecretString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest file of a key that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// An error that prevents the use of a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file could not be read.
    #[error("cannot read the private key {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Another user could have read or written the file.
    #[error("the private key {path} {why}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The problem and its remedy.
        why: String,
    },
    /// There is no text in it.
    #[error("{0} holds no text")]
    Empty(PathBuf),
}

/// Reads a key file.
///
/// # Errors
/// [`KeyFileError`] unless it is a regular file (no link), owned by this user and closed to all others.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
    let refused = |why: String| KeyFileError::Refused { path: path.to_owned(), why };
    // A link could be redirected by a user with write access to its directory.
    let name = path.file_name().ok_or_else(|| refused("is not a regular file".to_owned()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let opened = Directory::open(parent)
        .and_then(|directory| open_foreign(&directory, Path::new(name), MAX_BYTES as u64));
    let mut file = opened.map_err(|error| match error {
        ForeignError::Link => refused("is a link; name the file itself".to_owned()),
        ForeignError::NotRegular(kind) => refused(format!("is {kind}, not a regular file")),
        ForeignError::TooLarge(_) => refused(format!("is longer than {MAX_BYTES} bytes")),
        other => unreadable(other.into()),
    })?;
    let about = file.as_file().metadata().map_err(unreadable)?;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("belongs to another user".to_owned()));
    }
    if about.mode() & 0o077 != 0 {
        return Err(refused(format!("can be read by others; run: chmod 600 {}", path.display())));
    }
    // The buffer never grows, so that no copy of the key is left behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    file.read_into(&mut text).map_err(|error| match error {
        ForeignError::TooLarge(_) => refused(format!("is longer than {MAX_BYTES} bytes")),
        other => unreadable(other.into()),
    })?;
    Ok(text)
}

/// The text in a secret's file, without the space around it.
///
/// # Errors
/// [`KeyFileError`], also when nothing is left or it is no text.
pub fn read_text(path: &Path) -> Result<SecretString, KeyFileError> {
    let bytes = read(path)?;
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(text) if !text.is_empty() => Ok(SecretString::from(text.to_owned())),
        _ => Err(KeyFileError::Empty(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn key_file_is_read_only_when_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let wide = read(&path).unwrap_err().to_string();
        assert!(wide.contains("can be read by others; run: chmod 600 /"), "{wide}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap().as_slice(), b"secret");
        fs::write(&path, " text\n").unwrap();
        assert_eq!(read_text(&path).unwrap().expose_secret(), "text");
        for nothing in [&b" \n"[..], b"\xff"] {
            fs::write(&path, nothing).unwrap();
            assert!(read_text(&path).unwrap_err().to_string().ends_with("key.pem holds no text"));
        }
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link).unwrap_err().to_string().contains("is a link"));
        assert!(read(directory.path()).unwrap_err().to_string().contains("not a regular file"));
        assert!(matches!(read(Path::new("/nowhere/key")), Err(KeyFileError::Unreadable { .. })));
    }
}
