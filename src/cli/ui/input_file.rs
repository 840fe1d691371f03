//! Files that are named on the command line: regular files of bounded size, read as a whole.

use crate::cli::ui::failure::Failure;
use arbiter_files::ForeignError;
use std::io::Read;
use std::path::Path;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a file.
///
/// # Errors
/// [`Failure::Io`] for anything but a regular file of at most 64 MiB that can be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = arbiter_files::open_given(path, MAX_BYTES).and_then(|mut file| file.read_all());
    read.map_err(|error| failed(path, error))
}

/// Reads a text from a file.
///
/// # Errors
/// As [`read`], and for anything but UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    arbiter_files::read_text(path, MAX_BYTES).map_err(|error| failed(path, error))
}

/// Reads a text from a file, or from standard input for `-`.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_or_stdin(path: &Path) -> Result<String, Failure> {
    if path != Path::new("-") {
        return read_text(path);
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|source| failed(path, ForeignError::Io(source)))?;
    Ok(text)
}

/// Returns the failure to read a file.
pub fn failed(path: &Path, error: ForeignError) -> Failure {
    Failure::io(format!("cannot read {}", path.display()), error.into())
}
