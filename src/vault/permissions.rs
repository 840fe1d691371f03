//! Whether a file or directory belongs to this user alone, and the command that makes it so.
//!
//! Owns the modes and owners that are accepted. Must not know what is in the file.

use crate::VaultError;
use rustix::{fs::Stat, process};
use std::path::Path;

/// Permission bits that nobody but the owner may have.
const OTHERS_MASK: u32 = 0o077;

/// Refuses what others can reach or someone else owns, with the command that mends it; `mode` is what
/// that command asks for, in octal.
pub(crate) fn check_private(path: &Path, stat: &Stat, mode: &str) -> Result<(), VaultError> {
    let fix = fix_command(path, stat.st_mode, stat.st_uid, process::geteuid().as_raw(), mode);
    fix.map_or(Ok(()), |fix| Err(VaultError::Permissions { path: path.to_owned(), fix }))
}

/// The command that makes the path private again; nothing when it is.
fn fix_command(path: &Path, found_mode: u32, owner: u32, us: u32, mode: &str) -> Option<String> {
    let quoted = format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
    let chown = (owner != us).then(|| format!("chown {us} {quoted}"));
    let chmod = (found_mode & OTHERS_MASK != 0).then(|| format!("chmod {mode} {quoted}"));
    let commands: Vec<String> = chown.into_iter().chain(chmod).collect();
    (!commands.is_empty()).then(|| commands.join(" && "))
}

/// A directory of mode 0700 whatever the umask, gone with its value.
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
