//! TLS rules shared by provider calls and the command line: fingerprints, server verification, and the search
//! for TLS errors in error chains.
//!
//! Knows neither files nor requests, and holds no private key.

mod verifier;

pub use verifier::Verifier;

use sha2::{Digest, Sha256};
use std::error::Error;
use std::io;

/// Returns the SHA-256 of a certificate's DER, in lower-case hex.
pub fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Finds the TLS error among an error's causes. An I/O error hides the error it carries from its own causes.
pub fn find_tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut here = Some(error);
    while let Some(error) = here {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        here = match carried {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_error_is_found_in_nested_sources() {
        let hidden = io::Error::other(io::Error::other(rustls::Error::DecryptError));
        assert_eq!(find_tls_error(&hidden), Some(&rustls::Error::DecryptError));
        assert_eq!(find_tls_error(&io::Error::other("no TLS at all")), None);
    }

    #[test]
    fn fingerprint_is_the_lower_case_sha256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(fingerprint(b""), empty);
    }
}
