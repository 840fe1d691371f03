//! Small private files in the data directory, replaced whole.

use crate::app::error::StartError;
use crate::http::Tls;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file with mode 0600: a reader finds the old content or the new, never a part.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), StartError> {
    let fail = |source| StartError::File { path: path.to_owned(), source };
    let temporary = path.with_extension("tmp");
    let written = (|| {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::File::open(directory)?.sync_all()
    })();
    written.map_err(fail)
}

/// Writes the address of the server and, with TLS, the fingerprint of its certificate for local clients.
pub fn write_server_file(directory: &Path, url: &str, tls: Option<&Tls>) -> Result<(), StartError> {
    let certificate = tls.map(Tls::fingerprint);
    let content =
        json!({"url": url, "pid": std::process::id(), "certificate_sha256": certificate.as_deref()});
    write_private(&directory.join("server.json"), content.to_string().as_bytes())
}

/// Takes the announcement back.
pub fn remove_server_file(directory: &Path) {
    // A stale file only costs a client one refused connection.
    let _ = fs::remove_file(directory.join("server.json"));
}
