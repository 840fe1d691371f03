//! Tests of accepted TLS files and of reloads.

use super::*;
use arbiter_testkit::{Issued, TestCa};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn files(directory: &Path, issued: &Issued) -> TlsFiles {
    let (certificate, key) = issued.write(directory, "server");
    TlsFiles { certificate, key, client_ca: None }
}

fn refusal(files: &TlsFiles) -> String {
    Tls::load(files.clone()).err().unwrap().to_string()
}

#[test]
fn unusable_tls_file_is_named_with_its_fault() {
    let (directory, ca) = (tempfile::tempdir().unwrap(), TestCa::new("ca"));
    let files = files(directory.path(), &ca.server(&["localhost"]));
    assert!(Tls::load(files.clone()).is_ok());
    let broken = |text: &str| {
        let path = directory.path().join("broken");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let certificate = TlsFiles { certificate: broken("no PEM"), ..files.clone() };
    assert!(refusal(&certificate).ends_with("holds no certificate in PEM"));
    let ca_file = TlsFiles { client_ca: Some(broken("no PEM")), ..files.clone() };
    assert!(refusal(&ca_file).ends_with("holds no certificate in PEM"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let key = TlsFiles { key: broken(encrypted), ..files.clone() };
    assert!(refusal(&key).contains("holds no private key in PEM"));
    let other = TlsFiles { key: broken(&ca.client("other").key), ..files.clone() };
    assert!(refusal(&other).contains("is not the key of the certificate"));
    let missing = TlsFiles { certificate: "/nowhere".into(), ..files };
    assert_eq!(refusal(&missing), "cannot read the certificate /nowhere");
}

#[test]
fn reload_swaps_certificate_and_bad_file_changes_nothing() {
    let (directory, ca) = (tempfile::tempdir().unwrap(), TestCa::new("ca"));
    let (old, new) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    let files = files(directory.path(), &old);
    let tls = Tls::load(files.clone()).unwrap();
    assert_eq!(*tls.fingerprint(), fingerprint(&old.der()));
    fs::write(&files.certificate, &new.certificate).unwrap();
    assert!(tls.reload().is_err(), "the key is still the old one");
    assert_eq!(*tls.fingerprint(), fingerprint(&old.der()));
    fs::write(&files.key, &new.key).unwrap();
    tls.reload().unwrap();
    assert_eq!(*tls.fingerprint(), fingerprint(&new.der()));
}

#[test]
fn private_keys_load_in_every_pem_form() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (kind, form) in [("RSA:2048", "-traditional"), ("EC", ""), ("ED25519", "")] {
        let (key, certificate) = (path("k.pem"), path("c.pem"));
        let curve: &[&str] = if kind == "EC" { &["-pkeyopt", "ec_paramgen_curve:P-256"] } else { &[] };
        let made = ["req", "-x509", "-nodes", "-newkey", kind, "-keyout", &key, "-out", &certificate];
        openssl(&[&made[..], curve, &["-subj", "/CN=localhost"]].concat());
        let mut forms = vec![key.clone()];
        if !form.is_empty() {
            openssl(&["rsa", "-in", &key, form, "-out", &path("traditional.pem")]);
            forms.push(path("traditional.pem"));
        }
        if kind == "EC" {
            openssl(&["ec", "-in", &key, "-out", &path("sec1.pem")]);
            forms.push(path("sec1.pem"));
        }
        for key in forms {
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            let files = TlsFiles {
                certificate: certificate.clone().into(),
                key: key.clone().into(),
                client_ca: None,
            };
            assert!(Tls::load(files).is_ok(), "{kind} {key}");
        }
    }
}

fn openssl(arguments: &[&str]) {
    let ended = std::process::Command::new("openssl").args(arguments).output().unwrap();
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
}
