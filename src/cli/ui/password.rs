//! Reads the vault's password at the start of a server.
//!
//! `ARBITER_PASSWORD`, else a password file, else a credential of systemd, else a hidden prompt, else none:
//! then the server starts locked. The variable is read and kept nowhere; this program starts no child that
//! could inherit it.

use crate::app::{Password, PasswordOrigin};
use crate::cli::client::data_directory::VAULT_FILE;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::secret;
use arbiter_files::{Directory, ForeignError, open_foreign};
use arbiter_vault::on_scrubbed_stack;
use rustix::fs::{Mode, OFlags};
use secrecy::{ExposeSecret, SecretString};
use std::{
    env,
    fs::{self, File},
    io::{self, IsTerminal},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

/// The variable that holds the password.
pub const VARIABLE: &str = "ARBITER_PASSWORD";
/// The variable in which systemd names the directory of a unit's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The credential that holds the password.
const CREDENTIAL: &str = "arbiter-password";

/// The password from the first source that has one; none starts the server locked.
pub fn find(file: Option<&Path>, data_directory: &Path) -> Result<Option<Password>, Failure> {
    let found = |text, origin| Ok(Some(Password { text, origin }));
    on_scrubbed_stack(|| {
        if let Some(text) = from_environment()? {
            return found(text, PasswordOrigin::Variable);
        }
        if let Some(path) = file {
            return found(from_file(path, data_directory)?, PasswordOrigin::File);
        }
        if let Some(directory) = env::var_os(CREDENTIALS)
            && let Some(text) = from_credential(&PathBuf::from(directory).join(CREDENTIAL))?
        {
            return found(text, PasswordOrigin::Credential);
        }
        if io::stdin().is_terminal() {
            return found(ask_for(&data_directory.join(VAULT_FILE))?, PasswordOrigin::Prompt);
        }
        Ok(None)
    })
}

/// The password of the environment, if there is one.
pub fn from_environment() -> Result<Option<SecretString>, Failure> {
    match env::var(VARIABLE) {
        Ok(text) if text.is_empty() => Err(Failure::Refused(format!("{VARIABLE} is empty"))),
        Ok(text) => Ok(Some(SecretString::from(text))),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Failure::Refused(format!("{VARIABLE} is not valid UTF-8"))),
    }
}

/// Reads the password from a file that only this user can read. The file must be outside the data directory,
/// so that a copy of the directory is no copy of the password.
pub fn from_file(path: &Path, data_directory: &Path) -> Result<SecretString, Failure> {
    let name = path.display().to_string();
    let failed = |source| Failure::io(format!("cannot read the password file {name}"), source);
    let refusal = |why: &str| Failure::Refused(format!("the password file {name} {why}"));
    let refused = |why: &str| Err(refusal(why));
    let file = match arbiter_files::open_given(path, secret::MAX_KEY_BYTES) {
        Ok(file) => file,
        Err(error @ ForeignError::NotRegular(_)) => {
            return from_pipe(path, &name)?.ok_or_else(|| refusal(&error.to_string()));
        }
        Err(error @ ForeignError::TooLarge(_)) => return refused(&error.to_string()),
        Err(other) => return Err(failed(other.into())),
    };
    // Every check uses the opened file, so that it cannot be replaced in between.
    let file = file.as_file();
    let about = file.metadata().map_err(failed)?;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return refused("belongs to another user");
    }
    if about.mode() & 0o077 != 0 {
        return refused(&format!("can be read by others; run: chmod 600 {name}"));
    }
    // A directory that is not there yet holds nothing.
    if let Ok(directory) = data_directory.canonicalize()
        && resolved_path(file).map_err(failed)?.starts_with(directory)
    {
        return refused("is inside the data directory; keep it elsewhere");
    }
    secret::all_of(file, &name)
}

/// The password that systemd put into a credential; none when there is no such credential. Its owner and
/// mode are systemd's affair, and depend on its version.
fn from_credential(path: &Path) -> Result<Option<SecretString>, Failure> {
    let name = path.display().to_string();
    let failed = |source| Failure::io(format!("cannot read the credential {name}"), source);
    let (Some(parent), Some(own)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let opened = Directory::open(parent)
        .and_then(|directory| open_foreign(&directory, Path::new(own), secret::MAX_KEY_BYTES));
    match opened {
        Ok(file) => secret::all_of(file.as_file(), &name).map(Some),
        Err(error) if error.is_missing() => Ok(None),
        Err(ForeignError::Io(source)) => Err(failed(source)),
        Err(error) => Err(Failure::Refused(format!("the credential {name} {error}"))),
    }
}

/// Reads the pipe of a shell's `<(command)`, which has no name, so that no other program can reach it. Returns `None`
/// for any other file.
fn from_pipe(path: &Path, name: &str) -> Result<Option<SecretString>, Failure> {
    let failed = |source| Failure::io(format!("cannot read the password file {name}"), source);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // A socket cannot be opened at all.
    let Ok(pipe) = rustix::fs::open(path, flags, Mode::empty()).map(File::from) else { return Ok(None) };
    if !resolved_path(&pipe).is_ok_and(|path| path.to_string_lossy().starts_with("pipe:")) {
        return Ok(None);
    }
    wait_for_data(&pipe).map_err(failed)?;
    secret::all_of(&pipe, name).map(Some)
}

/// Makes reads of a pipe wait for its writer.
fn wait_for_data(pipe: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(pipe)?;
    rustix::fs::fcntl_setfl(pipe, flags - OFlags::NONBLOCK)?;
    Ok(())
}

/// Returns the real path of an opened file, with every link resolved by the kernel.
fn resolved_path(file: &File) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Asks for the password; twice when `vault` is not there yet and the password makes it.
pub fn ask_for(vault: &Path) -> Result<SecretString, Failure> {
    if vault.exists() {
        return secret::ask("Vault password: ");
    }
    ask_twice("New vault password: ")
}

/// Asks for a new password and once more for the same.
pub fn ask_twice(prompt: &str) -> Result<SecretString, Failure> {
    let password = secret::ask(prompt)?;
    let again = secret::ask("Once more: ")?;
    if password.expose_secret() == again.expose_secret() {
        Ok(password)
    } else {
        Err(Failure::Refused("the two passwords differ; nothing was changed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;
    use std::os::unix::fs::PermissionsExt;

    fn password_file(directory: &Path, mode: u32) -> std::path::PathBuf {
        let path = directory.join("password");
        fs::write(&path, "correct horse\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn private_password_file_yields_its_line() {
        let (keys, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let password = from_file(&password_file(keys.path(), 0o600), data.path()).unwrap();
        assert_eq!(password.expose_secret(), "correct horse");
    }

    #[test]
    fn readable_password_file_is_refused_with_the_fix() {
        let (keys, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = password_file(keys.path(), 0o640);
        let failure = from_file(&path, data.path()).unwrap_err();
        assert_eq!(failure.exit_code(), 77);
        assert!(failure.to_string().contains("chmod 600"), "{failure}");
    }

    #[test]
    fn password_file_inside_data_directory_is_refused() {
        let (data, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = password_file(data.path(), 0o600);
        let link = outside.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [path, link] {
            let failure = from_file(&path, data.path()).unwrap_err();
            assert!(failure.to_string().contains("inside the data directory"), "{failure}");
        }
    }

    #[test]
    fn password_file_that_is_not_regular_is_refused_at_once() {
        let (keys, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let pipe = keys.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        for (path, kind) in
            [(pipe.as_path(), "a pipe"), (keys.path(), "a directory"), (Path::new("/dev/zero"), "a device")]
        {
            let failure = from_file(path, data.path()).unwrap_err();
            assert!(failure.to_string().ends_with(&format!("is {kind}, not a regular file")), "{failure}");
        }
    }

    #[test]
    fn password_from_an_anonymous_pipe_is_read_to_its_end() {
        let data = tempfile::tempdir().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let writing = std::thread::spawn(move || io::Write::write_all(&mut writer, b"correct horse\n"));
        assert_eq!(from_file(&path, data.path()).unwrap().expose_secret(), "correct horse");
        writing.join().unwrap().unwrap();
    }

    #[test]
    fn credential_may_be_missing_but_not_a_symlink() {
        let home = tempfile::tempdir().unwrap();
        let path = password_file(home.path(), 0o440);
        assert_eq!(from_credential(&path).unwrap().unwrap().expose_secret(), "correct horse");
        assert!(from_credential(&home.path().join("none")).unwrap().is_none());
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(from_credential(&link).is_err());
    }
}
