//! A relay's identity, a self-signed certificate with its key, made once; and its verification by peers, which pin the
//! certificate's SHA-256 or accept any.
//!
//! Other secrets that have to outlive a restart are derived from the key: with them the relay recognises the packets of
//! a connection from before its restart, and answers at once that the connection is gone (a stateless reset), so that
//! the peer does not wait for its timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::ticket::Key;
use ring::digest::{SHA256, digest};
use ring::{hkdf, hmac};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

use crate::endpoint;

/// Name in the certificate and in the handshake. It is not checked: a peer knows a relay by its fingerprint, at any
/// name or address.
pub(crate) const NAME: &str = "sightline";

/// A relay's certificate and key, both in DER.
#[derive(Clone)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

/// Why a stored identity cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("certificate and key do not make a pair that TLS can use: {0}")]
pub struct BadIdentity(#[from] pub(crate) rustls::Error);

impl Identity {
    /// Generates a new identity.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        Ok(Self {
            certificate: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
        })
    }

    /// Returns a stored identity: certificate and key (PKCS #8) in DER, which are checked when an endpoint uses them.
    pub fn restore(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self {
            certificate: certificate.into(),
            key,
        }
    }

    /// Checks that certificate and key are a pair that TLS can use.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn verify(&self) -> Result<(), BadIdentity> {
        let provider = endpoint::ring_provider();
        CertifiedKey::from_der(self.chain(), self.private_key(), &provider)?;
        Ok(())
    }

    /// Returns the certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Returns the key in DER (PKCS #8). Its owner can act as this relay.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns the certificate's SHA-256, as it stands in tickets.
    pub fn fingerprint(&self) -> Key {
        fingerprint(&self.certificate)
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// Derives the secret for one purpose.
    pub(crate) fn secret(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let mut secret = [0; 32];
        secret.copy_from_slice(hmac::sign(&key, purpose.as_bytes()).as_ref());
        secret
    }

    /// Derives the secret of the cookies by which a camera's sender proves after a restart that the name was its own.
    pub fn cookie_secret(&self) -> [u8; 32] {
        self.secret("camera cookies")
    }

    /// Derives the secret of the cookies by which a browser stays signed in at a private relay.
    pub fn login_secret(&self) -> [u8; 32] {
        self.secret("login cookies")
    }

    /// Derives the key of the tokens by which peers prove their address.
    pub(crate) fn token_key(&self) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.secret("address tokens"))
    }
}

/// Hides the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity")
            .field(&self.fingerprint())
            .finish()
    }
}

fn fingerprint(certificate: &[u8]) -> Key {
    let mut key = Key([0; 32]);
    key.0.copy_from_slice(digest(&SHA256, certificate).as_ref());
    key
}

/// Accepts the one certificate that a ticket names, or any if there is no ticket: then the connection is encrypted, and
/// the other end is not authenticated.
#[derive(Debug)]
pub(crate) struct CertificateVerifier {
    pinned: Option<Key>,
    provider: Arc<CryptoProvider>,
    /// Whether a relay has shown another certificate.
    pub(crate) fingerprint_mismatch: AtomicBool,
}

impl CertificateVerifier {
    pub(crate) fn new(pinned: Option<Key>, provider: Arc<CryptoProvider>) -> Self {
        Self {
            pinned,
            provider,
            fingerprint_mismatch: AtomicBool::new(false),
        }
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self
            .pinned
            .is_none_or(|pinned| pinned == fingerprint(certificate))
        {
            return Ok(ServerCertVerified::assertion());
        }
        self.fingerprint_mismatch.store(true, Ordering::Relaxed);
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    // The certificate is public: only this signature proves that the other end owns it.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_that_was_kept_is_the_same_and_another_is_another() {
        let made = Identity::generate().unwrap();
        let kept = Identity::restore(made.certificate().to_vec(), made.key().to_vec());
        assert_eq!(kept.fingerprint(), made.fingerprint());
        assert_eq!(kept.secret("x"), made.secret("x"));
        assert_ne!(made.secret("x"), made.secret("y"));
        let other = Identity::generate().unwrap();
        assert_ne!(other.fingerprint(), made.fingerprint());
        assert_ne!(other.secret("x"), made.secret("x"));
    }

    #[test]
    fn a_debug_print_shows_no_key() {
        let made = Identity::generate().unwrap();
        assert!(format!("{made:?}").len() < 40);
    }
}
