//! Checks that a file or directory is private to this user.
//!
//! Owns the accepted modes and owners. Must not know the file's contents.

use crate::VaultError;
use rustix::{fs::Stat, process};
use std::path::Path;

/// Permission bits of the group and of others.
const OTHERS_MASK: u32 = 0o077;

/// Fails if other users can access the path or another user owns it. The error holds the command that repairs
/// it, with `mode` in octal.
pub(crate) fn check_private(path: &Path, stat: &Stat, mode: &str) -> Result<(), VaultError> {
    let fix = fix_command(path, stat.st_mode, stat.st_uid, process::geteuid().as_raw(), mode);
    fix.map_or(Ok(()), |fix| Err(VaultError::Permissions { path: path.to_owned(), fix }))
}

/// Returns the command that makes the path private; `None` if it already is.
fn fix_command(path: &Path, found_mode: u32, owner: u32, us: u32, mode: &str) -> Option<String> {
    let quoted = format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
    let chown = (owner != us).then(|| format!("chown {us} {quoted}"));
    let chmod = (found_mode & OTHERS_MASK != 0).then(|| format!("chmod {mode} {quoted}"));
    let commands: Vec<String> = chown.into_iter().chain(chmod).collect();
    (!commands.is_empty()).then(|| commands.join(" && "))
}

/// Creates a directory of mode 0700 regardless of the umask; it is removed on drop.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn private_directory() -> tempfile::TempDir {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().unwrap()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn foreign_owner_is_refused_with_the_fix() {
        let path = Path::new("/it's/keys.json");
        assert_eq!(fix_command(path, 0o100_600, 7, 7, "600"), None);
        assert_eq!(fix_command(path, 0o100_600, 0, 7, "600").unwrap(), r"chown 7 '/it'\''s/keys.json'");
        let both = fix_command(path, 0o100_604, 0, 7, "600").unwrap();
        assert_eq!(both, r"chown 7 '/it'\''s/keys.json' && chmod 600 '/it'\''s/keys.json'");
    }
}
