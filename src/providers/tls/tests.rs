//! Tests of accepted certificates, and calls over TLS to a provider that requires a client certificate.

use super::*;
use crate::{CallErrorKind, Client, Endpoint, EndpointPolicy, Timeouts};
use arbiter_testkit::{Issued, Script, ScriptedProvider, TestCa};

fn identity(issued: &Issued) -> Option<ClientIdentity> {
    let key = SecretString::from(issued.key.clone());
    Some(ClientIdentity { certificate: issued.certificate.clone(), key })
}

async fn ask(provider: &ScriptedProvider, tls: &Tls) -> Result<usize, CallError> {
    let endpoint = Endpoint::parse(&provider.url(), EndpointPolicy::default()).unwrap();
    let client = Client::with_tls(endpoint, Timeouts::default(), tls)?;
    client.list_models(None).await.map(|models| models.len())
}

#[tokio::test]
async fn mtls_provider_with_own_ca_is_called() {
    let (theirs, ours, other) = (TestCa::new("theirs"), TestCa::new("ours"), TestCa::new("other"));
    let server = theirs.server(&["127.0.0.1"]).server_config(Some(&ours));
    let provider = ScriptedProvider::start_tls(Script::default(), server);
    let me = ours.client("arbiter");
    let right = Tls { identity: identity(&me), ca_cert: Some(theirs.pem().to_owned()) };
    assert!(ask(&provider, &right).await.unwrap() > 0);

    let wrong_ca = Tls { ca_cert: Some(other.pem().to_owned()), ..right.clone() };
    let error = ask(&provider, &wrong_ca).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::Unreachable);
    assert!(error.to_string().contains("comes from an unknown authority"), "{error}");

    let nobody = Tls { identity: None, ..right.clone() };
    let error = ask(&provider, &nobody).await.unwrap_err().to_string();
    assert!(error.contains("it wants a client certificate"), "{error}");

    let stranger = Tls { identity: identity(&other.client("stranger")), ..right.clone() };
    let error = ask(&provider, &stranger).await.unwrap_err().to_string();
    assert!(error.contains("for our client certificate"), "{error}");
    assert_eq!(provider.requests().len(), 1, "only the right one came through");
}

#[tokio::test]
async fn self_signed_provider_is_trusted_by_its_certificate() {
    let ca = TestCa::new_for("127.0.0.1");
    let provider = ScriptedProvider::start_tls(Script::default(), ca.itself().server_config(None));
    let named = Tls { identity: None, ca_cert: Some(ca.pem().to_owned()) };
    assert!(ask(&provider, &named).await.unwrap() > 0);
    let twin = TestCa::new_for("127.0.0.1");
    assert!(ask(&provider, &Tls { ca_cert: Some(twin.pem().to_owned()), ..named }).await.is_err());
}

#[tokio::test]
async fn certificate_name_mismatch_is_explained() {
    let ca = TestCa::new("theirs");
    let server = ca.server(&["elsewhere.example"]).server_config(None);
    let provider = ScriptedProvider::start_tls(Script::default(), server);
    let tls = Tls { identity: None, ca_cert: Some(ca.pem().to_owned()) };
    let error = ask(&provider, &tls).await.unwrap_err().to_string();
    assert!(error.contains("made for another name"), "{error}");
}

#[tokio::test]
async fn mismatched_client_key_is_refused_before_any_call() {
    let ca = TestCa::new("theirs");
    let provider =
        ScriptedProvider::start_tls(Script::default(), ca.server(&["127.0.0.1"]).server_config(None));
    let (one, two) = (ca.client("one"), ca.client("two"));
    let mixed = Issued { certificate: one.certificate.clone(), key: two.key.clone() };
    let error = ask(&provider, &Tls { identity: identity(&mixed), ca_cert: None }).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::Refused);
    assert!(error.to_string().contains("does not belong to the private key"), "{error}");
    let none = Issued { certificate: one.certificate, key: "sk-no-pem".to_owned() };
    let error =
        ask(&provider, &Tls { identity: identity(&none), ca_cert: None }).await.unwrap_err().to_string();
    assert!(error.contains("holds no private key") && !error.contains("sk-no-pem"), "{error}");
}

#[test]
fn certificate_check_accepts_only_certificates() {
    let ca = TestCa::new("a");
    let issued = ca.client("b");
    let chain = format!("a comment\n{}{}", issued.certificate, ca.pem());
    assert_eq!(check_certificates(&chain), Ok(()));
    let with_key = format!("{}{}", issued.certificate, issued.key);
    assert_eq!(check_certificates(&with_key), Err(CertificateProblem::PrivateKey));
    let cut = &with_key[..with_key.len() - 40];
    assert_eq!(check_certificates(cut), Err(CertificateProblem::PrivateKey));
    assert_eq!(check_certificates("nonsense"), Err(CertificateProblem::Empty));
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    assert_eq!(check_certificates(request), Err(CertificateProblem::Other));
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(check_certificates(empty), Err(CertificateProblem::NotX509));
    let open = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert_eq!(check_certificates(open), Err(CertificateProblem::NotPem));
}
