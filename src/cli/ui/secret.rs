//! Reading a key without showing it: from standard input, from a file, or from a hidden prompt.
//!
//! A key is never an argument: arguments are seen by every user of the machine and kept by shells.

use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::note;
use arbiter_core::kernel::key_text;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use std::{
    io::{self, IsTerminal, Read},
    path::PathBuf,
};
use zeroize::Zeroizing;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: u64 = 64 * 1024;

/// The source of a key.
#[derive(Clone, Debug, Args)]
pub struct KeySource {
    /// Read the key from standard input
    #[arg(long, conflicts_with = "api_key_file")]
    api_key_stdin: bool,
    /// Read the key from a file
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Ask for the key, hidden
    #[arg(long, conflicts_with_all = ["api_key_stdin", "api_key_file"])]
    api_key_prompt: bool,
}

impl KeySource {
    /// The key, if a source was named.
    pub fn read(&self) -> Result<Option<SecretString>, Failure> {
        if self.api_key_stdin {
            return Ok(Some(mended(all_of(io::stdin().lock(), "standard input")?)));
        }
        if let Some(path) = &self.api_key_file {
            let name = path.display().to_string();
            let file = arbiter_files::open_given(path, MAX_KEY_BYTES)
                .map_err(|error| Failure::io(format!("cannot read {name}"), error.into()))?;
            return Ok(Some(mended(all_of(file.as_file(), &name)?)));
        }
        if self.api_key_prompt { Ok(Some(mended(ask("API key: ")?))) } else { Ok(None) }
    }

    /// The key; asked for when no source was named.
    pub fn read_or_ask(&self) -> Result<SecretString, Failure> {
        if let Some(key) = self.read()? {
            return Ok(key);
        }
        if io::stdin().is_terminal() {
            return ask("Key: ").map(mended);
        }
        Err(Failure::Usage("no key: give --api-key-stdin or --api-key-file, or run in a terminal".to_owned()))
    }
}

/// The key without what was copied along with it; a note says so. What cannot be mended is for the server to refuse.
fn mended(key: SecretString) -> SecretString {
    let text = Zeroizing::new(key_text::mended(key.expose_secret()));
    let is_pem = key.expose_secret().contains("-----BEGIN ");
    if is_pem || text.as_str() == key.expose_secret() || key_text::problem(&text).is_some() || text.is_empty()
    {
        return key;
    }
    note(
        "note: the key was given with blanks, quotation marks, invisible characters or the word Bearer; they were left out",
    );
    SecretString::from(text.as_str())
}

/// Asks at the terminal without showing what is typed.
pub fn ask(prompt: &str) -> Result<SecretString, Failure> {
    let typed = rpassword::prompt_password(prompt).map_err(|error| {
        Failure::Usage(format!(
            "there is no terminal to ask at ({error}); give the secret on standard input or in a file (see --help)"
        ))
    })?;
    check_key(&Zeroizing::new(typed), "the terminal")
}

/// Everything that `reader` holds, without the line break at its end.
pub fn all_of(reader: impl Read, name: &str) -> Result<SecretString, Failure> {
    // The buffer never grows, so that no copy of the text is left behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_KEY_BYTES).unwrap_or(0) + 1));
    reader
        .take(MAX_KEY_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|source| Failure::io(format!("cannot read {name}"), source))?;
    check_key(&text, name)
}

fn check_key(text: &str, name: &str) -> Result<SecretString, Failure> {
    let key = SecretString::from(text.trim_end_matches(['\r', '\n']));
    let length = key.expose_secret().len();
    if length == 0 {
        Err(Failure::Usage(format!("nothing was given on {name}")))
    } else if u64::try_from(length).unwrap_or(u64::MAX) > MAX_KEY_BYTES {
        Err(Failure::Usage(format!("what was given on {name} is longer than {MAX_KEY_BYTES} bytes")))
    } else {
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_input_drops_the_trailing_line_break() {
        for text in ["sk-1", "sk-1\n", "sk-1\r\n"] {
            assert_eq!(all_of(text.as_bytes(), "x").unwrap().expose_secret(), "sk-1");
        }
    }

    #[test]
    fn key_as_people_copy_it_is_mended() {
        for text in ["sk-1", "\u{feff}sk-1\n", " Bearer sk-1 ", "\u{201c}sk-1\u{201d}"] {
            assert_eq!(mended(all_of(text.as_bytes(), "x").unwrap()).expose_secret(), "sk-1", "{text:?}");
        }
        // The server says what is wrong with these.
        for text in ["one\ntwo", "-----BEGIN KEY-----\nx\n-----END KEY-----"] {
            assert_eq!(mended(all_of(text.as_bytes(), "x").unwrap()).expose_secret(), text);
        }
    }

    #[test]
    fn key_input_empty_or_too_long_is_refused() {
        assert_eq!(all_of("\n".as_bytes(), "x").unwrap_err().exit_code(), 2);
        let long = "k".repeat(70_000);
        assert_eq!(all_of(long.as_bytes(), "x").unwrap_err().exit_code(), 2);
    }
}
