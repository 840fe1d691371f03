//! Passwords as people type them: one password has one form on every keyboard (RFC 8265 §4.2).
//!
//! A new password is kept in that form. A vault that was made before opens with the form it was made with, so the
//! other forms of a password are tried as well.

use crate::VaultError;
use arbiter_core::kernel::limits::MIN_PASSWORD_CHARS;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Returns a new password in the form in which it is kept.
///
/// # Errors
/// [`VaultError::ShortPassword`].
pub(crate) fn prepare_new(password: &SecretString) -> Result<SecretString, VaultError> {
    let prepared = prepared(password.expose_secret());
    if prepared.chars().count() < MIN_PASSWORD_CHARS {
        return Err(VaultError::ShortPassword);
    }
    Ok(SecretString::from(prepared.as_str()))
}

/// Returns the forms in which a vault may know a password, the usual one first. A password in ASCII has one.
pub(crate) fn forms(password: &SecretString) -> Vec<SecretString> {
    let raw = password.expose_secret();
    if raw.is_ascii() {
        return vec![password.clone()];
    }
    let decomposed =
        |text: &str| Zeroizing::new(DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned());
    let prepared = prepared(raw);
    let mut forms =
        vec![Zeroizing::new(raw.to_owned()), composed(raw), decomposed(raw), decomposed(&prepared)];
    forms.insert(0, prepared);
    let mut known: Vec<SecretString> = Vec::new();
    for form in forms {
        if !known.iter().any(|known| known.expose_secret() == form.as_str()) {
            known.push(SecretString::from(form.as_str()));
        }
    }
    known
}

/// The form `OpaqueString`: blanks are one kind of blank, and letters with marks are composed. A byte order mark,
/// which editors put before a text, is left out.
fn prepared(text: &str) -> Zeroizing<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_blank = |c: char| {
        matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
    };
    let blanks = Zeroizing::new(text.replace(is_blank, " "));
    composed(&blanks)
}

fn composed(text: &str) -> Zeroizing<String> {
    Zeroizing::new(ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::session::Session;
    use crate::vault::tests::{at, entry, secret, test_dir, value};
    use crate::{Iterations, UnlockOutcome};

    const NFC: &str = "caf\u{e9}\u{a0}cr\u{e8}me";
    const NFD: &str = "cafe\u{301}\u{a0}cre\u{300}me";
    const PREPARED: &str = "caf\u{e9} cr\u{e8}me";

    #[test]
    fn password_of_any_keyboard_opens_the_vault() {
        for new in [NFC, NFD, PREPARED] {
            let test_dir = test_dir();
            let mut vault = test_dir.open();
            assert_eq!(vault.unlock(secret(new)).unwrap(), UnlockOutcome::Created);
            vault.create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
            for typed in [NFC, NFD, PREPARED, &format!("\u{feff}{PREPARED}")] {
                let mut vault = test_dir.open();
                vault.unlock(secret(typed)).unwrap();
                assert_eq!(value(&mut vault, "a"), "sk-a");
            }
            assert!(matches!(test_dir.open().unlock(secret("cafe creme")), Err(VaultError::WrongPassword)));
        }
    }

    #[test]
    fn vault_made_with_another_form_still_opens() {
        for made_with in [NFC, NFD, &format!("\u{feff}{NFD}")] {
            let test_dir = test_dir();
            let mut vault = test_dir.open();
            // As before: the password as it was typed.
            let mut session = Session::new(secret(made_with));
            let verifier = session.make_verifier(Iterations::MIN).unwrap();
            vault.write(Some(session), verifier, std::collections::BTreeMap::new()).unwrap();
            vault.create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
            let mut typed = vec![made_with];
            typed.extend([NFC, NFD].into_iter().filter(|_| !made_with.starts_with('\u{feff}')));
            for typed in typed {
                let mut vault = test_dir.open();
                vault.unlock(secret(typed)).unwrap();
                assert_eq!(value(&mut vault, "a"), "sk-a");
                vault.create(entry("b", &[]), secret("sk-b"), at(2)).unwrap();
                vault.delete(&crate::vault::tests::id("b")).unwrap();
            }
        }
    }

    #[test]
    fn new_password_has_at_least_eight_characters() {
        for short in ["", "x", "1234567", "e\u{301}e\u{301}e\u{301}e\u{301}"] {
            let test_dir = test_dir();
            assert!(
                matches!(test_dir.open().unlock(secret(short)), Err(VaultError::ShortPassword)),
                "{short}"
            );
            assert!(!test_dir.path.exists());
        }
        assert_eq!(prepare_new(&secret("12345678")).unwrap().expose_secret(), "12345678");
        assert_eq!(forms(&secret("plain")).len(), 1);
    }
}
