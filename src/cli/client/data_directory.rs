//! The location of the data directory.

use crate::cli::ui::failure::Failure;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The file that a running server writes for its clients: its address and process id.
pub const SERVER_FILE: &str = "server.json";
/// The token that the first start wrote.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";
pub const VAULT_FILE: &str = "keys.json";
/// The configuration that is read when no other is named.
pub const CONFIG_FILE: &str = "arbiter.toml";

/// The directory given by flag or `ARBITER_DATA_DIR`, else `$XDG_DATA_HOME/arbiter`, else
/// `$HOME/.local/share/arbiter`.
pub fn resolve(given: Option<&Path>) -> Result<PathBuf, Failure> {
    choose(given, |name| std::env::var_os(name))
}

fn choose(given: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    // The base directory specification wants relative paths ignored.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("arbiter"))
        .ok_or_else(|| {
            Failure::Usage("no data directory: give --data-dir or set ARBITER_DATA_DIR".to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    #[test]
    fn data_directory_prefers_flag_then_xdg_then_home() {
        let both = &[("XDG_DATA_HOME", "/data"), ("HOME", "/home/me")];
        let chosen = |given, pairs| choose(given, with(pairs)).ok();
        assert_eq!(chosen(Some(Path::new("here")), both), Some("here".into()));
        assert_eq!(chosen(None, both), Some("/data/arbiter".into()));
        assert_eq!(chosen(None, &both[1..]), Some("/home/me/.local/share/arbiter".into()));
        assert_eq!(chosen(None, &[("XDG_DATA_HOME", "relative")]), None);
    }
}
